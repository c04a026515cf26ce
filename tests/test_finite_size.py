"""The error of two-layer networks of finite width, block width and depth: what it is made of, fitted and predicted."""

import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose
from typer.testing import CliRunner

import limits.finite_size.deviation
from limits import plots, simulate, solve
from limits.cli import app
from limits.compare import fit_power_law
from limits.finite_size import Deviation, Limit, Size, error_model, rescaled
from limits.finite_size.fit import fitted, mean_of_networks, noise_powers
from limits.finite_size.model import _misfit, _sizes
from limits.optimizers import SGD, Adam
from limits.parametrization import COMPLETEP, DEPTH_MUP, Parametrization
from limits.problem import Problem, ResNet

X, Y = np.random.default_rng(1).normal(size=(3, 2)), np.random.default_rng(2).normal(size=(3, 1))


def mlp(phi="tanh", a=1.0, expansion=1.0):
    return ResNet(phi, 2, multiplier=a, form="mlp", expansion=expansion)


ONE = Problem(mlp(), COMPLETEP, SGD(0.5, 3), [[1.0]], [[1.0]])
SEVERAL = Problem(mlp("relu", 1.3), COMPLETEP, SGD(0.8, 2, momentum=0.3), X, Y)
FEW = [(32, 128, 2), (32, 64, 4), (48, 24, 8), (64, 32, 8), (64, 64, 12), (96, 48, 12)]


@pytest.fixture(scope="module")
def model():
    return error_model(ONE, sizes=FEW, seeds=48, tol=3e-4)


# What networks are held against.


@pytest.mark.parametrize("sizes", [(32, 64, 8), (32, 16, 4), (48, 40, 6)])
def test_rescaled_problems_have_one_limit(sizes):
    """At the ratio of their widths, as far as clouds tell; without the change of the rate it is another."""
    width, block_width, blocks = sizes
    other = rescaled(SEVERAL, width=width, block_width=block_width, blocks=blocks)
    gamma = other.parametrization.layers(2)[1][0]
    ratio = block_width / width
    assert_allclose(blocks ** -float(gamma), ratio, rtol=1e-8)
    assert_allclose(other.model.multiplier**2 * other.model.expansion, SEVERAL.model.multiplier**2)


@pytest.mark.parametrize("faster", [True, False])
def test_networks_of_any_ratio_tend_to_the_limit(faster):
    """One wide network each: within five errors of 1/sqrt(D) of outputs, whose constant is below 1; half the rate is not."""
    problem = rescaled(ONE, width=512, block_width=2048, blocks=8)
    if not faster:
        problem = replace(problem, parametrization=COMPLETEP)
    got = simulate(problem, width=512, blocks=8, seeds=4).outputs[-1, 0, 0]
    off = abs(got - solve(ONE, tol=1e-3).outputs[-1, 0, 0])
    assert (off < 5 / np.sqrt(512 * 4)) == faster


def test_a_single_block_cannot_be_rescaled():
    assert rescaled(ONE, width=32, block_width=32, blocks=1).model.expansion == 1
    with pytest.raises(ValueError, match="networks of one block have block_width"):
        rescaled(ONE, width=32, block_width=64, blocks=1)


def test_coordinates_of_the_limit_make_its_features():
    """Features of the limit are in the span of the initial ones and V; means over clouds of products and products of means."""
    limit = Limit(SEVERAL, 1e-3)
    kernel = limit.answer.two_depth_kernel[-1, -1, 1, 1]
    assert_allclose(limit.coordinates @ limit.coordinates.T, kernel, atol=5e-5)


def test_ends_are_those_of_the_networks():
    """With a multiplier of nothing the outputs are those of the initial features."""
    limit = Limit(SEVERAL, 1e-2)
    still = replace(SEVERAL, model=mlp("relu", 1e-12))
    run = simulate(still.prefix(0), width=40, blocks=3, seed=7, dtype="float64")
    basis = limit._ends(40, 7)
    initial = basis[:, :-1] @ np.linalg.pinv(limit.to_basis)
    assert_allclose(run.outputs[0, :, 0], initial.T @ basis[:, -1] / 40, atol=1e-12)


