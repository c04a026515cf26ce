r"""Exact orders of magnitude in the number of blocks: $\Theta(L^e)$, its products, and its sums over depth.

An exponent is an `Affine` function of symbols such as $\alpha$ and $\gamma_1$, with rational coefficients. An `Order` is the
largest of several: products add exponents, sums take the larger one. Two facts about sums of $L$ terms are all the
probability there is: centred independent terms give $L^{1/2}$ times one of them [D1.2], aligned terms $L$ times [D1.3].
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational
from typing import Any

Number = int | str | Fraction
"""What a coefficient or a value may be written as: exact."""

_FAMILIES = ("alpha", "gamma", "beta")


MOST_DIGITS = 100
"""Of a number that is read from text, above and below the bar: sums of such fractions can still be printed."""


def parsed(text: str, name: str = "an exponent") -> Fraction:
    """The fraction that a text says, with a hyphen or a typographic minus sign.

    Raises:
        ValueError: it says none, or one that would fill pages.

    >>> print(parsed("−3/4"), parsed("0.5"))
    -3/4 1/2
    """
    shown = repr(text) if len(text) <= MOST_DIGITS else f"{text[:20]!r} and {len(text) - 20} characters more"
    if len(text) > 3 * MOST_DIGITS or re.search(r"e[-+]?0*[1-9]\d\d", text, re.IGNORECASE):
        raise ValueError(f"{name} must be a fraction of at most {MOST_DIGITS} digits, got the text {shown}")
    try:
        return Fraction(text.replace("−", "-"))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f'{name} must be a fraction, got the text {shown}: write it like "1/2"') from None


def _fraction(value: object) -> Fraction:
    if type(value) is Fraction:
        return value
    if isinstance(value, bool) or not isinstance(value, str | Rational):
        raise TypeError(f'an exponent must be exact, got {value!r}: write it as a Fraction, or as text like "1/2"')
    return parsed(value) if isinstance(value, str) else Fraction(int(value.numerator), int(value.denominator))


def _place(name: str) -> tuple[int, str, int, str]:
    """Where a symbol stands in a sum: alpha, then gamma_i, then beta_i, then the rest."""
    family, _, index = name.partition("_")
    rank = _FAMILIES.index(family) if family in _FAMILIES else len(_FAMILIES)
    return rank, family, int(index) if index.isdigit() else 0, name


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Affine:
    r"""The exact function $c_0 + \sum_s c_s\,s$ of symbols $s$, such as $1 - \alpha - \gamma_1$.

    Equal functions are equal values, with equal hashes; a constant one equals its number, and can be compared with numbers.

    Args:
        constant: $c_0$.
        terms: pairs (symbol, coefficient), in any order; they are merged, sorted, and stripped of zeros.

    Raises:
        TypeError: a coefficient that is not exact, such as a float.

    >>> alpha, gamma = Affine.symbol("alpha"), Affine.symbol("gamma")
    >>> update = 1 - alpha - gamma
    >>> print(update, "|", update.substitute(gamma=1 - alpha), "|", update.at({"alpha": "1/2", "gamma": 0}))
    1 - alpha - gamma | 0 | 1/2
    """

    constant: Fraction
    terms: tuple[tuple[str, Fraction], ...]

    def __init__(self, constant: object = 0, terms: Iterable[tuple[str, object]] = ()) -> None:
        merged: dict[str, Fraction] = {}
        for name, coefficient in terms:
            c = _fraction(coefficient)
            merged[name] = merged[name] + c if name in merged else c
        object.__setattr__(self, "constant", _fraction(constant))
        object.__setattr__(self, "terms", tuple((n, merged[n]) for n in sorted(merged, key=_place) if merged[n]))

    @classmethod
    def symbol(cls, name: str) -> "Affine":
        """The symbol `name` itself."""
        return cls(0, ((name, 1),))

    @classmethod
    def of(cls, value: "Exponent") -> "Affine":
        """`value` as an `Affine`; numbers become constants."""
        return value if isinstance(value, Affine) else cls(value)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that occur."""
        return tuple(name for name, _ in self.terms)

    @property
    def is_constant(self) -> bool:
        """Whether no symbol occurs."""
        return not self.terms

    def coefficient(self, name: str) -> Fraction:
        """The coefficient of a symbol; zero if it does not occur."""
        return dict(self.terms).get(name, Fraction(0))

    def __add__(self, other: "Exponent") -> "Affine":
        if not isinstance(other, Affine | Rational | str):
            return NotImplemented
        other = Affine.of(other)
        return Affine(self.constant + other.constant, self.terms + other.terms)

    __radd__ = __add__

    def __mul__(self, scale: Number) -> "Affine":
        if not isinstance(scale, Rational | str):
            return NotImplemented
        factor = _fraction(scale)
        return Affine(self.constant * factor, tuple((name, c * factor) for name, c in self.terms))

    __rmul__ = __mul__

    def __truediv__(self, scale: Number) -> "Affine":
        return self * (1 / _fraction(scale))

    def __neg__(self) -> "Affine":
        return self * -1

    def __sub__(self, other: "Exponent") -> "Affine":
        return self + -Affine.of(other)

    def __rsub__(self, other: "Exponent") -> "Affine":
        return -self + other

    def substitute(self, values: Mapping[str, "Exponent"] | None = None, /, **more: "Exponent") -> "Affine":
        """Replace symbols by numbers or other functions; what is not named stays."""
        given = {**(values or {}), **more}
        constant, terms = self.constant, []
        for name, c in self.terms:
            if name not in given:
                terms.append((name, c))
                continue
            value = Affine.of(given[name])
            constant += c * value.constant
            terms += [(n, c * d) for n, d in value.terms]
        return Affine(constant, terms)

    def at(self, point: Mapping[str, Number]) -> Fraction:
        """The exact value at a point, which may name further symbols.

        Raises:
            ValueError: a symbol of this function has no value there.
        """
        if missing := [name for name in self.symbols if name not in point]:
            raise ValueError(f"{self} needs a value of {missing[0]}: the point gives {', '.join(point) or 'none'}")
        return sum((c * _fraction(point[name]) for name, c in self.terms), self.constant)

    def value(self) -> Fraction:
        """The number that a constant function is.

        Raises:
            ValueError: a symbol occurs.
        """
        if self.terms:
            raise ValueError(f"{self} is no number: it depends on {', '.join(self.symbols)}; substitute values first")
        return self.constant

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Affine):
            return (self.constant, self.terms) == (other.constant, other.terms)
        return not self.terms and self.constant == other if isinstance(other, Rational) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.constant, self.terms)) if self.terms else hash(self.constant)

    def __lt__(self, other: "Exponent") -> bool:
        return (self - other).value() < 0

    def __le__(self, other: "Exponent") -> bool:
        return (self - other).value() <= 0

    def __gt__(self, other: "Exponent") -> bool:
        return (self - other).value() > 0

    def __ge__(self, other: "Exponent") -> bool:
        return (self - other).value() >= 0

    def __str__(self) -> str:
        return self._sum(str, lambda name: name, "*")

    def __repr__(self) -> str:
        return f"Affine({self})"

    def latex(self) -> str:
        r"""The function in LaTeX.

        >>> print((Affine("1/2") - 2 * Affine.symbol("gamma_1")).latex())
        \tfrac{1}{2} - 2\gamma_{1}
        """
        return self._sum(_latex_number, _latex_symbol, "")

    def _sum(self, number: Any, symbol: Any, times: str) -> str:
        parts = [] if not self.constant and self.terms else [(self.constant < 0, number(abs(self.constant)))]
        for name, c in self.terms:
            parts.append((c < 0, symbol(name) if abs(c) == 1 else number(abs(c)) + times + symbol(name)))
        first = ("-" if parts[0][0] else "") + parts[0][1]
        return first + "".join((" - " if negative else " + ") + text for negative, text in parts[1:])

    def to_sympy(self) -> Any:
        """The same function in real sympy symbols of the same names."""
        from sympy import Integer, Rational, Symbol

        total = Rational(self.constant.numerator, self.constant.denominator) + Integer(0)
        for name, c in self.terms:
            total += Rational(c.numerator, c.denominator) * Symbol(name, real=True)
        return total


