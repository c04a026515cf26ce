r"""Linear blocks: the coefficients of the causal system, in directions instead of samples.

A linear network acts on samples through $x_i = X_t c_i$ and $\delta_i = D_t\chi_i$, and a whole batch enters through
$M_s = \sum_\mu\chi_\mu c_\mu^T$. With the noise rate $\nu$ and the drift $\kappa$ (both $a^2$ at $\alpha = \gamma = 1/2$)

$$ F_{(t,b),(s,e)} = \nu R^0 - \kappa w_s\sum_{b'}C^0_{(t,b),(s,b')}M_s[e,b'], \qquad
   H_{(t,e),(s,b)} = \nu R^1 - \kappa w_s\sum_{e'}C^1_{(t,e),(s,e')}M_s[e',b] $$

and the noise of every state has the covariance $\nu$ times its kernel.
"""

from collections.abc import Callable

import numpy as np

from limits.directions import Directions
from limits.problem import Problem
from limits.semiseparable import BACKWARD, FORWARD, Array, At, CausalSystem, Coupled, Pass, Ready, Side, transposed

Propagate = Callable[[CausalSystem, Ready], Pass]
"""Finds new states; what a rung has to supply."""


class LinearStates:
    r"""The states of a linear network, step after step.

    Args:
        problem: what is trained.
        basis: the input directions and the coordinates of all samples.
        system: holds the states; $r$ forward and $d_{out}$ backward ones a step.
        propagate: finds new states.
        noise: $\nu$, covariance rate of a state's noise over its kernel, $a^2L^{1-2\alpha}$ per unit depth.
        drift: $\kappa$, $a^2L^{1-\alpha-\gamma}$ per unit depth.
    """

    def __init__(
        self, problem: Problem, basis: Directions, system: CausalSystem, propagate: Propagate, *, noise: float, drift: float
    ) -> None:
        self.problem, self.basis, self.system, self.propagate = problem, basis, system, propagate
        self.noise, self.drift, self.r, self.d = noise, drift, basis.count, problem.d_out
        self.steps: list[Array] = []

    def forward(self, t: int) -> Array:
        """Outputs of all samples at evaluation t, shape (samples, d_out)."""
        ready = self._ready(FORWARD, t)
        found = self.propagate(self.system, ready)
        directions = self.system.output(ready, found, self._read_out(t))
        self.system.grow(ready, found)
        return self.basis.coordinates @ directions

    def backward(self, t: int, chi: Array) -> None:
        """Gradients of step t, from the derivatives chi of the inputs' loss, shape (P, d_out)."""
        ready = self._ready(BACKWARD, t)
        found = self.propagate(self.system, ready)
        self.steps.append(chi.T @ self.basis.coordinates[: len(chi)])
        self.system.grow(ready, found)

    def _ready(self, side: Side, t: int) -> Ready:
        units = np.eye(self.r + self.d)
        axes, boundary = (units[: self.r], self._read_in(t)) if side.forward else (units[self.r :], self._read_out(t))
        coupled, couple = self._coupled(t), self._forward if side.forward else self._backward

        def now(at: At, pulled: Array, response: Array, own: Array | None) -> Coupled:
            return couple(at, pulled, response, coupled[at])

        return self.system.ready(side, axes, boundary, now, growth=self.noise, alike=True)

    # The updates of finished steps, as columns of the old states they contain.

    def _weighted(self, t: int, which: str) -> Array:
        """M of every finished step, times what momentum and schedule make of it at step t, shape (steps, d, r)."""
        shares = self.problem.sgd.weights(t, which)[: len(self.steps)]
        return shares[:, None, None] * np.array(self.steps).reshape(-1, self.d, self.r)

    def _read_in(self, t: int) -> Array:
        rows = np.zeros((self.r, self.system.size))
        rows[:, self.system.columns(BACKWARD)] = -self._weighted(t, "input_lr")[::-1].reshape(-1, self.r).T
        return rows

    def _read_out(self, t: int) -> Array:
        """Rows N_V; of the features up to step t - 1 only."""
        rows, pull = np.zeros((self.d, self.system.size)), self._weighted(t, "output_lr")
        start = self.system.border
        rows[:, start : start + len(pull) * self.r] = -np.swapaxes(pull, 0, 1).reshape(self.d, -1)
        return rows

    def _coupled(self, t: int) -> Array:
        r"""$\kappa w_sM_s$ times the forward rows of $\Phi$, shape (stations, backward, S)."""
        n, phi = len(self.steps), self.system.phi
        features = phi[:, self.system.columns(FORWARD)][:, : n * self.r].reshape(len(phi), n, self.r, self.system.size)
        coupled = (self.drift * self._weighted(t, "lr")) @ features
        return coupled[:, ::-1].reshape(len(phi), n * self.d, self.system.size)

    # What the blocks make of new states. Forward columns of the inverse propagator never appear: they are 1 minus the
    # (fewer) backward ones times their rows.

    def _forward(self, at: At, pulled: Array, response: Array, coupled: Array) -> Coupled:
        phi, inverse = self.system.phi[at][..., self.system.columns(BACKWARD), :], self.system.inverse[at]
        gradients = pulled @ transposed(phi)
        slope = (self.noise * (response @ inverse) - pulled @ transposed(coupled)) @ phi
        return Coupled(slope, self.noise * (pulled - gradients @ transposed(inverse)))

    def _backward(self, at: At, pulled: Array, response: Array, coupled: Array) -> Coupled:
        phi, inverse = self.system.phi[at][..., self.system.columns(BACKWARD), :], self.system.inverse[at]
        gradients = pulled @ transposed(phi)
        slope = self.noise * (response - (response @ inverse) @ phi) - gradients @ coupled
        return Coupled(slope, self.noise * (gradients @ transposed(inverse)))

    # Where the states of a step stand among the active ones.

    def forward_states(self) -> Array:
        """Index of (step, direction) among the active states, shape (steps, r)."""
        return np.arange(self.system.border, self.system.size).reshape(-1, self.r)

    def backward_states(self) -> Array:
        """Index of (step, output) among the active states, shape (steps, d)."""
        return np.arange(self.system.border).reshape(-1, self.d)[::-1]
