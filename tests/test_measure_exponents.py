"""Measured exponents: exact ones at many points, planted faults caught, and error rates that are what they are said to be.

Every check has a false-alarm rate of 1 % at most by construction, if its quantities are power laws up to the tolerance; seeds are
fixed, so that a test that passes once passes always on one machine.
"""

import json
from fractions import Fraction as F

import numpy as np
import pytest
from numpy.testing import assert_allclose

from limits import SGD, Muon, Parametrization, Problem, ResNet
from limits.compare import measure_exponents, slopes
from limits.compare.check import ExponentCheck, Row
from limits.compare.expected import expected
from limits.compare.slopes import Estimate
from limits.finite.dense import DenseTraining
from limits.optimizers import Adam, AdamW, SignSGD

X = np.array([[1.0, 0.4], [-0.5, 1.2], [0.8, -0.9], [0.3, 0.7]])
Y = np.array([[1.0], [-0.6], [0.3], [-0.8]])
LINEAR, TANH = ResNet(), ResNet("tanh")
LINEAR_MLP, TANH_MLP = (ResNet(name, form="mlp", block_depth=2) for name in ("linear", "tanh"))
DESCENT, ADAM = SGD(0.1, steps=3), Adam(0.05, steps=3)
SMALL = {"width": 32, "blocks": (8, 16, 32, 64), "seeds": 16}


def posed(alpha, gamma, model=LINEAR, optimizer=DESCENT, initial=0):
    return Problem(model, Parametrization(alpha, gamma, initial), optimizer, X, Y)


def exact(problem):
    """The exact exponents as text, with a dash where there is none."""
    return [str(row.exact) if row.exact is not None else "-" for row in expected(problem).values()]


# The exact exponents: growth, features, outputs, update of every layer, second order if there is one, diversity.


@pytest.mark.parametrize(
    ("problem", "wanted"),
    [
        (posed("1/2", "1/2"), "0 0 0 -1/2 1/2"),
        (posed("3/4", "1/4"), "-1/4 0 0 -1/4 0"),
        (posed(1, 0), "-1/2 0 0 0 0"),
        (posed("1/2", 1), "0 -1/2 -1/2 -1 -"),
        (posed("1/2", "1/4"), "0 1/4 1/4 -1/4 -"),
        (posed(2, -1), "-3/2 0 0 1 0"),
        (posed("1/4", "3/4"), "1/4 - 0 - -"),
        (posed("1/4", "3/4", TANH), "- - - - -"),
        (posed("1/4", "3/4", ResNet("relu")), "1/4 - - - -"),
        (posed("1/4", "3/4", ResNet("tanh", layer_norm=True)), "1/4 - - - -"),
        (posed("1/2", "1/2", TANH), "0 0 0 -1/2 -1/2 1/2"),
        (posed("1/2", "1/2", ResNet("relu")), "0 0 0 -1/2 -1/4 1/2"),
        (posed("1/2", "1/2", ResNet("tanh", form="pre")), "0 0 0 -1/2 1/2"),
        (posed(1, 0, ResNet("relu", mean_subtraction=False)), "0 0 0 0 0 0"),
        (posed("3/4", "1/4", ResNet("relu", mean_subtraction=False)), "1/4 - - - -"),
        (posed("1/2", "1/2", TANH_MLP), "0 0 0 -1/2 -1/2 -1/2 1/2"),
        (posed("1/2", "1/2", LINEAR_MLP), "0 0 0 -1/2 -1/2 -1/2 1/2"),
        (posed(1, 0, LINEAR_MLP), "-1/2 0 0 0 0 0 0"),
        (posed("1/2", ("1/2", 1), TANH_MLP), "0 0 0 -1/2 -1 -1/2 1/2"),
        (posed("1/2", (1, "1/2"), LINEAR_MLP), "0 0 0 -1 -1/2 -1 1/2"),
        (posed(2, "-1/2", LINEAR_MLP), "-3/2 - - 1/2 - - 0"),
        (posed(1, "-1/4", TANH, SGD(0.1, steps=2)), "-1/2 - - 1/4 - -"),
        (posed("3/2", "-1/2", TANH, SGD(0.1, steps=2)), "-1 - - - - 0"),
        (posed("1/4", "1/2", LINEAR_MLP, initial=("1/4", 0)), "0 1/4 1/4 -1/2 -3/4 - -"),
        (posed("1/2", "1/2", ResNet("sin + cos"), initial="1/4"), "- - - - - 0"),
        (posed("1/2", 1, TANH, SGD(0.1, steps=3, input_lr=0.1)), "0 0 0 -1 -1 -"),
        (posed("1/2", 1, TANH, SGD(0.1, steps=3, output_lr=0.1)), "0 -1/2 0 -1 -1 -"),
    ],
)
def test_exact_exponents(problem, wanted):
    assert exact(problem) == wanted.split()
    assert all(row.because for row in expected(problem).values())


