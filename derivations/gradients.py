"""Diversity of gradients: how alike those of neighbouring blocks are."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import sympy as sp
from argument import Claim, Definitions, Equal, Let, NonNegative, Numbers, Say
from d2_initialization import L, a, b
from nonlinear_runs import neighbours

k, s = sp.symbols("k s", real=True)
half = sp.Rational(1, 2)
Pairs = Iterator[tuple[Any, Any]]

# D5.6

mean_slope, square_slope, correlation = sp.symbols("m M r", positive=True)
r_L = sp.Function("r")


def neighbouring_gradients(known: Definitions) -> Pairs:
    """Correlations in single networks of width 1000 before training, against the formula at their L."""
    from limits.nonlinearity import kinked, nonlinearity

    blocks, multiplier = 16, 0.8
    for number, phi in enumerate((nonlinearity("abs"), nonlinearity("tanh"), nonlinearity("relu"), kinked(0.3, 0.8))):
        found, variances = neighbours(phi, width=1000, blocks=blocks, a=multiplier, seed=number)
        m2, square = (phi.dual(variances, variances, at, order=1).V_c for at in (0 * variances, variances))
        wanted = sp.lambdify((mean_slope, square_slope, a, L), known(r_L(L)))(np.sqrt(m2), square, multiplier, blocks)
        yield np.mean(found), np.mean(wanted)


D5_6 = Claim(
    "D5.6",
    r"The gradients $\delta h$ of neighbouring blocks have the correlation $(E\phi')^2/E\phi'^2$ as $L\to\infty$, at $h\sim N(0, "
    r"C^0(p))$: 1 minus it is the gradient diversity (TP6, section 8).",
    "proved",
    (
        Say(
            r"With $\delta h^l = \phi'(h^l)\odot G\delta^l$ and to leading order $h^l$, $h^{l+1}$ independent of each other and "
            r"of $\delta$, because $W^l$ and $W^{l+1}$ are, $\langle\delta h^l, \delta h^{l+1}\rangle = "
            r"E\phi'(h^l)\,E\phi'(h^{l+1})\,\langle\delta^l, \delta^{l+1}\rangle$. What block $l+1$ adds to $\delta$ is "
            r"centred, $\langle\delta^l, \delta^{l+1}\rangle = \langle\delta^{l+1}, \delta^{l+1}\rangle$, and increases its "
            r"square by the factor $1 + a^2M/L$ with $M = E\phi'^2$ (D5.3). With $m = E\phi'$, and $m$ and $M$ of both blocks "
            r"equal up to $1/L$, the correlation at $L$ blocks is"
        ),
        Let(r_L(L), mean_slope**2 / square_slope / sp.sqrt(1 + a**2 * square_slope / L)),
        Equal(sp.Limit(r_L(L), L, sp.oo), mean_slope**2 / square_slope),
        Equal(sp.Limit(L * (r_L(L) * square_slope / mean_slope**2 - 1), L, sp.oo), -(a**2) * square_slope / 2),
        Say(
            r"After training $h$ contains $\epsilon A_{ij}\phi'(h_j)\delta_j$ and $\delta$ contains $\epsilon a "
            r"R^1_{ij}\phi^c(h_j)$ (D5.4). In $\langle\delta h^l, \delta h^{l+1}\rangle$ the first leaves three gradients and "
            r"the second one in order $\epsilon$, whose means vanish; so the correction is $O(1/L)$ again. Blocks further "
            r"apart, at $p < q$, have in addition the correlation of $\delta(p)$ and $\delta(q)$, which is below 1: features "
            r"and gradients are diverse because $h$ is independent from block to block, and neighbours differ only through "
            r"$\phi'(h)$. The correlation is between 0 and 1, since $M - m^2$ is the variance of $\phi'$; it is 1 only if "
            r"$\phi'$ is constant."
        ),
        Numbers(
            r"One network each of width 1000 and 16 blocks before training for $|z|$, $\tanh$, relu and $0.3|z| + 0.8z$, "
            r"averaged over its blocks, against the formula at $L = 16$ (fluctuations are about $0.005$).",
            neighbouring_gradients,
            0.02,
        ),
    ),
    scope="independence of h and gradients to leading order as in D5.4",
)


# D5.7

r_kink, theta = sp.Function("r_kinked"), sp.Symbol("theta", real=True)
r_angle, r_leaky = sp.Function("r_angle"), sp.Function("r_leaky")


def family_of_the_package(known: Definitions) -> Pairs:
    """Gradient diversity from `limits.diversity.rank` for members of the family."""
    from limits.diversity import rank
    from limits.nonlinearity import kinked

    for first, second in ((1.0, 0.0), (0.5, 0.5), (0.2, -0.9), (0.0, 1.0)):
        (found,) = rank([kinked(first, second)], multiplier=0.8)
        yield found.gradient, 1 - float(known(r_kink(b, k)).subs({b: first, k: second}))


D5_7 = Claim(
    "D5.7",
    r"Among positively homogeneous $\phi = b|z| + kz$ the correlation is $k^2/(b^2 + k^2)$ at every depth: the absolute value is "
    r"the most diverse, with 0, relu has 1/2, the identity 1 (TP6, section 8.3).",
    "proved",
    (
        Say(
            r"$\phi'$ is $k + b$ on one half of the line and $k - b$ on the other, each of probability 1/2 for any centred "
            r"Gaussian $h$, so that neither depth nor training matters:"
        ),
        Let(r_kink(b, k), (((k + b) + (k - b)) / 2) ** 2 / (((k + b) ** 2 + (k - b) ** 2) / 2)),
        Equal(r_kink(b, k), k**2 / (b**2 + k**2)),
        Equal(r_kink(b, 0), 0),
        Equal(r_kink(half, half), half),
        Equal(sp.Limit(r_kink(b, 1), b, 0), 1),
        NonNegative(r_kink(b, k)),
        Say(
            r"Zero is the least a correlation of this form can be, and only $k = 0$ attains it. The family is a circle, $b = "
            r"\cos\theta$ and $k = \sin\theta$, if the size $E\phi'^2 = b^2 + k^2$ is left to the multiplier:"
        ),
        Let(r_angle(theta), r_kink(sp.cos(theta), sp.sin(theta))),
        Equal(r_angle(theta), sp.sin(theta) ** 2),
        Say(r"Leaky relu of slope $s$ on the negative side is $b = (1 - s)/2$, $k = (1 + s)/2$:"),
        Let(r_leaky(s), r_kink((1 - s) / 2, (1 + s) / 2)),
        Equal(r_leaky(s), (1 + s) ** 2 / (2 * (1 + s**2))),
        Numbers(
            r"Gradient diversity of four members from $\mathrm{limits.diversity.rank}$.", family_of_the_package, 1e-12
        ),
    ),
    uses=(D5_6,),
)  # fmt: skip
