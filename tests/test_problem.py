"""Problems are validated values; losses, schedules and batches mean what their docstrings say."""

from dataclasses import FrozenInstanceError, replace

import naive
import numpy as np
import pytest
from conftest import CATALOGUE, XI, Y2, Y
from numpy.testing import assert_allclose, assert_array_equal

from limits.losses import LOSSES, accuracy, one_hot
from limits.optimizers import SGD
from limits.parametrization import DEPTH_MUP
from limits.problem import Problem, ResNet


def make(**changes):
    given = {"inputs": XI, "targets": Y, "optimizer": SGD(0.5, steps=2)} | changes
    return Problem(ResNet(), DEPTH_MUP, **given)


# What a valid problem holds.


def test_shapes():
    problem = make(inputs=XI.tolist(), targets=Y2.astype(np.float32), probes=[[1, 2]])
    assert (problem.n_samples, problem.d_in, problem.d_out, problem.steps) == (3, 2, 2, 2)
    assert problem.inputs.dtype == problem.targets.dtype == problem.probes.dtype == np.float64
    assert_array_equal(problem.evaluated, np.concatenate([XI, [[1, 2]]]))


def test_values_are_copied_and_frozen():
    x, batch = XI.copy(), np.array([0, 1])
    problem = make(inputs=x, batches=[batch, batch])
    x[:], batch[:] = 99, 2
    assert_array_equal(problem.inputs, XI)
    assert_array_equal(problem.batch(1), [0, 1])
    with pytest.raises(ValueError, match="read-only"):
        problem.inputs[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        problem.batch(0)[0] = 1
    with pytest.raises(FrozenInstanceError):
        problem.loss = "mse"


def test_identity_is_linear():
    assert ResNet("identity") == ResNet("linear") == ResNet()
    assert ResNet(form="pre").form == "pre"
    assert ResNet(multiplier=2).multiplier == 2.0


def test_batches():
    problem = CATALOGUE["batches"]
    assert_allclose(problem.batch_share(1), [0, 2 / 3, 1 / 3], rtol=1e-15, atol=0)
    assert_allclose(problem.batch_share(3), [1, 0, 0], rtol=0, atol=0)
    assert_array_equal(CATALOGUE["inputs"].batch(0), [0, 1, 2])
    assert_allclose(CATALOGUE["inputs"].batch_share(0), np.full(3, 1 / 3), rtol=1e-15, atol=0)


def test_prefix():
    problem = CATALOGUE["both"]
    part = problem.prefix(2)
    assert part.steps == 2
    assert_array_equal(part.optimizer.schedule(), [0.6, 0.3])
    assert_array_equal(part.optimizer.schedule("output_lr"), [0.2, 0.4])
    assert len(part.batches) == 2
    assert problem.prefix(4).optimizer.schedule().tolist() == problem.optimizer.schedule().tolist()
    assert problem.prefix(0).steps == 0


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.999])
def test_momentum_weights_are_those_of_heavy_ball(momentum):
    rng = np.random.default_rng(9)
    rates = {"lr": rng.random(7), "input_lr": rng.random(7), "output_lr": np.full(7, 0.3)}
    sgd = SGD(rates["lr"], steps=7, input_lr=tuple(rates["input_lr"]), output_lr=0.3, momentum=momentum)
    for which, rate in rates.items():
        for t in range(8):
            want = [naive.share_of_gradient(rate, momentum, t, s) for s in range(t)]
            assert_allclose(sgd.weights(t, which), want, rtol=1e-12, atol=1e-15)


def test_schedules():
    assert_array_equal(SGD(0.5, steps=3).schedule(), [0.5, 0.5, 0.5])
    assert SGD([0.5, 0.25], steps=2).lr == (0.5, 0.25)
    assert SGD(np.array(0.5), steps=2).lr == 0.5
    assert SGD(1, steps=0).schedule().shape == (0,)
    assert hash(SGD(np.array([0.5, 0.25]), steps=2)) == hash(SGD([0.5, 0.25], steps=2))


# Losses.


@pytest.mark.parametrize("name", LOSSES)
def test_loss_derivatives(name, rng):
    """Central differences with step 1e-5: error O(1e-10)."""
    f = rng.standard_normal((20, 3))
    classes = np.eye(3)[rng.integers(0, 3, 20)]
    y = {"mse": rng.standard_normal((20, 3)), "logistic": np.sign(f[::-1]), "cross_entropy": classes}[name]
    loss, h = LOSSES[name], 1e-5
    for k in range(3):
        e = h * np.eye(3)[k]
        want = (loss.value(f + e, y) - loss.value(f - e, y)) / (2 * h)
        assert_allclose(loss.derivative(f, y)[:, k], want, rtol=1e-8, atol=1e-9)
    for i in range(20):
        assert_allclose(loss.derivative(f, y)[i], naive.chi_of(name, f[i], y[i], 1), rtol=1e-12, atol=1e-15)


