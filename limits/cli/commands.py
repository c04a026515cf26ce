"""The commands of the rungs: one each, their comparison and their cost; and the options that commands share."""

from collections.abc import Callable
from dataclasses import fields
from functools import partial, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_origin

import typer
from typer import Option

import limits
from limits.cli.question import Question, numbers
from limits.cli.report import Report, finished, plain, write_json, written
from limits.cli.sentences import INTERRUPTED, Sentences, note

if TYPE_CHECKING:
    from limits.problem import Problem

app = typer.Typer(cls=Sentences, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)

Tolerance = Annotated[
    float | None,
    Option(
        help="Largest error of an output, absolute or relative to the largest one. Of solve it is 1e-8 unless another is given, "
        "of compare 1e-10, and 1e-4 where the limit is a mean over samples of neurons."
    ),
]
Width = Annotated[int, Option(help="n, neurons per layer.")]
Blocks = Annotated[int, Option(help="L, residual blocks.")]
Particles = Annotated[int | None, Option(help="N, neurons of a sample; where the answer is exact, none.")]
Seeds = Annotated[int, Option(help="How many networks.")]
Sizes = Annotated[str, Option(help="Comma-separated whole numbers.", metavar="LIST")]
Seed = Annotated[int, Option(help="The networks are drawn from (seed, 0), (seed, 1), …")]
Backend = Annotated[str, Option(help="Array library: numpy or torch.")]
Device = Annotated[str | None, Option(help="Where to compute, such as cuda.")]
Dtype = Annotated[str, Option(help="float32, float64, or bfloat16: products in it, with torch.")]
KetDtype = Annotated[str, Option(help="Of samples of neurons: float64, or float32, twice as fast in half the memory.")]
BlockWidth = Annotated[int | None, Option(help="M, width between the layers of a block.  [default: --expansion times --width]")]
Kernels = Annotated[int, Option(help="Keep the feature kernel of the first so many samples, in the .npz of --out.")]


def _options(kind: type) -> list[Parameter]:
    """The annotated fields of a dataclass, as parameters that typer reads."""
    annotated = (f for f in fields(kind) if get_origin(f.type) is Annotated)
    return [Parameter(f.name, Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type) for f in annotated]


