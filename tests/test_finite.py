"""Rung 1 against autograd, other array libraries and types, invariances, and infinite width."""

import sys
import warnings
from dataclasses import replace

import naive_network as naive
import numpy as np
import pytest
from conftest import CATALOGUE, XI, XI3, Y2, Y
from numpy.testing import assert_allclose, assert_array_equal

import limits.finite.engines as engines
import limits.finite.ensemble as ensemble
import limits.finite.network as network
import limits.library as library
from limits import DivergedError, Record, Trajectory, recurse
from limits.finite import DivergenceWarning, simulate
from limits.optimizers import SGD
from limits.parametrization import DEPTH_MUP, NEURAL_ODE, Parametrization
from limits.problem import Problem, ResNet

LONG = SGD([0.6, 0.2, 0.0, 0.5] * 5, steps=20, input_lr=[0.3, 0.0, 0.0, 0.2] * 5, output_lr=0.1, momentum=0.7)
EXTRA = {
    "frozen": Problem(ResNet(), DEPTH_MUP, SGD(0.0, steps=2), XI, Y),
    "no steps": Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=0), XI, Y),
    "only input": Problem(ResNet(), DEPTH_MUP, SGD(0.0, steps=3, input_lr=0.5, momentum=0.5), XI, Y2),
    "only output": Problem(ResNet(), DEPTH_MUP, SGD(0.0, steps=3, output_lr=[0.5, 0.0, 0.1], momentum=0.5), XI[:, :1], Y2),
    "long": Problem(ResNet(multiplier=0.9), DEPTH_MUP, LONG, XI, Y2),
    "long, more outputs": Problem(ResNet(multiplier=0.9), DEPTH_MUP, LONG, XI[:, :1], np.hstack([Y, Y2])),
    "long, no momentum": Problem(ResNet(), NEURAL_ODE, SGD(0.4, steps=20, output_lr=0.2), XI, Y2),
    "small start": Problem(ResNet(), Parametrization("1/2", "1/2", "1/2"), SGD(0.7, steps=3), XI, Y),
    "many outputs": Problem(ResNet(), DEPTH_MUP, SGD(0.5, steps=3, input_lr=0.2, output_lr=0.3), XI3, np.ones((2, 5))),
    "multi logistic": Problem(ResNet(), DEPTH_MUP, SGD(1.5, steps=3, momentum=0.4), XI, np.sign(Y2), loss="logistic"),
    "batched classes": Problem(
        ResNet(),
        DEPTH_MUP,
        SGD(1.0, steps=3, input_lr=0.4),
        XI,
        [2, 0, 1],
        loss="cross_entropy",
        batches=[[0, 0, 2], [1], [2, 1]],
    ),
}
PROBLEMS = CATALOGUE | EXTRA
ALL_KINDS = ("feature", "gradient", "two_depth")
POSITIONS = (0, 0.3, 0.5, 1)


@pytest.fixture(params=list(PROBLEMS))
def problem(request):
    return PROBLEMS[request.param]


def run(problem, **options):
    return simulate(problem, **({"width": 20, "blocks": 5, "dtype": "float64", "record": Record(kinds=())} | options))


def assert_close(actual, desired, digits=1e-12):
    """Agreement relative to the largest entry (at least 1)."""
    assert_allclose(actual, desired, rtol=0, atol=digits * np.abs(desired).max(initial=1.0))


def assert_same(one, other, digits=1e-12):
    for name in ("samples", "outputs", "losses", "feature_kernel", "gradient_kernel", "two_depth_kernel"):
        if getattr(other, name) is not None:
            assert_close(getattr(one, name), getattr(other, name), digits)


# Against autograd, and the same network in other libraries and types.


