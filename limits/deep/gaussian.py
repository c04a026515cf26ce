r"""The causal Gaussian system over depth at $\alpha = 1/2$, marched over Gauss-Legendre panels.

One pass solves a linear ODE in $p$ for the row and noise integral of the new states (`limits.semiseparable`), from
$p = 0$ for $x$ and from $p = 1$ for $\delta$. On each panel the collocation equations are solved by Picard iteration,
which contracts like panel width times learning rate; where it does not, as one linear system, which always works.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import LinAlgWarning, lu_factor, lu_solve

from limits.deep.refine import Level, UnconvergedError, tails
from limits.directions import trained_directions
from limits.kernels import sample_kernels
from limits.panels import Panels
from limits.problem import Problem
from limits.record import Record
from limits.semiseparable import Array, CausalSystem, Pass, Ready, Side, symmetric
from limits.training import evolve

ROUND_OFF = 4 * np.finfo(float).eps
LARGEST_DIRECT = 700
MOST_ITERATIONS = 60
REFINEMENTS = 3
SLOWEST_CONTRACTION = 0.6

Change = Callable[[Array, bool], Array]
"""The rate of change of (row, integral) at a panel's nodes; without its source it is linear."""


def gaussian_level(problem: Problem, panels: Panels, record: Record, moving: bool, done: Callable[[int], None]) -> Level:
    """The limit at alpha = 1/2 on given panels; `moving` says whether the blocks are trained (alpha + gamma = 1)."""
    basis = trained_directions(problem)
    marks = np.append(record.depths, 1.0)
    accumulate = panels.integrate(marks)
    a2 = problem.model.multiplier**2
    system = CausalSystem(
        len(panels.nodes),
        accumulate,
        r=basis.count,
        d=problem.d_out,
        steps=problem.steps,
        noise=a2,
        drift=a2 if moving else 0.0,
        staggered=False,
    )
    outputs, chi = evolve(problem, basis.coordinates, system, Marcher(panels, accumulate), lambda t, _: done(t))
    placing, outside = np.eye(len(record.depths), len(marks))[:, :-1], np.exp(a2 * marks[:-1])
    with np.errstate(over="ignore", invalid="ignore"):
        kernels = sample_kernels(system, problem, basis, chi, record, placing, outside)
    scale = system.scale
    fields = system.phi * (scale / scale[:, None]), system.kernel / (scale * scale[:, None])
    return Level(panels, outputs, kernels, tails(panels, *fields))


