"""Does the optimum transfer? Loss against learning rate for every number of blocks, where it is lowest, and maps of it."""

from math import isinf
from typing import Any

import numpy as np

from limits.compare.curves import Curve, Transfer
from limits.compare.optimum import CONFIDENCE, Slope
from limits.compare.tables import AXES, WITHIN, nowhere, size
from limits.plots.style import DEEP, blank, edges, legend

HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours of parametrizations, apart for colour-blind readers."""
SYMBOLS = {"lr": r"learning rate $\eta$", "multiplier": "block multiplier $a$"}
LOSS = "loss after training"
DEEPEST = 1e-6
"""How far below the losses of the grid an optimum may be and be seen: an exact fit would leave no room for the curves."""
ROOM = 1.6
"""How far above the loss before training a picture reaches."""


def transfer(axes: Any, answer: Transfer, name: str | None = None) -> Any:
    """Loss after training against learning rate (or multiplier), a line per number of blocks from light to dark, the limit black.

    Dots are what was computed, and lines join them; those of exact curves are closer where losses are low. Diamonds mark the
    optima, with 95 % intervals; shading is one standard error over seeds. A line that ends went to infinity, or was not resolved.

    Args:
        axes: where to draw.
        answer: of `limits.compare.transfer`.
        name: of the parametrization; may be left out where there is only one.

    Raises:
        ValueError: both learning rate and multiplier vary (`loss_map` draws these), or there is no such parametrization.

    >>> from matplotlib.figure import Figure
    >>> from limits import DEPTH_MUP, SGD, Problem, ResNet, compare
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=1), [[1.0]], [[1.0]])
    >>> answer = compare.transfer(one, blocks=(2, 4), lrs=(0.1, 0.3, 1, 3), limit=False)
    >>> axes = transfer(Figure().subplots(), answer)
    >>> axes.get_xscale(), [text.get_text() for text in axes.get_legend().get_texts()]  # blocks
    ('log', ['2', '4'])
    """
    if answer.is_map:
        raise ValueError("learning rate and multiplier both vary: draw plots.loss_map instead")
    curves, name = answer.of(name), name or answer.names[0]
    means = np.concatenate([np.zeros(0), *(curve.mean[np.isfinite(curve.mean)] for curve in curves)])
    if not np.any(means > 0):
        why = "the loss is zero, before and after training" if len(means) else nowhere(answer, curves)
        return blank(axes, _greek(name), answer.no_limit.get(name, why))
    untrained = min(float(curve.initial.mean()) for curve in curves)  # where initial features explode, deeper ones start higher
    for curve, colour in zip(curves, _depth_colours(curves), strict=True):
        _line(axes, answer, curve, colour, ROOM * untrained)
    if untrained > 0:
        axes.axhline(untrained, color="0.6", lw=1, ls=":", zorder=1)
        where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        text = axes.annotate("before training", (0.01, untrained), (0, 2), **where, fontsize=7, annotation_clip=True)
        text.set_in_layout(False)  # where all losses are far above it there is no room to be made for it
    grid = float(np.min(means[means > 0]))
    lowest = min([grid, *(max(c.optima[0].loss, DEEPEST * grid) for c in curves if c.optima[0].known)])
    axes.set(xscale="log", yscale="log", xlim=(answer.places[0] / 1.1, answer.places[-1] * 1.1))
    below = min(1.0, lowest / untrained) if untrained > 0 else 1.0
    axes.set_ylim(below**0.1 * lowest / 1.02, max(ROOM * untrained, 1.1 * lowest))
    _plain_ticks(axes.yaxis)
    what = "loss of probes after training" if answer.measure == "probe" else LOSS
    what += " (shaded: ± 1 standard error)" if curves[0].losses.shape[-1] > 1 else ""
    without = ": no limit" if name in answer.no_limit else ""
    axes.set(xlabel=SYMBOLS[answer.axis], ylabel=what, title=_greek(name) + without)
    axes.grid(alpha=0.25, which="major")
    legend(axes, fontsize=8, title="blocks L (dots: computed)", title_fontsize=8)
    return axes


def _line(axes: Any, answer: Transfer, curve: Curve, colour: Any, top: float) -> None:
    (x, mean), error = _points(answer, curve), np.nan_to_num(curve.error.ravel(), posinf=0.0, neginf=0.0)
    limit = isinf(curve.blocks)
    style = {"color": colour, "lw": 1.2 if limit else 1.0, "ls": "--" if limit else "-", "zorder": 5 if limit else 3}
    style |= {"marker": ".", "ms": 4.5}
    filled = mean.filled(np.inf)
    none = ": not resolved" if curve.optima[0].where == "unresolved" else ": all diverge"
    unseen = ": off the scale" if np.any(np.isfinite(filled)) else none
    axes.plot(x, mean, label=size(curve.blocks) + ("" if np.any(filled < top) else unseen), **style)
    if np.any(error > 0):
        axes.fill_between(x, np.maximum(mean - error, 0.5 * mean), mean + error, color=colour, alpha=0.2, lw=0)
    if (best := curve.optima[0]).known:
        low, high = best.interval() if np.isfinite(best.error) else (best.at, best.at)
        bars = {"fmt": "D", "ms": 5, "mec": "white", "mew": 0.8, "capsize": 2.5, "lw": 1.3, "zorder": 6}
        axes.errorbar(best.at, best.loss, xerr=[[best.at - low], [high - best.at]], color=colour, **bars)


def _points(answer: Transfer, curve: Curve) -> tuple[Any, Any]:
    """Points of a line, with gaps where losses are infinite; an exact curve is known on a finer grid, and at its optimum."""
    if curve.fine is None:
        return answer.places, np.ma.masked_invalid(curve.mean.ravel())
    (x, losses), best = curve.fine, curve.optima[0]
    if best.known:
        at = int(np.searchsorted(x, best.at))
        x, losses = np.insert(x, at, best.at), np.insert(losses, at, best.loss)
    return x, np.ma.masked_invalid(losses)


def _plain_ticks(axis: Any) -> None:
    """Ticks at 1, 2 and 5 times powers of ten, written as numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _depth_colours(curves: tuple[Curve, ...]) -> list[Any]:
    """From light to dark with the number of blocks, black for the limit."""
    from matplotlib import colormaps

    several = [curve for curve in curves if not isinf(curve.blocks)]
    shades = iter(colormaps["viridis_r"](np.linspace(0.12, 0.9, len(several))))
    return [DEEP if isinf(curve.blocks) else next(shades) for curve in curves]