def test_training_is_that_of_autograd(problem, torch):
    slow = [naive.trained(problem, 20, 5, 7, s) for s in range(2)]
    answer = run(problem, seeds=2, seed=7, record=Record(positions=POSITIONS, kinds=ALL_KINDS))
    steps, samples = np.arange(problem.steps + 1), np.arange(len(problem.evaluated))
    assert_close(answer.samples, [one.outputs for one in slow])
    for m, p in enumerate(POSITIONS):
        feature, gradient = (np.mean([naive.kernel(z, p, steps, samples) for z in states], axis=0) for states in _states(slow))
        assert_close(answer.feature_kernel[:, :, m], feature)
        assert_close(answer.gradient_kernel[:, :, m], gradient)
        for n, q in enumerate(POSITIONS):
            between = np.mean([naive.kernel_between(one.x, p, q, steps, samples) for one in slow], axis=0)
            assert_close(answer.two_depth_kernel[:, :, m, n], between)


def _states(runs):
    return [one.x for one in runs], [one.delta for one in runs]


@pytest.mark.parametrize("chosen", [{"steps": (2, 0, 2), "samples": (1,)}, {"samples": (2, 0)}, {"steps": (3,)}])
@pytest.mark.parametrize("name", ["batches", "long, more outputs", "both"])
def test_a_record_of_some_is_part_of_the_record_of_all(name, chosen):
    problem = PROBLEMS[name]
    everything = run(problem, seeds=3, record=Record(positions=POSITIONS, kinds=ALL_KINDS))
    record = Record(positions=POSITIONS, kinds=ALL_KINDS, **chosen)
    some, k, s = run(problem, seeds=3, record=record), record.chosen_steps(problem), record.chosen_samples(problem)
    assert_array_equal(some.steps, k)
    assert_array_equal(some.recorded, s)
    assert_close(some.samples, everything.samples)
    for kind in ALL_KINDS:
        kernel = getattr(everything, f"{kind}_kernel")
        assert_close(getattr(some, f"{kind}_kernel"), kernel[k][:, k][..., s, :][..., s])


def test_every_library_trains_the_same_network(problem, torch):
    record = Record(kinds=ALL_KINDS)
    here = run(problem, seeds=2, record=record)
    assert_same(run(problem, seeds=2, record=record, backend="torch"), here)
    pytest.importorskip("array_api_strict")
    assert_same(run(problem, seeds=2, record=record, backend="array_api_strict"), here)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_single_precision_is_near_double(problem, backend, request):
    if backend == "torch":
        request.getfixturevalue("torch")
    record = Record(kinds=ALL_KINDS)
    single = run(problem, seeds=2, record=record, backend=backend, dtype="float32")
    assert_same(single, run(problem, seeds=2, record=record), digits=1e-5)
    assert single.outputs.dtype == single.feature_kernel.dtype == float


def test_a_graphics_processor_trains_the_same_networks(torch):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    options = {"seeds": 5, "record": Record(kinds=ALL_KINDS)}
    for problem in PROBLEMS.values():
        assert_same(run(problem, backend="torch", device="cuda", **options), run(problem, **options))


# Algorithms that must not change the answer.


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_absorbed_updates_are_the_pending_ones(problem, rows, monkeypatch):
    """One row is the textbook: every matrix (and velocity) is rewritten at every step."""
    pending = run(problem, seeds=2, record=Record(kinds=ALL_KINDS))
    monkeypatch.setattr(engines, "capacity", lambda updates, rank, width, momentum: max(rank, rows))
    assert_same(run(problem, seeds=2, record=Record(kinds=ALL_KINDS)), pending)


@pytest.mark.parametrize("name", ["both", "classes"])
def test_batches_of_seeds_do_not_matter(name, monkeypatch):
    record = Record(kinds=ALL_KINDS)
    together = run(PROBLEMS[name], seeds=5, record=record)
    for size in (1, 2, 4):
        monkeypatch.setattr(ensemble, "side_by_side", lambda *_, size=size: size)
        assert_same(run(PROBLEMS[name], seeds=5, record=record), together)


def test_more_seeds_keep_the_first_ones():
    two, five = (run(PROBLEMS["inputs"], seeds=k, seed=3) for k in (2, 5))
    assert_close(five.samples[:2], two.samples)
    assert not np.allclose(five.samples, run(PROBLEMS["inputs"], seeds=5, seed=4).samples, rtol=0, atol=0.01)


