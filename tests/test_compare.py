"""The ladder: fits and extrapolations in closed form, its contents, its rates, interruptions, and executors."""

import json
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
from conftest import CATALOGUE, at
from numpy.testing import assert_allclose, assert_array_equal

import limits.compare.rungs
from limits import DivergedError, NoLimitError, Record, ladder, recurse, simulate, solve
from limits.compare import Ladder, extrapolate, fit_power_law
from limits.finite import DivergenceWarning
from limits.optimizers import SGD
from limits.trajectory import Interrupted

SMALL = {"widths": (8, 16), "blocks": (2, 4, 8), "finite_blocks": 4, "seeds": 4}
NAMES = [("deep", 0), ("wide", 2), ("wide", 4), ("wide", 8), ("finite", 8), ("finite", 16)]
NOTHING = Record(kinds=())


@pytest.fixture(scope="module")
def small() -> Ladder:
    return ladder(CATALOGUE["inputs"], **SMALL)


def runs_of(answer):
    """All trajectories of a ladder by rung and size."""
    found = {("wide", L): run for L, run in answer.wide.items()} | {("finite", n): run for n, run in answer.finite.items()}
    return found | ({} if answer.deep is None else {("deep", 0): answer.deep})


def assert_same(one, other):
    """Identical numbers, also in what is derived from them."""
    assert runs_of(one).keys() == runs_of(other).keys()
    for key, run in runs_of(one).items():
        for name in ("outputs", "error", "losses", "batch_losses", "feature_kernel", "samples"):
            a, b = getattr(run, name), getattr(runs_of(other)[key], name)
            assert (a is None) == (b is None)
            assert a is None or np.array_equal(a, b, equal_nan=True), (key, name)
    assert one.no_limit == other.no_limit
    assert one.failed == other.failed
    assert_array_equal(one.depth_law().errors, other.depth_law().errors)
    assert_array_equal(one.width_law().spread, other.width_law().spread)


def as_json(answer):
    """What `to_json` gives, through a strict JSON file."""
    return json.loads(json.dumps(answer.to_json(), allow_nan=False))


# Fits.


@pytest.mark.parametrize(("exponent", "prefactor"), [(-1.0, 3.0), (-0.5, 0.01), (2.25, 7e5)])
def test_a_power_law_is_found_exactly(exponent, prefactor):
    sizes = np.array([3.0, 10.0, 11.0, 400.0])
    law = fit_power_law(sizes, prefactor * sizes**exponent)
    assert_allclose([law.exponent, law.prefactor], [exponent, prefactor], rtol=1e-12, atol=0)
    assert_allclose(law.exponent_error, 0, rtol=0, atol=1e-12)
    assert_allclose(law.local_exponents(), exponent, rtol=1e-12, atol=0)
    assert_allclose(law([20.0, 1.0]), prefactor * np.array([20.0, 1.0]) ** exponent, rtol=1e-12, atol=0)
    assert_array_equal(law.spread, np.zeros(4))


def test_equal_spreads_do_not_change_the_fit_and_give_its_interval():
    """Var k = (relative spread)^2 / sum (log s - mean)^2, in closed form for sizes e^-1, 1, e."""
    sizes, errors = np.exp([-1.0, 0.0, 1.0]), np.exp([1.1, 0.2, -0.9])
    plain, weighted = fit_power_law(sizes, errors), fit_power_law(sizes, errors, 0.1 * errors)
    assert_allclose([plain.exponent, weighted.exponent], -1.0, rtol=1e-12, atol=0)
    assert_allclose(weighted.exponent_error, 1.96 * 0.1 / np.sqrt(2), rtol=1e-12, atol=0)
    residual = np.array([1.1, 0.2, -0.9]) - (0.4 / 3 + np.array([1.0, 0.0, -1.0]))
    assert_allclose(plain.exponent_error, 1.96 * np.sqrt(residual @ residual / 2), rtol=1e-10, atol=0)


