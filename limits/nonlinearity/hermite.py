r"""Hermite coefficients $E f(\sqrt u z)\,He_k(z)/\sqrt{k!}$ of a smooth function, at many variances $u$.

The expectations are trapezoid sums, which converge exponentially for analytic $f$; even and odd $k$ use the even and the odd
part of $f$ on the nodes $z > 0$, with

    He_{k+2} = (z² - 2k - 1) He_k - k(k-1) He_{k-2}.

Nodes and coefficients are as many as the largest variance needs: nodes until $E f^2$ is exact with half of them to spare,
coefficients until Parseval's sum is full. Over many variances the coefficients, analytic in $\log u$, are interpolated.
"""

from collections.abc import Callable
from math import ceil, log, pi, sqrt
from typing import Any, NamedTuple

import numpy as np

Array = Any
Function = Callable[[Array], Array]

MOST_NODES = 1500
MOST_ROWS = 1024
"""Coefficients of each parity at most, so 2048 in all."""
BLOCK = 16
NEGLIGIBLE = 1e-14
ROUNDING = 1e-30
"""Squares of the round-off of φ', which need not be resolved."""


class NotResolvedError(ValueError):
    """A function that varies too fast, or grows too fast, for a Hermite series at this variance."""


class Basis(NamedTuple):
    r"""Nodes $z > 0$ and rows $w\,He_k(z)/\sqrt{k!}$ of even and of odd $k$, $w$ the trapezoid weights times the Gaussian."""

    nodes: Array
    even: Array
    odd: Array


class Coefficients(NamedTuple):
    """Coefficients of even k = 0, 2, … and odd k = 1, 3, …, shape (terms, *variances); no terms where parity makes them 0."""

    even: Array
    odd: Array


def nodes(count: int, radius: float) -> tuple[Array, Array]:
    """The positive half of a symmetric trapezoid rule, and its Gaussian weights."""
    step = radius / count
    z = (np.arange(count) + 0.5) * step
    return z, step / sqrt(2 * pi) * np.exp(-0.5 * z * z)


def values(f: Function, z: Array) -> Array:
    """The function as an array of floats."""
    return np.asarray(f(z), float)


def reach(f: Function, top: float) -> float:
    r"""Where $|f(\sqrt u z) He_k(z)| e^{-z^2/2}/\sqrt{k!}$ has become negligible, by $|He_k| e^{-z^2/4} \le 1.1\sqrt{k!}$."""
    for radius in (12.5, 15.0, 18.0, 24.0, 32.0):
        z = np.linspace(-radius, radius, 65)
        size = np.log(np.maximum(abs(values(f, sqrt(top) * z)), 1e-300)) - z * z / 4
        if np.all(np.isfinite(size)) and max(size[0], size[-1]) <= np.max(size) + log(1e-16):
            return radius
    raise NotResolvedError(f"phi grows too fast for a Hermite series at variance {top:g}")


def resolving(phi: Function, slope: Function, top: float, radius: float) -> int:
    r"""The number of nodes that makes $E\phi'(\sqrt u z)^2$ exact, and $\phi$ the integral of $\phi'$.

    The latter by Stein's lemma, $\sqrt u E\phi' = E z\phi$ and $\sqrt u E z\phi' = E(z^2 - 1)\phi$, which also tells when the
    nodes are so few that they miss a narrow function altogether.
    """
    count, coarser, last = 16, 0, np.inf
    while count <= MOST_NODES:
        z, w = nodes(count, radius)
        z, w = np.concatenate([-z, z]), np.concatenate([w, w])
        f, g = values(phi, sqrt(top) * z), sqrt(top) * values(slope, sqrt(top) * z)
        energy, size = float(np.sum(w * g * g)), float(np.sum(w * (1 + z * z) * (abs(f) + abs(g))))
        stein = max(abs(np.sum(w * (g - z * f))), abs(np.sum(w * (z * g - (z * z - 1) * f))))
        if abs(energy - last) <= NEGLIGIBLE * energy + ROUNDING * top and stein <= 10 * NEGLIGIBLE * (size + 1):
            return coarser
        coarser, count, last = count, ceil(1.25 * count), energy
    raise NotResolvedError(f"phi varies too fast for a Hermite series at variance {top:g}")


def basis(phi: Function, slope: Function, top: float, correlation: float, weight: float) -> Basis:
    r"""Nodes and rows for $\sum_k k^{weight} h_k'^2 \rho^k$ at the variance `top`, $|\rho|$ up to `correlation`.

    With $n$ nodes the function resolves frequencies up to $2\pi n/R$, and $He_k$ needs $\sqrt k + 6$ more.
    """
    radius = max(reach(phi, top), reach(slope, top))
    enough = resolving(phi, slope, top, radius)
    count = 2 * enough
    while True:
        rows = _rows(slope, top, nodes(count, radius), correlation, weight)
        needed = enough + ceil(radius / (2 * pi) * (sqrt(2 * max(len(rows.even), len(rows.odd))) + 6))
        if count >= needed:
            return rows
        count = needed


