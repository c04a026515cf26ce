r"""Gaussian expectations of a smooth function by Mehler's formula.

With the Hermite coefficients $h'_k(u)$ of $\phi'$ and $\rho = c/\sqrt{uv}$,

    V_c = Σ_k h'_k(u) h'_k(v) ρ^k,    V = c Σ_k h'_k(u) h'_k(v) ρ^k/(k+1)  (+ E φ E φ).

The coefficients of φ'' and φ''' follow from h''_k = sqrt((k+1)/u) h'_{k+1}; at small u, where dividing by it would lose
digits, from a Chebyshev interpolant of φ'.
"""

from dataclasses import dataclass
from math import pi, sqrt
from typing import Any

import numpy as np

from limits.nonlinearity.hermite import (
    Basis,
    Coefficients,
    Function,
    basis,
    coefficients,
    nodes,
    plain_basis,
    reach,
    resolving,
    values,
)
from limits.nonlinearity.pair import Pair

Array = Any

ACCURACY = 2e-12
CACHED = 2**14
"""Numbers of an array that stays in the cache of a processor."""
SMALL = 2e-3
"""Variance below which φ'' and φ''' are not taken from coefficients of φ'."""


@dataclass(frozen=True, eq=False)
class Marginal:
    r"""Variances with what depends on them alone: the coefficients of $\phi'$, on which basis, and up to which variance."""

    variances: Array
    first: Coefficients | None = None
    on: Basis | None = None
    top: float = 0.0

    def __getitem__(self, index: Any) -> "Marginal":
        """Those of some variances."""
        first = self.first
        if first is not None:
            each = (slice(None), *index) if isinstance(index, tuple) else (slice(None), index)
            first = Coefficients(first.even[each], first.odd[each])
        return Marginal(self.variances[index], first, self.on, self.top)


def marginal(phi: Function, slope: Function, u: Array, like: Marginal | None = None) -> Marginal:
    """The coefficients at variances u, on the basis of another if that reaches far enough."""
    largest = float(np.max(u, initial=0.0))
    if like is not None and like.on is not None and largest <= like.top:
        on, top = like.on, like.top
    else:
        top = 1.25 * largest
        on = basis(phi, slope, top, 1.0, 0.0)
    return Marginal(u, coefficients(slope, u, on), on, top)


def _column(length: int, start: int, like: Array) -> Array:
    """start, start + 2, … as a column that multiplies rows of coefficients."""
    return (start + 2.0 * np.arange(length)).reshape(-1, *[1] * (like.ndim - 1))


def _differentiated(f: Coefficients, u: Array) -> Coefficients:
    r"""Coefficients of $f'$: $\sqrt{(k+1)/u}\,f_{k+1}$."""
    root = np.sqrt(np.maximum(u, 1e-9 * SMALL))
    even, odd = f.odd, f.even[1:]
    return Coefficients(even * (np.sqrt(_column(len(even), 1, even)) / root), odd * (np.sqrt(_column(len(odd), 2, odd)) / root))


def _integrated(f: Coefficients, u: Array, mean: Array) -> Coefficients:
    r"""Coefficients of a function whose derivative has coefficients f: $\sqrt{u/k}\,f_{k-1}$, and its mean at $k = 0$."""
    even, odd = (g * np.sqrt(u / _column(len(g), start, g)) for g, start in ((f.odd, 2), (f.even, 1)))
    return Coefficients(np.concatenate([np.broadcast_to(mean, (1, *np.shape(u))), even]), odd)


def _chebyshev(f: Function, radius: float, count: int = 48) -> np.polynomial.Chebyshev:
    """The interpolant of f in `count` points, without the coefficients that are round-off."""
    odd = 2 * np.arange(count) + 1
    cosines = np.cos(pi / (2 * count) * (np.outer(np.arange(count), odd) % (4 * count)))
    coefficients = 2 / count * (cosines @ values(f, radius * cosines[1]))
    coefficients[0] /= 2
    fit = np.polynomial.Chebyshev(coefficients, [-radius, radius])
    return fit.trim(1e-15 * np.max(np.abs(coefficients)))


def _near_zero(slope: Function) -> tuple[float, Function, Function]:
    r"""$\phi''$ and $\phi'''$ near 0, and the variance below which that is near enough."""
    small = SMALL
    while True:
        radius = 12.5 * sqrt(small)
        fit = _chebyshev(slope, radius)
        if small < 1e-9 or fit.degree() <= 28:
            return small, fit.deriv(1), fit.deriv(2)
        small /= 4


def _second(slope: Function, first: Coefficients, u: Array) -> Coefficients:
    r"""Coefficients of $\phi''$, accurate at small $u$ too."""
    return _mended(_differentiated(first, u), slope, u, 1)


