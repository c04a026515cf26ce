r"""Training of networks with linear blocks, several seeds at a time: what passes through them are directions.

Linear blocks act on every sample alike, so what passes through the network are *directions*: rows $X$ of the states of
$c$ orthonormal input directions and rows $D$ of the states $\delta$ of the $d_{out}$ output directions. With coordinates
$c_i$ of a sample, $x_i = c_i^TX$, $f_i = D^{l}x_i^l/n$ at any depth $l$, $\delta_i = \chi_i^TD$, and the gradient of a block is
$D^TMX$ with $M = \sum_i\chi_i c_i^T$. Therefore

* $D$ does not depend on the loss: outputs follow from the backward pass of $V$ alone, or from the forward pass of $X^0$
  alone, and the pass with fewer rows goes first;
* the other pass carries $MX$ (or $M^TD$), again $\min(c, d_{out})$ rows, because that is all an update sees.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from limits.directions import Directions
from limits.finite.network import Ends, Networks, Recorded, Watch
from limits.problem import Problem
from limits.semiseparable import BACKWARD, FORWARD, Side

Array = Any
Pick = Callable[[Array], Array]


@dataclass(frozen=True)
class Pass:
    """Rows to send through the blocks: what of them makes updates (`learned`), what is recorded, and where."""

    rows: Array
    learned: Pick
    recorded: Recorded | None
    seen: Pick

    def record(self, level: int, rows: Array) -> None:
        """Leave the rows at a level where they are recorded, if they are."""
        if self.recorded:
            self.recorded.leave(level, rows, self.seen)


class LinearTraining:
    """SGD on `Networks` of linear blocks: at every evaluation the pass that gives outputs, then the one that updates need.

    Args:
        problem: what is trained.
        networks: rewritten as they learn.
        coordinates: of the evaluated samples, shape (P + R, c).
        watch: which states to record.
    """

    def __init__(self, problem: Problem, networks: Networks, coordinates: np.ndarray, watch: Watch) -> None:
        self.problem, self.networks, self.watch = problem, networks, watch
        self.library, self.ends = networks.library, Ends(problem, networks)
        self.coordinates = self.library.put(coordinates)
        self.first, self.second = FORWARD, BACKWARD
        if problem.d_out <= coordinates.shape[1]:
            self.first, self.second = BACKWARD, FORWARD
        self.rank = min(problem.d_out, coordinates.shape[1])
        alpha, gamma, _ = problem.parametrization.single()
        L, self.width = networks.blocks.count, networks.rows[FORWARD].shape[-1]
        kappa = problem.model.multiplier**2 * L ** float(-alpha - gamma) / self.width
        self.steps = [*(kappa * problem.optimizer.schedule()).tolist(), 0.0]

    @staticmethod
    def update_rows(problem: Problem, basis: Directions) -> np.ndarray:
        """Rows of factors that every step adds, shape (T,)."""
        return min(basis.count, problem.d_out) * (problem.optimizer.schedule() > 0)

    def evaluate(self, t: int) -> Array:
        """Outputs (S, P + R, d_out) of evaluation t, and the update after it."""
        rows = self.networks.rows
        self.networks.blocks.begin(self.rank if self.steps[t] > 0 else 0)
        recorded = self.watch(self.first, t)
        end = self._send(self.first, t, Pass(rows[self.first], _all, recorded, recorded.seen if recorded else _all))
        x, delta = (rows[FORWARD], end) if self.first is BACKWARD else (end, rows[BACKWARD])
        outputs = self.coordinates @ (x @ self._transposed(delta)) / self.width
        self._respond(t, end, None if t == self.problem.steps else self._mix(t, outputs))
        return outputs

    def _mix(self, t: int, outputs: Array) -> Array:
        """M (S, d_out, c), or its transpose: the rows of the first pass that the second one carries."""
        mix = self._transposed(self.ends.chi(t, outputs)) @ self.coordinates[: self.problem.n_samples, :]
        return mix if self.second is FORWARD else self._transposed(mix)

    def _respond(self, t: int, end: Array, mix: Array | None) -> None:
        """The second pass, as far as anything needs it, and the update of U and V."""
        needed = mix is not None and (self.steps[t] > 0 or self.ends.rates[self.first][t] > 0)
        recorded, gradient = self.watch(self.second, t), 0.0
        if needed or recorded:
            response = self._response(self.networks.rows[self.second], mix if needed else None, recorded)
            gradient = response.learned(self._send(self.second, t, response))
        if mix is not None:
            self.ends.learn(self.first, t, gradient if needed else 0.0)
            self.ends.learn(self.second, t, self._transposed(mix) @ end)

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

    def _transposed(self, rows: Array) -> Array:
        return self.library.xp.matrix_transpose(rows)


def _all(rows: Array) -> Array:
    return rows
