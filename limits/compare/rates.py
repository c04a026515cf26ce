"""Rates: power laws fitted to errors, and extrapolation to infinite size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from limits.markup import listed

Numbers = Sequence[float] | np.ndarray
CONFIDENCE = 1.96
"""Standard errors in a 95 % confidence interval."""


@dataclass(frozen=True, eq=False)
class PowerLaw:
    r"""A fit $e(s) = c\,s^{k}$ of errors against sizes.

    Attributes:
        sizes, errors: what was fitted, shape (points,).
        spread: standard errors of `errors`, zero where they are exact.
        exponent: k.
        exponent_error: half of its 95 % confidence interval, from `spread`; where errors are exact, 1.96 standard errors
            from their scatter about the line (NaN for two points, which always lie on one).
        prefactor: c.

    >>> law = fit_power_law([8, 16, 32], [0.2, 0.1, 0.05])
    >>> law.local_exponents(), float(law(64).round(4))
    (array([-1., -1.]), 0.025)
    """

    sizes: np.ndarray
    errors: np.ndarray
    spread: np.ndarray
    exponent: float
    exponent_error: float
    prefactor: float

    def __repr__(self) -> str:
        error = f" ± {self.exponent_error:.3f}" if np.isfinite(self.exponent_error) else ""
        return listed("PowerLaw", [f"{self.prefactor:.4g} s^({self.exponent:.3f}{error})", f"{len(self.sizes)} sizes"])

    def __call__(self, sizes: Any) -> Any:
        """The fitted error at other sizes."""
        return self.prefactor * np.asarray(sizes, float) ** self.exponent

    def local_exponents(self) -> np.ndarray:
        """Slopes between neighbouring points, shape (points - 1,)."""
        return np.diff(np.log(self.errors)) / np.diff(np.log(self.sizes))


def fit_power_law(sizes: Numbers, errors: Numbers, spread: Numbers | None = None) -> PowerLaw:
    """Weighted least squares of log error on log size.

    Raises:
        ValueError: fewer than two different sizes, or a size or an error that is not positive.

    >>> fit_power_law([1, 2, 4], [8, 4, 2])
    PowerLaw(8 s^(-1.000 ± 0.000), 3 sizes)
    """
    x, y = np.asarray(sizes, float), np.asarray(errors, float)
    noise = np.zeros_like(y) if spread is None else np.asarray(spread, float)
    positive = all(np.all((v > 0) & np.isfinite(v)) for v in (x, y))
    if len(np.unique(x)) < 2 or not x.shape == y.shape == noise.shape or not positive:
        raise ValueError(f"a rate needs at least two sizes with positive errors, got sizes {sizes} and errors {errors}")
    relative = noise / y
    weights = 1 / relative**2 if np.all(relative > 0) else np.ones_like(y)
    design = np.stack([np.log(x), np.ones_like(x)], axis=1)
    inverse = np.linalg.inv(design.T @ (weights[:, None] * design))
    exponent, constant = inverse @ (design.T @ (weights * np.log(y)))
    if np.all(relative > 0):
        variance = inverse[0, 0]
    else:
        residual = np.log(y) - design @ (exponent, constant)
        variance = inverse[0, 0] * (residual @ residual) / (len(x) - 2) if len(x) > 2 else np.nan
    return PowerLaw(x, y, noise, float(exponent), float(CONFIDENCE * np.sqrt(variance)), float(np.exp(constant)))


def extrapolate(sizes: Numbers, values: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Richardson extrapolation: the value at 1/size = 0 of the polynomial in 1/size through all points (Neville).

    Raises:
        ValueError: no sizes, two equal ones, or not one value for each.

    >>> float(extrapolate([1, 2, 4], [np.array(3.0), np.array(2.5), np.array(2.25)]))
    2.0
    """
    if not len(np.unique(sizes)) == len(sizes) == len(values) > 0:
        raise ValueError(f"an extrapolation needs one value for each of several sizes, got sizes {sizes}, {len(values)} values")
    h = 1 / np.asarray(sizes, float)
    table = [np.asarray(v, float) for v in values]
    for order in range(1, len(table)):
        table = [(h[i] * table[i + 1] - h[i + order] * table[i]) / (h[i] - h[i + order]) for i in range(len(table) - 1)]
    return np.asarray(table[0])
