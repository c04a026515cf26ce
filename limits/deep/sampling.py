r"""Gaussian expectations by clouds of points, and how far their answers are from the limit.

A cloud is a scrambled Sobol sequence through the inverse normal distribution, with its mirror image (odd functions have mean
0) and with second moments made exact. Its scrambling is random: several clouds give several answers, whose mean is returned
and whose scatter is its error. Clouds grow fourfold until that meets the tolerance.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from limits.deep.refine import Level, Refined, Refinement
from limits.panels import Panels

Array = np.ndarray
CLOUDS = 8
"""How many clouds an error is read from."""
FEWEST, MOST = 2**10, 2**18
"""Points of a cloud."""


def cloud(points: int, dimension: int, seed: int) -> Array:
    """About `points` normal points, shape (N, dimension): pairs z and -z, covariance exactly 1."""
    half = max(points // 2, 2 * dimension)
    uniform = qmc.Sobol(dimension, rng=np.random.default_rng(seed)).random_base2(int(np.ceil(np.log2(half))))
    z = ndtri(uniform.clip(2.0**-40, 1 - 2.0**-40))
    z = np.linalg.solve(np.linalg.cholesky(z.T @ z / len(z)), z.T).T
    return np.concatenate([z, -z])


def over_clouds(compute: Callable[[Panels, Array], Level], dimension: int, refinement: Refinement, tol: float) -> Refined:
    """The mean over clouds, on panels fine enough for one of them.

    Args:
        compute: the limit on given panels with a given cloud.
        dimension: of a point.
        refinement: of the panels, at the tolerance that the mean is held against.
        tol: relative to the larger of 1 and the largest output, as of the refinement.
    """
    first = refinement.run(lambda panels: compute(panels, cloud(FEWEST, dimension, 0)))
    panels, points, levels = first.level.panels, FEWEST, first.levels
    while True:
        found = [compute(panels, cloud(points, dimension, 1 + seed)) for seed in range(CLOUDS)]
        levels += CLOUDS
        outputs, error = _mean([level.outputs for level in found])
        error = np.hypot(error, np.where(np.isfinite(first.error), first.error, 0.0))
        worst = float(error.max(initial=0.0) / max(1.0, np.abs(outputs).max(initial=0.0)))
        if worst <= tol or 4 * points > MOST:
            break
        points *= 4
    kernels = _means([level.kernels for level in found])
    level = Level(panels, outputs, kernels, found[0].tails)
    return Refined(level, error, worst, bool(worst <= tol) and first.met, levels)


def _mean(values: list[Array]) -> tuple[Array, Array]:
    """The mean and its standard error."""
    return np.mean(values, axis=0), np.std(values, axis=0, ddof=1) / np.sqrt(len(values))


def _means(kernels: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Kernels averaged; what tells where they are stays."""
    places = ("steps", "positions", "recorded")
    return {name: value if name in places else np.mean([k[name] for k in kernels], axis=0) for name, value in kernels[0].items()}
