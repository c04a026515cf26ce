r"""The causal Gaussian system over depth at $\alpha = 1/2$, marched over Gauss-Legendre panels.

One pass solves a linear ODE in $p$ for the row and noise integral of the new states (`limits.semiseparable`), from
$p = 0$ for $x$ and from $p = 1$ for $\delta$. On each panel the collocation equations are solved by Picard iteration,
which contracts like panel width times learning rate; where it does not, as one linear system, which always works.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy.linalg import LinAlgWarning, lu_factor, lu_solve

from limits.deep.refine import Level, UnconvergedError, tails
from limits.directions import trained_directions
from limits.kernels import sample_kernels
from limits.linear import LinearStates
from limits.panels import Panels
from limits.problem import Problem
from limits.record import Record
from limits.semiseparable import Array, CausalSystem, Fields, Pass, Ready, Side, symmetric, transposed
from limits.training import evolve

ROUND_OFF = 4 * np.finfo(float).eps
LARGEST_DIRECT = 700
MOST_ITERATIONS = 60
REFINEMENTS = 3
SLOWEST_CONTRACTION = 0.6
STALLED, OFTEN = 1e3 * ROUND_OFF, 3
"""Where an iteration that no longer contracts has converged; where curvatures of kinked nonlinearities magnify round-off, so many
such steps at a `Marcher.stalled` of one's own."""

Values = Sequence[Array]
Change = Callable[[Values, bool], list[Array]]
"""The rate of change of (row, integral, …) at a panel's nodes; without its source that of states alike is linear."""
ChangeAt = Callable[[slice, Values, bool], list[Array]]
"""The same for the panel with those nodes."""


def linear_level(problem: Problem, panels: Panels, record: Record, moving: int, done: Callable[[int], None]) -> Level:
    """The limit of linear blocks at alpha = 1/2 on given panels; `moving` of their layers learn."""
    basis = trained_directions(problem)
    marks = np.append(record.depths, [0.0, 1.0])
    accumulate = panels.integrate(marks)
    a2, r, d = problem.model.multiplier**2, basis.count, problem.d_out
    sizes: dict[str, Any] = {"forward": r * (problem.steps + 1), "backward": d * problem.steps}
    system = CausalSystem(len(panels.nodes), accumulate, **sizes, units=(r, d))
    rates = {"noise": a2, "drift": a2 * moving}
    states = LinearStates(problem, basis, system, Marcher(panels, accumulate), **rates)
    outputs, chi = evolve(problem, states, lambda t, _: done(t))
    placing, outside = np.eye(len(record.depths), len(marks))[:, :-2], np.exp(a2 * marks[:-2])
    with np.errstate(over="ignore", invalid="ignore"):
        kernels = sample_kernels(states, problem, basis, chi, record, placing, outside)
    return Level(panels, outputs, kernels, system_tails(system, panels))


def system_tails(system: CausalSystem, panels: Panels) -> Array:
    """How well the panels resolve the system: `tails` of its propagator and kernel in units of the states."""
    scale = system.scale
    return tails(panels, system.phi * (scale / scale[:, None]), system.kernel / (scale * scale[:, None]))


