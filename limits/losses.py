r"""Losses $\ell(f, y)$ of one sample and their derivatives in $f$, for any array library.

All functions take `f` and `y` with shape (..., d_out); values have shape (...,), derivatives that of `f`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

Array = Any


@dataclass(frozen=True)
class Loss:
    r"""A loss by name: `value` is $\ell(f, y)$, `derivative` is $\partial\ell/\partial f$.

    >>> LOSSES["mse"].value(np.array([[3.0]]), np.array([[1.0]]))
    array([2.])
    """

    name: str
    value: Callable[[Array, Array], Array]
    derivative: Callable[[Array, Array], Array]


def _mse(f: Array, y: Array) -> Array:
    xp = array_namespace(f)
    return xp.sum((f - y) ** 2, axis=-1) / 2


def _logistic(f: Array, y: Array) -> Array:
    xp = array_namespace(f)
    z = -y * f
    return xp.sum(xp.log1p(xp.exp(-xp.abs(z))) + (z + xp.abs(z)) / 2, axis=-1)


def _logistic_derivative(f: Array, y: Array) -> Array:
    xp = array_namespace(f)
    return -y / 2 * (1 - xp.tanh(y * f / 2))


def _shifted(f: Array) -> Array:
    xp = array_namespace(f)
    return f - xp.max(f, axis=-1, keepdims=True)


def _cross_entropy(f: Array, y: Array) -> Array:
    xp = array_namespace(f)
    s = _shifted(f)
    return xp.log(xp.sum(xp.exp(s), axis=-1)) - xp.sum(y * s, axis=-1)


def _cross_entropy_derivative(f: Array, y: Array) -> Array:
    xp = array_namespace(f)
    e = xp.exp(_shifted(f))
    return e / xp.sum(e, axis=-1, keepdims=True) - y


LOSSES = {
    "mse": Loss("mse", _mse, lambda f, y: f - y),
    "logistic": Loss("logistic", _logistic, _logistic_derivative),
    "cross_entropy": Loss("cross_entropy", _cross_entropy, _cross_entropy_derivative),
}
r"""The squared error $\frac12|f - y|^2$, the logistic loss (targets -1 and 1), and the cross-entropy (one-hot targets)."""


def one_hot(classes: np.ndarray, n_classes: int) -> np.ndarray:
    """Rows of the identity: integer classes (P,) to (P, n_classes).

    >>> one_hot(np.array([1, 0]), 3)
    array([[0., 1., 0.],
           [1., 0., 0.]])
    """
    return np.eye(n_classes)[classes]


def accuracy(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
    """Share of samples classified rightly, shape of `outputs` without its last two axes; None if targets are no classes.

    Targets are classes when they are one-hot rows (largest output wins) or a single column of -1 and 1 (sign wins). A tie of
    k classes counts 1/k, so that outputs of zero score chance.

    >>> float(accuracy(np.array([[0.3], [-2.0]]), np.array([[1.0], [1.0]])))
    0.5
    """
    if targets.shape[-1] == 1 and np.all(np.abs(targets) == 1):
        return np.asarray(np.mean((np.sign(outputs * targets)[..., 0] + 1) / 2, axis=-1))
    if targets.shape[-1] > 1 and np.all((targets == 0) | (targets == 1)) and np.all(targets.sum(-1) == 1):
        largest = outputs == outputs.max(-1, keepdims=True)
        return np.asarray(np.mean((largest * targets).sum(-1) / largest.sum(-1).clip(1), axis=-1))
    return None
