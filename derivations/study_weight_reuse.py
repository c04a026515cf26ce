r"""Study: does it matter that the backward pass reuses the forward weights?

A gradient goes back through $W^T$, the transpose of the matrix that the features went through. YWG say that what this couples
adds up to nothing as $L\to\infty$ in one-layer blocks at $\alpha = \gamma = 1/2$. Here networks with $W^T$ are held against
networks whose backward pass multiplies by an independent copy of the initial $W^T$, same weights otherwise, on

* the first output $f_1$: before training $W$ and $W^T$ are as good as independent, so that only features respond in it;
* the gradient kernel $C^1_{11}(0)$ after one step, in which gradients respond too.

The share of the response in a number is 1 - (its value with the copy) / (its value). It is computed at infinite width for
several L (of linear blocks exactly), in the limit, and from real networks, extrapolated from two widths.

    python derivations/study_weight_reuse.py --out study_weight_reuse.png

One input with targets 1.5, then -1.5; a = eta = 1.
"""

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
from command import run
from errata_nonlinear_limit import IndependentCopy
from jackknife import Estimate, jackknife, slope
from plain_matrices import Drawn, mean_products
from plain_network import OneLayer, draw, infinite, rates_of, train

from limits import COMPLETEP, DEPTH_MUP, SGD, Parametrization, Problem, Record, ResNet, solve
from limits.deep.nonlinear import NonlinearStates, nonlinear_level
from limits.deep.one_layer import NeuronFunctions
from limits.deep.refine import first_panels
from limits.panels import Panels
from limits.semiseparable import BACKWARD, FORWARD, Side

Array = np.ndarray
STEPS = 2
PHIS = ("linear", "sin + cos", "tanh", "relu", "abs")
POINTS = {"1/2": DEPTH_MUP, "1": COMPLETEP}
RECORD = Record(positions=(0,), samples=(1,), kinds=("gradient",))
BOTH, NEITHER = frozenset({FORWARD, BACKWARD}), frozenset[Side]()
NUMBERS = ("f_1", "f_2", "C1_11(0)")


def problem_of(name: str, parametrization: Parametrization) -> Problem:
    """One input that is seen with two targets."""
    given = {"inputs": [[1.0], [1.0]], "targets": [[1.5], [-1.5]], "batches": [[t % 2] for t in range(STEPS)]}
    return Problem(ResNet(name), parametrization, SGD(1.0, STEPS), **given)


def numbers(outputs: Array, gradient: Any) -> Array:
    """`NUMBERS` of an answer."""
    return np.array([outputs[1, 0, 0], outputs[2, 0, 0], gradient[1, 1, 0, 0, 0]])


# Infinite width: matrices that respond forward, backward, both, or not at all.


def sampled(problem: Problem, L: int, neurons: int, replica: int, sides: frozenset[Side]) -> Array:
    """The numbers of one sample of neurons; the same noise whatever responds."""
    ends, layers = infinite(problem, L, neurons, (11, replica), sides)
    return answer(problem, ends, [OneLayer(problem, rates_of(problem, L), *matrices) for matrices in layers])


def answer(problem: Problem, ends: tuple, branches: list[OneLayer]) -> Array:
    """The numbers of networks with these blocks, shape (…, numbers)."""
    gradients = []

    def watch(side: Side, t: int, level: int, rows: Array) -> None:
        if side is BACKWARD and (t, level) == (1, 0):
            gradients.append(mean_products(rows, rows)[..., 1, 1])

    outputs = train(problem, branches, ends, watch)
    return np.stack([outputs[..., 1, 0, 0], outputs[..., 2, 0, 0], gradients[0]], axis=-1)


def wide(problem: Problem, L: int, neurons: int, replicas: int, *silent: frozenset[Side]) -> Array:
    """With all responses, then with these only: (replicas, 1 + variants, numbers)."""
    return np.array([[sampled(problem, L, neurons, r, sides) for sides in (BOTH, *silent)] for r in range(replicas)])


# Infinite depth.


