"""`grid`: losses of networks at many learning rates and multipliers at once, from the same initial weights."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

import limits
from limits.finite.dense import DenseTraining, Drawn
from limits.finite.engines import Dense
from limits.finite.ensemble import SHARE_OF_MEMORY, checked_block_width, side_by_side, warn_of_means
from limits.library import Library, open_library, processors
from limits.problem import Problem
from limits.training import LARGEST_OUTPUT
from limits.trajectory import Interrupted
from limits.validation import number, reporting, whole

Array = Any
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Grid:
    """Losses of networks that differ in multiplier (A of them), learning rate (R) and seed.

    Attributes:
        problem: what was trained; its own multiplier and rate of blocks stand back.
        lrs: learning rates of the blocks, shape (R,): the largest of the schedule.
        multipliers: a, shape (A,).
        evaluations: at which evaluations losses are known, shape (K,): all of them, or with mini-batches the first and the last.
        losses: mean loss over all inputs, shape (A, R, seeds, K); infinite from where a network diverged, NaN where an
            interruption came first.
        probe_losses: the same for probes with targets, else None.
        meta: sizes, version, wall time in seconds.

    >>> from limits import DEPTH_MUP, SGD, ResNet
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=2), [[1.0]], [[1.0]])
    >>> found = grid(one, width=8, blocks=2, lrs=[0.1, 1.0], multipliers=[0.5, 1.0], seeds=3)
    >>> found.losses.shape, found.evaluations  # multipliers, learning rates, seeds, evaluations
    ((2, 2, 3, 3), array([0, 1, 2]))
    """

    problem: Problem
    lrs: Float[np.ndarray, " r"]
    multipliers: Float[np.ndarray, " a"]
    evaluations: np.ndarray
    losses: Float[np.ndarray, "a r s k"]
    probe_losses: Float[np.ndarray, "a r s k"] | None
    meta: Mapping[str, Any]

    def __repr__(self) -> str:
        sizes = f"width={self.meta['width']}, blocks={self.meta['blocks']}, {self.losses.shape[2]} seeds"
        return f"Grid({sizes}, {len(self.lrs)} learning rates, {len(self.multipliers)} multipliers, {self.problem.steps} steps)"


def grid(
    problem: Problem,
    *,
    width: int,
    blocks: int,
    lrs: Sequence[float] | np.ndarray,
    multipliers: Sequence[float] | np.ndarray | None = None,
    seeds: int = 1,
    seed: int = 0,
    block_width: int | None = None,
    backend: str = "numpy",
    device: str | None = None,
    dtype: str = "float32",
    progress: Progress | None = None,
) -> Grid:
    r"""Train the same networks at every learning rate and every multiplier.

    Seeds draw the same weights as in `simulate`, and each is trained at all pairs of rate and multiplier, side by side in the
    same matrix products, as many at a time as fit into memory and pay; how they are split does not change what they do. A
    network that diverges is a result: its loss is infinite.

    Args:
        problem: what to train, by any optimizer. With mini-batches, the loss over all inputs is computed at both ends only.
        width, blocks, seeds, seed, block_width, backend, device, dtype: as in `simulate`.
        lrs: learning rates of the blocks in place of the optimizer's; a schedule is scaled to have them as its largest rate.
            Those of U and V stay as they are.
        multipliers: a in place of the model's; its own by default.
        progress: called as progress(done, total), in networks times evaluations.

    Raises:
        ValueError, TypeError: rates that are negative, multipliers that are not positive, sizes that are no whole numbers.
        MemoryError: one network does not fit.
        Interrupted: a KeyboardInterrupt after at least one evaluation; `partial` is the `Grid` of what was finished.

    >>> from limits import DEPTH_MUP, Problem, ResNet, SGD
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=2), [[1.0]], [[1.0]])
    >>> grid(one, width=32, blocks=8, lrs=[0.1, 1.0], seeds=3)
    Grid(width=32, blocks=8, 3 seeds, 2 learning rates, 1 multipliers, 2 steps)
    """
    began = time.perf_counter()
    sizes = {"width": whole(width, "width"), "blocks": whole(blocks, "blocks"), "seeds": whole(seeds, "seeds")}
    whole(seed, "seed", low=0)
    problem.parametrization.refuse_overflow(blocks, problem.model.block_depth)
    report = reporting(progress)
    rates = _numbers(lrs, "lrs", open_low=False)
    factors = _numbers([problem.model.multiplier] if multipliers is None else multipliers, "multipliers", open_low=True)
    warn_of_means(problem)
    library = open_library(backend, device, dtype)
    inner = checked_block_width(problem, sizes["width"], block_width)
    members = _Members(problem, library, Dense(problem, library, sizes["width"], sizes["blocks"], inner))
    meta = {"rung": "finite", **sizes, "seed": int(seed), "backend": backend, "dtype": dtype, "version": limits.__version__}
    stopped = None
    try:
        members.train(int(seed), sizes["seeds"], rates, factors, report)
    except KeyboardInterrupt as stop:
        if np.all(np.isnan(members.losses)):
            raise
        stopped, meta = stop, meta | {"partial": True}
    probes = members.probes if problem.probe_targets is not None else None
    meta["seconds"] = time.perf_counter() - began
    answer = Grid(problem, rates, factors, members.evaluations, members.losses, probes, meta)
    if stopped:
        raise Interrupted(answer) from stopped
    return answer


def _numbers(values: Any, name: str, *, open_low: bool) -> np.ndarray:
    if isinstance(values, str) or np.ndim(values) != 1 or len(values) == 0:
        raise ValueError(f"{name} must be a list of numbers, got {values!r}")
    return np.array([number(v, f"{name}[{i}]", open_low=open_low) for i, v in enumerate(np.asarray(values).tolist())])


class _Members:
    """Networks that share initial weights, and how they are split into groups that train side by side."""

    def __init__(self, problem: Problem, library: Library, engine: Dense) -> None:
        self.problem, self.library, self.engine = problem, library, engine
        T = problem.steps
        self.evaluations = np.arange(T + 1) if problem.batches is None else np.unique([0, T])
        self.losses = self.probes = np.zeros(0)

    def train(self, seed: int, seeds: int, lrs: np.ndarray, multipliers: np.ndarray, progress: Progress) -> None:
        """Fill `losses` and `probes`, shape (A, R, seeds, K)."""
        pairs = [(a, r) for a in range(len(multipliers)) for r in range(len(lrs))]
        shape = (len(multipliers), len(lrs), seeds, len(self.evaluations))
        self.losses, self.probes = np.full(shape, np.nan), np.full(shape, np.nan)
        total, done = len(pairs) * seeds * (self.problem.steps + 1), 0
        fits = self._fitting(len(pairs))
        threads = ThreadPoolExecutor(processors())
        try:
            for some in _groups(range(seeds), max(1, fits // len(pairs))):
                drawn = self.engine.draw(threads, seed, some).wait()
                for group in _groups(range(len(pairs)), max(1, fits // len(some))):
                    chosen = [pairs[i] for i in group]
                    for t in self._train_group(drawn, lrs, multipliers, chosen, some):
                        progress(done + (t + 1) * len(chosen) * len(some), total)
                    done += (self.problem.steps + 1) * len(chosen) * len(some)
        finally:
            threads.shutdown(cancel_futures=True)

    def _train_group(
        self, drawn: Drawn, lrs: np.ndarray, multipliers: np.ndarray, chosen: list[tuple[int, int]], seeds: range
    ) -> Iterator[int]:
        """Train drawn seeds at some pairs, and write down their losses; yields evaluations, the last of them at the end."""
        a, r, these = *np.array(chosen).T, slice(seeds.start, seeds.stop)
        for t, k, losses, probes in self._group(drawn, lrs, multipliers, chosen):
            self.losses[a, r, these, k], self.probes[a, r, these, k] = losses, probes
            if t < self.problem.steps:
                yield t
        for found in (self.losses, self.probes):
            found[a, r, these] = np.where(np.isnan(found[a, r, these]), np.inf, found[a, r, these])
        yield self.problem.steps

    def _fitting(self, pairs: int) -> int:
        """Networks that train side by side: as many as pay, and fit beside the drawn ones, one for all pairs of a seed."""
        one = self.library.itemsize * self.engine.numbers_per_seed()
        free = SHARE_OF_MEMORY * self.library.free_memory()
        if 2 * one > free:
            raise MemoryError(
                f"one network of width {self.engine.width} and {self.engine.blocks} blocks takes {2 * one / 1e9:.1f} GB with its "
                f"copy, more than {SHARE_OF_MEMORY:.0%} of what is free: make it smaller, or use float32"
            )
        pay = side_by_side(self.library, self.engine.largest**0.5, self.engine.matrices)
        return max(1, min(pay, int(free / one) - 1, int(free / one / (1 + 1 / pairs))))

    def _group(
        self, drawn: Drawn, lrs: np.ndarray, multipliers: np.ndarray, chosen: list[tuple[int, int]]
    ) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        """Train all drawn seeds at some pairs; yields evaluation, its number, and losses of shape (pairs, seeds)."""
        S, put = len(drawn), self.library.put
        copies = np.tile(np.arange(S), len(chosen))
        u, v, weights = put(drawn.u[copies]), put(drawn.v[copies]), [put(w[:, copies]) for w in drawn.weights]
        factors = np.repeat([multipliers[a] for a, _ in chosen], S)
        with np.errstate(over="ignore"):  # a rate beyond the range of the type is infinite, and its network diverges
            rates = self._relative(np.repeat([lrs[r] for _, r in chosen], S))
            training = DenseTraining(
                self._posed(), self.library, u, v, weights, lrs=rates, multipliers=factors, watch=lambda side, t: None
            )
        alive = np.ones(len(copies), bool)
        for t in range(self.problem.steps + 1):
            with np.errstate(all="ignore"):
                wanted = np.flatnonzero(self.evaluations == t)
                outputs = training.evaluate(t, whole=bool(len(wanted)))
                if not len(wanted):
                    continue
                seen = self.library.get(outputs)
                alive &= np.all(np.abs(seen) < LARGEST_OUTPUT, axis=(1, 2))
                mine, other = (np.where(alive, loss, np.inf).reshape(len(chosen), S) for loss in self._losses(seen))
            yield t, int(wanted[0]), mine, other
            if not alive.any():
                return

    def _posed(self) -> Problem:
        """The problem with a rate of blocks that is not zero, which `_relative` is relative to."""
        return self.problem if self._top else _at_rate(self.problem, 1.0)

    @property
    def _top(self) -> float:
        return float(np.max(self.problem.optimizer.schedule(), initial=0.0))

    def _relative(self, rates: np.ndarray) -> np.ndarray:
        return rates / (self._top or 1.0)

    def _losses(self, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean losses of inputs and of probes, network by network."""
        problem, p = self.problem, self.problem.n_samples
        value = problem.loss_function.value
        mine = value(outputs[:, :p], problem.targets).mean(1)
        if problem.probe_targets is None:
            return mine, np.zeros(len(mine))
        return mine, value(outputs[:, p:], problem.probe_targets).mean(1)


def _at_rate(problem: Problem, lr: float) -> Problem:
    return replace(problem, optimizer=replace(problem.optimizer, lr=lr))


def _groups(members: range, size: int) -> list[range]:
    """Consecutive groups of nearly equal size, at most `size`."""
    count = -(-len(members) // size)
    return [range(len(members) * b // count, len(members) * (b + 1) // count) for b in range(count)]
