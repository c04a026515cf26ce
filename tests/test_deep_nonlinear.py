"""Nonlinear limits at alpha = gamma = 1/2 against a slow witness, closed forms, linear limits and finer resolutions."""

import warnings
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from conftest import CATALOGUE, XI, XI3, Y2, Y, at, rewritten
from naive_nonlinear import DUALS, discretised, kinked, quadrature, richardson
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import solve_ivp

from limits import DivergedError, Record, ToleranceWarning, Trajectory, UnresolvedError, recurse, solve
from limits.deep.nonlinear import nonlinear_level
from limits.deep.nonlinear_flow import nonlinear_flow_level
from limits.nonlinearity import NAMED, Nonlinearity, nonlinearity, polynomial
from limits.nonlinearity.expansion import Exponential
from limits.optimizers import SGD
from limits.panels import Panels
from limits.parametrization import DEPTH_MUP
from limits.problem import Problem, ResNet

NOTHING = Record(kinds=())
ALL_KINDS = ("feature", "gradient", "two_depth", "response")
FIELDS = ("feature_kernel", "gradient_kernel", "two_depth_kernel", "response")
BOTH = SGD(lr=[0.6, 0.3, 0.5], steps=3, input_lr=0.3, output_lr=[0.2, 0.4, 0.1], momentum=0.5)


def net(phi, a=1.0):
    return ResNet(phi, multiplier=a)


SMOOTH = {
    "waves": Problem(net("sin + cos", 0.8), DEPTH_MUP, SGD(0.7, steps=2), XI, Y, probes=[[0.2, 0.1]]),
    "batches": Problem(net("sin", 0.9), DEPTH_MUP, SGD([0.6, 0.3, 0.7], steps=3), XI, Y2, batches=[[0], [1, 1, 2], [2, 0]]),
    "both": Problem(net("sin + cos", 0.8), DEPTH_MUP, BOTH, XI3, Y2[:2], batches=[[0], [1], [1, 0]], probes=[[0.5, 0.1, 0.9]]),
    "erf": Problem(net("erf"), DEPTH_MUP, SGD(0.9, steps=2, momentum=0.4), XI[:2], Y2[:2]),
    "cubic": Problem(net(polynomial([0, 1, 0, 0.1]), 0.4), DEPTH_MUP, SGD([0.5, 0.2], steps=2), XI[:2], Y[:2]),
    "classes": Problem(net("sin + cos"), DEPTH_MUP, SGD(1.2, steps=2), XI, [2, 0, 1], loss="cross_entropy"),
}
HERMITE = {
    "logistic": Problem(net("tanh"), DEPTH_MUP, SGD(1.5, steps=2), XI[:2], np.sign(Y[:2]), loss="logistic"),
}
KINKED = {
    "relu": Problem(net("relu"), DEPTH_MUP, SGD(0.8, steps=3), XI[:2], Y[:2], batches=[[0], [0, 1], [1]], probes=[[-1.0, -0.4]]),
    "abs": Problem(net("abs", 0.9), DEPTH_MUP, BOTH, XI[:2], Y2[:2]),
}
ALL = SMOOTH | HERMITE | KINKED


def assert_close(actual, desired, digits):
    """Agreement relative to the largest entry (at least 1)."""
    assert_allclose(actual, desired, rtol=0, atol=digits * np.abs(desired).max(initial=1.0))


def reachable(problem):
    """A tolerance without much ado: couplings of kinked phi are singular where features of one input part."""
    return 1e-8 if problem.model.phi.kinks else 1e-10


def outputs(problem, tol=None):
    return solve(problem, tol=tol or reachable(problem), record=NOTHING).outputs


def own_duals(problem):
    return DUALS[problem.model.phi.name]


# The witness.


def fields_of(answer):
    response = np.stack([answer.to_noise, answer.to_features])
    return answer.outputs, answer.feature, answer.gradient, answer.two_depth, response


def assert_witnessed(problem, depths=(8, 16, 32, 64), accuracy=1e-4):
    """Everything is the witness's, extrapolated, within what its table says is left, and that is at most `accuracy`."""
    positions = (0.25, 0.5, 0.75, 1.0)
    runs = [fields_of(discretised(problem, own_duals(problem), L, positions)) for L in depths]
    t = solve(problem, tol=1e-8, record=Record(positions=positions, kinds=ALL_KINDS))
    got = (t.outputs, *(getattr(t, name) for name in FIELDS))
    assert np.abs(runs[-1][0] - t.outputs).max() > 1e-4  # the witness alone is far
    for k, field in enumerate(got):
        want, left = richardson([run[k] for run in runs])
        size = np.abs(want).max(initial=1.0)
        assert left.max() < accuracy * size
        assert np.abs(field - want).max() < (10 if problem.model.phi.kinks else 3) * left.max() + 1e-7 * size


