"""Where the best learning rate goes with depth.

One-layer blocks of width 32 with Adam on digits, six seeds, in small what TP6 shows in its Figures 10 and 11. At Depth-µP the
best rate stays; with the multiplier $L^{-1/2}$ alone it falls like $L^{-1/2}$, half a factor of two at every doubling.
"""

from limits import DEPTH_MUP, Adam, Parametrization, ResNet, data
from limits.compare import transfer
from limits.plots import transfers


def compute():
    few = data.digits(classes=range(5), samples=100, directions=12)
    problem = few.problem(ResNet("relu"), DEPTH_MUP, Adam(1.0, 6, input_lr=0.03, output_lr=0.03))
    both = {"Depth-µP": DEPTH_MUP, "multiplier only": Parametrization("1/2", 0)}
    lrs = [0.1 * 1.7**i for i in range(10)]
    return transfer(problem, rung="finite", blocks=(4, 16, 64), lrs=lrs, parametrizations=both, width=32, seeds=6)


def draw(found):
    return transfers(found)


def check(found):
    still, falls = found.drift("Depth-µP"), found.drift("multiplier only")
    assert abs(still.value) < 0.25
    assert abs(falls.value + 0.5) < 0.25
    assert falls.value < still.value - 0.2