def _greek(name: str) -> str:
    return name.replace("alpha", "α").replace("gamma", "γ").replace("initial", "β")


def optimum(axes: Any, answer: Transfer, multiplier: float | None = None) -> Any:
    """The optimum against the number of blocks, with 95 % intervals, its drift per doubling, and the limit as a dashed line.

    Args:
        axes: where to draw.
        answer: of `limits.compare.transfer`.
        multiplier: which one; where both it and the learning rate vary.

    >>> from matplotlib.figure import Figure
    >>> from limits import DEPTH_MUP, SGD, Problem, ResNet, compare
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=1), [[1.0]], [[1.0]])
    >>> answer = compare.transfer(one, blocks=(2, 4), lrs=(0.1, 0.3, 1, 3), limit=False)
    >>> axes = optimum(Figure().subplots(), answer)
    >>> axes.get_xlabel(), axes.get_ylabel(), axes.get_title()
    ('blocks L', 'best learning rate', 'Does the optimum settle?')
    """
    found = {name: answer.optima(name, multiplier) for name in answer.names}
    sizes = sorted({L for optima in found.values() for L in optima if not isinf(L)})
    if not any(best.known for optima in found.values() for best in optima.values()):
        why = nowhere(answer, answer.curves) if answer.curves else "there is no limit"
        return blank(axes, "Optimum", why.replace("fewer than two optima", "no optimum lies"))
    for n, (name, optima) in enumerate(found.items()):
        colour, drift = HUES[n % len(HUES)], answer.drift(name, multiplier)
        inside = {L: best for L, best in optima.items() if best.known and not isinf(L)}
        label = _greek(name) + (f": {_signed(drift)}" if drift else "")
        if inside:
            at, error = (np.array([getattr(best, part) for best in inside.values()]) for part in ("at", "error"))
            half = np.nan_to_num(2.0 ** (CONFIDENCE * error) - 1)
            bars = [at * half / (1 + half), at * half]
            axes.errorbar(list(inside), at, yerr=bars, fmt="os^Dv"[n % 5], ms=5, capsize=3, color=colour, label=label)
        if drift:
            ends = np.array([drift.x[0], drift.x[-1]])
            axes.plot(2**ends, 2 ** (drift.intercept + drift.value * ends), color=colour, lw=1.2)
        if np.inf in optima and optima[np.inf].known:
            axes.axhline(optima[np.inf].at, color=colour, lw=1.1, ls="--", zorder=1)
    axes.set(xscale="log", yscale="log", xlabel="blocks L", ylabel=f"best {AXES[answer.axis]}")
    axes.set_xticks(sizes, [size(L) for L in sizes])
    axes.set_xticks([], minor=True)
    _plain_ticks(axes.yaxis)
    dashed = any(np.inf in optima and optima[np.inf].known for optima in found.values())
    axes.set_title("Does the optimum settle?" + (" (dashed: the limit)" if dashed else ""))
    axes.grid(alpha=0.25, which="major")
    legend(axes, fontsize=8, title="drift in doublings per doubling of L", title_fontsize=8)
    return axes