@pytest.mark.parametrize("name", ["waves", "batches", "both", "erf", "cubic"])
def test_the_witness_agrees(name):
    assert_witnessed(SMOOTH[name])


@pytest.mark.parametrize("name", ["logistic", "relu", "abs", pytest.param("classes", marks=pytest.mark.slow)])
def test_the_witness_agrees_elsewhere(name):
    assert_witnessed(ALL[name], accuracy=2e-3)


def test_the_witness_is_exact_for_linear_blocks():
    """At finite depth it is then rung 2."""
    problem, record = CATALOGUE["both"], Record(positions=(0.25, 0.5, 0.75, 1.0), kinds=ALL_KINDS[:3])
    one, other = discretised(problem, DUALS["linear"], 8), recurse(problem, blocks=8, record=record)
    assert_allclose(one.outputs, other.outputs, rtol=0, atol=1e-13)
    for got, name in zip((one.feature, one.gradient, one.two_depth), FIELDS, strict=False):
        assert_allclose(got, getattr(other, name), rtol=0, atol=1e-13)


# Numbers.


def one_input(phi, a, lr, targets=(1.5, -1.5, 1.5, -1.5)):
    """One input with a target that changes from step to step: two inputs that are alike."""
    values, which = np.unique(targets, return_inverse=True)
    return Problem(
        net(phi, a), DEPTH_MUP, SGD(lr, steps=len(targets)), [[1.0]] * len(values), values[:, None], batches=which[:, None]
    )


REFERENCE = {
    "sin + cos": (1.0, 0.7, [0, 1.12802, -0.18904, 0.71144], [1.7353, 3.7694, 3.1784, 3.8882]),
    "tanh": (1.2, 1.0, [0, 1.18238, -0.11789, 0.24797], [1.6355, 3.4279, 0.9881, 0.9343]),
    "relu": (1.0, 1.0, [0, 0.94566, -0.12294, 0.07424], [1.4061, 2.5784, 0.4912, 0.3978]),
    "abs": (1.0, 0.7, [0, 1.04530, -0.15418, 0.28673], [1.4382, 3.2692, 1.0273, 1.1120]),
}


def assert_reference_values(name, outputs, kernel):
    _, _, f, c = REFERENCE[name]
    assert_allclose(outputs[:4, 0, 0], f, rtol=0, atol=6e-6)
    assert_allclose(np.einsum("ttpij->t", kernel)[:4], c, rtol=0, atol=6e-5)


def check_reference_values(name):
    """On panels that are just enough."""
    problem, record = one_input(name, *REFERENCE[name][:2]), Record(positions=(1,), samples=[0])
    found = on_panels(problem, Panels(graded(), 6) if problem.model.phi.kinks else Panels.uniform(2, 8), record)
    assert_reference_values(name, found.outputs, found.kernels["feature_kernel"])


@pytest.mark.parametrize("name", REFERENCE)
def test_reference_values(name):
    t = solve(one_input(name, *REFERENCE[name][:2]), tol=1e-6, record=Record(positions=(1,), samples=[0]))
    assert_reference_values(name, t.outputs, t.feature_kernel)


# Linear blocks written as nonlinear ones.


def line(expansion=None):
    return Nonlinearity("line", lambda z: 1.0 * z, lambda z: 0.0 * z + 1.0, (), expansion)


LINES = {"series": line(), "closed": line({Exponential(0): (0.0, 1.0), Exponential(1j): (0.0,)})}


@pytest.mark.parametrize(("alpha", "gamma"), [("1/2", "1/2"), ("3/4", "1/4"), ("1/2", 1)])
@pytest.mark.parametrize(("phi", "name"), [("closed", "batches"), ("closed", "both"), ("closed", "logistic"), ("series", "both")])
def test_the_identity_is_linear(phi, name, alpha, gamma):
    problem = at(CATALOGUE[name], alpha, gamma)
    record = Record(positions=(0, 0.3, 1), kinds=ALL_KINDS[:3])
    same = replace(problem, model=replace(problem.model, nonlinearity=LINES[phi]))
    assert not same.model.phi.linear
    want, got = (solve(p, tol=1e-11, record=record) for p in (problem, same))
    for field in ("outputs", *FIELDS[:3]):
        assert_close(getattr(got, field), getattr(want, field), 1e-10)


def test_responses_of_the_identity_are_linear():
    """Of one sample along one direction: those of x and delta = chi times the state along the only output direction."""
    problem, record = CATALOGUE["single"], Record(positions=(0.2, 0.5, 1), kinds=("response",))
    same = replace(problem, model=replace(problem.model, nonlinearity=LINES["series"]))
    want, got = (solve(p, tol=1e-11, record=record) for p in (problem, same))
    chi = want.outputs[:, 0, 0] - 1
    chi[-1] = 0
    assert_close(got.response[0, ..., 0, 0] * chi[:, None, None], want.response[0, ..., 0, 0], 1e-10)
    assert_close(got.response[1, ..., 0, 0], want.response[1, ..., 0, 0] * chi[:, None, None, None], 1e-10)


