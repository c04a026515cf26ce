"""The nonlinear limit as published, as corrected, and networks.

One input with targets 1.5, −1.5, 1.5, sin + cos: the feature norm after two steps. The published equations (TP6, Definition
E.1) lack the terms with second derivatives; networks of width 256 approach the other value, here with a straight line in $1/L$
through what they show. The full study, with error bars after extrapolation in width too, is in the errata.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from limits import Record, simulate, solve

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "derivations"))
from errata_nonlinear_limit import VARIANTS, problem_of, solved

BLOCKS = (8, 16, 32, 64)
QUANTILE = 2.36
"""Student's, 95 %, of eight groups of three seeds."""
PLACE = 4
"""Of C0_22(1) among f_1, f_2, f_3, C0_11(1), C0_22(1), C0_33(1)."""


def compute():
    problem, record = problem_of("sin + cos"), Record(positions=(1,), samples=(0,))
    networks = {}
    for L in BLOCKS:
        runs = [simulate(problem, width=256, blocks=L, seeds=3, seed=seed, record=record) for seed in range(0, 24, 3)]
        norms = np.array([run.feature_kernel[2, 2, 0, 0, 0] for run in runs])
        networks[L] = norms.mean(), norms.std(ddof=1) / len(norms) ** 0.5
    ours = solve(problem, tol=1e-8, record=record).feature_kernel[2, 2, 0, 0, 0]
    return {"ours": ours, "published": solved(problem, VARIANTS["published"])[PLACE], "networks": networks}


def draw(found):
    figure = Figure(figsize=(6.2, 4.4), layout="constrained")
    axes = figure.subplots()
    inverse, (values, errors) = 1 / np.array(BLOCKS), np.array(list(found["networks"].values())).T
    style = {"color": "#D55E00", "fmt": "o", "capsize": 3}
    axes.errorbar(inverse, values, QUANTILE * errors, **style, label="networks, width 256, 24 seeds, 95 %")
    ends = np.array([0, 1.05 * inverse[0]])
    straight = "straight line through them"
    axes.plot(ends, np.polyval(np.polyfit(inverse, values, 1), ends), color="#D55E00", lw=1, ls=":", label=straight)
    axes.plot(0, found["ours"], "D", color="#111111", ms=8, label=f"limit, corrected: {found['ours']:.4f}", clip_on=False)
    axes.plot(
        0, found["published"], "s", color="#0072B2", ms=8, label=f"limit, as published: {found['published']:.4f}", clip_on=False
    )
    axes.set(
        xlabel="1 / blocks",
        ylabel="$C^0_{22}(1)$",
        title="Feature norm after two steps, sin + cos",
        xlim=(0, None),
        ylim=(0, None),
    )
    axes.legend(frameon=False, loc="lower right")
    return figure


def check(found):
    inverse, (values, _) = 1 / np.array(BLOCKS), np.array(list(found["networks"].values())).T
    at_infinity = np.polyval(np.polyfit(inverse, values, 1), 0.0)
    assert abs(found["ours"] - 3.1784) < 1e-4
    assert abs(at_infinity - found["ours"]) < 0.5 < abs(at_infinity - found["published"]) / 2