def asks(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of `Question` and `Report` after its own."""
    own, posing, reporting = list(signature(command).parameters.values())[2:], _options(Question), _options(Report)

    @wraps(command)
    def run(**given: Any) -> None:
        where = {p.name: given.pop(p.name) for p in reporting}
        report = Report(**where, asked=dict(given))
        question = Question(**{p.name: given.pop(p.name) for p in posing})
        try:
            command(question, report, **given)
        except KeyboardInterrupt:
            note("interrupted before anything was finished; nothing was kept")
            raise typer.Exit(INTERRUPTED) from None

    run.__signature__ = Signature([*own, *posing, *reporting])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in (*own, *posing, *reporting)}
    return run


def _version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"limits {limits.__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _limits(
    version: Annotated[bool, Option("--version", help="Print the version.", callback=_version, is_eager=True)] = False,
) -> None:
    """Residual networks in training: finite, infinitely wide, and infinitely deep.

    One problem, three answers: `simulate` trains real networks, `recurse` lets the width n go to infinity, and `solve` then
    the number L of blocks. `compare` shows how fast they approach each other.

        x^l = x^(l-1) + a L^-alpha phi(W^l x^(l-1)),    f = V^T x^L / n
        W^l <- W^l - lr L^(alpha-gamma) dloss/dW^l

    Blocks are linear, phi(z) = z, unless --nonlinearity says otherwise; finite networks also have blocks of several layers,
    LayerNorm, and other optimizers, whose updates are of order L^-gamma too.
    """


@app.command()
@asks
def solve(question: Question, report: Report, *, tol: Tolerance = None, kernels: Kernels = 0) -> None:
    """What training tends to as the width, then the depth, goes to infinity.

    At alpha = gamma = 1/2, features x and gradients g follow a causal Gaussian system over the depth p = l/L in [0, 1],

        dx_i = a dB_i + sum_(s<t) F_ij g_j dp
        dg_i = a dB'_i - sum_(s<t) H_ij x_j dp     (s <= t of nonlinear blocks)

    whose coefficients F, H come from its own covariances and responses. At 1/2 < alpha, alpha + gamma = 1 it is a
    deterministic flow. Where there is no limit, the answer says why.

        limits solve --classes 3,8 --steps 20 --tol 1e-10
    """
    from limits.deep import solve

    report.trajectory("solve", question.problem(), kernels, partial(solve, tol=tol))


@app.command()
@asks
def recurse(
    question: Question,
    report: Report,
    *,
    blocks: Blocks = 64,
    particles: Particles = None,
    backend: Backend = "numpy",
    device: Device = None,
    dtype: KetDtype = "float64",
    kernels: Kernels = 0,
) -> None:
    """What training tends to as the width goes to infinity, with L blocks.

    Linear blocks of one layer under SGD are exact. With C = E x x, and R the response of x to the noise in the gradients g, every
    block adds to the feature x_i

        a L^-alpha W x_i
        + sum_(s<t) [a L^-alpha R_ij - lr a^2 L^(-alpha-gamma) C_ij] g_j

    and the mirror image of it to g_i. Any exponents will do; at alpha = 1/2 the distance to `solve` falls as 1/L.
    Any other block, and any other optimizer, is answered by eight samples of N neurons each, with a standard error.

        limits recurse --blocks 256 --lr 0.5

        limits recurse --blocks 32 --nonlinearity tanh --form pre

        limits recurse --nonlinearity relu --backend torch --dtype float32
    """
    from limits.wide import recurse

    where = {"backend": backend, "device": device, "dtype": dtype}
    report.trajectory("recurse", question.problem(), kernels, partial(recurse, blocks=blocks, particles=particles, **where))


@app.command()
@asks
def simulate(
    question: Question,
    report: Report,
    *,
    width: Width = 256,
    blocks: Blocks = 64,
    seeds: Seeds = 8,
    seed: Seed = 0,
    block_width: BlockWidth = None,
    backend: Backend = "numpy",
    device: Device = None,
    dtype: Dtype = "float32",
    kernels: Kernels = 0,
) -> None:
    """Train real networks of width n with L blocks, and average them.

    With N(0, 1) entries in U and V, and N(0, 1/n) in W^l,

        x^0 = U xi / sqrt(d_in),    x^l = x^(l-1) + a L^-alpha G phi(W^l x^(l-1))
        f = V^T x^L / n,            W^l <- W^l - lr L^(alpha-gamma) dloss/dW^l

    The mean over neurons that G subtracts, and phi, are there with --nonlinearity only. The standard error is that of the mean
    over --seeds networks. One linear network is O(n^-1/2) away from `recurse`, their mean O(1/n).

        limits simulate --width 512 --seeds 16 --backend torch --out runs
        limits simulate --nonlinearity relu --width 128 --blocks 32
        limits simulate --form mlp --nonlinearity relu --alpha 1 --gamma 0 --optimizer adam --lr 0.05
    """
    from limits.finite import simulate

    sizes = {"width": width, "blocks": blocks, "seeds": seeds, "seed": seed, "block_width": block_width}
    where = {"backend": backend, "device": device, "dtype": dtype}
    report.trajectory("simulate", question.problem(), kernels, partial(simulate, **sizes, **where))


@app.command()
@asks
def compare(
    question: Question,
    report: Report,
    *,
    widths: Sizes = "64,128,256,512",
    blocks: Sizes = "8,16,32,64,128,256",
    finite_blocks: Annotated[int, Option(help="Blocks of the finite networks.")] = 16,
    seeds: Seeds = 64,
    seed: Seed = 0,
    particles: Particles = None,
    tol: Tolerance = None,
    backend: Backend = "numpy",
    device: Device = None,
    dtype: Dtype = "float32",
) -> None:
    """How far finite networks are from wide ones, and wide ones from deep ones.

    At alpha = 1/2 the errors fall as

        |finite - wide| ~ n^-1/2,    |wide - deep| ~ L^-1

    Prints them with fitted slopes, and writes comparison.png and comparison.json to --out, or to the current folder.
    With no options it trains on handwritten digits for ten steps.

        limits compare --classes 3,8 --widths 64,128,256 --seeds 20
    """
    from limits.compare import ladder

    lists = {"widths": numbers(widths, "--widths", int), "blocks": numbers(blocks, "--blocks", int)}
    sizes = {"finite_blocks": finite_blocks, "seeds": seeds, "seed": seed, "tol": tol, "particles": particles}
    where = {"backend": backend, "device": device, "dtype": dtype}
    folder, problem = report.folder() or Path(), question.problem()
    answer, stopped = finished("compare", lambda progress: ladder(problem, **lists, **sizes, **where, progress=progress))
    value = report.opening("compare", stopped) | plain(answer.to_json())
    report.say(value, answer.table)
    _write_comparison(folder, answer, value)
    if stopped:
        note("interrupted; the sizes that were finished are kept, marked partial")
        raise typer.Exit(INTERRUPTED)


def _write_comparison(folder: Path, ladder: Any, value: dict[str, Any]) -> None:
    from limits.plots import comparison
    from limits.trajectory import write_atomically

    table, picture = write_json(folder / "comparison.json", value), folder / "comparison.png"
    figure = comparison(ladder)
    write_atomically(picture, lambda file: figure.savefig(file, format="png", dpi=150))
    written(picture, table)


@app.command()
@asks
def estimate(
    question: Question,
    report: Report,
    *,
    width: Width = 256,
    blocks: Blocks = 64,
    seeds: Seeds = 8,
    block_width: BlockWidth = None,
    particles: Particles = None,
) -> None:
    """What memory and time each rung would take, before it runs.

    Up to constants, with T steps, r input and d output directions, and N depth nodes:

        rung        memory           time
        simulate    seeds L n^2      seeds T L n^2
        recurse     (T(r+d))^2 L     (T(r+d))^3 L
        solve       (T(r+d))^2 N     (T(r+d))^3 N

    With --nonlinearity every sample is a direction. A rung that does not treat the problem is left out, and says why.

    Here is an example:

        limits estimate --steps 100 --directions 10 --width 1024
    """
    folder, problem = report.folder(), question.problem()
    sizes = {"width": width, "blocks": blocks, "seeds": seeds, "block_width": block_width, "particles": particles}
    costs = _costs(problem, sizes)
    value = report.opening("estimate") | {rung: plain(cost.to_json()) for rung, cost in costs.items()}
    report.say(value, lambda: _cost_table(costs))
    if folder is not None:
        written(write_json(folder / "estimate.json", value))


def _costs(problem: "Problem", sizes: dict[str, Any]) -> dict[str, Any]:
    """The cost of every rung that treats the problem; networks can always be trained."""
    from limits.cost import RUNGS, estimate
    from limits.record import Record

    costs = {}
    for rung in RUNGS:
        try:
            costs[rung] = estimate(problem, rung, **sizes, record=Record(kinds=()), calibrate=True)
        except ValueError as fault:
            if rung == "simulate":
                raise
            note(f"{rung} is left out: {fault}")
    return costs


def _cost_table(costs: dict[str, Any]) -> Any:
    from rich.filesize import decimal
    from rich.table import Table

    table = Table("rung", "memory", "time")
    for rung, cost in costs.items():
        seconds = "unknown" if cost.seconds is None else f"{cost.seconds:.2g} s"
        table.add_row(rung, decimal(int(cost.bytes)), seconds)
    return table