def test_losses_of_large_outputs():
    """Nothing overflows (warnings are errors), and the values are right."""
    big = np.array([[1e4], [-1e4]])
    assert_allclose(LOSSES["logistic"].value(big, np.ones((2, 1))), [0, 1e4], rtol=0, atol=0)
    assert_allclose(LOSSES["logistic"].derivative(big, np.ones((2, 1))), [[0], [-1]], rtol=0, atol=0)
    wide = np.array([[1e4, 0.0], [-1e4, 0.0]])
    first = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert_allclose(LOSSES["cross_entropy"].value(wide, first), [0, 1e4], rtol=0, atol=0)
    assert_allclose(LOSSES["cross_entropy"].derivative(wide, first), [[0, 0], [-1, 1]], rtol=0, atol=0)


def test_small_logistic_losses_keep_their_digits():
    assert_allclose(LOSSES["logistic"].value(np.array([[40.0]]), np.ones((1, 1))), np.exp(-40), rtol=1e-12, atol=0)
    got = LOSSES["logistic"].derivative(np.array([[30.0]]), np.ones((1, 1)))
    assert_allclose(got, [[-np.exp(-30) / (1 + np.exp(-30))]], rtol=0, atol=1e-16)


def test_accuracy():
    assert_allclose(accuracy(np.array([[0.1], [-2.0], [0.0]]), np.array([[1.0], [1.0], [-1.0]])), 1 / 2, rtol=1e-15, atol=0)
    f = np.array([[[0.1, 0.2, 0.0], [3.0, 0.0, 0.0]], [[1.0, 0.2, 0.0], [3.0, 4.0, 0.0]]])
    assert_allclose(accuracy(f, np.eye(3)[[1, 0]]), [1, 0], rtol=0, atol=0)
    assert accuracy(np.zeros((2, 1)), np.array([[0.5], [1.0]])) is None
    assert accuracy(np.zeros((2, 2)), np.array([[1.0, 1.0], [0.0, 1.0]])) is None


def test_classes_become_one_hot():
    want = one_hot(np.array([2, 0, 1]), 3)
    assert_array_equal(CATALOGUE["classes"].targets, want)
    assert_array_equal(make(targets=[[2], [0], [1]], loss="cross_entropy").targets, want)
    assert_array_equal(make(targets=want, loss="cross_entropy").targets, want)
    assert make(targets=[0, 0, 0], loss="cross_entropy").d_out == 2


def test_classes_of_probes_count():
    problem = make(targets=[0, 1, 0], loss="cross_entropy", probes=XI[:2], probe_targets=[3, 0])
    assert problem.d_out == 4
    assert_array_equal(problem.probe_targets, np.eye(4)[[3, 0]])


# Bad input is refused with a sentence.

NAN = [[1.0, np.nan], [0.0, 1.0], [0.0, 0.0]]

