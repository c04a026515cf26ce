r"""Which nonlinearities make blocks differ.

Left, gradients of neighbouring blocks are as correlated as $(E\phi')^2/E\phi'^2$: the absolute value is the most diverse, a
linear block not at all (TP6, section 8). Middle and right, features over a distance $\varepsilon$ in depth move like
$\varepsilon^{1/2}$ at Depth-µP, before training and after, and like $\varepsilon$ at $\alpha = 3/4$ where they are redundant
(TP6, Figures 17 to 19). At Depth-µP what training adds moves like $\varepsilon$ on top: at large $\varepsilon$ it outgrows the
noise, and the lines bend upwards.
"""

from matplotlib.figure import Figure

from limits import DEPTH_MUP, SGD, Parametrization, Problem, Record, ResNet, solve
from limits.diversity import diversity_exponents
from limits.plots import gradient_diversity, increments

POSITIONS = (0.4, *(0.4 + 2.0**-i for i in range(9, 0, -1)))


def compute():
    record = Record(positions=POSITIONS, kinds=("feature", "two_depth"))
    found = {}
    for name, exponents in {"Depth-µP": DEPTH_MUP, "(3/4, 1/4)": Parametrization("3/4", "1/4")}.items():
        problem = Problem(ResNet("tanh"), exponents, SGD(1.0, steps=3), [[1.0]], [[1.5]])
        found[name] = solve(problem, tol=1e-8, record=record)
    return found


def draw(found):
    figure = Figure(figsize=(14, 4.4), layout="constrained")
    left, *rest = figure.subplots(1, 3)
    gradient_diversity(left)
    for axes, (name, run) in zip(rest, found.items(), strict=True):
        increments(axes, run)
        axes.set_title(f"{name}: increments from p = 0.4")
    return figure


def check(found):
    diverse, redundant = (diversity_exponents(run)[-1, 0, 0] for run in found.values())
    assert abs(diverse - 0.5) < 0.01
    assert abs(redundant) < 0.01
