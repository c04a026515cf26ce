r"""Ratios of `limits.scaling` for the parameters of a model, each with its own sides.

A parameter of a residual block has the factors of depth, another one has none: it is scaled as if the number of blocks were that
of the base, whatever its role. Vectors scale with their own length, matrices with what they sum over and make.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from limits.pytorch.blocks import Blocks
from limits.pytorch.parts import Part
from limits.scaling import Row, Scaling, Size, scale
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
    def scaling(entrywise: bool, width: tuple[int, int], deep: bool) -> Scaling:
        numbers = zip(width, (blocks.base, blocks.target if deep else blocks.base), strict=True)
        sizes = [Size(w, L, **{name: pair[i] for name, pair in duration.items()}) for i, (w, L) in enumerate(numbers)]
        return scale(*sizes, optimizer="adamw" if entrywise else optimizer, **how)

    found = {part.name: _ratios(part, optimizer, scaling) for part in parts}
    return found, scaling(False, stream(parts), True)


def stream(parts: tuple[Part, ...]) -> tuple[int, int]:
    """The width in base and model: of the axis that grows in most parameters."""
    sizes = [(part.shape.axes[k].base, part.shape.axes[k].size) for part in parts for k in part.shape.growing]
    return max(sorted(set(sizes)), key=sizes.count)


def _ratios(part: Part, optimizer: Any, scaling: Callable[[bool, tuple[int, int], bool], Scaling]) -> Ratios:
    stacked = rule(optimizer).kind == "orthogonalised" and len(part.shape.axes) != 2  # such optimizers take matrices only
    row = row_of(scaling(stacked, part.width, part.inside), part)
    decay, eps = (None if cell is None else float(cell) for cell in (row.weight_decay, row.eps))
    return Ratios(float(row.multiplier), float(row.init_std), float(row.lr), decay, eps, row.optimizer)


def row_of(scaling: Scaling, part: Part) -> Row:
    """The row of a table that a part follows.

    Raises:
        ValueError: layers of a block have rows of their own, and the part does not say which layer it is.
    """
    if part.role not in scaling.rows:
        layers = [name for name in scaling.rows if name.split()[0] == part.role]
        raise ValueError(
            f"layers of a block have exponents of their own here, and {part.name} is said to be {part.role!r}: say which layer "
            f'it is, such as overrides={{"{part.name}": "{layers[0]}"}}, one of {", ".join(layers)}'
        )
    row = scaling[part.role]
    return row.for_fan(float(part.fan_in), float(part.fan_out)) if part.role.split()[0] == "hidden" else row
