"""Trajectories keep everything through a file, and refuse files that are not theirs."""

import io
import json
import os
import zipfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import CATALOGUE, at
from numpy.testing import assert_array_equal

import limits
from limits import FileFormatError, Record, Trajectory, recurse, solve
from limits.optimizers import SGD
from limits.parametrization import DEPTH_MUP, Parametrization
from limits.problem import Problem, ResNet
from limits.trajectory import FORMAT, _file, assemble, write_atomically

ALL = Record(positions=(0, 0.5, 1), kinds=("feature", "gradient", "two_depth", "response"))


def assert_same_problem(one, other):
    for f in fields(Problem):
        a, b = getattr(one, f.name), getattr(other, f.name)
        if f.name == "batches":
            assert (a is None) == (b is None)
            assert a is None or all(np.array_equal(p, q) and p.dtype.kind == "i" for p, q in zip(a, b, strict=True))
        elif isinstance(a, np.ndarray):
            assert_array_equal(a, b)
        else:
            assert a == b, f.name


def assert_same(one, other):
    assert_same_problem(one.problem, other.problem)
    assert dict(one.meta) == dict(other.meta)
    for f in fields(Trajectory):
        if f.name not in ("problem", "meta"):
            a, b = getattr(one, f.name), getattr(other, f.name)
            assert (a is None) == (b is None), f.name
            if a is not None:
                assert_array_equal(a, b)
                assert np.asarray(a).dtype == np.asarray(b).dtype


# Files.


def test_round_trip(problem, tmp_path):
    t = recurse(problem, blocks=4, record=ALL)
    path = t.save(tmp_path / "run.npz")
    again = Trajectory.load(path)
    assert_same(t, again)
    assert_array_equal(recurse(again.problem, blocks=4).outputs, t.outputs)
    assert repr(again) == repr(t)


def test_round_trip_of_other_runs(tmp_path):
    exotic = Problem(
        ResNet("identity", multiplier=0.3, mean_subtraction=False, form="pre"),
        Parametrization("1/3", ("5/7",), initial=("1/5",)),
        SGD([0.1, 0.2], steps=2, output_lr=0.1, momentum=0.25),
        [[1.0, 2.0]],
        [[-1.0]],
        loss="logistic",
        batches=[[0, 0], [0]],
        probes=[[3.0, 4.0], [0.0, 1.0]],
        probe_targets=[[1.0], [-1.0]],
    )
    runs = [
        recurse(exotic, blocks=3, record=Record(kinds=())),
        recurse(replace(CATALOGUE["single"], optimizer=SGD(1.0, steps=0), batches=[]), blocks=3),
        solve(at(CATALOGUE["both"], 1, 0), tol=1e-6),
    ]
    for k, t in enumerate(runs):
        assert_same(t, Trajectory.load(t.save(str(tmp_path / f"{k}.npz"))))


def test_seeds_survive(tmp_path):
    t = recurse(CATALOGUE["single"], blocks=3)
    samples = np.stack([t.outputs, t.outputs + 1, np.full_like(t.outputs, np.nan)])
    meta = {"rung": "finite", "width": 8, "seeds": 3, "device": None}
    t = replace(t, samples=samples, diverged=np.array([-1, -1, 0]), meta=meta)
    assert_same(t, Trajectory.load(t.save(tmp_path / "seeds.npz")))


