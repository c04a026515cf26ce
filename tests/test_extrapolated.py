"""Blocks of form "pre" at alpha = 1/2, against closed forms, Euler steps, linear blocks, networks and finite depths.

Statistical tests have fixed seeds. Differences in standard errors are held against what Student's t exceeds, at one of all
numbers compared, once in 1000 sets of seeds (Bonferroni); what is refuted would be so by chance less often than that.
"""

import time
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from conftest import CATALOGUE, XI, Y, at, rewritten
from naive_neurons import pre
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.integrate import solve_ivp
from test_deep_nonlinear import LINES
from test_one_layer import FUNCTIONS

import limits.deep.extrapolated as module
import limits.memory
from limits import DEPTH_MUP, DivergedError, Interrupted, Record, ToleranceWarning, Trajectory, recurse, solve
from limits.agreement import agree
from limits.deep.extrapolated import DEPTHS, Extrapolation
from limits.library import open_library
from limits.optimizers import SGD
from limits.particles import REPLICAS, sample
from limits.particles.learned import LearnedMatrix
from limits.particles.noise import Noise
from limits.particles.runs import Runs
from limits.problem import Problem, ResNet

NUMPY = open_library("numpy", None, "float64")
NOTHING = Record(kinds=())
KINDS = ("feature", "gradient", "two_depth")
FIELDS = ("feature_kernel", "gradient_kernel", "two_depth_kernel")
ENDS = Record(positions=(0, 0.5, 1), kinds=KINDS)
FALSE_ALARM = 1e-3
RELU = (lambda h: np.maximum(h, 0), lambda h: 1.0 * (h > 0))


def net(phi, a=1.0):
    return ResNet(phi, multiplier=a, form="pre")


def one_input(phi, a, lr, targets=(1.5, -1.5)):
    """One input with a target that changes from step to step."""
    batches = [[k] for k in range(len(targets))]
    sgd = SGD(lr, steps=len(targets))
    return Problem(net(phi, a), DEPTH_MUP, sgd, [[1.0]] * len(targets), np.transpose([targets]), batches=batches)


ENDS_TOO = SGD([0.9, 0.6], 2, momentum=0.4, input_lr=0.2, output_lr=0.3)
PROBLEMS = {
    "tanh": one_input("tanh", 1.2, 1.2),
    "relu": one_input("relu", 1.2, 0.8),
    "sin + cos": one_input("sin + cos", 1.0, 0.7),
    "two samples": Problem(net("sin", 1.1), DEPTH_MUP, ENDS_TOO, XI[:2], Y[:2]),
    "batches": Problem(
        net("sin + cos", 0.8), DEPTH_MUP, SGD(0.6, 3), XI, Y, batches=[[0], [1, 1, 2], [2, 0]], probes=[[0.2, 0.1]]
    ),
    "classes": Problem(net("relu"), DEPTH_MUP, SGD(1.2, 2), XI, [2, 0, 1], loss="cross_entropy"),
}


