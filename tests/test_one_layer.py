"""One-layer nonlinear blocks at alpha = 1, gamma = 0, against a slow witness, networks and linear blocks.

Where a cloud's error is not the subject, package and witness use the same cloud and must agree to the witness's Euler steps.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from conftest import BOTH, CATALOGUE, XI, XI3, Y2, Y, at, rewritten
from naive_neurons import one_layer
from naive_nonlinear import richardson
from numpy.testing import assert_allclose
from test_deep_nonlinear import LINES, assert_close
from test_faults import argument, position, scaled

import limits.deep.one_layer
from limits import NoLimitError, Record, ToleranceWarning, Trajectory, recurse, solve
from limits.agreement import agree
from limits.deep.nonlinear_flow import FlowStates
from limits.deep.one_layer import (
    COINCIDE,
    GivenNeurons,
    ManyApartError,
    NeuronFunctions,
    dimensions,
    mean_curvature,
    one_layer_level,
    resolved,
)
from limits.deep.refine import Level
from limits.deep.sampling import CLOUDS, lattice, nested
from limits.nonlinearity import nonlinearity
from limits.optimizers import SGD
from limits.panels import Panels
from limits.parametrization import COMPLETEP, Parametrization
from limits.problem import Problem, ResNet

NOTHING = Record(kinds=())
FUNCTIONS = {
    "tanh": (np.tanh, lambda h: 1 - np.tanh(h) ** 2, lambda h: -2 * np.tanh(h) * (1 - np.tanh(h) ** 2)),
    "sin": (np.sin, np.cos, lambda h: -np.sin(h)),
    "sin + cos": (lambda h: np.sin(h) + np.cos(h), lambda h: np.cos(h) - np.sin(h), lambda h: -np.sin(h) - np.cos(h)),
}


def one_input(phi, a, lr, targets=(1.5, -1.5, 1.5)):
    """One input with a target that changes from step to step: two inputs that are alike."""
    values, which = np.unique(targets, return_inverse=True)
    sgd = SGD(lr, steps=len(targets))
    return Problem(ResNet(phi, multiplier=a), COMPLETEP, sgd, [[1.0]] * len(values), values[:, None], batches=which[:, None])


TRAINED = replace(BOTH, lr=[0.6, 0.3, 0.5], output_lr=[0.2, 0.4, 0.1], steps=3)
PROBLEMS = {
    "tanh": one_input("tanh", 1.2, 0.6),
    "sin + cos": one_input("sin + cos", 1.0, 0.7),
    "both": Problem(
        ResNet("sin", multiplier=0.9), COMPLETEP, TRAINED, XI3, Y2[:2], batches=[[0], [1], [0]], probes=[[0.5, 0.1, 0.9]]
    ),
    "classes": Problem(ResNet("tanh"), COMPLETEP, SGD(1.2, steps=2), XI, [2, 0, 1], loss="cross_entropy", batches=[[0], [2]]),
}
SEVERAL = Problem(
    ResNet("tanh", multiplier=1.2), COMPLETEP, SGD(0.9, 2, input_lr=0.2, output_lr=0.3, momentum=0.5), XI[:2], Y[:2]
)


def double(clouds):
    return replace(clouds, inner=clouds.inner.astype(float))


def small_clouds(problem, points=2**9, seed=3):
    return double(nested(points, dimensions(problem), seed))


def exact_level(problem, panels, clouds, record=NOTHING):
    """Iterated to round-off."""
    states = NeuronFunctions(problem, record, panels, clouds)
    states.unresolved = 1.0
    outputs, _ = limits.deep.one_layer.evolve(problem, states, lambda t, _: None)
    return Level(panels, outputs, states.kernels(record), states.tails)


def witness(problem, clouds, depths=(8, 16, 32, 64), **how):
    coordinates = NeuronFunctions(problem, NOTHING, Panels.uniform(1, 1), clouds).coordinates
    functions = FUNCTIONS[problem.model.phi.name]
    return [one_layer(problem, L, functions, coordinates, clouds.outer, clouds.weights, clouds.inner, **how) for L in depths]


def assert_witnessed(name, digits=1e-6):
    problem = PROBLEMS[name]
    clouds = small_clouds(problem)
    want, left = richardson(witness(problem, clouds, response="stein", moved=not problem.model.phi.centred))
    assert left.max() < digits
    assert_allclose(exact_level(problem, Panels.uniform(4, 9), clouds).outputs, want, rtol=0, atol=3 * digits)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_witness_agrees_on_the_same_cloud(name):
    assert_witnessed(name, {"sin + cos": 3e-5}.get(name, 1e-6))


def sampled(problem, points, seeds=range(CLOUDS), record=NOTHING):
    """Levels of several clouds."""
    panels, both = Panels.uniform(2, 5), dimensions(problem)
    return [one_layer_level(problem, panels, record, nested(points, both, seed), lambda t: None) for seed in seeds]


def mean(values):
    return np.mean(values, 0), np.std(values, 0, ddof=1) / np.sqrt(len(values))


def worst_z(one, error, other, other_error):
    """Largest difference in standard errors where there is any, and how many are compared."""
    s = np.hypot(error, other_error)
    moves = s > 1e-9
    return np.abs((one - other)[moves] / s[moves]).max(), np.count_nonzero(moves)


def test_the_response_by_derivatives_is_that_by_steins_lemma():
    """Two samples a step, trained ends, momentum, on the same clouds; without the response the difference is no noise.

    Eight clouds with fixed seeds: Student's t beyond 12 has probability 1e-5 a number (7 degrees of freedom), of 4 numbers.
    """
    clouds = [small_clouds(SEVERAL, 2**11, seed) for seed in range(CLOUDS)]
    got = [exact_level(SEVERAL, Panels.uniform(2, 6), c).outputs[2] for c in clouds]

    def student(response):
        other = [richardson(witness(SEVERAL, c, (4, 8, 16), response=response))[0][2] for c in clouds]
        difference, error = mean(np.array(got) - other)
        return np.abs(difference / error).max()

    assert student("derivative") < 12 < student(None)


# Numbers.

REFERENCE = {"sin + cos": (1.0, 0.7, [0.454, 0.010, 0.337], 3.33), "tanh": (1.2, 1.0, [0.5526, 0.3008, 0.4006], 3.990)}


@pytest.mark.parametrize("name", REFERENCE)
def test_reference_values(name):
    """Tensor quadratures of 25 nodes an axis give .331 for the third of sin + cos: they move by .005 with their spacing."""
    a, lr, f, gradient = REFERENCE[name]
    levels = sampled(one_input(name, a, lr), 2**16, record=Record(positions=(0,), samples=[0], kinds=("gradient",)))
    outputs, error = mean([level.outputs[1:, 0, 0] for level in levels])
    assert error.max() < 1.5e-3
    assert np.all(np.abs(outputs - f) < 6 * error + 5e-4)
    kernel, error = mean([level.kernels["gradient_kernel"][1, 1, 0, 0, 0] for level in levels])
    assert abs(kernel - gradient) < 6 * error + 5e-3


def two_steps(name, a, lr, blocks):
    """f_1 and C1_11(0) of xi = 1 and targets 1.5, -1.5: trapezoidal rules in V and in z of two features, Euler steps in p.

    delta_0 = -1.5 V stays where it is, x_0 = U, x_1 = U + F(V), h_0 = z_0 and h_1 = z_0 + |F| z_1 - a lr phi'(h_0) delta_0;
    delta_1 = alpha U + G(V), of which only G counts in expectations.
    """
    phi, slope, curvature = FUNCTIONS[name]
    V = np.arange(-5.6, 5.61, 0.35)
    w = np.exp(-(V**2) / 2) / np.exp(-(V**2) / 2).sum()
    delta, z, weights = -1.5 * V[:, None, None], V[:, None], w[:, None] * w
    F, kept = np.zeros_like(V), []
    for _ in range(blocks):
        h = z + np.sqrt(w @ F**2) * V - a * lr * slope(z) * delta
        kept.append((F, h))
        mean_phi = np.sum(weights * phi(h), (1, 2))
        F = F + a / blocks * (mean_phi - w @ mean_phi)
    f = w @ (V * F)
    alpha, G = 0.0, (f + 1.5) * V
    for F, h in reversed(kept):
        along_1, along_0 = curvature(h), -a * lr * (curvature(h) * curvature(z) + slope(h) * slope(z)) * delta
        first, second = (a / blocks * (w @ (G * np.sum(weights * e, (1, 2)))) for e in (along_0, along_1))
        alpha, G = alpha + first + second, G + second * F
    return np.array([f, alpha**2 + w @ G**2])


@pytest.mark.parametrize("name", REFERENCE)
def test_two_steps_by_quadrature(name):
    """Student's t beyond 7 has probability 2e-4 a number (7 degrees of freedom), of 2 numbers."""
    a, lr, _, gradient = REFERENCE[name]
    want, left = richardson([two_steps(name, a, lr, blocks) for blocks in (8, 16, 32, 64)])
    assert left.max() < 1e-5
    assert abs(want[1] - gradient) < 2e-3
    record = Record(positions=(0,), samples=[0], kinds=("gradient",))
    levels = sampled(one_input(name, a, lr, (1.5, -1.5)), 2**15, record=record)
    got, error = mean([[level.outputs[1, 0, 0], level.kernels["gradient_kernel"][1, 1, 0, 0, 0]] for level in levels])
    assert np.all(np.abs(got - want) < 7 * error)
    assert np.all(error < [3e-4, 5e-3])


