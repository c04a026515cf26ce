"""Linear networks on digits converge in width, then in depth.

Networks of width $n$ approach infinite width like $n^{-1/2}$ at a fixed number of blocks, and infinite width approaches the
limit like $1/L$ (TP6, Figures 8 and 9). The points of the right picture are exact: there is no seed in them.
"""

from matplotlib.figure import Figure

from limits import DEPTH_MUP, SGD, ResNet, data, ladder
from limits.plots import depth_rate, losses, width_rate


def compute():
    problem = data.digits(classes=(3, 8), samples=40, directions=6).problem(ResNet(), DEPTH_MUP, SGD(0.3, 5))
    return ladder(problem, widths=(32, 64, 128, 256), blocks=(8, 16, 32, 64, 128, 256), finite_blocks=16, seeds=24)


def draw(found):
    figure = Figure(figsize=(13, 4), layout="constrained")
    for axes, picture in zip(figure.subplots(1, 3), (losses, width_rate, depth_rate), strict=True):
        picture(axes, found)
    return figure


def check(found):
    assert abs(found.depth_law().exponent + 1) < 0.03
    law = found.width_law()
    assert abs(law.exponent + 0.5) < 0.05 + law.exponent_error
    assert law.exponent_error < 0.15
