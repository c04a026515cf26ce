r"""The causal Gaussian system of a deep network, grown one step at a time (THEORY: semiseparable form).

States $Z = (x_0, \delta_0, x_1, \delta_1, \dots)$ at infinite width obey $dZ = A Z\,dp + dS$ with boundary conditions
$B_0 Z(0) + B_1 Z(1) = \zeta$. With the propagator $\Phi' = A\Phi$, everything is carried by

* $Q = (B_0\Phi(0) + B_1\Phi(1))^{-1}B_1\Phi(1)$ and $z = (B_0\Phi(0) + B_1\Phi(1))^{-1}\zeta$, so that
  $\Phi^{-1}Z(p) = z + (1 - Q)\int_0^p \Phi^{-1}dS - Q\int_p^1 \Phi^{-1}dS$;
* $\Lambda(p) = \int_0^p \Phi^{-1}\Sigma\Phi^{-T}$ and
  $\mathcal K(p) = zz^T + (1-Q)\Lambda(p)(1-Q)^T + Q(\Lambda(1) - \Lambda(p))Q^T$, so that $E ZZ^T = \Phi\mathcal K\Phi^T$.

Any matrix that solves $\Phi' = A\Phi$ serves as propagator. Here the columns are those in which $\Phi^{-1}Z$ is every state
without what couples it to others: the row of $x$ is 1 in its own column and else counted from $p = 0$, that of $\delta$ from
$p = 1$. Features that coincide then do so in $\Phi^{-1}Z$, too, and with frozen ends $Q$ is 1 for $\delta$ and 0 for $x$.

A new state depends on old ones through a row vector $J$ (forward) or $K$ (backward) that solves an ODE in $p$. All matrices
then grow by one block of rows; nothing is recomputed, so that $T$ steps cost $O(T^3)$ per depth node. What couples states
($F$, $H$) and the covariance of their noise come from the blocks: linear ones in `limits.linear`, nonlinear ones in
`limits.deep.nonlinear`.

The same algebra is exact at the finite depth of linear blocks: at block $m$ the state $(x^{m-1}, \delta^m)$ plays the role
of $Z(p)$, and sums over blocks that of integrals (`staggered=True`). Forward and backward passes are one formula with two
signs: below `y` is the pair (row, noise integral), that is $(J, I)$ or $(K, \tilde I)$.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any
At = int | slice


def footprint(stations: int, marks: int, *, forward: int, backward: int, new: int, whole_inverse: bool = False) -> int:
    """Bytes a `CausalSystem` and a pass of `new` states through it take at their largest."""
    size = forward + backward
    columns = size if whole_inverse else backward
    held = stations * size * (3 * size + columns + backward + 12 * new) + (2 * marks + 4) * size**2 + marks * stations
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
class Coupled:
    r"""What the blocks make of new states at some stations.

    Attributes:
        slope: $F E_\delta\Phi$ (forward) or $H E_x\Phi$ (backward), the rate of change of the row.
        noise: noise covariance with the old states, pulled back by $\Phi^{-1}$.
        own: noise covariance of the new states among themselves; None where `Ready.growth` tells it.
    """

    slope: Array
    noise: Array
    own: Array | None = None


Couple = Callable[[At, Array, Array, Array | None], Coupled]
"""(stations, pulled, response, covariance of the new states or None) -> what the blocks make of them."""


@dataclass(frozen=True)
class Fields:
    r"""What a pass needs at a depth.

    Attributes:
        slope, noise, own: those of `Coupled`.
        pulled: covariance of the new state with $\Phi^{-1}Z$.
        response: the row times $Q$ (forward) or $1 - Q$ (backward).
        damped: the row times $\Lambda'$.
    """

    slope: Array
    noise: Array
    own: Array | None
    pulled: Array
    response: Array
    damped: Array


@dataclass(frozen=True)
class Ready:
    r"""New states about to be found by a pass.

    Attributes:
        axes: the unit directions of U and V that they start from, shape (new, units).
        unit: covariance of those with z, shape (new, S).
        boundary: what trained U or V add at the start, rows $N_U$ or $N_V$, shape (new, S).
        couple: what the blocks make of them.
        growth: noise covariance of the new states over their covariance, a number or of shape (stations, new, new); None
            where that is no multiple, and `couple` needs the covariance.
        alike: whether `couple` does the same to every row.
    """

    side: Side
    axes: Array
    unit: Array
    boundary: Array
    couple: Couple
    growth: float | Array | None
    alike: bool


class CausalSystem:
    """All states found so far, at every depth station.

    Args:
        stations: number of depth nodes or blocks.
        accumulate: matrix (positions + 2, stations): integral (or sum) from 0 to each recorded position, to 0 and to 1.
        forward: how many forward states there will be.
        backward: how many backward states.
        units: independent unit directions of U and of V, (r, d).
        staggered: blocks (True) or quadrature nodes (False).
        whole_inverse: keep all columns of the inverse propagator, not only the backward ones.
        level: whether the states of a side are as accurate as the largest of them, and not each as accurate as itself.
    """

    def __init__(
        self,
        stations: int,
        accumulate: Array,
        *,
        forward: int,
        backward: int,
        units: tuple[int, int],
        staggered: bool = False,
        whole_inverse: bool = False,
        level: bool = False,
    ) -> None:
        size = forward + backward
        self.r, self.d = units
        self.stations, self.accumulate, self.staggered, self.whole_inverse = stations, accumulate, staggered, whole_inverse
        self.level = level
        self.center = self.low = self.high = backward
        levels = stations + 1 if staggered else stations
        self._phi, self._spread = np.zeros((stations, size, size)), np.zeros((stations, size, size))
        self._inverse = np.zeros((stations, size, size if whole_inverse else backward))
        self._kernel = np.zeros((levels, size, size))
        marks = len(accumulate)
        self._phi_at, self._lam_at = np.zeros((marks, size, size)), np.zeros((marks, size, size))
        self._q, self._z = np.zeros((size, size)), np.zeros((size, sum(units)))
        self._axes = np.zeros((size, sum(units)))
        self._frozen, self._trained_input = True, False

    # The active states are one contiguous block: backward states grow to the left of the center, forward to the right.

    @property
    def active(self) -> slice:
        return slice(self.low, self.high)

    @property
    def size(self) -> int:
        return self.high - self.low

    @property
    def border(self) -> int:
        """Number of backward states; the forward ones follow."""
        return self.center - self.low

    def columns(self, side: Side) -> slice:
        """Where the states of a side stand among the active ones."""
        return slice(self.border, self.size) if side.forward else slice(0, self.border)

    def _square(self, matrices: Array) -> Array:
        return matrices[..., self.active, self.active]

    @property
    def phi(self) -> Array:
        return self._square(self._phi)

    @property
    def inverse(self) -> Array:
        r"""Columns of $\Phi^{-1}$: the backward ones first, and unless `whole_inverse` only they."""
        return self._inverse[:, self.active, self.low : self.high if self.whole_inverse else self.center]

    @property
    def spread(self) -> Array:
        r"""$\Lambda' = \Phi^{-1}\Sigma\Phi^{-T}$."""
        return self._square(self._spread)

    @property
    def kernel(self) -> Array:
        return self._square(self._kernel)

    @property
    def scale(self) -> Array:
        r"""Largest standard deviation over depth of every state in $\Phi^{-1}Z$, 1 where that is zero: shape (S,).

        With `level`, of every state the largest of its side: gradients that training has made small count for as little.
        """
        largest = np.sqrt(np.diagonal(self.kernel, axis1=1, axis2=2).max(0, initial=0.0).clip(0.0))
        if self.level:
            for side in (FORWARD, BACKWARD):
                largest[self.columns(side)] = largest[self.columns(side)].max(initial=0.0)
        return np.where(largest > 0, largest, 1.0)

    def largest(self, side: Side) -> float:
        """With `level`, the scale of a side's states, else 0."""
        return float(self.scale[self.columns(side)].max(initial=0.0)) if self.level else 0.0

    @property
    def phi_at(self) -> Array:
        return self._square(self._phi_at)

    def phi_at_start(self, side: Side) -> Array:
        """The propagator where the pass of a side begins."""
        return self.phi_at[-2 if side.forward else -1]

    @property
    def lam_at(self) -> Array:
        return self._square(self._lam_at)

    @property
    def q(self) -> Array:
        return self._square(self._q)

    @property
    def z(self) -> Array:
        return self._z[self.active]

    def axes(self, side: Side) -> Array:
        """The unit directions that the states of a side start from, shape (states, units)."""
        return self._axes[self.active][self.columns(side)]

    def at_stations(self, levels: Array, side: Side) -> Array:
        """Of values between blocks, those a block sees: x before it, delta after it."""
        if not self.staggered:
            return levels
        return levels[:-1] if side.forward else levels[1:]

    # One pass.

    def ready(
        self, side: Side, axes: Array, boundary: Array, couple: Couple, *, growth: float | Array | None, alike: bool = False
    ) -> Ready:
        """New states that start from `axes` and are coupled by `couple`."""
        return Ready(side, axes, axes @ self.z.T, boundary, couple, growth, alike)

    def times_q(self, rows: Array) -> Array:
        """Rows times Q; with frozen U only its backward rows are not zero, with frozen ends it is 1 there."""
        if self._frozen:
            return self._of_gradients(rows)
        used = slice(None) if self._trained_input else self.columns(BACKWARD)
        return rows[..., used] @ self.q[used]

    def times_q_transposed(self, rows: Array) -> Array:
        if self._frozen:
            return self._of_gradients(rows)
        used = slice(None) if self._trained_input else self.columns(BACKWARD)
        out = np.zeros_like(rows)
        out[..., used] = rows @ self.q[used].T
        return out

    def _of_gradients(self, rows: Array) -> Array:
        out, used = np.zeros_like(rows), self.columns(BACKWARD)
        out[..., used] = rows[..., used]
        return out

    def response(self, rows: Array, side: Side) -> Array:
        """Rows times Q (forward) or 1 - Q (backward)."""
        return self.times_q(rows) if side.forward else rows - self.times_q(rows)

    def reflected(self, side: Side, integral: Array) -> Array:
        r"""The noise integral's part in the covariance with $\Phi^{-1}Z$: $I(1-Q)^T$ forward, $-\tilde I Q^T$ backward."""
        reflected = self.times_q_transposed(integral)
        return integral - reflected if side.forward else -reflected

    def fields(self, ready: Ready, at: At, y: Sequence[Array]) -> Fields:
        """Everything a pass needs at stations `at`, from row, integral and, without a growth, covariance of the new states."""
        side, row, integral = ready.side, y[0], y[1]
        response = self.response(row, side)
        pulled = ready.unit + row @ self.at_stations(self.kernel, side)[at] + self.reflected(side, integral)
        made = ready.couple(at, pulled, response, y[2] if len(y) > 2 else None)
        return Fields(made.slope, made.noise, made.own, pulled, response, row @ self.spread[at])

    def start(self, ready: Ready, row: Array) -> Array:
        """Covariance of the new states among themselves where their pass begins, from their boundary rows."""
        mean = ready.axes + row @ self.z
        response = self.response(row, ready.side)
        return mean @ mean.T + response @ self.lam_at[-1] @ response.T

    def grow(self, ready: Ready, found: "Pass") -> None:
        """Add the states of a finished pass: one block of rows for every matrix."""
        side, row, reference, old = ready.side, found.row, found.reference, self.active
        n = row.shape[-2]
        new = slice(self.high, self.high + n) if side.forward else slice(self.low - n, self.low)
        self._frozen &= not np.any(reference)
        self._trained_input |= side.forward and bool(np.any(reference))
        moved = self.at_stations(row, side) - reference
        increment = found.noise - moved @ self.spread
        own_increment = found.own - increment @ transposed(moved) - moved @ transposed(found.noise)
        cross = ready.unit + reference @ self.kernel + self.reflected(side, found.integral)
        shift = row - reference
        own = found.variance - shift @ self.kernel @ transposed(shift) - symmetric(shift @ transposed(cross))
        total = np.tensordot(self.accumulate, increment, 1)
        inverse_rows = -(moved @ self.inverse)
        self._axes[new] = ready.axes
        self._z[new] = ready.axes + reference @ self.z
        self._q[new, old] = self.times_q(reference) if side.forward else self.times_q(reference) - reference
        self._q[new, new] = 0.0 if side.forward else np.eye(n)
        self._inverse[:, new, self.low : self.low + inverse_rows.shape[-1]] = inverse_rows
        if self.whole_inverse or not side.forward:
            self._inverse[:, new, new] = np.eye(n)
        self._put(self._phi, new, old, moved, np.eye(n))
        self._put(self._phi_at, new, old, found.at_positions - reference, np.eye(n))
        for target, block, corner in (
            (self._kernel, cross, own),
            (self._spread, increment, own_increment),
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

    def output(self, ready: Ready, found: "Pass", coupling: Array) -> Array:
        """Outputs of the new forward states, (new, d).

        `coupling` are the rows that a trained read-out adds to those of V, (d, S); zero when V is frozen.
        """
        row, integral = found.at_positions[-1], found.integral_end
        mean = ready.axes + row @ self.z
        out = mean[:, self.r :]
        if np.any(coupling):
            response = row - self.times_q(row)
            noise = response @ self.lam_at[-1] + integral
            pulled = mean @ self.z.T + noise - self.times_q_transposed(noise)
            out = out + pulled @ self.phi_at[-1].T @ coupling.T
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


@dataclass(frozen=True)
class Pass:
    """The new states of one side, from one pass through the depth.

    Attributes:
        row, integral, variance: at every level.
        noise, own: those of `Coupled`, at every station.
        at_positions: the row at the recorded positions, at p = 0 and at p = 1.
        reference: the row where the pass began.
        integral_end: the noise integral at p = 1.
    """

    row: Array
    integral: Array
    variance: Array
    noise: Array
    own: Array
    at_positions: Array
    reference: Array
    integral_end: Array