def test_solve_meets_its_tolerance():
    a, lr, f, _ = REFERENCE["tanh"]
    t = solve(one_input("tanh", a, lr), tol=1e-3, record=NOTHING)
    assert 0 < t.error.max() <= 1e-3
    assert_allclose(t.outputs[1:, 0, 0], f, rtol=0, atol=4e-3)
    assert t.meta["estimated_error"] <= 1e-3


# Linear blocks written as nonlinear ones.


@pytest.mark.parametrize("name", ["batches", "both", "logistic", "classes"])
def test_the_identity_is_linear_for_any_cloud(name):
    problem = at(CATALOGUE[name], 1, 0)
    record = Record(positions=(0, 0.3, 1), kinds=("feature", "gradient", "two_depth"))
    want = solve(problem, tol=1e-12, record=record)
    same = replace(problem, model=replace(problem.model, nonlinearity=LINES["closed"]))
    got = exact_level(same, Panels.uniform(8, 9), small_clouds(same), record)
    assert_close(got.outputs, want.outputs, 1e-11)
    for field in ("feature_kernel", "gradient_kernel", "two_depth_kernel"):
        assert_close(got.kernels[field], getattr(want, field), 1e-10)


def test_solve_of_the_identity_is_linear():
    problem = at(CATALOGUE["momentum"], 1, 0)
    same = replace(problem, model=replace(problem.model, nonlinearity=LINES["closed"]))
    t = solve(same, record=NOTHING)
    assert_allclose(t.outputs, solve(problem).outputs, rtol=0, atol=1e-5)
    assert t.error.max() < 1e-4