# Initialization and the first step, as ODEs of scalars.

TIGHT = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-13}


def two_of(phi):
    """V and V_c of phi, by closed forms of this file's own or by quadrature."""
    if phi.name in DUALS:
        return DUALS[phi.name]
    if phi.homogeneous:
        b, k = (float(phi.phi(np.array(1.0)) + s * phi.phi(np.array(-1.0))) / 2 for s in (1, -1))
        return kinked(b, k)
    return quadrature(phi.phi, phi.derivative, phi.derivative, phi.derivative, spacing=0.12, end=9.0)


def entries(matrix):
    return matrix[np.triu_indices(len(matrix))]


def full(values, size):
    out = np.zeros((size, size))
    out[np.triu_indices(size)] = values
    return out + np.triu(out, 1).T


def initial_kernels(duals, a, C0, chi, positions):
    """dC0/dp = a^2 V(C0) from 0 and -dC1/dp = a^2 V_c(C0) C1 from 1, by scipy."""
    n, rows = len(C0), np.triu_indices(len(C0))

    def dual(values):
        C = full(values, n)
        u = np.diagonal(C)
        return duals(u[rows[0]], u[rows[1]], C[rows])

    x = solve_ivp(lambda p, y: a**2 * dual(y).V, (0, 1), entries(C0), dense_output=True, **TIGHT).sol
    d = solve_ivp(lambda p, y: -(a**2) * dual(x(p)).V_c * y, (1, 0), entries(chi), dense_output=True, **TIGHT).sol
    return (np.array([full(k(p), n) for p in positions]) for k in (x, d))


GROWING = {"exp", "square", "cube", "linear + 0.1*cube"}


@pytest.mark.parametrize("name", [*sorted(set(NAMED) - {"power"}), "sin + cos", "linear + 0.1*cube"])
def test_initial_kernels(name):
    phi = nonlinearity(name)
    a, size = (0.4, 0.7) if name in GROWING else (1.1, 1.0)
    xi, y, positions = size * XI[:2], Y[:2], (0.0, 0.3, 1.0)
    problem = Problem(net(phi, a), DEPTH_MUP, SGD(0.5, steps=1), xi, y)
    t = solve(problem, tol=1e-10, record=Record(positions=positions, kinds=("feature", "gradient"), steps=[0]))
    want = initial_kernels(two_of(phi), a, xi @ xi.T / 2, y @ y.T / 4, positions)
    for got, kernel in zip((t.feature_kernel, t.gradient_kernel), want, strict=True):
        assert_allclose(got[0, 0], kernel, rtol=1e-9, atol=1e-10)


def first_update(problem):
    r"""f_1 of all samples and C0_10, C0_11 at p = 1, derived by hand and integrated by scipy.

    delta_0(q < p) carries the noise dB~_0(p) and is not yet coupled to anything: R0_ij = J_ij = int F_ij + what a trained U
    adds at 0, hence J' = a^2 (J - lr C0_10) V_c(C0_10). x_0 and delta_0 are independent and E delta_j(p) delta_k(q < p) =
    C1_jk(p), so that E delta_0 x_1^T = C1 J^T and

        C0_10' = a^2 V(C0_10),    C0_11' = a^2 V(C0_11) + F C1 J^T + J C1 F^T,    f_1 = J(1) chi - lr_V C0_10(1) chi.
    """
    duals, a2, xi = own_duals(problem), problem.model.multiplier**2, problem.evaluated
    batch, sgd = np.unique(problem.batch(0)), problem.optimizer
    lr, lr_u, lr_v = (sgd.schedule(which)[0] for which in ("lr", "input_lr", "output_lr"))
    P, G = problem.n_samples, xi @ xi.T / problem.d_in
    f0 = np.zeros_like(problem.targets)
    chi = (problem.loss_function.derivative(f0, problem.targets) * problem.batch_share(0)[:, None])[batch]
    n, m = len(xi), len(batch)

    def dual(C, D, E):
        return duals(np.diagonal(C)[:, None], np.diagonal(D)[None, :], E)

    def initial(p, y):
        C = y.reshape(m, m)
        return a2 * dual(C, C, C).V.ravel()

    old = solve_ivp(initial, (0, 1), G[np.ix_(batch, batch)].ravel(), dense_output=True, **TIGHT).sol

    def back(p, y):
        C = old(p).reshape(m, m)
        return -a2 * dual(C, C, C).V_c.ravel() * y

    C1 = solve_ivp(back, (1, 0), (chi @ chi.T).ravel(), dense_output=True, **TIGHT).sol

    def change(p, y):
        C, c, J = (part.reshape(n, -1) for part in np.split(y, [n * n, n * n + n * m]))
        new, between = dual(C, C, C), dual(C, old(p).reshape(m, m), c)
        F = a2 * (J - lr * c) * between.V_c
        mixed = F @ C1(p).reshape(m, m) @ J.T
        return np.concatenate([(a2 * new.V + mixed + mixed.T).ravel(), a2 * between.V.ravel(), F.ravel()])

    J = -lr_u * G[:, batch]
    C = G + J @ C1(0.0).reshape(m, m) @ J.T
    end = solve_ivp(change, (0, 1), np.concatenate([C.ravel(), G[:, batch].ravel(), J.ravel()]), **TIGHT).y[:, -1]
    C, c, J = (part.reshape(n, -1) for part in np.split(end, [n * n, n * n + n * m]))
    assert n >= P
    return (J - lr_v * c) @ chi, c, C


