"""Transfer: exact curves against the theory, optima and their error bars, drifts, sublevel sets, networks, pictures."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal

from limits import DEPTH_MUP, Parametrization, Problem, Record, ResNet, plots, recurse, simulate, solve
from limits.compare import fit_power_law, transfer
from limits.compare.curves import Curve, Transfer
from limits.compare.landscape import posed
from limits.compare.optimum import Optimum, fit_slope, joint_covariance, locate, refine, resampling, upper_edge
from limits.compare.transfer import called
from limits.compare.verdict import of_interval, of_steps
from limits.optimizers import SGD, Adam
from limits.parametrization import COMPLETEP

UNSCALED = Parametrization("1/2", 0)
STANDARD = Parametrization(0, 0)
NONE = Record(kinds=())


def noisy(steps=2, **changes):
    """Twenty samples in three dimensions with noise in the targets: no network without hidden nonlinearity fits them all."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 3))
    y = x @ [[1.0], [-1.0], [0.5]] / np.sqrt(3) + 0.3 * rng.normal(size=(20, 1))
    return Problem(
        **{"model": ResNet(), "parametrization": DEPTH_MUP, "optimizer": SGD(0.4, steps), "inputs": x, "targets": y} | changes
    )


PROBLEM = noisy()
LRS = np.geomspace(0.5, 2.2, 12)
BLOCKS = (8, 16, 32)


@pytest.fixture(scope="module")
def wide():
    """Depth-µP at infinite width and in the limit."""
    return transfer(PROBLEM, blocks=BLOCKS, lrs=LRS, parametrizations={"scaled": DEPTH_MUP})


@pytest.fixture(scope="module")
def finite():
    options = {"width": 32, "seeds": 6, "rung": "finite", "parametrizations": [DEPTH_MUP, UNSCALED]}
    return transfer(PROBLEM, blocks=(4, 8, 16), lrs=np.geomspace(0.1, 6, 10), **options)


@pytest.fixture(scope="module")
def plane():
    """A map over learning rate and small multipliers, onto itself under lr a^2."""
    return transfer(PROBLEM, blocks=(4, 16), lrs=4.0 ** (np.arange(1, 23) / 3), multipliers=(0.02, 0.04, 0.08), limit=False)


# Exact curves.


def test_losses_are_those_of_recurse_and_solve(wide):
    for curve in wide.curves:
        for lr, loss in zip(LRS[::4], curve.losses[0, ::4, 0], strict=True):
            one = posed(PROBLEM, lr, 1.0)
            run = solve(one, tol=1e-9, record=NONE) if np.isinf(curve.blocks) else recurse(one, blocks=curve.blocks, record=NONE)
            assert_allclose(loss, run.losses[-1], rtol=1e-6, atol=0)


def test_the_optimum_is_lower_than_its_neighbours(wide):
    """To the digits that are claimed: the loss is smaller than ten standard errors away."""
    for curve in wide.curves:
        (best,) = curve.optima
        assert best.known
        assert best.error < 1e-5
        at = [best.at * 2.0 ** (s * max(10 * best.error, 1e-5)) for s in (-1, 0, 1)]
        runs = [posed(PROBLEM, lr, 1.0) for lr in at]
        if np.isinf(curve.blocks):
            losses = [solve(run, tol=1e-12, record=NONE).losses[-1] for run in runs]
        else:
            losses = [recurse(run, blocks=curve.blocks, record=NONE).losses[-1] for run in runs]
        assert losses[1] < min(losses[0], losses[2])


def test_optimum_settles_at_order_one_in_depth(wide):
    """Deterministic: -1 ± 0.1 over the last doubling, for the optimum and for the loss there."""
    optima = wide.optima()
    deep = optima.pop(np.inf)
    sizes = [16, 32]
    for far in (
        [abs(np.log(optima[L].at / deep.at)) for L in sizes],
        [abs(optima[L].loss - deep.loss) for L in sizes],
    ):
        assert_allclose(fit_power_law(sizes, far).exponent, -1, rtol=0, atol=0.1)


def assert_shifted_by_half():
    """Gamma enters only through lr L^-gamma: the same curve, shifted, whose optimum drifts by exactly 1/2 more."""
    blocks, lrs = (4, 8), np.geomspace(0.7, 1.6, 6)
    scaled = transfer(PROBLEM, blocks=blocks, lrs=lrs, limit=False)
    for L, curve in zip(blocks, scaled.curves, strict=True):
        moved = transfer(PROBLEM, blocks=[L], lrs=lrs / np.sqrt(L), parametrizations=[UNSCALED], limit=False).curves[0]
        assert_allclose(moved.losses, curve.losses, rtol=1e-9, atol=0)
        assert_allclose(moved.optima[0].at * np.sqrt(L), curve.optima[0].at, rtol=1e-5, atol=0)


def test_without_gamma_the_curves_are_shifted():
    assert_shifted_by_half()


def test_a_wrong_power_of_depth_is_caught(monkeypatch):
    """An injected fault: (1/2, 0) taken for (1/2, 1/50)."""

    def wrong(problem, **options):
        p = problem.parametrization
        return recurse(replace(problem, parametrization=p if p == DEPTH_MUP else Parametrization("1/2", "1/50")), **options)

    monkeypatch.setattr(sys.modules["limits.compare.landscape"], "recurse", wrong)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_shifted_by_half()


