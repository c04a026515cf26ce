r"""Nonlinear blocks of one layer at $\alpha = 1$, $\gamma = 0$: states are functions of a neuron's entries of U and V.

An update now moves $h$ by as much as $h$ itself, and the Gaussian $\hat h$ of the initial weights no longer averages out before
$\phi$. For $i = (t, \mu)$ and earlier $j$, with $\hat h \sim N(0, C^0(p))$ drawn afresh at every depth, independent of (U, V),

$$ h_i = \hat h_i - a\sum_{j<i}w_jC^0_{ij}\,\phi'(h_j)\delta_j, \qquad x_i' = a\,(E[\phi(h_i) \mid U, V] - E\phi(h_i)), $$
$$ -\delta_i' = a\sum_k y_k\,E[z_k\,\delta h_i] - a^2\sum_{j<i}w_jx_j\,E[\delta h_i\,\delta h_j], \qquad
   \delta h_i = \phi'(h_i)\,\delta_i. $$

Here $y_k$ are the features made orthonormal one after the other, $x_i = \sum_k L_{ik}y_k$, and $\hat h = Lz$, $z \sim N(0, 1)$:
by Stein's lemma the first sum is the response $\sum_jx_j\,E[\partial\delta h_i/\partial\hat h_j]$ of $h_i$ through all earlier
ones, for any $\phi$, kinked or not, and it stays regular where features coincide. TP6, Definition F.2, lacks it.

Functions of (U, V) are held at a cloud of N neurons, expectations given (U, V) are means over K points z, the same at every
depth: for any clouds the flow is smooth in p. What $\phi(\hat h)$ and $\phi'(\hat h)$ contribute is known, zero after the means
are subtracted, and is left out, so that the points err in proportion to the updates only. Without mean subtraction it is

$$ a\,E\phi(\hat h_i) \quad\text{in } x_i', \qquad a\,x_i\,E\phi''(\hat h_i)\,E\delta_i \quad\text{in } -\delta_i', $$

the same for all neurons: the means of the blocks are a drift of the features, as smooth in p as every other.
"""

from collections.abc import Callable

import numpy as np

from limits.deep.nonlinear_flow import Change, FlowStates
from limits.deep.refine import Level, Refined, Refinement
from limits.deep.sampling import NESTED, Nested, nested, over_clouds
from limits.memory import SHARE, available_memory, require
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


def one_layer_limit(problem: Problem, record: Record, done: Callable[[int], None], tol: float, refinement: Refinement) -> Refined:
    """The mean over clouds that meets the tolerance, of the largest that fit into memory if none does."""
    both = dimensions(problem)
    fit = SHARE * available_memory() / (4 * refinement.most_nodes * both[1])

    def compute(panels: Panels, clouds: Nested) -> Level:
        return one_layer_level(problem, panels, record, clouds, done)

    fewest, most = NESTED
    return over_clouds(compute, lambda points, seed: nested(points, both, seed), refinement, tol, (fewest, min(most, int(fit))))


def dimensions(problem: Problem) -> tuple[int, int]:
    """Coordinates of a neuron, and of z: one for every trained (step, sample) and one for a feature under way."""
    states = FlowStates(problem, Record(kinds=()), Panels.uniform(1, 1), 0)
    return states.k, states.census.backward + 1


def one_layer_level(problem: Problem, panels: Panels, record: Record, clouds: Nested, done: Callable[[int], None]) -> Level:
    """The limit on given panels, with clouds of `dimensions`."""
    states = NeuronFunctions(problem, record, panels, clouds)
    outputs, _ = evolve(problem, states, lambda t, _: done(t))
    return Level(panels, outputs, states.kernels(record), states.tails)


