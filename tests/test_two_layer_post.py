"""Two-layer blocks of form "post" at alpha = 1, gamma_i = 0, against infinite width, networks and linear blocks."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import CATALOGUE, XI3, Y2
from naive_nonlinear import richardson
from numpy.testing import assert_allclose
from test_deep_nonlinear import LINES
from test_faults import WRONG, scaled
from test_one_layer import mean

from limits import Record, recurse, solve
from limits.agreement import agree
from limits.deep.one_layer import dimensions
from limits.deep.sampling import CLOUDS
from limits.deep.two_layer_post import BlockFunctions, cholesky, divided, two_clouds, two_layer_post_level
from limits.optimizers import SGD
from limits.panels import Panels
from limits.parametrization import COMPLETEP, Parametrization
from limits.problem import Problem, ResNet

NOTHING = Record(kinds=())
KERNELS = Record(positions=(0, 1), samples=[0], kinds=("feature", "gradient"))


def post(phi, a=1.0, expansion=1.0, mean_subtraction=True):
    return ResNet(phi, 2, multiplier=a, expansion=expansion, mean_subtraction=mean_subtraction)


def one(phi, a, expansion=1.0, mean_subtraction=True, gamma: object = 0):
    return Problem(post(phi, a, expansion, mean_subtraction), Parametrization(1, gamma), SGD(1.0, 2), [[1.0]], [[1.5]])


TANH = one("tanh", 1.2)
SEVERAL = Problem(
    post("sin + cos", 0.8, 2.0), COMPLETEP, SGD(0.8, 2, 0.2, 0.3, momentum=0.4), XI3[:2], Y2[:2], probes=XI3[:1] / 2
)


def sampled(problem, points, seeds=range(CLOUDS), record=NOTHING, panels=(2, 5)):
    both = dimensions(problem)
    return [
        two_layer_post_level(problem, Panels.uniform(*panels), record, two_clouds(points, both, seed), lambda t: None)
        for seed in seeds
    ]


# Infinite width at finite depth.


def numbers(t):
    """Outputs, and kernels of step 1 with steps 0 and 1."""
    return np.concatenate([t.outputs[1:, 0, 0], t.feature_kernel[1, :2, 1, 0, 0], t.gradient_kernel[1, :2, 0, 0, 0]])


def infinite_width(problem, depths, seeds):
    runs = [
        richardson([numbers(recurse(problem, blocks=L, seed=1000 * s + L, record=KERNELS)) for L in depths])[0]
        for s in range(seeds)
    ]
    return mean(runs)


@pytest.mark.slow
def test_infinite_width_tends_to_it(monkeypatch):
    """Rung 2 at three depths, extrapolated, six seeds: Student's t beyond 9 has probability 3e-4 a number (5 degrees of freedom).

    Without the forward response inside a block the limit is refuted.
    """
    got, error = infinite_width(TANH, (8, 16, 32), 6)
    want = numbers(solve(TANH, tol=5e-4, record=KERNELS))
    assert np.all(np.abs(got - want) < 9 * error)
    right = BlockFunctions._outside

    def wrong(self, node, g, rows, weights):
        with monkeypatch.context() as silent:
            silent.setattr(self, "back", 0 * self.back)
            return right(self, node, g, rows, weights)

    monkeypatch.setattr(BlockFunctions, "_outside", wrong)
    assert np.abs((got - numbers(solve(TANH, tol=1e-3, record=KERNELS))) / error).max() > 18


CASES = {
    "waves": one("sin + cos", 1.0, 2.0),
    "with a mean": one("relu", 1.0, 0.5, mean_subtraction=False),
    "first layer": one("tanh", 1.2, gamma=(0, 1)),
    "second layer": one("tanh", 1.2, gamma=(1, 0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_infinite_width_tends_to_it_elsewhere(name):
    """As above."""
    got, error = infinite_width(CASES[name], (16, 32, 64), 6)
    t = solve(CASES[name], tol=5e-4, record=KERNELS)
    assert np.all(np.abs(got - numbers(t)) < 9 * np.hypot(error, 1e-4))
    assert error.max() < 0.05


# Networks.


@pytest.mark.slow
@pytest.mark.parametrize("expansion", [0.5, 2.0])
def test_networks_agree(expansion):
    """Batches, trained ends, momentum, probes; Bonferroni, false-alarm rate 1e-3; the other expansion is refuted."""
    problem = replace(SEVERAL, model=replace(SEVERAL.model, expansion=expansion))
    record = Record(positions=(0, 1), kinds=("feature", "gradient"))
    found = agree(problem, widths=(64, 128), blocks=(8, 16, 32), seeds=600, tol=1e-3, record=record)
    assert found.false_alarm > 1e-3, found.table()
    other = replace(problem, model=replace(problem.model, expansion=1 / expansion))
    assert replace(found, limit=solve(other, tol=2e-3, record=record)).false_alarm < 1e-6


# Linear blocks written as nonlinear ones.


def assert_linear(name):
    """For any cloud, to single precision: only second moments count, and those are exact."""
    problem = replace(CATALOGUE[name], model=post("linear", 0.8, 2.0), parametrization=COMPLETEP)
    want = solve(problem, tol=1e-8, record=NOTHING).outputs
    same = replace(problem, model=replace(problem.model, nonlinearity=LINES["closed"]))
    got = sampled(same, 2**9, [1], panels=(8, 6))[0].outputs
    assert_allclose(got, want, rtol=0, atol=1e-6 * np.abs(want).max())


@pytest.mark.parametrize("name", ["batches", "both", "classes", "momentum"])
def test_the_identity_is_linear(name):
    assert_linear(name)


# Resolution and invariances.


def test_solve_meets_its_tolerance():
    """A much better answer lies within 6 standard errors (Student's t, 7 degrees of freedom: 5e-4 a number)."""
    t = solve(TANH, tol=2e-3, record=NOTHING)
    fine, error = mean([level.outputs for level in sampled(TANH, 2**17)])
    assert 0 < t.error.max() < 2e-3
    assert np.all(np.abs(t.outputs - fine) <= 6 * np.hypot(t.error, error) + 1e-12)


def test_error_falls_with_the_points():
    """Root mean square over clouds: at least threefold for sixteen times as many points; seeds are fixed."""
    fine = np.mean([level.outputs for level in sampled(TANH, 2**17, range(20, 24))], 0)
    coarse, finer = (np.sqrt(np.mean([(l.outputs - fine) ** 2 for l in sampled(TANH, points)])) for points in (2**11, 2**15))
    assert finer < coarse / 3


def test_without_learning_nothing_moves():
    level = sampled(replace(TANH, optimizer=SGD(0.0, 2)), 2**10, [0], record=KERNELS)[0]
    assert_allclose(level.outputs, 0, atol=1e-7)
    assert_allclose(level.kernels["feature_kernel"], 1, atol=1e-7)


def test_a_repeated_sample_is_one_of_twice_the_weight():
    """Its features coincide at every depth, inside blocks too."""
    twice = replace(TANH, inputs=[[1.0]] * 2, targets=[[1.5]] * 2)
    got = mean([level.outputs[:, 0] for level in sampled(twice, 2**13)])
    want = mean([level.outputs[:, 0] for level in sampled(TANH, 2**13)])
    assert np.all(np.abs(got[0] - want[0]) <= 7 * np.hypot(got[1], want[1]) + 1e-12)


def test_roots_of_gram_matrices(rng):
    vectors = rng.standard_normal((4, 30))
    vectors[2] = vectors[0] - vectors[1]
    gram = vectors @ vectors.T
    root = cholesky(gram, np.diagonal(gram))
    assert_allclose(root @ root.T, gram, atol=1e-6)
    assert root[2, 2] == 0
    found = divided(vectors, root)
    assert_allclose(found[[0, 1, 3]] @ found[[0, 1, 3]].T, np.eye(3), atol=1e-10)
    assert_allclose(found[2], 0)


# Injected faults.


def kept(name):
    """What `_learn` keeps of a step, times 1.01."""

    def inject(monkeypatch):
        right = BlockFunctions._learn

        def wrong(self, x, delta):
            old = self.x.shape[1]
            right(self, x, delta)
            getattr(self, name)[:, old : self.x.shape[1]] *= WRONG

        monkeypatch.setattr(BlockFunctions, "_learn", wrong)

    return inject


FAULTS = {
    "what is known": scaled(BlockFunctions, "_known"),
    "delta h": kept("own"),
    "delta h'": kept("turns"),
    "g": kept("g"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_injected_fault_is_caught(name, monkeypatch):
    FAULTS[name](monkeypatch)
    with pytest.raises(AssertionError):
        assert_linear("both")
