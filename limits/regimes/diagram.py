r"""The regimes as a partition of the $(\alpha, \gamma)$ plane into convex pieces (TP6, Figure 1)."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

from limits.exponents import Affine
from limits.inequalities import Condition, Polyhedron
from limits.markup import listed, table
from limits.parametrization import Exact, exact
from limits.regimes.criteria import conditions

Corner = tuple[Fraction, Fraction]
Box = tuple[tuple[Exact, Exact], tuple[Exact, Exact]]


class Region(NamedTuple):
    """A regime and the disjoint convex pieces of the plane where it holds."""

    name: str
    pieces: tuple[Polyhedron, ...]

    def __repr__(self) -> str:
        return listed("Region", [f"{self.name}: {Condition(self.pieces)}"])

    def __str__(self) -> str:
        return "\n".join([self.name, *(f"  {piece}" for piece in self.pieces)])


@dataclass(frozen=True)
class PhaseDiagram:
    r"""Regions of the $(\alpha, \gamma)$ plane, for blocks of `block_depth` layers with one $\gamma$ and $\beta = 0$.

    Printing it prints the inequalities.

    >>> phase_diagram()
    PhaseDiagram(block_depth=1, unstable at initialization, unstable during training, trivial, unfaithful, redundant,
        feature learning and diverse)

    Attributes:
        block_depth: k, layers in a block.
        regions: pairs (name, convex pieces as exact inequalities); every point belongs to exactly one piece.
    """

    block_depth: int
    regions: tuple[Region, ...]

    def region(self, alpha: Exact, gamma: Exact) -> str:
        """The name of the regime at a point.

        >>> phase_diagram().region("3/4", "1/4")
        'redundant'
        """
        point = {"alpha": exact(alpha, "alpha"), "gamma": exact(gamma, "gamma")}
        return next(name for name, pieces in self.regions if any(piece.holds(point) for piece in pieces))

    def __repr__(self) -> str:
        return listed("PhaseDiagram", [f"block_depth={self.block_depth}", *(name for name, _ in self.regions)])

    def __str__(self) -> str:
        return "\n".join(map(str, self.regions))

    def _repr_markdown_(self) -> str:
        return table([(name, f"${Condition(pieces).latex()}$") for name, pieces in self.regions], head=("regime", "exponents"))

    def _repr_svg_(self) -> str:
        return picture(self)

    def to_json(self) -> dict[str, Any]:
        """The regions and their inequalities, in terms of JSON."""
        regions = [{"name": name, "pieces": [[str(i) for i in p.inequalities] for p in pieces]} for name, pieces in self.regions]
        return {"block_depth": self.block_depth, "regions": regions}


def phase_diagram(*, block_depth: int = 1) -> PhaseDiagram:
    r"""The regimes of all exponents $(\alpha, \gamma)$, as exact pieces of the plane.

    A point belongs to the first regime that applies, in the order of `Regime.name`; the pieces are cut from the
    `conditions` of the verdicts, so they are disjoint and cover the plane.

    Args:
        block_depth: $k$, layers in a block; all share one $\gamma$.

    Raises:
        ValueError: a block depth that is no whole number between 1 and 12.

    Source: TP6, Figure 1, for $k = 1$.

    >>> print(phase_diagram())
    unstable at initialization
      1/2 - alpha > 0
    unstable during training
      1/2 - alpha <= 0 and 1 - alpha - gamma > 0
    trivial
      1/2 - alpha <= 0 and 1 - alpha - gamma < 0
    unfaithful
      1 - alpha - gamma = 0 and gamma < 0
    redundant
      1 - alpha - gamma = 0 and gamma >= 0 and 1/2 - alpha < 0
    feature learning and diverse
      1/2 - alpha = 0 and 1 - alpha - gamma = 0
    """
    asked = {name: c.substitute(beta=0).simplified() for name, c in conditions(block_depth=block_depth).items()}
    regimes = {
        "unstable at initialization": asked["stable_at_initialization"].negated(),
        "unstable during training": asked["stable_during_training"].negated(),
        "trivial": asked["nontrivial"].negated(),
        "unfaithful": asked["faithful_during_training"].negated(),
        "redundant": asked["redundant"],
        "feature learning and diverse": asked["diverse"],
    }
    regions, left = [], [Polyhedron()]
    for name, condition in regimes.items():
        found, left = _cut(left, condition)
        regions.append(Region(name, tuple(piece.simplified() for piece in found)))
    if left:
        raise AssertionError(f"the regimes do not cover {left[0]}")
    return PhaseDiagram(block_depth, tuple(regions))


def _cut(pieces: list[Polyhedron], condition: Condition) -> tuple[list[Polyhedron], list[Polyhedron]]:
    """What of some disjoint pieces satisfies a condition, and what does not, again in disjoint pieces."""
    inside: list[Polyhedron] = []
    for part in condition.pieces:
        inside += [both for piece in pieces if not (both := piece & part).is_empty]
        pieces = [rest for piece in pieces for rest in piece.without(part)]
    return inside, pieces


def corners(piece: Polyhedron, box: Box) -> tuple[Corner, ...]:
    r"""The vertices of a piece's closure inside a box of the $(\alpha, \gamma)$ plane, in order around it, exactly.

    A polygon has three or more, a segment two, a point one, and what lies outside none.

    Args:
        piece: inequalities in alpha and gamma.
        box: the ranges of alpha and of gamma.

    >>> trivial = phase_diagram().regions[2].pieces[0]
    >>> [(str(alpha), str(gamma)) for alpha, gamma in corners(trivial, ((0, 1), (0, 1)))]
    [('1', '0'), ('1', '1'), ('1/2', '1'), ('1/2', '1/2')]
    """
    (west, east), (south, north) = ((exact(v, "box") for v in side) for side in box)
    polygon = [(west, south), (east, south), (east, north), (west, north)]
    for inequality in piece.inequalities:
        polygon = list(_clipped(polygon, inequality.form))
        if inequality.relation == "=":
            polygon = list(_clipped(polygon, -inequality.form))
    return tuple(dict.fromkeys(polygon))


def _clipped(polygon: list[Corner], form: Affine) -> Iterator[Corner]:
    """The part of a polygon where a form is at most zero."""
    values = [form.at({"alpha": a, "gamma": g}) for a, g in polygon]
    for (p, v), (q, w) in pairwise([*zip(polygon, values, strict=True), *zip(polygon[:1], values[:1], strict=True)]):
        if v <= 0:
            yield p
        if v * w < 0:
            t = v / (v - w)
            yield (p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1]))


PLANE: Box = ((Fraction(0), Fraction(3, 2)), (Fraction(-1, 2), Fraction(1)))
"""What a small picture shows."""
FILLS = ("url(#limits-hatch)", "#c4c4c4", "#eeeeee", "#777777", "#404040", "#000000")
"""What the regions are drawn with, in their order: a hatch and two greys for areas, two lines, the first dashed, and a point."""
HATCH = (
    '<defs><pattern id="limits-hatch" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="8" height="8" fill="#ffffff"/><rect width="2" height="8" fill="#808080"/></pattern></defs>'
)
MARGIN = 10


def picture(diagram: PhaseDiagram, size: int = 300) -> str:
    """The plane as an SVG picture, on white whatever the page around it; hovering over a region tells its name."""
    (west, east), (south, north) = ((exact(v, "side") for v in side) for side in PLANE)

    def place(corner: Corner) -> str:
        alpha, gamma = corner
        return f"{float((alpha - west) / (east - west)) * size:.1f},{float((north - gamma) / (north - south)) * size:.1f}"

    def shape(name: str, piece: Polyhedron, fill: str) -> str:
        found = corners(piece, PLANE)
        points = " ".join(map(place, found if len(found) > 1 else 2 * found))
        width = {1: 9, 2: 5}.get(len(found), 0)  # lines and points are drawn by their outline
        style = f'fill="{fill}" stroke="{fill}" stroke-width="{width}"'
        style += ' stroke-dasharray="7 5"' if name == "unfaithful" else ' stroke-linecap="round"'
        return f'<polygon points="{points}" {style}><title>{name}</title></polygon>'

    label = f"phase diagram, {diagram.block_depth} layers in a block: alpha to the right, gamma up"
    named = list(zip([name for name, _ in diagram.regions], FILLS, strict=True))
    rows = [(size + 22 + 18 * i, name, fill) for i, (name, fill) in enumerate(named)]
    keys = [_key(name, fill, y) for y, name, fill in rows]
    foot = rows[-1][0] + 20
    texts = [
        _text(0, foot, f"α from {west} to {east} →, γ from {south} to {north} ↑"),
        *(_text(24, y, name) for y, name, _ in rows),
    ]
    wide, high = size + 2 * MARGIN, foot + 2 * MARGIN
    view = f'width="{wide}" height="{high}" viewBox="{-MARGIN} {-MARGIN} {wide} {high}" font-family="sans-serif"'
    paper = f'<rect x="{-MARGIN}" y="{-MARGIN}" width="{wide}" height="{high}" fill="#ffffff"/>'
    shapes = [shape(name, p, fill) for (name, pieces), fill in zip(diagram.regions, FILLS, strict=True) for p in pieces]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{label}" {view}>'
    return "\n".join([head, HATCH, paper, *shapes, *keys, *texts, "</svg>"])


def _key(name: str, fill: str, y: int) -> str:
    """What a region looks like, beside its name."""
    if fill in FILLS[:3]:
        return f'<rect x="0" y="{y - 11}" width="16" height="13" fill="{fill}" stroke="#808080" stroke-width="0.5"/>'
    if fill == FILLS[-1]:
        return f'<circle cx="8" cy="{y - 4}" r="4.5" fill="{fill}"/>'
    dashes = ' stroke-dasharray="6 4"' if name == "unfaithful" else ""
    return f'<path d="M0 {y - 4}H16" stroke="{fill}" stroke-width="5"{dashes}/>'


def _text(x: int, y: int, words: str) -> str:
    return f'<text x="{x}" y="{y}" font-size="12" fill="#000000">{words}</text>'
