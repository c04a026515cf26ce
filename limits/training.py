"""Training at infinite width: forward pass, loss, backward pass, step after step."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from limits.problem import Problem

Array = np.ndarray
LARGEST_OUTPUT = 1e150
RATES = ("lr", "input_lr", "output_lr")


class DivergedError(ArithmeticError):
    """Training left the range of numbers: no output can be given.

    >>> from limits import DEPTH_MUP, SGD, ResNet, recurse
    >>> hasty = Problem(ResNet(), DEPTH_MUP, SGD(1e9, steps=20), [[1.0]], [[1.0]])
    >>> try:
    ...     recurse(hasty, blocks=4)
    ... except DivergedError as why:
    ...     print(why)
    training diverges: outputs at step 3 exceed 1e+150; lower the learning rate or the multiplier
    """


def checked_outputs(problem: Problem, outputs: Array, t: int) -> Array:
    """Outputs of step t, if they are numbers a user can use."""
    if not np.all(np.abs(outputs) < LARGEST_OUTPUT):
        raise DivergedError(f"training diverges: outputs at step {t} exceed {LARGEST_OUTPUT:g}; {remedy(problem, t)}")
    return outputs


def remedy(problem: Problem, t: int) -> str:
    r"""What to do about outputs that left the range of numbers at evaluation t.

    A step multiplies weights by $1 - \eta\lambda$, so that they grow by decaying where $\eta\lambda > 2$.

    >>> from limits import DEPTH_MUP, SGD, ResNet
    >>> remedy(Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=2, weight_decay=3.0), [[1.0]], [[1.0]]), 2)
    'lower weight_decay: a step takes 3 times the weights off them, and beyond twice they grow'
    """
    optimizer = problem.optimizer
    taken = optimizer.weight_decay * max(np.max(optimizer.schedule(name), initial=0.0) for name in RATES)
    if t == 0:
        return "this is before training: raise alpha, or lower the multiplier or the inputs"
    if taken > 2:
        return f"lower weight_decay: a step takes {taken:g} times the weights off them, and beyond twice they grow"
    return "lower the learning rate or the multiplier"


def checked_kernels(kernels: Mapping[str, Any]) -> None:
    """Refuse kernels that left the range of numbers.

    Raises:
        DivergedError: with what to do.
    """
    for name, kernel in kernels.items():
        if not np.all(np.isfinite(kernel)):
            raise DivergedError(
                f"the {name.replace('_', ' ')} of the limit left the range of numbers: scale the inputs or lower the multiplier"
            )


def loss_derivative(problem: Problem, outputs: Array, t: int) -> Array:
    """Chi of the inputs at step t, derivative of the batch mean of the loss, shape (P, d_out)."""
    derivative = problem.loss_function.derivative(outputs[: problem.n_samples], problem.targets)
    return derivative * problem.batch_share(t)[:, None]


@runtime_checkable
class States(Protocol):
    """The states of a network, found step after step."""

    def forward(self, t: int) -> Array:
        """Outputs of all samples at evaluation t, shape (samples, d_out)."""
        ...

    def backward(self, t: int, chi: Array) -> None:
        """Gradients of step t, from the derivatives chi of the inputs' loss, shape (P, d_out)."""
        ...


@np.errstate(over="ignore", invalid="ignore")
def evolve(problem: Problem, states: States, done: Callable[[int, Array], None]) -> tuple[Array, Array]:
    """Train: forward pass, loss, backward pass, step after step.

    Args:
        done: called with the number of finished steps and the outputs up to there.

    Returns:
        Outputs (T + 1, samples, d_out) and loss derivatives chi (T + 1, samples, d_out), zero outside the step's batch.

    Raises:
        DivergedError: outputs beyond 1e150.
    """
    steps, p = problem.steps, problem.n_samples
    outputs = np.zeros((steps + 1, len(problem.evaluated), problem.d_out))
    chi = np.zeros_like(outputs)
    for t in range(steps + 1):
        outputs[t] = checked_outputs(problem, states.forward(t), t)
        done(t, outputs[: t + 1])
        if t < steps:
            chi[t, :p] = loss_derivative(problem, outputs[t], t)
            states.backward(t, chi[t, :p])
    return outputs, chi
