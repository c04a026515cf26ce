r"""Does an optimum transfer? Read off how far it moved per doubling of the blocks.

Of exact curves the steps themselves decide: those of an optimum that settles fall by a factor per doubling (a half at the rate
$1/L$, 0.71 at $L^{-1/2}$), those of one that goes on like a power of $L$ do not. Noise hides the fall, so that networks are
judged by the interval of their drift, against a tolerance.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from limits.compare.optimum import Slope

TRANSFERS, MOVES, UNDECIDED = "transfers", "moves", "not decided"
FALLS, STAYS = 0.72, 0.8
"""Exact steps go to zero if the last is at most 0.72 times the one before, per doubling, and do not from 0.8 times on."""
STILL = 1e-3
"""Exact steps below this, in doublings per doubling, are none."""
TOLERANCE = 0.15
"""Networks transfer if their drift lies within this, in doublings per doubling: 11 % of a learning rate."""


@dataclass(frozen=True)
class Verdict:
    """Whether an optimum "transfers", "moves", or that is "not decided"; and why, in words."""

    state: str
    because: str

    def __str__(self) -> str:
        return f"{self.state}: {self.because}"


def of_steps(drift: "Slope") -> Verdict:
    """The verdict on exact optima, by their last two steps.

    >>> from limits.compare.optimum import fit_slope
    >>> x, exact = np.array([3.0, 4, 5, 6]), np.zeros((4, 4))
    >>> print(of_steps(fit_slope(x, 2.0**-x, exact)))
    transfers: its steps in log2 per doubling, -0.062, -0.031, -0.016, go to zero (the last is 0.50 times the one before)
    >>> print(of_steps(fit_slope(x, 2.0**-x - x / 2, exact)))
    moves: its steps in log2 per doubling, -0.562, -0.531, -0.516, do not go to zero (the last is 0.97 times the one before)
    """
    steps = drift.steps
    said = f"its steps in log2 per doubling, {', '.join(f'{step:+.3f}' for step in steps)},"
    if len(steps) < 2:
        return Verdict(
            UNDECIDED, f"one step, {steps[0]:+.3f} in log2 per doubling, says nothing of the next: add a number of blocks"
        )
    if np.all(np.abs(steps[-2:]) <= STILL):
        return Verdict(TRANSFERS, f"{said} are zero")
    if steps[-1] * steps[-2] < 0:
        return Verdict(UNDECIDED, f"{said} turn round: add larger numbers of blocks")
    middles = (drift.x[1:] + drift.x[:-1]) / 2
    with np.errstate(divide="ignore"):
        ratio = float(np.divide(steps[-1], steps[-2]) ** (1 / (middles[-1] - middles[-2])))
    last = f"(the last is {ratio:.2f} times the one before{'' if np.allclose(np.diff(drift.x), 1) else ', per doubling'})"
    if ratio <= FALLS:
        return Verdict(TRANSFERS, f"{said} go to zero {last}")
    if ratio >= STAYS:
        return Verdict(MOVES, f"{said} do not go to zero {last}")
    return Verdict(UNDECIDED, f"{said} fall slowly {last}: add larger numbers of blocks")


def of_interval(drift: "Slope") -> Verdict:
    """The verdict on optima with noise, by the 95 % interval of their drift."""
    low, high = drift.value - drift.error, drift.value + drift.error
    said = f"its drift in log2 per doubling, [{low:+.3f}, {high:+.3f}] at 95 %,"
    if max(-low, high) <= TOLERANCE:
        return Verdict(TRANSFERS, f"{said} lies within ±{TOLERANCE:g}")
    if low > TOLERANCE or high < -TOLERANCE:
        return Verdict(MOVES, f"{said} lies beyond ±{TOLERANCE:g}")
    if not np.isfinite(drift.error):
        return Verdict(UNDECIDED, "the error of its drift is not known: add numbers of blocks, or seeds")
    return Verdict(UNDECIDED, f"{said} reaches over ±{TOLERANCE:g}: add seeds, or numbers of blocks")
