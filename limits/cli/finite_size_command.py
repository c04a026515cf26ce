"""`limits finite-size`: what the error of networks of finite width, block width and depth is made of."""

from pathlib import Path
from typing import Annotated, Any

from typer import Option

from limits.cli.commands import Seed, app, asks
from limits.cli.question import Question
from limits.cli.report import Report, finished, plain, write_json, written


@app.command("finite-size")
@asks
def finite_size(
    question: Question,
    report: Report,
    *,
    sizes: Annotated[
        str | None,
        Option(help="Networks to fit, DxMxL with commas between them.  [default: eight of up to 128x256x16]", metavar="LIST"),
    ] = None,
    seeds: Annotated[int, Option(help="Networks of every size.")] = 64,
    seed: Seed = 0,
    tol: Annotated[float | None, Option(help="Error allowed in the limit.")] = None,
    predict: Annotated[
        str | None, Option(help="Sizes DxMxL that are simulated too, and only predicted by the fit.", metavar="LIST")
    ] = None,
    error: Annotated[
        float | None, Option(help="Ask for the cheapest networks whose features are off by at most this.", metavar="NUMBER")
    ] = None,
) -> None:
    """What the error of networks of two-layer blocks is made of, with constants fitted to simulations.

    At alpha = 1, gamma = 0 networks of width D with L blocks of M neurons differ from their limit, root mean square, by

        features   error^2 = (c_L/L)^2 + c_N^2 D/(LM) + c_D^2/D
        outputs    error^2 = (c_L/L)^2 + c_N^2 / (LM) + c_D^2/D

    1/L is the bias of the steps in depth, D/(LM) the noise of the initial neurons, and 1/D the chance of U and V. Networks of
    several sizes are trained, and held against the limit in their own U and V. finite-size.png and finite-size.json go to
    --out, or to the current folder.

        limits finite-size --form mlp -k 2 --nonlinearity tanh --alpha 1 --gamma 0 --samples 4 --directions 2 --steps 3
        limits finite-size --form mlp -k 2 --nonlinearity tanh --alpha 1 --gamma 0 --samples 4 --directions 2 --error 0.05
    """
    from limits.finite_size import error_model
    from limits.finite_size.model import SIZES

    problem, folder = question.problem(), report.folder() or Path()
    chosen, others = SIZES if sizes is None else _sizes(sizes, "--sizes"), _sizes(predict, "--predict") if predict else []
    options: dict[str, Any] = {"sizes": chosen, "seeds": seeds, "seed": seed, "tol": tol}
    model, _ = finished("finite-size", lambda progress: error_model(problem, **options, progress=progress))
    held = [model.hold(*size, seeds=seeds, seed=seed + (len(chosen) + i) * seeds) for i, size in enumerate(others)]
    value = report.opening("finite-size") | plain(model.to_json()) | {"predicted": [plain(one.to_json()) for one in held]}
    if error is not None:
        value["cheapest"] = model.cheapest(error)._asdict()
    report.say(value, lambda: "\n".join([model.table(), *map(str, held), *_cheapest(model, error)]))
    _write(folder, model, held, value)


def _cheapest(model: Any, error: float | None) -> list[str]:
    if error is None:
        return []
    size = model.cheapest(error)
    D, M, L = size
    return [f"cheapest for an error of features of {error:g}: D = {D}, M = {M}, L = {L}, {size.parameters:.3g} weights"]


def _sizes(text: str, name: str) -> list[tuple[int, int, int]]:
    """Sizes as they are typed.

    >>> _sizes("64x128x4, 32x32x8", "--sizes")
    [(64, 128, 4), (32, 32, 8)]
    """
    try:
        found = [tuple(int(part) for part in size.split("x")) for size in text.split(",")]
    except ValueError:
        found = [()]
    if any(len(size) != 3 for size in found):
        raise ValueError(f"{name} must be sizes DxMxL with commas between them, such as 64x128x4,32x32x8, got {text!r}")
    return [(size[0], size[1], size[2]) for size in found]  # type: ignore[misc]


def _write(folder: Path, model: Any, held: Any, value: dict[str, Any]) -> None:
    from limits.plots import error_models
    from limits.trajectory import write_atomically

    table, picture, figure = write_json(folder / "finite-size.json", value), folder / "finite-size.png", error_models(model, held)
    write_atomically(picture, lambda file: figure.savefig(file, format="png", dpi=150))
    written(picture, table)