def test_a_noisy_point_has_little_weight():
    """Points 1 and 2 on a line of slope -1, the third off it: the more it is trusted, the more it counts."""
    sizes, errors = [1.0, 2.0, 4.0], [1.0, 0.5, 0.5]
    slopes = [fit_power_law(sizes, errors, [1e-3, 5e-4, s]).exponent for s in (5e-4, 5e-3, 1.0)]
    assert_allclose(slopes[0], -0.5, rtol=1e-10, atol=0)
    assert slopes[0] > slopes[1] > slopes[2]
    assert_allclose(slopes[2], -1, rtol=0, atol=1e-4)


def test_some_exact_points_make_the_fit_unweighted():
    sizes, errors = [1.0, 2.0, 4.0], [1.0, 0.5, 0.5]
    assert fit_power_law(sizes, errors, [0.1, 0.1, 0.0]).exponent == fit_power_law(sizes, errors).exponent


def test_two_points_have_no_interval():
    law = fit_power_law([2, 4], [1.0, 0.25])
    assert_allclose(law.exponent, -2, rtol=1e-12, atol=0)
    assert np.isnan(law.exponent_error)


def test_intervals_cover_what_they_say():
    """95 % of 2000 fits to noisy errors hold the true slope; binomial standard error 0.5 %, so 4 of them: false alarms 6e-5."""
    rng, sizes = np.random.default_rng(5), np.array([10.0, 20, 40, 80])
    spread = np.array([0.01, 0.02, 0.03, 0.06]) * sizes**-0.5
    laws = [fit_power_law(sizes, sizes**-0.5 + spread * rng.standard_normal(4), spread) for _ in range(2000)]
    covered = np.mean([abs(law.exponent + 0.5) < law.exponent_error for law in laws])
    assert abs(covered - 0.95) < 0.02


@pytest.mark.parametrize(
    ("sizes", "errors", "spread"),
    [
        ([1], [1.0], None),
        ([], [], None),
        ([2, 2], [1.0, 1.0], None),
        ([1, 2], [1.0, 0.0], None),
        ([1, 2], [1.0, -1.0], None),
        ([1, 2], [1.0, float("nan")], None),
        ([1, 2], [1.0, float("inf")], None),
        ([0, 2], [1.0, 1.0], None),
        ([1, 2, 3], [1.0, 1.0], None),
        ([1, 2], [1.0, 1.0], [0.1]),
    ],
)
def test_no_rate_without_two_sizes_and_positive_errors(sizes, errors, spread):
    with pytest.raises(ValueError, match="a rate needs at least two sizes with positive errors"):
        fit_power_law(sizes, errors, spread)


# Extrapolation.


@pytest.mark.parametrize("sizes", [[8, 16, 32, 64], [3, 5, 11, 7], [100, 10, 1, 50]])
def test_extrapolation_is_exact_on_polynomials(sizes, rng):
    coefficients = rng.standard_normal((4, 2, 3))
    values = [sum(c / L**k for k, c in enumerate(coefficients)) for L in sizes]
    assert_allclose(extrapolate(sizes, values), coefficients[0], rtol=0, atol=1e-11)
    assert_allclose(extrapolate(sizes, np.array(values)), coefficients[0], rtol=0, atol=1e-11)


def test_extrapolation_of_one_value_is_that_value():
    assert_array_equal(extrapolate([7], [np.array([1.0, 2.0])]), [1.0, 2.0])
    assert float(extrapolate([1, 2], [1.5, 1.25])) == 1.0


@pytest.mark.parametrize(("sizes", "values"), [([], []), ([4, 4], [1.0, 1.0]), ([1, 2], [1.0])])
def test_extrapolation_needs_a_value_for_each_size(sizes, values):
    with pytest.raises(ValueError, match="an extrapolation needs one value for each of several sizes"):
        extrapolate(sizes, values)


# Contents.


def test_a_ladder_holds_the_runs_it_names(small):
    problem = CATALOGUE["inputs"]
    assert (list(small.wide), list(small.finite), small.finite_blocks) == ([2, 4, 8], [8, 16], 4)
    assert_array_equal(small.deep.outputs, solve(problem, tol=1e-10, record=limits.compare.rungs._profile(problem)).outputs)
    assert_array_equal(small.wide[8].outputs, recurse(problem, blocks=8).outputs)
    want = simulate(problem, width=16, blocks=4, seeds=4, record=NOTHING)
    assert_array_equal(small.finite[16].samples, want.samples)
    assert small.no_limit is None
    assert not small.partial
    assert not small.failed
    assert small.deep.feature_kernel.shape == (4, 4, 33, 3, 3)
    assert small.wide[8].feature_kernel is None


