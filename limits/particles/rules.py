r"""What optimizers make of gradients, for kets: the steps of entries, and of matrices in orthonormal coordinates.

An update of rank B is $q^TMp$ in the orthonormal kets q, p that the matrix has seen. `SGD` is linear, and `Muon` does not see
rotations, so that both act on the small matrix M.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from limits.optimizers import SGD, Adam, Muon, Optimizer, SignSGD

Array = np.ndarray
SMALLEST = 1e-30
"""Stands for a root or a norm of 0 where it divides."""
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of Muon's Newton-Schulz iteration."""

Rule = Callable[[Array, list[Array], float, int], Array]
"""(scaled gradient, states, rate, t) -> rate times direction; rewrites the states."""


def states_of(optimizer: Optimizer) -> int:
    """How many arrays like the gradient a rule rewrites."""
    return 2 if isinstance(optimizer, Adam) else 1


def rule_of(optimizer: Optimizer) -> Rule:
    """The rule of an optimizer's blocks."""
    rules: dict[type, Any] = {SGD: _descent, Muon: _orthogonal, SignSGD: _sign, Adam: _adaptive}
    rule = next(rules[kind] for kind in rules if isinstance(optimizer, kind))
    return lambda gradient, states, rate, t: rule(optimizer, gradient, states, rate, t)


def of_ends(optimizer: Optimizer) -> Optimizer:
    """The optimizer that trains U and V where this one trains the blocks."""
    if not isinstance(optimizer, Muon):
        return optimizer
    return Adam(optimizer.lr, optimizer.steps, optimizer.input_lr, optimizer.output_lr, beta2=0.95, eps=1e-8)


def _descent(sgd: SGD, gradient: Array, states: list[Array], rate: float, t: int) -> Array:
    states[0] *= sgd.momentum
    states[0] += rate * gradient
    return states[0]


def _sign(sign: SignSGD, gradient: Array, states: list[Array], rate: float, t: int) -> Array:
    states[0] *= sign.momentum
    states[0] += (1 - sign.momentum) * gradient
    return rate * np.sign(states[0])


def _adaptive(adam: Adam, gradient: Array, states: list[Array], rate: float, t: int) -> Array:
    for state, moment, beta in zip(states, (gradient, gradient**2), (adam.beta1, adam.beta2), strict=True):
        state *= beta
        state += (1 - beta) * moment
    unbiased = [1 - beta ** (t + 1) for beta in (adam.beta1, adam.beta2)]
    root = np.sqrt(states[1] / unbiased[1]) + max(adam.eps, SMALLEST)
    return (rate / unbiased[0]) * states[0] / root


def _orthogonal(muon: Muon, gradient: Array, states: list[Array], rate: float, t: int) -> Array:
    states[0] *= muon.momentum
    states[0] += gradient
    ahead = gradient + muon.momentum * states[0] if muon.nesterov else states[0]
    x, (a, b, c) = ahead / (np.linalg.norm(ahead) + SMALLEST), QUINTIC
    for _ in range(muon.iterations):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return rate * x
