"""The regimes as a picture in SVG, from exact corners: what can be seen of the page without JavaScript, and moved on with it."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import atan2, cos, degrees, hypot, pi, sin

from limits.explorer.words import WINDOW
from limits.plots.regimes import SHADES
from limits.regimes import PhaseDiagram, phase_diagram
from limits.regimes.diagram import Corner, corners

UNIT = 200
"""Pixels of one unit of an exponent, before the picture is scaled."""
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 26, 56
"""Pixels around the window: room for ticks and titles."""
AREAS = (
    (("unstable at", "initialization"), (Fraction(3, 16), Fraction(13, 16))),
    (("unstable", "during training"), (Fraction(7, 8), Fraction(-23, 64))),
    (("trivial",), (Fraction(9, 8), Fraction(17, 16))),
)
"""Names of areas, line by line, and where they are written."""
LEADING = 17
"""Pixels from a line of text to the next."""
BELOW, ABOVE = 17, 10
"""Pixels from a line to the foot of a text along it."""
FULL_CIRCLE, TIPS = 2 * pi, 5

Pixel = tuple[float, float]


def picture(block_depth: int, lattice: Iterable[Corner] = ()) -> str:
    """The phase diagram as an element `<svg>`: a class for every regime, and dots where networks were trained.

    >>> drawn = picture(1)
    >>> drawn.startswith("<svg"), drawn.count('class="area'), drawn.count('class="line')
    (True, 3, 2)
    """
    diagram, (right, bottom) = phase_diagram(block_depth=block_depth), place((WINDOW[0][1], WINDOW[1][0]))
    layers = "one layer" if block_depth == 1 else f"{block_depth} layers"
    size = f'viewBox="0 0 {right + RIGHT:g} {bottom + BOTTOM:g}" data-unit="{UNIT}" data-left="{LEFT}" data-top="{TOP}"'
    name = f"Regimes in the plane of alpha, across, and gamma, up, of blocks of {layers}"
    title = _text("title", right, TOP - 8, f"blocks of {layers}", "end")
    parts = [title, *_areas(diagram), *_axes(), *_lines(diagram), *_dots(lattice), *_words(diagram)]
    return "\n".join([f'<svg class="plane" id="plane-{block_depth}" {size} role="img" aria-label="{name}">', *parts, "</svg>"])


def place(point: Corner) -> Pixel:
    """Where a point of the plane is drawn."""
    (west, _), (_, north) = WINDOW
    return LEFT + UNIT * float(point[0] - west), TOP + UNIT * float(north - point[1])


def kind(name: str) -> str:
    """The class of a regime in the style sheet.

    >>> kind("feature learning and diverse")
    'feature-learning-and-diverse'
    """
    return name.replace(" ", "-")


def swatch(name: str) -> str:
    """A small picture of what a regime looks like in the large one: an area, a line or a star."""
    hatch = f'<rect class="hatch" x="1" y="1" width="26" height="16" fill="url(#hatch-{kind(name)})"/>'
    if name in ("unfaithful", "redundant"):
        body = f'<line class="line {kind(name)}" x1="1" y1="9" x2="27" y2="9"/>'
    elif name == "feature learning and diverse":
        body = f'<path class="star" d="{_star((14, 9), 9)}"/>'
    else:
        body = f'<rect class="area {kind(name)}" x="1" y="1" width="26" height="16"/>' + (hatch if SHADES[name][1] else "")
    return f'<svg class="swatch" viewBox="0 0 28 18" aria-hidden="true">{body}</svg>'


def _pieces(diagram: PhaseDiagram, count: range) -> Iterator[tuple[str, tuple[Corner, ...]]]:
    """The pieces that have so many corners in the window."""
    for name, pieces in diagram.regions:
        for piece in pieces:
            if len(found := corners(piece, WINDOW)) in count:
                yield name, found


def patterns() -> str:
    """Hatching of the areas that have one, in the direction of the phase diagram; for all pictures of a page."""
    turns = {"\\\\": -45, "//": 45}
    found = (
        f'<pattern id="hatch-{kind(name)}" width="9" height="9" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate({turns[hatch]})"><line class="stroke" x1="0" y1="0" x2="0" y2="9"/></pattern>'
        for name, (_, hatch) in SHADES.items()
        if hatch
    )
    return f'<svg class="hidden" aria-hidden="true"><defs>{"".join(found)}</defs></svg>'


def _areas(diagram: PhaseDiagram) -> Iterator[str]:
    for name, found in _pieces(diagram, range(3, 99)):
        points = " ".join(f"{x:g},{y:g}" for x, y in map(place, found))
        yield f'<polygon class="area {kind(name)}" points="{points}"/>'
        if SHADES[name][1]:
            yield f'<polygon class="hatch" fill="url(#hatch-{kind(name)})" points="{points}"/>'


def _lines(diagram: PhaseDiagram) -> Iterator[str]:
    for name, (one, other) in _pieces(diagram, range(2, 3)):
        (x1, y1), (x2, y2) = place(one), place(other)
        ends = f'x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"'
        yield f'<line class="casing" {ends}/><line class="line {kind(name)}" {ends}/>'
    for _, (point,) in _pieces(diagram, range(1, 2)):
        yield f'<path class="star" d="{_star(place(point), 13)}"/>'


def _star(center: Pixel, radius: float) -> str:
    turns = [(i / (2 * TIPS) * FULL_CIRCLE, radius * (0.42 if i % 2 else 1)) for i in range(2 * TIPS)]
    return "M" + "L".join(f"{center[0] + r * sin(t):.1f} {center[1] - r * cos(t):.1f}" for t, r in turns) + "Z"


def _axes() -> Iterator[str]:
    (west, east), (south, north) = WINDOW
    (left, top), (right, bottom) = place((west, north)), place((east, south))
    for half in range(-1, 4):
        value = Fraction(half, 2)
        x, y = place((value, value))
        text = str(value).replace("-", "−")
        if west <= value <= east:
            yield f'<line class="grid" x1="{x:g}" y1="{top:g}" x2="{x:g}" y2="{bottom:g}"/>'
            yield _text("tick", x, bottom + 18, text, "middle")
        yield f'<line class="grid" x1="{left:g}" y1="{y:g}" x2="{right:g}" y2="{y:g}"/>'
        yield _text("tick", left - 7, y + 5, text, "end")
    yield f'<rect class="frame" x="{left:g}" y="{top:g}" width="{right - left:g}" height="{bottom - top:g}"/>'
    yield _text("title", (left + right) / 2, bottom + 44, f"α: block multiplier ∝ L{_power('−α')}", "middle")
    yield _turned("title", 15, (top + bottom) / 2, -90, f"γ: update ∝ L{_power('−γ')}")


def _text(kind_: str, x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text class="{kind_}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _turned(kind_: str, x: float, y: float, angle: float, text: str) -> str:
    return f'<text class="{kind_}" transform="translate({x:.1f} {y:.1f}) rotate({angle:.1f})" text-anchor="middle">{text}</text>'


def _power(text: str) -> str:
    return f'<tspan dy="-5" font-size="80%">{text}</tspan>'


def _dots(lattice: Iterable[Corner]) -> Iterator[str]:
    for x, y in map(place, lattice):
        yield f'<circle class="dot" cx="{x:g}" cy="{y:g}" r="1.8"/>'


def _words(diagram: PhaseDiagram) -> Iterator[str]:
    for lines, at in AREAS:
        x, y = place(at)
        rows = (f'<tspan x="{x:g}" y="{y + LEADING * i:g}">{line}</tspan>' for i, line in enumerate(lines))
        yield f'<text class="name" text-anchor="middle">{"".join(rows)}</text>'
    for name, (one, other) in _pieces(diagram, range(2, 3)):
        side = -1 if name == "unfaithful" else 1  # above, where there is more room
        yield _along("name", name, one, other, side)
        yield _along("meaning", _equation(one, other), one, other, -side)
    for _, (point,) in _pieces(diagram, range(1, 2)):
        x, y = place(point)
        for i, line in enumerate(("feature learning", "and diverse")):
            yield _text("name", x + 15, y - 22 + LEADING * i, line)
    x, y = place((Fraction(1, 2), Fraction(21, 16)))
    yield _turned("meaning", x - 6, y, -90, "α = 1/2")


def _along(kind_: str, text: str, one: Corner, other: Corner, side: int) -> str:
    """A text along a line, below it (1) or above (-1)."""
    (x1, y1), (x2, y2) = sorted((place(one), place(other)))
    length, away = hypot(x2 - x1, y2 - y1), BELOW if side > 0 else -ABOVE
    x, y = (x1 + x2) / 2 - away * (y2 - y1) / length, (y1 + y2) / 2 + away * (x2 - x1) / length
    return _turned(kind_, x, y, degrees(atan2(y2 - y1, x2 - x1)), text)


def _equation(one: Corner, other: Corner) -> str:
    r"""A falling line, such as $\alpha + 2\gamma = 1$."""
    slope = (one[0] - other[0]) / (other[1] - one[1])
    return f"α + {'' if slope == 1 else slope}γ = {one[0] + slope * one[1]}"