def deep(name: str, alpha: str) -> Array:
    """The limits with W^T and with the copy: (2, numbers)."""
    problem = problem_of(name, POINTS[alpha])
    if alpha == "1":
        if name == "linear":  # a flow in which nothing responds
            answer = solve(problem, record=RECORD)
            return np.array([numbers(answer.outputs, answer.gradient_kernel)] * 2)
        return np.array([neural(problem), neural(problem, silent=True)])
    edges = first_panels(np.array([0.0]), graded=bool(problem.model.phi.kinks)).edges
    panels = Panels(np.union1d(edges, np.linspace(0, 1, 17)), 7)
    levels = [nonlinear_level(problem, panels, RECORD, 1, lambda t: None, kind) for kind in (NonlinearStates, IndependentCopy)]
    return np.array([numbers(level.outputs, level.kernels["gradient_kernel"]) for level in levels])


def neural(problem: Problem, silent: bool = False) -> Array:
    """The limit at alpha = 1, or what it would be if gradients did not respond (TP6, Definition F.2)."""
    with no_response() if silent else mock.MagicMock():
        answer = solve(problem, tol=1e-3, record=RECORD)
    return numbers(answer.outputs, answer.gradient_kernel)


@contextmanager
def no_response():
    """The equations at alpha = 1 without the response of gradients."""
    right = NeuronFunctions._moved

    def silent(self: NeuronFunctions, function: Any, hats: Array, values: Array) -> Array:
        moved = right(self, function, hats, values)
        return 0 * moved if function is self.phi.derivative else moved

    with mock.patch.object(NeuronFunctions, "_moved", silent):
        yield


# Networks.


def trained(problem: Problem, ends: tuple, weights: Array, copied: bool) -> Array:
    """The numbers of networks drawn with copies, shape (seeds, numbers)."""
    rates = rates_of(problem, len(weights))
    return answer(problem, ends, [OneLayer(problem, rates, Drawn(matrix, copy if copied else None)) for matrix, copy in weights])


