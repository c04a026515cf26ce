r"""Nonlinear blocks at $\alpha = \gamma = 1/2$: the same causal Gaussian system with other coefficients.

The nonlinearity enters only through its dual kernel $V(u, v, c) = \mathrm{Cov}(\phi(z_i), \phi(z_j))$ and the derivatives of
that, at the variances and the covariance of two features. With $A_{ij} = a(R^0_{ij} - w_jC^0_{ij})$

$$ F_{ij} = aA_{ij}V_c, \qquad H_{ij} = a[aR^1_{ij}V_c - aw_jV_cC^1_{ij} + A_{ij}V_{cc}C^1_{ij}] \quad (j < i), $$
$$ H_{ii} = a\Big[\sum_j aR^1_{ij}\,2V_u(i,j) + aR^1_{ii}V_c(i,i) + \sum_{j<i}A_{ij}\,2V_{uc}(i,j)C^1_{ij}\Big], $$

noises have the covariances $a^2V(C^0)$ and $a^2V_c(C^0)C^1$ [D5.4]. For kinked $\phi$ the terms with $V_{cc}$ and $V_{uc}$
blow up where two features coincide, but not together: $2V_{uc} = \tau - (c/u)V_{cc}$ with a harmless $\tau$ (`Dual.tilt`)
[D5.5]. TP6, Definition E.1, has other coefficients in $H$; [D5.9] says which, and what they give.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from limits.deep.gaussian import STALLED, Marcher, system_tails
from limits.deep.refine import Level, UnconvergedError
from limits.directions import directions
from limits.nonlinearity import Dual, Marginal
from limits.panels import Panels
from limits.problem import Problem, ResNet
from limits.record import Record
from limits.semiseparable import BACKWARD, FORWARD, Array, At, CausalSystem, Coupled, Ready, footprint, transposed
from limits.training import evolve

INNERMOST = 3e-5
"""Where tails of kinked nonlinearities do not count: couplings are logarithmic in p there, and narrower panels lose digits."""
COARSEST = 36
"""Nodes of the first panels of kinked nonlinearities."""
TOGETHER = 0.1 / COARSEST**2
"""Share uv - c^2 of uv, over tolerance, below which two features at a kink are not told apart with the coarsest panels: their
curvature is round-off, or less than panels resolve. What it changes goes with its square root, and it falls with the sixth
power of the number of nodes, so that the difference of two resolutions is most of it and the measured error contains it."""
SIDE_BY_SIDE = 32
"""Samples that are only evaluated go through the depth in groups of this size."""


def nonlinear_level(
    problem: Problem,
    panels: Panels,
    record: Record,
    moving: int,
    done: Callable[[int], None],
    kind: "type[NonlinearStates] | None" = None,
    tol: float = 1e-12,
) -> Level:
    """The limit of nonlinear blocks at alpha = 1/2 on given panels; `moving` of their layers learn.

    `kind` lets a study replace coefficients of the equations, `tol` tells what is too close to be told apart at a kink.
    """
    accumulate = panels.integrate(np.append(record.depths, [0.0, 1.0]))
    census = Census(problem, record)
    coordinates = directions(problem.evaluated, problem.evaluated)
    system = CausalSystem(
        len(panels.nodes),
        accumulate,
        forward=census.forward,
        backward=census.backward,
        units=(coordinates.count, problem.d_out),
        whole_inverse=True,
        level=bool(problem.model.phi.kinks),
    )
    marcher = Marcher(panels, accumulate, max(STALLED, 0.01 * tol) if problem.model.phi.kinks else STALLED)
    states = (kind or NonlinearStates)(problem, census, coordinates.coordinates, system, marcher, moving)
    states.together = max(TOGETHER * tol * (COARSEST / len(panels.nodes)) ** 6, np.finfo(float).eps)
    outputs, _ = evolve(problem, states, lambda t, _: done(t))
    tails = system_tails(system, panels)
    if problem.model.phi.kinks:
        tails = np.where(panels.edges[1:] > INNERMOST, tails, 0.0)
    return Level(panels, outputs, states.kernels(record), tails)


def nonlinear_footprint(problem: Problem, record: Record, nodes: int) -> int:
    """Bytes that `nonlinear_level` takes at its largest."""
    census = Census(problem, record)
    new = max(len(kept) for kept in census.kept)
    sizes: dict[str, Any] = {"forward": census.forward, "backward": census.backward, "new": max(new, SIDE_BY_SIDE)}
    return footprint(nodes, len(record.positions) + 2, **sizes, whole_inverse=True)


def dual_of(model: ResNet, u: Array | Marginal, v: Array | Marginal, c: Array, order: int) -> Dual:
    """The dual kernel of features of variances u (…, new) with others of variances v (…, old) at covariance c (…, new, old).

    Raises:
        UnconvergedError: variances that no panel fit for the problem gives.
    """
    if c.size == 0:
        return Dual(*(c if k <= order else None for k in (0, 1, 2, 2, 2, 2)))
    try:
        return model.phi.dual(u[..., :, None], v[..., None, :], c, mean_subtraction=model.mean_subtraction, order=order)
    except ValueError:
        raise UnconvergedError from None


def marginal_of(model: ResNet, u: Array, like: Marginal | None = None) -> Marginal:
    """What the dual kernel needs of some variances, to be used again and again.

    Raises:
        UnconvergedError: variances that no panel fit for the problem gives.
    """
    try:
        return model.phi.marginal(u.clip(0.0), like)
    except ValueError:
        raise UnconvergedError from None


class Census:
    """Which samples become states: those that are trained or recorded at a step; the others are only evaluated.

    Attributes:
        kept: of every evaluation, the samples whose features are kept.
        trained: of every step, the samples in its batch.
        forward, backward, largest: how many features are kept, how many gradients, and at most of one step.
    """

    def __init__(self, problem: Problem, record: Record) -> None:
        steps, samples = set(record.chosen_steps(problem).tolist()), record.chosen_samples(problem)
        recorded = samples if record.kinds else samples[:0]
        self.trained = [np.flatnonzero(problem.batch_share(t)) for t in range(problem.steps)]
        batches = [*self.trained, np.zeros(0, int)]
        self.kept = [np.union1d(b, recorded if t in steps else recorded[:0]).astype(int) for t, b in enumerate(batches)]
        self.forward, self.backward = sum(map(len, self.kept)), sum(map(len, self.trained))
        self.largest = max(map(len, self.trained), default=0)
        self.begins = np.cumsum([0, *map(len, self.kept)])
        self.ends = np.cumsum([len(b) for b in self.trained])

    def features(self, t: int, samples: Array) -> Array:
        """Where the features of some samples at evaluation t stand among all features."""
        return self.begins[t] + np.searchsorted(self.kept[t], samples)

    def gradients(self, t: int, samples: Array, border: int) -> Array:
        """Where the gradients of some samples of step t stand among the backward states, -1 for those it does not train."""
        if t >= len(self.trained):
            return np.full(len(samples), -1)
        here = np.searchsorted(self.trained[t], samples)
        known = np.isin(samples, self.trained[t])
        return np.where(known, border - self.ends[t] + here, -1)


@dataclass(frozen=True)
class BackwardCoupling:
    r"""Coefficients of $H_{ij} = (\text{response})\,R^1_{ij} + (\text{gradient})\,C^1_{ij}$ and of what adds to $H_{ii}$.

    Attributes:
        response: with R^1 of every feature, shape (nodes, new, features).
        gradient: with C^1 of every old gradient, shape (nodes, new, gradients).
        own_response, own_gradient: likewise, summed over j into $H_{ii}$.
    """

    response: Array
    own_response: Array
    gradient: Array
    own_gradient: Array


class NonlinearStates:
    """The states of a nonlinear network, sample by sample, step after step.

    Args:
        problem: what is trained.
        census: which samples become states.
        coordinates: of all samples in orthonormal input directions, shape (samples, r).
        system: holds the states.
        propagate: finds new states.
        moving: layers of a block that learn in the limit, 0 or 1.
    """

    def __init__(
        self, problem: Problem, census: Census, coordinates: Array, system: CausalSystem, propagate: Marcher, moving: int
    ) -> None:
        self.problem, self.census, self.coordinates, self.moving = problem, census, coordinates, moving
        self.system, self.propagate, self.a = system, propagate, problem.model.multiplier
        self.variances = np.zeros((system.stations, 0))  # of all features kept
        self.known = Marginal(self.variances)
        self.partner, self.step_of = np.zeros(0, int), np.zeros(0, int)  # of every gradient: its feature, its step
        self.chi = np.zeros((0, problem.d_out))
        self.together = 0.0

    def _dual(self, u: Array | Marginal, v: Array | Marginal, c: Array, order: int) -> Dual:
        return dual_of(self.problem.model, u, v, c, order)

    def forward(self, t: int) -> Array:
        """Outputs of all samples at evaluation t, shape (samples, d_out)."""
        try:
            return self._forward(t)
        except UnconvergedError:
            raise UnconvergedError(untrained=t == 0) from None

    def _forward(self, t: int) -> Array:
        outputs = np.zeros((len(self.coordinates), self.problem.d_out))
        kept, read_out = self.census.kept[t], self._read_out(t)
        rest = np.setdiff1d(np.arange(len(outputs)), kept)
        for group in np.array_split(rest, -(-len(rest) // SIDE_BY_SIDE) or 1):
            if len(group):
                ready = self._forward_ready(t, group)
                outputs[group] = self.system.output(ready, self.propagate(self.system, ready), read_out)
        if len(kept):
            ready = self._forward_ready(t, kept)
            found = self.propagate(self.system, ready)
            outputs[kept] = self.system.output(ready, found, read_out)
            self.system.grow(ready, found)
            self.variances = np.concatenate([self.variances, np.diagonal(found.variance, axis1=1, axis2=2)], axis=1)
            self.known = marginal_of(self.problem.model, self.variances)
        return outputs

    def backward(self, t: int, chi: Array) -> None:
        """Gradients of step t, from the derivatives chi of the inputs' loss, shape (P, d_out)."""
        trained = self.census.trained[t]
        features = self.census.features(t, trained)
        ready = self._backward_ready(t, chi[trained], features)
        self.system.grow(ready, self.propagate(self.system, ready))
        self.partner = np.concatenate([features, self.partner])
        self.step_of = np.concatenate([np.full(len(trained), t), self.step_of])
        self.chi = np.concatenate([chi[trained], self.chi])

    # The updates of finished steps, as columns of the old states they contain.

    def _weights(self, t: int, which: str) -> Array:
        """What momentum and schedule make of every finished gradient at step t, shape (backward,)."""
        return self.problem.sgd.weights(t, which)[self.step_of]

    def _read_in(self, t: int) -> Array:
        rows = np.zeros((self.system.r, self.system.size))
        of_features = self.system.axes(FORWARD)[self.partner, : self.system.r]
        rows[:, self.system.columns(BACKWARD)] = -(self._weights(t, "input_lr")[:, None] * of_features).T
        return rows

    def _read_out(self, t: int) -> Array:
        rows = np.zeros((self.problem.d_out, self.system.size))
        rows[:, self.system.border + self.partner] = -(self._weights(t, "output_lr")[:, None] * self.chi).T
        return rows

    # What the nonlinearity makes of kernels and responses.

    def strength(self, echo: Array, drift: Array) -> Array:
        r"""$A_{ij} = a(R^0_{ij} - w_jC^0_{ij})$, from the response R^0 and $a w_jC^0_{ij}$."""
        return self.a * echo - drift

    def backward_coupling(self, dual: Dual, slope: Array, strength: Array, drift: Array, old: Array) -> "BackwardCoupling":
        r"""The coefficients of $H$, from the dual kernel with all features and $A$, $aw$ of the trained ones among them, `old`.

        Args:
            slope: $c/u$, regression of one feature on another.
        """
        a, twice_uc = self.a, dual.tilt - slope * dual.V_cc
        return BackwardCoupling(
            response=a**2 * dual.V_c,
            own_response=2 * a**2 * dual.V_u,
            gradient=a * (strength * dual.V_cc[..., old] - drift * dual.V_c[..., old]),
            own_gradient=a * strength * twice_uc[..., old],
        )

    # Features.

    def _forward_ready(self, t: int, samples: Array) -> Ready:
        axes = np.zeros((len(samples), sum((self.system.r, self.system.d))))
        axes[:, : self.system.r] = self.coordinates[samples]
        boundary = self.coordinates[samples] @ self._read_in(t)
        drift = self.a * self.moving * self._weights(t, "lr")
        x, delta = self.system.columns(FORWARD), self.system.columns(BACKWARD)

        def couple(at: At, pulled: Array, response: Array, own: Array | None) -> Coupled:
            assert own is not None
            phi, inverse, u = self.system.phi[at], self.system.inverse[at], np.diagonal(own, axis1=-2, axis2=-1)
            features = pulled @ transposed(phi[..., x, :])
            known = marginal_of(self.problem.model, u, self.known)
            dual = self._dual(known, self.known[at], features, 1)
            strength = self.strength(response @ inverse[..., delta], drift * features[..., self.partner])
            slope = (self.a * strength * dual.V_c[..., self.partner]) @ phi[..., delta, :]
            noise = self.a**2 * (dual.V @ transposed(inverse[..., x]))
            return Coupled(slope, noise, self.a**2 * self._dual(known, known, own, 0).V)

        return self.system.ready(FORWARD, axes, boundary, couple, growth=None)

    # Gradients.

    def _backward_ready(self, t: int, chi: Array, features: Array) -> Ready:
        system, a = self.system, self.a
        axes = np.zeros((len(chi), system.r + system.d))
        axes[:, system.r :] = chi
        boundary = chi @ self._read_out(t)
        x, delta, old = system.columns(FORWARD), system.columns(BACKWARD), self.partner
        rows = system.phi[:, system.border + features]
        kernel = (rows @ system.kernel) @ transposed(system.phi[:, x])
        u, drift = self.variances[:, features], a * self.moving * self._weights(t, "lr")
        dual = self._dual(u, self.variances, kernel, 2)
        if self.problem.model.phi.kinks:
            dual = dual._replace(V_cc=dual.V_cc * told_apart(u, self.variances, kernel, self.together))
        strength = self.strength(system.times_q(rows) @ system.inverse[..., delta], drift * kernel[..., old])
        h = self.backward_coupling(dual, kernel / np.where(u > 0, u, 1.0)[..., None], strength, drift, old)
        to_noise, own = a**2 * dual.V_c[..., old], (..., np.arange(len(chi)), features)

        def couple(at: At, pulled: Array, response: Array, _: Array | None) -> Coupled:
            phi, inverse = system.phi[at], system.inverse[at]
            gradients = pulled @ transposed(phi[..., delta, :])
            echo = response @ inverse[..., x]
            coupling = echo * h.response[at]
            coupling[..., old] += gradients * h.gradient[at]
            coupling[own] += np.sum(echo * h.own_response[at], -1) + np.sum(gradients * h.own_gradient[at], -1)
            noise = (to_noise[at] * gradients) @ transposed(inverse[..., delta])
            return Coupled(coupling @ phi[..., x, :], noise)

        return system.ready(BACKWARD, axes, boundary, couple, growth=a**2 * dual.V_c[..., features])

    # Recorded kernels.

    def kernels(self, record: Record) -> dict[str, Any]:
        """The recorded kernels as fields of a `Trajectory`."""
        steps, samples = record.chosen_steps(self.problem), record.chosen_samples(self.problem)
        kept: dict[str, Any] = {"steps": steps, "positions": record.depths, "recorded": samples}
        border, marks = self.system.border, range(len(record.positions))
        features = np.array([border + self.census.features(t, samples) for t in steps.tolist()]) if record.kinds else None
        gradients = np.array([self.census.gradients(t, samples, border) for t in steps.tolist()])

        def blocks(which: Array, p: int, q: int) -> Array:
            return _blocks(self.system.covariance(p, q), which, which)

        if "feature" in record.kinds:
            kept["feature_kernel"] = np.stack([blocks(features, m, m) for m in marks], axis=2)
        if "gradient" in record.kinds:
            kept["gradient_kernel"] = np.stack([blocks(gradients, m, m) for m in marks], axis=2)
        if "two_depth" in record.kinds:
            kept["two_depth_kernel"] = np.stack([np.stack([blocks(features, p, q) for q in marks], 2) for p in marks], 2)
        if "response" in record.kinds:
            kept["response"] = np.stack(
                [np.stack([self._responses(features, gradients, p, q) for q in marks], 3) for p in marks], 3
            )
        return kept

    def _responses(self, features: Array | None, gradients: Array, p: int, q: int) -> Array:
        response = self.system.two_depth_response(p, q)
        return np.stack([-_blocks(response, features, gradients), _blocks(response, gradients, features)])


def told_apart(u: Array, v: Array, c: Array, together: float) -> Array:
    """What a curvature like 1/sqrt(uv - c^2) is multiplied by, for it to stay where uv - c^2 falls below `together` uv.

    The curvature multiplies x_j - (c/u) x_i, whose norm is the root of (uv - c^2)/u: what is left out vanishes with `together`.
    """
    gap = 1 - np.minimum(c**2 / np.maximum(u[..., :, None] * v[..., None, :], np.finfo(float).tiny), 1.0)
    return np.sqrt(np.maximum(gap, np.finfo(float).eps) / np.maximum(gap, together))


def _blocks(matrix: Array, rows: Array, columns: Array) -> Array:
    """Entries of (step, sample) with (step, sample), shape (K, K, S, S); zero for index -1."""
    found = matrix[rows[:, None, :, None], columns[None, :, None, :]]
    return np.where((rows[:, None, :, None] >= 0) & (columns[None, :, None, :] >= 0), found, 0.0)
