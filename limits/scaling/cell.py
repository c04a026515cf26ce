"""One entry of a table of ratios: exact powers of the base ratios, and the argument for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

from limits.exponents import Affine
from limits.markup import listed

RATIOS = ("m_N", "m_L", "m_B", "m_T", "m_in", "m_out")
"""Target over base: of the width, the blocks, the batch, the steps, the fan-in and the fan-out."""
STATUSES = ("proved", "heuristic", "cited")


@dataclass(frozen=True)
class Cell:
    r"""A ratio target over base, $m_N^a m_L^b\dots$, with exact exponents and the reason for them.

    `float(cell)` is the number to multiply a hyperparameter of the base by: 1 if target and base are the same.

    Attributes:
        powers: pairs (ratio, exponent), of `RATIOS`; exponents are exact and not zero.
        ratios: pairs (ratio, its value).
        why: the derivation, in sentences.
        status: "proved", "heuristic" (an argument by orders) or "cited" (taken from the source).
        source: where the rule is published.

    >>> cell = Cell.of({"m_N": -1, "m_L": Fraction(-1, 2)}, {"m_N": 4.0, "m_L": 4.0})
    >>> cell
    Cell(m_N^-1 m_L^(-1/2) = 0.125, heuristic)
    >>> print(cell, float(cell), cell.width, cell.blocks, (cell**2).formula)
    m_N^-1 m_L^(-1/2) 0.125 -1 -1/2 m_N^-2 m_L^-1
    """

    powers: tuple[tuple[str, Fraction], ...]
    ratios: tuple[tuple[str, float], ...]
    why: str = ""
    status: str = "heuristic"
    source: str = ""

    @classmethod
    def of(
        cls, powers: Mapping[str, Any], ratios: Mapping[str, float], *, why: str = "", status: str = "heuristic", source: str = ""
    ) -> "Cell":
        """The cell of a mapping of exponents; zeros are left out, and the order is that of `RATIOS`."""
        if status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)}, got {status!r}")
        kept = tuple((name, Fraction(powers[name])) for name in RATIOS if powers.get(name))
        return cls(kept, tuple((name, float(ratios[name])) for name, _ in kept), why, status, source)

    def exponent(self, ratio: str) -> Fraction:
        """The exponent of one of `RATIOS`."""
        return dict(self.powers).get(ratio, Fraction(0))

    @property
    def width(self) -> Fraction:
        """The exponent of m_N = target width / base width."""
        return self.exponent("m_N")

    @property
    def blocks(self) -> Fraction:
        """The exponent of m_L = target blocks / base blocks."""
        return self.exponent("m_L")

    def __float__(self) -> float:
        values = dict(self.ratios)
        return prod((values[name] ** float(e) for name, e in self.powers), start=1.0)

    def __mul__(self, other: "Cell") -> "Cell":
        """The product of two ratios, with the argument of the first."""
        powers = {name: self.exponent(name) + other.exponent(name) for name in RATIOS}
        return Cell.of(powers, dict(self.ratios) | dict(other.ratios), why=self.why, status=self.status, source=self.source)

    def __pow__(self, power: Any) -> "Cell":
        powers = {name: e * Fraction(power) for name, e in self.powers}
        return Cell.of(powers, dict(self.ratios), why=self.why, status=self.status, source=self.source)

    def because(self, sentence: str, status: str | None = None, source: str | None = None) -> "Cell":
        """The same ratio, with a sentence added to its argument; a weaker status or another source replaces the old one."""
        why = f"{self.why} {sentence}".strip()
        return Cell(self.powers, self.ratios, why, status or self.status, self.source if source is None else source)

    @property
    def formula(self) -> str:
        """Such as "m_N^-1 m_L^(-1/2)"; "1" if nothing is scaled."""
        return " ".join(_power(name, e) for name, e in self.powers) or "1"

    def __repr__(self) -> str:
        return listed("Cell", [f"{self.formula} = {float(self):.4g}" if self.powers else "1", self.status])

    def __str__(self) -> str:
        return self.formula

    def latex(self) -> str:
        r"""Such as $m_N^{-1} m_L^{-1/2}$."""
        shown = (f"{_symbol(name)}" + ("" if e == 1 else f"^{{{e}}}") for name, e in self.powers)
        return " ".join(shown) or "1"

    def to_json(self) -> dict[str, Any]:
        """The ratio, its exponents as text, and the argument."""
        powers = {name: str(e) for name, e in self.powers}
        return {
            "ratio": float(self),
            "formula": self.formula,
            "powers": powers,
            "why": self.why,
            "status": self.status,
            "source": self.source,
        }


def _power(name: str, exponent: Fraction) -> str:
    if exponent == 1:
        return name
    return f"{name}^{exponent}" if exponent.denominator == 1 else f"{name}^({exponent})"


def _symbol(name: str) -> str:
    letter, _, index = name.partition("_")
    return f"{letter}_{index}" if len(index) == 1 else rf"{letter}_{{\mathrm{{{index}}}}}"


def powers_of(exponent: Affine) -> dict[str, Fraction]:
    """The exponents of base ratios in the logarithm of an order."""
    return dict(exponent.terms)
