"""`limits transfer`: what it prints and writes, how it resumes, what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose
from typer.testing import CliRunner

from limits.cli import app
from limits.compare import transfer
from limits.data import digits
from limits.optimizers import SGD
from limits.parametrization import DEPTH_MUP, Parametrization
from limits.problem import ResNet

SMALL = ("--samples", "12", "--directions", "2", "--steps", "2", "--blocks", "2,4", "--lrs", "0.2:0.9:4")
NETWORKS = ("--rung", "finite", "--width", "8", "--seeds", "2")


def limits(*arguments):
    return CliRunner().invoke(app, ["transfer", *map(str, arguments)])


def problem():
    return digits((0, 1), samples=12, directions=2).problem(ResNet(), DEPTH_MUP, SGD(0.3, steps=2))


def test_curves_and_optima_are_those_of_python(tmp_path):
    pairs = ("--parametrization", "1/2,1/2", "--parametrization", "1/2, 0")
    result = limits(*SMALL, *pairs, "--no-limit", "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    lrs, both = np.geomspace(0.2, 0.9, 4), [DEPTH_MUP, Parametrization("1/2", 0)]
    expected = transfer(problem(), blocks=(2, 4), lrs=[float(f"{lr:.12g}") for lr in lrs], parametrizations=both, limit=False)
    assert_allclose(found["lrs"], lrs, rtol=1e-11)
    assert {key: found[key] for key in expected.to_json()} == expected.to_json()
    assert (found["command"], found["asked"]["blocks"]) == ("transfer", "2,4")
    assert json.loads((tmp_path / "transfer.json").read_text()) == found
    assert (tmp_path / "transfer.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["runs", "transfer.json", "transfer.png"]
    assert len(list((tmp_path / "runs").glob("*.npz"))) == 4, "two sizes, twice"


def test_the_table_is_printed_and_files_go_to_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = limits(*SMALL, *NETWORKS, "--lrs", "0.1,0.3,1,3")
    assert result.exit_code == 0, result.stderr
    assert "Depth-µP (alpha = gamma = 1/2)" in result.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["transfer.json", "transfer.png"]


def test_a_map_and_a_multiplier(tmp_path):
    maps = limits(*SMALL, "--multipliers", "0.1:1:4", "--no-limit", "--out", tmp_path)
    assert "edge of sublevel set" in maps.stdout, maps.stderr
    one = limits(*SMALL, "--lrs", "0.5", "--multipliers", "0.3:1:5", "--no-limit", "--out", tmp_path)
    assert "best multiplier" in one.stdout, one.stderr


def test_of_the_limit_alone(tmp_path):
    result = limits(*SMALL, "--rung", "deep", "--tol", "1e-2", "--out", tmp_path, "--json")
    assert [curve["blocks"] for curve in json.loads(result.stdout)["curves"]] == [None], result.stderr


def test_what_was_finished_is_not_computed_again(tmp_path, monkeypatch):
    first = limits(*SMALL, *NETWORKS, "--out", tmp_path, "--json")

    def broken(*given, **named):
        raise AssertionError("computed again")

    monkeypatch.setattr(sys.modules["limits.compare.landscape"], "grid", broken)
    assert limits(*SMALL, *NETWORKS, "--out", tmp_path, "--json").stdout == first.stdout


def test_ctrl_c_keeps_what_was_finished_and_the_same_command_goes_on(tmp_path):
    command = ("--samples", "12", "--directions", "2", "--steps", "3", "--blocks", "2,4,512,1024,2048", "--lrs", "0.01:3:40")
    run = subprocess.Popen(
        [sys.executable, "-m", "limits", "transfer", *command, "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        text=True,
    )
    began = time.monotonic()
    while not list((tmp_path / "runs").glob("*.npz")):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() - began < 60
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    said = run.communicate(timeout=60)[1]
    assert run.returncode == 130, said
    assert f"the curves that were finished are in {tmp_path / 'runs'}, and the same command goes on there" in said
    assert "Traceback" not in said
    assert not (tmp_path / "transfer.json").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--parametrization", "1/2"), "--parametrization must be alpha,gamma, such as 1/2,1/2"),
        (("--parametrization", "a,b"), "alpha must be a fraction, got the text 'a'"),
        (("--lrs", "0.1:10"), "--lrs must be numbers with commas between them, or start:stop:count, got '0.1:10'"),
        (("--lrs", "0:10:5"), "--lrs from start to stop must have positive ends"),
        (("--lrs", "1:10:1000000"), "1 to 10000 points"),
        (("--lrs", "1,x"), "--lrs must be numbers with commas between them"),
        (("--lrs", "1,2"), "an optimum needs at least 3 learning rates"),
        (("--multipliers", "1:x:2"), "--multipliers must be numbers"),
        (("--blocks", "8;16"), "--blocks must be whole numbers with commas between them"),
        (("--rung", "shallow"), "rung must be one of finite, wide, deep, got 'shallow'"),
        (("--width", "8"), "the rung wide has infinite width: leave width out"),
        (("--nonlinearity", "relu", "--particles", "8"), "particles must be at least"),
        (("--probe-loss",), "the loss of probes needs probes with targets"),
        (("--workers", "0"), "workers must be"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence(arguments, expected):
    result = limits("--samples", "12", "--directions", "2", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("limits: ")
    assert result.stderr.count("\n") == 1, result.stderr
    assert expected in result.stderr


def test_a_folder_that_cannot_be_written_is_found_out_first(tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = limits("--steps", "100000", "--out", tmp_path / "file")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--out must be a folder that can be written to" in result.stderr


def test_help_teaches():
    result = limits("--help")
    assert result.exit_code == 0
    for word in ("--parametrization", "--rung", "--workers", "--lrs", "transfer.png"):
        assert word in result.stdout
