r"""A network of infinite width and L blocks, held by N neurons of every layer.

Forward go kets $x_i$ of all evaluated samples, back $\delta_i = n\,\partial_{x_i}$ of those in the batch. A block reads
$y_0 = x$ (normalised, or through $\phi$ for form "pre"), passes $y_i = \phi(W_iy_{i-1})$ through its layers (without $\phi$ after
the last for forms "pre" and "mlp"), and adds $aL^{-\alpha}Gy_k$. Means over neurons are means over the N held. Neurons of the
inside of a block are others than those of the network, and as many.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from limits.directions import Directions, directions
from limits.optimizers import SGD, Optimizer
from limits.particles.learned import LearnedMatrix, LowRank, Pairs, low_rank
from limits.particles.matrix import InitialMatrix, orthonormal, without
from limits.particles.noise import Noise
from limits.particles.rules import of_ends, rule_of, states_of
from limits.problem import Problem
from limits.semiseparable import BACKWARD, FORWARD, Side

Array = np.ndarray
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

    def __init__(self, optimizer: Optimizer, which: str, rows: Array) -> None:
        self.rows, self.optimizer, self.rates = rows, of_ends(optimizer), optimizer.schedule(which)
        self.rule = rule_of(self.optimizer)
        self.states = [np.zeros_like(rows) for _ in range(states_of(self.optimizer))] if self.rates.any() else []

    def learn(self, t: int, left: Array, right: Array) -> None:
        """One step, of gradient left^T right."""
        if self.states:
            rate = float(self.rates[t])
            self.rows = (1 - rate * self.optimizer.weight_decay) * self.rows
            self.rows = self.rows - self.rule(left.T @ right, self.states, rate, t)


class Kets:
    """The states of a network of infinite width in training.

    Args:
        problem: what is trained.
        blocks: L.
        neurons: N, even.
        rng: gives all random numbers.
        leave: what records kets.
        responds: whether backward passes use the transposes of the forward matrices, not independent copies.
    """

    def __init__(
        self, problem: Problem, blocks: int, neurons: int, rng: np.random.Generator, leave: Leave, responds: bool = True
    ) -> None:
        self.problem, self.model, self.phi, self.leave = problem, problem.model, problem.model.phi, leave
        self.neurons, self.responds = neurons, responds
        self.noise = Noise(rng, neurons, mirrored=not odd(self.phi.phi), exact=self.phi.linear)
        basis = input_directions(problem)
        self.coordinates = basis.coordinates
        self.u = End(problem.optimizer, "input_lr", self.noise.draw(basis.count))
        self.v = End(problem.optimizer, "output_lr", self.noise.draw(problem.d_out))
        alpha = float(problem.parametrization.layers(self.model.block_depth)[0])
        self.c = self.model.multiplier * blocks**-alpha
        self.blocks = [self._block(blocks) for _ in range(blocks)]
        self.learns = bool(np.any(problem.optimizer.schedule() > 0))

    def _block(self, L: int) -> list[LearnedMatrix]:
        model, optimizer = self.model, self.problem.optimizer
        k, room = model.block_depth, capacity(self.problem)
        _, gammas, betas = self.problem.parametrization.layers(k)
        widths = [1.0, *[model.expansion] * (k - 1), 1.0]
        layers = []
        for i, (columns, rows) in enumerate(pairwise(widths)):
            initial = InitialMatrix(self.noise, room, L ** -float(betas[i]), rows / columns, self.responds)
            gradient, power = model.multiplier * L ** float(sum(betas) - betas[i]), L ** -float(gammas[i])
            unit = columns if isinstance(optimizer, SGD) else 1.0
            factors = {FORWARD: power * unit, BACKWARD: power * unit * rows / columns}
            if low_rank(optimizer):
                scale = gradient if isinstance(optimizer, SGD) else 1.0
                update = LowRank(initial, optimizer, scale, factors)
            else:
                update = Pairs(self.neurons, optimizer, gradient, factors)
            layers.append(LearnedMatrix(initial, update, optimizer))
        return layers

    def forward(self, t: int) -> Array:
        """Outputs of all samples at evaluation t, shape (samples, d_out)."""
        x, batch = self.coordinates @ self.u.rows, trained(self.problem, t)
        self.tape: list[Kept] = []
        for l, layers in enumerate(self.blocks):
            self.leave(FORWARD, t, l, x)
            added, kept = self._branch(layers, x, batch)
            x = x + self.c * added
            self.tape.append(kept)
        self.leave(FORWARD, t, len(self.blocks), x)
        if t == 0:  # V is independent of the first features
            self.v.rows = orthonormal(without(self.v.rows, orthonormal(x)))
        self.end = x[batch]
        return x @ self.v.rows.T / self.neurons

    def _branch(self, layers: list[LearnedMatrix], x: Array, batch: Array) -> tuple[Array, Kept]:
        kept = Kept()
        y, norm = self._normalised(x)
        if norm is not None:
            kept.norm = y[batch], norm[batch]
        if self.model.form == "pre" and not self.phi.linear:
            kept.slopes.append(self.phi.derivative(y[batch]))
            y = self.phi.phi(y)
        for i, layer in enumerate(layers):
            acted_on = y[batch] if isinstance(layer.update, Pairs) else y[:0]
            y, coordinates = layer(FORWARD, y)
            kept.inputs.append((acted_on, coordinates[batch]))
            if self._bends(i):
                kept.slopes.append(self.phi.derivative(y[batch]))
                y = self.phi.phi(y)
        return self._centred(y), kept

    def _bends(self, layer: int) -> bool:
        """Whether phi follows a layer."""
        last = layer == self.model.block_depth - 1
        return not self.phi.linear and (self.model.form == "post" or (self.model.form == "mlp" and not last))

    def _centred(self, kets: Array) -> Array:
        centred = self.model.form == "post" and not self.phi.linear and self.model.mean_subtraction
        return kets - kets.mean(axis=1, keepdims=True) if centred else kets

    def _normalised(self, x: Array) -> tuple[Array, Array | None]:
        if not self.model.layer_norm:
            return x, None
        rest = x - x.mean(axis=1, keepdims=True)
        factor = (np.mean(rest**2, axis=1, keepdims=True) + NORM_EPSILON) ** -0.5
        return rest * factor, factor

    def backward(self, t: int, chi: Array) -> None:
        """The backward pass of evaluation t from the derivatives chi of the loss (P, d_out), and the step after it."""
        batch = trained(self.problem, t)
        delta = chi[batch] @ self.v.rows
        for l in reversed(range(len(self.blocks))):
            self.leave(BACKWARD, t, l + 1, delta)
            delta = delta + self.c * self._branch_back(t, self.blocks[l], delta, self.tape.pop())
        self.leave(BACKWARD, t, 0, delta)
        self.u.learn(t, self.coordinates[batch], delta)
        self.v.learn(t, chi[batch], self.end)

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
        along = np.mean(g * normalised, axis=1, keepdims=True)
        return factor * (g - g.mean(axis=1, keepdims=True) - normalised * along)


def odd(phi: Callable[[Array], Array]) -> bool:
    """Whether a function is odd, as far as some points tell; mirrored neurons would only be fewer neurons then.

    >>> odd(np.tanh), odd(np.cos)
    (True, False)
    """
    z = np.linspace(0.1, 3, 7)
    return bool(np.allclose(phi(-z), -phi(z)))