def test_errors_are_those_of_the_definition(small):
    for L, error in small.depth_errors().items():
        assert_allclose(error, np.sqrt(np.mean((small.wide[L].outputs - small.deep.outputs) ** 2)), rtol=1e-12, atol=0)
    squares = np.mean((small.finite[16].samples - small.wide[4].outputs) ** 2, axis=(1, 2, 3))
    error, spread = small.width_errors()[16]
    assert_allclose(error**2, squares.mean(), rtol=1e-12, atol=0)
    assert_allclose(spread, squares.std(ddof=1) / 2 / (2 * error), rtol=1e-12, atol=0)  # delta method, four seeds


def test_sizes_are_sorted_and_counted_once():
    answer = ladder(CATALOGUE["single"].prefix(1), widths=(16, 8, 16), blocks=(8, 2, 8), finite_blocks=8, seeds=2)
    assert (list(answer.wide), list(answer.finite)) == ([2, 8], [8, 16])


def test_options_reach_the_runs():
    record = Record(positions=(1,), samples=(0,), kinds=("feature", "gradient"))
    options = {"seed": 3, "dtype": "float64", "tol": 1e-6, "record": record}
    answer = ladder(CATALOGUE["inputs"], widths=(8,), blocks=(4,), finite_blocks=4, seeds=2, **options)
    assert answer.deep.meta["tol"] == 1e-6
    assert answer.finite[8].meta["dtype"] == "float64"
    want = simulate(CATALOGUE["inputs"], width=8, blocks=4, seeds=2, seed=3, dtype="float64", record=NOTHING)
    assert_array_equal(answer.finite[8].samples, want.samples)
    for run in runs_of(answer).values():
        assert run.gradient_kernel.shape == (4, 4, 1, 1, 1)


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"widths": (8, 0)}, "width must be a whole number >= 1, got 0"),
        ({"blocks": (2, -1)}, "blocks must be a whole number >= 1, got -1"),
        ({"finite_blocks": 0}, "finite_blocks must be a whole number >= 1, got 0"),
        ({"seeds": 0}, "seeds must be a whole number >= 1, got 0"),
        ({"tol": 2.0}, "tol must be"),
        ({"dtype": "float16"}, "dtype must be one of float32, float64"),
    ],
)
def test_bad_sizes_get_a_sentence(sizes, sentence):
    with pytest.raises(ValueError, match=sentence):
        ladder(CATALOGUE["single"].prefix(1), **(SMALL | sizes))


# Rates.


def test_depth_law_is_minus_one():
    """A fit over the largest half of eight sizes, 128 … 1024; its error goes like 1/L: -0.998."""
    answer = ladder(CATALOGUE["inputs"].prefix(2), widths=(), blocks=[8 * 2**k for k in range(8)], finite_blocks=8)
    law = answer.depth_law()
    assert_array_equal(law.sizes, [128, 256, 512, 1024])
    assert abs(law.exponent + 1) < 0.05
    assert np.all(np.diff(np.abs(law.local_exponents() + 1)) < 0)
    assert answer.depth_order == -1
    assert answer.extrapolation_error() < 1e-9
    assert answer.width_law() is None


def test_width_law_is_minus_one_half():
    """100 seeds of 5 widths scatter the slope by 0.02 (one standard error): false alarms below 1e-5; seeds are fixed."""
    widths = (16, 32, 64, 128, 256)
    answer = ladder(CATALOGUE["outputs"].prefix(2), widths=widths, blocks=(), finite_blocks=3, seeds=100)
    law = answer.width_law()
    assert_array_equal(law.sizes, widths)
    assert abs(law.exponent + 0.5) < 0.1
    assert 0.01 < law.exponent_error < 0.08
    assert np.all((law.spread > 0) & (law.spread < 0.2 * law.errors))


