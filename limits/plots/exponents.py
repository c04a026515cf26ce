"""Measured exponents: curves against the number of blocks with their fits, increments over depth, and all verdicts at once."""

from typing import Any

import numpy as np

from limits.compare.check import CONFIDENCE, ExponentCheck, Row
from limits.compare.expected import DIVERSITY, FEATURES, GROWTH, OUTPUTS, SHARE
from limits.compare.fits import SHALLOWEST
from limits.plots.style import DEEP, FINITE, WIDE, blank, few, legend, shades

COLOURS = {"pass": WIDE, "fail": FINITE, "unresolved": "#E69F00", "": "0.45"}
"""Of the verdicts, apart for colour-blind readers."""
WHAT = {
    GROWTH: "before training: $\\Vert x^L-x^0\\Vert$",
    FEATURES: r"features: rms $\Delta x^L$",
    OUTPUTS: r"outputs: rms $\Delta f$",
    SHARE: "blocks: second order / first order",
}


def measured_exponent(axes: Any, check: ExponentCheck, name: str) -> Any:
    """One quantity against the number of blocks, with its fit (solid) and the exact slope (dashed).

    Points are geometric means over seeds beside the one of the largest network, with 95 % intervals; hollow ones are too small to
    enter the fit.

    Args:
        axes: where to draw.
        check: of `limits.compare.measure_exponents`.
        name: of the row, such as "features".

    >>> from matplotlib.figure import Figure
    >>> from limits import DEPTH_MUP, SGD, Problem, ResNet, compare
    >>> one = Problem(ResNet("tanh"), DEPTH_MUP, SGD(0.1, steps=1), [[1.0, 0.4]], [[1.0]])
    >>> check = compare.measure_exponents(one, width=8, blocks=(8, 16), seeds=3)
    >>> axes = measured_exponent(Figure().subplots(), check, "features")
    >>> axes.get_xlabel(), axes.get_legend_handles_labels()[1][1]
    ('blocks L', 'exact 0')
    """
    row = check[name]
    if name == DIVERSITY:
        return measured_diversity(axes, check)
    if row.missing:
        return blank(axes, _title(row), f"unresolved: {row.missing}")
    last, colour = row.curve[-1], COLOURS[row.verdict]
    for part, face in ((row.fitted, colour), (~row.fitted, "white")):
        style = {"fmt": "o", "ms": 5, "color": colour, "mfc": face, "capsize": 2.5, "lw": 1.1, "zorder": 3}
        axes.errorbar(row.sizes[part], np.exp(row.curve[part] - last), yerr=_bars(row, part, last), **style)
    centre = np.log(row.sizes[row.fitted]).mean(), (row.curve[row.fitted] - last).mean()
    span = row.sizes[row.fitted][[0, -1]] * [0.8, 1.25]
    for exponent, line in ((row.measured.value, "-"), (row.exact, "--")):
        if exponent is not None:
            label = f"measured {row.measured.value:.3f} ± {_half(row):.3f}" if line == "-" else f"exact {row.exact}"
            y = np.exp(centre[1] + float(exponent) * (np.log(span) - centre[0]))
            axes.plot(span, y, line, color=colour if line == "-" else DEEP, lw=1.6, label=label, zorder=2)
    _frame(axes, row)
    return axes


