r"""One nonlinear block between given states: to first order in $\epsilon = L^{-1/2}$ by symbols, at any $\epsilon$ by quadrature.

States 0 ... N are in causal order. The fresh parts $z_i$ of the preactivations and $d_i$ of the gradients are independent of each
other, jointly Gaussian among themselves, with covariances $C^0$ and $C^1$; what else is in them is small:

    h_i = z_i + epsilon sum_{j<i} A_ij phi'(h_j) delta_j,    delta_i = d_i + epsilon a sum_{j<=i} R1_ij phi^c(h_j)

The averages of products of derivatives of phi are the derivatives of its dual kernel (Price's theorem, D5.1).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import sympy as sp

a, epsilon = sp.symbols("a epsilon", positive=True)
A, R0, R1, C0, C1 = (sp.Function(name) for name in ("A", "R^0", "R^1", "C^0", "C^1"))
V, V_c, V_cc, V_u, V_uc = (sp.Function(name) for name in ("V", "V_c", "V_cc", "V_u", "V_uc"))


class Phi(sp.Function):
    r"""$\phi^{(m)}(z)$ of any $\phi$ as `Phi(m, z)`, less its mean for m = 0."""

    nargs = 2

    def fdiff(self, argindex: int = 2) -> sp.Expr:
        order, z = self.args
        return Phi(order + 1, z)


@dataclass(frozen=True)
class Block:
    """Preactivations h and gradients delta of states 0 ... N as functions of epsilon, z and d."""

    z: tuple[sp.Symbol, ...]
    d: tuple[sp.Symbol, ...]
    h: tuple[sp.Expr, ...]
    delta: tuple[sp.Expr, ...]

    @staticmethod
    def of(states: int) -> "Block":
        z, d = sp.symbols(f"z_:{states}", real=True), sp.symbols(f"d_:{states}", real=True)
        h, delta = [], []
        for i in range(states):
            h.append(z[i] + epsilon * sum(A(i, j) * Phi(1, h[j]) * delta[j] for j in range(i)))
            delta.append(d[i] + epsilon * a * sum(R1(i, j) * Phi(0, h[j]) for j in range(i + 1)))
        return Block(z, d, tuple(h), tuple(delta))

    def received(self, i: int) -> sp.Expr:
        r"""$\delta h_i = \phi'(h_i)\delta_i$."""
        return Phi(1, self.h[i]) * self.delta[i]

    def mean(self, expression: sp.Expr, over_d: bool = True) -> sp.Expr:
        """Average of a product of at most two z-functions and two d's over z, and over d if asked."""
        polynomial = sp.Poly(sp.expand(expression), *self.d)
        return sp.expand(
            sum(
                self._mean_of_z(factor) * (self._mean_of_d(powers) if over_d else sp.prod(map(sp.Pow, self.d, powers)))
                for powers, factor in polynomial.terms()
            )
        )

    def _mean_of_d(self, powers: tuple[int, ...]) -> sp.Expr:
        which = [k for k, power in enumerate(powers) for _ in range(power)]
        if len(which) % 2:
            return sp.Integer(0)
        if len(which) > 2:
            raise ValueError(f"averages of {len(which)} gradients are of higher order")
        return pair(C1, *which) if which else sp.Integer(1)

    def _mean_of_z(self, expression: sp.Expr) -> sp.Expr:
        total = sp.Integer(0)
        for term in sp.Add.make_args(sp.expand(expression)):
            rest, phis = sp.Integer(1), []
            for factor in sp.Mul.make_args(term):
                base, power = factor.as_base_exp()
                if isinstance(base, Phi):
                    phis += [(int(base.args[0]), self.z.index(base.args[1]))] * int(power)
                else:
                    rest *= factor
            total += rest * expectation(phis)
        return total


def pair(kernel: type, i: int, j: int) -> sp.Expr:
    """A symmetric kernel at two states, the later first."""
    return kernel(max(i, j), min(i, j))


