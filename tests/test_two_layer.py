"""Two-layer blocks at alpha = 1, gamma_i = 0, against a slow witness, networks of any expansion and quadrature."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import BOTH, CATALOGUE, XI, XI3, Y2, Y, rewritten
from naive_neurons import two_layer
from naive_nonlinear import richardson
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp
from test_deep_nonlinear import assert_close
from test_faults import WRONG, argument, position, scaled
from test_one_layer import FUNCTIONS, falls_spectrally, mean, rms, worst_z

import limits.deep.two_layer
from limits import NoLimitError, Record, ToleranceWarning, Trajectory, solve
from limits.agreement import agree
from limits.deep.flow import Velocity
from limits.deep.nonlinear_flow import FlowStates
from limits.deep.sampling import CLOUDS, cloud
from limits.deep.two_layer import NeuronStates, neurons_of, two_layer_level
from limits.optimizers import SGD
from limits.panels import Panels
from limits.parametrization import COMPLETEP, Parametrization
from limits.problem import Problem, ResNet

NOTHING = Record(kinds=())
LINEAR = (lambda z: z, np.ones_like)


def mlp(phi, a=1.0, expansion=1.0):
    return ResNet(phi, block_depth=2, multiplier=a, form="mlp", expansion=expansion)


def scalar(lr=0.5, steps=7):
    return Problem(mlp("tanh"), COMPLETEP, SGD(lr, steps), [[1.0]], [[1.0]])


TRAINED = replace(BOTH, lr=[0.6, 0.3, 0.5], output_lr=[0.2, 0.4, 0.1], steps=3)
PROBLEMS = {
    "scalar": scalar(steps=3),
    "tanh": Problem(mlp("tanh", 1.2, 0.5), COMPLETEP, SGD(0.8, 3, momentum=0.4), XI, Y, batches=[[0, 1, 2], [0, 2], [1, 1, 2]]),
    "waves": Problem(mlp("sin + cos", 0.6, 2.0), COMPLETEP, TRAINED, XI3, Y2[:2], batches=[[0], [1], [1, 0]], probes=XI3[:1] / 2),
    "classes": Problem(mlp("sin"), COMPLETEP, SGD(1.2, steps=2), XI, [2, 0, 1], loss="cross_entropy"),
}


def on_panels(problem, panels, neurons, record=NOTHING):
    return two_layer_level(problem, panels, record, neurons, lambda t: None)


def witness(problem, neurons, depths=(8, 16, 32, 64)):
    functions = LINEAR if problem.model.phi.linear else FUNCTIONS[problem.model.phi.name]
    coordinates = FlowStates(problem, NOTHING, Panels.uniform(1, 1), 0).coordinates
    return [two_layer(problem, L, functions, coordinates, neurons) for L in depths]


def assert_witnessed(problem, digits=1e-6):
    neurons = neurons_of(problem, 2**8, 3)
    want, left = richardson(witness(problem, neurons))
    assert left.max() < digits
    assert_allclose(on_panels(problem, Panels.uniform(4, 9), neurons).outputs, want, rtol=0, atol=3 * digits)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_witness_agrees_on_the_same_cloud(name):
    assert_witnessed(PROBLEMS[name], 2e-6)


def test_the_witness_agrees_where_one_layer_learns():
    problem = replace(PROBLEMS["scalar"], parametrization=Parametrization(1, (0, 1)))
    neurons = neurons_of(problem, 2**8, 3)
    first = on_panels(problem, Panels.uniform(2, 7), neurons).outputs
    second = on_panels(replace(problem, parametrization=Parametrization(1, (1, 0))), Panels.uniform(2, 7), neurons).outputs
    both = on_panels(PROBLEMS["scalar"], Panels.uniform(2, 7), neurons).outputs
    assert 0 < first[1, 0, 0] < both[1, 0, 0]
    assert 0 < second[1, 0, 0] < both[1, 0, 0]


def test_plain_monte_carlo_agrees(rng):
    """Neurons drawn at random, sixteen sets of 4000: Student's t beyond 6 has probability 2e-5 a number (15 degrees of freedom),
    of 9 numbers.
    """  # noqa: D205
    problem = PROBLEMS["tanh"]
    dimension = neurons_of(problem, 2, 0).shape[1]
    sets = [richardson(witness(problem, rng.standard_normal((4000, dimension)), (4, 8)))[0] for _ in range(16)]
    want, error = mean(sets)
    got = mean([on_panels(problem, Panels.uniform(2, 5), neurons_of(problem, 2**12, seed)).outputs for seed in range(CLOUDS)])
    z, compared = worst_z(*got, want, np.hypot(error, 2e-3))  # two depths leave an error of Euler steps
    assert compared == 12
    assert z < 6
    wrong = want * 1.1
    assert worst_z(*got, wrong, np.hypot(error, 2e-3))[0] > 6


# Numbers.


def first_update():
    """f_1 of one input xi = 1, target 1, rate 1/2: x_0 and delta_0 stay where they are, so that a trapezoidal rule in three
    dimensions gives dx_1/dp = E[v_1 tanh(pi_1)] with pi_1 = xi_u1 + y xi_u2 + lr phi'(xi_u1) xi_v2, v_1 = xi_v2 + lr phi(xi_u1).
    """  # noqa: D205
    g = np.arange(-7, 7.01, 0.25)
    w = np.exp(-(g**2) / 2)
    w /= w.sum()
    a, b, c = np.meshgrid(g, g, g, indexing="ij")
    weights = w[:, None, None] * w[:, None] * w
    v, shift = weights * (c + 0.5 * np.tanh(a)), a + 0.5 * (1 - np.tanh(a) ** 2) * c
    return solve_ivp(lambda p, y: [np.sum(v * np.tanh(shift + y[0] * b))], (0, 1), [0.0], rtol=1e-8, atol=1e-9).y[0, -1]


def test_reference_values_of_tanh():
    """The published method's values, good to 1e-3 (its first is .0008 above the quadrature)."""
    t = solve(scalar(), record=NOTHING)
    assert t.error.max() <= 1e-4
    assert_allclose(t.outputs[1:, 0, 0], [0.3949, 0.6092, 0.7529, 0.8472, 0.9071, 0.9440, 0.9665], rtol=0, atol=1e-3)
    assert abs(t.outputs[1, 0, 0] - first_update()) < 6 * t.error[1, 0, 0] + 1e-6


