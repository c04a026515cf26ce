"""Rung 3 against closed forms, hand-derived ODEs, rung 2 at growing depth, and finer resolutions of itself."""

import math
import sys
import warnings
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from conftest import CATALOGUE, XI, Y2, Y, at, rewritten
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad, solve_ivp

from limits import NoLimitError, Record, ToleranceWarning, recurse, solve
from limits.deep.gaussian import linear_level
from limits.directions import trained_directions
from limits.optimizers import SGD
from limits.panels import Panels
from limits.parametrization import DEPTH_MUP, Parametrization
from limits.problem import Problem, ResNet

NOTHING = Record(kinds=())
ALL_KINDS = ("feature", "gradient", "two_depth", "response")


def assert_close(actual, desired, digits):
    """Agreement relative to the largest entry (at least 1)."""
    assert_allclose(actual, desired, rtol=0, atol=digits * np.abs(desired).max(initial=1.0))


def one_input(a=1.0, lr=1.0, y=1.0, steps=4):
    return Problem(ResNet(multiplier=a), DEPTH_MUP, SGD(lr, steps=steps), [[1.0]], [[y]])


def on_panels(problem, panels, order, record=NOTHING):
    """The limit at alpha = 1/2 at a forced resolution."""
    return linear_level(problem, Panels.uniform(panels, order), record, True, lambda t: None)


def much_finer(problem, order=10):
    """The limit on panels graded towards both ends, where layers form, and on a second set of them to be sure."""
    layers = 0.125 * 0.5 ** np.arange(1, 12)
    edges = np.sort(np.concatenate([layers, 1 - layers, np.linspace(0, 1, 9)]))
    first, second = (linear_level(problem, Panels(edges, q), NOTHING, True, lambda t: None).outputs for q in (order - 2, order))
    return second, np.linalg.norm(first - second, axis=(1, 2))


def outputs(problem, tol=1e-12):
    return solve(problem, tol=tol, record=NOTHING).outputs


# Numbers and closed forms.


def test_reference_values():
    t = solve(CATALOGUE["single"], tol=1e-12, record=Record(positions=(1,)))
    want = [0, math.e, 0.055553275134, 0.357470759038, 0.790873939402]
    assert_allclose(t.outputs[:, 0, 0], want, rtol=0, atol=2e-12)
    assert_allclose(t.feature_kernel[1, 1, 0, 0, 0], 15.033375326677, rtol=0, atol=2e-11)


def test_reference_values_with_a_multiplier():
    f = outputs(one_input(a=0.6, lr=0.7))
    assert_allclose(f[:4, 0, 0], [0, 0.361199, 0.619826, 0.807767], rtol=0, atol=5e-7)


@pytest.mark.parametrize("a", [0.5, 1.0, 1.7])
def test_initial_kernels(a):
    p = np.linspace(0, 1, 9)
    problem = Problem(ResNet(multiplier=a), DEPTH_MUP, SGD(0.1, steps=1), XI, Y2)
    t = solve(problem, tol=1e-12, record=Record(positions=tuple(p), kinds=("feature", "gradient", "two_depth")))
    chi, g, rise = -Y2 / 3, XI @ XI.T / 2, np.exp(a**2 * p)[:, None, None]
    assert_allclose(t.feature_kernel[0, 0], rise * g, rtol=2e-12, atol=1e-13)
    assert_allclose(t.feature_kernel[1, 0], rise * g, rtol=2e-12, atol=1e-13)  # as long as V is frozen
    assert_allclose(t.gradient_kernel[0, 0], rise[::-1] * (chi @ chi.T), rtol=2e-12, atol=1e-13)
    first = np.minimum(p[:, None], p)[..., None, None]  # increments are independent: E x(p) x(q) = C0(min)
    assert_allclose(t.two_depth_kernel[0, 0], np.exp(a**2 * first) * g, rtol=2e-12, atol=1e-13)


