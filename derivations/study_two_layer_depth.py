r"""Study: two-layer blocks at $\alpha = 1/2$ and at $\alpha = 1$, on handwritten digits.

Whether $\alpha = \gamma = 1/2$ is of use for blocks of several layers is disputed: TP6, CP and ZWZL say no, BNLHP yes. Here
blocks $W_2\tanh(W_1x)$ learn digits 3 and 8 with SGD at $(1/2, 1/2)$ and at $(1, 0)$, and are compared in what the theory tells
apart:

* training curves by number of blocks: infinite width at L, its limit at $\alpha = 1$, networks extrapolated in width;
* the best learning rate of networks, and how it moves with L;
* what is of second order in the updates of a block, from networks held against blocks that are expanded to first order;
* how far features move, and how different they are from block to block: $\kappa$ of
  $E(x(p + \varepsilon) - x(p))^2 \sim \varepsilon^{2(1-\kappa)}$ between $\varepsilon = 1/8$ and $1/4$ at p = 1/2; at infinite
  depth and $\varepsilon\to0$ it is 1/2 or 0 (TP6, Def. 7.6);
* held-out digits.

    python derivations/study_two_layer_depth.py --out study_two_layer_depth.png
"""

import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from command import run
from jackknife import Estimate, jackknife, slope
from study_adaptive_updates import increments
from study_linear_updates import finite, relative

from limits import COMPLETEP, DEPTH_MUP, SGD, Problem, Record, ResNet, data, simulate, solve
from limits.compare import transfer
from limits.compare.curves import Transfer
from limits.diversity import feature_increments
from limits.particles import sample
from limits.trajectory import Trajectory

Array = np.ndarray
POINTS = {"1/2": DEPTH_MUP, "1": COMPLETEP}
NEAR = Record(positions=(0.5, 0.625, 0.75), kinds=("two_depth",))
LAST = Record(positions=(0.5, 0.625, 0.75, 1), kinds=("two_depth",))


@dataclass(frozen=True)
class Sizes:
    """How much is computed."""

    samples: int = 12
    steps: int = 6
    lr: float = 0.7
    blocks: tuple[int, ...] = (8, 16, 32, 64)
    neurons: int = 3072
    groups: int = 6
    tol: float = 1e-3
    widths: tuple[int, int] = (64, 128)
    seeds: int = 64
    rates: tuple[float, ...] = tuple(np.geomspace(0.5, 8, 17))
    rate_seeds: int = 16
    rate_blocks: tuple[int, ...] = (4, 8, 16, 32, 64)
    probes: int = 100


QUICK = Sizes(4, 2, 0.7, (8, 16, 32), 256, 3, 2e-2, (16, 32), 24, (0.5, 2.0, 8.0), 4, (4, 8), 10)


def problem_of(alpha: str, sizes: Sizes, probes: bool = False) -> Problem:
    """Digits 3 and 8 on their first five principal directions."""
    digits = data.digits((3, 8), samples=sizes.samples, directions=min(5, sizes.samples - 1), probes=sizes.probes)
    problem = digits.problem(ResNet("tanh", 2, form="mlp"), POINTS[alpha], SGD(sizes.lr, sizes.steps))
    return problem if probes else replace(problem, probes=None, probe_targets=None)


# What is read off an answer.


def kappa(moved: Array) -> Array:
    """Diversity exponent of mean square increments over 1/8 and 1/4, shape (..., 2)."""
    return 1 - np.log2(moved[..., 1] / moved[..., 0]) / 2


def moments(answer: Trajectory) -> dict[str, Array]:
    """Mean square increments over 1/8 and 1/4, before and after training, and of the last features size and change."""
    moved = feature_increments(answer).mean(-1)[:, 0, 1:3]  # step, distance
    last = np.einsum("klii->kl", answer.two_depth_kernel[:, :, -1, -1]) / answer.problem.n_samples
    return {"increments": moved[[0, -1]], "change": np.array([last[0, 0] + last[-1, -1] - 2 * last[0, -1], last[0, 0]])}


def wide(problem: Problem, L: int, sizes: Sizes) -> dict[str, Array]:
    """Outputs and moments at infinite width, by group."""
    found = []
    for g in range(sizes.groups):
        answer = sample(problem, blocks=L, particles=sizes.neurons, seed=g, replicas=1, record=LAST)
        found.append({"outputs": answer.outputs[..., 0]} | moments(answer))
    return {name: np.array([one[name] for one in found]) for name in found[0]}