Exponent = Affine | int | str | Fraction
"""A function of symbols, or an exact number."""


def _latex_number(value: Fraction) -> str:
    return str(value) if value.denominator == 1 else rf"\tfrac{{{value.numerator}}}{{{value.denominator}}}"


def _latex_symbol(name: str) -> str:
    family, _, index = name.partition("_")
    greek = family if family not in _FAMILIES else "\\" + family
    return f"{greek}_{{{index}}}" if index else greek


def _largest(exponents: Iterable[Affine]) -> frozenset[Affine]:
    """Without the pieces that lie below a parallel one."""
    best: dict[tuple[tuple[str, Fraction], ...], Fraction] = {}
    for e in exponents:
        best[e.terms] = max(e.constant, best.get(e.terms, e.constant))
    return frozenset(Affine(constant, terms) for terms, constant in best.items())


@dataclass(frozen=True, init=False, repr=False)
class Order:
    r"""The order $\Theta(L^e)$ with $e = \max$ of exact exponents; products add, sums take the larger.

    A sum of symbolic orders keeps all its pieces, since which is larger depends on the point; `at` decides. Orders form a
    commutative semiring in which adding is idempotent: `Order()` is the zero and `Order(0)` the one.

    Args:
        exponents: the pieces; numbers, text such as "1/2", or `Affine`.

    >>> alpha, gamma = Affine.symbol("alpha"), Affine.symbol("gamma")
    >>> block = Order(-alpha) * (Order(0) + Order(-gamma))
    >>> print(block, "|", block.at({"alpha": 1, "gamma": "-1/2"}), "|", Order(1) + Order("1/2"))
    L^max(-alpha, -alpha - gamma) | -1/2 | L^1
    """

    pieces: frozenset[Affine]

    def __init__(self, *exponents: Exponent) -> None:
        pieces = [Affine.of(e) for e in exponents]
        object.__setattr__(self, "pieces", _largest(pieces) if len(pieces) > 1 else frozenset(pieces))

    @property
    def exponent(self) -> Affine:
        """The exponent of an order with one piece.

        Raises:
            ValueError: the order is zero, or a sum whose larger term depends on symbols.
        """
        if len(self.pieces) != 1:
            raise ValueError(f"{self} has {len(self.pieces)} exponents; evaluate it at a point")
        return next(iter(self.pieces))

    def at(self, point: Mapping[str, Number]) -> Fraction:
        """The exact exponent at a point.

        Raises:
            ValueError: the order is zero, or a symbol has no value.
        """
        if not self.pieces:
            raise ValueError("the zero order has no exponent")
        return max(piece.at(point) for piece in self.pieces)

    def substitute(self, values: Mapping[str, Exponent] | None = None, /, **more: Exponent) -> "Order":
        """Replace symbols in every piece."""
        return Order(*(piece.substitute(values, **more) for piece in self.pieces))

    def __mul__(self, other: "Order") -> "Order":
        return Order(*(a + b for a in self.pieces for b in other.pieces)) if isinstance(other, Order) else NotImplemented

    def __add__(self, other: "Order") -> "Order":
        return Order(*self.pieces, *other.pieces) if isinstance(other, Order) else NotImplemented

    def __truediv__(self, other: "Order") -> "Order":
        return self * other**-1 if isinstance(other, Order) else NotImplemented

    def __pow__(self, power: Number) -> "Order":
        if _fraction(power) < 0:
            return Order(self.exponent * power)
        return Order(*(piece * power for piece in self.pieces)) if self.pieces or _fraction(power) else Order(0)

    def __str__(self) -> str:
        if len(self.pieces) < 2:
            return f"L^{_bracketed(str(self.exponent))}" if self.pieces else "0"
        return f"L^max({', '.join(sorted(map(str, self.pieces)))})"

    def __repr__(self) -> str:
        return f"Order({', '.join(sorted(map(repr, self.pieces)))})"


def _bracketed(text: str) -> str:
    return text if text.isalnum() else f"({text})"


def sum_independent(order: Order) -> Order:
    r"""The sum of $L$ centred independent terms of one order: $\Theta(L^{e + 1/2})$ [D1.2].

    >>> print(sum_independent(Order(-Affine.symbol("alpha"))))
    L^(1/2 - alpha)
    """
    return order * Order("1/2")


def sum_aligned(order: Order) -> Order:
    r"""The sum of $L$ terms of one order that point the same way: $\Theta(L^{e + 1})$ [D1.3].

    >>> print(sum_aligned(Order(-Affine.symbol("alpha")) * Order(-Affine.symbol("gamma"))))
    L^(1 - alpha - gamma)
    """
    return order * Order(1)
