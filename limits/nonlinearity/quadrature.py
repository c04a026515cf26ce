r"""Gaussian expectations of a function with kinks of its own, by panels: slow, and accurate to about ten digits.

The outer variable $z_i = \sqrt u x$ has panels that end at the kinks and grade towards them, and towards the points
where the conditional mean $\rho\sqrt v x$ of $z_j$ meets a kink, down to the conditional deviation; the inner variable
$z_j = \sqrt v(\rho x + \sqrt{1-\rho^2} y)$ has its own panels for every $x$. What jumps at a kink [`pieces`] gives
densities at the kinks times conditional expectations.
"""

from collections.abc import Sequence
from math import ceil, log, pi, sqrt
from typing import Any

import numpy as np

from limits.nonlinearity.hermite import NotResolvedError
from limits.nonlinearity.pair import EPSILON, TINY, Pair
from limits.nonlinearity.pieces import Function, Pieces

Array = Any

ACCURACY = 1e-9
REACH = 8.0
"""Standard deviations that count."""
FINE = 1e-11
RATIO = 3.0
"""Of the widths of neighbouring panels."""
NARROWEST = 1e-11
"""Conditional deviation below which panels are not graded further."""
MOST_VALUES = 2_000_000
"""Values of the function held at a time."""
OWN = np.array([-REACH, -5.0, -2.5, 0.0, 2.5, 5.0, REACH])
NODES, WEIGHTS = np.polynomial.legendre.leggauss(10)


def _rule(breaks: Array) -> tuple[Array, Array]:
    """Nodes of standard normal expectations on panels between the breaks, along the last axis."""
    breaks = np.sort(np.clip(breaks, -REACH, REACH), axis=-1)
    middle, half = (breaks[..., 1:] + breaks[..., :-1]) / 2, (breaks[..., 1:] - breaks[..., :-1]) / 2
    x = middle[..., None] + half[..., None] * NODES
    w = half[..., None] * WEIGHTS * (np.exp(-0.5 * x * x) / sqrt(2 * pi))
    shape = (*x.shape[:-2], x.shape[-2] * x.shape[-1])
    return x.reshape(shape), w.reshape(shape)


def _marks(kinks: Array, scale: float, reach: float) -> Array:
    """Where panels end in z: the kinks and 0, and around them at distances in geometric progression."""
    steps = scale * RATIO ** np.arange(max(1, 1 + ceil(log(max(reach / scale, 1.0)) / log(RATIO))))
    centres = np.unique([0.0, *kinks])
    marks = np.concatenate([centres, (centres[:, None] + np.concatenate([steps, -steps])).ravel()])
    return np.unique(marks[abs(marks) <= reach])


def _conditional(f: Sequence[Function], marks: Array, mean: Array, deviation: Array) -> list[Array]:
    """$E f(mean + deviation y)$ for every function, y standard normal; mean and deviation broadcast."""
    mean, deviation = np.broadcast_arrays(mean, deviation)
    edges = (marks - mean[..., None]) / np.maximum(deviation[..., None], TINY)
    y, w = _rule(np.concatenate([edges, np.broadcast_to(OWN, (*mean.shape, len(OWN)))], -1))
    z = mean[..., None] + deviation[..., None] * y
    return [np.sum(w * np.asarray(g(z), float), -1) for g in f]


def pieces(phi: Function, slope: Function, kinks: tuple[float, ...], top: float) -> Pieces:
    r"""The function with the scale that its kinks' neighbourhoods need at variances up to `top`.

    The panels are fine enough when halving their widths twice changes no mean square, and Stein's lemma,
    $\sqrt u E\phi' = E z\phi$ and $\sqrt u E z\phi' = E(z^2 - 1)\phi$, holds on them.
    """
    deviation = sqrt(max(top, TINY))
    last = np.full(2, np.inf)
    for scale in (1.0, 1 / 4, 1 / 16, 1 / 64, 1 / 256):
        marks = _marks(np.array(kinks), scale, REACH * deviation)
        x, w = _rule(np.concatenate([marks / deviation, OWN]))
        f, g = np.asarray(phi(deviation * x), float), deviation * np.asarray(slope(deviation * x), float)
        squares, size = np.array([np.sum(w * f * f), np.sum(w * g * g)]), np.sum(w * (1 + x * x) * (abs(f) + abs(g)))
        stein = max(abs(np.sum(w * (g - x * f))), abs(np.sum(w * (x * g - (x * x - 1) * f))))
        if np.all(abs(squares - last) <= FINE * (squares + 1)) and stein <= FINE * (size + 1):
            return Pieces(phi, slope, np.unique([0.0, *kinks]), 4 * scale)  # 0 may be a kink that nobody named
        last = squares
    raise NotResolvedError(
        f"phi varies too fast away from its kinks and from 0, or is not finite, at variance {top:g}: name further points of fast "
        "change as kinks, or train finite networks with simulate, which needs no Gaussian expectations"
    )


def mean(f: Pieces, u: Array) -> Array:
    r"""$E\phi(\sqrt u z)$."""
    u = np.asarray(u, float)
    marks = _marks(f.kinks, f.scale, REACH * sqrt(max(np.max(u, initial=0.0), TINY)))
    return _conditional([f.phi], marks, np.zeros(u.shape), np.sqrt(u))[0]


