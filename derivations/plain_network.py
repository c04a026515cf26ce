r"""Residual networks in plain steps: one code for matrices of finite width and for infinite width by neurons.

SGD without momentum, with blocks of one layer (form "post") or two ("mlp", "post"); two-layer ones also to first order in what
they learned. The matrices are those of `plain_matrices`. The studies need networks that the package does not have; where it has
them, the tests hold these to the same numbers.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import numpy as np
from plain_matrices import Learned, Matrix, Noise, Unseen

from limits.problem import Problem
from limits.semiseparable import BACKWARD, FORWARD, Side, transposed

Array = np.ndarray
Watch = Callable[[Side, int, int, Array], None]
"""(side, evaluation, level, rows of all samples)."""


def centred(rows: Array) -> Array:
    """G: rows without their mean over neurons."""
    return rows - rows.mean(-1, keepdims=True)


def _same(rows: Array) -> Array:
    return rows


class Block(Protocol):
    """A branch, its backward pass, and the step after it."""

    def forward(self, x: Array) -> Array:
        """What it adds to x, over its multiplier."""
        ...

    def backward(self, delta: Array) -> Array:
        """What it adds to delta, over its multiplier; it learns."""
        ...


class OneLayer:
    r"""$G\phi(Wx)$."""

    def __init__(self, problem: Problem, rates: Sequence[float], matrix: Matrix, moved: Any = None) -> None:
        self.phi, self.g = problem.model.phi, _same if problem.model.phi.linear else centred
        self.w, self.moved = matrix, moved or Learned(rates[0])

    def forward(self, x: Array) -> Array:
        h = self.w(FORWARD, x) + self.moved(FORWARD, x)
        self.tape = x, self.phi.derivative(h)
        return self.g(self.phi.phi(h))

    def backward(self, delta: Array) -> Array:
        x, slope = self.tape
        g = slope * self.g(delta)
        before = self.w(BACKWARD, g) + self.moved(BACKWARD, g)
        self.moved.learn(g, x)
        return before


CURVATURE: dict[str, Callable[[Array, Array], Array]] = {
    "tanh": lambda y, slope: -2 * y * slope,
    "sin + cos": lambda y, slope: -y,
}
r"""$\phi''$ from $\phi$ and $\phi'$."""


class TwoLayers:
    r"""$W_2\phi(W_1x)$ (form "mlp") or $G\phi(W_2\phi(W_1x))$ ("post"), both matrices with all they have learned."""

    def __init__(self, problem: Problem, rates: Sequence[float], first: Matrix, second: Matrix) -> None:
        self.phi, self.first, self.second = problem.model.phi, first, second
        self.moved, self.outer = (Learned(rates[0]), Learned(rates[1])), problem.model.form == "post"

    def forward(self, x: Array) -> Array:
        h = self.first(FORWARD, x) + self.moved[0](FORWARD, x)
        y = self.phi.phi(h)
        z = self.second(FORWARD, y) + self.moved[1](FORWARD, y)
        self.tape = x, y, self.phi.derivative(h), self.phi.derivative(z) if self.outer else 1.0
        return centred(self.phi.phi(z)) if self.outer else z

    def backward(self, delta: Array) -> Array:
        x, y, slope, outer = self.tape
        q = outer * centred(delta) if self.outer else delta
        g = slope * (self.second(BACKWARD, q) + self.moved[1](BACKWARD, q))
        before = self.first(BACKWARD, g) + self.moved[0](BACKWARD, g)
        self.moved[0].learn(g, x)
        self.moved[1].learn(q, y)
        return before


