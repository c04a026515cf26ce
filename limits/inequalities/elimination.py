r"""Systems of affine equations and inequalities over the rationals: a point, or a proof that there is none.

Fourier-Motzkin elimination. Equations are solved first. An inequality that bounds a symbol from below and one that bounds it
from above add up to one without it; when no symbol is left, a false inequality between numbers remains if and only if the
system has no solution. Every row carries the multipliers that made it out of the given ones, so that the false one is its own
proof (Farkas; with strict inequalities, Motzkin), and going back through the eliminated symbols gives a solution. Combinations
of $r$ inequalities matter only if no combination of some of the $r$ eliminates as much (Kohler), which keeps nine symbols and
twenty inequalities a matter of milliseconds to seconds.

A library is not simpler here. sympy's simplex gets systems like these wrong, a solver in floating point proves nothing, and
none of them returns both the multipliers and a point *inside* the solutions that is short to write. Points and proofs are
checked by exact arithmetic before they are returned, by code that knows nothing of how they were found.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import floor, gcd, lcm

from limits.inequalities.certificate import Certificate, Constraint
from limits.inequalities.inequality import Inequality

Row = tuple[int, ...]
"""Coefficients of the symbols, the constant, and the multipliers of the given constraints."""
Point = dict[str, Fraction]


def decide(constraints: Iterable[Inequality], symbols: Iterable[str] = ()) -> Point | Certificate:
    """A point in the relative interior of the solutions, or a certificate that there are none.

    Whatever holds with equality at the point does so at every solution. Coordinates are as short to write as their order of
    elimination allows.

    Args:
        constraints: what must hold.
        symbols: what the point must name beyond the symbols that occur, and in which order.

    >>> from limits.exponents import Affine
    >>> x, y = Affine.symbol("x"), Affine.symbol("y")
    >>> system = [Constraint(x + y - 1, "="), Constraint(-x, "<="), Constraint(-y, "<")]
    >>> {name: str(value) for name, value in decide(system).items()}
    {'x': '1/2', 'y': '1/2'}
    >>> print(decide([*system, Constraint(1 - x, "<=")]))
    1 times  -1 + x + y = 0
    1 times  -y < 0
    1 times  1 - x <= 0
    add up to  0 < 0
    """
    given = tuple(constraints)
    names = tuple(dict.fromkeys([*symbols, *(s for c in given for s in c.form.symbols)]))
    found = _Elimination(given, names).answer()
    if isinstance(found, Certificate):
        if not found.holds():
            raise ArithmeticError(f"the elimination returned multipliers that prove nothing:\n{found}")
    elif broken := [c for c in given if not c.holds(found)]:
        raise ArithmeticError(f"the elimination returned a point at which this is false: {broken[0]}")
    return found


def implied(inequalities: Iterable[Inequality], consequence: Inequality) -> bool:
    """Whether an inequality holds wherever the others do."""
    given = tuple(inequalities)
    return all(isinstance(decide((*given, way)), Certificate) for way in consequence.negated())


class _Elimination:
    """Rows `(a_1 … a_n, a_0, multipliers)` of integers, and the symbols removed from them so far."""

    def __init__(self, given: tuple[Inequality, ...], names: tuple[str, ...]) -> None:
        self.given, self.names, self.n = given, names, len(names)
        self.left = list(range(self.n))
        self.removed: list[tuple[int, list[Row], list[Row]]] = []
        rows = [self._row(i) for i in range(len(given))]
        self.equations = [r for r, c in zip(rows, given, strict=True) if c.relation == "="]
        self.inequalities = [r for r, c in zip(rows, given, strict=True) if c.relation != "="]
        self.bounding = [i for i, c in enumerate(given, self.n + 1) if c.relation != "="]
        self.strict = [i for i, c in enumerate(given, self.n + 1) if c.relation == "<"]

    def _row(self, i: int) -> Row:
        terms = dict(self.given[i].form.terms)
        values = [*(terms.get(name, Fraction(0)) for name in self.names), self.given[i].form.constant]
        scale = lcm(*(v.denominator for v in values))
        return _primitive(
            [*(v.numerator * (scale // v.denominator) for v in values), *(scale * (i == j) for j in range(len(self.given)))]
        )

    def answer(self) -> Point | Certificate:
        while self.equations:
            pivot = self.equations.pop()
            columns = [j for j in range(self.n) if pivot[j]]
            if columns:
                self._solve(pivot, columns[-1])
            elif pivot[self.n]:
                return self._certificate(pivot if pivot[self.n] > 0 else tuple(-v for v in pivot))
        while not (false := [r for r in self.inequalities if self._false(r)]):
            if not self.left:
                return self._point()
            self._remove(min(reversed(self.left), key=self._growth))
        return self._certificate(min(false, key=lambda row: sum(map(bool, row))))

    def _solve(self, pivot: Row, j: int) -> None:
        """Put into every other row what an equation says symbol j is."""
        self.left.remove(j)
        self.removed.append((j, [pivot], [pivot]))
        self.equations = [_clear(r, pivot, j) for r in self.equations]
        self.inequalities = [_clear(r, pivot, j) for r in self.inequalities]

    def _remove(self, j: int) -> None:
        """Keep what the inequalities say about the symbols other than j."""
        below, above = [r for r in self.inequalities if r[j] < 0], [r for r in self.inequalities if r[j] > 0]
        self.left.remove(j)
        self.removed.append((j, below, above))
        sums = [_primitive([u * -q[j] + v * p[j] for u, v in zip(p, q, strict=True)]) for p in above for q in below]
        self.inequalities = self._essential([*(r for r in self.inequalities if not r[j]), *sums])

    def _growth(self, j: int) -> int:
        above, below = sum(r[j] > 0 for r in self.inequalities), sum(r[j] < 0 for r in self.inequalities)
        return above * below - above - below

    def _essential(self, rows: list[Row]) -> list[Row]:
        """The rows that need a minimal set of the given inequalities."""
        needs: dict[int, Row] = {}
        for row in rows:
            needs.setdefault(sum(1 << i for i in self.bounding if row[i]), row)
        kept: list[int] = []
        for need in sorted(needs, key=int.bit_count):
            if not any(need & k == k for k in kept):
                kept.append(need)
        return [needs[k] for k in kept]

    def _is_strict(self, row: Row) -> bool:
        return any(row[i] for i in self.strict)

    def _false(self, row: Row) -> bool:
        return not any(row[: self.n]) and (row[self.n] > 0 or (row[self.n] == 0 and self._is_strict(row)))

    def _certificate(self, row: Row) -> Certificate:
        common = gcd(*row[self.n + 1 :])
        used = ((Fraction(m, common), c) for m, c in zip(row[self.n + 1 :], self.given, strict=True) if m)
        return Certificate(tuple((m, c if isinstance(c, Constraint) else Constraint(c.form, c.relation)) for m, c in used))

    def _point(self) -> Point:
        x: dict[int, Fraction] = {}

        def bound(row: Row, j: int) -> Fraction:
            return -sum((row[i] * v for i, v in x.items()), Fraction(row[self.n])) / row[j]

        for j, below, above in reversed(self.removed):
            low = max((bound(r, j) for r in below), default=None)
            high = min((bound(r, j) for r in above), default=None)
            x[j] = low if low is not None and low == high else between(low, high)
        return {name: x[j] for j, name in enumerate(self.names)}


def _primitive(values: Sequence[int]) -> Row:
    common = gcd(*values) or 1
    return tuple(v // common for v in values)


def _clear(row: Row, pivot: Row, j: int) -> Row:
    """The row plus a multiple of an equation, without symbol j."""
    if not row[j]:
        return row
    scale, sign = abs(pivot[j]), (pivot[j] > 0) - (pivot[j] < 0)
    return _primitive([scale * u - sign * row[j] * v for u, v in zip(row, pivot, strict=True)])


def between(low: Fraction | None, high: Fraction | None) -> Fraction:
    """The number strictly between two that is shortest to write: of least denominator, then nearest to zero; None is infinite.

    >>> print(between(Fraction(1, 2), Fraction(1)), between(Fraction(1, 2), None), between(None, Fraction(-1, 2)))
    2/3 1 -1
    """
    if (low is None or low < 0) and (high is None or high > 0):
        return Fraction(0)
    if low is None or low < 0:
        return -between(-high if high is not None else None, -low if low is not None else None)
    whole = floor(low)
    if high is None or whole + 1 < high:
        return Fraction(whole + 1)
    return whole + 1 / between(1 / (high - whole), 1 / (low - whole) if low > whole else None)
