"""Samples of neurons against the exact recursion, real networks, and the limit of infinite depth.

Kets of linear blocks have exact second moments, so that the recursion is met to round-off. Nonlinear ones are compared with
networks of two widths, extrapolated by $2f_{2n} - f_n$, and judged by Student's t with Bonferroni's correction.
"""

from dataclasses import replace

import numpy as np
import pytest
from conftest import CATALOGUE, XI, Y2, Y, at
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from limits import COMPLETEP, DEPTH_MUP, Adam, AdamW, Interrupted, Muon, Record, SignSGD, estimate, recurse, simulate, solve
from limits.library import open_library
from limits.optimizers import SGD
from limits.parametrization import Parametrization
from limits.particles import particle_footprint, sample
from limits.particles.matrix import InitialMatrix
from limits.particles.noise import Noise
from limits.particles.space import Space
from limits.problem import Problem, ResNet
from limits.semiseparable import BACKWARD, FORWARD
from limits.training import DivergedError
from limits.trajectory import Trajectory

KINDS = ("feature", "gradient", "two_depth")
FIELDS = ("feature_kernel", "gradient_kernel", "two_depth_kernel")


def levels(L, *kinds):
    return Record(positions=[l / L for l in range(L + 1)], kinds=kinds)


def assert_close(actual, desired, digits):
    """Agreement relative to the largest entry (at least 1)."""
    assert_allclose(actual, desired, rtol=0, atol=digits * np.abs(desired).max(initial=1.0))


# Kets.

NUMPY = open_library("numpy", None, "float64")


def noise_of(rng, neurons, **options):
    return Noise([rng], neurons, library=NUMPY, **options)


def draw(rng, neurons, count, **options):
    return noise_of(rng, neurons, **options).draw(count)[0]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_noise_is_orthonormal_and_normal(mirrored, exact):
    """Of 600 000 entries moments are those of normal ones, products of three or four rows as independent, within 5 sigma."""
    n, options = 4096, {"mirrored": mirrored, "exact": exact}
    e = np.array([draw(np.random.default_rng([2, s]), n, 8, **options) for s in range(18)])
    for rows in e:
        assert_allclose(rows @ rows.T / n, np.eye(8), rtol=0, atol=1e-12 if exact else 40 / n)
    effective = e.size / (2 if mirrored else 1)
    assert abs((e**4).mean() - 3) < 5 * (96 / effective) ** 0.5
    assert abs((e**6).mean() - 15) < 5 * (10170 / effective) ** 0.5
    thrice = np.einsum("san,sbn,scn->sabc", e[:, :3], e[:, 3:6], e[:, 6:]) / n
    assert np.abs(thrice).max() < (1e-12 if mirrored else 5 / n**0.5)
    assert abs(np.mean(e[:, 0] ** 2 * e[:, 1] ** 2) - 1) < 5 * (8 / (18 * n / 2)) ** 0.5


def test_neurons_have_independent_numbers():
    """Sums of squares over 128 of 512 rows vary as they should, within 5 sigma; on a sphere they would by a quarter less."""
    sums = np.concatenate([(draw(np.random.default_rng([6, s]), 512, 128) ** 2).sum(0) for s in range(60)])
    assert abs(sums.var() / 256 - 1) < 5 * (2 / len(sums)) ** 0.5 < 0.05


def test_features_of_many_blocks_grow_as_they_should():
    r"""$C^0 \leftarrow C^0 + (1/2 - 1/2\pi)C^0/L$ for relu, where a quarter of a rotation is used: within 5 standard errors."""
    record, problem = Record(positions=(1,)), case(ResNet("relu"), problem=TWO).prefix(0)
    runs = [sample(problem, blocks=128, particles=1024, seed=s, replicas=1, record=record) for s in range(24)]
    kernels = np.array([np.diag(run.feature_kernel[0, 0, 0]) for run in runs])
    growth = (1 + (0.5 - 0.5 / np.pi) / 128) ** 128
    assert_allclose(kernels.mean(0), growth * np.sum(XI[:2] ** 2, 1) / 2, rtol=5 * 0.015 / 24**0.5)
    assert kernels.std(0).max() < 0.015