def test_of_the_standard_parametrization_the_optimum_collapses():
    """From 2 to 4 blocks by far more than the -1/2 per doubling of (1/2, 0)."""
    answer = transfer(PROBLEM, blocks=(2, 4), lrs=np.geomspace(0.02, 2, 20), parametrizations=[STANDARD])
    assert np.all(answer.drift().steps < -1)
    assert "exp(a^2 L^(1))" in answer.no_limit[answer.names[0]]


def test_the_multiplier_is_an_axis_too():
    """Alpha enters only through a L^-alpha: at (0, 0) and gamma = 1/2 on top, the best multiplier falls by exactly L^-1/2."""
    a, blocks = np.geomspace(0.6, 1.6, 9), (4, 8)
    scaled = transfer(PROBLEM, blocks=blocks, lrs=[0.7], multipliers=a, limit=False)
    assert scaled.axis == "multiplier"
    for L, curve in zip(blocks, scaled.curves, strict=True):
        moved = transfer(PROBLEM, blocks=[L], lrs=[0.7], multipliers=a / np.sqrt(L), parametrizations=[STANDARD], limit=False)
        assert_allclose(moved.curves[0].losses, curve.losses, rtol=1e-9, atol=0)
        assert_allclose(moved.optima()[L].at * np.sqrt(L), curve.optima[0].at, rtol=1e-5, atol=0)


def test_the_limit_of_nonlinear_blocks_is_a_curve():
    inputs, targets = PROBLEM.inputs[:2], 3 * PROBLEM.targets[:2] + 1
    tanh = noisy(steps=1, model=ResNet("tanh"), inputs=inputs, targets=targets)
    answer = transfer(tanh, lrs=(8.5, 9, 9.5, 10), rung="deep", tol=1e-2)
    (curve,) = answer.curves
    (best,) = curve.optima
    assert best.known
    assert best.loss <= np.min(curve.losses)
    assert_allclose(curve.losses[0, 1, 0], solve(posed(tanh, 9.0, 1.0), record=NONE).losses[-1], rtol=1e-2, atol=0)


def test_a_schedule_is_scaled_to_its_largest_rate():
    warm = noisy(optimizer=SGD([0.1, 0.2], 2))
    answer = transfer(warm, blocks=[4], lrs=[0.2, 0.4, 0.8], limit=False)
    expected = recurse(replace(warm, optimizer=SGD([0.2, 0.4], 2)), blocks=4).losses[-1]
    assert_allclose(answer.curves[0].losses[0, 1, 0], expected, rtol=1e-12, atol=0)


def test_losses_of_probes_are_theirs():
    seen = noisy(probes=[[1.0, 0.0, 0.5]], probe_targets=[[0.7]])
    for rung, options in (("wide", {"limit": False}), ("finite", {"width": 8, "seeds": 2})):
        answer = transfer(seen, blocks=[4], lrs=[0.2, 0.4, 0.8], rung=rung, loss="probe", **options)
        one = posed(seen, 0.4, 1.0)
        run = recurse(one, blocks=4) if rung == "wide" else simulate(one, width=8, blocks=4, seeds=2)
        assert_allclose(answer.curves[0].mean[0, 1], run.probe_losses[-1], rtol=1e-5, atol=0)


def test_what_diverges_is_part_of_the_curve():
    answer = transfer(noisy(steps=6), blocks=[4], lrs=[0.2, 0.5, 1.0, 1e4, 1e60], limit=False)
    (curve,) = answer.curves
    assert_array_equal(np.isinf(curve.losses[0, :, 0]), [False, False, False, True, True])


FLAT = {
    "no steps": (noisy(steps=0), (0.1, 0.3, 1.0)),
    "tiny rates": (PROBLEM, (1e-30, 1e-29, 1e-28)),
    "zero inputs": (noisy(inputs=np.zeros((20, 3))), (0.1, 0.3, 1.0)),
}


@pytest.mark.parametrize("rung", ["wide", "finite"])
@pytest.mark.parametrize("why", FLAT)
def test_a_loss_that_does_not_depend_on_the_rate_has_no_optimum(why, rung):
    problem, lrs = FLAT[why]
    networks = {"width": 8, "seeds": 3} if rung == "finite" else {}
    answer = transfer(problem, blocks=(4, 8), lrs=lrs, rung=rung, **networks)
    assert {best.where for best in answer.optima().values()} == {"flat"}
    assert len(answer.optima()) == (3 if rung == "wide" else 2)
    assert answer.drift() is None
    assert answer.table().count("none: the loss does not depend on it") == len(answer.curves)
    assert "no drift, the loss after training is the same at every learning rate" in answer.table()
    assert {curve["optima"][0]["where"] for curve in answer.to_json()["curves"]} == {"flat"}


def test_a_loss_that_depends_on_the_rate_is_not_flat():
    """Rates of 1e-8 change the loss by 1e-8, which infinite width sees and single precision does not."""
    for rung, where in (("wide", "highest"), ("finite", "flat")):
        networks = {"width": 8, "seeds": 3} if rung == "finite" else {"limit": False}
        answer = transfer(PROBLEM, blocks=[4], lrs=(1e-9, 3e-9, 1e-8), rung=rung, **networks)
        assert answer.optima()[4].where == where


