r"""Training of networks with nonlinear blocks, several seeds at a time: what passes through them are samples.

With $c = aL^{-\alpha}$, a block of form "post" sends rows $x^{l-1}$ forward and $\delta^l = n\,\partial_{x^l}$ back by

$$ h^l = W^lx^{l-1},\quad x^l = x^{l-1} + c\,G\phi(h^l),\qquad
   \delta h^l = \phi'(h^l)\odot G\delta^l,\quad \delta^{l-1} = \delta^l + c\,W^{lT}\delta h^l, $$

and $W^l$ moves by $-\eta aL^{-\gamma}n^{-1}\sum_i\delta h_i^l x_i^{l-1,T}$. A block of form "pre" is
$x^l = x^{l-1} + c\,W^l\phi(x^{l-1})$, $\delta^{l-1} = \delta^l + c\,\phi'(x^{l-1})\odot W^{lT}\delta^l$, and $W^l$ moves by
$-\eta aL^{-\gamma}n^{-1}\sum_i\delta_i^l\phi(x_i^{l-1})^T$. Forward go all evaluated samples, back those of the batch; the
batch mean is inside $\delta^L = V\chi$.

The factors of an update are the same rows that `Blocks` keeps of it. Between the two passes their places hold all that the
backward pass needs: that of $x^{l-1}$ or $\phi(x^{l-1})$ itself, and that of $\delta$ the slope $\phi'$, which the backward
pass replaces.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from array_api_compat import array_namespace

from limits.directions import Directions
from limits.finite.blocks import Product
from limits.finite.network import Ends, Networks, Recorded, Watch, inner_multiplier
from limits.library import Library
from limits.nonlinearity import Nonlinearity
from limits.problem import Problem
from limits.semiseparable import BACKWARD, FORWARD

Array = Any
ROWS_AT_ONCE = 6
"""Arrays of all samples' rows at one level that a pass holds at its largest."""


@dataclass(frozen=True)
class Rows:
    """Rows of some samples out of those of others; a view where they are the first ones in order."""

    library: Library
    samples: np.ndarray

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def _first(self) -> bool:
        return np.array_equal(self.samples, np.arange(len(self)))

    def __call__(self, rows: Array) -> Array:
        if self._first:
            return rows[..., : len(self), :]
        return self.library.xp.take(rows, self.library.whole(self.samples), axis=-2)

    def spread(self, rows: Array, samples: np.ndarray) -> Array:
        """From rows of these samples to rows of others, zero for those that are not among them."""
        return spread(rows, self.library.whole(places_in(self.samples, samples)))


