r"""Gaussian expectations by clouds of points, and how far their answers are from the limit.

A cloud is a scrambled Sobol sequence through the inverse normal distribution, with its mirror image (functions that are odd in
what is mirrored have mean 0) and with second moments made exact. In few dimensions a lattice, turned and shifted at random and
weighted by the normal density, is far better: for smooth functions its error falls exponentially. Expectations given a point
are means over points of their own, so that what is wrong with these averages out.

All is random: several clouds give several answers, whose mean is returned and whose scatter is its error. Clouds grow fourfold
until that meets the tolerance, or memory is full.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import gamma, pi
from typing import Any

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from limits.deep.refine import Level, Refined, Refinement, higher
from limits.panels import Panels

Array = np.ndarray
Weighted = tuple[Array, Array]
"""Points (N, dimension) and their weights (N,), of sum 1."""
CLOUDS = 8
"""How many clouds an error is read from."""
POINTS = (2**10, 2**18)
"""The fewest and the most points of a cloud."""
NESTED = (2**13, 2**21)
"""The fewest and the most inner points, of all outer ones together."""
LATTICE = 3
"""Largest dimension in which a lattice is better than a Sobol sequence."""


def cloud(points: int, dimension: int, seed: int, kept: int = 0) -> Array:
    """About `points` normal points, shape (N, dimension), every one with its mirror image; covariance exactly 1.

    Args:
        kept: how many coordinates keep their sign in the image; the pairs are z and -z if none does.
    """
    half = max(points // 2, 2 * dimension)
    z = _normal(_sobol(half, dimension, np.random.default_rng(seed)))
    return mirrored(_whitened(z, np.full(len(z), 1 / len(z))), kept)


def mirrored(z: Array, kept: int) -> Array:
    """Points (N, dimension), and the same points with another sign of all but the first coordinates, `kept` of them."""
    return np.concatenate([z, np.concatenate([z[:, :kept], -z[:, kept:]], axis=1)])


def lattice(points: int, dimension: int, seed: int) -> Weighted:
    r"""About `points` points in a ball, shape (N, dimension), and their weights: pairs z and -z, covariance exactly 1.

    The ball is $|z|^2 < 25$ at 500 points and grows like $2\ln N$.
    """
    rng, half = np.random.default_rng(seed), points // 2
    radius = np.sqrt(12.5 + 2 * np.log(points))
    spacing = (pi ** (dimension / 2) / gamma(dimension / 2 + 1) * radius**dimension / half) ** (1 / dimension)
    reach = int(radius * dimension**0.5 / spacing) + 2
    steps = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1.0)] * dimension, indexing="ij"), -1).reshape(-1, dimension)
    turn = np.linalg.qr(rng.standard_normal((dimension, dimension)))[0]
    z = spacing * (steps + rng.random(dimension)) @ turn
    z = z[np.sum(z * z, 1) < radius**2]
    weights = np.exp(-np.sum(z * z, 1) / 2)
    weights /= weights.sum()
    z = _whitened(z, weights)
    return np.concatenate([z, -z]), np.concatenate([weights, weights]) / 2


def weighted(points: int, dimension: int, seed: int) -> Weighted:
    """About `points` normal points and their weights: a lattice in few dimensions, else a cloud."""
    if dimension <= LATTICE:
        return lattice(points, dimension, seed)
    z = cloud(points, dimension, seed)
    return z, np.full(len(z), 1 / len(z))


@dataclass(frozen=True, eq=False)
class Nested:
    """Points, and for each of them points of another space.

    Attributes:
        outer: shape (N, dimension), covariance exactly 1.
        weights: of the outer points, shape (N,), sum 1.
        inner: coordinate by coordinate, shape (dimension, N, K): pairs z and -z.
    """

    outer: Array
    weights: Array
    inner: Array


def nested(points: int, dimensions: tuple[int, int], seed: int) -> Nested:
    """About `points` inner points in single precision, twice as many outer ones as inner ones for each.

    The inner points are consecutive parts of one Sobol sequence, given to the outer points by place: together they are far more
    even than each part is.
    """
    outer_dimension, inner_dimension = dimensions
    many = outer_points(points)
    outer, weights = weighted(many, outer_dimension, seed)
    half, rng = many // 4, np.random.default_rng([seed, 1])
    z = _normal(_sobol(half * len(outer), inner_dimension, rng)[: half * len(outer)])
    z = z.T.reshape(inner_dimension, len(outer), half).astype(np.float32)
    return Nested(outer, weights, np.concatenate([z, -z], axis=2))


def outer_points(points: int) -> int:
    """How many outer points there are for so many inner ones."""
    return round((2 * points) ** 0.5)


def _sobol(points: int, dimension: int, rng: np.random.Generator) -> Array:
    return qmc.Sobol(dimension, rng=rng).random_base2(int(np.ceil(np.log2(points))))


def _normal(uniform: Array) -> Array:
    return ndtri(uniform.clip(2.0**-40, 1 - 2.0**-40))


def _whitened(z: Array, weights: Array) -> Array:
    return np.linalg.solve(np.linalg.cholesky((z.T * weights) @ z), z.T).T


def over_clouds(
    compute: Callable[..., Level],
    draw: Callable[[int, int], Any],
    refinement: Refinement,
    tol: float,
    sizes: tuple[int, int],
) -> Refined:
    """The mean over clouds, on panels fine enough for one of them.

    Args:
        compute: the limit on given panels with a given cloud; a third argument says that it is to be a finer one.
        draw: a cloud of so many points from a seed.
        refinement: of the panels.
        tol: what the error of the mean is held against, relative to the larger of 1 and the largest output.
        sizes: the fewest and the most points; where so many do not fit into memory, as many as do.
    """
    points, most = sizes
    first = refinement.run(lambda panels: compute(panels, draw(points, 0)))
    best, levels = _round(compute, draw, first.level.panels, points), first.levels + CLOUDS + 1
    while best.worst > tol and 4 * points <= most:
        try:
            best, levels = _round(compute, draw, first.level.panels, 4 * points), levels + CLOUDS + 1
        except MemoryError:
            break
        points *= 4
    return replace(best, met=bool(best.worst <= tol), levels=levels, points=points)


def _round(compute: Callable[..., Level], draw: Callable[[int, int], Any], panels: Panels, points: int) -> Refined:
    """The mean over clouds of one size, with its error: their scatter, and what finer panels make of the first."""
    finer = compute(higher(panels), draw(points, 1), True).outputs
    found = [compute(panels, draw(points, 1 + seed)) for seed in range(CLOUDS)]
    outputs, error = _mean([level.outputs for level in found])
    error = np.hypot(error, np.abs(finer - found[0].outputs))
    worst = float(error.max(initial=0.0) / max(1.0, np.abs(outputs).max(initial=0.0)))
    level = Level(panels, outputs, _means([level.kernels for level in found]), found[0].tails)
    return Refined(level, error, worst, False, CLOUDS + 1)


def _mean(values: list[Array]) -> tuple[Array, Array]:
    """The mean and its standard error."""
    return np.mean(values, axis=0), np.std(values, axis=0, ddof=1) / np.sqrt(len(values))


def _means(kernels: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Kernels averaged; what tells where they are stays."""
    places = ("steps", "positions", "recorded")
    count = len(kernels)
    return {name: value if name in places else sum(k[name] for k in kernels) / count for name, value in kernels[0].items()}