def of_networks(names: list[str], L: int, widths: tuple[int, int], seeds: int, groups: int) -> dict[tuple[str, str], Array]:
    """By nonlinearity and alpha: (groups, with W^T or the copy, numbers), extrapolated to infinite width group by group."""
    cases = {(name, alpha): problem_of(name, point) for name in names for alpha, point in POINTS.items()}
    found: dict[tuple[str, str], list[Array]] = {case: [] for case in cases}
    each = -(-seeds // groups)
    for g in range(groups):
        of_width = []
        for n in widths:
            some = next(iter(cases.values()))
            ends, weights = draw(some, n, L, [(13, n, L, g, s) for s in range(each)], copies=True)
            run = partial(trained, ends=ends, weights=weights)
            of_width.append({c: np.array([run(p, copied=copied).mean(0) for copied in (False, True)]) for c, p in cases.items()})
        for case in cases:
            narrow, broad = (values[case] for values in of_width)
            found[case].append((widths[1] * broad - widths[0] * narrow) / (widths[1] - widths[0]))
    return {case: np.array(values) for case, values in found.items()}


# The study.


def share(runs: Array, number: str, variant: int = 1) -> Estimate:
    """1 - variant / all, of one number."""
    which = NUMBERS.index(number)
    return jackknife(runs[:, :, which], lambda mean: 1 - mean[variant] / mean[0])


@dataclass(frozen=True)
class Sizes:
    """How much is computed."""

    names: tuple[str, ...] = PHIS
    blocks: tuple[int, ...] = (8, 16, 32, 64, 128)
    neurons: int = 4096
    replicas: int = 8
    network_blocks: tuple[int, ...] = (8, 32, 128)
    widths: tuple[int, int] = (64, 128)
    seeds: int = 160


QUICK = Sizes(("linear", "tanh"), (8, 32), 512, 3, (), (16, 32), 0)
ONLY = (NEITHER, frozenset({BACKWARD}), frozenset({FORWARD}))
"""What still responds: nothing, gradients only, features only."""


@dataclass(frozen=True)
class Study:
    """What was found, by (nonlinearity, alpha)."""

    sizes: Sizes
    wide: dict[tuple[str, str], dict[int, Array]]
    deep: dict[tuple[str, str], Array]
    networks: dict[tuple[str, str], dict[int, Array]]

    def slope_of(self, case: tuple[str, str], number: str, variant: int = 1) -> Estimate | None:
        """The exponent with which a share falls, over the larger half of the sizes; None where it is zero or changes its sign."""
        sizes = sorted(self.wide[case])[len(self.wide[case]) // 2 - 1 :]
        runs = np.stack([self.wide[case][L] for L in sizes], axis=1)[..., NUMBERS.index(number)]
        of, shares = slope(np.array(sizes)), lambda mean: 1 - mean[:, variant] / mean[:, 0]
        signs = shares(runs.mean(0)) > 1e-12, shares(runs.mean(0)) < -1e-12
        return jackknife(runs, lambda mean: of(np.abs(shares(mean)))) if any(map(np.all, signs)) else None

    def limit(self, case: tuple[str, str], number: str) -> float:
        """The share in the limit."""
        ours, copied = self.deep[case][:, NUMBERS.index(number)]
        return float(1 - copied / ours)


def study(sizes: Sizes, say: Any = lambda text: None) -> Study:
    """All of it."""
    cases = [(name, alpha) for alpha in POINTS for name in sizes.names]
    found, limits = {}, {}
    for name, alpha in cases:
        say(f"{name}, alpha = {alpha}: infinite width")
        size = sizes.neurons, 2 if name == "linear" else sizes.replicas  # of linear blocks, any sample is exact
        silent = ONLY if alpha == "1" else ONLY[:1]
        found[name, alpha] = {L: wide(problem_of(name, POINTS[alpha]), L, *size, *silent) for L in sizes.blocks}
        limits[name, alpha] = deep(name, alpha)
    networks: dict[tuple[str, str], dict[int, Array]] = {case: {} for case in cases}
    for L in sizes.network_blocks:
        say(f"networks of {L} blocks")
        for case, runs in of_networks(list(sizes.names), L, sizes.widths, sizes.seeds, 16).items():
            networks[case][L] = runs
    return Study(sizes, found, limits, networks)


LABELS = {"f_1": "the first output f_1", "C1_11(0)": "the gradient kernel C1_11(0)"}


def table(found: Study) -> str:
    """Shares against L, and what is left when only one side responds."""
    parts = [
        f"share of the response in {LABELS[number]} at alpha = {alpha}\n" + "\n".join(_shares(found, number, alpha))
        for number in LABELS
        for alpha in POINTS
    ]
    return "\n\n".join([*parts, "of the share in C1_11(0) at alpha = 1, the response of\n" + "\n".join(_sides(found))])


def _shares(found: Study, number: str, alpha: str) -> list[str]:
    nets = found.sizes.network_blocks
    head = [*(f"L = {L}" for L in found.sizes.blocks), "limit", "exponent of L", *(f"networks, {L}" for L in nets)]
    widths = [*[18] * len(found.sizes.blocks), 10, 24, *[18] * len(nets)]
    lines = [" " * 10 + "".join(text.rjust(w) for text, w in zip(head, widths, strict=True))]
    for name in found.sizes.names:
        case = name, alpha
        power = found.slope_of(case, number) if alpha == "1" else None
        cells = [share(runs, number).text(4) for runs in found.wide[case].values()]
        cells += [f"{round(found.limit(case, number), 9) + 0.0:.4f}", "" if power is None else power.between()]
        cells += [share(found.networks[case][L], number).text() for L in nets]
        lines.append(name.ljust(10) + "".join(cell.rjust(w) for cell, w in zip(cells, widths, strict=True)))
    return lines


def _sides(found: Study) -> list[str]:
    lines = [" " * 22 + "".join(f"L = {L}".rjust(18) for L in found.sizes.blocks) + "exponent of L".rjust(24)]
    for label, variant in (("features", 2), ("gradients", 3)):
        for name in found.sizes.names:
            case = name, "1"
            power = found.slope_of(case, "C1_11(0)", variant)
            cells = [share(runs, "C1_11(0)", variant).text(4).rjust(18) for runs in found.wide[case].values()]
            cells.append(("" if power is None else power.between()).rjust(24))
            lines.append(f"{label:<12}{name:<10}" + "".join(cells))
    return lines


COLOURS = dict(zip(PHIS, ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7"), strict=True))
"""Distinct for colour-blind readers."""


def plot(found: Study, path: str) -> None:
    """Shares against L at both points: in f_1, in absolute value, and in the gradient kernel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    first, second = figure.subplots(1, 2)
    for name in found.sizes.names:
        for alpha, line in (("1/2", "-"), ("1", "--")):
            _curve(first, found, (name, alpha), "f_1", line, name if alpha == "1/2" else None)
        if name != "linear":
            _curve(second, found, (name, "1"), "C1_11(0)", "--", name)
    sizes = np.array(found.sizes.blocks, float)
    first.plot(sizes, 0.28 / sizes, color="0.6", lw=1, ls=":", label="slope −1")
    first.set(yscale="log", ylabel="share in $f_1$, absolute value", title="Response of features (solid α = 1/2, dashed α = 1)")
    second.axhline(0, color="0.8", lw=0.8)
    second.set(ylabel="share in $C^1_{11}(0)$", title="Response of gradients at α = 1")
    for axes in (first, second):
        axes.set(xscale="log", xlabel="blocks L")
        axes.set_xticks([*sizes, 2 * sizes[-1]], [*(f"{L:g}" for L in sizes), "∞"])
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, frameon=False, ncols=2)
    figure.savefig(path, dpi=150)


def _curve(axes: Any, found: Study, case: tuple[str, str], number: str, line: str, label: str | None) -> None:
    """Infinite width as a line, networks as circles, the limit as a bar at the right end."""
    color, sign = COLOURS[case[0]], abs if number == "f_1" else float
    shares = [share(runs, number) for runs in found.wide[case].values()]
    values, errors = [sign(s.value) for s in shares], [2 * s.error for s in shares]
    axes.errorbar(list(found.wide[case]), values, errors, color=color, ls=line, lw=1.4, capsize=2, label=label)
    told = found.networks[case] if (number, case[1]) != ("f_1", "1") else {}  # there networks tell zero only
    style = {"fmt": "o", "ms": 5, "mfc": "white", "lw": 0.8, "capsize": 2}
    for L, runs in told.items():
        one = share(runs, number)
        axes.errorbar([L], [sign(one.value)], [2 * one.error], color=color, **style)
    limit = found.limit(case, number)
    if abs(limit) > 1e-9:
        axes.plot([2 * found.sizes.blocks[-1]], [limit], marker="_", ms=14, mew=2, color=color)


# The check.


def check() -> int:
    """The verdicts at a reduced size; returns how many comparisons were made.

    Raises:
        AssertionError: one does not hold.
    """
    found = study(QUICK)
    largest, done = QUICK.blocks[-1], 6
    for L, runs in found.wide["linear", "1/2"].items():
        grown = (1 + 1 / L) ** L
        assert abs(share(runs, "f_1").value - (1 - (grown - 1) * (1 + 1 / L) / grown)) < 1e-9
        done += 1
    assert abs(found.limit(("linear", "1/2"), "f_1") - np.exp(-1)) < 1e-9
    assert abs(found.limit(("tanh", "1/2"), "f_1") - (1 - 0.846)) < 1e-3
    assert share(found.wide["tanh", "1/2"][largest], "f_1").value > 0.12
    assert -1.1 < found.slope_of(("linear", "1"), "f_1").value < -0.8
    assert abs(share(found.wide["tanh", "1"][largest], "f_1").value) < 0.005
    assert share(found.wide["tanh", "1"][largest], "C1_11(0)").value < -0.06
    return done


def main(arguments: list[str]) -> None:
    """Run the study with the options of the command line."""
    run(arguments, __doc__, Sizes(), QUICK, ("seeds", "networks of every size"), study=study, table=table, plot=plot)


if __name__ == "__main__":
    main(sys.argv[1:])