def _signed(slope: Slope) -> str:
    text = f"{slope.value:+.2f}" + (f" ± {slope.error:.2f}" if np.isfinite(slope.error) else "")
    return text.replace("-", "−")


def loss_map(axes: Any, answer: Transfer, name: str | None = None, blocks: float | None = None) -> Any:
    """Loss after training over multiplier and learning rate, as a map; grey cells are not below the loss before training.

    The lines are upper edges of sublevel sets, the largest learning rates at which training lowers the loss, and at which the
    loss is within 10% of the smallest of the map; the legend below gives their slopes.

    Args:
        axes: where to draw; a colour bar is put beside them.
        answer: of `limits.compare.transfer`, with several learning rates and several multipliers.
        name: of the parametrization; may be left out where there is only one.
        blocks: which number of blocks, inf for the limit; may be left out where there is only one.

    Raises:
        ValueError: learning rate and multiplier do not both vary, or there is no such map.

    >>> from matplotlib.figure import Figure
    >>> from limits import DEPTH_MUP, SGD, Problem, ResNet, compare
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=1), [[1.0]], [[1.0]])
    >>> grid = {"lrs": (0.1, 0.3, 1, 3), "multipliers": (0.5, 1, 2)}
    >>> axes = loss_map(Figure().subplots(), compare.transfer(one, blocks=(2,), limit=False, **grid))
    >>> axes.collections[0].get_array().shape  # learning rates, multipliers
    (4, 3)
    """
    if not answer.is_map:
        raise ValueError("a map needs several learning rates and several multipliers: draw plots.transfer instead")
    curves = {curve.blocks: curve for curve in answer.of(name)}
    if blocks is None and len(curves) == 1:
        blocks = next(iter(curves))
    if blocks not in curves:
        raise ValueError(f"blocks must be one of {', '.join(map(size, curves))}, got {blocks!r}")
    losses, title = curves[blocks].mean, f"{_greek(curves[blocks].name)}, L = {size(blocks)}"
    if not np.any(losses[np.isfinite(losses)] > 0):
        return blank(axes, title, nowhere(answer, [curves[blocks]]))
    _mesh(axes, answer, curves[blocks])
    below, near = r"largest $\eta$ below it", f"within {WITHIN:.0%} of the best"
    for within, colour, what in ((None, HUES[1], below), (WITHIN, "white", near)):
        if slope := answer.sublevel_slope(name, within=within).get(blocks):
            _edge(axes, slope, colour, f"{what}: slope {_signed(slope)}")
    axes.set(xscale="log", yscale="log", xlabel=SYMBOLS["multiplier"], ylabel=SYMBOLS["lr"])
    axes.set_title(title)
    for axis in (axes.xaxis, axes.yaxis):
        _plain_ticks(axis)
    under = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17), "frameon": False}
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, title="grey: not below the loss before training", title_fontsize=8, **under)
    return axes


