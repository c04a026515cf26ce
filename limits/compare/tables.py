"""What `transfer` found, as text and in terms of JSON."""

from collections.abc import Iterable, Iterator, Mapping
from math import isinf
from typing import TYPE_CHECKING, Any

import numpy as np

from limits.compare.optimum import Optimum, Slope
from limits.markup import columns

if TYPE_CHECKING:
    from limits.compare.curves import Curve, Transfer

SHARP = 1e-4
"""Standard error, in doublings, below which an optimum is printed with its digits instead of an interval."""
WITHIN = 0.1
"""The sublevel set of a table: losses of at most so much more than the smallest."""
MISSING = {
    "lowest": "at the lower edge, {:.3g}",
    "highest": "at the upper edge, {:.3g}",
    "flat": "none: the loss does not depend on it",
    "unresolved": "none: no loss was resolved",
    "none": "none: all diverged",
}
NOWHERE = {
    "flat": "the loss after training is the same at every {}",
    "unresolved": "the loss is resolved to the tolerance at no {}",
    "none": "training diverges at every {}",
}
"""Why there is no optimum on any curve."""
AXES = {"lr": "learning rate", "multiplier": "multiplier"}


def size(blocks: float) -> str:
    """A number of blocks, ∞ for the limit."""
    return "∞" if isinf(blocks) else f"{blocks:.0f}"


def place(best: Optimum) -> str:
    """An optimum with its 95 % interval, or with its digits, or why there is none.

    >>> place(Optimum(0.5, 0.1, 1.0, "inside", np.zeros(0)))
    '0.5 [0.436, 0.573]'
    """
    if not best.known:
        return MISSING[best.where].format(best.at)
    if not np.isfinite(best.error):
        return f"{best.at:.3g}"
    low, high = best.interval()
    return f"{best.at:.7g}" if best.error < SHARP else f"{best.at:.3g} [{low:.3g}, {high:.3g}]"


def nowhere(answer: "Transfer", curves: Iterable["Curve"]) -> str:
    """Why curves have no optimum: the same reason for all of them, or that of a grid."""
    wheres = {best.where for curve in curves for best in curve.optima}
    if len(wheres) == 1 and (where := wheres.pop()) in NOWHERE:
        return NOWHERE[where].format(AXES[answer.axis])
    return "fewer than two optima inside the grid"


def table(answer: "Transfer") -> str:
    """Optima, losses, drifts and verdicts."""
    rows, lines = (_map_rows(answer), _slopes(answer)) if answer.is_map else (_rows(answer), _drifts(answer))
    missing = [f"{name}: no limit: {why}" for name, why in answer.no_limit.items()]
    return "\n".join([columns(rows), "", *lines, *missing, *_rivals(answer), *_unresolved(answer)]).rstrip()


def _rows(answer: "Transfer") -> list[tuple[str, ...]]:
    rows = [("parametrization", "blocks", f"best {AXES[answer.axis]}", "loss there", "per doubling")]
    for name in answer.names:
        drift = answer.drift(name)
        steps = {} if drift is None else dict(zip(drift.x[1:], zip(drift.steps, drift.step_errors, strict=True), strict=True))
        for n, curve in enumerate(answer.of(name)):
            best = curve.optima[0]
            moved, spread = steps.get(np.log2(curve.blocks), (None, 0.0))
            text = "" if moved is None else f"{moved:+.3f}" + (f" ± {spread:.3f}" if spread > 1e-3 else "")
            rows.append((name if n == 0 else "", size(curve.blocks), place(best), f"{best.loss:.6g}", text))
    return rows


def _drifts(answer: "Transfer") -> Iterator[str]:
    """The verdict of every name; of optima with errors the drift before it, which is no interval where there is no chance."""
    for name in answer.names:
        drift = answer.drift(name)
        curves = [curve for curve in answer.of(name) if not isinf(curve.blocks)]
        left = [size(curve.blocks) for curve in curves if not curve.optima[0].known]
        out = f" (without L = {', '.join(left)})" if left else ""
        if drift is not None:
            if not answer.is_exact(name):
                axis = AXES[answer.axis]
                yield f"{name}: the best {axis} moves by a factor 2^({drift}) per doubling of the blocks, 95 %{out}"
            yield f"{name}: {answer.verdict(name)}{out if answer.is_exact(name) else ''}"
        elif curves:
            yield f"{name}: no drift, {nowhere(answer, curves)}"


