"""The runs of a lattice: which there are, and what is told of each."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from limits.compare.expected import FEATURES, GROWTH, expected
from limits.explorer.infinite import first_step, train_deep, train_wide
from limits.explorer.lattice import DEPTHS, OPTIMIZERS, Lattice, Point
from limits.explorer.networks import SIZES, train_networks
from limits.parametrization import Parametrization
from limits.regimes import Regime, classify
from limits.sweeps import Job, run
from limits.validation import Progress

DIGITS = 4
"""Significant digits of a number on the page."""
ROWS = {"initial": GROWTH, "features": FEATURES, "updates": "update of layer 1"}
"""What `expected` calls the sizes of networks."""

Key = tuple[str, int, str, Any]
"""What a job finds, the layers of a block, the optimizer, and where in the plane."""


@dataclass(frozen=True)
class Setting:
    """Blocks and an optimizer."""

    block_depth: int
    optimizer: str

    @property
    def exact(self) -> bool:
        """Whether infinite width is a recursion."""
        return self.block_depth == 1 and self.optimizer == "sgd"


SETTINGS = tuple(Setting(k, optimizer) for k in DEPTHS for optimizer in OPTIMIZERS)


def runs(lattice: Lattice, *, folder: str | Path | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Train the networks of a lattice, and their limits, and say what came of it.

    Args:
        lattice: its points and sizes.
        folder: keeps every finished job (`limits.sweeps`); by default nothing is kept.
        progress: called as progress(done, total) after every job.

    Returns:
        By setting, such as "1 sgd", and by point, such as "1/2 0", what `told` makes of the runs.
    """
    jobs = {key: job for setting in SETTINGS for key, job in _jobs(lattice, setting)}
    found = dict(zip(jobs, run(jobs.values(), folder=folder, progress=progress), strict=True))
    return {
        f"{s.block_depth} {s.optimizer}": {f"{a} {g}": _told(lattice, s, (a, g), found) for a, g in lattice} for s in SETTINGS
    }


def _jobs(lattice: Lattice, setting: Setting) -> Iterator[tuple[Key, Job]]:
    k, optimizer, sizes = setting.block_depth, setting.optimizer, {"blocks": lattice.blocks}
    networks = sizes | {"gammas": lattice.gammas, "width": lattice.width, "seeds": lattice.seeds}
    for alpha in lattice.alphas:
        problem = lattice.problem(k, optimizer, (alpha, 0))
        yield ("networks", k, optimizer, alpha), Job(train_networks, networks | {"problem": problem})
    for point in lattice:
        problem, regime = lattice.problem(k, optimizer, point), classify(Parametrization(*point), block_depth=k)
        if setting.exact or _learns(regime):
            blocks = lattice.blocks if setting.exact else lattice.blocks[:2]
            wide = {"problem": problem, "blocks": blocks, "particles": lattice.particles}
            yield ("wide", k, optimizer, point), Job(train_wide, wide)
        if setting.exact:
            one, deeper = lattice.problem(k, optimizer, point, 1), lattice.blocks + lattice.deeper
            yield ("first step", k, optimizer, point), Job(first_step, {"problem": one, "blocks": deeper})
        if optimizer == "sgd" and regime.stable_at_initialization and regime.stable_during_training:
            yield ("deep", k, optimizer, point), Job(train_deep, {"problem": problem})


def _learns(regime: Regime) -> bool:
    return regime.stable_at_initialization and regime.stable_during_training and regime.nontrivial


def _told(lattice: Lattice, setting: Setting, point: Point, found: dict[Key, Any]) -> dict[str, Any]:
    """What the page shows of one point: losses of networks, at infinite width and in the limit, sizes, and their exponents."""
    k, optimizer, place = setting.block_depth, setting.optimizer, lattice.gammas.index(point[1])
    networks = {name: values[:, place] for name, values in found["networks", k, optimizer, point[0]].items()}
    wide, step, deep = (found.get((what, k, optimizer, point), {}) for what in ("wide", "first step", "deep"))
    regime = classify(Parametrization(*point), block_depth=k)
    answer: dict[str, Any] = {
        "regime": regime.name,
        "losses": [_over_seeds(losses) for losses in networks["losses"]],
        "diverged": [_diverged(losses) for losses in networks["losses"]],
        "sizes": {name: _over_seeds(networks[name].T) for name in SIZES},
        "slopes": {name: _slope(lattice.blocks, networks[name]) if regime.stable_at_initialization else None for name in SIZES},
        "exact": _exact(lattice, setting, point),
    }
    if wide:
        answer |= {"wide": numbers(wide["losses"]), "wide_error": numbers(wide["error"])}
    if step:
        answer["wide_sizes"] = {name: numbers(step[name]) for name in ("initial", "features")}
    if len(deep.get("losses", ())):
        answer["deep"] = numbers(deep["losses"])
    return answer


def _over_seeds(values: np.ndarray) -> dict[str, Any]:
    """The median, the least and the largest of several seeds, the first axis; one that is no number is larger than any."""
    ordered = np.where(np.isfinite(values), values, np.inf)
    with np.errstate(invalid="ignore"):
        return {"mid": numbers(np.median(ordered, axis=0)), "low": numbers(ordered.min(0)), "high": numbers(ordered.max(0))}


def _diverged(losses: np.ndarray) -> list[int]:
    """How many seeds left the range of numbers, and before which evaluation the first of them had."""
    bad = ~np.isfinite(losses)
    return [int(bad.any(1).sum()), int(bad.any(0).argmax())] if bad.any() else [0, -1]


def _slope(blocks: tuple[int, ...], values: np.ndarray) -> list[float | None]:
    """The least-squares slope of mean logarithms, shape (L, seeds), against log L, and its standard error over the seeds."""
    with np.errstate(all="ignore"):
        logs, x = np.log(values), np.log(blocks) - np.mean(np.log(blocks))
        each = logs.var(1, ddof=1) / logs.shape[1] if logs.shape[1] > 1 else np.full(len(x), np.nan)
        return [number(float(x @ logs.mean(1) / (x @ x))), number(float(np.sqrt(x**2 @ each) / (x @ x)))]


def _exact(lattice: Lattice, setting: Setting, point: Point) -> dict[str, list[str | None]]:
    """Exponents after one step, as texts, or None; and of what they are the exponent, or why there is none."""
    rows = expected(lattice.problem(setting.block_depth, setting.optimizer, point, 1))
    answer: dict[str, list[str | None]] = {}
    for name, row in ROWS.items():
        exact, because = rows[row].exact, rows[row].because
        if name == "initial" and exact is not None and exact > 0:
            exact, because = None, f"log(1 + square) grows like L^({2 * exact}): faster than any power of L"
        answer[name] = [_text(exact), because]
    return answer


def _text(value: Fraction | None) -> str | None:
    return None if value is None else str(value)


def number(value: float) -> float | None:
    """A number as the page keeps it, with four digits; None if it is none."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def numbers(values: np.ndarray) -> list[Any]:
    """The same of an array of any shape."""
    return [numbers(v) if np.ndim(v) else number(float(v)) for v in values]
