r"""The weights of all blocks of several networks, and what training does to them.

SGD changes $W^l$ by $-\kappa\sum_s w_s\,D_s^T Y_s$, a matrix of low rank: $D_s$ are rows of $\delta^l$ and $Y_s$ rows of
$x^{l-1}$. Rewriting $n \times n$ numbers at every step costs more than both passes, so the factors are kept beside the
matrix, and a product with $W^l_t$ is a product with $W^l$ and two thin ones. When there are too many rows of factors they
are absorbed: the matrix is rewritten once for many steps.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from limits.library import Library
from limits.semiseparable import BACKWARD, FORWARD, Side

Array = Any
Product = Callable[..., Array]
"""(block, rows, onto=None) -> their product with the block's matrix, added onto other rows."""


class Blocks:
    r"""$W^1 \dots W^L$ of S networks, times their multiplier.

    With momentum, gradient $s$ weighs $\eta_s(1 - \beta^{t-s})/(1-\beta)$ at step $t$. Of absorbed gradients the matrix
    holds what they weighed then, and `velocity` $= -\sum_s \eta_s\beta^{t_0-1-s}g_s$ what is still to come of them.

    Args:
        library: of the arrays.
        weights: shape (L, S, n, n); rewritten in place.
        capacity: rows of factors kept before they are absorbed, at least as many as one step adds.
        momentum: beta.
        eager: whether to absorb at every evaluation.
    """

    def __init__(self, library: Library, weights: Array, *, capacity: int, momentum: float, eager: bool = False) -> None:
        L, S, n, _ = weights.shape
        self.library, self.capacity, self.momentum, self.eager = library, capacity, momentum, eager
        self.count, self.weights = L, weights
        self._matrices = self._both(weights)
        self._factors = {side: library.zeros(L, S, capacity, n) for side in (FORWARD, BACKWARD)}
        self._ages = np.zeros(0)  # evaluations since each pending gradient, row by row
        self._velocity: Array = None
        self._absorbed = 0  # evaluations since the last absorption
        self._kept = 0  # rows of the update under way

    def _both(self, matrices: Array) -> dict[Side, Any]:
        """Views of every block's matrix: rows times its transpose go forward, rows times the matrix backward."""
        return {FORWARD: _each(self.library.xp.matrix_transpose(matrices)), BACKWARD: _each(matrices)}

    def begin(self, rows: int, kept: bool = True) -> None:
        """Begin an evaluation in which so many rows of both factors of every block are put, and make an update if `kept`."""
        self._ages = np.append(self._ages, np.zeros(self._kept)) + 1
        self._absorbed += 1
        self._kept = rows if kept else 0
        self._open(rows)
        used = len(self._ages)
        if used and (self.eager or (rows and used + rows > self.capacity)):
            self._absorb()
            self._open(rows)

    def _open(self, rows: int) -> None:
        """Views of the pending factors, and of the rows that take the next ones."""
        used = len(self._ages)
        slot = slice(used, min(used + rows, self.capacity))
        self._slots = {side: _each(rows[:, :, slot, :]) for side, rows in self._factors.items()}
        x, delta = (self._both(self._factors[side][:, :, :used, :]) for side in (FORWARD, BACKWARD))
        self._thin = {FORWARD: (x[FORWARD], delta[BACKWARD]), BACKWARD: (delta[FORWARD], x[BACKWARD])}
        if self.momentum:
            self._share = self.library.put((1 - self.momentum**self._ages) / (1 - self.momentum))

    def slots(self, side: Side) -> list[Array]:
        """Where to put one factor of this step's update of every block, (S, rows, n): x (forward) or delta (backward)."""
        return self._slots[side]

    def product(self, side: Side) -> Product:
        """What takes rows (S, k, n) to W x (forward) or W^T delta (backward) of block l, counted from 0, added onto others."""
        product = partial(self._plain, self._matrices[side])
        if len(self._ages):
            product = partial(self._updated, self._matrices[side], *self._thin[side])
        still = self._velocity is None or not self._absorbed  # nothing has arrived since the last absorption
        return product if still else partial(self._moving, product, self._velocities[side])

    def _plain(self, matrices: list[Array], l: int, rows: Array, onto: Array = None) -> Array:
        return self.library.times(rows, matrices[l], onto)

    def _updated(
        self, matrices: list[Array], inner: list[Array], outer: list[Array], l: int, rows: Array, onto: Array = None
    ) -> Array:
        times, seen = self.library.times, self.library.times(rows, inner[l])
        return times(seen * self._share if self.momentum else seen, outer[l], times(rows, matrices[l], onto))

    def _moving(self, product: Product, velocities: list[Array], l: int, rows: Array, onto: Array = None) -> Array:
        return self.library.times(self._arrived * rows, velocities[l], product(l, rows, onto))

    @property
    def _arrived(self) -> float:
        """Beta + beta^2 + …: the share of the velocity that has arrived since the last absorption."""
        return self.momentum * (1 - self.momentum**self._absorbed) / (1 - self.momentum)

    def _absorb(self) -> None:
        """Add the pending updates to the matrices; what is still to come of them goes to the velocity."""
        delta, x = self._thin[BACKWARD]
        if not self.momentum:
            for l, matrix in enumerate(self._matrices[BACKWARD]):
                self.library.add_product(matrix, delta[l], x[l])
        elif self._velocity is not None and self._absorbed == 1:
            self._heavy_ball(delta, x)
        else:
            self._absorb_velocity(delta, x)
        self._ages, self._absorbed = np.zeros(0), 0

    def _heavy_ball(self, delta: list[Array], x: list[Array]) -> None:
        """Absorb the updates of one evaluation, which all have age 1."""
        for l, velocity in enumerate(self._velocities[BACKWARD]):
            velocity *= self.momentum
            self.library.add_product(velocity, delta[l], x[l])
            matrix = self._matrices[BACKWARD][l]
            matrix += velocity

    def _absorb_velocity(self, delta: list[Array], x: list[Array]) -> None:
        if self._velocity is None:
            self._velocity = self.library.zeros(*self.weights.shape)
            self._velocities = self._both(self._velocity)
        fade, later = self.momentum**self._absorbed, self.library.put(self.momentum ** (self._ages - 1))
        for l, velocity in enumerate(self._velocities[BACKWARD]):
            matrix = self._matrices[BACKWARD][l]
            matrix += self._arrived * velocity
            velocity *= fade
            self.library.add_product(velocity, delta[l] * later, x[l])
            self.library.add_product(matrix, delta[l] * self._share, x[l])


def _each(blocks: Array) -> list[Array]:
    return [blocks[l, ...] for l in range(blocks.shape[0])]


def pays_to_absorb(sent: int, width: int) -> bool:
    """Whether to absorb every update at once where so many rows are sent through a block at an evaluation.

    A row sent takes 4 r n operations for r pending ones, absorbing them 2 r n^2. Measured, n = 64 … 1024: it pays from an eighth
    of the width, because a few large products go faster than many thin ones.
    """
    return 8 * sent >= width


def capacity(updates: int, rank: int, width: int, momentum: float) -> int:
    """Rows of factors to keep before they are absorbed, out of `updates` that training will make.

    Measured with one row per step, n = 64 … 512: rewriting every matrix at every step costs 3 to 5 times as much, from n/8
    to n/2 rows make no difference; a velocity is worth a matrix, so with momentum as many rows as neurons pay.
    """
    most = width if momentum else width // 2
    return updates if updates <= most else max(rank, width // 4)
