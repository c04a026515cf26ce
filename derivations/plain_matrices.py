r"""Matrices of residual networks in plain steps: of finite width or unseen, and what they have learned.

A matrix is a function of a side and of rows: forward it multiplies them by $\hat W$, backward by $\hat W^T$ or by an independent
copy. `Drawn` holds the numbers of several networks at once, rows are (networks, samples, n); `Unseen` knows an infinitely wide
matrix by what it has acted on, rows are (samples, N), of N neurons. What a matrix has learned is a sum of outer products of rows,

$$ \Delta y = -\eta aL^{-\gamma}\sum_{s<t}g_s\langle y_s, y\rangle, $$

with the mean over neurons for the brackets: the raw step $W \leftarrow W - \eta L^{\alpha-\gamma}\partial_W$ written out.
`Entries` are the updates of `SignSGD` (without momentum) and `Adam` at finite width.
"""

from collections.abc import Collection
from typing import Protocol

import numpy as np
from scipy.fft import dct

from limits.optimizers import SignSGD
from limits.problem import Problem
from limits.semiseparable import BACKWARD, FORWARD, Side, transposed

Array = np.ndarray


class Matrix(Protocol):
    """An initial matrix and what stands for its transpose."""

    def __call__(self, side: Side, rows: Array) -> Array:
        """What it makes of rows."""
        ...


class Drawn:
    r"""Matrices (networks, n, n) of finite width; `copy` stands for the transposed ones in backward passes.

    >>> w, rows = np.arange(4.0).reshape(1, 2, 2), np.ones((1, 1, 2))
    >>> Drawn(w)(FORWARD, rows), Drawn(w)(BACKWARD, rows)
    (array([[[1., 5.]]]), array([[[2., 4.]]]))
    """

    def __init__(self, matrix: Array, copy: Array | None = None) -> None:
        self.of = {FORWARD: transposed(matrix), BACKWARD: matrix if copy is None else copy}

    def __call__(self, side: Side, rows: Array) -> Array:
        return rows @ self.of[side]


class Noise:
    """Normal rows of N numbers: of random rotations, orthonormal to round-off, with the lengths that independent numbers have."""

    def __init__(self, rng: np.random.Generator, neurons: int, exact: bool = False) -> None:
        self.rng, self.neurons, self.exact, self.left = rng, neurons, exact, np.zeros(0, int)

    def draw(self, count: int) -> Array:
        """Rows (count, N); a new rotation begins when half of one is used up."""
        if count > len(self.left):
            n = self.neurons
            self.turns = [(self.rng.permutation(n), self.rng.choice([-1.0, 1.0], n)) for _ in range(3)]
            self.left = self.rng.permutation(n)[: n // 2]
            self.lengths = n**0.5 if self.exact else self.rng.chisquare(n, n) ** 0.5
        rows = np.zeros((count, self.neurons))
        rows[np.arange(count), self.left[:count]] = 1.0
        self.left = self.left[count:]
        rows = np.asarray(dct(rows, norm="ortho"))
        for order, signs in self.turns:
            rows = np.asarray(dct(rows[:, order] * signs, norm="ortho"))
        return rows * self.lengths


class Unseen:
    r"""A matrix of infinite width, known by what it has acted on: orthonormal kets and their images.

    A new orthonormal ket becomes a normal one, independent of all before, and $\sum_b\langle\hat W^Tq_b, p\rangle q_b$ over what
    the other side has seen: the response, left out for sides that do not respond.

    Args:
        noise: of the normal kets.
        sides: which respond; without any, forward and backward are independent matrices.
    """

    def __init__(self, noise: Noise, sides: Collection[Side] = (FORWARD, BACKWARD)) -> None:
        self.noise, self.sides = noise, sides
        self.kets, self.images = ({side: np.zeros((0, noise.neurons)) for side in (FORWARD, BACKWARD)} for _ in range(2))

    def __call__(self, side: Side, rows: Array) -> Array:
        for row in rows:
            new = without(without(row, self.kets[side]), self.kets[side])
            size = np.sqrt(np.mean(new**2))
            if size > 1e-8 * np.sqrt(np.mean(row**2)):
                self._see(side, new / size)
        return mean_products(rows, self.kets[side]) @ self.images[side]

    def _see(self, side: Side, ket: Array) -> None:
        other = BACKWARD if side.forward else FORWARD
        fresh = without(self.noise.draw(1)[0], self.kets[other])
        image = fresh / np.sqrt(np.mean(fresh**2))
        if side in self.sides:
            image = image + mean_products(ket, self.images[other]) @ self.kets[other]
        for held, row in ((self.kets, ket), (self.images, image)):
            held[side] = np.concatenate([held[side], row[None]])


def without(row: Array, kets: Array) -> Array:
    """A row without its projection on orthonormal kets."""
    return row - mean_products(row, kets) @ kets


class Learned:
    r"""$\Delta$ and its transpose, as outer products."""

    def __init__(self, rate: float) -> None:
        self.rate, self.pairs = rate, []

    def __call__(self, side: Side, rows: Array) -> Array:
        total = np.zeros_like(rows)
        for left, right in self.pairs:
            onto, along = (left, right) if side.forward else (right, left)
            total -= mean_products(rows, along) @ onto
        return total

    def learn(self, g: Array, y: Array) -> None:
        """One step, of gradient g^T y."""
        self.pairs.append((self.rate * g, y))


class Entries:
    r"""$\Delta$ of finite width, entry by entry: $-\eta n^{-1}L^{-\gamma}\sum_tQ_t$ with Q of `SignSGD` or `Adam`.

    Args:
        problem: whose optimizer and exponents are taken.
        blocks: L.
        shape: (networks, n, n).
    """

    def __init__(self, problem: Problem, blocks: int, shape: tuple[int, ...]) -> None:
        self.optimizer, self.a = problem.optimizer, problem.model.multiplier
        self.rate = float(self.optimizer.lr) * blocks ** -float(problem.parametrization.layers(1)[1][0]) / shape[-1]
        self.total, self.mean, self.square = (np.zeros(shape, np.float32) for _ in range(3))
        self.t = 0

    def __call__(self, side: Side, rows: Array) -> Array:
        return rows @ (transposed(self.total) if side.forward else self.total)

    def learn(self, g: Array, y: Array) -> None:
        """One step, of gradient g^T y."""
        gradient, opt = self.a * transposed(g) @ y, self.optimizer
        self.t += 1
        if isinstance(opt, SignSGD):
            self.total -= self.rate * np.sign(gradient)
            return
        self.mean += (1 - opt.beta1) * (gradient - self.mean)
        self.square += (1 - opt.beta2) * (gradient**2 - self.square)
        root = np.sqrt(self.square / (1 - opt.beta2**self.t)) + opt.eps
        self.total -= self.rate * self.mean / (1 - opt.beta1**self.t) / root


def mean_products(y: Array, z: Array) -> Array:
    """Means over neurons of products of rows, shape (…, rows of y, rows of z)."""
    return y @ transposed(z) / y.shape[-1]
