"""What values look like in a notebook: tables in Markdown, and small pictures that need no library."""

from collections.abc import Iterable, Sequence
from html import escape
from math import isfinite

WIDTH, HEIGHT, EDGE = 240, 60, 4
"""Size of a small picture, and its margin, in pixels."""


def table(rows: Iterable[tuple[str, object]], *, head: tuple[str, str] = ("", "")) -> str:
    """Two columns in Markdown.

    >>> print(table([("width", 64)], head=("size", "")))
    | size |  |
    |---|---|
    | width | 64 |
    """
    lines = [f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in rows]
    return "\n".join([f"| {head[0]} | {head[1]} |", "|---|---|", *lines])


def html_table(rows: Iterable[tuple[str, object]]) -> str:
    """Two columns in HTML.

    >>> html_table([("a < b", 1)])
    '<table><tr><th style="text-align:left">a &lt; b</th><td style="text-align:left">1</td></tr></table>'
    """
    left = ' style="text-align:left"'
    cells = "".join(f"<tr><th{left}>{escape(name)}</th><td{left}>{escape(str(value))}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"


def curve(values: Sequence[float], label: str) -> str:
    """A curve over its numbers as an SVG picture, in the colour of the text around it; what is not finite is left out.

    >>> curve([1.0, 0.5], "loss").startswith('<svg role="img" aria-label="loss"')
    True
    """
    points = [(i, v) for i, v in enumerate(values) if isfinite(v)]
    low, high = min((v for _, v in points), default=0.0), max((v for _, v in points), default=1.0)
    across, up = max(1, len(values) - 1), (high - low) or 1.0
    path = " ".join(
        f"{EDGE + (WIDTH - 2 * EDGE) * i / across:.1f},{HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * (v - low) / up:.1f}"
        for i, v in points
    )
    return (
        f'<svg role="img" aria-label="{escape(label)}" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f'<title>{escape(label)}</title><polyline points="{path}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
    )