def measured_diversity(axes: Any, check: ExponentCheck) -> Any:
    r"""How far what training adds to the features differs between depths $\varepsilon$ apart, for the deepest networks.

    Beside the change of the last features; a line per number of blocks from light to dark, with the slope $1-\kappa$ of diverse
    features (1/2) and of redundant ones (1).

    >>> from matplotlib.figure import Figure
    >>> from limits import DEPTH_MUP, SGD, Problem, ResNet, compare
    >>> one = Problem(ResNet("tanh"), DEPTH_MUP, SGD(0.1, steps=1), [[1.0, 0.4]], [[1.0]])
    >>> check = compare.measure_exponents(one, width=8, blocks=(16, 32, 64), seeds=3)
    >>> axes = measured_diversity(Figure().subplots(), check)
    >>> axes.get_legend_handles_labels()[1][:3]
    ['L = 16', 'L = 32', 'L = 64']
    """
    row = check[DIVERSITY]
    if row.missing:
        return blank(axes, _title(row), f"unresolved: {row.missing}")
    sizes = few([L for L in sorted(check.increments) if L >= SHALLOWEST], 3)
    for L, shade in zip(sizes, shades(len(sizes)), strict=True):
        distance, mean, spread = check.increments[L]
        y, half = np.exp(mean), 1.96 * spread
        axes.plot(distance, y, "o-", color=COLOURS[row.verdict], alpha=shade, lw=1.3, ms=3.5, label=f"L = {L}", zorder=3)
        axes.fill_between(distance, y * np.exp(-half), y * np.exp(half), color=COLOURS[row.verdict], alpha=0.15 * shade, lw=0)
    distance, mean, _ = check.increments[sizes[-1]]
    for kappa, line in ((0.5, ":"), (0.0, "--")):
        guide = np.exp(mean[-1]) * (distance / distance[-1]) ** (1 - kappa)
        axes.plot(distance, guide, line, color=DEEP, lw=1.2, label=rf"slope 1 - $\kappa$, $\kappa$ = {kappa:g}", zorder=2)
    axes.set(xscale="log", yscale="log", xlabel=r"distance in depth $\varepsilon$")
    axes.set_ylabel(r"rms increment of $x_T - x_0$")
    axes.grid(alpha=0.25, which="major")
    exact = "" if row.exact is None else f", exact {row.exact}"
    axes.set_title(rf"increments over depth: $\kappa$ = {row.measured.value:.3f} ± {_half(row):.3f}{exact}", fontsize=10)
    legend(axes, fontsize=8, loc="lower right")
    return axes


def exponent_verdicts(axes: Any, check: ExponentCheck) -> Any:
    """How far measured exponents are from the exact ones: 95 % intervals (thick), those of all together (thin), the tolerance.

    Exponents that were not measured have their line, and no point on it.

    >>> from matplotlib.figure import Figure
    >>> from limits import DEPTH_MUP, SGD, Problem, ResNet, compare
    >>> one = Problem(ResNet("tanh"), DEPTH_MUP, SGD(0.1, steps=1), [[1.0, 0.4]], [[1.0]])
    >>> check = compare.measure_exponents(one, width=8, blocks=(8, 16), seeds=3)
    >>> axes = exponent_verdicts(Figure().subplots(), check)
    >>> axes.get_xlabel(), len(axes.get_yticks()) == len(check.rows)
    ('measured minus exact exponent', True)
    """
    rows = [row for row in check.rows if row.exact is not None]
    if not rows:
        return blank(axes, "Measured minus exact", "there is no exact exponent to compare with")
    axes.axvspan(-check.tolerance, check.tolerance, color="0.9", lw=0, zorder=0)
    axes.axvline(0, color=DEEP, lw=1, zorder=1)
    for place, row in enumerate(reversed(rows)):
        if row.missing:
            axes.text(0, place, "not measured", ha="center", va="center", fontsize=8, bbox={"fc": "white", "ec": "none"})
            continue
        off, colour = row.measured.value - float(row.exact or 0), COLOURS[row.verdict]
        axes.plot([off - row.margin, off + row.margin], [place, place], color=colour, lw=1, zorder=2)
        axes.plot([off - _half(row), off + _half(row)], [place, place], color=colour, lw=4, solid_capstyle="butt", zorder=3)
        axes.plot(off, place, "o", color=colour, mec="white", ms=6.5, zorder=4)
    axes.set_yticks(range(len(rows)), [f"{row.name}\n{row.verdict}" for row in reversed(rows)], fontsize=8)
    reach = max([3 * check.tolerance, *(abs(r.measured.value - float(r.exact or 0)) + r.margin for r in rows if r.margin < 10)])
    axes.set(xlim=(-1.1 * reach, 1.1 * reach), ylim=(-0.6, len(rows) - 0.4), xlabel="measured minus exact exponent")
    axes.set_title(f"{check.verdict}: grey is the tolerance", fontsize=10)
    return axes


