r"""Study: what differs between the limits of adaptive optimizers and that of SGD?

Updates of SGD are outer products $\sum_s\delta h_sx_s^T$; those of Adam and of the sign of the gradient are nonlinear functions
of their entries (TP4b), which at infinite width act on a vector as an expectation over pairs of neurons. One-layer blocks at
$\alpha = \gamma = 1/2$ are trained by all three, at rates at which the first step changes the outputs by the same amount.

    python derivations/study_adaptive_updates.py --out study_adaptive_updates.png

* Outputs after every step, and the growth of the feature kernel over depth, at infinite width (`recurse`'s samples of neurons).
* How outputs approach their limit in the number of blocks: differences between L and 2L, and the exponent with which they fall.
* Networks at the same number of blocks, extrapolated in width.
* Updates $W_T - W_0$ of networks: the stable rank $\lVert\cdot\rVert_F^2/\lVert\cdot\rVert_2^2$ and the cosine between blocks.
"""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from command import run
from jackknife import Estimate, jackknife, slope
from plain_matrices import Drawn, Entries, Learned
from plain_network import OneLayer, draw, rates_of, train

from limits import DEPTH_MUP, SGD, Adam, Problem, Record, ResNet, SignSGD, simulate
from limits.particles import sample
from limits.semiseparable import transposed

Array = np.ndarray
X, Y = [[1.0, 0.4], [-0.3, 1.2], [0.8, -0.9]], [[1.0], [-0.5], [0.7]]
OPTIMIZERS: dict[str, Any] = {"SGD": SGD, "SignSGD": SignSGD, "Adam": Adam}
RECORD = Record(positions=tuple(np.linspace(0, 1, 9)), kinds=("feature",))
NOTHING = Record(kinds=())


def problem_of(name: str, lr: float, steps: int) -> Problem:
    """Three samples, trained together."""
    return Problem(ResNet("tanh"), DEPTH_MUP, OPTIMIZERS[name](lr, steps), X, Y)


@dataclass(frozen=True)
class Sizes:
    """How much is computed."""

    steps: int = 5
    lr: float = 1.2
    blocks: tuple[int, ...] = (4, 8, 16, 32, 64)
    neurons: int = 4096
    paired: int = 1024
    groups: int = 8
    matched_at: int = 16
    widths: tuple[int, int] = (64, 128)
    seeds: int = 64
    network_blocks: int = 16
    looked_into: tuple[int, int, int] = (128, 32, 16)
    """Width, blocks and seeds of the networks whose updates are looked into."""


QUICK = Sizes(2, 1.2, (4, 8, 16), 1024, 256, 4, 8, (32, 64), 64, 4, (64, 8, 4))


# Rates at which the first step does as much.


def first_change(name: str, lr: float, sizes: Sizes) -> float:
    """Root mean square change of the outputs in the first step."""
    outputs = sample(
        problem_of(name, lr, 1), blocks=sizes.matched_at, particles=neurons_of(name, sizes), replicas=4, record=NOTHING
    ).outputs
    return float(np.sqrt(np.mean((outputs[1] - outputs[0]) ** 2)))


def matched(sizes: Sizes) -> dict[str, float]:
    """Learning rates; that of Adam is that of SignSGD, whose first step it takes."""
    want = first_change("SGD", sizes.lr, sizes)
    low, high = 0.3, 0.6
    reached = [first_change("SignSGD", lr, sizes) for lr in (low, high)]
    for _ in range(3):  # secants: nearly linear
        lr = low + (want - reached[0]) * (high - low) / (reached[1] - reached[0])
        low, high, reached = high, lr, [reached[1], first_change("SignSGD", lr, sizes)]
    return {"SGD": sizes.lr, "SignSGD": high, "Adam": high}


# Infinite width.


def neurons_of(name: str, sizes: Sizes) -> int:
    """Neurons of a sample: fewer where updates are over pairs of them."""
    return sizes.neurons if name == "SGD" else sizes.paired


def wide(problem: Problem, L: int, neurons: int, sizes: Sizes) -> tuple[Array, Array]:
    """Outputs (groups, steps + 1, samples) and what training added to C0(p) over the samples (groups, positions)."""
    outputs, growth = [], []
    for g in range(sizes.groups):
        found = sample(problem, blocks=L, particles=neurons, seed=g, replicas=1, record=RECORD)
        own = np.einsum("kkpii->kp", found.feature_kernel) / problem.n_samples
        outputs.append(found.outputs[..., 0])
        growth.append(own[-1] - own[0])
    return np.array(outputs), np.array(growth)


def increments(runs: dict[int, Array]) -> Array:
    """Changes of the outputs from L to 2L along their sum, (groups, doublings), from outputs (groups, …) by L."""
    several = np.stack([runs[L].reshape(len(runs[L]), -1) for L in sorted(runs)], axis=1)
    total = (several[:, -1] - several[:, 0]).mean(0)
    return np.diff(several, axis=1) @ (total / np.linalg.norm(total))