def test_without_blocks_all_error_is_that_of_training_nothing():
    """Networks whose blocks add nothing are their limit in their own U and V."""
    limit = Limit(replace(ONE, model=mlp(a=1e-9), optimizer=SGD(0.0, 1)), 1e-2)
    found = limit.of(32, 64, 4, range(4))
    assert_allclose(found.total, 0, atol=1e-12)
    assert found.outputs.shape == (4, 1, 1)
    assert np.abs(found.outputs).max() > 1e-3  # U and V overlap


def test_networks_narrower_than_their_ends_are_refused(model):
    with pytest.raises(ValueError, match="wider than the 2 directions of inputs and outputs, got width 2"):
        model.hold(2, 8, 4)


def test_inputs_of_zero_have_no_error():
    none = error_model(replace(ONE, inputs=[[0.0]]), sizes=FEW[:4], seeds=8, tol=1e-2)
    assert none.misfit == {"features": 0.0, "outputs": 0.0}
    assert none.error(64, 64, 8).value == 0


def test_misfit_is_the_same_above_and_below():
    """Errors of half and of twice what is fitted are as bad: log 2."""
    fits = np.array([1.0, 0.0, 0.0])
    size = Size(64, 64, 2)
    low, high = (_misfit("features", fits, {size: (factor**2 / 4, 0.0)}) for factor in (0.5, 2.0))
    assert_allclose([low, high], np.log(2))


@pytest.mark.parametrize("wrong", [5, [(16, 16)] * 4])
def test_sizes_are_three_numbers_each(wrong):
    with pytest.raises(TypeError, match="sizes must be several"):
        _sizes(wrong)


def test_parts_add_up(model):
    for one in model.networks:
        assert np.all(one.outside > 0)
        assert np.all(one.total >= one.outside)


# Constants.


def artificial(constants, rng, sizes=FEW, seeds=200):
    """Deviations made of known parts, in one coordinate of U and one of V."""
    cL, cN, cD = constants
    found = []
    for D, M, L in sizes:
        within = cD * rng.standard_normal((seeds, 1, 2)) / np.sqrt(2 * D) + np.array([cL / L, 0.0])
        outside = cN**2 * (D - 2) / (L * M) * rng.chisquare(D - 2, (seeds, 1)) / (D - 2)
        total = np.sum(within**2, -1) + outside
        found.append(Deviation(D, M, L, within, outside, total, within[..., 1:], rng.standard_normal((seeds, 3)) / np.sqrt(D)))
    return found


@pytest.mark.parametrize("constants", [(0.6, 0.8, 0.5), (0.0, 0.3, 1.0), (1.0, 1.5, 0.1)])
def test_known_constants_are_found(constants, rng):
    """Mean over 20 sets of networks; their scatter gives its error: |z| < 5 of 3 numbers, Student's t 8e-5 each."""
    found = np.array([fitted(artificial(constants, rng))["features"] for _ in range(20)])
    error = found.std(0, ddof=1) / np.sqrt(20)
    assert np.all(np.abs(found.mean(0) - np.square(constants)) < 5 * error + 1e-3)


def test_intervals_hold_the_constants(model):
    for term in ("1/L", "sqrt(D/(LM))", "1/sqrt(D)"):
        c = model.constant(term)
        assert c.low <= c.value <= c.high
    noise = model.constant("sqrt(D/(LM))")
    assert noise.high - noise.low < 0.1 * noise.value


def test_noise_of_untrained_blocks_is_known():
    r"""Without training $c_N^2 = a^2\int E\tanh(\pi)^2$, $\pi \sim N(0, 1)$, of features that stay where they are; c_L is 0."""
    still = replace(ONE, optimizer=SGD(0.0, 1))
    found = error_model(still, sizes=FEW, seeds=64, tol=1e-3)
    z = np.arange(-8, 8.01, 0.05)
    want = np.sqrt(np.sum(np.tanh(z) ** 2 * np.exp(-(z**2) / 2)) / np.sum(np.exp(-(z**2) / 2)))
    noise = found.constant("sqrt(D/(LM))")
    assert abs(noise.value - want) < 2 * (noise.high - noise.low)
    assert noise.high - noise.low < 0.1
    assert found.constant("1/L").low < 0.03


# Predictions.


def test_sizes_that_were_not_fitted(model):
    """Twice as wide and deep: intervals overlap, of four numbers; those of a model with 1.25 times the noise do not."""
    wrong = replace(model, constants=_noisier(model.constants), resampled=_noisier(model.resampled))
    held = [model.hold(*size, seeds=32, seed=10**6 * (i + 1)) for i, size in enumerate([(192, 96, 24), (128, 64, 16)])]
    assert all(one.agrees for one in held), "\n".join(map(str, held))
    assert not any(wrong.hold(*one.size, seeds=16).agrees for one in held[1:])


