r"""A sweep of the learning rate at several numbers of blocks under three scalings, and what it says.

The smallest number of blocks is the base, where all three scalings are one and the same network. What is printed: the best
rate at every number of blocks and its drift per doubling with 95 % intervals (`limits.compare`), and the cost of tuning at the
base: how much higher the validation loss of a larger network is at the base's best rate than at its own best.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limits import COMPLETEP, DEPTH_MUP, Parametrization
from limits.compare import Curve, Transfer
from limits.compare.optimum import locate, resampling
from limits.sweeps import Job, run

SCALINGS = {"no scaling": Parametrization(0, 0), "Depth-µP": DEPTH_MUP, "CompleteP": COMPLETEP}
SINGLE = 32 * float(np.finfo("float32").eps)
"""Relative precision of a loss in single precision."""


@dataclass(frozen=True)
class Study:
    """What is swept over.

    Args:
        title: of the picture.
        train: gives the losses of one run by name: "initial" and "validation".
        network: its arguments that are the same in all runs.
        blocks: numbers of residual blocks, the base first.
        lrs: learning rates of the base.
        seeds: how many initial weights and orders of the data; the same ones at every rate.
    """

    title: str
    train: Callable
    network: dict
    blocks: tuple
    lrs: np.ndarray
    seeds: int


def rates(low, high, octaves):
    """Learning rates, so many octaves apart."""
    return low * 2.0 ** np.arange(0, np.log2(high / low) + octaves / 2, octaves)


def jobs(study, device):
    """The runs, by scaling, blocks, rate and seed; those of the base are the same in all scalings, and run once.

    Seeds come last: a sweep that is stopped after one of them has an answer without error bars.
    """
    found = {}
    for seed in range(study.seeds):
        for lr in study.lrs:
            for name in SCALINGS:
                for blocks in study.blocks:
                    scaling = next(iter(SCALINGS)) if blocks == study.blocks[0] else name
                    numbers = {"scaling": scaling, "blocks": blocks, "lr": float(lr), "seed": seed, "device": device}
                    found[name, blocks, float(lr), seed] = Job(study.train, study.network | numbers)
    return found


def sweep(study, *, folder, device="cpu", workers=None, progress=None):
    """Every run, those that are in the folder excepted, as a `limits.compare.Transfer`."""
    asked = jobs(study, device)
    results = run(asked.values(), folder=folder, workers=workers, progress=progress)
    answers = dict(zip(asked, results, strict=True))

    def losses(which, name, blocks, lrs):
        values = [[answers[name, blocks, float(lr), seed][which] for seed in range(study.seeds)] for lr in lrs]
        return np.where(np.isnan(values), np.inf, values)

    curves = []
    for name, exponents in SCALINGS.items():
        for blocks in study.blocks:
            found = losses("validation", name, blocks, study.lrs)
            best = locate(study.lrs, found, resampling(study.seeds), SINGLE)
            curves.append(Curve(name, exponents, blocks, found[None], losses("initial", name, blocks, study.lrs[:1]), (best,)))
    return Transfer(None, "finite", "probe", study.lrs, np.ones(1), tuple(curves), meta=study.network | {"seeds": study.seeds})


def costs(answer):
    """By scaling and blocks: base's best rate on the grid, own best one, and the difference of the losses seed by seed, (S,)."""
    found = {}
    for name in answer.names:
        base, *larger = answer.of(name)
        tuned = int(np.argmin(base.mean[0]))
        for curve in larger:
            own = int(np.argmin(curve.mean[0]))
            found[name, curve.blocks] = tuned, own, curve.losses[0, tuned] - curve.losses[0, own]
    return found


def standard_error(values):
    return np.std(values, ddof=1) / np.sqrt(len(values)) if np.all(np.isfinite(values)) else np.nan


def gains(answer):
    """By scaling and blocks: how much lower the loss is than that of the first scaling, both at the base's best rate, (S,)."""
    without = {curve.blocks: curve for curve in answer.of(answer.names[0])}
    curves = {(curve.name, curve.blocks): curve for curve in answer.curves}
    found = {key: (tuned, key[1]) for key, (tuned, _, _) in costs(answer).items()}
    return {key: without[L].losses[0, tuned] - curves[key].losses[0, tuned] for key, (tuned, L) in found.items()}


def said(values):
    """A mean over seeds with its standard error."""
    return f"{np.mean(values):.4f} ± {standard_error(values):.4f}"


