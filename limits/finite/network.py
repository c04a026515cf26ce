r"""Real networks, several seeds at a time: their draw, their passes and their training.

Linear blocks act on every sample alike, so what passes through the network are *directions*: rows $X$ of the states of
$c$ orthonormal input directions and rows $D$ of the states $\delta$ of the $d_{out}$ output directions. With coordinates
$c_i$ of a sample, $x_i = c_i^TX$, $f_i = D^{l}x_i^l/n$ at any depth $l$, $\delta_i = \chi_i^TD$, and the gradient of a block is
$D^TMX$ with $M = \sum_i\chi_i c_i^T$. Therefore

* $D$ does not depend on the loss: outputs follow from the backward pass of $V$ alone, or from the forward pass of $X^0$
  alone, and the pass with fewer rows goes first;
* the other pass carries $MX$ (or $M^TD$), again $\min(c, d_{out})$ rows, because that is all an update sees.

A nonlinear block needs the same `Blocks` (`product` without `onto` is $W x$ alone), with samples as rows, the forward pass
first, and $\phi$ and $\phi'$ between.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from limits.directions import Directions
from limits.finite.blocks import Blocks
from limits.finite.library import Library
from limits.problem import Problem
from limits.semiseparable import BACKWARD, FORWARD, Side

Array = Any
Pick = Callable[[Array], Array]


@dataclass(frozen=True)
class Recorded:
    """Where a pass leaves the rows that are recorded.

    Attributes:
        frame: which combinations of rows, shape (rows kept, rows), or None for the rows themselves.
        at_levels: for every level 0 … L the array (S, rows kept, n) to write to, or None.
    """

    frame: Array
    at_levels: Sequence[Array]

    def seen(self, rows: Array) -> Array:
        return rows if self.frame is None else self.frame @ rows


Watch = Callable[[Side, int], Recorded | None]
"""(side, evaluation) -> where its rows are recorded."""


@dataclass
class Networks:
    """Networks of several seeds: rows X^0 (forward) and V (backward) at the two ends, and the blocks between them."""

    library: Library
    rows: dict[Side, Array]
    blocks: Blocks


@dataclass(frozen=True)
class Draw:
    """The random numbers of several networks, being drawn by other threads; numpy's generators run side by side.

    Attributes:
        x: X^0, the input directions through U, shape (S, c, n).
        v: V, shape (S, d_out, n).
        weights: W^1 … W^L times their multiplier, shape (L, S, n, n).
        under_way: what to wait for.
    """

    x: np.ndarray
    v: np.ndarray
    weights: np.ndarray
    under_way: Sequence[Future]

    def wait(self) -> "Draw":
        """Itself, when every number is there."""
        for seed in self.under_way:
            seed.result()
        return self


def draw(
    threads: Executor, problem: Problem, basis: Directions, *, width: int, blocks: int, seed: int, seeds: range, dtype: str
) -> Draw:
    """Begin to draw networks.

    Seed s draws U, V, W^1 … W^L in this order from `default_rng([seed, s])`, in float64: a seed is the same network in
    every type and array library.
    """
    n, S = width, len(seeds)
    alpha, _, beta = problem.parametrization.single()
    scale = problem.model.multiplier * blocks ** float(-alpha - beta) / np.sqrt(n)
    x, v = np.empty((S, basis.count, n), dtype), np.empty((S, problem.d_out, n), dtype)
    weights = np.empty((blocks, S, n, n), dtype)

    def fill(s: int) -> None:
        rng, normals = np.random.default_rng([seed, seeds[s]]), np.empty((n, n))
        x[s] = (rng.standard_normal((n, problem.d_in)) @ basis.basis).T
        v[s] = rng.standard_normal((n, problem.d_out)).T
        for matrix in weights[:, s]:
            np.multiply(rng.standard_normal(out=normals), scale, out=matrix, casting="same_kind")

    return Draw(x, v, weights, [threads.submit(fill, s) for s in range(S)])


@dataclass(frozen=True)
class Pass:
    """Rows to send through the blocks: what of them makes updates (`learned`), what is recorded, and where."""

    rows: Array
    learned: Pick
    recorded: Recorded | None
    seen: Pick

    def record(self, level: int, rows: Array) -> None:
        """Leave the rows at a level where they are recorded, if they are."""
        if self.recorded and self.recorded.at_levels[level] is not None:
            self.recorded.at_levels[level][...] = self.seen(rows)


class Training:
    """SGD on `Networks`: at every evaluation the pass that gives outputs, then the one that updates need.

    Args:
        problem: what is trained.
        networks: rewritten as they learn.
        coordinates: of the evaluated samples, shape (P + R, c).
        watch: which states to record.
    """

    def __init__(self, problem: Problem, networks: Networks, coordinates: np.ndarray, watch: Watch) -> None:
        self.problem, self.networks, self.watch = problem, networks, watch
        sgd, self.library = problem.optimizer, networks.library
        self.coordinates, self.targets = self.library.put(coordinates), self.library.put(problem.targets)
        self.first, self.second = FORWARD, BACKWARD
        if problem.d_out <= coordinates.shape[1]:
            self.first, self.second = BACKWARD, FORWARD
        self.rates = {FORWARD: sgd.schedule("input_lr").tolist(), BACKWARD: sgd.schedule("output_lr").tolist()}
        self.velocity = {FORWARD: 0.0, BACKWARD: 0.0}
        alpha, gamma, _ = problem.parametrization.single()
        L, self.width = networks.blocks.count, networks.rows[FORWARD].shape[-1]
        kappa = problem.model.multiplier**2 * L ** float(-alpha - gamma) / self.width
        self.steps = [*(kappa * sgd.schedule()).tolist(), 0.0]

    def evaluate(self, t: int) -> Array:
        """Outputs (S, P + R, d_out) of evaluation t, and the update after it."""
        rows = self.networks.rows
        self.networks.blocks.begin(self.steps[t] > 0)
        recorded = self.watch(self.first, t)
        end = self._send(self.first, t, Pass(rows[self.first], _all, recorded, recorded.seen if recorded else _all))
        x, delta = (rows[FORWARD], end) if self.first is BACKWARD else (end, rows[BACKWARD])
        outputs = self.coordinates @ (x @ self._transposed(delta)) / self.width
        self._respond(t, end, None if t == self.problem.steps else self._mix(t, outputs))
        return outputs

    def _mix(self, t: int, outputs: Array) -> Array:
        """M (S, d_out, c), or its transpose: the rows of the first pass that the second one carries."""
        p, problem = self.problem.n_samples, self.problem
        share = self.library.put(problem.batch_share(t)[:, None])
        chi = problem.loss_function.derivative(outputs[:, :p, :], self.targets) * share
        mix = self._transposed(chi) @ self.coordinates[:p, :]
        return mix if self.second is FORWARD else self._transposed(mix)

    def _respond(self, t: int, end: Array, mix: Array | None) -> None:
        """The second pass, as far as anything needs it, and the update of U and V."""
        needed = mix is not None and (self.steps[t] > 0 or self.rates[self.first][t] > 0)
        recorded, gradient = self.watch(self.second, t), 0.0
        if needed or recorded:
            response = self._response(self.networks.rows[self.second], mix if needed else None, recorded)
            gradient = response.learned(self._send(self.second, t, response))
        if mix is not None:
            self._learn(self.first, t, gradient if needed else 0.0)
            self._learn(self.second, t, self._transposed(mix) @ end)

    def _response(self, start: Array, mix: Array | None, recorded: Recorded | None) -> Pass:
        """Rows of the second pass: `mix` of those at its start for the update, and those that are recorded."""
        if recorded and recorded.frame is None:
            return Pass(start, _all if mix is None else lambda rows: mix @ rows, recorded, _all)
        parts = ([] if mix is None else [mix @ start]) + ([recorded.seen(start)] if recorded else [])
        k = 0 if mix is None else mix.shape[-2]
        rows = parts[0] if len(parts) == 1 else self.library.xp.concat(parts, axis=1)
        return Pass(rows, lambda rows: rows[:, :k, :], recorded, lambda rows: rows[:, k:, :])

    def _send(self, side: Side, t: int, sent: Pass) -> Array:
        """A pass through the blocks that leaves factors of the update and what is recorded."""
        blocks, rows, step, forward = self.networks.blocks, sent.rows, self.steps[t], side.forward
        product, slots = blocks.product(side), blocks.slots(side)
        order, behind = (range(blocks.count), 0) if forward else (range(blocks.count - 1, -1, -1), 1)
        for l in order:  # x^l enters the update of the block after it, delta^l that of the block before
            if step:
                slots[l][...] = -step * sent.learned(rows) if forward else sent.learned(rows)
            if sent.recorded:
                sent.record(l + behind, rows)
            rows = product(l, rows, onto=rows)
        if sent.recorded:
            sent.record(blocks.count if forward else 0, rows)
        return rows

    def _learn(self, side: Side, t: int, gradient: Array) -> None:
        """One step of the rows at an end, X^0 or V; with momentum they move on where the rate is 0."""
        if any(self.rates[side]):
            momentum = self.problem.optimizer.momentum
            self.velocity[side] = momentum * self.velocity[side] + self.rates[side][t] * gradient
            self.networks.rows[side] = self.networks.rows[side] - self.velocity[side]

    def _transposed(self, rows: Array) -> Array:
        return self.library.xp.matrix_transpose(rows)


def _all(rows: Array) -> Array:
    return rows
