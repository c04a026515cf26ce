r"""Training of networks with any block and any optimizer: every matrix is held and moved as it is.

With $c = aL^{-\alpha}$ a block reads $y_0 = x^{l-1}$ (normalised, or through $\phi$ for form "pre"), passes
$h_i = W_iy_{i-1}$, $y_i = \phi(h_i)$ through its layers (without $\phi$ after the last for forms "pre" and "mlp"), and adds
$c\,G y_k$. The backward pass sends $\delta^l = n\,\partial_{x^l}$ through it in the same way, and gives every layer the scaled
gradient $\hat g_i = L^{\alpha_i'}\sum_\mu g_{i,\mu}\,y_{i-1,\mu}^T$, $g_i$ the derivative at $h_i$. A matrix moves as soon as
$\delta^{l-1}$ is known, so that no gradient of the whole network is ever held.

One training loop serves networks that differ in seed, learning rate and multiplier: they are the first axis of every array.
What changes from one evaluation to the next is handed to it as a `Moment`, so that a GPU may run it as one graph.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from limits.finite.graphs import Repeated, capture_of
from limits.finite.moment import Batch, Moment, Numbers
from limits.finite.network import Recorded, Watch
from limits.finite.nonlinear import leaving, places_in, spread
from limits.finite.rules import Mover, rule_of, shape_of, states_of, unit_of
from limits.library import Library
from limits.optimizers import Muon
from limits.parametrization import gradients
from limits.problem import Problem
from limits.semiseparable import BACKWARD, FORWARD

Array = Any
Pick = Callable[[Array], Array]
NORM_EPSILON = 1e-5
"""Added to the variance by LayerNorm."""


@dataclass(frozen=True)
class Shapes:
    """Rows and columns of the matrices of a block, layer by layer, and the exponents of their initial size."""

    matrices: tuple[tuple[int, int], ...]
    betas: tuple[float, ...]

    @classmethod
    def of(cls, problem: Problem, width: int, block_width: int) -> "Shapes":
        k = problem.model.block_depth
        sizes = (width, *((block_width,) * (k - 1)), width)
        betas = problem.parametrization.layers(k)[2]
        return cls(tuple((sizes[i + 1], sizes[i]) for i in range(k)), tuple(map(float, betas)))

    @property
    def numbers(self) -> int:
        """Entries of a block's matrices."""
        return sum(rows * columns for rows, columns in self.matrices)

    @property
    def largest(self) -> int:
        """Entries of the largest matrix."""
        return max(rows * columns for rows, columns in self.matrices)


@dataclass(frozen=True)
class Drawn:
    """The random numbers of several networks, being drawn by other threads.

    Attributes:
        u: rows of U, shape (S, d_in, n).
        v: rows of V, shape (S, d_out, n).
        weights: layer by layer, shape (L, S, rows, columns).
    """

    u: np.ndarray
    v: np.ndarray
    weights: list[np.ndarray]
    under_way: Sequence[Future]

    def __len__(self) -> int:
        return len(self.u)

    def wait(self) -> "Drawn":
        """Itself, when every number is there."""
        for seed in self.under_way:
            seed.result()
        return self


def draw(
    threads: Executor, problem: Problem, shapes: Shapes, *, width: int, blocks: int, seed: int, seeds: range, dtype: str
) -> Drawn:
    """Begin to draw networks: seed s gives U, V, then block by block its layers, from `default_rng([seed, s])` in float64."""
    n, S = width, len(seeds)
    u, v = np.empty((S, problem.d_in, n), dtype), np.empty((S, problem.d_out, n), dtype)
    weights = [np.empty((blocks, S, *matrix), dtype) for matrix in shapes.matrices]

    def fill(s: int) -> None:
        rng, normals = np.random.default_rng([seed, seeds[s]]), [np.empty(matrix) for matrix in shapes.matrices]
        u[s] = rng.standard_normal((n, problem.d_in)).T
        v[s] = rng.standard_normal((n, problem.d_out)).T
        scales = [blocks**-beta / columns**0.5 for beta, (_, columns) in zip(shapes.betas, shapes.matrices, strict=True)]
        for l in range(blocks):
            for layer, out, scale in zip(weights, normals, scales, strict=True):
                np.multiply(rng.standard_normal(out=out), scale, out=layer[l, s], casting="same_kind")

    return Drawn(u, v, weights, [threads.submit(fill, s) for s in range(S)])


