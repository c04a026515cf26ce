"""One HTML file from the data and the templates beside this module: everything in it, nothing loaded from anywhere."""

import json
import re
from collections.abc import Mapping
from errno import ENOENT
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from limits.explorer.data import data
from limits.explorer.lattice import DEPTHS, Lattice
from limits.explorer.picture import kind, picture, swatch
from limits.plots.regimes import SHADES, UNFAITHFUL
from limits.trajectory import write_atomically
from limits.validation import Progress, flag

SCRIPTS = ("exact.js", "charts.js", "explorer.js")
"""In the order in which they need each other."""


def write(
    path: str | Path, *, runs: Lattice | bool = True, folder: str | Path | None = None, progress: Progress | None = None
) -> Path:
    r"""Write the explorer: one HTML page on which the $(\alpha, \gamma)$ plane is alive.

    Of every point of the plane it tells what `classify` says, exactly, with the steps that prove it and the exponents to write
    into a script; at the points of a lattice it shows networks that were trained, beside infinite width and the limit. It needs
    no server, and loads nothing.

    Args:
        path: the file, such as "explorer.html".
        runs: where networks are trained and how large they are; True for `Lattice()`, which takes about a minute on one core, and
            False for a page that has regimes and proofs, and no curves.
        folder: keeps every finished run (`limits.sweeps`), so that a page that was stopped goes on there; by default nothing is.
        progress: called as progress(done, total) after every run.

    Returns:
        The path.

    Raises:
        TypeError: runs that are neither a lattice nor True or False.
        OSError: a file that cannot be written.

    >>> import tempfile
    >>> page = write(Path(tempfile.mkdtemp()) / "explorer.html", runs=False)
    >>> page.read_text("utf-8").startswith("<!doctype html>")
    True
    """
    path, lattice = Path(path), runs if isinstance(runs, Lattice) else Lattice() if flag(runs, "runs") else None
    if not path.parent.is_dir():
        raise FileNotFoundError(ENOENT, "the page must be written to a folder that exists", str(path.parent))
    text = page(data(lattice, folder=folder, progress=progress))
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def page(known: Mapping[str, Any]) -> str:
    """The page that shows some data."""
    lattice = Lattice(known["lattice"]["alphas"], known["lattice"]["gammas"]) if "lattice" in known else ()
    parts = {
        "palette": _palette(),
        "style": _template("style.css"),
        "pictures": "\n".join(picture(k, lattice) for k in DEPTHS),
        "regimes": _regimes(known),
        "version": escape(known["version"]),
        "data": json.dumps(known, separators=(",", ":"), allow_nan=False, ensure_ascii=False).replace("<", "\\u003c"),
        "script": "\n".join(_template(name) for name in SCRIPTS),
    }
    return re.sub("@@([a-z]+)@@", lambda found: parts[found[1]], _template("template.html"))


def _template(name: str) -> str:
    return files("limits.explorer").joinpath(name).read_text("utf-8").rstrip()


def _palette() -> str:
    """The colours of the phase diagram, as variables of the style sheet."""
    colors = {name: color for name, (color, _) in SHADES.items()} | {"unfaithful": UNFAITHFUL}
    return f":root {{ {' '.join(f'--{kind(name)}: {color};' for name, color in colors.items())} }}"


def _regimes(known: Mapping[str, Any]) -> str:
    """Every regime with its inequalities, for blocks of every depth."""
    said = {k: {region["name"]: region["said"] for region in plane["regions"]} for k, plane in known["planes"].items()}
    heads = "".join(f'<th scope="col">blocks of {"one layer" if k == "1" else f"{k} layers"}</th>' for k in said)
    rows = []
    for name, meaning in known["meanings"].items():
        cells = "".join(f"<td>{'<br>or '.join(map(_typeset, regions[name]))}</td>" for regions in said.values())
        head = f'<th scope="row"><span data-swatch="{kind(name)}">{swatch(name)}</span>{escape(name)}</th>'
        rows.append(f"<tr>{head}<td>{escape(meaning)}</td>{cells}</tr>")
    head = f'<thead><tr><th scope="col">regime</th><th scope="col">what happens</th>{heads}</tr></thead>'
    return f"<table>{head}<tbody>{''.join(rows)}</tbody></table>"


def _typeset(plain: str) -> str:
    r"""An inequality in letters and signs of mathematics.

    >>> _typeset("1/2 - alpha <= 0 and 1 - alpha - 2*gamma > 0")
    '1/2 − α ≤ 0 and 1 − α − 2γ &gt; 0'
    """
    signs = {"alpha": "α", "gamma": "γ", "<=": "≤", ">=": "≥", " - ": " − ", "*": ""}
    for ascii_, sign in signs.items():
        plain = plain.replace(ascii_, sign)
    return escape(plain)