def test_small_updates_are_those_of_the_flow():
    """To first order in the rate the second order in one block's update does not count: alpha = 3/4 gives the same."""
    problem = one_input("sin + cos", 1.0, 1e-4, (1.5,))
    got = mean([level.outputs[1, :, 0] for level in sampled(problem, 2**15)])
    want = solve(at(problem, "3/4", "1/4"), tol=1e-10, record=NOTHING).outputs[1, :, 0]
    assert_allclose(got[0], want, rtol=3e-4)


# Networks.


@pytest.fixture(scope="module")
def networks():
    problem = one_input("sin + cos", 1.0, 0.7, (1.5, -1.5))
    record = Record(positions=(0, 1), samples=[0], kinds=("feature", "gradient"))
    return agree(problem, widths=(32, 64), blocks=(4, 8, 16), seeds=600, tol=2e-3, record=record)


def test_networks_agree(networks):
    """Networks extrapolated in width and depth: Bonferroni over all numbers, false-alarm rate 1e-3 (normal errors)."""
    assert networks.false_alarm > 1e-3, networks.table()


def test_networks_reject_the_limit_without_the_response(networks, monkeypatch):
    """The system of TP6, F.2."""
    without_response(monkeypatch)
    assert replace(networks, limit=solve(networks.limit.problem, tol=2e-3, record=networks_record(networks))).false_alarm < 1e-6


def networks_record(found):
    return Record(positions=tuple(found.limit.positions), samples=[0], kinds=("feature", "gradient"))


def without_response(monkeypatch):
    def pulls(self, node, rows):
        learned = self.made_of[node, : rows.shape[1]] - self.z[: rows.shape[1]]
        return -self.a * self._over_points(self.phi.derivative(self._h(node, rows)), learned)

    monkeypatch.setattr(NeuronFunctions, "_pulls", pulls)


