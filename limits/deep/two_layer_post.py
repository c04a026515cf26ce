r"""Two-layer blocks of form "post" at $\alpha = 1$, $\gamma_i = 0$: functions of (U, V) outside, of their own noise inside.

Neurons inside a block know of (U, V) only what means know. For $i = (t, \mu)$, earlier $j$ and $r = M/n$,

$$ h_i = \hat h_i - a\sum_{j<i}w_jC^0_{ij}\,\delta h_j, \quad g_i = \phi(h_i), \qquad
   h'_i = \hat h'_i + \sum_{j<i}\Big(E\frac{\partial g_i}{\partial\hat k_j} - arw_jE g_ig_j\Big)\delta h'_j, $$
$$ \delta h'_i = \phi'(h'_i)\,\delta_i, \qquad \delta h_i = \phi'(h_i)\,\delta g_i, $$
$$ \delta g_i = \hat k_i + \frac1r\sum_{j\le i}g_jE\frac{\partial\delta h'_i}{\partial\hat h'_j}
   - a\sum_{j<i}w_jg_jE\delta h'_i\delta h'_j, $$
$$ x_i' = a\,(E[\phi(h'_i) \mid U, V] - E\phi(h'_i)), $$
$$ -\delta_i' = ar\Big(\sum_{j\le i}x_jE\frac{\partial\delta h_i}{\partial\hat h_j}
   - a\sum_{j<i}w_jx_jE\delta h_i\delta h_j\Big) $$

with $\hat h$, $\hat h'$ and $\hat k$ Gaussian of covariances $C^0$, $Egg$ and $E\delta h'\delta h'/r$, drawn afresh at every
depth. All responses are found by Stein's lemma, as for one layer: projections on the noises, in orthonormal coordinates. Between
the layers of a block the forward response does not vanish, as it does between blocks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from limits.deep.nonlinear import Census
from limits.deep.nonlinear_flow import Change, FlowStates
from limits.deep.one_layer import REMEDY, GivenNeurons, dimensions, mean_curvature, orthonormal, resolved
from limits.deep.pre_flow import pre_flow_footprint
from limits.deep.refine import Level, Refined, Refinement
from limits.deep.sampling import NESTED, Nested, cloud, mirrored, nested, outer_points, over_clouds
from limits.memory import require
from limits.panels import Panels
from limits.problem import Problem
from limits.record import Record
from limits.semiseparable import transposed
from limits.training import evolve

Array = np.ndarray
INSIDE = 4
"""How many inner points of the nested cloud there are for one neuron inside a block."""
APART = 1e-6
"""Share of its square below which what a gradient has of its own is taken for round-off."""


@dataclass(frozen=True, eq=False)
class TwoClouds:
    """Points for the neurons outside and inside of a block.

    Attributes:
        outside: (U, V), and for each of them coordinates of what the second layer sees.
        forward, backward: coordinates of what the first layer sees and of what the second sends back, shape (dimension, M).
    """

    outside: Nested
    forward: Array
    backward: Array


def two_clouds(points: int, both: tuple[int, int], seed: int) -> TwoClouds:
    """About `points` inner points outside; inside, either half of a point may change its sign."""
    inside = mirrored(cloud(points // (2 * INSIDE), 2 * both[1], seed + 2**16), both[1]).T
    return TwoClouds(nested(points, both, seed), inside[: both[1]], inside[both[1] :])


def two_layer_post_limit(
    problem: Problem, record: Record, done: Callable[[int], None], tol: float, refinement: Refinement
) -> Refined:
    """The mean over clouds that meets the tolerance, of the largest that fit into memory if none does."""
    both = dimensions(problem)

    def compute(panels: Panels, clouds: TwoClouds, _: bool = False) -> Level:
        return two_layer_post_level(problem, panels, record, clouds, done)

    return over_clouds(compute, lambda points, seed: two_clouds(points, both, seed), refinement, tol, NESTED)


def two_layer_post_footprint(problem: Problem, record: Record, nodes: int, points: int) -> int:
    """Bytes that `two_layer_post_level` takes: coordinates, what is kept and made at every node, what passes, the neurons'."""
    census = Census(problem, record)
    learned, batch, outer = census.backward, census.largest, outer_points(points)
    inside = 8 * (learned + 1) + nodes * (16 * learned + 12 * batch) + 64 * batch
    pulls = 16 * outer * nodes * batch * (2 * learned + batch)
    return points * inside + pulls + pre_flow_footprint(problem, record, nodes, outer)


