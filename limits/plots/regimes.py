"""The regimes in the plane of exponents."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from limits.parametrization import exact
from limits.plots.style import DEEP, halo
from limits.regimes import PhaseDiagram
from limits.regimes.diagram import Box, corners

SHADES = {
    "unstable at initialization": ("#F3C6A5", "\\\\"),
    "unstable during training": ("#FBE9CC", "//"),
    "trivial": ("#E9EDF0", None),
    "unfaithful": ("#CC79A7", None),
    "redundant": ("#0072B2", None),
    "feature learning and diverse": ("#009E73", None),
}
"""Colour and hatching of every regime: areas light, lines and points dark, told apart without colour too."""

BOX: Box = ((0, "3/2"), ("-1/2", 1))

NAMED = (
    ("Depth-µP:\nfeature learning and diverse", ("1/2", "1/2"), (11, 2)),
    ("CompleteP,\nneural ODE", (1, 0), (7, 6)),
    ("multiplier $L^{-1/2}$,\nAdam unchanged", ("1/2", 0), (8, -3)),
    ("nothing scaled", (0, 0), (7, -3)),
)
"""Parametrizations that have a name, their place, and the offset of their label in points."""

UNFAITHFUL = "#98386F"
"""The colour of the unfaithful line, dark enough to read."""


def phase_diagram(axes: Any, diagram: PhaseDiagram, measured: Mapping[tuple[Any, Any], Sequence[float]] | None = None) -> Any:
    r"""The regimes in the $(\alpha, \gamma)$ plane (TP6, Figure 1), from exact corners.

    On the lines a sum over depth is $\Theta(1)$: of the initial branches at $\alpha = 1/2$, of the updates on the others.

    Args:
        axes: where to draw; the labels need a square of about five inches, as in `phases`.
        diagram: of `limits.phase_diagram`.
        measured: measured exponents at points (alpha, gamma), to write beside them.

    Raises:
        TypeError: anything but a `PhaseDiagram`.

    >>> import limits
    >>> from matplotlib.figure import Figure
    >>> axes = phase_diagram(Figure().subplots(), limits.phase_diagram())
    >>> axes.get_title(loc="left")
    'Infinite-depth limits: blocks of one layer'
    """
    if not isinstance(diagram, PhaseDiagram):
        raise TypeError(f"diagram must be a PhaseDiagram, got {diagram!r}: write phase_diagram(block_depth=2)")
    for name, pieces in diagram.regions:
        for piece in pieces:
            _piece(axes, name, np.array(corners(piece, BOX), float))
    (west, east), (south, north) = ([float(Fraction(v)) for v in side] for side in BOX)
    axes.plot([0.5, 0.5], [south, north], color=DEEP, lw=1.2, zorder=2)
    _areas(axes)
    _lines(axes, diagram.block_depth)
    for name, place, offset in NAMED:
        _point(axes, diagram, name, place, offset)
    for (alpha, gamma), values in (measured or {}).items():
        at = float(exact(alpha, "alpha")), float(exact(gamma, "gamma"))
        axes.plot(*at, "o", ms=4.5, mfc="white", mec=DEEP, mew=0.9, zorder=6)
        text = ", ".join(f"{v:+.2f}".replace("-", "−") for v in values)
        offset, ha, va = ((-5, -1), "right", "center") if at[0] > west else ((5, 3), "left", "bottom")
        words = {"fontsize": 6, "ha": ha, "va": va, "zorder": 7, "path_effects": halo()}
        axes.annotate(text, at, offset, textcoords="offset points", **words)
    k = diagram.block_depth
    title = "blocks of one layer" if k == 1 else rf"blocks of {k} layers, one $\gamma$ for all"
    axes.set(xlim=(west, east), ylim=(south, north), aspect="equal")
    axes.set_title(f"Infinite-depth limits: {title}", fontsize=11, loc="left")
    axes.set(xlabel=r"$\alpha$,  block multiplier $\propto L^{-\alpha}$", ylabel=r"$\gamma$,  update $\propto L^{-\gamma}$")
    for axis, low, high in ((axes.xaxis, west, east), (axes.yaxis, south, north)):
        ticks = [Fraction(n, 2) for n in range(int(np.ceil(2 * low)), int(np.floor(2 * high)) + 1)]
        axis.set_ticks([float(t) for t in ticks], [str(t).replace("-", "−") for t in ticks])
    return axes


def phases(diagram: PhaseDiagram, measured: Mapping[tuple[Any, Any], Sequence[float]] | None = None) -> Any:
    """The phase diagram as a figure of its own; save it with `figure.savefig(path)`.

    >>> import limits
    >>> figure = phases(limits.phase_diagram())
    >>> figure.axes[0].get_title(loc="left")
    'Infinite-depth limits: blocks of one layer'
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.2, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    phase_diagram(figure.subplots(), diagram, measured)
    return figure


