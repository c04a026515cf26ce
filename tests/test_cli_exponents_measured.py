"""`limits exponents`: what it prints and writes, its exit codes, how it resumes, what it refuses."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from typer.testing import CliRunner

from limits.cli import app
from limits.compare import measure_exponents
from limits.data import digits
from limits.finite.dense import DenseTraining
from limits.optimizers import SGD, Adam
from limits.parametrization import Parametrization
from limits.problem import ResNet

SMALL = ("--samples", "4", "--directions", "2", "--steps", "1", "--blocks", "4,8,16,32,64", "--width", "16", "--seeds", "12")
NEURAL_ODE = ("--alpha", "1", "--gamma", "0", "--lr", "0.05", "--tolerance", "0.2")


def limits(*arguments):
    return CliRunner().invoke(app, ["exponents", *map(str, arguments)])


def problem(model, optimizer):
    data = digits((0, 1), samples=4, directions=2)
    return data.problem(model, Parametrization(1, 0), optimizer)


@pytest.mark.parametrize(
    ("options", "model", "optimizer"),
    [
        ((), ResNet(), SGD(0.05, steps=1)),
        (
            ("--nonlinearity", "tanh", "--form", "mlp", "-k", "2", "--optimizer", "adam"),
            ResNet("tanh", form="mlp", block_depth=2),
            Adam(0.05, steps=1),
        ),
    ],
    ids=["linear", "two layers"],
)
def test_exponents_are_those_of_python(options, model, optimizer, tmp_path):
    result = limits(*SMALL, *NEURAL_ODE, *options, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.stderr + result.stdout
    found = json.loads(result.stdout)
    wanted = measure_exponents(problem(model, optimizer), blocks=(4, 8, 16, 32, 64), width=16, seeds=12, tolerance=0.2).to_json()
    assert found["rows"] == wanted["rows"]
    assert (found["command"], found["verdict"], found["asked"]["blocks"]) == ("exponents", "pass", "4,8,16,32,64")
    assert json.loads((tmp_path / "exponents.json").read_text()) == found
    assert (tmp_path / "exponents.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "runs").glob("*.npz"))) == 5


def test_the_table_is_printed_and_files_go_to_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = limits(*SMALL, *NEURAL_ODE)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("exponent of")
    assert "PASS: 5 exponents within 0.2" in result.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["exponents.json", "exponents.png"]


def test_what_does_not_pass_exits_with_1(tmp_path, monkeypatch):
    init = DenseTraining.__init__

    def planted(self, problem, library, u, v, weights, **rest):
        init(self, problem, library, u, v, weights, **rest)
        self.c = self.c * self.blocks**0.5

    monkeypatch.setattr(DenseTraining, "__init__", planted)
    result = limits(*SMALL, *NEURAL_ODE, "--out", tmp_path)
    assert result.exit_code == 1
    assert "FAIL (fail: initial growth" in result.stdout
    assert (tmp_path / "exponents.png").exists()


def test_the_folder_resumes(tmp_path):
    first = limits(*SMALL, *NEURAL_ODE, "--out", tmp_path, "--json")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*.npz")}
    again = limits(*SMALL, *NEURAL_ODE, "--out", tmp_path, "--json")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*.npz")} == times
    rows = [[row["measured"] for row in json.loads(r.stdout)["rows"]] for r in (first, again)]
    assert_allclose(*np.array(rows), rtol=1e-15)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--optimizer", "adagrad"), "--optimizer must be one of SGD, Adam, AdamW, SignSGD, Muon, got 'adagrad'"),
        (("--optimizer", "Adam", "--momentum", "0.9"), "--momentum is for SGD, SignSGD and Muon"),
        (("--form", "mlp", "-k", "3"), "a block of form 'mlp' has two layers, got block_depth=3"),
        (("--blocks", "8"), "an exponent needs at least two numbers of blocks"),
        (("--seeds", "2"), "seeds must be at least 3"),
        (("--blocks", "8,x"), "--blocks must be whole numbers"),
    ],
)
def test_refused(options, words):
    result = limits(*SMALL, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_help_teaches():
    result = limits("--help")
    assert result.exit_code == 0
    assert "coordinate check" in result.stdout
