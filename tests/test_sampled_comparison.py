"""Ladders and transfer of what infinite width knows by samples of neurons only: Monte-Carlo errors go with every number."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import CATALOGUE
from numpy.testing import assert_allclose, assert_array_equal
from typer.testing import CliRunner

import limits.compare.rungs
from limits import DEPTH_MUP, Record, ladder, plots, recurse
from limits.cli import app
from limits.compare import Ladder, fit_power_law, transfer
from limits.optimizers import SGD, Adam
from limits.parametrization import COMPLETEP, Parametrization
from limits.particles import REPLICAS
from limits.problem import Problem, ResNet
from limits.trajectory import Trajectory

X, Y = [[1.0, 0.5], [0.2, -1.0]], [[1.0], [-1.0]]
TANH = Problem(ResNet("tanh"), DEPTH_MUP, SGD(0.7, 2), X, Y)
SMALL = {"widths": (16, 32), "blocks": (2, 4, 8), "finite_blocks": 4, "seeds": 8, "particles": 512}


@pytest.fixture(scope="module")
def small() -> Ladder:
    return ladder(TANH, **SMALL, tol=1e-8)


# The ladder.


def test_its_rungs_are_those_asked_alone(small):
    for L, run in small.wide.items():
        alone = recurse(TANH, blocks=L, particles=512, record=Record(kinds=()))
        assert_array_equal(run.outputs, alone.outputs)
        assert_array_equal(run.error, alone.error)
    assert all(run.meta["particles"] == 512 for run in small.wide.values())


def test_particles_and_seed_are_passed_on(small):
    other = ladder(TANH, **SMALL | {"seed": 5}, tol=1e-8)
    assert np.abs(other.wide[4].outputs - small.wide[4].outputs).max() > 1e-6
    linear = ladder(CATALOGUE["inputs"], **SMALL)
    assert all(run.meta["particles"] == 512 for run in linear.wide.values())
    exact = ladder(CATALOGUE["inputs"], **SMALL | {"particles": None})
    assert not any(exact.depth_noise().values())
    assert exact.within_noise() == []


def test_monte_carlo_errors_are_subtracted(small):
    noise = small.depth_noise()
    for L, run in small.wide.items():
        square = np.mean((run.outputs - small.deep.outputs) ** 2)
        assert_allclose(noise[L], np.sqrt(np.mean(run.error**2)))
        assert_allclose(small.depth_errors()[L], np.sqrt(max(0.0, square - noise[L] ** 2)))
    (error, spread), target = small.width_errors()[32], small.wide[4]
    assert spread > np.sqrt(np.mean(target.error**2)) > 0
    squares = np.mean((small.finite[32].samples - target.outputs) ** 2)
    assert_allclose(error**2, squares - np.mean(target.error**2))


def noise_only(distances, size=1e-2):
    """A ladder whose wide rungs are off from the limit by so much, and by noise of a known size, in independent entries."""
    rng = np.random.default_rng(4)
    deep = _run(TANH, np.zeros((3, 2, 1)), 0.0)
    wide = {}
    for L, distance in distances.items():
        off = np.full((3, 2, 1), distance) + size * rng.standard_normal((3, 2, 1))
        wide[L] = _run(TANH, off, size)
    return Ladder(TANH, deep, wide, {}, 4)


def _run(problem, outputs, error):
    steps = np.zeros(len(outputs))
    return Trajectory(problem, outputs, np.full_like(outputs, error), steps, steps[:-1], meta={})


def test_what_does_not_stand_out_of_the_noise_enters_no_rate():
    """Distances 1/L with an error of 0.01: beyond 50 blocks there is nothing to fit, and what there is has the rate -1."""
    answer = noise_only({L: 1 / L for L in (4, 8, 16, 32, 256, 512, 1024)})
    assert set(answer.within_noise()) >= {256, 512, 1024}
    law = answer.depth_law()
    assert law.sizes.max() <= 32
    assert np.all(law.spread == 1e-2)
    assert abs(law.exponent + 1) < law.exponent_error
    naive = fit_power_law([256, 512, 1024], [np.sqrt(np.mean(answer.wide[L].outputs ** 2)) for L in (256, 512, 1024)])
    assert abs(naive.exponent + 1) > 0.5  # the rate of noise taken for exact
    assert "L = 256, 512, 1024: within the Monte-Carlo error, in no rate; take more particles" in answer.table()


def test_noise_alone_has_no_rate():
    answer = noise_only(dict.fromkeys((4, 8, 16, 32), 0.0))
    assert answer.depth_law() is None
    assert len(answer.within_noise()) == 4
    value = json.loads(json.dumps(answer.to_json(), allow_nan=False))
    assert value["depth_law"] is None
    assert value["within_noise"] == [4, 8, 16, 32]
    figure = plots.comparison(answer)
    assert figure.axes[2].get_title() == "wide → deep (n = ∞)" or "zero" in figure.axes[2].texts[0].get_text()


def test_an_extrapolation_would_multiply_noise(small):
    assert small.extrapolation_error() is None
    assert "Richardson" not in small.table()


@pytest.mark.slow
def test_samples_approach_the_limit_at_rate_one():
    """Five depths; the interval is that of 95 %, at fixed seeds, and the rate is measured to a tenth."""
    answer = ladder(TANH, widths=(16,), blocks=(4, 8, 16, 32, 64), finite_blocks=4, seeds=2, particles=2**14, tol=1e-8)
    law = answer.depth_law()
    assert law.exponent_error < 0.1
    assert abs(law.exponent + 1) < law.exponent_error + 0.07  # L = 16 is a few percent off the asymptotic rate


@pytest.mark.parametrize("dtype", ["float32"])
def test_of_two_layers_the_limit_is_noisy_too(dtype):
    mlp = Problem(ResNet("tanh", 2, form="mlp"), COMPLETEP, SGD(0.5, 2), [[1.0]], [[1.0]])
    answer = ladder(mlp, **SMALL | {"dtype": dtype}, tol=3e-3)
    assert answer.depth_order == -1
    assert np.all(np.array(list(answer.depth_noise().values())) >= np.sqrt(np.mean(answer.deep.error**2)))
    assert "Monte Carlo" in answer.table()


def test_without_a_known_limit_the_other_rungs_stand():
    adam = replace(TANH, optimizer=Adam(0.1, 2))
    answer = ladder(adam, **SMALL)
    assert answer.no_limit.startswith("solve treats SGD, got Adam: ask recurse")
    assert list(answer.wide) == [2, 4, 8]
    assert "no deep limit: solve treats SGD" in answer.table()
    two = ladder(replace(TANH, model=ResNet("tanh", 2)), **SMALL)
    assert "blocks of 2 layers is known for two layers at alpha = 1" in two.no_limit
    plots.comparison(answer)


def test_what_does_not_fit_leaves_the_others_standing(monkeypatch):
    right = limits.compare.rungs.recurse

    def small_memory(problem, *, blocks, **options):
        if blocks == 8:
            raise MemoryError("a sample of 512 neurons would take too much")
        return right(problem, blocks=blocks, **options)

    monkeypatch.setattr(limits.compare.rungs, "recurse", small_memory)
    answer = ladder(TANH, **SMALL, tol=1e-6)
    assert list(answer.wide) == [2, 4]
    assert "would take" in answer.failed["wide, L = 8"]


# Transfer.

LRS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


@pytest.fixture(scope="module")
def sampled():
    return transfer(replace(TANH, optimizer=SGD(0.7, 1)), blocks=(2, 4), lrs=LRS, particles=512)


def test_curves_are_of_samples(sampled):
    assert [curve.blocks for curve in sampled.curves] == [2, 4, np.inf]
    for curve in sampled.curves[:2]:
        assert curve.losses.shape == (1, len(LRS), REPLICAS)
        assert np.all(curve.error > 0)
        assert np.isfinite(curve.optima[0].error)
        assert len(curve.optima[0].resampled) > 0
    assert sampled.curves[2].losses.shape == (1, len(LRS), 1)  # the limit is exact
    assert sampled.meta == {"particles": 512, "seed": 0, "replicas": REPLICAS}


def test_their_mean_is_that_of_recurse(sampled):
    """To the difference of the samples' random numbers, and the variance in a sample's loss: five standard errors."""
    for place, lr in enumerate(LRS):
        alone = recurse(replace(TANH, optimizer=SGD(lr, 1)), blocks=4, particles=512)
        curve = sampled.curves[1]
        assert abs(curve.mean[0, place] - alone.losses[-1]) < 5 * curve.error[0, place] * 2**0.5 + 1e-3


def test_of_linear_blocks_samples_find_the_exact_optimum():
    """Within its 95 % interval at both sizes, at a fixed seed; twice the particles of the least."""
    problem = CATALOGUE["inputs"].prefix(2)
    grid = np.geomspace(0.1, 3, 13)
    by_samples, exact = (transfer(problem, blocks=(4, 8), lrs=grid, particles=N, limit=False) for N in (256, None))
    for one, other in zip(by_samples.curves, exact.curves, strict=True):
        low, high = one.optima[0].interval()
        assert low < other.optima[0].at < high
        assert_allclose(one.optima[0].at, other.optima[0].at, rtol=0.1)


def test_seeds_of_samples():
    one, same, other = (transfer(TANH, blocks=(2,), lrs=LRS, particles=256, seed=seed, limit=False) for seed in (3, 3, 40))
    assert_array_equal(one.curves[0].losses, same.curves[0].losses)
    assert np.abs(one.curves[0].losses - other.curves[0].losses).max() > 1e-6


def test_noisy_limits_are_left_out_with_a_reason():
    answer = transfer(TANH, blocks=(2,), lrs=LRS, particles=256, parametrizations=[COMPLETEP])
    assert [curve.blocks for curve in answer.curves] == [2]
    (why,) = answer.no_limit.values()
    assert "is a mean over samples of neurons, too noisy for an optimum" in why
    assert not transfer(TANH, blocks=(2,), lrs=LRS, particles=256, parametrizations=[COMPLETEP], limit=False).no_limit


@pytest.mark.parametrize("optimizer", [Adam(0.1, 2), SGD(0.5, 2, weight_decay=0.1)])
def test_any_optimizer_and_probes(optimizer):
    problem = replace(TANH, optimizer=optimizer, probes=[[0.3, 0.3]], probe_targets=[[0.2]])
    for loss in ("train", "probe"):
        answer = transfer(problem, blocks=(2,), lrs=(0.05, 0.1, 0.2), particles=256, loss=loss)
        assert answer.curves[0].losses.shape == (1, 3, REPLICAS)
        (why,) = answer.no_limit.values()
        assert why.startswith("solve treats SGD")


def test_two_layers_with_exponents_of_their_own():
    mlp = Problem(ResNet("tanh", 2, form="mlp"), Parametrization("1/2", ("1/2", "1/2")), SGD(0.5, 1), X, Y)
    answer = transfer(mlp, blocks=(2, 4), lrs=LRS, particles=256)
    assert len(answer.curves) == 2
    assert "known for two layers at alpha = 1" in next(iter(answer.no_limit.values()))


# Commands.


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


FEW = ("--nonlinearity", "tanh", "--samples", "4", "--directions", "2", "--steps", "1", "--particles", "256")


def test_commands_take_particles(tmp_path):
    sizes = ("--widths", "8,16", "--blocks", "2,4", "--finite-blocks", "2", "--seeds", "4", "--out", tmp_path, "--json")
    compared = run("compare", *FEW, *sizes)
    assert compared.exit_code == 0, compared.output
    value = json.loads(compared.stdout)
    assert value["wide"]["2"]["meta"]["particles"] == 256
    assert value["depth_noise"]["4"] > 0
    moved = run("transfer", *FEW, "--blocks", "2,4", "--lrs", "0.25:4:5", "--out", tmp_path, "--json")
    assert moved.exit_code == 0, moved.output
    assert json.loads(moved.stdout)["meta"]["particles"] == 256