def expectation(phis: list[tuple[int, int]]) -> sp.Expr:
    r"""$E\phi^{(m)}(z_i)\phi^{(n)}(z_j)$ by Price's theorem; of one factor, unknown and never left over."""
    if not phis:
        return sp.Integer(1)
    if len(phis) == 1:
        return sp.Function("E")(*phis[0])
    (m, i), (n, j) = sorted(phis, reverse=True)
    if m == n:
        return pair({0: V, 1: V_c, 2: V_cc}[m], i, j)
    return {(2, 0): 2 * V_u(i, j), (3, 1): 2 * V_uc(i, j)}[m, n]


def first_order(expression: sp.Expr) -> sp.Expr:
    """The coefficient of epsilon."""
    return sp.diff(expression, epsilon).subs(epsilon, 0)


# At any epsilon, by quadrature.


@dataclass(frozen=True, eq=False)
class Example:
    """Three states with numbers for all that a block needs; phi = tanh."""

    a: float
    A: np.ndarray
    R1: np.ndarray
    C0: np.ndarray
    C1: np.ndarray

    @staticmethod
    def of(a: float = 0.9) -> "Example":
        lower = np.tril(np.ones((3, 3)))
        return Example(
            a,
            np.array([[0, 0, 0], [-0.8, 0, 0], [0.5, -0.7, 0]]),
            np.array([[0.2, -0.5, 0.1], [0.6, -0.3, 0.2], [-0.4, 0.7, 0.5]]) * lower,
            np.array([[0.6, 0.3, 0.2], [0.3, 0.8, 0.4], [0.2, 0.4, 0.7]]),
            np.array([[1.0, 0.4, -0.3], [0.4, 0.9, 0.2], [-0.3, 0.2, 1.1]]),
        )

    def grid(self, nodes: tuple[int, int] = (16, 4)) -> Iterator[np.ndarray]:
        """Values of z and d, shape (3, points), and their weights."""
        for kernel, count in zip((self.C0, self.C1), nodes, strict=True):
            at, weight = np.polynomial.hermite_e.hermegauss(count)
            points = np.array(list(product(at, repeat=3))).T
            weights = np.prod(np.array(list(product(weight / weight.sum(), repeat=3))), axis=1)
            yield np.linalg.cholesky(kernel) @ points
            yield weights

    def averages(self, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
        r"""What the last state gets, over epsilon: $E[\phi(h)\,d]$ and $E[\delta h\,z]$, each solved for the states.

        By Stein's lemma $E[\delta h_i z_j] = \sum_k C^0_{jk}E[\partial\delta h_i/\partial z_k]$, so that no derivative is taken.
        """
        z, of_z, d, of_d = self.grid()
        z, d = z[:, :, None] + 0 * d[:, None], d[:, None] + 0 * z[:, :, None]
        weight = of_z[:, None] * of_d
        h, delta = [], []
        for i in range(3):
            h.append(z[i] + epsilon * sum((self.A[i, j] * (1 - np.tanh(h[j]) ** 2) * delta[j] for j in range(i)), 0 * z[i]))
            delta.append(d[i] + epsilon * self.a * sum(self.R1[i, j] * np.tanh(h[j]) for j in range(i + 1)))
        forward = np.einsum("kzd,zd->k", d, weight * np.tanh(h[2]))
        backward = np.einsum("kzd,zd->k", z, weight * (1 - np.tanh(h[2]) ** 2) * delta[2])
        return np.linalg.solve(self.C1, forward) / epsilon, np.linalg.solve(self.C0, backward) / epsilon

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """The averages as epsilon tends to 0, extrapolated; they are even in epsilon."""
        coarse, fine = self.averages(0.04), self.averages(0.02)
        forward, backward = ((4 * f - c) / 3 for c, f in zip(coarse, fine, strict=True))
        return forward, backward
