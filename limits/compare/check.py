"""What `measure_exponents` found: exponents beside the exact ones, their verdicts, as text and in terms of JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from limits.compare.slopes import Estimate
from limits.markup import columns, listed
from limits.problem import Problem

CONFIDENCE = 0.95
"""Of the interval of a row alone."""


@dataclass(frozen=True, eq=False)
class Row:
    r"""One exponent.

    Attributes:
        name: what grows.
        measured: the estimate, over seeds.
        exact: by the calculus of exponents; None where there is none.
        because: what the exact one is, or why there is none.
        sizes: what it was fitted over: numbers of blocks, or for the diversity distances $\varepsilon$ in depth.
        curve: the mean over seeds of the logarithm of what was measured, at every size that was finite.
        spread: its standard error.
        fitted: which of the sizes entered the fit.
        margin: half of the interval that holds for all rows together, at the error rate of the check.
        tolerance: of the check.
        missing: why there is no estimate; empty where there is one.

    >>> from limits import DEPTH_MUP, SGD, ResNet, compare
    >>> one = Problem(ResNet("tanh"), DEPTH_MUP, SGD(0.1, steps=1), [[1.0, 0.4]], [[1.0]])
    >>> check = compare.measure_exponents(one, width=8, blocks=(8, 16), seeds=3)
    >>> row = check["features"]
    >>> row.name, str(row.exact), row.sizes, row.verdict
    ('features', '0', array([ 8., 16.]), 'unresolved')
    """

    name: str
    measured: Estimate
    exact: Fraction | None
    because: str
    sizes: np.ndarray
    curve: np.ndarray
    spread: np.ndarray
    fitted: np.ndarray
    margin: float
    tolerance: float
    missing: str = ""

    def __repr__(self) -> str:
        low, high = self.interval
        found = self.missing or f"{self.measured.value:+.3f} [{low:+.3f}, {high:+.3f}]"
        return listed("Row", [f"{self.name}: {found}", f"exact {self.exact}", self.verdict or "not judged"])

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of this row alone."""
        return self.measured.interval(CONFIDENCE)

    @property
    def verdict(self) -> str:
        """Pass, fail, unresolved, or "" where there is nothing to compare with."""
        if self.exact is None:
            return ""
        off = abs(self.measured.value - float(self.exact))
        if off > self.tolerance + self.margin:
            return "fail"
        return "pass" if off <= self.tolerance and self.margin <= 2 * self.tolerance else "unresolved"

    def to_json(self) -> dict[str, Any]:
        """The row in terms of JSON; the exact exponent is text, what is not finite is null."""
        numbers = {"measured": self.measured.value, "standard_error": self.measured.error, "margin": self.margin}
        curve = {"sizes": self.sizes, "log_mean": self.curve, "standard_errors": self.spread}
        exact = None if self.exact is None else str(self.exact)
        return {
            "name": self.name,
            **{key: _finite(value) for key, value in numbers.items()},
            "interval_95": [_finite(end) for end in self.interval],
            "exact": exact,
            "because": self.because,
            "verdict": self.verdict,
            "missing": self.missing or None,
            "curve": {key: [_finite(v) for v in value] for key, value in curve.items()} | {"fitted": self.fitted.tolist()},
        }