def found(problem, record=NOTHING, blocks=16, particles=2**10, replicas=REPLICAS, dtype="float64"):
    """One round of `solve`: of a deepest network with so many blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "REPLICAS", replicas)
        return module._round(problem, record, blocks, particles, dtype, lambda t: None)


def score(difference, error, replicas=REPLICAS):
    """The largest difference in standard errors over the one that is a false alarm; where nothing moves it is round-off."""
    difference, error = np.ravel(difference), np.ravel(error)
    moves = error > 1e-9
    assert np.all(np.abs(difference[~moves]) < 1e-9)
    assert moves.any()
    z = np.abs(difference[moves] / error[moves])
    return z.max() / stats.t.isf(FALSE_ALARM / 2 / moves.sum(), replicas - 1)


def of_round(found, name="outputs"):
    return found.best[name].mean, found.error(name)


# Closed forms.


def first_order(functions, a, u):
    r"""$f_1 / \eta y$ of one sample: $a^2\int QP\,dp$, as F(1) of F' = a^2(KF + Q) with u' = a^2Q, by Gauss-Hermite and scipy."""
    z, w = np.polynomial.hermite_e.hermegauss(120)
    w = w / w.sum()
    phi, slope = functions[:2]

    def rates(p, y):
        g = np.sqrt(y[0]) * z
        Q = w @ phi(g) ** 2
        return a**2 * np.array([Q, w @ slope(g) ** 2 * y[1] + Q])

    return solve_ivp(rates, (0, 1), [u, 0.0], rtol=1e-10, atol=1e-12).y[1, -1]


def test_the_first_order_of_relu_is_closed():
    assert_allclose(first_order(RELU, 1.3, 0.58), 1.3**2 * 0.58 / 2 * np.exp(1.3**2 / 2), rtol=1e-8)


FIRST = {"relu": (RELU, 1.3), "tanh": (FUNCTIONS["tanh"], 1.5), "sin + cos": (FUNCTIONS["sin + cos"], 0.9)}


def assert_first_order(names=FIRST, **size):
    """Outputs are odd in the rate, whose square, 1e-6, is left; half the multiplier squared is refuted for each."""
    differences, errors = [], []
    for name in names:
        functions, a = FIRST[name]
        problem = Problem(net(name, a), DEPTH_MUP, SGD(1e-3, 1), XI[:1], [[1.2]])
        f, error = (1e3 * value[1, 0, 0] for value in of_round(found(problem, **{"particles": 2**11} | size)))
        u = np.sum(XI[0] ** 2) / 2
        differences.append(f - 1.2 * first_order(functions, a, u))
        errors.append(error)
        assert score(f - 1.2 * first_order(functions, a / 2**0.5, u), error) > 1
    assert score(differences, errors) < 1
    return errors


def test_the_first_order_in_the_rate():
    assert_first_order()


@pytest.mark.slow
def test_the_first_order_in_the_rate_to_half_a_percent():
    for error in assert_first_order(blocks=64, particles=2**13):
        assert error < 0.008


def as_identity(problem):
    return replace(problem, model=replace(problem.model, nonlinearity=LINES["closed"], form="pre"))


SLOWLY = [pytest.param(name, marks=pytest.mark.slow) for name in ("inputs", "momentum", "batches", "logistic", "classes")]


@pytest.mark.parametrize("name", ["both", *SLOWLY])
def test_the_identity_is_linear(name):
    """Outputs and kernels; outputs at 1.3 times the rate are refuted."""
    problem = CATALOGUE[name]
    want, got = solve(problem, tol=1e-8, record=ENDS), found(as_identity(problem), ENDS, particles=2**9)
    names = ("outputs", *FIELDS)
    differences = [np.ravel(got.best[field].mean - getattr(want, field)) for field in names]
    errors = [np.ravel(got.error(field)) for field in names]
    assert score(np.concatenate(differences), np.concatenate(errors)) < 1
    faster = replace(problem, optimizer=replace(problem.optimizer, lr=1.3 * problem.optimizer.schedule()))
    assert score(got.best["outputs"].mean - solve(faster, tol=1e-8).outputs, got.error("outputs")) > 1


@pytest.mark.usefixtures("few")
def test_frozen_blocks_move_no_features():
    """Outputs then are those of the trained end: f_1 = eta y u(1), u(1) = u(0) exp(a^2/2) for relu."""
    problem = Problem(net("relu", 1.1), DEPTH_MUP, SGD(0.8, 2, output_lr=0.3), XI[:1], [[1.2]])
    t = solve(at(problem, "1/2", 1), tol=0.5, record=Record(positions=(0, 1)))
    features = t.feature_kernel[..., 0, 0]
    assert_allclose(features - features[:1, :1], 0, atol=1e-6)
    u = np.sum(XI[0] ** 2) / 2 * np.exp(1.1**2 / 2)
    assert score(t.outputs[1] - 0.3 * 1.2 * u, t.error[1]) < 1 < score(t.outputs[1] - 0.5 * 1.2 * u, t.error[1])
    assert_allclose(solve(at(PROBLEMS["tanh"], "1/2", 1), tol=0.5).outputs, 0, atol=1e-6)


# Euler steps.


def witness(problem, L, neurons, seeds, **left_out):
    """Outputs of trained networks, of every seed."""
    functions = FUNCTIONS[problem.model.phi.name]
    runs = [pre(problem, L, functions, neurons, np.random.default_rng(s), **left_out)[1:] for s in range(seeds)]
    return np.reshape(runs, (seeds, -1))


def of_particles(problem, L, seeds):
    t = sample(problem, blocks=L, particles=2**12, replicas=seeds, record=NOTHING)
    return t.outputs[1:].ravel(), t.error[1:].ravel()


def mean(values):
    return np.mean(values, 0), np.std(values, 0, ddof=1) / np.sqrt(len(values))


def against(one, other, seeds):
    return score(one[0] - other[0], np.hypot(one[1], other[1]), seeds)


def assert_witnessed(name, L=4, neurons=4000, seeds=12):
    """At the same number of blocks these are the same equations; without R, or what phi'(x) knows of the noise, refuted."""
    problem = PROBLEMS[name]
    got = of_particles(problem, L, seeds)
    assert against(mean(witness(problem, L, neurons, seeds)), got, seeds) < 1
    for left_out in ("forward", "correlated"):
        assert against(mean(witness(problem, L, neurons, seeds, **{left_out: False})), got, seeds) > 1