@pytest.mark.parametrize("name", ["waves", "batches", "both", "erf", "cubic", "relu", "abs"])
def test_first_update(name):
    problem = ALL[name]
    f, c, C = first_update(problem)
    t = solve(problem, tol=1e-10, record=Record(positions=(1,), steps=[0, 1]))
    assert_allclose(t.outputs[1], f, rtol=0, atol=2e-9)
    assert_allclose(t.feature_kernel[1, 0, 0][:, np.unique(problem.batch(0))], c, rtol=0, atol=2e-9)
    assert_allclose(t.feature_kernel[1, 1, 0], C, rtol=0, atol=2e-9)


# Resolution and error estimate.


def on_panels(problem, panels, record=NOTHING):
    return nonlinear_level(problem, panels, record, 1, lambda t: None)


def graded(levels=6, ratio=6.0, top=4):
    """Panels that narrow towards p = 0."""
    edges = np.linspace(0, 1, top + 1)
    return np.concatenate([[0.0], edges[1] * ratio ** -np.arange(levels, 0, -1.0), edges[1:]])


@pytest.mark.parametrize("name", ["waves", "batches", "both", "erf", "cubic"])
def test_error_falls_spectrally(name):
    """At least tenfold for two more nodes on each of 2 panels, down to 1e-11."""
    edges = np.linspace(0, 1, 3)
    want = on_panels(SMOOTH[name], Panels.uniform(8, 11)).outputs
    error = [np.abs(on_panels(SMOOTH[name], Panels(edges, order)).outputs - want).max() for order in (3, 5, 7)]
    assert error[0] > 1e-11
    for coarse, fine in pairwise(error):
        assert fine < max(coarse / 10, 1e-11)


@pytest.mark.parametrize("phi", ["relu", "abs", "relu + 0.5*sin"])
def test_error_falls_spectrally_on_graded_panels(phi):
    problem = replace(KINKED["relu"], model=net(phi, 0.9))
    want = on_panels(problem, Panels(graded(top=8), 10)).outputs
    error = [np.abs(on_panels(problem, Panels(graded(), order)).outputs - want).max() for order in (4, 6, 8)]
    assert error[0] > 1e-11
    for coarse, fine in pairwise(error):
        assert fine < max(coarse / 10, 1e-10)


def test_error_falls_to_the_floor_of_series():
    problem = HERMITE["logistic"]
    want = on_panels(problem, Panels.uniform(4, 8)).outputs
    error = [np.abs(on_panels(problem, Panels.uniform(2, order)).outputs - want).max() for order in (3, 5, 7)]
    for coarse, fine in pairwise(error):
        assert fine < max(coarse / 10, 10 * problem.model.phi.accuracy)


def long_run(phi, steps):
    rng = np.random.default_rng(0)
    rng.normal(size=(8, 4))
    x = rng.normal(size=(4, 4))
    return Problem(net(phi), DEPTH_MUP, SGD(0.5, steps), x, np.sin(2 * x[:, :1]) + 0.5 * x[:, 1:2])


@pytest.mark.parametrize("phi", ["relu", "abs"])
def test_long_runs_at_kinks_keep_their_digits(phi):
    """Late in training one sample's features all but coincide from step to step, and curvatures 1/sqrt(uv - c^2) are large.

    With a propagator counted from p = 0 in both passes, round-off grows tenfold a step here: to 1e-6 at step 18.
    """
    problem = long_run(phi, 18)
    panels = Panels(np.concatenate([[0], 0.25 * 6.0 ** -np.arange(7, -1, -1), [0.5, 0.75, 1]]), 5)
    near = replace(problem, inputs=problem.inputs * (1 + 1e-12))
    assert_allclose(on_panels(near, panels).outputs, on_panels(problem, panels).outputs, atol=2e-10)


@pytest.mark.parametrize(("lr", "steps"), [(0.7, 12), pytest.param(0.5, 20, marks=pytest.mark.slow)])
def test_training_that_has_converged_is_resolved(lr, steps):
    """Features of converged steps coincide at every depth."""
    one = Problem(net("abs"), DEPTH_MUP, SGD(lr, steps), [[1.0, 0.5]], [[1.0]])
    answer = solve(one, tol=1e-6, record=Record(kinds=()))
    assert answer.error.max() < 1e-6
    assert abs(answer.outputs[-1, 0, 0] - 1) < 1e-6


