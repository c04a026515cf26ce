"""The audit of a PyTorch model: its curves over what they should be, and how far every exponent is from its law."""

from typing import Any

import numpy as np

from limits.plots.exponents import COLOURS
from limits.plots.style import DEEP, blank, legend
from limits.pytorch.audit_findings import CONFIDENCE, Audit, Finding

LABELS = {"width": "width n", "blocks": "residual blocks L"}
MARKERS = "osD^v"
"""Of the curves that are called by their names."""


def audit_curves(axes: Any, audit: Audit, axis: str = "blocks") -> Any:
    """Everything that was judged along one axis, over what it should be: what scales as declared is flat.

    Geometric means over seeds with 95 % intervals, one at the smallest size. Curves that pass are thin, those that may fall
    are dotted; those that are not flat are named, the furthest off first.

    Args:
        axes: where to draw.
        audit: of `limits.pytorch.coordinate_check`.
        axis: "width" or "blocks".

    >>> from matplotlib.figure import Figure
    >>> from limits import COMPLETEP, classify
    >>> from limits.compare.slopes import Estimate
    >>> from limits.pytorch.audit_laws import laws, stand_in
    >>> law = laws(stand_in(COMPLETEP, 2, "gelu"), [])[0]  # of the embedding in width: exponent 0
    >>> sizes = np.array([64, 128])
    >>> finding = Finding(law, Estimate(0.5, 0.01, 7), 0.05, 0.2, sizes, 0.5 * np.log(sizes), np.zeros(2))
    >>> audit = Audit(COMPLETEP, classify(COMPLETEP, block_depth=2), (finding,), (), (), 0.2, 0.01, (), {"sizes": 4})
    >>> axes = audit_curves(Figure().subplots(), audit, "width")
    >>> axes.get_title(), axes.get_legend().get_texts()[0].get_text()
    ('over width: 1 of 1 off', 'embedding: +0.50, wanted 0')
    """
    if axis not in LABELS:
        raise ValueError(f"axis must be one of {', '.join(LABELS)}, got {axis!r}")
    shown = [f for f in audit.findings if f.law.axis == axis and f.verdict and len(f.sizes) > 1]
    if not shown:
        return blank(axes, f"over {axis}", "fewer than two sizes stayed finite: make the learning rate smaller")
    axes.axhline(1, color=DEEP, lw=1, ls="--", zorder=1)
    named = sorted((f for f in shown if f.verdict != "pass" or _falls(f, audit.tolerance)), key=lambda f: -abs(f.off))
    named = named[: len(MARKERS)]
    for finding in sorted(shown, key=lambda f: f.verdict != "pass"):
        _curve(axes, finding, MARKERS[named.index(finding)] if finding in named else "")
    sizes = np.unique(np.concatenate([f.sizes for f in shown]))
    _frame(axes, sizes, len(named))
    axes.set_xlabel(LABELS[axis])
    legend(axes, fontsize=8, loc="upper left")
    failed = sum(f.verdict == "fail" for f in shown)
    axes.set_title(f"over {axis}: {failed or 'none'} of {len(shown)} off", fontsize=10)
    return axes


def _falls(finding: Finding, tolerance: float) -> bool:
    """Whether a curve falls that may, so that it passes and is not flat."""
    return finding.law.at_most and float(finding.law.exact or 0) - finding.measured.value > tolerance


def _curve(axes: Any, finding: Finding, marker: str) -> None:
    """One curve over its law; with a marker of its own and its name if it has one."""
    wanted = float(finding.law.exact or 0) * np.log(finding.sizes)
    y = finding.curve - wanted
    y, half = y - y[0], 1.96 * finding.spread
    colour, bad = COLOURS[finding.verdict], finding.verdict != "pass"
    bars = np.stack([np.exp(y) - np.exp(y - half), np.exp(y + half) - np.exp(y)])
    label = f"{finding.law.quantity}: {finding.measured.value:+.2f}, wanted {_wanted(finding)}" if marker else None
    style = {"lw": 1.6 if bad else 0.8, "ms": 4.5 if bad else 3, "alpha": 1.0 if bad else 0.55, "zorder": 3 if bad else 2}
    line = f"{marker or 'o'}{':' if finding.law.at_most else '-'}"
    axes.errorbar(finding.sizes, np.exp(y), yerr=bars, fmt=line, color=colour, capsize=2, label=label, **style)


def _wanted(finding: Finding) -> str:
    return f"{'≤ ' if finding.law.at_most else ''}{finding.law.exact}"


