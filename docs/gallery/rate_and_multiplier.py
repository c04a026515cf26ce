"""Learning rate and block multiplier together.

Loss of two-layer blocks with Adam over both, shallow and deep. Where training just works is a line: with few blocks the largest
rate falls like $a^{-1/2}$, with many it comes closer to $a^{-1}$ (TP6, Figure 7, in small: on logarithmic axes the slope of $a$
against the rate goes from $-2$ towards $-1$). The white line is the edge of losses within a tenth of the best, where two
multipliers or more come as close: with 64 blocks fewer do, and there is no line. The bright cell above the line on the right is a
loss just below that before training, beyond a rate at which it is not: the edge is the first that is crossed.
"""

from limits import DEPTH_MUP, Adam, ResNet, data
from limits.compare import transfer
from limits.plots import transfers


def compute():
    few = data.digits(classes=(0, 1), samples=30, directions=8)
    problem = few.problem(ResNet("relu", 2, form="mlp"), DEPTH_MUP, Adam(1.0, 10))
    lrs, multipliers = [0.03 * 1.8**i for i in range(15)], [0.05 * 1.9**i for i in range(7)]
    return transfer(problem, rung="finite", blocks=(1, 64), lrs=lrs, multipliers=multipliers, width=16, seeds=6)


def draw(found):
    return transfers(found)


def check(found):
    slopes = found.sublevel_slope()
    shallow, deep = slopes[1], slopes[64]
    assert shallow.value - deep.value > (shallow.error**2 + deep.error**2) ** 0.5
    assert abs(shallow.value + 0.5) < shallow.error
