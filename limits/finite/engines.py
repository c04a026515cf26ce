"""Two ways to hold networks and train them: low-rank updates beside fixed matrices, or every matrix rewritten at every step."""

from concurrent.futures import Executor
from typing import Any, Protocol, runtime_checkable

import numpy as np

from limits.directions import directions
from limits.finite import dense
from limits.finite.blocks import Blocks, capacity, pays_to_absorb
from limits.finite.graphs import capture_of
from limits.finite.linear import LinearTraining
from limits.finite.network import Draw, Networks, Watch, draw
from limits.finite.nonlinear import ROWS_AT_ONCE, NonlinearTraining
from limits.library import Library
from limits.optimizers import SGD
from limits.problem import Problem
from limits.semiseparable import BACKWARD, FORWARD

Array = Any
GRAPHED = 512
"""Width up to which a network on a GPU waits for launches more than for its weights: estimated, not measured."""


@runtime_checkable
class Training(Protocol):
    """Networks in training."""

    def evaluate(self, t: int) -> Array:
        """Outputs (S, P + R, d_out) of evaluation t, and the update after it."""
        ...


@runtime_checkable
class Engine(Protocol):
    """How networks are held.

    Attributes:
        coordinates: of the evaluated samples in the directions that pass through the networks; None where samples do.
        largest: numbers of the largest matrix.
        matrices: of a network, between its ends.
        drawn: numbers of a network that is drawn and not yet in training.
    """

    coordinates: np.ndarray | None
    largest: int
    matrices: int
    drawn: int

    def numbers_per_seed(self) -> int:
        """Numbers that one network holds while it trains, without what is recorded."""
        ...

    def draw(self, threads: Executor, seed: int, seeds: range) -> Any:
        """Begin to draw networks; the result has `wait` and a length."""
        ...

    def training(self, drawn: Any, watch: Watch) -> Training:
        """Drawn networks, ready to train."""
        ...


def engine(problem: Problem, library: Library, width: int, blocks: int, block_width: int) -> Engine:
    """The faster way that fits the problem: on a GPU, small networks whose steps can be launched as one graph are dense."""
    model, optimizer = problem.model, problem.optimizer
    plain = isinstance(optimizer, SGD) and not optimizer.weight_decay and library.products is None
    graphed = capture_of(library, width**2, problem.steps) is not None and width <= GRAPHED
    if plain and model.block_depth == 1 and not model.layer_norm and not graphed:
        return LowRank(problem, library, width, blocks)
    return Dense(problem, library, width, blocks, block_width)


class LowRank:
    """Networks of one-layer blocks under SGD (`limits.finite.blocks`); of linear blocks only the input directions pass."""

    def __init__(self, problem: Problem, library: Library, width: int, blocks: int) -> None:
        self.problem, self.library, self.width, self.blocks = problem, library, width, blocks
        self.largest, self.matrices, self.drawn = width**2, blocks, blocks * width**2
        self.basis = directions(problem.evaluated, problem.evaluated)
        linear, self.momentum = problem.model.phi.linear, problem.sgd.momentum
        self.coordinates = self.basis.coordinates if linear else None
        self.kind = LinearTraining if linear else NonlinearTraining
        rows = self.kind.update_rows(problem, self.basis)
        updates, rank = int(rows.sum()), int(rows.max(initial=0))
        self.eager = not linear and pays_to_absorb(rank + len(problem.evaluated), width)
        self.capacity = rank if self.eager else capacity(updates, rank, width, self.momentum)
        self.velocity = self.momentum > 0 and updates > 0 and (self.eager or updates > self.capacity)

    def numbers_per_seed(self) -> int:
        n = self.width
        rows = 0 if self.coordinates is not None else ROWS_AT_ONCE * len(self.problem.evaluated) * n
        return self.blocks * n * (n * (1 + self.velocity) + 2 * self.capacity) + rows

    def draw(self, threads: Executor, seed: int, seeds: range) -> Draw:
        sizes = {"width": self.width, "blocks": self.blocks}
        return draw(threads, self.problem, self.basis, **sizes, seed=seed, seeds=seeds, dtype=self.library.dtype)

    def training(self, drawn: Draw, watch: Watch) -> Training:
        put = self.library.put
        weights, how = put(drawn.weights), {"momentum": self.momentum, "eager": self.eager}
        blocks = Blocks(self.library, weights, capacity=self.capacity, **how)
        networks = Networks(self.library, {FORWARD: put(drawn.x), BACKWARD: put(drawn.v)}, blocks)
        return self.kind(self.problem, networks, self.basis.coordinates, watch)


class Dense:
    """Networks of any block under any optimizer (`limits.finite.dense`)."""

    def __init__(self, problem: Problem, library: Library, width: int, blocks: int, block_width: int) -> None:
        self.coordinates: np.ndarray | None = None
        self.problem, self.library, self.width, self.blocks = problem, library, width, blocks
        self.shapes = dense.Shapes.of(problem, width, block_width)
        self.largest, self.matrices = self.shapes.largest, blocks * len(self.shapes.matrices)
        self.drawn = blocks * self.shapes.numbers

    def numbers_per_seed(self) -> int:
        return dense.numbers_per_network(self.problem, self.shapes, self.blocks, self.width)

    def draw(self, threads: Executor, seed: int, seeds: range) -> dense.Drawn:
        sizes = {"width": self.width, "blocks": self.blocks}
        return dense.draw(threads, self.problem, self.shapes, **sizes, seed=seed, seeds=seeds, dtype=self.library.dtype)

    def training(self, drawn: dense.Drawn, watch: Watch) -> Training:
        put, S = self.library.put, len(drawn)
        multipliers = np.full(S, self.problem.model.multiplier)
        parts = (put(drawn.u), put(drawn.v), [put(w) for w in drawn.weights])
        return dense.DenseTraining(
            self.problem, self.library, *parts, lrs=np.ones(S), multipliers=multipliers, watch=watch
        )  # fmt: skip
