"""How much gradients differ from block to block, nonlinearity by nonlinearity."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from limits.diversity import Diversity, rank
from limits.nonlinearity import nonlinearity
from limits.plots.style import DEEP, WIDE, halo

COMMON = ("abs", "relu", "leaky_relu", "linear", "tanh", "erf", "sin", "cos", "sin + cos", "gelu", "silu", "softplus", "gaussian")
"""Nonlinearities that `gradient_diversity` marks if it is not told which."""


def gradient_diversity(axes: Any, ranked: Sequence[Diversity] | None = None) -> Any:
    r"""Correlation of gradients between neighbouring blocks, over the family $\cos\theta\,|z| + \sin\theta\,z$.

    Filled points are members of the family; others stand, as rings, where the curve has their correlation, averaged over
    depth at initialization. One minus the correlation is the gradient diversity [D5.7].

    Args:
        axes: where to draw.
        ranked: of `limits.diversity.rank`; by default of the common nonlinearities.

    >>> from matplotlib.figure import Figure
    >>> axes = gradient_diversity(Figure().subplots(), rank(["abs", "relu"]))
    >>> [text.get_text() for text in axes.texts]
    ['abs', 'relu']
    """
    ranked = rank(COMMON) if ranked is None else ranked
    angles = np.linspace(0, np.pi / 2, 181)
    axes.plot(np.degrees(angles), np.sin(angles) ** 2, color=WIDE, lw=1.6, zorder=2)
    heights = [float(np.clip(1 - d.gradient, 0.0, 1.0)) for d in ranked]
    for members, colour, size, label in ((False, "white", 9, "others, at their correlation"), (True, DEEP, 5.5, "of the family")):
        chosen = np.array([h for d, h in zip(ranked, heights, strict=True) if _homogeneous(d.name) == members])
        style = {"ms": size, "mfc": colour, "mec": DEEP, "mew": 1.1, "ls": "none", "zorder": 4 + members}
        axes.plot([_angle(h) for h in chosen], chosen, "o", label=label, **style)
    _names(axes, [d.name for d in ranked], heights)
    axes.legend(frameon=False, fontsize=8.5, loc="upper left")
    axes.set_xticks([0, 45, 90], [r"0°: $|z|$", r"45°: relu$\,\times\sqrt{2}$", r"90°: $z$"])
    axes.set(xlim=(-4, 94), ylim=(-0.06, 1.06), xlabel=r"angle $\theta$ in $\cos\theta\,|z| + \sin\theta\,z$")
    axes.set_ylabel(r"correlation $(E\phi')^2 / E\phi'^2$ of neighbouring $\delta h$")
    axes.set_title("Gradient diversity: the lower, the more diverse")
    axes.grid(alpha=0.25)
    return axes


def _angle(height: float) -> float:
    """The family's angle in degrees where the correlation is that high [D5.7]."""
    return float(np.degrees(np.arcsin(np.sqrt(height))))


def _homogeneous(name: str) -> bool:
    try:
        return nonlinearity(name).homogeneous
    except ValueError:  # a name of the user's own
        return False


def _names(axes: Any, names: Sequence[str], heights: Sequence[float]) -> None:
    """Names beside the curve, on its free side and apart from each other, each with a line to its point."""
    points: dict[float, list[str]] = {}
    for name, height in zip(names, heights, strict=True):
        points.setdefault(round(height, 3), []).append(name)
    low, high = ([h for h in sorted(points) if (h <= 0.5) == side] for side in (True, False))
    for chosen, levels, shift, side in (
        (low, _apart(low, 0.055, 0.0, 0.6), 9, "left"),
        (high, _apart(high, 0.055, 0.4, 1.0), -9, "right"),
    ):
        for height, level in zip(chosen, levels, strict=True):
            beside = _angle(float(np.clip(level, 0.0, 1.0))) + shift
            arrow = {"arrowstyle": "-", "color": "0.6", "lw": 0.7, "shrinkA": 1, "shrinkB": 3}
            words = {"ha": side, "va": "center", "fontsize": 8.5, "path_effects": halo()}
            at = _angle(height), height
            axes.annotate(", ".join(points[height]), at, (beside, level), arrowprops=arrow, zorder=3, **words)


def _apart(values: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Sorted values moved as little as a sweep up and one down need to be `gap` apart, between low and high if they fit."""
    moved = np.array(values, float)
    for i in range(len(moved)):
        moved[i] = max(moved[i], low if i == 0 else moved[i - 1] + gap)
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], high if i == len(moved) - 1 else moved[i + 1] - gap)
    return moved
