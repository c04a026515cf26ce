"""Pictures, drawn on axes the caller owns; `comparison` and `phases` make whole figures."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from textwrap import fill
from typing import Any

import numpy as np

from limits.compare import Ladder, PowerLaw
from limits.diversity import Diversity, feature_increments, rank
from limits.nonlinearity import nonlinearity
from limits.parametrization import exact
from limits.regimes import PhaseDiagram
from limits.regimes.diagram import Box, corners
from limits.trajectory import Trajectory

DEEP, WIDE, FINITE = "#111111", "#0072B2", "#D55E00"
"""Colours of the rungs, distinct for colour-blind readers and in grey."""


def losses(axes: Any, ladder: Ladder) -> Any:
    """Training loss against step on every rung: thick line the limit, thin lines finite sizes, shading the seeds' spread."""
    steps = np.arange(ladder.problem.steps + 1)
    for (n, run), shade in zip(sorted(ladder.finite.items()), _shades(len(ladder.finite)), strict=True):
        label = f"finite, n = {n}, L = {ladder.finite_blocks}"
        axes.plot(steps, run.losses, color=FINITE, alpha=shade, lw=1.2, marker="o", ms=3, label=label)
        if run.samples is not None and run.samples.shape[0] > 1 and n == max(ladder.finite):
            low, high = np.quantile(_seed_losses(run), [0.1, 0.9], axis=0)
            axes.fill_between(steps, low, high, color=FINITE, alpha=0.15, lw=0, label=f"80 % of the seeds at n = {n}")
    chosen = sorted({*_few(sorted(ladder.wide), 3), ladder.finite_blocks} & set(ladder.wide))
    for L, shade in zip(chosen, _shades(len(chosen)), strict=True):
        axes.plot(steps, ladder.wide[L].losses, color=WIDE, alpha=shade, lw=1.4, label=f"wide, n = ∞, L = {L}")
    if ladder.deep is not None:
        axes.plot(steps, ladder.deep.losses, color=DEEP, lw=2.2, ls="--", label="deep, n = L = ∞")
    axes.set(xlabel="step", ylabel="training loss", title="What training does on each rung")
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    _legend(axes, fontsize=7)
    return axes


def _legend(axes: Any, **options: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, **options)


def _seed_losses(run: Trajectory) -> np.ndarray:
    p = run.problem
    kept = run.samples[run.diverged < 0][:, :, : p.n_samples]  # type: ignore[index]
    return p.loss_function.value(kept, p.targets).mean(-1)


def _few(sizes: list[int], most: int = 4) -> list[int]:
    picks = np.unique(np.linspace(0, len(sizes) - 1, most).round().astype(int)) if sizes else []
    return [sizes[i] for i in picks]


def _shades(count: int) -> np.ndarray:
    return np.linspace(0.35, 1.0, count) if count > 1 else np.ones(count)


def outputs(axes: Any, ladder: Ladder, samples: int = 3) -> Any:
    """Outputs of a few samples against step: the limit, infinite width at the networks' depth, and the widest networks."""
    steps = np.arange(ladder.problem.steps + 1)
    names: dict[str, Any] = {}
    widest = max(ladder.finite, default=None)
    for i in range(min(samples, len(ladder.problem.evaluated))):
        if widest is not None:
            run = ladder.finite[widest]
            half = np.nan_to_num(run.error[:, i, 0]) * 1.96
            style = {"color": FINITE, "fmt": "o", "ms": 3.5, "lw": 1, "capsize": 2}
            names["finite, mean ± 95 %"] = axes.errorbar(steps, run.outputs[:, i, 0], yerr=half, **style)
        if ladder.finite_blocks in ladder.wide:
            (names[f"wide, L = {ladder.finite_blocks}"],) = axes.plot(
                steps, ladder.wide[ladder.finite_blocks].outputs[:, i, 0], color=WIDE, lw=1.4
            )
        if ladder.deep is not None:
            (names["deep"],) = axes.plot(steps, ladder.deep.outputs[:, i, 0], color=DEEP, lw=1.6, ls="--")
    title = f"Outputs of {min(samples, len(ladder.problem.evaluated))} samples"
    axes.set(xlabel="step", ylabel="output $f$", title=title + (f" (n = {widest}, L = {ladder.finite_blocks})" if widest else ""))
    axes.xaxis.get_major_locator().set_params(integer=True)
    if names:
        axes.legend(names.values(), names.keys(), fontsize=7, frameon=False)
    return axes


