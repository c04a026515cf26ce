r"""What is fitted to networks of several sizes: curves against the number of blocks, and increments over depth."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from limits.compare import resolution, slopes
from limits.compare.expected import FEATURES, GROWTH, OUTPUTS, SHARE, expected
from limits.compare.resolution import RANGE
from limits.compare.slopes import EPSILONS, Estimate
from limits.optimizers import SGD
from limits.problem import Problem

WINDOW = 8
"""How many times fewer blocks than the largest the smallest network has that enters a fit."""
SHALLOWEST = 16
"""Blocks below which increments over depth say nothing about small distances."""


def first_fitted(sizes: Any, fit_from: int | None) -> float:
    """The smallest of the sizes that a fit takes."""
    return max(sizes, default=0) / WINDOW if fit_from is None else fit_from


@dataclass(frozen=True)
class Fit:
    """An estimate; sizes, mean logarithms and their errors, shape (3, points); which were fitted; or why there is no estimate."""

    estimate: Estimate
    curve: np.ndarray
    fitted: np.ndarray
    missing: str = ""


def fitted_slope(found: Mapping[int, Any], logs: np.ndarray, reasons: list[str], fit_from: int | None) -> Fit:
    """The slope of curves, logarithms of shape (sizes, seeds), over those sizes that tell it and are not too small."""
    finite = np.all(np.isfinite(logs), axis=1)
    said = {L: why or ("" if there else RANGE) for L, why, there in zip(found, reasons, finite, strict=True)}
    telling = np.array([not why for why in said.values()])
    sizes, kept = np.array(list(found), float)[telling], logs[telling]
    fitted = sizes >= first_fitted(sizes, fit_from)
    if np.count_nonzero(fitted) > 1:
        return Fit(slopes.slope(np.log(sizes[fitted]), kept[fitted]), mean_log(sizes, kept), fitted)
    why = resolution.sentence(said) or "fewer than two numbers of blocks enter the fit: add larger ones"
    return Fit(Estimate.unknown(), mean_log(sizes, kept), fitted, why)


Moved = Mapping[int, tuple[np.ndarray, np.ndarray]]
"""By number of blocks, spans and logarithms of increments over them, shape (seeds, spans), beside those of the whole depth."""


def increments_of(found: Mapping[int, Mapping[str, np.ndarray]], reasons: list[str]) -> Moved:
    """The increments over depth of those sizes that tell them."""
    with np.errstate(all="ignore"):
        logs = {L: np.log(each["increments"] / each["features"][:, None]) for L, each in found.items()}
    telling = [L for L, why in zip(found, reasons, strict=True) if not why and np.all(np.isfinite(logs[L]))]
    return {L: (found[L]["spans"], logs[L]) for L in telling}


def fitted_diversity(problem: Problem, sizes: tuple[int, ...], moved: Moved, reasons: list[str], fit_from: int | None) -> Fit:
    """Kappa, from increments over spans of depth, of the three largest networks."""
    first = max(first_fitted(sizes, fit_from), SHALLOWEST)
    last = np.array([L for L in moved if first <= L][-3:])
    if len(last) < 2:
        said = {L: why or ("" if L in moved else RANGE) for L, why in zip(sizes, reasons, strict=True) if first <= L}
        why = f"kappa needs two numbers of blocks from {first:g} on: " + (resolution.sentence(said) or "add larger ones")
        return Fit(Estimate.unknown(), np.zeros((3, 0)), np.zeros(0, bool), why)
    spans, values = ([moved[L][i] for L in last] for i in (0, 1))
    epsilons = slopes.shared_epsilons(last.astype(float), spans)
    estimate = slopes.diversity(last.astype(float), spans, [np.exp(2 * v) for v in values], order_of_noise(problem))
    curve = mean_log(spans[-1] / last[-1], values[-1].T)
    return Fit(estimate, curve, np.isin(curve[0], epsilons), "" if np.isfinite(estimate.value) else _unknown_kappa(epsilons))


def _unknown_kappa(epsilons: np.ndarray) -> str:
    if len(epsilons) < EPSILONS:
        return f"kappa needs {EPSILONS} distances in depth that all sizes share: take powers of two times one number of blocks"
    return "increments, extrapolated to infinite depth, are not positive: take more seeds, or more blocks"


def curves(problem: Problem, found: Mapping[int, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What is fitted against log L, row by row, shape (sizes, seeds): logarithms, not finite where numbers left their range."""
    each = {name: np.stack([answer[name] for answer in found.values()]) for name in ("initial", "features", "outputs", "first")}
    rest, updates, error = (np.stack([answer[name] for answer in found.values()]) for name in ("rest", "updates", "error"))
    model, descends = problem.model, isinstance(problem.optimizer, SGD)
    powers = (1.0, 0.75, 0.5) if descends else (0.5, 0.25, 0.0)
    with np.errstate(all="ignore"):
        growth = np.log1p(each["initial"] ** 2)
        unit = np.log(error) if descends else np.zeros_like(error)
        if model.layer_norm:
            logs = {GROWTH: np.log(each["initial"])}
        else:
            logs = {GROWTH: np.log(growth) / 2 if model.centred else np.log(np.log1p(each["initial"]))}
        others = 1 - 1 / np.array(list(found), float)[:, None]
        seen = growth * others
        moved = ((FEATURES, "features"), (OUTPUTS, "outputs"))
        logs |= {name: np.log(each[key]) - powers[0] * seen - unit for name, key in moved}
        for i in range(model.block_depth):
            logs[f"update of layer {i + 1}"] = np.log(updates[:, :, i]) - powers[1] * seen - unit
        if SHARE in expected(problem):
            logs[SHARE] = np.log(rest / each["first"]) - powers[2] * seen - unit
    return logs


def order_of_noise(problem: Problem) -> float:
    """r, where what is left of the noise of initial blocks after L of them is of relative order L^-r; 1 if all of it is."""
    alpha, _, betas = problem.parametrization.layers(problem.model.block_depth)
    return float(2 * (alpha + sum(betas)) - 1) if alpha + sum(betas) > Fraction(1, 2) else 1.0


def mean_log(sizes: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """Sizes, means over seeds of logarithms (sizes, seeds), and their standard errors, shape (3, sizes)."""
    return np.stack([sizes, logs.mean(1), logs.std(1, ddof=1) / logs.shape[1] ** 0.5])
