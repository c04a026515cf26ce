"""Data: normalisation, order and determinism of the digits; files that can and cannot be read; batches."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from limits.data import _draw, _load_digits, digits, load, minibatches, teacher
from limits.optimizers import SGD
from limits.parametrization import DEPTH_MUP
from limits.problem import ResNet


def pose(data, **changes):
    return data.problem(ResNet(), DEPTH_MUP, SGD(0.1, steps=2), **changes)


# Digits


@pytest.mark.parametrize(("classes", "samples", "directions"), [((0, 1), 100, 10), ((3, 8), 31, 4), ((1, 5, 9), 60, 1)])
def test_digits_are_normalised_principal_coordinates(classes, samples, directions):
    xi = digits(classes, samples=samples, directions=directions).inputs
    assert xi.shape == (samples, directions)
    assert_allclose(np.mean(np.sum(xi**2, axis=1) / directions), 1, rtol=1e-12)
    assert_allclose(xi.mean(0), 0, atol=1e-12)
    covariance = xi.T @ xi / samples
    assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-12)
    assert np.all(np.diff(np.diag(covariance)) < 0)


def test_all_directions_keep_the_distances_between_digits():
    """Nothing but a shift, a rotation and one factor, the same for the probes."""
    pixels, labels = _load_digits()
    train, held = (pixels[chosen] for chosen in _draw(labels, (0, 1), 60, 8, 0))
    centred = train - train.mean(0)
    data = digits((0, 1), samples=60, directions=int(np.linalg.matrix_rank(centred)), probes=8)
    scale = np.sqrt(data.inputs.size / np.sum(centred**2))
    assert_allclose(data.inputs @ data.inputs.T, scale**2 * centred @ centred.T, atol=1e-10)
    projection = np.linalg.lstsq(centred, data.inputs, rcond=None)[0]
    assert_allclose(data.probes, (held - train.mean(0)) @ projection, atol=1e-10)


def test_digits_are_balanced_nested_and_the_same_every_time():
    few, many = digits((3, 8), samples=20, directions=5, probes=10), digits((3, 8), samples=80, directions=5, probes=10)
    assert_array_equal(few.targets[:, 0], np.tile([-1, 1], 10))
    assert_array_equal(few.probe_targets, many.probe_targets)
    assert_array_equal(few.inputs, digits((3, 8), samples=20, directions=5, probes=10).inputs)
    assert not np.array_equal(few.inputs, digits((3, 8), samples=20, directions=5, seed=1).inputs)
    _, labels = _load_digits()
    train, held = _draw(labels, (3, 8), 80, 10, 0)
    assert_array_equal(train[:20], _draw(labels, (3, 8), 20, 10, 0)[0])
    assert not set(train) & set(held)


@pytest.mark.parametrize(
    ("classes", "targets", "expected", "loss"),
    [
        ((7, 2), None, [[-1], [1], [-1]], "mse"),
        ((7, 2), "one-hot", [[1, 0], [0, 1], [1, 0]], "mse"),
        ((7, 2), "classes", [0, 1, 0], "cross_entropy"),
        ((7, 2, 4), None, [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "mse"),
    ],
)
def test_targets_of_digits(classes, targets, expected, loss):
    data = digits(classes, samples=12, directions=2, targets=targets)
    assert_array_equal(data.targets[:3], expected)
    assert data.loss == loss
    assert pose(data).d_out == np.shape(expected)[-1] if targets != "classes" else 2


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({"classes": (0, 10)}, "classes must be at least two different digits"),
        ({"classes": (1,)}, "classes must be at least two different digits"),
        ({"classes": (1, 1)}, "classes must be at least two different digits"),
        ({"samples": 1}, "samples must be a whole number >= 2, got 1"),
        ({"samples": 1000}, "there are 178 digits of class 0, got a wish for 500"),
        ({"samples": 300, "probes": 100}, "there are 178 digits of class 0, got a wish for 200"),
        ({"samples": 20, "directions": 20}, "directions must be at most 19"),
        ({"directions": 0}, "directions must be a whole number >= 1"),
        ({"targets": "names"}, "targets must be one of one-hot, signs, classes"),
        ({"classes": (1, 2, 3), "targets": "signs"}, "targets -1 and 1 need two classes, got 3"),
    ],
)
def test_impossible_digits_are_refused_in_a_sentence(wish, sentence):
    with pytest.raises(ValueError, match=sentence):
        digits(**wish)


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "depth-limits\[data\]"'):
        digits()


# Teachers and batches


def test_teacher_is_linear_in_its_inputs():
    data = teacher(40, 6, d_out=2, probes=5, seed=3)
    weights = np.linalg.lstsq(data.inputs, data.targets, rcond=None)[0]
    assert_allclose(data.probes @ weights, data.probe_targets, atol=1e-12)
    assert pose(data).d_out == 2


def test_teacher_noise_is_added_to_the_same_targets():
    clean, noisy = teacher(500, 3, seed=1), teacher(500, 3, noise=0.5, seed=1)
    assert_array_equal(clean.inputs, noisy.inputs)
    assert_allclose(np.std(noisy.targets - clean.targets), 0.5, rtol=0.1)
    assert_array_equal(teacher(20, 3, seed=1).targets, clean.targets[:20])


@pytest.mark.parametrize(("wish", "name"), [({"samples": 0}, "samples"), ({"d_in": 0}, "d_in"), ({"noise": -1.0}, "noise")])
def test_impossible_teachers_are_refused(wish, name):
    with pytest.raises(ValueError, match=name):
        teacher(**{"samples": 4, "d_in": 2} | wish)


def test_every_epoch_uses_every_sample_once():
    batches = minibatches(12, 4, steps=6, seed=5)
    assert [len(b) for b in batches] == [4] * 6
    for epoch in (batches[:3], batches[3:]):
        assert_array_equal(np.sort(np.concatenate(epoch)), np.arange(12))
    assert_array_equal(batches[:2], minibatches(12, 4, steps=2, seed=5))
    assert not np.array_equal(batches, minibatches(12, 4, steps=6, seed=6))


def test_an_epoch_drops_its_remainder():
    assert [len(set(b.tolist())) for b in minibatches(7, 3, steps=5)] == [3] * 5
    assert minibatches(7, 3, steps=0) == []


@pytest.mark.parametrize(("classes", "samples", "size"), [((0, 1), 100, 25), ((3, 8), 340, 64), (range(10), 1700, 128)])
def test_batches_of_digits(classes, samples, size):
    """At the sizes of real runs: ten epochs and a half of seeded, different orders, which a problem takes."""
    data, each = digits(classes, samples=samples, directions=20), samples // size
    steps = 10 * each + each // 2
    batches = minibatches(samples, size, steps=steps, seed=4)
    assert [b.shape for b in batches] == [(size,)] * steps
    epochs = [np.concatenate(batches[e * each : (e + 1) * each]) for e in range(10)]
    assert all(len(set(epoch.tolist())) == each * size for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 10
    counts = np.bincount(np.concatenate(epochs), minlength=samples)
    assert counts.max() == 10
    assert counts.min() >= (10 if samples % size == 0 else 1)  # what an epoch drops is drawn afresh
    assert_array_equal(minibatches(samples, size, steps=steps + 3, seed=4)[:steps], batches)
    problem = data.problem(ResNet(), DEPTH_MUP, SGD(0.1, steps=steps), batches=batches)
    assert all(problem.batch_share(t).sum() == pytest.approx(1) for t in range(steps))
    assert all(np.count_nonzero(problem.batch_share(t)) == size for t in range(steps))


def test_batches_of_no_whole_number_are_refused():
    for options, sentence in (
        ({"steps": -1}, "steps must be a whole number >= 0, got -1"),
        ({"steps": 1, "seed": -2}, "seed must be"),
    ):
        with pytest.raises(ValueError, match=sentence):
            minibatches(7, 3, **options)


@pytest.mark.parametrize("size", [0, 8])
def test_batches_larger_than_the_data_or_empty_are_refused(size):
    with pytest.raises(ValueError, match="the batch size must be"):
        minibatches(7, size, steps=1)


# Files


def test_npz_goes_in_and_out(tmp_path, rng):
    arrays = {"inputs": rng.normal(size=(5, 3)), "targets": rng.normal(size=5), "probes": rng.normal(size=(2, 3))}
    np.savez(tmp_path / "data.npz", **arrays, probe_targets=[1, 2], comment="not looked at")
    problem = pose(load(tmp_path / "data.npz"))
    assert_array_equal(problem.inputs, arrays["inputs"])
    assert_array_equal(problem.targets[:, 0], arrays["targets"])
    assert_array_equal(problem.probe_targets, [[1], [2]])


@pytest.mark.parametrize(
    ("text", "inputs", "targets"),
    [
        ("x1,x2,y\n1,2,3\n4,5,6\n", [[1, 2], [4, 5]], [[3], [6]]),
        ("y0, input_1, target 1\n1,2,3\n\n4,5,6\n", [[2], [5]], [[1, 3], [4, 6]]),
        ("length,year,price\n1,2,3\n-4e-1,5,6", [[1, 2], [-0.4, 5]], [[3], [6]]),
        ("\ufeffTarget,length\r\n1,2\r\n", [[2]], [[1]]),
    ],
)
def test_columns_of_csv(tmp_path, text, inputs, targets):
    (tmp_path / "data.csv").write_text(text, encoding="utf-8")
    data = load(tmp_path / "data.csv")
    assert_array_equal(data.inputs, inputs)
    assert_array_equal(data.targets, targets)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x1,x2,y\n1,2,3\n4,five,6\n", r"data.csv, line 3, column 'x2': 'five' is not a finite number"),
        ("x1,y\n\n1,nan\n", r"data.csv, line 3, column 'y': 'nan' is not a finite number"),
        ("x1,y\n1,\n", r"line 2, column 'y': '' is not a finite number"),
        ("x1,x2,y\n1,2\n", r"line 2: 3 numbers were wanted, one per column, got 2"),
        ("1,2,3\n4,5,6\n", "must name the columns, got numbers"),
        ("x1,name,y\n1,2,3\n", "column 'name' of .* is neither an input"),
        ("y1,y2\n1,2\n", "all columns of .* are targets"),
        ("x\n1\n", "at least one column of inputs and one of targets"),
        ("x,y\n", "got 1 lines"),
        ("", "got 0 lines"),
    ],
)
def test_bad_csv_is_refused_with_its_line(tmp_path, text, sentence):
    (tmp_path / "data.csv").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        load(tmp_path / "data.csv")


def test_bad_npz_is_refused(tmp_path):
    np.savez(tmp_path / "names.npz", x=[1.0], y=[2.0])
    with pytest.raises(ValueError, match="has no array 'inputs', it holds 'x', 'y'"):
        load(tmp_path / "names.npz")
    np.savez(tmp_path / "objects.npz", inputs=np.array([{}]), targets=[1.0])
    np.savez(tmp_path / "text.npz", inputs=["a"], targets=[1.0])
    with pytest.raises(ValueError, match=r"no \.npz file of numeric arrays"):
        load(tmp_path / "objects.npz")
    with pytest.raises(ValueError, match=r"'inputs' of .* must hold real numbers"):
        load(tmp_path / "text.npz")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut short"])
def test_what_is_no_npz_is_refused(tmp_path, content):
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"no \.npz file of numeric arrays"):
        load(tmp_path / "data.npz")


def test_an_array_saved_without_names_is_refused(tmp_path):
    with (tmp_path / "data.npz").open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(ValueError, match=r"no \.npz file of numeric arrays"):
        load(tmp_path / "data.npz")


def test_binary_csv_is_refused(tmp_path):
    (tmp_path / "data.csv").write_bytes(b"x,y\n\xff\xfe,1\n")
    with pytest.raises(ValueError, match="no text in UTF-8"):
        load(tmp_path / "data.csv")


def test_unknown_files_and_suffixes(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no data file"):
        load(tmp_path / "missing.npz")
    with pytest.raises(ValueError, match=r"data come from \.npz or \.csv files, got .*data\.txt"):
        load(tmp_path / "data.txt")
