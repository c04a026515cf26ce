"""What all pictures share: the colours of the rungs, legends, sentences where a picture is missing."""

from textwrap import fill
from typing import Any

import numpy as np

DEEP, WIDE, FINITE = "#111111", "#0072B2", "#D55E00"
"""Colours of the rungs, distinct for colour-blind readers and in grey."""


def legend(axes: Any, **options: Any) -> None:
    """A legend without a frame, if there is anything to name."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, **options)


def few(sizes: list[int], most: int = 4) -> list[int]:
    """At most so many of the sizes, spread evenly, the first and the last among them."""
    picks = np.unique(np.linspace(0, len(sizes) - 1, most).round().astype(int)) if sizes else []
    return [sizes[i] for i in picks]


def shades(count: int) -> np.ndarray:
    """Opacities of so many curves, the last opaque."""
    return np.linspace(0.35, 1.0, count) if count > 1 else np.ones(count)


def blank(axes: Any, title: str, message: str) -> Any:
    """Axes without a picture, and the sentence that says why."""
    axes.set_axis_off()
    axes.set_title(title)
    text = axes.text(0.5, 0.5, fill(message, 44), ha="center", va="center", transform=axes.transAxes, fontsize=9)
    text.set_in_layout(False)  # a long sentence must not squeeze the panels
    return axes


def halo() -> list[Any]:
    """A light outline, so that text can be read on lines and hatching."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.2, foreground="white", alpha=0.85)]


def edges(centers: np.ndarray) -> np.ndarray:
    """Borders of the cells around increasing centers; a single cell is 1 wide."""
    half = np.diff(centers) / 2 if len(centers) > 1 else np.array([0.5])
    return np.concatenate([centers[:1] - half[:1], centers[:-1] + half[: len(centers) - 1], centers[-1:] + half[-1:]])


def named(count: int) -> tuple[int, ...]:
    """Which of so many lines, from light to dark, are named: all of a few, else the first, the middle and the last.

    >>> named(3), named(20)
    ((0, 1, 2), (0, 10, 19))
    """
    return tuple(range(count)) if count <= 8 else (0, count // 2, count - 1)
