r"""Exact linear inequalities between exponents, and the regions they bound.

An `Inequality` compares an `Affine` with zero, a `Polyhedron` asks for several at once, and a `Condition` for one of several
polyhedra. Whether a polyhedron is empty is decided by Fourier-Motzkin elimination, in rational arithmetic, with strict
inequalities kept strict.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from limits.exponents import Affine, Exponent, Number

_FLIPPED = {"<=": ">=", "<": ">", "=": "="}
_LATEX = {"<=": r"\le", ">=": r"\ge", "<": "<", ">": ">", "=": "="}


@dataclass(frozen=True)
class Inequality:
    r"""$f \le 0$, $f < 0$ or $f = 0$ for an exact affine function $f$.

    Args:
        form: $f$.
        relation: "<=", "<" or "=".

    Raises:
        ValueError: another relation.

    >>> gamma = Affine.symbol("gamma")
    >>> print(Inequality(-gamma, "<="), "|", Inequality(-gamma, "<=").negated())
    gamma >= 0 | gamma < 0
    """

    form: Affine
    relation: str

    def __post_init__(self) -> None:
        if self.relation not in _FLIPPED:
            raise ValueError(f"a relation with zero must be one of {', '.join(_FLIPPED)}, got {self.relation!r}")

    def holds(self, point: Mapping[str, Number]) -> bool:
        """Whether it is true at a point, exactly."""
        return self._true(self.form.at(point))

    def _true(self, value: Fraction) -> bool:
        return value < 0 if self.relation == "<" else value == 0 if self.relation == "=" else value <= 0

    def negated(self) -> "Condition":
        """What holds exactly where this does not."""
        if self.relation == "=":
            return Condition.any(Inequality(self.form, "<"), Inequality(-self.form, "<"))
        return Condition.any(Inequality(-self.form, "<" if self.relation == "<=" else "<="))

    def substitute(self, values: Mapping[str, Exponent] | None = None, /, **more: Exponent) -> "Inequality":
        """Replace symbols."""
        return Inequality(self.form.substitute(values, **more), self.relation)

    def _sides(self) -> tuple[Affine, str]:
        """The form that begins without a minus sign, and its relation with zero."""
        first = self.form.constant or (self.form.terms[0][1] if self.form.terms else 0)
        return (-self.form, _FLIPPED[self.relation]) if first < 0 else (self.form, self.relation)

    def __str__(self) -> str:
        form, relation = self._sides()
        return f"{form} {relation} 0"

    def latex(self) -> str:
        r"""In LaTeX, such as $\gamma \ge 0$."""
        form, relation = self._sides()
        return f"{form.latex()} {_LATEX[relation]} 0"


@dataclass(frozen=True)
class Polyhedron:
    """The convex set of points at which several inequalities hold; all points if there are none.

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
        return not _satisfiable(self.inequalities)

    def __and__(self, other: "Polyhedron") -> "Polyhedron":
        return Polyhedron(tuple(_merged(self.inequalities + other.inequalities)))

    def without(self, other: "Polyhedron") -> "Iterator[Polyhedron]":
        """Disjoint convex pieces of the points that do not belong to `other`; empty ones are left out."""
        kept = self
        for inequality in other.inequalities:
            for piece in inequality.negated().pieces:
                if not (part := kept & piece).is_empty:
                    yield part
            kept = kept & Polyhedron((inequality,))

    def simplified(self) -> "Polyhedron":
        """The same points, with equations in place of inequalities that are always tight, and nothing superfluous."""
        kept = list(dict.fromkeys(self.inequalities))
        for i in tuple(kept):
            if i.relation == "<=" and not _satisfiable([*kept, Inequality(i.form, "<")]):
                kept[kept.index(i)] = Inequality(i.form, "=")
        kept.sort(key=lambda i: (i.relation != "=", len(i.form.terms)))
        for i in reversed(kept):
            others = [other for other in kept if other is not i]
            if all(not _satisfiable([*others, *piece.inequalities]) for piece in i.negated().pieces):
                kept = others
        return Polyhedron(tuple(kept))

    def substitute(self, values: Mapping[str, Exponent] | None = None, /, **more: Exponent) -> "Polyhedron":
        """Replace symbols."""
        return Polyhedron(tuple(i.substitute(values, **more) for i in self.inequalities))

    def __str__(self) -> str:
        return " and ".join(map(str, self.inequalities)) or "always"

    def latex(self) -> str:
        r"""In LaTeX, joined by $\land$."""
        return r" \;\land\; ".join(i.latex() for i in self.inequalities) or r"\top"


@dataclass(frozen=True)
class Condition:
    """One of several polyhedra: what a verdict asks of the exponents.

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
            result = result & Condition(tuple(p for i in piece.inequalities for p in i.negated().pieces))
        return result

    def simplified(self) -> "Condition":
        """The same, without empty pieces and superfluous inequalities."""
        return Condition(tuple(piece.simplified() for piece in self.pieces if not piece.is_empty))

    def substitute(self, values: Mapping[str, Exponent] | None = None, /, **more: Exponent) -> "Condition":
        """Replace symbols."""
        return Condition(tuple(piece.substitute(values, **more) for piece in self.pieces))

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


def _satisfiable(inequalities: Iterable[Inequality]) -> bool:
    """Whether a point satisfies all, by elimination of one symbol after another."""
    left = list(dict.fromkeys(inequalities))
    while symbolic := [i for i in left if not i.form.is_constant]:
        if not all(i._true(i.form.constant) for i in left if i.form.is_constant):
            return False
        equation = next((i for i in symbolic if i.relation == "="), None)
        left = _substituted(symbolic, equation) if equation else _eliminated(symbolic, symbolic[0].form.symbols[0])
    return all(i._true(i.form.constant) for i in left)


def _substituted(inequalities: list[Inequality], equation: Inequality) -> list[Inequality]:
    name, coefficient = equation.form.terms[-1]
    solution = Affine.symbol(name) - equation.form / coefficient
    return list(dict.fromkeys(i.substitute({name: solution}) for i in inequalities if i is not equation))


def _eliminated(inequalities: list[Inequality], name: str) -> list[Inequality]:
    """Every upper bound on a symbol is above every lower one."""
    sizes = [(i, i.form.coefficient(name)) for i in inequalities]
    free = [i for i, c in sizes if c == 0]
    upper = [(i.form / c, i.relation) for i, c in sizes if c > 0]
    lower = [(i.form / -c, i.relation) for i, c in sizes if c < 0]
    pairs = (Inequality(a + b, "<" if "<" in (r, s) else "<=") for a, r in upper for b, s in lower)
    return list(dict.fromkeys([*free, *pairs]))