class FirstOrder(TwoLayers):
    r"""A two-layer block to first order in what its matrices have learned.

    With $\hat h = \hat W_1x$, $\hat z = \hat W_2\phi(\hat h)$ it is $\hat z + m$ or $G[\phi(\hat z) + \phi'(\hat z)m]$, where
    $m = \Delta_2\phi(\hat h) + \hat W_2\phi'(\hat h)\Delta_1x$. It is trained as what it is: gradients are those of this branch.
    """

    def __init__(self, problem: Problem, rates: Sequence[float], first: Matrix, second: Matrix) -> None:
        super().__init__(problem, rates, first, second)
        self.curvature = CURVATURE[self.phi.name]

    def forward(self, x: Array) -> Array:
        h, moved = self.first(FORWARD, x), self.moved[0](FORWARD, x)
        y, slope = self.phi.phi(h), self.phi.derivative(h)
        z, m = self.second(FORWARD, y), self.second(FORWARD, slope * moved) + self.moved[1](FORWARD, y)
        top = self.phi.phi(z), self.phi.derivative(z)
        self.seen = x, y, slope, moved, top, m
        return centred(top[0] + top[1] * m) if self.outer else z + m

    def backward(self, delta: Array) -> Array:
        x, y, slope, moved, top, m = self.seen
        rest = centred(delta) if self.outer else delta
        q = top[1] * rest if self.outer else rest
        k = q + self.curvature(*top) * m * rest if self.outer else q
        back, more = self.second(BACKWARD, q), self.moved[1](BACKWARD, q)
        through = self.second(BACKWARD, k) if self.outer else back
        bent = slope * (through + more) + self.curvature(y, slope) * moved * back
        before = self.first(BACKWARD, bent) + self.moved[0](BACKWARD, slope * back)
        self.moved[0].learn(slope * back, x)
        self.moved[1].learn(q, y)
        return before


def rates_of(problem: Problem, blocks: int) -> list[float]:
    r"""$\eta aL^{-\gamma_i}$ of every layer."""
    _, gammas, _ = problem.parametrization.layers(problem.model.block_depth)
    return [float(problem.optimizer.lr) * problem.model.multiplier * blocks ** -float(g) for g in gammas]


def train(problem: Problem, branches: Sequence[Block], ends: tuple[Array, Array], watch: Watch | None = None) -> Array:
    """Outputs (…, T + 1, samples, d_out) of networks with these branches and these rows of U and V, (…, d, n)."""
    u, v = ends
    n, L, p, outputs = u.shape[-1], len(branches), problem.n_samples, []
    alpha = float(problem.parametrization.layers(problem.model.block_depth)[0])
    step, see = problem.model.multiplier * L**-alpha, watch or (lambda side, t, level, rows: None)
    for t in range(problem.steps + 1):
        x = (problem.evaluated / problem.d_in**0.5).astype(u.dtype) @ u
        see(FORWARD, t, 0, x)
        for l, branch in enumerate(branches, 1):
            x = x + step * branch.forward(x)
            see(FORWARD, t, l, x)
        outputs.append(x @ transposed(v) / n)
        if t == problem.steps:
            break
        delta = np.zeros_like(x)
        chi = problem.loss_function.derivative(outputs[t][..., :p, :], problem.targets) * problem.batch_share(t)[:, None]
        delta[..., :p, :] = chi.astype(u.dtype) @ v
        for l in reversed(range(L)):
            see(BACKWARD, t, l + 1, delta)
            delta = delta + step * branches[l].backward(delta)
        see(BACKWARD, t, 0, delta)
    return np.stack(outputs, axis=-3)


def infinite(
    problem: Problem, blocks: int, neurons: int, seed: Sequence[int], sides: Collection[Side] = (FORWARD, BACKWARD)
) -> tuple:
    """U, V and matrices of a network of infinite width: ((U, V), matrices by block and layer), rows of U and V (d, N)."""
    noise = Noise(np.random.default_rng(seed), neurons, exact=problem.model.phi.linear)
    ends = noise.draw(problem.d_in), noise.draw(problem.d_out)
    return ends, [[Unseen(noise, sides) for _ in range(problem.model.block_depth)] for _ in range(blocks)]


def draw(problem: Problem, width: int, blocks: int, seeds: Sequence[Sequence[int]], copies: bool = False) -> tuple:
    """U, V and matrices of networks, one seed each: as `simulate` draws them, in single precision, then the copies.

    Returns:
        ((U, V), matrices): rows of U and V (seeds, d, n), matrices (blocks, layers, seeds, n, n), with `copies` twice the layers.
    """
    k, n = problem.model.block_depth, width
    places = [(l, i) for part in range(1 + copies) for l in range(blocks) for i in range(part * k, (part + 1) * k)]
    u, v = (np.empty((len(seeds), d, n), np.float32) for d in (problem.d_in, problem.d_out))
    weights = np.empty((blocks, (1 + copies) * k, len(seeds), n, n), np.float32)
    for s, seed in enumerate(seeds):
        rng = np.random.default_rng(seed)
        u[s], v[s] = (rng.standard_normal((n, d)).T for d in (problem.d_in, problem.d_out))
        for l, i in places:
            weights[l, i, s] = rng.standard_normal((n, n)) / n**0.5
    return (u, v), weights
