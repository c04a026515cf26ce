r"""Kernels of kets: $C^0 = \langle x_i, x_j\rangle$, $C^1 = \langle\delta_i, \delta_j\rangle$ at recorded depths."""

from typing import Any

import numpy as np

from limits.particles.network import trained
from limits.problem import Problem
from limits.record import Record, field_of
from limits.semiseparable import BACKWARD, FORWARD, Side

Array = np.ndarray


class Observer:
    """Kets that a record needs, and the kernels they make.

    Args:
        problem: what is trained.
        record: which kernels at which positions, steps and samples.
        blocks: L.
        neurons: N.
    """

    def __init__(self, problem: Problem, record: Record, blocks: int, neurons: int) -> None:
        self.problem, self.record, self.neurons = problem, record, neurons
        self.samples = record.chosen_samples(problem)
        self.steps, self.places = np.unique(record.chosen_steps(problem), return_inverse=True)
        self.levels, self.placing = record.placing(blocks)
        wanted = {FORWARD: {"feature", "two_depth"}, BACKWARD: {"gradient"}}
        shape = (len(self.levels), len(self.steps), len(self.samples), neurons)
        self.rows = {side: np.zeros(shape) for side, kinds in wanted.items() if kinds & set(record.kinds)}

    @staticmethod
    def kets(problem: Problem, record: Record, blocks: int) -> int:
        """How many kets are held."""
        sides = bool({"feature", "two_depth"} & set(record.kinds)) + ("gradient" in record.kinds)
        steps, samples = len(set(record.chosen_steps(problem))), len(record.chosen_samples(problem))
        return sides * len(record.placing(blocks)[0]) * steps * samples

    def leave(self, side: Side, t: int, level: int, kets: Array) -> None:
        """Keep kets, of all samples (forward) or of the batch (backward), where they are recorded."""
        m, k = np.searchsorted(self.levels, level), np.searchsorted(self.steps, t)
        if side not in self.rows or level not in self.levels or t not in self.steps:
            return
        here = kets if side.forward else self._spread(t, kets)
        self.rows[side][m, k] = here[self.samples]

    def _spread(self, t: int, kets: Array) -> Array:
        """Kets of the batch as kets of all samples, zero outside it."""
        spread = np.zeros((len(self.problem.evaluated), self.neurons))
        spread[trained(self.problem, t)] = kets
        return spread

    def kernels(self) -> dict[str, Array]:
        """The recorded kernels as fields of a `Trajectory`."""
        found = {kind: self._two_depth() if kind == "two_depth" else self._equal_depth(kind) for kind in self.record.kinds}
        return {field_of(kind): kernel[np.ix_(self.places, self.places)] for kind, kernel in found.items()}

    def _equal_depth(self, kind: str) -> Array:
        rows = self.rows[FORWARD if kind == "feature" else BACKWARD]
        return np.einsum("pm,mkilj->klpij", self.placing, np.stack([self._gram(z, z) for z in rows]), optimize=True)

    def _two_depth(self) -> Array:
        rows = self.rows[FORWARD]
        gram = np.stack([np.stack([self._gram(y, z) for z in rows]) for y in rows])
        return np.einsum("pm,qn,mnkilj->klpqij", self.placing, self.placing, gram, optimize=True)

    def _gram(self, y: Array, z: Array) -> Array:
        """Mean products of kets (K, S, N), shape (K, S, K, S)."""
        flat = y.reshape(-1, self.neurons) @ z.reshape(-1, self.neurons).T / self.neurons
        return flat.reshape(*y.shape[:2], *z.shape[:2])

    def where(self) -> dict[str, Any]:
        """The recorded steps, positions and samples, as fields of a `Trajectory`."""
        return {"steps": self.steps[self.places], "positions": self.record.depths, "recorded": self.samples}