def test_rates_towards_other_limits_are_measured_without_an_expectation():
    answer = ladder(at(CATALOGUE["inputs"].prefix(2), "3/4", "1/4"), widths=(), blocks=(128, 256, 512), finite_blocks=128)
    assert answer.depth_order is None
    assert answer.extrapolation_error() is None
    assert abs(answer.depth_law().exponent + 0.5) < 0.05
    assert "expected L" not in answer.table()


# Tables and JSON.


def test_table_says_sizes_errors_and_rates(small):
    lines = small.table().splitlines()
    assert lines[0].split() == ["rung", "blocks", "width", "error", "against", "final", "loss", "seconds"]
    assert [line.split()[:3] for line in lines[1:7]] == [
        ["finite", "4", "8"],
        ["finite", "4", "16"],
        ["wide", "2", "∞"],
        ["wide", "4", "∞"],
        ["wide", "8", "∞"],
        ["deep", "∞", "∞"],
    ]
    assert f"{small.depth_errors()[8]:.2e}" in lines[5]
    assert f"{small.deep.losses[-1]:.6f}" in lines[6]
    law = small.width_law()
    assert lines[8].startswith(f"finite -> wide: error ~ n^({law.exponent:.3f} ± {law.exponent_error:.3f}) (95 %, over seeds)")
    assert f"error ~ L^({small.depth_law().exponent:.3f}), by doubling" in lines[9]
    assert lines[10].startswith("wide extrapolated to L = ∞ (Richardson) differs from deep by")
    assert len(lines) == 11


def test_json_holds_the_table_and_the_curves(small):
    value = as_json(small)
    assert value["depth_law"]["exponent"] == small.depth_law().exponent
    assert value["width_law"]["exponent_95"] == small.width_law().exponent_error
    assert value["width_errors"]["16"] == dict(zip(("error", "standard_error"), small.width_errors()[16], strict=True))
    assert value["depth_errors"] == {str(L): e for L, e in small.depth_errors().items()}
    assert value["extrapolation_error"] == small.extrapolation_error()
    assert_array_equal(value["deep"]["losses"], small.deep.losses)
    assert_array_equal(value["wide"]["8"]["losses"], small.wide[8].losses)
    assert value["finite"]["16"]["meta"]["seeds"] == 4
    assert (value["partial"], value["no_limit"], value["failed"]) == (False, None, {})


def test_classes_have_their_accuracy_in_json():
    value = as_json(ladder(CATALOGUE["classes"].prefix(1), **SMALL))
    assert len(value["deep"]["accuracy"]) == 2


LITTLE = {
    "one seed": {"seeds": 1},
    "one seed of one width": {"seeds": 1, "widths": (8,)},
    "one width": {"widths": (8,)},
    "one depth": {"blocks": (4,)},
    "no networks": {"widths": ()},
    "no other depths": {"widths": (), "blocks": ()},
    "no kernels": {"record": NOTHING},
}


@pytest.mark.parametrize("name", LITTLE)
def test_little_ladders_have_tables_and_strict_json(name):
    answer = ladder(CATALOGUE["inputs"], **(SMALL | LITTLE[name]))
    value, table = as_json(answer), answer.table()
    assert "nan" not in table
    assert "± 0" not in table
    assert (value["width_law"] is None) == (len(answer.finite) < 2)
    assert (value["depth_law"] is None) == (len(answer.wide) < 2)
    if answer.finite and answer.finite[8].meta["seeds"] == 1:
        assert value["width_errors"]["8"]["standard_error"] is None
        assert value["finite"]["8"]["largest_error"] is None


@pytest.mark.parametrize("steps", [0, 1])
def test_ladders_of_few_steps(steps):
    """Without a step wide and deep agree exactly (f = 0), and there is no rate between them."""
    answer = ladder(CATALOGUE["inputs"].prefix(steps), **SMALL)
    as_json(answer)
    assert answer.deep.outputs.shape[0] == steps + 1
    assert (answer.depth_law() is None) == (steps == 0)
    assert "nan" not in answer.table()


