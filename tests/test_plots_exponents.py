"""Pictures of measured exponents: of every verdict, without a number that is not finite."""

import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from limits import SGD, Parametrization, Problem, ResNet, plots
from limits.compare import measure_exponents
from limits.optimizers import Adam

X, Y = [[1.0, 0.4], [-0.5, 1.2]], [[1.0], [-0.6]]
TANH_MLP = ResNet("tanh", form="mlp", block_depth=2)
CHECKS = {
    "passes": (1, 0, ResNet("tanh"), SGD(0.1, steps=1), {}),
    "two layers": ("1/2", "1/2", TANH_MLP, Adam(0.05, steps=2), {}),
    "explodes": ("1/4", "3/4", ResNet(), SGD(0.1, steps=1), {}),
    "leaves its range": ("1/2", "1/2", ResNet(), SGD(1e9, steps=9), {}),
    "shallow": (1, 0, ResNet(), SGD(0.1, steps=1), {"blocks": (2, 4)}),
}


def figure():
    made = Figure()
    FigureCanvasAgg(made)
    return made, made.subplots()


@pytest.fixture(scope="module", params=list(CHECKS))
def check(request):
    alpha, gamma, model, optimizer, options = CHECKS[request.param]
    problem = Problem(model, Parametrization(alpha, gamma), optimizer, X, Y)
    return measure_exponents(problem, **({"width": 16, "blocks": (8, 16, 32), "seeds": 4} | options))


def test_the_whole_figure(check, tmp_path):
    picture = plots.exponent_check(check)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture.savefig(tmp_path / "check.png", dpi=40)
    titles = [axes.get_title() for axes in picture.axes]
    assert sum(bool(t) for t in titles) == len(check.rows) + 1
    assert f"α = {check.problem.parametrization.alpha}" in picture.get_suptitle()


def test_lines_are_those_of_the_rows(check):
    for row in check.rows[:-1]:
        made, axes = figure()
        plots.measured_exponent(axes, check, row.name)
        lines = {line.get_label(): line for line in axes.get_lines()}
        fit = [line for label, line in lines.items() if label.startswith("measured")]
        if not fit:
            assert axes.texts[0].get_text().replace("\n", " ") == f"unresolved: {row.missing}"
            continue
        x, y = (np.log(v) for v in fit[0].get_data())
        np.testing.assert_allclose((y[1] - y[0]) / (x[1] - x[0]), row.measured.value, rtol=1e-9, atol=1e-9)
        exact = [line for label, line in lines.items() if label.startswith("exact")]
        assert len(exact) == (row.exact is not None)
        made.canvas.draw()


def test_verdicts_are_all_there(check):
    made, axes = figure()
    plots.exponent_verdicts(axes, check)
    wanted = [row.name for row in check.rows if row.exact is not None]
    unmeasured = [row for row in check.rows if row.exact is not None and row.missing]
    assert [text.get_text() for text in axes.texts] == ["not measured"] * len(unmeasured)
    assert [label.get_text().splitlines()[0] for label in axes.get_yticklabels()][::-1] == wanted
    made.canvas.draw()


@pytest.mark.parametrize(
    ("lr", "blocks"), [(1e-300, (8, 16, 32)), (1e30, (8, 16, 32)), (0.1, (4, 8, 16))], ids=["faint", "loud", "shallow"]
)
def test_what_was_not_measured_is_not_drawn(lr, blocks, tmp_path):
    problem = Problem(ResNet("tanh"), Parametrization("1/2", "1/2"), SGD(lr, steps=1), X, Y)
    check = measure_exponents(problem, width=8, blocks=blocks, seeds=3)
    picture = plots.exponent_check(check)
    picture.savefig(tmp_path / "check.png", dpi=40)
    shown = [axes for axes in picture.axes if axes.axison and axes.get_title()]
    assert len(shown) == 1 + sum(not row.missing for row in check.rows)
    assert not any("nan" in axes.get_title() for axes in picture.axes)


def test_a_row_that_is_not_there_gets_a_sentence(check):
    with pytest.raises(KeyError, match="there is no exponent 'speed'"):
        plots.measured_exponent(figure()[1], check, "speed")
