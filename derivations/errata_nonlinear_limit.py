r"""Errata study: the published equations of the nonlinear infinite-depth limit against ours and against real networks.

TP6, Definition E.1 gives the limit at alpha = gamma = 1/2 for nonlinear blocks. Its backward coupling reads, in our notation
[D5.4], H_ij = a[a R1_ij (V_c - E phi' E phi') - eta a V_c C1_ij] and H_ii = 0. This script trains the same problem by

* our equations, at spectral accuracy;
* the published ones, and ours with each term that they lack switched off;
* the equations of a network whose backward pass uses an independent copy of W^T (responses vanish);
* real networks, and real networks with that independent copy, at several widths and depths, extrapolated to infinity.

Run it as

    python derivations/errata_nonlinear_limit.py                    # a few minutes: sin + cos
    python derivations/errata_nonlinear_limit.py --all --seeds 400  # all four nonlinearities
    python derivations/errata_nonlinear_limit.py --out errata.png   # and the figure

Numbers are outputs f_t and feature kernels C0_tt(1) of the input xi = 1 with targets 1.5, -1.5, 1.5, …, one step each. The
wrong variants live here and nowhere in the package.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from limits import DEPTH_MUP, SGD, Problem, Record, ResNet
from limits.agreement import Agreement, Measured, agree, standardised
from limits.deep.nonlinear import BackwardCoupling, NonlinearStates, dual_of, nonlinear_level
from limits.deep.refine import first_panels
from limits.panels import Panels

Array = np.ndarray
STEPS = 3
CASES = {"sin + cos": (1.0, 0.7), "tanh": (1.2, 1.0), "relu": (1.0, 1.0), "abs": (1.3, 0.7)}
"""Multiplier a and learning rate eta by nonlinearity."""
ORDER = 7


def problem_of(name: str) -> Problem:
    """One input that is seen with alternating targets."""
    a, eta = CASES[name]
    batches = [[t % 2] for t in range(STEPS)]
    return Problem(ResNet(name, multiplier=a), DEPTH_MUP, SGD(eta, STEPS), [[1.0], [1.0]], [[1.5], [-1.5]], batches=batches)


RECORD = Record(positions=(1,), samples=(0,))


# The equations, with terms switched off.


Rule = Callable[[NonlinearStates, BackwardCoupling, Any, Array, Array], BackwardCoupling]
"""(states, our coupling, dual kernel, a w of the trained features, which those are) -> another coupling."""


def variant(rule: Rule) -> type[NonlinearStates]:
    """Our equations with another backward coupling."""

    class Variant(NonlinearStates):
        def backward_coupling(self, dual: Any, slope: Array, strength: Array, drift: Array, old: Array) -> BackwardCoupling:
            return rule(self, super().backward_coupling(dual, slope, strength, drift, old), dual, drift, old)

    return Variant


def without(*names: str) -> Rule:
    """Terms switched off; of the one with C1, "gradient", the part with V_cc only."""

    def rule(states: NonlinearStates, ours: BackwardCoupling, dual: Any, drift: Array, old: Array) -> BackwardCoupling:
        left = {name: 0 * getattr(ours, name) for name in names}
        return replace(ours, **left | ({"gradient": -states.a * drift * dual.V_c[..., old]} if "gradient" in left else {}))

    return rule


def published(states: NonlinearStates, ours: BackwardCoupling, dual: Any, drift: Array, old: Array) -> BackwardCoupling:
    """TP6, Definition E.1: V_c - E phi' E phi' with the response, and no H_ii."""
    samples, features = ours.response.shape[-2:]
    u, v = states.variances[:, features - samples :], states.variances
    apart = dual_of(states.problem.model, u, v, np.zeros((len(u), samples, features)), 1).V_c
    response = ours.response - states.a**2 * apart
    response[..., features - samples :] = 0.0  # H_ii
    rule = without("gradient", "own_response", "own_gradient")
    return replace(rule(states, ours, dual, drift, old), response=response)


Published = variant(published)


class IndependentCopy(variant(without("gradient", "response", "own_response", "own_gradient"))):
    """The backward pass multiplies by an independent copy of the initial W^T: only updates couple, nothing echoes."""

    def strength(self, echo: Array, drift: Array) -> Array:
        return -drift


# Alone, V_cc and V_uc are infinite for kinked nonlinearities.
SMOOTH_ONLY = ("without V_cc", "without V_uc")
VARIANTS: dict[str, type[NonlinearStates]] = {
    "ours": NonlinearStates,
    "published": Published,
    "without V_cc": variant(without("gradient")),
    "without V_uc": variant(without("own_gradient")),
    "without V_cc, V_uc": variant(without("gradient", "own_gradient")),
    "without V_u": variant(without("own_response")),
    "independent copy": IndependentCopy,
}


def solved(problem: Problem, kind: type[NonlinearStates]) -> Array:
    """(f_1 …, C0_11(1) …) of a variant, at a fixed resolution."""
    edges = first_panels(np.array([1.0]), graded=bool(problem.model.phi.kinks)).edges
    edges = np.union1d(edges, np.linspace(0, 1, 9))
    level = nonlinear_level(problem, Panels(edges, ORDER), RECORD, 1, lambda t: None, kind)
    return numbers(level.outputs, level.kernels["feature_kernel"])


def numbers(outputs: Array, kernel: Array) -> Array:
    """f_1 … f_T, then C0_11(1) … C0_TT(1), of the input."""
    outputs = np.reshape(outputs, (STEPS + 1, -1))
    kernel = np.reshape(kernel, (STEPS + 1, STEPS + 1))
    return np.concatenate([outputs[1:, 0], np.diagonal(kernel)[1:]])


NAMES = [f"f_{t}" for t in range(1, STEPS + 1)] + [f"C0_{t}{t}(1)" for t in range(1, STEPS + 1)]


# Networks.


@dataclass(frozen=True)
class Networks:
    """What networks extrapolate to: values and standard errors of `NAMES`."""

    values: Array
    errors: Array


def extrapolated(found: Agreement) -> Networks:
    """Outputs and kernels of an agreement, in the order of `NAMES`."""
    outputs, kernels = found.extrapolated("outputs"), found.extrapolated("feature_kernel")
    return Networks(*(numbers(f, c) for f, c in zip(outputs, kernels, strict=True)))


def independent_copies(problem: Problem, limit: Any, widths: list[int], blocks: list[int], seeds: int) -> Agreement:
    """Networks whose backward pass uses an independent copy of the initial W^T, in groups of seeds."""
    networks, groups = {}, 20
    for place, (n, L) in enumerate((n, L) for n in widths for L in blocks):
        each = range(-(-seeds // groups))
        runs = [np.mean([with_copy(problem, n, L, (7, place, g, s)) for s in each], axis=0) for g in range(groups)]
        mean, error = np.mean(runs, axis=0), np.std(runs, axis=0, ddof=1) / np.sqrt(groups)
        parts = ({"outputs": rows[0], "feature_kernel": np.diag(rows[1]).ravel()} for rows in (mean, error))
        networks[n, L] = Measured(n, L, seeds, *parts)
    return Agreement(limit, networks, kinked=bool(problem.model.phi.kinks))


def with_copy(problem: Problem, n: int, L: int, seed: tuple[int, ...]) -> Array:
    """One network trained in plain steps; W^T of the initial weights is an independent matrix in the backward pass.

    Returns f_0 … f_T and C0_00(1) … C0_TT(1), shape (2, T + 1).
    """
    rng, phi, a, eta = np.random.default_rng(seed), problem.model.phi, problem.model.multiplier, problem.optimizer.lr
    u, v = rng.standard_normal(n), rng.standard_normal(n)
    w, copy = (rng.standard_normal((L, n, n)).astype(np.float32) / np.float32(np.sqrt(n)) for _ in range(2))
    step, seen, given, f, c = a * L**-0.5, [], [], [], []
    for t in range(STEPS + 1):
        x, h = [u.astype(np.float32)], []
        for l in range(L):
            h.append(w[l] @ x[-1] - sum(d[l] * (y[l] @ x[-1]) for d, y in zip(given, seen, strict=True)))
            branch = phi.phi(h[-1])
            x.append(x[-1] + step * (branch - branch.mean()))
        f.append(float(v @ x[-1]) / n)
        c.append(float(x[-1] @ x[-1]) / n)
        if t == STEPS:
            break
        delta = v * (f[t] - float(problem.targets[t % 2, 0]))
        backs: list[Array] = [np.zeros(n)] * L
        for l in reversed(range(L)):
            dh = (phi.derivative(h[l]) * (delta - delta.mean())).astype(np.float32)
            backs[l] = float(eta) * a * L**-0.5 / n * dh
            delta = delta + step * (copy[l].T @ dh - sum(y[l] * (d[l] @ dh) for d, y in zip(given, seen, strict=True)))
        given.append(backs)
        seen.append(x[:-1])
    return np.array([f, c])


# The study.


def study(name: str, *, widths: list[int], blocks: list[int], seeds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """All variants and both kinds of networks for one nonlinearity."""
    problem = problem_of(name)
    kinked = bool(problem.model.phi.kinks)
    kinds = {label: kind for label, kind in VARIANTS.items() if not (kinked and label in SMOOTH_ONLY)}
    variants = {label: solved(problem, kind) for label, kind in kinds.items()}
    say(f"{name}: equations solved, training {seeds} networks of every size")
    found = agree(problem, widths=widths, blocks=blocks, seeds=seeds, record=RECORD, tol=1e-8)
    real = extrapolated(found)
    say(f"{name}: training networks with an independent copy of W^T")
    copies = extrapolated(independent_copies(problem, found.limit, widths, blocks, max(20, seeds // 4)))
    return {"name": name, "variants": variants, "networks": real, "copies": copies, "agreement": found}


def table(result: dict[str, Any]) -> str:
    """Variants against networks, with the distance in standard errors."""
    a, eta = CASES[result["name"]]
    real, copies = result["networks"], result["copies"]
    head = f"{'':<22}" + "".join(f"{name:>11}" for name in NAMES) + f"{'largest |z|':>14}"
    lines = [f"phi = {result['name']}, a = {a:g}, eta = {eta:g}", head]

    def line(label: str, values: Array, worst: str = "") -> str:
        return f"{label:<22}" + "".join(f"{v:>11.4f}" for v in values) + f"{worst:>14}"

    lines += [line("networks", real.values), line("  ± (1 s.e.)", real.errors)]
    for label, values in result["variants"].items():
        if label != "independent copy":
            lines.append(line(label, values, f"{worst_z(values, real):.1f}"))
    lines += [line("networks, copy of W^T", copies.values), line("  ± (1 s.e.)", copies.errors)]
    copy = result["variants"]["independent copy"]
    lines.append(line("equations, copy", copy, f"{worst_z(copy, copies):.1f}"))
    return "\n".join(lines)


def worst_z(values: Array, networks: Networks) -> float:
    """Largest distance to the networks, in their standard errors."""
    return float(np.abs(standardised(values - networks.values, networks.errors)).max())


def draw(results: list[dict[str, Any]], path: str) -> None:
    """The networks' C0_22(1) against 1/L at both widths, and where the equations put the limit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(results), figsize=(4.2 * len(results), 3.8), squeeze=False, layout="constrained")
    for ax, result in zip(axes[0], results, strict=True):
        draw_one(ax, result)
    axes[0][0].legend(fontsize=8)
    figure.savefig(path, dpi=150)