def _frame(axes: Any, sizes: np.ndarray, named: int) -> None:
    """Logarithmic axes with plain numbers, at least a factor of three high so that a flat line looks flat; names are above."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set(xscale="log", yscale="log")
    low, high = axes.get_ylim()
    low, high = min(low, 1 / 1.8), max(high, 1.8)
    axes.set_ylim(low, high * (high / low) ** (0.08 * named))
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("measured over wanted", fontsize=9)
    axes.grid(alpha=0.25, which="major")


def audit_verdicts(axes: Any, audit: Audit) -> Any:
    """How far every exponent is from its law: 95 % intervals (thick), those that hold together (thin), the tolerance (grey).

    >>> from matplotlib.figure import Figure
    >>> from limits import COMPLETEP, classify
    >>> from limits.compare.slopes import Estimate
    >>> from limits.pytorch.audit_laws import laws, stand_in
    >>> law = laws(stand_in(COMPLETEP, 2, "gelu"), [])[0]  # of the embedding in width: exponent 0
    >>> sizes = np.array([64, 128])
    >>> finding = Finding(law, Estimate(0.5, 0.01, 7), 0.05, 0.2, sizes, 0.5 * np.log(sizes), np.zeros(2))
    >>> audit = Audit(COMPLETEP, classify(COMPLETEP, block_depth=2), (finding,), (), (), 0.2, 0.01, (), {"sizes": 4})
    >>> axes = audit_verdicts(Figure().subplots(), audit)
    >>> axes.get_title(), [tick.get_text() for tick in axes.get_yticklabels()]
    ('size fail', ['embedding, width'])
    """
    rows = [f for f in audit.findings if f.verdict and not f.missing]
    if not rows:
        return blank(axes, "Measured minus wanted", "nothing could be judged: make the learning rate smaller")
    axes.axvspan(-audit.tolerance, audit.tolerance, color="0.9", lw=0, zorder=0)
    axes.axvline(0, color=DEEP, lw=1, zorder=1)
    for place, finding in enumerate(reversed(rows)):
        off, colour, half = finding.off, COLOURS[finding.verdict], finding.measured.half_width(CONFIDENCE)
        axes.plot([off - finding.margin, off + finding.margin], [place, place], color=colour, lw=1, zorder=2)
        axes.plot([off - half, off + half], [place, place], color=colour, lw=3.5, solid_capstyle="butt", zorder=3)
        axes.plot(off, place, "o", color=colour, mec="white", ms=5, zorder=4)
    axes.set_yticks(range(len(rows)), [f"{f.law.quantity}, {f.law.axis}" for f in reversed(rows)], fontsize=7.5)
    reach = max(3 * audit.tolerance, *(abs(f.off) + min(f.margin, 0.5) for f in rows))
    axes.set(xlim=(-1.05 * reach, 1.05 * reach), ylim=(-0.6, len(rows) - 0.4), xlabel="measured minus wanted exponent")
    said = ", ".join(f"{kind} {verdict}" for kind, verdict in audit.verdicts.items() if verdict)
    axes.set_title(said, fontsize=8.5)
    return axes


def audited(audit: Audit) -> Any:
    """One figure: the curves in width and in blocks, and the verdicts.

    Returns:
        A `matplotlib.figure.Figure`; save it with `figure.savefig(path)`.

    >>> from limits import COMPLETEP, classify
    >>> from limits.compare.slopes import Estimate
    >>> from limits.pytorch.audit_laws import laws, stand_in
    >>> law = laws(stand_in(COMPLETEP, 2, "gelu"), [])[0]  # of the embedding in width: exponent 0
    >>> sizes, meta = np.array([64, 128]), {"sizes": 4, "seeds": 8, "steps": 3}
    >>> finding = Finding(law, Estimate(0.5, 0.01, 7), 0.05, 0.2, sizes, 0.5 * np.log(sizes), np.zeros(2))
    >>> audit = Audit(COMPLETEP, classify(COMPLETEP, block_depth=2), (finding,), (), (), 0.2, 0.01, (), meta)
    >>> [axes.get_title() for axes in audited(audit).axes]
    ['over width: 1 of 1 off', 'over blocks', 'size fail']
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = sum(bool(f.verdict) for f in audit.findings)
    figure = Figure(figsize=(13, max(4.2, 0.6 + 0.17 * rows)), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    audit_curves(left, audit, "width")
    audit_curves(middle, audit, "blocks")
    audit_verdicts(right, audit)
    violated = f"; violated: {', '.join(audit.violated)}" if audit.violated else ""
    p, meta = audit.parametrization, audit.meta
    figure.suptitle(
        f"{audit.verdict}: declared α = {p.alpha}, γ = {p.gamma} ({audit.regime.name}){violated}\n"
        f"{meta['seeds']} seeds, {meta['steps']} steps; intervals: 95 %, of each alone (thick) and of all together at error rate "
        f"{audit.error_rate:g} (thin)",
        fontsize=10.5,
    )
    return figure