def test_reference_values_of_the_identity():
    x = np.array([[0.48000164, -0.13361224, 0.62589632]]) * np.sqrt(3)  # a read-in without 1/sqrt(d_in)
    y = [[0.62789524, 0.26597976, -0.05539644]]
    t = solve(Problem(mlp("linear"), COMPLETEP, SGD(0.1, 14), x, y), record=NOTHING)
    assert_allclose(t.outputs[-1, 0], [0.60150, 0.25480, -0.05307], rtol=0, atol=3e-4)
    assert t.error.max() < 1e-10


@pytest.mark.parametrize("name", ["batches", "both", "logistic"])
def test_the_identity_is_exact_for_any_cloud(name):
    """Only covariances count, and those are exact: two clouds give the same, the witness's."""
    problem = replace(CATALOGUE[name], model=mlp("linear", 0.5, 2.0), parametrization=COMPLETEP)
    one, other = (on_panels(problem, Panels.uniform(4, 9), neurons_of(problem, 2, seed)).outputs for seed in (1, 2))
    assert_close(one, other, 1e-11)
    assert_witnessed(problem, 3e-5)
    t = solve(problem, record=NOTHING)
    assert t.error.max() < 1e-9
    assert_close(t.outputs, one, 1e-6)


# Networks.

RANDOM = np.random.default_rng(1)
INPUTS, TARGETS = RANDOM.normal(size=(3, 2)), RANDOM.normal(size=(3, 1))


def several(phi, expansion, a=1.3):
    """Momentum, batches, trained ends."""
    sgd = SGD(0.8, 3, input_lr=0.3, output_lr=0.2, momentum=0.4)
    return Problem(mlp(phi, a, expansion), COMPLETEP, sgd, INPUTS, TARGETS, batches=[[0, 1, 2], [0, 2], [1, 2]])


def test_networks_agree():
    """Extrapolated in width and depth; Bonferroni over all numbers, false-alarm rate 1e-3 (normal errors)."""
    record = Record(positions=(0, 1), kinds=("feature", "gradient"))
    found = agree(scalar(0.8, 2), widths=(32, 64), blocks=(4, 8, 16), seeds=400, tol=3e-4, record=record)
    assert found.false_alarm > 1e-3, found.table()
    other = replace(found, limit=solve(scalar(0.8 * 1.5, 2), tol=3e-4, record=record))
    assert other.false_alarm < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(("phi", "expansion"), [("tanh", 1.0), ("tanh", 0.5), ("relu", 2.0), ("sin + cos", 0.5)])
def test_networks_of_any_expansion_agree(phi, expansion):
    """False-alarm rate 1e-3 each, and the limit of another expansion is refuted."""
    record = Record(positions=(0, 0.5, 1), kinds=("feature", "gradient"))
    found = agree(several(phi, expansion), widths=(64, 128), blocks=(4, 8, 16, 32), seeds=600, tol=5e-4, record=record)
    assert found.false_alarm > 1e-3, found.table()
    other = replace(found, limit=solve(several(phi, 2.0 / expansion), tol=1e-3, record=record))
    assert other.false_alarm < 1e-6


# Resolution.


