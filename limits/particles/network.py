r"""A network of infinite width and L blocks, held by N neurons of every layer.

Forward go kets $x_i$ of all evaluated samples, back $\delta_i = n\,\partial_{x_i}$ of those in the batch. A block reads
$y_0 = x$ (normalised, or through $\phi$ for form "pre"), passes $y_i = \phi(W_iy_{i-1})$ through its layers (without $\phi$ after
the last for forms "pre" and "mlp"), and adds $aL^{-\alpha}Gy_k$. Means over neurons are means over the N held. Neurons of the
inside of a block are others than those of the network, and as many. Arrays of kets are (R, S, N): R independent networks, S
samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from limits.directions import Directions, directions
from limits.optimizers import SGD, Optimizer
from limits.particles.learned import LearnedMatrix, LowRank, Pairs, low_rank
from limits.particles.matrix import InitialMatrix
from limits.particles.noise import Noise
from limits.particles.rules import of_ends, rule_of, states_of
from limits.particles.space import Space
from limits.problem import Problem
from limits.semiseparable import BACKWARD, FORWARD, Side

Array = Any
NORM_EPSILON = 1e-5
"""Added to the variance by LayerNorm."""
Leave = Callable[[Side, int, int, Array], None]
"""(side, evaluation, level, kets of all samples or of the batch): what records them."""


def trained(problem: Problem, t: int) -> Array:
    """The samples in the batch of evaluation t, without repetitions; none at the last one."""
    return np.flatnonzero(problem.batch_share(t)) if t < problem.steps else np.zeros(0, int)


def capacity(problem: Problem) -> dict[Side, int]:
    """How many kets a matrix acts on in the whole of training."""
    batches = sum(len(trained(problem, t)) for t in range(problem.steps))
    return {FORWARD: len(problem.evaluated) * (problem.steps + 1), BACKWARD: batches}


def input_directions(problem: Problem) -> Directions:
    """Directions of the evaluated inputs, or the entries themselves where an optimizer treats those one by one."""
    d = problem.d_in
    if isinstance(problem.optimizer, SGD):
        return directions(problem.evaluated, problem.evaluated)
    return Directions(np.eye(d), problem.evaluated / d**0.5, None)


@dataclass
class Kept:
    """What the backward pass needs of a block's batch: slopes of phi, the norm's factors, and what its matrices acted on."""

    slopes: list[Array] = field(default_factory=list)
    norm: tuple[Array, Array] | None = None
    inputs: list[tuple[Array, Array]] = field(default_factory=list)


class End:
    """U or V: rows of kets that an optimizer moves, entry by entry."""

    def __init__(self, optimizer: Optimizer, which: str, rows: Array, xp: Any) -> None:
        self.rows, self.optimizer, self.rates, self.xp = rows, of_ends(optimizer), optimizer.schedule(which), xp
        self.rule = rule_of(self.optimizer, xp)
        self.states = [xp.zeros_like(rows) for _ in range(states_of(self.optimizer))] if self.rates.any() else []

    def learn(self, t: int, left: Array, right: Array) -> None:
        """One step, of gradient left^T right."""
        if self.states:
            rate = float(self.rates[t])
            self.rows = (1 - rate * self.optimizer.weight_decay) * self.rows
            self.rows = self.rows - self.rule(self.xp.matrix_transpose(left) @ right, self.states, rate, t)


class Kets:
    """The states of R independent networks of infinite width in training.

    Args:
        problem: what is trained.
        blocks: L.
        space: of the kets; N is even.
        rngs: give all random numbers, one for each network.
        leave: what records kets.
        responds: whether backward passes use the transposes of the forward matrices, not independent copies.
        summed: of how many blocks of a deeper network a block has the noise.
    """

    def __init__(
        self,
        problem: Problem,
        blocks: int,
        space: Space,
        rngs: Sequence[np.random.Generator],
        leave: Leave,
        responds: bool = True,
        summed: int = 1,
    ) -> None:
        self.problem, self.model, self.phi, self.leave = problem, problem.model, problem.model.phi, leave
        self.space, self.xp, self.responds, self.summed = space, space.xp, responds, summed
        self.mirrored = not odd(self.phi.phi)
        alpha = float(problem.parametrization.layers(self.model.block_depth)[0])
        self.c = self.model.multiplier * blocks**-alpha
        self.learns = bool(np.any(problem.optimizer.schedule() > 0))
        self._draw_ends(rngs)
        self.blocks = [self._block(blocks) for _ in range(blocks)]

    def begin(self, rngs: Sequence[np.random.Generator], leave: Leave) -> None:
        """Be as many other networks, in the same places."""
        self.leave = leave
        self._draw_ends(rngs)
        for layers in self.blocks:
            for layer in layers:
                layer.begin(self.noise)

    def _draw_ends(self, rngs: Sequence[np.random.Generator]) -> None:
        library, optimizer, basis = self.space.library, self.problem.optimizer, input_directions(self.problem)
        self.noise = Noise(rngs, self.space.neurons, mirrored=self.mirrored, exact=self.phi.linear, library=library)
        self.coordinates = library.put(basis.coordinates[None])
        self.u = End(optimizer, "input_lr", self.noise.draw(basis.count), self.xp)
        self.v = End(optimizer, "output_lr", self.noise.draw(self.problem.d_out), self.xp)
        self.noise.summed = self.summed

    def _block(self, L: int) -> list[LearnedMatrix]:
        model, optimizer = self.model, self.problem.optimizer
        k, room = model.block_depth, capacity(self.problem)
        _, gammas, betas = self.problem.parametrization.layers(k)
        widths = [1.0, *[model.expansion] * (k - 1), 1.0]
        layers = []
        for i, (columns, rows) in enumerate(pairwise(widths)):
            initial = InitialMatrix(self.space, self.noise, room, L ** -float(betas[i]), rows / columns, self.responds)
            gradient, power = model.multiplier * L ** float(sum(betas) - betas[i]), L ** -float(gammas[i])
            unit = columns if isinstance(optimizer, SGD) else 1.0
            factors = {FORWARD: power * unit, BACKWARD: power * unit * rows / columns}
            if low_rank(optimizer):
                update = LowRank(initial, optimizer, gradient if isinstance(optimizer, SGD) else 1.0, factors)
            else:
                update = Pairs(initial, optimizer, gradient, factors)
            layers.append(LearnedMatrix(initial, update, optimizer))
        return layers

    def forward(self, t: int) -> Array:
        """Outputs of all samples at evaluation t, shape (R, samples, d_out), on the device."""
        self._choose(trained(self.problem, t))
        x = self.coordinates @ self.u.rows
        self.tape: list[Kept] = []
        for l, layers in enumerate(self.blocks):
            self.leave(FORWARD, t, l, x)
            added, kept = self._branch(layers, x)
            x = x + self.c * added
            self.tape.append(kept)
        self.leave(FORWARD, t, len(self.blocks), x)
        if t == 0:  # V is independent of the first features
            self.v.rows = self.space.orthonormal(self.space.without(self.v.rows, self.space.orthonormal(x)))
        self.end = self._of_batch(x)
        return self.space.inner(x, self.v.rows)

    def _choose(self, batch: np.ndarray) -> None:
        """Make these samples the batch."""
        self.batch, self._first = batch, np.array_equal(batch, np.arange(len(batch)))
        self._which = None if self._first else self.space.library.whole(batch)

    def _of_batch(self, rows: Array) -> Array:
        """Rows of the batch out of those of all samples, a view where these are the first ones."""
        return rows[:, : len(self.batch), :] if self._first else self.xp.take(rows, self._which, axis=1)

    def _branch(self, layers: list[LearnedMatrix], x: Array) -> tuple[Array, Kept]:
        kept = Kept()
        y, norm = self._normalised(x)
        if norm is not None:
            kept.norm = self._of_batch(y), self._of_batch(norm)
        if self.model.form == "pre" and not self.phi.linear:
            kept.slopes.append(self.phi.derivative(self._of_batch(y)))
            y = self.phi.phi(y)
        for i, layer in enumerate(layers):
            acted_on = self._of_batch(y) if isinstance(layer.update, Pairs) else None
            y, coordinates = layer(FORWARD, y)
            kept.inputs.append((acted_on, self._of_batch(coordinates)))
            if self._bends(i):
                kept.slopes.append(self.phi.derivative(self._of_batch(y)))
                y = self.phi.phi(y)
        return self._centred(y), kept

    def _bends(self, layer: int) -> bool:
        """Whether phi follows a layer."""
        last = layer == self.model.block_depth - 1
        return not self.phi.linear and (self.model.form == "post" or (self.model.form == "mlp" and not last))

    def _centred(self, kets: Array) -> Array:
        centred = self.model.form == "post" and not self.phi.linear and self.model.mean_subtraction
        return kets - self.space.mean(kets) if centred else kets

    def _normalised(self, x: Array) -> tuple[Array, Array | None]:
        if not self.model.layer_norm:
            return x, None
        rest = x - self.space.mean(x)
        factor = (self.space.mean(rest * rest) + NORM_EPSILON) ** -0.5
        return rest * factor, factor

    def backward(self, t: int, chi: Array) -> None:
        """The backward pass of evaluation t from the derivatives chi of the loss (R, P, d_out), and the step after it."""
        chi = self._of_batch(chi)
        delta = chi @ self.v.rows
        for l in reversed(range(len(self.blocks))):
            self.leave(BACKWARD, t, l + 1, delta)
            delta = delta + self.c * self._branch_back(t, self.blocks[l], delta, self.tape.pop())
        self.leave(BACKWARD, t, 0, delta)
        self.u.learn(t, self._of_batch(self.coordinates), delta)
        self.v.learn(t, chi, self.end)

    def _branch_back(self, t: int, layers: list[LearnedMatrix], delta: Array, kept: Kept) -> Array:
        g = self._centred(delta)
        for i in reversed(range(len(layers))):
            if self._bends(i):
                g = g * kept.slopes.pop()
            before, left = layers[i](BACKWARD, g)
            if self.learns:
                y, right = kept.inputs[i]
                layers[i].learn(t, y, g, (right, left))
            g = before
        if kept.slopes:
            g = g * kept.slopes.pop()
        return g if kept.norm is None else self._norm_back(g, *kept.norm)

    def _norm_back(self, g: Array, normalised: Array, factor: Array) -> Array:
        along = self.space.mean(g * normalised)
        return factor * (g - self.space.mean(g) - normalised * along)


def odd(phi: Callable[[Any], Any]) -> bool:
    """Whether a function is odd, as far as some points tell; mirrored neurons would only be fewer neurons then.

    >>> odd(np.tanh), odd(np.cos)
    (True, False)
    """
    z = np.linspace(0.1, 3, 7)
    return bool(np.allclose(phi(-z), -phi(z)))
