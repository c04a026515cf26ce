"""Steps that run as graphs: on the CPU through an emulation that, like a GPU, repeats operations on the same memory."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import XI, Y2
from test_finite import assert_close, assert_same

from limits.finite import dense, engines, graphs, simulate
from limits.finite.grids import grid
from limits.library import open_library
from limits.optimizers import SGD, Adam, AdamW, Muon, SignSGD
from limits.parametrization import DEPTH_MUP
from limits.problem import Problem, ResNet
from limits.record import Record

pytestmark = pytest.mark.filterwarnings("ignore::limits.UncentredWarning")

STEPS = 8
SCHEDULE = {"lr": [0.4, 0.3, 0.0, 0.5, 0.1, 0.2, 0.4, 0.3], "steps": STEPS, "input_lr": 0.1, "output_lr": 0.2}
OPTIMIZERS = {
    "SGD": SGD(**SCHEDULE),
    "momentum": SGD(**SCHEDULE, momentum=0.5, weight_decay=0.1),
    "Adam": Adam(**SCHEDULE),
    "AdamW": AdamW(**SCHEDULE, weight_decay=0.2),
    "SignSGD": SignSGD(**SCHEDULE, momentum=0.5),
    "Muon": Muon(**SCHEDULE),
    "frozen ends": Adam(0.1, STEPS),
}
MODELS = {
    "post": ResNet("tanh", 2, 0.9),
    "mlp": ResNet("relu", 2, form="mlp"),
    "normalised": ResNet("tanh", form="pre", layer_norm=True),
    "gelu": ResNet("gelu", mean_subtraction=False),
    "linear": ResNet(),
}
BATCHES = {
    "all": None,
    "fixed size": [[0, 1], [2, 1], [1, 2], [0, 2], [0, 1], [1, 2], [0, 2], [2, 1]],
    "sizes": [[0], [2, 1], [1, 0], [0, 1, 2], [0], [1, 2], [2, 0], [0, 1, 2]],
}


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def emulated(torch, monkeypatch):
    """Capture as `recorded` does it; counts graphs and replays."""
    counts = {"graphs": 0, "replays": 0}

    def capture(step):
        counts["graphs"] += 1
        replay = recorded(step)

        def counted():
            counts["replays"] += 1
            return replay()

        return counted

    monkeypatch.setattr(dense, "capture_of", lambda library, largest, steps: capture if library.backend == "torch" else None)
    return counts


def recorded(step):
    """What a CUDA graph makes of a step: its operations, again and again on the same tensors; Python's numbers stay as they were.

    Recording runs the step once, as capturing does not, so what it changes in place is put back.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    tape, first = [], {}

    class Tape(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            assert "item" not in function.name()
            assert "_local_scalar_dense" not in function.name()
            for tensor in [*args, *(kwargs or {}).values()]:
                if isinstance(tensor, torch.Tensor):
                    place = tensor.untyped_storage()
                    first.setdefault(place.data_ptr(), (place, place.clone()))
            out = function(*args, **(kwargs or {}))
            tape.append((function, args, kwargs or {}, out))
            return out

    with Tape():
        outputs = step()
    for place, content in first.values():
        place.copy_(content)

    def replay():
        for function, args, kwargs, out in tape:
            again = function(*args, **kwargs)
            for old, new in zip(_tensors(out), _tensors(again), strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)
        return outputs.clone()

    return replay


def _tensors(out):
    return [out] if hasattr(out, "data_ptr") else list(out)


def posed(model, optimizer, batches):
    return Problem(model, DEPTH_MUP, optimizer, XI, Y2, batches=batches, probes=[[0.3, -0.4]])


def outputs(problem, **options):
    """Outputs of three networks, with no kernels recorded."""
    return trained(problem, **options)[0]


def trained(problem, backend="torch"):
    """Outputs of all evaluations, and the weights after them."""
    library = open_library(backend, None, "float64")
    engine = engines.Dense(problem, library, 9, 4, 13)
    with ThreadPoolExecutor(1) as threads:
        training = engine.training(engine.draw(threads, 0, range(3)).wait(), lambda side, t: None)
    assert isinstance(training, dense.DenseTraining)
    found = [library.get(training.evaluate(t)) for t in range(problem.steps + 1)]
    return np.stack(found), [library.get(w) for w in training.weights]


@pytest.mark.parametrize("batches", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_graphs_train_the_same_networks(optimizer, model, batches, emulated):
    problem = posed(model, optimizer, batches)
    want, weights = trained(problem, "numpy")
    found, moved = trained(problem)
    assert_close(found, want, digits=1e-10)
    for a, b in zip(moved, weights, strict=True):
        assert_close(a, b, digits=1e-10)
    assert emulated["graphs"] == (1 if batches is not BATCHES["sizes"] else 3)
    assert emulated["replays"] == STEPS - emulated["graphs"]


def test_grids_and_simulations_go_through_graphs(emulated):
    problem = posed(MODELS["mlp"], OPTIMIZERS["Adam"], BATCHES["fixed size"])
    options = {"width": 9, "blocks": 4, "seeds": 2, "dtype": "float64"}
    there = grid(problem, lrs=[0.1, 0.2], multipliers=[0.5, 1.0], backend="torch", **options)
    assert emulated["replays"] > 0
    here = grid(problem, lrs=[0.1, 0.2], multipliers=[0.5, 1.0], **options)
    assert_close(there.losses, here.losses, digits=1e-10)
    before = emulated["replays"]
    record = Record(kinds=("feature", "gradient", "two_depth"), samples=(0, 2), steps=(0, 2, 3, 8))
    for wanted in (None, record):
        two, one = (simulate(problem, record=wanted, **where, **options) for where in ({"backend": "torch"}, {}))
        assert_same(two, one, digits=1e-10)
    assert emulated["replays"] > before


def test_what_cannot_be_captured_is_launched_as_it_is(torch, monkeypatch):
    def fails(step):
        raise RuntimeError("operation not permitted when stream is capturing")

    problem = posed(MODELS["post"], OPTIMIZERS["Adam"], None)
    want = outputs(problem, backend="numpy")
    monkeypatch.setattr(dense, "capture_of", lambda library, largest, steps: fails)
    with pytest.warns(graphs.CaptureWarning, match=r"cannot be captured as a CUDA graph \(operation not permitted"):
        found = outputs(problem)
    assert_close(found, want, digits=1e-10)


def test_graphs_are_captured_where_launches_cost_most():
    gpu = replace(open_library("numpy", None, "float32"), device=SimpleNamespace(type="cuda"))
    assert graphs.capture_of(gpu, 2**20, 10) is not None
    assert graphs.capture_of(gpu, 2**25, 10) is None
    assert graphs.capture_of(gpu, 2**20, 3) is None
    assert graphs.capture_of(open_library("numpy", None, "float32"), 2**10, 10) is None


# Faults.


def stale(monkeypatch, part):
    """Replays read part of what the captured step read, not what is new."""
    right = graphs.become

    def wrong(library, there, moment):
        right(library, there, moment if moment.batch is None else replace(moment, batch=part(there.batch, moment.batch)))

    monkeypatch.setattr(graphs, "become", wrong)


def stale_batch(monkeypatch):
    stale(monkeypatch, lambda old, new: replace(new, **{name: array.clone() for name, array in old.arrays().items()}))


def stale_numbers(monkeypatch):
    stale(monkeypatch, lambda old, new: replace(new, numbers=[[float(number) for number in some] for some in old.numbers]))


@pytest.mark.parametrize("fault", [stale_batch, stale_numbers])
def test_injected_faults_are_caught(fault, emulated, monkeypatch):
    problem = posed(MODELS["post"], OPTIMIZERS["Adam"], BATCHES["fixed size"])
    want = outputs(problem, backend="numpy")
    assert_close(outputs(problem), want, digits=1e-10)
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        assert_close(outputs(problem), want, digits=1e-10)


def test_on_a_gpu(torch):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    problem = posed(MODELS["mlp"], OPTIMIZERS["Adam"], BATCHES["fixed size"])
    sizes = {"width": 32, "blocks": 6, "seeds": 3, "dtype": "float64"}
    there = grid(problem, lrs=[0.1, 0.2], **sizes, backend="torch", device="cuda")
    here = grid(problem, lrs=[0.1, 0.2], **sizes)
    assert_close(there.losses, here.losses, digits=1e-9)