def places_in(samples: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """For every wanted sample its place among these, which are in order; their number where it is not among them."""
    place, k = np.searchsorted(samples, wanted), len(samples)
    return np.where(samples[np.minimum(place, k - 1)] == wanted, place, k)


def spread(rows: Array, places: Array) -> Array:
    """Rows (S, k, n) at these places; zero at place k."""
    xp = array_namespace(rows)
    return xp.take(xp.concat([rows, xp.zeros_like(rows[:, :1, :])], axis=1), places, axis=1)


class Form(Protocol):
    """How a block combines its matrix, the nonlinearity, and mean subtraction."""

    def forward(self, product: Product, l: int, x: Array) -> tuple[Array, Array, Array]:
        """What the matrix acts on, the argument of the nonlinearity, and the rows after the block."""
        ...

    def backward(self, product: Product, l: int, slope: Array, delta: Array) -> Array:
        """Rows before the block; `slope` becomes the factor of the update."""
        ...


@dataclass(frozen=True)
class Post:
    r"""$x + c\,G\phi(Wx)$; `product` is with $W$, and with `averaging` (n, 1), None without $G$, that of the mean."""

    phi: Nonlinearity
    multiplier: float
    averaging: Array

    def forward(self, product: Product, l: int, x: Array) -> tuple[Array, Array, Array]:
        h = product(l, x)
        after = self._centred(self.multiplier * self.phi.phi(h))
        after += x
        return x, h, after

    def backward(self, product: Product, l: int, slope: Array, delta: Array) -> Array:
        slope *= self._centred(delta)
        before = product(l, slope)
        before *= self.multiplier
        before += delta
        return before

    def _centred(self, rows: Array) -> Array:
        return rows if self.averaging is None else rows - rows @ self.averaging


@dataclass(frozen=True)
class Pre:
    r"""$x + c\,W\phi(x)$; `product` is with $cW$."""

    phi: Nonlinearity

    def forward(self, product: Product, l: int, x: Array) -> tuple[Array, Array, Array]:
        y = self.phi.phi(x)
        return y, x, product(l, y, onto=x)

    def backward(self, product: Product, l: int, slope: Array, delta: Array) -> Array:
        before = product(l, delta)
        before *= slope
        before += delta
        slope[...] = delta
        return before


class NonlinearTraining:
    """SGD on `Networks` of nonlinear blocks: at every evaluation a forward pass, and a backward pass where it is needed.

    Args:
        problem: what is trained.
        networks: rewritten as they learn.
        coordinates: of the evaluated samples in the input directions, shape (P + R, c).
        watch: which states to record.
    """

    def __init__(self, problem: Problem, networks: Networks, coordinates: np.ndarray, watch: Watch) -> None:
        self.problem, self.networks, self.watch = problem, networks, watch
        self.library, self.ends = networks.library, Ends(problem, networks)
        self.coordinates = self.library.put(coordinates)
        model, L, self.width = problem.model, networks.blocks.count, networks.rows[FORWARD].shape[-1]
        alpha, gamma, _ = problem.parametrization.single()
        self.form: Form = Pre(model.phi)
        if model.form == "post":
            averaging = np.full((self.width, 1), 1 / self.width)  # a product is several times faster than numpy's mean
            averaging = self.library.put(averaging) if model.mean_subtraction else None
            self.form = Post(model.phi, model.multiplier * L ** float(-alpha), averaging)
        inner, power = inner_multiplier(problem)
        kappa = inner * model.multiplier * L ** float(power - gamma) / self.width
        self.steps = [*(kappa * problem.optimizer.schedule()).tolist(), 0.0]

    @staticmethod
    def update_rows(problem: Problem, basis: Directions) -> np.ndarray:
        """Rows of factors that every step puts, shape (T,): one for every sample in its batch."""
        return np.array([np.count_nonzero(problem.batch_share(t)) for t in range(problem.steps)], int)

    def evaluate(self, t: int) -> Array:
        """Outputs (S, P + R, d_out) of evaluation t, and the update after it."""
        rows, blocks = self.networks.rows, self.networks.blocks
        batch, recorded = self._batch(t), self.watch(BACKWARD, t)
        blocks.begin(len(batch), kept=self.steps[t] > 0)
        end = self._forward(t, self.coordinates @ rows[FORWARD], batch)
        outputs = end @ self._transposed(rows[BACKWARD]) / self.width
        if t < self.problem.steps:
            chi, coordinates = self.ends.chi(t, outputs), self.coordinates[: self.problem.n_samples, :]
            gradient = 0.0
            if len(batch):
                delta = self._backward(batch(chi) @ rows[BACKWARD], batch, recorded)
                gradient = self._transposed(batch(coordinates)) @ delta
            self.ends.learn(FORWARD, t, gradient)
            self.ends.learn(BACKWARD, t, self._transposed(chi) @ end[:, : self.problem.n_samples, :])
        return outputs

    def _batch(self, t: int) -> Rows:
        """The samples that go back: those in the batch, or none where nothing needs them."""
        needed = t < self.problem.steps and (self.steps[t] > 0 or self.ends.rates[FORWARD][t] > 0 or self.watch(BACKWARD, t))
        return Rows(self.library, np.flatnonzero(self.problem.batch_share(t)) if needed else np.zeros(0, int))

    def _forward(self, t: int, x: Array, batch: Rows) -> Array:
        """The last level; leaves factors and slopes of the batch, and what is recorded."""
        blocks, recorded, slope_of = self.networks.blocks, self.watch(FORWARD, t), self.problem.model.phi.derivative
        product, factors, slopes = blocks.product(FORWARD), blocks.slots(FORWARD), blocks.slots(BACKWARD)
        leave = leaving(recorded, lambda r: Rows(self.library, r.samples))
        for l in range(blocks.count):
            leave(l, x)
            y, z, x = self.form.forward(product, l, x)
            if len(batch):
                factors[l][...] = -self.steps[t] * batch(y)
                slopes[l][...] = slope_of(batch(z))
        leave(blocks.count, x)
        return x

    def _backward(self, delta: Array, batch: Rows, recorded: Recorded | None) -> Array:
        """Delta at level 0; turns the slopes into factors, and leaves what is recorded."""
        blocks = self.networks.blocks
        product, slopes = blocks.product(BACKWARD), blocks.slots(BACKWARD)
        leave = leaving(recorded, lambda r: lambda rows: batch.spread(rows, r.samples))
        for l in reversed(range(blocks.count)):
            leave(l + 1, delta)
            delta = self.form.backward(product, l, slopes[l], delta)
        leave(0, delta)
        return delta

    def _transposed(self, rows: Array) -> Array:
        return self.library.xp.matrix_transpose(rows)


def leaving(recorded: Recorded | None, pick: Callable[[Recorded], Callable[[Array], Array]]) -> Callable[[int, Array], None]:
    """What leaves rows at a level where they are recorded, if anything is."""
    if recorded is None:
        return lambda level, rows: None
    seen = pick(recorded)
    return lambda level, rows: recorded.leave(level, rows, seen)
