"""What a derivation is made of: claims, their steps, and the check that repeats every step by machine.

A step is a frozen value that knows how it reads and how it is verified. `Let` defines a symbol or a function; every other
step is verified after the definitions of its claim, and of the claims it uses, have been put in. Identities are verified by
exact simplification, contradictions by rational arithmetic, and only `Numbers` compares floats.
"""

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import sympy as sp
from writing import Latex, Page, Text, Writer, plain

STATUSES = ("proved", "heuristic", "cited")


class StepError(AssertionError):
    """A step that its own verification rejects."""


def vanishes(expression: sp.Expr) -> bool:
    """Whether simplification turns an expression into zero; numbers can refute it, and never prove it."""
    value = sp.sympify(expression).doit()
    if _refuted(value):
        return False
    forms = (
        lambda e: e,
        sp.expand,
        lambda e: sp.powsimp(sp.expand(e)),
        lambda e: sp.factor(sp.expand_power_exp(sp.expand(e))),
        lambda e: sp.simplify(sp.expand_power_exp(e)),
        sp.simplify,
    )
    return any(form(value) == 0 for form in forms)


def _refuted(value: sp.Expr) -> bool:
    """Whether an expression is clearly not zero at one exact point."""
    if not value.is_commutative or value.has(sp.core.function.AppliedUndef, sp.Limit, sp.Integral, sp.MatrixBase):
        return False
    symbols = sorted(value.free_symbols, key=str)
    point = {x: sp.Integer(n + 2) if x.is_integer else sp.Rational(2 * n + 5, 7) for n, x in enumerate(symbols)}
    number = value.subs(point).evalf(30)
    return bool(number.is_number and number.is_finite and abs(number) > 1e-12)


@dataclass(frozen=True)
class Say:
    """Prose; `$...$` holds TeX."""

    text: str

    def verify(self, known: "Definitions") -> None:
        """Nothing to verify."""

    def lines(self, out: Writer) -> list[str]:
        return out.prose(self.text)


@dataclass(frozen=True)
class Cited(Say):
    """What is taken from the literature, with its source."""

    def lines(self, out: Writer) -> list[str]:
        return out.prose(f"(Cited.) {self.text}")


@dataclass(frozen=True)
class Given:
    """An equation of the model: it says what the symbols mean, and steps that follow hold it to account."""

    left: sp.Expr
    right: sp.Expr

    def verify(self, known: "Definitions") -> None:
        """Nothing to verify."""

    def lines(self, out: Writer) -> list[str]:
        return out.equation((self.left, self.right))


@dataclass(frozen=True)
class Let:
    """A definition `symbol = value` or `function(arguments) = value`; steps that use it fail if it is altered."""

    symbol: sp.Expr
    value: sp.Expr

    def verify(self, known: "Definitions") -> None:
        """Nothing to verify: the steps that use it are."""

    def lines(self, out: Writer) -> list[str]:
        return out.equation((self.symbol, self.value), sign=":=")


@dataclass(frozen=True)
class Equal:
    """A chain of equal expressions; unevaluated sums, integrals, derivatives and limits are carried out."""

    sides: tuple[sp.Expr, ...]

    def __init__(self, *sides: Any) -> None:
        object.__setattr__(self, "sides", tuple(sp.sympify(s) for s in sides))

    def verify(self, known: "Definitions") -> None:
        values = [known(side) for side in self.sides]
        for left, right in pairwise(values):
            left, right = left.doit(), right.doit()
            if left != right and not vanishes(left - right):
                raise StepError(f"{left} is not equal to {right}")

    def lines(self, out: Writer) -> list[str]:
        return out.equation(self.sides)


@dataclass(frozen=True)
class NonNegative:
    """An inequality `expression >= 0`, seen from the signs of its factors."""

    expression: sp.Expr

    def verify(self, known: "Definitions") -> None:
        value = known(self.expression).doit()
        if not any(form(value).is_nonnegative for form in (lambda e: e, sp.factor, sp.simplify)):
            raise StepError(f"{value} is not seen to be >= 0")

    def lines(self, out: Writer) -> list[str]:
        return out.equation((self.expression, sp.Integer(0)), sign=">=")