def _map_rows(answer: "Transfer") -> list[tuple[str, ...]]:
    rows = [("parametrization", "blocks", "smallest loss", "at learning rate", "and multiplier", "edge of sublevel set")]
    for name in answer.names:
        slopes = answer.sublevel_slope(name, within=WITHIN)
        for n, curve in enumerate(answer.of(name)):
            slope = f"lr ~ a^({slopes[curve.blocks]})" if curve.blocks in slopes else "unknown: too few inside the grid"
            rows.append((name if n == 0 else "", size(curve.blocks), *_smallest(answer, curve), slope))
    return rows


def _smallest(answer: "Transfer", curve: "Curve") -> tuple[str, str, str]:
    """The smallest loss of a map, at which learning rate and multiplier; or why there are none."""
    lowest = np.min(curve.mean, where=np.isfinite(curve.mean), initial=np.inf)
    wheres = {best.where for best in curve.optima}
    if wheres == {"flat"}:
        return f"{lowest:.6g}", "any", "any"
    if not np.isfinite(lowest):
        return "unknown", MISSING["none" if "none" in wheres else "unresolved"], "none"
    a, r = np.argwhere(curve.mean == lowest)[0]
    return f"{lowest:.6g}", f"{answer.lrs[r]:.3g}", f"{answer.multipliers[a]:.3g}"


def _slopes(answer: "Transfer") -> Iterator[str]:
    yield f"edge: the largest learning rate with a loss within {WITHIN:.0%} of the smallest, 95 %"
    for name in answer.names:
        slopes = answer.sublevel_slope(name)
        said = ", ".join(f"{slope} at L = {size(L)}" for L, slope in slopes.items())
        yield f"{name}: the largest learning rate that lowers the loss ~ a^s, s = {said or 'unknown: too few inside the grid'}"


def _rivals(answer: "Transfer") -> Iterator[str]:
    for name in answer.names:
        found = {curve.blocks: curve.optima[0].rivals for curve in answer.of(name) if not answer.is_map}
        said = [f"at {', '.join(f'{at:.3g}' for at in rivals)} for L = {size(L)}" for L, rivals in found.items() if rivals]
        if said:
            yield f"{name}: other minima come within 10% of the smallest loss, {'; '.join(said)}"


def _unresolved(answer: "Transfer") -> Iterator[str]:
    for curve in answer.curves:
        if count := int(np.isnan(curve.losses).sum()):
            were = "loss was" if count == 1 else "losses were"
            yield f"{curve.name}, L = {size(curve.blocks)}: {count} {were} not resolved to the tolerance and left out"


def to_json(answer: "Transfer") -> dict[str, Any]:
    """Everything but the losses of single networks; what is infinite or unknown is null, an infinite number of blocks too."""
    names = {name: _name_json(answer, name) for name in answer.names}
    value = {
        "rung": answer.rung,
        "loss": answer.measure,
        "axis": answer.axis,
        "lrs": answer.lrs,
        "multipliers": answer.multipliers,
        "meta": dict(answer.meta),
        "parametrizations": names,
        "curves": [_curve_json(curve) for curve in answer.curves],
    }
    return _plain(value)


def _name_json(answer: "Transfer", name: str) -> dict[str, Any]:
    value: dict[str, Any] = {"no_limit": answer.no_limit.get(name)}
    if not answer.is_map:
        verdict = answer.verdict(name)
        found = {"verdict": verdict.state, "because": verdict.because}
        return value | {"drift": _slope_json(answer.drift(name))} | found
    for key, within in (("stable", None), ("within_10_percent", WITHIN)):
        slopes = answer.sublevel_slope(name, within=within)
        value[f"{key}_slope"] = {size(L): _slope_json(slope) for L, slope in slopes.items()}
    return value


def _curve_json(curve: "Curve") -> dict[str, Any]:
    optima = [
        {"at": best.at, "interval_95": best.interval(), "loss": best.loss, "where": best.where, "standard_error_log2": best.error}
        | {"rivals": best.rivals}
        for best in curve.optima
    ]
    exponents = {key: getattr(curve.parametrization, key) for key in ("alpha", "gamma", "initial")}
    sizes = {"name": curve.name, **exponents, "blocks": curve.blocks}
    return sizes | {"losses": curve.mean, "standard_errors": curve.error, "optima": optima}


def _slope_json(slope: Slope | None) -> dict[str, Any] | None:
    if slope is None:
        return None
    return {"value": slope.value, "error_95": slope.error, "steps": slope.steps, "step_errors_95": slope.step_errors}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if isinstance(value, str | int) or value is None else str(value)
