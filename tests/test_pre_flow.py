"""Blocks of form "pre" at alpha > 1/2, against Euler steps, networks and linear blocks."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import CATALOGUE, XI, XI3, Y2, Y, at
from naive_neurons import trained
from naive_nonlinear import richardson
from numpy.testing import assert_allclose
from test_deep_nonlinear import LINES, assert_close
from test_faults import WRONG, argument, position, scaled
from test_one_layer import FUNCTIONS, TRAINED, falls_spectrally, mean, worst_z

import limits.deep.pre_flow
from limits import Record, ToleranceWarning, solve
from limits.agreement import agree
from limits.deep.nonlinear_flow import FlowStates
from limits.deep.pre_flow import SeenNeurons, pre_flow_level
from limits.deep.sampling import CLOUDS, weighted
from limits.optimizers import SGD
from limits.panels import Panels
from limits.parametrization import COMPLETEP, Parametrization
from limits.problem import Problem, ResNet

NOTHING = Record(kinds=())


def pre(phi, a=1.0):
    return ResNet(phi, multiplier=a, form="pre")


PROBLEMS = {
    "tanh": Problem(pre("tanh", 1.2), COMPLETEP, SGD(0.8, 3, momentum=0.4), XI, Y, batches=[[0, 1, 2], [0, 2], [1, 1, 2]]),
    "waves": Problem(pre("sin + cos", 0.9), COMPLETEP, TRAINED, XI3, Y2[:2], batches=[[0], [1], [1, 0]], probes=XI3[:1] / 2),
    "classes": Problem(pre("sin"), COMPLETEP, SGD(1.2, steps=2), XI, [2, 0, 1], loss="cross_entropy"),
}


def neurons_of(problem, points=2**8, seed=3):
    return weighted(points, FlowStates(problem, NOTHING, Panels.uniform(1, 1), 0).k, seed)


def on_panels(problem, panels, neurons, record=NOTHING):
    return pre_flow_level(problem, panels, record, neurons, lambda t: None)


def euler(problem, neurons, L):
    """Outputs of L Euler steps, by means over neurons: x_i -= a^2/L sum_j w_j <phi(x_i) phi(x_j)> delta_j and so on."""
    (points, weights), (phi, slope, _) = neurons, FUNCTIONS[problem.model.phi.name]
    states = FlowStates(problem, NOTHING, Panels.uniform(1, 1), 0)
    a2, r, x, delta = problem.model.multiplier**2, states.r, {}, {}

    def inner(one, other):
        return np.sum(weights * one * other)

    def step_x(i, l, w):
        seen = (share * inner(phi(x[i][l - 1]), phi(x[j][l - 1])) * delta[j][l] for j, share in w.items())
        return x[i][l - 1] - a2 / L * sum(seen)

    def step_delta(i, l, w):
        seen = (share * inner(delta[i][l], delta[j][l]) * phi(x[j][l - 1]) for j, share in w.items())
        return delta[i][l] - a2 / L * slope(x[i][l - 1]) * sum(seen)

    def start_x(mu):
        return points[:, :r] @ states.coordinates[mu]

    return trained(problem, L, (x, delta), start_x, lambda chi: points[:, r:] @ chi, inner, step_x, step_delta)


def assert_witnessed(name, digits=2e-6):
    problem = PROBLEMS[name]
    neurons = neurons_of(problem)
    want, left = richardson([euler(problem, neurons, L) for L in (8, 16, 32, 64)])
    assert left.max() < digits
    assert_allclose(on_panels(problem, Panels.uniform(4, 9), neurons).outputs, want, rtol=0, atol=3 * digits)


@pytest.mark.parametrize("name", PROBLEMS)
def test_euler_steps_agree_on_the_same_neurons(name):
    assert_witnessed(name)


@pytest.mark.parametrize("name", ["batches", "both", "logistic", "classes"])
def test_the_identity_is_linear_for_any_cloud(name):
    problem = at(CATALOGUE[name], 1, 0)
    record = Record(positions=(0, 0.3, 1), kinds=("feature", "gradient", "two_depth"))
    want = solve(problem, tol=1e-12, record=record)
    same = replace(problem, model=replace(problem.model, nonlinearity=LINES["closed"], form="pre"))
    got = on_panels(same, Panels.uniform(8, 9), neurons_of(same), record)
    assert_close(got.outputs, want.outputs, 1e-11)
    for field in ("feature_kernel", "gradient_kernel", "two_depth_kernel"):
        assert_close(got.kernels[field], getattr(want, field), 1e-10)


NETWORKS = {
    "relu": Problem(pre("relu", 0.9), COMPLETEP, SGD([0.8, 0.5], 2, momentum=0.3), XI[:2], Y[:2], probes=[[-1.0, -0.4]]),
    "sin + cos": Problem(pre("sin + cos"), COMPLETEP, SGD(0.7, 2, 0.2, 0.3), XI[:2], Y[:2]),
}


def test_networks_agree():
    """Extrapolated in width and depth; Bonferroni over all numbers, false-alarm rate 1e-3 (normal errors).

    The limit of form "post", which differs from this one where updates are large, is refuted.
    """
    problem, record = NETWORKS["sin + cos"], Record(positions=(0, 1), kinds=("feature", "gradient"))
    found = agree(problem, widths=(32, 64), blocks=(4, 8, 16), seeds=300, tol=1e-3, record=record)
    assert found.false_alarm > 1e-3, found.table()
    post = replace(problem, model=replace(problem.model, form="post"))
    assert replace(found, limit=solve(post, tol=1e-3, record=record)).false_alarm < 1e-6


@pytest.mark.slow
def test_kinked_networks_agree():
    """False-alarm rate 1e-3, and the limit at half again the rate is refuted."""
    problem, record = NETWORKS["relu"], Record(positions=(0, 1), kinds=("feature", "gradient"))
    found = agree(problem, widths=(64, 128), blocks=(8, 16, 32), seeds=600, tol=5e-4, record=record)
    assert found.false_alarm > 1e-3, found.table()
    faster = replace(problem, optimizer=replace(problem.optimizer, lr=[1.2, 0.75]))
    assert replace(found, limit=solve(faster, tol=1e-3, record=record)).false_alarm < 1e-6


@pytest.mark.slow
def test_networks_agree_between():
    """At alpha = 3/4 corrections are L^(-1/2): false-alarm rate 1e-3."""
    problem = replace(NETWORKS["sin + cos"], parametrization=Parametrization("3/4", "1/4"))
    record = Record(positions=(0, 1), kinds=("feature", "gradient"))
    found = agree(problem, widths=(64, 128), blocks=(32, 64, 128, 256), seeds=300, tol=5e-4, record=record)
    assert found.false_alarm > 1e-3, found.table()


def test_one_flow_holds_for_all_exponents():
    one, other = (
        solve(replace(PROBLEMS["tanh"], parametrization=Parametrization(*p)), tol=1e-3) for p in ((1, 0), ("3/4", "1/4"))
    )
    assert_allclose(one.outputs, other.outputs, rtol=0, atol=0)


def test_error_falls_spectrally():
    """For any cloud the flow of smooth phi is smooth in p: tenfold for two more nodes on each of 2 panels, down to 1e-11."""
    problem = PROBLEMS["waves"]
    neurons = neurons_of(problem)
    falls_spectrally(lambda panels: on_panels(problem, panels, neurons).outputs)


def test_the_error_is_a_standard_error():
    """A much better answer lies within 6 of them (Student's t, 7 degrees of freedom: 5e-4 a number)."""
    problem = NETWORKS["relu"]
    t = solve(problem, tol=3e-3, record=NOTHING)
    fine = mean([on_panels(problem, Panels.uniform(4, 5), neurons_of(problem, 2**13, seed)).outputs for seed in range(CLOUDS)])
    assert 0 < t.error.max() < 3e-3
    assert worst_z(*fine, t.outputs, t.error)[0] < 6


def test_frozen_blocks_move_nothing():
    t = solve(replace(PROBLEMS["tanh"], parametrization=Parametrization(1, "1/2")))
    assert_allclose(t.outputs, 0, atol=1e-12)


def test_a_tolerance_out_of_reach_is_said(monkeypatch):
    monkeypatch.setattr(limits.deep.pre_flow, "POINTS", (2**8, 2**9))
    with pytest.warns(ToleranceWarning, match="tol = 1e-09 was not met"):
        solve(NETWORKS["relu"], tol=1e-9, record=NOTHING)


def test_what_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(limits.memory, "available_memory", lambda: 1e5)
    with pytest.raises(MemoryError, match="this limit would take"):
        on_panels(PROBLEMS["tanh"], Panels.uniform(2, 5), neurons_of(PROBLEMS["tanh"]))


def learned(monkeypatch):
    right = SeenNeurons._learn

    def wrong(self, x, delta):
        right(self, x, delta)
        self.seen[:, -x.shape[1] :] *= WRONG

    monkeypatch.setattr(SeenNeurons, "_learn", wrong)


FAULTS = {
    "phi": scaled(SeenNeurons, "_values"),
    "phi of what was learned": learned,
    "rates": scaled(SeenNeurons, "_rates"),
    "gradients": argument(FlowStates, "backward", position(2)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_injected_fault_is_caught(name, monkeypatch):
    FAULTS[name](monkeypatch)
    with pytest.raises(AssertionError):
        assert_witnessed("tanh")
