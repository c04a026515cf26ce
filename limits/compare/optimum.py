r"""Where a curve of losses is lowest, how well that is known, and the straight lines through such places.

Everything happens in $\log\eta$ and $\log$ loss: curves of sizes that transfer are copies of each other, shifted.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from limits.compare.rates import CONFIDENCE
from limits.markup import brief, listed

RESAMPLES = 1000
"""Bootstrap samples of the seeds."""
LARGEST_LOG = 700.0
"""Logarithm that stands for a loss that is infinite."""
FINE, LOW, RIVAL = 1 / 8, 2.0, 1.1
"""Spacing, in octaves, at which minima of exact curves are sought; how many times the smallest a loss may be for that, and a
minimum to be a rival of the lowest."""
ROUND_OFF = 1e-13
"""Relative error of a loss that is exact up to round-off."""


@dataclass(frozen=True, eq=False)
class Optimum:
    r"""The learning rate (or multiplier) of the smallest loss.

    Attributes:
        at: where the loss is smallest; at an edge of the grid the edge, NaN where there is none.
        error: standard error of $\log_2$ of it; NaN where it is unknown.
        loss: the smallest loss.
        where: "inside", "lowest" or "highest" (the edges of the grid, where the true optimum is unknown), "flat" where the loss
            is the same everywhere, "unresolved" where no loss was resolved, or "none" where no run stayed finite.
        resampled: $\log_2$ of the optimum of every bootstrap sample of the seeds, less their mean; empty for exact curves.
        rivals: of an exact curve, other minima whose loss is within 10% of the smallest.

    >>> locate(np.array([0.5, 1.0, 2.0]), np.array([[2.0], [1.0], [2.0]]))
    Optimum(at=1, error=0.4082, loss=1, where='inside', rivals=())
    """

    at: float
    error: float
    loss: float
    where: str
    resampled: np.ndarray = field(repr=False)
    rivals: tuple[float, ...] = ()

    __repr__ = brief

    @property
    def known(self) -> bool:
        """Whether it lies inside the grid."""
        return self.where == "inside"

    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval."""
        factor = 2.0 ** (CONFIDENCE * self.error)
        return self.at / factor, self.at * factor


@dataclass(frozen=True, eq=False)
class Slope:
    r"""A straight line through points with errors, by least squares.

    Attributes:
        value: the slope.
        error: half of its 95 % confidence interval, from the errors of the points and their scatter about the line; NaN where
            two exact points leave no scatter to judge by.
        intercept: the line at 0.
        x, y: the points.
        steps: slopes between neighbouring points, shape (points - 1,).
        step_errors: half of their 95 % confidence intervals.

    >>> fit_slope(np.array([0.0, 1.0, 2.0]), np.array([1.0, 0.5, 0.0]), np.zeros((3, 3)))
    Slope(-0.500 ± 0.000, 3 points)
    """

    value: float
    error: float
    intercept: float
    x: np.ndarray
    y: np.ndarray
    steps: np.ndarray
    step_errors: np.ndarray

    def __repr__(self) -> str:
        return listed("Slope", [str(self), f"{len(self.x)} points"])

    def __str__(self) -> str:
        return f"{self.value:+.3f}" + (f" ± {self.error:.3f}" if np.isfinite(self.error) else "")


def resampling(seeds: int, samples: int = RESAMPLES) -> np.ndarray:
    """Indices of the seeds in every bootstrap sample, shape (samples, seeds), always the same; none for a single seed.

    >>> resampling(5).shape, resampling(1).shape
    ((1000, 5), (0, 1))
    """
    return np.random.default_rng([seeds, 2023]).integers(seeds, size=(samples if seeds > 1 else 0, seeds))


def logarithm(losses: Any) -> Any:
    """Logarithms of losses: what diverged or was not resolved (NaN) is as bad as can be."""
    with np.errstate(divide="ignore"):
        logs = np.log(np.where(np.isnan(losses), np.inf, losses))
    return np.clip(logs, -LARGEST_LOG, LARGEST_LOG)