def test_euler_steps_are_the_particles():
    assert_witnessed("tanh")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "left_out", "seeds"), [("tanh", "forward backward correlated", 48), ("two samples", "forward", 20)]
)
def test_euler_steps_are_the_particles_term_by_term(name, left_out, seeds):
    problem = PROBLEMS[name]
    got = of_particles(problem, 4, seeds)
    assert against(mean(witness(problem, 4, 8000, seeds)), got, seeds) < 1
    for term in left_out.split():
        assert against(mean(witness(problem, 4, 8000, seeds, **{term: False})), got, seeds) > 1, term


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "neurons", "seeds", "left_out"), [("tanh", 4000, 10, "forward correlated"), ("two samples", 2000, 10, "forward")]
)
def test_euler_steps_tend_to_the_limit(name, neurons, seeds, left_out):
    """From 4, 8 and 16 blocks, without what is of order 1/L and L^(-2); half of the latter is allowed for."""
    problem = PROBLEMS[name]
    few, middle, many = (witness(problem, L, neurons, seeds) for L in (4, 8, 16))
    (f, chance), (change, _) = mean((8 * many - 6 * middle + few) / 3), mean(2 * many - 3 * middle + few)
    want = solve(problem, tol=5e-3, record=NOTHING)
    error = np.hypot(np.hypot(chance, change / 6), want.error[1:].ravel())
    assert error.max() < 0.02
    assert score(f - want.outputs[1:].ravel(), error, seeds) < 1
    for term in left_out.split():
        coarse, fine = (witness(problem, L, neurons, 4, **{term: False}) for L in (4, 8))
        assert score(np.mean(2 * fine - coarse, 0) - want.outputs[1:].ravel(), 2 * error, seeds) > 1, term


# The rung below.

NETWORKS = {
    "relu": Problem(net("relu", 0.9), DEPTH_MUP, SGD([0.8, 0.5], 2, momentum=0.3), XI[:2], Y[:2], probes=[[-1.0, -0.4]]),
    "sin + cos": Problem(net("sin + cos"), DEPTH_MUP, SGD(0.7, 2, 0.2, 0.3), XI[:2], Y[:2]),
    "one step": Problem(net("sin + cos"), DEPTH_MUP, SGD(0.7, 1), [[0.5]], [[1.0]]),
}


def false_alarm(found):
    """Bonferroni's bound of `Agreement`, with the error of the limit; normal errors."""
    z, limit = [], found.limit
    for name in found.quantities:
        value, error = found.extrapolated(name)
        own = limit.error if name == "outputs" else getattr(limit, f"{name}_error")
        own = np.zeros_like(value) if own is None else np.ravel(own)
        moves = error > 1e-9
        z.append((value - found.against(name))[moves] / np.hypot(error, own)[moves])
    z = np.concatenate(z)
    return len(z) * 2 * stats.norm.sf(np.abs(z).max())


def assert_agreement(name, tol, **sizes):
    """The limit of form "post" is refuted."""
    record = Record(positions=(0, 1), kinds=("feature", "gradient"))
    got = agree(NETWORKS[name], tol=tol, record=record, **sizes)
    assert false_alarm(got) > FALSE_ALARM, got.table()
    post = replace(NETWORKS[name], model=replace(NETWORKS[name].model, form="post"))
    assert false_alarm(replace(got, limit=solve(post, tol=1e-4, record=record))) < 1e-6


@pytest.mark.usefixtures("few")
def test_networks_agree():
    assert_agreement("one step", 0.1, widths=(32, 64), blocks=(4, 8, 16), seeds=60)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "blocks", "seeds"), [("relu", (8, 16, 32), 700), ("sin + cos", (4, 8, 16), 300)])