def _rows(f: Function, top: float, rule: tuple[Array, Array], correlation: float, weight: float) -> Basis:
    z, w = rule
    right, left = values(f, sqrt(top) * z), values(f, -sqrt(top) * z)
    halves = [half if np.max(abs(half)) > NEGLIGIBLE * np.max(abs(right)) else None for half in (right + left, right - left)]
    tables = [np.empty((MOST_ROWS if half is not None else 0, len(z))) for half in halves]
    energy = left_over = float(np.sum(w * (right**2 + left**2)))
    rough = 0.0
    for start in range(0, MOST_ROWS, BLOCK):
        k, squares = 2 * (start + np.arange(BLOCK)), np.zeros(BLOCK)
        for parity, half in enumerate(halves):
            if half is not None:
                fill(tables[parity], start, start + BLOCK, parity, z, w)
                squares += (tables[parity][start : start + BLOCK] @ half) ** 2
        left_over -= float(np.sum(squares))
        rough += float(np.sum(squares * np.maximum(k, 1) ** weight))
        power = correlation ** k[-1]
        tail = power * k[-1] ** (weight + 0.5) * np.max(squares[-4:])
        if power * left_over <= NEGLIGIBLE * energy + ROUNDING and tail <= NEGLIGIBLE * rough + ROUNDING:
            return Basis(z, *(table[: start + BLOCK] for table in tables))
    raise NotResolvedError(f"phi varies too fast for a Hermite series at variance {top:g}")


def fill(table: Array, start: int, stop: int, parity: int, z: Array, w: Array) -> None:
    """Rows start to stop of one parity, k = parity, parity + 2, …, from the two rows before."""
    square, shifted = z * z, np.empty_like(z)
    for j in range(start, min(stop, len(table))):
        k = 2 * (j - 1) + parity
        if j == 0:
            table[0] = w * z if parity else w
            continue
        np.subtract(square, 2 * k + 1, out=shifted)
        np.multiply(table[j - 1], shifted, out=table[j])
        if j > 1:
            table[j] -= np.multiply(table[j - 2], sqrt(k * (k - 1)), out=shifted)
        table[j] *= 1 / sqrt((k + 1) * (k + 2))


def plain_basis(rows: int, count: int) -> Basis:
    """A basis of a given size."""
    z, w = nodes(count, 12.5)
    tables = np.empty((rows, count)), np.empty((rows, count))
    for parity, table in enumerate(tables):
        fill(table, 0, rows, parity, z, w)
    return Basis(z, *tables)


def coefficients(f: Function, u: Array, on: Basis) -> Coefficients:
    """The coefficients of f at every variance in u, interpolated in log u where that is less work and as exact."""
    flat = np.reshape(u, -1)
    interpolated = _interpolated(f, flat, on) if flat.size > 100 and np.min(flat) > 0 else None
    even, odd = _direct(f, flat, on) if interpolated is None else interpolated
    return Coefficients(even.reshape(-1, *np.shape(u)), odd.reshape(-1, *np.shape(u)))


def _direct(f: Function, u: Array, on: Basis) -> tuple[Array, Array]:
    argument = np.sqrt(u)[:, None] * on.nodes
    right = values(f, argument)
    left = values(f, -argument) if len(on.odd) else right
    return on.even @ (right + left).T, on.odd @ (right - left).T


def _interpolated(f: Function, u: Array, on: Basis) -> tuple[Array, Array] | None:
    r"""Chebyshev interpolation in $\log u$, exact on an ellipse inside $|\mathrm{Im} \log u| < 1$; None if it does not serve."""
    low, high = log(np.min(u)), log(np.max(u))
    ratio = 1 / max((high - low) / 2, 1e-3)
    count = ceil(log(1 / NEGLIGIBLE) / np.arcsinh(ratio))
    if count > len(u) // 4:
        return None
    angles = pi * (np.arange(count) + 0.5) / count
    places = np.exp((low + high) / 2 + (high - low) / 2 * np.cos(angles))
    m = np.arange(count)
    spread = np.cos(m * np.arccos(np.clip((2 * np.log(u) - low - high) / max(high - low, 1e-300), -1, 1))[:, None])
    weights = (spread * np.where(m, 2.0, 1.0) / count) @ np.cos(np.outer(m, angles))
    even, odd = (rows @ weights.T for rows in _direct(f, places, on))
    probes = [int(np.argmin(u)), int(np.argmax(u)), len(u) // 2]
    exact = _direct(f, u[probes], on)
    size = max(np.max(abs(rows), initial=0.0) for rows in exact)
    error = max(np.max(abs(a[:, probes] - b), initial=0.0) for a, b in zip((even, odd), exact, strict=True))
    return (even, odd) if error <= 4 * NEGLIGIBLE * size else None