# Invariances.


def test_sample_order_does_not_matter():
    problem, order = PROBLEMS["batches"], np.array([2, 0, 1])
    place = np.argsort(order)
    batches = [place[batch] for batch in problem.batches]
    shuffled = replace(problem, inputs=XI[order], targets=Y2[order], batches=batches)
    one, other = (run(p, seeds=2, record=Record(kinds=ALL_KINDS)) for p in (problem, shuffled))
    assert_close(other.samples[:, :, place], one.samples)
    for kind in ALL_KINDS:
        assert_close(getattr(other, f"{kind}_kernel")[..., place, :][..., place], getattr(one, f"{kind}_kernel"))


def test_a_sample_twice_is_a_sample_of_double_weight():
    sgd = SGD(0.7, steps=3, output_lr=0.2)
    twice = Problem(ResNet(), DEPTH_MUP, sgd, XI[[0, 1, 1]], Y2[[0, 1, 1]])
    double = Problem(ResNet(), DEPTH_MUP, sgd, XI[:2], Y2[:2], batches=[[0, 1, 1]] * 3)
    assert_close(run(twice, seeds=2).samples[:, :, :2], run(double, seeds=2).samples)


def test_probes_do_not_change_training():
    """They may add input directions, in which the network is then computed."""
    problem = Problem(ResNet(), DEPTH_MUP, SGD(0.7, steps=3, input_lr=0.4), XI3[:1], Y2[:1])
    probed = replace(problem, probes=XI3[1:])
    assert_close(run(probed, seeds=2).samples[:, :, :1], run(problem, seeds=2).samples)


@pytest.mark.parametrize("name", ["both", "inputs"])
def test_rotated_inputs_with_rotated_weights_are_the_same(name, rng, monkeypatch):
    """U xi = (U R^T)(R xi)."""
    problem, draw = PROBLEMS[name], engines.draw
    here = run(problem, seeds=2)
    rotation = np.linalg.qr(rng.standard_normal((problem.d_in, problem.d_in)))[0]
    rotated = replace(problem, inputs=problem.inputs @ rotation.T, probes=problem.probes @ rotation.T)
    monkeypatch.setattr(
        engines,
        "draw",
        lambda threads, p, basis, **sizes: draw(threads, p, replace(basis, basis=rotation.T @ basis.basis), **sizes),
    )
    assert_close(run(rotated, seeds=2).samples, here.samples)


# Averages, errors, divergence.


def test_outputs_are_the_mean_of_the_samples_and_error_its_standard_error():
    problem = PROBLEMS["inputs"]
    answer = run(problem, seeds=6)
    assert answer.samples.shape == (6, problem.steps + 1, 4, 1)
    assert_close(answer.outputs, answer.samples.mean(0))
    assert_close(answer.error, answer.samples.std(0, ddof=1) / np.sqrt(6))
    assert_close(answer.losses, ((answer.samples[:, :, :3] - Y) ** 2).mean((0, 2, 3)) / 2)
    assert_array_equal(answer.diverged, [-1] * 6)
    assert answer.meta["rung"] == "finite"
    assert [answer.meta[k] for k in ("width", "blocks", "seeds", "seed", "backend", "dtype")] == [20, 5, 6, 0, "numpy", "float64"]


def test_one_seed_has_no_standard_error():
    answer = run(PROBLEMS["inputs"])
    assert np.all(np.isnan(answer.error))
    assert_array_equal(answer.outputs, answer.samples[0])


def test_the_answer_can_be_saved(tmp_path):
    answer = run(PROBLEMS["both"], seeds=2, record=Record(kinds=ALL_KINDS))
    again = Trajectory.load(answer.save(tmp_path / "run.npz"))
    assert_same(again, answer, digits=1e-15)
    assert again.meta == answer.meta


STEEP = Problem(ResNet(), DEPTH_MUP, SGD(2.6, steps=14), [[1.0]], [[1.0]])
"""Some seeds of width 4 converge, others explode."""


