"""Regions: what several inequalities bound together, and unions of such."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from limits.exponents import Exponent, Number
from limits.inequalities.certificate import Certificate
from limits.inequalities.elimination import decide, implied
from limits.inequalities.inequality import Inequality
from limits.markup import listed


@dataclass(frozen=True)
class Polyhedron:
    """The convex set of points at which several inequalities hold; all points if there are none.

    >>> from limits.exponents import Affine
    >>> alpha, gamma = Affine.symbol("alpha"), Affine.symbol("gamma")
    >>> wedge = Polyhedron((Inequality(1 - alpha - gamma, "<="), Inequality(gamma, "<="), Inequality(alpha - 1, "<=")))
    >>> print(wedge.simplified())
    gamma = 0 and 1 - alpha = 0
    >>> wedge.holds({"alpha": 1, "gamma": 0}), wedge.is_empty
    (True, False)
    """

    inequalities: tuple[Inequality, ...] = ()

    def holds(self, point: Mapping[str, Number]) -> bool:
        """Whether a point belongs to it, exactly."""
        return all(i.holds(point) for i in self.inequalities)

    @property
    def is_empty(self) -> bool:
        """Whether no point belongs to it."""
        return isinstance(decide(self.inequalities), Certificate)

    def within(self, other: "Polyhedron") -> bool:
        """Whether every point of it belongs to another."""
        return all(i in self.inequalities or implied(self.inequalities, i) for i in other.inequalities)

    def __and__(self, other: "Polyhedron") -> "Polyhedron":
        return Polyhedron(tuple(_merged(self.inequalities + other.inequalities)))

    def without(self, other: "Polyhedron") -> "Iterator[Polyhedron]":
        """Disjoint convex pieces of the points that do not belong to `other`; empty ones are left out."""
        kept = self
        for inequality in other.inequalities:
            for way in inequality.negated():
                if not (part := kept & Polyhedron((way,))).is_empty:
                    yield part
            kept = kept & Polyhedron((inequality,))

    def simplified(self) -> "Polyhedron":
        """The same points, with equations in place of inequalities that are always tight, and nothing superfluous."""
        kept = list(dict.fromkeys(self.inequalities))
        for i in tuple(kept):
            if i.relation == "<=" and implied(kept, Inequality(-i.form, "<=")):
                kept[kept.index(i)] = Inequality(i.form, "=")
        kept.sort(key=lambda i: (i.relation != "=", len(i.form.terms)))
        for i in reversed(kept):
            others = [other for other in kept if other is not i]
            if implied(others, i):
                kept = others
        return Polyhedron(tuple(kept))

    def substitute(self, values: Mapping[str, Exponent] | None = None, /, **more: Exponent) -> "Polyhedron":
        """Replace symbols."""
        return Polyhedron(tuple(i.substitute(values, **more) for i in self.inequalities))

    def __repr__(self) -> str:
        return listed("Polyhedron", [str(self)])

    def __str__(self) -> str:
        return " and ".join(map(str, self.inequalities)) or "always"

    def latex(self) -> str:
        r"""In LaTeX, joined by $\land$."""
        return r" \;\land\; ".join(i.latex() for i in self.inequalities) or r"\top"


@dataclass(frozen=True)
class Condition:
    """One of several polyhedra: what a verdict asks of the exponents.

    >>> from limits.exponents import Affine
    >>> alpha, gamma = Affine.symbol("alpha"), Affine.symbol("gamma")
    >>> stable = Condition.all(Inequality("1/2" - alpha, "<="), Inequality(1 - alpha - gamma, "<="))
    >>> print(stable)
    1/2 - alpha <= 0 and 1 - alpha - gamma <= 0
    >>> print(stable.negated())
    1/2 - alpha > 0 or 1 - alpha - gamma > 0
    >>> stable.holds({"alpha": "1/2", "gamma": "1/4"})
    False
    """

    pieces: tuple[Polyhedron, ...]

    @classmethod
    def all(cls, *inequalities: Inequality) -> "Condition":
        """Every inequality holds."""
        return cls((Polyhedron(inequalities),))

    @classmethod
    def any(cls, *inequalities: Inequality) -> "Condition":
        """At least one inequality holds."""
        return cls(tuple(Polyhedron((i,)) for i in inequalities))

    def holds(self, point: Mapping[str, Number]) -> bool:
        """Whether it is true at a point, exactly."""
        return any(piece.holds(point) for piece in self.pieces)

    def __and__(self, other: "Condition") -> "Condition":
        return Condition(tuple(a & b for a in self.pieces for b in other.pieces))

    def __or__(self, other: "Condition") -> "Condition":
        return Condition(self.pieces + other.pieces)

    def negated(self) -> "Condition":
        """What holds exactly where this does not."""
        result = Condition((Polyhedron(),))
        for piece in self.pieces:
            result = result & Condition.any(*(way for i in piece.inequalities for way in i.negated()))
        return result

    def simplified(self) -> "Condition":
        """The same, without empty pieces, pieces within others, and superfluous inequalities."""
        kept: list[Polyhedron] = []
        for piece in (piece.simplified() for piece in self.pieces if not piece.is_empty):
            if not any(piece.within(other) for other in kept):
                kept = [*(other for other in kept if not other.within(piece)), piece]
        return Condition(tuple(kept))

    def substitute(self, values: Mapping[str, Exponent] | None = None, /, **more: Exponent) -> "Condition":
        """Replace symbols."""
        return Condition(tuple(piece.substitute(values, **more) for piece in self.pieces))

    def __repr__(self) -> str:
        return listed("Condition", [str(self)])

    def __str__(self) -> str:
        several = len(self.pieces) > 1
        said = (f"({p})" if several and len(p.inequalities) > 1 else str(p) for p in self.pieces)
        return " or ".join(said) or "never"

    def latex(self) -> str:
        r"""In LaTeX, joined by $\lor$."""
        several = len(self.pieces) > 1
        said = (f"({p.latex()})" if several and len(p.inequalities) > 1 else p.latex() for p in self.pieces)
        return r" \;\lor\; ".join(said) or r"\bot"


def _merged(inequalities: Iterable[Inequality]) -> Iterator[Inequality]:
    """Without repetition, and with an equation for a function that is at most and at least zero."""
    given = dict.fromkeys(inequalities)
    tight = {i for i in given if i.relation == "<=" and Inequality(-i.form, "<=") in given}
    merged = dict.fromkeys(Inequality(i._sides()[0], "=") if i in tight else i for i in given)
    yield from (i for i in merged if i.relation != "<=" or not {Inequality(i.form, r) for r in "<="} & merged.keys())