def test_where_all_diverges_the_table_says_so():
    answer = transfer(noisy(), blocks=(4, 8), lrs=(1e30, 1e31, 1e308), rung="finite", width=8, seeds=3)
    assert answer.table().count("none: all diverged") == 2
    assert "no drift, training diverges at every learning rate" in answer.table()
    unknown = transfer(noisy(), lrs=(1e30, 1e31, 1e32), rung="deep")
    assert "none: no loss was resolved" in unknown.table(), "the limit is not known to diverge"
    plane = transfer(noisy(), blocks=[4], lrs=(1e30, 1e31, 1e32), multipliers=(0.5, 1, 2), rung="finite", width=8)
    assert "unknown        none: all diverged" in plane.table()


# Optima.


def test_a_parabola_has_its_vertex():
    x = np.geomspace(0.1, 10, 9)
    for vertex in (-0.6, 0.0, 0.4):
        best = locate(x, np.exp((np.log2(x) - vertex) ** 2 - 3)[:, None])
        assert_allclose([np.log2(best.at), best.loss], [vertex, np.exp(-3)], rtol=0, atol=1e-9)
        assert best.error < 1e-2


@pytest.mark.parametrize(
    ("losses", "where"),
    [
        ([1, 2, 3, 4, 5], "lowest"),
        ([5, 4, 3, 2, 1], "highest"),
        ([5, 1, np.inf, np.inf, np.inf], "inside"),
        ([np.inf] * 5, "none"),
        ([2, 2, 2, 2, 2], "flat"),
        ([0, 0, 0, 0, 0], "flat"),
        ([2, 2, 2, 2, np.inf], "lowest"),
        ([np.nan] * 5, "unresolved"),
        ([np.inf, np.inf, np.nan, np.nan, np.nan], "none"),
        ([np.nan, 3, 2, 3, np.nan], "inside"),
    ],
)
def test_no_optimum_is_made_up(losses, where):
    best = locate(np.array([1.0, 2, 4, 8, 16]), np.array(losses, float)[:, None])
    assert (best.where, best.known) == (where, where == "inside")
    if where == "inside":
        assert best.error > 0


def test_the_grid_counts_in_the_error():
    """On an exact curve, of ten grids of step sqrt 2 at least eight intervals hold the optimum that Brent's method finds."""

    def loss_at(lr):
        return recurse(posed(PROBLEM, lr, 1.0), blocks=8, record=NONE).losses[-1]

    grids = [0.2 * 2 ** ((np.arange(9) + shift) / 2) for shift in np.linspace(0, 1, 10, endpoint=False)]
    curves = [np.array([loss_at(lr) for lr in x]) for x in grids]
    best = refine(lambda lr: (loss_at(lr), 0.0), grids[0], curves[0])
    found = [locate(x, losses[:, None]).interval() for x, losses in zip(grids, curves, strict=True)]
    held = [low < best.at < high for low, high in found]
    assert np.mean(held) >= 0.8


def test_bootstrap_errors_are_those_of_repetition():
    """Twelve seeds, 150 repetitions of one noisy parabola: the error bars' rms agrees with the optimum's spread to 25 %.

    The spread itself is known to 1/sqrt(300) = 6 %, the mean bar to less than 2 %: four standard deviations, 1 in 1e4.
    """
    rng, x = np.random.default_rng(1), np.geomspace(0.25, 4, 9)
    curve = 1 + 0.2 * np.log2(x) ** 2
    found = [locate(x, curve[:, None] * (1 + 0.1 * rng.normal(size=(9, 12))), resampling(12)) for _ in range(150)]
    spread = np.std(np.log2([best.at for best in found]))
    bars = np.sqrt(np.mean([np.mean(best.resampled**2) for best in found]))
    assert_allclose(bars, spread, rtol=0.25, atol=0)


def test_noise_that_all_learning_rates_share_moves_no_optimum():
    """The same seeds are drawn at every learning rate: factors of their own cancel, which separate draws would not see."""
    rng, x = np.random.default_rng(2), np.geomspace(0.25, 4, 9)
    losses = np.exp(np.log2(x) ** 2)[:, None] * rng.lognormal(sigma=1.0, size=20)
    best = locate(x, losses, resampling(20))
    assert np.max(np.abs(best.resampled)) < 1e-12


def test_one_seed_has_no_error():
    best = locate(np.array([1.0, 2.0, 4.0]), np.array([[2.0], [1.0], [2.0]]), resampling(1))
    assert np.isnan(best.error)


def test_all_minima_of_the_basin_are_refined():
    """The lowest point of the grid is not at the lowest minimum; a third minimum lies beyond twice the loss, in another basin."""

    def loss_at(x):
        z = np.log2(x)
        return min(1 + 0.1 * (z + 2.0) ** 2, 0.95 + 3 * (z - 1.3) ** 2, 1.02 + 3 * (z - 4.0) ** 2, 3 + (z - 6) ** 2), 0.0

    x = 2.0 ** np.arange(-4, 7)
    losses = np.array([loss_at(each)[0] for each in x])
    assert x[np.argmin(losses)] == 0.25
    best = refine(loss_at, x, losses)
    assert_allclose([np.log2(best.at), best.loss], [1.3, 0.95], rtol=0, atol=1e-6)
    assert_allclose(np.log2(best.rivals), [-2], rtol=0, atol=1e-6)


