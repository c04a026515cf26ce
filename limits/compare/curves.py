"""Curves of the loss after training, for every parametrization and number of blocks, and what can be read off them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isinf
from typing import Any

import numpy as np

from limits.compare.optimum import Optimum, Slope, fit_slope, joint_covariance, resampling, upper_edge
from limits.compare.tables import SHARP, nowhere, place, size, table, to_json
from limits.compare.verdict import TRANSFERS, UNDECIDED, Verdict, of_interval, of_steps
from limits.markup import listed
from limits.parametrization import Parametrization
from limits.problem import Problem


@dataclass(frozen=True, eq=False)
class Curve:
    """Loss after training of one parametrization at one number of blocks.

    Attributes:
        name: of the parametrization.
        parametrization: its exponents.
        blocks: L; inf for the limit.
        losses: shape (multipliers, learning rates, seeds), inf where training diverged, NaN where the limit was not resolved; one
            "seed" where there is no chance.
        initial: before training, shape (multipliers, seeds).
        optima: along the learning rates, one for every multiplier; where there is a single learning rate, one along multipliers.
        fine: of exact curves, a grid that is finer where losses are low, and the losses there, shape (2, points); else None.

    >>> from limits import DEPTH_MUP, SGD, ResNet, compare
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=1), [[1.0]], [[1.0]])
    >>> answer = compare.transfer(one, blocks=(4, 8), lrs=(0.1, 0.3, 1, 3), limit=False)
    >>> answer.curves[0]
    Curve(Depth-µP (alpha = gamma = 1/2); L = 4; 4 learning rates, 1 multipliers, 1 seeds; best at 0.512)
    >>> answer.curves[0].mean.round(4)
    array([[ 0.3238,  0.0857,  0.4542, 11.8068]])
    """

    name: str
    parametrization: Parametrization
    blocks: float
    losses: np.ndarray
    initial: np.ndarray
    optima: tuple[Optimum, ...]
    fine: np.ndarray | None = None

    def __repr__(self) -> str:
        multipliers, lrs, seeds = self.losses.shape
        grid = f"{lrs} learning rates, {multipliers} multipliers, {seeds} seeds"
        at = [f"best at {place(best)}" for best in self.optima] if len(self.optima) == 1 else []
        return listed("Curve", [self.name, f"L = {size(self.blocks)}", grid, *at], mark=";")

    @property
    def mean(self) -> np.ndarray:
        """Mean over seeds, shape (multipliers, learning rates)."""
        return self.losses.mean(-1)

    @property
    def error(self) -> np.ndarray:
        """Standard error of the mean, same shape; NaN for a single seed and where a seed diverged."""
        seeds = self.losses.shape[-1]
        with np.errstate(invalid="ignore"):
            return self.losses.std(-1, ddof=1) / np.sqrt(seeds) if seeds > 1 else np.full(self.losses.shape[:-1], np.nan)


@dataclass(frozen=True, eq=False)
class Transfer:
    """Curves of every parametrization and number of blocks, with their optima and how these move with the number of blocks.

    Printing it prints the table.

    Attributes:
        problem: what was trained; its learning rate, multiplier and exponents are replaced by those below. None of networks that
            are not ours, whose losses were measured elsewhere.
        rung: "finite", "wide" or "deep".
        measure: whose loss: "train" or "probe".
        lrs, multipliers: the grid, shapes (R,) and (A,).
        curves: by parametrization, then number of blocks, the limit last.
        no_limit: why there is no limit, by name of the parametrization.
        meta: sizes of the networks, seeds.

    >>> from limits import DEPTH_MUP, SGD, ResNet, compare
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=1), [[1.0]], [[1.0]])
    >>> answer = compare.transfer(one, blocks=(4, 8), lrs=(0.1, 0.3, 1, 3), limit=False)
    >>> {blocks: round(best.at, 4) for blocks, best in answer.optima().items()}
    {4: 0.512, 8: 0.4385}
    >>> answer.drift()
    Slope(-0.224 ± 0.000, 2 points)
    """

    problem: Problem | None
    rung: str
    measure: str
    lrs: np.ndarray
    multipliers: np.ndarray
    curves: tuple[Curve, ...]
    no_limit: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parametrizations."""
        return tuple(dict.fromkeys([*(curve.name for curve in self.curves), *self.no_limit]))

    @property
    def axis(self) -> str:
        """Along which the optimum is sought: "lr", or "multiplier" where there is a single learning rate."""
        return "lr" if len(self.lrs) > 1 else "multiplier"

    @property
    def places(self) -> np.ndarray:
        """The grid along the axis."""
        return self.lrs if self.axis == "lr" else self.multipliers

    @property
    def is_map(self) -> bool:
        """Whether both the learning rate and the multiplier vary."""
        return len(self.lrs) > 1 and len(self.multipliers) > 1

    def of(self, name: str | None = None) -> tuple[Curve, ...]:
        """The curves of a parametrization, in order of blocks; the name may be left out where there is only one.

        Raises:
            ValueError: no or another name than those of `names`.
        """
        if name is None and len(self.names) == 1:
            name = self.names[0]
        if name not in self.names:
            raise ValueError(f"name must be one of {', '.join(map(repr, self.names))}, got {name!r}")
        return tuple(curve for curve in self.curves if curve.name == name)

    def optima(self, name: str | None = None, multiplier: float | None = None) -> dict[float, Optimum]:
        """The optimum by number of blocks, inf for the limit; of a map, along the learning rates at one of the multipliers."""
        row = self._row(multiplier)
        return {curve.blocks: curve.optima[row] for curve in self.of(name)}

    def _row(self, multiplier: float | None) -> int:
        if not self.is_map:
            return 0
        match = np.flatnonzero(np.isclose(self.multipliers, np.nan if multiplier is None else multiplier))
        if not len(match):
            raise ValueError(f"multiplier must be one of {self.multipliers.tolist()}, got {multiplier!r}")
        return int(match[0])

    def drift(self, name: str | None = None, multiplier: float | None = None) -> Slope | None:
        r"""How fast the optimum moves: the slope of $\log_2$ optimum against $\log_2 L$, that is, per doubling of the blocks.

        Optima at an edge of the grid are left out, and so is the limit. None where fewer than two are left.
        """
        found = {L: best for L, best in self.optima(name, multiplier).items() if best.known and not isinf(L)}
        if len(found) < 2:
            return None
        errors = np.array([best.error for best in found.values()])
        covariance = joint_covariance(errors, [best.resampled for best in found.values()])
        return fit_slope(np.log2(list(found)), np.log2([best.at for best in found.values()]), covariance)

    def is_exact(self, name: str | None = None, multiplier: float | None = None) -> bool:
        """Whether optima are known to many digits, so that no chance is in them; the limit's does not count."""
        return all(best.error < SHARP for L, best in self.optima(name, multiplier).items() if best.known and not isinf(L))

    def verdict(self, name: str | None = None, multiplier: float | None = None) -> Verdict:
        r"""Whether the optimum "transfers", "moves", or that is "not decided" at these numbers of blocks, and why.

        Of exact curves the last two steps of $\log_2$ optimum per doubling decide: it transfers if the last is at most 0.72 times
        the one before, so that they sum, and moves if it is at least 0.8 times. Of networks and samples of neurons the 95 %
        interval of the drift does: it transfers within ±0.15, and moves beyond. Where an optimum lies at an edge of the grid it
        is not said to transfer.

        >>> from limits import DEPTH_MUP, SGD, ResNet
        >>> from limits.compare import transfer
        >>> inputs, targets = [[1.0, 0.4], [-0.5, 1.2], [0.8, -0.9]], [[1.0], [-0.6], [0.3]]
        >>> problem = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=2), inputs, targets)
        >>> both = {"scaled": DEPTH_MUP, "not scaled": Parametrization("1/2", 0)}
        >>> answer = transfer(problem, blocks=(8, 16, 32), lrs=(0.03, 0.1, 0.3, 1, 3), parametrizations=both)
        >>> answer.verdict("scaled").state, answer.verdict("not scaled").state
        ('transfers', 'moves')
        """
        drift, row = self.drift(name, multiplier), self._row(multiplier)
        curves = [curve for curve in self.of(name) if not isinf(curve.blocks)]
        if drift is None:
            return Verdict(UNDECIDED, f"no drift, {nowhere(self, curves)}" if curves else "there is no finite number of blocks")
        known = [curve.optima[row] for curve in curves if curve.optima[row].known]
        found = of_steps(drift) if self.is_exact(name, multiplier) else of_interval(drift)
        if len(known) < len(curves) and found.state == TRANSFERS:
            left = ", ".join(size(curve.blocks) for curve in curves if not curve.optima[row].known)
            return Verdict(UNDECIDED, f"{found.because}, but there is no optimum inside the grid at L = {left}: widen the grid")
        return found

    def sublevel_slope(self, name: str | None = None, *, within: float | None = None) -> dict[float, Slope]:
        r"""The slope $d\log\eta / d\log a$ of the upper edge of a sublevel set of the loss over learning rate and multiplier.

        The edge is the largest learning rate at which training still lowers the loss, or, with `within`, at which the loss is at
        most 1 + within times the smallest of all at that number of blocks. Multipliers whose edge lies outside the grid are left
        out, and numbers of blocks with fewer than two others.

        Returns:
            By number of blocks, inf for the limit.

        Raises:
            ValueError: the learning rate and the multiplier do not both vary.

        Source: TP6, Figure 7, where it goes from -2 to -1 with depth for blocks of two layers.
        """
        if not self.is_map:
            raise ValueError("the slope of a sublevel set needs several learning rates and several multipliers")
        slopes = {curve.blocks: _edge_slope(curve, self.lrs, self.multipliers, within) for curve in self.of(name)}
        return {L: slope for L, slope in slopes.items() if slope is not None}

    def __repr__(self) -> str:
        sizes = sorted({curve.blocks for curve in self.curves})
        blocks = ", ".join("∞" if isinf(L) else str(L) for L in sizes)
        counts = {"learning rates": len(self.lrs), "multipliers": len(self.multipliers)}
        grid = ", ".join(f"{count} {what}" for what, count in counts.items() if count > 1)
        drifts = {} if self.is_map else {name: self.drift(name) for name in self.names}
        said = [f"{name}: {drift} per doubling, {self.verdict(name).state}" for name, drift in drifts.items() if drift]
        return listed("Transfer", [f"{self.rung}, L = {blocks}, {grid}", *said], mark=";")

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """Optima, losses, drifts and verdicts, as text."""
        return table(self)

    def to_json(self) -> dict[str, Any]:
        """Curves, optima, drifts and verdicts in terms of JSON; what is infinite or unknown is null."""
        return to_json(self)


def _edge_slope(curve: Curve, lrs: np.ndarray, multipliers: np.ndarray, within: float | None) -> Slope | None:
    resamples = resampling(curve.losses.shape[-1])
    lowest = np.min(curve.mean, initial=inf, where=np.isfinite(curve.mean))
    edges, errors, moved = [], [], []
    for row, initial in zip(curve.losses, curve.initial, strict=True):
        level = initial.mean() if within is None else (1 + within) * lowest
        edge, error = upper_edge(lrs, row.mean(1)[None], level)
        again = upper_edge(lrs, row.T[resamples].mean(1), level)[0] if len(resamples) else np.zeros(0)
        edges.append(edge[0])
        errors.append(error[0])
        moved.append(np.where(np.isnan(again), 0.0, again - edge[0]))
    there = np.flatnonzero(np.isfinite(edges))
    if len(there) < 2:
        return None
    spread = np.array([np.std(moved[i]) if len(moved[i]) else 0.0 for i in there])
    covariance = joint_covariance(np.hypot(np.array(errors)[there], spread), [moved[i] for i in there])
    return fit_slope(np.log2(multipliers[there]), np.array(edges)[there], covariance)
