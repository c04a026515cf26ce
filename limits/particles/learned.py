r"""Matrices that learn, acting on kets: $W = \rho\hat W - \Delta$, with $\rho$ what weight decay leaves of the initial matrix.

Updates of `SGD` and `Muon` have low rank and are held as small matrices, $\Delta = q^TMp$ in the orthonormal kets that W has
seen. Those of `Adam` and `SignSGD` are nonlinear outer products (TP4b): an entry is a function of all $g$ and $y$ of two
neurons v and u, and acts on a ket as an expectation over an independent copy of the other side's neurons,

$$ (\Delta y)(v) = L^{-\gamma}E_u\big[Q(g_1(v)y_1(u), g_2(v)y_2(u), \dots)\,y(u)\big], $$

with N neurons on each side, hence $N^2$ pairs.
"""

from typing import Protocol, runtime_checkable

import numpy as np

from limits.optimizers import SGD, Muon, Optimizer
from limits.particles.matrix import InitialMatrix, opposite
from limits.particles.rules import rule_of, states_of
from limits.semiseparable import BACKWARD, FORWARD, Side

Array = np.ndarray
ROWS = 64
"""Rows of pairs that are moved at once."""


def low_rank(optimizer: Optimizer) -> bool:
    """Whether updates are small matrices in orthonormal kets."""
    return isinstance(optimizer, SGD | Muon)


@runtime_checkable
class Update(Protocol):
    """What W has learned."""

    def applied(self, side: Side, kets: Array, coordinates: Array) -> Array:
        """Delta or its transpose on kets with these coordinates."""
        ...

    def learn(self, t: int, y: Array, g: Array, coordinates: tuple[Array, Array]) -> None:
        """One step from the scaled gradient sum of g^T y, of rows (B, N) with these coordinates."""
        ...


class LowRank:
    """Delta as a small matrix in the orthonormal kets of an initial matrix.

    Args:
        initial: the matrix.
        optimizer: `SGD` or `Muon`.
        scale: of gradients, with what stands before an update.
        factors: of what an update makes of a ket, by side.
    """

    def __init__(self, initial: InitialMatrix, optimizer: Optimizer, scale: float, factors: dict[Side, float]) -> None:
        self.initial, self.optimizer, self.scale, self.factors = initial, optimizer, scale, factors
        self.rule, shape = rule_of(optimizer), [len(initial.seen[side].basis) for side in (BACKWARD, FORWARD)]
        self.total = np.zeros(shape)
        self.states = [np.zeros(shape) for _ in range(states_of(optimizer))]

    def applied(self, side: Side, kets: Array, coordinates: Array) -> Array:
        other = self.initial.seen[opposite(side)]
        matrix = self.total.T if side.forward else self.total
        return self.factors[side] * (coordinates @ matrix[: coordinates.shape[1], : other.count]) @ other.known

    def learn(self, t: int, y: Array, g: Array, coordinates: tuple[Array, Array]) -> None:
        right, left = coordinates
        part = slice(left.shape[1]), slice(right.shape[1])
        rate, states = float(self.optimizer.schedule()[t]), [state[part] for state in self.states]
        self.total *= 1 - rate * self.optimizer.weight_decay
        self.total[part] += self.scale * self.rule(left.T @ right, states, rate, t)


class Pairs:
    """Delta entry by entry, over all pairs of neurons, in single precision.

    Args:
        neurons: N.
        optimizer: one that takes entries one by one.
        scale: of gradients.
        factors: of what an update makes of a ket, by side.
    """

    def __init__(self, neurons: int, optimizer: Optimizer, scale: float, factors: dict[Side, float]) -> None:
        self.neurons, self.optimizer, self.scale, self.factors = neurons, optimizer, scale, factors
        self.rule, shape = rule_of(optimizer), (neurons, neurons)
        self.total = np.zeros(shape, np.float32)
        self.states = [np.zeros(shape, np.float32) for _ in range(states_of(optimizer))]

    def applied(self, side: Side, kets: Array, coordinates: Array) -> Array:
        matrix = self.total.T if side.forward else self.total
        return (self.factors[side] / self.neurons) * (kets.astype(np.float32) @ matrix).astype(float)

    def learn(self, t: int, y: Array, g: Array, coordinates: tuple[Array, Array]) -> None:
        rate, right = float(self.optimizer.schedule()[t]), y.astype(np.float32)
        left = (self.scale * g).astype(np.float32)
        for begin in range(0, self.neurons, ROWS):
            rows = slice(begin, begin + ROWS)
            step = self.rule(left[:, rows].T @ right, [state[rows] for state in self.states], rate, t)
            self.total[rows] *= 1 - rate * self.optimizer.weight_decay
            self.total[rows] += step


class LearnedMatrix:
    """W and its transpose, acting on kets."""

    def __init__(self, initial: InitialMatrix, update: Update, optimizer: Optimizer) -> None:
        self.initial, self.update = initial, update
        self.left_over = np.cumprod(1 - optimizer.schedule() * optimizer.weight_decay)
        self.kept = 1.0

    def __call__(self, side: Side, kets: Array) -> tuple[Array, Array]:
        """The images of kets (S, N), and their coordinates in what the matrix has seen."""
        coordinates = self.initial.coordinates(side, kets)
        images = (self.kept * coordinates) @ self.initial.seen[side].made
        return images - self.update.applied(side, kets, coordinates), coordinates

    def learn(self, t: int, y: Array, g: Array, coordinates: tuple[Array, Array]) -> None:
        """One step, from rows (B, N) it acted on, forward y and backward g, with their coordinates."""
        self.update.learn(t, y, g, coordinates)
        self.kept = float(self.left_over[t])