def test_saving_makes_folders_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a" / "b" / "run.npz"
    t = recurse(CATALOGUE["single"], blocks=3)
    assert t.save(path) == path
    t.save(path)
    assert os.listdir(path.parent) == ["run.npz"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "run.npz"
    t = recurse(CATALOGUE["single"], blocks=3)
    t.save(path)

    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert os.listdir(tmp_path) == ["run.npz"]
    assert_same(t, Trajectory.load(path))


def header_of(path):
    with np.load(path) as file:
        return json.loads(bytes(file["header"]).decode()), {k: file[k] for k in file.files if k != "header"}


def write(path, header, arrays):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    with open(path, "wb") as file:
        np.savez(file, header=np.frombuffer(text, np.uint8), **arrays)


@pytest.fixture
def saved(tmp_path):
    return recurse(CATALOGUE["batches"], blocks=3, record=ALL).save(tmp_path / "run.npz")


def test_newer_formats_are_refused(saved):
    header, arrays = header_of(saved)
    write(saved, header | {"format": FORMAT + 1, "limits": "9.0"}, arrays)
    sentence = f"written by limits 9.0 in format {FORMAT + 1}, this version reads up to {FORMAT}: upgrade depth-limits"
    with pytest.raises(FileFormatError, match=sentence):
        Trajectory.load(saved)


@pytest.mark.parametrize("version", ["2", None, [1], 1.5])
def test_strange_formats_are_refused(saved, version):
    header, arrays = header_of(saved)
    write(saved, header | {"format": version}, arrays)
    with pytest.raises(FileFormatError):
        Trajectory.load(saved)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(saved, share):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(FileFormatError, match=r"run\.npz is not a trajectory saved by limits, or is damaged"):
        Trajectory.load(saved)


def test_damaged_files_are_refused_or_read_right(saved):
    """Every 23rd byte flipped, one at a time: nothing but FileFormatError, and no wrong number."""
    want, whole = Trajectory.load(saved), saved.read_bytes()
    refused = 0
    for k in range(0, len(whole), 23):
        damaged = bytearray(whole)
        damaged[k] ^= 0x55
        saved.write_bytes(bytes(damaged))
        try:
            got = Trajectory.load(saved)
        except FileFormatError:
            refused += 1
        else:
            assert_array_equal(got.outputs, want.outputs)
    assert refused > 0.5 * len(whole) / 23


def foreign(kind, path):
    if kind == "text":
        path.write_text("epoch,loss\n1,0.5\n")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "npy":
        with open(path, "wb") as file:
            np.save(file, np.ones(3))
    elif kind == "npz":
        with open(path, "wb") as file:
            np.savez(file, a=np.ones(3))
    elif kind == "pickle":
        with open(path, "wb") as file:
            np.savez(file, header=np.array([{"format": 1}], dtype=object))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("header", "{}")
    elif kind == "png":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    elif kind == "list":
        write(path, b"[1, 2]", {})
    elif kind == "not json":
        write(path, b"{format: 1", {})
    elif kind == "not text":
        write(path, b"\xff\xfe", {})
    elif kind == "no problem":
        write(path, {"format": 1}, {})


@pytest.mark.parametrize(
    "kind", ["text", "empty", "npy", "npz", "pickle", "zip", "png", "list", "not json", "not text", "no problem"]
)
def test_foreign_files_are_refused(tmp_path, kind):
    path = tmp_path / "other.npz"
    foreign(kind, path)
    with pytest.raises(FileFormatError, match=r"other\.npz is not a trajectory saved by limits, or is damaged"):
        Trajectory.load(path)


@pytest.mark.parametrize("lost", ["trajectory.outputs", "problem.inputs", "problem.batch_sizes", "problem.batch_indices"])
def test_missing_arrays_are_refused(saved, lost):
    header, arrays = header_of(saved)
    write(saved, header, {k: v for k, v in arrays.items() if k != lost})
    with pytest.raises(FileFormatError):
        Trajectory.load(saved)


def test_unknown_arrays_are_refused(saved):
    header, arrays = header_of(saved)
    write(saved, header, arrays | {"trajectory.colour": np.ones(2)})
    with pytest.raises(FileFormatError):
        Trajectory.load(saved)


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("outputs", lambda a: a + 1j, "outputs must be real numbers, got complex128"),
        ("error", lambda a: a.astype(str), "error must be real numbers, got <U"),
        ("feature_kernel", lambda a: a[0], r"feature_kernel must have 5 axes, got shape"),
        ("gradient_kernel", lambda a: a[:, :, :2], "gradient_kernel of shape .* does not fit the other arrays, whose position"),
        ("outputs", lambda a: a[:, :1], "outputs of shape .* does not fit the other arrays, whose sample is"),
        ("error", lambda a: a[:0], "error of shape .* whose step is"),
        ("losses", lambda a: a[:0], "losses of shape"),
        ("losses", lambda a: a.astype(str), "losses must be real numbers"),
        ("positions", lambda a: a.astype(complex), "positions must be real numbers"),
        ("positions", lambda a: a[:0], "positions of shape"),
        ("steps", lambda a: a - 9, "steps must lie in 0 … "),
        ("recorded", lambda a: a - 9, "recorded must lie in 0 … "),
        ("steps", lambda a: a.astype(float), "steps must be whole numbers, got float64"),
        ("response", lambda a: a[:1], "response of shape .* whose pass is 2 long"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(saved, name, change, sentence):
    header, arrays = header_of(saved)
    write(saved, header, arrays | {f"trajectory.{name}": change(arrays[f"trajectory.{name}"])})
    with pytest.raises(FileFormatError, match=f"is damaged: {sentence}"):
        Trajectory.load(saved)


def test_what_a_run_was_must_be_said_by_name(saved):
    header, arrays = header_of(saved)
    write(saved, header | {"meta": [1]}, arrays)
    with pytest.raises(FileFormatError, match="meta must be a dict"):
        Trajectory.load(saved)


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_a_path_must_name_a_file(path):
    for use in (recurse(CATALOGUE["single"], blocks=3).save, Trajectory.load):
        with pytest.raises(ValueError, match="path must be the name of a file, got "):
            use(path)


@pytest.mark.parametrize("path", [None, 3, b"run.npz"])
def test_a_path_is_text(path):
    """Asked of what both call, for run-time checks of types would answer before it."""
    with pytest.raises(TypeError, match="path must be the name of a file, got "):
        _file(path)


def test_a_folder_is_no_file(tmp_path):
    for use in (recurse(CATALOGUE["single"], blocks=3).save, Trajectory.load):
        with pytest.raises(ValueError, match=r"path must be the name of a file, got .*: it is a folder"):
            use(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        Trajectory.load(tmp_path / "nothing.npz")


def test_files_need_no_pickle(saved):
    with np.load(saved, allow_pickle=False) as file:
        assert "allow_pickle" not in file.files
        assert all(file[k].dtype != object for k in file.files)
    assert zipfile.ZipFile(io.BytesIO(Path(saved).read_bytes())).testzip() is None


# The rest.


def test_accuracy_and_probes():
    problem = replace(CATALOGUE["logistic"], probes=[[1.0, 1.0], [0.5, -2.0]], probe_targets=[[1.0], [-1.0]])
    t = recurse(problem, blocks=5)
    right = (1 + np.sign(t.outputs[..., 0] * np.append(problem.targets[:, 0], [1, -1]))) / 2  # a tie is half right
    assert_array_equal(right[0], np.full(5, 0.5))
    assert_array_equal(t.accuracy, right[:, :3].mean(1))
    assert_array_equal(t.probe_accuracy, right[:, 3:].mean(1))
    each = np.log1p(np.exp(-np.array([1, -1]) * t.outputs[:, 3:, 0]))
    np.testing.assert_allclose(t.probe_losses, each.mean(1), rtol=1e-12, atol=0)
    plain = recurse(CATALOGUE["inputs"], blocks=5)
    assert plain.accuracy is None
    assert plain.probe_losses is None


def test_assembling_averages_over_seeds():
    """The loss is the mean of the seeds' losses, not the loss of the mean output."""
    problem = CATALOGUE["single"]
    samples = np.random.default_rng(10).standard_normal((3, 5, 1, 1))
    t = assemble(problem, samples.mean(0), np.zeros((5, 1, 1)), samples=samples)
    each = (samples[..., 0, 0] - 1) ** 2 / 2
    np.testing.assert_allclose(t.losses, each.mean(0), rtol=1e-14, atol=0)
    np.testing.assert_allclose(t.batch_losses, each.mean(0)[:4], rtol=1e-14, atol=0)


def test_repr():
    t = recurse(CATALOGUE["single"], blocks=16)
    assert repr(t) == "Trajectory(wide, blocks=16, 4 steps, loss 0.5 -> 0.0793947)"
    assert "partial" in repr(replace(t, meta=dict(t.meta) | {"partial": True}))


def test_xarray():
    xarray = pytest.importorskip("xarray")
    t = recurse(CATALOGUE["both"], blocks=4, record=replace(ALL, steps=(0, 2), samples=(2, 0)))
    data = t.to_xarray()
    assert isinstance(data, xarray.Dataset)
    pair = ("recorded_step", "recorded_step_2", "position")
    assert data.outputs.dims == data.error.dims == ("step", "sample", "output")
    assert data.losses.dims == ("step",)
    assert data.batch_losses.dims == ("update",)
    assert data.feature_kernel.dims == data.gradient_kernel.dims == (*pair, "recorded_sample", "recorded_sample_2")
    assert data.two_depth_kernel.dims == (*pair, "position_2", "recorded_sample", "recorded_sample_2")
    assert data.response.dims == ("pass", *pair, "position_2", "direction", "output")
    assert data.recorded_sample.values.tolist() == [2, 0]
    assert data.recorded_step_2.values.tolist() == [0, 2]
    assert data.position_2.values.tolist() == [0, 0.5, 1]
    assert data.attrs["rung"] == "wide"
    assert data.attrs["blocks"] == 4
    assert_array_equal(data.feature_kernel.sel(recorded_step=2, position=0.5).values, t.feature_kernel[1, :, 1])


def test_xarray_of_little():
    pytest.importorskip("xarray")
    data = recurse(CATALOGUE["single"], blocks=4, record=Record(kinds=())).to_xarray()
    assert "feature_kernel" not in data
    assert "accuracy" in data
    assert data.sizes["step"] == 5


def test_the_version_is_recorded():
    assert recurse(CATALOGUE["single"], blocks=4).meta["version"] == limits.__version__
    assert recurse(Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=1), [[1.0]], [[1.0]]), blocks=2).meta["rung"] == "wide"


def test_places_before_the_beginning_are_damage(tmp_path, monkeypatch):
    """A damaged directory of the archive can send the reader to a negative place, which the system refuses."""
    path = tmp_path / "run.npz"
    path.write_bytes(b"PK")

    def seeks(*given, **options):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(np, "load", seeks)
    with pytest.raises(FileFormatError, match=r"or is damaged: .*Invalid argument"):
        Trajectory.load(path)
    with pytest.raises(FileNotFoundError):
        Trajectory.load(tmp_path / "none.npz")
