r"""The deterministic flow at $\alpha > 1/2$: noise and responses vanish, features stay in the span of U and V.

At step $t$ all states move through one matrix, $X_t' = -G_t X_t$ and $D_t' = G_t^T D_t$ with
$G_t(p) = a^2\sum_{s<t} w_s D_s M_s X_s^T$ in coordinates of (U, V); $D_t^T X_t$ is constant in $p$, so that one propagator
$\Psi' = -G\Psi$ serves both: $X(p) = \Psi(p)X(0)$ and $D(p) = \Psi(p)^{-T}\Psi(1)^T D(1)$.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from limits.deep.refine import Level, UnconvergedError, tails
from limits.directions import Directions, trained_directions
from limits.panels import Panels
from limits.problem import Problem
from limits.record import Record, field_of
from limits.training import checked_outputs, loss_derivative

Array = np.ndarray


class Velocity:
    """A sum of gradients with schedule and momentum: v <- beta v + eta g, total <- total + v."""

    def __init__(self, shape: tuple[int, ...], rates: Array, momentum: float) -> None:
        self.total, self._v = np.zeros(shape), np.zeros(shape)
        self._rates, self._momentum = rates, momentum

    def add(self, t: int, gradient: Array) -> None:
        self._v *= self._momentum
        self._v += self._rates[t] * gradient
        self.total += self._v


def propagators(generator: Array, panels: Panels) -> tuple[Array, Array]:
    r"""Solve $\Psi' = -G\Psi$, $\Psi(0) = 1$ by collocation, directly on every panel.

    Args:
        generator: G at the nodes, shape (nodes, k, k).

    Returns:
        $\Psi$ at the nodes, shape (nodes, k, k), and its derivative there.
    """
    q, k = panels.order, generator.shape[-1]
    per_panel = generator.reshape(panels.count, q, k, k)
    inward = panels.widths[:, None, None] * panels.collocation
    matrix = np.einsum("pij,pjab->piajb", inward, per_panel).reshape(panels.count, q * k, q * k) + np.eye(q * k)
    inside = _solved(matrix, np.tile(np.eye(k), (q, 1))).reshape(panels.count, q, k, k)
    weights = panels.weights.reshape(panels.count, q)
    across = np.eye(k) - np.einsum("pj,pjab->pab", weights, per_panel @ inside)
    edge = np.eye(k)
    out = np.empty_like(inside)
    for panel in range(panels.count):
        out[panel] = inside[panel] @ edge
        edge = across[panel] @ edge
    psi = out.reshape(-1, k, k)
    return psi, -(generator @ psi)


def _solved(matrix: Array, right: Array) -> Array:
    """Linear systems, or word that the panels do not resolve them."""
    try:
        solution = np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError:
        raise UnconvergedError from None
    if not np.all(np.isfinite(solution)):
        raise UnconvergedError
    return solution


@np.errstate(over="ignore", invalid="ignore")
def flow_level(problem: Problem, panels: Panels, record: Record, moving: int, done: Callable[[int], None]) -> Level:
    """The limit at alpha > 1/2 on given panels; `moving` layers of a block learn."""
    basis, sgd = trained_directions(problem), problem.sgd
    r, d, p = basis.count, problem.d_out, problem.n_samples
    k, n = r + d, len(panels.nodes)
    a2 = problem.model.multiplier**2 * moving
    to_marks = panels.integrate(np.append(record.depths, 1.0))
    blocks = Velocity((n, k, k), sgd.schedule("lr"), sgd.momentum)
    read_in = Velocity((k, r), sgd.schedule("input_lr"), sgd.momentum)
    read_out = Velocity((k, d), sgd.schedule("output_lr"), sgd.momentum)
    outputs = np.zeros((sgd.steps + 1, len(basis.coordinates), d))
    chi = np.zeros_like(outputs)
    x_at, d_at, worst = [], [], np.zeros(panels.count)
    for t in range(sgd.steps + 1):
        psi, slope = propagators(a2 * blocks.total, panels)
        psi_at = np.eye(k) + np.tensordot(to_marks, slope, 1)
        worst = np.maximum(worst, tails(panels, slope))
        first = np.eye(k)[:, :r] - read_in.total
        last = np.eye(k)[:, r:] - read_out.total
        x_at.append(psi_at @ first)
        d_at.append(_solved(np.swapaxes(psi_at, 1, 2), psi_at[-1].T @ last))
        outputs[t] = checked_outputs(problem, basis.coordinates @ (last.T @ x_at[t][-1]).T, t)
        done(t)
        if t == sgd.steps:
            break
        chi[t, :p] = loss_derivative(problem, outputs[t], t)
        pull = chi[t, :p].T @ basis.coordinates[:p]
        x, delta = psi @ first, _solved(np.swapaxes(psi, 1, 2), psi_at[-1].T @ last)
        blocks.add(t, delta @ pull @ np.swapaxes(x, 1, 2))
        delta_first = psi_at[-1].T @ last
        read_in.add(t, delta_first @ pull)
        read_out.add(t, x_at[t][-1] @ pull.T)
    states = np.stack(x_at)[:, :-1], np.stack(d_at)[:, :-1]
    return Level(panels, outputs, _kernels(problem, basis, chi, record, *states), worst)


def _kernels(problem: Problem, basis: Directions, chi: Array, record: Record, x: Array, delta: Array) -> dict[str, Any]:
    """Recorded kernels from the states at the recorded depths, shape (T + 1, M, k, directions)."""
    steps, samples = record.chosen_steps(problem), record.chosen_samples(problem)
    features = np.einsum("tpar,ir->tpia", x[steps], basis.coordinates[samples])
    gradients = np.einsum("tpad,tid->tpia", delta[steps], chi[np.ix_(steps, samples)])
    rest = 0.0 if basis.remainder is None else basis.remainder[np.ix_(samples, samples)]
    return vector_kernels(problem, record, features, gradients, (basis.count, problem.d_out), rest)


def vector_kernels(
    problem: Problem, record: Record, features: Array, gradients: Array, responding: tuple[int, int], rest: Array | float = 0.0
) -> dict[str, Any]:
    """Recorded kernels of states that are vectors; their responses vanish.

    Args:
        features, gradients: at the recorded steps and depths, of the recorded samples, shape (K, M, S, k).
        responding: the last two sizes of the response.
        rest: what the features have in common outside these vectors, shape (S, S).
    """
    steps, m = record.chosen_steps(problem), len(record.depths)
    made: dict[str, Callable[[], Array]] = {
        "feature": lambda: np.einsum("kpia,lpja->klpij", features, features, optimize=True) + rest,
        "gradient": lambda: np.einsum("kpia,lpja->klpij", gradients, gradients, optimize=True),
        "two_depth": lambda: np.einsum("kpia,lqja->klpqij", features, features, optimize=True) + rest,
        "response": lambda: np.zeros((2, len(steps), len(steps), m, m, *responding)),
    }
    kept: dict[str, Any] = {"steps": steps, "positions": record.depths, "recorded": record.chosen_samples(problem)}
    return kept | {field_of(kind): made[kind]() for kind in record.kinds}
