r"""Ratios of `limits.scaling` for the parameters of a model, each with its own sides.

A parameter of a residual block has the factors of depth, another one has none: it is scaled as if the number of blocks were that
of the base, whatever its role. Vectors scale with their own length, matrices with what they sum over and make.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
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
) -> tuple[dict[str, Ratios], float]:
    """The ratios of every part, by its name, and of the residual branches."""

    @cache
    def scaling(entrywise: bool, width: Fraction, deep: bool) -> Scaling:
        numbers = ((width.denominator, blocks.base), (width.numerator, blocks.target if deep else blocks.base))
        sizes = [Size(w, L, **{name: pair[i] for name, pair in duration.items()}) for i, (w, L) in enumerate(numbers)]
        return scale(*sizes, optimizer="adamw" if entrywise else optimizer, **how)

    found = {part.name: _ratios(part, optimizer, scaling) for part in parts}
    return found, float(scaling(False, Fraction(1), True).branch)


def _ratios(part: Part, optimizer: Any, scaling: Callable[[bool, Fraction, bool], Scaling]) -> Ratios:
    stacked = rule(optimizer).kind == "orthogonalised" and len(part.shape.axes) != 2  # such optimizers take matrices only
    row = _row(scaling(stacked, _width(part), part.inside), part)
    decay, eps = (None if cell is None else float(cell) for cell in (row.weight_decay, row.eps))
    return Ratios(float(row.multiplier), float(row.init_std), float(row.lr), decay, eps, row.optimizer)


def _row(scaling: Scaling, part: Part) -> Row:
    if part.role not in scaling.rows:
        layers = [name for name in scaling.rows if name.split()[0] == part.role]
        raise ValueError(
            f"layers of a block have exponents of their own here, and {part.name} is said to be {part.role!r}: say which layer "
            f'it is, such as overrides={{"{part.name}": "{layers[0]}"}}, one of {", ".join(layers)}'
        )
    row = scaling[part.role]
    return row.for_fan(float(part.fan_in), float(part.fan_out)) if part.role.split()[0] == "hidden" else row


def _width(part: Part) -> Fraction:
    return part.fan_in if part.role.split()[0] in ("hidden", "output", "tied") else part.fan_out
