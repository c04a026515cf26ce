"""One comparison of an affine function of exponents with zero."""

from collections.abc import Mapping
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
    >>> print(Inequality(-gamma, "<="), "|", *Inequality(-gamma, "<=").negated())
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

    def negated(self) -> "tuple[Inequality, ...]":
        """Of these exactly one holds where this does not, and none where it does."""
        if self.relation == "=":
            return Inequality(self.form, "<"), Inequality(-self.form, "<")
        return (Inequality(-self.form, "<" if self.relation == "<=" else "<="),)

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