def test_a_frozen_limit_has_a_ladder():
    answer = ladder(at(CATALOGUE["inputs"], 1, 1), **SMALL)
    as_json(answer)
    assert_array_equal(answer.deep.outputs, np.zeros_like(answer.deep.outputs))
    assert answer.depth_order is None


# Without a limit, and with runs that fail.


@pytest.mark.parametrize(("alpha", "gamma", "said"), [(0, "1", "1/2 - alpha = 1/2 > 0"), ("1/2", 0, "alpha + gamma = 1/2 < 1")])
def test_without_a_limit_the_other_rungs_stand(alpha, gamma, said):
    problem = at(CATALOGUE["inputs"].prefix(1), alpha, gamma)
    answer = ladder(problem, **SMALL)
    with pytest.raises(NoLimitError) as caught:
        solve(problem)
    assert answer.deep is None
    assert answer.no_limit == str(caught.value)
    assert said in answer.no_limit
    assert not answer.failed
    assert (list(answer.wide), list(answer.finite)) == ([2, 4, 8], [8, 16])
    assert (answer.depth_errors(), answer.depth_law(), answer.extrapolation_error()) == ({}, None, None)
    assert answer.width_law() is not None
    table, value = answer.table(), as_json(answer)
    assert f"no deep limit: {answer.no_limit}" in table
    assert not [line for line in table.splitlines() if line.startswith("deep ")]
    assert (value["deep"], value["no_limit"]) == (None, answer.no_limit)


def test_a_run_that_diverges_leaves_the_others_standing():
    """At alpha = gamma = 0 outputs after three steps at L = 8 leave the range of numbers, those at L = 4 do not."""
    answer = ladder(at(CATALOGUE["inputs"], 0, 0), **(SMALL | {"widths": (16, 32)}))
    assert list(answer.wide) == [2, 4]
    why = "training diverges: outputs at step 3 exceed 1e+150; lower the learning rate or the multiplier"
    assert answer.failed == {"wide, L = 8": why}
    assert "wide, L = 8: training diverges" in answer.table()
    assert as_json(answer)["failed"] == answer.failed


def test_seeds_that_diverge_are_left_out():
    """One of 128 networks of width 16 explodes."""
    options = {"widths": (16, 64), "blocks": (), "finite_blocks": 4, "seeds": 128}
    with pytest.warns(DivergenceWarning, match="of 128 seeds diverged"):
        answer = ladder(replace(CATALOGUE["single"], optimizer=SGD(1.5, steps=5)), **options)
    run = answer.finite[16]
    kept = run.samples[run.diverged < 0]
    assert 0 < len(kept) < 128
    error = np.sqrt(np.mean((kept - answer.wide[4].outputs) ** 2))
    assert_allclose(answer.width_errors()[16][0], error, rtol=1e-12, atol=0)
    as_json(answer)
    assert "nan" not in answer.table()


def test_a_ladder_of_which_nothing_stands_raises():
    with pytest.raises(DivergedError, match=r"training diverges: .*lower the learning rate"):
        ladder(replace(CATALOGUE["single"], optimizer=SGD(1e60, steps=4)), **SMALL)


def test_a_failing_run_raises_its_own_error(monkeypatch):
    monkeypatch.setattr(limits.compare.rungs, "recurse", fails)
    with pytest.raises(ZeroDivisionError, match="my own"):
        ladder(CATALOGUE["single"], **SMALL)


def fails(problem, **options):
    raise ZeroDivisionError("my own")


# Progress and interruptions.


def test_progress_counts_the_runs():
    seen = []
    ladder(CATALOGUE["single"].prefix(1), **SMALL, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(k, 6) for k in range(1, 7)]


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor])
@pytest.mark.parametrize("finished", [1, 3, 5])
def test_ctrl_c_leaves_what_is_finished(finished, executor):
    def stop(done, total):
        if done == finished:
            raise KeyboardInterrupt

    pool = None if executor is None else executor(1)
    with pytest.raises(Interrupted) as caught:
        ladder(CATALOGUE["inputs"], **SMALL, progress=stop, executor=pool)
    partial = caught.value.partial
    assert isinstance(partial, Ladder)
    assert partial.partial
    assert len(runs_of(partial)) == finished
    value = as_json(partial)
    assert value["partial"]
    assert "partial: the comparison was interrupted" in partial.table()
    if pool is not None:
        pool.shutdown()