@dataclass(frozen=True, eq=False)
class ExponentCheck:
    r"""Measured exponents beside the exact ones, and whether they agree; printing it prints the table.

    A row passes if its estimate is within `tolerance` of the exact exponent, the interval that holds for all rows together
    reaching at most twice as far. It fails if even that interval keeps away from everything within the tolerance: where every
    quantity is a power law up to the tolerance over the fitted sizes, any row does so with probability `error_rate` at most,
    and an exponent that is off by three tolerances passes with no larger one. Between the two it is unresolved: more seeds,
    wider or deeper networks will tell.

    Attributes:
        problem: what was measured.
        blocks: numbers of blocks.
        rows: the exponents.
        tolerance: of an exponent.
        error_rate: of the check as a whole (Bonferroni).
        increments: by number of blocks, distances in depth, rms increments of what training has added to the features over them,
            and their standard errors, shape (3, spans).
        meta: width, seeds, steps, ….

    >>> from limits import DEPTH_MUP, SGD, ResNet, compare
    >>> one = Problem(ResNet("tanh"), DEPTH_MUP, SGD(0.1, steps=1), [[1.0, 0.4]], [[1.0]])
    >>> check = compare.measure_exponents(one, width=8, blocks=(8, 16), seeds=3)
    >>> [row.name for row in check.rows]
    ['initial growth', 'features', 'outputs', 'update of layer 1', 'second order', 'diversity']
    >>> check.verdict, check.passed  # too few and too small networks to tell
    ('unresolved', False)
    """

    problem: Problem
    blocks: tuple[int, ...]
    rows: tuple[Row, ...]
    tolerance: float
    error_rate: float
    increments: Mapping[int, np.ndarray]
    meta: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """Fail if any row fails, unresolved if any is unresolved or none has an exact exponent, else pass."""
        verdicts = [row.verdict for row in self.rows if row.verdict]
        return next((worst for worst in ("fail", "unresolved") if worst in verdicts), "pass" if verdicts else "unresolved")

    @property
    def passed(self) -> bool:
        return self.verdict == "pass"

    def __getitem__(self, name: str) -> Row:
        found = {row.name: row for row in self.rows}
        if name not in found:
            raise KeyError(f"there is no exponent {name!r}: there are {', '.join(found)}")
        return found[name]

    def __repr__(self) -> str:
        judged = [(row, "unknown" if row.missing else f"{row.measured.value:.2f}") for row in self.rows if row.verdict]
        first, *others = [f"{row.name} {value} (exact {row.exact})" for row, value in judged] or ["nothing is judged"]
        return listed("ExponentCheck", [f"{self.verdict}: {first}", *others])

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """Every row: measured, its 95 % interval, exact, verdict, and what it is."""
        head = ("exponent of", "measured", "95 % interval", "exact", "verdict", "")
        cells = [head, *(_cells(row) for row in self.rows)]
        return "\n".join([columns(cells), "", self.conclusion])

    @property
    def conclusion(self) -> str:
        """The verdict in one sentence, with its error rate."""
        judged = [row for row in self.rows if row.exact is not None]
        said = {name: [row.name for row in judged if row.verdict == name] for name in ("fail", "unresolved")}
        names = "; ".join(f"{name}: {', '.join(rows)}" for name, rows in said.items() if rows)
        if not judged:
            return f"{self.verdict.upper()}: there is no exact exponent to compare with"
        within = "within" if self.passed else "to be within"
        exponents = f"{len(judged)} exponent{'s' * (len(judged) > 1)}"
        return (
            f"{self.verdict.upper()}{f' ({names})' if names else ''}: {exponents} {within} {self.tolerance:g}, "
            f"a true one fails with probability at most {self.error_rate:g} in all"
        )

    def to_json(self) -> dict[str, Any]:
        """Everything but the networks, in terms of JSON."""
        p = self.problem.parametrization
        exponents = {"alpha": str(p.alpha), "gamma": _text(p.gamma), "initial": _text(p.initial)}
        increments = {str(L): [[_finite(v) for v in row] for row in rows] for L, rows in self.increments.items()}
        return {
            "verdict": self.verdict,
            "tolerance": self.tolerance,
            "error_rate": self.error_rate,
            **exponents,
            "blocks": list(self.blocks),
            "meta": dict(self.meta),
            "rows": [row.to_json() for row in self.rows],
            "increments": increments,
        }


def _cells(row: Row) -> tuple[str, ...]:
    low, high = row.interval
    exact = "-" if row.exact is None else str(row.exact)
    if row.missing:
        return row.name, "-", "-", exact, row.verdict or "-", f"unresolved: {row.missing}"
    return row.name, f"{row.measured.value:+.3f}", f"[{low:+.3f}, {high:+.3f}]", exact, row.verdict or "-", row.because


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _text(exponents: Any) -> Any:
    return [str(e) for e in exponents] if isinstance(exponents, tuple) else str(exponents)
