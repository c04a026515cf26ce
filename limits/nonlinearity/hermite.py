r"""Gaussian expectations of a smooth function by Hermite series (Mehler's formula).

With $h'_k(u) = E\,\phi'(\sqrt u z)\,He_k(z)/\sqrt{k!}$ and $\rho = c/\sqrt{uv}$,

    V_c = Σ_k h'_k(u) h'_k(v) ρ^k,    V = c Σ_k h'_k(u) h'_k(v) ρ^k/(k+1)  (+ E φ E φ),

and the coefficients of φ'' and φ''' follow from h''_k = sqrt((k+1)/u) h'_{k+1}. The expectations are trapezoid sums, which
converge exponentially for analytic φ; at small u, where dividing by it would lose digits, φ'' and φ''' come from a Chebyshev
interpolant of φ'. Nodes and coefficients are as many as the largest variance needs.
"""

from collections.abc import Callable
from math import pi, sqrt
from typing import Any, NamedTuple

import numpy as np

from limits.nonlinearity.pair import Pair

Array = Any
Function = Callable[[Array], Array]

RADIUS = 12.5
"""Nodes reach to here: |He_k|/sqrt(k!) e^{-z²/2} <= 1.1 e^{-z²/4} is below 1e-17 beyond."""
MOST_NODES = 2**13
MOST_COEFFICIENTS = 4000
ACCURACY = 1e-13
"""Relative error of V and V_c, and of the second derivatives where u is not tiny."""
SMALL = 2e-3
"""Variance below which φ'' and φ''' are not taken from coefficients of φ'."""


class NotResolvedError(ValueError):
    """A function that varies too fast for a Hermite series."""


class Basis(NamedTuple):
    """Nodes z > 0 and the weighted Hermite functions w He_k(z)/sqrt(k!) of even and of odd k, shape (k, nodes)."""

    nodes: Array
    even: Array
    odd: Array


class Coefficients(NamedTuple):
    """Coefficients of even k = 0, 2, … and odd k = 1, 3, …, shape (terms, *variances); none where parity makes them 0."""

    even: Array
    odd: Array


def _nodes(count: int) -> tuple[Array, Array]:
    """The positive half of a symmetric trapezoid rule, and its Gaussian weights."""
    step = RADIUS / count
    z = (np.arange(count) + 0.5) * step
    return z, step / sqrt(2 * pi) * np.exp(-0.5 * z * z)


def _resolving(slope: Function, top: float) -> int:
    r"""Nodes that resolve $\phi'(\sqrt u z)$: twice as many as $E\phi'^2$ needs to be exact."""
    count, last = 24, np.inf
    while count <= MOST_NODES:
        z, w = _nodes(count)
        value = float(np.sum(w * (_at(slope, top, z) ** 2 + _at(slope, top, -z) ** 2)))
        if abs(value - last) <= 1e-14 * abs(value):
            return int(1.5 * count)
        count, last = int(1.5 * count), value
    raise NotResolvedError(f"phi varies too fast for a Hermite series at variance {top:g}")


def _at(f: Function, u: Array, z: Array) -> Array:
    return np.asarray(f(np.sqrt(u) * z), float)


def basis(slope: Function, top: float, correlation: float, order: int) -> Basis:
    """Nodes and Hermite functions that the variance `top` needs at correlations up to `correlation`."""
    z, w = _nodes(_resolving(slope, top))
    right, left = _at(slope, top, z), _at(slope, top, -z)
    halves = right + left, right - left
    halves = tuple(half if np.max(abs(half)) > 1e-14 * np.max(abs(right)) else 0 * half for half in halves)
    energy = float(np.sum(w * (right**2 + left**2)))
    rows = [w, w * z]
    found = [float(half @ row) for half, row in zip(halves, rows, strict=True)]
    left_over = energy - found[0] ** 2 - found[1] ** 2
    power = correlation**2
    while True:
        k = len(rows)
        recent = max(a * a for a in found[-8:])
        if k >= 8 and power * left_over <= 1e-14 * energy and power * recent * k ** max(order, 1) <= 1e-15 * energy:
            break
        if k >= MOST_COEFFICIENTS:
            raise NotResolvedError(f"phi varies too fast for a Hermite series at variance {top:g}")
        rows.append((z * rows[-1] - sqrt(k - 1) * rows[-2]) / sqrt(k))
        found.append(float(halves[k % 2] @ rows[-1]))
        left_over -= found[-1] ** 2
        power *= correlation
    return Basis(z, *(np.array(rows[p::2]) if np.any(halves[p]) else np.zeros((0, len(z))) for p in (0, 1)))


