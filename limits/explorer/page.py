"""One HTML file from the data and the templates beside this module: everything in it, nothing loaded from anywhere."""

import json
import re
from collections.abc import Mapping
from errno import EISDIR
from fractions import Fraction
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from limits.explorer.data import data
from limits.explorer.lattice import DEPTHS, Lattice
from limits.explorer.picture import kind, patterns, picture, swatch
from limits.plots.regimes import SHADES, UNFAITHFUL
from limits.trajectory import write_atomically
from limits.validation import Progress, flag

SCRIPTS = ("exact.js", "charts.js", "explorer.js")
"""In the order in which they need each other."""


def write(
    path: str | Path,
    *,
    runs: Lattice | bool = True,
    folder: str | Path | None = None,
    progress: Progress | None = None,
    site: Mapping[str, str] | None = None,
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
        site: where the page is part of a site, relative addresses of other pages there, by name: "home", "words" (what the
            verdicts mean), and ids of claims with the places of their proofs. The page links to those.

    Returns:
        The path.

    Raises:
        ValueError: an address that is not relative.
        TypeError: runs that are neither a lattice nor True or False.
        OSError: a file that cannot be written.

    >>> import tempfile
    >>> page = write(Path(tempfile.mkdtemp()) / "explorer.html", runs=False)
    >>> page.read_text("utf-8").startswith("<!doctype html>")
    True
    """
    path, lattice = Path(path), runs if isinstance(runs, Lattice) else Lattice() if flag(runs, "runs") else None
    site = _relative(site or {})
    path.parent.mkdir(parents=True, exist_ok=True)  # before anything long is begun
    if path.is_dir():
        raise IsADirectoryError(EISDIR, "the page must be a file, got a folder", str(path))
    text = page(data(lattice, folder=folder, progress=progress) | ({"site": site} if site else {}))
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def page(known: Mapping[str, Any]) -> str:
    """The page that shows some data."""
    trained = known.get("lattice", {"alphas": [], "gammas": []})
    points = [(Fraction(alpha), Fraction(gamma)) for alpha in trained["alphas"] for gamma in trained["gammas"]]
    parts = {
        "palette": _palette(),
        "style": _template("style.css"),
        "pictures": "\n".join([patterns(), *(picture(k, points) for k in DEPTHS)]),
        "regimes": _regimes(known),
        "site": _ways(known.get("site", {})),
        "version": escape(known["version"]),
        "data": json.dumps(known, separators=(",", ":"), allow_nan=False, ensure_ascii=False).replace("<", "\\u003c"),
        "script": "\n".join(_template(name) for name in SCRIPTS),
    }
    return re.sub("@@([a-z]+)@@", lambda found: parts[found[1]], _template("template.html"))


def _relative(site: Mapping[str, str]) -> dict[str, str]:
    """Addresses of other pages, checked: the page asks nothing of other hosts, and sends nobody there."""
    for name, address in site.items():
        parts = urlsplit(address)
        if parts.scheme or parts.netloc or address.startswith("/"):
            raise ValueError(f"site[{name!r}] must be relative to the page, such as 'index.html', got {address!r}")
    return dict(site)


def _ways(site: Mapping[str, str]) -> str:
    """Links to the pages of a site that everybody may want."""
    titles = {"home": "← limits", "words": "What the verdicts mean"}
    links = [f'<a href="{escape(site[name])}">{title}</a>' for name, title in titles.items() if name in site]
    return f'<nav class="site" aria-label="The site">{"".join(links)}</nav>' if links else ""


def _template(name: str) -> str:
    return files("limits.explorer").joinpath(name).read_text("utf-8").rstrip()


def _palette() -> str:
    """The colours of the phase diagram, as variables of the style sheet."""
    colors = {name: color for name, (color, _) in SHADES.items()} | {"unfaithful": UNFAITHFUL}
    return f":root {{ {' '.join(f'--{kind(name)}: {color};' for name, color in colors.items())} }}"


def _regimes(known: Mapping[str, Any]) -> str:
    """Every regime with its inequalities, for blocks of every depth."""
    said = {_blocks(k): {r["name"]: r["said"] for r in plane["regions"]} for k, plane in known["planes"].items()}
    rows = []
    for name, meaning in known["meanings"].items():
        head = f'<th scope="row"><span data-swatch="{kind(name)}">{swatch(name)}</span>{escape(name)}</th>'
        cells = (f'<td class="said" data-of="{blocks}">{_either(regions[name])}</td>' for blocks, regions in said.items())
        rows.append(f"<tr>{head}<td>{escape(meaning)}</td>{''.join(cells)}</tr>")
    heads = "".join(f'<th scope="col">{title}</th>' for title in ("regime", "what happens", *said))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _blocks(block_depth: str) -> str:
    return f"blocks of {'one layer' if block_depth == '1' else f'{block_depth} layers'}"


def _either(pieces: list[str]) -> str:
    return "<br>or ".join(map(_typeset, pieces))


def _typeset(plain: str) -> str:
    r"""An inequality in letters and signs of mathematics.

    >>> _typeset("1/2 - alpha <= 0 and 1 - alpha - 2*gamma > 0")
    '<span>1/2 − α ≤ 0</span> and <span>1 − α − 2γ &gt; 0</span>'
    """
    signs = {"alpha": "α", "gamma": "γ", "<=": "≤", ">=": "≥", " - ": " − ", "*": ""}
    for ascii_, sign in signs.items():
        plain = plain.replace(ascii_, sign)
    return " and ".join(f"<span>{escape(part)}</span>" for part in plain.split(" and "))