def rate(
    axes: Any, law: PowerLaw | None, sizes: Any, errors: Any, spread: Any, *, name: str, expected: float | None, color: str
) -> Any:
    """Errors against size on logarithmic axes, with the fitted line, its exponent, and the expected slope if there is one."""
    sizes, errors = np.asarray(sizes, float), np.asarray(errors, float)
    if not np.any(errors > 0):
        return _blank(axes, "", "the error is zero at every size")
    axes.errorbar(sizes, errors, yerr=1.96 * np.asarray(spread, float), fmt="o", color=color, ms=5, capsize=3, zorder=3)
    if law is not None:
        span = np.array([sizes.min(), sizes.max()])
        label = f"fit: {name}$^{{{law.exponent:.3f}}}$" + (f" ± {law.exponent_error:.3f}" if np.all(law.spread > 0) else "")
        axes.plot(span, law(span), color=color, lw=1.2, label=label)
        if expected is not None:
            guide = law(span[-1]) * (span / span[-1]) ** expected * 0.5
            axes.plot(span, guide, color="0.6", lw=1, ls=":", label=f"slope {expected:g}")
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(sizes, [f"{s:g}" for s in sizes])
    axes.set_xticks([], minor=True)
    axes.grid(alpha=0.25, which="major")
    _legend(axes, fontsize=8)
    return axes


def depth_rate(axes: Any, ladder: Ladder) -> Any:
    """Distance of infinite width at L blocks from infinite depth."""
    errors = ladder.depth_errors()
    if not errors:
        return _blank(axes, "wide → deep", _no_limit(ladder) if ladder.deep is None else "no infinite width was computed")
    law, values = ladder.depth_law(), list(errors.values())
    rate(axes, law, list(errors), values, 0.0, name="L", expected=ladder.depth_order, color=WIDE)
    axes.set(xlabel="blocks L", ylabel="rms error of outputs", title="wide → deep (n = ∞)")
    return axes


def width_rate(axes: Any, ladder: Ladder) -> Any:
    """Distance of single finite networks from infinite width, with 95 % intervals over seeds."""
    errors = ladder.width_errors()
    if not errors:
        missing = f"infinite width was not computed at L = {ladder.finite_blocks}" if ladder.finite else "no network was trained"
        return _blank(axes, "finite → wide", missing)
    values, spread = zip(*errors.values(), strict=True)
    rate(axes, ladder.width_law(), list(errors), values, spread, name="n", expected=-0.5, color=FINITE)
    title = f"finite → wide (L = {ladder.finite_blocks})"
    axes.set(xlabel="width n", ylabel="rms error of one network", title=title)
    return axes


def _no_limit(ladder: Ladder) -> str:
    return ladder.no_limit or ladder.failed.get("deep") or "the limit was not computed"


def _blank(axes: Any, title: str, message: str) -> Any:
    axes.set_axis_off()
    axes.set_title(title)
    text = axes.text(0.5, 0.5, fill(message, 44), ha="center", va="center", transform=axes.transAxes, fontsize=9)
    text.set_in_layout(False)  # a long sentence must not squeeze the panels
    return axes