# Estimates.


def test_intervals_cover(rng):
    """4000 slopes of noisy lines with 6 seeds: the 95 % interval misses in 5 %, give or take five standard errors of a count."""
    x, misses = np.log([8.0, 16, 32, 64]), 0
    for _ in range(4000):
        estimate = slopes.slope(x, 0.25 * x[:, None] + rng.standard_normal((4, 6)) + rng.standard_normal(6))
        misses += abs(estimate.value - 0.25) > estimate.half_width(0.95)
    assert abs(misses - 200) < 5 * np.sqrt(4000 * 0.05 * 0.95)


@pytest.mark.parametrize(("order", "kappa"), [(0.0, 0.5), (0.5, 0.0), (1.0, 0.0)])
def test_diversity_of_noise_and_drift(order, kappa, rng):
    """Noise that survives at infinite depth, or that is lost in it like L^-order, under a drift."""
    sizes, spans, squares = np.array([64.0, 128, 256]), [], []
    scale = np.exp(0.01 * rng.standard_normal((12, 1)))
    for L in sizes:
        m = 2 ** np.arange(int(np.log2(L)) - 1)
        spans.append(m)
        squares.append(scale * (L**-order * (m / L) + 0.7 * (m / L) ** 2))
    found = slopes.diversity(sizes, spans, squares, order or 1.0)
    assert abs(found.value - kappa) < 0.02
    assert found.error < 0.02


def test_diversity_needs_depth():
    small = slopes.diversity(np.array([4.0, 8.0]), [np.array([1])] * 2, [np.ones((3, 1))] * 2, 1.0)
    assert np.isnan(small.value)


def test_verdicts():
    def verdict(measured, exact, margin):
        parts = (np.zeros(0),) * 4
        return Row("features", Estimate(measured, 0.01, 9), exact, "", *parts, margin=margin, tolerance=0.1).verdict

    assert verdict(0.05, F(0), 0.05) == "pass"
    assert verdict(0.12, F(0), 0.05) == "unresolved", "the interval reaches what is within the tolerance"
    assert verdict(0.16, F(0), 0.05) == "fail"
    assert verdict(0.0, F(0), 0.21) == "unresolved", "it may be off by three tolerances"
    assert verdict(np.nan, F(0), np.nan) == "unresolved"
    assert verdict(9.0, None, 0.05) == ""


# Networks.


@pytest.fixture(scope="module")
def answer() -> ExponentCheck:
    return measure_exponents(posed(1, 0, TANH), **SMALL)


def test_a_correct_network_passes(answer):
    assert answer.passed
    assert answer.verdict == "pass"
    for row in answer.rows:
        assert abs(row.measured.value - float(row.exact)) < 0.1, row.name
        assert row.interval[0] < row.measured.value < row.interval[1]
        assert row.margin > row.measured.half_width(0.95), "the margin holds for all rows together"


def test_what_is_said(answer):
    table = answer.table()
    assert all(row.name in table for row in answer.rows)
    assert "PASS: 6 exponents within 0.1" in table
    assert repr(answer).startswith("ExponentCheck(pass: initial growth -0.")
    with pytest.raises(KeyError, match="there is no exponent 'speed': there are initial growth, features"):
        answer["speed"]


def test_json(answer):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    value = json.loads(json.dumps(answer.to_json(), allow_nan=False), parse_constant=refuse)
    assert (value["verdict"], value["alpha"], value["blocks"]) == ("pass", "1", [8, 16, 32, 64])
    assert [row["name"] for row in value["rows"]] == [row.name for row in answer.rows]
    assert_allclose([row["measured"] for row in value["rows"]], [row.measured.value for row in answer.rows])


def test_fits_leave_small_sizes_out():
    found = measure_exponents(posed(1, 0), width=16, blocks=(32, 2, 4, 8, 16), seeds=4)
    assert found["features"].sizes.tolist() == [2, 4, 8, 16, 32]
    assert found["features"].fitted.tolist() == [False, True, True, True, True]
    fewer = measure_exponents(posed(1, 0), width=16, blocks=(2, 4, 8, 16, 32), seeds=4, fit_from=16)
    assert fewer["features"].fitted.tolist() == [False, False, False, True, True]


