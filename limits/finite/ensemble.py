"""`simulate`: networks of finite width and depth, seed after seed, averaged over those that survive."""

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

import limits
from limits.finite.engines import engine
from limits.finite.observer import Observation, Observer
from limits.library import Library, open_library, processors
from limits.problem import Problem
from limits.record import Record
from limits.regimes import classify
from limits.training import LARGEST_OUTPUT, DivergedError, remedy
from limits.trajectory import Interrupted, Trajectory, assemble
from limits.validation import called, reporting, whole

Progress = Callable[[int, int], None]
SHARE_OF_MEMORY = 0.8
"""Largest share of the free memory that one network may take."""


class DivergenceWarning(RuntimeWarning):
    """Some seeds left the range of numbers and are left out of all averages.

    >>> import warnings
    >>> from limits import DEPTH_MUP, SGD, ResNet
    >>> hasty = Problem(ResNet(), DEPTH_MUP, SGD(5.0, steps=14), [[1.0]], [[1.0]])
    >>> with warnings.catch_warnings(record=True) as seen:
    ...     warnings.simplefilter("always")
    ...     run = simulate(hasty, width=4, blocks=2, seeds=8)
    >>> f"{np.sum(run.diverged >= 0)} of 8 seeds diverged" in str(seen[0].message)
    True
    """


class UncentredWarning(RuntimeWarning):
    """The blocks have a mean over neurons, which makes the initialization unstable.

    >>> import warnings
    >>> from limits import DEPTH_MUP, SGD, ResNet
    >>> model = ResNet("relu", mean_subtraction=False)
    >>> one = Problem(model, DEPTH_MUP, SGD(1.0, steps=1), [[1.0]], [[1.0]])
    >>> with warnings.catch_warnings(record=True) as seen:
    ...     warnings.simplefilter("always")
    ...     run = simulate(one, width=8, blocks=2)
    >>> print(str(seen[0].message).partition(";")[0])
    relu without mean subtraction has a mean: initial features grow like L^(1/2) with the number of blocks [D1.3]
    """