def feature_kernel(axes: Any, run: Trajectory, sample: int = 0) -> Any:
    """The squared feature norm C0 of one sample against depth, a line per training step from light to dark.

    Raises:
        ValueError: the trajectory holds no feature kernel.
    """
    if run.feature_kernel is None:
        raise ValueError('the trajectory holds no feature kernel: compute it with record=Record(kinds=("feature",))')
    from matplotlib import colormaps

    shades = colormaps["viridis_r"](np.linspace(0.08, 1.0, len(run.steps)))
    across, up = np.argsort(run.positions), np.argsort(run.steps)
    for shade, (k, row) in zip(shades, enumerate(up), strict=True):
        label = f"step {run.steps[row]}" if k in (0, len(up) // 2, len(up) - 1) else None
        values = run.feature_kernel[row, row, across, sample, sample]
        axes.plot(run.positions[across], values, color=shade, lw=1.5, label=label, marker="." if len(across) == 1 else None)
    title = f"$C^0(p)$ of sample {run.recorded[sample]} over training"
    axes.set(xlabel="depth p = l/L", ylabel="$C^0_{tt}(p)$", title=title, xlim=(0, 1))
    axes.set_ylim(bottom=0)
    _legend(axes, fontsize=8)
    return axes


def kernel_map(axes: Any, run: Trajectory, sample: int = 0) -> Any:
    """The squared feature norm of one sample over depth (across) and training step (up), as a map.

    Raises:
        ValueError: the trajectory holds no feature kernel.
    """
    if run.feature_kernel is None:
        raise ValueError('the trajectory holds no feature kernel: compute it with record=Record(kinds=("feature",))')
    positions, across = np.unique(run.positions, return_index=True)
    steps, up = np.unique(run.steps, return_index=True)
    values = np.stack([run.feature_kernel[k, k, across, sample, sample] for k in up])
    mesh = axes.pcolormesh(_edges(positions), _edges(steps), values, cmap="viridis", vmin=0)
    axes.figure.colorbar(mesh, ax=axes, label="$C^0_{tt}(p)$")
    axes.set(xlabel="depth p = l/L", ylabel="step", title=f"Feature kernel of sample {run.recorded[sample]}", xlim=(0, 1))
    axes.yaxis.get_major_locator().set_params(integer=True)
    return axes


def _edges(centers: np.ndarray) -> np.ndarray:
    """Borders of the cells around increasing centers; a single cell is 1 wide."""
    half = np.diff(centers) / 2 if len(centers) > 1 else np.array([0.5])
    return np.concatenate([centers[:1] - half[:1], centers[:-1] + half[: len(centers) - 1], centers[-1:] + half[-1:]])


def increments(axes: Any, run: Trajectory, sample: int = 0) -> Any:
    r"""Root mean square increments of one sample's features over depth, a line per training step from light to dark.

    From the first recorded position, against the distance $\varepsilon$, on logarithmic axes; dotted lines have the slopes
    $1 - \kappa$ of diverse features (1/2) and of redundant ones (1).

    Raises:
        ValueError: the trajectory holds no two-depth kernels, or only one position.
    """
    from matplotlib import colormaps

    moved, first = feature_increments(run)[:, 0, :, sample], run.positions[0]
    distance = np.abs(run.positions - first)
    across, up = np.argsort(distance), np.argsort(run.steps)
    across = across[distance[across] > 0]
    if not len(across):
        raise ValueError(f"increments need two different positions or more, got only p = {first:g}")
    sizes = np.sqrt(np.maximum(moved[:, across], 0.0))
    shades = colormaps["viridis_r"](np.linspace(0.08, 1.0, len(run.steps)))
    for shade, (k, row) in zip(shades, enumerate(up), strict=True):
        label = f"step {run.steps[row]}" if k in (0, len(up) // 2, len(up) - 1) else None
        seen = sizes[row] > 0
        if label and not np.any(seen):
            label += ": nothing moves"
        axes.plot(distance[across][seen], sizes[row][seen], color=shade, lw=1.5, marker=".", ms=5, label=label)
    if np.any(sizes > 0):
        axes.set(xlim=(0.7 * distance[across[0]], 1.4 * distance.max()), ylim=(0.3 * sizes[sizes > 0].min(), 2 * sizes.max()))
        axes.set(xscale="log", yscale="log")
        _slopes(axes, distance[across], sizes[sizes > 0])
    title = f"Increments of sample {run.recorded[sample]}'s features from p = {first:g}"
    axes.set(xlabel=r"distance in depth $\varepsilon$", ylabel=r"rms of $x(p + \varepsilon) - x(p)$", title=title)
    axes.grid(alpha=0.25, which="major")
    _legend(axes, fontsize=8, loc="upper left")
    return axes


def _slopes(axes: Any, distance: np.ndarray, sizes: np.ndarray) -> None:
    """Grey lines of slope 1/2 and 1 from a common point below all others, as far as the picture goes."""
    start, bottom, top = distance.min(), 0.5 * sizes.min(), sizes.max()
    for slope, what, style in ((0.5, "slope 1/2: diverse", ":"), (1.0, "slope 1: redundant", "--")):
        end = min(distance.max(), start * (top / bottom) ** (1 / slope))
        line = bottom * (np.array([start, end]) / start) ** slope
        axes.plot([start, end], line, color="0.5", lw=1.1, ls=style, zorder=1, label=what)


COMMON = ("abs", "relu", "leaky_relu", "linear", "tanh", "erf", "sin", "cos", "sin + cos", "gelu", "silu", "softplus", "gaussian")
"""Nonlinearities that `gradient_diversity` marks if it is not told which."""


def gradient_diversity(axes: Any, ranked: Sequence[Diversity] | None = None) -> Any:
    r"""Correlation of gradients between neighbouring blocks, over the family $\cos\theta\,|z| + \sin\theta\,z$.

    Filled points are members of the family; others stand, as rings, where the curve has their correlation, averaged over
    depth at initialization. One minus the correlation is the gradient diversity [D5.7].

    Args:
        axes: where to draw.
        ranked: of `limits.diversity.rank`; by default of the common nonlinearities.
    """
    ranked = rank(COMMON) if ranked is None else ranked
    angles = np.linspace(0, np.pi / 2, 181)
    axes.plot(np.degrees(angles), np.sin(angles) ** 2, color=WIDE, lw=1.6, zorder=2)
    heights = [float(np.clip(1 - d.gradient, 0.0, 1.0)) for d in ranked]
    for members, colour, size, label in ((False, "white", 9, "others, at their correlation"), (True, DEEP, 5.5, "of the family")):
        chosen = np.array([h for d, h in zip(ranked, heights, strict=True) if _homogeneous(d.name) == members])
        style = {"ms": size, "mfc": colour, "mec": DEEP, "mew": 1.1, "ls": "none", "zorder": 4 + members}
        axes.plot([_angle(h) for h in chosen], chosen, "o", label=label, **style)
    _names(axes, [d.name for d in ranked], heights)
    axes.legend(frameon=False, fontsize=8.5, loc="upper left")
    axes.set_xticks([0, 45, 90], [r"0°: $|z|$", r"45°: relu$\,\times\sqrt{2}$", r"90°: $z$"])
    axes.set(xlim=(-4, 94), ylim=(-0.06, 1.06), xlabel=r"angle $\theta$ in $\cos\theta\,|z| + \sin\theta\,z$")
    axes.set_ylabel(r"correlation $(E\phi')^2 / E\phi'^2$ of neighbouring $\delta h$")
    axes.set_title("Gradient diversity: the lower, the more diverse")
    axes.grid(alpha=0.25)
    return axes


def _angle(height: float) -> float:
    """The family's angle in degrees where the correlation is that high [D5.7]."""
    return float(np.degrees(np.arcsin(np.sqrt(height))))


def _homogeneous(name: str) -> bool:
    try:
        return nonlinearity(name).homogeneous
    except ValueError:  # a name of the user's own
        return False


def _names(axes: Any, names: Sequence[str], heights: Sequence[float]) -> None:
    """Names beside the curve, on its free side and apart from each other, each with a line to its point."""
    points: dict[float, list[str]] = {}
    for name, height in zip(names, heights, strict=True):
        points.setdefault(round(height, 3), []).append(name)
    low, high = ([h for h in sorted(points) if (h <= 0.5) == side] for side in (True, False))
    for chosen, levels, shift, side in (
        (low, _apart(low, 0.055, 0.0, 0.6), 9, "left"),
        (high, _apart(high, 0.055, 0.4, 1.0), -9, "right"),
    ):
        for height, level in zip(chosen, levels, strict=True):
            beside = _angle(float(np.clip(level, 0.0, 1.0))) + shift
            arrow = {"arrowstyle": "-", "color": "0.6", "lw": 0.7, "shrinkA": 1, "shrinkB": 3}
            words = {"ha": side, "va": "center", "fontsize": 8.5, "path_effects": _halo()}
            at = _angle(height), height
            axes.annotate(", ".join(points[height]), at, (beside, level), arrowprops=arrow, zorder=3, **words)


def _apart(values: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Sorted values moved as little as a sweep up and one down need to be `gap` apart, between low and high if they fit."""
    moved = np.array(values, float)
    for i in range(len(moved)):
        moved[i] = max(moved[i], low if i == 0 else moved[i - 1] + gap)
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], high if i == len(moved) - 1 else moved[i + 1] - gap)
    return moved


def comparison(ladder: Ladder) -> Any:
    """One figure: losses, outputs, both rates, and the feature kernel over depth and training.

    Returns:
        A `matplotlib.figure.Figure`; save it with `figure.savefig(path)`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    losses(axes[0, 0], ladder)
    width_rate(axes[0, 1], ladder)
    depth_rate(axes[0, 2], ladder)
    outputs(axes[1, 0], ladder)
    if ladder.deep is not None and ladder.deep.feature_kernel is not None:
        feature_kernel(axes[1, 1], ladder.deep)
        kernel_map(axes[1, 2], ladder.deep)
        axes[1, 2].set_title(f"{axes[1, 2].get_title()} (deep)")
    else:
        for axis in axes[1, 1:]:
            missing = _no_limit(ladder) if ladder.deep is None else "it was not recorded"
            _blank(axis, "Feature kernel of the limit", missing)
    exponents = ladder.problem.parametrization
    partial = " (partial)" if ladder.partial else ""
    figure.suptitle(
        f"Deep linear residual network, α = {exponents.alpha}, γ = {exponents.gamma}: one problem, three rungs{partial}"
    )
    return figure


SHADES = {
    "unstable at initialization": ("#F3C6A5", "\\\\"),
    "unstable during training": ("#FBE9CC", "//"),
    "trivial": ("#E9EDF0", None),
    "unfaithful": ("#CC79A7", None),
    "redundant": ("#0072B2", None),
    "feature learning and diverse": ("#009E73", None),
}
"""Colour and hatching of every regime: areas light, lines and points dark, told apart without colour too."""
BOX: Box = ((0, "3/2"), ("-1/2", 1))
NAMED = (
    ("Depth-µP:\nfeature learning and diverse", ("1/2", "1/2"), (11, 2)),
    ("CompleteP,\nneural ODE", (1, 0), (7, 6)),
    ("multiplier $L^{-1/2}$,\nAdam unchanged", ("1/2", 0), (8, -3)),
    ("nothing scaled", (0, 0), (7, -3)),
)
"""Parametrizations that have a name, their place, and the offset of their label in points."""


def phase_diagram(axes: Any, diagram: PhaseDiagram, measured: Mapping[tuple[Any, Any], Sequence[float]] | None = None) -> Any:
    r"""The regimes in the $(\alpha, \gamma)$ plane (TP6, Figure 1), from exact corners.

    On the lines a sum over depth is $\Theta(1)$: of the initial branches at $\alpha = 1/2$, of the updates on the others.

    Args:
        axes: where to draw; the labels need a square of about five inches, as in `phases`.
        diagram: of `limits.phase_diagram`.
        measured: measured exponents at points (alpha, gamma), to write beside them.

    Raises:
        TypeError: anything but a `PhaseDiagram`.
    """
    if not isinstance(diagram, PhaseDiagram):
        raise TypeError(f"diagram must be a PhaseDiagram, got {diagram!r}: write phase_diagram(block_depth=2)")
    for name, pieces in diagram.regions:
        for piece in pieces:
            _piece(axes, name, np.array(corners(piece, BOX), float))
    (west, east), (south, north) = ([float(Fraction(v)) for v in side] for side in BOX)
    axes.plot([0.5, 0.5], [south, north], color=DEEP, lw=1.2, zorder=2)
    _areas(axes)
    _lines(axes, diagram.block_depth)
    for name, place, offset in NAMED:
        _point(axes, diagram, name, place, offset)
    for (alpha, gamma), values in (measured or {}).items():
        at = float(exact(alpha, "alpha")), float(exact(gamma, "gamma"))
        axes.plot(*at, "o", ms=4.5, mfc="white", mec=DEEP, mew=0.9, zorder=6)
        text = ", ".join(f"{v:+.2f}".replace("-", "−") for v in values)
        offset, ha, va = ((-5, -1), "right", "center") if at[0] > west else ((5, 3), "left", "bottom")
        words = {"fontsize": 6, "ha": ha, "va": va, "zorder": 7, "path_effects": _halo()}
        axes.annotate(text, at, offset, textcoords="offset points", **words)
    k = diagram.block_depth
    title = "blocks of one layer" if k == 1 else rf"blocks of {k} layers, one $\gamma$ for all"
    axes.set(xlim=(west, east), ylim=(south, north), aspect="equal")
    axes.set_title(f"Infinite-depth limits: {title}", fontsize=11, loc="left")
    axes.set(xlabel=r"$\alpha$,  block multiplier $\propto L^{-\alpha}$", ylabel=r"$\gamma$,  update $\propto L^{-\gamma}$")
    for axis, low, high in ((axes.xaxis, west, east), (axes.yaxis, south, north)):
        ticks = [Fraction(n, 2) for n in range(int(np.ceil(2 * low)), int(np.floor(2 * high)) + 1)]
        axis.set_ticks([float(t) for t in ticks], [str(t).replace("-", "−") for t in ticks])
    return axes


def phases(diagram: PhaseDiagram, measured: Mapping[tuple[Any, Any], Sequence[float]] | None = None) -> Any:
    """The phase diagram as a figure of its own; save it with `figure.savefig(path)`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.2, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    phase_diagram(figure.subplots(), diagram, measured)
    return figure


def _piece(axes: Any, name: str, polygon: np.ndarray) -> None:
    """An area, a line or a point of the diagram."""
    color, hatch = SHADES[name]
    if len(polygon) > 2:
        axes.fill(*polygon.T, facecolor=color, edgecolor="white", hatch=hatch, lw=0, zorder=1)
    elif len(polygon) == 2:
        style = (0, (2.0, 0.8)) if name == "unfaithful" else "-"
        axes.plot(*polygon.T, color=color, lw=4.5, ls=style, solid_capstyle="butt", dash_capstyle="butt", zorder=3)
    elif len(polygon) == 1:
        axes.plot(*polygon.T, marker="*", ms=19, mfc=color, mec="white", mew=1, zorder=5)


def _areas(axes: Any) -> None:
    """Names of the areas, each with what happens there."""
    for name, what, at in (
        ("unstable at\ninitialization", "features blow up\nwith depth", (0.25, 0.33)),
        ("unstable during training", "the blocks' updates blow up together", (0.8, -0.31)),
        ("trivial", "frozen at initialization", (1.14, 0.72)),
    ):
        words = {"ha": "center", "zorder": 4, "path_effects": _halo()}
        axes.text(*at, name, weight="bold", va="bottom", fontsize=9.5, **words)
        axes.text(at[0], at[1] - 0.02, what, va="top", fontsize=7.5, **words)


def _lines(axes: Any, k: int) -> None:
    """What the boundaries mean, and the names of the regimes on them, along them."""
    words = {"rotation_mode": "anchor", "transform_rotates_text": True, "zorder": 6, "path_effects": _halo()}
    meaning, name = words | {"fontsize": 7.5}, words | {"fontsize": 9, "weight": "bold"}
    axes.text(0.478, 0.98, r"$\alpha = 1/2$: initial noise is $\Theta(1)$", rotation=90, ha="right", **meaning)
    axes.text(0.63, 0.405, r"$\alpha + \gamma = 1$: updates are $\Theta(1)$", rotation=-45, **meaning)
    axes.text(0.675, 0.205, "redundant", rotation=-45, color=SHADES["redundant"][0], **name)
    slope, run = -np.degrees(np.arctan(1 / k)), np.array([1.0, -1 / k])
    up = 0.03 * np.array([1 / k, 1.0]) / np.hypot(1, 1 / k)
    sums = r"$\alpha + \gamma = 1$" if k == 1 else rf"$\alpha + {k}\gamma = 1$, jointly"
    axes.text(*([1, 0] + 0.21 * run + up), sums, rotation=slope, **meaning)
    axes.text(*([1, 0] + 0.12 * run - 2.9 * up), "unfaithful", rotation=slope, color=UNFAITHFUL, **name)


UNFAITHFUL = "#98386F"
"""The colour of the unfaithful line, dark enough to read."""


def _point(axes: Any, diagram: PhaseDiagram, name: str, place: tuple[Any, Any], offset: tuple[int, int]) -> None:
    """A parametrization that has a name; the one that is a regime of its own has its star already."""
    at = float(Fraction(place[0])), float(Fraction(place[1]))
    if diagram.region(*place) != "feature learning and diverse":
        axes.plot(*at, "o", ms=6.5, mfc=DEEP, mec="white", mew=1, zorder=6, clip_on=False)
    words = {"va": "bottom" if offset[1] > 0 else "top", "fontsize": 8, "zorder": 7, "path_effects": _halo()}
    axes.annotate(name, at, offset, textcoords="offset points", **words)


def _halo() -> list[Any]:
    """A light outline, so that text can be read on lines and hatching."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.2, foreground="white", alpha=0.85)]