# Networks.


def networks(problem: Problem, sizes: Sizes) -> Array:
    """Outputs of networks extrapolated to infinite width, (groups, steps + 1, samples)."""
    groups, (narrow, broad), found = 8, sizes.widths, []
    for g in range(groups):
        several = {"blocks": sizes.network_blocks, "seeds": -(-sizes.seeds // groups), "record": NOTHING}
        f, h = (simulate(problem, width=n, seed=2 * g + i, **several).outputs for i, n in enumerate(sizes.widths))
        found.append((broad * h - narrow * f)[..., 0] / (broad - narrow))
    return np.array(found)


def updates(problem: Problem, sizes: Sizes) -> Array:
    """Stable rank, and cosines between neighbouring blocks and those L/4 and L/2 apart: (seeds, 4)."""
    n, L, seeds = sizes.looked_into
    ends, weights = draw(problem, n, L, [(23, s) for s in range(seeds)])
    plain = isinstance(problem.optimizer, SGD)
    moved = [Learned(rates_of(problem, L)[0]) if plain else Entries(problem, L, layers[0].shape) for layers in weights]
    train(problem, [OneLayer(problem, [0], Drawn(layers[0]), m) for layers, m in zip(weights, moved, strict=True)], ends)
    totals = np.stack([total_of(m) for m in moved])
    size = np.sqrt(np.sum(totals**2, axis=(-2, -1)))
    rank = size**2 / np.linalg.norm(totals, 2, axis=(-2, -1)) ** 2
    unit = totals / size[..., None, None]
    cosines = [np.sum(unit[d:] * unit[:-d], axis=(-2, -1)).mean(0) for d in (1, L // 4, L // 2)]
    return np.stack([rank.mean(0), *cosines], axis=-1)


def total_of(moved: Learned | Entries) -> Array:
    """What a block has learned as matrices (seeds, n, n)."""
    if isinstance(moved, Entries):
        return moved.total
    return -sum(transposed(g) @ y / y.shape[-1] for g, y in moved.pairs)


# The study.


@dataclass(frozen=True)
class Study:
    """What was found, by optimizer."""

    sizes: Sizes
    rates: dict[str, float]
    outputs: dict[str, dict[int, Array]]
    growth: dict[str, dict[int, Array]]
    networks: dict[str, Array]
    updates: dict[str, Array]

    def losses(self, name: str, L: int) -> Estimate:
        """Training loss after every step."""
        return jackknife(self.outputs[name][L], lambda mean: np.mean((mean - np.array(Y)[:, 0]) ** 2, axis=-1) / 2)

    def exponent(self, name: str) -> Estimate:
        """With which changes of the outputs from L to 2L fall."""
        of = slope(np.array(self.sizes.blocks[:-1]))
        return jackknife(increments(self.outputs[name]), lambda mean: of(np.abs(mean)))

    def agreement(self, name: str) -> Array:
        """Networks against infinite width, in standard errors of both."""
        one, two = (jackknife(runs[:, 1:]) for runs in (self.networks[name], self.outputs[name][self.sizes.network_blocks]))
        return (one.value - two.value) / np.hypot(one.error, two.error)


def study(sizes: Sizes, say: Any = lambda text: None) -> Study:
    """All of it."""
    rates = matched(sizes)
    problems = {name: problem_of(name, lr, sizes.steps) for name, lr in rates.items()}
    outputs: dict[str, dict[int, Array]] = {name: {} for name in problems}
    growth: dict[str, dict[int, Array]] = {name: {} for name in problems}
    for name, problem in problems.items():
        for L in sizes.blocks:
            say(f"{name}, L = {L}")
            outputs[name][L], growth[name][L] = wide(problem, L, neurons_of(name, sizes), sizes)
    say("networks")
    finite = {name: networks(problem, sizes) for name, problem in problems.items()}
    inside = {name: updates(problem, sizes) for name, problem in problems.items()}
    return Study(sizes, rates, outputs, growth, finite, inside)


def table(found: Study) -> str:
    """Losses, growth, rates in depth, networks and updates."""
    parts = (_losses, _growth, _depth, _networks, _updates)
    return "\n\n".join("\n".join(part(found)) for part in parts)


def _row(label: str, cells: list[str], width: int = 18) -> str:
    return label.ljust(16) + "".join(cell.rjust(width) for cell in cells)


def _losses(found: Study) -> list[str]:
    L = found.sizes.blocks[-1]
    lines = [
        f"training loss at infinite width, L = {L}",
        _row("", ["rate", *(f"step {t}" for t in range(found.sizes.steps + 1))]),
    ]
    for name, lr in found.rates.items():
        each = found.losses(name, L)
        lines.append(_row(name, [f"{lr:.4f}", *(each[t].text(4) for t in range(found.sizes.steps + 1))]))
    return lines


def _growth(found: Study) -> list[str]:
    L = found.sizes.blocks[-1]
    lines = [f"what training added to C0(p), mean of the samples, L = {L}", _row("", [f"p = {p:g}" for p in RECORD.depths[::2]])]
    for name in found.rates:
        each = jackknife(found.growth[name][L])
        lines.append(_row(name, [each[p].text() for p in range(0, 9, 2)]))
    return lines


def _depth(found: Study) -> list[str]:
    doublings = [f"{L} to {2 * L}" for L in found.sizes.blocks[:-1]]
    lines = ["change of all outputs with the number of blocks", _row("", [*doublings, "", "exponent"])]
    for name in found.rates:
        each = jackknife(increments(found.outputs[name]))
        cells = [each[i].text(4) for i in range(len(doublings))]
        lines.append(_row(name, cells) + found.exponent(name).between().rjust(36))
    return lines


def _networks(found: Study) -> list[str]:
    lines = [f"networks of {found.sizes.network_blocks} blocks, extrapolated in width, against infinite width"]
    lines.append(_row("", ["rms z", "largest |z|", "of"]))
    for name in found.rates:
        z = found.agreement(name)
        lines.append(_row(name, [f"{np.sqrt(np.mean(z**2)):.2f}", f"{np.abs(z).max():.2f}", str(z.size)]))
    return lines


def _updates(found: Study) -> list[str]:
    n, L, _ = found.sizes.looked_into
    lines = [f"updates of networks, n = {n}, L = {L}"]
    lines.append(_row("", ["stable rank", "cosine, next", f"{L // 4} apart", f"{L // 2} apart"]))
    for name in found.rates:
        each = jackknife(found.updates[name])
        lines.append(_row(name, [each[i].text() for i in range(4)]))
    return lines


STYLES = {"SGD": ("#0072B2", "o"), "SignSGD": ("#009E73", "s"), "Adam": ("#D55E00", "^")}
"""Distinct for colour-blind readers."""


def plot(found: Study, path: str) -> None:
    """Loss, growth of the feature kernel over depth, and rates in depth."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    FigureCanvasAgg(figure)
    first, second, third = figure.subplots(1, 3)
    L = found.sizes.blocks[-1]
    for name, (color, marker) in STYLES.items():
        style: dict[str, Any] = {"color": color, "marker": marker, "ms": 5, "lw": 1.4, "capsize": 2, "label": name}
        loss, grown = found.losses(name, L), jackknife(found.growth[name][L])
        each, power = jackknife(increments(found.outputs[name])), found.exponent(name)
        first.errorbar(range(found.sizes.steps + 1), loss.value, 2 * loss.error, **style)
        second.errorbar(RECORD.depths, grown.value, 2 * grown.error, **style)
        named = style | {"label": f"{name}: slope {power.value:.2f} ± {power.error:.2f}".replace("-", "−")}
        third.errorbar(found.sizes.blocks[:-1], np.abs(each.value), 2 * each.error, **named)
    first.set(xlabel="step", ylabel="training loss", title=f"Infinite width, L = {L}")
    second.set(xlabel="position p = l / L", ylabel="$C^0_{TT}(p) - C^0_{00}(p)$", title="What training adds to the features")
    third.set(xscale="log", yscale="log", xlabel="blocks L", ylabel="change of outputs, L to 2L", title="Convergence in depth")
    third.set_xticks(found.sizes.blocks[:-1], [str(L) for L in found.sizes.blocks[:-1]])
    third.set_xticks([], minor=True)
    for axes in (first, second, third):
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)


# The check.


def check() -> int:
    """The verdicts at a reduced size; returns how many comparisons were made.

    Raises:
        AssertionError: one does not hold.
    """
    found = study(QUICK)
    changes = {name: first_change(name, lr, QUICK) for name, lr in found.rates.items()}
    assert abs(changes["SignSGD"] / changes["SGD"] - 1) < 1e-3
    assert abs(changes["Adam"] / changes["SGD"] - 1) < 1e-3
    sgd, sign = (jackknife(found.updates[name]) for name in ("SGD", "SignSGD"))
    assert sgd.value[0] < sign.value[0]
    assert sign.value[1] < sgd.value[1]
    assert all(np.sqrt(np.mean(found.agreement(name) ** 2)) < 3 for name in found.rates)
    return 7


def main(arguments: list[str]) -> None:
    """Run the study with the options of the command line."""
    run(arguments, __doc__, Sizes(), QUICK, ("seeds", "networks of every width"), study=study, table=table, plot=plot)


if __name__ == "__main__":
    main(sys.argv[1:])