def networks(problem: Problem, L: int, sizes: Sizes) -> dict[str, Array]:
    """Outputs extrapolated to infinite width, and of the wider networks the loss and accuracy on probes, by group."""
    groups, (narrow, broad), found = 8, sizes.widths, []
    for g in range(groups):
        several = {"blocks": L, "seeds": -(-sizes.seeds // groups), "record": Record(kinds=())}
        f, h = (simulate(problem, width=n, seed=2 * g + i, **several).samples[..., 0] for i, n in enumerate(sizes.widths))
        outputs = (broad * h.mean(0) - narrow * f.mean(0)) / (broad - narrow)
        held, targets = h[:, -1, problem.n_samples :], problem.probe_targets[:, 0]
        right = np.mean(held * targets > 0)
        found.append({"outputs": outputs[:, : problem.n_samples], "held": np.array([np.mean((held - targets) ** 2) / 2, right])})
    return {name: np.array([one[name] for one in found]) for name in found[0]}


# The study.


@dataclass(frozen=True)
class Study:
    """What was found, by alpha and number of blocks."""

    sizes: Sizes
    targets: Array
    wide: dict[str, dict[int, dict[str, Array]]]
    networks: dict[str, dict[int, dict[str, Array]]]
    second: dict[str, dict[int, Array]]
    limit: Trajectory
    rates: Transfer

    def losses(self, outputs: Array) -> Estimate:
        """Training loss of mean outputs after every step."""
        return jackknife(outputs, lambda mean: np.mean((mean - self.targets) ** 2, axis=-1) / 2)

    def exponent(self, alpha: str) -> Estimate:
        """With which changes of the outputs from L to 2L fall."""
        runs = {L: found["outputs"] for L, found in self.wide[alpha].items()}
        of = slope(np.array(self.sizes.blocks[:-1]))
        return jackknife(increments(runs), lambda mean: of(np.abs(mean)))

    def agreement(self, alpha: str, L: int) -> Array:
        """Networks against infinite width after every step, in standard errors of both."""
        one, two = (jackknife(runs[alpha][L]["outputs"][:, 1:]) for runs in (self.networks, self.wide))
        return (one.value - two.value) / np.hypot(one.error, two.error)

    def moved(self, alpha: str, L: int) -> Estimate:
        """Root mean square change of the last features over their size."""
        return jackknife(self.wide[alpha][L]["change"], relative)

    def diversity(self, alpha: str, L: int) -> Estimate:
        """Kappa before and after training."""
        return jackknife(self.wide[alpha][L]["increments"], kappa)

    def second_order(self, alpha: str, measure: int) -> dict[int, Estimate]:
        """Relative distance to blocks of first order, of outputs (0) or features (1)."""
        return {L: jackknife(runs[:, measure], relative) for L, runs in self.second[alpha].items()}


def study(sizes: Sizes, say: Any = lambda text: None) -> Study:
    """All of it."""
    problems = {alpha: problem_of(alpha, sizes) for alpha in POINTS}
    held = {alpha: problem_of(alpha, sizes, probes=True) for alpha in POINTS}
    say("the limit at alpha = 1")
    limit = solve(problems["1"], tol=sizes.tol, record=LAST)
    found: list[dict[str, Any]] = [{alpha: {} for alpha in POINTS} for _ in range(3)]
    ends = (sizes.blocks[0], sizes.blocks[-1])
    for alpha, problem in problems.items():
        for L in sizes.blocks:
            say(f"alpha = {alpha}, L = {L}")
            found[0][alpha][L] = wide(problem, L, sizes)
            found[2][alpha][L] = np.array([finite(problem, L, sizes.widths[0], 2, g) for g in range(8)])
        found[1][alpha] = {L: networks(held[alpha], L, sizes) for L in ends}
    say("learning rates")
    grid = {"blocks": sizes.rate_blocks, "lrs": sizes.rates, "seeds": sizes.rate_seeds, "width": sizes.widths[0]}
    rates = transfer(problems["1"], parametrizations=dict(POINTS), rung="finite", **grid)
    return Study(sizes, problems["1"].targets[:, 0], *found, limit, rates)


def table(found: Study) -> str:
    """Losses, depth, networks, second order, features, learning rates, held-out digits."""
    parts = (_losses, _depth, _second, _features, _held)
    return "\n\n".join(["\n".join(part(found)) for part in parts] + ["networks' best learning rates\n" + found.rates.table()])


def _row(label: str, cells: list[str], width: int = 18) -> str:
    return label.ljust(28) + "".join(cell.rjust(width) for cell in cells)


def _losses(found: Study) -> list[str]:
    lines = ["training loss at infinite width", _row("", [f"step {t}" for t in range(found.sizes.steps + 1)])]
    for alpha in POINTS:
        for L in found.sizes.blocks:
            each = found.losses(found.wide[alpha][L]["outputs"])
            lines.append(_row(f"alpha = {alpha}, L = {L}", [each[t].text(4) for t in range(found.sizes.steps + 1)]))
    lines.append(_row("alpha = 1, limit", [f"{loss:.4f}" for loss in found.limit.losses]))
    return lines


def _depth(found: Study) -> list[str]:
    doublings = [f"{L} to {2 * L}" for L in found.sizes.blocks[:-1]]
    ends = [f"networks, L = {L}" for L in found.networks["1"]]
    lines = ["change of all outputs with the number of blocks; networks against infinite width, rms z (largest)"]
    lines.append(_row("", doublings) + "exponent".rjust(24) + "".join(end.rjust(18) for end in ends))
    for alpha in POINTS:
        each = jackknife(increments({L: one["outputs"] for L, one in found.wide[alpha].items()}))
        cells = _row(f"alpha = {alpha}", [each[i].text(4) for i in range(len(doublings))])
        zs = [found.agreement(alpha, L) for L in found.networks[alpha]]
        texts = [f"{np.sqrt(np.mean(z**2)):.2f} ({np.abs(z).max():.2f})".rjust(18) for z in zs]
        lines.append(cells + found.exponent(alpha).between().rjust(24) + "".join(texts))
    return lines


def _second(found: Study) -> list[str]:
    lines = ["second order in a block's updates: distance to blocks of first order over what training changed, networks"]
    lines.append(_row("", [f"L = {L}" for L in found.sizes.blocks]))
    for measure, name in enumerate(("outputs", "features")):
        for alpha in POINTS:
            cells = [one.text(4) for one in found.second_order(alpha, measure).values()]
            lines.append(_row(f"alpha = {alpha}, {name}", cells))
    return lines


def _features(found: Study) -> list[str]:
    blocks, end = found.sizes.blocks, moments(found.limit)
    limits = {"change": f"{relative(end['change']):.3f}", "after": f"{kappa(end['increments'][1]):.3f}"}
    lines = ["features: relative change at p = 1, and kappa at p = 1/2", _row("", [f"L = {L}" for L in blocks] + ["limit"])]
    for alpha in POINTS:
        rows = {"change": [found.moved(alpha, L) for L in blocks]}
        rows |= {f"kappa, {when}": [found.diversity(alpha, L)[i] for L in blocks] for i, when in enumerate(("before", "after"))}
        for name, cells in rows.items():
            known = limits.get(name.split()[-1], "") if alpha == "1" else ""  # before training nothing moves there
            lines.append(_row(f"alpha = {alpha}, {name}", [*(cell.text() for cell in cells), known]))
    return lines


def _held(found: Study) -> list[str]:
    lines = [f"held-out digits after {found.sizes.steps} steps, networks of width {found.sizes.widths[1]}"]
    lines.append(_row("", ["loss", "accuracy"]))
    for L in found.networks["1"]:
        for alpha in POINTS:
            each = jackknife(found.networks[alpha][L]["held"])
            lines.append(_row(f"alpha = {alpha}, L = {L}", [each[i].text() for i in range(2)]))
    return lines


COLOURS = {"1/2": "#0072B2", "1": "#D55E00"}
"""Distinct for colour-blind readers."""


def plot(found: Study, path: str) -> None:
    """Training curves, second order, best learning rates and diversity."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    _draw_losses(axes[0, 0], found)
    for alpha, color in COLOURS.items():
        style: dict[str, Any] = {"color": color, "lw": 1.4, "capsize": 2}
        for measure, line in enumerate(("o-", "s--")):
            several = found.second_order(alpha, measure)
            label = f"α = {alpha}, {('outputs', 'features')[measure]}"
            values, errors = [s.value for s in several.values()], [2 * s.error for s in several.values()]
            axes[0, 1].errorbar(list(several), values, errors, fmt=line, ms=4, label=label, **style)
        for i, line in enumerate(("s--", "o-")):
            several = {L: found.diversity(alpha, L)[i] for L in found.sizes.blocks}
            label = f"α = {alpha}, {('before', 'after')[i]} training"
            values, errors = [s.value for s in several.values()], [2 * s.error for s in several.values()]
            axes[1, 1].errorbar(list(several), values, errors, fmt=line, ms=4, label=label, **style)
        curves = [curve for curve in found.rates.curves if curve.name == alpha]
        _draw_rates(axes[1, 0], curves, color, alpha)
    axes[0, 1].set(xscale="log", yscale="log", ylabel="relative distance", title="Second order in a block's updates")
    axes[1, 0].set(xscale="log", ylim=(0, 6), ylabel="best learning rate η", title="Best learning rate of networks, 95 %")
    axes[1, 1].set(xscale="log", ylabel="κ between ε = 1/8 and 1/4", title="Diversity of features over depth")
    for ax, sizes in ((axes[0, 1], found.sizes.blocks), (axes[1, 0], found.sizes.rate_blocks), (axes[1, 1], found.sizes.blocks)):
        ax.set_xlabel("blocks L")
        ax.set_xticks(sizes, [str(L) for L in sizes])
        ax.set_xticks([], minor=True)
    for ax in axes.ravel():
        ax.grid(alpha=0.25)
        ax.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)


def _draw_losses(axes: Any, found: Study) -> None:
    steps = range(found.sizes.steps + 1)
    first, last = found.sizes.blocks[0], found.sizes.blocks[-1]
    for alpha, color in COLOURS.items():
        for L, line in ((first, ":"), (last, "-")):
            each = found.losses(found.wide[alpha][L]["outputs"])
            axes.errorbar(steps, each.value, 2 * each.error, color=color, ls=line, lw=1.4, label=f"α = {alpha}, L = {L}")
        each = found.losses(found.networks[alpha][last]["outputs"])
        axes.errorbar(steps, each.value, 2 * each.error, color=color, fmt="o", mfc="white", ms=5, lw=0.8, capsize=2)
    axes.plot(steps, found.limit.losses, color="#111111", ls="--", lw=1.2, label="α = 1, limit")
    axes.set(xlabel="step", ylabel="training loss", title=f"Infinite width; circles: networks, L = {last}")


def _draw_rates(axes: Any, curves: list[Any], color: str, alpha: str) -> None:
    best = [(curve.blocks, curve.optima[0]) for curve in curves if curve.optima[0].known]
    places = np.array([L for L, _ in best]) * (1.03 if alpha == "1" else 0.97)
    values, factors = np.array([o.at for _, o in best]), 2.0 ** (1.96 * np.array([o.error for _, o in best]))
    spread = np.array([values - values / factors, values * factors - values])
    axes.errorbar(places, values, spread, color=color, fmt="o-", ms=4, lw=1.4, capsize=2, label=f"α = {alpha}")


# The check.


def check() -> int:
    """The verdicts at a reduced size; returns how many comparisons were made.

    Raises:
        AssertionError: one does not hold.
    """
    found = study(QUICK)
    few, _, many = QUICK.blocks
    half, one = (found.second_order(alpha, 0) for alpha in POINTS)
    assert half[many].value < half[few].value
    assert one[many].value > 2 * half[many].value
    assert found.diversity("1/2", many).value[0] > 0.45
    assert found.diversity("1", many).value[1] < found.diversity("1/2", many).value[1] - 0.1
    assert np.abs(found.losses(found.wide["1"][many]["outputs"]).value - found.limit.losses).max() < 0.05
    return 5


def main(arguments: list[str]) -> None:
    """Run the study with the options of the command line."""
    run(arguments, __doc__, Sizes(), QUICK, ("seeds", "networks of every width"), study=study, table=table, plot=plot)


if __name__ == "__main__":
    main(sys.argv[1:])
