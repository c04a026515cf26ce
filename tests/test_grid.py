"""Grids: every member is the network that `simulate` trains alone, however they are split; losses, divergence, memory, Ctrl-C."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import XI, Y2, Y
from numpy.testing import assert_allclose, assert_array_equal

import limits
from limits import Record, grid, library, simulate
from limits.data import digits, minibatches
from limits.finite import engines, grids
from limits.finite.ensemble import SHARE_OF_MEMORY
from limits.finite.grids import Grid
from limits.library import open_library
from limits.optimizers import SGD, Adam, AdamW, Muon, SignSGD
from limits.parametrization import COMPLETEP, DEPTH_MUP, Parametrization
from limits.problem import Problem, ResNet
from limits.trajectory import Interrupted

pytestmark = pytest.mark.filterwarnings("ignore::limits.UncentredWarning")

BATCHES = [[0, 1, 2], [2, 2, 1], [0, 1], [1, 1]]
LRS, MULTIPLIERS = [0.2, 0.0, 0.4], [0.7, 1.2]
PROBES = {"probes": [[0.2, 0.1], [1.0, -1.0]], "probe_targets": [[0.3, 0.1], [0.0, 0.5]]}
PROBLEMS = {
    "linear, SGD": Problem(ResNet(), DEPTH_MUP, SGD(0.3, 4, 0.1, 0.2, momentum=0.5), XI, Y2),
    "post, SGD": Problem(ResNet("tanh"), DEPTH_MUP, SGD([0.1, 0.4, 0.0, 0.2], 4), XI, Y2, **PROBES),
    "pre, Adam": Problem(
        ResNet("relu", form="pre"), DEPTH_MUP, Adam([0.1, 0.2, 0.3, 0.3], 4, output_lr=0.1), XI, Y2, batches=BATCHES
    ),
    "mlp, AdamW": Problem(ResNet("relu", 2, form="mlp"), COMPLETEP, AdamW(0.3, 4, 0.1, weight_decay=0.2), XI, Y2, **PROBES),
    "norm, signs": Problem(
        ResNet("tanh", 2, layer_norm=True),
        Parametrization("1/2", ("1/2", "1/4")),
        SignSGD(0.3, 4),
        XI,
        [2, 0, 1],
        loss="cross_entropy",
    ),
    "mlp, Muon": Problem(
        ResNet("tanh", 2, form="mlp"),
        COMPLETEP,
        Muon(0.2, 4),
        XI,
        np.sign(Y2),
        loss="logistic",
        batches=BATCHES,
        **(PROBES | {"probe_targets": [[1, -1], [1, 1]]}),
    ),
}
SIZES = {"width": 9, "blocks": 4, "seeds": 3, "seed": 5, "dtype": "float64"}


@pytest.fixture(params=PROBLEMS)
def problem(request):
    return PROBLEMS[request.param]


def inner(problem):
    return {} if problem.model.block_depth == 1 else {"block_width": 12}


def ran(problem, **options):
    return grid(problem, **(SIZES | inner(problem) | {"lrs": LRS, "multipliers": MULTIPLIERS} | options))


def member(problem, lr, multiplier):
    """The problem of one member: the schedule has this rate as its largest."""
    schedule = problem.optimizer.schedule() / max(problem.optimizer.schedule())
    optimizer = replace(problem.optimizer, lr=lr * schedule)
    return replace(problem, optimizer=optimizer, model=replace(problem.model, multiplier=multiplier))


def losses(problem, answer):
    """Of every seed of a trajectory, over all inputs and over all probes, shape (seeds, T + 1)."""
    value, p = problem.loss_function.value, problem.n_samples
    probes = None if problem.probe_targets is None else value(answer.samples[:, :, p:], problem.probe_targets).mean(-1)
    return value(answer.samples[:, :, :p], problem.targets).mean(-1), probes


def test_every_member_is_the_network_that_is_simulated_alone(problem):
    found = ran(problem)
    for a, multiplier in enumerate(MULTIPLIERS):
        for r, lr in enumerate(LRS):
            one = member(problem, lr, multiplier)
            mine, probes = losses(one, simulate(one, record=Record(kinds=()), **SIZES, **inner(problem)))
            assert_allclose(found.losses[a, r], mine[:, found.evaluations], rtol=0, atol=1e-13)
            if probes is not None:
                assert_allclose(found.probe_losses[a, r], probes[:, found.evaluations], rtol=0, atol=1e-13)
    assert np.ptp(found.losses[:, :, :, -1], axis=1).min() > 1e-3  # rates matter,
    assert np.ptp(found.losses[:, :, :, -1], axis=0).min() > 1e-4  # and so do multipliers


def test_losses_are_known_at_all_evaluations_or_with_batches_at_both_ends(problem):
    found = ran(problem)
    wanted = range(5) if problem.batches is None else (0, 4)
    assert_array_equal(found.evaluations, list(wanted))
    assert found.losses.shape == (2, 3, 3, len(found.evaluations))
    assert (found.probe_losses is None) == (problem.probe_targets is None)
    if found.probe_losses is not None:
        assert found.probe_losses.shape == found.losses.shape


def test_the_first_evaluation_does_not_know_the_rate(problem):
    first = ran(problem).losses[..., 0]
    assert_array_equal(np.ptp(first, axis=1), 0)


def test_at_rate_zero_nothing_moves_but_the_ends():
    still = ran(PROBLEMS["post, SGD"]).losses[:, 1]
    assert_array_equal(np.ptp(still, axis=-1), 0)
    assert np.ptp(ran(PROBLEMS["mlp, AdamW"]).losses[:, 1], axis=-1).min() > 0
    alone = ran(PROBLEMS["post, SGD"], lrs=[0.0])
    assert_array_equal(alone.losses[:, 0], still)


def test_a_problem_of_rate_zero_takes_rates_all_the_same():
    problem = replace(PROBLEMS["post, SGD"], optimizer=SGD(0.0, 4))
    assert_array_equal(ran(problem).losses, ran(replace(problem, optimizer=SGD(0.7, 4))).losses)


def test_the_multiplier_is_the_models_by_default():
    problem = replace(PROBLEMS["mlp, AdamW"], model=replace(PROBLEMS["mlp, AdamW"].model, multiplier=1.2))
    found = ran(problem, multipliers=None)
    assert_array_equal(found.multipliers, [1.2])
    assert_array_equal(found.losses[0], ran(problem).losses[1])


# Splitting.


@pytest.mark.parametrize("size", [1, 2, 4, 7, 100])
def test_how_members_are_split_does_not_matter(problem, size, monkeypatch):
    together = ran(problem)
    monkeypatch.setattr(grids, "side_by_side", lambda *_: size)
    again = ran(problem)
    assert_array_equal(again.losses, together.losses)
    if together.probe_losses is not None:
        assert_array_equal(again.probe_losses, together.probe_losses)


def test_a_grid_that_does_not_fit_is_split(problem, monkeypatch):
    """The numbers of all networks that exist at once, drawn and in training, stay below what is free."""
    together = ran(problem)
    one = 8 * engines.Dense(problem, open_library("numpy", None, "float64"), 9, 4, 12 if inner(problem) else 9).numbers_per_seed()
    counted, drawn, right, copied = [], [0], engines.Dense.draw, grids.DenseTraining

    def draw(self, threads, seed, seeds):
        drawn[0] = len(seeds)
        return right(self, threads, seed, seeds)

    def training(problem, library, u, *rest, **named):
        counted.append(drawn[0] + len(u))
        return copied(problem, library, u, *rest, **named)

    monkeypatch.setattr(engines.Dense, "draw", draw)
    monkeypatch.setattr(grids, "DenseTraining", training)
    for fits in (2, 3, 8, 1000):
        monkeypatch.setattr(library, "available_memory", lambda fits=fits: int(1.01 * fits * one / SHARE_OF_MEMORY))
        for rates in (LRS, LRS[:1]):
            counted.clear()
            again = ran(problem, lrs=rates)
            assert_array_equal(again.losses, together.losses[:, : len(rates)])
            assert max(counted) <= fits
        if fits == 8:
            assert max(counted) > 4  # what fits is used
    counted.clear()
    ran(problem, lrs=LRS[:1], multipliers=[1.0])
    assert max(counted) == 6


def test_a_network_that_does_not_fit_twice_is_refused(monkeypatch):
    monkeypatch.setattr(library, "available_memory", lambda: 1000)
    with pytest.raises(
        MemoryError, match=r"one network of width 9 and 4 blocks takes .* GB with its copy, .* make it smaller, or use float32"
    ):
        ran(PROBLEMS["pre, Adam"])


# Divergence.


def diverging():
    model = ResNet("square", 2, 0.7, form="mlp")
    return Problem(model, COMPLETEP, SGD(1.0, 12), XI, Y, probes=PROBES["probes"], probe_targets=[[0.1], [0.2]])


def test_a_network_that_diverges_is_infinite_from_there_and_disturbs_no_other():
    problem, lrs = diverging(), [0.05, 0.3, 0.7, 50.0]
    found = grid(problem, **SIZES | {"seeds": 8}, lrs=lrs)
    lost = ~np.isfinite(found.losses[0])
    assert not lost[0].any()
    assert lost[3, :, -1].all()
    assert 0 < lost[2, :, -1].sum() < 8
    assert np.all(np.diff(lost.astype(int), axis=-1) >= 0)  # for good
    assert np.all(found.losses[0][lost] == np.inf)
    assert np.all(found.probe_losses[0][lost] == np.inf)
    assert np.all(np.isfinite(found.probe_losses[0][~lost]))
    for r, lr in enumerate(lrs):
        alone = grid(problem, **SIZES | {"seeds": 8}, lrs=[lr])
        assert_array_equal(alone.losses[0, 0], found.losses[0, r])


def test_divergence_begins_where_simulate_says():
    problem, sizes = diverging(), SIZES | {"seeds": 8}
    found = grid(problem, **sizes, lrs=[0.7])
    with pytest.warns(limits.DivergenceWarning):
        answer = simulate(member(problem, 0.7, 0.7), record=Record(kinds=()), **sizes)
    for losses, when in zip(found.losses[0, 0], answer.diverged, strict=True):
        assert_array_equal(np.isfinite(losses), np.arange(13) < (when if when >= 0 else 13))


def test_with_batches_what_diverged_is_infinite_at_the_end():
    problem = replace(diverging(), batches=[[0, 1]] * 12)
    found = grid(problem, **SIZES, lrs=[0.05, 50.0])
    assert np.all(np.isfinite(found.losses[0, :, :, 0]))
    assert np.all(np.isfinite(found.losses[0, 0]))
    assert np.all(found.losses[0, 1, :, 1] == np.inf)
    assert np.all(found.probe_losses[0, 1, :, 1] == np.inf)


# Libraries and types.


@pytest.mark.parametrize("backend", ["torch", "array_api_strict"])
def test_every_library_trains_the_same_grid(problem, backend):
    pytest.importorskip(backend)
    assert_allclose(ran(problem, backend=backend).losses, ran(problem).losses, rtol=0, atol=1e-11)


def test_single_precision_is_near_double(problem):
    single = ran(replace(problem, optimizer=replace(problem.optimizer)), dtype="float32").losses
    assert 0 < np.abs(single - ran(problem).losses).max() < 1e-3


def test_brain_floats_are_near_single(torch):
    problem, sizes = PROBLEMS["mlp, AdamW"], {"width": 32, "dtype": "float32"}
    narrow = ran(problem, **sizes | {"dtype": "bfloat16", "backend": "torch"}).losses
    assert 1e-6 < np.abs(narrow - ran(problem, **sizes).losses).max() < 0.05


def test_digits_in_minibatches():
    """Real digits in batches from a seeded stream: 64 samples of 5 classes, 16 at a time, two epochs."""
    data = digits(range(5), samples=64, directions=20, targets="classes", probes=20)
    batches = minibatches(64, 16, steps=8, seed=3)
    problem = data.problem(ResNet("relu", 2, form="mlp"), COMPLETEP, Adam(0.1, 8), batches=batches)
    found = grid(problem, width=64, blocks=8, lrs=[0.0, 0.03, 0.1], seeds=2)
    assert found.losses.shape == (1, 3, 2, 2)
    assert np.all(found.losses[0, 1:, :, 1] < found.losses[0, 1:, :, 0])
    assert np.all(found.probe_losses[0, 2, :, 1] < found.probe_losses[0, 0, :, 1])
    for r, lr in enumerate(found.lrs):
        one = replace(problem, optimizer=replace(problem.optimizer, lr=float(lr)))
        answer = simulate(one, width=64, blocks=8, seeds=2, record=Record(kinds=()))
        assert_allclose(found.losses[0, r].mean(0), answer.losses[[0, -1]], rtol=1e-5)
        assert_allclose(found.probe_losses[0, r].mean(0), answer.probe_losses[[0, -1]], rtol=1e-5)


# Ctrl-C and progress.


def test_progress_counts_networks_times_evaluations(problem, monkeypatch):
    monkeypatch.setattr(grids, "side_by_side", lambda *_: 4)
    calls = []
    ran(problem, progress=lambda done, total: calls.append((done, total)))
    counts = [done for done, _ in calls]
    assert {total for _, total in calls} == {2 * 3 * 3 * 5}
    assert counts == sorted(set(counts))
    assert counts[-1] == 2 * 3 * 3 * 5


def stop_at(count):
    def stop(done, total):
        if done >= count:
            raise KeyboardInterrupt

    return stop


def test_an_interruption_keeps_the_losses_so_far(monkeypatch):
    """Groups of three pairs of the first seed: the first one is done, the second one has two evaluations of five."""
    problem = PROBLEMS["mlp, AdamW"]
    monkeypatch.setattr(grids, "side_by_side", lambda *_: 3)
    with pytest.raises(Interrupted) as caught:
        ran(problem, progress=stop_at(3 * 5 + 3 * 2))
    part, whole = caught.value.partial, ran(problem)
    assert isinstance(part, Grid)
    assert part.meta["partial"] is True
    assert "partial" not in whole.meta
    known = np.zeros(whole.losses.shape, bool)
    known[0, :, 0] = known[1, :, 0, :2] = True
    assert_array_equal(np.isfinite(part.losses), known)
    assert np.all(np.isnan(part.losses[~known]))
    assert_array_equal(part.losses[known], whole.losses[known])
    assert_array_equal(part.probe_losses[known], whole.probe_losses[known])


def test_an_interruption_before_anything_is_a_plain_one(monkeypatch):
    def stop(*given, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(engines.Dense, "draw", stop)
    with pytest.raises(KeyboardInterrupt) as caught:
        ran(PROBLEMS["post, SGD"])
    assert not isinstance(caught.value, Interrupted)


# Values and sentences.


def test_a_grid_says_what_it_is():
    found = ran(PROBLEMS["pre, Adam"])
    assert repr(found) == "Grid(width=9, blocks=4, 3 seeds, 3 learning rates, 2 multipliers, 4 steps)"
    assert found.meta["seconds"] > 0
    assert {k: found.meta[k] for k in SIZES} == SIZES
    assert_array_equal(found.lrs, LRS)
    assert found.problem is PROBLEMS["pre, Adam"]


def test_a_run_without_steps_has_one_evaluation():
    found = ran(PROBLEMS["post, SGD"].prefix(0))
    assert found.losses.shape == (2, 3, 3, 1)


@pytest.mark.parametrize(
    ("options", "kind", "sentence"),
    [
        ({"lrs": []}, ValueError, r"lrs must be a list of numbers, got \[\]"),
        ({"lrs": np.array([[0.1]])}, ValueError, r"lrs must be a list of numbers, got array\(\[\[0.1\]\]\)"),
        ({"lrs": [0.1, -0.2]}, ValueError, r"lrs\[1\] must be finite and >= 0, got -0.2"),
        ({"lrs": [np.nan]}, ValueError, r"lrs\[0\] must be finite and >= 0, got nan"),
        ({"lrs": np.array(["a"])}, TypeError, r"lrs\[0\] must be a number >= 0, got 'a'"),
        ({"multipliers": [0.0]}, ValueError, r"multipliers\[0\] must be finite and > 0, got 0.0"),
        ({"multipliers": []}, ValueError, r"multipliers must be a list of numbers, got \[\]"),
        ({"width": 0}, ValueError, "width must be a whole number >= 1, got 0"),
        ({"seeds": 0}, ValueError, "seeds must be a whole number >= 1, got 0"),
        ({"seed": -1}, ValueError, "seed must be a whole number >= 0, got -1"),
        ({"block_width": 5}, ValueError, "block_width is for blocks of several layers, got 5 for block_depth=1: leave it out"),
        ({"backend": "abacus"}, ValueError, "backend must be one of numpy, torch, got 'abacus'"),
        ({"dtype": "bfloat16"}, ValueError, "dtype 'bfloat16' needs backend='torch'"),
    ],
)
def test_bad_input_gets_a_sentence(options, kind, sentence):
    with pytest.raises(kind, match=sentence):
        ran(PROBLEMS["post, SGD"], **options)


@pytest.mark.parametrize("optimizer", [SGD(1.0, steps=1), Adam(1.0, steps=1)], ids=["SGD", "Adam"])
def test_rates_beyond_the_range_of_the_type_diverge_without_a_word(optimizer):
    """Warnings are errors here: of 1e308, which is infinite in single precision, and of a multiplier that is."""
    problem = replace(PROBLEMS["post, SGD"], optimizer=optimizer, batches=None)
    found = ran(problem, lrs=[0.1, 1e308], multipliers=[1.0, 1e308], dtype="float32").losses[..., -1]
    assert np.all(np.isfinite(found[0, 0]))
    assert np.all(np.isinf(found[:, 1]))
    assert np.all(np.isinf(found[1]))


# Faults.


def absolute_rates(monkeypatch):
    monkeypatch.setattr(grids._Members, "_relative", lambda self, rates: rates)


def shared_weights(monkeypatch):
    """Groups train the drawn weights themselves, so that the second one begins where the first one ended."""
    monkeypatch.setattr(grids, "side_by_side", lambda *_: 3)
    right = grids.DenseTraining
    kept = {}

    def training(problem, library, u, v, weights, **rest):
        return right(problem, library, u, v, kept.setdefault(id(problem), weights), **rest)

    monkeypatch.setattr(grids, "DenseTraining", training)


def one_multiplier(monkeypatch):
    right = grids.DenseTraining
    monkeypatch.setattr(
        grids, "DenseTraining", lambda *given, multipliers, **rest: right(*given, multipliers=0 * multipliers + 0.7, **rest)
    )


@pytest.mark.parametrize("fault", [absolute_rates, shared_weights, one_multiplier])
def test_injected_fault_is_caught(fault, monkeypatch):
    problem = PROBLEMS["mlp, AdamW"]
    test_every_member_is_the_network_that_is_simulated_alone(problem)
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        test_every_member_is_the_network_that_is_simulated_alone(problem)
