"""Real networks, extrapolated in width and depth, against the limit of nonlinear blocks."""

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from limits import DEPTH_MUP, SGD, Interrupted, NoLimitError, Parametrization, Problem, Record, ResNet, solve
from limits import agreement as room
from limits.agreement import Agreement, Measured, agree, standardised

sys.path.insert(0, str(Path(__file__).parents[1] / "derivations"))
import errata_nonlinear_limit as errata

X = [[1.0, 0.4], [-0.3, 1.2], [0.8, -0.9]]
Y = [[1.0], [-0.5], [0.7]]
BATCHES = [[0, 1, 2], [0, 2], [1, 2]]
RATES = {"sin + cos": 0.8, "tanh": 1.2, "relu": 1.2, "abs": 0.8}
LARGEST_Z = 4.0
NOTHING = solve(Problem(ResNet(), DEPTH_MUP, SGD(1.0, 0), [[1.0]], [[1.0]]))


def three_samples(name):
    """Three samples in two dimensions, in batches."""
    return Problem(ResNet(name), DEPTH_MUP, SGD(RATES[name], 3), X, Y, batches=BATCHES)


def invented(values, errors, sizes, kinked=False):
    """Measurements of one quantity that are given."""
    each = zip(sizes, values, errors, strict=True)
    runs = {s: Measured(*s, 100, {"outputs": np.array([v])}, {"outputs": np.array([e])}) for s, v, e in each}
    return Agreement(NOTHING, runs, kinked=kinked)


# The fit.


def test_the_fit_removes_what_it_models():
    sizes = [(n, L) for n in (64, 128) for L in (4, 8, 16, 32)]
    values = [3.0 - 2.0 / L + 5.0 / L**2 + 7.0 / n for n, L in sizes]
    value, error = invented(values, [0.1] * 8, sizes).extrapolated()
    assert_allclose(value, 3.0, rtol=1e-12)
    assert error > 0.1
    values = [3.0 - 2.0 / L + 5.0 * np.log(L) / L + 7.0 / n for n, L in sizes]
    assert_allclose(invented(values, [0.1] * 8, sizes, kinked=True).extrapolated()[0], 3.0, rtol=1e-12)


def test_standard_errors_of_the_fit_are_those_of_repeated_draws():
    """4000 repetitions: a chi-square of 4000 degrees of freedom stays within 10 % but for 1 case in 10^5."""
    sizes = [(n, L) for n in (64, 128) for L in (8, 16, 32, 64)]
    spread, rng = np.linspace(0.02, 0.1, 8), np.random.default_rng(0)
    found = [invented(rng.normal(0, spread), spread, sizes).extrapolated() for _ in range(4000)]
    values, errors = (np.array(column)[:, 0] for column in zip(*found, strict=True))
    assert_allclose(np.mean(values**2), errors[0] ** 2, rtol=0.1)


def test_exact_entries_do_not_fluctuate():
    value, error = invented([1.0] * 4, [0.0] * 4, [(8, 4), (16, 4), (8, 8), (16, 16)]).extrapolated()
    assert_allclose(value, 1.0, rtol=1e-12)
    assert error == 0
    assert_allclose(standardised(np.array([0.0, 1e-15, 2.0]), np.array([0.0, 0.0, 1.0])), [0.0, 1e-15, 2.0])


# The networks.


def test_few_networks_agree():
    """24 comparisons, |z| < 4: false alarm below 0.2 % for normal errors; with 20 groups, Student's t, below 2 %; seeds fixed."""
    found = agree(three_samples("sin + cos"), widths=(48, 96), blocks=(6, 12, 24), seeds=100, record=Record(positions=(1,)))
    assert found.quantities == ["outputs", "feature_kernel"]
    assert np.abs(found.z()).max() < LARGEST_Z
    assert "largest |z|" in found.table()
    assert 0 < found.false_alarm <= 1


def test_another_learning_rate_is_rejected(monkeypatch):
    """Networks of another rate than the limit's are far from it."""
    real = room.simulate

    def other(problem, **sizes):
        return real(Problem(problem.model, DEPTH_MUP, SGD(1.6, 3), X, Y, batches=BATCHES), **sizes)

    monkeypatch.setattr(room, "simulate", other)
    assert agree(three_samples("sin + cos"), widths=(48, 96), blocks=(6, 12, 24), seeds=100).worst > 2 * LARGEST_Z


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"widths": (64,)}, "an extrapolation needs two widths and three numbers of blocks"),
        ({"blocks": (4, 8)}, "an extrapolation needs two widths and three numbers of blocks"),
        ({"seeds": 1}, "seeds must be a whole number >= 2"),
        ({"record": Record(kinds=("response",))}, "the response"),
    ],
)
def test_bad_requests_are_sentences(wrong, sentence):
    few = {"widths": (8, 16), "blocks": (2, 3, 4), "seeds": 2}
    with pytest.raises(ValueError, match=sentence):
        agree(three_samples("relu"), **(few | wrong))


