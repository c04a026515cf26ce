"""Pictures: drawn on the caller's axes, of complete and incomplete ladders, without a number that is not finite."""

import subprocess
import sys
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from conftest import CATALOGUE, at
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.testing import assert_allclose, assert_array_equal

from limits import DEPTH_MUP, Problem, Record, ResNet, ladder, plots, recurse, simulate, solve
from limits.compare import Ladder, fit_power_law
from limits.diversity import Diversity, feature_increments, rank
from limits.finite import DivergenceWarning
from limits.optimizers import SGD
from limits.trajectory import Interrupted

SMALL = {"widths": (8, 16, 32), "blocks": (2, 4, 8), "finite_blocks": 4, "seeds": 5}
OF_LADDERS = [plots.losses, plots.outputs, plots.width_rate, plots.depth_rate]
OF_RUNS = [plots.feature_kernel, plots.kernel_map]


def interrupted(problem, finished, **sizes):
    """What is left of a ladder after some of its runs."""

    def stop(done, total):
        if done == finished:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        ladder(problem, **sizes, progress=stop)
    return caught.value.partial


def diverged(problem, **sizes):
    """Some networks of width 16 explode."""
    with pytest.warns(DivergenceWarning):
        return ladder(replace(CATALOGUE["single"], optimizer=SGD(1.5, steps=5)), **(sizes | {"widths": (16, 64), "seeds": 128}))


INPUTS = CATALOGUE["inputs"]
LADDERS = {
    "whole": lambda: ladder(INPUTS, **SMALL),
    "classes": lambda: ladder(CATALOGUE["classes"], **SMALL),
    "one sample": lambda: ladder(CATALOGUE["single"].prefix(2), **(SMALL | {"widths": (64, 128)})),
    "no steps": lambda: ladder(INPUTS.prefix(0), **SMALL),
    "one step": lambda: ladder(INPUTS.prefix(1), **SMALL),
    "one width": lambda: ladder(INPUTS, **(SMALL | {"widths": (8,)})),
    "no width": lambda: ladder(INPUTS, **(SMALL | {"widths": ()})),
    "one depth": lambda: ladder(INPUTS, **(SMALL | {"blocks": (4,)})),
    "one seed": lambda: ladder(INPUTS, **(SMALL | {"seeds": 1})),
    "ten depths": lambda: ladder(INPUTS.prefix(1), **(SMALL | {"blocks": range(1, 11)})),
    "diverged seeds": lambda: diverged(INPUTS, **SMALL),
    "diverged runs": lambda: ladder(at(INPUTS, 0, 0), **(SMALL | {"widths": (16, 32)})),
    "only the limit": lambda: interrupted(INPUTS, 1, **SMALL),
    "no networks yet": lambda: interrupted(INPUTS, 3, **SMALL),
    "some networks": lambda: interrupted(INPUTS, 5, **SMALL),
    "only networks": lambda: replace(ladder(INPUTS, **SMALL), deep=None, wide={}, partial=True),
    "nothing": lambda: Ladder(INPUTS, None, {}, {}, 4, partial=True),
    "limit not reached": lambda: replace(ladder(INPUTS, **SMALL), deep=None, failed={"deep": "it varies too fast"}),
    "no limit": lambda: ladder(at(INPUTS, "1/2", 0), **SMALL),
    "flow": lambda: ladder(at(INPUTS, "3/4", "1/4"), **SMALL),
    "frozen": lambda: ladder(at(INPUTS, 1, 1), **SMALL),
    "no kernels": lambda: ladder(INPUTS, **SMALL, record=Record(kinds=())),
    "only gradients": lambda: ladder(INPUTS, **SMALL, record=Record(kinds=("gradient",))),
    "one position": lambda: ladder(INPUTS, **SMALL, record=Record(positions=(0.5,), steps=(1,), samples=(2,))),
    "shuffled record": lambda: ladder(
        INPUTS, **SMALL, record=Record(positions=(1, 0, 0.3, 0.3), steps=(3, 0, 1), samples=(2, 0))
    ),
}


@pytest.fixture(scope="module", params=list(LADDERS))
def answer(request) -> Ladder:
    return LADDERS[request.param]()


@pytest.fixture(scope="module")
def whole() -> Ladder:
    return LADDERS["whole"]()


@pytest.fixture
def axes():
    figure = Figure()
    FigureCanvasAgg(figure)
    return figure.subplots()