def test_unbounded_training_is_looked_at_after_one_step():
    assert measure_exponents(posed("1/2", 0), width=8, blocks=(4, 8), seeds=3).meta["steps"] == 1
    assert measure_exponents(posed("1/2", "1/2"), width=8, blocks=(4, 8), seeds=3).meta["steps"] == 3


def test_the_folder_resumes(tmp_path):
    options = {"width": 8, "blocks": (4, 8), "seeds": 3, "folder": tmp_path}
    first = measure_exponents(posed(1, 0), **options)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    assert len(times) == 2
    more = measure_exponents(posed(1, 0), **(options | {"blocks": (4, 8, 16)}))
    assert len(list(tmp_path.glob("*.npz"))) == 3
    assert {path: path.stat().st_mtime_ns for path in times} == times, "what was finished is not computed again"
    assert_allclose(more["features"].curve[:2], first["features"].curve, rtol=1e-15)


def test_networks_that_leave_their_range_are_unresolved():
    found = measure_exponents(posed("1/2", "1/2", optimizer=SGD(1e9, steps=9)), width=8, blocks=(8, 16, 32), seeds=3)
    assert found.verdict == "unresolved"
    assert found["features"].verdict == "unresolved"
    assert np.isnan(found["features"].measured.value)
    assert found["features"].missing
    json.dumps(found.to_json(), allow_nan=False)


def missing(found):
    return {row.name: row.missing for row in found.rows if row.missing}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_round_off_is_no_exponent(dtype):
    """Of a faint step what is left of first order is round-off, a straight line whose slope is +1/2 where -1/2 is exact."""
    lr = {"float64": 1e-8, "float32": 5e-3}[dtype]
    found = measure_exponents(posed("1/2", "1/2", TANH, SGD(lr, steps=1)), **SMALL, dtype=dtype)
    assert set(missing(found)) == {"second order"}
    assert found.verdict == "unresolved"
    assert missing(found)["second order"].startswith("what changes is lost in round-off at L = 8, 16, 32, 64: take fewer blocks")
    assert np.isnan(found["second order"].measured.value)
    assert found["features"].verdict == found["update of layer 1"].verdict == "pass", "what is larger is measured all the same"


def test_weights_that_do_not_move_are_no_exponent():
    """Steps below the spacing of numbers move some weights by one unit in the last place, and most by none."""
    found = measure_exponents(posed("1/2", "1/2", TANH, SGD(1e-15, steps=1)), **SMALL)
    assert set(missing(found)) == {"features", "outputs", "update of layer 1", "second order", "diversity"}
    assert found["initial growth"].verdict == "pass"


@pytest.mark.parametrize("exponents", [(30, "1/2"), ("1/2", 30), (-30, 0), ("1/2", "1/2", 30)])
def test_exponents_that_no_networks_show(exponents):
    found = measure_exponents(posed(*exponents[:2], TANH, initial=(*exponents, 0)[2]), width=8, blocks=(8, 16, 32), seeds=3)
    assert missing(found)
    assert all(np.isfinite(row.measured.value) != bool(row.missing) for row in found.rows)
    assert found.verdict == "unresolved"
    json.dumps(found.to_json(), allow_nan=False)


def test_training_that_replaces_the_weights_is_no_exponent():
    found = measure_exponents(posed("1/2", "1/2", TANH, SGD(1e30, steps=1)), width=8, blocks=(8, 16, 32), seeds=3)
    said = missing(found)
    assert said["features"].startswith(
        "training changes weights to more than 10 times themselves at L = 8, 16, 32: take a smaller"
    )
    assert "features  " in found.table()
    assert f"unresolved  unresolved: {said['features']}" in found.table()
    assert "features unknown (exact 0)" in repr(found)
    assert "initial growth" not in said, "it is known before training"


def test_kappa_says_what_it_needs():
    shallow = measure_exponents(posed(1, 0), width=8, blocks=(4, 8, 16), seeds=3)
    assert missing(shallow) == {"diversity": "kappa needs two numbers of blocks from 16 on: add larger ones"}
    odd = measure_exponents(posed(1, 0), width=8, blocks=(16, 24, 36), seeds=3)
    assert missing(odd) == {
        "diversity": "kappa needs 3 distances in depth that all sizes share: take powers of two times one number of blocks"
    }
    assert not missing(measure_exponents(posed(1, 0), width=8, blocks=(20, 40, 80), seeds=3))


def test_distances_are_those_that_all_sizes_reach():
    def shared(*sizes):
        return slopes.shared_epsilons(np.array(sizes, float), [2 ** np.arange(int(np.log2(L)) - 1) for L in sizes]).tolist()

    assert shared(16, 32) == [1 / 4, 1 / 8, 1 / 16]
    assert shared(64, 128, 256) == [1 / 4, 1 / 8, 1 / 16, 1 / 32], "two blocks of 64, since one tells little"
    assert shared(20, 40, 80) == [1 / 5, 1 / 10, 1 / 20]
    assert shared(16, 24, 36) == [1 / 8, 1 / 16], "24 blocks reach 4/24 only"


