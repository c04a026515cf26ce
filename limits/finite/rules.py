r"""What optimizers do to parameters: from scaled gradients to directions, for several networks side by side.

Parameters are arrays (S, rows, columns), one matrix per network. A rule keeps the state of one parameter and moves it in place,

$$ W \leftarrow (1 - \eta s_t\lambda)\,W - \eta c\,Q_t, $$

where $\eta$ is the network's largest rate, $s_t$ the schedule over it, and $s_t$ is part of $Q_t$ (`limits.optimizers`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from limits.finite.library import Library
from limits.optimizers import SGD, Adam, Muon, Optimizer, SignSGD

Array = Any
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of Muon's Newton-Schulz iteration."""
SMALLEST = 1e-30
"""Stands for a norm or a root of 0 where it divides."""
IN_CACHE = 2**17
"""Numbers of an array up to which elementwise passes over it stay in cache."""


@runtime_checkable
class Rule(Protocol):
    """The direction of a step."""

    @property
    def schedule(self) -> np.ndarray:
        """Rates of the steps over the largest, shape (T,)."""
        ...

    def direction(self, gradient: Array, state: list[Array], t: int) -> Array:
        """Q_t times the schedule, from the scaled gradient; rewrites the states, which begin as zeros."""
        ...


@dataclass(frozen=True)
class Descent:
    """`SGD`."""

    momentum: float
    schedule: np.ndarray

    def direction(self, gradient: Array, state: list[Array], t: int) -> Array:
        step = gradient if self.schedule[t] == 1 else float(self.schedule[t]) * gradient
        if not state:
            return step
        (velocity,) = state
        velocity *= self.momentum
        velocity += step
        return velocity


@dataclass(frozen=True)
class Adaptive:
    """`Adam`."""

    library: Library
    betas: tuple[float, float]
    eps: float
    schedule: np.ndarray

    def direction(self, gradient: Array, state: list[Array], t: int) -> Array:
        (mean, square), (b1, b2) = state, self.betas
        mean *= b1
        mean += (1 - b1) * gradient
        square *= b2
        square += ((1 - b2) * gradient) * gradient
        root = self.library.xp.sqrt(square)
        root *= (1 - b2 ** (t + 1)) ** -0.5
        root += max(self.eps, SMALLEST)
        return (float(self.schedule[t]) / (1 - b1 ** (t + 1))) * mean / root


@dataclass(frozen=True)
class Sign:
    """`SignSGD`."""

    library: Library
    momentum: float
    schedule: np.ndarray

    def direction(self, gradient: Array, state: list[Array], t: int) -> Array:
        if state:
            state[0] *= self.momentum
            state[0] += (1 - self.momentum) * gradient
        return float(self.schedule[t]) * self.library.xp.sign(state[0] if state else gradient)


@dataclass(frozen=True)
class Orthogonal:
    """`Muon`."""

    library: Library
    optimizer: Muon
    schedule: np.ndarray

    def direction(self, gradient: Array, state: list[Array], t: int) -> Array:
        beta = self.optimizer.momentum
        state[0] *= beta
        state[0] += gradient
        ahead = gradient + beta * state[0] if self.optimizer.nesterov else state[0]
        return float(self.schedule[t]) * orthogonalised(self.library, ahead, self.optimizer.iterations)


def orthogonalised(library: Library, matrices: Array, iterations: int) -> Array:
    r"""Matrices (S, rows, columns) with singular values near 1 in place of their own.

    By iterations of $X \leftarrow aX + (bA + cA^2)X$ with $A = XX^T$.
    """
    xp, (a, b, c) = library.xp, QUINTIC
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x = matrices if wide else xp.matrix_transpose(matrices)
    x = x / (xp.sqrt(xp.sum(x * x, axis=(-2, -1), keepdims=True)) + SMALLEST)
    for _ in range(iterations):
        square = library.product(x, xp.matrix_transpose(x))
        x = a * x + library.product(b * square + c * library.product(square, square), x)
    return x if wide else xp.matrix_transpose(x)


def shape_of(schedule: np.ndarray) -> tuple[float, np.ndarray]:
    """The largest rate of a schedule, and the schedule over it."""
    top = float(np.max(schedule, initial=0.0))
    return top, np.asarray(schedule) / top if top else np.zeros(len(schedule))


def states_of(optimizer: Optimizer) -> int:
    """How many numbers an optimizer keeps beside every weight of a block."""
    if isinstance(optimizer, SGD | SignSGD):
        return int(optimizer.momentum > 0)
    return 1 if isinstance(optimizer, Muon) else 2


def rule_of(optimizer: Optimizer, library: Library, schedule: np.ndarray, *, end: bool = False) -> Rule:
    """The rule of a block's matrices, or of U and V (`end`)."""
    if isinstance(optimizer, SGD):
        return Descent(optimizer.momentum, schedule)
    if isinstance(optimizer, SignSGD):
        return Sign(library, optimizer.momentum, schedule)
    if isinstance(optimizer, Adam):
        return Adaptive(library, (optimizer.beta1, optimizer.beta2), optimizer.eps, schedule)
    assert isinstance(optimizer, Muon)
    return Adaptive(library, (0.9, 0.95), 1e-8, schedule) if end else Orthogonal(library, optimizer, schedule)


def unit_of(optimizer: Optimizer, width: int, rows: int, columns: int) -> float:
    r"""$c$ of a block's matrix: the size of an entry of its update when $Q$ has the size that the optimizer gives it."""
    if isinstance(optimizer, SGD):
        return 1 / width
    return (rows / columns) ** 0.5 if isinstance(optimizer, Muon) else 1 / columns


class Mover:
    """Moves one kind of parameter, matrix after matrix.

    Args:
        rule: its rule.
        rates: eta c of every network, shape (S, 1, 1).
        decays: eta lambda of every network, shape (S, 1, 1), or None.
        parameters: matrices (S, rows, columns), moved in place.
        states: how many arrays like a parameter the rule keeps of it.
    """

    def __init__(self, library: Library, rule: Rule, rates: Array, decays: Array, parameters: list[Array], states: int) -> None:
        self.library, self.rule, self.rates, self.decays = library, rule, rates, decays
        self.parameters = parameters
        self.state = [[library.zeros(*p.shape) for _ in range(states)] for p in parameters]

    def __call__(self, which: int, gradient: Array, t: int) -> None:
        """One step of parameter number `which`."""
        parameter, state = self.parameters[which], self.state[which]
        for part in self._parts(parameter):
            direction = self.rule.direction(gradient[part, ...], [s[part, ...] for s in state], t)
            here = parameter[part, ...]
            if self.decays is not None:
                here *= 1 - float(self.rule.schedule[t]) * self.decays[part, ...]
            here -= self.rates[part, ...] * direction

    def _parts(self, parameter: Array) -> Iterator[slice]:
        """Networks that are moved together: on a CPU as many as stay in cache."""
        S, each = parameter.shape[0], max(1, parameter.shape[1] * parameter.shape[2])
        size = max(1, IN_CACHE // each) if self.library.on_cpu else S
        return (slice(i, min(i + size, S)) for i in range(0, S, size))