@pytest.mark.parametrize(("a", "lr", "y"), [(1.0, 1.0, 1.0), (0.7, 1.3, -0.8), (1.3, 0.4, 0.5)])
def test_kernels_after_one_update(a, lr, y):
    r"""C0_11 and C1_11 in closed form for xi = 1.

    x_1 = u + a B_1 + int F delta_0 with F = J', J' = a^2 (J - lr e^(a^2 p)): J = -a^2 lr p e^(a^2 p). E delta_0(p) delta_0(q)
    is chi_0^2 e^(a^2 (1 - max)), so C' = a^2 C + 2 F J chi_0^2 e^(a^2 (1-p)), C = e^(a^2 p) [1 + c (p^2 + 2 a^2 p^3 / 3)]
    with c = (a^2 lr chi_0)^2 e^(a^2). The mirror image holds for delta_1 with K = chi_1 chi_0 J(1 - p).
    """
    p = np.linspace(0, 1, 7)
    t = solve(one_input(a, lr, y, steps=2), tol=1e-12, record=Record(positions=tuple(p), kinds=("feature", "gradient")))
    chi_0, chi_1 = -y, t.outputs[1, 0, 0] - y
    c = (a**2 * lr * chi_0) ** 2 * np.exp(a**2)
    want = np.exp(a**2 * p) * (1 + c * (p**2 + 2 * a**2 * p**3 / 3))
    assert_allclose(t.feature_kernel[1, 1, :, 0, 0], want, rtol=1e-12, atol=0)
    want = chi_1**2 * (np.exp(a**2 * p) * (1 + c * (p**2 + 2 * a**2 * p**3 / 3)))[::-1]
    assert_allclose(t.gradient_kernel[1, 1, :, 0, 0], want, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["single", "inputs", "batches", "schedule", "momentum", "both", "output", "input"])
def test_first_update(name):
    r"""f_1 = (a^2 lr + lr_U + lr_V) e^(a^2) sum_j y_j xi_j.xi / (d_in B) for the squared error.

    f_0 = 0, so chi_0 = -y/B. J' = a^2 (J - lr C0_10), J(0) = -lr_U G and C0_10 = e^(a^2 p) G give
    J(1) = -(lr_U + a^2 lr) e^(a^2) G; the trained read-out adds -lr_V chi_0 C0_10(1).
    """
    problem = CATALOGUE[name]
    sgd, a2 = problem.optimizer, problem.model.multiplier**2
    rate = a2 * sgd.schedule()[0] + sgd.schedule("input_lr")[0] + sgd.schedule("output_lr")[0]
    batch = problem.batch(0)
    want = rate * np.exp(a2) * problem.evaluated @ problem.inputs[batch].T @ problem.targets[batch] / problem.d_in / len(batch)
    assert_allclose(outputs(problem)[1], want, rtol=2e-12, atol=1e-13)