def coefficients(f: Function, u: Array, on: Basis) -> Coefficients:
    r"""$E f(\sqrt u z) He_k(z)/\sqrt{k!}$ for every variance in u."""
    root = np.sqrt(u).reshape(-1, 1)
    right = np.asarray(f(root * on.nodes), float)
    left = np.asarray(f(-root * on.nodes), float) if len(on.odd) else right
    even, odd = on.even @ (right + left).T, on.odd @ (right - left).T
    return Coefficients(even.reshape(len(even), *np.shape(u)), odd.reshape(len(odd), *np.shape(u)))


def _series(left: Array, right: Array, x: Array, *scales: Array) -> list[Array]:
    r"""$\sum_j s_j\,l_j r_j x^j$ for each list of scales, by Horner's rule; the products are shared."""
    sums = [np.zeros(x.shape) for _ in scales]
    product, term = np.empty(x.shape), np.empty(x.shape)
    for j in range(min(len(left), len(right)) - 1, -1, -1):
        np.multiply(left[j], right[j], out=product)
        for value, scale in zip(sums, scales, strict=True):
            value *= x
            value += product if scale is None else np.multiply(product, scale[j], out=term)
    return sums


def _sum(f: Coefficients, g: Coefficients, rho: Array) -> Array:
    r"""$\sum_k f_k g_k \rho^k$."""
    (even,) = _series(f.even, g.even, rho * rho, None)
    (odd,) = _series(f.odd, g.odd, rho * rho, None)
    return even + rho * odd


def _first_order(f: Coefficients, g: Coefficients, rho: Array) -> tuple[Array, Array]:
    r"""$\sum_k f_k g_k \rho^k$ and the same with weights $1/(k+1)$."""
    even = _series(f.even, g.even, rho * rho, None, 1 / (2 * np.arange(len(f.even)) + 1))
    odd = _series(f.odd, g.odd, rho * rho, None, 1 / (2 * np.arange(len(f.odd)) + 2))
    return even[0] + rho * odd[0], even[1] + rho * odd[1]


def _column(values: Array, like: Array) -> Array:
    return values.reshape(-1, *[1] * (like.ndim - 1))


def _differentiated(f: Coefficients, u: Array) -> Coefficients:
    r"""Coefficients of $f'$: $\sqrt{(k+1)/u}\,f_{k+1}$."""
    safe = np.sqrt(np.maximum(u, SMALL * 1e-9))
    even = f.odd * _column(np.sqrt(2 * np.arange(len(f.odd)) + 1), f.odd) / safe
    odd = f.even[1:] * _column(np.sqrt(2 * np.arange(len(f.even[1:])) + 2), f.even) / safe
    return Coefficients(even, odd)


def _integrated(f: Coefficients, u: Array, mean: Array) -> Coefficients:
    r"""Coefficients of a function whose derivative has coefficients f: $\sqrt{u/k}\,f_{k-1}$, and its mean at $k = 0$."""
    root = np.sqrt(u)
    odd = f.even * root / _column(np.sqrt(2 * np.arange(len(f.even)) + 1), f.even)
    even = f.odd * root / _column(np.sqrt(2 * np.arange(len(f.odd)) + 2), f.odd)
    return Coefficients(np.concatenate([np.broadcast_to(mean, (1, *np.shape(u))), even]), odd)