def _third(slope: Function, first: Coefficients, u: Array) -> Coefficients:
    r"""Coefficients of $\phi'''$, accurate at small $u$ too."""
    return _mended(_differentiated(_differentiated(first, u), u), slope, u, 2)


def _mended(f: Coefficients, slope: Function, u: Array, order: int) -> Coefficients:
    if not np.any(u < SMALL):
        return f
    small, *derivatives = _near_zero(slope)
    near = coefficients(derivatives[order - 1], np.minimum(u, small), plain_basis(16, 64))

    def chosen(p: Array, q: Array) -> Array:
        length = max(len(p), len(q))
        p, q = (np.concatenate([x, np.zeros((length - len(x), *x.shape[1:]))]) for x in (p, q))
        return np.where(u < small, p, q)

    return Coefficients(chosen(near.even, f.even), chosen(near.odd, f.odd))


def _horner(f: Array, g: Array, x: Array, *scales: Array | None) -> list[Array]:
    r"""$\sum_j s_j f_j g_j x^j$ for each list of scales (None: ones); Horner's rule over blocks of terms that fit the cache."""
    f, g = (h.reshape(len(h), *[1] * (x.ndim + 1 - h.ndim), *h.shape[1:]) for h in (f, g))
    sums, terms = [np.zeros(x.shape) for _ in scales], min(len(f), len(g))
    block = max(1, min(terms, CACHED // max(x.size, 1)))
    powers = np.ones((block, *x.shape))
    np.cumprod(np.broadcast_to(x, (block - 1, *x.shape)), axis=0, out=powers[1:])
    leap = powers[-1] * x
    for start in range(terms - 1 - (terms - 1) % block, -1, -block):
        part = f[start : min(start + block, terms)] * g[start : min(start + block, terms)]
        part = part * powers[: len(part)]
        for value, scale in zip(sums, scales, strict=True):
            value *= leap
            value += part.sum(0) if scale is None else np.tensordot(scale[start : start + len(part)], part, 1)
    return sums


def _sum(f: Coefficients, g: Coefficients, rho: Array, square: Array) -> Array:
    r"""$\sum_k f_k g_k \rho^k$."""
    return _horner(f.even, g.even, square, None)[0] + rho * _horner(f.odd, g.odd, square, None)[0]


def _first_order(f: Coefficients, g: Coefficients, rho: Array, square: Array) -> tuple[Array, Array]:
    r"""$\sum_k f_k g_k \rho^k$ and the same with weights $1/(k+1)$."""
    even = _horner(f.even, g.even, square, None, 1 / (2 * np.arange(len(f.even)) + 1))
    odd = _horner(f.odd, g.odd, square, None, 1 / (2 * np.arange(len(f.odd)) + 2))
    return even[0] + rho * odd[0], even[1] + rho * odd[1]


def mean(phi: Function, slope: Function, u: Array) -> Array:
    r"""$E\phi(\sqrt u z)$."""
    u = np.asarray(u, float)
    top = float(np.max(u, initial=0.0))
    radius = max(reach(phi, top), reach(slope, top))
    z, w = nodes(2 * resolving(phi, slope, top, radius), radius)
    argument = np.sqrt(u)[..., None] * z
    return (values(phi, argument) + values(phi, -argument)) @ w


def dual(
    phi: Function,
    slope: Function,
    pair: Pair,
    mean_subtraction: bool,
    order: int,
    known: tuple[Coefficients | None, Coefficients | None] = (None, None),
) -> tuple[Array, ...]:
    r"""$V, V_c, V_{cc}, V_u, V_{uc}$ and the tilt as far as `order` asks, from coefficients at u and v if they are known."""
    u, v, rho = pair.u, pair.v, pair.correlation
    square = rho * rho
    first_u, first_v = known
    if order == 2 or first_u is None or first_v is None:
        top = float(max(np.max(u, initial=0.0), np.max(v, initial=0.0)))
        on = basis(phi, slope, top, float(np.max(abs(rho), initial=0.0)), max(order - 1, 0))
        first_u, first_v = coefficients(slope, u, on), coefficients(slope, v, on)
    V_c, part = _first_order(first_u, first_v, rho, square)
    mean_v = np.zeros(v.shape) if mean_subtraction else mean(phi, slope, v)
    V = pair.c * part + (0.0 if mean_subtraction else mean(phi, slope, u) * mean_v)
    if order < 2:
        return (V, V_c)[: order + 1]
    second = _second(slope, first_u, u)
    V_cc = _sum(second, _second(slope, first_v, v), rho, square)
    V_u = _sum(second, _integrated(first_v, v, mean_v), rho, square) / 2
    V_uc = _sum(_third(slope, first_u, u), first_v, rho, square) / 2
    return V, V_c, V_cc, V_u, V_uc, 2 * V_uc + pair.slope * V_cc
