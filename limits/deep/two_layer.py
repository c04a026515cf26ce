r"""Two-layer blocks at $\alpha = 1$, $\gamma_i = 0$: the mean-field limit, a flow in the span of U and V driven by neurons.

A neuron of a block is a pair of rows $(u, v)$ in coordinates of (U, V), $N(0, 1)$ at initialization. With
$\pi_i = \langle u_t, x_i\rangle$, $\theta_i = \langle v_t, \delta_i\rangle$ for $i = (t, \mu)$,

$$ u_t = \xi_u - a\sum_{j<i}w_jx_j\phi'(\pi_j)\theta_j, \qquad v_t = \xi_v/\sqrt r - a\sum_{j<i}w_j\delta_j\phi(\pi_j), $$
$$ x_i' = ar\,E[v_t\phi(\pi_i)], \qquad -\delta_i' = ar\,E[u_t\phi'(\pi_i)\theta_i], $$

at every depth with fresh $(\xi_u, \xi_v) \sim N(0, 1)$ and $r = M/n$ (CP; Ch; CCM). A network of width n and L blocks differs by
$O(1/L + 1/\sqrt{nL} + 1/\sqrt n)$. Expectations are means over a cloud of neurons, the same at every depth, so that the flow
is smooth in p for any cloud. Its points come in pairs: $(\xi_u, \pm\xi_v)$ for odd $\phi$, for which a neuron with both signs
turned says nothing new, and $\pm(\xi_u, \xi_v)$ for others, of which even ones would not tell $-\xi_u$ from $\xi_u$.
"""

from collections.abc import Callable

import numpy as np

from limits.deep.flow import Velocity
from limits.deep.nonlinear import SIDE_BY_SIDE, Census
from limits.deep.nonlinear_flow import Change, FlowStates
from limits.deep.refine import Level, Refined, Refinement
from limits.deep.sampling import POINTS, cloud, over_clouds
from limits.memory import require
from limits.panels import Panels
from limits.problem import Problem
from limits.record import Record
from limits.semiseparable import transposed
from limits.training import evolve

Array = np.ndarray
REMEDY = "take fewer steps or samples, or a looser tol"


def two_layer_limit(problem: Problem, record: Record, done: Callable[[int], None], tol: float, refinement: Refinement) -> Refined:
    """The mean over clouds that meets the tolerance, of the largest that fit into memory if none does."""

    def compute(panels: Panels, neurons: Array, _: bool = False) -> Level:
        return two_layer_level(problem, panels, record, neurons, done)

    return over_clouds(compute, lambda points, seed: neurons_of(problem, points, seed), refinement, tol, POINTS)


def two_layer_footprint(problem: Problem, record: Record, nodes: int, neurons: int) -> int:
    """Bytes that `two_layer_level` takes: the rows of all neurons at all nodes, and what a pass makes of them."""
    k, samples = FlowStates(problem, Record(kinds=()), Panels.uniform(1, 1), 0).k, len(problem.evaluated)
    evaluated = min(samples, SIDE_BY_SIDE) // 4  # on one panel only
    seen = max(Census(problem, record).largest, evaluated)
    return 56 * nodes * neurons * (k + seen) + 16 * (problem.steps + 1) * samples * len(record.depths) * k


def neurons_of(problem: Problem, points: int, seed: int) -> Array:
    r"""A cloud of about `points` neurons $(\xi_u, \xi_v)$, shape (N, 2k)."""
    k = FlowStates(problem, Record(kinds=()), Panels.uniform(1, 1), 0).k
    return cloud(points, 2 * k, seed, kept=k if problem.model.phi.centred else 0)


def two_layer_level(problem: Problem, panels: Panels, record: Record, neurons: Array, done: Callable[[int], None]) -> Level:
    """The limit on given panels, with expectations over a cloud of neurons (N, dimension)."""
    states = NeuronStates(problem, record, panels, neurons)
    outputs, _ = evolve(problem, states, lambda t, _: done(t))
    return Level(panels, outputs, states.kernels(record), states.tails)


class NeuronStates(FlowStates):
    r"""The flow of two-layer blocks.

    Args:
        problem, record, panels: as of `FlowStates`.
        cloud: $(\xi_u, \xi_v)$ of N neurons, shape (N, 2k).
    """

    def __init__(self, problem: Problem, record: Record, panels: Panels, cloud: Array) -> None:
        super().__init__(problem, record, panels, 1)
        model, sgd = problem.model, problem.sgd
        self.phi, self.a, self.share = model.phi, model.multiplier, model.multiplier * model.expansion / len(cloud)
        alpha, gammas, _ = problem.parametrization.layers(2)
        self.moves = [float(alpha + gamma == 1) for gamma in gammas]  # u, v
        require(two_layer_footprint(problem, record, len(panels.nodes), len(cloud)), "this limit", REMEDY)
        shape = (len(panels.nodes), len(cloud), self.k)
        self.initial = cloud[:, : self.k], cloud[:, self.k :] / model.expansion**0.5
        self.learned = [Velocity(shape, move * self.a * sgd.schedule("lr"), sgd.momentum) for move in self.moves]
        self._set_rows()

    def _set_rows(self) -> None:
        """$u_t$ and $v_t$ at all nodes, shape (nodes, N, k)."""
        self.u, self.v = (initial - learned.total for initial, learned in zip(self.initial, self.learned, strict=True))

    def _arguments(self, at: slice, x: Array) -> Array:
        r"""$\pi$ of features x (q, new, k), shape (q, new, N)."""
        return x @ transposed(self.u[at])

    def _pulls(self, at: slice, delta: Array) -> Array:
        r"""$\theta$ of gradients delta (q, new, k), shape (q, new, N)."""
        return delta @ transposed(self.v[at])

    def _forward_change(self, t: int) -> Change:
        def change(at: slice, x: Array) -> Array:
            return self.share * self.phi.phi(self._arguments(at, x)) @ self.v[at]

        return change

    def _backward_change(self, t: int, x: Array) -> Change:
        arguments = self._arguments(slice(None), x)
        self._under_way = t, self.phi.phi(arguments), self.phi.derivative(arguments)

        def change(at: slice, delta: Array) -> Array:
            return -self.share * (self._under_way[2][at] * self._pulls(at, delta)) @ self.u[at]

        return change

    def _learn(self, x: Array, delta: Array) -> None:
        t, values, slopes = self._under_way
        turns = slopes * self._pulls(slice(None), delta)
        for learned, seen, vectors in zip(self.learned, (turns, values), (x, delta), strict=True):
            learned.add(t, transposed(seen) @ vectors)
        self._set_rows()
        super()._learn(x, delta)