@pytest.mark.parametrize("name", PROBLEMS)
def test_error_falls_spectrally(name):
    """For any cloud the flow is smooth in p: tenfold for two more nodes on each of 2 panels, down to 1e-11."""
    problem = PROBLEMS[name]
    neurons = neurons_of(problem, 2**8, 3)
    falls_spectrally(lambda panels: on_panels(problem, panels, neurons).outputs)


def test_error_falls_with_the_points():
    """Root mean square over clouds and steps: at least fourfold for sixteen times as many points; seeds are fixed."""
    problem, f = scalar(steps=3), np.array([0.394153, 0.60952, 0.75349])

    def error(points):
        clouds = (neurons_of(problem, points, seed) for seed in range(CLOUDS))
        return rms([on_panels(problem, Panels.uniform(2, 5), c).outputs[1:, 0, 0] - f for c in clouds])

    assert error(2**13) < min(error(2**9) / 4, 5e-4)


@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize("dimension", [2, 5])
def test_clouds(dimension, kept):
    z = cloud(500, dimension, 1, kept)
    assert z.shape == (512, dimension)
    assert_allclose(z.T @ z / len(z), np.eye(dimension), atol=1e-12)
    assert_allclose(z[:256, kept:], -z[256:, kept:])
    assert_allclose(z[:256, :kept], z[256:, :kept])
    assert np.abs(cloud(500, dimension, 2, kept) - z).max() > 0.1
    assert abs(np.mean(z**4) - 3) < 0.3