def second_update(a, lr, y0, y1):
    r"""f_1, f_2 and C0_20, C0_21, C0_22 at 1 for xi = 1, derived by hand and integrated by scipy.

    x_2 = u + a B_2 + int (F_20 delta_0 + F_21 delta_1), delta_1 = chi_1 v + a (noise) + int_p^1 H x_0, J_2s = int F_2s.
    The noise of delta_s reaches x_2(p) through delta_s(q < p) only: R_2s = J_2s, so J_2s' = a^2 (J_2s - lr C_2s).
    delta_1(q < p) sees a dB_0(p) through K(p) = int_p^1 H, so x_2(p) knows it in advance:
    E x_2 a dB_j = a^2 J_21 K C_0j dp. Products with delta follow from E delta_s(q) delta_0(p) = C1_s0(p) for q < p.
    """
    a2 = a**2
    f1 = a2 * lr * np.exp(a2) * y0
    chi_0, chi_1 = -y0, f1 - y1

    def K(p):
        return -a2 * lr * chi_1 * chi_0 * (1 - p) * np.exp(a2 * (1 - p))

    def H(p):  # -K'
        return -a2 * lr * chi_1 * chi_0 * (1 + a2 * (1 - p)) * np.exp(a2 * (1 - p))

    def noise_tail(p):  # variance of chi_1 v + a (noise of delta_1 beyond p): chi_1^2 + a^2 int_p^1 C1_11
        c = (a2 * lr * chi_0) ** 2 * np.exp(a2)
        r = 1 - p
        inside = quad(lambda s: np.exp(a2 * s) * (1 + c * (s**2 + 2 * a2 * s**3 / 3)), 0, r, epsabs=1e-14, epsrel=1e-13)[0]
        return chi_1**2 * (1 + a2 * inside)

    def ahead(p):  # int_p^1 H(q) int_p^q a^2 K e^(a^2 r) dr dq = int_p^1 a^2 K^2 e^(a^2 r) dr
        return quad(lambda r: a2 * K(r) ** 2 * np.exp(a2 * r), p, 1, epsabs=1e-14, epsrel=1e-13)[0]

    def change(p, state):
        c20, c21, c22, c11, j10, j20, j21 = state
        e, back = np.exp(a2 * p), np.exp(a2 * (1 - p))
        c1_00, c1_10 = chi_0**2 * back, chi_1 * chi_0 * back
        f10, f20, f21 = a2 * (j10 - lr * e), a2 * (j20 - lr * c20), a2 * (j21 - lr * c21)
        d0_x1, d0_x2 = j10 * c1_00, j20 * c1_00 + j21 * c1_10
        d1_x0 = K(p) * e
        d1_x1 = K(p) * e + j10 * c1_10
        d1_x2 = j20 * c1_10 + j21 * noise_tail(p) + K(p) * c20 + j21 * ahead(p)
        foreseen = a2 * j21 * K(p)
        return [
            a2 * c20 + f21 * d1_x0 + foreseen * e,
            a2 * c21 + f20 * d0_x1 + f21 * d1_x1 + f10 * d0_x2 + foreseen * e,
            a2 * c22 + 2 * f20 * d0_x2 + 2 * f21 * d1_x2 + 2 * foreseen * c20,
            a2 * c11 + 2 * f10 * d0_x1,
            f10,
            f20,
            f21,
        ]

    end = solve_ivp(change, (0, 1), [1, 1, 1, 1, 0, 0, 0], method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
    return f1, chi_0 * end[5] + chi_1 * end[6], end[:3]


@pytest.mark.parametrize(("a", "lr", "y"), [(1.0, 1.0, (1.0, 1.0)), (0.8, 0.9, (1.0, -0.5)), (1.2, 0.5, (-0.7, 0.4))])
def test_second_update_two_ways(a, lr, y):
    f1, f2, (c20, c21, c22) = second_update(a, lr, *y)
    problem = Problem(ResNet(multiplier=a), DEPTH_MUP, SGD(lr, steps=2), [[1.0], [1.0]], [[y[0]], [y[1]]], batches=[[0], [1]])
    t = solve(problem, tol=1e-12, record=Record(positions=(1,)))
    assert_allclose(t.outputs[:, 0, 0], [0, f1, f2], rtol=1e-10, atol=1e-10)
    kernel = t.feature_kernel[2, :, 0, 0, 0]
    assert_allclose(kernel, [c20, c21, c22], rtol=1e-10, atol=1e-10)


# Rung 2 at growing depth.


def wide_errors(problem, depths, want):
    return [np.linalg.norm(recurse(problem, blocks=L, record=NOTHING).outputs - want) for L in depths]


def slope(depths, errors):
    return np.polyfit(np.log(depths), np.log(errors), 1)[0]


def extrapolate(values, ratio, powers):
    """Richardson: remove error terms L^-power one after the other, from depths in geometric progression."""
    values = list(values)
    for power in powers[: len(values) - 1]:
        r = ratio**power
        values = [(r * b - a) / (r - 1) for a, b in pairwise(values)]
    return values[0]


@pytest.mark.parametrize("name", ["single", "inputs"])
def test_wide_approaches_deep_at_order_one_in_depth(name):
    problem, depths = CATALOGUE[name], [64, 128, 256, 512]
    assert abs(slope(depths, wide_errors(problem, depths, outputs(problem))) + 1) < 0.05


@pytest.mark.slow
def test_wide_approaches_deep_at_order_one_in_large_depth(problem):
    depths = [128, 256, 512, 1024, 2048]
    assert abs(slope(depths, wide_errors(problem, depths, outputs(problem))) + 1) < 0.05


def test_wide_extrapolates_to_deep(problem):
    """Five depths 8 … 128 and four error terms: within 1e-4 of the error at L = 128 for most, 1e-3 for all."""
    depths, want = [8, 16, 32, 64, 128], outputs(problem)
    runs = [recurse(problem, blocks=L, record=NOTHING).outputs for L in depths]
    raw = np.abs(runs[-1] - want).max()
    assert raw > 1e-3
    assert np.abs(extrapolate(runs, 2, [1, 2, 3, 4]) - want).max() < 5e-3 * raw


@pytest.mark.parametrize("name", ["inputs", "batches", "both"])
def test_wide_kernels_extrapolate_to_deep(name):
    record = Record(positions=(0, 0.25, 0.75, 1), kinds=ALL_KINDS)
    depths, want = [8, 16, 32, 64], solve(CATALOGUE[name], tol=1e-12, record=record)
    runs = [recurse(CATALOGUE[name], blocks=L, record=record) for L in depths]
    for field in ("feature_kernel", "gradient_kernel", "two_depth_kernel", "response"):
        raw = np.abs(getattr(runs[-1], field) - getattr(want, field)).max()
        best = np.abs(extrapolate([getattr(r, field) for r in runs], 2, [1, 2, 3]) - getattr(want, field)).max()
        assert raw > 1e-3
        assert best < 0.05 * raw


# Resolution and error estimate.


def random_problem(seed):
    rng = np.random.default_rng([7, seed])
    P, T = 4, 8
    sgd = SGD(
        lr=rng.uniform(0.1, 0.6, T),
        steps=T,
        input_lr=float(rng.choice([0, 0.3])),
        output_lr=float(rng.choice([0, 0.2])),
        momentum=float(rng.choice([0, 0.5])),
    )
    batches = [rng.integers(0, P, rng.integers(1, 4)) for _ in range(T)]
    model = ResNet(multiplier=float(rng.uniform(0.5, 1.1)))
    x, y, probes = rng.standard_normal((P, 2)), rng.standard_normal((P, 2)), rng.standard_normal((1, 2))
    return Problem(model, DEPTH_MUP, sgd, x, y, batches=batches, probes=probes)


@pytest.mark.parametrize("seed", range(2))
def test_error_is_honest(seed):
    """Normwise for every step: at most 10 times the true error, never less than a third of it, above round-off."""
    problem = random_problem(seed)
    want, unsure = much_finer(problem)
    size = max(1.0, np.abs(want).max())
    floor = 3e-14 * size + 3 * unsure
    assert unsure.max() < 1e-8 * size
    for tol in (1e-3, 1e-6, 1e-10):
        t = solve(problem, tol=tol, record=NOTHING)
        true, said = (np.linalg.norm(e, axis=(1, 2)) for e in (t.outputs - want, t.error))
        assert np.all(said <= 10 * true + floor)
        assert np.all(true <= 3 * said + floor)
        assert np.abs(t.outputs - want).max() <= 3 * tol * size
        assert t.error.shape == t.outputs.shape


@pytest.mark.slow
@pytest.mark.parametrize("seed", sorted({*range(2, 20)} - {5}))  # 5 all but explodes: minutes
def test_error_is_honest_on_more_problems(seed):
    test_error_is_honest(seed)


STRONG = {
    "layer at p = 1": Problem(
        ResNet(multiplier=0.87), DEPTH_MUP, SGD(3.1, steps=3, input_lr=0.5, output_lr=0.5), [[1.4]], [[0.3, 0.5]]
    ),
    "two coarse levels agree": Problem(
        ResNet(multiplier=1.5), DEPTH_MUP, SGD(2.4, steps=2, output_lr=0.5, momentum=0.6), [[-0.9], [0.8]], [[0.9], [-0.7]]
    ),
    "large rate": one_input(lr=4.6, y=1.2, steps=3),
}


def strong_problem(seed):
    """Large rates and multipliers; half of them explode, some beyond any resolution."""
    rng = np.random.default_rng([11, seed])
    P, d_in, d_out = rng.integers(1, 4), rng.integers(1, 3), rng.integers(1, 3)
    sgd = SGD(
        float(np.exp(rng.uniform(np.log(0.3), np.log(5)))),
        steps=int(rng.integers(2, 5)),
        input_lr=float(rng.choice([0, 0.5])),
        output_lr=float(rng.choice([0, 0.5])),
        momentum=float(rng.choice([0, 0.6])),
    )
    model = ResNet(multiplier=float(rng.uniform(0.4, 1.3)))
    return Problem(model, DEPTH_MUP, sgd, rng.standard_normal((P, d_in)), rng.standard_normal((P, d_out)))


def assert_met_tolerances_are_met(problem):
    """Whatever is returned without a warning is within 3 tol; a result that misses it comes with a ToleranceWarning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ToleranceWarning)
        try:
            want = solve(problem, tol=1e-10, record=NOTHING).outputs
        except (ToleranceWarning, ArithmeticError):
            return False
        for tol in (1e-1, 1e-2, 1e-3, 1e-4, 1e-6):
            t = solve(problem, tol=tol, record=NOTHING)
            assert_close(t.outputs, want, 3 * tol)
            true, said = (np.linalg.norm(e, axis=(1, 2)) for e in (t.outputs - want, t.error))
            worst = true.argmax()
            assert true[worst] <= 3 * said[worst] + 1e-9 * np.abs(want).max()
    return True


@pytest.mark.parametrize("name", STRONG)
def test_a_tolerance_is_not_met_by_chance(name):
    assert assert_met_tolerances_are_met(STRONG[name])


@pytest.mark.slow
def test_tolerances_are_not_met_by_chance():
    resolved = sum(assert_met_tolerances_are_met(strong_problem(seed)) for seed in range(12))
    assert resolved >= 6


def test_error_falls_spectrally(problem):
    """At least tenfold for two more nodes on each of 4 panels, down to 1e-11."""
    want = on_panels(problem, 8, 12).outputs
    error = [np.abs(on_panels(problem, 4, order).outputs - want).max() for order in (3, 5, 7)]
    assert error[0] > 1e-11
    for coarse, fine in pairwise(error):
        assert fine < max(coarse / 10, 1e-12)


@pytest.mark.parametrize("tol", [1e-2, 1e-5, 1e-8, 1e-11])
def test_tolerance_holds_for_kernels_too(tol):
    problem = CATALOGUE["logistic"]
    record = Record(positions=(0, 0.5, 1), kinds=("feature", "gradient"))
    want = on_panels(problem, 16, 9, record)
    got = solve(problem, tol=tol, record=record)
    for name in ("feature_kernel", "gradient_kernel"):
        assert_close(getattr(got, name), want.kernels[name], 3 * tol)


def test_positions_do_not_move_the_outputs():
    problem = CATALOGUE["both"]
    one = solve(problem, tol=1e-10, record=Record(positions=(0.123, 0.5)))
    assert_close(one.outputs, outputs(problem), 1e-10)
    other = solve(problem, tol=1e-10, record=Record(positions=(1, 0.7, 0.123)))
    assert_close(one.feature_kernel[:, :, 0], other.feature_kernel[:, :, 2], 1e-9)


@pytest.mark.slow
def test_large_learning_rates_are_resolved():
    """At lr = 3 one sample explodes at L = 64 and is fine at L = infinity."""
    problem = one_input(lr=3.0)
    t = solve(problem, tol=1e-8, record=NOTHING)
    assert_close(t.outputs, on_panels(problem, 48, 8).outputs, 1e-7)
    error = wide_errors(problem, [512, 1024, 2048], t.outputs)
    assert error[2] < 0.6 * error[1] < 0.36 * error[0]


def test_a_tolerance_out_of_reach_is_said(monkeypatch):
    """With at most 24 nodes."""
    problem = Problem(ResNet(multiplier=1.1), DEPTH_MUP, SGD(1.2, steps=4), [[1.0]], [[1.5]])
    want = outputs(problem)
    monkeypatch.setattr(sys.modules["limits.deep.solve"], "MOST_NODES", 24)
    with pytest.warns(ToleranceWarning, match="tol = 1e-13 was not met: the estimated error is .* see Trajectory.error"):
        t = solve(problem, tol=1e-13, record=NOTHING)
    assert t.meta["estimated_error"] > 1e-13
    true, said = np.abs(t.outputs - want).max(), t.error.max()
    assert true / 3 < said < 10 * true


@pytest.mark.parametrize("tol", [0.0, -1e-8, 1.0, 1e-20, float("nan"), float("inf")])
def test_tolerances_must_make_sense(tol):
    with pytest.raises(ValueError, match="tol must be"):
        solve(CATALOGUE["single"], tol=tol)


# alpha > 1/2: a flow.


def flow_outputs(problem):
    """-> f: the ODE dX/dp = -a^2 (sum of w D M X^T) X of kets in span(U, V), by scipy, written from derivation D6."""
    c, sgd = trained_directions(problem).coordinates, problem.optimizer
    r, d, a2 = c.shape[1], problem.d_out, problem.model.multiplier**2
    moving = problem.parametrization.alpha + problem.parametrization.gamma == 1
    axes, tight = np.eye(r + d), {"method": "DOP853", "rtol": 1e-11, "atol": 1e-12, "dense_output": True}
    X, D, M, f = [], [], [], []
    for t in range(problem.steps + 1):

        def generator(p, t=t):
            if not moving:
                return np.zeros((r + d, r + d))
            w = sgd.weights(t)
            return a2 * sum((w[s] * D[s](p) @ M[s] @ X[s](p).T for s in range(t)), np.zeros((r + d, r + d)))

        start = axes[:, :r] - sum((w * D[s](0.0) @ M[s] for s, w in enumerate(sgd.weights(t, "input_lr"))), np.zeros((r + d, r)))
        end = axes[:, r:] - sum((w * X[s](1.0) @ M[s].T for s, w in enumerate(sgd.weights(t, "output_lr"))), np.zeros((r + d, d)))
        x = solve_ivp(lambda p, x, g=generator: -(g(p) @ x.reshape(-1, r)).ravel(), (0, 1), start.ravel(), **tight).sol
        delta = solve_ivp(lambda p, y, g=generator: (g(p).T @ y.reshape(-1, d)).ravel(), (1, 0), end.ravel(), **tight).sol
        X.append(lambda p, x=x: x(p).reshape(-1, r))
        D.append(lambda p, y=delta: y(p).reshape(-1, d))
        f.append(c @ (end.T @ X[t](1.0)).T)
        if t < problem.steps:
            n = problem.n_samples
            chi = problem.loss_function.derivative(f[t][:n], problem.targets) * problem.batch_share(t)[:, None]
            M.append(chi.T @ c[:n])
    return np.array(f)


@pytest.mark.parametrize(("alpha", "gamma"), [("3/4", "1/4"), (1, 0), (1, 1)])
@pytest.mark.parametrize("name", ["batches", "both", "logistic"])
def test_flow_two_ways(name, alpha, gamma):
    problem = at(CATALOGUE[name], alpha, gamma)
    assert_close(outputs(problem), flow_outputs(problem), 1e-9)


def test_flow_is_the_same_on_the_whole_line(problem):
    assert_array_equal(outputs(at(problem, "3/4", "1/4")), outputs(at(problem, 1, 0)))
    assert_array_equal(outputs(at(problem, "2/3", "1/3")), outputs(at(problem, 1, 0)))


@pytest.mark.parametrize(("alpha", "gamma"), [(1, 0), (1, 1)])
def test_wide_extrapolates_to_the_flow(problem, alpha, gamma):
    problem = at(problem, alpha, gamma)
    want = outputs(problem)
    runs = [recurse(problem, blocks=L, record=NOTHING).outputs for L in (8, 16, 32, 64)]
    raw = np.abs(runs[-1] - want).max()
    assert raw > 1e-3
    assert np.abs(extrapolate(runs, 2, [1, 2, 3]) - want).max() < 5e-3 * raw


@pytest.mark.parametrize("name", ["inputs", "both"])
def test_wide_kernels_extrapolate_to_the_flow(name):
    record = Record(positions=(0, 0.25, 0.75, 1), kinds=("feature", "gradient", "two_depth"))
    problem = at(CATALOGUE[name], 1, 0)
    want = solve(problem, tol=1e-12, record=record)
    runs = [recurse(problem, blocks=L, record=record) for L in (8, 16, 32, 64)]
    for field in ("feature_kernel", "gradient_kernel", "two_depth_kernel"):
        best = extrapolate([getattr(r, field) for r in runs], 2, [1, 2, 3])
        assert_close(best, getattr(want, field), 3e-5)


@pytest.mark.parametrize(
    ("alpha", "gamma", "rate", "within"), [("3/4", "1/4", -0.5, 0.05), (1, 0, -1, 0.05), ("5/8", "3/8", -0.25, 0.05)]
)
@pytest.mark.parametrize("name", ["inputs", "both"])
def test_rate_towards_the_flow(name, alpha, gamma, rate, within):
    """The larger of L^(1 - 2 alpha) and L^(-2 (1 - alpha)); for linear blocks at alpha = 1 it is 1/L."""
    problem, depths = at(CATALOGUE[name].prefix(2), alpha, gamma), [128, 512]
    assert abs(slope(depths, wide_errors(problem, depths, outputs(problem))) - rate) < within


@pytest.mark.parametrize(("alpha", "gamma", "rate"), [("1/2", 1, -0.5), ("3/4", "1/2", -0.25), (1, 1, -1)])
def test_rate_towards_the_frozen_limit(alpha, gamma, rate):
    """Updates die like L^(1 - alpha - gamma)."""
    problem, depths = at(CATALOGUE["inputs"].prefix(2), alpha, gamma), [128, 512]
    assert abs(slope(depths, wide_errors(problem, depths, outputs(problem))) - rate) < 0.05


@pytest.mark.parametrize(("alpha", "gamma"), [("1/2", 1), ("3/4", "3/4"), (2, 1)])
def test_frozen_blocks_leave_everything_at_initialization(alpha, gamma):
    problem = at(CATALOGUE["batches"], alpha, gamma)
    t = solve(problem, tol=1e-10)
    assert_array_equal(t.outputs, np.zeros_like(t.outputs))
    rise = np.exp(problem.model.multiplier**2 * t.positions) if alpha == "1/2" else np.ones(5)
    want = rise[:, None, None] * (problem.evaluated @ problem.evaluated.T / 2)
    assert_close(t.feature_kernel, np.broadcast_to(want, t.feature_kernel.shape), 1e-10)


def test_frozen_blocks_with_trained_ends_are_a_two_layer_network():
    """At alpha > 1/2, f = D^T X c with X <- X - lr_U D M and D <- D - lr_V X M^T in span(U, V)."""
    problem = at(replace(CATALOGUE["both"], optimizer=SGD(9.9, steps=4, input_lr=0.3, output_lr=0.2)), 1, 1)
    c = trained_directions(problem).coordinates
    r, d = c.shape[1], problem.d_out
    X, D, f = np.eye(r + d)[:, :r], np.eye(r + d)[:, r:], []
    for t in range(5):
        f.append(c @ X.T @ D)
        if t < 4:
            chi = (f[t][:2] - problem.targets) * problem.batch_share(t)[:, None]
            M = chi.T @ c[:2]
            X, D = X - 0.3 * D @ M, D - 0.2 * X @ M.T
    assert np.abs(f[-1]).max() > 0.1
    assert_close(outputs(problem), np.array(f), 1e-12)


def test_frozen_blocks_with_trained_ends_at_one_half():
    """f_1 = (lr_U + lr_V) e^(a^2) sum_j y_j xi_j.xi / (d_in B), as if the blocks' rate were zero."""
    frozen = at(CATALOGUE["both"], "1/2", "3/4")
    sgd = replace(frozen.optimizer, lr=0.0)
    assert_close(outputs(frozen), outputs(replace(CATALOGUE["both"], optimizer=sgd)), 1e-11)
    a2 = frozen.model.multiplier**2
    want = 0.5 * np.exp(a2) * frozen.evaluated @ frozen.inputs[0] / 3
    assert_allclose(outputs(frozen)[1], want[:, None] * frozen.targets[0], rtol=1e-12, atol=1e-14)


# No limit.


@pytest.mark.parametrize(
    ("alpha", "gamma", "said"),
    [
        ("1/4", "3/4", r"1/2 - alpha = 1/4 > 0.*exp\(a\^2 L\^\(1/2\)\).*raise alpha to 1/2"),
        (0, 0, r"1/2 - alpha = 1/2 > 0"),
        ("1/2", "1/4", r"alpha \+ gamma = 3/4 < 1: updates add up to L\^\(1/4\).*raise gamma to 1/2"),
        ("3/4", 0, r"alpha \+ gamma = 3/4 < 1.*raise gamma to 1/4"),
    ],
)
def test_no_limit_is_said(alpha, gamma, said):
    with pytest.raises(NoLimitError, match=said) as caught:
        solve(at(CATALOGUE["single"], alpha, gamma))
    regime = caught.value.regime
    assert not (regime.stable_at_initialization and regime.stable_during_training)
    assert regime.parametrization.alpha == Fraction(alpha)


def test_layers_that_only_explode_together_are_said():
    problem = Problem(ResNet("tanh", 2, form="mlp"), Parametrization("5/4", "-1/4"), SGD(0.1, 2), [[1.0]], [[1.0]])
    with pytest.raises(
        NoLimitError, match=r"^1 - alpha - 2\*gamma = 1/4 > 0: joint updates of 2 layers add up to L\^\(1/4\) \[D6.1\]"
    ):
        solve(problem)


# The same problem written in another way.


@pytest.mark.parametrize(("alpha", "gamma"), [("1/2", "1/2"), ("3/4", "1/4")])
def test_invariances(problem, alpha, gamma):
    problem = at(problem, alpha, gamma)
    same, order = rewritten(problem)
    one, other = outputs(problem, 1e-11), outputs(same, 1e-11)
    order = np.append(order, np.arange(problem.n_samples, one.shape[1]))
    assert_close(other, one[:, order], 1e-10)


def test_probes_never_influence_training():
    problem = replace(CATALOGUE["inputs"], probes=None)
    alone = outputs(problem)
    probes = np.concatenate([problem.inputs, [[30.0, -40.0], [-60.0, 80.0]]])
    seen = outputs(replace(problem, probes=probes))
    assert_close(seen[:, :3], alone, 1e-11)
    assert_close(seen[:, 3:6], alone, 1e-11)
    assert_close(seen[:, 7], -2 * seen[:, 6], 1e-11)


def test_a_prefix_is_the_beginning(problem):
    assert_close(outputs(problem.prefix(2)), outputs(problem)[:3], 1e-11)


def test_kernels_are_covariances(problem):
    t = solve(problem, tol=1e-10, record=Record(positions=(0, 0.3, 1), kinds=("feature", "gradient", "two_depth")))
    for kernel in (t.feature_kernel, t.gradient_kernel):
        k, _, m, s, _ = kernel.shape
        for matrix in kernel.transpose(2, 0, 3, 1, 4).reshape(m, k * s, k * s):
            assert_close(matrix, matrix.T, 1e-9)
            assert np.linalg.eigvalsh(matrix)[0] > -1e-9 * np.abs(matrix).max(initial=1.0)
    joint = t.two_depth_kernel
    k, s = joint.shape[0], joint.shape[-1]
    joint = joint.transpose(2, 0, 4, 3, 1, 5).reshape(3 * k * s, 3 * k * s)
    assert_close(joint, joint.T, 1e-9)
    assert np.linalg.eigvalsh(joint)[0] > -1e-9 * np.abs(joint).max()
    for m in range(3):
        assert_close(t.two_depth_kernel[:, :, m, m], t.feature_kernel[:, :, m], 1e-9)
    assert not t.gradient_kernel[problem.steps].any()


def test_without_updates():
    problem = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=0), XI, Y)
    t = solve(problem, tol=1e-10, record=Record(kinds=ALL_KINDS))
    assert_array_equal(t.outputs, np.zeros((1, 3, 1)))
    assert_close(t.feature_kernel[0, 0, 4], np.e * XI @ XI.T / 2, 1e-9)