@pytest.mark.parametrize("wrong", [16, "8"])
def test_one_size_is_not_several(wrong):
    """By the function that reads them, which the run-time type checks of these tests let through."""
    assert room._sizes((16, 8, 8), "widths") == [8, 16]
    with pytest.raises(TypeError, match="widths must be several whole numbers"):
        room._sizes(wrong, "widths")


def test_what_is_exactly_zero_agrees():
    """An input of zero has outputs of zero at every size: nothing is compared, and nothing is improbable."""
    found = agree(Problem(ResNet("tanh"), DEPTH_MUP, SGD(1.0, 1), [[0.0]], [[0.0]]), widths=(8, 16), blocks=(2, 3, 4), seeds=2)
    assert (found.worst, found.comparisons, found.false_alarm) == (0.0, 0, 1.0)


def test_without_a_limit_there_is_nothing_to_agree_with():
    bad = Problem(ResNet("relu"), Parametrization("1/4", "1/4"), SGD(1.0, 1), [[1.0]], [[1.0]])
    with pytest.raises(NoLimitError):
        agree(bad)


def test_an_interrupted_run_says_so():
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, Interrupted)):
        agree(three_samples("relu"), widths=(8, 16), blocks=(2, 3, 4), seeds=2, progress=stop)


@pytest.mark.slow
@pytest.mark.parametrize("name", RATES)
def test_networks_tend_to_the_limit(name):
    """Twelve outputs and nine numbers of the last features, |z| < 4 in all.

    The largest |z| of 21 numbers with Student's distribution of 19 degrees exceeds 4 with probability below 1.6 %; fixed seeds.
    """
    record = Record(positions=(1,), steps=(3,))
    found = agree(three_samples(name), widths=(128, 256), blocks=(8, 16, 32, 64), seeds=400, record=record)
    assert found.worst < LARGEST_Z, found.table()
    law = found.depth_law()
    smooth = not three_samples(name).model.phi.kinks
    low, high = (-1.3, -0.7) if smooth else (-1.3, -0.4)
    assert low - law.exponent_error < law.exponent < high + law.exponent_error


# The errata study.


@pytest.mark.parametrize("name", ["sin + cos", "relu"])
def test_variants_of_the_study(name):
    """All terms give the limit; every other variant is somewhere else; the copy of W^T changes the first update."""
    problem = errata.problem_of(name)
    values = {label: errata.solved(problem, kind) for label, kind in errata.VARIANTS.items() if label not in errata.SMOOTH_ONLY}
    limit = solve(problem, tol=1e-8, record=errata.RECORD)
    assert_allclose(values["ours"], errata.numbers(limit.outputs, limit.feature_kernel), atol=1e-7)
    for label, other in values.items():
        if label != "ours":
            assert np.abs(other - values["ours"]).max() > 0.005
    assert_allclose(values["published"][0], values["ours"][0], atol=1e-7)
    assert values["independent copy"][0] < values["ours"][0] - 0.1


def test_the_published_equations_are_as_reproduced():
    """THEORY states <x_2(1)^2> = 1.30 for them and 3.178 for ours."""
    problem = errata.problem_of("sin + cos")
    assert_allclose(errata.solved(problem, errata.Published)[4], 1.30, atol=0.005)
    assert_allclose(errata.solved(problem, errata.NonlinearStates)[4], 3.1784, atol=5e-5)


@pytest.mark.slow
def test_the_study_runs_and_draws(tmp_path, capsys):
    out = tmp_path / "errata.png"
    errata.main(["--widths", "8,16", "--blocks", "3,4,6", "--seeds", "20", "--out", str(out)])
    said = capsys.readouterr().out
    assert "published" in said
    assert "equations, copy" in said
    assert out.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("alpha", "gamma", "phi", "want"),
    [
        ("1/2", "1/2", "tanh", ((1, 2), False)),
        ("1/2", "1/2", "relu", ((1, 2), True)),
        ("3/4", "1/4", "tanh", ((1 / 2, 1), False)),
        ("5/8", "3/8", "relu", ((1 / 4, 3 / 4), False)),
        ("1/2", "3/4", "tanh", ((1 / 4, 1 / 2), False)),
    ],
)
def test_powers_of_the_depth(alpha, gamma, phi, want):
    problem = Problem(ResNet(phi), Parametrization(alpha, gamma), SGD(1.0, 1), [[1.0]], [[1.0]])
    assert room._orders(problem) == want
