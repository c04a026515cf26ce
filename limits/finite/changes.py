r"""What training changes in networks: features, outputs, layers, and how far from linear in the weights a block has gone.

Networks are trained as `dense` does, in copies of their weights; then all samples pass through the networks as they were
drawn and as they are trained, side by side, block after block.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from limits.finite.dense import DenseTraining, Drawn, Kept
from limits.finite.engines import Dense
from limits.finite.ensemble import SHARE_OF_MEMORY, checked_block_width, side_by_side
from limits.library import Library, open_library, processors
from limits.problem import Problem
from limits.validation import expect, whole

Array = Any
PATHS = 4
"""Samples whose features are kept at every block."""
QUANTITIES = ("initial", "error", "features", "outputs", "updates", "first", "rest", "increments", "scales", "moved")


def measure_changes(
    problem: Problem,
    *,
    width: int,
    blocks: int,
    seeds: int = 1,
    seed: int = 0,
    block_width: int | None = None,
    backend: str = "numpy",
    device: str | None = None,
    dtype: str = "float64",
) -> dict[str, np.ndarray]:
    r"""Train real networks and say, seed by seed, how much of them training has changed.

    With $x_0, x_T$ the features before and after $T$ steps, $\theta$ the weights of a block, $B(\theta; x)$ its branch, and
    rms over neurons, samples and, where there is an $l$, blocks:

    * "initial": $\lVert x_0^L - x_0^0\rVert / \lVert x_0^0\rVert$
    * "error": rms of the loss derivative $\partial\ell/\partial f_0$ over the first batch
    * "features": $\mathrm{rms}(x_T^L - x_0^L)$, and "outputs": $\mathrm{rms}(f_T - f_0)$
    * "updates": $\mathrm{rms}((W_{i,T} - W_{i,0})\,y_{i-1,T})$ of what layer $i$ reads, layer by layer
    * "first": $\mathrm{rms}$ of $D = \partial_\theta B(\theta_0; x_T^{l-1})\,(\theta_T - \theta_0)$, and "rest":
      $\mathrm{rms}$ of $B(\theta_T; x_T^{l-1}) - B(\theta_0; x_T^{l-1}) - D$
    * "increments": $\mathrm{rms}(z^{l+m} - z^l)$ of $z = x_T - x_0$, over $l$ from $L/2$ to $L - m$, for every m of "spans":
      1, 2, 4, … up to $L/4$
    * "scales": rms of $x_0^L$, of $f_0$ and of $B(\theta_0; x_T^{l-1})$, beside whose round-off changes must be seen; and
      "moved": $\mathrm{rms}(W_{i,T} - W_{i,0}) / \mathrm{rms}(W_{i,0})$ over entries, layer by layer

    Args:
        problem: what is trained, by any optimizer; rms are over its inputs and probes, increments over the first few of them.
        width, blocks, seeds, seed, block_width, backend, device: as in `simulate`, and the same networks.
        dtype: of differences of nearly equal numbers, float64.

    Returns:
        Arrays by these names, shape (seeds,), of "updates" and "moved" (seeds, k), of "scales" (seeds, 3), of "increments"
        (seeds, spans), of "spans" (spans,); not finite where a network diverged.

    Raises:
        ValueError, TypeError: a sentence saying what was wanted and what came.
        MemoryError: one network does not fit.

    >>> from limits import DEPTH_MUP, SGD, Problem, ResNet
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(0.5, steps=1), [[1.0]], [[1.0]])
    >>> found = measure_changes(one, width=64, blocks=16, seeds=3)
    >>> found["features"].shape, found["updates"].shape, found["spans"]
    ((3,), (3, 1), array([1, 2, 4]))
    """
    expect(problem, Problem, "problem")
    width, blocks, seeds = whole(width, "width"), whole(blocks, "blocks"), whole(seeds, "seeds")
    seed, inner = whole(seed, "seed", low=0), checked_block_width(problem, width, block_width)
    problem.parametrization.refuse_overflow(blocks, problem.model.block_depth)
    library = open_library(backend, device, dtype)
    engine = Dense(problem, library, width, blocks, inner)
    spans = 2 ** np.arange(max(1, int(np.log2(max(4, blocks))) - 1))
    parts = []
    with ThreadPoolExecutor(processors()) as threads, np.errstate(all="ignore"):
        for some in _groups(seeds, _fitting(library, engine)):
            pair = Pair.of(engine, engine.draw(threads, seed, some).wait())
            parts.append({name: library.get(value) for name, value in pair.measured(spans).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in QUANTITIES} | {"spans": spans}


def _fitting(library: Library, engine: Dense) -> int:
    """Networks that are trained side by side: as many as pay, and fit twice, as their initial weights are kept."""
    one = 2 * library.itemsize * (engine.numbers_per_seed() + engine.blocks * PATHS * engine.width)
    free = SHARE_OF_MEMORY * library.free_memory()
    if one > free:
        raise MemoryError(
            f"one network of width {engine.width} and {engine.blocks} blocks takes {one / 1e9:.1f} GB with a copy of its initial "
            f"weights, more than {SHARE_OF_MEMORY:.0%} of what is free: make it smaller"
        )
    return max(1, min(side_by_side(library, engine.largest**0.5, engine.matrices), int(free / one)))


def _groups(count: int, size: int) -> list[range]:
    return [range(begin, min(begin + size, count)) for begin in range(0, count, size)]


@dataclass(frozen=True)
class Pair:
    """Networks as they were drawn, and as they are trained.

    Attributes:
        trained: the networks after training.
        u, v, weights: of the networks before it, as in `Drawn`.
    """

    trained: DenseTraining
    u: Array
    v: Array
    weights: list[Array]

    @classmethod
    def of(cls, engine: Dense, drawn: Drawn) -> "Pair":
        """Train drawn networks and keep what they were."""
        put = engine.library.put
        u, v, *weights = (put(np.array(part)) for part in (drawn.u, drawn.v, *drawn.weights))
        training = engine.training(drawn, lambda side, t: None)
        assert isinstance(training, DenseTraining)
        for t in range(training.problem.steps):
            training.evaluate(t)
        return cls(training, u, v, weights)

    def measured(self, spans: np.ndarray) -> dict[str, Array]:
        """What `measure_changes` returns, of these networks."""
        inputs, n, first = self.trained.inputs, self.trained.width, self._product(self.trained.inputs, self.u)
        x, moved, path, sums = first, self._product(inputs, self.trained.u), [], Sums(self.trained)
        for l in range(self.trained.blocks):
            x, moved = self._pass(l, x, moved, sums)
            if 2 * (l + 1) >= self.trained.blocks:
                path.append((moved - x)[:, : min(PATHS, x.shape[1]), :])
        before, after = (self._product(end, self._turned(v)) / n for end, v in ((x, self.v), (moved, self.trained.v)))
        return {
            "initial": rms(x - first) / rms(first),
            "error": rms(self._error(before)),
            "features": rms(moved - x),
            "outputs": rms(after - before),
            **sums.roots(),
            "increments": self._stacked([_increment(path, m) for m in spans.tolist()]),
            "scales": self._stacked([rms(x), rms(before), sums.branch()]),
        }

    def _pass(self, l: int, x: Array, moved: Array, sums: "Sums") -> tuple[Array, Array]:
        """The features after block l, of the networks as drawn and as trained."""
        training, everything = self.trained, lambda rows: rows
        before, after = ([layer[l, ...] for layer in layers] for layers in (self.weights, training.weights))
        changes = [b - a for a, b in zip(before, after, strict=True)]
        branch, _ = training.block(l, x, weights=before)
        start, there = training.block(l, moved, everything, weights=before)
        end, here = training.block(l, moved, everything, weights=after)
        first = self._first_order(before, changes, there)
        updates = [self._product(y, self._turned(change)) for y, change in zip(here.inputs, changes, strict=True)]
        sums.add(first, end - start - first, updates)
        sums.add_scales(start, changes, before)
        return x + training.c * branch, moved + training.c * end

    def _error(self, outputs: Array) -> Array:
        """The loss derivative of the first batch at these outputs of all samples."""
        problem, library = self.trained.problem, self.trained.library
        batch = np.array(problem.batch(0)) if problem.steps else np.arange(problem.n_samples)
        seen = library.xp.take(outputs, library.whole(batch), axis=-2)
        return problem.loss_function.derivative(seen, library.put(problem.targets[batch]))

    def _first_order(self, weights: Sequence[Array], changes: Sequence[Array], kept: Kept) -> Array:
        """The derivative of a branch in its weights, along their changes."""
        training, slopes = self.trained, list(kept.slopes)
        if training.model.form == "pre" and slopes:
            slopes.pop(0)
        moved: Array = 0.0
        for i, (layer, change) in enumerate(zip(weights, changes, strict=True)):
            carried = self._product(moved, self._turned(layer)) if i else 0.0
            moved = self._product(kept.inputs[i], self._turned(change)) + carried
            if training.bends(i):
                moved = slopes.pop(0) * moved
        return training.centred(moved)

    def _product(self, left: Array, right: Array) -> Array:
        return self.trained.library.product(left, right)

    def _turned(self, matrices: Array) -> Array:
        return self.trained.library.xp.matrix_transpose(matrices)

    def _stacked(self, columns: list[Array]) -> Array:
        return self.trained.library.xp.stack(columns, axis=-1)


class Sums:
    """Mean squares over blocks, network by network, as they come in block after block."""

    def __init__(self, training: DenseTraining) -> None:
        self.stack, self.blocks = training.library.xp.stack, training.blocks
        self.first: Array = 0.0
        self.rest: Array = 0.0
        self.start: Array = 0.0
        self.updates, self.changes, self.drawn = ([0.0] * training.model.block_depth for _ in range(3))

    def add(self, first: Array, rest: Array, updates: list[Array]) -> None:
        """One more block."""
        self.first += mean_square(first)
        self.rest += mean_square(rest)
        self.updates = [sum_ + mean_square(update) for sum_, update in zip(self.updates, updates, strict=True)]

    def add_scales(self, start: Array, changes: list[Array], drawn: list[Array]) -> None:
        """Of the same block: its branch as drawn, and its matrices, their changes and as drawn."""
        self.start += mean_square(start)
        self.changes = [sum_ + mean_square(change) for sum_, change in zip(self.changes, changes, strict=True)]
        self.drawn = [sum_ + mean_square(matrix) for sum_, matrix in zip(self.drawn, drawn, strict=True)]

    def roots(self) -> dict[str, Array]:
        """The roots of the means, by name."""
        moved = [(change / drawn) ** 0.5 for change, drawn in zip(self.changes, self.drawn, strict=True)]
        layers = {"updates": [self._root(each) for each in self.updates], "moved": moved}
        stacked = {name: self.stack(columns, axis=-1) for name, columns in layers.items()}
        return {"first": self._root(self.first), "rest": self._root(self.rest)} | stacked

    def branch(self) -> Array:
        """The rms of the branches as drawn."""
        return self._root(self.start)

    def _root(self, total: Array) -> Array:
        return (total / self.blocks) ** 0.5


def mean_square(rows: Array) -> Array:
    """Of rows (S, samples, n), network by network: shape (S,)."""
    return array_namespace(rows).mean(rows * rows, axis=(-2, -1))


def rms(rows: Array) -> Array:
    """The root of `mean_square`."""
    return mean_square(rows) ** 0.5


def _increment(path: list[Array], span: int) -> Array:
    """The rms of what is added within so many blocks, wherever they begin on the path; NaN if it is too short."""
    if len(path) <= span:
        return mean_square(path[0]) * np.nan
    squares = [mean_square(b - a) for a, b in zip(path[:-span], path[span:], strict=True)]
    return (sum(squares[1:], squares[0]) / len(squares)) ** 0.5