def numbers(axes):
    """Every number that is drawn: points of lines, borders of areas and bars, colours of maps."""
    for line in axes.lines:
        yield from np.asarray(line.get_xydata(), float)
    for collection in axes.collections:
        yield from (path.vertices for path in collection.get_paths())
        if collection.get_array() is not None:
            yield np.ma.filled(collection.get_array().astype(float), np.nan)


def assert_drawn(axes):
    for values in numbers(axes):
        assert np.all(np.isfinite(values))
    limits = (*axes.get_xlim(), *axes.get_ylim())
    assert np.all(np.isfinite(limits))


def texts(axes):
    """All that can be read on axes, with line breaks undone."""
    legend = [] if axes.get_legend() is None else axes.get_legend().get_texts()
    own = [axes.get_title(), axes.get_xlabel(), axes.get_ylabel()]
    return " ".join(own + [t.get_text() for t in (*axes.texts, *legend)]).replace("\n", " ")


# Every function on every ladder.


@pytest.mark.parametrize("plot", OF_LADDERS)
def test_ladders_are_drawn_on_the_axes_given(plot, answer, axes):
    assert plot(axes, answer) is axes
    assert axes.figure.axes == [axes]
    assert_drawn(axes)


@pytest.mark.parametrize("plot", OF_RUNS)
@pytest.mark.parametrize("rung", ["simulate", "recurse", "solve"])
@pytest.mark.parametrize(
    "record",
    [Record(), Record(positions=(0.5,)), Record(positions=(1, 0, 0.3), steps=(3, 0)), Record(samples=(2, 0), steps=(1,))],
)
def test_kernels_of_every_rung_are_drawn_on_the_axes_given(plot, rung, record, axes):
    run = {
        "simulate": lambda: simulate(INPUTS, width=8, blocks=4, seeds=2, record=record),
        "recurse": lambda: recurse(INPUTS, blocks=4, record=record),
        "solve": lambda: solve(INPUTS, tol=1e-4, record=record),
    }[rung]()
    assert plot(axes, run) is axes
    assert axes.figure.axes[0] is axes
    assert_drawn(axes)
    assert f"sample {run.recorded[0]}" in axes.get_title()


@pytest.mark.parametrize("plot", OF_RUNS)
def test_a_kernel_without_steps_is_drawn(plot, axes):
    assert_drawn(plot(axes, solve(INPUTS.prefix(0))))


@pytest.mark.parametrize("plot", OF_RUNS)
def test_a_missing_kernel_gets_a_sentence(plot, axes):
    with pytest.raises(ValueError, match="the trajectory holds no feature kernel: compute it with record="):
        plot(axes, recurse(INPUTS, blocks=2, record=Record(kinds=("gradient",))))


TELLING = ["whole", "no steps", "one seed", "diverged runs", "some networks", "nothing", "no limit", "one position"]
FILES = [(name, "png") for name in LADDERS] + [(name, "svg") for name in ("whole", "no limit", "nothing")]


def is_quick(name, form):
    return name in TELLING and (form == "png" or name == "whole")


@pytest.mark.parametrize(("name", "form"), [f if is_quick(*f) else pytest.param(*f, marks=pytest.mark.slow) for f in FILES])
def test_the_figure_of_any_ladder_is_saved(name, form, tmp_path):
    """Warnings are errors here, missing glyphs and panels without room among them."""
    path = tmp_path / f"comparison.{form}"
    figure = plots.comparison(LADDERS[name]())
    assert len(figure.axes) >= 6
    for axis in figure.axes:
        assert_drawn(axis)
    figure.savefig(path)
    assert path.read_bytes().startswith(b"\x89PNG" if form == "png" else b"<?xml")
    assert path.stat().st_size > 10_000


# What is drawn.


def test_loss_curves_are_the_losses(whole, axes):
    plots.losses(axes, whole)
    assert list(drawn_lines(axes)) == [
        "finite, n = 8, L = 4",
        "finite, n = 32, L = 4",
        "wide, n = ∞, L = 2",
        "wide, n = ∞, L = 8",
        "deep, n = L = ∞",
    ]
    for run, line in zip([*whole.finite.values(), *whole.wide.values(), whole.deep], axes.lines, strict=True):
        assert_array_equal(line.get_xydata(), np.stack([np.arange(4), run.losses], axis=1))
    (band,) = axes.collections
    each = [np.mean((f[:, :3] - INPUTS.targets) ** 2 / 2, axis=(1, 2)) for f in whole.finite[32].samples]
    low, high = np.quantile(each, [0.1, 0.9], axis=0)
    assert_allclose(np.sort(np.unique(band.get_paths()[0].vertices[:, 1])), np.unique([low, high]), rtol=1e-12, atol=0)