def test_ctrl_c_within_a_run_keeps_the_runs_before_it(monkeypatch):
    """The run's own partial trajectory is not part of the ladder."""

    def interrupted(problem, *, blocks, **options):
        run = recurse(problem, blocks=blocks, **options)
        if blocks == 8:
            raise Interrupted(run)
        return run

    monkeypatch.setattr(limits.compare.rungs, "recurse", interrupted)
    with pytest.raises(Interrupted) as caught:
        ladder(CATALOGUE["inputs"], **SMALL)
    assert list(runs_of(caught.value.partial)) == [("wide", 2), ("wide", 4), ("deep", 0)]


def test_ctrl_c_within_the_first_run_leaves_nothing(monkeypatch):
    """Not the partial trajectory of that run, which is no ladder."""

    def interrupted(problem, **options):
        raise Interrupted(solve(problem, **options))

    monkeypatch.setattr(limits.compare.rungs, "solve", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        ladder(CATALOGUE["single"], **SMALL)
    assert not hasattr(caught.value, "partial")


# Executors.


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_give_identical_numbers(small, workers):
    seen = []
    with ThreadPoolExecutor(workers) as executor:
        answer = ladder(CATALOGUE["inputs"], **SMALL, executor=executor, progress=lambda *count: seen.append(count))
    assert_same(answer, small)
    assert seen == [(k, 6) for k in range(1, 7)]
    assert (list(answer.wide), list(answer.finite)) == ([2, 4, 8], [8, 16])


def test_processes_give_identical_numbers(small):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        assert_same(ladder(CATALOGUE["inputs"], **SMALL, executor=executor), small)
        answer = ladder(at(CATALOGUE["inputs"].prefix(1), 0, 1), **SMALL, executor=executor)
        assert "1/2 - alpha = 1/2 > 0" in answer.no_limit
        answer = ladder(at(CATALOGUE["inputs"], 0, 0), **(SMALL | {"widths": (16,)}), executor=executor)
        assert list(answer.failed) == ["wide, L = 8"]
        with pytest.raises(ValueError, match="dtype must be one of"):
            ladder(CATALOGUE["inputs"], **SMALL, dtype="float16", executor=executor)


@pytest.fixture
def dask_client():
    """A client of a cluster of one worker in this process, on the loopback interface only."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client


def test_dask_gives_identical_numbers(small, dask_client):
    with dask_client.get_executor() as executor:
        assert_same(ladder(CATALOGUE["inputs"], **SMALL, executor=executor), small)


def test_dask_raises_the_error_of_a_run(dask_client):
    with dask_client.get_executor() as executor, pytest.raises(ValueError, match="dtype must be one of"):
        ladder(CATALOGUE["inputs"], **SMALL, dtype="float16", executor=executor)


class Remembering(ThreadPoolExecutor):
    """One worker, and the futures it was given."""

    def __init__(self) -> None:
        super().__init__(1)
        self.futures = []

    def submit(self, *given, **named):
        self.futures.append(super().submit(*given, **named))
        return self.futures[-1]


def test_a_failing_run_cancels_the_others(monkeypatch):
    """The second of six fails; the third may have begun by then, the last three have not."""
    monkeypatch.setattr(limits.compare.rungs, "recurse", fails)
    with Remembering() as executor:
        with pytest.raises(ZeroDivisionError, match="my own"):
            ladder(CATALOGUE["inputs"], **SMALL, executor=executor)
        assert [f.cancelled() for f in executor.futures[:2]] == [False, False]
        assert any(f.cancelled() for f in executor.futures[2:])
        assert all(f.cancelled() or f.running() or f.done() for f in executor.futures)


def test_ctrl_c_cancels_what_has_not_begun():
    def stop(done, total):
        raise KeyboardInterrupt

    with Remembering() as executor:
        with pytest.raises(Interrupted):
            ladder(CATALOGUE["inputs"], **SMALL, executor=executor, progress=stop)
        assert executor.futures[-1].cancelled()
