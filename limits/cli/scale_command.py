"""`limits scale`: hyperparameters of one size, as numbers for another."""

from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from limits.cli.commands import app
from limits.cli.report import Report, plain
from limits.markup import columns

if TYPE_CHECKING:
    from limits.parametrization import Parametrization

Value = Annotated[float | None, Option(help="That of the base; printed as that of the target.")]


@app.command()
def scale(
    base: Annotated[str, Option("--from", help="The size that was tuned: width=256,blocks=4, perhaps batch=, steps=.")],
    target: Annotated[str, Option("--to", help="The size to train, likewise.")],
    optimizer: Annotated[
        str,
        Option(
            help="What trains the hidden matrices.",
            metavar="sgd|momentum|adam|adamw|lion|signsgd|muon|muon-kimi|shampoo|soap",
        ),
    ] = "adamw",
    block_depth: Annotated[int, Option("--block-depth", "-k", help="k, weight matrices in a block.", metavar="K")] = 2,
    alpha: Annotated[str, Option(help="Exponent of the branch multiplier, from 1/2 to 1.")] = "1",
    gamma: Annotated[
        str | None, Option(help="Exponent of the update; one for all layers of a block, or 0,0.  [default: 1 - alpha]")
    ] = None,
    initial: Annotated[str, Option(help="Initial weights of a layer are as small as L^-initial; 0,1/2 for GPT-2's.")] = "0",
    readout: Annotated[str, Option(help="Where the readout has its 1/width.", metavar="multiplier|init")] = "multiplier",
    ends: Annotated[str, Option(help="What trains embeddings and readout, if the optimizer orthogonalises.")] = "adamw",
    lr: Value = None,
    weight_decay: Value = None,
    eps: Value = None,
    init_std: Value = None,
    why: Annotated[bool, Option("--why", help="Print the argument for every entry, in any of the forms.")] = False,
    markdown: Annotated[bool, Option("--markdown", help="Print the table in Markdown.")] = False,
    latex: Annotated[bool, Option("--latex", help="Print the table in LaTeX.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What to multiply hyperparameters by when a network gets wider and deeper.

    Learning rate, weight decay, epsilon, initial std and multipliers of every kind of parameter, as powers of

        m_N = width / base width,    m_L = blocks / base blocks

    Each follows from the order of the gradient in width and depth, what the optimizer makes of it, and the update that is wanted:
    L^-gamma in a block, 1 outside. blocks counts residual branches: a transformer layer is two, attention and MLP.
    With batch= and steps= in both sizes, rates follow the batch and weight decay keeps its share of the run.

        limits scale --from width=256,blocks=4 --to width=2048,blocks=32 --lr 3e-3 --weight-decay 0.1 --eps 1e-8
        limits scale --from width=256,blocks=4 --to width=1024,blocks=8 --optimizer muon --why
        limits scale --from width=64,blocks=8 --to width=64,blocks=64 --optimizer sgd -k 1 --alpha 1/2
    """
    from limits.scaling import layout
    from limits.scaling import scale as scaled

    if sum((markdown, latex, as_json)) > 1:
        raise ValueError("--markdown, --latex and --json exclude each other: give one")
    answer = scaled(
        base,
        target,
        optimizer=optimizer,
        block_depth=block_depth,
        parametrization=_exponents(alpha, gamma, initial),
        readout=readout,
        ends=ends,
    )
    tuned = {"lr": lr, "weight_decay": weight_decay, "eps": eps, "init_std": init_std}
    given = {name: value for name, value in tuned.items() if value is not None}
    rows = {r.role: r.apply({n: v for n, v in given.items() if getattr(r, n) is not None}) for r in answer}
    numbers, left = layout.values(answer, given), layout.left_out(answer, given)
    if markdown or latex:
        table, shown, mark = (answer.to_markdown(), layout.bars, "") if markdown else (answer.to_latex(), layout.tabular, "% ")
        head = [mark + "At the target:", *([""] * markdown)]
        said = [line for sentence in left for line in ("", mark + sentence)]
        reasons = ["", mark + "Why:", "", (layout.why_markdown if markdown else layout.why_latex)(answer)] if why else []
        typer.echo("\n".join([table, *(["", *head, shown(numbers), *said] if given else []), *reasons]))
        return
    value = {"asked": {"from": base, "to": target} | plain(given)} | answer.to_dict() | {"values": rows, "left_out": left}
    parts = [str(answer), *(["", "at the target:", columns(numbers), *left] if given else [])]
    Report(as_json=as_json).say(value, lambda: "\n".join([*parts, *(["", layout.why(answer)] if why else [])]))


def _exponents(alpha: str, gamma: str | None, initial: str) -> "Parametrization":
    """Exponents as they are typed.

    >>> _exponents("1/2", None, "0")
    Parametrization(alpha=1/2, gamma=1/2)
    """
    from limits.parametrization import Parametrization, exact

    given = [str(1 - exact(alpha, "--alpha"))] if gamma is None else gamma.split(",")
    first = initial.split(",")
    return Parametrization(alpha, given[0] if len(given) == 1 else tuple(given), first[0] if len(first) == 1 else tuple(first))
