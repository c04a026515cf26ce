"""The commands: one rung each, their comparison, their cost, and the classification of exponents."""

from collections.abc import Callable
from dataclasses import fields
from functools import partial, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_origin

import typer
from typer import Argument, Option

import limits
from limits.cli.question import Question, numbers
from limits.cli.report import Report, finished, plain, write_json, written
from limits.cli.sentences import INTERRUPTED, Sentences, note

if TYPE_CHECKING:
    from limits.problem import Problem
    from limits.regimes import PhaseDiagram

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
    question: Question, report: Report, *, blocks: Blocks = 64, particles: Particles = None, kernels: Kernels = 0
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
    """
    from limits.wide import recurse

    report.trajectory("recurse", question.problem(), kernels, partial(recurse, blocks=blocks, particles=particles))


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
    sizes = {"finite_blocks": finite_blocks, "seeds": seeds, "seed": seed, "tol": tol}
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
    costs = _costs(problem, {"width": width, "blocks": blocks, "seeds": seeds, "block_width": block_width})
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


@app.command(context_settings={"ignore_unknown_options": True})
def classify(
    alpha: Annotated[str | None, Argument(help="Exponent of the block multiplier, such as 1/2.")] = None,
    gamma: Annotated[
        list[str] | None, Argument(help="Exponent of the update, such as 1/2 or -1; one for all layers, or one per layer.")
    ] = None,
    block_depth: Annotated[int, Option("--block-depth", "-k", help="k, layers in a block.", metavar="K")] = 1,
    recipe: Annotated[
        str | None, Option(help="Instead of exponents: multiplier, lr and optimizer, as a script has them.", metavar="TEXT")
    ] = None,
    not_centred: Annotated[
        bool, Option("--not-centred", help="The initial branch has a mean: relu without mean subtraction.")
    ] = False,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What exponents of depth do, with the argument.

    A block of k layers is a L^-alpha times its layers, each as initialized, of order 1, or updated, of order L^-gamma_i. Summed
    over L blocks, the branches in which the layers in S take part with their update are of order L^e_S, with

        e_0 = 1/2 - alpha                        initial: independent
        e_S = 1 - alpha - sum_(i in S) gamma_i   updates: aligned

    Training has a limit if none is positive. It is frozen unless some e_S = 0, and the blocks are alike unless e_0 = 0.
    With --not-centred, e_0 = 1 - alpha, and the blocks are always alike.

        limits classify 1/2 1/2
        limits classify 2 -1
        limits classify --block-depth 2 1 0 0

    A recipe is read for its optimizer, the block multiplier and the depth factor of the raw learning rate (constants do not
    matter); where it has no limit in which blocks learn, the nearest one that has is named.

        limits classify --recipe "multiplier=L^-1/2 lr=1 optimizer=adam"
    """
    from limits.recipes import decode

    report = Report(as_json=as_json)
    if recipe is not None:
        if alpha is not None or block_depth != 1 or not_centred:
            raise ValueError("--recipe says everything: leave out the exponents and other options; block_depth=2 goes into it")
        found = decode(recipe)
    else:
        found = _classified(alpha, gamma or [], block_depth, not not_centred)
    report.say(found.to_json(), lambda: str(found))


def _classified(alpha: str | None, gamma: list[str], block_depth: int, centred: bool) -> Any:
    from limits.parametrization import Parametrization
    from limits.regimes import classify

    if alpha is None or not gamma:
        missing = "alpha" if alpha is None else "gamma"
        _no_option(alpha)
        raise ValueError(f"missing argument '{missing}': give alpha and gamma, such as `limits classify 1/2 1/2`, or --recipe")
    _no_option(alpha, *gamma)
    layers = gamma[0] if len(gamma) == 1 else tuple(gamma)
    return classify(Parametrization(alpha, layers), block_depth=block_depth, centred=centred)


def _no_option(*exponents: str | None) -> None:
    """Exponents may begin with a minus sign, so that options of another name arrive among them."""
    for text in filter(None, exponents):
        if text[0] == "-" and text[1:2] not in "0123456789.":
            raise ValueError(f"there is no option {text}; `limits classify --help` lists what there is")


