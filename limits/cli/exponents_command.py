"""`limits exponents`: measured exponents beside the exact ones."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from limits.cli.commands import Backend, Device, Seed, Seeds, Sizes, Width, app, asks
from limits.cli.question import Question, numbers
from limits.cli.report import Report, plain, swept, write_json, written

if TYPE_CHECKING:
    from limits.problem import Problem

FAILED = 1
"""The exit code of a check that does not pass."""


@app.command()
@asks
def exponents(
    question: Question,
    report: Report,
    *,
    blocks: Sizes = "8,16,32,64,128,256",
    width: Width = 64,
    seeds: Seeds = 16,
    seed: Seed = 0,
    fit_from: Annotated[
        int | None, Option(help="The smallest number of blocks that enters a fit.  [default: 1/8 of the largest]")
    ] = None,
    tolerance: Annotated[float, Option(help="How far a measured exponent may be from the exact one.")] = 0.1,
    error_rate: Annotated[float, Option(help="How often a check of correct networks may fail.")] = 0.01,
    backend: Backend = "numpy",
    device: Device = None,
    dtype: Annotated[str, Option(help="float64 or float32.")] = "float64",
    workers: Annotated[int | None, Option(help="Processes that train sizes side by side; this one by default.")] = None,
) -> None:
    """Whether networks scale with their number of blocks as the exponents say: a coordinate check in depth.

    Trains networks of more and more blocks L, fits the exponents of what grows and of what training changes, and puts them
    beside the exact ones of `limits classify`, with e_0 the largest sum of initial branches and e_S of those with updates,

        features before training   L^e_0          a layer's own update      L^-gamma
        features, outputs          L^(max e_S)    second over first order   L^-gamma, in a block
        increments over depth      (distance)^(1 - kappa)

    Exponents that are within --tolerance pass; the exit code is 0 if all do, else 1. Keep --lr small. With --out every size is
    kept in its folder runs as soon as it is there, and the same command goes on where it was stopped; exponents.png and
    exponents.json go to --out, or to the current folder.

        limits exponents --alpha 1/2 --gamma 1/2 --samples 8 --directions 4 --steps 3 --lr 0.1
        limits exponents -k 2 --form mlp --nonlinearity tanh --optimizer Adam --lr 0.05 --samples 8 --directions 4 --steps 3
    """
    from limits.compare import measure_exponents

    problem = _posed(question)
    folder, sizes = report.folder(), numbers(blocks, "--blocks", int)
    networks = {"width": width, "seeds": seeds, "seed": seed, "fit_from": fit_from, "backend": backend, "device": device}
    judge = {"tolerance": tolerance, "error_rate": error_rate, "dtype": dtype, "workers": workers}
    options: dict[str, Any] = networks | judge | {"folder": None if folder is None else folder / "runs"}
    run = partial(measure_exponents, problem, blocks=sizes, **options)
    answer = swept("exponents", lambda progress: run(progress=progress), options["folder"], "sizes")
    value = report.opening("exponents") | plain(answer.to_json())
    report.say(value, answer.table)
    _write(folder or Path(), answer, value)
    if not answer.passed:
        raise typer.Exit(FAILED)


def _posed(question: Question) -> "Problem":
    """What the options ask, without the weight decay that AdamW has unless told otherwise: exact exponents know none."""
    if question.optimizer.lower() == "adamw" and question.weight_decay is None:
        question = replace(question, weight_decay=0.0)
    return question.problem()


def _write(folder: Path, answer: Any, value: dict[str, Any]) -> None:
    from limits.plots import exponent_check
    from limits.trajectory import write_atomically

    table, picture, figure = write_json(folder / "exponents.json", value), folder / "exponents.png", exponent_check(answer)
    write_atomically(picture, lambda file: figure.savefig(file, format="png", dpi=150))
    written(picture, table)
