r"""Real networks, several seeds at a time: their draw, what is recorded of them, and how their ends learn."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from limits.directions import Directions
from limits.finite.blocks import Blocks
from limits.library import Library
from limits.problem import Problem
from limits.semiseparable import BACKWARD, FORWARD, Side

Array = Any


@dataclass(frozen=True)
class Recorded:
    """Where a pass leaves the rows that are recorded.

    Attributes:
        samples: which ones are recorded, shape (s,).
        frame: which combinations of rows, shape (rows kept, rows), or None for the rows themselves.
        at_levels: for every level 0 … L the array (S, rows kept, n) to write to, which holds zeros, or None.
    """

    samples: np.ndarray
    frame: Array
    at_levels: Sequence[Array]

    def seen(self, rows: Array) -> Array:
        return rows if self.frame is None else self.frame @ rows

    def leave(self, level: int, rows: Array, seen: Callable[[Array], Array]) -> None:
        """Leave what is seen of the rows at a level there, if it is recorded."""
        if self.at_levels[level] is not None:
            self.at_levels[level][...] = seen(rows)


Watch = Callable[[Side, int], Recorded | None]
"""(side, evaluation) -> where its rows are recorded."""


@dataclass
class Networks:
    """Networks of several seeds: rows X^0 (forward) and V (backward) at the two ends, and the blocks between them."""

    library: Library
    rows: dict[Side, Array]
    blocks: Blocks


class Ends:
    """The read-in and the read-out of `Networks`: the loss derivative between them, and SGD on their rows.

    Attributes:
        rates: of X^0 (forward) and V (backward), step by step.
    """

    def __init__(self, problem: Problem, networks: Networks) -> None:
        sgd, self.problem, self.networks = problem.sgd, problem, networks
        self.momentum = sgd.momentum
        self.targets = networks.library.put(problem.targets)
        self.rates = {FORWARD: sgd.schedule("input_lr").tolist(), BACKWARD: sgd.schedule("output_lr").tolist()}
        self.velocity = {FORWARD: 0.0, BACKWARD: 0.0}

    def chi(self, t: int, outputs: Array) -> Array:
        """Derivative of the batch mean of the loss at outputs (S, P + R, d_out), shape (S, P, d_out)."""
        share = self.networks.library.put(self.problem.batch_share(t)[:, None])
        return self.problem.loss_function.derivative(outputs[:, : self.problem.n_samples, :], self.targets) * share

    def learn(self, side: Side, t: int, gradient: Array) -> None:
        """One step of the rows at an end, X^0 or V; with momentum they move on where the rate is 0."""
        if any(self.rates[side]):
            momentum, rows = self.momentum, self.networks.rows
            self.velocity[side] = momentum * self.velocity[side] + self.rates[side][t] * gradient
            rows[side] = rows[side] - self.velocity[side]


@dataclass(frozen=True)
class Draw:
    """The random numbers of several networks, being drawn by other threads; numpy's generators run side by side.

    Attributes:
        x: X^0, the input directions through U, shape (S, c, n).
        v: V, shape (S, d_out, n).
        weights: W^1 … W^L times their multiplier (`inner_multiplier`), shape (L, S, n, n).
        under_way: what to wait for.
    """

    x: np.ndarray
    v: np.ndarray
    weights: np.ndarray
    under_way: Sequence[Future]

    def __len__(self) -> int:
        return len(self.x)

    def wait(self) -> "Draw":
        """Itself, when every number is there."""
        for seed in self.under_way:
            seed.result()
        return self


def inner_multiplier(problem: Problem) -> tuple[float, Fraction]:
    r"""What the matrices are held times, as (factor, power of L): $aL^{-\alpha}$, but 1 where $\phi$ comes after them."""
    if problem.model.form == "post" and not problem.model.phi.linear:
        return 1.0, Fraction(0)
    return problem.model.multiplier, -problem.parametrization.single()[0]


def draw(
    threads: Executor, problem: Problem, basis: Directions, *, width: int, blocks: int, seed: int, seeds: range, dtype: str
) -> Draw:
    """Begin to draw networks.

    Seed s draws U, V, W^1 … W^L in this order from `default_rng([seed, s])`, in float64: a seed is the same network in
    every type and array library.
    """
    n, S = width, len(seeds)
    multiplier, power = inner_multiplier(problem)
    scale = multiplier * blocks ** float(power - problem.parametrization.single()[2]) / np.sqrt(n)
    x, v = np.empty((S, basis.count, n), dtype), np.empty((S, problem.d_out, n), dtype)
    weights = np.empty((blocks, S, n, n), dtype)

    def fill(s: int) -> None:
        rng, normals = np.random.default_rng([seed, seeds[s]]), np.empty((n, n))
        x[s] = (rng.standard_normal((n, problem.d_in)) @ basis.basis).T
        v[s] = rng.standard_normal((n, problem.d_out)).T
        for matrix in weights[:, s]:
            np.multiply(rng.standard_normal(out=normals), scale, out=matrix, casting="same_kind")

    return Draw(x, v, weights, [threads.submit(fill, s) for s in range(S)])
