r"""What optimizers do to parameters: from scaled gradients to directions, for several networks side by side.

Parameters are arrays (S, rows, columns), one matrix per network. A rule keeps the state of one parameter and moves it in place,

$$ W \leftarrow (1 - \eta s_t\lambda)\,W - \eta c\,Q_t, $$

where $\eta$ is the network's largest rate, $s_t$ the schedule over it, and $s_t$ is part of $Q_t$ (`limits.optimizers`). What
depends on $t$ is a few numbers that a rule tells beforehand, Python's or ones that wait on a device.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from limits.finite.moment import Number, Numbers
from limits.library import Library
from limits.optimizers import SGD, Adam, Muon, Optimizer, SignSGD

Array = Any
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of Muon's Newton-Schulz iteration."""
SMALLEST = 1e-30
"""Stands for a norm or a root of 0 where it divides."""
IN_CACHE = 2**16
"""Numbers of an array up to which elementwise passes over it and its states stay in cache."""
LEAST_ROWS = 32
"""Rows of a matrix below which its product costs more than cache saves."""


@runtime_checkable
class Rule(Protocol):
    """The direction of a step."""

    @property
    def linear(self) -> bool:
        """Whether directions are linear in gradients, so that a rate may multiply those instead."""
        ...

    @property
    def entrywise(self) -> bool:
        """Whether a direction can be found part by part of a matrix."""
        ...

    @property
    def schedule(self) -> np.ndarray:
        """Rates of the steps over the largest, shape (T,)."""
        ...

    def numbers(self, t: int) -> tuple[float, ...]:
        """What `direction` needs to know of step t; the schedule comes first."""
        ...

    def direction(self, gradient: Array, state: list[Array], numbers: Numbers) -> tuple[Number, Array]:
        """Q_t times the schedule, as a number and an array, from the scaled gradient.

        Rewrites the states, which begin as zeros, and may rewrite the gradient.
        """
        ...


@dataclass(frozen=True)
class Descent:
    """`SGD`."""

    momentum: float
    schedule: np.ndarray
    linear: bool = True
    entrywise: bool = True

    def numbers(self, t: int) -> tuple[float, ...]:
        return (float(self.schedule[t]),)

    def direction(self, gradient: Array, state: list[Array], numbers: Numbers) -> tuple[Number, Array]:
        (rate,) = numbers
        if not state:
            return rate, gradient
        (velocity,) = state
        velocity *= self.momentum
        if not is_one(rate):
            gradient *= rate
        velocity += gradient
        return 1.0, velocity


@dataclass(frozen=True)
class Adaptive:
    r"""`Adam`; its states are the sums $\sum_s b^{t-s}g_s$ and $\sum_s b^{t-s}g_s^2$, the means over $1 - b$."""

    library: Library
    betas: tuple[float, float]
    eps: float
    schedule: np.ndarray
    linear: bool = False
    entrywise: bool = True

    def numbers(self, t: int) -> tuple[float, ...]:
        rate, (of_means, of_squares) = float(self.schedule[t]), ((1 - b) / (1 - b ** (t + 1)) for b in self.betas)
        return rate, rate * of_means * of_squares**-0.5, max(self.eps, SMALLEST) * of_squares**-0.5

    def direction(self, gradient: Array, state: list[Array], numbers: Numbers) -> tuple[Number, Array]:
        (first, second), (b1, b2), (_, factor, eps) = state, self.betas, numbers
        first *= b1
        first += gradient
        second *= b2
        gradient *= gradient
        second += gradient
        root = self.library.root(second, out=gradient)
        root += eps
        return factor, self.library.quotient(first, root)


@dataclass(frozen=True)
class Sign:
    """`SignSGD`."""

    library: Library
    momentum: float
    schedule: np.ndarray
    linear: bool = False
    entrywise: bool = True

    def numbers(self, t: int) -> tuple[float, ...]:
        return (float(self.schedule[t]),)

    def direction(self, gradient: Array, state: list[Array], numbers: Numbers) -> tuple[Number, Array]:
        if state:
            state[0] *= self.momentum
            gradient *= 1 - self.momentum
            state[0] += gradient
        return numbers[0], self.library.xp.sign(state[0] if state else gradient)


@dataclass(frozen=True)
class Orthogonal:
    """`Muon`."""

    library: Library
    optimizer: Muon
    schedule: np.ndarray
    linear: bool = False
    entrywise: bool = False

    def numbers(self, t: int) -> tuple[float, ...]:
        return (float(self.schedule[t]),)

    def direction(self, gradient: Array, state: list[Array], numbers: Numbers) -> tuple[Number, Array]:
        beta = self.optimizer.momentum
        state[0] *= beta
        state[0] += gradient
        ahead = gradient + beta * state[0] if self.optimizer.nesterov else state[0]
        return numbers[0], orthogonalised(self.library, ahead, self.optimizer.iterations)


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


def is_one(number: Number) -> bool:
    """Whether a number is known to be 1; what waits on a device is not known."""
    return isinstance(number, float) and number == 1


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


@dataclass(frozen=True)
class Part:
    """Some networks, and some rows of one of their matrices: views that are moved together."""

    networks: slice
    rows: slice
    matrix: Array
    state: list[Array]


class Mover:
    """Moves one kind of parameter, matrix after matrix.

    Args:
        rule: its rule.
        scale: what gradients are multiplied by before the rule sees them.
        rates: eta c of every network, shape (S, 1, 1).
        decays: eta lambda of every network, shape (S, 1, 1), or None.
        parameters: matrices (S, rows, columns), moved in place.
        states: how many arrays like a parameter the rule keeps of it.
    """

    def __init__(
        self, library: Library, rule: Rule, scale: float, rates: np.ndarray, decays: np.ndarray | None,
        parameters: list[Array], states: int
    ) -> None:  # fmt: skip
        self.library, self.rule = library, rule
        self.rates, self.decays = library.put(rates), None if decays is None else library.put(decays)
        self.scales = library.put(scale * rates) if rule.linear else scale
        self.parts = [list(self._parts(p, [library.zeros(*p.shape) for _ in range(states)])) for p in parameters]

    def __call__(self, which: int, left: Array, right: Array, numbers: Numbers) -> None:
        """One step of parameter number `which`, of gradient left^T right: of rows (S, B, rows) and (S, B, columns).

        `numbers` are those of the rule.
        """
        left = self.library.xp.matrix_transpose(left * self.scales)
        for part in self.parts[which]:
            here, networks = part.matrix, part.networks
            gradient = self.library.product(left[networks, part.rows, :], right[networks, ...])
            factor, direction = self.rule.direction(gradient, part.state, numbers)
            if self.decays is not None:
                here *= 1 - numbers[0] * self.decays[networks, ...]
            if not self.rule.linear:
                direction *= factor * self.rates[networks, ...]
            elif not is_one(factor):
                direction *= factor
            here -= direction

    def _parts(self, matrices: Array, states: list[Array]) -> Iterator[Part]:
        """On a CPU what stays in cache: several networks, or some rows of one where its rule takes entries one by one."""
        for networks, rows in self._slices(*matrices.shape):
            yield Part(networks, rows, matrices[networks, rows, :], [state[networks, rows, :] for state in states])

    def _slices(self, S: int, rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
        size, height = max(1, IN_CACHE // (rows * columns)), rows
        if not self.library.on_cpu:
            size = S
        elif self.rule.entrywise and size == 1:
            height = max(LEAST_ROWS, IN_CACHE // columns)
        for i in range(0, S, size):
            for j in range(0, rows, height):
                yield slice(i, min(i + size, S)), slice(j, min(j + height, rows))