def test_networks_agree_closely(name, blocks, seeds):
    assert_agreement(name, 4e-3, widths=(48, 96), blocks=blocks, seeds=seeds)


def on_one_path(problem, deepest, depths, particles, replicas, summed=True):
    """Outputs (replicas, depths, outputs) of networks with fewer and fewer blocks, on the same noise if it is summed."""
    answers = []
    for L in depths:
        runs = Runs(problem, NOTHING, NUMPY, L, particles, summed=deepest // L if summed else 1)
        rngs = [[np.random.default_rng([0, r] if summed else [L, r])] for r in range(replicas)]
        answers.append([runs.each(rng, lambda t: None)[0]["outputs"][1:].ravel() for rng in rngs])
    return np.swapaxes(answers, 0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_finite_depths_tend_to_the_limit(name):
    """Like 1/L: the slope of the distance over L = 8 ... 32, with its standard error, by jackknife, on common paths."""
    problem, depths, replicas = PROBLEMS[name], (8, 16, 32, 64), 12
    f = on_one_path(problem, 64, depths, 2**11, replicas)
    distances = f[:, :-1] - (2 * f[:, -1:] - f[:, -2:-1])

    def slope(some):
        return np.polyfit(np.log(depths[:-1]), np.log(np.abs(some.mean(0)).max(-1)), 1)[0]

    error = np.std([slope(np.delete(distances, r, 0)) for r in range(replicas)]) * np.sqrt(replicas - 1)
    assert error < 0.1
    assert abs(slope(distances) + 1) < 0.2 + 2 * error
    t, recursed = solve(problem, tol=5e-3, record=NOTHING), [recurse(problem, blocks=L, record=NOTHING) for L in (4, 16)]
    few, many = (np.abs(r.outputs - t.outputs).max() for r in recursed)
    assert many < few / 2.5


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("tanh", 2.5), ("relu", 2.2)])
def test_the_error_of_depth_falls_fourfold(name, least):
    """Where L doubles twice; with kinks it has a logarithm, and thus less."""
    f = on_one_path(PROBLEMS[name], 32, (2, 4, 8, 16, 32), 2**12, 12)
    best = 2 * f[:, 1:] - f[:, :-1]
    change, error = mean(best[:, 1:] - best[:, :-1])
    sizes = np.sqrt(np.mean(change**2, -1))
    assert np.sqrt(np.mean(error[-1] ** 2)) < sizes[-1] / 2
    assert least**2 < sizes[0] / sizes[-1] < 6**2


# Common paths.


def assert_common_paths():
    """The variance of f_8 - f_4 is a quarter or less of that on paths of their own, of 24 each."""
    common, own = (on_one_path(PROBLEMS["tanh"], 8, (4, 8), 2**9, 24, summed) for summed in (True, False))
    assert np.sum(np.var(common[:, 1] - common[:, 0], 0)) < 0.25 * np.sum(np.var(own[:, 1] - own[:, 0], 0))


def test_common_paths_have_less_variance():
    assert_common_paths()


def assert_summed(mirrored, exact):
    many, few = (Noise([np.random.default_rng(3)], 512, mirrored=mirrored, exact=exact, library=NUMPY) for _ in range(2))
    few.summed = 2
    e = np.concatenate([many.draw(3)[0] for _ in range(4)]).reshape(2, 2, 3, 512)
    got = np.array([few.draw(3)[0] for _ in range(2)])
    assert_allclose(got, (e[:, 0] + e[:, 1]) / np.sqrt(2), rtol=0, atol=1e-12)
    if exact:
        rows = got.reshape(6, 512)
        assert_allclose(rows @ rows.T / 512, np.eye(6), rtol=0, atol=1e-12)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("exact", [False, True])
def test_summed_noise_is_that_of_two_blocks(mirrored, exact):
    assert_summed(mirrored, exact)


def assert_extrapolates():
    """What falls like 1/L is removed and changes nothing; what falls like L^(-2) is removed, and is the change."""
    depths = np.array([4.0, 8.0, 16.0])
    linear, square = Extrapolation(16, 1, "float64"), Extrapolation(16, 1, "float64")
    for noise in (-1.0, 1.0):
        linear.add([{"outputs": np.full((1, 1, 1), 2 + noise + 3 / L)} for L in depths])
        square.add([{"outputs": np.full((1, 1, 1), 2 + noise + 3 / L**2)} for L in depths])
    assert_allclose(linear.best["outputs"].mean, 2)
    assert_allclose(linear.change["outputs"].mean, 0, atol=1e-12)
    assert_allclose(linear.error("outputs"), 1)
    assert_allclose(square.best["outputs"].mean, 2)
    assert_allclose(-square.change["outputs"].mean, 2 * (3 / 16**2) - 3 / 8**2)
    assert not linear.too_shallow