def test_meta_says_what_was_run():
    seen = []
    t = solve(CATALOGUE["single"], tol=1e-6, progress=lambda done, total: seen.append((done, total)))
    assert t.meta["rung"] == "deep"
    assert t.meta["tol"] == 1e-6
    assert (4, 4) in seen
    assert 0 < t.meta["estimated_error"] <= 1e-6


def test_initial_exponent_counts_at_one_half():
    """At alpha = beta = 1/4: initial branches L^(-1/2), updates L^(-alpha - gamma) with gamma = 3/4: depth-muP again."""
    problem = replace(CATALOGUE["inputs"], parametrization=Parametrization("1/4", "3/4", initial="1/4"))
    assert_close(outputs(problem), outputs(CATALOGUE["inputs"]), 1e-11)


@pytest.mark.parametrize("name", ["inputs", "both"])
def test_initial_exponent_counts_in_the_flow(name):
    """At alpha = gamma = 1/2 with beta = 1/4 the noise dies like L^(-1/2) and the flow is left."""
    problem = replace(CATALOGUE[name], parametrization=Parametrization("1/2", "1/2", initial="1/4"))
    want = outputs(problem)
    assert_close(want, outputs(at(problem, 1, 0)), 1e-12)
    runs = [recurse(problem, blocks=L, record=NOTHING).outputs for L in (4, 16, 64, 256)]
    raw = np.abs(runs[-1] - want).max()
    assert raw > 1e-3
    assert np.abs(extrapolate(runs, 4, [0.5, 1, 1.5]) - want).max() < 0.05 * raw
