"""What a script does wrong when it carries a hyperparameter to another size, told from the number it gets."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import isclose
from typing import TYPE_CHECKING

from limits.scaling.cell import Cell
from limits.validation import number

if TYPE_CHECKING:
    from limits.scaling.scaling import Scaling

TOLERANCE = 1e-3
"""Relative: numbers in scripts are rounded."""
SHIFTS = (Fraction(-1), Fraction(-1, 2), Fraction(1, 2), Fraction(1))


def checked(scaling: "Scaling", role: str, base: Mapping[str, float], target: Mapping[str, float]) -> tuple[str, ...]:
    """A sentence for every number of the target that is not the base's times its ratio, naming the likely mistake."""
    found = []
    for name in target:
        if name not in base:
            raise ValueError(f"the base gives no {name} to compare with: it gives {', '.join(base) or 'nothing'}")
        small, large = (number(given[name], name) for given in (base, target))
        cell = scaling.branch if name == "branch_multiplier" else _cell(scaling, role, name)
        wanted = small * (1.0 if cell is None else float(cell))
        if isclose(large, wanted, rel_tol=TOLERANCE):
            continue
        said = _mistake(scaling, role, cell, large / wanted) if wanted else "not zero where it should be"
        ratio = "1" if cell is None else cell.formula
        found.append(f"{role} {name} is {large:g} and should be {wanted:g} = {small:g} * {ratio}: {said}.")
    return tuple(found)


def _cell(scaling: "Scaling", role: str, name: str) -> Cell | None:
    row = scaling[role]
    row.apply({name: 0.0})
    return getattr(row, name)


def _mistake(scaling: "Scaling", role: str, cell: Cell | None, factor: float) -> str:
    if not factor:
        return "it is zero, and the base's is not"
    for suspects in (_suspects(scaling, cell), _others(scaling, role, cell)):
        fitting = [said for said, off in suspects if off != 1 and isclose(factor, off, rel_tol=TOLERANCE)]
        if fitting:
            return ", or ".join(dict.fromkeys(fitting))
    return f"it is {factor:.4g} times too large" if factor > 1 else f"it is {1 / factor:.4g} times too small"


def _suspects(scaling: "Scaling", cell: Cell | None) -> Iterator[tuple[str, float]]:
    """Known mistakes and the factor by which each would be off."""
    width, blocks = (Fraction(0), Fraction(0)) if cell is None else (cell.width, cell.blocks)
    m_n, m_l = scaling.target.width / scaling.base.width, scaling.target.blocks / scaling.base.blocks
    both = m_n ** -float(width) * m_l ** -float(blocks)
    yield "it was not scaled at all", both if width and blocks else 1.0
    yield "its factor of depth is missing", m_l ** -float(blocks)
    yield "its factor of width is missing", m_n ** -float(width)
    raw = f"the raw number of blocks was used instead of its ratio to the base's {scaling.base.blocks}"
    yield raw, scaling.base.blocks ** float(blocks)
    yield f"the raw width was used instead of its ratio to the base's {scaling.base.width}", scaling.base.width ** float(width)
    mixed = "layers were counted at one size and blocks at the other: a layer of attention and MLP is two blocks"
    yield mixed, 2 ** float(blocks)
    yield mixed, 2 ** -float(blocks)


def _others(scaling: "Scaling", role: str, cell: Cell | None) -> Iterator[tuple[str, float]]:
    """Factors that are there and should not be."""
    blocks = Fraction(0) if cell is None else cell.blocks
    m_n, m_l = scaling.target.width / scaling.base.width, scaling.target.blocks / scaling.base.blocks
    for e in SHIFTS:
        where = "has no factor of depth" if not blocks else f"has the factor of depth m_L^{blocks}"
        yield f"{role} {where}, and another one was used", m_l ** float(e)
        yield f"a factor of width m_N^{e} too many was used", m_n ** float(e)
