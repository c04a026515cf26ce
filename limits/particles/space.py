r"""Kets of independent samples of neurons: arrays (R, S, N) of R samples, S random variables and N neurons.

Every operation is done to the R samples alike, and none looks at what it computes: where arrays live on a device, nothing waits
for it. A ket that is nothing new beside others has a zero row where their orthonormal kets stand.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from limits.library import Library

Array = Any
ROUNDS = 6
"""Newton steps to an inverse root; enough from eigenvalues in (1/2, 3/2) to round-off."""


@dataclass(frozen=True)
class Space:
    r"""Kets with N neurons in an array library, and their inner product $\langle x, y\rangle = N^{-1}\sum_v x(v)y(v)$.

    >>> import numpy as np
    >>> from limits.library import open_library
    >>> space = Space(open_library("numpy", None, "float64"), 4)
    >>> space.orthonormal(np.array([[[2.0, 2, 2, 2], [3, 3, 3, 3], [1, 1, 3, 3]]])).astype(int)[0]
    array([[ 1,  1,  1,  1],
           [ 0,  0,  0,  0],
           [-1, -1,  1,  1]])
    """

    library: Library
    neurons: int

    @cached_property
    def xp(self) -> Any:
        """The array namespace."""
        return self.library.xp

    @cached_property
    def negligible(self) -> float:
        """Share of a ket that counts as nothing new, between what is new late in training and round-off: 2e-12 in float64."""
        return float(self.xp.finfo(self.number).eps) ** 0.75

    @cached_property
    def number(self) -> Any:
        """The floating-point type."""
        return getattr(self.xp, self.library.dtype)

    def empty(self, replicas: int, count: int) -> Array:
        """Room for kets (R, count, N)."""
        return self.xp.empty((replicas, count, self.neurons), dtype=self.number, device=self.library.device)

    def inner(self, x: Array, y: Array) -> Array:
        """Inner products (R, S, S') of kets."""
        turn = self.xp.matrix_transpose
        product = x @ turn(y) if x.shape[1] >= y.shape[1] else turn(y @ turn(x))  # the faster order where one has few rows
        return product / self.neurons

    def mean(self, x: Array) -> Array:
        """Expectations (R, S, 1)."""
        return self.xp.mean(x, axis=-1, keepdims=True)

    def norm(self, x: Array) -> Array:
        """Norms (R, S, 1); no number where a square is beyond the range of numbers, and not one that makes a unit ket zero."""
        dots = (x[..., None, :] @ x[..., None])[..., 0]
        return self.xp.sqrt(dots / self.neurons) + 0 * dots

    def present(self, unit: Array) -> Array:
        """1 for rows of norm one and 0 for zero rows, shape (R, S, 1)."""
        return self.xp.astype(self.norm(unit) > 0.5, self.number)

    def without(self, kets: Array, known: Array) -> Array:
        """Kets without their projections on orthonormal ones."""
        rest = -self.inner(kets, known) @ known
        rest += kets
        return rest

    def orthonormal(self, kets: Array, whole: Array | None = None) -> Array:
        """Gram-Schmidt, in order; zero where what is left of a ket is negligible beside `whole`, the kets by default."""
        least = self.negligible * self.norm(kets if whole is None else whole)
        kept = self.xp.zeros_like(kets)
        for i in range(kets.shape[1]):
            rest = kets[:, i : i + 1, :]
            if i:
                rest = self.without(self.without(rest, kept[:, :i, :]), kept[:, :i, :])
            kept[:, i : i + 1, :] = self._unit(rest, least[:, i : i + 1, :])
        return kept

    def polished(self, kets: Array) -> Array:
        """From kets that are nearly orthonormal to what is so to round-off; zero where little is left of norm one."""
        kets = self._unit(kets, 0.5)
        return (1.5 * self.eye(kets.shape[1]) - 0.5 * self.inner(kets, kets)) @ kets

    def _unit(self, kets: Array, least: Any) -> Array:
        """Kets of norm one, or zero rows where the norm is not larger than `least`; what is no number stays so."""
        norm = self.norm(kets)
        new = self.xp.astype(norm > least, self.number)
        return kets * (new / (norm + (1 - new)))

    def inverse_root(self, gram: Array) -> Array:
        """The inverse square root of matrices with eigenvalues between 1/2 and 3/2."""
        one = self.eye(gram.shape[-1])
        root = one + 0 * gram
        for _ in range(ROUNDS):
            root = 0.5 * root @ (3 * one - gram @ root @ root)
        return root

    def eye(self, size: int) -> Array:
        """The identity."""
        return self.xp.eye(size, dtype=self.number, device=self.library.device)
