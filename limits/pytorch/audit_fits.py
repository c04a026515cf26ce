"""From what was measured at every size to exponents, seed by seed, and what they say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from limits.compare.slopes import Estimate, slope
from limits.pytorch.audit_findings import UNMOVED, Finding
from limits.pytorch.audit_laws import BASE, BLOCKS, LEARNING, SAME_BASE, SIZE, WIDTH, Law
from limits.pytorch.audit_rules import Slopes

Size = tuple[int, int]
Measured = Mapping[Size, Sequence[Mapping[str, float]]]
"""By size (width, blocks), what was measured of every seed."""
VITAL = ("embedding", "stream", "logits", "blocks' update", "stream update", "logit update")
"""What is not finite if and only if a model diverged."""
SPENT, GROWN = 0.5, 2.0
"""Share of the loss below which outputs have learned much of what there is, and growth of the stream that is large."""
NOTHING = "it is zero: there is nothing to fit (layers that start at zero, or are frozen)"
COMPARED = (("initial branch", SIZE), ("blocks' update", LEARNING), ("logit update", LEARNING))
"""With the base model."""


@dataclass(frozen=True)
class Grid:
    """The sizes of an audit: widths at one number of blocks, numbers of blocks at one width."""

    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    at_width: int
    at_blocks: int

    def along(self, axis: str) -> list[Size]:
        return [(n, self.at_blocks) for n in self.widths] if axis == WIDTH else [(self.at_width, L) for L in self.blocks]

    @property
    def sizes(self) -> list[Size]:
        """Every size once."""
        return list(dict.fromkeys([*self.along(WIDTH), *self.along(BLOCKS)]))


def diverged(measured: Measured) -> tuple[Size, ...]:
    """Sizes at which some seed is not finite."""
    return tuple(size for size, seeds in measured.items() if not all(np.isfinite(one[key]) for one in seeds for key in VITAL))


def cautions(measured: Measured) -> list[str]:
    """What blurs exponents, in sentences: outputs that have learned what there is, and streams that grow much at small sizes."""
    gone, said = diverged(measured), []
    kept = {size: seeds for size, seeds in measured.items() if size not in gone}
    left, growth = ({size: _median(seeds, key) for size, seeds in kept.items()} for key in ("loss left", "growth"))
    if spent := [f"{value:.0%} at {size}" for size, value in left.items() if value < SPENT]:
        said.append(
            f"training leaves little of the first batch's loss, {', '.join(spent)} (width, blocks): outputs saturate, which "
            "blurs exponents; make fewer steps, or the learning rate smaller"
        )
    if grown := [f"{value:.2g} times at {size}" for size, value in growth.items() if value > GROWN]:
        said.append(
            f"the stream grows over the blocks, {', '.join(grown)} (width, blocks): corrections to the exponents are large; take "
            "more blocks, or a smaller multiplier at the base"
        )
    if gone:
        what = "these sizes are left out of the fits" if kept else "make the learning rate smaller"
        said.append(f"training diverged at (width, blocks) = {', '.join(map(str, gone))}: {what}")
    return said


def _median(seeds: Sequence[Mapping[str, float]], key: str) -> float:
    return float(np.median([one[key] for one in seeds]))


def fitted(law: Law, grid: Grid, measured: Measured, tolerance: float) -> Finding:
    """The exponent of one law; its margin is not known before it is known how many there are."""
    gone = diverged(measured)
    kept = [size for size in grid.along(law.axis) if size not in gone]
    logs = _logs(law.quantity, kept, measured)
    sizes = np.array([size[law.axis == BLOCKS] for size in kept], float)
    missing = ""
    if len(kept) < 2:
        missing = f"fewer than two sizes stayed finite in {law.axis}: a smaller learning rate, or smaller sizes"
    elif not np.all(np.isfinite(logs)):
        missing = UNMOVED if law.verdict == LEARNING else NOTHING
    if missing:
        nothing = np.zeros(0)
        return Finding(law, Estimate.unknown(), np.nan, tolerance, nothing, nothing, nothing, missing)
    spread = logs.std(1, ddof=1) / logs.shape[1] ** 0.5
    return Finding(law, slope(np.log(sizes), logs), np.nan, tolerance, sizes, logs.mean(1), spread)


def _logs(quantity: str, sizes: Sequence[Size], measured: Measured) -> np.ndarray:
    """Logarithms, shape (sizes, seeds); minus infinity or NaN where there is nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(np.array([[one.get(quantity, np.nan) for one in measured[size]] for size in sizes], float))


def compared(
    scaled: Sequence[Mapping[str, float]], base: Sequence[Mapping[str, float]], blocks: int, tolerance: float
) -> list[Finding]:
    r"""The scaled model at the size of the base beside the base model: the exponent of the base's own number of blocks.

    With $L_0$ the base's blocks, a multiplier $L^{-\alpha}$ in place of $(L / L_0)^{-\alpha}$ gives $-\alpha$, whatever $L_0$.
    """
    unit = np.log(max(blocks, 2))
    found = []
    for quantity, kind in COMPARED:
        law = Law(quantity, BASE, kind, Fraction(0), "the same model at the base's size", SAME_BASE, SAME_BASE)
        logs = np.log([one[quantity] for one in scaled]) - np.log([one[quantity] for one in base])
        curve = np.array([logs.mean()])
        found.append(Finding(law, Estimate.of(logs / unit), np.nan, tolerance, np.array([float(blocks)]), curve, curve * 0))
    return found


def with_margins(findings: Sequence[Finding], error_rate: float) -> list[Finding]:
    """Margins that hold for all findings together: every verdict has one share of the error rate, and its findings share that."""
    judged = [finding.law.verdict for finding in findings if finding.law.exact is not None and not finding.missing]
    shares = {kind: error_rate / len(set(judged)) / judged.count(kind) for kind in set(judged)}
    return [replace(f, margin=f.measured.half_width(1 - shares.get(f.law.verdict, error_rate))) for f in findings]


def slopes(grid: Grid, measured: Measured) -> Slopes:
    """Exponents of what is not judged: standard deviations of initial weights, epsilon over gradients, and learning rates."""
    gone = diverged(measured)
    found = {}
    for axis in (WIDTH, BLOCKS):
        kept = [size for size in grid.along(axis) if size not in gone]
        for quantity in next(iter(measured.values()))[0]:
            logs = _logs(quantity, kept, measured)
            if quantity.startswith(("std of ", "epsilon of ", "lr of ")) and len(kept) > 1 and np.all(np.isfinite(logs)):
                found[quantity, axis] = slope(np.log([size[axis == BLOCKS] for size in kept]), logs).value
    return found


def epsilons(grid: Grid, measured: Measured) -> dict[str, float]:
    """By layer, epsilon over the rms of its first gradient, at the end of the axis where that is largest; NaN if unknown."""
    found: dict[str, float] = {}
    for size in (grid.along(WIDTH)[-1], grid.along(BLOCKS)[-1]):
        for quantity in measured[size][0]:
            if quantity.startswith("epsilon of "):
                ratio, layer = float(np.median([one[quantity] for one in measured[size]])), quantity.removeprefix("epsilon of ")
                found[layer] = float(np.fmax(found.get(layer, np.nan), ratio))
    return found