class NeuronFunctions(FlowStates):
    r"""The flow of one-layer blocks; a state is a vector of its values at all neurons times the roots of their weights.

    Args:
        problem, record, panels: as of `FlowStates`.
        clouds: neurons (U, V), N of them, and K points z for each.
    """

    def __init__(self, problem: Problem, record: Record, panels: Panels, clouds: Nested) -> None:
        self.root = clouds.weights**0.5
        alpha, gammas, _ = problem.parametrization.layers(problem.model.block_depth)
        super().__init__(problem, record, panels, int(alpha + min(gammas) == 1), clouds.outer.T * self.root)
        self.centred = problem.model.centred
        self.z, self.phi, self.a = clouds.inner, problem.model.phi, problem.model.multiplier
        self.unresolved = LOOSE
        n, trained = len(panels.nodes), self.census.backward
        require(4 * n * trained * self.z[0].size, "this limit", "take fewer steps or samples, or a looser tol")
        self.turns = np.empty((n, trained, *self.z.shape[1:]), self.z.dtype)  # phi'(h) delta of every trained (step, sample)
        self.y = np.zeros((n, 0, self.k))  # their features made orthonormal

    # What a pass sees at one node, of `new` features: arrays (new, N, K).

    def _seen(self, at: slice, x: Array, weights: Array) -> Array:
        return self.moving * self.a * weights * (x @ transposed(self.x[at]))

    def _arguments(self, node: int, rows: Array, seen: Array) -> tuple[Array, Array]:
        r"""$\hat h$ and $h$ of features with rows of L."""
        rows, seen = rows.astype(self.z.dtype), seen.astype(self.z.dtype)
        hats = np.tensordot(rows, self.z[: rows.shape[1]], 1)
        return hats, hats - np.tensordot(seen, self.turns[node, : seen.shape[1]], 1)

    def _moved(self, function: Callable[[Array], Array], hats: Array, values: Array) -> Array:
        """Values of a function at h less those at hat h; of odd ones these have mean zero over any cloud."""
        return values if self.phi.centred else values - function(hats)

    # Features.

    def _forward_change(self, t: int) -> Change:
        weights, old = self._weights(t), self.x.shape[1]

        def change(at: slice, x: Array) -> Array:
            drift = self._drift(np.sum(x * x, -1))
            if not old:
                return drift
            along, beyond = resolved(x, self.y[at])
            rows = np.concatenate([along, np.linalg.norm(beyond, axis=-1, keepdims=True)], axis=-1)
            parts = zip(range(at.start, at.stop), rows, self._seen(at, x, weights), strict=True)
            f = np.stack([self._conditional(*part) for part in parts])
            centre = f @ self.root[:, None] ** 2 if self.centred else 0.0
            return self.a * (f - centre) * self.root + drift

        return change

    def _drift(self, variances: Array) -> Array:
        r"""What the initial blocks add to all neurons alike, $a\,E\phi(\hat h)$, from the variances of $\hat h$."""
        means = np.zeros_like(variances) if self.centred else self.phi.mean(variances)
        return self.a * means[..., None] * self.root

    def _conditional(self, node: int, rows: Array, seen: Array) -> Array:
        r"""$E[\phi(h) - \phi(\hat h) \mid U, V]$, shape (new, N)."""
        hats, h = self._arguments(node, rows, seen)
        return self._moved(self.phi.phi, hats, self.phi.phi(h)).mean(-1)

    # Gradients.

    def _backward_change(self, t: int, x: Array) -> Change:
        weights = self._weights(t)
        self.y = orthonormal(x, self.y)
        rows, seen = x @ transposed(self.y), self._seen(slice(None), x, weights)
        pulls = np.stack([self._pulls(*part) for part in zip(range(len(x)), rows, seen, strict=True)])
        vectors = np.concatenate([self.moving * self.a**2 * weights[:, None] * self.x, -self.a * self.y], axis=1)
        pull_back = self._pull_back(x)

        def change(at: slice, delta: Array) -> Array:
            return (pulls[at] @ delta[..., None])[..., 0] @ vectors[at] + pull_back[at] * (delta @ self.root)[..., None]

        return change

    def _pull_back(self, x: Array) -> Array:
        r"""What the initial blocks add per unit of $E\delta$, $-a\,x\,E\phi''(\hat h)$."""
        if self.centred:
            return np.zeros_like(x)
        return -self.a * mean_curvature(self.phi, np.sum(x * x, -1))[..., None] * x

    def _pulls(self, node: int, rows: Array, seen: Array) -> Array:
        r"""Factors of a gradient in $E\,\delta h_i\delta h_j$, then in $E\,z_k\delta h_i$, shape (new, old + all, N)."""
        old, now = seen.shape[1], rows.shape[1]
        hats, h = self._arguments(node, rows, seen)
        slopes = self.phi.derivative(h)
        moved = self._moved(self.phi.derivative, hats, slopes)
        self.turns[node, old:now] = slopes  # until `_learn`
        with_old = np.einsum("ink,jnk->ijn", slopes, self.turns[node, :old])
        with_z = np.einsum("ink,jnk->ijn", moved, self.z[:now])
        return np.concatenate([with_old, with_z], axis=1) * self.root / self.z.shape[2]

    def _learn(self, x: Array, delta: Array) -> None:
        old, new = self.x.shape[1], x.shape[1]
        self.turns[:, old : old + new] *= (delta / self.root).astype(self.z.dtype)[..., None]
        super()._learn(x, delta)

    def _tails(self, y: Array, slopes: Array) -> Array:
        """Of coordinates along U and V: the single neuron's are as rough as its cloud of z is small."""
        seen = self.ends if self.centred else np.concatenate([self.ends, self.root[None]])
        return super()._tails(y @ seen.T, slopes @ seen.T)


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


def orthonormal(x: Array, y: Array) -> Array:
    """Orthonormal features y and with them new ones x, one after the other; zero for those that coincide with combinations."""
    for i in range(x.shape[1]):
        one = x[:, i : i + 1]
        beyond = resolved(one, y)[1]
        size, whole = (np.linalg.norm(v, axis=-1, keepdims=True) for v in (beyond, one))
        apart = size > COINCIDE * whole
        y = np.concatenate([y, np.where(apart, beyond / np.where(apart, size, 1.0), 0.0)], axis=1)
    return y
