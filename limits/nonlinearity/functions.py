r"""Functions $\phi$ and $\phi'$ of every entry of an array, whatever its library.

They are values: two with the same parameters are equal, and they can be sent to another process.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import pi, sqrt
from typing import Any

from array_api_compat import array_namespace, is_torch_array

Array = Any
Function = Callable[[Array], Array]
"""A function of every entry of an array of any array library."""


@dataclass(frozen=True)
class Entrywise:
    """$a f(z)$ with $f$ a function of the array's own library."""

    name: str
    factor: float = 1.0

    def __call__(self, z: Array) -> Array:
        return self.factor * getattr(array_namespace(z), self.name)(z)


@dataclass(frozen=True)
class Power:
    """$a z^m$."""

    exponent: int
    factor: float = 1.0

    def __call__(self, z: Array) -> Array:
        if self.exponent == 0:
            return 0.0 * z + self.factor
        power = self.factor * z
        for _ in range(self.exponent - 1):
            power = power * z
        return power


@dataclass(frozen=True)
class Kinked:
    """$b|z| + kz$."""

    b: float
    k: float

    def __call__(self, z: Array) -> Array:
        return self.b * abs(z) + self.k * z


@dataclass(frozen=True)
class Step:
    r"""$b\,\mathrm{sign}(z) + k$, the derivative of a kink: at the kink the mean of its two sides."""

    b: float
    k: float

    def __call__(self, z: Array) -> Array:
        return self.b * array_namespace(z).sign(z) + self.k


@dataclass(frozen=True)
class Sum:
    r"""$\sum_i a_i f_i(z)$."""

    terms: tuple[tuple[float, Function], ...]

    def __call__(self, z: Array) -> Array:
        total = 0.0 * z
        for factor, function in self.terms:
            total = total + factor * function(z)
        return total


def special(name: str, z: Array) -> Array:
    """`torch.special` for tensors, `scipy.special` for everything else."""
    if is_torch_array(z):
        return getattr(sys.modules["torch"].special, name)(z)
    import numpy as np
    from scipy import special as scipy_special

    value = getattr(scipy_special, name)(np.asarray(z))
    xp = array_namespace(z)
    return value if xp.__name__.endswith("numpy") else xp.asarray(value, dtype=z.dtype, device=z.device)


def erf(z: Array) -> Array:
    r"""$\mathrm{erf}(z)$."""
    return special("erf", z)


def bump(z: Array) -> Array:
    r"""$\mathrm{erf}'(z) = 2 e^{-z^2}/\sqrt\pi$."""
    return 2 / sqrt(pi) * array_namespace(z).exp(-z * z)


def gaussian(z: Array) -> Array:
    """$e^{-z^2}$."""
    return array_namespace(z).exp(-z * z)


def gaussian_slope(z: Array) -> Array:
    """$-2z e^{-z^2}$."""
    return -2 * z * gaussian(z)


def gelu(z: Array) -> Array:
    r"""$z\,\Phi(z)$, $\Phi$ the normal distribution function."""
    return z * (0.5 * special("erfc", -z / sqrt(2)))


def gelu_slope(z: Array) -> Array:
    r"""$\Phi(z) + z e^{-z^2/2}/\sqrt{2\pi}$."""
    return 0.5 * special("erfc", -z / sqrt(2)) + z * array_namespace(z).exp(-0.5 * z * z) / sqrt(2 * pi)


def tanh_slope(z: Array) -> Array:
    r"""$1 - \tanh^2 z$."""
    t = array_namespace(z).tanh(z)
    return (1 - t) * (1 + t)


def sigmoid(z: Array) -> Array:
    r"""$1/(1 + e^{-z})$."""
    return 0.5 + 0.5 * array_namespace(z).tanh(0.5 * z)


def silu(z: Array) -> Array:
    r"""$z/(1 + e^{-z})$."""
    return z * sigmoid(z)


def silu_slope(z: Array) -> Array:
    r"""$s + z s(1 - s)$, $s$ the sigmoid."""
    s = sigmoid(z)
    return s + z * s * (1 - s)


def softplus(z: Array) -> Array:
    r"""$\log(1 + e^z)$."""
    return 0.5 * (z + abs(z)) + array_namespace(z).log1p(array_namespace(z).exp(-abs(z)))