def test_refinement_stops_where_the_grid_has_no_inside():
    assert refine(lambda x: (x, 0.0), np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 4.0])).where == "lowest"


# Slopes.


def test_slope_is_weighted_least_squares(rng):
    x, y, errors = np.arange(5.0), rng.normal(size=5), np.array([2.0, 1.0, 3.0, 2.0, 1.0])
    slope = fit_slope(x, y, np.diag(errors**2))
    (value, intercept), covariance = np.polyfit(x, y, 1, w=1 / errors, cov="unscaled")
    assert_allclose([slope.value, slope.intercept], [value, intercept], rtol=1e-9, atol=0)
    assert_allclose(slope.error, 1.96 * np.sqrt(covariance[0, 0]), rtol=1e-9, atol=0)
    assert_allclose(slope.steps, np.diff(y), rtol=1e-12, atol=0)


def test_points_that_do_not_lie_on_a_line_widen_the_interval():
    """Exact points: Student's interval of ordinary least squares, as printed in any table for these residuals."""
    x, y = np.arange(4.0), np.array([0.0, 1.0, 1.0, 2.0])
    slope = fit_slope(x, y, np.zeros((4, 4)))
    assert_allclose(slope.value, 0.6, rtol=1e-12, atol=0)
    assert_allclose(slope.error, 4.302653 * np.sqrt(0.2 / 2 / 5), rtol=1e-6, atol=0)


def test_intervals_of_slopes_hold_the_slope(rng):
    """Of 400 lines with errors that are known, 95 % intervals miss between 1 % and 9.5 %: 3.7 standard deviations, 1e-4."""
    x, covariance = np.arange(6.0), 0.09 * np.eye(6)
    lines = [fit_slope(x, 0.3 * x + 0.3 * rng.normal(size=6), covariance) for _ in range(400)]
    missed = np.mean([abs(line.value - 0.3) > line.error for line in lines])
    assert 0.01 < missed < 0.095


def test_what_all_sizes_share_drops_out_of_the_drift():
    shared = np.random.default_rng(3).normal(size=1000)
    covariance = joint_covariance(np.full(4, np.std(shared)), [shared] * 4)
    assert fit_slope(np.arange(4.0), np.arange(4.0), covariance).error < 1e-6
    assert fit_slope(np.arange(4.0), np.arange(4.0), np.diag(np.diag(covariance))).error > 0.5


def line(x, y, error=0.0):
    return fit_slope(np.array(x, float), np.array(y, float), error**2 * np.eye(len(x)))


@pytest.mark.parametrize(
    ("law", "state"),
    [
        (lambda x: 2.0**-x, "transfers"),
        (lambda x: 0.3 * 2.0 ** (-x / 2), "transfers"),
        (lambda x: 0 * x, "transfers"),
        (lambda x: 2.0**-x - x / 2, "moves"),
        (lambda x: 0.05 * x, "moves"),
        (lambda x: 2.0 ** (-0.4 * x), "not decided"),
        (lambda x: 2.0**-x + 0.02 * x, "not decided"),
    ],
)
@pytest.mark.parametrize("x", [(3, 4, 5, 6), (2, 4, 6), (3, 3.5, 5, 6)])
def test_exact_steps_decide(law, state, x):
    """By how they fall per doubling, also where numbers of blocks are not doubled; the last law changes the sign of its steps."""
    if state == "not decided":
        x = (3, 4, 5, 6)
    assert of_steps(line(x, law(np.array(x)))).state == state


def test_one_exact_step_decides_nothing():
    verdict = of_steps(line((3, 4), (0, -0.5)))
    assert verdict.state == "not decided"
    assert "one step, -0.500 in log2 per doubling, says nothing of the next" in str(verdict)


@pytest.mark.parametrize(
    ("drift", "error", "state"),
    [
        (0.0, 0.01, "transfers"),
        (-0.5, 0.02, "moves"),
        (0.5, 0.02, "moves"),
        (0.0, 0.5, "not decided"),
        (-0.2, 0.1, "not decided"),
    ],
)
def test_the_interval_of_a_drift_decides(drift, error, state):
    x = np.arange(2.0, 6.0)
    found = line(x, drift * x, error)
    verdict = of_interval(found)
    assert verdict.state == state
    assert f"[{found.value - found.error:+.3f}, {found.value + found.error:+.3f}]" in verdict.because


def test_an_unknown_error_decides_nothing():
    assert of_interval(line((3, 4), (0, -0.5), np.nan)).state == "not decided"


def test_verdicts_of_exact_curves():
    """Depth-µP moves by -0.14, -0.07 at 8 to 32 blocks and transfers; without gamma the same with -1/2 added moves."""
    both = transfer(PROBLEM, blocks=BLOCKS, lrs=np.geomspace(0.1, 2.2, 12), parametrizations=[DEPTH_MUP, UNSCALED])
    assert [both.verdict(name).state for name in both.names] == ["transfers", "moves"]
    steps = both.drift(both.names[0]).steps
    assert f"{steps[0]:+.3f}, {steps[1]:+.3f}, go to zero (the last is 0.52 times" in both.verdict(both.names[0]).because


