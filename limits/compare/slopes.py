r"""Exponents of curves that are measured network by network: seeds are the sampling unit, and share what they draw first.

A seed draws the same read-in, read-out and first blocks at every size, so its whole curve is one observation: an exponent is
a number per seed, and its error what these scatter by.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

FEWEST_SEEDS = 3
"""Below which scatter is not known."""
EPSILONS = 3
"""Fewest increments that a diversity exponent is fitted to."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        value: the mean.
        error: its standard error.
        freedom: degrees of freedom of that.
    """

    value: float
    error: float
    freedom: int

    @classmethod
    def of(cls, values: np.ndarray) -> "Estimate":
        """The mean of one number per seed."""
        count = len(values)
        return cls(float(values.mean()), float(values.std(ddof=1) / count**0.5), count - 1)

    @classmethod
    def unknown(cls) -> "Estimate":
        return cls(float("nan"), float("nan"), 1)

    def half_width(self, confidence: float) -> float:
        """Half of a confidence interval, by Student's t.

        >>> round(Estimate(0.0, 1.0, 10).half_width(0.95), 3)
        2.228
        """
        from scipy.special import stdtrit

        return float(stdtrit(self.freedom, (1 + confidence) / 2)) * self.error

    def interval(self, confidence: float) -> tuple[float, float]:
        """A confidence interval, by Student's t."""
        half = self.half_width(confidence)
        return self.value - half, self.value + half


def slope(sizes: np.ndarray, logs: np.ndarray) -> Estimate:
    """The exponent of curves: log sizes (points,), their logarithms (points, seeds); least squares, seed by seed.

    >>> x = np.log([1.0, 2.0, 4.0])
    >>> slope(x, np.stack([0.5 * x, 0.5 * x + 1, 0.5 * x - 2], axis=1)).value
    0.5
    """
    x = sizes - sizes.mean()
    return Estimate.of(x @ logs / (x @ x))


def diversity(sizes: np.ndarray, spans: list[np.ndarray], squares: list[np.ndarray], order: float) -> Estimate:
    r"""The exponent $\kappa$ of mean squares $D(\varepsilon) \sim \varepsilon^{2(1-\kappa)}$ at infinite depth.

    At fixed $\varepsilon = m/L$ the mean $D_L$ over seeds is extrapolated, linearly in $L^{-r}$, to infinite L; then

    $$ \log D_\infty = b + 2(1 - \kappa)\log\varepsilon + c\,\varepsilon $$

    is fitted, c for the part of the increments that is a drift. Its error is by the jackknife over seeds.

    Args:
        sizes: L, of the last three of them; shape (sizes,).
        spans: m of every size, shape (spans,).
        squares: of every size, shape (seeds, spans).
        order: r.

    Returns:
        NaN where an extrapolated mean square is not positive.
    """
    epsilons = shared_epsilons(sizes, spans)
    if len(sizes) < 2 or len(epsilons) < EPSILONS:
        return Estimate.unknown()
    at = np.stack([_at(epsilons, m / L, d) for L, m, d in zip(sizes, spans, squares, strict=True)])
    to_infinity = np.linalg.pinv(np.stack([np.ones(len(sizes)), sizes**-order], axis=1))[0]
    design = np.stack([np.ones(len(epsilons)), 2 * np.log(epsilons), epsilons], axis=1)
    steep = np.linalg.pinv(design)[1]

    def kappa(some: np.ndarray) -> float:
        limit = to_infinity @ some.mean(1)
        return float(1 - steep @ np.log(limit)) if np.all(limit > 0) else np.nan

    seeds, whole = at.shape[1], kappa(at)
    without = np.array([kappa(np.delete(at, s, axis=1)) for s in range(seeds)])
    return Estimate.of(seeds * whole - (seeds - 1) * without)


def shared_epsilons(sizes: np.ndarray, spans: list[np.ndarray]) -> np.ndarray:
    """Distances of the smallest size that all sizes reach, down to two of its blocks, or to one where that leaves too few.

    >>> shared_epsilons(np.array([16.0, 32.0]), [np.array([1, 2, 4]), np.array([1, 2, 4, 8])])
    array([0.25  , 0.125 , 0.0625])
    """
    reached = [m / L for L, m in zip(sizes, spans, strict=True)]
    low, high = max(each[0] for each in reached), min(each[-1] for each in reached)
    found = reached[0][(reached[0] >= low) & (reached[0] <= high)][::-1]
    return found[:-1] if len(found) > EPSILONS and found[-1] * sizes[0] < 2 else found


def _at(wanted: np.ndarray, epsilons: np.ndarray, squares: np.ndarray) -> Any:
    """Mean squares at other epsilons, by interpolation between logarithms; shape (seeds, wanted)."""
    order = np.argsort(wanted)
    found = [np.exp(np.interp(np.log(wanted[order]), np.log(epsilons), np.log(row))) for row in squares]
    return np.stack(found)[:, np.argsort(order)]
