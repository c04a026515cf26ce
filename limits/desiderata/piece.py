"""The solutions of one system of constraints, described without anything superfluous."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from limits.exponents import Affine
from limits.inequalities import Certificate, Inequality, Point, decide, implied
from limits.markup import listed


@dataclass(frozen=True)
class Piece:
    """A nonempty convex set of exponents: what some are in terms of the others, and bounds on those.

    No inequality follows from the others, and none holds with equality everywhere.

    Args:
        equations: pairs (symbol, what it equals in terms of symbols that are no first member).
        inequalities: in these other symbols.
        point: one in the relative interior, naming every symbol.

    >>> alpha, gamma = Affine.symbol("alpha"), Affine.symbol("gamma")
    >>> update = Inequality(1 - alpha - gamma, "="), Inequality(-gamma, "<="), Inequality("1/2" - alpha, "<=")
    >>> segment = piece([*update, Inequality(alpha - 3, "<=")], ("alpha", "gamma"))
    >>> print(segment, "| dimension", segment.dimension)
    gamma = 1 - alpha, 1/2 <= alpha <= 1 | dimension 1
    """

    equations: tuple[tuple[str, Affine], ...]
    inequalities: tuple[Inequality, ...]
    point: Point = field(hash=False)

    @property
    def constraints(self) -> tuple[Inequality, ...]:
        """Equations and inequalities alike, compared with zero."""
        return *(Inequality(Affine.symbol(name) - value, "=") for name, value in self.equations), *self.inequalities

    @property
    def dimension(self) -> int:
        """How many symbols can still be chosen."""
        return len(self.point) - len(self.equations)

    def contains(self, point: Mapping[str, Fraction]) -> bool:
        """Whether all constraints hold at a point."""
        return all(point[name] == value.at(point) for name, value in self.equations) and all(
            c.holds(point) for c in self.inequalities
        )

    def within(self, other: "Piece") -> bool:
        """Whether every point of this one belongs to another."""
        return other.contains(self.point) and all(implied(self.constraints, c) for c in other.constraints)

    def __repr__(self) -> str:
        return listed("Piece", [str(self)])

    def __str__(self) -> str:
        bounds: dict[Affine, list[Inequality]] = {}
        for c in self.inequalities:
            bounds.setdefault(_direction(c.form), []).append(c)
        said = [*(f"{name} = {value}" for name, value in self.equations), *(_interval(*item) for item in bounds.items())]
        return ", ".join(said) or "no condition"


def piece(constraints: Sequence[Inequality], symbols: Sequence[str]) -> Piece | Certificate:
    """The points at which all constraints hold, or a certificate that there are none.

    Of the symbols that an equation ties together, the last is given in terms of the others.
    """
    point = decide(constraints, symbols)
    if isinstance(point, Certificate):
        return point
    solved = solve_equations([c.form for c in constraints if c.form.at(point) == 0], symbols)
    reduced = {_scaled(c.form.substitute(solved), c.relation) for c in constraints if c.form.at(point) != 0}
    kept = sorted((c for c in reduced if not c.form.is_constant), key=lambda c: (len(c.form.terms), str(c)))
    for c in tuple(kept):
        others = [other for other in kept if other != c]
        if implied(others, c):
            kept = others
    named = Affine(terms=tuple((name, Fraction(1)) for name in solved)).symbols
    return Piece(tuple((name, solved[name]) for name in named), tuple(kept), point)


def solve_equations(forms: Iterable[Affine], symbols: Sequence[str]) -> dict[str, Affine]:
    """What the vanishing of affine functions says some symbols are, in terms of those that come before them.

    >>> x, y, z = (Affine.symbol(name) for name in "xyz")
    >>> {name: str(value) for name, value in solve_equations([x + y - 1, y - z, x + z - 1], "xyz").items()}
    {'y': '1 - x', 'z': '1 - x'}
    """
    solved: dict[str, Affine] = {}
    for form in forms:
        left = form.substitute(solved)
        if left.is_constant:
            continue
        name = max(left.symbols, key=symbols.index)
        new = {name: Affine.symbol(name) - left / left.coefficient(name)}
        solved = {n: value.substitute(new) for n, value in solved.items()} | new
    return solved


def _scaled(form: Affine, relation: str) -> Inequality:
    """The same inequality with a leading coefficient of one or minus one."""
    return Inequality(form / abs(form.terms[0][1]) if form.terms else form, relation)


def _direction(form: Affine) -> Affine:
    """What a form bounds: its part without constant, beginning with a positive term."""
    linear = form - form.constant
    return linear if linear.terms[0][1] > 0 else -linear


def _interval(direction: Affine, bounds: Sequence[Inequality]) -> str:
    """`low <= direction <= high`."""
    low = [c for c in bounds if c.form.coefficient(direction.symbols[0]) < 0]
    high = [c for c in bounds if c not in low]
    if not high:
        return f"{direction} {low[0].relation.replace('<', '>')} {low[0].form.constant}"
    left = f"{low[0].form.constant} {low[0].relation} " if low else ""
    return f"{left}{direction} {high[0].relation} {-high[0].form.constant}"
