"""A ladder: what training does on each rung, and how fast one rung approaches the next."""

from typing import Any

import numpy as np

from limits.compare import Ladder, PowerLaw
from limits.plots.depth import feature_kernel, kernel_map
from limits.plots.style import DEEP, FINITE, WIDE, blank, few, legend, shades
from limits.trajectory import Trajectory


def losses(axes: Any, ladder: Ladder | Trajectory) -> Any:
    """Training loss against step on every rung: thick line the limit, thin lines finite sizes, shading the seeds' spread.

    Of several widths, and of several numbers of blocks, from light to dark, the first and the last are named. A trajectory
    alone is a line, with the spread of its seeds where it keeps them.

    >>> from matplotlib.figure import Figure
    >>> from limits import DEPTH_MUP, SGD, Problem, ResNet, ladder
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(0.5, steps=1), [[1.0]], [[1.0]])
    >>> axes = losses(Figure().subplots(), ladder(one, widths=(8,), blocks=(2, 4), finite_blocks=2, seeds=1))
    >>> [line.get_label() for line in axes.lines]
    ['finite, n = 8, L = 2', 'wide, n = ∞, L = 2', 'wide, n = ∞, L = 4', 'deep, n = L = ∞']
    """
    if isinstance(ladder, Trajectory):
        return _one(axes, ladder)
    steps = np.arange(ladder.problem.steps + 1)
    for (n, run), shade in zip(sorted(ladder.finite.items()), shades(len(ladder.finite)), strict=True):
        ends = n in (min(ladder.finite), max(ladder.finite))
        label = f"finite, n = {n}, L = {ladder.finite_blocks}" if ends else None
        axes.plot(steps, run.losses, color=FINITE, alpha=shade, lw=1.2, marker="o", ms=3, label=label)
        if _has_seeds(run) and n == max(ladder.finite):
            low, high = np.quantile(_seed_losses(run), [0.1, 0.9], axis=0)
            axes.fill_between(steps, low, high, color=FINITE, alpha=0.15, lw=0, label=f"80 % of the seeds at n = {n}")
    chosen = sorted({*few(sorted(ladder.wide), 3), ladder.finite_blocks} & set(ladder.wide))
    for L, shade in zip(chosen, shades(len(chosen)), strict=True):
        axes.plot(steps, ladder.wide[L].losses, color=WIDE, alpha=shade, lw=1.4, label=_named_wide(L, chosen))
    if ladder.deep is not None:
        axes.plot(steps, ladder.deep.losses, color=DEEP, lw=2.2, ls="--", label="deep, n = L = ∞")
    return _framed(axes, "What training does on each rung")


def _named_wide(blocks: int, chosen: list[int]) -> str | None:
    return f"wide, n = ∞, L = {blocks}" if blocks in (chosen[0], chosen[-1]) else None


def _one(axes: Any, run: Trajectory) -> Any:
    steps = np.arange(len(run.losses))
    axes.plot(steps, run.losses, color=DEEP, lw=1.6, marker="o", ms=3, label="mean of the seeds" if _has_seeds(run) else "loss")
    if _has_seeds(run):
        low, high = np.quantile(_seed_losses(run), [0.1, 0.9], axis=0)
        axes.fill_between(steps, low, high, color=FINITE, alpha=0.15, lw=0, label="80 % of the seeds")
    return _framed(axes, "Training loss")


def _framed(axes: Any, title: str) -> Any:
    axes.set(xlabel="step", ylabel="training loss", title=title)
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    legend(axes, fontsize=7)
    return axes


def _has_seeds(run: Trajectory) -> bool:
    return run.samples is not None and run.samples.shape[0] > 1


def _seed_losses(run: Trajectory) -> np.ndarray:
    p = run.problem
    kept = run.samples[run.diverged < 0][:, :, : p.n_samples]  # type: ignore[index]
    return p.loss_function.value(kept, p.targets).mean(-1)