def draw_one(ax: Any, result: dict[str, Any]) -> None:
    """One nonlinearity."""
    runs, entry, place = list(result["agreement"].networks.values()), 2 * (STEPS + 2), STEPS + 1
    for n, (marker, color) in zip(
        sorted({run.width for run in runs}), (("o", "0.35"), ("s", "0.6"), ("^", "0.75")), strict=False
    ):
        of_width = sorted((run for run in runs if run.width == n), key=lambda run: -run.blocks)
        x = [1 / run.blocks for run in of_width]
        y, e = ([getattr(run, k)["feature_kernel"][entry] for run in of_width] for k in ("values", "errors"))
        ax.errorbar(x, y, 2 * np.array(e), fmt=marker, ms=4, capsize=2, color=color, label=f"networks, n = {n}")
    real = result["networks"]
    ax.errorbar([0], real.values[place], 2 * real.errors[place], fmt="D", color="black", label="networks, extrapolated")
    for label, (color, line) in {"ours": ("#0072B2", "-"), "published": ("#D55E00", "--")}.items():
        ax.axhline(result["variants"][label][place], color=color, ls=line, label=label)
    ax.set(title=f"φ = {result['name']}", xlabel="1 / number of blocks L", ylabel="feature kernel after two steps, $C^0_{22}(1)$")
    ax.set_xlim(left=-0.004)