@dataclass(frozen=True)
class Theta:
    r"""`expression` is $\Theta(L^{exponent})$: the quotient has a finite positive limit at every one of the points."""

    expression: sp.Expr
    variable: sp.Symbol
    exponent: sp.Expr
    points: tuple[Mapping[sp.Symbol, sp.Expr], ...]

    def verify(self, known: "Definitions") -> None:
        for point in self.points:
            values = {k: sp.Rational(v) for k, v in point.items()}
            quotient = (known(self.expression) / self.variable**self.exponent).subs(values)
            root = sp.Dummy("N", positive=True)  # variable = root^q makes all its powers whole
            power = sp.ilcm(1, *(v.q for v in values.values()))
            limit = sp.limit(sp.powsimp(sp.expand_mul(quotient.subs(self.variable, root**power))), root, sp.oo)
            if not (limit.is_finite and limit.is_positive):
                raise StepError(f"{quotient} tends to {limit}, so the order is not {self.exponent.subs(values)}")

    def lines(self, out: Writer) -> list[str]:
        order = sp.Function("Theta")(self.variable**self.exponent)
        shown = sorted(self.exponent.free_symbols, key=str)
        at = "; ".join(", ".join(f"{out.inline(k)} = {point[k]}" for k in shown) for point in self.points)
        others = ", other constants 1" if any(set(point) - set(shown) for point in self.points) else ""
        return [*out.equation((self.expression, order)), *out.prose(f"(exact limits at {at}{others})")]


@dataclass(frozen=True)
class Contradiction:
    """Rows that cannot all be <= 0: multipliers >= 0 combine them into a positive constant."""

    rows: tuple[tuple[str, sp.Expr], ...]
    multipliers: tuple[sp.Expr, ...]
    constant: sp.Expr

    def verify(self, known: "Definitions") -> None:
        if len(self.rows) != len(self.multipliers):
            raise StepError(f"{len(self.multipliers)} multipliers for {len(self.rows)} rows")
        multipliers = [sp.Rational(m) for m in self.multipliers]
        if any(m < 0 for m in multipliers):
            raise StepError(f"a multiplier is negative: {multipliers}")
        total = sum(m * known(row) for m, (_, row) in zip(multipliers, self.rows, strict=True))
        if sp.expand(total - self.constant) != 0 or not sp.sympify(self.constant).is_positive:
            raise StepError(f"the combination is {sp.expand(total)}, not the positive constant {self.constant}")

    def lines(self, out: Writer) -> list[str]:
        lines = []
        for m, (name, row) in zip(self.multipliers, self.rows, strict=True):
            lines += [*out.prose(f"{m} times ({name}):"), *out.equation((row, sp.Integer(0)), sign="<=")]
        return [*lines, *out.prose("add up to"), *out.equation((self.constant, sp.Integer(0)), sign="<=")]


@dataclass(frozen=True)
class Exact:
    """Expressions, computed when asked for, that must all simplify to zero."""

    text: str
    residuals: Callable[[], Iterable[sp.Expr]]

    def verify(self, known: "Definitions") -> None:
        residuals = list(self.residuals())
        for residual in residuals:
            if not vanishes(known(residual)):
                raise StepError(f"{self.text}: residual {residual} is not zero")
        if not residuals:
            raise StepError(f"{self.text}: there was nothing to verify")

    def lines(self, out: Writer) -> list[str]:
        return out.prose(f"(By exact arithmetic.) {self.text}")


