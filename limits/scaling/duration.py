"""What another batch size and another number of steps change: rules that are cited, not derived."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from limits.scaling.cell import Cell
from limits.scaling.size import Size
from limits.validation import number

if TYPE_CHECKING:
    from limits.scaling.row import Row

BATCH = {
    1: "A batch m_B times as large has a gradient that is known as much better: the rate grows with m_B while noise dominates.",
    0: "A normalized gradient is 1/sqrt(m_B) as noisy: the rate grows with sqrt(m_B) while noise dominates.",
}
NOISE = "Where noise dominates, gradients are m_B^(-1/2) as large, and epsilon follows them."
AVERAGE = (
    "Weights are an exponential average of updates over 1 / (lr weight_decay) steps; it keeps its share of the run, so that "
    "lr * weight_decay goes as 1 / steps."
)


def ratios(base: Size, target: Size) -> dict[str, float]:
    """Target over base, of all that is given.

    Raises:
        ValueError: a batch or a number of steps for one size only.
    """
    found = {"m_N": target.width / base.width, "m_L": target.blocks / base.blocks}
    for name, ratio in (("batch", "m_B"), ("steps", "m_T")):
        small, large = getattr(base, name), getattr(target, name)
        if (small is None) != (large is None):
            raise ValueError(f"{name} must be given for base and target, or for neither: got {_said(small)} and {_said(large)}")
        if small is not None and large is not None:
            found[ratio] = number(large / small, f"the ratio of {name}", open_low=True)
    return found


def _said(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"


def corrected(row: "Row", found: Mapping[str, float]) -> "Row":
    """A row with the factors of batch and steps."""
    degree, half = row.place.rule.degree, Fraction(1, 2)
    rate = {"m_B": 1 if degree else half} if "m_B" in found else {}
    decay = {name: -e for name, e in rate.items()} | ({"m_T": -1} if "m_T" in found else {})
    noise = {"m_B": -half * (2 if row.place.rule.eps == "square" else 1)} if "m_B" in found else {}
    lr = _with(row.lr, rate, found, BATCH[degree], "MLPA")
    wd = row.weight_decay and _with(row.weight_decay, decay, found, AVERAGE if "m_T" in found else BATCH[degree], "WA")
    eps = row.eps and _with(row.eps, noise, found, NOISE, "MLPA")
    return replace(row, lr=lr, weight_decay=wd, eps=eps)


def _with(cell: Cell, powers: Mapping[str, Fraction | int], found: Mapping[str, float], said: str, source: str) -> Cell:
    if not powers:
        return cell
    return (cell * Cell.of(powers, found)).because(said, "cited", f"{cell.source}; {source}")
