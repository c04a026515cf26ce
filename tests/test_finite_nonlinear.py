"""Networks with nonlinear blocks against the chain rule by hand, autograd, other array libraries, and linear blocks."""

from dataclasses import replace

import naive_network as naive
import numpy as np
import pytest
from conftest import CATALOGUE, XI, XI3, Y2, Y
from test_finite import ALL_KINDS, EXTRA, POSITIONS, assert_close, assert_same, run

from limits import Record, recurse
from limits.nonlinearity import Nonlinearity
from limits.parametrization import DEPTH_MUP, NEURAL_ODE, Parametrization
from limits.problem import SGD, Problem, ResNet

PHIS = ("relu", "abs", "tanh", "sin", "sin + cos")
MODELS = [ResNet(phi, mean_subtraction=g, multiplier=0.9) for phi in PHIS for g in (True, False)]
MODELS += [ResNet(phi, form="pre", multiplier=0.9) for phi in PHIS]
LINE = Nonlinearity("line", lambda z: z, lambda z: 0 * z + 1)
"""The linear function, as a nonlinear one."""
EVERYTHING = Record(positions=POSITIONS, kinds=ALL_KINDS)
BOTH = SGD([0.6, 0.3, 0.0, 0.2], steps=4, input_lr=[0.3, 0.1, 0.0, 0.2], output_lr=[0.2, 0.4, 0.1, 0.3], momentum=0.5)
BATCHES = [[0], [1, 1, 2], [2, 0], [0, 0]]
TRAINED = {
    "mse": Problem(ResNet(), DEPTH_MUP, BOTH, XI, Y2, batches=BATCHES, probes=[[0.2, 0.1]]),
    "logistic": Problem(ResNet(), NEURAL_ODE, SGD(1.5, steps=3, output_lr=0.5), XI3, np.sign(Y2[:2]), loss="logistic"),
    "classes": Problem(
        ResNet(), Parametrization("1/2", "1/2", "1/4"), SGD(1.2, steps=3, input_lr=0.4), XI, [2, 0, 1], loss="cross_entropy"
    ),
}


def named(model):
    return f"{model.phi.name}, {model.form}{', G' * (model.mean_subtraction and model.form == 'post')}"


@pytest.fixture(params=list(TRAINED))
def trained(request):
    return TRAINED[request.param]


@pytest.fixture(params=MODELS, ids=named)
def model(request):
    return request.param


def with_model(problem, model):
    return replace(problem, model=model)


def compared(problem, train):
    """Everything `simulate` returns against the slow networks of `train`."""
    slow = [train(problem, 20, 5, 7, s) for s in range(2)]
    answer = run(problem, seeds=2, seed=7, record=EVERYTHING)
    steps, samples = np.arange(problem.steps + 1), np.arange(len(problem.evaluated))
    assert_close(answer.samples, [one.outputs for one in slow])
    for m, p in enumerate(POSITIONS):
        assert_close(answer.feature_kernel[:, :, m], np.mean([naive.kernel(z.x, p, steps, samples) for z in slow], axis=0))
        assert_close(answer.gradient_kernel[:, :, m], np.mean([naive.kernel(z.delta, p, steps, samples) for z in slow], axis=0))
        for n, q in enumerate(POSITIONS):
            between = np.mean([naive.kernel_between(one.x, p, q, steps, samples) for one in slow], axis=0)
            assert_close(answer.two_depth_kernel[:, :, m, n], between)


def test_training_is_that_of_the_chain_rule_by_hand(trained, model):
    compared(with_model(trained, model), naive.trained_by_hand)


def test_training_is_that_of_autograd(trained, model, torch):
    compared(with_model(trained, model), naive.trained)


@pytest.mark.parametrize("form", ["post", "pre"])
@pytest.mark.parametrize("name", [*CATALOGUE, *EXTRA])
def test_a_line_is_a_linear_network(name, form):
    """Samples pass through where directions do for "linear"; every other part of the answer is the same."""
    problem = (CATALOGUE | EXTRA)[name]
    line = replace(problem.model, nonlinearity=LINE, mean_subtraction=False, form=form)
    here, there = (run(p, seeds=2, record=EVERYTHING) for p in (with_model(problem, line), problem))
    assert_same(here, there)


def test_recurse_refuses_nonlinear_blocks():
    problem = Problem(ResNet("relu"), DEPTH_MUP, SGD(0.5, steps=2), XI, Y)
    with pytest.raises(ValueError, match=r"recurse treats linear blocks, got nonlinearity='relu': .* ask solve .* or simulate"):
        recurse(problem, blocks=4)
