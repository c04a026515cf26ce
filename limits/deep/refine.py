"""Refine panels until two resolutions agree.

A result is returned with its measured difference from a finer one, not with a guess: at every refinement the error falls
by orders of magnitude, so the difference is the error of the coarser result to a few percent. The coarser one is returned.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from limits.panels import Panels
from limits.training import DivergedError, checked_kernels

FIRST_ORDER = 4
MOST_FIRST_PANELS = 8
HIGHEST_ORDER = 11
MOST_DIVERGED = 4
GRADING = 6.0 ** -np.arange(1, 8)
"""Narrowing panels; below 1e-6 digits are lost by cancellation in uv - c^2."""
COARSE = 0.3
"""Largest tail at which more nodes pay better than narrower panels."""
RESOLVED = 1e-2
"""Largest tail at which two levels that agree are believed: narrow layers can hide from both."""
ROUND_OFF = 8 * np.finfo(float).eps


class UnconvergedError(ArithmeticError):
    """The equations on some panel could not be solved: panels too wide for this problem.

    Attributes:
        untrained: whether this was already so before any training.
    """

    def __init__(self, untrained: bool = False) -> None:
        super().__init__()
        self.untrained = untrained


@dataclass(frozen=True)
class Level:
    """A result at one resolution.

    Attributes:
        outputs: shape (T + 1, samples, d_out).
        kernels: recorded arrays by name.
        tails: highest Legendre coefficients of each panel, relative to the function's size: how well it is resolved.
    """

    panels: Panels
    outputs: np.ndarray
    kernels: dict[str, Any]
    tails: np.ndarray


@dataclass(frozen=True)
class Refined:
    """The returned level with the errors measured against the next.

    Attributes:
        error: of the outputs, elementwise.
        worst: largest error of outputs or kernels over `scale`, what is held against the tolerance.
        met: whether that is at most the tolerance.
        levels: how many resolutions were computed.
        points: of every cloud, where expectations are over such.
    """

    level: Level
    error: np.ndarray
    worst: float
    met: bool
    levels: int
    points: int | None = None


@dataclass
class Refinement:
    """The state of a refinement; kept so that an interrupted one can hand over what it has."""

    tol: float
    most_nodes: int
    first: Panels
    levels: int = 0
    nodes: int = 0
    best: Refined | None = None
    last: Level | None = field(default=None, repr=False)

    def run(self, at: Callable[[Panels], Level]) -> Refined:
        """Compute levels until the tolerance is met or the panels would hold more than `most_nodes` nodes.

        Raises:
            UnconvergedError: not even one level could be computed.
            DivergedError: outputs left the range of numbers on panel after panel, not only on too wide ones.
        """
        panels, diverged, everywhere, untrained = self.first, 0, False, False
        while len(panels.nodes) <= self.most_nodes:
            try:
                level = at(panels)
            except (UnconvergedError, DivergedError) as fault:
                diverged += isinstance(fault, DivergedError)
                untrained = isinstance(fault, UnconvergedError) and fault.untrained
                if diverged > MOST_DIVERGED:
                    raise
                panels, everywhere = _split(panels, np.ones(panels.count, bool)), True
                continue
            checked_kernels(level.kernels | {"states": level.tails})
            self.levels, self.nodes = self.levels + 1, max(self.nodes, len(panels.nodes))
            if self.last is not None:
                self.best = self._compare(self.last, level)
                if self.best.met and everywhere:
                    return self.best
            confirm = self.best is not None and self.best.met
            self.last = level
            panels, everywhere = (higher(panels), True) if confirm else finer(level)
        if self.last is None:
            raise UnconvergedError(untrained)
        return self.best or self.unchecked(self.last)

    def unchecked(self, level: Level) -> Refined:
        """A level with nothing to compare it to: its error is unknown."""
        return Refined(level, np.full_like(level.outputs, np.inf), np.inf, False, self.levels)

    def _compare(self, coarse: Level, fine: Level) -> Refined:
        difference = np.abs(coarse.outputs - fine.outputs)
        size = np.abs(fine.outputs).max((1, 2), keepdims=True)
        floor = np.maximum(0.03 * difference.max((1, 2), keepdims=True), ROUND_OFF * np.maximum.accumulate(size))
        error = np.maximum(difference, floor)
        worst = error.max() / max(1.0, size.max())
        resolved = fine.tails.max(initial=0.0) <= RESOLVED
        for name, kernel in coarse.kernels.items():
            if kernel is not None and np.ndim(kernel) > 1:
                other = fine.kernels[name]
                worst = max(worst, np.abs(kernel - other).max(initial=0.0) / np.abs(other).max(initial=1.0))
        return Refined(coarse, error, float(worst), bool(worst <= self.tol and resolved), self.levels)


def first_panels(positions: np.ndarray, *, graded: bool = False) -> Panels:
    """Panels to begin with: edges at the recorded positions, where collocation is most accurate, if they are few.

    Graded ones narrow towards p = 0, where kernels of one input at several steps coincide and are singular for kinked
    nonlinearities.
    """
    edges = np.unique(np.concatenate([[0.0, 0.5, 1.0], positions]))
    few = len(edges) <= MOST_FIRST_PANELS + 1 and np.diff(edges).min() > 1e-2
    edges = edges if few else np.linspace(0.0, 1.0, 5)
    if graded:
        edges = np.concatenate([[0.0], edges[1] * GRADING[::-1], edges[1:]])
    return Panels(edges, FIRST_ORDER)


def finer(level: Level) -> tuple[Panels, bool]:
    """Panels for the next level, and whether they are finer everywhere, as a difference that counts as an error must be.

    More nodes where all panels are alike, else the worst panels halved.
    """
    panels, tails = level.panels, level.tails
    worst = tails.max(initial=0.0)
    marked = tails >= worst / 30
    if marked.mean() <= 0.5:
        return _split(panels, marked), False
    if worst < COARSE and panels.order < HIGHEST_ORDER:
        return higher(panels), True
    return _split(panels, np.ones_like(marked)), True


def higher(panels: Panels) -> Panels:
    """Panels with two more nodes each."""
    return Panels(panels.edges, panels.order + 2)


def _split(panels: Panels, marked: np.ndarray) -> Panels:
    middles = (panels.edges[:-1] + panels.edges[1:])[marked] / 2
    return Panels(np.sort(np.concatenate([panels.edges, middles])), panels.order)


def tails(panels: Panels, *fields: np.ndarray) -> np.ndarray:
    """The highest two Legendre coefficients on each panel over the largest value anywhere, shape (panels,)."""
    worst = np.zeros(panels.count)
    for values in fields:
        at_nodes = values.reshape(panels.count, panels.order, -1)
        size = np.abs(at_nodes).max(initial=0.0)
        if size > 0:
            top = np.einsum("kq,pqs->pks", panels.to_coefficients[-2:], at_nodes)
            worst = np.maximum(worst, np.abs(top).max((1, 2), initial=0.0) / size)
    return worst