def assert_some_diverged(answer):
    """Some of 12 seeds left the range of numbers and are left out of the average."""
    bad = answer.diverged >= 0
    assert 0 < np.count_nonzero(bad) < 12
    for samples, t in zip(answer.samples, answer.diverged, strict=True):
        assert np.all(np.isfinite(samples[: t if t >= 0 else None]))
        assert t < 0 or np.all(np.isnan(samples[t:]))
    assert_close(answer.outputs, answer.samples[~bad].mean(0))


def test_diverged_seeds_are_left_out_of_all_averages():
    options = {"width": 4, "blocks": 2, "seeds": 12, "dtype": "float32", "record": Record()}
    with pytest.warns(DivergenceWarning, match=r"of 12 seeds diverged.*lower the learning rate"):
        answer = simulate(STEEP, **options)
    assert_some_diverged(answer)
    assert np.all(np.isfinite(answer.losses))
    assert np.all(np.isfinite(answer.feature_kernel))


def test_all_seeds_diverging_is_an_error():
    problem = replace(STEEP, optimizer=SGD(50.0, steps=14))
    for backend in ("numpy", "torch"):
        if backend == "torch":
            pytest.importorskip("torch")
        with pytest.raises(DivergedError, match=r"all 3 seeds leave the range of float32.*lower the learning rate.*classify"):
            run(problem, seeds=3, backend=backend, dtype="float32")


def test_what_diverges_by_its_weight_decay_is_told_so():
    """A rate of 0.01 alone is harmless here; a step that takes 1e30 times the weights off them is not."""
    decaying = replace(STEEP, optimizer=SGD(0.01, steps=14, weight_decay=1e32))
    with pytest.raises(DivergedError, match=r"lower weight_decay: a step takes 1e\+30 times the weights off them"):
        run(decaying, seeds=3, dtype="float32")


def test_what_diverges_before_training_is_not_blamed_on_the_rate():
    with pytest.raises(DivergedError, match="this is before training: raise alpha, or lower the multiplier or the inputs"):
        run(replace(STEEP, parametrization=Parametrization(-40, 0)), seeds=3, dtype="float32")


def test_doubles_diverge_where_their_squares_would():
    problem = replace(STEEP, optimizer=SGD(50.0, steps=14))
    with pytest.raises(DivergedError, match="range of float64"):
        run(problem, seeds=2)


def test_a_seed_whose_kernel_overflows_diverged():
    problem = Problem(ResNet(), DEPTH_MUP, SGD(0.0, steps=1, input_lr=1e20), [[1.0]], [[1.0]])
    assert np.all(np.isfinite(run(problem, seeds=2, dtype="float32").outputs))
    assert np.all(np.isfinite(run(problem, seeds=2, dtype="float64", record=Record()).feature_kernel))
    with pytest.raises(DivergedError, match="at evaluation 1"):
        run(problem, seeds=2, dtype="float32", record=Record())


# Progress and interruption.


def test_progress_counts_networks_times_evaluations(monkeypatch):
    monkeypatch.setattr(ensemble, "side_by_side", lambda *_: 2)
    calls = []
    run(PROBLEMS["single"], seeds=3, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(k, 15) for k in (1, 2, 3, 4, 5, 7, 9, 11, 13, 15)]


def test_an_interruption_keeps_finished_seeds(monkeypatch):
    monkeypatch.setattr(ensemble, "side_by_side", lambda *_: 2)

    def stop(done, total):
        if done > 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        run(PROBLEMS["single"], seeds=8, progress=stop, record=Record())
    partial = caught.value.partial
    assert partial.meta["partial"] is True
    assert partial.meta["seeds"] == len(partial.samples) == 4
    assert_same(partial, run(PROBLEMS["single"], seeds=4, record=Record()))


def test_an_interruption_before_any_seed_has_finished_keeps_the_steps_so_far():
    """The partial answer is that of the same problem stopped where it was interrupted."""
    problem = PROBLEMS["single"]

    def stop(done, total):
        if done >= 2 * 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        run(problem, seeds=2, progress=stop)
    partial = caught.value.partial
    assert partial.meta["partial"] is True
    assert partial.samples.shape[:2] == (2, 3)
    assert_same(partial, run(problem.prefix(2), seeds=2, record=Record(kinds=())))


