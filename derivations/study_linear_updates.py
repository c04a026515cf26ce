r"""Study: do terms of second order in one block's updates vanish with depth?

TP6, section 9: in blocks of several layers at $\alpha = \gamma = 1/2$ what is of second order in the updates of one block adds up
to $\Theta(L^{-1/2})$, so that in the limit the layers of a block no longer learn together; at $\alpha = 1$, $\gamma = 0$ (CP) it
is of order one. Here two-layer blocks are held against blocks replaced by their expansion to first order in
$(\Delta_1, \Delta_2)$ about their initial weights. Both networks have the same initial weights and samples, each is trained with
its own gradients: at infinite width, where one set of matrices acts on the states of both, so that their distance has no noise of
its own, and at finite width.

    python derivations/study_linear_updates.py --out study_linear_updates.png

Two bounds for the exponent of their distance:

* by orders, $1 - \alpha - 2\gamma$ [D6.1]: aligned terms, nothing known of their factors;
* of form "mlp" $1 - \alpha - 3\gamma$: the factor of $\Delta_2\phi'\Delta_1x$ is
  $\langle\phi(h_s), \phi'\phi'(h_s)W_2^T\delta\rangle$, and $W_2^T\delta$ is centred and independent of $h$ but for what was
  learned, $\Theta(L^{-\gamma})$, or a response. Features also keep what is independent from block to block,
  $\frac12 - \alpha - 2\gamma$.
"""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from command import run
from jackknife import Estimate, jackknife, slope
from plain_matrices import Drawn
from plain_network import FirstOrder, TwoLayers, draw, infinite, rates_of, train

from limits import COMPLETEP, DEPTH_MUP, SGD, Parametrization, Problem, ResNet
from limits.semiseparable import FORWARD, Side

Array = np.ndarray
Case = tuple[str, str, str]
"""Form, alpha, rung."""
POINTS = {"1/2": DEPTH_MUP, "3/4": Parametrization("3/4", "1/4"), "1": COMPLETEP}
CASES = {"mlp": "tanh", "post": "sin + cos"}
"""Nonlinearity by form."""
MEASURES = ("outputs", "features")
GROUPS = 8


def problem_of(form: str, alpha: str, steps: int = 3) -> Problem:
    """Two samples, trained together."""
    model = ResNet(CASES[form], 2, form=form)
    return Problem(model, POINTS[alpha], SGD(0.7, steps), [[1.0, 0.4], [-0.3, 1.2]], [[1.5], [-1.0]])


def bounds(form: str, alpha: str, measure: str) -> tuple[float, float]:
    """Exponents by orders, and with what is known of the factors."""
    a = float(POINTS[alpha].alpha)
    gamma = 1 - a
    known = {"outputs": 1 - a - 3 * gamma, "features": max(1 - a - 3 * gamma, 0.5 - a - 2 * gamma)}
    return 1 - a - 2 * gamma, known[measure] if form == "mlp" else 1 - a - 2 * gamma


@dataclass
class Ends:
    """The last features, before training and after."""

    steps: int
    blocks: int
    before: Any = None
    after: Any = None

    def watch(self, side: Side, t: int, level: int, rows: Array) -> None:
        """Keep them."""
        if side is FORWARD and level == self.blocks:
            self.before = rows if t == 0 else self.before
            self.after = rows if t == self.steps else self.after


def distances(problem: Problem, layers: Any, ends: tuple, kinds: tuple = (TwoLayers, FirstOrder)) -> Array:
    """Mean squares of the difference of both networks, and of what training changed.

    Args:
        layers: matrices by block and layer, which both networks use.

    Returns:
        Shape (2 measures, difference or change): of outputs after every step, of features at p = 1 after the last.
    """
    L, found = len(layers), []
    for kind in kinds:
        seen = Ends(problem.steps, L)
        outputs = train(problem, [kind(problem, rates_of(problem, L), *matrices) for matrices in layers], ends, seen.watch)
        found.append((outputs, seen))
    (f, x), (g, y) = found
    later, first = np.s_[..., 1:, :, :], np.s_[..., :1, :, :]
    pairs = ((f - g)[later], f[later] - f[first]), (x.after - y.after, x.after - x.before)
    return np.array([[np.mean(difference**2), np.mean(change**2)] for difference, change in pairs])


def wide(problem: Problem, L: int, neurons: int, group: int) -> Array:
    """Distances at infinite width, of one sample of neurons."""
    ends, layers = infinite(problem, L, neurons, (17, L, group))
    return distances(problem, layers, ends)


def finite(problem: Problem, L: int, width: int, count: int, group: int) -> Array:
    """Distances of networks."""
    ends, weights = draw(problem, width, L, [(19, group, s) for s in range(count)])
    return distances(problem, [list(map(Drawn, layers)) for layers in weights], ends)


def relative(mean: Array) -> Array:
    """Root mean square of the difference over that of the change, from (…, difference or change)."""
    return np.sqrt(mean[..., 0] / mean[..., 1])


# The study.


@dataclass(frozen=True)
class Sizes:
    """How much is computed."""

    cases: tuple[tuple[str, str], ...] = tuple((form, alpha) for form in CASES for alpha in POINTS)
    blocks: tuple[int, ...] = (8, 16, 32, 64, 128)
    neurons: int = 512
    network_blocks: tuple[int, ...] = (8, 16, 32, 64)
    width: int = 64
    networks: int = 4
    groups: int = GROUPS


QUICK = Sizes((("mlp", "1/2"), ("mlp", "1"), ("post", "1/2")), (8, 16, 32), 128, (), 16, 1, 3)
FITTED = 3
"""Exponents are fitted to so many of the largest sizes."""


