r"""Kernels measured in real networks: $C^0 = \langle x_i, x_j\rangle/n$ and $C^1 = \langle\delta_i, \delta_j\rangle/n$."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from limits.finite.network import Recorded
from limits.library import Library
from limits.problem import Problem
from limits.record import Record
from limits.semiseparable import BACKWARD, FORWARD, Side

Array = Any
Kernels = dict[str, np.ndarray]


class Observer:
    """What a record keeps of networks with L blocks.

    Where directions pass through the networks, rows of directions or of samples are stored, whichever are fewer; where
    samples do, rows of those recorded. Both only at the levels that the positions need.

    Args:
        problem: what is trained.
        record: which kernels at which positions, steps and samples.
        blocks: L.
        coordinates: of the evaluated samples in the directions that pass through, shape (P + R, c); None where samples do.
    """

    def __init__(self, problem: Problem, record: Record, blocks: int, coordinates: np.ndarray | None) -> None:
        self.problem, self.record, self.blocks = problem, record, blocks
        self.samples = record.chosen_samples(problem)
        self.steps, self.places = np.unique(record.chosen_steps(problem), return_inverse=True)
        self.levels, self.placing = record.placing(blocks)
        self.directions = coordinates is not None
        self.frame: np.ndarray | None = None  # from the rows that pass to those stored
        self.read: np.ndarray | None = None  # from the rows stored to samples; None where they are those
        s = len(self.samples)
        rows = {FORWARD: s, BACKWARD: s}
        if coordinates is not None:
            chosen = coordinates[self.samples]
            self.frame, self.read = (chosen, None) if s < len(chosen.T) else (None, chosen)
            rows = {FORWARD: min(chosen.shape), BACKWARD: problem.d_out}
        wanted = {FORWARD: {"feature", "two_depth"}, BACKWARD: {"gradient"}}
        self.heights = {side: rows[side] if kinds & set(record.kinds) else 0 for side, kinds in wanted.items()}

    def numbers_per_seed(self, width: int) -> int:
        """How many numbers one seed stores while it trains."""
        return len(self.steps) * len(self.levels) * sum(self.heights.values()) * width

    def fields(self, kernels: Kernels) -> dict[str, Any]:
        """Kernels of rows to fields of a `Trajectory`, which are of samples."""
        found: dict[str, Any] = {"positions": self.record.depths, "recorded": self.samples}
        found["steps"] = self.steps[self.places]
        for kind, kernel in kernels.items():
            of_samples = _of_samples(kind, kernel, None if kind == "gradient" else self.read)
            found[f"{kind}_kernel"] = of_samples[np.ix_(self.places, self.places)]
        return found


def _of_samples(kind: str, kernel: np.ndarray, read: np.ndarray | None) -> np.ndarray:
    """Kernels of rows (M, K, rows, …, K, rows) to kernels of samples (K, K, M, …, S, S)."""
    rows, order = ("mkanlb", "klmnij") if kind == "two_depth" else ("mkalb", "klmij")
    if read is None:
        return np.einsum(f"{rows}->{order.replace('i', 'a').replace('j', 'b')}", kernel)
    return np.einsum(f"{rows},ia,jb->{order}", kernel, read, read, optimize=True)


class Observation:
    """The rows that an observer stores of one batch of seeds while they train, and the kernels they make."""

    def __init__(self, observer: Observer, library: Library, seeds: int, width: int) -> None:
        self.observer, self.library, self.width = observer, library, width
        self._frame = None if observer.frame is None else library.put(observer.frame)
        k, m = len(observer.steps), len(observer.levels)
        self._rows = {side: library.zeros(m, seeds, k, h, width) for side, h in observer.heights.items() if h}

    def watch(self, side: Side, t: int) -> Recorded | None:
        """Where the rows of a side at evaluation t go; None if they are not recorded."""
        observer = self.observer
        place = np.flatnonzero(observer.steps == t).tolist()
        if side not in self._rows or not place or (side is BACKWARD and t == observer.problem.steps):
            return None
        at_levels: list[Array] = [None] * (observer.blocks + 1)
        for m, level in enumerate(observer.levels):
            at_levels[level] = self._rows[side][m, :, place[0], ...]
        return Recorded(observer.samples, self._frame if side.forward else None, at_levels)

    def sums(self, outputs: np.ndarray, alive: np.ndarray) -> Kernels:
        """Kernels by kind, summed over the seeds alive; `outputs` (seeds, T + 1, P + R, d_out) tell chi."""
        if not alive.any():
            return {}
        measure = {
            "feature": lambda: self._equal_depth(self._states(FORWARD, outputs, alive)),
            "gradient": lambda: self._equal_depth(self._states(BACKWARD, outputs, alive)),
            "two_depth": lambda: self._gram(self._at_positions(list(self._states(FORWARD, outputs, alive)))),
        }
        return {kind: measure[kind]() for kind in self.observer.record.kinds}

    def overflows(self, outputs: np.ndarray) -> np.ndarray:
        """The first recorded evaluation with states too large for a kernel, by seed; -1 where there is none."""
        fine = np.ones((len(outputs), len(self.observer.steps)), bool)
        for side in self._rows:
            for states in self._states(side, outputs, np.ones(len(outputs), bool)):
                fine &= np.isfinite(self.library.get(self.library.xp.sum((states * self.width**-0.5) ** 2, axis=(2, 3))))
        return np.where(fine.all(1), -1, self.observer.steps[fine.argmin(1)])

    def _states(self, side: Side, outputs: np.ndarray, alive: np.ndarray) -> Iterator[Array]:
        """At every level, x of the rows or delta of the samples, shape (seeds alive, K, rows, n)."""
        xp, index = self.library.xp, self.library.whole(np.flatnonzero(alive))
        scaled = self.observer.directions and side is BACKWARD
        chi = self.library.put(self._chi(outputs[alive])) if scaled else None
        for m in range(len(self.observer.levels)):
            rows = self._rows[side][m, ...] if alive.all() else xp.take(self._rows[side][m, ...], index, axis=0)
            yield rows if chi is None else chi @ rows

    def _chi(self, outputs: np.ndarray) -> np.ndarray:
        """Loss derivatives of the recorded steps and samples, (seeds, K, S, d_out); zero outside the step's batch."""
        problem, p = self.observer.problem, self.observer.problem.n_samples
        chi = np.zeros_like(outputs)
        for t in range(problem.steps):
            slope = problem.loss_function.derivative(outputs[:, t, :p], problem.targets)
            chi[:, t, :p] = slope * problem.batch_share(t)[:, None]
        return chi[:, self.observer.steps][:, :, self.observer.samples]

    def _equal_depth(self, levels: Iterator[Array]) -> np.ndarray:
        """Inner products at every recorded position, shape (M, K, rows, K, rows)."""
        kernel = 0.0
        for m, states in enumerate(levels):
            kernel = kernel + np.multiply.outer(self.observer.placing[:, m], self._gram(states))
        return np.asarray(kernel)

    def _at_positions(self, levels: list[Array]) -> Array:
        """States at the recorded positions, linear between levels, shape (seeds, M, K, rows, n)."""
        parts = [[(w, z) for w, z in zip(weights, levels, strict=True) if w] for weights in self.observer.placing.tolist()]
        return self.library.xp.stack([sum(w * z for w, z in part) for part in parts], axis=1)

    def _gram(self, rows: Array) -> np.ndarray:
        """Inner products over n of rows (seeds, …, n), summed over seeds, shape (…, …): one long product."""
        xp, shape = self.library.xp, rows.shape
        side_by_side = xp.moveaxis(rows, 0, -2) * self.width**-0.5
        flat = xp.reshape(side_by_side, (-1, shape[0] * shape[-1]))
        return self.library.get(flat @ xp.matrix_transpose(flat)).reshape(*shape[1:-1], *shape[1:-1])
