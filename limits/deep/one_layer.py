r"""Nonlinear blocks of one layer at $\alpha = 1$, $\gamma = 0$: states are functions of a neuron's entries of U and V.

An update now moves $h$ by as much as $h$ itself, and the Gaussian $\hat h$ of the initial weights no longer averages out before
$\phi$. For $i = (t, \mu)$ and earlier $j$, with $\hat h \sim N(0, C^0(p))$ drawn afresh at every depth, independent of (U, V),

$$ h_i = \hat h_i - a\sum_{j<i}w_jC^0_{ij}\,\phi'(h_j)\delta_j, \qquad x_i' = a\,(E[\phi(h_i) \mid U, V] - E\phi(h_i)), $$
$$ -\delta_i' = a\sum_k y_k\,E[z_k\,\delta h_i] - a^2\sum_{j<i}w_jx_j\,E[\delta h_i\,\delta h_j], \qquad
   \delta h_i = \phi'(h_i)\,\delta_i. $$

Here $y_k$ are the features made orthonormal one after the other, $x_i = \sum_k L_{ik}y_k$, and $\hat h = Lz$, $z \sim N(0, 1)$:
by Stein's lemma the first sum is the response $\sum_jx_j\,E[\partial\delta h_i/\partial\hat h_j]$ of $h_i$ through all earlier
ones, for any $\phi$, kinked or not, and it stays regular where features coincide. TP6, Definition F.2, lacks it.

What was learned counts only in the coordinates y, with $\Psi_k = \sum_jw_jL_{jk}\,\delta h_j$, and goes together with the noise:

$$ H_k = z_k - a\Psi_k, \qquad h_i = \sum_kL_{ik}H_k, \qquad -\delta_i' = a\sum_ky_k\,E[H_k\,\delta h_i]. $$

Features of many samples at many steps hardly leave the span of a few, and as many $H_k$ are all that is kept.

Functions of (U, V) are held at a cloud of N neurons, expectations given (U, V) are means over K points z, the same at every
depth: for any clouds the flow is smooth in p. What $\phi(\hat h)$ and $\phi'(\hat h)$ contribute is known, zero after the means
are subtracted, and is left out, so that the points err in proportion to the updates only. Without mean subtraction it is

$$ a\,E\phi(\hat h_i) \quad\text{in } x_i', \qquad a\,x_i\,E\phi''(\hat h_i)\,E\delta_i \quad\text{in } -\delta_i', $$

the same for all neurons: the means of the blocks are a drift of the features, as smooth in p as every other.
"""

from collections.abc import Callable

import numpy as np

from limits.deep.nonlinear import Census
from limits.deep.nonlinear_flow import Change, FlowStates
from limits.deep.pre_flow import pre_flow_footprint
from limits.deep.refine import Level, Refined, Refinement
from limits.deep.sampling import NESTED, Nested, nested, outer_points, over_clouds
from limits.memory import require
from limits.nonlinearity import Nonlinearity
from limits.panels import Panels
from limits.problem import Problem
from limits.record import Record
from limits.semiseparable import transposed
from limits.training import evolve

Array = np.ndarray
LOOSE = 1e6
"""Multiple of round-off to which passes are iterated: a millionth of what clouds can tell."""
SMALLEST = 1e-30
"""Variance that stands for 0 where a kinked function has an infinite mean curvature."""
COINCIDE = 1e-9
"""A feature closer to those before it than this share of its size counts as one of their combinations."""
TOGETHER, FINER = 0.3, 4
"""That share, times the root of the number of points, where these know no better; a check of it is by so much finer."""
FEW = 24
"""How many features apart are reckoned with at first."""
REMEDY = "take fewer steps or samples, or a looser tol"


class ManyApartError(ArithmeticError):
    """More features lie apart than a cloud has coordinates for."""


def one_layer_limit(problem: Problem, record: Record, done: Callable[[int], None], tol: float, refinement: Refinement) -> Refined:
    """The mean over clouds that meets the tolerance, of the largest that fit into memory if none does."""
    k, most_apart = dimensions(problem)
    coordinates = min(FEW + 1, most_apart)

    def compute(panels: Panels, which: tuple[int, int], finer: bool = False) -> Level:
        nonlocal coordinates
        points, seed = which
        together = TOGETHER / points**0.5 / (FINER if finer else 1)
        while True:
            try:
                return one_layer_level(problem, panels, record, nested(points, (k, coordinates), seed), done, together)
            except ManyApartError:
                coordinates = min(2 * coordinates, most_apart)

    return over_clouds(compute, lambda points, seed: (points, seed), refinement, tol, NESTED)


def dimensions(problem: Problem) -> tuple[int, int]:
    """Coordinates of a neuron, and at most of z: one for every trained (step, sample) and one for a feature under way."""
    states = FlowStates(problem, Record(kinds=()), Panels.uniform(1, 1), 0)
    return states.k, states.census.backward + 1


