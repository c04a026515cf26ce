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
    return x.reshape(*x.shape[:-2], -1), w.reshape(*w.shape[:-2], -1)


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
        if np.all(abs(squares - last) <= FINE * squares) and stein <= FINE * size:
            return Pieces(phi, slope, np.sort(np.array(kinks, float)), 4 * scale)
        last = squares
    raise NotResolvedError(
        f"phi varies too fast away from its kinks and from 0 at variance {top:g}: name further points of fast change as kinks, "
        "or train finite networks with simulate, which needs no Gaussian expectations"
    )


def mean(f: Pieces, u: Array) -> Array:
    r"""$E\phi(\sqrt u z)$."""
    u = np.asarray(u, float)
    marks = _marks(f.kinks, f.scale, REACH * sqrt(max(np.max(u, initial=0.0), TINY)))
    return _conditional([f.phi], marks, np.zeros(u.shape), np.sqrt(u))[0]


def dual(f: Pieces, pair: Pair, mean_subtraction: bool, order: int) -> tuple[Array, ...]:
    r"""$V, V_c, V_{cc}, V_u, V_{uc}$ and the tilt as far as `order` asks."""
    shape = pair.shape
    u, v, c, gap = (np.broadcast_to(x, shape).ravel() for x in (pair.u, pair.v, pair.c, pair.gap))
    means = [np.broadcast_to(mean(f, x), shape).ravel() if mean_subtraction else np.zeros(u.shape) for x in (pair.u, pair.v)]
    found = np.empty(((1, 2, 6)[order], len(u)))
    narrow = np.argsort(gap / np.maximum(u * v, TINY), kind="stable")
    start = 0
    while start < len(u):
        chunk = narrow[start : start + 1]
        outer = _Outer(f, u[chunk], v[chunk], c[chunk], gap[chunk])
        size = max(1, int(MOST_VALUES / outer.cost))
        chunk = narrow[start : start + size]
        outer = _Outer(f, u[chunk], v[chunk], c[chunk], gap[chunk])
        found[:, chunk] = outer.answers(means[0][chunk], means[1][chunk], order)
        start += size
    return tuple(row.reshape(shape) for row in found)


class _Outer:
    """The panels of some pairs, the one with the smallest conditional deviation first."""

    def __init__(self, f: Pieces, u: Array, v: Array, c: Array, gap: Array) -> None:
        self.f, self.c = f, c
        self.u, self.v = np.maximum(u, TINY), np.maximum(v, TINY)
        self.rho = c / np.sqrt(self.u * self.v)
        self.s = np.maximum(np.sqrt(gap / (self.u * self.v)), NARROWEST)
        top = REACH * sqrt(max(self.u.max(), self.v.max()))
        self.marks = _marks(f.kinks, f.scale, top)
        self.x, self.w = _rule(self._breaks())

    @property
    def cost(self) -> int:
        """Values of the function that a pair takes."""
        return self.x.shape[-1] * len(NODES) * (len(self.marks) + len(OWN))

    def _breaks(self) -> Array:
        steps = RATIO ** np.arange(1 + ceil(log(REACH / self.s.min()) / log(RATIO)))
        steps = np.concatenate([[0.0], steps, -steps])
        rho = np.where(abs(self.rho) < 1e-3, 1e-3, self.rho)[:, None]
        centres = self.f.kinks / (np.sqrt(self.v)[:, None] * rho)
        graded = centres[..., None] + (self.s[:, None] / abs(rho))[..., None] * steps
        count = len(self.u)
        own = np.broadcast_to(OWN, (count, len(OWN)))
        return np.concatenate([self.marks / np.sqrt(self.u)[:, None], own, graded.reshape(count, -1)], -1)

    def _given(self, f: Sequence[Function], x: Array) -> list[Array]:
        """Expectations of functions of $z_j$ given $x = z_i/sqrt u$."""
        root = np.sqrt(self.v)[:, None]
        return _conditional(f, self.marks, root * self.rho[:, None] * x, root * self.s[:, None] + 0 * x)

    def answers(self, mean_u: Array, mean_v: Array, order: int) -> Array:
        f, z = self.f, np.sqrt(self.u)[:, None] * self.x
        wanted = [f.phi, f.slope, f.second][: order + 1]
        inner = self._given(wanted, self.x)
        expect = [lambda g, h: np.sum(self.w * g * h, -1)][0]
        left = [np.asarray(g(z), float) for g in wanted]
        V = expect(left[0], inner[0]) - mean_u * mean_v
        if order == 0:
            return np.array([V])
        V_c = expect(left[1], inner[1])
        if order == 1:
            return np.array([V, V_c])
        smooth = expect(left[2], inner[2]), expect(left[2], inner[0]) - mean_v * np.sum(self.w * left[2], -1)
        return np.array([V, V_c, *self._second_order(*smooth, expect(f.third(z), inner[1]), mean_v)])

    def _second_order(self, f22: Array, f20: Array, f31: Array, mean_v: Array) -> tuple[Array, ...]:
        """The smooth parts and what the jumps add; rows are pairs, columns kinks."""
        f, u, slope = self.f, self.u[:, None], (self.c / self.u)[:, None]
        J, I = f.jumps()
        a = f.kinks + 0 * u
        at = _density(a, u)
        phi, first, second = self._given([f.phi, f.slope, f.second], a / np.sqrt(u))
        swapped = _Outer.__new__(_Outer)
        swapped.__dict__.update(self.__dict__, u=self.v, v=self.u)
        at_v = _density(a, self.v[:, None])
        (other,) = swapped._given([f.second], a / np.sqrt(self.v)[:, None])
        spread = np.sqrt(self.v)[:, None, None] * np.maximum(self.s, sqrt(EPSILON))[:, None, None]
        meeting = _density((f.kinks - (slope * a)[..., None]), spread**2) @ J
        half = f22 + (J * at_v * other).sum(-1)
        V_cc = half + (J * at * (second + meeting)).sum(-1)
        V_u = (f20 + (J * at * (phi - mean_v[:, None])).sum(-1)) / 2
        rest = f31 + (I * at * first).sum(-1) + (J * a * at * first).sum(-1) / self.u
        V_uc = (rest - (J * at * slope * (second + meeting)).sum(-1)) / 2
        return V_cc, V_u, V_uc, rest + slope[:, 0] * half


def _density(z: Array, variance: Array) -> Array:
    return np.exp(-0.5 * z * z / variance) / np.sqrt(2 * pi * variance)
