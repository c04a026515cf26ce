"""The commands of the calculus of exponents: they are exact, and train nothing."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from limits.cli.commands import app
from limits.cli.files import one_file
from limits.cli.report import Report, written

if TYPE_CHECKING:
    from limits.regimes import PhaseDiagram


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
    out: Annotated[
        Path | None,
        Option(help="Draw it into this file, .png, .svg or .pdf, in folders that are made if need be.", metavar="FILE"),
    ] = None,
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

    kind = one_file(out, PICTURES).suffix.lower()[1:]
    write_atomically(out, lambda file: phases(diagram).savefig(file, format=kind, dpi=200))


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