def test_noise_goes_on_when_a_rotation_is_used_up():
    noise = noise_of(np.random.default_rng(0), 64, exact=True)
    first, second = noise.draw(30)[0], noise.draw(30)[0]
    assert np.abs(first @ second.T / 64).max() > 0.01
    assert_allclose(second @ second.T / 64, np.eye(30), rtol=0, atol=1e-12)


@pytest.mark.parametrize("ratio", [1.0, 0.5, 3.0])
def test_a_matrix_and_its_transpose_are_one(ratio):
    r"""$r\langle g, Wx\rangle = \langle W^Tg, x\rangle$ for all kets in any order; W is linear, of size sigma."""
    rng = np.random.default_rng(3)
    matrix = InitialMatrix(Space(NUMPY, 1024), noise_of(rng, 1024), {FORWARD: 12, BACKWARD: 9}, 0.7, ratio)

    def image(side, kets):
        return matrix(side, kets[None])[0][0]

    x = [rng.standard_normal((2, 1024))]
    y = [image(FORWARD, x[0])]
    g, z = [], []
    for _ in range(3):
        g.append(np.tanh(y[-1]) + rng.standard_normal((2, 1024)))
        z.append(image(BACKWARD, g[-1]))
        x.append(np.sin(z[-1]) + x[-1])
        y.append(image(FORWARD, x[-1]))
    x, y, g, z = map(np.concatenate, (x, y, g, z))
    assert_allclose(ratio * g @ y.T, z @ x.T, rtol=0, atol=1e-9)
    assert_allclose(image(FORWARD, x[:1] - 2 * x[5:6]), y[:1] - 2 * y[5:6], rtol=0, atol=1e-9)
    assert_allclose(y[:2] @ y[:2].T, 0.49 * x[:2] @ x[:2].T, rtol=1e-9)
    assert_array_equal([np.count_nonzero(matrix.seen[side].made[0, :, 0]) for side in (FORWARD, BACKWARD)], [8, 6])


def test_what_is_seen_again_is_not_drawn_again():
    kets, space = np.random.default_rng(4).standard_normal((1, 3, 256)), Space(NUMPY, 256)
    again = np.concatenate([kets, kets[:, :1] - kets[:, 1:2], 0 * kets[:, :1]], axis=1)
    assert_array_equal(np.linalg.norm(space.orthonormal(again)[0], axis=1).round(9), [16, 16, 16, 0, 0])
    matrix = InitialMatrix(space, noise_of(np.random.default_rng(5), 256), {FORWARD: 8, BACKWARD: 0})
    first, second = matrix(FORWARD, kets)[0], matrix(FORWARD, again)[0]
    assert_allclose(second[:, :3], first, rtol=0, atol=1e-12)
    assert_allclose(second[:, 3:], [[first[0, 0] - first[0, 1], 0 * first[0, 0]]], rtol=0, atol=1e-12)
    assert not np.any(matrix.seen[FORWARD].made[:, 3:])


# Linear blocks.


@pytest.mark.parametrize(("alpha", "gamma"), [("1/2", "1/2"), ("3/4", "1/4"), (1, 0), ("1/4", "3/4")])
def test_linear_blocks_are_exact(problem, alpha, gamma):
    problem, record = at(problem, alpha, gamma), levels(4, *KINDS)
    exact = recurse(problem, blocks=4, record=record)
    sampled = sample(problem, blocks=4, particles=512, record=record, replicas=2)
    assert_close(sampled.outputs, exact.outputs, 1e-12)
    for field in FIELDS:
        assert_close(getattr(sampled, field), getattr(exact, field), 1e-11)


def test_small_initial_weights_are_exact():
    problem = replace(CATALOGUE["both"], parametrization=Parametrization("1/4", "1/2", initial="1/4"))
    assert_close(recurse(problem, blocks=5, particles=512).outputs, recurse(problem, blocks=5).outputs, 1e-9)


def test_positions_between_blocks_and_some_samples():
    problem, record = CATALOGUE["batches"], Record((0.1, 0.55, 1), (3, 0), (2, 0), KINDS)
    exact, sampled = recurse(problem, blocks=5, record=record), recurse(problem, blocks=5, particles=512, record=record)
    for field in FIELDS:
        assert_close(getattr(sampled, field), getattr(exact, field), 1e-9)
    for field in ("steps", "positions", "recorded"):
        assert_array_equal(getattr(sampled, field), getattr(exact, field))


