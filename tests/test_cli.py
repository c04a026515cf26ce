"""The command line: what it prints, where, with which exit code; what it writes; what Ctrl-C leaves."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from typer.testing import CliRunner

from limits.cli import app, report
from limits.cli.question import Question
from limits.data import digits
from limits.finite import simulate
from limits.optimizers import OPTIMIZERS, SGD, Adam, AdamW, Muon, SignSGD
from limits.parametrization import COMPLETEP, DEPTH_MUP, Parametrization
from limits.problem import ResNet
from limits.record import Record
from limits.trajectory import Interrupted, Trajectory
from limits.wide import recurse

COMMANDS = ("solve", "recurse", "simulate", "compare", "estimate")
SMALL = ("--samples", "12", "--directions", "2", "--steps", "3")


def limits(*arguments):
    """Run a command in this process: exit code, stdout, stderr."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


def small_problem(model=ResNet(), parametrization=DEPTH_MUP, optimizer=SGD(0.3, steps=3), **changes):  # noqa: B008
    data = digits((0, 1), samples=12, directions=2)
    return data.problem(model, parametrization, optimizer, **changes)


def strict_json(text):
    """The one JSON object in `text`; NaN and Infinity are no JSON."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    value = json.loads(text, parse_constant=refuse)
    assert isinstance(value, dict)
    return value


def sentence(result):
    """The one line on stderr of a command that failed."""
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("limits: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


# Answers


def test_json_is_the_answer_and_nothing_else():
    found = strict_json(limits("recurse", *SMALL, "--blocks", "4", "--json").stdout)
    expected = recurse(small_problem(), blocks=4)
    assert_allclose(found["outputs"], expected.outputs)
    assert_allclose(found["losses"], expected.losses)
    assert (found["command"], found["partial"], found["sizes"]["d_in"]) == ("recurse", False, 2)
    assert (found["asked"]["lr"], found["asked"]["blocks"]) == ("0.3", 4)


def test_table_shows_every_step_with_loss_and_accuracy():
    result = limits("recurse", *SMALL, "--probes", "4")
    assert (result.exit_code, result.stderr) == (0, "")
    for word in ("step", "loss", "accuracy", "probe loss", "probe accuracy", "rms output"):
        assert word in result.stdout
    expected = recurse(small_problem(), blocks=64)
    assert f"{expected.losses[-1]:.6g}" in result.stdout


def test_a_long_table_is_thinned_and_ends_with_the_last_step():
    shown = report.trajectory_table("recurse", recurse(replace(small_problem(), optimizer=SGD(0.1, steps=103)), blocks=2))
    assert shown.row_count <= report.ROWS + 2
    assert list(shown.columns[0].cells)[-1] == "103"


def test_solve_reports_its_error():
    found = strict_json(limits("solve", *SMALL, "--tol", "1e-9", "--json").stdout)
    assert 0 < np.max(found["error"]) < 1e-9


def test_simulate_is_seeded_and_its_single_network_has_no_standard_error():
    run = ("simulate", *SMALL, "--width", "16", "--blocks", "3", "--json")
    one, again, other = (limits(*run, "--seeds", "1", "--seed", s).stdout for s in (0, 0, 1))
    one, again, other = (strict_json(text) for text in (one, again, other))
    assert one["outputs"] == again["outputs"] != other["outputs"]
    assert one["error"][1][0][0] is None


def test_estimate_prints_memory_and_time_of_every_rung():
    result = limits("estimate", *SMALL)
    assert result.exit_code == 0, result.stderr
    assert all(rung in result.stdout for rung in ("simulate", "recurse", "solve"))
    found = strict_json(limits("estimate", *SMALL, "--json").stdout)
    assert found["simulate"]["bytes"] > 8 * 64 * 256**2


def test_estimate_of_nonlinear_blocks_counts_the_neurons_of_recurse():
    found = strict_json(limits("estimate", *SMALL, "--nonlinearity", "tanh", "--width", "8", "--blocks", "2", "--json").stdout)
    assert {"simulate", "recurse", "solve"} < set(found)
    assert found["recurse"]["parts"]["neurons"] > 8 * 8192
    run = ("estimate", *SMALL, "--nonlinearity", "tanh", "--width", "8", "--blocks", "2", "--particles", "16384", "--json")
    many = strict_json(limits(*run).stdout)["recurse"]
    assert many["sizes"]["particles"] == 2 * found["recurse"]["sizes"]["particles"] == 16384
    assert many["parts"]["neurons"] > found["recurse"]["parts"]["neurons"]


def test_compare_writes_a_picture_and_numbers(tmp_path):
    sizes = ("--widths", "8,16", "--blocks", "2,4", "--finite-blocks", "2", "--seeds", "4")
    result = limits("compare", *SMALL, *sizes, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.stderr
    assert strict_json(result.stdout) == strict_json((tmp_path / "comparison.json").read_text())
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["comparison.json", "comparison.png"]


def test_compare_writes_to_the_current_folder_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = limits("compare", *SMALL, "--widths", "8,16", "--blocks", "2,4", "--finite-blocks", "2", "--seeds", "4")
    assert result.exit_code == 0, result.stderr
    assert "finite -> wide" in result.stdout
    assert (tmp_path / "comparison.png").exists()


# Exponents


@pytest.mark.parametrize(
    ("exponents", "name"),
    [(("1/2", "1/2"), "feature learning and diverse"), (("2", "-1"), "unfaithful"), (("-1/2", "-1/2"), "unstable at init")],
)
def test_classify_takes_any_fractions(exponents, name):
    result = limits("classify", *exponents)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(name)


def test_classify_in_json_has_verdicts_and_their_steps():
    found = strict_json(limits("classify", "1", "0", "--json").stdout)
    assert (found["name"], found["diversity"], found["stable_during_training"]) == ("redundant", "0", True)
    assert found["steps"][0]["claim"] == "1/2 - alpha = -1/2 < 0"


def test_negative_exponents_are_options_values_too():
    found = strict_json(limits("recurse", *SMALL, "--blocks", "2", "--alpha", "2", "--gamma", "-1", "--json").stdout)
    assert found["asked"]["gamma"] == "-1"


# Questions


def test_options_pose_the_same_problem_as_python():
    asked = Question(
        classes="3,8", samples=20, directions=3, lr="0.1,0.2,0.3", steps=3, momentum=0.5, input_lr="0.4", batch_size=5
    )
    found = asked.problem()
    assert found.optimizer == SGD([0.1, 0.2, 0.3], steps=3, momentum=0.5, input_lr=0.4)
    assert_allclose(found.inputs, digits((3, 8), samples=20, directions=3).inputs)
    assert [len(b) for b in found.batches] == [5, 5, 5]
    assert not np.array_equal(found.batches[0], replace(asked, data_seed=1).problem().batches[0])


def test_a_nonlinearity_is_part_of_the_question():
    asked = Question(nonlinearity="tanh", mean_subtraction=False, form="pre", multiplier=0.5, samples=4, directions=2)
    assert asked.problem().model == ResNet("tanh", multiplier=0.5, mean_subtraction=False, form="pre")
    assert Question(samples=4, directions=2).problem().model == ResNet()


TRAINERS = [
    ((), SGD(0.3, steps=10)),
    (("momentum=0.5", "weight_decay=0.1"), SGD(0.3, steps=10, momentum=0.5, weight_decay=0.1)),
    (("optimizer=adam", "input_lr=0.1"), Adam(0.3, steps=10, input_lr=0.1)),
    (("optimizer=AdamW",), AdamW(0.3, steps=10)),
    (("optimizer=adamw", "weight_decay=0.0"), AdamW(0.3, steps=10, weight_decay=0.0)),
    (("optimizer=signsgd", "momentum=0.9", "weight_decay=0.2"), SignSGD(0.3, steps=10, momentum=0.9, weight_decay=0.2)),
    (("optimizer=muon",), Muon(0.3, steps=10)),
    (("optimizer=Muon", "momentum=0.0"), Muon(0.3, steps=10, momentum=0.0)),
]


@pytest.mark.parametrize(("options", "optimizer"), TRAINERS)
def test_every_optimizer_can_be_asked_for(options, optimizer):
    pairs = [option.split("=") for option in options]
    asked = {name: value if name in ("optimizer", "input_lr") else float(value) for name, value in pairs}
    assert Question(samples=4, directions=2, **asked).problem().optimizer == optimizer


def test_blocks_of_several_layers_have_exponents_of_their_own():
    asked = Question(samples=4, directions=2, block_depth=3, alpha="1/2", gamma="0,1/2,1", initial="1/2, 0, 0", layer_norm=True)
    assert asked.problem().parametrization == Parametrization("1/2", (0, "1/2", 1), ("1/2", 0, 0))
    assert asked.problem().model == ResNet(block_depth=3, layer_norm=True)
    mlp = Question(samples=4, directions=2, form="mlp", nonlinearity="relu", expansion=4.0, initial="1/4").problem()
    assert mlp.model == ResNet("relu", 2, form="mlp", expansion=4)
    assert mlp.parametrization == Parametrization("1/2", "1/2", "1/4")


DEEP = ("--form", "mlp", "--nonlinearity", "relu", "--alpha", "1", "--gamma", "0,0", "--layer-norm", "--lr", "0.1")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_networks_of_any_block_and_optimizer_are_those_of_python(name, tmp_path):
    sizes = ("--width", "16", "--blocks", "3", "--seeds", "2", "--block-width", "24")
    result = limits("simulate", *SMALL, *DEEP, "--optimizer", name.lower(), *sizes, "--json", "--out", tmp_path)
    found, model = strict_json(result.stdout), ResNet("relu", 2, form="mlp", layer_norm=True)
    problem = small_problem(optimizer=OPTIMIZERS[name](0.1, 3), model=model, parametrization=COMPLETEP)
    assert_allclose(found["outputs"], simulate(problem, width=16, blocks=3, seeds=2, block_width=24).outputs, rtol=1e-6)
    assert (found["asked"]["optimizer"], found["asked"]["block_width"]) == (name.lower(), 24)
    assert type(Trajectory.load(tmp_path / "simulate.npz").problem.optimizer) is OPTIMIZERS[name]


def test_bfloat16_is_a_type_of_torch(torch):
    run = ("simulate", *SMALL, "--width", "16", "--blocks", "3", "--seeds", "2", "--backend", "torch", "--json")
    narrow, single = (strict_json(limits(*run, "--dtype", dtype).stdout)["outputs"] for dtype in ("bfloat16", "float32"))
    assert 1e-5 < np.abs(np.subtract(narrow, single)).max() < 0.05


def test_estimate_leaves_out_rungs_that_do_not_treat_the_problem_and_says_why():
    run = (
        "estimate",
        *SMALL,
        "--optimizer",
        "adam",
        "--blocks",
        "2",
        "--width",
        "8",
        "--form",
        "mlp",
        "--block-width",
        "64",
        "--json",
    )
    result = limits(*run)
    assert set(strict_json(result.stdout)) & {"simulate", "recurse", "solve"} == {"simulate", "recurse"}
    assert "limits: solve is left out: solve treats SGD, got Adam" in result.stderr
    wrong = limits("estimate", *SMALL, "--block-width", "8")
    assert "block_width is for blocks of several layers" in sentence(wrong)


@pytest.mark.filterwarnings("ignore::limits.UncentredWarning")
@pytest.mark.parametrize("model", [ResNet("relu"), ResNet("sin + cos", mean_subtraction=False), ResNet("abs", form="pre")])
def test_networks_of_a_nonlinearity_are_those_of_python(model):
    flags = ("--nonlinearity", model.nonlinearity, "--form", model.form)
    flags += ("--mean-subtraction" if model.mean_subtraction else "--no-mean-subtraction",)
    found = strict_json(limits("simulate", *SMALL, *flags, "--width", "16", "--blocks", "3", "--seeds", "2", "--json").stdout)
    expected = simulate(replace(small_problem(), model=model), width=16, blocks=3, seeds=2)
    assert_allclose(found["outputs"], expected.outputs)
    assert found["asked"]["nonlinearity"] == model.nonlinearity


@pytest.mark.parametrize(
    ("loss", "classes", "outputs"), [("logistic", "0,1", 1), ("cross_entropy", "0,1", 2), ("mse", "0,1,2", 3)]
)
def test_digits_come_with_targets_for_the_loss(loss, classes, outputs):
    assert Question(loss=loss, classes=classes, samples=12, directions=2).problem().d_out == outputs


def test_a_file_is_a_question(tmp_path):
    (tmp_path / "data.csv").write_text("x1,x2,y\n1,0,1\n0,1,-1\n")
    found = strict_json(limits("recurse", "--data", tmp_path / "data.csv", "--steps", "1", "--blocks", "2", "--json").stdout)
    assert found["sizes"] == {"samples": 2, "probes": 0, "d_in": 2, "d_out": 1}


def test_teacher_has_its_sizes():
    found = Question(data="teacher", samples=7, directions=3, probes=2).problem()
    assert (found.inputs.shape, found.probes.shape) == ((7, 3), (2, 3))


# Sentences


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("recurse", "--data", "mnist"), "--data must be digits, teacher, or the path of an .npz or .csv file, got 'mnist'"),
        (("solve", "--data", "nowhere.npz"), "there is no data file 'nowhere.npz'"),
        (("solve", "--data", "data.txt"), "data come from .npz or .csv files, got 'data.txt'"),
        (("recurse", "--data", "a.csv", "--samples", "3"), "--samples does not go with --data a.csv"),
        (("recurse", "--data", "teacher", "--classes", "0,1"), "--classes does not go with --data teacher"),
        (("recurse", "--classes", "0,x"), "--classes must be whole numbers with commas between them, got '0,x'"),
        (("recurse", "--samples", "0"), "samples must be a whole number >= 2"),
        (("recurse", "--lr", "fast"), "--lr must be numbers with commas between them, got 'fast'"),
        (("recurse", "--lr", "1,2"), "lr must be one number or one per step (10), got 2 numbers"),
        (("recurse", "--lr", "nan"), "lr must be finite and >= 0"),
        (("recurse", "--alpha", "0.x"), "alpha must be a fraction, got the text '0.x': write it like \"1/2\""),
        (("recurse", "--batch-size", "0"), "the batch size must be a whole number >= 1"),
        (("recurse", "--loss", "hinge"), "loss must be one of cross_entropy, logistic, mse"),
        (("recurse", "--data", "teacher", "--loss", "logistic"), "targets of the logistic loss must be -1 or 1"),
        (("recurse", "--blocks", "0"), "blocks must be a whole number >= 1, got 0"),
        (("recurse", "--particles", "8"), "particles must be at least"),
        (("recurse", "--particles", "0"), "particles must be a whole number >= 1, got 0"),
        (("recurse", "--backend", "abacus"), "backend must be"),
        (("recurse", "--device", "cuda"), "device"),
        (("recurse", "--dtype", "float16"), "dtype must be"),
        (("recurse", "--dtype", "bfloat16"), "kets are orthonormalised, which bfloat16 is too short for"),
        (("recurse", "--kernels", "-1"), "--kernels must be a whole number >= 0, got -1"),
        (("recurse", "--lr", "1e200"), "training diverges"),
        (("recurse", "--steps", "many"), "invalid value for '--steps'"),
        (("recurse", "--bloks", "3"), "no such option: --bloks"),
        (("solve", "--tol", "0"), "tol must be"),
        (("solve", "--alpha", "1/4", "--gamma", "3/4"), "1/2 - alpha = 1/4 > 0"),
        (("simulate", "--backend", "abacus"), "backend must be"),
        (("simulate", "--width", "0"), "width must be a whole number >= 1"),
        (("simulate", "--nonlinearity", "step"), "nonlinearity must be"),
        (("simulate", "--form", "moe"), "form must be 'post', 'pre' or 'mlp', got 'moe'"),
        (("simulate", "--form", "mlp", "-k", "1"), "a block of form 'mlp' has two layers, got block_depth=1"),
        (("simulate", "--form", "pre", "--block-depth", "2"), "a block of form 'pre' has one layer, got block_depth=2"),
        (("simulate", "--block-depth", "0"), "block_depth must be a whole number between 1 and 12, got 0"),
        (("simulate", "--gamma", "0,1/2"), "gamma has 2 exponents, but a block of depth 1 has one layer: give one"),
        (("simulate", "-k", "3", "--initial", "0,1/2"), "initial has 2 exponents, but a block of depth 3 has 3 layers"),
        (("simulate", "-k", "2", "--gamma", "0,half"), "gamma must be a fraction, got the text 'half'"),
        (
            ("simulate", "--block-width", "8"),
            "block_width is for blocks of several layers, got 8 for block_depth=1: leave it out",
        ),
        (("simulate", "-k", "2", "--block-width", "0"), "block_width must be a whole number >= 1, got 0"),
        (("simulate", "--expansion", "4"), "expansion is the width between the layers of a block, got 4.0 for block_depth=1"),
        (("simulate", "--optimizer", "lion"), "--optimizer must be one of SGD, Adam, AdamW, SignSGD, Muon, got 'lion'"),
        (("simulate", "--optimizer", "adam", "--momentum", "0.9"), "--momentum is for SGD, SignSGD and Muon, got it with Adam"),
        (("simulate", "--optimizer", "adamw", "--momentum", "0"), "--momentum is for SGD, SignSGD and Muon, got it with AdamW"),
        (
            ("simulate", "--optimizer", "adam", "--weight-decay", "0.1"),
            "--weight-decay does not go with Adam: take --optimizer adamw",
        ),
        (("simulate", "--optimizer", "muon", "--momentum", "1"), "momentum must be in [0, 1), got 1.0"),
        (("simulate", "--weight-decay", "-1"), "weight_decay must be finite and >= 0, got -1.0"),
        (("simulate", "--dtype", "bfloat16"), "dtype 'bfloat16' needs backend='torch', got backend='numpy'"),
        (
            ("solve", "--optimizer", "muon"),
            "solve treats SGD, got Muon: ask recurse for infinite width by samples",
        ),
        (
            ("solve", "--layer-norm"),
            "solve treats blocks without LayerNorm, got layer_norm=True: ask recurse for infinite width by samples",
        ),
        (("compare", "--nonlinearity", "relu", "--particles", "8"), "particles must be at least"),
        (("compare", "--widths", "64;128"), "--widths must be whole numbers with commas between them"),
        (("classify", "1/2"), "missing argument '"),
        (("classify", "1/2", "half"), "gamma must be a fraction"),
        (("climb",), "no such command 'climb'"),
        (("--fast",), "no such option: --fast"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence_and_exit_code_2(arguments, expected):
    assert expected in sentence(limits(*arguments))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_cannot_be_written_is_found_out_first(command, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "--out must be a folder that can be written to" in sentence(
        limits(command, "--steps", "100000", "--out", tmp_path / "file")
    )


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (MemoryError(), "limits: out of memory; `limits estimate` says"),
        (PermissionError(13, "Permission denied", "/data"), "limits: Permission denied: '/data'"),
        (ImportError("no torch:\n  install it"), "limits: no torch: install it"),
    ],
)
def test_faults_of_the_machine_are_sentences_too(monkeypatch, fault, expected):
    def broken(problem, **options):
        raise fault

    monkeypatch.setattr("limits.wide.recurse", broken)
    assert expected in sentence(limits("recurse", *SMALL))


def test_a_mistake_in_limits_keeps_its_traceback(monkeypatch):
    def broken(problem, **options):
        raise KeyError("a mistake")

    monkeypatch.setattr("limits.wide.recurse", broken)
    assert isinstance(limits("recurse", *SMALL).exception, KeyError)


def test_warnings_are_lines_on_stderr_and_leave_the_filters_alone(monkeypatch):
    def doubtful(problem, **options):
        warnings.warn("two seeds\ndiverged", RuntimeWarning, stacklevel=1)
        warnings.warn("old spelling", DeprecationWarning, stacklevel=1)
        return recurse(problem, **options)

    monkeypatch.setattr("limits.wide.recurse", doubtful)
    before = list(warnings.filters)
    result = limits("recurse", *SMALL, "--json")
    assert result.stderr == "limits: warning: two seeds diverged\n"
    assert strict_json(result.stdout)["command"] == "recurse"
    assert list(warnings.filters) == before


# Files


def test_out_holds_the_trajectory_and_the_json(tmp_path):
    result = limits("recurse", *SMALL, "--kernels", "2", "--out", tmp_path / "new" / "folder", "--json")
    folder = tmp_path / "new" / "folder"
    assert sorted(p.name for p in folder.iterdir()) == ["recurse.json", "recurse.npz"]
    assert strict_json((folder / "recurse.json").read_text()) == strict_json(result.stdout)
    again = Trajectory.load(folder / "recurse.npz")
    assert_allclose(again.outputs, recurse(small_problem(), blocks=64).outputs)
    assert again.feature_kernel.shape == (4, 4, 5, 2, 2)
    assert result.stderr.startswith("limits: wrote ")


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "recurse.json").write_text("old")
    monkeypatch.setattr(report, "write_json", lambda path, value: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert limits("recurse", *SMALL, "--out", tmp_path).exit_code == 2
    assert (tmp_path / "recurse.json").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["recurse.json", "recurse.npz"]


# Ctrl-C


def test_what_was_done_before_ctrl_c_is_kept_and_marked(monkeypatch, tmp_path):
    def stopped(problem, **options):
        part = recurse(problem.prefix(2), **options)
        raise Interrupted(replace(part, meta=dict(part.meta) | {"partial": True}))

    monkeypatch.setattr("limits.wide.recurse", stopped)
    result = limits("recurse", *SMALL, "--json", "--out", tmp_path)
    assert result.exit_code == 130
    found = strict_json(result.stdout)
    assert (found["partial"], len(found["losses"])) == (True, 3)
    assert strict_json((tmp_path / "recurse.json").read_text()) == found
    assert Trajectory.load(tmp_path / "recurse.npz").meta["partial"]
    assert "limits: interrupted; kept, and marked partial" in result.stderr


def test_ctrl_c_before_anything_is_finished_says_so(monkeypatch, tmp_path):
    def stopped(problem, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("limits.wide.recurse", stopped)
    result = limits("recurse", *SMALL, "--out", tmp_path)
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "limits: interrupted before anything was finished; nothing was kept\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("classify", "1/2", "1/2"), ("recurse", *SMALL)])
def test_ctrl_c_while_a_command_is_read_says_so_too(monkeypatch, arguments):
    def stopped(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("typer.core.TyperCommand.parse_args", stopped)
    result = limits(*arguments)
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "limits: interrupted before anything was finished; nothing was kept\n"


@pytest.mark.parametrize("finished", [0, 1, 2, 3])
def test_an_interrupted_comparison_shows_what_it_has(monkeypatch, tmp_path, finished):
    def stop(done, total):
        if done > finished:
            raise KeyboardInterrupt

    import limits.compare

    ladder = limits.compare.ladder
    monkeypatch.setattr("limits.compare.ladder", lambda problem, progress, **sizes: ladder(problem, progress=stop, **sizes))
    sizes = ("--widths", "8,16", "--blocks", "2,4", "--finite-blocks", "2", "--seeds", "4")
    result = CliRunner().invoke(app, ["compare", *SMALL, *sizes, "--out", str(tmp_path)])
    assert result.exit_code == 130, result.output
    assert json.loads((tmp_path / "comparison.json").read_text())["partial"] is True
    assert (tmp_path / "comparison.png").exists()


def process(*arguments, code=None, **options):
    """A real `limits` process; SIGINT is heeded even where this one ignores it (a shell's background job)."""
    command = [sys.executable, *(("-c", code) if code else ("-m", "limits")), *map(str, arguments)]
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, preexec_fn=heed, **pipes, **options)