def test_where_nothing_is_exact_the_conclusion_says_so():
    found = measure_exponents(posed("1/4", "3/4", TANH), width=8, blocks=(8, 16, 32), seeds=3)
    assert found.conclusion == "UNRESOLVED: there is no exact exponent to compare with"


@pytest.mark.parametrize(
    ("problem", "arguments", "words"),
    [
        (posed(1, 0), {"blocks": (8,)}, "at least two numbers of blocks"),
        (posed(1, 0), {"blocks": (2, 4, 64)}, "at least two numbers of blocks from 8 on, where fits begin"),
        (posed(1, 0), {"blocks": ()}, r"at least two numbers of blocks, got \[\]: write blocks=\(16, 32, 64\)"),
        (posed(-300, 0), {}, "powers of 8 blocks with the exponents of .* leave the range of numbers"),
        (posed(1, 0), {"width": 7}, "width must be at least 8, for narrower networks"),
        (posed(1, 0), {"dtype": "bfloat16", "backend": "torch"}, "dtype must be float64 or float32, for changes are differences"),
        (Problem(TANH, Parametrization(1, 0), DESCENT, 0 * X, Y), {}, "inputs must not all be zero"),
        (posed(1, 0), {"seeds": 2}, "seeds must be at least 3"),
        (posed(1, 0), {"tolerance": 0.0}, "tolerance must be finite and > 0"),
        (posed(1, 0), {"error_rate": 0.0}, "error_rate must be between 0 and 1"),
        (posed(1, 0), {"error_rate": 1.0}, "error_rate must be in"),
        (posed(1, 0, optimizer=AdamW(0.1, steps=2)), {}, "set it to 0"),
        (posed(1, 0, optimizer=SGD(0.1, steps=0)), {}, "at least one step"),
        (posed(1, 0, optimizer=SGD(0.0, steps=2)), {}, "learning rate above zero"),
        (posed(1, (0, 1)), {}, "gamma has 2 exponents"),
    ],
)
def test_refused(problem, arguments, words):
    with pytest.raises(ValueError, match=words):
        measure_exponents(problem, **({"width": 8, "blocks": (4, 8), "seeds": 3} | arguments))


def test_blocks_must_be_several():
    with pytest.raises(TypeError, match="blocks"):
        measure_exponents(posed(1, 0), width=8, blocks=8, seeds=3)


# Faults, planted in what trains.


def wrong_multiplier(monkeypatch, shift):
    """Networks whose multiplier is L^shift times too large."""
    init = DenseTraining.__init__

    def planted(self, problem, library, u, v, weights, **rest):
        init(self, problem, library, u, v, weights, **rest)
        self.c = self.c * self.blocks**shift

    monkeypatch.setattr(DenseTraining, "__init__", planted)


def wrong_rate(monkeypatch, shift):
    """Networks whose learning rate is L^shift times too large."""
    init = DenseTraining.__init__

    def planted(self, problem, library, u, v, weights, *, lrs, **rest):
        init(self, problem, library, u, v, weights, lrs=lrs * weights[0].shape[0] ** shift, **rest)

    monkeypatch.setattr(DenseTraining, "__init__", planted)