def test_a_single_trajectory_has_a_loss_curve(axes):
    """With a band of the seeds where they are kept, and without where there is none."""
    one = Problem(ResNet(), DEPTH_MUP, SGD(0.5, steps=2), [[1.0]], [[1.0]])
    wide, finite = recurse(one, blocks=4), simulate(one, width=8, blocks=4, seeds=5)
    assert plots.losses(axes, wide) is axes
    assert_array_equal(axes.lines[0].get_ydata(), wide.losses)
    assert not axes.collections
    axes.clear()
    plots.losses(axes, finite)
    assert_array_equal(axes.lines[0].get_ydata(), finite.losses)
    (band,) = axes.collections
    seeds = 0.5 * (finite.samples[:, :, 0, 0] - 1.0) ** 2
    low, high = np.quantile(seeds, [0.1, 0.9], axis=0)
    heights = band.get_paths()[0].vertices[:, 1]
    assert_allclose([heights.min(), heights.max()], [low.min(), high.max()], rtol=1e-6)


def test_output_curves_are_the_outputs(whole, axes):
    plots.outputs(axes, whole, samples=2)
    wide = [line.get_ydata() for line in axes.lines if line.get_color() == plots.WIDE]
    deep = [line.get_ydata() for line in axes.lines if line.get_color() == plots.DEEP]
    assert_array_equal(wide, whole.wide[4].outputs[:, :2, 0].T)
    assert_array_equal(deep, whole.deep.outputs[:, :2, 0].T)
    finite, bars = whole.finite[32], axes.containers
    assert_array_equal([b.lines[0].get_ydata() for b in bars], finite.outputs[:, :2, 0].T)
    ends = np.array([[segment[:, 1] for segment in b.lines[2][0].get_segments()] for b in bars])
    half = 1.96 * finite.error[:, :2, 0].T
    assert_allclose(ends[..., 1] - ends[..., 0], 2 * half, rtol=1e-9, atol=0)


def test_rates_show_the_fit_and_the_expected_slope(whole, axes):
    plots.depth_rate(axes, whole)
    law = whole.depth_law()
    points, *_, fit, guide = axes.lines
    assert_array_equal(points.get_xydata(), list(whole.depth_errors().items()))
    assert_allclose(fit.get_ydata(), law([2, 8]), rtol=1e-12, atol=0)
    slope = np.diff(np.log(guide.get_ydata())) / np.diff(np.log(guide.get_xdata()))
    assert_allclose(slope, -1, rtol=1e-12, atol=0)
    assert f"fit: L$^{{{law.exponent:.3f}}}$" in texts(axes)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_width_rate_has_bars_of_two_standard_errors(whole, axes):
    plots.width_rate(axes, whole)
    (bars,) = axes.containers
    ends = np.array([segment[:, 1] for segment in bars.lines[2][0].get_segments()])
    error, spread = np.transpose(list(whole.width_errors().values()))
    assert_allclose(ends, np.stack([error - 1.96 * spread, error + 1.96 * spread], axis=1), rtol=1e-12, atol=0)
    law = whole.width_law()
    assert f"fit: n$^{{{law.exponent:.3f}}}$ ± {law.exponent_error:.3f}" in texts(axes)
    assert "slope -0.5" in texts(axes)


def test_no_slope_is_expected_where_none_is_known(axes):
    assert "slope" not in texts(plots.depth_rate(axes, LADDERS["flow"]()))


def test_kernel_curves_are_the_diagonal_of_the_kernel(whole, axes):
    plots.feature_kernel(axes, whole.deep, sample=1)
    for k, line in enumerate(axes.lines):
        assert_array_equal(line.get_xdata(), whole.deep.positions)
        assert_array_equal(line.get_ydata(), whole.deep.feature_kernel[k, k, :, 1, 1])
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["step 0", "step 1", "step 2", "step 3"]


def test_kernel_map_has_a_cell_around_every_position_and_step(whole, axes):
    plots.kernel_map(axes, whole.deep, sample=1)
    (mesh,) = axes.collections
    across, up = mesh.get_coordinates()[0, :, 0], mesh.get_coordinates()[:, 0, 1]
    assert_allclose((across[1:] + across[:-1]) / 2, whole.deep.positions, rtol=0, atol=1e-12)
    assert_allclose(up, np.arange(5) - 0.5, rtol=0, atol=1e-12)
    want = np.einsum("kkpii->kpi", whole.deep.feature_kernel)[:, :, 1]
    assert_array_equal(np.asarray(mesh.get_array()).reshape(want.shape), want)