def test_without_the_response_linear_blocks_are_wrong():
    exact = recurse(CATALOGUE["single"], blocks=16).outputs
    assert np.abs(sample(CATALOGUE["single"], blocks=16, particles=512, responds=False).outputs - exact).max() > 0.3


# Real networks.

THREE = Problem(ResNet(), DEPTH_MUP, SGD(0.7, steps=3), XI, Y, batches=[[0, 1], [2, 0], [1, 2]])
TWO = Problem(ResNet(), DEPTH_MUP, SGD(0.7, steps=2), XI[:2], Y2[:2], batches=[[0, 1], [0]])
NEURAL = Parametrization(1, 0)
BETWEEN = Parametrization("3/4", "1/4")
PLACES = Record(positions=(0.5, 1), kinds=("feature", "gradient"))


def case(model, parametrization=DEPTH_MUP, optimizer=None, problem=THREE):
    return replace(problem, model=model, parametrization=parametrization, optimizer=optimizer or problem.optimizer)


FAST = {
    "post": case(ResNet("sin + cos"), problem=TWO),
    "mlp": case(ResNet("relu", 2, form="mlp"), COMPLETEP, problem=TWO),
}
BOTH_ENDS = SGD([0.9, 0.5, 0.7], steps=3, input_lr=0.3, output_lr=0.3, momentum=0.4)
SLOW = {
    "post, sin + cos": case(ResNet("sin + cos")),
    "post, tanh": case(ResNet("tanh", multiplier=1.2), optimizer=BOTH_ENDS),
    "post, relu": case(ResNet("relu"), optimizer=SGD(0.8, steps=3, momentum=0.3, weight_decay=0.3)),
    "post, relu with a mean, 1": case(ResNet("relu", mean_subtraction=False), NEURAL),
    "post, sin + cos, 3/4": case(ResNet("sin + cos"), BETWEEN),
    "post, tanh, 1": case(ResNet("tanh", multiplier=1.2), NEURAL, SGD(1.0, steps=3)),
    "post, relu, 1": case(ResNet("relu", multiplier=1.5), NEURAL, SGD(1.0, steps=3)),
    "post, LayerNorm": case(ResNet("tanh", layer_norm=True)),
    "pre, sin + cos": case(ResNet("sin + cos", form="pre"), optimizer=SGD(0.5, steps=3)),
    "pre, relu": case(ResNet("relu", form="pre"), optimizer=BOTH_ENDS),
    "pre, tanh, 3/4": case(ResNet("tanh", form="pre", multiplier=1.3), BETWEEN),
    "mlp, relu": case(ResNet("relu", 2, form="mlp"), optimizer=SGD(0.5, steps=3)),
    "mlp, tanh, 1": case(ResNet("tanh", 2, form="mlp", expansion=2), COMPLETEP),
    "post, two layers": case(ResNet("tanh", 2, expansion=0.5), BETWEEN),
    "post, two linear layers": case(ResNet("linear", 2), optimizer=SGD(0.3, steps=3)),
    "Adam": case(ResNet("relu"), optimizer=Adam(0.3, steps=3, input_lr=0.1, output_lr=0.1)),
    "AdamW": case(ResNet("sin + cos"), BETWEEN, AdamW([0.4, 0.3, 0.3], steps=3, weight_decay=0.2, eps=0.1)),
    "SignSGD": case(ResNet("tanh"), optimizer=SignSGD(0.3, steps=3, momentum=0.3)),
    "Adam, mlp": case(ResNet("tanh", 2, form="mlp", expansion=2), COMPLETEP, Adam(0.4, steps=3)),
}


FAINT = ("post, relu with a mean, 1",)
"""Where the response is smaller than what such networks tell: it is of order 1/L forward, and the mean outweighs it."""


def measured(answer):
    """Outputs and kernels of a trajectory, each once: feature kernels of all pairs, gradient kernels of those in batches."""
    k, s = len(answer.steps), len(answer.recorded)
    upper = np.triu_indices(k * s)
    kernels = [
        np.moveaxis(kernel, 2, 0).transpose(0, 1, 3, 2, 4).reshape(-1, k * s, k * s)[:, *upper]
        for kernel in (answer.feature_kernel, answer.gradient_kernel)
    ]
    return np.concatenate([answer.outputs.ravel(), *(kernel.ravel() for kernel in kernels)])


