r"""The engine's exact orders against the growth, in depth, of networks of infinite width.

For linear blocks with fresh weights the squared features grow as $(1 + L^{-2\alpha})^L$, which for $\alpha < 1/2$ is no
power of L: the slope of log log growth is $2 e_\emptyset$. Updates are measured on the outputs, beside that growth (both
states that meet in an update carry it), and after one step where they add up to more than order one.
"""

from fractions import Fraction as F

import numpy as np
import pytest

from limits import SGD, Parametrization, Problem, Record, ResNet, classify, phase_diagram, recurse

TOLERANCE = 0.05
SIZES = (32, 64, 128, 256, 512, 1024)
LARGEST_GROWTH = 200.0
"""Of the logarithm; squares of the kernels must stay below 1e308."""
POINTS = [
    (0, 1),  # unstable at initialization: inside, and where updates alone would be of order one
    ("1/4", "3/4"),
    ("1/4", "1/2"),
    ("1/4", 1),
    ("1/2", 0),  # the border alpha = 1/2, below, on and above the line alpha + gamma = 1
    ("1/2", "1/4"),
    ("1/2", "1/2"),
    ("1/2", 1),
    ("3/4", 0),
    ("3/4", "1/4"),
    ("3/4", "1/2"),
    (1, "-1/4"),  # the border between redundant and unfaithful
    (1, 0),
    (1, "1/2"),
    ("5/4", "-1/4"),
    (2, -1),
    ("3/2", 0),
]


def measure(alpha, gamma):
    """The measured orders of the initial branches and of the updates, summed over depth."""
    alpha, gamma = F(alpha), F(gamma)
    steps = 3 if alpha >= F(1, 2) and alpha + gamma >= 1 else 1
    inputs, targets = [[1.0], [-0.6]], [[1.5], [0.4]]
    problem = Problem(ResNet(), Parametrization(alpha, gamma), SGD(0.5, steps=steps), inputs, targets)
    record = Record(positions=(0, 1), steps=(0,), samples=(0,))
    sizes = [L for L in SIZES if L * np.log1p(L ** float(-2 * alpha)) < LARGEST_GROWTH][-3:]
    growth, update = [], []
    for L in sizes:
        run = recurse(problem, blocks=L, record=record)
        below, above = run.feature_kernel[0, 0, :, 0, 0]
        growth.append(np.log(above / below))
        update.append(np.log(np.linalg.norm(run.outputs[-1] - run.outputs[0])) - growth[-1])
    return np.polyfit(np.log(sizes), np.log(growth), 1)[0] / 2, np.polyfit(np.log(sizes), update, 1)[0]


def regime(initial, update, gamma):
    """The name of a regime with these orders, zero meaning zero up to the tolerance."""
    names = (
        ("unstable at initialization", initial > TOLERANCE),
        ("unstable during training", update > TOLERANCE),
        ("trivial", update < -TOLERANCE),
        ("unfaithful", gamma < 0),
        ("redundant", initial < -TOLERANCE),
        ("feature learning and diverse", True),
    )
    return next(name for name, applies in names if applies)


@pytest.mark.parametrize(("alpha", "gamma"), POINTS)
def test_measured_orders_are_the_exact_ones(alpha, gamma):
    verdict = classify(Parametrization(alpha, gamma))
    exact = [float(step.value) for step in verdict.steps[:2]]
    measured = measure(alpha, gamma)
    np.testing.assert_allclose(measured, exact, atol=TOLERANCE, rtol=0)
    assert regime(*measured, F(gamma)) == verdict.name


@pytest.mark.parametrize(("alpha", "gamma", "blocks_apart"), [("1/2", "1/2", 2), (1, 0, 64), ("5/4", "-1/4", 64)])
def test_measured_diversity(alpha, gamma, blocks_apart):
    """Trained features at depths e apart differ by e^(1 - kappa) (TP6, Def. 7.6), up to what is left at finite e and L."""
    L, near = 1024, np.arange(5)
    record = Record(positions=tuple(0.25 + near * blocks_apart / L), steps=(2,), samples=(0,), kinds=("two_depth",))
    problem = Problem(ResNet(), Parametrization(alpha, gamma), SGD(0.5, steps=2), [[1.0]], [[1.5]])
    kernel = recurse(problem, blocks=L, record=record).two_depth_kernel[0, 0, :, :, 0, 0]
    apart = (kernel[0, 0] + np.diag(kernel) - 2 * kernel[0])[1:]
    slope = np.polyfit(np.log(near[1:]), np.log(apart) / 2, 1)[0]
    assert abs(1 - slope - float(classify(Parametrization(alpha, gamma)).diversity)) < TOLERANCE


def test_the_points_are_in_all_regions():
    diagram = phase_diagram()
    assert {diagram.region(alpha, gamma) for alpha, gamma in POINTS} == {name for name, _ in diagram.regions}
    assert len(POINTS) >= 12


def test_a_wrong_order_is_noticed():
    """An expansion in which initial branches were aligned, or updates independent, is half an order off."""
    initial, update = measure("3/4", "1/4")
    aligned = classify(Parametrization("3/4", "1/4"), centred=False).steps[0].value
    assert abs(initial - float(aligned)) > 5 * TOLERANCE
    assert abs(update - float(F(1, 2) - 1)) > 5 * TOLERANCE