def cost_table(answer):
    """Losses of larger networks at the base's best rate and at their own, the difference, and that to no scaling."""
    first = answer.names[0]
    rows = [("scaling", "blocks", "loss at the base's best rate", "at its own", "cost", f"lower than with {first}")]
    curves, gained = {(curve.name, curve.blocks): curve for curve in answer.curves}, gains(answer)
    for (name, blocks), (tuned, own, extra) in costs(answer).items():
        at = [f"{curves[name, blocks].mean[0, i]:.4g} ({answer.lrs[i]:.3g})" for i in (tuned, own)]
        rows.append((name, str(blocks), *at, said(extra), "" if name == first else said(gained[name, blocks])))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def report(study, answer):
    """All that is printed."""
    sizes = ", ".join(f"{key} {value}" for key, value in study.network.items())
    where = f"Python {platform.python_version()}, PyTorch {sys.modules['torch'].__version__.partition('+')[0]}"
    return "\n".join(
        [
            f"{study.title}: validation loss after training, {study.seeds} seeds ({sizes}; {where})",
            "",
            answer.table(),
            "",
            f"The rate is tuned on the grid at {study.blocks[0]} blocks, and used at more (± 1 standard error, seed by seed):",
            cost_table(answer),
        ]
    )


def figure(study, answer):
    """A panel for every scaling, the optimum against the number of blocks, and the cost of tuning at the base."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from limits.plots import optimum, transfer

    picture = Figure(figsize=(12.5, 8.2), layout="constrained")
    FigureCanvasAgg(picture)
    panels = picture.subplot_mosaic("aabbcc;dddeee")
    tuned = answer.of(answer.names[0])[0].optima[0]
    for panel, name in zip("abc", answer.names, strict=True):
        transfer(panels[panel], answer, name)
        frame(panels[panel], answer)
        if tuned.known:
            panels[panel].axvline(tuned.at, color="0.5", lw=1, ls="--", zorder=1)
    optimum(panels["d"], answer)
    draw_costs(panels["e"], answer)
    picture.suptitle(f"{study.title} (dashed: the best rate of the base, {study.blocks[0]} blocks)")
    return picture


def frame(axes, answer):
    """The same losses on every panel, up to some that are too high to matter."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    from limits.plots.style import legend

    means = np.concatenate([curve.mean[0] for curve in answer.curves])
    low, best = means.min(), np.array([curve.mean.min() for curve in answer.curves])
    high = low + max(4 * (np.median(best) - low), 1.8 * (best.max() - low))
    label = "validation loss (shaded: ± 1 standard error)"
    axes.set(ylim=(low - 0.08 * (high - low), high + 0.2 * (high - low)), yscale="linear", ylabel=label)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    columns = len(answer.of(answer.names[0]))
    legend(axes, fontsize=8, title="blocks L (dots: computed)", title_fontsize=8, loc="upper center", ncols=columns)


def draw_costs(axes, answer):
    from limits.plots.style import legend
    from limits.plots.transfer import HUES

    found = costs(answer)
    for n, name in enumerate(answer.names):
        blocks = np.array([L for which, L in found if which == name], float)
        extra = [found[name, int(L)][2] for L in blocks]
        axes.errorbar(
            blocks * 1.04 ** (n - 1),
            [each.mean() for each in extra],
            yerr=[standard_error(each) for each in extra],
            fmt="os^"[n] + "-",
            color=HUES[n],
            ms=5,
            lw=1.2,
            capsize=3,
            label=name,
        )
    axes.axhline(0, color="0.6", lw=1)
    axes.set(xscale="log", xlabel="blocks L", ylabel="loss above the best of the grid (± 1 s.e.)")
    axes.set_title("What tuning at the base costs")
    axes.set_xticks(blocks, [f"{L:.0f}" for L in blocks])
    axes.set_xticks([], minor=True)
    axes.grid(alpha=0.25)
    legend(axes, fontsize=8)


@contextmanager
def bar():
    """A function of (done, total) that shows how far a sweep is and the time that is left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), refresh_per_second=2) as shown:
        task = shown.add_task("", total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def main(doc, full, quick, arguments=None):
    """The command line of an example."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for runs, table and picture; the same one goes on")
    parser.add_argument("--device", default="cpu", help="of PyTorch, such as cuda")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: two, or one where it is quick or no CPU)")
    parser.add_argument("--quick", action="store_true", help="a reduced sweep of a few seconds, to see that all works")
    given = parser.parse_args(arguments)
    study = quick if given.quick else full
    alone = given.quick or given.device != "cpu"
    workers = given.workers or (None if alone else min(2, os.cpu_count() or 1))
    try:
        with bar() as progress:
            answer = sweep(study, folder=given.out / "runs", device=given.device, workers=workers, progress=progress)
    except KeyboardInterrupt:
        sys.exit(f"interrupted; the runs that were finished are in {given.out / 'runs'}, and the same command goes on there")
    text = report(study, answer)
    print(text)
    (given.out / "table.txt").write_text(text + "\n", encoding="utf-8")
    figure(study, answer).savefig(given.out / "curves.png", dpi=110)
    return answer