STEP_BY_STEP = """
import sys
import limits.finite
real = limits.finite.simulate

def told(problem, *, progress, **options):
    def tell(done, total):
        progress(done, total)
        print("done", done, file=sys.stderr, flush=True)
    return real(problem, progress=tell, **options)

limits.finite.simulate = told
from limits.cli import main
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_in_a_long_simulation_keeps_the_networks_that_are_trained(tmp_path):
    """Networks of this width are trained one by one, in three evaluations each."""
    long = ("--width", "256", "--blocks", "2", "--seeds", "100000", "--samples", "12", "--directions", "2", "--steps", "2")
    with process("simulate", *long, "--out", tmp_path, "--json", code=STEP_BY_STEP) as run:
        for line in run.stderr:
            if line.startswith("done") and int(line.split()[1]) > 6:
                break
        run.send_signal(signal.SIGINT)
        stdout, stderr = run.communicate(timeout=120)
    assert run.returncode == 130, stderr
    assert "Traceback" not in stderr
    found = strict_json(stdout)
    assert found["partial"] is True
    assert 2 <= found["meta"]["seeds"] < 100000
    assert Trajectory.load(tmp_path / "simulate.npz").meta["partial"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["simulate.json", "simulate.npz"]


# Processes


def test_the_module_runs_like_the_script():
    with process("classify", "2", "-1") as run:
        stdout, stderr = run.communicate(timeout=60)
    assert (run.returncode, stderr) == (0, "")
    assert stdout.startswith("unfaithful")


def test_a_reader_that_leaves_is_no_error():
    with process("recurse", *SMALL, "--json") as run:
        run.stdout.close()
        assert "Traceback" not in run.stderr.read()


HEAVY = """
import sys
from limits.cli import main
try:
    main()