@dataclass(frozen=True)
class Marcher:
    """Solves passes on given panels.

    Attributes:
        panels: where the fields are held.
        accumulate: integrals from 0 to the recorded positions and to 1, shape (M + 1, nodes).
    """

    panels: Panels
    accumulate: Array

    def __call__(self, system: CausalSystem, ready: Ready, boundary: Array) -> Pass:
        side = ready.side
        begin = boundary if side.forward else boundary @ system.phi_at[-1]
        nodes = self._march(system, ready, begin)
        now = system.fields(ready, slice(None), (nodes[0], nodes[1]))
        slope = side.sign * now.slope
        row_at, integral_end = self._ends(side, begin, slope, now.noise - now.damped)
        first = begin if side.forward else begin - np.tensordot(self.accumulate[-1], slope, 1)
        mixed = symmetric(now.slope @ np.swapaxes(now.pulled, 1, 2) - now.response @ np.swapaxes(now.noise, 1, 2))
        variance = self._variance(system, side, system.start(begin, side), mixed)
        return Pass(nodes[0], nodes[1], variance, now.noise, row_at, first, integral_end)

    def _march(self, system: CausalSystem, ready: Ready, begin: Array) -> Array:
        """Row and integral at all nodes, shape (2, nodes, new, S)."""
        panels, sign = self.panels, ready.side.sign
        y = np.zeros((2, len(panels.nodes), *begin.shape))
        edge = np.stack([begin, np.zeros_like(begin)])
        slope = np.zeros((2, panels.order, *begin.shape))
        weights = panels.weights.reshape(panels.count, panels.order)
        source_free = replace(ready, unit=np.zeros((1, 1)))
        units = np.stack([system.scale, 1 / system.scale])
        for k in range(panels.count)[::sign]:
            part = panels.part(k)
            inward = panels.collocation * panels.widths[k] - (0.0 if sign > 0 else weights[k])

            def change(values: Array, with_source: bool, part: slice = part) -> Array:
                now = system.fields(ready if with_source else source_free, part, (values[0], values[1]))
                return np.stack([sign * now.slope, now.noise - now.damped])

            y[:, part], slope = solve_panel(change, edge, inward, slope, units)
            edge = edge + sign * np.einsum("j,cjrs->crs", weights[k], slope)
        return y

    def _ends(self, side: Side, begin: Array, slope: Array, change: Array) -> tuple[Array, Array]:
        """The row at the recorded positions and at 1, and the noise integral at 1."""
        passed = np.tensordot(self.accumulate, slope, 1)
        if side.forward:
            return begin + passed, np.tensordot(self.accumulate[-1], change, 1)
        return begin + passed - passed[-1], np.zeros_like(begin)

    def _variance(self, system: CausalSystem, side: Side, start: Array, mixed: Array) -> Array:
        r"""Solution of $C' = \nu C + m$ (in the direction of the pass) by its integrating factor."""
        nodes = self.panels.nodes
        distance = nodes if side.forward else 1 - nodes
        factor = np.exp(system.noise * distance)[:, None, None]
        source = mixed / factor
        passed = np.tensordot(self.panels.cumulative, source, 1)
        if not side.forward:
            passed = np.tensordot(self.panels.weights, source, 1) - passed
        return factor * (start + passed)


def solve_panel(change: Change, edge: Array, inward: Array, guess: Array, units: Array) -> tuple[Array, Array]:
    """Solve y = edge + inward · change(y) at the nodes of one panel; `change` is affine in y.

    Every new state's row and integral are iterated to round-off of their own size, with columns in `units` (2, S), the old
    states' standard deviations: a small one is as good as a large one.

    Returns:
        y and change(y), shape (2, q, new, S).

    Raises:
        UnconvergedError: Picard iteration does not contract, and the panel is too large to be solved directly.
    """

    def lift(slope: Array) -> Array:
        return edge[:, None] + np.einsum("ij,cjrs->cirs", inward, slope)

    y, before = lift(guess), np.inf
    for iteration in range(MOST_ITERATIONS):
        slope = change(y, True)
        new = lift(slope)
        size, step = (np.abs(v * units[:, None, None]).max((1, 3), initial=0.0) for v in (new, new - y))
        moved = np.max(step / np.maximum(size, np.finfo(float).tiny), initial=0.0)
        y = new
        slow = moved > SLOWEST_CONTRACTION * before
        if moved <= ROUND_OFF or (slow and moved <= 1e3 * ROUND_OFF):
            return y, slope
        if slow and iteration > 2:
            break
        before = moved
    return _solve_directly(change, edge, inward, guess.shape)


def _solve_directly(change: Change, edge: Array, inward: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """The same equations as one linear system per row: the way out where Picard iteration does not contract."""
    _, q, new, size = shape
    if 2 * q * size > LARGEST_DIRECT:
        raise UnconvergedError
    basis = np.eye(2 * size).reshape(2 * size, 2, size).swapaxes(0, 1)
    operator = _side_by_side(change(np.repeat(basis[:, None], q, axis=1), False))
    source = _side_by_side(change(np.zeros(shape), True))
    matrix = np.eye(2 * q * size) - np.einsum("ij,jab->ibja", inward, operator).reshape(2 * q * size, -1)
    right = _side_by_side(edge[:, None]) + np.tensordot(inward, source, 1)
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
    y = solution.reshape(q, 2, size, new).transpose(1, 0, 3, 2)
    return y, change(y, True)


def _side_by_side(pair: Array) -> Array:
    """Row and integral joined: (2, q, rows, S) to (q, rows, 2 S)."""
    return np.concatenate([pair[0], pair[1]], axis=-1)
