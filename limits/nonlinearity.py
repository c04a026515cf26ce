r"""Nonlinearities $\phi$ of a block, by name or of one's own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from scipy import special

Array = Any
Function = Callable[[Array], Array]
"""A function of every entry of an array of any array library."""


@dataclass(frozen=True)
class Nonlinearity:
    r"""A function $\phi$ that acts on every neuron.

    Args:
        name: what it is called.
        phi: $\phi$, of an array of any array library.
        derivative: $\phi'$.
        kinks: where $\phi'$ jumps.
    """

    name: str
    phi: Function
    derivative: Function
    kinks: tuple[float, ...] = ()

    @property
    def linear(self) -> bool:
        r"""Whether $\phi(z) = z$."""
        return self.name == "linear"


def _sign(z: Array) -> Array:
    return array_namespace(z).sign(z)


def _where(positive: float, negative: float) -> Function:
    def slope(z: Array) -> Array:
        return 0.5 * (positive + negative) + 0.5 * (positive - negative) * _sign(z)

    return slope


def _through(name: str) -> Function:
    def function(z: Array) -> Array:
        return getattr(array_namespace(z), name)(z)

    return function


def _erf(z: Array) -> Array:
    if hasattr(z, "detach"):
        return array_namespace(z).special.erf(z)
    return array_namespace(z).asarray(special.erf(np.asarray(z)), dtype=z.dtype)


NAMED = {
    "linear": Nonlinearity("linear", lambda z: 1.0 * z, lambda z: 0.0 * z + 1.0),
    "relu": Nonlinearity("relu", lambda z: 0.5 * (z + abs(z)), _where(1.0, 0.0), (0.0,)),
    "abs": Nonlinearity("abs", abs, _sign, (0.0,)),
    "sin": Nonlinearity("sin", _through("sin"), _through("cos")),
    "cos": Nonlinearity("cos", _through("cos"), lambda z: -array_namespace(z).sin(z)),
    "sin + cos": Nonlinearity(
        "sin + cos",
        lambda z: array_namespace(z).sin(z) + array_namespace(z).cos(z),
        lambda z: array_namespace(z).cos(z) - array_namespace(z).sin(z),
    ),
    "tanh": Nonlinearity("tanh", _through("tanh"), lambda z: 1 - array_namespace(z).tanh(z) ** 2),
}
"""Nonlinearities with a name."""


def nonlinearity(given: object) -> Nonlinearity:
    """The nonlinearity of that name, or itself.

    >>> nonlinearity("identity").name
    'linear'
    """
    if isinstance(given, Nonlinearity):
        return given
    name = "linear" if given == "identity" else given
    if not isinstance(name, str) or name not in NAMED:
        raise ValueError(f"nonlinearity must be one of {', '.join(NAMED)} or a Nonlinearity, got {given!r}")
    return NAMED[name]
