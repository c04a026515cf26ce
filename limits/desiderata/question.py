"""What a design is asked for: wishes, the block, and the exponents that are given."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from limits.desiderata.wishes import WISHES, Block, Wish
from limits.exponents import Affine
from limits.inequalities import Constraint, Point
from limits.parametrization import Parametrization, checked, exact

FAMILIES = ("alpha", "gamma", "beta")


@dataclass(frozen=True)
class Question:
    """Which wishes, of which block, with which exponents given.

    Args:
        wishes: their names.
        block: the symbols, and the orders they make up.
        fixed: pairs (symbol, value).
    """

    wishes: tuple[str, ...]
    block: Block
    fixed: tuple[tuple[str, Fraction], ...] = ()

    @property
    def symbols(self) -> tuple[str, ...]:
        """In the order in which values are chosen, zero where it can be: initial sizes are ordinary if nothing forbids it."""
        return tuple(name for family in ("beta", "alpha", "gamma") for name in self.block.names(family))

    def wish(self) -> Wish:
        """All wishes together, with the given exponents as equations."""
        given = (Constraint(Affine.symbol(name) - value, "=", f"{name} given") for name, value in self.fixed)
        return Wish.together([Wish(tuple(given)), *(WISHES[name](self.block) for name in self.wishes)])

    def parametrization(self, point: Point) -> Parametrization:
        """The exponents at a point."""
        gamma, beta = (tuple(point[name] for name in self.block.names(family)) for family in ("gamma", "beta"))
        if self.block.tied:
            return Parametrization(point["alpha"], gamma[0], beta[0])
        return Parametrization(point["alpha"], gamma, beta if any(beta) else 0)

    def point(self, parametrization: Parametrization) -> Point:
        """The values of the symbols; exponents given once are those of every layer.

        Raises:
            ValueError: exponents of another number of layers, or different ones where all layers share one.
            TypeError: anything but a `Parametrization`.
        """
        alpha, *layers = checked(parametrization).layers(self.block.depth)
        values = {"alpha": alpha}
        for family, each in zip(("gamma", "beta"), layers, strict=True):
            if self.block.tied and len(set(each)) > 1:
                raise ValueError(f"the layers of this block share one {family}, got {', '.join(map(str, each))}")
            values |= dict(zip(self.block.names(family), each, strict=False))
        return values


def given(block: Block, free: Iterable[str], fixed: Mapping[str, Any]) -> tuple[tuple[str, Fraction], ...]:
    """The exponents that are not looked for, by symbol."""
    if not isinstance(fixed, Mapping):
        raise TypeError(f'fixed must be a mapping from exponents to values, got {fixed!r}: write {{"beta": 0}}')
    if not isinstance(free, Iterable):
        raise TypeError(f'free must name exponents, got {free!r}: write ("alpha", "gamma")')
    free = (free,) if isinstance(free, str) else tuple(free)
    if unknown := [name for name in (*free, *fixed) if name not in (*FAMILIES, *block.symbols)]:
        raise ValueError(f"{unknown[0]!r} is no exponent of this block: there are {', '.join(block.symbols)}")
    found: dict[str, Fraction] = {}
    for name, value in sorted(fixed.items(), key=lambda item: item[0] not in FAMILIES):  # a layer's own value comes last
        symbols = block.names(name) if name in FAMILIES else (name,)
        values = tuple(value) if isinstance(value, tuple | list) else (value,) * len(symbols)
        if len(values) != len(symbols):
            needed = "1 exponent" if len(symbols) == 1 else f"{len(symbols)} exponents, or one for all,"
            raise ValueError(f"{name} needs {needed} in this block, got {len(values)}")
        found |= {symbol: exact(v, symbol) for symbol, v in zip(symbols, values, strict=True)}
    for symbol in block.symbols:
        if symbol not in found and symbol not in free and (family := symbol.partition("_")[0]) not in free:
            if family != "beta":
                raise ValueError(f"{symbol} is neither free nor given: add it to free, or give its value in fixed")
            found[symbol] = Fraction(0)
    return tuple((symbol, found[symbol]) for symbol in block.symbols if symbol in found)
