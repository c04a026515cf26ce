"""What values look like: at a prompt in a line or two; in a notebook as tables, and small pictures that need no library."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from html import escape
from math import isfinite
from numbers import Rational, Real
from typing import Any

COLUMNS, LONGEST, FEW = 120, 90, 6
"""Of a terminal; of one part of a value at a prompt; and parts of a sequence that are shown one by one."""
WIDTH, HEIGHT, EDGE = 240, 60, 4
"""Size of a small picture, and its margin, in pixels."""


def listed(name: str, parts: Iterable[str], *, mark: str = ",") -> str:
    """A value at a prompt, Name(part, part), which goes on in a new line where the terminal ends; parts that are long are cut.

    >>> print(listed("Sizes", [f"width {16 * n}" for n in range(1, 12)]))
    Sizes(width 16, width 32, width 48, width 64, width 80, width 96, width 112, width 128, width 144, width 160,
        width 176)
    """
    cut = [part if len(part) <= LONGEST else f"{part[: LONGEST - 1]}…" for part in parts]
    ends = [*(f"{part}{mark}" for part in cut[:-1]), f"{cut[-1] if cut else ''})"]
    lines = [f"{name}({ends[0]}"]
    for part in ends[1:]:
        if len(lines[-1]) + 1 + len(part) <= COLUMNS:
            lines[-1] += f" {part}"
        else:
            lines.append(f"    {part}")
    return "\n".join(lines)


def brief(self: Any) -> str:
    """A dataclass at a prompt: its fields by name, arrays by their shapes, numbers with four digits, long sequences by length.

    >>> from dataclasses import dataclass, field
    >>> import numpy as np
    >>> @dataclass
    ... class Fit:
    ...     slope: float
    ...     points: np.ndarray
    ...     hidden: int = field(default=0, repr=False)
    ...     __repr__ = brief
    >>> Fit(1 / 3, np.zeros((40, 2)))
    Fit(slope=0.3333, points=shape (40, 2))
    """
    shown = [f"{f.name}={_entry(getattr(self, f.name))}" for f in fields(self) if f.repr]
    return listed(type(self).__name__, shown)


def _entry(value: Any) -> str:
    """One field of `brief`."""
    if isinstance(value, bool | int | str) or value is None:
        return repr(value)
    if isinstance(shape := getattr(value, "shape", None), tuple):
        return f"shape {shape}" if shape else _entry(value.item())
    if isinstance(value, Real):
        return str(value) if isinstance(value, Rational) else f"{float(value):.4g}"
    if isinstance(value, Mapping):
        pairs = [f"{_entry(k)}: {_entry(v)}" for k, v in value.items()]
        return _several(pairs, "{", "}")
    if type(value) in (tuple, list):
        return _several([_entry(v) for v in value], "(", ",)" if len(value) == 1 else ")")
    return repr(value)


def _several(entries: list[str], left: str, right: str) -> str:
    text = f"{left}{', '.join(entries)}{right}"
    return text if len(entries) <= FEW and len(text) <= LONGEST else f"{len(entries)} of them"


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text, in columns of equal width.

    >>> print(columns([("blocks", "loss"), ("8", "0.25")]))
    blocks  loss
    8       0.25
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


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