def test_an_edge_is_no_transfer():
    """Optima of 8 to 32 blocks that settle, of which a fourth lies outside the grid."""
    curves = [replace(one, blocks=L) for L, one in zip((8, 16, 32, 64), exact_curves(-(2.0 ** -np.arange(4))), strict=True)]
    curves[-1] = replace(curves[-1], optima=(replace(curves[-1].optima[0], where="lowest"),))
    answer = Transfer(None, "wide", "train", LRS, np.ones(1), tuple(curves))
    assert answer.verdict().state == "not decided"
    assert "go to zero" in answer.verdict().because
    assert "no optimum inside the grid at L = 64: widen the grid" in answer.verdict().because
    assert "(without L = 64)" in answer.table()
    assert Transfer(None, "wide", "train", LRS, np.ones(1), tuple(curves[:-1])).verdict().state == "transfers"


def exact_curves(places):
    losses = np.ones((1, len(LRS), 1))
    found = [Optimum(float(2.0**place), 1e-9, 1.0, "inside", np.zeros(0)) for place in places]
    return [Curve("one", DEPTH_MUP, 1, losses, np.ones((1, 1)), (each,)) for each in found]


def test_drift_leaves_out_the_edges():
    answer = transfer(PROBLEM, blocks=(4, 16, 64), lrs=np.geomspace(0.15, 1.2, 6), parametrizations=[UNSCALED])
    assert [best.where for best in answer.optima().values()] == ["inside", "inside", "lowest"]
    assert_array_equal(answer.drift().x, [2, 4])
    assert "without L = 64" in answer.table()
    assert "at the lower edge, 0.15" in answer.table()


# Sublevel sets.


def test_edges_of_sublevel_sets():
    x = np.array([1.0, 2, 4, 8, 16])
    rows = np.array([[3, 1, 1, 4, 9], [1, 1, 1, 1, 1], [5, 5, 5, 5, 5], [1, 1, 1e9, 1, 1], [1, 1, np.inf, 9, 9]], float)
    edges, errors = upper_edge(x, rows, 2.0)
    assert_allclose(edges, [2.5, np.nan, np.nan, 0.5 + 1, 1.5], rtol=0, atol=1e-12)
    assert_allclose(errors, np.array([1, np.nan, np.nan, 1, 1]) / np.sqrt(12), rtol=1e-9, atol=0)


def test_small_multipliers_have_slope_minus_two(plane):
    """Without noise of the initial blocks the loss depends on a and lr through lr a^2 only: both edges, at every L."""
    for within in (None, 0.1):
        slopes = plane.sublevel_slope(within=within)
        assert list(slopes) == [4, 16]
        for slope in slopes.values():
            assert_allclose(slope.value, -2, rtol=0, atol=0.01)


def test_the_best_learning_rate_of_a_map_is_that_of_its_rows(plane):
    row = transfer(PROBLEM, blocks=(4, 16), lrs=plane.lrs, multipliers=[0.04], limit=False)
    for L, best in plane.optima(multiplier=0.04).items():
        assert abs(np.log2(best.at / row.optima()[L].at)) < 1 / 3, "half the spacing of the grid"
    with pytest.raises(ValueError, match=r"multiplier must be one of \[0\.02, 0\.04, 0\.08\], got 1"):
        plane.drift(multiplier=1)


# Networks.


def test_networks_are_those_of_simulate(finite):
    curve = finite.of(finite.names[1])[0]
    one = replace(posed(PROBLEM, finite.lrs[3], 1.0), parametrization=UNSCALED)
    run = simulate(one, width=32, blocks=4, seeds=6)
    each = np.mean((run.samples[:, -1] - PROBLEM.targets) ** 2 / 2, axis=(1, 2))
    assert_allclose(curve.losses[0, 3], each, rtol=1e-4, atol=0)


def test_networks_extrapolated_in_width_are_wide():
    """2 loss(64) - loss(32), whose bias is O(1/n^2), against infinite width, at four learning rates below the optimum.

    Each within four standard errors, of 2 to 3 %, plus 1 % for what is left of the bias: 3e-4 of false alarms at most.
    """
    lrs, options = np.geomspace(0.05, 0.3, 4), {"blocks": [8], "rung": "finite", "seeds": 800}
    narrow, wider = (transfer(PROBLEM, lrs=lrs, width=n, **options).curves[0] for n in (32, 64))
    exact = transfer(PROBLEM, blocks=[8], lrs=lrs, limit=False).curves[0].mean[0]
    found, error = 2 * wider.mean[0] - narrow.mean[0], np.hypot(2 * wider.error[0], narrow.error[0])
    assert np.all(error < 0.03 * exact)
    assert np.all(np.abs(found - exact) < 4 * error + 0.01 * exact)
    assert narrow.mean[0, -1] > 1.1 * exact[-1], "the width is felt, so that agreement says something"


def test_the_drift_of_networks_is_seen_through_the_noise(finite):
    """(1/2, 0) drifts by -1/2 more than Depth-µP; the same seeds, hence 0.25 is far beyond chance."""
    one, other = (finite.drift(name).value for name in finite.names)
    assert -0.75 < other - one < -0.25


def test_any_optimizer_of_networks():
    answer = transfer(noisy(optimizer=Adam(0.1, 3)), blocks=[2], lrs=[0.01, 0.1, 1.0], rung="finite", width=8, seeds=2)
    assert np.all(answer.curves[0].losses > 0)


# Runs.