@pytest.mark.slow
@pytest.mark.parametrize("name", REFERENCE)
def test_infinite_width_tends_to_it(name, monkeypatch):
    """Rung 2 at three depths, extrapolated: no error of width, which networks of a few hundred neurons still have in kernels.

    Six seeds: Student's t beyond 8 has probability 5e-4 a number (5 degrees of freedom), of 3 numbers; the gradient kernel
    refutes the limit without the response.
    """
    a, lr, _, _ = REFERENCE[name]
    problem, record = one_input(name, a, lr, (1.5, -1.5)), Record(positions=(0,), samples=[0], kinds=("gradient",))

    def numbers(outputs, kernel):
        return np.append(outputs[1:, 0, 0], kernel[1, 1, 0, 0, 0])

    def run(blocks, seed):
        t = recurse(problem, blocks=blocks, particles=8192, seed=seed, record=record)
        return numbers(t.outputs, t.gradient_kernel)

    got, error = mean([richardson([run(L, 10 * seed + 100 * L) for L in (16, 32, 64)])[0] for seed in range(6)])
    want = solve(problem, tol=3e-4, record=record)
    assert np.all(np.abs(got - numbers(want.outputs, want.gradient_kernel)) < 8 * error)
    assert error.max() < 0.03
    without_response(monkeypatch)
    wrong = solve(problem, tol=1e-3, record=record).gradient_kernel[1, 1, 0, 0, 0]
    assert abs(got[2] - wrong) > 8 * error[2]


