r"""Which sizes of networks tell an exponent, and why others do not.

A change is measured as a difference of nearly equal numbers: of a size $s$, summed over L blocks to a precision $\epsilon$, it
carries round-off of order $\epsilon s\sqrt L$; and weights whose change is not above $\epsilon$ times themselves have not moved
as they were told to. Such curves are straight lines of wrong slopes, not noise, so that no interval warns of them.
"""

from collections.abc import Mapping

import numpy as np

from limits.compare.expected import DIVERSITY, FEATURES, GROWTH, OUTPUTS, SHARE, Sizes
from limits.problem import Problem

FAINT = 10
"""Times round-off that a change must have to be told from it: what is added in quadrature then counts a percent."""
QUANTUM = 4
"""Times round-off of a weight that its changes must have in the mean."""
LOUD = 10
"""Times themselves to which faithful training changes no weights."""
STEADY = 1 / 8
"""Logarithm of the growth of squared features, in widths, beyond which networks of that width scatter too much about it."""
LARGEST_GROWTH = 1e16
"""Of squared features: beyond it a change cannot be told from round-off."""
RANGE, ROUND_OFF = "numbers left their range", "what changes is lost in round-off"
GROWN, REPLACED = "features have grown too much before training", f"training changes weights to more than {LOUD} times themselves"
REMEDIES = {
    RANGE: "fewer blocks, a smaller learning rate, or inputs of order one",
    ROUND_OFF: "fewer blocks, a larger learning rate, or exponents nearer to 0",
    GROWN: "fewer blocks, or wider ones",
    REPLACED: "a smaller learning rate",
}
"""By reason, worst last."""


def reasons(problem: Problem, found: Mapping[int, Mapping[str, np.ndarray]], width: int, dtype: str) -> dict[str, list[str]]:
    """Why a size says nothing, row by row and size by size; "" where it does.

    Args:
        problem: what was measured.
        found: by number of blocks, what `measure_changes` returned.
        width: of the networks.
        dtype: of the numbers.
    """
    precision = float(np.finfo(dtype).eps)
    by_size = [_one(problem, L, each, width, precision) for L, each in found.items()]
    return {name: [each[name] for each in by_size] for name in by_size[0]}


def _one(problem: Problem, blocks: int, found: Mapping[str, np.ndarray], width: int, precision: float) -> dict[str, str]:
    """Why networks of one size say nothing, row by row."""
    faint, scales, moved, bad = FAINT * precision * blocks**0.5, found["scales"], found["moved"], {}
    still = np.any(moved < QUANTUM * precision, axis=0)
    frozen = [not np.any(problem.optimizer.schedule(end)) for end in ("input_lr", "output_lr")]
    with np.errstate(all="ignore"):
        bad[GROWTH] = np.any(found["initial"] < faint)
        bad[FEATURES] = np.any(found["features"] < faint * scales[:, 0]) or (still.all() and frozen[0])
        bad[OUTPUTS] = np.any(found["outputs"] < faint * scales[:, 1]) or (still.all() and all(frozen))
        bad[SHARE] = np.any(found["rest"] < FAINT * precision * scales[:, 2]) or still.all()
        bad[DIVERSITY] = np.any(found["increments"] < faint * scales[:, :1]) or (still.all() and frozen[0])
        bad |= {f"update of layer {i + 1}": layer for i, layer in enumerate(still)}
        grown = not _steady(found["initial"], width)
    sizes = Sizes.of(problem)
    keeps = all(gamma >= beta for gamma, beta in zip(sizes.gammas, sizes.betas, strict=True))
    replaced = bool(keeps and np.any(moved > LOUD))
    return {name: _reason(name, bool(lost), grown, replaced) for name, lost in bad.items()}


def _reason(name: str, lost: bool, grown: bool, replaced: bool) -> str:
    if lost:
        return ROUND_OFF
    if name == GROWTH:
        return ""
    return REPLACED if replaced else GROWN if grown and name != DIVERSITY else ""


def _steady(initial: np.ndarray, width: int) -> bool:
    """Whether features have grown before training by no more than networks of the width can tell."""
    growth = float(np.mean(np.log1p(initial**2)))
    return not growth >= max(1.0, min(STEADY * width, np.log(LARGEST_GROWTH)))


def sentence(reasons: Mapping[int, str]) -> str:
    """Why there is no exponent, from why single sizes say nothing; empty where all of them do.

    >>> sentence({8: "", 16: ROUND_OFF, 32: ROUND_OFF})
    'what changes is lost in round-off at L = 16, 32: take fewer blocks, a larger learning rate, or exponents nearer to 0'
    """
    at = {why: [str(L) for L, each in reasons.items() if each == why] for why in REMEDIES}
    return "; ".join(f"{why} at L = {', '.join(where)}: take {REMEDIES[why]}" for why, where in at.items() if where)