@pytest.mark.parametrize("record", [Record(positions=(0.4,), steps=(2,)), Record(positions=(1, 0, 0.3), steps=(3, 0))])
def test_cells_and_curves_follow_depth_and_step(record, axes):
    run = recurse(INPUTS, blocks=4, record=record)
    plots.kernel_map(axes, run)
    coordinates = axes.collections[0].get_coordinates()
    assert np.all(np.diff(coordinates[0, :, 0]) > 0)
    assert np.all(np.diff(coordinates[:, 0, 1]) > 0)
    other = Figure().subplots()
    plots.feature_kernel(other, run)
    for line in other.lines:
        assert_array_equal(line.get_xdata(), np.sort(record.positions))


def test_rates_of_errors_that_are_zero_say_so(axes):
    plots.rate(axes, None, [2, 4], [0.0, 0.0], 0.0, name="L", expected=-1.0, color="k")
    assert "the error is zero at every size" in texts(axes)
    assert_drawn(axes)


def test_a_rate_of_exact_errors_claims_no_interval(axes):
    law = fit_power_law([2, 4, 8], [1.0, 0.6, 0.2])
    plots.rate(axes, law, law.sizes, law.errors, law.spread, name="L", expected=-1.0, color="k")
    assert "±" not in texts(axes)


@pytest.mark.parametrize(
    ("name", "plot", "said"),
    [
        ("no limit", plots.depth_rate, "alpha + gamma = 1/2 < 1"),
        ("limit not reached", plots.depth_rate, "it varies too fast"),
        ("nothing", plots.depth_rate, "the limit was not computed"),
        ("only the limit", plots.depth_rate, "no infinite width was computed"),
        ("no width", plots.width_rate, "no network was trained"),
        ("only networks", plots.width_rate, "infinite width was not computed at L = 4"),
        ("no steps", plots.depth_rate, "the error is zero at every size"),
    ],
)
def test_what_is_missing_is_said(name, plot, said, axes):
    assert said in texts(plot(axes, LADDERS[name]()))


@pytest.mark.parametrize(
    ("name", "said"),
    [("no limit", "alpha + gamma = 1/2 < 1"), ("no kernels", "it was not recorded"), ("nothing", "the limit was not computed")],
)
def test_a_missing_kernel_is_said_in_the_figure(name, said):
    figure = plots.comparison(LADDERS[name]())
    assert [said in texts(axis) for axis in figure.axes[4:6]] == [True, True]


def test_the_figure_says_when_it_is_partial(whole):
    assert "(partial)" not in plots.comparison(whole).get_suptitle()
    assert "(partial)" in plots.comparison(replace(whole, partial=True)).get_suptitle()


def test_a_long_sentence_does_not_squeeze_the_panels():
    """All six panels keep at least a fifth of the width."""
    figure = plots.comparison(LADDERS["no limit"]())
    figure.draw_without_rendering()
    assert min(axis.get_position().width for axis in figure.axes[:6]) > 0.2


# Diversity.

NEAR = Record(positions=(0.25, *(0.25 + np.geomspace(1e-3, 0.7, 9))), kinds=("two_depth",))


def bent(name="tanh"):
    return Problem(ResNet(name), DEPTH_MUP, SGD(1.0, steps=3), [[1.0], [0.4]], [[1.5], [-0.5]])


