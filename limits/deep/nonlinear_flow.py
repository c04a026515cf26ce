r"""Nonlinear blocks at $1/2 < \alpha < 1$, $\alpha + \gamma = 1$: a deterministic flow in the span of U and V.

Noise and responses vanish with depth, but $h$ is still Gaussian given the features, so that the dual kernel remains:

$$ x_i' = -a^2\sum_{j<i}w_jV_cC^0_{ij}\,\delta_j, \qquad -\delta_i' = -a^2\sum_{j<i}w_j\big[(V_c + V_{cc}C^0_{ij})C^1_{ij}\,x_j
   + 2V_{uc}C^0_{ij}C^1_{ij}\,x_i\big] $$

with $C^0_{ij} = \langle x_i, x_j\rangle$, $C^1_{ij} = \langle\delta_i, \delta_j\rangle$ of vectors in coordinates of (U, V)
[D5.8]; TP6, Definitions F.2 and F.3, lack the terms with $V_{cc}$ and $V_{uc}$ [D5.9].
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from limits.deep.flow import vector_kernels
from limits.deep.gaussian import Values, march
from limits.deep.nonlinear import SIDE_BY_SIDE, Census, dual_of
from limits.deep.refine import Level, tails
from limits.directions import directions
from limits.nonlinearity import Dual
from limits.panels import Panels
from limits.problem import Problem
from limits.record import Record
from limits.semiseparable import transposed
from limits.training import evolve

Array = np.ndarray
Change = Callable[[slice, Array], Array]
"""(nodes, states there) -> their rate of change with p."""


def nonlinear_flow_level(problem: Problem, panels: Panels, record: Record, moving: int, done: Callable[[int], None]) -> Level:
    """The limit of nonlinear blocks at alpha > 1/2 on given panels; `moving` of their layers learn."""
    states = FlowStates(problem, record, panels, moving)
    outputs, _ = evolve(problem, states, lambda t, _: done(t))
    return Level(panels, outputs, states.kernels(record), states.tails)


class FlowStates:
    """Vectors of all states in coordinates of (U, V), at the nodes and at the recorded depths.

    Args:
        problem: what is trained.
        record: which features are kept beside the trained ones.
        panels: where the states are held.
        moving: layers of a block that learn in the limit, 0 or 1.
        ends: the columns of U and V in other coordinates, orthonormal, shape (r + d_out, k).
    """

    def __init__(self, problem: Problem, record: Record, panels: Panels, moving: int, ends: Array | None = None) -> None:
        self.problem, self.panels, self.moving = problem, panels, moving
        self.census = Census(problem, record)
        basis = directions(problem.evaluated, problem.evaluated)
        self.coordinates, self.r = basis.coordinates, basis.count
        self.ends = np.eye(self.r + problem.d_out) if ends is None else ends
        self.k = self.ends.shape[1]
        self.to_marks = panels.integrate(np.append(record.depths, 1.0))
        n, m = len(panels.nodes), len(record.depths)
        self.x, self.delta = np.zeros((n, 0, self.k)), np.zeros((n, 0, self.k))  # of every trained (step, sample)
        self.first, self.last = np.zeros((0, self.k)), np.zeros((0, self.k))  # delta at 0, x at 1
        self.sample, self.step, self.chi = np.zeros(0, int), np.zeros(0, int), np.zeros((0, problem.d_out))
        self.x_at = np.zeros((problem.steps + 1, len(self.coordinates), m, self.k))
        self.delta_at = np.zeros_like(self.x_at)
        self.tails = np.zeros(panels.count)
        self.unresolved = 1.0  # states are iterated to round-off of their size times this

    def _weights(self, t: int, which: str = "lr") -> Array:
        return self.problem.sgd.weights(t, which)[self.step]

    def _dual(self, x: Array, at: slice, order: int) -> tuple[Dual, Array]:
        """Dual kernel of some features with the trained ones, and their covariance."""
        old = self.x[at]
        c = x @ transposed(old)
        return dual_of(self.problem.model, np.sum(x * x, -1), np.sum(old * old, -1), c, order), c

    def forward(self, t: int) -> Array:
        """Outputs of all samples at evaluation t, shape (samples, d_out)."""
        everyone = np.arange(len(self.coordinates))
        groups = np.array_split(everyone, -(-len(everyone) // SIDE_BY_SIDE))
        x, ends = zip(*(self._features(t, group) for group in groups), strict=True)
        self._now, end = np.concatenate(x, axis=1), np.concatenate(ends)
        pull = self._weights(t, "output_lr")[:, None] * self.chi
        self._last = end
        return end @ self.ends[self.r :].T - end @ self.last.T @ pull

    def _features(self, t: int, samples: Array) -> tuple[Array, Array]:
        start = self.coordinates[samples] @ self.ends[: self.r]
        seen = self.coordinates[samples] @ self.coordinates[self.sample].T
        start -= (seen * self._weights(t, "input_lr")) @ self.first
        x, slope = self._march(self._forward_change(t), start, 1)
        at_marks = start + np.tensordot(self.to_marks, slope, 1)
        self.x_at[t, samples] = at_marks[:-1].swapaxes(0, 1)
        return x, at_marks[-1]

    def _forward_change(self, t: int) -> Change:
        weights = self.problem.model.multiplier**2 * self.moving * self._weights(t)

        def change(at: slice, x: Array) -> Array:
            dual, c = self._dual(x, at, 1)
            return -(weights * dual.V_c * c) @ self.delta[at]

        return change

    def backward(self, t: int, chi: Array) -> None:
        """Gradients of step t, from the derivatives chi of the inputs' loss, shape (P, d_out)."""
        trained = self.census.trained[t]
        x = self._now[:, trained]
        start = chi[trained] @ self.ends[self.r :]
        start -= (chi[trained] @ self.chi.T * self._weights(t, "output_lr")) @ self.last
        delta, slope = self._march(self._backward_change(t, x), start, -1)
        to_marks = np.tensordot(self.to_marks, slope, 1)
        first = start - to_marks[-1]
        self.delta_at[t, trained] = (first + to_marks[:-1]).swapaxes(0, 1)
        self._learn(x, delta)
        self.first, self.last = np.concatenate([self.first, first]), np.concatenate([self.last, self._last[trained]])
        self.sample, self.step = np.append(self.sample, trained), np.append(self.step, np.full(len(trained), t))
        self.chi = np.concatenate([self.chi, chi[trained]])

    def _learn(self, x: Array, delta: Array) -> None:
        """Keep the states of a finished step, at all nodes (n, trained, k)."""
        self.x, self.delta = np.concatenate([self.x, x], 1), np.concatenate([self.delta, delta], 1)

    def _backward_change(self, t: int, x: Array) -> Change:
        dual, c = self._dual(x, slice(None), 2)
        u = np.sum(x * x, -1)[..., None]
        weights = self.problem.model.multiplier**2 * self.moving * self._weights(t)
        to_old = weights * (dual.V_c + dual.V_cc * c)
        to_own = weights * c * (dual.tilt - c / np.where(u > 0, u, 1.0) * dual.V_cc)

        def change(at: slice, delta: Array) -> Array:
            gradients = delta @ transposed(self.delta[at])
            return (to_old[at] * gradients) @ self.x[at] + np.sum(to_own[at] * gradients, -1)[..., None] * x[at]

        return change

    def _march(self, change: Change, start: Array, sign: int) -> tuple[Array, Array]:
        """States at all nodes and their slope in p, from p = 0 (sign 1) or p = 1 (sign -1)."""
        size = self.unresolved * np.linalg.norm(start, axis=1)

        def changes(at: slice, values: Values, _: bool) -> list[Array]:
            return [change(at, values[0])]

        (y,), (slopes,) = march(self.panels, sign, changes, [start], [np.ones(self.k)], size, False)
        self.tails = np.maximum(self.tails, self._tails(y, slopes))
        return y, slopes

    def _tails(self, y: Array, slopes: Array) -> Array:
        return tails(self.panels, np.concatenate([y, slopes], -1))  # both, in units of the larger

    def kernels(self, record: Record) -> dict[str, Any]:
        """The recorded kernels as fields of a `Trajectory`."""
        steps, samples = record.chosen_steps(self.problem), record.chosen_samples(self.problem)
        x, delta = (z[np.ix_(steps, samples)] for z in (self.x_at, self.delta_at))
        return vector_kernels(self.problem, record, np.swapaxes(x, 1, 2), np.swapaxes(delta, 1, 2), (len(samples), len(samples)))
