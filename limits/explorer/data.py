"""Everything the page knows, in terms of JSON: the plane, from theory alone, and the runs of a lattice."""

from pathlib import Path
from typing import Any

import limits
from limits.explorer.lattice import DEPTHS, INPUTS, OPTIMIZERS, TARGETS, Lattice
from limits.explorer.plane import plane
from limits.explorer.runs import runs
from limits.explorer.words import MEANINGS, NAMES, WINDOW
from limits.validation import Progress, expect

FORMAT = 1


def data(lattice: Lattice | None = None, *, folder: str | Path | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """What the page is made of.

    Args:
        lattice: the points at which networks are trained; without one the page shows regimes and proofs, and no curves.
        folder: keeps every finished run (`limits.sweeps`).
        progress: called as progress(done, total) after every run.

    Raises:
        TypeError: a lattice that is none.

    >>> known = data()
    >>> sorted(known), [region["name"] for region in known["planes"]["1"]["regions"]][-1]
    (['format', 'meanings', 'named', 'planes', 'version', 'window'], 'feature learning and diverse')
    """
    known: dict[str, Any] = {
        "format": FORMAT,
        "version": limits.__version__,
        "window": [[str(v) for v in side] for side in WINDOW],
        "planes": {str(k): plane(k) for k in DEPTHS},
        "meanings": MEANINGS,
        "named": [{"name": name, "at": list(at)} for name, at in NAMES],
    }
    if lattice is None:
        return known
    expect(lattice, Lattice, "lattice")
    found = runs(lattice, folder=folder, progress=progress)
    return known | {"lattice": _described(lattice), "runs": found}


def _described(lattice: Lattice) -> dict[str, Any]:
    """What was trained, for whoever wants to do it again."""
    return {
        "alphas": [str(v) for v in lattice.alphas],
        "gammas": [str(v) for v in lattice.gammas],
        "blocks": list(lattice.blocks),
        "deeper": list(lattice.deeper),
        "width": lattice.width,
        "seeds": lattice.seeds,
        "steps": lattice.steps,
        "particles": lattice.particles,
        "lr": {name: lr for name, (_, lr) in OPTIMIZERS.items()},
        "inputs": [list(row) for row in INPUTS],
        "targets": [row[0] for row in TARGETS],
    }