def with_images(problem, kept, points=2**9):
    """Outputs of one cloud of pairs whose images keep the sign of so many coordinates, and of its first half alone."""
    z = cloud(points, neurons_of(problem, 2, 0).shape[1], 5, kept)
    return [on_panels(problem, Panels.uniform(2, 5), part).outputs for part in (z, z[: len(z) // 2])]


@pytest.mark.parametrize("phi", ["tanh", "square"])
def test_odd_functions_learn_nothing_from_neurons_of_the_other_sign(phi):
    """Nor do even ones, of the pairs that odd ones take, more than of theirs: the reason for there being two kinds."""
    problem = several(phi, 1.0, 0.3)
    k = neurons_of(problem, 2, 0).shape[1] // 2
    (both, half), (images, _) = with_images(problem, 0), with_images(problem, k)
    if phi == "tanh":
        assert_allclose(both, half, rtol=0, atol=1e-13)
        assert np.abs(images - both).max() > 1e-4
    else:
        assert_allclose(images, both, rtol=0, atol=1e-13)
        assert np.abs(both - half).max() > 1e-4


@pytest.mark.parametrize("name", ["scalar", "classes"])
def test_pairs_of_odd_functions_pay(name):
    """Root mean square over clouds and steps: 1.4 and 1.6 times less than of as many pairs z and -z; seeds are fixed."""
    problem = PROBLEMS[name]
    k = neurons_of(problem, 2, 0).shape[1] // 2

    def outputs(points, seed, kept):
        return on_panels(problem, Panels.uniform(2, 5), cloud(points, 2 * k, seed, kept)).outputs

    want = np.mean([outputs(2**14, seed, k) for seed in range(100, 104)], axis=0)
    old, new = (rms([outputs(2**11, seed, kept) - want for seed in range(CLOUDS)]) for kept in (0, k))
    assert new < old / 1.2


# Invariances.


def test_order_of_samples_and_turned_inputs_do_not_matter():
    """With the neurons turned alike."""
    problem = PROBLEMS["tanh"]
    same, order = rewritten(problem)
    before, after = (FlowStates(p, NOTHING, Panels.uniform(1, 1), 0).coordinates for p in (problem, same))
    turn = np.linalg.lstsq(before[order], after, rcond=None)[0]
    neurons = neurons_of(problem, 2**8, 3)
    turned = neurons.copy()
    for part in (slice(0, 2), slice(3, 5)):  # u and v along the inputs
        turned[:, part] = neurons[:, part] @ turn
    one, other = on_panels(problem, Panels.uniform(2, 5), neurons), on_panels(same, Panels.uniform(2, 5), turned)
    assert_allclose(other.outputs, one.outputs[:, order], atol=1e-12)


def test_probes_change_nothing():
    problem = PROBLEMS["scalar"]
    neurons = neurons_of(problem, 2**8, 3)
    probed = replace(problem, probes=[[0.4]])
    one, other = (on_panels(p, Panels.uniform(2, 6), neurons).outputs for p in (problem, probed))
    assert_allclose(other[:, :1], one, atol=1e-13)
    assert abs(other[1, 1, 0]) > 0.01


def test_more_steps_begin_alike():
    problem = scalar(steps=4)
    neurons = neurons_of(problem, 2**8, 3)
    one, other = (on_panels(p, Panels.uniform(2, 6), neurons).outputs for p in (problem, problem.prefix(2)))
    assert_allclose(one[:3], other, atol=1e-14)


def test_without_learning_nothing_moves():
    level = on_panels(
        scalar(0.0, 2), Panels.uniform(2, 4), neurons_of(scalar(), 2**8, 3), Record(positions=(0, 1), kinds=("feature",))
    )
    assert_allclose(level.outputs, 0, atol=1e-14)  # every neuron has a partner with the other v
    assert_allclose(level.outputs[1:], level.outputs[:-1], atol=1e-14)
    kernel = level.kernels["feature_kernel"]
    assert_allclose(kernel, np.broadcast_to(kernel[:1, :1], kernel.shape), atol=1e-14)
    assert_allclose(kernel[0, 0, 0], 1, atol=1e-14)


@pytest.fixture(scope="module")
def answer():
    """What `solve` says, and what it told on the way."""
    told = []
    record = Record(positions=(0, 0.5, 1), kinds=("feature", "gradient", "two_depth", "response"))
    t = solve(PROBLEMS["tanh"], tol=3e-3, record=record, progress=lambda done, total: told.append((done, total)))
    return t, told


def test_kernels_are_symmetric_and_positive(answer):
    t = answer[0]
    for kernel in (t.feature_kernel, t.gradient_kernel):
        gram = kernel.transpose(2, 0, 3, 1, 4).reshape(3, 12, 12)
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
    assert_allclose(again.error, t.error)
    assert_allclose(again.feature_kernel, t.feature_kernel)
    assert again.problem.model == t.problem.model


def test_progress_is_told(answer):
    assert set(answer[1]) == {(t, 3) for t in range(4)}


def test_the_error_is_a_standard_error(answer):
    """Of the mean over clouds: a much better answer lies within 6 of them (Student's t, 7 degrees of freedom: 5e-4 a number)."""
    fine = solve(PROBLEMS["tanh"], tol=3e-4, record=NOTHING)
    t = answer[0]
    assert 0 < t.error.max() < 3e-3
    assert worst_z(fine.outputs, fine.error, t.outputs, t.error)[0] < 6


def test_a_tolerance_out_of_reach_is_said(monkeypatch):
    monkeypatch.setattr(limits.deep.two_layer, "POINTS", (2**8, 2**9))
    with pytest.warns(ToleranceWarning, match="tol = 1e-07 was not met"):
        t = solve(PROBLEMS["scalar"], tol=1e-7, record=NOTHING)
    assert t.error.max() > 1e-7


def refused(kind, said, model, alpha=1, gamma=(0, 0), initial=0):
    problem = Problem(model, Parametrization(alpha, gamma, initial), SGD(0.5, steps=1), [[1.0]], [[1.0]])
    with pytest.raises(kind, match=said):
        solve(problem)


def test_refusals_are_sentences():
    refused(ValueError, "alpha = 1, gamma = 0, got form 'post' at alpha = 1", ResNet("tanh", block_depth=3), gamma=(0, 0, 0))
    refused(ValueError, "alpha = 1, gamma = 0, got form 'mlp' at alpha = 1/2", mlp("tanh"), "1/2", ("1/2", "1/2"))
    refused(ValueError, "exponent 0, got 1/4, 0: use initial=0", mlp("tanh"), 1, (0, 0), ("1/4", 0))
    refused(NoLimitError, r"alpha \+ gamma_i = 1/2 < 1", mlp("tanh"), 1, ("-1/2", 0))
    refused(ValueError, "without LayerNorm", replace(mlp("tanh"), layer_norm=True))


# Injected faults.


def learned(layer):
    """What u or v learns, times 1.01."""

    def inject(monkeypatch):
        right = NeuronStates._set_rows

        def wrong(self):
            self.learned[layer].total *= WRONG
            right(self)

        monkeypatch.setattr(NeuronStates, "_set_rows", wrong)

    return inject


def change(name):
    """The rate of change that a method makes, times 1.01."""

    def inject(monkeypatch):
        right = getattr(NeuronStates, name)

        def wrong(self, *given):
            made = right(self, *given)
            return lambda at, y: WRONG * made(at, y)

        monkeypatch.setattr(NeuronStates, name, wrong)

    return inject


FAULTS = {
    "pi": scaled(NeuronStates, "_arguments"),
    "theta": scaled(NeuronStates, "_pulls"),
    "phi' theta": learned(0),
    "phi": learned(1),
    "features": change("_forward_change"),
    "gradients": change("_backward_change"),
    "chi": argument(FlowStates, "backward", position(2)),
    "learning rates": argument(Velocity, "add", position(2)),
    "neurons": argument(NeuronStates, "__init__", position(4)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_injected_fault_is_caught(name, monkeypatch):
    FAULTS[name](monkeypatch)
    with pytest.raises(AssertionError):
        assert_witnessed(PROBLEMS["tanh"])
