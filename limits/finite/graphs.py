r"""Evaluations that are launched together: on a GPU, all kernels of a step as one CUDA graph.

A step of a small network is thousands of kernels that take less time than their launches. A graph launches them at once, and
runs them again and again on the same memory: so it reads what is new (the batch, the rates of the step) where it stood when the
graph was captured, and what is new is copied there first. Weights, and states of optimizers, are rewritten in place anyway.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import numpy as np

from limits.finite.moment import Moment
from limits.finite.network import Recorded
from limits.library import Library

Array = Any
Replay = Callable[[], Array]
Capture = Callable[[Callable[[], Array]], Replay]
"""From a function that computes on a device to one that computes the same, on the same memory, without its Python."""
LARGEST = 2**24
"""Numbers of a layer of all networks up to which a launch costs as much as what is launched: where an ensemble is split."""
FEWEST = 4
"""Steps that pay for a capture, which costs about one."""


class CaptureWarning(RuntimeWarning):
    """Steps are launched kernel by kernel, since they cannot be captured."""


@dataclass
class Repeated:
    """Steps that run as graphs, one for every shape of a `Moment`; the first of a shape runs by itself, which warms up.

    Args:
        library: of the arrays.
        step: from a moment to outputs; changes weights and states in place.
        capture: makes the graph.
    """

    library: Library
    step: Callable[[Moment], Array]
    capture: Capture
    _held: dict[tuple, Moment] = field(default_factory=dict)
    _graphs: dict[tuple, Replay] = field(default_factory=dict)

    def __call__(self, moment: Moment) -> Array:
        """Outputs at a moment, and the step after it."""
        shape = moment.shape
        if shape not in self._held:
            self._held[shape] = held(self.library, moment)
            return self.step(moment)
        there = self._held[shape]
        become(self.library, there, moment)
        if shape not in self._graphs:
            self._graphs[shape] = self._captured(there)
        outputs = self._graphs[shape]()
        hand_over(there, moment)
        return outputs

    def _captured(self, there: Moment) -> Replay:
        try:
            return self.capture(lambda: self.step(there))
        except RuntimeError as fault:
            warnings.warn(
                f"steps are launched kernel by kernel, which is slower, since they cannot be captured as a CUDA graph ({fault}): "
                "a function of one's own must not look at values",
                CaptureWarning,
                stacklevel=2,
            )
            return lambda: self.step(there)


def held(library: Library, moment: Moment) -> Moment:
    """A moment in memory of its own, its numbers and what it records too."""
    copy, batch = library.xp.asarray, moment.batch
    if batch is not None:
        arrays = {name: copy(array, copy=True) for name, array in batch.arrays().items()}
        batch = replace(batch, numbers=_on_device(library, batch.numbers), **arrays)
    forward, backward = (_own(library, recorded) for recorded in (moment.forward, moment.backward))
    return replace(moment, rows=copy(moment.rows, copy=True), batch=batch, forward=forward, backward=backward)


def _own(library: Library, recorded: Recorded | None) -> Recorded | None:
    if recorded is None:
        return None
    levels = [None if level is None else library.xp.zeros_like(level) for level in recorded.at_levels]
    return replace(recorded, at_levels=levels)


def hand_over(there: Moment, moment: Moment) -> None:
    """Copy what was recorded there to where this moment wants it."""
    for mine, wanted in ((there.forward, moment.forward), (there.backward, moment.backward)):
        if mine is not None and wanted is not None:
            for level, place in zip(mine.at_levels, wanted.at_levels, strict=True):
                if level is not None:
                    place[...] = level


def become(library: Library, there: Moment, moment: Moment) -> None:
    """Write a moment over one of the same shape."""
    there.rows[...] = moment.rows
    if there.batch is None or moment.batch is None:
        return
    mine = there.batch.arrays()
    for name, array in moment.batch.arrays().items():
        mine[name][...] = array
    for old, new in zip(there.batch.numbers, _on_device(library, moment.batch.numbers), strict=True):
        for number, value in zip(old, new, strict=True):
            number[...] = value


def _on_device(library: Library, numbers: Any) -> list[list[Array]]:
    """Numbers as arrays without axes; one transfer for all."""
    flat = iter(library.put(np.array([number for some in numbers for number in some])))
    return [[next(flat) for _ in some] for some in numbers]


def capture_of(library: Library, largest: int, steps: int) -> Capture | None:
    """How to capture steps that move matrices of so many numbers, where that pays."""
    on_gpu = not library.on_cpu and library.device.type == "cuda"
    if not on_gpu or largest > LARGEST or steps < FEWEST:
        return None
    return lambda step: cuda_graph(library, step)


def cuda_graph(library: Library, step: Callable[[], Array]) -> Replay:
    """A step as a CUDA graph; its outputs are copied, for the next replay overwrites them."""
    cuda = import_module("torch").cuda
    graph = cuda.CUDAGraph()
    with cuda.device(library.device), cuda.graph(graph):
        outputs = step()

    def replay() -> Array:
        with cuda.device(library.device):
            graph.replay()
        return outputs.clone()

    return replay