def _near_zero(slope: Function) -> tuple[float, Function, Function]:
    r"""$\phi''$ and $\phi'''$ near 0, and the variance below which that is near enough."""
    small = SMALL
    while True:
        radius = RADIUS * sqrt(small)
        fit = np.polynomial.chebyshev.Chebyshev.interpolate(lambda x: np.asarray(slope(x), float), 24, [-radius, radius])
        if np.max(np.abs(fit.coef[-3:])) <= 1e-14 * np.max(np.abs(fit.coef)) or small < 1e-9:
            return small, fit.deriv(1), fit.deriv(2)
        small /= 4


def _higher(slope: Function, first: Coefficients, u: Array) -> tuple[Coefficients, Coefficients]:
    r"""Coefficients of $\phi''$ and $\phi'''$, accurate at small $u$ too."""
    second = _differentiated(first, u)
    third = _differentiated(second, u)
    if not np.any(u < SMALL):
        return second, third
    small, f2, f3 = _near_zero(slope)
    on = _plain_basis(24, 64)
    near = np.minimum(u, small)
    return _choose(u < small, coefficients(f2, near, on), second), _choose(u < small, coefficients(f3, near, on), third)


def _plain_basis(terms: int, count: int) -> Basis:
    z, w = _nodes(count)
    rows = [w, w * z]
    for k in range(2, terms):
        rows.append((z * rows[-1] - sqrt(k - 1) * rows[-2]) / sqrt(k))
    return Basis(z, np.array(rows[::2]), np.array(rows[1::2]))


def _choose(where: Array, f: Coefficients, g: Coefficients) -> Coefficients:
    """The coefficients f where asked, else g."""

    def chosen(p: Array, q: Array) -> Array:
        length = max(len(p), len(q))
        p, q = (np.concatenate([x, np.zeros((length - len(x), *x.shape[1:]))]) for x in (p, q))
        return np.where(where, p, q)

    return Coefficients(chosen(f.even, g.even), chosen(f.odd, g.odd))


def mean(phi: Function, slope: Function, u: Array) -> Array:
    r"""$E\phi(\sqrt u z)$."""
    u = np.asarray(u, float)
    z, w = _nodes(_resolving(slope, float(np.max(u, initial=0.0))))
    root = np.sqrt(u)[..., None]
    return (np.asarray(phi(root * z), float) + np.asarray(phi(-root * z), float)) @ w


def dual(phi: Function, slope: Function, pair: Pair, mean_subtraction: bool, order: int) -> tuple[Array | None, ...]:
    r"""$V, V_c, V_{cc}, V_u, V_{uc}$ and the tilt as far as `order` asks."""
    u, v, rho = pair.u, pair.v, pair.correlation
    top = float(max(np.max(u, initial=0.0), np.max(v, initial=0.0)))
    on = basis(slope, top, float(np.max(abs(rho), initial=0.0)), order)
    first_u, first_v = coefficients(slope, u, on), coefficients(slope, v, on)
    V_c, part = _first_order(first_u, first_v, rho)
    V = pair.c * part
    mean_v = np.zeros(v.shape) if mean_subtraction else mean(phi, slope, v)
    if not mean_subtraction:
        V = V + mean(phi, slope, u) * mean_v
    if order < 2:
        return V, (V_c if order else None), None, None, None, None
    (second_u, third_u), (second_v, _) = _higher(slope, first_u, u), _higher(slope, first_v, v)
    V_cc = _sum(second_u, second_v, rho)
    V_u = _sum(second_u, _integrated(first_v, v, mean_v), rho) / 2
    V_uc = _sum(third_u, first_v, rho) / 2
    return V, V_c, V_cc, V_u, V_uc, 2 * V_uc + pair.slope * V_cc
