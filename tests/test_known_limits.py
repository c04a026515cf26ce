"""`solve` knows all limits that exist of one layer on alpha + gamma = 1 and of two at alpha = 1, and refuses others."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from limits import NoLimitError, Record, classify, recurse, solve
from limits.deep import UnresolvedError
from limits.optimizers import SGD
from limits.parametrization import Parametrization
from limits.problem import Problem, ResNet
from limits.training import DivergedError

ALPHAS = [Fraction(n, 12) for n in range(6, 13)]
PHIS = ["linear", "tanh", "relu", "gelu", "sin + cos"]
MORE_PHIS = ["abs", "sin", "erf", "silu", "softplus", "gaussian", "0.5*relu - tanh", "square", "leaky_relu(0.1)"]


def block(name, k=1, **how):
    """A small multiplier where features would grow beyond all bounds at a finite depth: squares of squares do so sooner."""
    return ResNet(name, k, multiplier={1: 0.3, 2: 0.25}[k] if name == "square" else 1.0, **how)


def answer(model, parametrization):
    problem = Problem(model, parametrization, SGD(0.5, 1), [[1.0, 0.3]], [[1.0]])
    return solve(problem, tol=1e-2, record=Record(kinds=()))


def exists(model, parametrization):
    """Stable, nontrivial and faithful, as `classify` says."""
    regime = classify(parametrization, block_depth=model.block_depth, centred=model.centred)
    faithful = regime.faithful_at_initialization and regime.faithful_during_training
    return regime.stable_at_initialization and regime.stable_during_training and regime.nontrivial and faithful


def assert_known(model, parametrization):
    """-> whether the limit exists."""
    if not exists(model, parametrization):
        with pytest.raises(NoLimitError):
            answer(model, parametrization)
        return False
    t = answer(model, parametrization)
    assert np.all(np.isfinite(t.outputs))
    assert np.all(np.isfinite(t.error))
    assert 0 < abs(t.outputs[1]).max() < 10
    assert t.error.max() <= 1e-2
    return True


def one_layer(names, alphas):
    """-> how many exist of how many."""
    found = []
    for name, alpha, form, subtracts in product(names, alphas, ("post", "pre"), (True, False)):
        found.append(assert_known(block(name, mean_subtraction=subtracts, form=form), Parametrization(alpha, 1 - alpha)))
    return sum(found), len(found)


def two_layers(names, exponents=((0, 0), (0, "1/2"), (1, 0))):
    found = []
    for name, gammas, form, subtracts in product(names, exponents, ("post", "mlp"), (True, False)):
        found.append(assert_known(block(name, 2, mean_subtraction=subtracts, form=form), Parametrization(1, gammas)))
    return sum(found), len(found)


def test_one_layer():
    """Of 24, relu with its mean is unstable at alpha = 1/2 and 3/4."""
    assert one_layer(["tanh", "relu"], [Fraction(1, 2), Fraction(3, 4), Fraction(1)]) == (24 - 2, 24)


def test_two_layers():
    assert two_layers(["tanh", "relu"], [(0, 0)]) == (8, 8)


def test_what_grows_beyond_all_bounds_has_no_answer():
    """A larger multiplier of two squares: one step makes features infinite before p = 1, as more and more blocks show."""
    model = ResNet("square", 2, multiplier=0.3, mean_subtraction=False)
    with pytest.raises(UnresolvedError, match="learning rate or multiplier is too large"):
        answer(model, Parametrization(1, 0))
    problem = Problem(model, Parametrization(1, 0), SGD(0.5, 1), [[1.0, 0.3]], [[1.0]])
    few, more = (recurse(problem, blocks=L, particles=2**12, record=Record(kinds=())).outputs[1, 0, 0] for L in (8, 32))
    assert few > 1
    assert more > 10 * few
    with pytest.raises(DivergedError):
        recurse(problem, blocks=128, particles=2**12, record=Record(kinds=()))


@pytest.mark.slow
def test_one_layer_on_a_grid():
    found, of = one_layer(PHIS + MORE_PHIS, ALPHAS)
    means = sum(not ResNet(name).phi.centred for name in PHIS + MORE_PHIS)
    assert found == of - means * (len(ALPHAS) - 1)


@pytest.mark.slow
def test_two_layers_of_any_phi():
    found, of = two_layers(PHIS + MORE_PHIS)
    assert found == of


@pytest.mark.parametrize(("alpha", "gamma"), [("1/3", "2/3"), ("1/2", "1/3"), ("3/4", "1/8"), (1, "-1/4")])
def test_what_does_not_exist_is_refused(alpha, gamma):
    for name, form in product(PHIS, ("post", "pre")):
        model, parametrization = ResNet(name, form=form), Parametrization(alpha, gamma)
        assert not exists(model, parametrization)
        with pytest.raises(NoLimitError):
            answer(model, parametrization)