def test_a_folder_keeps_the_curves(tmp_path, monkeypatch):
    asked = {"blocks": (2, 4), "lrs": (0.2, 0.4, 0.8), "folder": tmp_path}
    first = transfer(PROBLEM, **asked)
    monkeypatch.setattr(sys.modules["limits.compare.landscape"], "recurse", None)
    monkeypatch.setattr(sys.modules["limits.compare.landscape"], "solve", None)
    assert transfer(PROBLEM, **asked).to_json() == first.to_json()


def test_progress_counts_curves():
    seen = []
    transfer(PROBLEM, blocks=(2, 4), lrs=(0.2, 0.4, 0.8), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3, 3)


# What is said.


def test_table_json_and_repr(wide, finite, plane):
    for answer in (wide, finite, plane):
        json.dumps(answer.to_json(), allow_nan=False)
    assert "± 1e" not in wide.table()
    assert f"{wide.optima()[8].at:.7g}" in wide.table()
    assert wide.table().splitlines()[-1].startswith("scaled: transfers: its steps in log2 per doubling, -0.1")
    assert "the best learning rate moves by a factor 2^(" in finite.table()
    for answer in (wide, finite):
        for name in answer.names:
            verdict = answer.verdict(name)
            assert f"{name}: {verdict.state}: {verdict.because}" in answer.table().splitlines()
            said = answer.to_json()["parametrizations"][name]
            assert (said["verdict"], said["because"]) == (verdict.state, verdict.because)
            assert f"per doubling, {verdict.state}" in repr(answer)
    assert "∞" in wide.table()
    assert "lr ~ a^(-2.0" in plane.table()
    assert repr(wide).startswith("Transfer(wide, L = 8, 16, 32, ∞, 12 learning rates; scaled: -0.1")
    assert repr(plane) == "Transfer(wide, L = 4, 16, 22 learning rates, 3 multipliers)"
    found = finite.to_json()
    assert found["curves"][0]["blocks"] == 4
    assert found["curves"][0]["losses"] == finite.curves[0].mean.tolist()
    assert found["parametrizations"]["alpha = 1/2, gamma = 0"]["drift"]["value"] == finite.drift(finite.names[1]).value
    assert wide.to_json()["curves"][-1]["blocks"] is None


def test_losses_that_were_not_resolved_are_said():
    single = noisy(inputs=[[1.0]], targets=[[1.0]])
    answer = transfer(single, rung="deep", lrs=(0.5, 1.0, 2.0, 1e4), tol=1e-4)
    assert_array_equal(np.isnan(answer.curves[0].losses[0, :, 0]), [False, False, False, True])
    assert "L = ∞: 1 loss was not resolved" in answer.table()


def test_names():
    assert called(DEPTH_MUP) == "Depth-µP (alpha = gamma = 1/2)"
    assert called(COMPLETEP) == "CompleteP (alpha = 1, gamma = 0)"
    assert called(Parametrization(1, (0, "1/2"), "1/3")) == "alpha = 1, gamma = (0, 1/2), initial = 1/3"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rung": "shallow"}, "rung must be one of finite, wide, deep, got 'shallow'"),
        ({"blocks": ()}, "the rung wide needs blocks"),
        ({"rung": "deep"}, "the rung deep has infinitely many blocks: leave blocks out"),
        ({"rung": "finite"}, "the rung finite needs a width"),
        ({"width": 8}, "the rung wide has infinite width: leave width out"),
        ({"lrs": (0.1, 0.2)}, "an optimum needs at least 3 learning rates, or one and 3 multipliers"),
        ({"lrs": ()}, "lrs must be at least one number, got none: write lrs=\\[0.1, 0.3, 1.0\\]"),
        ({"lrs": (0, 1, 2)}, "lrs must be finite and > 0, got 0"),
        ({"multipliers": (1, 2)}, "an optimum needs at least 3"),
        ({"loss": "test"}, "loss must be 'train' or 'probe', got 'test'"),
        ({"loss": "probe"}, "the loss of probes needs probes with targets"),
        ({"tol": 0}, "tol must be at least 1e-14 and below 1, got 0"),
        ({"parametrizations": []}, "parametrizations must be one or several, each of them once"),
        ({"parametrizations": [DEPTH_MUP, DEPTH_MUP]}, "each of them once"),
        ({"parametrizations": [Parametrization(1, (0, 0))]}, "gamma has 2 exponents"),
        ({"problem": noisy(optimizer=Adam(0.1, 2)), "rung": "deep", "blocks": ()}, 'the rung "deep" treats SGD, got Adam'),
        ({"particles": 4}, "particles must be at least"),
        (
            {"particles": 512, "rung": "deep", "blocks": ()},
            "particles are neurons of a sample of infinite width, got particles=512",
        ),
        (
            {
                "problem": noisy(model=ResNet("tanh", form="pre"), parametrization=Parametrization("3/4", "1/4")),
                "rung": "deep",
                "blocks": (),
            },
            "blocks at alpha = 3/4, gamma = 1/4 is a mean over samples of neurons",
        ),
    ],
)
def test_what_cannot_be_answered_is_a_sentence(changes, expected):
    with pytest.raises(ValueError, match=expected):
        transfer(**{"problem": PROBLEM, "blocks": (4, 8), "lrs": (0.1, 0.2, 0.4)} | changes)


