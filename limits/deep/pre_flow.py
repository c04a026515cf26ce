r"""Blocks of form "pre", $W\phi(x)$, at $1/2 < \alpha \le 1$, $\alpha + \gamma = 1$: a deterministic flow of every neuron.

The matrix stands outside $\phi$, so that an update adds to a block what it is, however large, and one flow holds up to
$\alpha = 1$. Noise and responses vanish with depth like $L^{1-2\alpha}$. With $\langle\cdot,\cdot\rangle$ the mean over neurons

$$ x_i' = -a^2\sum_{j<i}w_j\langle\phi(x_i), \phi(x_j)\rangle\,\delta_j, \qquad
   -\delta_i' = -a^2\sum_{j<i}w_j\langle\delta_i, \delta_j\rangle\,\phi'(x_i)\phi(x_j). $$

A neuron is a point (U, V), and is not Gaussian once it has moved: means are over a cloud of neurons, the same at every depth.
"""

from collections.abc import Callable

import numpy as np

from limits.deep.nonlinear import Census
from limits.deep.nonlinear_flow import Change, FlowStates
from limits.deep.refine import Level, Refined, Refinement
from limits.deep.sampling import POINTS, Weighted, over_clouds, weighted
from limits.memory import require
from limits.panels import Panels
from limits.problem import Problem
from limits.record import Record
from limits.semiseparable import transposed
from limits.training import evolve

Array = np.ndarray


def pre_flow_limit(problem: Problem, record: Record, done: Callable[[int], None], tol: float, refinement: Refinement) -> Refined:
    """The mean over clouds that meets the tolerance, of the largest that fit into memory if none does."""
    dimension = FlowStates(problem, Record(kinds=()), Panels.uniform(1, 1), 0).k

    def compute(panels: Panels, neurons: Weighted, _: bool = False) -> Level:
        return pre_flow_level(problem, panels, record, neurons, done)

    return over_clouds(compute, lambda points, seed: weighted(points, dimension, seed), refinement, tol, POINTS)


def pre_flow_level(problem: Problem, panels: Panels, record: Record, neurons: Weighted, done: Callable[[int], None]) -> Level:
    """The limit on given panels, with means over given neurons."""
    states = SeenNeurons(problem, record, panels, neurons)
    outputs, _ = evolve(problem, states, lambda t, _: done(t))
    return Level(panels, outputs, states.kernels(record), states.tails)


def pre_flow_footprint(problem: Problem, record: Record, nodes: int, neurons: int) -> int:
    """Bytes that `pre_flow_level` takes: what is kept, most of it twice while it grows, what passes, and what is recorded."""
    samples, learned = len(problem.evaluated), Census(problem, record).backward
    recorded = 2 * (problem.steps + 1) * samples * len(record.depths)
    return 8 * neurons * (nodes * (5 * learned + 4 * samples) + recorded)


class SeenNeurons(FlowStates):
    r"""The flow of blocks that see $\phi(x)$; a state is a vector of its values at all neurons times the roots of their weights.

    Args:
        problem, record, panels: as of `FlowStates`.
        neurons: (U, V) of N of them.
    """

    def __init__(self, problem: Problem, record: Record, panels: Panels, neurons: Weighted) -> None:
        points, weights = neurons
        self.root, self.phi = weights**0.5, problem.model.phi
        size = pre_flow_footprint(problem, record, len(panels.nodes), len(points))
        require(size, "this limit", "take fewer steps or samples, or a looser tol")
        alpha, gamma, _ = problem.parametrization.single()
        super().__init__(problem, record, panels, int(alpha + gamma == 1), points.T * self.root)
        self.seen = np.zeros((len(panels.nodes), 0, self.k))  # phi(x) of every trained (step, sample)

    def _rates(self, t: int) -> Array:
        return self.problem.model.multiplier**2 * self.moving * self._weights(t)

    def _values(self, x: Array) -> Array:
        """Phi of features, times the roots."""
        return self.phi.phi(x / self.root) * self.root

    def _forward_change(self, t: int) -> Change:
        rates = self._rates(t)

        def change(at: slice, x: Array) -> Array:
            return -(rates * (self._values(x) @ transposed(self.seen[at]))) @ self.delta[at]

        return change

    def _backward_change(self, t: int, x: Array) -> Change:
        rates, slopes = self._rates(t), self.phi.derivative(x / self.root)

        def change(at: slice, delta: Array) -> Array:
            return slopes[at] * ((rates * (delta @ transposed(self.delta[at]))) @ self.seen[at])

        return change

    def _learn(self, x: Array, delta: Array) -> None:
        self.seen = np.concatenate([self.seen, self._values(x)], 1)
        super()._learn(x, delta)

    def _tails(self, y: Array, slopes: Array) -> Array:
        """Of coordinates along U, V and 1: the single neuron's are rough where it crosses a kink."""
        seen = np.concatenate([self.ends, self.root[None]])
        return super()._tails(y @ seen.T, slopes @ seen.T)
