"""Samples of neurons: the same in every array library, however many go side by side; their memory, and errors of kernels."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from conftest import CATALOGUE, XI, Y2, Y
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.fft import dct

from limits import COMPLETEP, DEPTH_MUP, Adam, AdamW, Muon, Parametrization, Record, SignSGD, recurse
from limits.library import Library, open_library
from limits.optimizers import SGD
from limits.particles import sample, sampling_footprint
from limits.particles.noise import Cosines
from limits.particles.sizes import side_by_side
from limits.particles.space import Space
from limits.problem import Problem, ResNet
from limits.trajectory import Trajectory

ALL = Record(positions=(0, 0.4, 1), kinds=("feature", "gradient", "two_depth"))
KERNELS = ("feature_kernel", "gradient_kernel", "two_depth_kernel")
FIELDS = ("outputs", "error", *KERNELS, *(f"{name}_error" for name in KERNELS))
BATCHES = [[0, 0, 1], [2], [2, 1]]
ENDS = SGD([0.9, 0.5, 0.7], steps=3, input_lr=0.3, output_lr=0.3, momentum=0.4, weight_decay=0.1)
TANH = Problem(ResNet("tanh"), DEPTH_MUP, ENDS, XI, Y, batches=BATCHES, probes=[[0.3, 0.2]])
CASES = {
    "post": TANH,
    "relu": replace(TANH, model=ResNet("relu"), optimizer=SGD(0.5, 3)),
    "gelu, pre": replace(TANH, model=ResNet("gelu", form="pre")),
    "LayerNorm": replace(TANH, model=ResNet("sin + cos", layer_norm=True)),
    "two layers": replace(TANH, model=ResNet("tanh", 2, expansion=0.5), parametrization=Parametrization("3/4", "1/4")),
    "mlp": replace(TANH, model=ResNet("relu", 2, form="mlp", expansion=2), parametrization=COMPLETEP),
    "linear": replace(TANH, model=ResNet("linear", 2)),
    "Muon": replace(TANH, optimizer=Muon(0.3, 3, output_lr=0.1)),
}
PAIRS = {
    "Adam": replace(TANH, optimizer=Adam(0.3, 3, input_lr=0.1, output_lr=0.1)),
    "AdamW": replace(TANH, model=ResNet("relu"), optimizer=AdamW(0.3, 3, weight_decay=0.2, eps=0.1)),
    "SignSGD": replace(TANH, optimizer=SignSGD(0.3, 3, momentum=0.3)),
}
OTHERS = ("array_api_strict", "torch")


def run(problem, **options):
    return sample(problem, blocks=3, particles=256, record=ALL, **options)


def needs(backend):
    if backend == "torch":
        pytest.importorskip("torch").set_num_threads(1)


def assert_same(one, other, digits):
    """Every number within that share of the largest of its field, errors of that of what they are errors of."""
    for name in FIELDS:
        scale = np.abs(getattr(one, name.replace("_error", "").replace("error", "outputs"))).max()
        assert_allclose(getattr(one, name), getattr(other, name), rtol=0, atol=digits * scale, err_msg=name)


# Array libraries.


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("name", CASES)
def test_libraries_agree(name, backend):
    needs(backend)
    assert_same(run(CASES[name], replicas=2), run(CASES[name], replicas=2, backend=backend), 1e-12)


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("name", PAIRS)
def test_libraries_agree_on_pairs(name, backend, monkeypatch):
    """Pairs are held in single precision; in double, the answers are the same to round-off."""
    needs(backend)
    if name != "SignSGD":  # a sign has no round-off
        assert_same(run(PAIRS[name], replicas=2), run(PAIRS[name], replicas=2, backend=backend), 1e-5)
    monkeypatch.setattr("limits.particles.learned.PAIR", "float64")
    assert_same(run(PAIRS[name], replicas=2), run(PAIRS[name], replicas=2, backend=backend), 1e-12)


@pytest.mark.parametrize("backend", ["numpy", *OTHERS])
@pytest.mark.parametrize("name", CASES)
def test_single_precision_keeps_five_digits(name, backend):
    """Far less than what eight samples of 10 000 neurons tell."""
    needs(backend)
    double, single = run(CASES[name], replicas=2), run(CASES[name], replicas=2, backend=backend, dtype="float32")
    assert single.outputs.dtype == np.float64
    assert_same(double, single, 2e-5)
    assert np.abs(double.outputs - single.outputs).max() > 0


def test_on_a_gpu_the_answer_is_the_same():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for problem in (*CASES.values(), PAIRS["Adam"]):
        digits = 1e-5 if isinstance(problem.optimizer, Adam) else 1e-11
        assert_same(run(problem, replicas=2), run(problem, replicas=2, backend="torch", device="cuda"), digits)


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("size", [1, 2, 5, 8, 63, 128])
def test_cosines_are_those_of_scipy(backend, size, rng):
    needs(backend)
    library, rows = open_library(backend, None, "float64"), rng.standard_normal((3, 2, size))
    assert_allclose(library.get(Cosines(library, size)(library.put(rows))), dct(rows, norm="ortho"), rtol=0, atol=1e-14)


@pytest.mark.parametrize("backend", ["numpy", *OTHERS])
def test_orthonormal_kets(backend, rng):
    """Kets that nearly depend on others are orthonormal to round-off, and what is nothing new is zero."""
    needs(backend)
    space = Space(open_library(backend, None, "float64"), 256)
    x = rng.standard_normal((2, 4, 256))
    x = np.concatenate([x, x[:, :1] + 1e-9 * x[:, 1:2], x[:, :1] + 1e-9 * rng.standard_normal((2, 1, 256))], axis=1)
    unit = space.library.get(space.orthonormal(space.library.put(x)))
    want = np.diag([1.0, 1, 1, 1, 0, 1])
    assert_allclose(unit @ np.swapaxes(unit, 1, 2) / 256, [want, want], rtol=0, atol=1e-13)
    assert_array_equal(unit[:, 4], 0)
    gram = np.eye(3) + 0.2 * np.ones((2, 3, 3)) * np.array([1, -1])[:, None, None]
    root = space.library.get(space.inverse_root(space.library.put(gram)))
    assert_allclose(root @ gram @ root, [np.eye(3)] * 2, rtol=0, atol=1e-14)


def counted(monkeypatch, names):
    """How often methods of `Library` are called."""
    calls = dict.fromkeys(names, 0)
    for name in names:
        method = getattr(Library, name)

        def called(self, *given, name=name, method=method):
            calls[name] += 1
            return method(self, *given)

        monkeypatch.setattr(Library, name, called)
    return calls


@pytest.mark.parametrize("problem", [*CASES.values(), PAIRS["Adam"]])
def test_arrays_leave_the_device_once_an_evaluation(problem, monkeypatch):
    """What goes to and fro does not depend on the number of blocks."""
    calls, seen = counted(monkeypatch, ("get", "put", "whole")), []
    for blocks in (2, 5):
        calls.update(get=0, put=0, whole=0)
        sample(problem, blocks=blocks, particles=1024, replicas=1, record=Record(kinds=()))
        seen.append(dict(calls))
    assert seen[0] == seen[1]
    assert seen[0]["get"] == problem.steps + 1


@pytest.mark.parametrize("problem", [*CASES.values(), PAIRS["Adam"]])
def test_nothing_waits_for_a_number(problem, torch):
    """No operation that brings a number to Python, or whose result's shape depends on numbers, in passes and steps."""
    from torch.utils._python_dispatch import TorchDispatchMode

    waits = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "item"}

    class Watch(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.seen, self.count = set(), 0

        def __torch_dispatch__(self, function, types, given=(), named=None):
            self.count += 1
            self.seen.add(function.name().split("::")[1].split(".")[0])
            return function(*given, **(named or {}))

    with Watch() as watch:
        sample(problem, blocks=3, particles=256, replicas=1, backend="torch", record=ALL)
        assert watch.count > 1000
        assert not watch.seen & waits
        assert bool(torch.ones(1).sum() > 0)  # and this would be seen
    assert watch.seen & waits


# Side by side.


@pytest.mark.parametrize("name", [*CASES, "Adam"])
def test_bits_do_not_depend_on_how_many_go_side_by_side(name):
    problem = (CASES | PAIRS)[name]
    alone = run(problem, at_once=1, replicas=5)
    for at_once in (2, 3, 5):
        together = run(problem, at_once=at_once, replicas=5)
        for field in FIELDS:
            assert_array_equal(getattr(together, field), getattr(alone, field), err_msg=field)


def test_as_many_go_side_by_side_as_pay_and_fit(monkeypatch):
    library = open_library("numpy", None, "float64")

    def together(particles, problem=TANH, replicas=8):
        return side_by_side(problem, ALL, library, 4, particles, replicas)

    assert [together(n) for n in (256, 2048, 8192)] == [8, 4, 1]
    assert together(256, replicas=3) == 3
    assert together(256, PAIRS["Adam"]) == 1
    one = sampling_footprint(TANH, ALL, 4, 256)
    monkeypatch.setattr("limits.library.available_memory", lambda: int(3.5 * one / 0.8))
    assert together(256) == 3
    monkeypatch.setattr("limits.library.available_memory", lambda: one // 2)
    with pytest.raises(MemoryError, match=r"a sample of 256 neurons would take .* or dtype='float32'"):
        sample(TANH, blocks=4, particles=256, record=ALL)


@pytest.mark.parametrize("name", ["post", "relu", "mlp", "two layers", "linear", "LayerNorm", "Muon", "Adam", "SignSGD"])
@pytest.mark.parametrize(("blocks", "dtype", "replicas"), [(12, "float64", 1), (8, "float32", 1), (6, "float64", 3)])
def test_memory_is_what_is_said(name, blocks, dtype, replicas):
    """The peak of what is allocated within a fifth of the estimate."""
    problem, size = (CASES | PAIRS)[name], {"record": ALL, "blocks": blocks}
    run(problem, replicas=1)  # what is imported and kept for good
    tracemalloc.start()
    sample(problem, particles=1024, replicas=replicas, at_once=replicas, dtype=dtype, **size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    said = sampling_footprint(problem, neurons=1024, replicas=replicas, itemsize=np.dtype(dtype).itemsize, **size)
    assert 0.8 < peak / said < 1.2


def test_memory_grows_with_neurons_steps_and_blocks():
    def said(steps, blocks, neurons):
        return sampling_footprint(replace(TANH, optimizer=SGD(0.1, steps), batches=None), Record(kinds=()), blocks, neurons)

    one = said(30, 64, 2**13)
    for more in (said(60, 64, 2**13), said(30, 128, 2**13), said(30, 64, 2**14)):
        assert 1.9 < more / one < 2.1


# Errors of kernels.

SHORT = Problem(ResNet("relu"), DEPTH_MUP, SGD(0.7, steps=1), XI[:2], Y2[:2])


@pytest.mark.slow
def test_errors_of_kernels_are_honest():
    """Errors have the size of what they are errors of, and Student's t with 7 degrees tells how often answers are far off.

    Of 200 answers 5% are further from a better one than its 5% quantile. Were all entries of a kernel one, that share would have
    a standard error of 1.5%, and the ratio one of 7%. Bounds are four of these: a false alarm of three kernels comes less than
    once in 1000 runs.
    """
    places = Record(positions=(0.5, 1), kinds=("feature", "gradient", "two_depth"))
    runs = [sample(SHORT, blocks=2, particles=256, seed=s, record=places) for s in range(200)]
    better = sample(SHORT, blocks=2, particles=8192, seed=1000, replicas=32, record=places)
    for name in KERNELS:
        value, error = (np.array([getattr(one, field) for one in runs]) for field in (name, f"{name}_error"))
        told = np.median(error, 0) > 1e-9
        far = np.abs(value - getattr(better, name)) > stats.t.isf(0.025, 7) * np.hypot(error, getattr(better, f"{name}_error"))
        assert abs(np.mean(far[:, told]) - 0.05) < 0.06
        ratio = value.std(0, ddof=1)[told] / np.sqrt(np.mean(error[:, told] ** 2, 0))
        assert abs(np.sqrt(np.mean(ratio**2)) - 1) < 0.28


def test_errors_of_kernels_are_those_of_the_mean():
    """Worked out again from single replicas."""
    answer = run(TANH, replicas=3)
    for name in KERNELS:
        value, error = getattr(answer, name), getattr(answer, f"{name}_error")
        assert error.shape == value.shape
        assert 0 < error.max() < np.abs(value).max() / 2
    assert np.all(np.isnan(run(TANH, replicas=1).feature_kernel_error))
    again = [run(TANH, replicas=k).feature_kernel * k for k in (1, 2, 3)]
    singles = np.array([again[0], again[1] - again[0], again[2] - again[1]])
    assert_allclose(answer.feature_kernel_error, singles.std(0, ddof=1) / 3**0.5, rtol=0, atol=1e-12)


def test_errors_of_kernels_are_kept(tmp_path):
    answer = run(TANH, replicas=2)
    again = Trajectory.load(answer.save(tmp_path / "run.npz"))
    for name in KERNELS:
        assert_array_equal(getattr(again, f"{name}_error"), getattr(answer, f"{name}_error"))
    table = pytest.importorskip("xarray") and answer.to_xarray()
    assert table.feature_kernel_error.dims == table.feature_kernel.dims


def test_exact_answers_have_no_errors_of_kernels():
    assert recurse(CATALOGUE["single"], blocks=2).feature_kernel_error is None


# What a user meets.


def test_exact_answers_come_from_numpy_whatever_is_asked_for():
    problem = CATALOGUE["inputs"]
    answer = recurse(problem, blocks=4, backend="array_api_strict", dtype="float32")
    assert_array_equal(answer.outputs, recurse(problem, blocks=4).outputs)
    assert (answer.meta["backend"], answer.meta["dtype"]) == ("numpy", "float64")
    sampled = recurse(problem, blocks=4, particles=256, backend="array_api_strict", dtype="float32")
    assert (sampled.meta["backend"], sampled.meta["dtype"]) == ("array_api_strict", "float32")


@pytest.mark.parametrize("problem", [TANH, CATALOGUE["single"]])
def test_what_is_refused_is_said(problem):
    with pytest.raises(ValueError, match="backend must be one of numpy, torch, got 'jax'"):
        recurse(problem, blocks=2, backend="jax")
    with pytest.raises(ValueError, match="which bfloat16 is too short for, got dtype='bfloat16': take float32"):
        recurse(problem, blocks=2, backend="torch", dtype="bfloat16")
    with pytest.raises(ValueError, match="dtype must be one of"):
        recurse(problem, blocks=2, dtype="float16")
    with pytest.raises(ValueError, match="backend 'numpy' computes on the CPU, got device 'cuda'"):
        recurse(problem, blocks=2, device="cuda")