def one_layer_footprint(problem: Problem, record: Record, nodes: int, points: int, coordinates: int | None = None) -> int:
    """Bytes that `one_layer_level` takes: z, what was learned at every node, what a pass makes at one node, and the neurons'.

    Of as many coordinates of z as are reckoned with at first, unless others are given.
    """
    coordinates = min(FEW + 1, dimensions(problem)[1]) if coordinates is None else coordinates
    batch, outer = Census(problem, record).largest, outer_points(points)
    kept = coordinates * (1 + nodes * (1 + (problem.sgd.momentum > 0)))
    pulls = 16 * outer * nodes * batch * coordinates
    return 4 * points * (kept + 4 * batch) + pulls + pre_flow_footprint(problem, record, nodes, outer)


def one_layer_level(
    problem: Problem,
    panels: Panels,
    record: Record,
    clouds: Nested,
    done: Callable[[int], None],
    together: float = COINCIDE,
) -> Level:
    """The limit on given panels, with clouds of at most `dimensions`."""
    states = NeuronFunctions(problem, record, panels, clouds)
    states.together = together
    outputs, _ = evolve(problem, states, lambda t, _: done(t))
    return Level(panels, outputs, states.kernels(record), states.tails)


class GivenNeurons(FlowStates):
    r"""A state is a vector of its values at all neurons times the roots of their weights; z is drawn for each of them.

    Args:
        problem, record, panels: as of `FlowStates`.
        clouds: neurons (U, V), N of them, and K points z for each.
    """

    def __init__(self, problem: Problem, record: Record, panels: Panels, clouds: Nested) -> None:
        self.root = clouds.weights**0.5
        alpha, gammas, _ = problem.parametrization.layers(problem.model.block_depth)
        super().__init__(problem, record, panels, int(alpha + min(gammas) == 1), clouds.outer.T * self.root)
        self.z, self.phi, self.a, self.centred = clouds.inner, problem.model.phi, problem.model.multiplier, problem.model.centred
        self.unresolved = LOOSE
        self.y = np.zeros((len(panels.nodes), 0, self.k))  # trained features made orthonormal
        self.together = COINCIDE

    def _hats(self, rows: Array) -> Array:
        r"""$\hat h$ (new, N, K) of features with rows of L."""
        return np.tensordot(rows.astype(self.z.dtype), self.z[: rows.shape[1]], 1)

    def _moved(self, function: Callable[[Array], Array], hats: Array, values: Array) -> Array:
        """Values of a function at h less those at hat h; of odd ones these have mean zero over any cloud."""
        return values if self.phi.centred else values - function(hats)

    def _over_points(self, values: Array, others: Array) -> Array:
        """Means over the K points of products of (new, N, K) with (old, N, K), times the roots, shape (new, old, N)."""
        products = np.matmul(values.swapaxes(0, 1), others.transpose(1, 2, 0))
        return products.transpose(1, 2, 0) * (self.root / values.shape[2])

    def _drift(self, variances: Array) -> Array:
        r"""What the initial blocks add to all neurons alike, $a\,E\phi(\hat h)$, from the variances of $\hat h$."""
        means = np.zeros_like(variances) if self.centred else self.phi.mean(variances)
        return self.a * means[..., None] * self.root

    def _tails(self, y: Array, slopes: Array) -> Array:
        """Of coordinates along U and V: the single neuron's are as rough as its cloud of z is small."""
        seen = self.ends if self.centred else np.concatenate([self.ends, self.root[None]])
        return super()._tails(y @ seen.T, slopes @ seen.T)


