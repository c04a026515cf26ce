r"""The jackknife: standard errors of functions of means, from groups of independent runs.

With $\theta$ of the mean over all G groups and $\theta_g$ of the mean over all but one, the variance of $\theta$ is
$\frac{G-1}{G}\sum_g(\theta_g - \bar\theta)^2$. Intervals take Student's t with G - 1 degrees of freedom. Ratios of paired runs
and slopes of distances get honest errors this way, whatever the runs have in common.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Estimate:
    """A value with its standard error, both numbers or arrays.

    Attributes:
        value, error: what was estimated.
        groups: how many independent groups told it.
    """

    value: Array
    error: Array
    groups: int

    @property
    def interval(self) -> tuple[Array, Array]:
        """95 % confidence."""
        half = stats.t.ppf(0.975, self.groups - 1) * self.error
        return self.value - half, self.value + half

    def __getitem__(self, which) -> "Estimate":
        return Estimate(self.value[which], self.error[which], self.groups)

    def z(self, of: float | Array) -> Array:
        """Distance to another value in standard errors."""
        return (self.value - of) / self.error

    def text(self, digits: int = 3) -> str:
        """Value and standard error."""
        return f"{self.value:.{digits}f} ± {self.error:.{digits}f}"

    def between(self, digits: int = 2) -> str:
        """Value and 95 % interval."""
        low, high = self.interval
        return f"{self.value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def jackknife(runs: Array, of: Callable[[Array], Array] = lambda mean: mean) -> Estimate:
    """A function of the mean over the first axis, whose entries are independent groups.

    >>> found = jackknife(np.array([1.0, 2.0, 3.0]))
    >>> float(found.value), bool(abs(found.error - 1 / 3**0.5) < 1e-12)
    (2.0, True)
    """
    runs = np.asarray(runs, float)
    count, total = len(runs), np.sum(runs, axis=0)
    without = np.array([of((total - run) / (count - 1)) for run in runs])
    error = np.sqrt((count - 1) * np.var(without, axis=0))
    return Estimate(np.asarray(of(total / count)), error, count)


def slope(sizes: Array) -> Callable[[Array], Array]:
    """The least-squares slope of log distance against log size; distances have the sizes as last axis.

    >>> float(np.round(slope(np.array([1, 2, 4]))(np.array([8.0, 4.0, 2.0])), 12))
    -1.0
    """
    x = np.log(np.asarray(sizes, float))
    weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    return lambda distances: np.log(distances) @ weights
