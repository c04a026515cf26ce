"""The feature kernel over depth, as training goes on.

$C^0_{tt}(p)$ of one input, its target changed at every step, in the limit of infinite width and depth. Before training it is
$e^{p}$ for linear blocks; every step bends it. Blocks that are bounded, as with tanh, stay calm where linear ones overshoot.
All panels have one scale, a logarithmic one.
"""

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from limits import DEPTH_MUP, SGD, Parametrization, Problem, Record, ResNet, solve
from limits.plots import feature_kernel, kernel_map

CASES = {
    "linear, Depth-µP": (ResNet(), DEPTH_MUP),
    "tanh, Depth-µP": (ResNet("tanh"), DEPTH_MUP),
    "relu, Depth-µP": (ResNet("relu"), DEPTH_MUP),
    "tanh, (3/4, 1/4)": (ResNet("tanh"), Parametrization("3/4", "1/4")),
}


def compute():
    record = Record(positions=tuple(np.linspace(0, 1, 41)))
    batches = [[t % 2] for t in range(6)]
    found = {}
    for name, (model, exponents) in CASES.items():
        problem = Problem(model, exponents, SGD(0.5, steps=6), [[1.0], [1.0]], [[1.5], [-1.5]], batches=batches)
        found[name] = solve(problem, tol=1e-8, record=record)
    return found


def draw(found):
    figure = Figure(figsize=(14, 6.2), layout="constrained")
    norms = np.stack([run.feature_kernel[range(7), range(7), :, 0, 0] for run in found.values()])
    low, high = norms.min() / 1.1, norms.max() * 1.1
    for (above, below), (name, run) in zip(figure.subplots(2, 4).T, found.items(), strict=True):
        feature_kernel(above, run)
        above.set(title=name, yscale="log", ylim=(low, high))
        if run is not found["linear, Depth-µP"]:
            above.get_legend().remove()
        kernel_map(below, run)
        below.collections[0].set_norm(LogNorm(low, high))
    return figure


def check(found):
    linear = found["linear, Depth-µP"]
    np.testing.assert_allclose(linear.feature_kernel[0, 0, :, 0, 0], np.exp(linear.positions), rtol=1e-8)
    for run in found.values():
        before, after = (run.feature_kernel[t, t, :, 0, 0] for t in (0, -1))
        assert np.max(np.abs(np.diff(after - before))) > 1e-3