class NeuronFunctions(GivenNeurons):
    """The flow of one-layer blocks."""

    def __init__(self, problem: Problem, record: Record, panels: Panels, clouds: Nested) -> None:
        super().__init__(problem, record, panels, clouds)
        z, n = self.z, len(panels.nodes)
        require(one_layer_footprint(problem, record, n, z[0].size, len(z)), "this limit", REMEDY)
        self.made_of = np.tile(z, (n, 1, 1, 1))  # H
        self.velocity = np.zeros_like(self.made_of) if problem.sgd.momentum else None

    def _h(self, node: int, rows: Array) -> Array:
        """Of features with rows of L, shape (new, N, K)."""
        return np.tensordot(rows.astype(self.z.dtype), self.made_of[node, : rows.shape[1]], 1)

    # Features.

    def _forward_change(self, t: int) -> Change:
        old = self.x.shape[1]

        def change(at: slice, x: Array) -> Array:
            drift = self._drift(np.sum(x * x, -1))
            if not old:
                return drift
            along, beyond = resolved(x, self.y[at])
            rows = np.concatenate([along, np.linalg.norm(beyond, axis=-1, keepdims=True)], axis=-1)
            f = np.stack([self._conditional(*part) for part in zip(range(at.start, at.stop), rows, strict=True)])
            centre = f @ self.root[:, None] ** 2 if self.centred else 0.0
            return self.a * (f - centre) * self.root + drift

        return change

    def _conditional(self, node: int, rows: Array) -> Array:
        r"""$E[\phi(h) - \phi(\hat h) \mid U, V]$, shape (new, N)."""
        values = self.phi.phi(self._h(node, rows))
        return (values if self.phi.centred else self._moved(self.phi.phi, self._hats(rows), values)).mean(-1)

    # Gradients.

    def _backward_change(self, t: int, x: Array) -> Change:
        self.now, self.y = t, orthonormal(x, self.y, self.together)
        if self.y.shape[1] >= len(self.z):
            raise ManyApartError
        self.rows = x @ transposed(self.y)
        pulls = np.stack([self._pulls(node, rows) for node, rows in enumerate(self.rows)])
        pull_back = self._pull_back(x)

        def change(at: slice, delta: Array) -> Array:
            return (pulls[at] @ delta[..., None])[..., 0] @ self.y[at] + pull_back[at] * (delta @ self.root)[..., None]

        return change

    def _pulls(self, node: int, rows: Array) -> Array:
        r"""What a gradient times these, summed over neurons, adds to itself along y, shape (new, all, N)."""
        count = rows.shape[1]
        pulls = self._over_points(self.phi.derivative(self._h(node, rows)), self.made_of[node, :count])
        if not self.phi.centred:  # mean zero, and as far from it over the points as the other
            pulls -= self._over_points(self.phi.derivative(self._hats(rows)), self.z[:count])
        return -self.a * pulls

    def _pull_back(self, x: Array) -> Array:
        r"""What the initial blocks add per unit of $E\delta$, $-a\,x\,E\phi''(\hat h)$."""
        if self.centred:
            return np.zeros_like(x)
        return -self.a * mean_curvature(self.phi, np.sum(x * x, -1))[..., None] * x

    def _learn(self, x: Array, delta: Array) -> None:
        for node, (rows, d) in enumerate(zip(self.rows, delta / self.root, strict=True)):
            turns = self.phi.derivative(self._h(node, rows)) * d[..., None].astype(self.z.dtype)
            self._add(node, self._rate() * np.tensordot(rows.T.astype(self.z.dtype), turns, 1))
        super()._learn(x, delta)

    def _rate(self) -> float:
        r"""The learning rate of the step that ends, times what stands before $\Psi$."""
        return self.moving * self.a * float(self.problem.sgd.schedule("lr")[self.now])

    def _add(self, node: int, gradient: Array) -> None:
        """One step of what is learned, with momentum."""
        made_of = self.made_of[node, : len(gradient)]
        if self.velocity is None:
            made_of -= gradient
            return
        velocity = self.velocity[node, : len(gradient)]
        velocity *= self.problem.sgd.momentum
        velocity += gradient
        made_of -= velocity


def mean_curvature(phi: Nonlinearity, u: Array) -> Array:
    r"""$E\phi''(\sqrt uz)$ of a function that is not odd, as $2V_u(u, v, 0)/E\phi(\sqrt vz)$ for any v where that is not 0.

    >>> from limits.nonlinearity import nonlinearity
    >>> mean_curvature(nonlinearity("square"), np.array([0.5, 2.0])).round(12)
    array([2., 2.])
    """
    u = np.maximum(u, SMALLEST)
    tried = u.max(initial=SMALLEST) * np.array([0.0, 0.25, 1.0])
    means = phi.mean(tried)
    best = np.argmax(np.abs(means))
    return 2 * phi.dual(u, tried[best], 0.0, mean_subtraction=False).V_u / means[best]


def resolved(x: Array, y: Array) -> tuple[Array, Array]:
    """Components of features (…, new, k) along orthonormal ones (…, old, k), and what lies beyond, to round-off of itself."""
    along = x @ transposed(y)
    beyond = x - along @ y
    again = beyond @ transposed(y)
    return along + again, beyond - again @ y


def orthonormal(x: Array, y: Array, together: float = COINCIDE) -> Array:
    """Orthonormal features y, and with them those of the new ones x, one after the other, that lie apart at any node.

    Zero at the nodes where they do not: there they are combinations of those before, to `together` of their size.
    """
    for i in range(x.shape[1]):
        one = x[:, i : i + 1]
        beyond = resolved(one, y)[1]
        size, whole = (np.linalg.norm(v, axis=-1, keepdims=True) for v in (beyond, one))
        apart = size > together * whole
        if np.any(apart):
            y = np.concatenate([y, np.where(apart, beyond / np.where(apart, size, 1.0), 0.0)], axis=1)
    return y
