r"""A pair of Gaussian variables, as the arrays $u$, $v$, $c$ and the determinant $uv - c^2$ without cancellation."""

from functools import cached_property
from typing import Any

import numpy as np

Array = Any
EPSILON = float(np.finfo(float).eps)
TINY = 1e-200
"""Stands for a variance or a determinant of 0 where it divides."""


class Pair:
    r"""Jointly Gaussian $z_i, z_j$ of mean zero: variances $u$, $v$ and covariance $c$, which broadcast.

    $u$ and $v$ keep the shapes they come in, so that what depends on one of them is computed once. $c$ is clipped to
    $\pm\sqrt{uv}$, and $uv - c^2 = (\sqrt{uv} - c)(\sqrt{uv} + c)$ is exact up to the rounding of the data.
    """

    def __init__(self, u: Any, v: Any, c: Any) -> None:
        self.u, self.v = np.asarray(u, float), np.asarray(v, float)
        given = np.asarray(c, float)
        _check(self.u, "u")
        _check(self.v, "v")
        self.root = np.sqrt(self.u * self.v)
        self.c = np.clip(given, -self.root, self.root)
        if not np.all(np.isfinite(given)):
            raise ValueError("covariances c must be finite, got NaN or infinite entries")
        self.gap = (self.root - self.c) * (self.root + self.c)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.gap.shape

    @cached_property
    def correlation(self) -> Array:
        r"""$\rho = c/\sqrt{uv}$, and 0 where a variance is 0."""
        return self.c / np.maximum(self.root, TINY)

    @cached_property
    def slope(self) -> Array:
        r"""$c/u$, the mean of $z_j$ per unit of $z_i$, and 0 where $u = 0$."""
        return self.c / np.maximum(self.u, TINY)

    @property
    def swapped(self) -> "Pair":
        """The same pair with its variables named the other way round."""
        other = object.__new__(Pair)
        other.u, other.v, other.c, other.root, other.gap = self.v, self.u, self.c, self.root, self.gap
        return other


def _check(variances: Array, name: str) -> None:
    if not (np.all(np.isfinite(variances)) and np.all(variances >= 0)):
        raise ValueError(f"variances {name} must be finite and >= 0, got {float(np.min(variances))}")
