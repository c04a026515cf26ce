r"""Kernels of kets: $C^0 = \langle x_i, x_j\rangle$, $C^1 = \langle\delta_i, \delta_j\rangle$ at recorded depths."""

from typing import Any

import numpy as np

from limits.particles.network import trained
from limits.particles.space import Space
from limits.problem import Problem
from limits.record import Record, field_of
from limits.semiseparable import BACKWARD, FORWARD, Side

Array = Any


class Observer:
    """Kets that a record needs, of R samples of neurons, and the kernels they make.

    Args:
        problem: what is trained.
        record: which kernels at which positions, steps and samples.
        blocks: L.
        space: of the kets.
        replicas: R.
    """

    def __init__(self, problem: Problem, record: Record, blocks: int, space: Space, replicas: int) -> None:
        self.problem, self.record, self.space = problem, record, space
        self.samples = record.chosen_samples(problem)
        self.steps, self.places = np.unique(record.chosen_steps(problem), return_inverse=True)
        self.levels, self.placing = record.placing(blocks)
        self._level = {int(level): m for m, level in enumerate(self.levels)}
        self._step = {int(t): k for k, t in enumerate(self.steps)}
        wanted = {FORWARD: {"feature", "two_depth"}, BACKWARD: {"gradient"}}
        shape = (len(self.levels), replicas, len(self.steps), len(self.samples), space.neurons)
        self.rows = {side: space.library.zeros(*shape) for side, kinds in wanted.items() if kinds & set(record.kinds)}
        self._chosen = space.library.whole(self.samples)
        self._batch: tuple[int, Array] = (-1, None)
        self._outside = space.library.zeros(replicas, 1, space.neurons)

    @staticmethod
    def kets(problem: Problem, record: Record, blocks: int) -> int:
        """How many kets are held."""
        sides = bool({"feature", "two_depth"} & set(record.kinds)) + ("gradient" in record.kinds)
        steps, samples = len(set(record.chosen_steps(problem))), len(record.chosen_samples(problem))
        return sides * len(record.placing(blocks)[0]) * steps * samples

    def leave(self, side: Side, t: int, level: int, kets: Array) -> None:
        """Keep kets, of all samples (forward) or of the batch (backward), where they are recorded."""
        m, k = self._level.get(level), self._step.get(t)
        if side not in self.rows or m is None or k is None:
            return
        self.rows[side][m, :, k, ...] = self._recorded(kets) if side.forward else self._spread(t, kets)

    def _recorded(self, kets: Array) -> Array:
        return self.space.xp.take(kets, self._chosen, axis=1)

    def _spread(self, t: int, kets: Array) -> Array:
        """Kets of the batch as kets of the recorded samples, zero outside it."""
        if self._batch[0] != t:
            batch = trained(self.problem, t)
            place = np.minimum(np.searchsorted(batch, self.samples), len(batch) - 1)
            place = np.where(batch[place] == self.samples, place, len(batch))
            self._batch = t, self.space.library.whole(place)
        padded = self.space.xp.concat([kets, self._outside], axis=1)
        return self.space.xp.take(padded, self._batch[1], axis=1)

    def kernels(self) -> list[dict[str, np.ndarray]]:
        """The recorded kernels as fields of a `Trajectory`, of every sample of neurons."""
        chosen = np.ix_(self.places, self.places)
        found = {kind: self._two_depth() if kind == "two_depth" else self._equal_depth(kind) for kind in self.record.kinds}
        replicas = range(self._outside.shape[0])
        return [{field_of(kind): kernel[r][chosen] for kind, kernel in found.items()} for r in replicas]

    def _equal_depth(self, kind: str) -> np.ndarray:
        gram = np.stack([self._gram(z, z) for z in self._at_levels(FORWARD if kind == "feature" else BACKWARD)])
        return np.einsum("pm,mrkilj->rklpij", self.placing, gram, optimize=True)

    def _two_depth(self) -> np.ndarray:
        rows = self._at_levels(FORWARD)
        gram = np.stack([np.stack([self._gram(y, z) for z in rows]) for y in rows])
        return np.einsum("pm,qn,mnrkilj->rklpqij", self.placing, self.placing, gram, optimize=True)

    def _at_levels(self, side: Side) -> list[Array]:
        return [self.rows[side][m, ...] for m in range(len(self.levels))]

    def _gram(self, y: Array, z: Array) -> np.ndarray:
        """Mean products of kets (R, K, S, N), shape (R, K, S, K, S)."""
        replicas, *shape, neurons = y.shape
        flat = [self.space.xp.reshape(rows, (replicas, -1, neurons)) for rows in (y, z)]
        return self.space.library.get(self.space.inner(*flat)).reshape(replicas, *shape, *shape)

    def where(self) -> dict[str, Any]:
        """The recorded steps, positions and samples, as fields of a `Trajectory`."""
        return {"steps": self.steps[self.places], "positions": self.record.depths, "recorded": self.samples}
