"""D2: the network at initialization, exactly."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import sympy as sp
from argument import Cited, Claim, Cluster, Definitions, Equal, Exact, Let, NonNegative, Numbers, Say, Theta

L, a, S, chi = sp.symbols("L a S chi", positive=True)
alpha, b, n, p, u = sp.symbols("alpha b n p u", positive=True)
l = sp.Symbol("l", positive=True, integer=True)
z = sp.Symbol("z", real=True)
epsilon = sp.Symbol("epsilon", positive=True)
C0, C1, C, V = (sp.Function(name) for name in ("C^0", "C^1", "C", "V"))

SHARE = Let(epsilon, a**2 * L ** (-2 * alpha))


# D2.1


def one_block_multiplies_the_square() -> Iterator[sp.Expr]:
    """E over a 3 x 3 matrix W of |x + c W x|^2 - (1 + c^2) |x|^2, and the same with W^T, by moments of its entries."""
    size, c = 3, sp.Symbol("c")
    entries = sp.symbols(f"w:{size * size}")
    W = sp.Matrix(size, size, entries)
    x = sp.Matrix(size, 1, sp.symbols(f"x:{size}"))
    for weights in (W, W.T):
        square = sp.Poly(sp.expand(((x + c * weights * x).T * (x + c * weights * x))[0]), *entries)
        moments = {0: sp.Integer(1), 1: sp.Integer(0), 2: sp.Rational(1, size)}
        terms = square.terms()
        mean = sum(k * sp.prod([moments[degree] for degree in powers]) for powers, k in terms)
        yield sp.expand(mean - (1 + c**2) * (x.T * x)[0])


D2_1 = Claim(
    "D2.1",
    r"For linear blocks the mean square of a state grows by exactly $1 + a^2L^{-2\alpha}$ per block, "
    r"$\langle x^l, x^l\rangle = S(1 + a^2L^{-2\alpha})^l$ with $S = |\xi|^2/d$, at any width in expectation.",
    "proved",
    (
        Say(
            r"Given $x^{l-1}$, the entries of $W^l$ are fresh, centred and uncorrelated with variance $1/n$. In "
            r"$|x + cWx|^2$ the cross term has mean zero, and $|Wx|^2$ is a sum over $n$ rows of $\sum_{jk} W_{ij}W_{ik}x_jx_k$, "
            r"whose mean is $|x|^2/n$. So one block multiplies the mean square by $1 + c^2$, here with $c^2 = a^2L^{-2\alpha}$:"
        ),
        SHARE,
        Exact(r"This is computed from the moments of the nine entries of $W$ for $n = 3$, and the same for $W^\top$.",
              one_block_multiplies_the_square),
        Equal(C0(l), (1 + epsilon) * C0(l - 1)),
        Equal(C0(0), S),
        Say(r"The start is $\langle U\xi, U\xi\rangle/d = |\xi|^2/d = S$. The recursion is solved by"),
        Let(C0(l), S * (1 + epsilon) ** l),
        Equal(C0(L), S * (1 + a**2 * L ** (-2 * alpha)) ** L),
        Say(
            r"Two inputs of the same network start with overlap $\xi\cdot\xi'/d$ in place of $S$ and follow the same "
            r"recursion. With initial weights $\Theta(L^{-\beta})$, $\alpha$ becomes $\alpha + \beta$ here and in D2.2, D2.3."
        ),
    ),
)  # fmt: skip


# D2.2

lower = sp.log(1 + u) - u / (1 + u)
upper = u - sp.log(1 + u)

D2_2 = Claim(
    "D2.2",
    r"As $L\to\infty$ the mean square of the last state, relative to the first, tends to 1 for $\alpha > 1/2$ and to $e^{a^2}$ "
    r"for $\alpha = 1/2$, and grows like $\exp(a^2L^{1-2\alpha})$ for $0 < \alpha < 1/2$ and no slower than $e^{cL}$ for "
    r"$\alpha\le 0$: the network is stable at initialization iff $\alpha\ge 1/2$.",
    "proved",
    (
        Say(
            r"This is TP6, Claim 7.1. By D2.1 the logarithm of the ratio is $L\log(1 + u)$ with $u = a^2L^{-2\alpha}$. Two "
            r"elementary bounds hold the logarithm, $u/(1 + u)\le\log(1 + u)\le u$: both differences vanish at $u = 0$ and "
            r"increase,"
        ),
        Equal(sp.Derivative(lower, u), u / (1 + u) ** 2),
        NonNegative(u / (1 + u) ** 2),
        Equal(sp.Derivative(upper, u), u / (1 + u)),
        NonNegative(u / (1 + u)),
        Equal(sp.Subs(lower, u, 0), sp.Subs(upper, u, 0), 0),
        Say(r"The upper bound, times $L$, is"),
        Equal(L * epsilon, a**2 * L ** (1 - 2 * alpha)),
        Say(r"which tends to zero for $\alpha = 1/2 + b/2$ with $b > 0$:"),
        Equal(sp.Limit((L * epsilon).subs(epsilon, SHARE.value).subs(alpha, sp.Rational(1, 2) + b / 2), L, sp.oo), 0),
        Say(r"For $\alpha = 1/2$ the limit is a classic,"),
        Equal(sp.Limit((1 + a**2 / L) ** L, L, sp.oo), sp.exp(a**2)),
        Say(
            r"and for every $\alpha > 0$ the two bounds have the ratio one, so that the logarithm is $a^2L^{1-2\alpha}(1 + "
            r"o(1))$:"
        ),
        Equal(sp.Limit(1 / (1 + epsilon), L, sp.oo), 1),
        Say(
            r"For $0 < \alpha < 1/2$ this diverges as a power of $L$. For $\alpha\le 0$, $u\ge a^2$ and the lower bound is at "
            r"least linear in $L$, since $u/(1 + u)$ increases in $u$:"
        ),
        Equal(sp.Derivative(u / (1 + u), u), 1 / (1 + u) ** 2),
        Say(
            r"Unstable growth is thus the exponential of a power. The power is twice the exponent $1/2-\alpha$ of D1.2, and that "
            r"is how to measure it: the slope of $\log\log(C^0(L)/S)$ against $\log L$ tends to $1 - 2\alpha$. (A slope of "
            r"$\log C^0$ has no limit.)"
        ),
        Theta(
            sp.log(C0(L) / S),
            L,
            1 - 2 * alpha,
            ({alpha: sp.Rational(1, 4)}, {alpha: sp.Rational(1, 2)}, {alpha: sp.Integer(1)}),
        ),
    ),
    scope="linear blocks; other centred branches likewise where a branch's variance is of the order of its input's",
    uses=(D2_1,),
)


# D2.3


def kernels_of_recurse(known: Definitions) -> Iterator[tuple[Any, Any]]:
    """Feature and gradient kernels of `limits.recurse` before any update, against the closed forms."""
    import limits

    for exponent, blocks, multiplier in (("1/4", 5, 0.8), ("1/2", 6, 1.3), ("1", 4, 0.7)):
        problem = limits.Problem(
            limits.ResNet(multiplier=multiplier),
            limits.Parametrization(exponent, "1/2"),
            limits.SGD(1.0, steps=1),
            [[1.0, 0.5]],
            [[1.3]],
        )
        levels = range(blocks + 1)
        record = limits.Record(positions=[m / blocks for m in levels], kinds=("feature", "gradient"))
        found = limits.recurse(problem, blocks=blocks, record=record)
        values = {alpha: sp.Rational(exponent), L: blocks, a: multiplier, S: 1.25 / 2, chi: 1.3}
        for function, kernel in ((C0, found.feature_kernel), (C1, found.gradient_kernel)):
            wanted = [float(known(function(l)).subs(l, m).subs(values)) for m in levels]
            yield kernel[0, 0, :, 0, 0], wanted


D2_3 = Claim(
    "D2.3",
    r"Backwards likewise: $\langle\delta^l, \delta^l\rangle = \chi^2(1 + a^2L^{-2\alpha})^{L-l}$, "
    r"$\langle\delta^l, \delta^m\rangle = \langle\delta^m, \delta^m\rangle$ for $l\le m$, and every block receives the same "
    r"product of features below and gradients above.",
    "proved",
    (
        Say(
            r"In a linear network $\delta^{l-1} = \delta^l + aL^{-\alpha}W^{l\top}\delta^l$ with $\delta^L = V\chi$ by D1.1, "
            r"and the mean square of $W^\top\delta$ is that of $\delta$ (D2.1). The states above block $l$ do not depend on "
            r"$W^l$ once $\chi$ is given (at $n = \infty$ the initial output is zero and $\chi$ a number), so"
        ),
        Equal(C1(l - 1), (1 + epsilon) * C1(l)),
        Equal(C1(L), chi**2),
        Let(C1(l), chi**2 * (1 + epsilon) ** (L - l)),
        Say(
            r"What a block adds is centred given what is above, so $\langle\delta^{l-1}, \delta^m\rangle = \langle\delta^l, "
            r"\delta^m\rangle$ for $l\le m$. The size of a block's gradient is the product of the state below it and the one "
            r"above, the same for all:"
        ),
        Equal(C0(l - 1) * C1(l), S * chi**2 * (1 + epsilon) ** (L - 1)),
        Numbers(
            r"Kernels before the first update computed by $\mathrm{limits.recurse}$ at $\alpha = 1/4, 1/2, 1$ against both "
            r"closed forms.",
            kernels_of_recurse,
            1e-12,
        ),
        Cited(
            r"For nonlinear blocks the transposed weights of the backward pass may be taken independent of the forward ones "
            r"at initialization (gradient independence, TP6 and the tensor programs before it)."
        ),
    ),
    scope="linear blocks",
    uses=(D2_1,),
)


# D2.4

density = sp.exp(-(z**2) / 2) / sp.sqrt(2 * sp.pi)
relu_mean = sp.Integral(z * density, (z, 0, sp.oo))
relu_square = sp.Integral(z**2 * density, (z, 0, sp.oo))
PROFILE = Let(C(p), S * sp.exp(a**2 * p))


def tail_of_recurse(known: Definitions) -> Iterator[tuple[Any, Any]]:
    """L (C(L) - C(infinity)), extrapolated in 1/L from exact kernels, against its limit."""
    import limits

    problem = limits.Problem(limits.ResNet(multiplier=0.9), limits.DEPTH_MUP, limits.SGD(1.0, steps=0), [[1.0, 0.5]], [[1.3]])
    values = {a: 0.9, S: 1.25 / 2}
    limit = float(known(C(1)).subs(values))
    record = limits.Record(positions=[1])
    scaled = [
        blocks * (float(limits.recurse(problem, blocks=blocks, record=record).feature_kernel[0, 0, 0, 0, 0]) - limit)
        for blocks in (256, 512, 1024)
    ]
    once = [2 * fine - coarse for coarse, fine in pairwise(scaled)]
    yield (4 * once[1] - once[0]) / 3, float((-(a**4) / 2 * C(1)).subs(C(1), limit).subs(values))


D2_4 = Claim(
    "D2.4",
    r"At $\alpha = 1/2$ the initial kernel has the profile $C(p) = Se^{a^2p}$ over the depth $p = l/L$, approached at rate "
    r"$1/L$; for any centred branch $dC/dp = a^2V(C)$, with $V$ the variance of $\phi$ of a Gaussian of variance $C$.",
    "proved",
    (
        Say(r"Any centred branch adds its variance, $C^l = C^{l-1} + (a^2/L)V(C^{l-1})$: a forward Euler step of size $1/L$ of"),
        Equal(sp.Derivative(C(p), p), a**2 * C(p)),
        Equal(C(0), S),
        Say(r"in the linear case, where $V(C) = C$. Its solution and the first correction are"),
        PROFILE,
        Equal(sp.Limit(((1 + a**2 / L) ** (p * L)), L, sp.oo), C(p) / S),
        Equal(sp.Limit(L * ((1 + b / L) ** L * sp.exp(-b) - 1), L, sp.oo), -(b**2) / 2),
        Say(r"with $b = a^2$. A second example is relu with mean subtraction, for which $V(C)/C$ is again a constant,"),
        Equal(relu_square - relu_mean**2, sp.Rational(1, 2) - 1 / (2 * sp.pi)),
        Say(r"so that its kernel grows like $e^{a^2p(1/2 - 1/(2\pi))}$."),
        Numbers(
            r"$L(C^0(L) - C(1))$ from $\mathrm{limits.recurse}$ at $L = 256, 512, 1024$, extrapolated, against $-a^4C(1)/2$.",
            tail_of_recurse,
            1e-5,
        ),
    ),
    scope="the Gaussian law of nonlinear states is cited in D1.1",
    uses=(D2_1,),
)

CLUSTER = Cluster(
    "D2. Initialization",
    r"Before training everything is known exactly for linear blocks: the size of the states (D2.1) and of the gradients (D2.3) "
    r"at every depth, which multipliers have a limit (D2.2), and what the limit is (D2.4).",
    (D2_1, D2_2, D2_3, D2_4),
)

if __name__ == "__main__":
    CLUSTER.main()
