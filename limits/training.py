"""Training at infinite width: forward pass, loss, backward pass, step after step."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from limits.problem import Problem
from limits.semiseparable import BACKWARD, FORWARD, Array, CausalSystem, Pass, Ready

LARGEST_OUTPUT = 1e150

Propagate = Callable[[CausalSystem, Ready, Array], Pass]
"""(system, what the pass keeps, boundary rows) -> the pass; what a rung has to supply."""


class DivergedError(ArithmeticError):
    """Training left the range of numbers: no output can be given."""


def checked_outputs(outputs: Array, t: int) -> Array:
    """Outputs of step t, if they are numbers a user can use."""
    if not np.all(np.abs(outputs) < LARGEST_OUTPUT):
        raise DivergedError(f"training diverges: outputs at step {t} exceed {LARGEST_OUTPUT:g}; lower the learning rate")
    return outputs


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


@np.errstate(over="ignore", invalid="ignore")
def evolve(
    problem: Problem, coordinates: Array, system: CausalSystem, propagate: Propagate, done: Callable[[int, Array], None]
) -> tuple[Array, Array]:
    """Train: forward pass, loss, backward pass, step after step.

    Args:
        coordinates: of the evaluated samples in the input directions, shape (samples, r).
        done: called with the number of finished steps and the outputs up to there.

    Returns:
        Outputs (T + 1, samples, d_out) and loss derivatives chi (T + 1, samples, d_out), zero outside the step's batch.

    Raises:
        DivergedError: outputs beyond 1e150.
    """
    sgd, p = problem.optimizer, problem.n_samples
    outputs = np.zeros((sgd.steps + 1, len(coordinates), problem.d_out))
    chi = np.zeros_like(outputs)
    for t in range(sgd.steps + 1):
        boundary = system.boundary(sgd.weights(t, "input_lr"), FORWARD)
        forward = propagate(system, system.ready(FORWARD, sgd.weights(t)), boundary)
        read_out = system.boundary(sgd.weights(t, "output_lr"), BACKWARD)
        directions = system.output(forward.at_positions[-1], forward.integral_end, read_out)
        outputs[t] = checked_outputs(coordinates @ directions.T, t)
        system.grow(FORWARD, forward)
        done(t, outputs[: t + 1])
        if t == sgd.steps:
            break
        chi[t, :p] = loss_derivative(problem, outputs[t], t)
        boundary = system.boundary(sgd.weights(t, "output_lr"), BACKWARD)
        backward = propagate(system, system.ready(BACKWARD, sgd.weights(t)), boundary)
        system.add_step(chi[t, :p].T @ coordinates[:p])
        system.grow(BACKWARD, backward)
    return outputs, chi