def _mesh(axes: Any, answer: Transfer, curve: Curve) -> None:
    from matplotlib.colors import LogNorm

    mean = curve.mean.T
    seen = np.ma.masked_where(~(mean <= curve.initial.mean(1)), mean)
    axes.set_facecolor("0.82")
    positive = seen.compressed()[seen.compressed() > 0]
    norm = LogNorm(positive.min(), np.median(curve.initial.mean(1)), clip=True) if len(positive) else None
    borders = [_log_edges(values) for values in (answer.multipliers, answer.lrs)]
    mesh = axes.pcolormesh(*borders, seen, cmap="viridis", norm=norm)
    if norm is None:
        return
    bar = axes.figure.colorbar(mesh, ax=axes, label="loss of probes after training" if answer.measure == "probe" else LOSS)
    _plain_ticks(bar.ax.yaxis)


def _log_edges(values: np.ndarray) -> np.ndarray:
    return np.exp(edges(np.log(values)))


def _edge(axes: Any, slope: Slope, colour: str, label: str) -> None:
    """The upper edge of a sublevel set and the line through it."""
    from matplotlib.patheffects import withStroke

    outline = [withStroke(linewidth=3.2, foreground="0.2")]
    axes.plot(2**slope.x, 2**slope.y, "o", ms=4, color=colour, mec="0.2", mew=0.8, zorder=4)
    line = 2 ** (slope.intercept + slope.value * slope.x)
    axes.plot(2**slope.x, line, color=colour, lw=1.6, path_effects=outline, label=label)


def transfers(answer: Transfer) -> Any:
    """One figure: a panel per parametrization and the optimum against the number of blocks; of a map, a panel per size.

    Returns:
        A `matplotlib.figure.Figure`; save it with `figure.savefig(path)`.

    >>> from limits import DEPTH_MUP, SGD, Problem, ResNet, compare
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=1), [[1.0]], [[1.0]])
    >>> figure = transfers(compare.transfer(one, blocks=(2, 4), lrs=(0.1, 0.3, 1, 3), limit=False))
    >>> [axes.get_title() for axes in figure.axes]
    ['Depth-µP (α = γ = 1/2)', 'Does the optimum settle?']
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if answer.is_map:
        sizes = list(dict.fromkeys(curve.blocks for curve in answer.curves))
        rows, columns = max(1, len(answer.names)), max(1, len(sizes))
    else:
        panels = len(answer.names) + 1
        columns = 2 if panels == 4 else min(3, panels)
        rows = -(-panels // columns)
    figure = Figure(figsize=(4.9 * columns, 4.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    if answer.is_map:
        _maps(axes, answer)
    else:
        _panels(axes.ravel(), answer)
    return figure


def _panels(axes: Any, answer: Transfer) -> None:
    for axis, name in zip(axes, answer.names, strict=False):
        transfer(axis, answer, name)
    optimum(axes[len(answer.names)], answer)
    for axis in axes[len(answer.names) + 1 :]:
        axis.set_axis_off()


def _maps(axes: Any, answer: Transfer) -> None:
    for row, name in zip(axes, answer.names, strict=False):
        curves = answer.of(name)
        for axis, curve in zip(row, curves, strict=False):
            loss_map(axis, answer, name, curve.blocks)
        for axis in row[len(curves) :]:
            blank(axis, _greek(name), answer.no_limit.get(name, "not computed"))
