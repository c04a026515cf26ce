"""What the page calls things: the window of the plane, points that have a name, and what a regime means in a sentence."""

from fractions import Fraction

from limits.plots.regimes import NAMED

WINDOW = ((Fraction(-1, 8), Fraction(13, 8)), (Fraction(-5, 8), Fraction(13, 8)))
"""The ranges of alpha and gamma that are drawn; verdicts are exact everywhere."""

MEANINGS = {
    "unstable at initialization": "Features blow up with depth before training begins.",
    "unstable during training": "The updates of the blocks add up, together, to more than the features.",
    "trivial": "The updates vanish with depth, all of them together: training is frozen at initialization.",
    "unfaithful": "Features stay of order one, but inside a block the update of a preactivation grows with depth.",
    "redundant": "Features are learned, but neighbouring blocks do the same: depth becomes a differential equation.",
    "feature learning and diverse": "Features are learned, and every block adds something of its own.",
}

APART = (
    "Layers of one block do not act together: they learn side by side, for what updates of several of them do jointly, "
    "L^(1 - alpha - 2*gamma), vanishes with depth (layerwise linear)."
)
TOGETHER = "Layers of one block act together: what their updates do jointly does not vanish with depth."
"""Where features are learned in blocks of several layers."""


def _plain(text: str) -> str:
    """A label of the phase diagram on one line, without mathematics mode."""
    return text.partition(":\n")[0].replace("\n", " ").replace("$", "").replace("{", "(").replace("}", ")")


NAMES = tuple((_plain(name), (str(Fraction(at[0])), str(Fraction(at[1])))) for name, at, _ in NAMED)
"""Parametrizations that have a name, and where they are."""