def two_layer_post_level(
    problem: Problem, panels: Panels, record: Record, clouds: TwoClouds, done: Callable[[int], None]
) -> Level:
    """The limit on given panels, with given clouds."""
    states = BlockFunctions(problem, record, panels, clouds)
    outputs, _ = evolve(problem, states, lambda t, _: done(t))
    return Level(panels, outputs, states.kernels(record), states.tails)


@dataclass
class Seen:
    """What a backward pass needs of the new features at one node.

    Attributes:
        slopes, curves: phi' inside (new, M) and outside (new, N, K).
        bends: E phi''(hat h') with g in its orthonormal coordinates, of blocks that are not centred (new, all).
        pulls: means over K of phi' with the kept gradients, with the coordinates of h', and with each other (new, ., N).
        vectors: what delta g is made of (B, M).
        table: their products, times phi', with the coordinates of h and the kept delta h (new, B, all + old).
    """

    slopes: Array
    curves: Array
    bends: Array
    pulls: tuple[Array, Array, Array]
    vectors: Array
    table: Array


class BlockFunctions(GivenNeurons):
    r"""The flow of blocks of two layers.

    Args:
        problem, record, panels: as of `FlowStates`.
        clouds: of the neurons outside and inside.
    """

    def __init__(self, problem: Problem, record: Record, panels: Panels, clouds: TwoClouds) -> None:
        super().__init__(problem, record, panels, clouds.outside)
        alpha, gammas, _ = problem.parametrization.layers(2)
        self.moves, self.ratio = [float(alpha + gamma == 1) for gamma in gammas], problem.model.expansion
        self.inner, self.back = clouds.forward, clouds.backward
        self.M = self.inner.shape[1]
        n, trained = len(panels.nodes), self.census.backward
        require(two_layer_post_footprint(problem, record, n, self.z[0].size), "this limit", REMEDY)
        self.turns = np.empty((n, trained, *self.z.shape[1:]), self.z.dtype)  # delta h' made orthonormal
        self.g = np.zeros((n, trained, self.M))  # over the root of M
        self.q = np.zeros((n, 0, self.M))  # these made orthonormal
        self.own = np.zeros((n, trained, self.M))  # delta h over the root of M
        self.lower = np.zeros((n, trained, trained))  # delta h' in coordinates of the turns

    # Forward.

    def _forward_change(self, t: int) -> Change:
        weights = self._weights(t)

        def change(at: slice, x: Array) -> Array:
            along, beyond = resolved(x, self.y[at])
            rows = np.concatenate([along, np.linalg.norm(beyond, axis=-1, keepdims=True)], axis=-1)
            seen = self._known(0, weights, x @ transposed(self.x[at]))
            g = np.stack([self._inside(*part)[1] for part in zip(range(at.start, at.stop), rows, seen, strict=True)])
            f = np.stack([self._mean(node, *part, weights) for node, part in enumerate(zip(g, strict=True), at.start)])
            centre = f @ self.root[:, None] ** 2 if self.centred else 0.0
            return self.a * (f - centre) * self.root + self._drift(np.sum(g * g, -1))

        return change

    def _known(self, layer: int, weights: Array, gram: Array | float) -> Array:
        """What a layer has learned, in terms of the gradients that it has seen."""
        return self.moves[layer] * self.a * (self.ratio if layer else 1.0) * weights * gram

    def _inside(self, node: int, rows: Array, seen: Array) -> tuple[Array, Array]:
        r"""$h$ (new, M), and $g$ over the root of M, of features with rows in y."""
        h = rows @ self.inner[: rows.shape[1]] - seen @ self.own[node, : seen.shape[1]] * self.M**0.5
        return h, self.phi.phi(h) / self.M**0.5

    def _outside(self, node: int, g: Array, rows: Array, weights: Array) -> tuple[Array, Array]:
        r"""$\hat h'$ and $h'$ (new, N, K) of features with rows in q."""
        old = len(weights)
        echo = self.ratio**0.5 * g @ self.back[:old].T / self.M**0.5
        seen = self._known(1, weights, g @ self.g[node, :old].T) @ self.lower[node, :old, :old]
        hats = self._hats(rows)
        return hats, hats - np.tensordot((seen - echo).astype(self.z.dtype), self.turns[node, :old], 1)

    def _mean(self, node: int, g: Array, weights: Array) -> Array:
        r"""$E[\phi(h') - \phi(\hat h') \mid U, V]$, shape (new, N)."""
        if not len(weights):
            return np.zeros((len(g), self.k))
        along, beyond = resolved(g, self.q[node])
        rows = np.concatenate([along, np.linalg.norm(beyond, axis=-1, keepdims=True)], axis=-1)
        hats, h = self._outside(node, g, rows, weights)
        return self._moved(self.phi.phi, hats, self.phi.phi(h)).mean(-1)

    # Backward.

    def _backward_change(self, t: int, x: Array) -> Change:
        weights = self._weights(t)
        seen = self._known(0, weights, x @ transposed(self.x))
        self.y = orthonormal(x, self.y)
        rows = x @ transposed(self.y)
        inside = [self._inside(*part) for part in zip(range(len(x)), rows, seen, strict=True)]
        g = np.stack([one for _, one in inside])
        self.q = orthonormal(g, self.q)
        self.under_way = weights, g, [self._see(node, h, g[node], weights) for node, (h, _) in enumerate(inside)]
        vectors = self.ratio * self.a * np.concatenate([-self.y, self._known(0, weights, 1.0)[:, None] * self.x], axis=1)

        def change(at: slice, delta: Array) -> Array:
            nodes = range(at.start, at.stop)
            made = [self._makeup(*part)[0][:, None] @ self.under_way[2][part[0]].table for part in zip(nodes, delta, strict=True)]
            return np.stack(made)[:, :, 0] @ vectors[at]

        return change

    def _see(self, node: int, h: Array, g: Array, weights: Array) -> Seen:
        old, new = len(weights), len(g)
        rows = g @ self.q[node].T
        hats, outside = self._outside(node, g, rows, weights)
        slopes, curves = self.phi.derivative(h), self.phi.derivative(outside)
        with_old = self._over_points(curves, self.turns[node, :old])
        with_z = self._over_points(self._moved(self.phi.derivative, hats, curves), self.z[: rows.shape[1]])
        both = self._over_points(curves, curves) / self.root
        parts = self.back[: old + new], self.M**0.5 * self.q[node], self.M**0.5 * self.g[node, :old]
        vectors = np.concatenate(parts)
        into = np.concatenate([self.inner[: self.y.shape[1]], self.M**0.5 * self.own[node, :old]])
        table = (vectors * slopes[:, None]) @ into.T / self.M
        bend = np.zeros(new) if self.centred else mean_curvature(self.phi, np.sum(g * g, -1))
        return Seen(slopes, curves, bend[:, None] * rows, (with_old, with_z, both), vectors, table)

    def _makeup(self, node: int, delta: Array) -> tuple[Array, Array]:
        r"""What $\delta g$ is made of, in terms of `Seen.vectors`, and $\delta h'$ in orthonormal coordinates, (new, …)."""
        weights, seen = self.under_way[0], self.under_way[2][node]
        old = len(weights)
        with_old, with_z, both = seen.pulls
        along, bent = (with_old @ delta[..., None])[..., 0], (with_z @ delta[..., None])[..., 0]
        bent = bent + seen.bends * (delta @ self.root)[:, None]
        gram = np.einsum("ijn,in,jn->ij", both, delta, delta)
        lower = np.concatenate([along, cholesky(gram - along @ along.T, np.diagonal(gram))], axis=1)
        known = self._known(1, weights, along @ self.lower[node, :old, :old].T) / self.ratio
        return np.concatenate([lower / self.ratio**0.5, bent / self.ratio, -known], axis=1), lower

    def _learn(self, x: Array, delta: Array) -> None:
        _, g, seen = self.under_way
        old, now = self.x.shape[1], self.x.shape[1] + x.shape[1]
        for node, (one, d) in enumerate(zip(seen, delta, strict=True)):
            made, lower = self._makeup(node, d)
            self.own[node, old:now] = one.slopes * (made @ one.vectors) / self.M**0.5
            turns = one.curves * (d / self.root)[..., None]
            turns = turns - np.tensordot(lower[:, :old], self.turns[node, :old], 1)
            self.turns[node, old:now] = divided(turns, lower[:, old:])
            self.lower[node, old:now, :now] = lower
        self.g[:, old:now] = g
        del self.under_way
        FlowStates._learn(self, x, delta)


def cholesky(gram: Array, whole: Array) -> Array:
    """The lower triangular root of a Gram matrix (n, n); zero columns for vectors that are round-off of their size, `whole`."""
    root = np.zeros_like(gram)
    for j in range(len(gram)):
        rest = gram[j:, j] - root[j:, :j] @ root[j, :j]
        if rest[0] > APART * whole[j]:
            root[j:, j] = rest / rest[0] ** 0.5
    return root


def divided(vectors: Array, lower: Array) -> Array:
    """What gives vectors (n, …) when multiplied by a triangular root; zero where that has a zero column."""
    found = np.zeros_like(vectors)
    for j in range(len(vectors)):
        if lower[j, j] > 0:
            found[j] = (vectors[j] - np.tensordot(lower[j, :j], found[:j], 1)) / lower[j, j]
    return found
