"""`limits explorer`: the plane of exponents as a page to move in."""

from pathlib import Path
from typing import Annotated

from typer import Option

from limits.cli.commands import app
from limits.cli.files import one_file
from limits.cli.report import swept, written

PAGES = (".html", ".htm")


@app.command()
def explorer(
    out: Annotated[Path, Option(help="The page, in folders that are made if need be.", metavar="FILE")] = Path("explorer.html"),
    runs: Annotated[bool, Option(help="Train networks for the curves, about a minute on one core; or only regimes.")] = True,
    folder: Annotated[Path | None, Option(help="Keep every finished run in this folder, and go on from there.")] = None,
) -> None:
    """One HTML page on which the (alpha, gamma) plane is alive.

    Every point has its regime, the steps that prove it as `limits classify` prints them, and the exponents to write into a
    script; at 63 points networks are trained, with one and two layers in a block, by SGD and Adam, and drawn beside infinite
    width, the limit, and the exact exponents. The page is one file: no server, nothing that is loaded.

        limits explorer --out explorer.html
        limits explorer --no-runs
    """
    from limits.explorer import write

    file = one_file(out, PAGES)
    page = swept("explorer", lambda progress: write(file, runs=runs, folder=folder, progress=progress), folder, "runs")
    written(page)