@dataclass(frozen=True)
class Marcher:
    """Solves passes on given panels.

    Attributes:
        panels: where the fields are held.
        accumulate: integrals from 0 to the recorded positions, to 0 and to 1, shape (M + 2, nodes).
        stalled: where an iteration that repeatedly no longer contracts has converged.
    """

    panels: Panels
    accumulate: Array
    stalled: float = STALLED

    def __call__(self, system: CausalSystem, ready: Ready) -> Pass:
        side = ready.side
        begin = ready.boundary @ system.phi_at_start(side)
        start = system.start(ready, begin)
        nodes = self._march(system, ready, begin, start)
        now = system.fields(ready, slice(None), nodes)
        slope = side.sign * now.slope
        row_at, integral_end = self._ends(side, begin, slope, now.noise - now.damped)
        if ready.growth is None:
            variance, own = nodes[2], now.own
        else:
            variance = self._variance(side, ready.growth, start, drift(now))
            own = ready.growth * variance
        return Pass(nodes[0], nodes[1], variance, now.noise, own, row_at, begin, integral_end)

    def _march(self, system: CausalSystem, ready: Ready, begin: Array, start: Array) -> list[Array]:
        """Row, integral and, without a growth, covariance of the new states at all nodes."""
        edge = [begin, np.zeros_like(begin)] + ([start] if ready.growth is None else [])
        source_free = replace(ready, unit=np.zeros((1, 1)))
        own = np.sqrt(np.diagonal(start).clip(0.0))
        units = [system.scale, 1 / system.scale, 1 / np.where(own > 0, own, 1.0)]
        floor = 0.0 if ready.alike else np.maximum(own, system.largest(ready.side))

        def change(part: slice, values: Values, with_source: bool) -> list[Array]:
            now = system.fields(ready if with_source else source_free, part, values)
            rates = [ready.side.sign * now.slope, now.noise - now.damped]
            return rates if now.own is None else [*rates, now.own + drift(now)]

        return march(self.panels, ready.side.sign, change, edge, units, floor, ready.alike, self.stalled)[0]

    def _ends(self, side: Side, begin: Array, slope: Array, change: Array) -> tuple[Array, Array]:
        """The row at the recorded positions, at 0 and at 1, and the noise integral at 1."""
        passed = np.tensordot(self.accumulate, slope, 1)
        if side.forward:
            return begin + passed, np.tensordot(self.accumulate[-1], change, 1)
        return begin + passed - passed[-1], np.zeros_like(begin)

    def _variance(self, side: Side, growth: float | Array, start: Array, mixed: Array) -> Array:
        r"""Solution of $C' = g C + m$ (in the direction of the pass) by its integrating factor."""
        rate = growth * np.ones_like(mixed)
        factor = np.exp(self._passed(side, rate))
        return factor * (start + self._passed(side, mixed / factor))

    def _passed(self, side: Side, rate: Array) -> Array:
        """Integral from where the pass begins to every node."""
        passed = np.tensordot(self.panels.cumulative, rate, 1)
        return passed if side.forward else np.tensordot(self.panels.weights, rate, 1) - passed


def drift(now: Fields) -> Array:
    """What the couplings add to the covariance of new states among themselves, per unit of the pass."""
    return symmetric(now.slope @ transposed(now.pulled) - now.response @ transposed(now.noise))


def march(
    panels: Panels,
    sign: int,
    change: ChangeAt,
    edge: Values,
    units: Values,
    floor: Array | float,
    alike: bool,
    stalled: float = STALLED,
) -> tuple[list[Array], list[Array]]:
    """Solve y' = change(y) panel by panel, from p = 0 (sign 1) or p = 1 (sign -1), where y = edge; the rest is `solve_panel`'s.

    Returns:
        y and change(y) at all nodes, each part of shape (nodes, new, columns).
    """
    y, slopes = ([np.zeros((len(panels.nodes), *part.shape)) for part in edge] for _ in range(2))
    slope: Values = [np.zeros((panels.order, *part.shape)) for part in edge]
    weights = panels.weights.reshape(panels.count, panels.order)
    for k in range(panels.count)[::sign]:
        part = panels.part(k)
        inward = panels.collocation * panels.widths[k] - (0.0 if sign > 0 else weights[k])
        found, slope = solve_panel(partial(change, part), edge, inward, slope, units, floor, alike, stalled)
        for whole, here in zip([*y, *slopes], [*found, *slope], strict=True):
            whole[part] = here
        edge = [e + sign * np.tensordot(weights[k], s, 1) for e, s in zip(edge, slope, strict=True)]
    return y, slopes