def drawn_lines(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def test_increments_are_the_increments(axes):
    run = solve(bent(), tol=1e-5, record=NEAR)
    assert plots.increments(axes, run, sample=1) is axes
    assert_drawn(axes)
    moved = np.sqrt(feature_increments(run)[:, 0, 1:, 1])
    for values, line in zip(moved, axes.lines, strict=False):
        assert_allclose(line.get_xdata(), np.array(NEAR.positions[1:]) - 0.25, rtol=1e-12, atol=0)
        assert_allclose(line.get_ydata(), values, rtol=1e-12, atol=0)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert "sample 1" in axes.get_title()
    assert list(drawn_lines(axes)) == ["step 0", "step 1", "step 2", "step 3", "slope 1/2: diverse", "slope 1: redundant"]


def test_slopes_of_increments_are_those_named(axes):
    plots.increments(axes, solve(bent(), tol=1e-5, record=NEAR))
    for label, slope in (("slope 1/2: diverse", 0.5), ("slope 1: redundant", 1.0)):
        x, y = np.log(drawn_lines(axes)[label].get_xydata().T)
        assert_allclose(np.diff(y) / np.diff(x), slope, rtol=1e-12, atol=0)


@pytest.mark.parametrize("positions", [(0.9, 0.2, 0.5), (0.5, 0.5, 0.6), (0, 1)])
@pytest.mark.parametrize("rung", [lambda p, r: recurse(p, blocks=8, record=r), lambda p, r: solve(p, tol=1e-4, record=r)])
def test_increments_of_any_positions_are_drawn(rung, positions, axes):
    run = rung(bent("linear"), Record(positions=positions, steps=(2, 0), samples=(1,), kinds=("two_depth",)))
    assert_drawn(plots.increments(axes, run))


def test_features_that_do_not_move_are_said(axes):
    plots.increments(axes, solve(at(bent("linear"), "3/4", "1/4"), tol=1e-5, record=NEAR))
    assert "step 0: nothing moves" in drawn_lines(axes)
    assert_drawn(axes)


def test_frozen_features_are_drawn(axes):
    assert_drawn(plots.increments(axes, solve(at(bent("linear"), 1, 1), tol=1e-5, record=NEAR)))


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (Record(), "increments need two-depth kernels: record them with"),
        (Record(positions=(0.5, 0.5), kinds=("two_depth",)), r"two different positions or more, got only p = 0\.5"),
    ],
)
def test_increments_that_cannot_be_drawn_get_a_sentence(record, sentence, axes):
    with pytest.raises(ValueError, match=sentence):
        plots.increments(axes, recurse(bent("linear"), blocks=4, record=record))


def points(axes):
    """Angles in degrees and heights of rings and of members of the family."""
    rings, members = (drawn_lines(axes)[label].get_xydata() for label in ("others, at their correlation", "of the family"))
    return rings, members


def test_diversity_is_a_curve_with_points_on_it(axes):
    ranked = rank(["linear", "tanh", "relu", "abs"])
    assert plots.gradient_diversity(axes, ranked) is axes
    assert_drawn(axes)
    curve = axes.lines[0]
    assert_allclose(curve.get_ydata(), np.sin(np.radians(curve.get_xdata())) ** 2, rtol=0, atol=1e-12)
    rings, members = points(axes)
    assert_allclose(members, [[0, 0], [45, 0.5], [90, 1]], rtol=0, atol=1e-5)
    (height,) = (1 - d.gradient for d in ranked if d.name == "tanh")
    assert_allclose(rings, [[np.degrees(np.arcsin(np.sqrt(height))), height]], rtol=0, atol=1e-12)
    assert all(name in texts(axes) for name in ("linear", "tanh", "relu", "abs"))


def test_diversity_of_the_common_nonlinearities(axes):
    plots.gradient_diversity(axes)
    assert all(name in texts(axes) for name in plots.COMMON)
    axes.figure.draw_without_rendering()
    boxes = [Text.get_window_extent(t) for t in axes.texts]  # without the lines to the points
    apart = [not a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n]]
    assert all(apart)


@pytest.mark.parametrize(
    "ranked",
    [
        [],
        [Diversity("my own", 0.3, 1.2)],
        [Diversity("abs", 1.0 + 1e-15, 1.4), Diversity("linear", -1e-16, 2.7)],
        [Diversity(f"number {n}", 0.02 * n, 1.0) for n in range(51)],
    ],
)
def test_any_ranking_is_drawn(ranked, axes):
    assert_drawn(plots.gradient_diversity(axes, ranked))


# Global state.


def test_pyplot_is_never_imported():
    """In a fresh interpreter; pyplot would choose a backend and keep the figures."""
    script = (
        "import sys, io, warnings; warnings.simplefilter('error'); import limits; from limits import plots;"
        "assert 'matplotlib' not in sys.modules;"
        "one = limits.Problem(limits.ResNet(), limits.DEPTH_MUP, limits.SGD(1.0, 1), [[1.0]], [[1.0]]);"
        "figure = plots.comparison(limits.ladder(one, widths=(8, 16), blocks=(2, 4), finite_blocks=2, seeds=3));"
        "figure.savefig(io.BytesIO(), format='png'); figure.savefig(io.BytesIO(), format='svg');"
        "assert 'matplotlib' in sys.modules; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_settings_are_left_alone(whole):
    before = dict(matplotlib.rcParams)
    plots.comparison(whole).draw_without_rendering()
    assert dict(matplotlib.rcParams) == before