@dataclass(frozen=True)
class Study:
    """Mean squares by case and L, shape (groups, measures, difference or change)."""

    sizes: Sizes
    runs: dict[Case, dict[int, Array]]

    def distance(self, case: Case, L: int, measure: str) -> Estimate:
        """Relative distance."""
        return jackknife(self.runs[case][L][:, MEASURES.index(measure)], relative)

    def exponent(self, case: Case, measure: str) -> Estimate:
        """Of the distance in L."""
        sizes = sorted(self.runs[case])[-FITTED:]
        runs = np.stack([self.runs[case][L][:, MEASURES.index(measure)] for L in sizes], axis=1)
        of = slope(np.array(sizes))
        return jackknife(runs, lambda mean: of(relative(mean)))


def study(sizes: Sizes, say: Any = lambda text: None) -> Study:
    """All of it."""
    runs: dict[Case, dict[int, Array]] = {}
    groups = range(sizes.groups)
    for form, alpha in sizes.cases:
        say(f"{form}, alpha = {alpha}")
        problem, some = problem_of(form, alpha), (sizes.width, sizes.networks)
        runs[form, alpha, "wide"] = {L: np.array([wide(problem, L, sizes.neurons, g) for g in groups]) for L in sizes.blocks}
        if sizes.network_blocks:
            networks = {L: np.array([finite(problem, L, *some, g) for g in groups]) for L in sizes.network_blocks}
            runs[form, alpha, "finite"] = networks
    return Study(sizes, runs)


def table(found: Study) -> str:
    """Distances against L and the exponents."""
    return "\n\n".join("\n".join(_rows(found, measure)) for measure in MEASURES)


def _rows(found: Study, measure: str) -> list[str]:
    names = {"wide": "infinite width", "finite": f"networks, n = {found.sizes.width}"}
    head = " " * 35 + "".join(f"L = {L}".rjust(17) for L in found.sizes.blocks)
    lines = [f"distance in {measure}, relative to what training changed"]
    lines.append(head + "exponent".rjust(24) + "by orders".rjust(11) + "factors".rjust(9))
    for case, runs in found.runs.items():
        form, alpha, rung = case
        cells = [found.distance(case, L, measure).text(4) if L in runs else "" for L in found.sizes.blocks]
        steep = "".join(f"{e:>{w}g}" for e, w in zip(bounds(form, alpha, measure), (11, 9), strict=True))
        label = f"{form:<5}" + f"alpha = {alpha}, ".ljust(13) + names[rung]
        power = found.exponent(case, measure).between().rjust(24)
        lines.append(label.ljust(35) + "".join(c.rjust(17) for c in cells) + power + steep)
    return lines


COLOURS = {"1/2": "#0072B2", "3/4": "#009E73", "1": "#D55E00"}
"""Distinct for colour-blind readers."""


def plot(found: Study, path: str) -> None:
    """Distances against L, with the slopes that are expected, a panel for every form and measure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    forms = [form for form in CASES if any(case[0] == form for case in found.runs)]
    figure = Figure(figsize=(10, 3.8 * len(forms)), layout="constrained")
    FigureCanvasAgg(figure)
    for row, form in zip(figure.subplots(len(forms), 2, squeeze=False), forms, strict=True):
        for axes, measure in zip(row, MEASURES, strict=True):
            for case in found.runs:
                if case[0] == form:
                    _curve(axes, found, case, measure)
            axes.set(xscale="log", yscale="log", xlabel="blocks L", ylabel=f"relative distance in {measure}")
            axes.set_title(f"form {form}, φ = {CASES[form]}")
            axes.set_xticks(list(found.sizes.blocks), [str(L) for L in found.sizes.blocks])
            axes.set_xticks([], minor=True)
            axes.grid(alpha=0.25)
            axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)


def _curve(axes: Any, found: Study, case: Case, measure: str) -> None:
    """Infinite width as a line with a dotted one of the expected slope, networks as circles."""
    form, alpha, rung = case
    sizes, color = np.array(sorted(found.runs[case]), float), COLOURS[alpha]
    several = [found.distance(case, int(L), measure) for L in sizes]
    values, errors = np.array([d.value for d in several]), np.array([2 * d.error for d in several])
    if rung == "finite":
        axes.errorbar(sizes * 1.05, values, errors, color=color, fmt="o", mfc="white", ms=5, lw=0.8, capsize=2)
        return
    power = f"{found.exponent(case, measure).value:.2f}".replace("-", "−")
    axes.errorbar(sizes, values, errors, color=color, fmt="s-", ms=4, lw=1.4, capsize=2, label=f"α = {alpha}: slope {power}")
    axes.plot(sizes, 0.8 * values[-1] * (sizes / sizes[-1]) ** bounds(form, alpha, measure)[1], color=color, lw=0.9, ls=":")


# The check.


def check() -> int:
    """The verdicts at a reduced size; returns how many comparisons were made.

    Raises:
        AssertionError: one does not hold.
    """
    found = study(QUICK)
    mlp, neural, post = (found.exponent((*case, "wide"), "features") for case in QUICK.cases)
    assert -1.1 < mlp.value < -0.65
    assert mlp.z(-0.5) < -4  # steeper than by orders
    assert -0.5 < neural.value < -0.1
    assert -0.75 < post.value < -0.25
    assert abs(found.exponent(("mlp", "1", "wide"), "outputs").value) < 0.2
    assert found.distance(("mlp", "1", "wide"), 32, "outputs").z(0) > 5
    return 6


def main(arguments: list[str]) -> None:
    """Run the study with the options of the command line."""
    run(arguments, __doc__, Sizes(), QUICK, ("networks", "networks in each of eight groups"), study=study, table=table, plot=plot)


if __name__ == "__main__":
    main(sys.argv[1:])