def solve_panel(
    change: Change,
    edge: Values,
    inward: Array,
    guess: Values,
    units: Values,
    floor: Array | float,
    alike: bool,
    stalled: float = STALLED,
) -> tuple[list[Array], list[Array]]:
    """Solve y = edge + inward · change(y) at the nodes of one panel.

    Every new state's parts of y (row, integral, …) are iterated to round-off of their own size, with columns in `units`, the
    old states' standard deviations: a small one is as good as a large one. What nonlinearities make of states is only as
    accurate as the states themselves: parts smaller than `floor` are iterated to round-off of that.

    Args:
        floor: sizes of the new states, shape (new,), or 0.
        alike: whether `change` is affine and does the same to every row, so that the equations can be solved directly.
        stalled: that of `Marcher`.

    Returns:
        y and change(y), each part of shape (q, new, columns).

    Raises:
        UnconvergedError: Picard iteration does not contract, and the equations cannot be solved directly.
    """

    def lift(slope: Values) -> list[Array]:
        return [e + np.tensordot(inward, s, 1) for e, s in zip(edge, slope, strict=True)]

    y, before, last, times = lift(guess), np.inf, np.inf, 0
    for iteration in range(MOST_ITERATIONS):
        slope = change(y, True)
        new = lift(slope)
        moved = max(_moved(a, b, unit, floor) for a, b, unit in zip(new, y, units, strict=False))
        y = new
        slow = not moved <= SLOWEST_CONTRACTION * before
        left = moved * (moved / before if iteration > 1 and moved < before else 1.0)  # if it goes on contracting as it did
        times += slow and moved <= stalled
        if left <= ROUND_OFF or (slow and moved <= STALLED) or times == OFTEN:
            return y, slope
        if slow and iteration > 2 and not times:
            break
        before, last = moved if alike else last, moved  # one step by chance a good one does not make the next a bad one
    if not alike:
        raise UnconvergedError
    return _solve_directly(change, edge, inward)


def _moved(new: Array, old: Array, unit: Array, floor: Array | float) -> float:
    """Largest change of a state over its size."""
    size, step = (np.abs(v * unit).max((0, 2), initial=0.0) for v in (new, new - old))
    return float(np.max(step / np.maximum(size, np.maximum(floor, np.finfo(float).tiny)), initial=0.0))


def _solve_directly(change: Change, edge: Values, inward: Array) -> tuple[list[Array], list[Array]]:
    """The same equations as one linear system per row: the way out where Picard iteration does not contract."""
    q, (new, size) = len(inward), edge[0].shape
    if 2 * q * size > LARGEST_DIRECT:
        raise UnconvergedError
    basis = np.eye(2 * size).reshape(2 * size, 2, size).swapaxes(0, 1)
    operator = _side_by_side(change([np.repeat(part[None], q, axis=0) for part in basis], False))
    source = _side_by_side(change([np.zeros((q, new, size))] * 2, True))
    matrix = np.eye(2 * q * size) - np.einsum("ij,jab->ibja", inward, operator).reshape(2 * q * size, -1)
    right = np.concatenate(edge, axis=-1) + np.tensordot(inward, source, 1)
    right = right.swapaxes(1, 2).reshape(-1, new)
    if not (np.all(np.isfinite(matrix)) and np.all(np.isfinite(right))):
        raise UnconvergedError
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", LinAlgWarning)
            factors = lu_factor(matrix)
    except (LinAlgWarning, np.linalg.LinAlgError):
        raise UnconvergedError from None
    solution = lu_solve(factors, right)
    for _ in range(REFINEMENTS):  # else components much smaller than the largest would be lost
        residual = right - matrix @ solution
        if not np.all(np.isfinite(residual)):
            raise UnconvergedError
        solution += lu_solve(factors, residual)
    if not np.all(np.isfinite(solution)):
        raise UnconvergedError
    y = list(solution.reshape(q, 2, size, new).transpose(1, 0, 3, 2))
    return y, change(y, True)


def _side_by_side(pair: Values) -> Array:
    """Row and integral joined: (2, q, rows, S) to (q, rows, 2 S)."""
    return np.concatenate([pair[0], pair[1]], axis=-1)