@dataclass(frozen=True)
class Kept:
    """What the backward pass needs of a block: what its matrices acted on, slopes of phi, and the norm's factors."""

    inputs: list[Array]
    slopes: list[Array]
    norm: tuple[Array, Array] | None = None


class DenseTraining:
    """Any optimizer on networks with any block: at every evaluation a forward pass, and a backward pass where it is needed.

    Args:
        problem: what is trained.
        library: of the arrays.
        u, v, weights: of the networks, as in `Drawn`, on the device; rewritten as they learn.
        lrs: what the optimizer's rate of blocks is multiplied by, network by network, shape (S,).
        multipliers: a of every network, shape (S,).
        watch: which states to record.
    """

    def __init__(
        self, problem: Problem, library: Library, u: Array, v: Array, weights: list[Array], *, lrs: np.ndarray,
        multipliers: np.ndarray, watch: Watch
    ) -> None:  # fmt: skip
        self.problem, self.library, self.model, self.watch = problem, library, problem.model, watch
        self.u, self.v, self.weights = u, v, weights
        self.blocks, self.width, L = weights[0].shape[0], u.shape[-1], weights[0].shape[0]
        self.inputs = library.put(problem.evaluated / problem.d_in**0.5)
        self.targets = library.put(problem.targets)
        alpha = float(problem.parametrization.layers(self.model.block_depth)[0])
        self.c = library.put(np.asarray(multipliers, float)[:, None, None] * L**-alpha)
        self.phi = self.model.phi  # a name is looked up once
        post = self.model.form == "post" and not self.phi.linear
        self.averaging = library.put(np.full((self.width, 1), 1 / self.width)) if post and self.model.mean_subtraction else None
        self._set_movers(np.asarray(lrs, float)[:, None, None], L)
        capture = capture_of(library, max(int(np.prod(layer.shape[1:])) for layer in weights), problem.steps)
        self.repeated = Repeated(library, self.step, capture) if capture else None

    def _set_movers(self, lrs: np.ndarray, L: int) -> None:
        problem, library, optimizer = self.problem, self.library, self.problem.optimizer
        top, schedule = shape_of(optimizer.schedule())
        gammas, rule = problem.parametrization.layers(self.model.block_depth)[1], rule_of(optimizer, library, schedule)
        sizes = gradients(problem.parametrization, self.model.block_depth)
        decays = top * optimizer.weight_decay * lrs if optimizer.weight_decay else None
        self.movers = []
        for gamma, size, layer in zip(gammas, sizes, self.weights, strict=True):
            unit, scale = unit_of(optimizer, self.width, *layer.shape[2:]) * L ** -float(gamma), L ** -float(size.at({}))
            matrices = [layer[l, ...] for l in range(L)]
            self.movers.append(Mover(library, rule, scale, top * unit * lrs, decays, matrices, states_of(optimizer)))
        self.learns = top > 0 and bool(np.any(lrs > 0))
        self.ends = {FORWARD: self._end("input_lr", self.u), BACKWARD: self._end("output_lr", self.v)}

    def _end(self, which: str, rows: Array) -> Mover | None:
        top, schedule = shape_of(self.problem.optimizer.schedule(which))
        if not top:
            return None
        ones, decay = np.ones((rows.shape[0], 1, 1)), self.problem.optimizer.weight_decay
        rule = rule_of(self.problem.optimizer, self.library, schedule, end=True)
        states = 2 if isinstance(self.problem.optimizer, Muon) else states_of(self.problem.optimizer)
        return Mover(self.library, rule, 1.0, top * ones, top * decay * ones if decay else None, [rows], states)

    def evaluate(self, t: int, whole: bool = True) -> Array:
        """Outputs of evaluation t, of all samples (S, P + R, d_out) or only of the batch (S, B, d_out), and the step after it."""
        moment = self._moment(t, whole)
        return self.step(moment) if self.repeated is None else self.repeated(moment)

    def _moment(self, t: int, whole: bool) -> Moment:
        library, forward, backward = self.library, self.watch(FORWARD, t), self.watch(BACKWARD, t)
        rows, batch = self.inputs, None
        if t < self.problem.steps:
            batch = self._batch(t, whole, None if backward is None else backward.samples)
            rows = self.inputs if whole else batch.inputs
        if not self.learns and not self.ends_learn and backward is None:
            batch = None
        if forward is None or np.array_equal(forward.samples, np.arange(rows.shape[0])):
            return Moment(rows, batch, forward, backward)
        return Moment(rows, batch, forward, backward, library.whole(forward.samples))

    def _batch(self, t: int, whole: bool, recorded: np.ndarray | None) -> Batch:
        library, share = self.library, self.problem.batch_share(t)
        samples, movers = np.flatnonzero(share), [self.movers[0], *(end for end in self.ends.values() if end is not None)]
        places = library.whole(samples) if whole and len(samples) < self.inputs.shape[0] else None
        return Batch(
            samples,
            places,
            library.rows(self.inputs, samples),
            library.rows(self.targets, samples),
            library.put(share[samples][:, None]),
            [mover.rule.numbers(t) for mover in movers],
            None if recorded is None else library.whole(places_in(samples, recorded)),
        )

    def step(self, moment: Moment) -> Array:
        """An evaluation and the step after it, with what is recorded of it; nothing leaves the device."""
        batch = moment.batch
        pick = self._picking(None if batch is None else batch.places)
        end, tape = self._forward(moment, self.library.product(moment.rows, self.u), pick)
        outputs = self.library.product(end, self.library.xp.matrix_transpose(self.v)) / self.width
        if batch is not None:
            chi = self.problem.loss_function.derivative(pick(outputs), batch.targets) * batch.share
            self._backward(moment.backward, batch, chi, pick(end), tape)
        return outputs

    @property
    def ends_learn(self) -> bool:
        return any(end is not None for end in self.ends.values())

    def _picking(self, places: Array) -> Pick:
        """Rows of some samples out of those of others: copies, or themselves where `places` is None."""
        return lambda rows: rows if places is None else self.library.xp.take(rows, places, axis=-2)

    # Forward.

    def _forward(self, moment: Moment, x: Array, pick: Pick) -> tuple[Array, list[Kept]]:
        tape, leave = [], leaving(moment.forward, lambda r: self._picking(moment.seen))
        kept = moment.batch is not None
        for l in range(self.blocks):
            leave(l, x)
            added, block = self.block(l, x, pick if kept else None)
            added *= self.c
            added += x
            x = added
            tape.append(block)
        leave(self.blocks, x)
        return x, tape

    def block(self, l: int, x: Array, pick: Any = None, weights: Sequence[Array] | None = None) -> tuple[Array, Kept]:
        """The branch of block l (from 0) at rows x, without its multiplier, and what is kept of the rows that are picked."""
        phi, form, pick = self.phi, self.model.form, pick or (lambda rows: None)
        y, norm = self._normalised(x)
        seen = pick(y)
        kept = Kept([], [], None if norm is None or seen is None else (seen, pick(norm)))
        if form == "pre" and not phi.linear:
            self._keep_slope(kept, seen)
            y = phi.phi(y)
            seen = pick(y)
        for i, layer in enumerate(weights or [w[l, ...] for w in self.weights]):
            kept.inputs.append(seen if i == 0 else pick(y))
            y = self.library.product(y, self.library.xp.matrix_transpose(layer))
            if self.bends(i):
                self._keep_slope(kept, pick(y))
                y = phi.phi(y)
        return self.centred(y), kept

    def bends(self, layer: int) -> bool:
        """Whether phi follows a layer."""
        last = layer == self.model.block_depth - 1
        return not self.phi.linear and (self.model.form == "post" or (self.model.form == "mlp" and not last))

    def _keep_slope(self, kept: Kept, h: Array) -> None:
        if h is not None:
            kept.slopes.append(self.phi.derivative(h))

    def _normalised(self, x: Array) -> tuple[Array, Array]:
        if not self.model.layer_norm:
            return x, None
        xp = self.library.xp
        centred = x - xp.mean(x, axis=-1, keepdims=True)
        factor = (xp.mean(centred * centred, axis=-1, keepdims=True) + NORM_EPSILON) ** -0.5
        return centred * factor, factor

    def centred(self, rows: Array) -> Array:
        """Rows without their mean over neurons, where the blocks subtract it."""
        return rows if self.averaging is None else rows - self.library.product(rows, self.averaging)

    # Backward.

    def _backward(self, recorded: Recorded | None, batch: Batch, chi: Array, end: Array, tape: list[Kept]) -> None:
        numbers, leave = list(batch.numbers), leaving(recorded, lambda r: lambda rows: spread(rows, batch.spread))
        delta, of_blocks = self.library.product(chi, self.v), numbers.pop(0)
        for l in reversed(range(self.blocks)):
            leave(l + 1, delta)
            delta = self._block_back(of_blocks, l, delta, tape[l])
        leave(0, delta)
        if (mover := self.ends[FORWARD]) is not None:
            inputs = self.library.xp.broadcast_to(batch.inputs, (delta.shape[0], *batch.inputs.shape))
            mover(0, inputs, delta, numbers.pop(0))
        if (mover := self.ends[BACKWARD]) is not None:
            mover(0, chi, end, numbers.pop(0))

    def _block_back(self, numbers: Numbers, l: int, delta: Array, kept: Kept) -> Array:
        """Delta before block l; its matrices move."""
        g, slopes = self.c * self.centred(delta), list(kept.slopes)
        for i in reversed(range(self.model.block_depth)):
            if self.bends(i):
                g *= slopes.pop()
            before = self.library.product(g, self.weights[i][l, ...])
            if self.learns:
                self.movers[i](l, g, kept.inputs[i], numbers)
            g = before
        if slopes:
            g *= slopes.pop()
        g = g if kept.norm is None else self._norm_back(g, *kept.norm)
        g += delta
        return g

    def _norm_back(self, g: Array, normalised: Array, factor: Array) -> Array:
        xp = self.library.xp
        along = xp.mean(g * normalised, axis=-1, keepdims=True)
        return factor * (g - xp.mean(g, axis=-1, keepdims=True) - normalised * along)


def numbers_per_network(problem: Problem, shapes: Shapes, blocks: int, width: int) -> int:
    """Numbers that one network holds while it trains: weights, states of the optimizer, and rows between the passes."""
    model, states = problem.model, states_of(problem.optimizer)
    batch = max((int(np.count_nonzero(problem.batch_share(t))) for t in range(problem.steps)), default=0)
    inner = sum(rows for rows, _ in shapes.matrices) - width
    slopes = 0 if model.phi.linear else inner + (width if model.form != "mlp" else 0)
    normalised = width if model.layer_norm and model.form == "pre" and not model.phi.linear else 0
    kept = batch * (width + inner + slopes + normalised)
    ends = (problem.d_in + problem.d_out) * width * (1 + states)
    passing = 4 * len(problem.evaluated) * max(rows for rows, _ in shapes.matrices)
    moving = shapes.largest * (5 if isinstance(problem.optimizer, Muon) else 1)
    return blocks * (shapes.numbers * (1 + states) + kept) + ends + passing + moving