FAULTS = {
    "multiplier too small": (wrong_multiplier, -0.5, {"initial growth", "features", "outputs"}),
    "multiplier too large": (wrong_multiplier, 0.25, {"initial growth"}),
    "rate too small": (wrong_rate, -0.5, {"features", "outputs", "update of layer 1"}),
    "rate too large": (wrong_rate, 0.5, {"features", "outputs", "update of layer 1"}),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("optimizer", [SGD(0.02, steps=1), Adam(0.02, steps=1)], ids=["SGD", "Adam"])
def test_a_planted_fault_is_caught(fault, optimizer, monkeypatch):
    plant, shift, wrong = FAULTS[fault]
    plant(monkeypatch, shift)
    found = measure_exponents(posed("3/4", "1/4", TANH, optimizer), **SMALL)
    assert not found.passed
    assert found.verdict == "fail"
    assert wrong <= {row.name for row in found.rows if row.verdict == "fail"}


def test_without_a_fault_it_passes():
    for optimizer in (SGD(0.02, steps=1), Adam(0.02, steps=1)):
        assert measure_exponents(posed("3/4", "1/4", TANH, optimizer), **SMALL).passed


# Many points, and the networks of the experiments; these take minutes.

DEEP = {"width": 64, "blocks": (8, 16, 32, 64, 128, 256), "seeds": 16}
EXPLODING = {"width": 64, "blocks": (8, 16, 32, 64), "seeds": 96}
POINTS = [
    ("1/2", "1/2", LINEAR, DESCENT),
    ("1/2", "1/2", TANH_MLP, DESCENT),
    ("1/2", "1/2", LINEAR_MLP, DESCENT),
    ("1/2", "1/2", TANH, ADAM),
    ("1/2", "1/2", TANH_MLP, ADAM),
    ("1/2", "1/2", TANH_MLP, Muon(0.1, steps=3)),
    ("1/2", "1/2", TANH, SignSGD(0.05, steps=3)),
    ("3/4", "1/4", LINEAR, DESCENT),
    ("3/4", "1/4", TANH_MLP, ADAM),
    (1, 0, TANH_MLP, DESCENT),
    (1, 0, LINEAR_MLP, DESCENT),
    (1, 0, LINEAR, ADAM),
    (1, 0, TANH_MLP, ADAM),
    (1, 0, ResNet("relu", mean_subtraction=False), DESCENT),
    ("1/2", 1, TANH_MLP, DESCENT),
    ("1/2", 1, LINEAR, ADAM),
    ("1/4", "3/4", LINEAR, DESCENT),
    ("1/4", "3/4", LINEAR_MLP, ADAM),
    ("1/2", "1/4", LINEAR_MLP, DESCENT),
    ("1/2", "1/4", TANH, ADAM),
    ("1/4", "1/2", LINEAR_MLP, DESCENT),
    ("5/4", "-1/4", LINEAR, DESCENT),
    ("1/2", ("1/2", 1), TANH_MLP, DESCENT),
    (1, (0, "1/2"), TANH_MLP, ADAM),
]


def measured(alpha, gamma, model, optimizer):
    options = EXPLODING if F(alpha) < F(1, 2) else DEEP
    return measure_exponents(posed(alpha, gamma, model, optimizer), **options)


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS, ids=lambda p: f"{p[0]} {p[1]} {p[2].phi.name} {p[2].form} {type(p[3]).__name__}")
def test_measured_exponents_are_the_exact_ones(point):
    found = measured(*point)
    assert found.passed, found.table()
    for row in found.rows:
        assert row.exact is None or abs(row.measured.value - float(row.exact)) < 0.1, found.table()


def test_the_points_are_many_for_every_optimizer_and_depth():
    for kind in (SGD, Adam):
        assert len({(str(a), str(g), m.block_depth) for a, g, m, o in POINTS if type(o) is kind}) >= 8
    assert {m.block_depth for _, _, m, _ in POINTS} == {1, 2}


@pytest.mark.slow
@pytest.mark.parametrize("model", [LINEAR_MLP, TANH_MLP, ResNet("sin", block_depth=2)], ids=lambda m: f"{m.form} {m.phi.name}")
def test_blocks_of_two_layers_stay_nonlinear_in_their_weights_only_at_alpha_1(model):
    """The share of second order falls like L^-1/2 at alpha = gamma = 1/2, and stays at (1, 0)."""
    shares = {alpha: measured(alpha, 1 - F(alpha), model, DESCENT)["second order"].measured.value for alpha in ("1/2", 1)}
    assert abs(shares["1/2"] + 0.5) < 0.1
    assert abs(shares[1]) < 0.1


@pytest.mark.slow
def test_kappa_is_one_half_at_depth_mup_only():
    kappas = [measured(alpha, 1 - F(alpha), LINEAR, DESCENT)["diversity"].measured.value for alpha in ("1/2", 1)]
    assert_allclose(kappas, [0.5, 0.0], rtol=0, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_caught_at_depth_mup(fault, monkeypatch):
    plant, shift, wrong = FAULTS[fault]
    plant(monkeypatch, shift)
    found = measure_exponents(posed("1/2", "1/2", TANH_MLP, SGD(0.02, steps=1)), **SMALL)
    assert wrong <= {row.name for row in found.rows if row.verdict == "fail"}, found.table()


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_promised():
    """60 sets of networks at an error rate of 5 %: 10 or more failures have probability 4e-4 if each fails with 5 %."""
    verdicts = [
        measure_exponents(posed(1, 0, TANH, SGD(0.1, steps=1)), **(SMALL | {"width": 16}), seed=s, error_rate=0.05).verdict
        for s in range(60)
    ]
    assert verdicts.count("fail") < 10
    assert verdicts.count("pass") > 45