def test_an_interruption_before_the_first_evaluation_keeps_nothing(monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(network.Draw, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        run(PROBLEMS["single"], seeds=2)
    assert not hasattr(caught.value, "partial")


# What is refused.


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"width": 0}, "width must be a whole number >= 1, got 0"),
        ({"blocks": -3}, "blocks must be a whole number >= 1, got -3"),
        ({"seeds": 0}, "seeds must be a whole number >= 1, got 0"),
        ({"seed": -1}, "seed must be a whole number >= 0, got -1"),
        ({"block_width": 8}, "block_width is for blocks of several layers, got 8"),
        ({"backend": "jax"}, "backend must be one of numpy, torch, got 'jax'"),
        ({"dtype": "float16"}, "dtype must be one of float32, float64, bfloat16, got 'float16': its range"),
        ({"dtype": "double"}, "dtype must be one of float32, float64, bfloat16, got 'double'"),
        ({"device": "cuda"}, "backend 'numpy' computes on the CPU, got device 'cuda': use backend='torch'"),
        ({"record": Record(kinds=("feature", "response"))}, "response .* cannot be measured .* ask recurse or solve"),
        ({"record": Record(positions=np.linspace(0, 1, 10**4).tolist(), kinds=("two_depth",))}, "keep fewer samples"),
    ],
)
def test_bad_input_gets_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        run(PROBLEMS["single"], **options)


def test_a_device_that_is_not_there_gets_a_sentence(torch):
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"device must be one PyTorch can use here, got 'cuda' \(.*use device='cpu'"):
            run(PROBLEMS["single"], backend="torch", device="cuda")
    with pytest.raises(ValueError, match="device must be one PyTorch can use here, got 'abacus'"):
        run(PROBLEMS["single"], backend="torch", device="abacus")


def test_a_missing_torch_gets_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "array_api_compat.torch", None)
    with pytest.raises(ImportError, match=r"pip install depth-limits\[torch\]"):
        run(PROBLEMS["single"], backend="torch")


def test_a_network_larger_than_memory_is_refused_before_it_is_drawn(monkeypatch):
    monkeypatch.setattr(library, "available_memory", lambda: 10**6)
    with pytest.raises(MemoryError, match=r"width 300 and 4 blocks takes 0.0 GB .* more than 80% of the 0.0 GB that are free"):
        run(PROBLEMS["single"], width=300, blocks=4)
    assert run(PROBLEMS["single"], width=20, blocks=4, seeds=30).samples.shape[0] == 30


def test_available_memory_is_known():
    assert 2**20 < library.available_memory() < 2**50


# Infinite width.


def test_simulate_approaches_recurse_at_order_half_in_width():
    """Root mean square over 60 seeds; the slope over three doublings scatters by 0.03, seeds are fixed."""
    problem = PROBLEMS["both"]
    wide, widths, errors = recurse(problem, blocks=3).outputs, [16, 32, 64, 128], []
    for n in widths:
        answer = run(problem, width=n, blocks=3, seeds=60, dtype="float32")
        errors.append(np.sqrt(np.mean((answer.samples - wide) ** 2)))
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert abs(slope + 0.5) < 0.1


def test_kernels_approach_those_of_recurse():
    """Averages over 60 seeds of width 128 scatter by about 2e-2 of the largest entry; seeds are fixed."""
    record = Record(positions=POSITIONS, kinds=ALL_KINDS)
    wide = recurse(PROBLEMS["both"], blocks=3, record=record)
    answer = run(PROBLEMS["both"], width=128, blocks=3, seeds=60, dtype="float32", record=record)
    for kind in ALL_KINDS:
        assert_close(getattr(answer, f"{kind}_kernel"), getattr(wide, f"{kind}_kernel"), digits=0.06)


def test_no_warning_leaks_from_a_healthy_run():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(PROBLEMS["classes"], seeds=2, dtype="float32", record=Record(kinds=ALL_KINDS))