def _noisier(constants):
    return {kind: values * np.array([1.0, 1.25**2, 1.0]) for kind, values in constants.items()}


def test_cheapest_sizes_reach_the_error_and_smaller_ones_do_not(model):
    for error in (0.3, 0.1, 0.03):
        size = model.cheapest(error)
        assert model.error(*size).high <= error * (1 + 1e-9)
        for smaller in (size._replace(width=size.width // 2), size._replace(blocks=max(2, size.blocks // 2))):
            assert smaller.parameters >= size.parameters or model.error(*smaller).value > 0.8 * error or smaller == size
    shallow = model.cheapest(0.1, most_blocks=8)
    assert shallow.blocks <= 8
    assert shallow.parameters >= model.cheapest(0.1).parameters
    assert model.cheapest(0.05).parameters > model.cheapest(0.1).parameters


def test_the_noise_asks_for_the_square_of_the_width(model):
    """With D from 1/sqrt(D), LM from the noise: weights go like error^-6 where noise and width decide."""
    sizes = [model.cheapest(error) for error in (0.04, 0.02, 0.01)]
    law = fit_power_law([0.04, 0.02, 0.01], [size.parameters for size in sizes])
    assert abs(law.exponent + 6) < 0.5


# Powers.


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one", "several"])
def test_powers_are_those_of_the_model(name):
    """Left free, with 95 % intervals: D, -M and -L of the noise, -1/2 of the fluctuations in D, -1 of the bias in L.

    Tolerances contain corrections of higher order, smaller by 1/L and D/(LM); standard errors are a fifth of them.
    """
    problem = {"one": ONE, "several": SEVERAL}[name]
    sizes = [(64, 128, 16), (192, 128, 16), (64, 384, 16), (64, 128, 48), (192, 384, 16), (192, 192, 48)]
    free = error_model(problem, sizes=sizes, seeds=60, tol=3e-4).noise_exponents()
    for letter, want in {"D": 1, "M": -1, "L": -1}.items():
        one = free[letter]
        assert abs(one.value - want) < 0.1, free
        assert one.high - one.low < 0.1
    limit = Limit(problem, 3e-4)
    widths = (32, 64, 128, 256)
    spread = [limit.of(D, 4 * D, 8, range(300)).within.std(0).mean() for D in widths]
    assert abs(fit_power_law(widths, spread, np.array(spread) / np.sqrt(600)).exponent + 0.5) < 0.06


@pytest.mark.slow
def test_the_bias_falls_with_depth():
    """Of features along their initial ones, at M = 32 D, where noise adds little, beside a part that does not depend on L.

    Twice as much from 2 to 4 blocks as from 4 to 8: in 4 standard errors, 6e-5; a power 1/2 or 2 would give 1.4 or 4.
    """
    limit, depths = Limit(ONE, 1e-4), (2, 4, 8)
    found = [limit.of(32, 1024, L, range(800)) for L in depths]
    means, errors = np.array([mean_of_networks(one, one.within[:, :, 0]) for one in found])[:, :, 0].T
    first, second = -np.diff(means)
    spread = np.hypot(errors[:-1], errors[1:])
    off = 4 * np.hypot(spread[0], 2 * spread[1]) / abs(second)
    assert abs(first / second - 2) < off + 0.2
    assert off < 1


# Faults.


def test_a_network_with_another_limit_is_caught(monkeypatch):
    """Without the change of multiplier, M no longer counts in the noise."""

    def wrong(problem, *, width, block_width, blocks):
        return replace(problem, model=replace(problem.model, expansion=block_width / width))

    monkeypatch.setattr(limits.finite_size.deviation, "rescaled", wrong)
    found = error_model(ONE, sizes=[(32, 32, 8), (32, 128, 8), (64, 64, 8), (64, 64, 16)], seeds=16, tol=1e-2)
    assert found.noise_exponents()["M"].value > -0.3


def test_powers_need_sizes_that_differ(rng):
    with pytest.raises(ValueError, match="sizes must differ in all of D, M and L"):
        noise_powers(artificial((1, 1, 1), rng, [(32, 32, 4), (64, 64, 4), (32, 32, 8), (64, 64, 8)]))


# What users see.


def test_table_and_json(model):
    text = model.table()
    for words in ("features: error^2 = ", "sqrt(D/(LM))", "outputs: error^2 = ", "1/sqrt(LM)", "misfit: features"):
        assert words in text
    value = json.loads(json.dumps(model.to_json()))
    assert len(value["sizes"]) == len(FEW)
    assert value["constants"]["features"]["1/L"].keys() == {"value", "low", "high"}


def test_pictures(model):
    held = [model.hold(64, 96, 8, seeds=8)]
    figure = plots.error_models(model, held)
    assert isinstance(figure, Figure)
    assert [axes.get_xscale() for axes in figure.axes] == ["log"] * 4
    (points, predicted, *_) = figure.axes[0].containers
    assert len(points[0].get_xdata()) == len(FEW)
    assert_allclose(predicted[0].get_xdata(orig=False), [held[0].predicted["features"].value])
    whole = figure.axes[1].lines[-1]
    assert_allclose(whole.get_ydata()[0], model.error(16, 16, 16).value)


OTHER = {
    "form": replace(ONE, model=ResNet("tanh", 2)),
    "one layer": replace(ONE, model=ResNet("tanh")),
    "exponents": replace(ONE, parametrization=DEPTH_MUP),
    "frozen": replace(ONE, parametrization=Parametrization(1, (0, 1))),
}


@pytest.mark.parametrize("name", OTHER)
def test_other_problems_are_refused(name):
    with pytest.raises(ValueError, match="the error model is of two-layer blocks of form 'mlp' at alpha = 1, gamma = 0, got"):
        error_model(OTHER[name])


def test_refusals_are_sentences(model):
    with pytest.raises(ValueError, match="U and V are frozen"):
        error_model(replace(ONE, optimizer=SGD(0.5, 1, input_lr=0.1)))
    with pytest.raises(ValueError, match="this treats SGD, got Adam"):
        error_model(replace(ONE, optimizer=Adam(0.5, 1)))
    with pytest.raises(ValueError, match="at least four sizes, got 2"):
        error_model(ONE, sizes=FEW[:2])
    with pytest.raises(ValueError, match="seeds must be a whole number >= 8"):
        error_model(ONE, seeds=2)
    with pytest.raises(ValueError, match="blocks must be a whole number >= 2"):
        error_model(ONE, sizes=[(32, 32, 1), *FEW])
    with pytest.raises(ValueError, match="kind must be one of features, outputs, got 'losses'"):
        model.error(32, 32, 4, "losses")
    with pytest.raises(ValueError, match="term must be one of 1/L"):
        model.constant("1/M")
    with pytest.raises(ValueError, match="no width and depth below"):
        model.cheapest(1e-5)


def test_progress_is_told():
    told = []
    error_model(ONE.prefix(1), sizes=FEW[:4], seeds=8, tol=1e-2, progress=lambda done, total: told.append((done, total)))
    assert told == [(n, 4) for n in range(5)]


MLP = ("--form", "mlp", "-k", "2", "--nonlinearity", "tanh", "--alpha", "1", "--gamma", "0")


def test_command(tmp_path):
    sizes = ("--sizes", "16x32x2,16x16x4,32x16x4,24x48x6", "--predict", "32x32x8", "--seeds", "8", "--error", "0.2")
    data = tmp_path / "data.npz"
    np.savez(data, inputs=X[:2], targets=Y[:2])
    options = ("--data", str(data), "--steps", "1", "--lr", "0.5", "--tol", "0.01")
    result = CliRunner().invoke(app, ["finite-size", *MLP, *options, *sizes, "--out", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value["cheapest"].keys() == {"width", "block_width", "blocks"}
    assert len(value["predicted"]) == 1
    assert (tmp_path / "finite-size.png").stat().st_size > 10_000
    again = CliRunner().invoke(app, ["finite-size", *MLP, *options, *sizes, "--out", str(tmp_path)])
    assert "cheapest for an error of features of 0.2" in again.stdout
    wrong = CliRunner().invoke(app, ["finite-size", *MLP, *options, "--sizes", "16x32"])
    assert wrong.exit_code == 2
    assert "sizes DxMxL" in wrong.stderr


def test_sizes_have_names():
    assert Size(8, 16, 4).parameters == 2 * 8 * 16 * 4
