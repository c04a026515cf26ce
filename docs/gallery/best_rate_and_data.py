"""The best learning rate of the limit, as a function of the data.

Two inputs at sixty degrees, one $r$ times as long as the other, and a third between them that says something else; mean square
length one, three steps. The learning rate with the lowest loss, in the limit of infinite width and depth: no simulation gives
this curve cheaply, since every point is an optimum over exact losses. The rate moves by a third, the loss that it reaches
tenfold. The loss has several minima over the rate, and the best one jumps where another becomes lower: at a ratio of 0.4 they
lie at 0.83, the lower one, and 0.64, at 0.5 at 0.91 and 0.64, now the lower one.
"""

import numpy as np
from matplotlib.figure import Figure

from limits import DEPTH_MUP, SGD, Problem, ResNet
from limits.compare import transfer

RATIOS = tuple(2.0 ** (k / 3) for k in range(-6, 7))


def compute():
    found = {}
    for ratio in RATIOS:
        inputs = np.array([[1.0, 0.0], [ratio / 2, ratio * 0.75**0.5], [0.75**0.5, 0.5]])
        inputs *= (2 * len(inputs)) ** 0.5 / np.linalg.norm(inputs)
        problem = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=3), inputs, [[1.0], [-1.0], [0.5]])
        curve = transfer(problem, rung="deep", lrs=np.geomspace(0.4, 1.3, 5), tol=1e-4).of()[0]
        found[ratio] = curve.optima[0]
    return found


def draw(found):
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    ratios, across = list(found), "length of one input over the other"
    left.plot(ratios, [best.at for best in found.values()], "o-", color="#0072B2")
    left.set(xlabel=across, ylabel=r"best learning rate $\eta^*$", xscale="log", ylim=(0, 1))
    right.plot(ratios, [best.loss for best in found.values()], "o-", color="#D55E00")
    right.set(xlabel=across, ylabel=r"loss at $\eta^*$ after three steps", xscale="log", ylim=(0, None))
    for axes in (left, right):
        axes.set_xticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"])
        axes.minorticks_off()
    for axes in (left, right):
        axes.grid(alpha=0.25)
    return figure


def check(found):
    assert all(best.known for best in found.values())
    rates, losses = ([getattr(best, name) for best in found.values()] for name in ("at", "loss"))
    assert max(best.error / best.at for best in found.values()) < 1e-3
    assert 1.2 < max(rates) / min(rates) < 1.5
    assert max(losses) > 8 * min(losses)