def of_networks(problem, blocks, width, groups, seeds):
    """Extrapolated to infinite width, group by group."""
    return np.array(
        [
            2 * measured(simulate(problem, width=2 * width, blocks=blocks, seeds=seeds, seed=2 * g, record=PLACES))
            - measured(simulate(problem, width=width, blocks=blocks, seeds=seeds, seed=2 * g + 1, record=PLACES))
            for g in range(groups)
        ]
    )


def of_particles(problem, blocks, particles, runs, **options):
    return np.array(
        [
            measured(sample(problem, blocks=blocks, particles=particles, seed=r, replicas=1, record=PLACES, **options))
            for r in range(runs)
        ]
    )


def score(networks, particles):
    """Largest difference in standard errors, over the value that one comparison of all exceeds by chance once in 1000 runs."""
    spread = np.sqrt(networks.var(0, ddof=1) / len(networks) + particles.var(0, ddof=1) / len(particles))
    told = spread > 1e-7
    z = (networks.mean(0) - particles.mean(0))[told] / spread[told]
    same = np.abs(networks.mean(0) - particles.mean(0))[~told]
    assert np.all(same < 1e-5)
    return np.abs(z).max() / stats.t.isf(1e-3 / 2 / told.sum(), len(particles) - 1)


@pytest.mark.parametrize("name", FAST)
def test_networks_of_finite_width_tend_to_the_particles(name):
    """Some 60 comparisons; a false alarm once in 1000 runs. Without the response, the difference is beyond doubt."""
    networks = of_networks(FAST[name], 3, 48, 20, 25)
    assert score(networks, of_particles(FAST[name], 3, 1024, 20)) < 1
    assert score(networks, of_particles(FAST[name], 3, 1024, 20, responds=False)) > 1.5


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_networks_tend_to_the_particles(name):
    """Some 200 comparisons; a false alarm once in 1000 runs of each of the cases."""
    problem = SLOW[name]
    networks, size = of_networks(problem, 6, 64, 32, 80), 1024 if isinstance(problem.optimizer, Adam | SignSGD) else 4096
    assert score(networks, of_particles(problem, 6, size, 32)) < 1
    if name not in FAINT:
        assert score(networks, of_particles(problem, 6, size, 32, responds=False)) > 1


@pytest.mark.slow
def test_muon_tends_to_the_particles():
    """As above, with wider networks: Newton-Schulz amplifies what of small singular values is due to the width."""
    problem = case(ResNet("tanh"), optimizer=Muon(0.3, steps=3, output_lr=0.1))
    networks = of_networks(problem, 4, 160, 16, 16)
    assert score(networks, of_particles(problem, 4, 4096, 16)) < 1


# Rates.


def test_the_error_falls_like_the_root_of_the_neurons():
    """Standard deviation over 24 replicas at three sizes, of all outputs: slope -1/2 within 0.15, four standard errors."""
    problem, sizes = case(ResNet("sin + cos"), problem=TWO), [128, 512, 2048]
    spread = [sample(problem, blocks=3, particles=n, replicas=24, record=Record(kinds=())).error[1:] for n in sizes]
    slope = np.polyfit(np.log(sizes), [np.log(np.sqrt(np.mean(s**2))) for s in spread], 1)[0]
    assert abs(slope + 0.5) < 0.15


@pytest.mark.slow
def test_the_error_is_that_of_the_mean():
    """Means of eight replicas, forty times: differences in units of their errors have rms 1 within 40%, for t of 7 degrees."""
    problem = case(ResNet("relu"), problem=TWO).prefix(1)
    runs = [sample(problem, blocks=3, particles=256, seed=s, record=Record(kinds=())) for s in range(40)]
    means, errors = np.array([run.outputs[1] for run in runs]), np.array([run.error[1] for run in runs])
    assert_allclose(means.std(0, ddof=1) / np.sqrt(np.mean(errors**2, 0)), 1, atol=0.4)


def scalar(name, multiplier, lr, parametrization, steps=3, **model):
    """One input whose target alternates between 3/2 and -3/2."""
    batches = [[t % 2] for t in range(steps)]
    model = ResNet(name, multiplier=multiplier, **model)
    return Problem(model, parametrization, SGD(lr, steps), [[1.0], [1.0]], [[1.5], [-1.5]], batches=batches)