def flat(losses: np.ndarray, precision: float = ROUND_OFF) -> bool:
    """Whether losses are the same up to a relative precision.

    >>> flat(np.array([0.5, 0.5])), flat(np.zeros(3)), flat(np.array([0.5, np.inf])), flat(np.array([0.5, 0.51]))
    (True, True, False, False)
    """
    return bool(np.all(np.isfinite(losses)) and np.ptp(losses) <= precision * np.max(np.abs(losses)))


def locate(x: np.ndarray, losses: np.ndarray, resamples: np.ndarray | None = None, precision: float = ROUND_OFF) -> Optimum:
    r"""The optimum of measured losses: the vertex of the parabola through the lowest point and its neighbours, in logarithms.

    Its variance is that of the vertex over bootstrap samples of the seeds (the same ones at every x, whose networks share
    their weights) plus the square of the interpolation error: the larger of its distances to the parabola through every other
    point and to the quartic through all five, at most the spacing; $1/\sqrt 6$ of the spacing where points are missing or
    diverge.

    Args:
        x: learning rates or multipliers, increasing, shape (R,).
        losses: shape (R, seeds).
        resamples: of `resampling`, which of a single seed are none and leave the error unknown; None where losses are exact.
        precision: relative, of a loss.
    """
    mean = losses.mean(1)
    logs, places = logarithm(mean), np.log2(x)
    best = int(np.argmin(logs))
    if not np.isfinite(mean[best]):
        return Optimum(np.nan, np.nan, np.inf, "none" if np.any(np.isinf(mean)) else "unresolved", np.zeros(0))
    if flat(mean, precision):
        return Optimum(np.nan, np.nan, float(mean[best]), "flat", np.zeros(0))
    where = "lowest" if best == 0 else "highest" if best == len(x) - 1 else "inside"
    if where != "inside":
        return Optimum(float(x[best]), np.nan, float(mean[best]), where, np.zeros(0))
    at, low = (float(v[0]) for v in _vertices(places, logs[None]))
    spread, moved = (0.0, np.zeros(0)) if resamples is None else _spread(places, losses, resamples)
    error = float(np.hypot(spread, _interpolation_error(places, logs, best, at)))
    return Optimum(2.0**at, error, float(np.exp(low)), where, moved)


def _spread(places: np.ndarray, losses: np.ndarray, resamples: np.ndarray) -> tuple[float, np.ndarray]:
    """Standard deviation of the vertex over bootstrap samples, and its deviations from their mean."""
    if not len(resamples):
        return np.nan, np.zeros(0)
    seeds = losses.shape[1]
    moved = _vertices(places, logarithm(losses.T[resamples].mean(1)))[0] * np.sqrt(seeds / (seeds - 1))
    return float(np.std(moved)), moved - moved.mean()