def dual(f: Pieces, pair: Pair, mean_subtraction: bool, order: int) -> tuple[Array, ...]:
    r"""$V, V_c, V_{cc}, V_u, V_{uc}$ and the tilt as far as `order` asks; pairs of like correlation are done together."""
    shape = pair.shape
    u, v, c, gap = (np.broadcast_to(x, shape).ravel() for x in (pair.u, pair.v, pair.c, pair.gap))
    mean_u, mean_v = (np.broadcast_to(mean(f, x) * mean_subtraction, shape).ravel() for x in (pair.u, pair.v))
    found = np.empty(((1, 2, 6)[order], len(u)))
    narrow = np.argsort(gap / np.maximum(u * v, TINY), kind="stable")
    while len(narrow):
        size = max(1, MOST_VALUES // Panels(f, *(x[narrow[:1]] for x in (u, v, c, gap))).cost)
        chunk, narrow = narrow[:size], narrow[size:]
        panels = Panels(f, *(x[chunk] for x in (u, v, c, gap)))
        found[:, chunk] = panels.answers(mean_u[chunk], mean_v[chunk], order)
    return tuple(row.reshape(shape) for row in found)


class Panels:
    """The panels of the outer variable for some pairs; arrays are (pairs, nodes) or (pairs, kinks)."""

    def __init__(self, f: Pieces, u: Array, v: Array, c: Array, gap: Array) -> None:
        self.f, self.c = f, c[:, None]
        self.u, self.v = np.maximum(u, TINY)[:, None], np.maximum(v, TINY)[:, None]
        root = np.sqrt(self.u) * np.sqrt(self.v)
        self.rho, self.s = self.c / root, np.maximum(np.sqrt(gap)[:, None] / root, NARROWEST)
        self.s[(u == 0) | (v == 0)] = 1.0
        self.marks = _marks(f.kinks, f.scale, REACH * sqrt(max(self.u.max(), self.v.max())))
        self.x, self.w = _rule(self._breaks())

    @property
    def cost(self) -> int:
        """Values of the function that a pair takes."""
        return self.x.shape[-1] * len(NODES) * (len(self.marks) + len(OWN))

    def _breaks(self) -> Array:
        steps = RATIO ** np.arange(1 + ceil(log(REACH / self.s.min()) / log(RATIO)))
        rho = np.where(abs(self.rho) < 1e-3, 1e-3, self.rho)
        own = np.broadcast_to(OWN, (len(self.u), len(OWN)))
        graded = [self.f.kinks / (np.sqrt(self.v) * rho) + step * self.s / abs(rho) for step in (0.0, *steps, *-steps)]
        return np.concatenate([self.marks / np.sqrt(self.u), own, *graded], -1)

    def _average(self, f: Array, g: Array | float) -> Array:
        return np.sum(self.w * f * g, -1)

    def _second_given_first(self, f: Sequence[Function], z: Array) -> list[Array]:
        """Expectations of functions of $z_j$ given $z_i = z$."""
        return _conditional(f, self.marks, np.sqrt(self.v / self.u) * self.rho * z, np.sqrt(self.v) * self.s)

    def _first_given_second(self, f: Sequence[Function], z: Array) -> list[Array]:
        return _conditional(f, self.marks, np.sqrt(self.u / self.v) * self.rho * z, np.sqrt(self.u) * self.s)

    def answers(self, mean_u: Array, mean_v: Array, order: int) -> tuple[Array, ...]:
        f, z = self.f, np.sqrt(self.u) * self.x
        wanted = [f.phi, f.slope, f.second][: order + 1]
        first, second = [np.asarray(g(z), float) for g in wanted], self._second_given_first(wanted, z)
        products = [self._average(one, two) for one, two in zip(first, second, strict=True)]
        products[0] = products[0] - mean_u * mean_v
        if order < 2:
            return tuple(products)
        smooth = self._average(first[2], second[0]) - mean_v * self._average(first[2], 1.0)
        return *products[:2], *self._second_order(products[2], smooth, self._average(f.third(z), second[1]), mean_v)

    def _second_order(self, f22: Array, f20: Array, f31: Array, mean_v: Array) -> tuple[Array, ...]:
        r"""The smooth parts $E f_2 f_2$, $E f_2\phi^c$ and $E f_3\phi'$, and what the jumps add to them."""
        f, a, slope = self.f, self.f.kinks + 0 * self.u, self.c / self.u
        jump, bend = f.jumps()
        at_u, at_v = jump * _density(a, self.u), jump * _density(a, self.v)
        phi, first, second = self._second_given_first([f.phi, f.slope, f.second], a)
        (other,) = self._first_given_second([f.second], a)
        spread = np.sqrt(self.v) * np.maximum(self.s, sqrt(EPSILON))
        second = second + _density(f.kinks - (slope * a)[..., None], spread[..., None] ** 2) @ jump
        half = f22 + np.sum(at_v * other, -1)
        V_cc = half + np.sum(at_u * second, -1)
        V_u = (f20 + np.sum(at_u * (phi - mean_v[:, None]), -1)) / 2
        rest = f31 + np.sum((bend * _density(a, self.u) + at_u * a / self.u) * first, -1)
        V_uc = (rest - slope[:, 0] * np.sum(at_u * second, -1)) / 2
        return V_cc, V_u, V_uc, rest + slope[:, 0] * half


def _density(z: Array, variance: Array) -> Array:
    return np.exp(-0.5 * z * z / variance) / np.sqrt(2 * pi * variance)