BAD = {
    "nan": ({"inputs": NAN}, "inputs must be finite, got 1 NaN or infinite entries"),
    "inf": ({"targets": [[np.inf], [1.0], [-np.inf]]}, "targets must be finite, got 2 NaN"),
    "nan probes": ({"probes": [[np.nan, 0.0]]}, "probes must be finite"),
    "vector": ({"inputs": [1.0, 2.0, 3.0]}, r"inputs must have shape \(samples, dimensions\).*inputs\[:, None\]"),
    "cube": ({"inputs": np.ones((3, 2, 2))}, r"got shape \(3, 2, 2\)"),
    "no samples": ({"inputs": np.ones((0, 2)), "targets": np.ones((0, 1))}, r"none of them 0, got shape \(0, 2\)"),
    "no dimensions": ({"inputs": np.ones((3, 0))}, "none of them 0"),
    "ragged": ({"inputs": [[1.0], [1.0, 2.0], [0.0]]}, "inputs must be a numeric array .* got list"),
    "text": ({"inputs": [["a"], ["b"], ["c"]]}, "inputs must be a numeric array"),
    "none": ({"targets": None}, "targets must"),
    "fewer targets": ({"targets": Y[:2]}, "one row per sample, got 3 inputs and 2 targets"),
    "probe dimension": ({"probes": [[1.0, 2.0, 3.0]]}, "probes must have 2 dimensions like the inputs, got 3"),
    "probe vector": ({"probes": [1.0, 2.0]}, "probes must have shape"),
    "orphan probe targets": ({"probe_targets": Y}, "probe_targets were given without probes"),
    "probe targets": ({"probes": XI, "probe_targets": Y2}, r"probe_targets must have shape \(3, 1\), got \(3, 2\)"),
    "few batches": ({"batches": [[0]]}, r"batches must be one index array per step \(2\), got 1"),
    "many batches": ({"batches": [[0]] * 3}, r"one index array per step \(2\), got 3"),
    "empty batch": ({"batches": [[0], []]}, "batch 1 must be a nonempty list of indices"),
    "float batch": ({"batches": [[0], [0.5]]}, "batch 1 must hold whole numbers, got float64"),
    "boolean batch": ({"batches": [[0], [True, False, True]]}, "batch 1 must hold whole numbers, got bool"),
    "large index": ({"batches": [[0], [3]]}, "batch 1 must index the 3 inputs, got 3 … 3"),
    "negative index": ({"batches": [[-1], [0]]}, "batch 0 must index the 3 inputs"),
    "nested batch": ({"batches": [[[0]], [[0]]]}, r"batch 0 must be a nonempty list of indices, got shape \(1, 1\)"),
    "loss": ({"loss": "hinge"}, "loss must be one of cross_entropy, logistic, mse, got 'hinge'"),
    "logistic classes": ({"loss": "logistic", "targets": [[0.0], [1.0], [1.0]]}, "must be -1 or 1.*map classes"),
    "soft classes": ({"loss": "cross_entropy", "targets": [[0.5, 0.5]] * 3}, "one-hot rows or integer classes"),
    "one class": ({"loss": "cross_entropy", "targets": np.ones((3, 1)) / 2}, "one-hot rows or integer classes"),
    "negative class": ({"loss": "cross_entropy", "targets": [0, -1, 1]}, "one-hot rows or integer classes"),
    "class names": ({"loss": "cross_entropy", "targets": ["cat", "dog", "cat"]}, "one-hot rows or integer classes"),
    "nan class": ({"loss": "cross_entropy", "targets": [0.0, np.nan, 1.0]}, "one-hot rows or integer classes"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_problems_are_refused(case):
    changes, sentence = BAD[case]
    with pytest.raises(ValueError, match=sentence):
        make(**changes)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"lr": -0.1, "steps": 2}, r"lr must be finite and >= 0, got -0.1"),
        ({"lr": float("nan"), "steps": 2}, "lr must be finite"),
        ({"lr": float("inf"), "steps": 2}, "lr must be finite"),
        ({"lr": [0.1, 0.2, 0.3], "steps": 2}, r"lr must be one number or one per step \(2\), got 3 numbers"),
        ({"lr": [], "steps": 2}, r"one per step \(2\), got 0 numbers"),
        ({"lr": [0.1, -0.2], "steps": 2}, r"lr\[1\] must be finite and >= 0, got -0.2"),
        ({"lr": 0.1, "steps": 2, "input_lr": -1.0}, "input_lr must be"),
        ({"lr": 0.1, "steps": 2, "output_lr": [1.0]}, "output_lr must be one number or one per step"),
        ({"lr": 0.1, "steps": -1}, "steps must be a whole number >= 0, got -1"),
        ({"lr": 0.1, "steps": 2, "momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"lr": 0.1, "steps": 2, "momentum": -0.5}, "momentum must be finite and >= 0"),
        ({"lr": 0.1, "steps": 2, "momentum": float("nan")}, "momentum must be finite"),
    ],
)
def test_bad_optimizers_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        SGD(**arguments)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"nonlinearity": "rule"}, "nonlinearity must be a Nonlinearity or a sum of linear, relu, .*, got 'rule'"),
        ({"block_depth": 0}, "block_depth must be a whole number between 1 and 12, got 0"),
        ({"form": "mlp"}, "a block of form .mlp. has two layers, got block_depth=1"),
        ({"multiplier": 0.0}, "multiplier must be finite and > 0, got 0.0"),
        ({"multiplier": -1.0}, "multiplier must be finite and > 0"),
        ({"multiplier": float("inf")}, "multiplier must be finite"),
    ],
)
def test_bad_models_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        ResNet(**arguments)


def test_prefixes_end_with_the_run():
    for steps in (-1, 5):
        with pytest.raises(ValueError, match=r"steps|per step"):
            CATALOGUE["batches"].prefix(steps)


def test_replacing_keeps_the_checks():
    with pytest.raises(ValueError, match="one row per sample"):
        replace(CATALOGUE["inputs"], targets=Y[:1])