@called("simulate(problem, width=64, blocks=16)")
def simulate(
    problem: Problem,
    *,
    width: int,
    blocks: int,
    seeds: int = 1,
    seed: int = 0,
    block_width: int | None = None,
    record: Record | None = None,
    backend: str = "numpy",
    device: str | None = None,
    dtype: str = "float32",
    progress: Progress | None = None,
) -> Trajectory:
    r"""Train real networks and average over seeds.

    With $U, V$ of iid $N(0, 1)$ entries and $W^l$ of iid $N(0, 1/n)$,

    $$ x^0 = U\xi/\sqrt{d_{in}},\quad x^l = x^{l-1} + aL^{-\alpha}G\phi(W^lx^{l-1}),\quad f = V^Tx^L/n, $$
    $$ W^l \leftarrow W^l - \eta L^{\alpha-\gamma}\partial_{W^l},\quad U \leftarrow U - \eta_U n\,\partial_U,\quad
       V \leftarrow V - \eta_V n\,\partial_V, $$

    each update with the momentum and the schedule of `SGD`, and the branch as the form of `ResNet` has it. Seed $s$ draws
    $U, V, W^1 \dots W^L$ in this order from numpy's `default_rng([seed, s])` in float64, so that it is the same network in
    every type and array library. As the width grows, the outputs tend to a limit (for linear blocks, that of `recurse`): a seed
    fluctuates by $O(n^{-1/2})$, the mean over seeds is off by $O(1/n)$.
    With linear blocks a step reads every weight twice and writes none, whatever the number of samples; drawing a weight costs
    as much as some twenty steps. Nonlinear blocks send every sample through every weight. On a CPU, numpy is the faster
    backend.

    Args:
        problem: what to train; any exponents, stable or not.
        width: n, neurons of a layer.
        blocks: L, the number of residual blocks.
        seeds: number of networks, drawn independently.
        seed: the first number of every seed's generator, >= 0.
        block_width: M, width between the layers of a block; `ResNet.expansion` times the width by default.
        record: which kernels to keep; by default the feature kernel at five depths, of eight samples where there are many.
        backend: "numpy", or "torch" (CPU or GPU).
        device: where torch computes, such as "cuda"; the CPU by default.
        dtype: "float32", "float64", or of torch "bfloat16": products in it, everything else in float32.
        progress: called as progress(done, total) after every evaluation of a batch of seeds, in networks times evaluations.

    Returns:
        A `Trajectory`: outputs and kernels averaged over the surviving seeds, `error` the standard error of the outputs
        over them (NaN for a single one), `samples` the outputs of every seed, NaN from the evaluation `diverged` tells.

    Raises:
        ValueError: sizes that are no whole numbers, an unknown backend, device or dtype, a
            record that is too large or asks for the response, which only the limits have.
        ImportError: the backend is not installed.
        MemoryError: one network takes more than 80% of the free memory.
        DivergedError: no seed stayed in the range of numbers.
        Interrupted: a KeyboardInterrupt after at least one evaluation; `partial` averages the finished seeds, or, where there
            are none yet, the evaluations that the first ones had finished.

    Warns:
        DivergenceWarning: some seeds diverged.
        UncentredWarning: the blocks have a mean, without mean subtraction, and their initialization is unstable for it.

    Source: TP6, section 4 and Def. 6.1; the batch mean, schedules and momentum are those of `SGD`.

    >>> from limits import DEPTH_MUP, Problem, ResNet, SGD
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=2), [[1.0]], [[1.0]])
    >>> answer = simulate(one, width=64, blocks=16, seeds=32)
    >>> answer
    Trajectory(finite, width=64, blocks=16, seeds=32, 2 steps, loss 0.472... -> 0.443...)
    >>> answer.error.shape, answer.samples.shape
    ((3, 1, 1), (32, 3, 1, 1))
    """
    began = time.perf_counter()
    sizes = {"width": whole(width, "width"), "blocks": whole(blocks, "blocks"), "seeds": whole(seeds, "seeds")}
    whole(seed, "seed", low=0)
    problem.parametrization.refuse_overflow(blocks, problem.model.block_depth)
    record, report = Record.of(record, problem), reporting(progress)
    inner = checked_block_width(problem, sizes["width"], block_width)
    _refuse(record)
    warn_of_means(problem)
    library = open_library(backend, device, dtype)
    runs = _Runs(problem, record, library, sizes["width"], sizes["blocks"], int(seed), inner)
    meta = {"rung": "finite", **sizes, "seed": int(seed), "backend": backend, "dtype": dtype, "version": limits.__version__}
    try:
        runs.train(sizes["seeds"], report)
    except KeyboardInterrupt as stop:
        runs = runs if np.any(runs.survived) else runs.begun()
        if np.any(runs.survived):
            meta |= {"seeds": len(runs.survived), "partial": True, "seconds": time.perf_counter() - began}
            raise Interrupted(runs.trajectory(meta)) from stop
        raise
    _warn(problem, runs.diverged)
    return runs.trajectory(meta | {"seconds": time.perf_counter() - began})


def simulation_footprint(
    problem: Problem,
    *,
    width: int,
    blocks: int,
    seeds: int = 1,
    block_width: int | None = None,
    record: Record | None = None,
    dtype: str = "float32",
) -> int:
    """Bytes that `simulate` takes at its largest, on the CPU: the seeds that train side by side and those drawn ahead."""
    inner = checked_block_width(problem, width, block_width)
    runs = _Runs(problem, record or Record(), open_library("numpy", None, dtype), width, blocks, 0, inner)
    one = runs.bytes_per_seed()
    try:
        batches, ahead = runs.batches(seeds)
    except MemoryError:
        return one
    size, ahead = max(len(batch) for batch in batches), min(ahead, len(batches) - 1)
    drawn = runs.library.itemsize * runs.engine.drawn
    return size * (one + ahead * drawn) + 8 * seeds * (problem.steps + 1) * len(problem.evaluated) * problem.d_out


def checked_block_width(problem: Problem, width: int, block_width: int | None) -> int:
    """The width inside a block, or a sentence."""
    model = problem.model
    problem.parametrization.layers(model.block_depth)
    if block_width is None:
        return max(1, round(model.expansion * width))
    if model.block_depth == 1:
        raise ValueError(f"block_width is for blocks of several layers, got {block_width!r} for block_depth=1: leave it out")
    return whole(block_width, "block_width")


