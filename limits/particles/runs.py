"""Training of independent samples of neurons, as many side by side as fit, and the mean over them with its standard error."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from limits.library import Library
from limits.particles.network import Kets
from limits.particles.observer import Observer
from limits.particles.space import Space
from limits.problem import Problem
from limits.record import Record
from limits.training import checked_kernels, checked_outputs
from limits.trajectory import Trajectory, assemble

Array = np.ndarray


class Moments:
    """The mean of arrays that come one after another, and its standard error: two arrays, however many come.

    >>> heights = Moments()
    >>> for height in (1.0, 2.0, 6.0):
    ...     heights.add(np.array([height]))
    >>> heights.mean, heights.error.round(6)
    (array([3.]), array([1.527525]))
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Array = np.zeros(1)
        self._squares: Array = np.zeros(1)

    @np.errstate(over="ignore", invalid="ignore")
    def add(self, value: Array) -> None:
        """Count one more in."""
        self.count += 1
        ahead = value - self.mean
        self.mean = self.mean + ahead / self.count
        self._squares = self._squares + ahead * (value - self.mean)

    @property
    def error(self) -> Array:
        """The standard error of the mean, NaN of a single one."""
        if self.count < 2:
            return np.full_like(self.mean, np.nan)
        return np.sqrt(self._squares / (self.count - 1) / self.count)


class Runs:
    """The samples of neurons trained so far.

    Args:
        problem: what is trained.
        record: which kernels are kept.
        library: whose arrays are used.
        blocks: L.
        neurons: N.
        responds, summed: as of `Kets`.
    """

    def __init__(
        self,
        problem: Problem,
        record: Record,
        library: Library,
        blocks: int,
        neurons: int,
        responds: bool = True,
        summed: int = 1,
    ) -> None:
        self.problem, self.record, self.blocks, self.responds, self.summed = problem, record, blocks, responds, summed
        self.space = Space(library, neurons)
        self.finished = 0
        self.outputs, self.kernels = Moments(), {}
        self.begun: list[Array] = []
        self._kets: Kets | None = None
        self.where: dict[str, Any] = {}

    def train(self, rngs: Sequence[np.random.Generator], done: Callable[[int], Any]) -> None:
        """Train some more side by side, one for each generator; `done` is called after every evaluation with its number.

        Raises:
            DivergedError: outputs or kernels of one leave the range of numbers.
        """
        for one in self.each(rngs, done):
            self.outputs.add(one.pop("outputs"))
            for name, kernel in one.items():
                self.kernels.setdefault(name, Moments()).add(kernel)
            self.finished += 1
        done(self.problem.steps)

    @np.errstate(all="ignore")
    def each(self, rngs: Sequence[np.random.Generator], done: Callable[[int], Any]) -> list[dict[str, Array]]:
        """Outputs and kernels of each of some trained side by side; `done` is called after all evaluations but the last."""
        problem, p = self.problem, self.problem.n_samples
        observer = Observer(problem, self.record, self.blocks, self.space, len(rngs))
        kets, self.begun = self._networks(rngs, observer), []
        for t in range(problem.steps + 1):
            outputs = checked_outputs(problem, self.space.library.get(kets.forward(t)), t)
            self.begun.append(outputs)
            if t < problem.steps:
                done(t)
                slope = problem.loss_function.derivative(outputs[:, :p], problem.targets)
                kets.backward(t, self.space.library.put(slope * problem.batch_share(t)[:, None]))
        kernels = observer.kernels()
        for one in kernels:
            checked_kernels(one)
        self.where = observer.where()
        return [one | {"outputs": outputs} for one, outputs in zip(kernels, np.stack(self.begun, axis=1), strict=True)]

    def _networks(self, rngs: Sequence[np.random.Generator], observer: Observer) -> Kets:
        """Untrained networks, in the places of the last ones where they are as many."""
        if self._kets is not None and len(self._kets.noise.rngs) == len(rngs):
            self._kets.begin(rngs, observer.leave)
        else:
            self._kets = None  # before others take memory
            self._kets = Kets(self.problem, self.blocks, self.space, rngs, observer.leave, self.responds, self.summed)
        return self._kets

    def trajectory(self, meta: dict[str, Any]) -> Trajectory:
        """The mean over the finished ones, or, where there are none yet, over the first evaluations of those begun."""
        problem, outputs = self.problem, self.outputs
        if not self.finished:
            outputs = Moments()
            for one in np.stack(self.begun, axis=1):
                outputs.add(one)
            problem = problem.prefix(len(self.begun) - 1)
        fields = dict(self.where) if self.finished else {}
        for name, kernel in self.kernels.items():
            fields |= {name: kernel.mean, f"{name}_error": kernel.error}
        return assemble(problem, outputs.mean, outputs.error, meta=meta | {"replicas": outputs.count}, **fields)
