r"""How far networks of two-layer blocks are from their limit, and in which way.

At $\alpha = 1$, $\gamma_i = 0$ features of the limit are combinations of the initial ones, $x^0 = U\xi/\sqrt{d_{in}}$, and of V.
Those of a network of width D are held against the combinations of its own U and V:

$$ \tfrac1D\|x_i - x_i^{limit}\|^2 = |\Delta_i|_\Gamma^2 + \nu_i, $$

with $\Delta_i$ within the span of $x^0$ and V, of Gram matrix $\Gamma$, and $\nu_i$ outside of it, where the noise of the initial
blocks goes. The mean of $\Delta$ over networks is a bias, and it fluctuates about that from network to network.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import log

import numpy as np

from limits.deep import solve
from limits.finite import simulate
from limits.markup import brief, listed
from limits.parametrization import Parametrization
from limits.problem import Problem
from limits.record import Record
from limits.trajectory import Trajectory

Array = np.ndarray
FINEST = 10**9
"""Largest denominator of an exponent that stands for a factor."""


def rescaled(problem: Problem, *, width: int, block_width: int, blocks: int) -> Problem:
    r"""The problem whose networks of these sizes have the same limit, whatever the ratio of the two widths.

    With $\rho = M/(Dr)$ for an expansion r of the problem, the multiplier is $a/\sqrt\rho$ and the first layer moves $\rho$
    times as fast, as in networks $x + \frac{1}{LM}V\phi(U^Tx/D)$ with U, V of variance D (CCM). The factor is written as a power
    of L: a single block can have none.

    >>> from limits import COMPLETEP, SGD, Problem, ResNet
    >>> one = Problem(ResNet("tanh", 2, form="mlp"), COMPLETEP, SGD(0.5, 1), [[1.0]], [[1.0]])
    >>> other = rescaled(one, width=64, block_width=256, blocks=16)
    >>> other.model.expansion, other.model.multiplier, other.parametrization
    (4.0, 0.5, Parametrization(alpha=1, gamma=(-1/2, 0)))

    Raises:
        ValueError: a single block, with another ratio than the problem's.
    """
    ratio = block_width / (width * problem.model.expansion)
    model = replace(problem.model, expansion=block_width / width, multiplier=problem.model.multiplier / ratio**0.5)
    if ratio == 1:
        return replace(problem, model=model)
    if blocks == 1:
        raise ValueError("networks of one block have block_width = expansion * width: take more blocks")
    faster = Fraction(-log(ratio) / log(blocks)).limit_denominator(FINEST)
    return replace(problem, model=model, parametrization=Parametrization(1, (faster, 0)))


@dataclass(frozen=True, eq=False)
class Deviation:
    r"""Networks of one size (`width`, `block_width` and `blocks`: D, M, L) less their limit, after training.

    Attributes:
        within: $\Delta$ in coordinates in which $\Gamma$ of the limit is 1, shape (networks, samples, coordinates).
        outside: $\nu$, shape (networks, samples).
        outputs: less those of the limit, shape (networks, samples, d_out).
        overlaps: upper triangle of $\Gamma$ less that of the limit, 1, shape (networks, entries).
        total: $\|x - x^{limit}\|^2/D$, shape (networks, samples).

    >>> from limits import COMPLETEP, SGD, ResNet
    >>> one = Problem(ResNet("tanh", 2, form="mlp"), COMPLETEP, SGD(0.5, steps=1), [[1.0]], [[1.0]])
    >>> off = Limit(one, tol=1e-2).of(16, 32, 4, range(8))
    >>> off.within.shape, off.outside.shape  # networks, samples, coordinates
    ((8, 1, 2), (8, 1))
    >>> bool(off.total.mean() < 1)
    True
    """

    width: int
    block_width: int
    blocks: int
    within: Array
    outside: Array
    total: Array
    outputs: Array
    overlaps: Array

    __repr__ = brief

    def chosen(self, networks: Array) -> "Deviation":
        """Some of the networks."""
        parts = (getattr(self, name)[networks] for name in ("within", "outside", "total", "outputs", "overlaps"))
        return Deviation(self.width, self.block_width, self.blocks, *parts)


class Limit:
    """The limit after training, in coordinates of the initial features and V.

    Args:
        problem: what is trained, with U and V frozen.
        tol: of the limit.

    >>> from limits import COMPLETEP, SGD, ResNet
    >>> one = Problem(ResNet("tanh", 2, form="mlp"), COMPLETEP, SGD(0.5, steps=1), [[1.0]], [[1.0]])
    >>> limit = Limit(one, tol=1e-2)
    >>> limit.coordinates.shape  # samples; directions of inputs and outputs
    (1, 2)
    """

    def __init__(self, problem: Problem, tol: float | None = None) -> None:
        self.problem, everyone = problem, range(len(problem.evaluated))
        self.record = Record(positions=(0, 1), steps=(0, problem.steps), samples=everyone, kinds=("two_depth",))
        self.answer = solve(problem, tol=tol, record=self.record)
        xi = problem.evaluated / problem.d_in**0.5
        left, sizes, _ = np.linalg.svd(xi, full_matrices=False)
        kept = sizes > 1e-9 * sizes[0]
        self.to_basis = left[:, kept] / sizes[kept]  # initial features in orthonormal directions of the inputs
        self.coordinates = self._coordinates(self.answer)

    def __repr__(self) -> str:
        return listed("Limit", [repr(self.problem)])

    def _coordinates(self, answer: Trajectory) -> Array:
        """Inner products of the last features with the basis of U and with V, shape (samples, r + d_out)."""
        seen = _two_depth(answer)[-1, 0, 1, 0]
        return np.concatenate([seen @ self.to_basis, answer.outputs[-1]], axis=1)

    def of(self, width: int, block_width: int, blocks: int, seeds: range) -> Deviation:
        """Networks of a size: network s is the first of the seed s.

        Raises:
            ValueError: networks in which nothing is outside of the span of U and V.
        """
        spanned = self.to_basis.shape[1] + self.problem.d_out
        if width <= spanned:
            raise ValueError(
                f"networks must be wider than the {spanned} directions of inputs and outputs, got width {width}: take wider ones"
            )
        problem = rescaled(self.problem, width=width, block_width=block_width, blocks=blocks)
        found = [self._one(problem, s, width, blocks) for s in seeds]
        return Deviation(width, block_width, blocks, *(np.array(part) for part in zip(*found, strict=True)))

    def _one(self, problem: Problem, seed: int, width: int, blocks: int) -> tuple[Array, ...]:
        run = simulate(problem, width=width, blocks=blocks, seed=seed, record=self.record, dtype="float64")
        basis = self._ends(width, seed)
        gram, seen = basis.T @ basis / width, self._coordinates(run)
        theta = np.linalg.solve(gram, seen.T).T
        within = theta - self.coordinates
        size = np.diagonal(_two_depth(run)[-1, -1, 1, 1])
        outside = size - np.sum(theta * seen, 1)
        total = np.einsum("ia,ab,ib->i", within, gram, within) + outside
        overlaps = (gram - np.eye(len(gram)))[np.triu_indices(len(gram))]
        return within, outside, total, run.outputs[-1] - self.answer.outputs[-1], overlaps

    def _ends(self, width: int, seed: int) -> Array:
        """The basis of the span of U and V of a network, as `simulate` draws them, shape (D, r + d_out)."""
        rng, problem = np.random.default_rng([seed, 0]), self.problem
        u, v = rng.standard_normal((width, problem.d_in)), rng.standard_normal((width, problem.d_out))
        return np.concatenate([u @ (problem.evaluated.T / problem.d_in**0.5) @ self.to_basis, v], axis=1)


def _two_depth(run: Trajectory) -> Array:
    assert run.two_depth_kernel is not None
    return run.two_depth_kernel


def deviation_refusal(problem: Problem) -> None:
    """Refuse problems whose networks are not held against a limit in their own U and V.

    Raises:
        ValueError: with what is wanted.
    """
    model = problem.model
    alpha, gammas, betas = problem.parametrization.layers(model.block_depth)
    if model.block_depth != 2 or model.form != "mlp" or alpha != 1 or any(gammas) or any(betas):
        raise ValueError(
            "the error model is of two-layer blocks of form 'mlp' at alpha = 1, gamma = 0, got "
            f"form {model.form!r}, block_depth={model.block_depth}, alpha = {alpha}, gamma = {', '.join(map(str, gammas))}"
        )
    sgd = problem.sgd
    if sgd.schedule("input_lr").any() or sgd.schedule("output_lr").any():
        raise ValueError("the error model is of networks whose U and V are frozen: set input_lr and output_lr to 0")
