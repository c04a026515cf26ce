r"""The causal Gaussian system of a deep linear network, grown one state at a time (THEORY: semiseparable form).

States $Z = (x_0, \delta_0, x_1, \delta_1, \dots)$ at infinite width obey $dZ = A Z\,dp + dS$ with boundary conditions
$B_0 Z(0) + B_1 Z(1) = \zeta$. With the propagator $\Phi' = A\Phi$, $\Phi(0) = 1$, everything is carried by

* $Q = (B_0 + B_1\Phi(1))^{-1}B_1\Phi(1)$ and $z = (B_0 + B_1\Phi(1))^{-1}\zeta$, so that
  $\Phi^{-1}Z(p) = z + (1 - Q)\int_0^p \Phi^{-1}dS - Q\int_p^1 \Phi^{-1}dS$;
* $\Lambda(p) = \int_0^p \Phi^{-1}\Sigma\Phi^{-T}$ and
  $\mathcal K(p) = zz^T + (1-Q)\Lambda(p)(1-Q)^T + Q(\Lambda(1) - \Lambda(p))Q^T$, so that $E ZZ^T = \Phi\mathcal K\Phi^T$.

A new state depends on old ones through a row vector $J$ (forward) or $K$ (backward) that solves a linear ODE in $p$. All
matrices then grow by one block of rows; nothing is recomputed, so that $T$ steps cost $O(T^3)$ per depth node.

The same algebra is exact at finite depth: at block $m$ the state $(x^{m-1}, \delta^m)$ plays the role of $Z(p)$, and sums
over blocks that of integrals (`staggered=True`). Forward and backward passes are one formula with two signs: below `y` is
the pair (row, noise integral), that is $(J, I)$ or $(K, \tilde I)$.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any
Row = tuple[Array, Array]


def footprint(stations: int, marks: int, *, r: int, d: int, steps: int) -> int:
    """Bytes a `CausalSystem` and a pass through it take at their largest."""
    forward, backward = r * (steps + 1), d * steps
    size = forward + backward
    rows = max(r, d)
    held = stations * size * (2 * size + 2 * backward + 12 * rows) + (2 * marks + 4) * size**2 + marks * stations
    return 8 * held


@dataclass(frozen=True)
class Side:
    """Forward states x (sign +1) or backward states delta (sign -1)."""

    sign: int

    @property
    def forward(self) -> bool:
        return self.sign > 0

    def __hash__(self) -> int:
        return self.sign


FORWARD, BACKWARD = Side(1), Side(-1)


def transposed(matrices: Array) -> Array:
    """The last two axes swapped."""
    return np.swapaxes(matrices, -1, -2)


def symmetric(matrices: Array) -> Array:
    """M + M^T."""
    return matrices + transposed(matrices)


@dataclass(frozen=True)
class Fields:
    r"""What a pass needs at a depth: all linear in the row.

    Attributes:
        slope: $F E_\delta\Phi$ (forward) or $H E_x\Phi$ (backward), the rate of change of the row.
        noise: noise covariance with the old states, pulled back by $\Phi^{-1}$.
        pulled: covariance of the new state with $\Phi^{-1}Z$.
        response: the row times $Q$ (forward) or $1 - Q$ (backward).
        damped: the row times $\Lambda'$.
    """

    slope: Array
    noise: Array
    pulled: Array
    response: Array
    damped: Array


@dataclass(frozen=True)
class Ready:
    r"""What a pass of one side keeps.

    Attributes:
        unit: covariance of the side's new unit vectors (of U or V) with z, shape (new, S).
        coupled: the weighted $M_s$ of all finished steps times the forward rows of $\Phi$, shape (stations, backward, S).
    """

    side: Side
    unit: Array
    coupled: Array


class CausalSystem:
    """All states found so far, at every depth station.

    Args:
        stations: number of depth nodes or blocks.
        accumulate: matrix (positions + 1, stations): integral (or sum) from 0 to each recorded position, last to 1.
        r: input directions. d: output directions (states a step adds on each side).
        steps: T; there will be T + 1 forward and T backward states.
        noise: covariance rate of a state's noise over its kernel, a^2 L^(1-2 alpha) per unit depth.
        drift: the learning rate's prefactor, a^2 L^(1-alpha-gamma) per unit depth.
        staggered: blocks (True) or quadrature nodes (False).
    """

    def __init__(
        self,
        stations: int,
        accumulate: Array,
        *,
        r: int,
        d: int,
        steps: int,
        noise: float,
        drift: float,
        staggered: bool,
    ) -> None:
        size = r * (steps + 1) + d * steps
        self.r, self.d, self.steps, self.noise, self.drift = r, d, steps, noise, drift
        self.stations, self.accumulate, self.staggered = stations, accumulate, staggered
        self.center = self.low = self.high = d * steps
        levels = stations + 1 if staggered else stations
        self._phi, self._inverse = np.zeros((stations, size, size)), np.zeros((stations, size, d * steps))
        self._kernel = np.zeros((levels, size, size))
        marks = len(accumulate)
        self._phi_at, self._lam_at = np.zeros((marks, size, size)), np.zeros((marks, size, size))
        self._q, self._z = np.zeros((size, size)), np.zeros((size, r + d))
        self._pull = np.zeros((d * steps, r))
        self._trained_input = False

    # The active states are one contiguous block: backward states grow to the left of the center, forward to the right.

    @property
    def n_backward(self) -> int:
        return (self.center - self.low) // self.d

    @property
    def active(self) -> slice:
        return slice(self.low, self.high)

    @property
    def size(self) -> int:
        return self.high - self.low

    def columns(self, side: Side) -> slice:
        """Where the states of a side stand among the active ones."""
        border = self.center - self.low
        return slice(border, self.size) if side.forward else slice(0, border)

    def _square(self, matrices: Array) -> Array:
        return matrices[..., self.active, self.active]

    @property
    def phi(self) -> Array:
        return self._square(self._phi)

    @property
    def inverse(self) -> Array:
        r"""The backward columns of $\Phi^{-1}$; the forward ones follow from $\Phi^{-1}\Phi = 1$ wherever they are needed."""
        return self._inverse[:, self.active, self.low : self.center]

    @property
    def kernel(self) -> Array:
        return self._square(self._kernel)

    @property
    def scale(self) -> Array:
        r"""Largest standard deviation over depth of every state in $\Phi^{-1}Z$, 1 where that is zero: shape (S,)."""
        largest = np.sqrt(np.diagonal(self.kernel, axis1=1, axis2=2).max(0, initial=0.0).clip(0.0))
        return np.where(largest > 0, largest, 1.0)

    @property
    def phi_at(self) -> Array:
        return self._square(self._phi_at)

    @property
    def lam_at(self) -> Array:
        return self._square(self._lam_at)

    @property
    def q(self) -> Array:
        return self._square(self._q)

    @property
    def z(self) -> Array:
        return self._z[self.active]

    def at_stations(self, levels: Array, side: Side) -> Array:
        """Of values between blocks, those a block sees: x before it, delta after it."""
        if not self.staggered:
            return levels
        return levels[:-1] if side.forward else levels[1:]

    # Couplings between the steps' states: M_s of every step, weighted by what momentum and schedule make of it.

    def add_step(self, pull: Array) -> None:
        """Record M (d, r) of the step whose backward states come next."""
        self._pull[self.low - self.d : self.low] = pull

    def ready(self, side: Side, weights: Array) -> "Ready":
        """What stays the same during a pass, with weights[s] on the update of step s."""
        n = self.n_backward
        pull = self.drift * weights[:n, None, None] * self._pull[self.low : self.center].reshape(n, self.d, self.r)[::-1]
        features = self.phi[:, self.columns(FORWARD)][:, : n * self.r].reshape(self.stations, n, self.r, self.size)
        coupled = (pull @ features)[:, ::-1].reshape(self.stations, n * self.d, self.size)
        return Ready(side, self.unit(side), coupled)

    def boundary(self, weights: Array, side: Side) -> Array:
        r"""Rows $N_U$ or $N_V$ of the new states: the update of trained U or V, shape (new, S)."""
        rows = np.zeros((self.r if side.forward else self.d, self.size))
        n = self.n_backward
        pull = self._pull[self.low : self.center].reshape(n, self.d, self.r) * weights[:n][::-1, None, None]
        if side.forward:
            rows[:, self.columns(BACKWARD)] = -pull.reshape(n * self.d, self.r).T
        else:
            start = self.center - self.low
            rows[:, start : start + n * self.r] = -np.swapaxes(pull[::-1], 0, 1).reshape(self.d, n * self.r)
        return rows

    # One pass.

    def times_q(self, rows: Array) -> Array:
        """Rows times Q; with frozen U only its backward rows are not zero."""
        used = slice(None) if self._trained_input else self.columns(BACKWARD)
        return rows[..., used] @ self.q[used]

    def times_q_transposed(self, rows: Array) -> Array:
        used = slice(None) if self._trained_input else self.columns(BACKWARD)
        out = np.zeros_like(rows)
        out[..., used] = rows @ self.q[used].T
        return out

    def response(self, rows: Array, side: Side) -> Array:
        """Rows times Q (forward) or 1 - Q (backward)."""
        return self.times_q(rows) if side.forward else rows - self.times_q(rows)

    def axes(self, side: Side) -> Array:
        """The unit directions of U (forward) or V (backward) that the new states start from, shape (new, r + d)."""
        axes = np.eye(self.r + self.d)
        return axes[: self.r] if side.forward else axes[self.r :]

    def unit(self, side: Side) -> Array:
        """Covariance of the side's new unit vectors (of U or V) with z, shape (new, S)."""
        return self.z[:, : self.r].T if side.forward else self.z[:, self.r :].T

    def reflected(self, side: Side, integral: Array) -> Array:
        r"""The noise integral's part in the covariance with $\Phi^{-1}Z$: $I(1-Q)^T$ forward, $-\tilde I Q^T$ backward."""
        reflected = self.times_q_transposed(integral)
        return integral - reflected if side.forward else -reflected

    def fields(self, ready: "Ready", at: int | slice, y: Row) -> Fields:
        """Everything a pass needs at stations `at`, from the rows there; affine in `y`.

        Forward columns of the inverse propagator never appear: they are 1 minus the (fewer) backward ones times their rows.
        """
        side, (row, integral) = ready.side, y
        phi, inverse, coupled = self.phi[at][..., self.columns(BACKWARD), :], self.inverse[at], ready.coupled[at]
        response = self.response(row, side)
        carried, damped = self._carried(side, row, at)
        pulled = ready.unit + carried + self.reflected(side, integral)
        gradients = pulled @ transposed(phi)
        noise = self.noise * (gradients @ transposed(inverse))
        echo = self.noise * (response @ inverse)
        if side.forward:
            slope = (echo - pulled @ transposed(coupled)) @ phi
            noise = self.noise * pulled - noise
        else:
            slope = self.noise * response - echo @ phi - gradients @ coupled
        return Fields(slope, noise, pulled, response, damped)

    def damped(self, side: Side, row: Array, at: int | slice = slice(None)) -> Array:
        r"""The row times $\Lambda' = \Phi^{-1}\Sigma\Phi^{-T}$ at stations `at`."""
        return self._carried(side, row, at)[1]

    def _carried(self, side: Side, row: Array, at: int | slice) -> tuple[Array, Array]:
        r"""The row times $\mathcal K$ (as the side sees it) and times $\Lambda'$.

        $\Sigma$ is the kernel itself: $\Lambda' = \nu(\Pi_x\mathcal K\Pi_x^T + \Pi_\delta\mathcal K\Pi_\delta^T)$ with the
        projectors $\Pi_\delta = \Phi^{-1}E_\delta\Phi$, $\Pi_x = 1 - \Pi_\delta$.
        """
        phi, inverse = self.phi[at][..., self.columns(BACKWARD), :], self.inverse[at]
        backward = (row @ inverse) @ phi
        n = row.shape[-2]
        both = np.concatenate([row, backward], axis=-2) @ self.at_stations(self.kernel, side)[at]
        carried, own = both[..., :n, :], both[..., n:, :]
        x_part, delta_part = carried - own, own
        if self.staggered and side.forward:
            delta_part = backward @ self.kernel[1:][at]
        elif self.staggered:
            x_part = (row - backward) @ self.kernel[:-1][at]
        mixed = ((delta_part - x_part) @ transposed(phi)) @ transposed(inverse)
        return carried, self.noise * (x_part + mixed)

    def start(self, row: Array, side: Side) -> Array:
        """Covariance of the new states among themselves where their pass begins, from their boundary rows."""
        mean = self.axes(side) + row @ self.z
        response = self.response(row, side)
        return mean @ mean.T + response @ self.lam_at[-1] @ response.T

    def grow(self, side: Side, new_states: "Pass") -> None:
        """Add the states of a finished pass: one block of rows for every matrix."""
        row, integral, variance, noise = new_states.row, new_states.integral, new_states.variance, new_states.noise
        first = new_states.first
        old, n = self.active, row.shape[-2]
        new = slice(self.high, self.high + n) if side.forward else slice(self.low - n, self.low)
        unit = self.unit(side)
        self._trained_input |= side.forward and bool(np.any(first))
        moved = self.at_stations(row, side) - first
        increment = noise - self.damped(side, moved)
        own_increment = self.noise * self.at_stations(variance, side) - increment @ transposed(moved) - moved @ transposed(noise)
        cross = unit + first @ self.kernel + self.reflected(side, integral)
        shift = row - first
        own = variance - shift @ self.kernel @ transposed(shift) - symmetric(shift @ transposed(cross))
        total = np.tensordot(self.accumulate, increment, 1)
        inverse_rows = -(moved @ self.inverse)
        self._z[new] = self.axes(side) + first @ self.z
        self._q[new, old] = self.times_q(first) if side.forward else self.times_q(first) - first
        self._q[new, new] = 0.0 if side.forward else np.eye(n)
        self._inverse[:, new, self.low : self.center] = inverse_rows
        if not side.forward:
            self._inverse[:, new, new] = np.eye(n)
        self._put(self._phi, new, old, moved, np.eye(n))
        self._put(self._phi_at, new, old, new_states.at_positions - first, np.eye(n))
        for target, block, corner in (
            (self._kernel, cross, own),
            (self._lam_at, total, np.tensordot(self.accumulate, own_increment, 1)),
        ):
            self._put(target, new, old, block, corner)
            target[:, old, new] = transposed(block)
        self.low, self.high = min(self.low, new.start), max(self.high, new.stop)

    @staticmethod
    def _put(target: Array, new: slice, old: slice, block: Array, corner: Array) -> None:
        target[:, new, old] = block
        target[:, new, new] = corner

    # Read-out.

    def output(self, row: Array, integral: Array, coupling: Array) -> Array:
        """Outputs of the input directions, (d, r), from the forward row and noise integral at p = 1.

        `coupling` are the rows N_V of the trained read-out at this step (zero when V is frozen).
        """
        mean = self.axes(FORWARD) + row @ self.z
        out = mean[:, self.r :].T
        if np.any(coupling):
            response = row - self.times_q(row)
            noise = response @ self.lam_at[-1] + integral
            pulled = mean @ self.z.T + noise - self.times_q_transposed(noise)
            covariance = pulled @ self.phi_at[-1].T
            out = out + coupling @ covariance.T
        return out

    def covariance(self, first: int, second: int) -> Array:
        r"""$E Z(p) Z(q)^T$ at recorded positions number `first` and `second`; all active states."""
        if first < second:
            return self.covariance(second, first).T
        later, earlier, end = self.lam_at[first], self.lam_at[second], self.lam_at[-1]
        rest = np.eye(self.size) - self.q
        between = later - earlier
        kernel = self.z @ self.z.T + rest @ (earlier @ rest.T - between @ self.q.T) + self.q @ (end - later) @ self.q.T
        return self.phi_at[first] @ kernel @ self.phi_at[second].T

    def two_depth_response(self, first: int, second: int) -> Array:
        r"""$\Phi(p)[1_{p>q} - Q]\Phi(q)^{-1}$ at recorded positions: response of $Z(p)$ to a unit of $dS(q)$."""
        rest = (np.eye(self.size) if first > second else 0.0) - self.q
        return np.linalg.solve(self.phi_at[second].T, (self.phi_at[first] @ rest).T).T

    def forward_states(self) -> Array:
        """Index of (step, direction) among the active states, shape (steps, r)."""
        return np.arange(self.center - self.low, self.size).reshape(-1, self.r)

    def backward_states(self) -> Array:
        """Index of (step, output) among the active states, shape (steps, d)."""
        return np.arange(0, self.center - self.low).reshape(-1, self.d)[::-1]


@dataclass(frozen=True)
class Pass:
    """The new states of one side, from one pass through the depth.

    Attributes:
        row, integral, variance: at every level.
        noise: `Fields.noise` at every station.
        at_positions: the row at the recorded positions and at p = 1.
        first: the row at p = 0.
        integral_end: the noise integral at p = 1.
    """

    row: Array
    integral: Array
    variance: Array
    noise: Array
    at_positions: Array
    first: Array
    integral_end: Array
