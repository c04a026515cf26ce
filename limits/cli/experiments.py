"""The commands that train many networks, or solve many limits, to see one thing: here, whether the optimum transfers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from limits.cli.commands import Backend, Device, Dtype, Particles, Seed, Sizes, Tolerance, app, asks
from limits.cli.question import Question, numbers
from limits.cli.report import Report, plain, swept, write_json, written

if TYPE_CHECKING:
    from limits.parametrization import Parametrization

Grid = Annotated[str, Option(help="Numbers 0.1,0.3,1, or 0.1:10:9 for 9 of them from 0.1 to 10, evenly in the logarithm.")]
Grids = Annotated[str | None, Option(help="Likewise; without it, --multiplier.", metavar="GRID")]
MOST_POINTS = 10_000


@app.command()
@asks
def transfer(
    question: Question,
    report: Report,
    *,
    blocks: Sizes = "8,16,32,64",
    lrs: Grid = "0.1:10:9",
    multipliers: Grids = None,
    parametrization: Annotated[
        list[str] | None,
        Option(help="Exponents alpha,gamma, such as 1/2,1/2; may be repeated; else --alpha and --gamma.", metavar="PAIR"),
    ] = None,
    rung: Annotated[
        str, Option(help="finite networks, infinitely wide ones, or the limit.", metavar="finite|wide|deep")
    ] = "wide",
    width: Annotated[int | None, Option(help="n, neurons per layer; of finite networks.  [default: 128]")] = None,
    seeds: Annotated[int, Option(help="How many finite networks.")] = 8,
    seed: Seed = 0,
    particles: Particles = None,
    probe_loss: Annotated[bool, Option("--probe-loss", help="The loss of probes instead of that of inputs.")] = False,
    limit: Annotated[bool, Option(help="Whether to add the limit to the rung wide.")] = True,
    tol: Tolerance = 1e-6,
    backend: Backend = "numpy",
    device: Device = None,
    dtype: Dtype = "float32",
    workers: Annotated[int | None, Option(help="Processes that compute curves side by side; this one by default.")] = None,
) -> None:
    """Where the best learning rate goes as networks get deeper.

    Trains at every learning rate, for every number of blocks L and every pair of exponents, and finds the rate lr*(L) of the
    smallest loss. Exponents transfer if it settles,

        lr*(L) ~ L^s,   s near 0

    With --rung wide, the loss of infinitely wide linear networks is exact, its optimum is known to many digits, and the limit is
    added where there is one; of others it is that of samples of --particles neurons. With --rung finite, networks of --width are
    trained. Intervals are those over --seeds or samples, and the grid.
    Many steps, or rates at the edge of stability, have many minima, between which the best rate jumps.
    With several --multipliers too, maps over both are drawn; with a single rate in --lrs, the best multiplier is sought.

    Prints optima and drifts, and writes transfer.png and transfer.json to --out, or to the current folder. With --out every
    curve is kept in its folder runs as soon as it is there, and the same command goes on where it was stopped.

        limits transfer --steps 3 --lrs 0.1:2:9 --parametrization 1/2,1/2 --parametrization 1/2,0
        limits transfer --rung finite --width 128 --out sweep --workers 2
    """
    from limits.compare import transfer

    folder, problem = report.folder(), question.problem()
    finite = {"width": 128 if width is None and rung == "finite" else width, "seeds": seeds, "seed": seed}
    options: dict[str, Any] = finite | {"rung": rung, "loss": "probe" if probe_loss else "train", "limit": limit, "tol": tol}
    options |= {"backend": backend, "device": device, "dtype": dtype, "workers": workers, "particles": particles}
    options["blocks"] = () if rung == "deep" else numbers(blocks, "--blocks", int)
    options["lrs"] = _grid(lrs, "--lrs")
    options["multipliers"] = None if multipliers is None else _grid(multipliers, "--multipliers")
    options["parametrizations"] = [_exponents(text) for text in parametrization] if parametrization else None
    options["folder"] = None if folder is None else folder / "runs"
    answer = swept("transfer", lambda progress: transfer(problem, **options, progress=progress), options["folder"], "curves")
    value = report.opening("transfer") | plain(answer.to_json())
    report.say(value, answer.table)
    _write(folder or Path(), answer, value)


def _exponents(text: str) -> "Parametrization":
    """Exponents as they are typed.

    >>> _exponents("1/2,0")
    Parametrization(alpha=1/2, gamma=0)
    """
    from limits.parametrization import Parametrization

    alpha, *gamma = (part.strip() for part in text.split(","))
    if not gamma:
        raise ValueError(f"--parametrization must be alpha,gamma, such as 1/2,1/2 (or one gamma for every layer), got {text!r}")
    return Parametrization(alpha, gamma[0] if len(gamma) == 1 else tuple(gamma))


def _grid(text: str, name: str) -> tuple[float, ...]:
    """Numbers as they are typed.

    >>> _grid("1:100:3", "--lrs"), _grid("1,5", "--lrs")
    ((1.0, 10.0, 100.0), (1.0, 5.0))
    """
    import numpy as np

    if ":" not in text:
        return numbers(text, name)
    try:
        start, stop, count = text.split(":")
        first, last, points = float(start), float(stop), int(count)
    except ValueError:
        raise ValueError(f"{name} must be numbers with commas between them, or start:stop:count, got {text!r}") from None
    if not (0 < first < np.inf and 0 < last < np.inf and 1 <= points <= MOST_POINTS):
        raise ValueError(f"{name} from start to stop must have positive ends and 1 to {MOST_POINTS} points, got {text!r}")
    return tuple(float(f"{value:.12g}") for value in np.geomspace(first, last, points))


def _write(folder: Path, answer: Any, value: dict[str, Any]) -> None:
    from limits.plots import transfers
    from limits.trajectory import write_atomically

    table, picture, figure = write_json(folder / "transfer.json", value), folder / "transfer.png", transfers(answer)
    write_atomically(picture, lambda file: figure.savefig(file, format="png", dpi=150))
    written(picture, table)