def test_arguments_of_a_wrong_type_get_a_sentence_too():
    """In a fresh interpreter, without the run-time type checks of these tests."""
    script = """
import limits
from limits.compare import transfer
one = limits.Problem(limits.ResNet(), limits.DEPTH_MUP, limits.SGD(1.0, 2), [[1.0]], [[1.0]])
for changes in (
    {"problem": None}, {"blocks": 8}, {"lrs": 0.1}, {"lrs": "0.1:1:3"}, {"lrs": None}, {"lrs": ["a"]},
    {"lrs": {1: 2, 2: 3, 3: 4}}, {"parametrizations": "1/2"}, {"multipliers": 2}, {"limit": "no"}, {"folder": 3}, {"progress": 3},
):
    try:
        transfer(**({"problem": one, "blocks": (4, 8), "lrs": (0.1, 0.2, 0.4)} | changes))
    except TypeError as why:
        print(why)
"""
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=120).stdout
    write = "write {0}=[0.1, 0.3, 1.0], or {0}=np.geomspace(0.1, 10, 9) for 9 of them from 0.1 to 10"
    for line, expected in zip(
        said.splitlines(),
        [
            "problem must be a Problem, got None",
            "blocks must be several whole numbers, got 8: write blocks=[8]",
            "lrs must be several numbers, got 0.1: " + write.format("lrs"),
            "lrs must be several numbers, got '0.1:1:3': " + write.format("lrs"),
            "lrs must be several numbers, got None: " + write.format("lrs"),
            "lrs must be numbers > 0, got 'a' among them: " + write.format("lrs"),
            "lrs must be several numbers, got {1: 2, 2: 3, 3: 4}: " + write.format("lrs"),
            "parametrizations must be a list of them, or a dict of names and them, got '1/2'",
            "multipliers must be several numbers, got 2: " + write.format("multipliers"),
            "limit must be True or False, got 'no'",
            "folder must be the path of a folder, or None, got 3",
            "progress must be a function that is called as progress(done, total), or None, got 3",
        ],
        strict=True,
    ):
        assert line == expected


def test_questions_to_the_wrong_answer_get_a_sentence(wide, plane, finite):
    with pytest.raises(ValueError, match="needs several learning rates and several multipliers"):
        wide.sublevel_slope()
    with pytest.raises(ValueError, match="name must be one of 'scaled', got 'other'"):
        wide.drift("other")
    with pytest.raises(ValueError, match=r"name must be one of .*, got None"):
        finite.drift()
    with pytest.raises(ValueError, match="multiplier must be one of"):
        plane.drift()


# Pictures.


@pytest.fixture
def axes():
    figure = Figure()
    FigureCanvasAgg(figure)
    return figure.subplots()


def texts(axes):
    legend = [] if axes.get_legend() is None else axes.get_legend().get_texts()
    return " ".join([axes.get_title(), *(t.get_text() for t in (*axes.texts, *legend))]).replace("\n", " ")


def test_curves_are_drawn_as_they_are(wide, axes):
    assert plots.transfer(axes, wide) is axes
    lines = {line.get_label(): line.get_xydata() for line in axes.lines if not line.get_label().startswith("_")}
    assert list(lines) == ["8", "16", "32", "∞"]
    for points, curve in zip(lines.values(), wide.curves, strict=True):
        seen, best = np.isin(points[:, 0], LRS), curve.optima[0]
        assert_array_equal(points[seen, 1], curve.mean[0])
        assert_array_equal(points[points[:, 0] == best.at], [[best.at, best.loss]])
        assert np.all(np.diff(points[:, 0]) > 0)
        computed = np.union1d(curve.fine[0], [best.at])
        assert_array_equal(points[:, 0], computed, "a dot is what was computed, and nothing else")
    assert {line.get_marker() for line in axes.lines if not line.get_label().startswith("_")} == {"."}
    assert axes.get_legend().get_title().get_text() == "blocks L (dots: computed)"
    assert axes.get_ylim()[0] < min(curve.optima[0].loss for curve in wide.curves), "all optima are in the picture"
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert len(axes.containers) == 4


def test_the_limit_is_black_and_the_rest_goes_from_light_to_dark(wide, axes):
    from matplotlib.colors import to_rgb

    plots.transfer(axes, wide)
    grey = [np.dot(to_rgb(line.get_color()), [0.3, 0.59, 0.11]) for line in axes.lines if not line.get_label().startswith("_")]
    assert np.all(np.diff(grey) < 0)


def test_optima_far_below_the_grid_are_in_the_picture(axes):
    """Two steps on two samples fit them almost exactly at one rate, which lies between the points of the grid."""
    one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=2), [[1.0, 0.4], [-0.5, 1.2]], [[1.0], [-0.6]])
    answer = transfer(one, blocks=(4, 8), lrs=np.geomspace(0.1, 4, 8), limit=False)
    best = min(curve.optima[0].loss for curve in answer.curves)
    assert best < 0.02 * min(curve.mean.min() for curve in answer.curves)
    plots.transfer(axes, answer)
    assert 0 < axes.get_ylim()[0] < best


def test_bars_of_networks_are_95_percent_intervals(finite, axes):
    plots.transfer(axes, finite, finite.names[0])
    for container, curve in zip(axes.containers, finite.of(finite.names[0]), strict=True):
        (segment,) = container.lines[2][0].get_segments()
        assert_allclose(segment[:, 0], curve.optima[0].interval(), rtol=1e-9, atol=0)
    assert len(axes.collections) >= 3, "shading"


