r"""tanh, silu and softplus as sums of smoothed kinks, to round-off.

A logistic variable is a normal one of random size, $2KZ$ with $K$ of Kolmogorov's distribution [Stefanski, A normal scale
mixture representation of the logistic distribution], so with $w$ a standard normal and $x = z + Kw$

    tanh z = E sign(x),    log(2 cosh z) = E |x|,    z tanh z = E [|x| - K² |x|''].

The density of $\log K$ decays doubly exponentially on both sides, where the trapezoid rule converges exponentially: with six
nodes to the octave it gives tanh to 4e-16 and its third derivative to 1e-13.
"""

from math import log

import numpy as np

from limits.nonlinearity.expansion import Expansion, Exponential, Kink, total

PER_OCTAVE = 6
LINEAR = Exponential(0)


def kolmogorov_density(x: np.ndarray) -> np.ndarray:
    r"""$8x\sum_j (-1)^{j-1} j^2 e^{-2j^2x^2}$, below 1 through its theta transform."""
    j = np.arange(1.0, 9.0)[:, None]
    a = (2 * j - 1) ** 2 * np.pi**2 / 8
    below = np.sqrt(2 * np.pi) * np.sum(np.exp(-a / x**2) * (2 * a / x**4 - 1 / x**2), 0)
    above = 8 * x * np.sum((-1) ** (j - 1) * j * j * np.exp(-2 * j * j * x * x), 0)
    return np.where(x < 1, below, above)


def sizes() -> list[tuple[float, float]]:
    r"""Nodes $K^2$ and weights; those of $2K$ are among the nodes again, so that tanh and silu share families."""
    j = np.arange(-3 * PER_OCTAVE, 3 * PER_OCTAVE)
    k = np.exp2((j % PER_OCTAVE) / PER_OCTAVE) * 2.0 ** (j // PER_OCTAVE)
    weights = log(2) / PER_OCTAVE * k * kolmogorov_density(k)
    kept = weights > 1e-17
    return list(zip((k[kept] ** 2).tolist(), weights[kept].tolist(), strict=True))


def tanh() -> Expansion:
    r"""$\tanh z = \sum_j w_j K_1$ at $\sigma_j = K_j$."""
    return {Kink(square): (0.0, w) for square, w in sizes()}


def silu() -> Expansion:
    r"""$z/(1 + e^{-z}) = z/2 + z\tanh(z/2)/2$, with $\tanh(z/2)$ at $\sigma_j = 2K_j$."""
    kinks: Expansion = {Kink(4 * square): (w / 2, 0.0, -2 * square * w) for square, w in sizes()}
    return total((1.0, kinks), (0.5, {LINEAR: (0.0, 1.0)}))


def softplus() -> Expansion:
    r"""$\log(1 + e^z) = z/2 + \log(2\cosh(z/2))$."""
    kinks: Expansion = {Kink(4 * square): (w / 2,) for square, w in sizes()}
    return total((1.0, kinks), (0.5, {LINEAR: (0.0, 1.0)}))
