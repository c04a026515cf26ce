r"""Which rule of `limits.scaling` a finding that fails asks for, and why.

The learning rates that a layer was given are read off its optimizer. Where they scale like $n^a$ and `scale` derives $n^r$, the
updates of the layer are off by $n^{a-r}$; where what was fitted is that, to within the interval and the tolerance of the finding,
the rule explains it, and is what should be done. The fitted power is the evidence. In the number of blocks likewise, and for the
multiplier of the branches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from limits.parametrization import Parametrization
from limits.pytorch.audit_findings import FAIL, Finding
from limits.pytorch.audit_laws import BLOCKS, WIDTH
from limits.scaling import Cell, Row, Scaling, scale
from limits.scaling.rules import RULES

RATIOS = {WIDTH: "m_N", BLOCKS: "m_L"}
LETTERS = {WIDTH: "n", BLOCKS: "L"}
SEEN = {
    Fraction(0): "as without a multiplier",
    Fraction(-1, 2): "as with Depth-µP's multiplier L^-1/2",
    Fraction(-1): "as with CompleteP's multiplier L^-1",
}
"""Multipliers that branches often have, by their exponent."""
UPDATE = "update of "
Slopes = Mapping[tuple[str, str], float]
"""Fitted exponents of what is not judged, by quantity and axis."""


@dataclass(frozen=True)
class Rules:
    """What `scale` derives for the blocks of a model, and what their optimizer was given.

    Attributes:
        branch: the multiplier of residual branches.
        rows: by layer of a block, the row of its matrix; none if the optimizer has no rule.
        rates: by layer and axis, the exponent of the learning rate.
    """

    branch: Cell
    rows: Mapping[str, Row]
    rates: Mapping[tuple[str, str], float]

    @classmethod
    def of(
        cls, optimizer: object, parametrization: Parametrization, block_depth: int, layers: Sequence[str], slopes: Slopes
    ) -> "Rules":
        """The rules for an optimizer of torch, whose class, or one that it inherits from, is known by its name."""
        kinds = (kind.__name__.lower() for kind in type(optimizer).__mro__)
        known = next((name for name in kinds if name in RULES), None)
        asked = {"optimizer": known or "adamw", "parametrization": parametrization, "block_depth": block_depth}
        table = scale("width=2,blocks=2", "width=4,blocks=4", **asked)
        rates = {(q.removeprefix("lr of "), axis): value for (q, axis), value in slopes.items() if q.startswith("lr of ")}
        return cls(table.branch, _rows(table, layers) if known else {}, rates)

    def explained(self, finding: Finding) -> bool:
        """Whether a layer's updates are off as its learning rates are from their rule, up to interval and tolerance."""
        off = self.off(finding)
        if off is None or abs(off) <= finding.tolerance:
            return False
        return abs(finding.off - off) <= finding.tolerance + finding.margin

    def off(self, finding: Finding) -> float | None:
        """The exponent of the learning rates of a layer less that of their rule; None if either is unknown."""
        layer, axis = finding.law.quantity.removeprefix(UPDATE), finding.law.axis
        given = self.rates.get((layer, axis))
        return None if given is None or layer not in self.rows else given - float(self.rows[layer].lr.exponent(RATIOS[axis]))

    def in_rates(self, findings: Sequence[Finding], axis: str) -> str:
        """One sentence for all layers whose updates fail along an axis as their rule explains; empty if there are none."""
        found = [f for f in findings if f.verdict == FAIL and f.law.quantity.startswith(UPDATE) and f.law.axis == axis]
        found = [f for f in found if self.explained(f)]
        if not found:
            return ""
        layers, size = [f.law.quantity.removeprefix(UPDATE) for f in found], LETTERS[axis]
        given = ", ".join(dict.fromkeys(f"{size}^{self.rates[layer, axis]:+.2f}" for layer in layers))
        needed = ", ".join(dict.fromkeys(_factor(self.rows[layer].lr, axis) for layer in layers))
        row, fits = self.rows[layers[0]], ", ".join(f"{size}^({f.off:+.2f} ± {f.margin:.2f})" for f in found)
        return (
            f"learning rates of {', '.join(layers)} scale like {given}, and the rule of limits.scale for {row.role} matrices "
            f"under {row.optimizer} is {row.lr}: give them {needed}. By measured updates they are off by {fits}. "
            f"Why: {row.lr.why}"
        )

    def beside(self, finding: Finding) -> str:
        """What the rule is where it goes the way of a finding without explaining its size; empty if it does not."""
        off = self.off(finding)
        if off is None or abs(off) <= finding.tolerance or off * finding.off < 0:
            return ""
        layer, axis = finding.law.quantity.removeprefix(UPDATE), finding.law.axis
        row, given = self.rows[layer], f"{LETTERS[axis]}^{self.rates[layer, axis]:+.2f}"
        return f" (it scales like {given}; the rule of limits.scale for {row.role} matrices under {row.optimizer} is {row.lr})"

    def in_branches(self, finding: Finding) -> str:
        """The sentence about the multiplier of branches that are larger or smaller than declared."""
        law, measured = finding.law, finding.measured.value
        assert law.exact is not None
        multiplier = measured - float(law.exact) + float(self.branch.blocks)
        nearest = min(SEEN, key=lambda exponent: abs(multiplier - exponent))
        seen = f", {SEEN[nearest]}" if abs(multiplier - nearest) <= finding.tolerance + finding.margin else ""
        return (
            f"{law.quantity} scales like L^({measured:+.2f} ± {finding.margin:.2f}){seen}, where L^{law.exact} was declared: the "
            f"rule of limits.scale for residual branches is the multiplier {self.branch}; give every branch "
            f"{_factor(self.branch, BLOCKS)}, L counting residual blocks, and no other factor of L. Why: {self.branch.why}"
        )


def _rows(table: Scaling, layers: Sequence[str]) -> dict[str, Row]:
    """The rows of the layers of a block; none where layers have exponents of their own and cannot be told apart."""
    if "hidden" in table.rows:
        return {layer: table["hidden"] for layer in layers}
    return {layer: table[f"hidden {i}"] for i, layer in enumerate(layers, start=1)} if len(layers) == table.block_depth else {}


def _factor(cell: Cell, axis: str) -> str:
    """The factor of one size in a rule, to be written into a script.

    >>> _factor(Cell.of({"m_N": -1, "m_L": "1/2"}, {"m_N": 2.0, "m_L": 2.0}), "blocks")
    'the factor (L / L_base)^(1/2)'
    """
    size, exponent = LETTERS[axis], cell.exponent(RATIOS[axis])
    power = exponent if exponent.denominator == 1 else f"({exponent})"
    return f"the factor ({size} / {size}_base)^{power}" if exponent else f"no factor of {size}"