def _piece(axes: Any, name: str, polygon: np.ndarray) -> None:
    """An area, a line or a point of the diagram."""
    color, hatch = SHADES[name]
    if len(polygon) > 2:
        axes.fill(*polygon.T, facecolor=color, edgecolor="white", hatch=hatch, lw=0, zorder=1)
    elif len(polygon) == 2:
        style = (0, (2.0, 0.8)) if name == "unfaithful" else "-"
        axes.plot(*polygon.T, color=color, lw=4.5, ls=style, solid_capstyle="butt", dash_capstyle="butt", zorder=3)
    elif len(polygon) == 1:
        axes.plot(*polygon.T, marker="*", ms=19, mfc=color, mec="white", mew=1, zorder=5)


def _areas(axes: Any) -> None:
    """Names of the areas, each with what happens there."""
    for name, what, at in (
        ("unstable at\ninitialization", "features blow up\nwith depth", (0.25, 0.33)),
        ("unstable during training", "the blocks' updates blow up together", (0.8, -0.31)),
        ("trivial", "frozen at initialization", (1.14, 0.72)),
    ):
        words = {"ha": "center", "zorder": 4, "path_effects": halo()}
        axes.text(*at, name, weight="bold", va="bottom", fontsize=9.5, **words)
        axes.text(at[0], at[1] - 0.02, what, va="top", fontsize=7.5, **words)


def _lines(axes: Any, k: int) -> None:
    """What the boundaries mean, and the names of the regimes on them, along them."""
    words = {"rotation_mode": "anchor", "transform_rotates_text": True, "zorder": 6, "path_effects": halo()}
    meaning, name = words | {"fontsize": 7.5}, words | {"fontsize": 9, "weight": "bold"}
    axes.text(0.478, 0.98, r"$\alpha = 1/2$: initial noise is $\Theta(1)$", rotation=90, ha="right", **meaning)
    axes.text(0.63, 0.405, r"$\alpha + \gamma = 1$: updates are $\Theta(1)$", rotation=-45, **meaning)
    axes.text(0.675, 0.205, "redundant", rotation=-45, color=SHADES["redundant"][0], **name)
    slope, run = -np.degrees(np.arctan(1 / k)), np.array([1.0, -1 / k])
    up = 0.03 * np.array([1 / k, 1.0]) / np.hypot(1, 1 / k)
    sums = r"$\alpha + \gamma = 1$" if k == 1 else rf"$\alpha + {k}\gamma = 1$, jointly"
    axes.text(*([1, 0] + 0.21 * run + up), sums, rotation=slope, **meaning)
    axes.text(*([1, 0] + 0.12 * run - 2.9 * up), "unfaithful", rotation=slope, color=UNFAITHFUL, **name)


def _point(axes: Any, diagram: PhaseDiagram, name: str, place: tuple[Any, Any], offset: tuple[int, int]) -> None:
    """A parametrization that has a name; the one that is a regime of its own has its star already."""
    at = float(Fraction(place[0])), float(Fraction(place[1]))
    if diagram.region(*place) != "feature learning and diverse":
        axes.plot(*at, "o", ms=6.5, mfc=DEEP, mec="white", mew=1, zorder=6, clip_on=False)
    words = {"va": "bottom" if offset[1] > 0 else "top", "fontsize": 8, "zorder": 7, "path_effects": halo()}
    axes.annotate(name, at, offset, textcoords="offset points", **words)
