r"""A function that is smooth between its kinks: its higher derivatives there, and what jumps at a kink.

In the sense of distributions, with $f_2$, $f_3$ the derivatives of $\phi'$ between the kinks $a_k$,

    φ'' = f_2 + Σ_k J_k δ(z - a_k),    f_2' = f_3 + Σ_k I_k δ(z - a_k),

$J_k$ and $I_k$ the jumps of $\phi'$ and of $f_2$.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from limits.nonlinearity.hermite import NotResolvedError

Array = Any
Function = Callable[[Array], Array]

POINTS = np.arange(-3.0, 4.0)
STEP = 6e-3
"""Distance of the seven points of a difference, in units of the scale on which φ varies."""
SMOOTH = 1e-4
"""Largest relative difference of the jumps seen from two distances."""


class Pieces(NamedTuple):
    r"""$\phi$, $\phi'$, the kinks in order, and the scale on which both vary beside them."""

    phi: Function
    slope: Function
    kinks: Array
    scale: float

    def second(self, z: Array) -> Array:
        """$f_2$, by a difference of seven points that keeps to one side of every kink."""
        return self._difference(z, 1)

    def third(self, z: Array) -> Array:
        """$f_3$, by the second difference."""
        return self._difference(z, 2)

    def _difference(self, z: Array, order: int) -> Array:
        step = STEP * self.scale
        centre = self._inside(z, 3.01 * step)
        samples = [np.asarray(self.slope(centre + step * point), float) for point in POINTS]
        rows = _differences(order)
        offset, total = (z - centre) / step, 0.0
        for power in range(len(rows) - 1, -1, -1):
            total = total * offset + sum(a * sample for a, sample in zip(rows[power], samples, strict=True) if a)
        return total / step**order

    def _inside(self, z: Array, margin: float) -> Array:
        for kink in self.kinks:
            z = np.where(abs(z - kink) < margin, np.where(z >= kink, kink + margin, kink - margin), z)
        return z

    def jumps(self) -> tuple[Array, Array]:
        r"""$J_k$ and $I_k$, from the polynomials through seven points on either side; 0 where they are round-off.

        Raises:
            NotResolvedError: points four times as close give others, as where $\phi''$ is infinite beside a kink.
        """
        near, far = self._jumps(STEP * self.scale / 4), self._jumps(STEP * self.scale)
        scales = np.array([[1.0], [1 / self.scale]])
        rough = np.any(abs(near - far) > SMOOTH * np.maximum(abs(far), scales * self._size()), axis=0)
        if np.any(rough):
            raise NotResolvedError(
                f"phi'' must be finite on both sides of a kink and of 0, and it is not at z = {self.kinks[rough][0]:g}: take a "
                "smoother phi, or train finite networks with simulate, which needs no Gaussian expectations"
            )
        return far[0], far[1]

    def _size(self) -> float:
        return max(float(np.max(np.abs(self.slope(self.kinks[:, None] + self.scale * POINTS)), initial=0.0)), 1e-300)

    def _jumps(self, step: float) -> Array:
        offsets = step * np.arange(0.5, 7.5)
        found = np.zeros((2, len(self.kinks)))
        for k, kink in enumerate(self.kinks):
            samples = [np.asarray(self.slope(kink + sign * offsets), float) for sign in (1, -1)]
            right, left = (np.polyfit(sign * offsets, values, 6) for sign, values in zip((1, -1), samples, strict=True))
            noise = 1e-12 * np.max(np.abs(samples)) / np.array([1.0, step])
            jumps = right[:-3:-1] - left[:-3:-1]
            found[:, k] = np.where(abs(jumps) > noise, jumps, 0.0)
        return found


def _differences(order: int) -> Array:
    """Row p: the coefficient of offset^p in the derivative of that order of the polynomial through POINTS."""
    powers = np.linalg.inv(np.vander(POINTS, increasing=True))
    for _ in range(order):
        powers = np.arange(1, len(powers))[:, None] * powers[1:]
    return powers
