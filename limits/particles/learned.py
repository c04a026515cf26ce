r"""Matrices that learn, acting on kets: $W = \rho\hat W - \Delta$, with $\rho$ what weight decay leaves of the initial matrix.

Updates of `SGD` and `Muon` have low rank and are held as small matrices, $\Delta = q^TMp$ in the orthonormal kets that W has
seen. Those of `Adam` and `SignSGD` are nonlinear outer products (TP4b): an entry is a function of all $g$ and $y$ of two
neurons v and u, and acts on a ket as an expectation over an independent copy of the other side's neurons,

$$ (\Delta y)(v) = L^{-\gamma}E_u\big[Q(g_1(v)y_1(u), g_2(v)y_2(u), \dots)\,y(u)\big], $$

with N neurons on each side, hence $N^2$ pairs.
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from limits.optimizers import SGD, Muon, Optimizer
from limits.particles.matrix import InitialMatrix, opposite
from limits.particles.noise import Noise
from limits.particles.rules import rule_of, states_of
from limits.semiseparable import BACKWARD, FORWARD, Side

Array = Any
ROWS = 64
"""Rows of pairs that are moved at once on a CPU, where they stay in cache."""
PAIR = "float32"
"""Type of what is held of pairs of neurons."""


def low_rank(optimizer: Optimizer) -> bool:
    """Whether updates are small matrices in orthonormal kets."""
    return isinstance(optimizer, SGD | Muon)


@runtime_checkable
class Update(Protocol):
    """What W has learned: Delta."""

    def begin(self) -> None:
        """Nothing yet."""
        ...

    def in_coordinates(self, side: Side, coordinates: Array) -> Array | None:
        """Delta or its transpose on kets with these coordinates, in those of the other side; None if that is not known."""
        ...

    def applied(self, side: Side, kets: Array) -> Array | None:
        """Delta or its transpose on kets, where coordinates do not tell."""
        ...

    def learn(self, t: int, y: Array, g: Array, coordinates: tuple[Array, Array]) -> None:
        """One step from the scaled gradient sum of g^T y, of rows (R, B, N) with these coordinates."""
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
        self.xp, self.rule = initial.space.xp, rule_of(optimizer, initial.space.xp)
        self.begin()

    def begin(self) -> None:
        zeros, seen = self.initial.space.library.zeros, self.initial.seen
        shape = (len(self.initial.noise.rngs), seen[BACKWARD].basis.shape[1], seen[FORWARD].basis.shape[1])
        self.total, self.moved = zeros(*shape), False
        self.states = [zeros(*shape) for _ in range(states_of(self.optimizer))]

    def in_coordinates(self, side: Side, coordinates: Array) -> Array | None:
        if not self.moved:
            return None
        total = self.xp.matrix_transpose(self.total) if side.forward else self.total
        count = self.initial.seen[opposite(side)].count
        return self.factors[side] * (coordinates @ total[:, : coordinates.shape[2], :count])

    def applied(self, side: Side, kets: Array) -> Array | None:
        return None

    def learn(self, t: int, y: Array, g: Array, coordinates: tuple[Array, Array]) -> None:
        right, left = coordinates
        part = slice(None), slice(left.shape[2]), slice(right.shape[2])
        rate, states = float(self.optimizer.schedule()[t]), [state[part] for state in self.states]
        self.total *= 1 - rate * self.optimizer.weight_decay
        self.total[part] += self.scale * self.rule(self.xp.matrix_transpose(left) @ right, states, rate, t)
        self.moved = True


class Pairs:
    """Delta entry by entry, over all pairs of neurons, in single precision.

    Args:
        initial: the matrix.
        optimizer: one that takes entries one by one.
        scale: of gradients.
        factors: of what an update makes of a ket, by side.
    """

    def __init__(self, initial: InitialMatrix, optimizer: Optimizer, scale: float, factors: dict[Side, float]) -> None:
        self.initial, self.optimizer, self.scale, self.factors = initial, optimizer, scale, factors
        self.space, self.xp = initial.space, initial.space.xp
        self.number, self.rule = getattr(self.xp, PAIR), rule_of(optimizer, self.xp)
        self.total, *self.states = (self._zeros() for _ in range(1 + states_of(optimizer)))
        self.moved = False

    def _zeros(self) -> Array:
        shape = (len(self.initial.noise.rngs), self.space.neurons, self.space.neurons)
        return self.xp.zeros(shape, dtype=self.number, device=self.space.library.device)

    def begin(self) -> None:
        if self.moved:
            for held in (self.total, *self.states):
                held *= 0
        self.moved = False

    def in_coordinates(self, side: Side, coordinates: Array) -> Array | None:
        return None

    def applied(self, side: Side, kets: Array) -> Array | None:
        if not self.moved:
            return None
        matrix = self.xp.matrix_transpose(self.total) if side.forward else self.total
        found = self._single(kets) @ matrix
        return (self.factors[side] / self.space.neurons) * self.xp.astype(found, self.space.number)

    def learn(self, t: int, y: Array, g: Array, coordinates: tuple[Array, Array]) -> None:
        rate, right, left = float(self.optimizer.schedule()[t]), self._single(y), self._single(self.scale * g)
        step = ROWS if self.space.library.on_cpu else self.space.neurons
        for begin in range(0, self.space.neurons, step):
            rows = slice(None), slice(begin, begin + step), slice(None)
            gradient = self.xp.matrix_transpose(left[:, :, begin : begin + step]) @ right
            move = self.rule(gradient, [state[rows] for state in self.states], rate, t)
            self.total[rows] *= 1 - rate * self.optimizer.weight_decay
            self.total[rows] += move
        self.moved = True

    def _single(self, kets: Array) -> Array:
        return self.xp.astype(kets, self.number)


class LearnedMatrix:
    """W and its transpose, acting on kets."""

    def __init__(self, initial: InitialMatrix, update: Update, optimizer: Optimizer) -> None:
        self.initial, self.update = initial, update
        self.left_over = np.cumprod(1 - optimizer.schedule() * optimizer.weight_decay)
        self.kept = 1.0

    def begin(self, noise: Noise) -> None:
        """Be an untrained matrix, in the same places."""
        self.initial.begin(noise)
        self.update.begin()
        self.kept = 1.0

    def __call__(self, side: Side, kets: Array) -> tuple[Array, Array]:
        """The images of kets (R, S, N), and their coordinates in what the matrix has seen."""
        images, coordinates = self.initial(side, kets, self.kept, lambda known: self._learned(side, known))
        learned = self.update.applied(side, kets)
        return (images if learned is None else images - learned), coordinates

    def _learned(self, side: Side, coordinates: Array) -> Array | None:
        found = self.update.in_coordinates(side, coordinates)
        return None if found is None else -found

    def learn(self, t: int, y: Array, g: Array, coordinates: tuple[Array, Array]) -> None:
        """One step, from rows (R, B, N) it acted on, forward y and backward g, with their coordinates."""
        self.update.learn(t, y, g, coordinates)
        self.kept = float(self.left_over[t])