def test_what_falls_like_the_inverse_of_the_depth_is_removed():
    assert_extrapolates()


# The error.


def ratios(problem, fine_blocks=32, fine_particles=2**12):
    """The distance of a small answer from a much better one, over its stated error."""
    small, fine = found(problem, particles=2**9), found(problem, blocks=fine_blocks, particles=fine_particles)
    moves = small.error("outputs") > 1e-9
    return np.unique(((small.best["outputs"].mean - fine.best["outputs"].mean) / small.error("outputs"))[moves].round(9))


@pytest.mark.slow
def test_the_error_is_calibrated():
    """At six problems, some 30 numbers: the root mean square of the distance over the error is between 1/4 and 1.3."""
    found = [ratios(problem) for problem in PROBLEMS.values()]
    means = [np.mean(one**2) for one in found]
    assert 0.25 < np.sqrt(np.mean(means)) < 1.3


# What a user meets.

SMALL = Problem(net("tanh", 1.1), DEPTH_MUP, SGD(0.9, 2), XI[:2], Y[:2], batches=[[0, 1, 1], [1]], probes=[[0.2, 0.7]])


@pytest.fixture
def few(monkeypatch):
    """Fewer neurons and blocks in the first round."""
    monkeypatch.setattr(module, "neurons_of", lambda problem, particles: 256)
    monkeypatch.setattr(module, "FEWEST_BLOCKS", 4)


@pytest.mark.usefixtures("few")
def test_the_default_tolerance_is_met():
    """Small outputs, whose errors are small beside 1."""
    t = solve(one_input("tanh", 1.0, 0.1, (0.3, -0.3)), record=NOTHING)
    assert (t.meta["tol"], t.meta["rung"]) == (1e-3, "deep")
    assert 0 < t.error.max() == t.meta["estimated_error"] <= 1e-3


@pytest.mark.slow
def test_the_default_tolerance_is_met_by_more_neurons_or_blocks():
    t = solve(one_input("relu", 1.0, 1.0, (1.0, 1.0)), record=NOTHING)
    assert t.meta["estimated_error"] <= 1e-3
    assert t.meta["rounds"] > 1


def test_a_loose_tolerance_takes_one_round():
    t = solve(one_input("tanh", 1.0, 1.0, (1.0,)), tol=1e-2, record=NOTHING)
    assert (t.meta["rounds"], t.meta["depths"], t.meta["replicas"]) == (1, [4, 8, 16], REPLICAS)
    assert t.meta["estimated_error"] <= 1e-2


@pytest.mark.usefixtures("few")
def test_rounds_add_blocks_or_neurons(monkeypatch):
    """Blocks where depth makes the error, neurons where chance does; up to what is allowed, which is then said."""
    monkeypatch.setattr(module, "MOST_BLOCKS", 8)
    monkeypatch.setattr(module, "MOST_PARTICLES", 256)
    with pytest.warns(ToleranceWarning, match=r"tol = 1e-06 was not met: .* with 8 blocks of 256 neurons"):
        t = solve(PROBLEMS["relu"], tol=1e-6, record=NOTHING)
    better = found(PROBLEMS["relu"], particles=2**9)
    assert score(t.outputs - better.best["outputs"].mean, np.hypot(t.error, better.error("outputs"))) < 1
    assert t.meta["estimated_error"] * np.abs(t.outputs).max() == pytest.approx(t.error.max())
    monkeypatch.setattr(module, "MOST_PARTICLES", 1024)
    shallow = one_input("tanh", 0.2, 0.3)
    chance = found(shallow, blocks=4, particles=256).reachable(256)
    with warnings.catch_warnings(action="ignore", category=ToleranceWarning):
        t = solve(shallow, tol=0.7 * chance, record=NOTHING)
    assert (t.meta["rounds"], t.meta["particles"]) == (2, 1024)
    with pytest.warns(ToleranceWarning, match=r"with 4 blocks of 256 neurons.*with as many neurons as may be some .* can be had"):
        t = solve(shallow, tol=1e-9, record=NOTHING)  # as chance would not let it be met, nothing more is tried
    assert t.meta["rounds"] == 1