WIDE = {
    "relu": Problem(
        ResNet("relu", multiplier=0.9), COMPLETEP, SGD([0.8, 0.5], 2, momentum=0.3), XI[:2], Y[:2], probes=[[-1.0, -0.4]]
    ),
    "tanh": replace(SEVERAL, batches=[[0, 1], [1]]),
    "gelu": Problem(ResNet("gelu"), COMPLETEP, SGD(0.9, 3, output_lr=0.2), XI3, Y2[:2], batches=[[0], [1], [0]]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WIDE)
def test_networks_agree_elsewhere(name):
    """Kinked and one-sided phi, several samples a step, momentum, trained ends, probes, two outputs; false-alarm rate 1e-3."""
    record = Record(positions=(0, 1), kinds=("feature", "gradient"))
    found = agree(WIDE[name], widths=(64, 128), blocks=(8, 16, 32, 64), seeds=1000, tol=5e-4, record=record)
    assert found.false_alarm > 1e-3, found.table()


# Without mean subtraction.

ALIGNED = Problem(ResNet("relu", multiplier=1.2, mean_subtraction=False), COMPLETEP, SGD(1.0, 2), [[1.0]], [[1.5]])


def test_the_means_of_initial_blocks_add_up():
    r"""With m the mean of the features, C0 = 1 + m^2 and m' = a sqrt(C0/(2 pi)), so that C0 = cosh(a p / sqrt(2 pi))^2."""
    p = np.array([0, 0.3, 1])
    level = sampled(ALIGNED, 2**9, [0], record=Record(positions=p.tolist()))[0]
    want = np.cosh(1.2 * p / np.sqrt(2 * np.pi)) ** 2
    assert_allclose(level.kernels["feature_kernel"][0, 0, :, 0, 0], want, rtol=1e-8)


SMALL_NETWORKS = {"widths": (32, 64), "blocks": (4, 8, 16), "seeds": 300}
NETWORKS = {"widths": (64, 128), "blocks": (8, 16, 32), "seeds": 600}


@pytest.mark.parametrize(("name", "sizes"), [("relu", SMALL_NETWORKS), pytest.param("gelu", NETWORKS, marks=pytest.mark.slow)])
def test_networks_with_a_mean_agree(name, sizes):
    """Trained ends and two samples; Bonferroni, false-alarm rate 1e-3 each; the limit with mean subtraction is refuted.

    For gelu, whose mean is smaller, fewer or smaller networks do not tell the two limits apart.
    """
    model = ResNet(name, multiplier=1.5, mean_subtraction=False)
    problem = Problem(model, COMPLETEP, SGD(0.7, 2, input_lr=0.2, output_lr=0.3), XI[:2], Y[:2])
    record = Record(positions=(0, 1), kinds=("feature", "gradient"))
    found = agree(problem, **sizes, tol=3e-4, record=record)
    assert found.false_alarm > 1e-3, found.table()
    centred = replace(problem, model=replace(model, mean_subtraction=True))
    assert replace(found, limit=solve(centred, tol=3e-4, record=record)).false_alarm < 1e-6


@pytest.mark.slow
def test_infinite_width_with_a_mean_tends_to_it(monkeypatch):
    """As `test_infinite_width_tends_to_it`, of 7 numbers; without the pull of the mean gradient they refute it."""
    record = Record(positions=(0, 1), samples=[0], kinds=("feature", "gradient"))

    def numbers(t):
        kernels = t.feature_kernel[1:, 1:, 1, 0, 0], t.gradient_kernel[:2, :2, 0, 0, 0]
        return np.concatenate([t.outputs[1:, 0, 0], *(kernel[np.triu_indices(2)][-3:] for kernel in kernels)])[
            [0, 1, 2, 3, 4, 6, 7]
        ]

    def run(blocks, seed):
        return numbers(recurse(ALIGNED, blocks=blocks, seed=seed, record=record))

    got, error = mean([richardson([run(L, 1000 * seed + L) for L in (16, 32, 64)])[0] for seed in range(6)])
    assert np.all(np.abs(got - numbers(solve(ALIGNED, tol=3e-4, record=record))) < 8 * error)
    monkeypatch.setattr(NeuronFunctions, "_pull_back", lambda self, x: np.zeros_like(x))
    wrong = numbers(solve(ALIGNED, tol=3e-4, record=record))
    assert np.abs((got - wrong) / error).max() > 16


def test_frozen_blocks_with_a_mean_drift():
    t = solve(at(ALIGNED, 1, "1/2"), tol=1e-6)
    assert_allclose(t.feature_kernel[0, 0, -1, 0, 0], np.cosh(1.2 / np.sqrt(2 * np.pi)) ** 2, rtol=1e-6)
    assert_allclose(t.outputs, 0, atol=1e-9)


@pytest.mark.parametrize(("name", "want"), [("relu", lambda u: 1 / np.sqrt(2 * np.pi * u)), ("cos", lambda u: -np.exp(-u / 2))])
def test_mean_curvature(name, want):
    u = np.array([[0.3], [2.5]])
    assert_allclose(mean_curvature(nonlinearity(name), u), want(u), rtol=1e-10)


# Resolution.


def test_error_falls_spectrally():
    """For any cloud the flow is smooth in p: tenfold for two more nodes on each of 2 panels, down to 1e-11."""
    problem = one_input("tanh", 1.2, 1.0, (1.5, -1.5))
    clouds = small_clouds(problem)
    falls_spectrally(lambda panels: exact_level(problem, panels, clouds).outputs)


def falls_spectrally(outputs):
    """The error of what panels give falls tenfold for two more nodes on each of 2, down to 1e-11."""
    want = outputs(Panels.uniform(4, 11))
    error = [np.abs(outputs(Panels.uniform(2, q)) - want).max() for q in (3, 5, 7, 9)]
    assert error[0] > 1e-9
    for coarse, fine in pairwise(error):
        assert fine < max(coarse / 10, 1e-11)


def test_error_falls_with_the_points():
    """Root mean square over clouds and steps: at least fourfold for sixteen times as many points; seeds are fixed."""
    problem, f = one_input("tanh", 1.2, 1.0), np.array([0.55256, 0.30079, 0.40059])
    coarse, fine = (rms([level.outputs[1:, 0, 0] - f for level in sampled(problem, points)]) for points in (2**11, 2**15))
    assert fine < min(coarse / 4, 1.5e-3)


def rms(values):
    return np.sqrt(np.mean(np.square(values)))


def test_single_precision_is_enough():
    problem = PROBLEMS["tanh"]
    clouds = nested(2**11, dimensions(problem), 5)
    one, other = (one_layer_level(problem, Panels.uniform(2, 6), NOTHING, c, lambda t: None) for c in (clouds, double(clouds)))
    assert 0 < np.abs(one.outputs - other.outputs).max() < 1e-6


def test_lattices():
    """Weights sum to 1, pairs, covariance 1; a quadrature as good as the ball is large."""
    z, w = lattice(1000, 2, 7)
    assert_allclose(w.sum(), 1.0, rtol=1e-14)
    assert_allclose((z.T * w) @ z, np.eye(2), atol=1e-13)
    assert_allclose(w @ z, 0.0, atol=1e-15)
    assert abs(w @ np.cos(z[:, 0] + 0.5 * z[:, 1]) - np.exp(-0.625)) < 2e-5


@pytest.mark.parametrize("dimension", [2, 5])
def test_nested_clouds(dimension):
    found = nested(2**11, (dimension, 4), 1)
    N, K = found.inner.shape[1:]
    assert found.outer.shape == (N, dimension)
    assert found.inner.shape[0] == 4
    assert 2**10 < N * K < 2**12
    assert_allclose((found.outer.T * found.weights) @ found.outer, np.eye(dimension), atol=1e-12)
    assert_allclose(found.inner[..., : K // 2], -found.inner[..., K // 2 :])
    assert abs(float((found.inner**2).mean()) - 1) < 0.01


def test_features_that_hardly_lie_apart_are_combinations():
    """With twelve samples few of 36 features count, at an error far below that of the clouds."""
    rng = np.random.default_rng(3)
    inputs, targets = rng.standard_normal((12, 2)), rng.standard_normal((12, 1))
    problem = Problem(ResNet("sin + cos"), COMPLETEP, SGD(0.7, 3, momentum=0.3), inputs, targets)
    clouds = small_clouds(problem, 2**13)
    runs, states = [], []
    for together in (COINCIDE, 1e-3):
        states.append(NeuronFunctions(problem, NOTHING, Panels.uniform(2, 5), clouds))
        states[-1].together = together
        runs.append(limits.deep.one_layer.evolve(problem, states[-1], lambda t, _: None)[0])
    assert states[1].y.shape[1] < 0.7 * states[0].y.shape[1]
    assert 0 < np.abs(runs[0] - runs[1]).max() < 3e-4
    few = Panels.uniform(2, 5), NOTHING, nested(2**9, (3, 4), 3), lambda t: None
    with pytest.raises(ManyApartError):
        one_layer_level(problem, *few)


def test_what_lies_beyond_is_accurate_to_its_own_size(rng):
    y = np.linalg.qr(rng.standard_normal((30, 3)))[0].T
    along = np.array([[1.0, -2.0, 0.5]])
    extra = rng.standard_normal(30)
    extra -= (extra @ y.T) @ y
    found, beyond = resolved(along @ y + 1e-7 * extra, y)
    assert_allclose(found, along, atol=1e-13)
    assert_allclose(beyond @ y.T, 0, atol=1e-20)
    assert_allclose(beyond[0], 1e-7 * extra, rtol=0, atol=1e-14)


# Invariances.


def test_a_step_without_learning_changes_nothing():
    """Its features coincide with those of the next step at every depth."""
    problem = replace(one_input("sin + cos", 1.0, 1.0, (1.5, 1.5, -1.5)), optimizer=SGD([0.7, 0.0, 0.7], 3))
    f = sampled(problem, 2**11, [0])[0].outputs[:, 0, 0]
    assert abs(f[2] - f[1]) < 1e-6
    assert np.isfinite(f[3])
    fewer = replace(one_input("sin + cos", 1.0, 1.0, (1.5, -1.5)), optimizer=SGD(0.7, 2))
    one, other = (mean([level.outputs[-1, 0, 0] for level in sampled(p, 2**12)]) for p in (problem, fewer))
    assert abs(one[0] - other[0]) < 5 * np.hypot(one[1], other[1])


def test_without_learning_nothing_moves():
    problem = replace(SEVERAL, optimizer=SGD(0.0, 2))
    level = sampled(problem, 2**10, [0], record=Record(positions=(0, 1), kinds=("feature",)))[0]
    assert_allclose(level.outputs, 0, atol=1e-7)
    want = XI[:2] @ XI[:2].T / 2
    assert_allclose(level.kernels["feature_kernel"], np.broadcast_to(want, (3, 3, 2, 2, 2)), atol=1e-7)


def test_order_of_samples_and_turned_inputs_do_not_matter():
    """To the error of the clouds: |z| < 6 of Student's t with 14 degrees of freedom, 3e-5 a number, 6 numbers."""
    problem = replace(SEVERAL, probes=[[0.3, -0.2]])
    same, order = rewritten(problem)
    one = mean([level.outputs for level in sampled(problem, 2**12)])
    other = mean([level.outputs for level in sampled(same, 2**12)])
    probes = np.arange(len(order), len(problem.evaluated))
    there = np.concatenate([order, probes])
    assert worst_z(one[0][:, there], one[1][:, there], *other)[0] < 6


def test_probes_change_nothing():
    clouds = small_clouds(PROBLEMS["tanh"])
    probed = replace(PROBLEMS["tanh"], probes=[[0.4]])
    one, other = (exact_level(p, Panels.uniform(2, 6), clouds).outputs for p in (PROBLEMS["tanh"], probed))
    assert_allclose(other[:, :2], one, atol=1e-13)
    assert_allclose(other[1, 2], witness(probed, clouds, (64,), response="stein")[0][1, 2], atol=3e-3)


@pytest.fixture(scope="module")
def answer():
    """What `solve` says, and what it told on the way."""
    told = []
    record = Record(positions=(0, 0.5, 1), kinds=("feature", "gradient", "two_depth", "response"))
    t = solve(PROBLEMS["tanh"], tol=1e-2, record=record, progress=lambda done, total: told.append((done, total)))
    return t, told


def test_kernels_are_symmetric_and_positive(answer):
    t = answer[0]
    for kernel in (t.feature_kernel, t.gradient_kernel):
        gram = kernel.transpose(2, 0, 3, 1, 4).reshape(3, 8, 8)
        assert_allclose(gram, gram.swapaxes(1, 2), atol=1e-12)
        assert np.linalg.eigvalsh(gram).min() > -1e-10
    assert_allclose(t.response, 0)
    assert_allclose(np.einsum("stppij->stpij", t.two_depth_kernel), t.feature_kernel, atol=1e-12)


# The answer as users have it.


def test_save_and_load(answer, tmp_path):
    t = answer[0]
    t.save(tmp_path / "run.npz")
    again = Trajectory.load(tmp_path / "run.npz")
    assert_allclose(again.outputs, t.outputs)
    assert_allclose(again.feature_kernel, t.feature_kernel)


def test_progress_is_told(answer):
    assert set(answer[1]) == {(t, 3) for t in range(4)}


def test_a_tolerance_out_of_reach_is_said(monkeypatch):
    monkeypatch.setattr(limits.deep.one_layer, "NESTED", (2**9, 2**11))
    with pytest.warns(ToleranceWarning, match="tol = 1e-06 was not met"):
        t = solve(PROBLEMS["tanh"], tol=1e-6, record=NOTHING)
    assert t.error.max() > 1e-6


def refused(kind, said, model, alpha=1, gamma=0, initial=0):
    problem = Problem(model, Parametrization(alpha, gamma, initial), SGD(0.5, steps=1), [[1.0]], [[1.0]])
    with pytest.raises(kind, match=said):
        solve(problem)


def test_refusals_are_sentences():
    refused(ValueError, "alpha = 3/2: .*alpha <= 1.*use recurse or simulate", ResNet("tanh"), "3/2", "-1/2")
    refused(NoLimitError, r"alpha \+ gamma = 1/2 < 1", ResNet("tanh"), 1, "-1/2")
    refused(ValueError, "exponent 0, got 1/4: use initial=0", ResNet("tanh"), 1, 0, "1/4")


def test_odd_functions_need_no_mean_subtraction():
    one, other = (replace(SEVERAL, model=replace(SEVERAL.model, mean_subtraction=m)) for m in (True, False))
    got = [sampled(p, 2**10, [1])[0].outputs for p in (one, other)]
    assert_allclose(*got, atol=1e-12)


def test_frozen_blocks_take_no_cloud():
    """Where updates vanish: at gamma > 0 the limit is exact."""
    t = solve(at(SEVERAL, 1, "1/2"), tol=1e-10)
    assert t.error.max() < 1e-10


# Injected faults.


FAULTS = {
    "h": scaled(NeuronFunctions, "_h"),
    "phi given U, V": scaled(NeuronFunctions, "_conditional"),
    "E H dh": scaled(NeuronFunctions, "_pulls"),
    "response": without_response,
    "learning rates": scaled(NeuronFunctions, "_rate"),
    "gradients": argument(FlowStates, "backward", position(2)),
    "mean subtracted": scaled(GivenNeurons, "_moved"),
    "hat h": scaled(GivenNeurons, "_hats"),
}
NOT_ODD = {"mean subtracted", "hat h"}


@pytest.mark.parametrize("name", FAULTS)
def test_injected_fault_is_caught(name, monkeypatch):
    FAULTS[name](monkeypatch)
    with pytest.raises(AssertionError):
        assert_witnessed("sin + cos" if name in NOT_ODD else "tanh", 3e-5 if name in NOT_ODD else 1e-6)
