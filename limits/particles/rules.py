r"""What optimizers make of gradients, for kets: the steps of entries, and of matrices in orthonormal coordinates.

An update of rank B is $q^TMp$ in the orthonormal kets q, p that the matrix has seen. `SGD` is linear, and `Muon` does not see
rotations, so that both act on the small matrix M.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from limits.optimizers import SGD, Adam, Muon, Optimizer, SignSGD

Array = Any
SMALLEST = 1e-30
"""Stands for a root or a norm of 0 where it divides."""
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of Muon's Newton-Schulz iteration."""

Rule = Callable[[Array, list[Array], float, int], Array]
"""(scaled gradient, states, rate, t) -> rate times direction; rewrites the states."""


def states_of(optimizer: Optimizer) -> int:
    """How many arrays like the gradient a rule rewrites."""
    return 2 if isinstance(optimizer, Adam) else 1


def rule_of(optimizer: Optimizer, xp: Any) -> Rule:
    """The rule of an optimizer's blocks, in an array namespace."""
    rules: dict[type, Any] = {SGD: _descent, Muon: _orthogonal, SignSGD: _sign, Adam: _adaptive}
    return partial(next(rules[kind] for kind in rules if isinstance(optimizer, kind)), xp, optimizer)


def of_ends(optimizer: Optimizer) -> Optimizer:
    """The optimizer that trains U and V where this one trains the blocks."""
    if not isinstance(optimizer, Muon):
        return optimizer
    return Adam(optimizer.lr, optimizer.steps, optimizer.input_lr, optimizer.output_lr, beta2=0.95, eps=1e-8)


def _descent(xp: Any, sgd: SGD, gradient: Array, states: list[Array], rate: float, t: int) -> Array:
    states[0] *= sgd.momentum
    states[0] += rate * gradient
    return states[0]


def _sign(xp: Any, sign: SignSGD, gradient: Array, states: list[Array], rate: float, t: int) -> Array:
    states[0] *= sign.momentum
    states[0] += (1 - sign.momentum) * gradient
    return rate * xp.sign(states[0])


def _adaptive(xp: Any, adam: Adam, gradient: Array, states: list[Array], rate: float, t: int) -> Array:
    for state, moment, beta in zip(states, (gradient, gradient**2), (adam.beta1, adam.beta2), strict=True):
        state *= beta
        state += (1 - beta) * moment
    unbiased = [1 - beta ** (t + 1) for beta in (adam.beta1, adam.beta2)]
    root = xp.sqrt(states[1] / unbiased[1]) + max(adam.eps, SMALLEST)
    return (rate / unbiased[0]) * states[0] / root


def _orthogonal(xp: Any, muon: Muon, gradient: Array, states: list[Array], rate: float, t: int) -> Array:
    states[0] *= muon.momentum
    states[0] += gradient
    ahead = gradient + muon.momentum * states[0] if muon.nesterov else states[0]
    x = ahead / (xp.sqrt(xp.sum(ahead * ahead, axis=(-2, -1), keepdims=True)) + SMALLEST)
    a, b, c = QUINTIC
    for _ in range(muon.iterations):
        square = x @ xp.matrix_transpose(x)
        x = a * x + (b * square + c * square @ square) @ x
    return rate * x