def main(arguments: list[str]) -> None:
    """Run the study with the options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    phi = "which nonlinearity; repeat for several  [default: sin + cos]"
    parser.add_argument("--phi", action="append", choices=list(CASES), help=phi)
    parser.add_argument("--all", action="store_true", help="all four nonlinearities")
    parser.add_argument(
        "--widths", default="128,256", help="widths of the networks, at least two, with commas  [default: 128,256]"
    )
    blocks = "numbers of blocks, at least three, with commas  [default: 8,16,32,64]"
    parser.add_argument("--blocks", default="8,16,32,64", help=blocks)
    parser.add_argument("--seeds", type=int, default=200, help="networks of every size  [default: 200]")
    parser.add_argument("--out", help="figure to write")
    options = parser.parse_args(arguments)
    names = list(CASES) if options.all else options.phi or ["sin + cos"]
    sizes = {k: sorted({int(v) for v in getattr(options, k).split(",")}) for k in ("widths", "blocks")}
    if len(sizes["widths"]) < 2 or len(sizes["blocks"]) < 3:
        parser.error(f"extrapolation needs two widths and three numbers of blocks, got {options.widths} and {options.blocks}")
    results = []
    for name in names:
        results.append(study(name, **sizes, seeds=options.seeds, say=lambda text: print(text, file=sys.stderr, flush=True)))
        print(table(results[-1]), end="\n\n", flush=True)
    if options.out:
        draw(results, options.out)
        print(f"wrote {options.out}")


if __name__ == "__main__":
    main(sys.argv[1:])