def exponent_check(check: ExponentCheck) -> Any:
    """One figure: every curve with its exponent, and the verdicts.

    Returns:
        A `matplotlib.figure.Figure`; save it with `figure.savefig(path)`.

    >>> from limits import DEPTH_MUP, SGD, Problem, ResNet, compare
    >>> one = Problem(ResNet("tanh"), DEPTH_MUP, SGD(0.1, steps=1), [[1.0, 0.4]], [[1.0]])
    >>> check = compare.measure_exponents(one, width=8, blocks=(8, 16), seeds=3)
    >>> figure = exponent_check(check)
    >>> len(figure.axes) > len(check.rows), figure.axes[len(check.rows)].get_title()  # a panel per row, and the verdicts
    (True, 'unresolved: grey is the tolerance')
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = -(-(len(check.rows) + 1) // 2)
    figure = Figure(figsize=(3.7 * columns, 7.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(2, columns).flat)
    for axes, row in zip(panels, check.rows, strict=False):
        measured_exponent(axes, check, row.name)
    exponent_verdicts(panels[len(check.rows)], check)
    for axes in panels[len(check.rows) + 1 :]:
        axes.set_axis_off()
    p, model, meta = check.problem.parametrization, check.problem.model, check.meta
    block = f"{model.phi.name}, form {model.form}, k = {model.block_depth}"
    steps = "one step" if meta["steps"] == 1 else f"{meta['steps']} steps"
    trained = f"{type(check.problem.optimizer).__name__}, {steps}, n = {meta['width']}, {meta['seeds']} seeds"
    figure.suptitle(
        f"Exponents in the number of blocks at α = {p.alpha}, γ = {p.gamma}: {block}; {trained}\n"
        "hollow: too few blocks to enter the fit; intervals: 95 %, of each alone (thick) and of all together "
        f"at error rate {check.error_rate:g} (thin)",
        fontsize=11,
    )
    return figure


def _half(row: Row) -> float:
    return row.measured.half_width(CONFIDENCE)


def _bars(row: Row, part: np.ndarray, last: float) -> np.ndarray:
    """Lengths of error bars below and above the points."""
    y, half = row.curve[part] - last, 1.96 * row.spread[part]
    return np.stack([np.exp(y) - np.exp(y - half), np.exp(y + half) - np.exp(y)])


def _title(row: Row) -> str:
    if row.name == DIVERSITY:
        return "diversity: increments over depth"
    layer = row.name.removeprefix("update of layer ")
    return WHAT.get(row.name, rf"layer {layer}: rms $\Delta W_{layer}\, y_{int(layer) - 1}$" if layer.isdigit() else row.name)


def _frame(axes: Any, row: Row) -> None:
    """Logarithmic axes with plain numbers, at least half a decade high so that a flat line looks flat."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set(xscale="log", yscale="log", xlabel="blocks L")
    axes.set_title(_title(row), fontsize=10)
    axes.set_ylabel(f"geometric mean (L = {row.sizes[-1]:g}: 1)", fontsize=8.5)
    axes.set_xticks(row.sizes, [f"{size:g}" for size in row.sizes])
    axes.set_xticks([], minor=True)
    low, high = axes.get_ylim()
    room = max(0.08, 0.5 * (1 - np.log10(high / low)))
    axes.set_ylim(low * 10 ** -(room / 2), high * 10 ** (1.5 * room))  # the legend is above
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.25, which="major")
    legend(axes, fontsize=8, loc="upper right" if row.measured.value <= 0.1 else "upper left")
