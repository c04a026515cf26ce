"""Inequalities with a meaning, and multipliers that prove that several of them cannot hold together."""

from dataclasses import dataclass
from fractions import Fraction

from limits.exponents import Affine
from limits.inequalities.inequality import Inequality
from limits.markup import listed


@dataclass(frozen=True)
class Constraint(Inequality):
    """An inequality, or equation, with what it means.

    Args:
        meaning: in words.

    >>> alpha = Affine.symbol("alpha")
    >>> print(Constraint("1/2" - alpha, "<=", "stable at initialization"))
    stable at initialization: 1/2 - alpha <= 0
    """

    meaning: str = ""

    @property
    def claim(self) -> str:
        """The comparison alone, the other side being zero."""
        return f"{self.form} {self.relation} 0"

    def __str__(self) -> str:
        return f"{self.meaning}: {self.claim}" if self.meaning else self.claim


@dataclass(frozen=True)
class Certificate:
    r"""Multipliers $\lambda_i$ with which constraints add up to a false statement about numbers.

    $$\sum_i \lambda_i f_i = c, \qquad \lambda_i \ge 0 \text{ for } f_i \le 0 \text{ and } f_i < 0,$$

    of any sign for $f_i = 0$. Where all constraints hold, $c \le 0$, and $c < 0$ if a strict one takes part; so they cannot all
    hold if $c > 0$, or if $c = 0$ and a strict one takes part.

    Args:
        terms: pairs (multiplier, constraint).
        branch: the alternatives chosen in disjunctions so far: the way to meet them that this refutes.

    >>> x = Affine.symbol("x")
    >>> certificate = Certificate(((Fraction(1), Constraint(x, "<=")), (Fraction(1), Constraint(1 - x, "<="))))
    >>> certificate.holds()
    True
    >>> print(certificate)
    1 times  x <= 0
    1 times  1 - x <= 0
    add up to  1 <= 0
    """

    terms: tuple[tuple[Fraction, Constraint], ...]
    branch: tuple[Constraint, ...] = ()

    @property
    def total(self) -> Affine:
        """The sum of the multiplied functions; a number, if this is a proof."""
        return sum((constraint.form * multiplier for multiplier, constraint in self.terms), Affine())

    @property
    def relation(self) -> str:
        """How the sum compares with zero where all constraints hold."""
        used = {constraint.relation for multiplier, constraint in self.terms if multiplier}
        return next((r for r in ("<", "<=") if r in used), "=")

    @property
    def claim(self) -> str:
        """The false statement."""
        return f"{self.total} {self.relation} 0"

    def holds(self) -> bool:
        """Add up again: whether the multipliers have the right signs and the statement is one about numbers, and false."""
        if any(multiplier < 0 and constraint.relation != "=" for multiplier, constraint in self.terms):
            return False
        total = self.total
        return total.is_constant and not Inequality(total, self.relation).holds({})

    def __repr__(self) -> str:
        return listed("Certificate", [f"{len(self.terms)} constraints add up to {self.claim}"])

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The proof, a constraint per line."""
        times = [str(multiplier) for multiplier, _ in self.terms]
        meanings = [c.meaning + ": " * bool(c.meaning) for _, c in self.terms]
        right, left = max(map(len, times), default=0), max(map(len, meanings), default=0)
        rows = [f"{t:>{right}} times  {m:<{left}}{c.claim}" for t, m, (_, c) in zip(times, meanings, self.terms, strict=True)]
        return [*rows, f"add up to  {self.claim}"]
