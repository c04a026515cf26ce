"""Studies: their networks against the package's, their verdicts at a reduced size, and that a wrong network is found out."""

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from limits import DEPTH_MUP, SGD, Adam, Parametrization, Problem, Record, ResNet, SignSGD, recurse, simulate

sys.path.insert(0, str(Path(__file__).parents[1] / "derivations"))
import plain_network
import study_adaptive_updates
import study_linear_updates
import study_two_layer_depth
import study_weight_reuse
from jackknife import jackknife, slope
from plain_matrices import Drawn, Entries, Learned, Unseen
from plain_network import FirstOrder, OneLayer, TwoLayers, draw, infinite, rates_of, train

ROOT = Path(__file__).parents[1]
STUDIES = [study_weight_reuse, study_linear_updates, study_adaptive_updates, study_two_layer_depth]
X, Y = [[1.0, 0.4], [-0.3, 1.2]], [[1.0], [-0.5]]
BATCHES = [[0, 1], [0], [1]]
NOTHING = Record(kinds=())


def problem_of(model, optimizer=None, alpha="1/2", gamma="1/2"):
    return Problem(model, Parametrization(alpha, gamma), optimizer or SGD(0.7, 3), X, Y, batches=BATCHES)


# The plain networks are those of the package.


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (ResNet("tanh", multiplier=1.3), OneLayer),
        (ResNet("linear"), OneLayer),
        (ResNet("tanh", 2, form="mlp"), TwoLayers),
        (ResNet("sin + cos", 2), TwoLayers),
    ],
)
@pytest.mark.parametrize("exponents", [("1/2", "1/2"), ("3/4", "1/4"), (1, 0)])
def test_networks_are_those_of_simulate(model, kind, exponents):
    """The same seeds give the same outputs, to the round-off of single precision."""
    problem = problem_of(model, None, *exponents)
    ends, weights = draw(problem, 32, 4, [(5, s) for s in range(3)])
    outputs = train(problem, [kind(problem, rates_of(problem, 4), *map(Drawn, layers)) for layers in weights], ends)
    assert_allclose(outputs, simulate(problem, width=32, blocks=4, seeds=3, seed=5, record=NOTHING).samples, atol=3e-6)


@pytest.mark.parametrize("optimizer", [SignSGD(0.3, 3), Adam(0.3, 3)])
def test_entrywise_networks_are_those_of_simulate(optimizer):
    problem = problem_of(ResNet("tanh", multiplier=1.2), optimizer)
    ends, weights = draw(problem, 32, 4, [(5, s) for s in range(3)])
    blocks = [OneLayer(problem, [0.0], Drawn(w[0]), Entries(problem, 4, w[0].shape)) for w in weights]
    expected = simulate(problem, width=32, blocks=4, seeds=3, seed=5, record=NOTHING).samples
    assert_allclose(train(problem, blocks, ends), expected, atol=3e-6)


@pytest.mark.parametrize("exponents", [("1/2", "1/2"), (1, 0)])
def test_linear_networks_of_infinite_width_are_exact(exponents):
    problem = problem_of(ResNet("linear"), None, *exponents)
    ends, layers = infinite(problem, 5, 512, (3,))
    outputs = train(problem, [OneLayer(problem, rates_of(problem, 5), *matrices) for matrices in layers], ends)
    assert_allclose(outputs, recurse(problem, blocks=5).outputs, atol=1e-9)


def test_two_layer_networks_of_infinite_width_are_those_of_recurse():
    """Means of 16 samples of 1024 neurons, seeded: within five standard errors of both, false alarms below 1e-5."""
    problem, runs = problem_of(ResNet("tanh", 2, form="mlp")), []
    for seed in range(16):
        ends, layers = infinite(problem, 4, 1024, (4, seed))
        runs.append(train(problem, [TwoLayers(problem, rates_of(problem, 4), *matrices) for matrices in layers], ends))
    found, expected = jackknife(np.array(runs)), recurse(problem, blocks=4, particles=4096)
    assert np.all(np.abs(found.value - expected.outputs) < 5 * np.hypot(found.error, expected.error) + 1e-9)
    assert found.error.max() < 0.01


# Blocks of first order.


@pytest.fixture(params=["mlp", "post"])
def first_order(request):
    """A block with updates of unit size, its kind in full, and rows to send through it."""
    rng = np.random.default_rng(6)
    model = ResNet(study_linear_updates.CASES[request.param], 2, form=request.param)
    matrices = [Drawn(rng.standard_normal((1, 20, 20)) / 20**0.5) for _ in range(2)]
    blocks = [kind(problem_of(model), [0.3, 0.3], *matrices) for kind in (TwoLayers, FirstOrder)]
    updates = rng.standard_normal((2, 2, 1, 2, 20))

    def move(size):
        for block in blocks:
            for moved, (g, y) in zip(block.moved, updates, strict=True):
                moved.pairs = [(size * g, y)]

    move(1.0)
    return blocks, move, rng.standard_normal((3, 1, 2, 20))


def test_blocks_of_first_order_differ_at_second_order(first_order):
    """The slope of the difference in the size of the updates is 2."""
    (full, linear), move, (x, *_) = first_order
    sizes, found = [1e-3, 2e-3, 4e-3], []
    for size in sizes:
        move(size)
        found.append(np.abs(full.forward(x) - linear.forward(x)).max())
    assert abs(slope(np.array(sizes))(np.array(found)) - 2) < 0.02