def test_optima_are_drawn_with_their_drift(wide, finite, axes):
    plots.optimum(axes, wide)
    assert_allclose(axes.containers[0].lines[0].get_ydata(), [b.at for L, b in wide.optima().items() if np.inf > L], rtol=1e-12)
    assert f"scaled: {wide.drift().value:+.2f}".replace("-", "−") in texts(axes)
    assert "(dashed: the limit)" in texts(axes)
    other = plots.optimum(Figure().subplots(), finite)
    assert "α = 1/2, γ = 0: −0." in texts(other)
    assert "dashed" not in texts(other)


def test_maps_are_drawn_with_their_slopes(plane, axes):
    assert plots.loss_map(axes, plane, blocks=16) is axes
    (mesh,) = axes.collections
    values = np.ma.asarray(mesh.get_array()).reshape(len(plane.lrs), len(plane.multipliers))
    mean = plane.curves[1].mean.T
    assert_array_equal(values.mask, mean > plane.curves[1].initial.mean())
    assert_array_equal(values.compressed(), mean[~values.mask])
    assert texts(axes).count("slope −2.0") == 2
    assert "L = 16" in axes.get_title()


@pytest.mark.parametrize("form", ["png", "svg"])
def test_whole_figures_are_saved(wide, finite, plane, tmp_path, form):
    """Warnings are errors here, missing glyphs among them."""
    for n, answer in enumerate((wide, finite, plane)):
        path = tmp_path / f"{n}.{form}"
        plots.transfers(answer).savefig(path)
        assert path.stat().st_size > 10_000


def test_pictures_of_what_diverges_everywhere(axes):
    """At 64 blocks every learning rate diverges, at 4 some do not."""
    answer = transfer(PROBLEM, blocks=(4, 64), lrs=(0.05, 0.1, 0.2, 0.4), parametrizations=[STANDARD])
    plots.transfer(axes, answer)
    assert "64: all diverge" in texts(axes)
    assert "standard (α = γ = 0): no limit" in texts(axes)
    nothing = transfer(PROBLEM, blocks=[512], lrs=(0.5, 1, 2), parametrizations=[Parametrization(-1, 0)], limit=False)
    for plot in (plots.transfer, plots.optimum):
        said = texts(plot(Figure().subplots(), nothing)).replace("\n", " ")
        assert "training diverges at every learning rate" in said
    assert nothing.optima()[512].where == "none"


@pytest.mark.parametrize(
    ("problem", "changes", "sentence"),
    [
        (noisy(targets=np.zeros((20, 1))), {"blocks": (4, 8)}, "the loss is zero, before and after training"),
        (noisy(targets=np.zeros((20, 1))), {"blocks": [4], "multipliers": (0.5, 1, 2)}, "the loss after training is the same"),
        (PROBLEM, {"blocks": [4], "multipliers": (0.5, 1, 2), "lrs": (1e300, 1e301, 1e302)}, "training diverges at every"),
        (PROBLEM, {"rung": "deep", "lrs": (1e30, 1e31, 1e32)}, "the loss is resolved to the tolerance at no learning rate"),
        (noisy(steps=0), {"blocks": [4]}, "the loss after training is the same at every learning rate"),
        (PROBLEM, {"rung": "deep", "parametrizations": [STANDARD]}, "there is no limit"),
    ],
    ids=["zero", "zero map", "diverging map", "unresolved", "flat", "no limit"],
)
def test_pictures_of_what_has_no_optimum(problem, changes, sentence, tmp_path):
    """Warnings are errors here, of logarithms of zero and of layouts among them."""
    figure = plots.transfers(transfer(problem, **({"lrs": (0.1, 0.3, 1.0)} | changes)))
    figure.savefig(tmp_path / "figure.png")
    assert sentence in " ".join(texts(panel) for panel in figure.axes)


def test_pictures_of_what_is_far_above_the_beginning(tmp_path):
    """All losses are ten orders above that before training: room for the words beside it would leave none for the picture."""
    zero = noisy(targets=np.zeros((20, 1)), optimizer=SGD(1.0, 2, output_lr=1.0))
    answer = transfer(zero, blocks=(4, 8), lrs=(30, 50, 70), rung="finite", width=16, seeds=3)
    assert np.min([curve.mean for curve in answer.curves]) > 1e10 * np.max([curve.initial for curve in answer.curves])
    figure = plots.transfers(answer)
    figure.savefig(tmp_path / "figure.png")
    low, high = figure.axes[0].get_ylim()
    assert low < min(curve.mean.min() for curve in answer.curves) < high
    plane = transfer(PROBLEM, blocks=[4], lrs=(300, 500, 1000), multipliers=(0.5, 1, 2), rung="finite", width=16, seeds=3)
    plots.transfers(plane).savefig(tmp_path / "map.png")


def test_pictures_of_the_wrong_answer_get_a_sentence(wide, plane, axes):
    with pytest.raises(ValueError, match=r"draw plots\.loss_map instead"):
        plots.transfer(axes, plane)
    with pytest.raises(ValueError, match=r"draw plots\.transfer instead"):
        plots.loss_map(axes, wide)
    with pytest.raises(ValueError, match="blocks must be one of 4, 16, got 5"):
        plots.loss_map(axes, plane, blocks=5)
