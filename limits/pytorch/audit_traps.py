r"""Mistakes that are often made when a model is scaled, and what to do about a finding that fails.

Named after what is confused: raw numbers of blocks with ratios to a base, layers with blocks, an initialization that already
contains $1/\sqrt{2L}$ with one that does not, factors of depth at the ends, and Adam's $\varepsilon$ with zero.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from limits.pytorch.audit_findings import FAIL, Finding, Trap
from limits.pytorch.audit_laws import BASE, BLOCKS, SIZE, WIDTH
from limits.pytorch.audit_rules import UPDATE, Rules, Slopes

NOTICED = 0.25
"""Of an exponent that should be zero, or of epsilon over the gradient."""
FOUND, CLEAR, UNCHECKED = "found", "clear", "not checked"
FEW = "fewer than two sizes stayed finite in {axis}: make the learning rate smaller"


def traps(findings: Sequence[Finding], slopes: Slopes, epsilons: Mapping[str, float], each: int) -> tuple[Trap, ...]:
    """Every trap, in the order of the audit's page.

    Args:
        findings: all of them.
        slopes: exponents of the standard deviations of initial weights.
        epsilons: of every layer, epsilon over the rms of the gradient at the largest sizes.
        each: residual blocks in a module.
    """
    named = {(finding.law.quantity, finding.law.axis): finding for finding in findings}
    return (_raw_depth(named), _layers(each), _initial(slopes), _ends(named), _epsilon(epsilons, slopes))


def _raw_depth(findings: Mapping[tuple[str, str], Finding]) -> Trap:
    name = "raw number of blocks in place of the ratio to a base"
    at_base = [finding for (_, axis), finding in findings.items() if axis == BASE]
    if not at_base:
        return Trap(name, UNCHECKED, "give base= its size and base_model= what makes the base model to compare with it")
    bad = [f for f in at_base if f.verdict == FAIL]
    if not bad and not all(np.isfinite(f.measured.value) for f in at_base):
        return Trap(name, UNCHECKED, "models of the size of the base model did not stay finite: make the learning rate smaller")
    if not bad:
        return Trap(name, CLEAR, "")
    times = "; ".join(f"its {f.law.quantity} is {np.exp(f.curve[0]):.3g} times as large" for f in bad)
    said = f"at the size of the base model, the scaled model is not the base model: {times}"
    return Trap(name, FOUND, f"{said}: scale by the ratio L / L_base of residual blocks, which is 1 there")


def _layers(each: int) -> Trap:
    name = "layers counted as blocks"
    return Trap(name, CLEAR, f"a module holds {each} residual block{'s' * (each > 1)}")


def _initial(slopes: Slopes) -> Trap:
    name = "1/sqrt(2L) in the initialization"
    deviations = {q.removeprefix("std of "): v for (q, axis), v in slopes.items() if axis == BLOCKS and q.startswith("std of ")}
    if not deviations:
        return Trap(name, UNCHECKED, f"{FEW.format(axis=BLOCKS)}, or the layers of the blocks start at zero")
    shrinking = {layer: v for layer, v in deviations.items() if v < -NOTICED}
    if not shrinking:
        return Trap(name, CLEAR, "")
    layers = ", ".join(f"{layer} (L^{v:.2f})" for layer, v in shrinking.items())
    said = (
        f"initial weights shrink with the number of blocks: {layers}; an initialization that contains 1/sqrt(2L) is a factor of "
        "depth that the branch multiplier has already: take it out, or declare it as `initial` of the Parametrization"
    )
    return Trap(name, FOUND, said)


def _ends(findings: Mapping[tuple[str, str], Finding]) -> Trap:
    name = "a factor of depth on the embedding or the read-out"
    read_in, out = findings.get(("embedding", BLOCKS)), findings.get(("logit update", BLOCKS))
    stream, logits = findings.get(("stream update", BLOCKS)), findings.get(("logits", BLOCKS))
    if read_in and read_in.verdict == FAIL:
        said = f"the embedded inputs scale like L^{read_in.measured.value:+.2f}: take the factor of depth off the embedding"
        return Trap(name, FOUND, said)
    outer = [f for f in (out, logits) if f and f.verdict == FAIL]
    if outer and stream and stream.verdict != FAIL:
        what = f"the {outer[0].law.quantity} scales like L^{outer[0].measured.value:+.2f} and the stream does not"
        return Trap(name, FOUND, f"{what}: take the factor of depth off the read-out")
    ends = {"embedding": (read_in,), "read-out": (out, logits)}
    unknown = [f"the {end} ({seen[0].missing})" for end, both in ends.items() if (seen := [f for f in both if f]) and _lost(seen)]
    return Trap(name, UNCHECKED if unknown else CLEAR, f"nothing is known of {', nor of '.join(unknown)}" if unknown else "")


def _lost(findings: Sequence[Finding]) -> bool:
    """Whether none of them has an estimate."""
    return all(finding.missing for finding in findings)


def _epsilon(epsilons: Mapping[str, float], slopes: Slopes) -> Trap:
    name = "Adam's epsilon that does not follow the gradient"
    large = {layer: ratio for layer, ratio in epsilons.items() if ratio > NOTICED}
    growing = {
        layer for layer in epsilons if max(slopes.get((f"epsilon of {layer}", axis), 0.0) for axis in (WIDTH, BLOCKS)) > NOTICED
    }
    if not epsilons:
        return Trap(name, UNCHECKED, "the optimizer has no eps")
    if not set(large) & growing:
        unknown = [layer for layer, ratio in epsilons.items() if np.isnan(ratio) or not _followed(layer, slopes)]
        why = f"gradients of {', '.join(unknown)} were zero or not finite: make the learning rate smaller" if unknown else ""
        return Trap(name, UNCHECKED if unknown else CLEAR, why)
    layers = ", ".join(f"{layer} ({ratio:.2g})" for layer, ratio in large.items() if layer in growing)
    said = (
        f"epsilon over the rms of the gradient grows with size, and is large at the largest: {layers}; gradients of hidden "
        "weights shrink like 1/n and like L^-alpha, so that an epsilon that does not takes over, and updates vanish: multiply "
        "eps by (n_base / n) (L / L_base)^-alpha in the blocks, by n_base / n outside"
    )
    return Trap(name, FOUND, said)


def _followed(layer: str, slopes: Slopes) -> bool:
    """Whether epsilon over the gradient has an exponent in width and in blocks."""
    return all((f"epsilon of {layer}", axis) in slopes for axis in (WIDTH, BLOCKS))


def remedy(finding: Finding, findings: Sequence[Finding], found: Sequence[Trap], slopes: Slopes, rules: Rules) -> str:
    """What to do about one finding that fails; one that a trap or a rule explains has what these say, others a fitted power."""
    if finding.verdict != FAIL:
        return ""
    law = finding.law
    if by_trap := _explained(finding, found):
        return by_trap
    if law.verdict != SIZE and any(f.verdict == FAIL and f.law.verdict == SIZE and f.law.axis == law.axis for f in findings):
        return f"repair the sizes in {law.axis} first: what they grow or shrink by is in the updates too"
    if law.verdict == SIZE and law.axis != BASE:
        return _in_sizes(finding, findings, slopes, rules)
    if _follows(finding, findings, rules) and (by_rule := rules.in_rates(findings, law.axis)):
        return by_rule
    return finding.remedy if finding.remedy or law.axis == BASE else _in_updates(finding, findings, rules)


def _follows(finding: Finding, findings: Sequence[Finding], rules: Rules) -> bool:
    """Whether what is wrong with the learning rates of layers is what is wrong here: read-outs err on their own."""
    if finding.law.quantity.startswith(UPDATE):
        return rules.explained(finding)
    return finding.law.quantity != "logit update" or "stream update" in _failing(findings, finding.law.axis)


def _in_sizes(finding: Finding, findings: Sequence[Finding], slopes: Slopes, rules: Rules) -> str:
    """Before training."""
    law, power = finding.law, f"{finding.measured.value:+.2f}"
    if law.quantity == "logits":
        return f"outputs before training grow like {_size(finding)}^{power}: the read-out needs a multiplier n_base / n"
    if law.quantity == "gradient":
        return "gradients grow on their way through the blocks: check the branch multiplier, and that nothing multiplies the skip"
    if law.axis == WIDTH:
        layers = {q.removeprefix("std of "): v for (q, axis), v in slopes.items() if axis == WIDTH and q.startswith("std of ")}
        weights = ", ".join(f"{layer} n^{v:.2f}" for layer, v in layers.items())
        return f"{law.quantity} scales like n^{power}: hidden weights need an initial deviation of order n^-1/2 (here: {weights})"
    if law.quantity == "initial sum" and "initial branch" in _failing(findings, BLOCKS):
        return ""
    return rules.in_branches(finding)


def _in_updates(finding: Finding, findings: Sequence[Finding], rules: Rules) -> str:
    """Where sizes are right and what training changes is not, and no rule explains it: by the fitted power."""
    law, power, size = finding.law, f"{finding.measured.value:+.2f}", _size(finding)
    if law.quantity == "logit update" and law.axis == WIDTH and "stream update" not in _failing(findings, WIDTH):
        so = f"logit update scales like n^{power} and the stream does not"
        return f"{so}: the read-out needs a multiplier n_base / n, or initial weights and a learning rate of that order"
    if law.quantity == "increments":
        wanted = f"what training adds over one block scales like L^{power}, not L^{law.exact}"
        return f"{wanted}: the branch multiplier or the learning rate has another exponent than declared"
    if law.quantity == "second order":
        so = "linear in their updates" if finding.off < 0 else "ever less linear in their updates"
        return f"how far a block's update is from linear scales like L^{power}, not L^{law.exact}: with depth, blocks become {so}"
    of_layer = law.quantity.startswith(UPDATE)
    kept = "the learning rate" if of_layer else "learning rates (and Adam's eps)"
    wanted = f"{law.quantity} {'vanishes' if finding.off < 0 else 'grows'} like {size}^{power} where {size}^{law.exact} is wanted"
    rule = rules.beside(finding) if of_layer else ""
    return f"{wanted}: multiply {kept} by ({size} / {size}_base)^{-finding.off:+.2g}{rule}"


def _size(finding: Finding) -> str:
    return "n" if finding.law.axis == WIDTH else "L"


def _failing(findings: Sequence[Finding], axis: str) -> set[str]:
    """Quantities that fail along an axis."""
    return {f.law.quantity for f in findings if f.verdict == FAIL and f.law.axis == axis}


def _explained(finding: Finding, found: Sequence[Trap]) -> str:
    """The sentence of the trap that explains a finding; empty if none does."""
    quantity, axis, learning = finding.law.quantity, finding.law.axis, finding.law.verdict == "learning"
    for trap in (each for each in found if each.state == FOUND):
        name = trap.name
        initial = (
            name.startswith("1/sqrt")
            and axis == BLOCKS
            and (quantity in ("initial branch", "initial sum") or quantity.startswith("update of"))
        )
        ends = name.startswith("a factor of depth") and axis == BLOCKS and quantity in ("embedding", "logits", "logit update")
        epsilon = name.startswith("Adam") and learning and (finding.off < 0 or quantity.startswith("epsilon"))
        raw = name.startswith("raw") and axis == BASE
        if initial or ends or epsilon or raw:
            return trap.said
    return ""
