r"""The regimes of one-layer and two-layer blocks.

Above the diagonal training does not move the network, below it training blows up, and left of $\alpha = 1/2$ initialization
does. On the line $\alpha + \gamma = 1$ features learn, and its upper end is the only point that is diverse as well (TP6,
Figure 1). Two layers change the picture below $\gamma = 0$ only: an update of both at once is then larger than either.
"""

from matplotlib.figure import Figure

from limits import classify, phase_diagram
from limits.parametrization import COMPLETEP, DEPTH_MUP
from limits.plots import phase_diagram as draw_phases


def compute():
    return {k: phase_diagram(block_depth=k) for k in (1, 2)}


def draw(found):
    figure = Figure(figsize=(11.5, 5.6), layout="constrained")
    for axes, diagram in zip(figure.subplots(1, 2), found.values(), strict=True):
        draw_phases(axes, diagram)
    return figure


def check(found):
    for k, diagram in found.items():
        assert diagram.region("1/2", "1/2") == classify(DEPTH_MUP, block_depth=k).name == "feature learning and diverse"
        assert diagram.region(1, 0) == classify(COMPLETEP, block_depth=k).name == "redundant"
        assert diagram.region("3/4", "1/2") == "trivial"
    assert found[1].region("3/2", "-1/2") == "unfaithful"
    assert found[2].region("3/2", "-1/2") == "unstable during training"