def test_their_gradients_are_derivatives(first_order):
    """Against central differences, of the features and of both learned matrices."""
    (_, block), _, (x, e, delta) = first_order
    h, taught = 1e-6, [len(moved.pairs) for moved in block.moved]

    def value(at):
        return float(np.sum(block.forward(at) * delta))

    slope_of_x = (value(x + h * e) - value(x - h * e)) / (2 * h)
    block.forward(x)
    assert_allclose(np.sum(block.backward(delta) * e), slope_of_x, rtol=1e-6)
    for moved, count in zip(block.moved, taught, strict=True):
        (g, y), moved.pairs = moved.pairs[-1], moved.pairs[:count]
        left, right = np.random.default_rng(8).standard_normal((2, 1, 1, 20))
        values = []
        for size in (h, -h):
            moved.pairs.append((size * left, right))
            values.append(value(x))
            moved.pairs.pop()
        along = np.einsum("sbi,sbj,sai,saj->", g / moved.rate, y, left, right) / 20
        assert_allclose((values[0] - values[1]) / (2 * h), -along, rtol=1e-6)


# Jackknife.


def test_jackknife_of_a_mean_is_its_standard_error():
    runs = np.random.default_rng(1).standard_normal((12, 3))
    found = jackknife(runs)
    assert_allclose(found.error, runs.std(0, ddof=1) / 12**0.5, rtol=1e-12)
    low, high = found[0].interval
    assert_allclose(high - low, 2 * 2.2009851600916384 * found.error[0], rtol=1e-9)  # t of 11 degrees of freedom
    assert_allclose(found.z(found.value + 2 * found.error), -2, rtol=1e-9)


def test_jackknife_intervals_of_ratios_hold_the_truth():
    """Of 400 intervals 95 % do: between 91 and 99 %, false alarms below 1e-4."""
    rng, held = np.random.default_rng(2), 0
    for _ in range(400):
        low, high = jackknife([3, 2] + rng.standard_normal((10, 2)) / 5, lambda mean: mean[0] / mean[1]).interval
        held += low < 1.5 < high
    assert 0.91 < held / 400 < 0.99


# The studies.


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.__name__)
def test_verdicts(study):
    assert study.check() > 0


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.__name__)
def test_scripts_print_and_draw(study, tmp_path, capsys):
    out = tmp_path / "study.png"
    study.main(["--quick", "--out", str(out)])
    said = capsys.readouterr()
    assert "±" in said.out
    assert "nan" not in said.out
    assert max(map(len, said.out.splitlines())) <= 230
    assert out.stat().st_size > 10_000


@pytest.mark.slow
def test_a_network_without_the_copy_is_found_out(monkeypatch):
    """Without anything left out there is no share to be seen."""
    everything = study_weight_reuse.BOTH
    monkeypatch.setattr(study_weight_reuse, "ONLY", (everything,) * 3)
    with pytest.raises(AssertionError):
        study_weight_reuse.check()


@pytest.mark.slow
def test_blocks_that_are_not_expanded_are_found_out(monkeypatch):
    """Updates of a wrong order in L: what is of second order then no longer falls."""
    monkeypatch.setattr(study_linear_updates, "rates_of", lambda problem, blocks: [0.7, 0.7])
    with pytest.raises(AssertionError):
        study_linear_updates.check()


@pytest.mark.slow
def test_updates_that_are_not_entrywise_are_found_out(monkeypatch):
    """SGD under the name of SignSGD has the stable rank of SGD."""
    monkeypatch.setitem(study_adaptive_updates.OPTIMIZERS, "SignSGD", SGD)
    with pytest.raises(AssertionError):
        study_adaptive_updates.check()


@pytest.mark.slow
def test_points_that_are_exchanged_are_found_out(monkeypatch):
    half, one = study_two_layer_depth.POINTS.values()
    monkeypatch.setattr(study_two_layer_depth, "POINTS", {"1/2": half, "1": half})
    with pytest.raises((AssertionError, ValueError)):
        study_two_layer_depth.check()
    assert one != half


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.__name__)
def test_full_studies_print_what_is_in_the_docs(study, capsys):
    """The numbers on the site are those of the command it names, but for round-off and what is small beside its error."""
    study.main([])
    now, kept = capsys.readouterr().out, (ROOT / "docs" / f"{study.__name__}.txt").read_text()
    old, new = (np.array([float(word) for word in text.split() if _number(word)]) for text in (kept, now))
    assert old.shape == new.shape
    assert np.mean(np.abs(old - new) < 0.01 + 0.05 * np.abs(old)) > 0.95


def _number(word):
    try:
        float(word.strip("[],"))
    except ValueError:
        return False
    return word == word.strip("[],")


def test_what_was_learned_is_a_sum_of_outer_products():
    learned, rng = Learned(0.5), np.random.default_rng(9)
    g, y, x = rng.standard_normal((3, 2, 8))
    learned.learn(g, y)
    assert_allclose(learned(plain_network.FORWARD, x), -0.5 / 8 * x @ y.T @ g)
    assert_allclose(learned(plain_network.BACKWARD, x), -0.5 / 8 * x @ g.T @ y)


def test_an_unseen_matrix_and_its_transpose_are_one():
    problem = Problem(ResNet("linear"), DEPTH_MUP, SGD(1.0, 1), [[1.0]], [[1.0]])
    (_, _), [[matrix]] = infinite(problem, 1, 256, (1,))
    assert isinstance(matrix, Unseen)
    x, g = np.random.default_rng(3).standard_normal((2, 2, 256))
    forward, backward = matrix(plain_network.FORWARD, x), matrix(plain_network.BACKWARD, g)
    assert_allclose(g @ forward.T, backward @ x.T, atol=1e-9)
    silent = infinite(problem, 1, 256, (1,), ())[1][0][0]
    assert not np.allclose(g @ silent(plain_network.FORWARD, x).T, silent(plain_network.BACKWARD, g) @ x.T, atol=1)
