"""What an audit found: exponents beside what they should be, verdicts by kind, traps, and what to do; as text and JSON."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from limits.compare.check import CONFIDENCE
from limits.compare.slopes import Estimate
from limits.markup import brief, columns, listed
from limits.parametrization import Parametrization
from limits.pytorch.audit_laws import BASE, VERDICTS, Law, violated
from limits.regimes import Regime

PASS, FAIL, UNRESOLVED, UNJUDGED = "pass", "fail", "unresolved", ""
UNMOVED = "it is zero: nothing moved"
"""Why an update has no exponent."""
MOST_SEEDS = 100
"""Where more than these are needed, more of them are no advice."""


def worst(verdicts: list[str]) -> str:
    """Fail if any fails, unresolved if any is unresolved, pass if any passes, else nothing was judged.

    >>> worst(["pass", "unresolved", ""]), worst([""])
    ('unresolved', '')
    """
    return next((one for one in (FAIL, UNRESOLVED, PASS) if one in verdicts), UNJUDGED)


@dataclass(frozen=True, eq=False)
class Finding:
    """One exponent.

    Attributes:
        law: what it is of, and what it should be.
        measured: the estimate, over seeds.
        margin: half of the interval that holds for all findings together, at the error rate of the audit.
        tolerance: how far the exponent may be from the law.
        sizes: widths, numbers of blocks, or of the learning-rate sweep numbers of blocks.
        curve: the mean over seeds of the logarithm of what was measured.
        spread: its standard error.
        missing: why there is no estimate; empty where there is one.
        remedy: what to do where it fails.

    >>> from limits import COMPLETEP
    >>> from limits.pytorch.audit_laws import laws, stand_in
    >>> law = laws(stand_in(COMPLETEP, 2, "gelu"), [])[0]  # of the embedding in width: exponent 0
    >>> sizes, measured = np.array([64, 128]), Estimate(0.5, 0.01, 7)
    >>> finding = Finding(law, measured, 0.05, 0.2, sizes, 0.5 * np.log(sizes), np.zeros(2))
    >>> finding
    Finding(embedding in width: +0.50 [+0.48, +0.52], wanted 0; fail)
    >>> finding.violates
    'stable at initialization'
    """

    law: Law
    measured: Estimate
    margin: float
    tolerance: float
    sizes: np.ndarray
    curve: np.ndarray
    spread: np.ndarray
    missing: str = ""
    remedy: str = ""

    def __repr__(self) -> str:
        quantity, axis, measured, interval, wanted, verdict, _ = _cells(self)
        found = self.missing or f"{measured} {interval}, wanted {wanted}"
        return listed("Finding", [f"{quantity} in {axis}: {found}", verdict if self.verdict else "not judged"], mark=";")

    @property
    def off(self) -> float:
        """Measured minus what the law says; of a law that only bounds, what is beyond the bound."""
        if self.law.exact is None:
            return float("nan")
        off = self.measured.value - float(self.law.exact)
        return max(0.0, off) if self.law.at_most else off

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of this finding alone."""
        return self.measured.interval(CONFIDENCE)

    @property
    def verdict(self) -> str:
        """Pass, fail, unresolved, or "" where there is nothing to judge; as in `limits.compare.check.Row`.

        What does not move is unresolved: a model that does not learn does not pass.
        """
        if self.law.exact is not None and self.missing == UNMOVED:
            return UNRESOLVED
        if self.law.exact is None or self.missing:
            return UNJUDGED
        if abs(self.off) > self.tolerance + self.margin:
            return FAIL
        reach = self.measured.value - float(self.law.exact) + self.margin if self.law.at_most else abs(self.off) + self.margin
        return PASS if abs(self.off) <= self.tolerance and reach <= 3 * self.tolerance else UNRESOLVED

    @property
    def violates(self) -> str:
        """The property of `classify` that a finding which fails violates."""
        return violated(self.law, self.measured.value, self.margin, self.tolerance) if self.verdict == FAIL else ""

    @property
    def advice(self) -> str:
        """Of an unresolved finding, about how many seeds would decide it if the estimate stays where it is; else empty."""
        if self.verdict != UNRESOLVED:
            return ""
        if self.missing:
            return (
                f"{self.law.quantity} in {self.law.axis}: nothing moved; are the layers frozen, are their rates zero, or does "
                "the optimizer hold other parameters? If what follows a layer starts at zero, it takes a second step: steps=2"
            )
        beyond = abs(self.off) > self.tolerance
        off = self.off if beyond or self.law.exact is None else self.measured.value - float(self.law.exact)
        wanted = abs(off) - self.tolerance if beyond else 3 * self.tolerance - (off if self.law.at_most else abs(off))
        seeds = seeds_for(self.measured, self.margin, wanted)
        more = f"about {seeds} seeds in place of {self.measured.freedom + 1}" if seeds else f"more than {MOST_SEEDS} seeds"
        sizes = "" if self.law.axis == BASE else f", or sizes that span more doublings in {self.law.axis}"
        if beyond:
            why = f"beyond the tolerance {self.tolerance:g}, but by less than its margin"
        else:
            why = f"within the tolerance {self.tolerance:g}, but its margin reaches beyond three of them"
        return (
            f"{self.law.quantity} in {self.law.axis} is off by {off:+.2f} ± {self.margin:.2f}, {why}: a margin of {wanted:.2f} "
            f"would decide, which takes {more}{sizes}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The finding in terms of JSON; what is not finite is null."""
        law = self.law
        return {
            "quantity": law.quantity,
            "axis": law.axis,
            "kind": law.verdict,
            "measured": _finite(self.measured.value),
            "standard_error": _finite(self.measured.error),
            "margin": _finite(self.margin),
            "interval_95": [_finite(end) for end in self.interval],
            "exact": None if law.exact is None else str(law.exact),
            "at_most": law.at_most,
            "because": law.because,
            "verdict": self.verdict,
            "violates": self.violates,
            "remedy": self.remedy,
            "advice": self.advice,
            "missing": self.missing,
            "sizes": [float(size) for size in self.sizes],
            "log_mean": [_finite(value) for value in self.curve],
            "standard_errors": [_finite(value) for value in self.spread],
        }


def seeds_for(measured: Estimate, margin: float, wanted: float) -> int | None:
    r"""The fewest seeds whose margin, Student's t times $s/\sqrt{n}$ at the same confidence, is `wanted`; None if too many.

    >>> one = Estimate(0.0, 0.2, 5)
    >>> seeds_for(one, one.half_width(0.99), 0.3)
    22
    """
    from scipy.special import stdtr, stdtrit

    seeds = np.arange(measured.freedom + 1, MOST_SEEDS + 1)
    scatter = measured.error * (measured.freedom + 1) ** 0.5
    quantile = stdtr(measured.freedom, margin / measured.error)
    enough = stdtrit(seeds - 1, quantile) * scatter / np.sqrt(seeds) <= wanted
    return int(seeds[np.argmax(enough)]) if enough.any() else None


@dataclass(frozen=True)
class Trap:
    """A mistake that is often made: its name, whether it was "found", is "clear" or was "not checked", and a sentence.

    >>> Trap("frozen base", "found", "the model at the base size is another one")
    Trap(name='frozen base', state='found', said='the model at the base size is another one')
    """

    name: str
    state: str
    said: str

    __repr__ = brief


@dataclass(frozen=True, eq=False)
class Audit:
    r"""What `coordinate_check` found in a model; printing it prints the table.

    Of every finding an exponent is wanted to within `tolerance`, as in `limits.compare.ExponentCheck`: it fails if even the
    interval that holds for all findings together keeps away from everything within the tolerance, and passes if it is within it
    and the interval reaches no further than three tolerances. Where every quantity is a power law up to the tolerance over the
    sizes, a correct model fails with probability `error_rate` at most, all verdicts together (Bonferroni).

    Attributes:
        parametrization: what the model was declared to be, and `regime` what that means.
        findings: the exponents, by quantity and axis.
        traps: mistakes that are often made.
        diverged: sizes (width, blocks) at which some seed was not finite.
        tolerance, error_rate: of the audit.
        notes: how the model was measured, and what was left out.
        meta: sizes, seeds, steps, ….

    >>> from limits import COMPLETEP, classify
    >>> from limits.pytorch.audit_laws import laws, stand_in
    >>> law = laws(stand_in(COMPLETEP, 2, "gelu"), [])[0]  # of the embedding in width: exponent 0
    >>> sizes, measured = np.array([64, 128]), Estimate(0.5, 0.01, 7)
    >>> finding = Finding(law, measured, 0.05, 0.2, sizes, 0.5 * np.log(sizes), np.zeros(2))
    >>> audit = Audit(COMPLETEP, classify(COMPLETEP, block_depth=2), (finding,), (), (), 0.2, 0.01, (), {"sizes": 4})
    >>> audit
    Audit(fail: size fail, learning not judged, diversity not judged, block linearity not judged, transfer not judged)
    >>> audit.violated
    ('stable at initialization',)
    """

    parametrization: Parametrization
    regime: Regime
    findings: tuple[Finding, ...]
    traps: tuple[Trap, ...]
    diverged: tuple[tuple[int, int], ...]
    tolerance: float
    error_rate: float
    notes: tuple[str, ...]
    meta: Mapping[str, Any]

    @property
    def verdicts(self) -> dict[str, str]:
        """By kind: size, learning, diversity, block linearity, transfer; "" where it was not judged."""
        found = {kind: worst([f.verdict for f in self.findings if f.law.verdict == kind]) for kind in VERDICTS}
        if self.unstable:
            found["size"] = FAIL
        return found

    @property
    def unstable(self) -> bool:
        """Whether models diverged, but not those of every size: what grows then does so with size."""
        return bool(self.diverged) and len(self.diverged) < self.meta["sizes"]

    @property
    def verdict(self) -> str:
        return worst(list(self.verdicts.values())) or UNRESOLVED

    @property
    def passed(self) -> bool:
        return self.verdict == PASS

    @property
    def violated(self) -> tuple[str, ...]:
        """The properties that are violated, most often violated first."""
        named = [f.violates for f in self.findings if f.violates] + ["stable during training"] * self.unstable
        return tuple(sorted(set(named), key=lambda name: (-named.count(name), name)))

    def __getitem__(self, key: tuple[str, str]) -> Finding:
        found = {(f.law.quantity, f.law.axis): f for f in self.findings}
        if key not in found:
            raise KeyError(f"there is no finding {key!r}: there are {', '.join(map(str, found))}")
        return found[key]

    def worst(self, kind: str) -> Finding | None:
        """The finding of a kind that is furthest from its law, in units of what it may be off; None if none is judged."""
        judged = [f for f in self.findings if f.law.verdict == kind and f.verdict]
        order = (FAIL, UNRESOLVED, PASS)
        return min(judged, key=lambda f: (order.index(f.verdict), -abs(np.nan_to_num(f.off))), default=None)

    def __str__(self) -> str:
        return "\n".join([*_head(self), "", *_table(self), *_sentences(self)])

    def __repr__(self) -> str:
        first, *others = [f"{kind} {verdict or 'not judged'}" for kind, verdict in self.verdicts.items()]
        return listed("Audit", [f"{self.verdict}: {first}", *others])

    def to_dict(self) -> dict[str, Any]:
        """Everything, in terms of JSON."""
        return {
            "verdict": self.verdict,
            "verdicts": self.verdicts,
            "violated": list(self.violated),
            "declared": {"parametrization": repr(self.parametrization), "regime": self.regime.to_json()},
            "tolerance": self.tolerance,
            "error_rate": self.error_rate,
            "findings": [finding.to_dict() for finding in self.findings],
            "traps": [{"name": trap.name, "state": trap.state, "said": trap.said} for trap in self.traps],
            "diverged": [list(size) for size in self.diverged],
            "notes": list(self.notes),
            "meta": dict(self.meta),
        }

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=2)