def extrapolated(problem, blocks, record):
    """To infinite depth from L and 2L, for errors of order 1/L: outputs, their error, and the two trajectories."""
    few, many = (sample(problem, blocks=L, record=record, replicas=24) for L in (blocks, 2 * blocks))
    return 2 * many.outputs - few.outputs, np.sqrt(4 * many.error**2 + few.error**2), few, many


ENDS = Record(positions=(0, 1), kinds=("feature", "gradient"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "multiplier", "lr", "bend"), [("sin + cos", 1.0, 0.7, 0.01), ("tanh", 1.2, 1.0, 0.003)])
def test_deep_particles_tend_to_the_limit_at_one_half(name, multiplier, lr, bend):
    """Outputs within four standard errors and what is left at order $L^{-2}$; the features' variance within 2%."""
    problem = scalar(name, multiplier, lr, DEPTH_MUP)
    deep = solve(problem, tol=1e-4, record=ENDS)
    outputs, error, few, many = extrapolated(problem, 64, ENDS)
    assert np.all(np.abs(outputs - deep.outputs) < 4 * error + bend)
    kernel = 2 * many.feature_kernel - few.feature_kernel
    assert_allclose(np.einsum("tt...->t...", kernel), np.einsum("tt...->t...", deep.feature_kernel), rtol=0.02)
    assert np.abs(many.outputs - deep.outputs).max() < 0.7 * np.abs(few.outputs - deep.outputs).max()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "multiplier", "lr", "outputs", "gradient"),
    [("sin + cos", 1.0, 0.7, [0, 0.454, 0.010, 0.337], 3.33), ("tanh", 1.2, 1.0, [0, 0.5526, 0.300, 0.401], None)],
)
def test_deep_particles_tend_to_the_limit_at_one(name, multiplier, lr, outputs, gradient):
    """Within four standard errors and the digits that are known."""
    problem = scalar(name, multiplier, lr, NEURAL)
    found, error, few, many = extrapolated(problem, 32, ENDS)
    assert np.all(np.abs(found[:, 0, 0] - outputs) < 4 * error[:, 0, 0] + 0.003)
    if gradient:
        kernel = 2 * many.gradient_kernel - few.gradient_kernel
        assert abs(kernel[1, 1, 0, 1, 1] - gradient) < 0.05


@pytest.mark.slow
def test_deep_blocks_of_two_layers_tend_to_the_limit_at_one():
    """Within four standard errors and what is left at order $L^{-2}$."""
    problem = Problem(ResNet("tanh", 2, form="mlp"), COMPLETEP, SGD(0.5, steps=7), [[1.0]], [[1.0]])
    found, error, _, many = extrapolated(problem, 16, ENDS)
    deep = solve(problem, tol=2e-4).outputs
    assert np.all(np.abs(found - deep) < 4 * error + 1e-3)
    assert np.abs(many.outputs - deep).max() > 1e-3  # the extrapolation is needed
    want = [0, 0.3949, 0.6092, 0.7529, 0.8472, 0.9071, 0.9440, 0.9665]
    assert_allclose(found[:, 0, 0], want, rtol=0, atol=2e-3)


# What a user meets.

SMALL = Problem(ResNet("relu"), DEPTH_MUP, SGD(0.5, steps=2), XI, Y, batches=[[0, 0, 1], [2]])


def test_the_same_seed_is_the_same_answer():
    one, again, other = (recurse(SMALL, blocks=3, particles=256, seed=s).outputs for s in (1, 1, 2))
    assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-4


def test_gradients_outside_the_batch_are_zero():
    kernel = recurse(SMALL, blocks=3, particles=256, record=levels(3, "gradient")).gradient_kernel
    inside = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0]])
    assert_array_equal(np.einsum("ttpss->pts", kernel) > 0, np.broadcast_to(inside, (4, 3, 3)))


def test_a_single_replica_has_no_error():
    assert np.all(np.isnan(sample(SMALL, blocks=2, particles=256, replicas=1).error))


@pytest.mark.parametrize(
    ("optimizer", "first"), [(SGD(0.0, 2), 3), (Adam(0.0, 2), 3), (SGD([0.0, 0.5], 2), 2), (SGD([0.0, 0.5], 2, output_lr=0.2), 1)]
)
def test_nothing_moves_before_the_first_step_with_a_rate(optimizer, first):
    outputs = recurse(replace(SMALL, optimizer=optimizer), blocks=2, particles=256).outputs
    assert_allclose(outputs[:first], 0, atol=1e-12)
    assert np.all(np.abs(outputs[first:]).max((1, 2)) > 1e-3)


