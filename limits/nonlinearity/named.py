r"""Nonlinearities with a name."""

from collections.abc import Sequence
from math import pi, sqrt
from numbers import Real
from typing import Any

import numpy as np

from limits.nonlinearity import functions as f
from limits.nonlinearity import logistic
from limits.nonlinearity.expansion import Exponential, Kink
from limits.nonlinearity.phi import Nonlinearity, combination

LINEAR = Exponential(0)
SHARP = Kink(0.0)
HIGHEST_POWER = 100
"""E z^200 is 1e186: not far beyond, expectations of products leave the range of numbers."""


def _kinked(name: str, b: float, k: float) -> Nonlinearity:
    return Nonlinearity(name, f.Kinked(b, k), f.Step(b, k), (0.0,), {SHARP: (b,), LINEAR: (0.0, k)})


def _wave(p: complex, q: complex) -> dict:
    return {Exponential(1j): (p,), Exponential(-1j): (q,)}


def power(m: float) -> Nonlinearity:
    """$z^m$: "linear", "square", "cube", or "power(m)"."""
    if isinstance(m, bool) or not 0 <= m <= HIGHEST_POWER or m != int(m):
        raise ValueError(f"power must be a whole number from 0 to {HIGHEST_POWER}, got {m!r}")
    m = int(m)
    name = {1: "linear", 2: "square", 3: "cube"}.get(m, f"power({m})")
    slope = f.Power(m - 1, float(m)) if m else f.Power(0, 0.0)
    return Nonlinearity(name, f.Power(m), slope, (), {LINEAR: (*[0.0] * m, 1.0)})


NAMED = {
    "linear": power(1),
    "relu": _kinked("relu", 0.5, 0.5),
    "leaky_relu": _kinked("leaky_relu", 0.495, 0.505),
    "abs": Nonlinearity("abs", f.Kinked(1.0, 0.0), f.Step(1.0, 0.0), (0.0,), {SHARP: (1.0,)}),
    "erf": Nonlinearity("erf", f.erf, f.bump, (), {Kink(0.5): (0.0, 1.0)}),
    "sin": Nonlinearity("sin", f.Entrywise("sin"), f.Entrywise("cos"), (), _wave(-0.5j, 0.5j)),
    "cos": Nonlinearity("cos", f.Entrywise("cos"), f.Entrywise("sin", -1.0), (), _wave(0.5, 0.5)),
    "exp": Nonlinearity("exp", f.Entrywise("exp"), f.Entrywise("exp"), (), {Exponential(1): (1.0,)}),
    "square": power(2),
    "cube": power(3),
    "tanh": Nonlinearity("tanh", f.Entrywise("tanh"), f.tanh_slope, (), logistic.tanh(), False),
    "gelu": Nonlinearity("gelu", f.gelu, f.gelu_slope, (), {LINEAR: (0.0, 0.5), Kink(1.0): (0.5, 0.0, -0.5)}),
    "silu": Nonlinearity("silu", f.silu, f.silu_slope, (), logistic.silu(), False),
    "softplus": Nonlinearity("softplus", f.softplus, f.sigmoid, (), logistic.softplus(), False),
    "gaussian": Nonlinearity("gaussian", f.gaussian, f.gaussian_slope, (), {Kink(0.5): (0.0, 0.0, sqrt(pi) / 2)}),
}
"""Nonlinearities with a name."""


def leaky_relu(slope: Any = 0.01) -> Nonlinearity:
    r"""$\max(z, 0) + \mathrm{slope} \min(z, 0)$.

    >>> leaky_relu(0.2).name
    'leaky_relu(0.2)'
    """
    slope = _number(slope, "the slope of leaky_relu")
    name = "leaky_relu" if slope == 0.01 else f"leaky_relu({slope!r})"
    return _kinked(name, (1 - slope) / 2, (1 + slope) / 2)


def kinked(b: Any, k: Any = 0.0) -> Nonlinearity:
    """$b|z| + kz$.

    >>> kinked(0.5, 0.5).name
    '0.5*linear + 0.5*abs'
    """
    factors = _number(b, "b"), _number(k, "k")
    return combination(((factors[0], NAMED["abs"]), (factors[1], NAMED["linear"])))


def polynomial(coefficients: Sequence[Any]) -> Nonlinearity:
    r"""$\sum_m c_m z^m$.

    >>> polynomial([0, 1, 0, -0.5]).name
    'linear - 0.5*cube'
    """
    if not len(coefficients):
        raise ValueError("a polynomial must have at least one coefficient, got none")
    return combination(tuple((_number(a, "a coefficient"), power(m)) for m, a in enumerate(coefficients)))


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(float(value)):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return float(value)