def _head(audit: Audit) -> Iterator[str]:
    """The verdict, and by kind the finding that is furthest off."""
    judged = sum(bool(f.verdict) for f in audit.findings)
    yield f"{audit.verdict.upper()}: declared {audit.parametrization!r} ({audit.regime.name})"
    yield (
        f"  {judged} exponents, each wanted to within {audit.tolerance:g}; a correct model fails with probability at most "
        f"{audit.error_rate:g} in all"
    )
    for kind, verdict in audit.verdicts.items():
        one = audit.worst(kind)
        if one is None:
            off = "not measured"
        else:
            off = f"{one.law.quantity} in {one.law.axis}" + (
                f": {one.missing}" if one.missing else f" is off by {one.off:+.2f} ± {one.margin:.2f}"
            )
        yield f"  {kind:<16}{verdict or '-':<12}{off}"
    if audit.violated:
        yield f"  violated: {', '.join(audit.violated)}"


def _table(audit: Audit) -> Iterator[str]:
    head = ("exponent of", "in", "measured", "95 % interval", "wanted", "verdict", "")
    cells = [head, *(_cells(finding) for finding in audit.findings)]
    yield columns(cells)


def _cells(finding: Finding) -> tuple[str, ...]:
    law, (low, high) = finding.law, finding.interval
    exact = "-" if law.exact is None else f"{'≤ ' if law.at_most else ''}{law.exact}"
    if finding.missing:
        return law.quantity, law.axis, "-", "-", exact, finding.verdict or "-", finding.missing
    why = f"violates: {finding.violates}" if finding.violates else law.because
    numbers = f"{finding.measured.value:+.2f}", f"[{low:+.2f}, {high:+.2f}]"
    return law.quantity, law.axis, *numbers, exact, finding.verdict or "-", why


def _sentences(audit: Audit) -> Iterator[str]:
    remedies = dict.fromkeys(f.remedy for f in audit.findings if f.remedy and f.verdict == FAIL)
    found = [trap.said for trap in audit.traps if trap.state == "found"]
    undecided = [f.advice for f in audit.findings if f.advice]
    states = [f"{t.name}: {t.state}{f' ({t.said})' if t.state == 'not checked' else ''}" for t in audit.traps]
    told = ("what to do", [*remedies, *found]), ("what is unresolved", undecided), ("traps", states), ("notes", audit.notes)
    for title, lines in told:
        if lines:
            yield from ("", f"{title}:", *(f"  - {line}" for line in dict.fromkeys(lines)))


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