def test_no_steps():
    assert_allclose(recurse(SMALL.prefix(0), blocks=2).outputs, 0, atol=1e-12)


def test_progress_counts_evaluations_of_replicas():
    seen = []
    recurse(SMALL, blocks=2, particles=256, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(k, 24) for k in (8, 16, 24)]
    seen = []
    sample(SMALL, blocks=2, particles=256, at_once=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(k, 24) for k in (3, 6, 9, 12, 15, 18, 20, 22, 24)]


@pytest.mark.parametrize(
    ("at_once", "stopped", "evaluations", "replicas"), [(1, 2, 2, 1), (1, 13, 3, 4), (3, 6, 2, 3), (3, 9, 3, 3)]
)
def test_an_interruption_keeps_what_was_finished(at_once, stopped, evaluations, replicas):
    def stop(done, total):
        if done == stopped:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        sample(SMALL, blocks=2, particles=256, at_once=at_once, progress=stop)
    partial = caught.value.partial
    assert len(partial.outputs) == evaluations
    assert (partial.meta["replicas"], partial.meta["partial"]) == (replicas, True)


def test_an_interruption_before_anything_is_one(monkeypatch):
    def stop(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr("limits.particles.network.Kets.forward", stop)
    with pytest.raises(KeyboardInterrupt) as caught:
        recurse(SMALL, blocks=2, particles=256)
    assert not isinstance(caught.value, Interrupted)


def test_divergence_is_said():
    problem = replace(SMALL, parametrization=Parametrization(0, 0), optimizer=SGD(1e60, steps=2))
    with pytest.raises(DivergedError, match="lower the learning rate"):
        recurse(problem, blocks=4, particles=256)


def test_what_is_refused_is_said(monkeypatch):
    with pytest.raises(ValueError, match="particles must be at least 60 for these steps and samples, got 50"):
        recurse(SMALL, blocks=2, particles=50)
    with pytest.raises(ValueError, match="particles must be a whole number >= 1, got 0"):
        recurse(SMALL, blocks=2, particles=0)
    with pytest.raises(ValueError, match="seed must be a whole number >= 0"):
        recurse(CATALOGUE["single"], blocks=2, seed=-1)
    with pytest.raises(ValueError, match="the response is a derivative"):
        recurse(SMALL, blocks=2, record=Record(kinds=("response",)))
    monkeypatch.setattr("limits.library.available_memory", lambda: 10**7)
    with pytest.raises(MemoryError, match=r"a sample of 8192 neurons would take .* take fewer particles"):
        recurse(SMALL, blocks=2000)


def test_a_saved_answer_is_read_back(tmp_path):
    answer = recurse(SMALL, blocks=2, particles=256)
    again = Trajectory.load(answer.save(tmp_path / "run.npz"))
    assert_array_equal(again.error, answer.error)
    assert (again.meta["rung"], again.meta["particles"], again.meta["replicas"]) == ("wide", 256, 8)


def test_an_estimate_counts_neurons():
    cost = estimate(SMALL, "recurse", blocks=64, calibrate=True)
    assert cost.bytes > particle_footprint(SMALL, Record(), 64)
    assert cost.seconds > 0.1


@pytest.mark.parametrize(("dtype", "target"), [("float64", 1e160), ("float64", 1e300), ("float32", 1e20), ("float32", 1e30)])
def test_gradients_whose_squares_leave_the_range_of_numbers_are_not_dropped(dtype, target):
    """A ket of infinite norm is no zero ket: smaller targets are followed, these diverge."""
    for form in ("pre", "post"):
        problem = Problem(ResNet("tanh", form=form), DEPTH_MUP, SGD(1.0, steps=1), [[1.0]], [[target]])
        with pytest.raises(DivergedError):
            recurse(problem, blocks=2, particles=256, dtype=dtype)
    least = {"float64": 1e140, "float32": 1e14}[dtype]
    smaller = replace(problem, model=ResNet("tanh", form="pre"), targets=np.array([[least]]))  # "post" saturates
    assert recurse(smaller, blocks=2, particles=256, dtype=dtype).outputs[1, 0, 0] > 0.01 * least