def test_a_change_that_happens_to_vanish_is_not_believed():
    """Its least error is a share of the largest change so far."""
    one = Extrapolation(16, 1, "float64")
    for _ in range(2):
        one.add([{"outputs": np.array([0.0, 1 / L**2, 0.0])[:, None, None]} for L in (4.0, 8.0, 16.0)])
    largest = abs(2 / 16**2 - 3 / 8**2 + 1 / 4**2) / 3
    assert_allclose(one.error("outputs")[:, 0, 0], [0, largest, module.FLOOR * largest])


@pytest.mark.usefixtures("few")
def test_rounds_stop_where_the_next_does_not_fit(monkeypatch):
    size = module.footprint(SMALL, NOTHING, 4, 256, "float64")
    monkeypatch.setattr(module, "available_memory", lambda: 1.5 * size / module.SHARE)
    with pytest.warns(ToleranceWarning, match="with 4 blocks of 256 neurons"):
        assert solve(SMALL, tol=1e-6, record=NOTHING).meta["rounds"] == 1


def test_what_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(limits.memory, "available_memory", lambda: 1e5)
    with pytest.raises(MemoryError, match=r"this limit would take .* take fewer steps or samples"):
        solve(SMALL)


@pytest.mark.usefixtures("few")
def test_single_precision_is_enough_and_not_all_there_is():
    """At loose tolerances it is taken; numbers beyond its range are computed in double precision."""
    single = solve(SMALL, tol=0.5)
    with pytest.warns(ToleranceWarning):
        double = solve(SMALL, tol=1e-6)
    assert (single.meta["dtype"], double.meta["dtype"]) == ("float32", "float64")
    large = 1e60
    beyond = solve(replace(SMALL, targets=large * SMALL.targets), tol=0.5)
    assert beyond.meta["dtype"] == "float64"
    assert np.all(np.isfinite(beyond.outputs))


@pytest.mark.usefixtures("few")
def test_kernels_are_symmetric_and_positive(monkeypatch):
    monkeypatch.setattr(module, "FEWEST_BLOCKS", 8)  # all positions are between blocks, none inside
    t = solve(SMALL, tol=0.5, record=ENDS)
    k, s, m = len(t.steps), len(t.recorded), len(t.positions)
    assert t.two_depth_kernel.shape == (k, k, m, m, s, s)
    for name in FIELDS:
        kernel, error = getattr(t, name), getattr(t, f"{name}_error")
        assert error.shape == kernel.shape
        assert np.all(np.isfinite(error))
        turned = (1, 0, 3, 2, 5, 4) if name == "two_depth_kernel" else (1, 0, 2, 4, 3)
        assert_allclose(kernel, kernel.transpose(turned), rtol=0, atol=1e-9)
    for name in FIELDS[:2]:
        kernel, error = (getattr(t, n).transpose(2, 0, 3, 1, 4).reshape(m, k * s, k * s) for n in (name, f"{name}_error"))
        for one, own in zip(kernel, error, strict=True):
            assert np.linalg.eigvalsh(one)[0] > -2 * np.linalg.norm(own)
            assert np.trace(one) > 10 * np.linalg.norm(own)
    same = t.two_depth_kernel[:, :, range(m), range(m)]
    assert_allclose(same, t.feature_kernel, rtol=0, atol=1e-9)


def test_the_response_is_refused():
    with pytest.raises(ValueError, match=r"samples of neurons give means.* leave it out, or take form='post'"):
        solve(SMALL, record=Record(kinds=("response",)))


@pytest.mark.usefixtures("few")
def test_probes_change_nothing():
    bare, probed = solve(replace(SMALL, probes=None), tol=0.5), solve(SMALL, tol=0.5)
    assert score(bare.outputs - probed.outputs[:, :2], np.hypot(bare.error, probed.error[:, :2])) < 1
    assert np.abs(probed.outputs[1:, 2]).max() > 0.01


@pytest.mark.usefixtures("few")
def test_the_order_and_the_frame_of_samples_change_nothing():
    one, (problem, order) = solve(SMALL, tol=0.5), rewritten(SMALL)
    other = solve(problem, tol=0.5)
    order = [*order, 2]
    assert score(one.outputs[:, order] - other.outputs, np.hypot(one.error[:, order], other.error)) < 1