@pytest.mark.parametrize("gap", [1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("phi", ["relu", "abs"])
def test_samples_that_nearly_coincide_with_opposite_targets(phi, gap):
    """The two outputs tend to 0 with the gap, as those of equal samples are."""
    near = Problem(net(phi), DEPTH_MUP, SGD(0.5, 4), [[1.0, 0.5], [1.0, 0.5 + gap]], [[1.0], [-1.0]])
    answer = solve(near, tol=1e-6, record=Record(kinds=()))
    assert answer.error.max() < 1e-6
    assert abs(answer.outputs).max() < gap + 1e-6


def test_what_is_infinite_or_explodes_is_said():
    two = ([[1.0, 0.5], [0.2, -1.0]], [[1.0], [-1.0]])
    with pytest.raises(ValueError, match=r"grows like log\(1/p\) .* record it at positions above 0"):
        solve(Problem(net("abs"), DEPTH_MUP, SGD(0.5, 2), *two), record=Record(kinds=("response",)))
    with pytest.raises(UnresolvedError, match="square blocks grow without bound even before training; lower the multiplier"):
        solve(Problem(net("square"), DEPTH_MUP, SGD(0.0, 2), *two))
    with pytest.raises(UnresolvedError, match=r"grow like exp\(0.341 multiplier\^2\) = exp\(66.8\).* at most 12.8"):
        solve(Problem(net("relu", 14.0), DEPTH_MUP, SGD(0.5, 2), *two))


@pytest.mark.slow
@pytest.mark.parametrize("phi", ["relu", "abs"])
def test_long_runs_at_kinks_are_resolved(phi):
    assert solve(long_run(phi, 30), tol=1e-8, record=Record(kinds=())).error.max() < 1e-8


SLOWER = [pytest.param(name, marks=pytest.mark.slow) for name in ("batches", "relu")]


@pytest.mark.parametrize("name", ["both", "erf", "abs", *SLOWER])
def test_error_is_honest(name):
    """The true error is at most three times the stated one, and the tolerance is met, by kernels too."""
    problem = ALL[name]
    fine = Panels(graded(levels=7, top=8), 10) if name in KINKED else Panels.uniform(8, 11)
    record = Record(positions=(0, 0.5, 1), kinds=("feature", "gradient"))
    want = on_panels(problem, fine, record)
    for tol in (1e-2, 1e-5, 1e-8):
        t = solve(problem, tol=tol, record=record)
        true, said = (np.linalg.norm(e, axis=(1, 2)) for e in (t.outputs - want.outputs, t.error))
        assert np.all(true <= 3 * said + 1e-10)
        assert_close(t.outputs, want.outputs, 3 * tol)
        for field in FIELDS[:2]:
            assert_close(getattr(t, field), want.kernels[field], 3 * tol)


# The same problem written in another way: equal at any resolution, so that a coarse one is enough.

HALF, FLOW = ("1/2", "1/2"), ("3/4", "1/4")


def coarsely(problem, record=NOTHING):
    """The limit on a few panels."""
    if problem.parametrization.alpha == Fraction(1, 2):
        panels = Panels(graded(), 4) if problem.model.phi.kinks else Panels.uniform(3, 4)
        return on_panels(problem, panels, record)
    return nonlinear_flow_level(problem, Panels.uniform(3, 4), record, 1, lambda t: None)


def digits(problem):
    """Of what should be equal: kinked phi turn round-off eps of coinciding features into its square root."""
    return 1e-8 if problem.model.phi.kinks else 1e-11


@pytest.mark.parametrize("name", ["waves", "both", "relu"])
@pytest.mark.parametrize("ends", [HALF, FLOW])
def test_invariances(name, ends):
    """Samples in another order, inputs turned in more dimensions."""
    problem = at(ALL[name], *ends)
    same, order = rewritten(problem)
    one, other = coarsely(problem).outputs, coarsely(same).outputs
    order = np.append(order, np.arange(problem.n_samples, one.shape[1]))
    assert_close(other, one[:, order], digits(problem))


@pytest.mark.parametrize("name", ["waves", "relu", "abs"])
@pytest.mark.parametrize("ends", [HALF, FLOW])
def test_a_sample_twice_is_a_sample(name, ends):
    """Two copies with half of its weight, in the data or in the batch."""
    problem = replace(at(ALL[name], *ends), batches=None)
    n = problem.n_samples
    twice = replace(problem, inputs=np.tile(problem.inputs, (2, 1)), targets=np.tile(problem.targets, (2, 1)))
    again = replace(problem, batches=[np.tile(np.arange(n), 2)] * problem.steps)
    want, got = coarsely(problem).outputs, coarsely(twice).outputs
    assert_close(got[:, :n], want[:, :n], digits(problem))
    assert_close(got[:, n : 2 * n], want[:, :n], digits(problem))
    assert_close(got[:, 2 * n :], want[:, n:], digits(problem))
    assert_close(coarsely(again).outputs, want, digits(problem))


@pytest.mark.parametrize("name", ["waves", "both", "relu"])
@pytest.mark.parametrize("ends", [HALF, FLOW])
def test_probes_are_samples_that_are_not_trained(name, ends):
    """A probe that is an input has its output, and influences nothing; a direction of no sample can be added."""
    problem = replace(at(ALL[name], *ends), probes=None)
    alone, n = coarsely(problem).outputs, problem.n_samples
    probes = np.concatenate([problem.inputs, 3 * np.random.default_rng(4).standard_normal((2, problem.d_in))])
    seen = coarsely(replace(problem, probes=probes)).outputs
    assert_close(seen[:, :n], alone, digits(problem))
    assert_close(seen[:, n : 2 * n], alone, digits(problem))


@pytest.mark.parametrize("name", ["waves", "relu"])
def test_many_probes_are_each_of_them(name):
    problem = ALL[name]
    probes = np.random.default_rng(3).standard_normal((200, 2))
    many, few = (coarsely(replace(problem, probes=chosen)).outputs for chosen in (probes, probes[[7, 120, 199]]))
    assert_close(many[:, problem.n_samples :][:, [7, 120, 199]], few[:, problem.n_samples :], digits(problem))


@pytest.mark.parametrize("name", ["batches", "both", "relu"])
@pytest.mark.parametrize("ends", [HALF, FLOW])
def test_a_prefix_is_the_beginning(name, ends):
    problem = at(ALL[name], *ends)
    assert_close(coarsely(problem.prefix(2)).outputs, coarsely(problem).outputs[:3], digits(problem))


RECORDS = (
    Record(positions=(0.123, 0.5)),
    Record(positions=(1, 0.7, 0.123), kinds=ALL_KINDS),
    Record(positions=(0, 0.123), steps=[1, 2], samples=[1], kinds=("feature", "gradient")),
    Record(positions=tuple(np.linspace(0, 1, 21))),
)


@pytest.mark.parametrize("name", ["both", "relu"])
@pytest.mark.parametrize("ends", [HALF, FLOW])
def test_what_is_recorded_moves_nothing(name, ends):
    problem = at(ALL[name], *ends)
    runs = [coarsely(problem, record) for record in RECORDS]
    for run in runs:
        assert_close(run.outputs, runs[0].outputs, digits(problem))
    (one, all_kinds, few, _), tight = (run.kernels for run in runs), digits(problem)
    feature, gradient = all_kinds["feature_kernel"], all_kinds["gradient_kernel"]
    assert_close(one["feature_kernel"][:, :, 0], feature[:, :, 2], tight)
    assert_close(few["feature_kernel"][:, :, 1, 0, 0], feature[1:3, 1:3, 2, 1, 1], tight)
    assert_close(few["gradient_kernel"][:, :, 1, 0, 0], gradient[1:3, 1:3, 2, 1, 1], tight)


def test_positions_do_not_move_the_outputs():
    problem = ALL["both"]
    for record in RECORDS[:2]:
        assert_close(solve(problem, tol=1e-8, record=record).outputs, outputs(problem), 1e-7)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("ends", [HALF, FLOW])
def test_kernels_are_covariances(name, ends):
    problem = at(ALL[name], *ends)
    tol = 10 * reachable(problem)
    t = solve(problem, tol=tol, record=Record(positions=(0, 0.3, 1), kinds=ALL_KINDS[:3]))
    for kernel in (t.feature_kernel, t.gradient_kernel):
        k, _, m, s, _ = kernel.shape
        for matrix in kernel.transpose(2, 0, 3, 1, 4).reshape(m, k * s, k * s):
            assert_close(matrix, matrix.T, 1e-12)
            assert np.linalg.eigvalsh(matrix)[0] > -tol * np.abs(matrix).max(initial=1.0)
    k, s = t.two_depth_kernel.shape[0], t.two_depth_kernel.shape[-1]
    joint = t.two_depth_kernel.transpose(2, 0, 4, 3, 1, 5).reshape(3 * k * s, 3 * k * s)
    assert_close(joint, joint.T, 1e-12)
    assert np.linalg.eigvalsh(joint)[0] > -10 * tol * np.abs(joint).max()
    for m in range(3):
        assert_close(t.two_depth_kernel[:, :, m, m], t.feature_kernel[:, :, m], 1e-12)
    assert not t.gradient_kernel[problem.steps].any()


@pytest.mark.parametrize("ends", [HALF, FLOW])
def test_odd_functions_need_no_mean_subtraction(ends):
    problem = at(SMOOTH["batches"], *ends)
    bare = replace(problem, model=replace(problem.model, mean_subtraction=False))
    assert_close(coarsely(bare).outputs, coarsely(problem).outputs, 1e-12)
    assert_close(outputs(bare), outputs(problem), 1e-9)


def test_responses_are_those_of_samples():
    """In files, tables and in what is refused as too large."""
    pytest.importorskip("xarray")
    problem = replace(SMOOTH["batches"], probes=[[0.3, 0.1]])
    t = solve(problem, tol=1e-4, record=Record(positions=(0.5, 1), samples=[0, 3], kinds=("response",)))
    assert t.response.shape == (2, 4, 4, 2, 2, 2, 2)
    assert t.to_xarray().response.dims[-2:] == ("recorded_sample", "recorded_sample_2")
    many = replace(problem, probes=np.ones((600, 2)))
    with pytest.raises(ValueError, match="more than 1 GB"):
        solve(many, record=Record(kinds=("response",)))


# Extremes.

EVERY = ("sin + cos", "relu", "abs")


@pytest.mark.parametrize("phi", EVERY)
@pytest.mark.parametrize("ends", [HALF, FLOW])
def test_an_input_of_zero_only_takes_weight(phi, ends):
    alone = at(Problem(net(phi), DEPTH_MUP, SGD(0.4, steps=3), [[1.0, 0.5]], [[0.8]]), *ends)
    both = replace(alone, inputs=[[0.0, 0.0], [1.0, 0.5]], targets=[[0.7], [0.8]], optimizer=SGD(0.8, steps=3))
    got = coarsely(both).outputs
    assert_allclose(got[:, 0], 0, rtol=0, atol=1e-12)
    assert_close(got[:, 1], coarsely(alone).outputs[:, 0], digits(alone))


@pytest.mark.parametrize("phi", EVERY)
def test_opposite_inputs(phi):
    problem = Problem(net(phi, 0.8), DEPTH_MUP, SGD(0.7, steps=2), [[1.0, 0.3], [-1.0, -0.3]], [[0.8], [0.5]])
    assert_witnessed(problem, accuracy=2e-3)


@pytest.mark.parametrize("phi", EVERY)
@pytest.mark.parametrize("ends", [HALF, FLOW])
def test_steps_of_rate_zero_change_nothing(phi, ends):
    """Features of several steps then coincide at every depth."""
    few = at(Problem(net(phi), DEPTH_MUP, SGD([0.5, 0.4], steps=2), XI[:2], Y[:2]), *ends)
    more = replace(few, optimizer=SGD([0.0, 0.5, 0.0, 0.0, 0.4], steps=5))
    want, got = coarsely(few).outputs, coarsely(more).outputs
    assert_close(got, want[[0, 0, 1, 1, 1, 2]], digits(few))


@pytest.mark.parametrize("phi", EVERY)
@pytest.mark.parametrize("ends", [HALF, FLOW])
def test_targets_that_are_outputs(phi, ends):
    """Nothing to learn: gradients are exactly zero."""
    problem = at(Problem(net(phi), DEPTH_MUP, SGD(0.7, steps=3), XI[:2], 0 * Y[:2]), *ends)
    t = solve(problem, tol=1e-8, record=Record(positions=(0, 1), kinds=("feature", "gradient")))
    assert_allclose(t.outputs, 0, rtol=0, atol=1e-13)
    assert_allclose(t.gradient_kernel, 0, rtol=0, atol=1e-13)
    assert_close(t.feature_kernel[3, 3], t.feature_kernel[0, 0], 1e-8)


@pytest.mark.parametrize("phi", EVERY)
def test_one_sample_has_nothing_to_learn_yet(phi):
    """Its gradient is exactly zero at the first step, not later."""
    problem = Problem(net(phi, 0.8), DEPTH_MUP, SGD(0.7, steps=2), XI[:2], [[0.0], [0.9]])
    assert_witnessed(problem, accuracy=2e-3)


@pytest.mark.parametrize("phi", ["sin + cos", "relu", "tanh"])
def test_without_updates(phi):
    problem = Problem(net(phi), DEPTH_MUP, SGD(1.0, steps=0), XI, Y)
    t = solve(problem, tol=1e-8, record=Record(kinds=ALL_KINDS))
    assert_array_equal(t.outputs, np.zeros((1, 3, 1)))
    trained = solve(replace(problem, optimizer=SGD(1.0, steps=1)), tol=1e-8)
    assert_close(t.feature_kernel[0, 0], trained.feature_kernel[0, 0], 1e-7)


@pytest.mark.parametrize("phi", ["sin + cos", "relu", "tanh"])
@pytest.mark.parametrize(("alpha", "gamma"), [("1/2", 1), ("3/4", "3/4"), (1, 1)])
def test_frozen_blocks_leave_everything_at_initialization(phi, alpha, gamma):
    problem = at(Problem(net(phi), DEPTH_MUP, SGD(0.9, steps=2), XI, Y), alpha, gamma)
    t = solve(problem, tol=1e-8)
    assert_allclose(t.outputs, 0, rtol=0, atol=1e-12)
    first = t.feature_kernel[0, 0]
    assert_close(t.feature_kernel, np.broadcast_to(first, t.feature_kernel.shape), 1e-8)
    if alpha != "1/2":
        assert_close(first, np.broadcast_to(XI @ XI.T / 2, first.shape), 1e-12)


def first_output(phi, a, lr):
    """f_1 of xi = y = 1 as lr a^2 -> 0: x_1 = x_0, so that J' = a^2 (J - lr C) V_c(C, C, C) and f_1 = -J(1)."""
    duals = DUALS[phi]

    def change(p, y):
        dual = duals(*np.repeat(y[:1], 3).reshape(3, 1))
        return a**2 * np.concatenate([dual.V, (y[1:] - lr * y[:1]) * dual.V_c])

    return -solve_ivp(change, (0, 1), [1.0, 0.0], method="DOP853", rtol=1e-12, atol=1e-30).y[1, -1]


@pytest.mark.parametrize("phi", EVERY)
@pytest.mark.parametrize(("a", "lr"), [(1e-3, 1.0), (1.0, 1e-6), (1e-4, 10.0)])
def test_small_updates_are_accurate_relative_to_themselves(phi, a, lr):
    f = first_output(phi, a, lr)
    problem = Problem(net(phi, a), DEPTH_MUP, SGD(lr, steps=2), [[1.0]], [[1.0]])
    got = outputs(problem)
    assert 0 < f < 1e-5
    assert_allclose(got[:, 0, 0], [0, f, 2 * f], rtol=1e-5, atol=0)


def wild(phi, a, lr, ends=HALF, **more):
    return at(Problem(net(phi, a), DEPTH_MUP, SGD(lr, steps=3), XI[:2], Y[:2], **more), *ends)


SAID = (UnresolvedError, DivergedError, ToleranceWarning, ValueError)


def right_or_said(problem, tol=1e-4):
    """A sentence, or an answer that other panels confirm; -> whether there was an answer."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ToleranceWarning)
        try:
            got = solve(problem, tol=tol, record=NOTHING).outputs
            other = solve(problem, tol=tol / 100, record=Record(positions=(0.31, 0.77), samples=[0], steps=[0])).outputs
        except SAID:
            return False
    assert_close(got, other, 3 * tol)
    return True


@pytest.mark.parametrize(
    ("phi", "ends"), [("sin + cos", HALF), ("relu", FLOW), pytest.param("relu", HALF, marks=pytest.mark.slow)]
)
def test_large_rates_and_multipliers_are_resolved(phi, ends):
    assert right_or_said(wild(phi, 1.0, 5.0, ends))
    assert right_or_said(wild(phi, 1e-3, 1.0, ends))
    assert right_or_said(wild(phi, 2.0, 0.1, ends))


@pytest.mark.slow
@pytest.mark.parametrize("ends", [HALF, FLOW])
@pytest.mark.parametrize("phi", ["sin + cos", "relu", "abs", "exp", "cube"])
def test_wild_problems_are_right_or_said(phi, ends):
    for a, lr in ((3, 0.1), (8, 1.0), (1, 5.0), (1, 50.0), (0.1, 1e6)):
        right_or_said(wild(phi, a, lr, ends))


def test_what_explodes_is_said():
    """Kernels of exp blow up at a finite depth: u' = a^2 e^u (e^u - 1)."""
    with pytest.raises(ArithmeticError, match="could not be resolved"):
        solve(wild("exp", 1.5, 0.5))


@pytest.mark.parametrize(("exponents", "lr"), [((Fraction(1, 4), 1), 0.5), ((Fraction(1, 2), 0), 0.5), (HALF, 1e300)])
def test_nonlinear_blocks_are_not_sent_to_recurse(exponents, lr):
    with pytest.raises((ValueError, ArithmeticError), match="or use recurse or simulate at a finite number of blocks"):
        solve(wild("relu", 1.0, lr, exponents))


def test_functions_without_expectations_are_named_as_the_cause():
    cusp = Nonlinearity("mine", lambda z: abs(z) ** 1.5, lambda z: 1.5 * np.sign(z) * abs(z) ** 0.5, (0.0,))
    with pytest.raises(ValueError, match="phi'' must be finite"):
        solve(wild(cusp, 1.0, 0.5))


def test_a_function_that_a_file_does_not_hold_is_asked_for(tmp_path):
    mine = Nonlinearity("mine", np.arctan, lambda z: 1 / (1 + z * z))
    run = solve(Problem(net(mine), DEPTH_MUP, SGD(0.5, steps=1), [[1.0]], [[1.0]]), tol=1e-4)
    with pytest.raises(ValueError, match="a file holds only its name: pose the problem again"):
        solve(Trajectory.load(run.save(tmp_path / "run.npz")).problem)