@dataclass(frozen=True)
class Numbers:
    """Pairs (found, wanted), computed when asked for, that must agree within an absolute tolerance.

    `pairs` receives the claim's `Definitions`, so that what is compared is what is printed.
    """

    text: str
    pairs: Callable[["Definitions"], Iterable[tuple[Any, Any]]]
    tolerance: float

    def verify(self, known: "Definitions") -> None:
        pairs = [(np.asarray(found, float), np.asarray(wanted, float)) for found, wanted in self.pairs(known)]
        for found, wanted in pairs:
            error = float(np.abs(found - wanted).max()) if found.shape == wanted.shape else float("inf")
            if not error <= self.tolerance:
                raise StepError(f"{self.text}: {found} differs from {wanted} by {error:.2e} > {self.tolerance:.0e}")
        if not pairs:
            raise StepError(f"{self.text}: there was nothing to compare")

    def lines(self, out: Writer) -> list[str]:
        return out.prose(f"(In numbers, to {self.tolerance:.0e}.) {self.text}")


Step = Say | Given | Let | Equal | NonNegative | Theta | Contradiction | Exact | Numbers


@dataclass(frozen=True)
class Definitions:
    """Puts definitions into an expression, again and again until none is left."""

    entries: tuple[Let, ...]

    def __call__(self, expression: Any) -> sp.Expr:
        value = sp.sympify(expression)
        for _ in range(20):
            before = value
            for entry in self.entries:
                value = _put_in(value, entry)
            if value == before:
                return value
        raise StepError(f"the definitions of {expression} go round in circles")


def _put_in(expression: sp.Expr, entry: Let) -> sp.Expr:
    if isinstance(entry.symbol, sp.Symbol):
        return expression.subs(entry.symbol, entry.value) if expression.has(entry.symbol) else expression
    formal = entry.symbol.args

    def value(*given: sp.Expr) -> sp.Expr:
        return entry.value.subs(dict(zip(formal, given, strict=True)), simultaneous=True)

    return expression.replace(entry.symbol.func, value)


@dataclass(frozen=True)
class Claim:
    """One statement with its argument.

    Attributes:
        id: such as "D1.2": file 1, claim 2.
        statement: in one line, `$...$` holding TeX.
        status: "proved" here, "heuristic" or "cited".
        scope: what the status is restricted to.
        steps: the argument.
        uses: claims whose definitions the steps rely on.
    """

    id: str
    statement: str
    status: str
    steps: tuple[Step, ...]
    scope: str = ""
    uses: tuple["Claim", ...] = ()

    @property
    def definitions(self) -> tuple[Let, ...]:
        inherited = [entry for claim in self.uses for entry in claim.definitions]
        own = [step for step in self.steps if isinstance(step, Let)]
        return tuple(dict.fromkeys(own + inherited))

    def check(self) -> int:
        """Verify every step again; return how many were verified.

        Raises:
            StepError: naming the claim and the first step that fails.
        """
        if self.status not in STATUSES:
            raise StepError(f"{self.id}: status must be one of {', '.join(STATUSES)}, got {self.status!r}")
        known = Definitions(self.definitions)
        for number, step in enumerate(self.steps, 1):
            try:
                step.verify(known)
            except StepError as fault:
                raise StepError(f"{self.id}, step {number}: {fault}") from None
        return sum(not isinstance(step, Say | Given | Let) for step in self.steps)


@dataclass(frozen=True)
class Cluster:
    """The claims of one file."""

    title: str
    opening: str
    claims: tuple[Claim, ...]

    def check(self) -> list[int]:
        """Verify every claim; return the number of steps verified in each."""
        return [claim.check() for claim in self.claims]

    def main(self) -> None:
        """Check the argument, then print it: as text, with --latex as LaTeX, or with --page as a page of the site."""
        parser = argparse.ArgumentParser(description=plain(self.title))
        ways = parser.add_mutually_exclusive_group()
        ways.add_argument("--latex", action="store_true", help="print LaTeX instead of text")
        ways.add_argument("--page", action="store_true", help="print a page of the site instead of text")
        asked = parser.parse_args()
        writer = Latex() if asked.latex else Page() if asked.page else Text()
        print(writer.document(self.title, self.opening, self.claims, self.check()))
