"""The examples of docs/examples at a reduced size: they learn, a sweep that was stopped goes on, and what they print is true."""

import contextlib
import importlib
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from numpy.testing import assert_allclose

pytest.importorskip("torch")
pytest.importorskip("sklearn")
matplotlib.use("Agg")

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
sys.path.insert(0, str(EXAMPLES))
import tuning  # noqa: E402

from limits.compare import Curve, Transfer  # noqa: E402

NAMES = ["digits_mlp", "char_transformer"]


def stopped_after(runs):
    """A progress that stops a sweep."""

    def progress(done, total):
        if done == runs:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("name", NAMES)
def test_an_example_learns_prints_its_table_and_goes_on_where_it_was_stopped(name, tmp_path, capsys):
    module = importlib.import_module(name)
    with contextlib.suppress(KeyboardInterrupt):
        tuning.sweep(module.QUICK, folder=tmp_path / "runs", progress=stopped_after(5))
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert len(kept) == 5

    answer = tuning.main(module.__doc__, module.FULL, module.QUICK, ["--quick", "--out", str(tmp_path)])
    found = list((tmp_path / "runs").iterdir())
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(found) == len({job.key for job in tuning.jobs(module.QUICK, "cpu").values()})

    for curve in answer.curves:  # random guesses before training, and at the best rate much better ones after it
        assert curve.mean.min() < 0.75 * curve.initial.mean()
    for base in (answer.of(each)[0] for each in answer.names):  # one network in all scalings
        assert_allclose(base.losses, answer.curves[0].losses, rtol=0)

    printed = capsys.readouterr().out
    assert printed.rstrip("\n") == (tmp_path / "table.txt").read_text(encoding="utf-8").rstrip("\n")
    assert all(each in printed for each in (*answer.names, "per doubling", "at the base's best rate"))
    assert (tmp_path / "curves.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", NAMES)
def test_the_scalings_are_what_they_are_called(name):
    """Rates of hidden matrices, and branch multipliers, at four times as many blocks; all the same at the base."""
    from functools import partial

    from limits.pytorch import param_groups

    module = importlib.import_module(name)
    scaled = module.scaled if name == "digits_mlp" else partial(module.scaled, partial(module.Transformer, 20, 8, 8))
    expected = {"no scaling": (1, 1), "Depth-µP": (1 / 2, 1 / 2), "CompleteP": (1, 1 / 4)}
    for scaling, (rate, branch) in expected.items():
        for blocks, power in ((4, 0), (16, 1)):
            model, how = scaled(scaling, blocks, 16, 4, 16)
            rates = {group["role"]: group["lr"] for group in param_groups(model, how, lr=0.5)}
            assert_allclose((rates["hidden"], how.branch), (0.5 * rate**power, branch**power), rtol=1e-12)
            assert rates["input"] == rates["output"] == 0.5


def test_costs_are_differences_of_losses_at_two_rates():
    lrs, seeds = np.array([0.1, 0.2, 0.4]), np.array([0.0, 1.0])
    base, large = np.array([[3.0], [2.0], [1.0]]) + seeds, np.array([[2.0, 2.0], [1.0, 1.5], [4.0, 5.0]])
    curves = tuple(
        Curve("plain", tuning.SCALINGS["no scaling"], L, losses[None], np.ones((1, 2)), ())
        for L, losses in ((2, base), (4, large))
    )
    answer = Transfer(None, "finite", "probe", lrs, np.ones(1), curves)
    ((key, (tuned, own, extra)),) = tuning.costs(answer).items()
    assert (key, tuned, own) == (("plain", 4), 2, 1)
    assert_allclose(extra, [3.0, 3.5])
    assert_allclose(tuning.standard_error(extra), 0.25)


@pytest.mark.parametrize("name", NAMES)
def test_the_site_shows_what_the_example_would_compute(name):
    """The sizes of the table that is shown are those of the script."""
    module, shown = importlib.import_module(name), (EXAMPLES / f"{name}.txt").read_text(encoding="utf-8")
    assert f"{module.FULL.title}: validation loss after training, {module.FULL.seeds} seeds (" in shown
    assert ", ".join(f"{key} {value}" for key, value in module.FULL.network.items()) in shown
    page = (EXAMPLES.parent / "examples.md").read_text(encoding="utf-8")
    assert f"(examples/{name}.png)" in page
    assert f"{{literalinclude}} examples/{name}.txt" in page
