r"""Ratios of `limits.scaling` for the parameters of a model, each with its own sides.

A parameter of a residual block has the factors of depth, another one has none: it is scaled as if the number of blocks were that
of the base, whatever its role. Vectors scale with their own length, matrices with what they sum over and make.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import prod
from typing import Any

from limits.pytorch.blocks import Blocks
from limits.pytorch.parts import Part
from limits.scaling import Cell, Scaling, Size, scale
from limits.scaling.rules import rule


@dataclass(frozen=True)
class Ratios:
    """Model over base, of what belongs to one parameter; None for what its optimizer does not have.

    `optimizer` is the name of the optimizer that trains it: "adamw" for what Muon leaves to it.
    """

    multiplier: float
    init_std: float
    lr: float
    weight_decay: float | None
    eps: float | None
    optimizer: str


def ratios_of(
    parts: tuple[Part, ...], blocks: Blocks, optimizer: Any, how: Mapping[str, Any], duration: Mapping[str, tuple[float, float]]
) -> tuple[dict[str, Ratios], Scaling]:
    """The ratios of every part, by its name, and the table for the width of the residual stream."""

    @cache
    def scaling(entrywise: bool, deep: bool) -> Scaling:
        numbers = zip(stream(parts), (blocks.base, blocks.target if deep else blocks.base), strict=True)
        sizes = [Size(w, L, **{name: pair[i] for name, pair in duration.items()}) for i, (w, L) in enumerate(numbers)]
        return scale(*sizes, optimizer="adamw" if entrywise else optimizer, **how)

    @cache
    def ratios(role: str, entrywise: bool, inside: bool, fans: tuple[Fraction, Fraction], width: Fraction) -> Ratios:
        row = scaling(entrywise, inside)[role]
        row = row.for_fan(*map(float, fans)) if role.split()[0] == "hidden" else row
        numbers = {name: None if cell is None else number_of(cell, float(width)) for name, cell in row.cells.items()}
        return Ratios(optimizer=row.optimizer, **numbers)  # type: ignore[arg-type]

    found = {}
    for part in parts:
        entrywise = rule(optimizer).kind == "orthogonalised" and len(part.shape.axes) != 2  # such optimizers take matrices only
        _known(part, scaling(entrywise, part.inside))
        found[part.name] = ratios(part.role, entrywise, part.inside, (part.fan_in, part.fan_out), Fraction(*part.width[::-1]))
    return found, scaling(False, True)


def stream(parts: tuple[Part, ...]) -> tuple[int, int]:
    """The width in base and model: of the axis that grows in most parameters."""
    sizes = [(part.shape.axes[k].base, part.shape.axes[k].size) for part in parts for k in part.shape.growing]
    return max(sorted(set(sizes)), key=sizes.count)


def number_of(cell: Cell, width: float) -> float:
    """A ratio for a parameter whose own width is `width` times that of the base: powers of m_N are powers of that."""
    return prod((width if name == "m_N" else value) ** float(cell.exponent(name)) for name, value in cell.ratios)


def _known(part: Part, scaling: Scaling) -> None:
    """Refuse a role that is several rows of the table."""
    if part.role not in scaling.rows:
        layers = [name for name in scaling.rows if name.split()[0] == part.role]
        raise ValueError(
            f"layers of a block have exponents of their own here, and {part.name} is said to be {part.role!r}: say which layer "
            f'it is, such as overrides={{"{part.name}": "{layers[0]}"}}, one of {", ".join(layers)}'
        )