@pytest.mark.usefixtures("few")
def test_the_answer_is_the_same_twice_and_saved(tmp_path):
    one, again = (solve(SMALL, tol=0.5, record=ENDS) for _ in range(2))
    read = Trajectory.load(one.save(tmp_path / "run.npz"))
    for other in (again, read):
        for name in ("outputs", "error", *FIELDS, *(f"{name}_error" for name in FIELDS)):
            assert_array_equal(getattr(other, name), getattr(one, name))
    assert read.meta["depths"] == [1, 2, 4]


@pytest.mark.usefixtures("few")
def test_progress_is_told_at_once_and_to_the_end():
    seen = []
    solve(SMALL, tol=0.5, record=NOTHING, progress=lambda done, total: seen.append((done, total)))
    T = SMALL.steps
    assert seen[0] == (0, T)
    assert seen[1:] == REPLICAS * [*len(DEPTHS) * [(t, T) for t in range(T)], (T, T)]


def stopped_at(call):
    calls = []

    def stop(done, total):
        calls.append(done)
        if len(calls) == call:
            raise KeyboardInterrupt

    return stop


@pytest.mark.usefixtures("few")
def test_an_interruption_keeps_the_last_round():
    each = REPLICAS * (len(DEPTHS) * SMALL.steps + 1)
    for early in (2, each):
        with pytest.raises(KeyboardInterrupt) as caught:
            solve(SMALL, tol=1e-6, record=NOTHING, progress=stopped_at(early))
        assert not isinstance(caught.value, Interrupted)
    with pytest.raises(Interrupted) as caught:
        solve(SMALL, tol=5e-4, record=ENDS, progress=stopped_at(1 + each + 5))
    partial = caught.value.partial
    assert (partial.meta["rounds"], partial.meta["partial"]) == (1, True)
    first = found(SMALL, ENDS, 4, 256, dtype="float32")
    assert_array_equal(partial.outputs, first.best["outputs"].mean)
    assert_array_equal(partial.feature_kernel, first.best["feature_kernel"].mean)


@pytest.mark.parametrize("most", [32, pytest.param(module.MOST_BLOCKS, marks=pytest.mark.slow)])
def test_divergence_is_said_soon(most, monkeypatch):
    """All depths are tried, each until its outputs leave the range of numbers."""
    monkeypatch.setattr(module, "MOST_BLOCKS", most)
    began = time.process_time()
    with pytest.raises(DivergedError, match="lower the learning rate"):
        solve(replace(PROBLEMS["relu"], optimizer=SGD(1e200, steps=2)))
    assert time.process_time() - began < 30


# Injected faults.


def a_sign(monkeypatch):
    right = LearnedMatrix._learned
    monkeypatch.setattr(LearnedMatrix, "_learned", lambda *given: None if (found := right(*given)) is None else -found)


def longer_sums(monkeypatch):
    right = Noise.draw
    monkeypatch.setattr(Noise, "draw", lambda self, count: right(self, count) * (2**0.5 if self.summed > 1 else 1))


def not_summed(monkeypatch):
    monkeypatch.setattr(Noise, "draw", Noise._draw)


def swapped(monkeypatch):
    right = Extrapolation.add
    monkeypatch.setattr(Extrapolation, "add", lambda self, values: right(self, [values[0], values[2], values[1]]))


def without_response(monkeypatch):
    monkeypatch.setattr(module, "Runs", partial(Runs, responds=False))


FAULTS = {
    "the sign of what was learned": (a_sign, lambda: assert_first_order(["relu"])),
    "no response": (without_response, lambda: assert_first_order(["relu"])),
    "the sign in Euler steps": (a_sign, lambda: assert_witnessed("tanh", seeds=4)),
    "summed noise": (longer_sums, lambda: assert_summed(False, True)),
    "paths": (not_summed, assert_common_paths),
    "extrapolation": (swapped, assert_extrapolates),
    "extrapolation at first order": (swapped, lambda: assert_first_order(["relu"])),
}


@pytest.mark.parametrize("name", FAULTS)
def test_injected_fault_is_caught(name, monkeypatch):
    inject, check = FAULTS[name]
    inject(monkeypatch)
    with pytest.raises(AssertionError):
        check()