def outputs(axes: Any, ladder: Ladder, samples: int = 3) -> Any:
    """Outputs of a few samples against step: the limit, infinite width at the networks' depth, and the widest networks.

    >>> from matplotlib.figure import Figure
    >>> from limits import DEPTH_MUP, SGD, Problem, ResNet, ladder
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(0.5, steps=1), [[1.0]], [[1.0]])
    >>> axes = outputs(Figure().subplots(), ladder(one, widths=(8,), blocks=(2, 4), finite_blocks=2, seeds=2))
    >>> axes.get_title()
    'Outputs of 1 samples (n = 8, L = 2)'
    """
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
    """Errors against size on logarithmic axes, with the fitted line, its exponent, and the expected slope if there is one.

    >>> from matplotlib.figure import Figure
    >>> from limits.compare import fit_power_law
    >>> sizes, errors = [8, 16, 32], [0.2, 0.1, 0.05]
    >>> law = fit_power_law(sizes, errors)
    >>> axes = rate(Figure().subplots(), law, sizes, errors, [0, 0, 0], name="L", expected=-1.0, color=WIDE)
    >>> axes.get_legend_handles_labels()[1]
    ['fit: L$^{-1.000}$', 'slope -1']
    """
    sizes, errors = np.asarray(sizes, float), np.asarray(errors, float)
    if not np.any(errors > 0):
        return blank(axes, "", "the error is zero at every size")
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
    legend(axes, fontsize=8)
    return axes


def depth_rate(axes: Any, ladder: Ladder) -> Any:
    """Distance of infinite width at L blocks from infinite depth, with 95 % Monte-Carlo intervals where it has such errors.

    >>> from matplotlib.figure import Figure
    >>> from limits import DEPTH_MUP, SGD, Problem, ResNet, ladder
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(0.5, steps=1), [[1.0]], [[1.0]])
    >>> axes = depth_rate(Figure().subplots(), ladder(one, widths=(8,), blocks=(2, 4, 8), finite_blocks=2, seeds=1))
    >>> axes.get_xlabel(), [int(tick) for tick in axes.get_xticks()]
    ('blocks L', [2, 4, 8])
    """
    errors = ladder.depth_errors()
    if not errors:
        return blank(axes, "wide → deep", _no_limit(ladder) if ladder.deep is None else "no infinite width was computed")
    noise, exact = ladder.depth_noise(), not any(ladder.depth_noise().values())
    there = [L for L, error in errors.items() if error > 0 or exact]
    values, spread = [errors[L] for L in there], [noise[L] for L in there]
    rate(axes, ladder.depth_law(), there, values, spread, name="L", expected=ladder.depth_order, color=WIDE)
    axes.set(xlabel="blocks L", ylabel="rms error of outputs", title="wide → deep (n = ∞)")
    return axes


def width_rate(axes: Any, ladder: Ladder) -> Any:
    """Distance of single finite networks from infinite width, with 95 % intervals over seeds.

    >>> from matplotlib.figure import Figure
    >>> from limits import DEPTH_MUP, SGD, Problem, ResNet, ladder
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(0.5, steps=1), [[1.0]], [[1.0]])
    >>> axes = width_rate(Figure().subplots(), ladder(one, widths=(8, 16), blocks=(2,), finite_blocks=2, seeds=4))
    >>> axes.get_xlabel(), [int(tick) for tick in axes.get_xticks()]
    ('width n', [8, 16])
    """
    errors = ladder.width_errors()
    if not errors:
        missing = f"infinite width was not computed at L = {ladder.finite_blocks}" if ladder.finite else "no network was trained"
        return blank(axes, "finite → wide", missing)
    values, spread = zip(*errors.values(), strict=True)
    rate(axes, ladder.width_law(), list(errors), values, spread, name="n", expected=-0.5, color=FINITE)
    title = f"finite → wide (L = {ladder.finite_blocks})"
    axes.set(xlabel="width n", ylabel="rms error of one network", title=title)
    return axes


def _no_limit(ladder: Ladder) -> str:
    return ladder.no_limit or ladder.failed.get("deep") or "the limit was not computed"


def comparison(ladder: Ladder) -> Any:
    """One figure: losses, outputs, both rates, and the feature kernel over depth and training.

    Returns:
        A `matplotlib.figure.Figure`; save it with `figure.savefig(path)`.

    >>> from limits import DEPTH_MUP, SGD, Problem, ResNet, ladder
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(0.5, steps=1), [[1.0]], [[1.0]])
    >>> figure = comparison(ladder(one, widths=(8, 16), blocks=(2, 4), finite_blocks=2, seeds=2))
    >>> [axes.get_xlabel() for axes in figure.axes[:4]]
    ['step', 'width n', 'blocks L', 'step']
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
            blank(axis, "Feature kernel of the limit", missing)
    exponents = ladder.problem.parametrization
    gamma = ", ".join(map(str, dict.fromkeys(exponents.layers(ladder.problem.model.block_depth)[1])))
    partial = " (partial)" if ladder.partial else ""
    blocks = f"Deep {ladder.problem.model.phi.name} residual network"
    figure.suptitle(f"{blocks}, α = {exponents.alpha}, γ = {gamma}: one problem, three rungs{partial}")
    return figure