def _vertices(places: np.ndarray, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the parabolas through the lowest points of curves (B, R) and their neighbours; points where there is none."""
    rows = np.arange(len(logs))
    best = np.argmin(logs, axis=1)
    inner = np.clip(best, 1, len(places) - 2)
    left, right = places[inner] - places[inner - 1], places[inner + 1] - places[inner]
    down, up = logs[rows, inner - 1] - logs[rows, inner], logs[rows, inner + 1] - logs[rows, inner]
    bend = down / left + up / right
    usable = (best == inner) & (bend > 0) & (logs[rows, inner + 1] < LARGEST_LOG) & (logs[rows, inner - 1] < LARGEST_LOG)
    tilt = up * left / right - down * right / left
    safe = np.where(usable, bend, 1.0)
    shift = np.where(usable, -tilt / safe / 2, 0.0)
    depth = np.where(usable, tilt**2 / safe / (left + right) / 4, 0.0)
    return places[best] + shift, logs[rows, best] - depth


def _interpolation_error(places: np.ndarray, logs: np.ndarray, best: int, at: float) -> float:
    spacing = float(max(places[best + 1] - places[best], places[best] - places[best - 1]))
    near = slice(best - 2, best + 3)
    if not (2 <= best < len(places) - 2 and np.all(logs[near] < LARGEST_LOG)):
        return spacing / np.sqrt(6)
    coarse = float(_vertices(places[near][::2], logs[near][None, ::2])[0][0])
    grid = np.linspace(-1, 1, 2001) * spacing
    quartic = np.polyfit(places[near] - places[best], logs[near], 4)
    other = places[best] + grid[np.argmin(np.polyval(quartic, grid))]
    return min(spacing, max(abs(coarse - at), abs(other - at)))


def refine(loss_at: Callable[[float], tuple[float, float]], x: np.ndarray, losses: np.ndarray) -> Optimum:
    r"""The optimum of a curve that can be computed anywhere, by Brent's method.

    From every minimum of the grid in the basin of its lowest point: curves have several narrow ones after a few steps already.
    A loss known to a relative error $\delta$ leaves the optimum uncertain by $\sqrt{2\delta/c}$, $c$ the curvature of its
    logarithm.

    Args:
        loss_at: the loss at a place, with its relative error.
        x: places that have been computed, increasing, shape (R,).
        losses: the losses there, shape (R,).

    >>> round(refine(lambda x: (x + 9 / x, 1e-15), np.array([1.0, 2.0, 4.0, 8.0]), np.array([10, 6.5, 6.25, 9.1])).at, 6)
    3.0
    """
    logs, places = logarithm(losses), np.log2(x)
    first, last = basin(losses)
    inner = range(max(first, 1), min(last, len(x) - 2) + 1)
    found = [_descended(loss_at, *places[i - 1 : i + 2]) for i in inner if logs[i] < min(logs[i - 1], logs[i + 1])]
    best = min(found, key=lambda each: each.loss, default=None)
    if best is None or best.loss > losses[np.argmin(logs)]:
        return locate(x, losses[:, None])
    rivals = sorted(each.at for each in found if each is not best and each.loss <= RIVAL * best.loss)
    return replace(best, rivals=tuple(rivals))


def basin(losses: np.ndarray) -> tuple[int, int]:
    """First and last point of the run around the lowest one where losses are at most twice the smallest.

    >>> basin(np.array([1.1, 9.0, 1.5, 1.0, 1.9, 3.0]))
    (2, 4)
    """
    logs = logarithm(losses)
    best, high = int(np.argmin(logs)), np.flatnonzero(logs > logs.min() + np.log(LOW))
    return int(max(high[high < best], default=-1)) + 1, int(min(high[high > best], default=len(logs))) - 1


def finer(loss_at: Callable[[float], float], x: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A grid with points an eighth of an octave apart or less in and beside the basin of the lowest point.

    >>> [len(part) for part in finer(lambda x: (x - 1) ** 2, np.array([0.5, 1.0, 2.0, 4.0]), np.array([0.25, 0.1, 1.0, 9.0]))]
    [18, 18]
    """
    first, last = basin(losses)
    finite = np.isfinite(losses)
    wide = [i for i in range(max(first - 1, 0), min(last + 1, len(x) - 1)) if finite[i] and finite[i + 1]]
    parts = [np.geomspace(x[i], x[i + 1], int(np.ceil(np.log2(x[i + 1] / x[i]) / FINE)) + 1)[1:-1] for i in wide]
    added = np.concatenate([np.zeros(0), *parts])
    order = np.argsort(np.concatenate([x, added]))
    found = np.concatenate([losses, [loss_at(each) for each in added]])
    return np.concatenate([x, added])[order], found[order]


def _descended(loss_at: Callable[[float], tuple[float, float]], left: float, middle: float, right: float) -> Optimum:
    """The minimum in a bracket of logarithms to base 2."""
    from scipy.optimize import minimize_scalar

    def height(place: float) -> float:
        return float(logarithm(loss_at(2.0**place)[0]))

    found: Any = minimize_scalar(height, bracket=(left, middle, right), method="brent", options={"xtol": 1e-9})
    place, step, widest = float(found.x), 1e-3 * (right - left), right - left
    loss, error = loss_at(2.0**place)
    curvature = (height(place - step) + height(place + step) - 2 * float(found.fun)) / step**2
    uncertain = min(widest, np.sqrt(2 * max(error, ROUND_OFF) / curvature)) if curvature > 0 else widest
    return Optimum(2.0**place, float(max(uncertain, 1e-9 * abs(place))), loss, "inside", np.zeros(0))


def fit_slope(x: np.ndarray, y: np.ndarray, covariance: np.ndarray) -> Slope:
    r"""The line through points whose errors have a covariance; points scatter about it by more, if they do not lie on a line.

    The scatter beyond the errors is estimated from the residuals of the unweighted fit, as one variance $\tau^2$ of all points,
    and weights are the inverse variances with it. The interval is Student's where there is such scatter. Errors that are NaN
    are unknown: the scatter alone then makes the interval.

    Raises:
        ValueError: fewer than two different x.

    >>> str(fit_slope(np.arange(3.0), np.array([0.0, 1.0, 2.0]), 0.01 * np.eye(3)))
    '+1.000 ± 0.139'
    """
    if len(np.unique(x)) < 2:
        raise ValueError(f"a slope needs at least two different places, got {np.asarray(x).tolist()}")
    design, free = np.stack([x, np.ones_like(x)], axis=1), len(x) - 2
    covariance = np.where(np.isnan(covariance), 0.0, covariance)
    variance = np.diag(covariance)
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    scatter = max(0.0, residual @ residual / free - variance.mean()) if free else 0.0
    total = covariance + scatter * np.eye(len(x))
    weights = 1 / np.diag(total) if np.all(np.diag(total) > 0) else np.ones(len(x))
    gain = np.linalg.solve(design.T @ (weights[:, None] * design), design.T * weights)
    value, intercept = gain @ y
    exact = not np.any(total)
    error = np.nan if exact and not free else _quantile(free if scatter else 0) * np.sqrt(max(0.0, (gain @ total @ gain.T)[0, 0]))
    between = np.diff(np.eye(len(x)), axis=0) / np.diff(x)[:, None]
    step_errors = CONFIDENCE * np.sqrt(np.maximum(np.diag(between @ covariance @ between.T), 0.0))
    return Slope(float(value), float(error), float(intercept), x, y, between @ y, step_errors)


def _quantile(degrees: int) -> float:
    """Two-sided 95 %: of Student's distribution, of the normal one without degrees of freedom."""
    from scipy.stats import t

    return float(t.ppf(0.975, degrees)) if degrees else CONFIDENCE


def joint_covariance(errors: np.ndarray, resampled: list[np.ndarray]) -> np.ndarray:
    """Covariance of places from their standard errors and their deviations in the same bootstrap samples."""
    if not all(len(each) for each in resampled):
        return np.diag(errors**2)
    moved = np.stack(resampled)
    together = moved @ moved.T / moved.shape[1]
    np.fill_diagonal(together, errors**2)
    return together


def upper_edge(x: np.ndarray, losses: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    r"""$\log_2$ of the largest x, right of the lowest point, up to which losses stay at or below a level.

    Between the last grid point below and the first above, the logarithm of the loss is taken as linear; where the upper one
    is more than ten times the level, or infinite, the edge is the middle of the two.

    Args:
        x: increasing, shape (R,).
        losses: of several curves, shape (B, R).
        level: the loss not to be exceeded.

    Returns:
        The edges, NaN where there is none inside the grid, and their interpolation errors, $1/\sqrt{12}$ of the spacing.

    >>> upper_edge(np.array([1.0, 2.0, 4.0]), np.array([[1.0, 1.0, 4.0]]), 2.0)[0]
    array([1.5])
    """
    places, logs, bound = np.log2(x), logarithm(losses), float(logarithm(level))
    rows, index = np.arange(len(logs)), np.arange(len(x))
    best = np.argmin(logs, axis=1)
    beyond = (logs > bound) & (index > best[:, None])
    first = np.argmax(beyond, axis=1)
    there = beyond.any(1) & (logs[rows, best] <= bound)
    last = np.maximum(first - 1, 0)
    rise = logs[rows, first] - logs[rows, last]
    gentle = there & (logs[rows, first] < bound + np.log(10))
    rise, up = np.where(gentle, rise, 1.0), np.where(gentle, bound - logs[rows, last], 0.0)
    share = np.where(gentle, up / rise, 0.5)
    spacing = places[first] - places[last]
    return np.where(there, places[last] + share * spacing, np.nan), np.where(there, spacing / np.sqrt(12), np.nan)