def _refuse(record: Record) -> None:
    if "response" in record.kinds:
        raise ValueError(
            "the response (TP6's Gamma) is a derivative of the limit and cannot be measured in a finite network, got "
            f"kinds={record.kinds!r}: ask recurse or solve for it"
        )


def warn_of_means(problem: Problem) -> None:
    """Say so where only the mean of the blocks makes the initialization unstable."""
    model, parametrization = problem.model, problem.parametrization
    depth = model.block_depth
    if model.centred or classify(parametrization, block_depth=depth).name == "unstable at initialization":
        return
    alpha, _, betas = parametrization.layers(depth)
    if not classify(parametrization, block_depth=depth, centred=False).stable_at_initialization:
        warnings.warn(
            f"{model.phi.name} without mean subtraction has a mean: initial features grow like L^({1 - alpha - sum(betas)}) with "
            "the number of blocks [D1.3]; set mean_subtraction=True, or raise alpha to 1",
            UncentredWarning,
            stacklevel=4,
        )


class _Runs:
    """The seeds trained so far, and how the others will be."""

    def __init__(
        self,
        problem: Problem,
        record: Record,
        library: Library,
        width: int,
        blocks: int,
        seed: int,
        block_width: int,
    ) -> None:
        self.problem, self.library, self.width, self.blocks, self.seed = problem, library, width, blocks, seed
        self.block_width = block_width
        self.engine = engine(problem, library, width, blocks, block_width)
        self.observer = Observer(problem, record, blocks, self.engine.coordinates)
        self.pending: list[Any] = []
        self.outputs: list[np.ndarray] = []
        self.diverged: list[int] = []
        self.kernels: dict[str, np.ndarray] = {}

    def train(self, seeds: int, progress: Progress) -> None:
        """Train all seeds, batch after batch, while other threads draw the next ones."""
        batches, ahead = self.batches(seeds)
        evaluations, begun, rest = self.problem.steps + 1, deque(), iter(batches)
        threads = ThreadPoolExecutor(processors())
        try:
            for batch in batches:
                begun.extend(self.engine.draw(threads, self.seed, next_one) for next_one in islice(rest, 1 + ahead - len(begun)))
                for t in self._train_batch(begun.popleft().wait()):
                    progress(batch.start * evaluations + len(batch) * (t + 1), seeds * evaluations)
        finally:
            threads.shutdown(cancel_futures=True)

    def batches(self, seeds: int) -> tuple[list[range], int]:
        """Seeds that train side by side, as many as pay and fit, and how many batches to draw ahead of their training."""
        one, free = self.bytes_per_seed(), self.library.free_memory()
        if one > SHARE_OF_MEMORY * free:
            raise MemoryError(
                f"one network of width {self.width} and {self.blocks} blocks takes {one / 1e9:.1f} GB with its updates, more "
                f"than {SHARE_OF_MEMORY:.0%} of the {free / 1e9:.1f} GB that are free: make it smaller, record less of it, "
                "or use float32"
            )
        fits = int(SHARE_OF_MEMORY * free / one)
        pay = side_by_side(self.library, self.engine.largest**0.5, self.engine.matrices)
        count = -(-seeds // max(1, min(pay, fits // 2)))
        batches = [range(seeds * b // count, seeds * (b + 1) // count) for b in range(count)]
        size = len(batches[-1])
        return batches, max(0, min(-(-processors() // size), fits // size - 1))

    def bytes_per_seed(self) -> int:
        numbers = self.engine.numbers_per_seed() + self.observer.numbers_per_seed(self.width)
        return self.library.itemsize * numbers + 8 * self.engine.largest

    def _train_batch(self, drawn: Any) -> Iterator[int]:
        """Train side by side; yields the evaluations as they are done, the last when the batch is counted in."""
        T, seeds = self.problem.steps, len(drawn)
        observation = Observation(self.observer, self.library, seeds, self.width)
        with np.errstate(over="ignore"):  # rates beyond the range of the type are infinite, and diverge
            training = self.engine.training(drawn, observation.watch)
        self.pending = []
        for t in range(T + 1):
            with np.errstate(all="ignore"):
                self.pending.append(training.evaluate(t))
            if t < T:
                yield t
        with np.errstate(all="ignore"):
            self._count_in(self.library.get(self.library.xp.stack(self.pending, axis=1)), observation)
        yield T

    def begun(self) -> "_Runs":
        """The evaluations that the batch under way has finished, as runs of fewer steps, without kernels."""
        problem = self.problem.prefix(max(0, len(self.pending) - 1))
        begun = _Runs(problem, Record(kinds=()), self.library, self.width, self.blocks, self.seed, self.block_width)
        if self.pending:
            outputs = self.library.get(self.library.xp.stack(self.pending, axis=1))
            begun._count_in(outputs, Observation(begun.observer, self.library, len(outputs), self.width))
        return begun

    def _count_in(self, outputs: np.ndarray, observation: Observation) -> None:
        """Add a batch of finished seeds; those that diverged add their outputs up to there, and no kernels."""
        diverged = _first(~np.all(np.abs(outputs) < LARGEST_OUTPUT, axis=(2, 3)))
        sums = observation.sums(outputs, diverged < 0)
        if not all(np.all(np.isfinite(kernel)) for kernel in sums.values()):
            late = observation.overflows(outputs)
            diverged = np.where((diverged < 0) | ((late >= 0) & (late < diverged)), late, diverged)
            sums = observation.sums(outputs, diverged < 0)
        self.kernels = {kind: self.kernels.get(kind, 0.0) + kernel for kind, kernel in sums.items()} or self.kernels
        outputs[(diverged[:, None] >= 0) & (np.arange(outputs.shape[1]) >= diverged[:, None])] = np.nan
        self.outputs.extend(outputs)
        self.diverged.extend(diverged.tolist())

    def trajectory(self, meta: dict[str, Any]) -> Trajectory:
        """The average over the seeds that survived."""
        samples, survived = np.stack(self.outputs), self.survived
        if not np.any(survived):
            raise DivergedError(
                f"training diverges: outputs of all {len(samples)} seeds leave the range of {meta['dtype']}, the last at "
                f"evaluation {max(self.diverged)}: {remedy(self.problem, max(self.diverged))}, or see what classify says of the "
                "parametrization"
            )
        kept = samples[survived]
        spread = kept.std(0, ddof=1) / np.sqrt(len(kept)) if len(kept) > 1 else np.full(kept.shape[1:], np.nan)
        fields = self.observer.fields({kind: kernel / len(kept) for kind, kernel in self.kernels.items()})
        answer = assemble(self.problem, kept.mean(0), spread, kept, diverged=np.array(self.diverged), meta=meta, **fields)
        return replace(answer, samples=samples)

    @property
    def survived(self) -> np.ndarray:
        return np.array(self.diverged, int) < 0


def side_by_side(library: Library, width: float, matrices: int) -> int:
    """Networks that pay in one product: enough to hide what it costs to start, few enough for their weights to stay in cache.

    Measured, with `matrices` of width x width in a network: 256 kB of those of one layer on a CPU, up to 1 MB while all
    together take 8 MB.
    """
    matrix = int(library.itemsize * width**2)
    if not library.on_cpu:
        return max(1, 2**26 // matrix)
    return max(1, 2**18 // matrix, min(2**20 // matrix, 2**23 // (matrix * matrices)))


def _first(bad: np.ndarray) -> np.ndarray:
    """The first True of every row, -1 where there is none."""
    return np.where(bad.any(1), bad.argmax(1), -1)


def _warn(problem: Problem, diverged: list[int]) -> None:
    bad = [s for s, t in enumerate(diverged) if t >= 0]
    if bad and len(bad) < len(diverged):
        warnings.warn(
            f"{len(bad)} of {len(diverged)} seeds diverged, the first of them (seed {bad[0]}) at evaluation {diverged[bad[0]]}, "
            f"and are left out of all averages: {remedy(problem, diverged[bad[0]])}",
            DivergenceWarning,
            stacklevel=4,
        )