finally:
    print([name for name in ("numpy", "scipy", "matplotlib") if name in sys.modules])
"""


def test_help_is_quick_because_it_imports_nothing_heavy():
    with process("solve", "--help", code=HEAVY) as run:
        assert run.communicate(timeout=60)[0].endswith("[]\n")


def test_importing_the_question_does_not_change_warnings():
    code = "import warnings; before = list(warnings.filters); import limits.cli; assert before == list(warnings.filters)"
    with process(code=code) as run:
        assert run.wait(timeout=60) == 0, run.stderr.read()


# Help and progress


@pytest.mark.parametrize("command", [*COMMANDS, "classify"])
def test_help_teaches(command):
    result = limits(command, "--help")
    assert result.exit_code == 0
    assert f"limits {command} " in result.stdout.split("Usage:")[1].split("\n", 1)[1], "an example"


def test_limits_alone_prints_help_and_version_its_version():
    import limits as package

    assert "solve" in limits().stdout
    assert limits("--version").stdout == f"limits {package.__version__}\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "seconds", "shown"), [(Terminal, 0.4, True), (Terminal, 0.0, False), (io.StringIO, 0.4, False)]
)
def test_progress_is_shown_on_a_terminal_to_the_patient(monkeypatch, stream, seconds, shown):
    monkeypatch.setattr(sys, "stderr", stream())
    monkeypatch.setattr(report, "PATIENCE", 0.1)
    for name, value in {"TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    with report.progress_bar("limits test") as progress:
        progress(1, 4)
        time.sleep(seconds)
    assert ("limits test" in sys.stderr.getvalue()) == shown


def test_plain_values_are_json():
    value = {"a": np.array([1.0, np.nan]), "b": np.int64(3), "c": (np.inf, None, True), "d": DEPTH_MUP.alpha}
    assert report.plain(value) == {"a": [1.0, None], "b": 3, "c": [None, None, True], "d": "1/2"}


def test_the_record_of_a_command_line_is_small():
    assert report.first_samples(0) == Record(kinds=())
    assert report.first_samples(2).samples == (0, 1)


def test_costs_without_a_time_are_shown():
    from rich.console import Console

    from limits.cli.commands import _cost_table

    console = Console(file=io.StringIO(), width=80)
    console.print(_cost_table({"solve": SimpleNamespace(bytes=2_000_000, seconds=None)}))
    assert "2.0 MB" in console.file.getvalue()
    assert "unknown" in console.file.getvalue()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_recurse_samples_neurons_where_and_in_what_it_is_told(backend, dtype, request):
    if backend == "torch":
        request.getfixturevalue("torch")
    sizes, where = ("--nonlinearity", "relu", "--blocks", "2", "--particles", "512"), ("--backend", backend, "--dtype", dtype)
    found = strict_json(limits("recurse", *SMALL, *sizes, *where, "--device", "cpu", "--json").stdout)
    assert (found["meta"]["backend"], found["meta"]["dtype"], found["meta"]["particles"]) == (backend, dtype, 512)
    expected = recurse(small_problem(model=ResNet("relu")), blocks=2, particles=512, backend=backend, dtype=dtype)
    assert_allclose(found["outputs"], expected.outputs, rtol=1e-6, atol=1e-9)


def test_recurse_samples_neurons_of_other_blocks():
    run = ("recurse", *SMALL, "--nonlinearity", "relu", "--blocks", "2", "--particles", "512", "--json")
    found, expected = strict_json(limits(*run).stdout), recurse(small_problem(model=ResNet("relu")), blocks=2, particles=512)
    assert_allclose(found["outputs"], expected.outputs, rtol=1e-6, atol=1e-9)
