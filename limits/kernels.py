r"""From the states of directions to the kernels of samples.

With $x_i = X c_i$ and $\delta_i = D \chi_i$: $C^0_{ij} = c_i^T\langle X, X\rangle c_j$ plus what lies outside the span,
$C^1_{ij} = \chi_i^T\langle D, D\rangle\chi_j$.
"""

from typing import Any

import numpy as np

from limits.directions import Directions
from limits.linear import LinearStates
from limits.problem import Problem
from limits.record import Record, field_of

Array = np.ndarray


def sample_kernels(
    states: LinearStates,
    problem: Problem,
    directions: Directions,
    chi: Array,
    record: Record,
    placing: Array,
    outside: Array,
) -> dict[str, Any]:
    """The recorded kernels as fields of a `Trajectory`.

    Args:
        chi: loss derivatives, shape (T + 1, samples, d_out).
        placing: weights of the system's marks in each recorded position, shape (M, marks).
        outside: kernel of a direction outside the span at every mark, increasing with depth, shape (marks,).
    """
    return _Observer(states, problem, directions, chi, record, placing, outside).kernels()


class _Observer:
    def __init__(self, states, problem, directions, chi, record, placing, outside) -> None:
        self.system, self.record, self.placing, self.outside = states.system, record, placing, outside
        self.d, self.n_steps = problem.d_out, problem.steps
        self.steps, self.samples = record.chosen_steps(problem), record.chosen_samples(problem)
        self.coordinates = directions.coordinates[self.samples]
        rest = directions.remainder
        self.remainder = None if rest is None else rest[np.ix_(self.samples, self.samples)]
        self.chi = chi[np.ix_(self.steps, self.samples)]
        self.forward = states.forward_states()[self.steps]
        self.backward = self._padded(states.backward_states())

    def _padded(self, states: Array) -> Array:
        """Backward states of the recorded steps; the last evaluation has none and borrows any (its chi is zero)."""
        if len(states) == 0:
            return np.zeros((len(self.steps), self.d), int)
        return states[np.minimum(self.steps, len(states) - 1)]

    def kernels(self) -> dict[str, Any]:
        kept: dict[str, Any] = {"steps": self.steps, "positions": self.record.depths, "recorded": self.samples}
        names = {
            "feature": self._feature,
            "gradient": self._gradient,
            "two_depth": self._two_depth,
            "response": self._response,
        }
        for kind in self.record.kinds:
            kept[field_of(kind)] = names[kind]()
        return kept

    def _marks(self) -> range:
        return range(self.placing.shape[1])

    def _among_features(self, m: int, n: int) -> Array:
        c, states = self.coordinates, self.forward.reshape(-1)
        block = self.system.covariance(m, n)[np.ix_(states, states)].reshape(*self.forward.shape, *self.forward.shape)
        kernel = np.einsum("kblc,ib,jc->klij", block, c, c, optimize=True)
        if self.remainder is not None:
            kernel += self.outside[min(m, n)] * self.remainder
        return kernel

    def _feature(self) -> Array:
        at_marks = np.stack([self._among_features(m, m) for m in self._marks()])
        return np.einsum("pm,mklij->klpij", self.placing, at_marks, optimize=True)

    def _gradient(self) -> Array:
        if self.n_steps == 0:
            return np.zeros((len(self.steps),) * 2 + (len(self.placing),) + (len(self.samples),) * 2)
        states, shape = self.backward.reshape(-1), self.backward.shape
        blocks = [self.system.covariance(m, m)[np.ix_(states, states)].reshape(*shape, *shape) for m in self._marks()]
        return np.einsum("pm,mkelf,kie,ljf->klpij", self.placing, np.stack(blocks), self.chi, self.chi, optimize=True)

    def _two_depth(self) -> Array:
        rows = [np.stack([self._among_features(m, n) for n in self._marks()]) for m in self._marks()]
        return np.einsum("pm,qn,mnklij->klpqij", self.placing, self.placing, np.stack(rows), optimize=True)

    def _response(self) -> Array:
        k, m = len(self.steps), self.placing.shape[1]
        out = np.zeros((2, k, k, m, m, self.system.r, self.d))
        trained = self.steps < self.n_steps
        for p in self._marks():
            for q in self._marks():
                response = self.system.two_depth_response(p, q)
                to_noise = -response[self.forward[:, None, :, None], self.backward[None, :, None, :]]
                to_features = response[self.backward[:, None, None, :], self.forward[None, :, :, None]]
                out[0, :, :, p, q] = np.where(trained[None, :, None, None], to_noise, 0.0)
                out[1, :, :, p, q] = np.where(trained[:, None, None, None], to_features, 0.0)
        return np.einsum("pm,qn,hklmnbe->hklpqbe", self.placing, self.placing, out, optimize=True)