@app.command("phase-diagram")
def phase_diagram(
    out: Annotated[Path | None, Option(help="Draw it into this file: .png, .svg or .pdf.", metavar="FILE")] = None,
    block_depth: Annotated[int, Option("--block-depth", "-k", help="k, layers in a block.", metavar="K")] = 1,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """The regimes of all exponents (alpha, gamma), as exact inequalities and as a picture.

    Every point of the plane belongs to exactly one piece. With e_m = 1 - alpha - m gamma, the order of what m updated layers
    of each block add up to,

        unstable at initialization   1/2 - alpha > 0
        unstable during training     some e_m > 0
        trivial                      all e_m < 0
        unfaithful                   gamma < 0
        redundant                    1/2 - alpha < 0

    each where none before it applies. What is left is the point alpha = gamma = 1/2, Depth-µP.

        limits phase-diagram --out phases.svg
        limits phase-diagram --block-depth 2 --out phases.png
    """
    from limits.regimes import phase_diagram

    diagram = phase_diagram(block_depth=block_depth)
    if out is not None:
        _draw(diagram, out)
    Report(as_json=as_json).say(diagram.to_json(), lambda: str(diagram))
    if out is not None:
        written(out)


PICTURES = (".png", ".svg", ".pdf")


def _draw(diagram: "PhaseDiagram", out: Path) -> None:
    from limits.plots import phases
    from limits.trajectory import write_atomically

    if (kind := out.suffix.lower()) not in PICTURES:
        raise ValueError(f"--out must end in {', '.join(PICTURES)}, got {str(out)!r}")
    try:
        write_atomically(out, lambda file: phases(diagram).savefig(file, format=kind[1:], dpi=200))
    except OSError as fault:
        raise ValueError(f"--out must be a file that can be written, got {str(out)!r}: {fault.strerror}") from None


@app.command()
def design(
    wishes: Annotated[list[str] | None, Argument(help="From the list above.", show_default=False, metavar="WISH")] = None,
    block_depth: Annotated[int, Option("--block-depth", "-k", help="k, layers in a block.", metavar="K")] = 1,
    fix: Annotated[
        list[str] | None,
        Option(help="Give exponents, such as beta=0, gamma_2=1/2 or gamma=0,1/2; may be repeated.", metavar="NAME=VALUE"),
    ] = None,
    tied: Annotated[bool, Option("--tied", help="All layers of a block share one gamma and one beta.")] = False,
    not_centred: Annotated[
        bool, Option("--not-centred", help="The initial branch has a mean: relu without mean subtraction.")
    ] = False,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Exponents of depth that meet all wishes, or a proof that there are none.

    A block of k layers is a L^-alpha times its layers, each as initialized, of order L^-beta_i, or updated, of order L^-gamma_i.
    Summed over L blocks, the branches in which the layers in S take part with their update are of order L^e_S, and the initial
    ones of order L^e_0, e_0 = 1/2 - alpha - sum_i beta_i. What can be wished is

        stable                all e_S <= 0: features stay of order 1
        nontrivial            some e_S >= 0: training goes somewhere
        faithful              e_0 <= 0, beta_i = 0, gamma_i >= 0
        feature-learning      stable, nontrivial, gamma_i >= 0
        diverse               1/2 - alpha - sum_i beta_i = 0: blocks differ
        interacting           e_S = 0 for two layers or more
        layerwise-nonlinear   second order in updates stays
        maximal               e_S = 0 for every single layer

    The answer is every way to meet them, or wishes that exclude each other, none of which can be spared, with numbers by which
    to multiply their inequalities so that they add up to a false one. With --not-centred, e_0 = 1 - alpha - sum_i beta_i.

        limits design stable diverse interacting --block-depth 2
        limits design stable faithful interacting --block-depth 2
        limits design feature-learning diverse --fix beta=0
    """
    from limits.desiderata import design

    fixed: dict[str, str | tuple[str, ...]] = {}
    for name, value in map(_fixed, fix or []):
        if fixed.setdefault(name, value) != value:
            raise ValueError(f"--fix gives {name} twice, as {_typed(fixed[name])} and as {_typed(value)}: leave one out")
    found = design(*(wishes or []), block_depth=block_depth, centred=not not_centred, tied=tied, fixed=fixed)
    Report(as_json=as_json).say(found.to_json(), lambda: str(found))


def _typed(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else ",".join(value)


def _fixed(text: str) -> tuple[str, str | tuple[str, ...]]:
    name, equal, value = text.partition("=")
    if not (name and equal and value):
        raise ValueError(f"--fix takes an exponent and its value, such as beta=0, got {text!r}")
    return name.strip(), tuple(value.split(",")) if "," in value else value
