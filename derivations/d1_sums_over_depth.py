"""D1: how the blocks of a deep residual network add up."""

from collections.abc import Iterator
from typing import Any

import sympy as sp
from argument import Cited, Claim, Cluster, Equal, Exact, Given, Let, NonNegative, Say

L = sp.Symbol("L", positive=True)
l, m = sp.symbols("l m", positive=True, integer=True)
a, alpha, gamma, eta, n = sp.symbols("a alpha gamma eta n", positive=True)
s, rho, r, d = sp.symbols("s rho r d", positive=True)
e, z = sp.symbols("e z", real=True)
Q = sp.Function("Q")


# D1.1


def _function_and_derivative(name: str) -> tuple[Any, Any]:
    slope = sp.Function(f"d{name}")
    return type(name, (sp.Function,), {"fdiff": lambda self, argindex=1: slope(self.args[0])}), slope


def backpropagation_is_the_derivative() -> Iterator[sp.Expr]:
    """Differentiate the loss of two neurons and two blocks entry by entry, and subtract the recursion."""
    scale = sp.Symbol("c")  # a L^-alpha
    phi, phi_slope = _function_and_derivative("phi")
    loss, loss_slope = _function_and_derivative("loss")
    weights = [sp.Matrix(2, 2, sp.symbols(f"w{block}_:4")) for block in (1, 2)]
    v = sp.Matrix(2, 1, sp.symbols("v:2"))
    subtract_mean = sp.eye(2) - sp.ones(2, 2) / 2

    def block(x: sp.Matrix, W: sp.Matrix) -> sp.Matrix:
        return x + scale * subtract_mean * (W * x).applyfunc(phi)

    def slope(x: sp.Matrix, W: sp.Matrix) -> sp.Matrix:
        return (W * x).applyfunc(phi_slope)

    x0, (W1, W2) = sp.Matrix(2, 1, sp.symbols("x:2")), weights
    x1 = block(x0, W1)
    f = (v.T * block(x1, W2))[0] / 2
    delta = v * loss_slope(f)
    for W, x in ((W2, x1), (W1, x0)):
        dh = slope(x, W).multiply_elementwise(subtract_mean * delta)
        yield from (loss(f).diff(W[i, j]) - scale * dh[i] * x[j] / 2 for i in range(2) for j in range(2))
        delta = delta + scale * W.T * dh
    yield from (2 * loss(f).diff(x0[i]) - delta[i] for i in range(2))


delta, dh, W, x = (sp.Function(name, commutative=False) for name in ("delta", "dh", "W", "x"))
V, chi = sp.symbols("V chi", commutative=False)
gradient = sp.Function("(dloss/dW)")

D1_1 = Claim(
    "D1.1",
    r"With blocks $x^l = x^{l-1} + aL^{-\alpha}G\phi(W^l x^{l-1})$ and $\delta^l = n\,\partial loss/\partial x^l$, all states "
    r"have entries of order one, and one step of SGD at the raw rate $\eta L^{\alpha-\gamma}$ moves a preactivation by "
    r"$\Theta(L^{-\gamma})$ and a block's output by $\Theta(L^{-\alpha-\gamma})$.",
    "proved",
    (
        Say(
            r"The network has $L$ blocks of width $n$: $x^0 = U\xi/\sqrt{d}$ for an input $\xi$ of dimension $d$, then $x^l = "
            r"x^{l-1} + aL^{-\alpha}G\phi(h^l)$ with $h^l = W^l x^{l-1}$, and $f = V^\top x^L/n$. Entries of $U$ and $V$ are "
            r"independent $N(0, 1)$, those of $W^l$ independent $N(0, 1/n)$; $G$ subtracts the mean over neurons. Let $\chi$ "
            r"be the derivative of the loss in $f$. The output divides by $n$, so one neuron's influence on the loss is of "
            r"order $1/n$; hence the normalisation $\delta^l = n\,\partial loss/\partial x^l$, and $dh^l = \phi'(h^l)\odot G "
            r"\delta^l$. The chain rule reads"
        ),
        Given(delta(L), V * chi),
        Given(delta(l - 1), delta(l) + a * L**-alpha * sp.transpose(W(l)) * dh(l)),
        Given(gradient(l), a * L**-alpha * dh(l) * sp.transpose(x(l - 1)) / n),
        Exact(
            r"For $n = 2$ neurons, $L = 2$ blocks, any $\phi$ and any loss, the loss is differentiated in every entry of $x^0$ "
            r"and of the weights; all agree with these three lines.",
            backpropagation_is_the_derivative,
        ),
        Say(
            r"A weight's gradient thus carries one factor $aL^{-\alpha}$. SGD at the raw rate $\eta L^{\alpha-\gamma}$ adds to "
            r"$W^l$ minus $dh^l(x^{l-1})^\top/n$ times"
        ),
        Equal(eta * L ** (alpha - gamma) * a * L**-alpha, eta * a * L**-gamma),
        Say(
            r"Acting on a later state $\tilde x$, the update moves the preactivation by $-\eta aL^{-\gamma}\,dh^l\,\langle "
            r"x^{l-1}, \tilde x^{l-1}\rangle$, with $\langle x, \tilde x\rangle$ the mean over neurons. This is what $\gamma$ "
            r"means. (Initial weights $\Theta(L^{-\beta})$ make the initial preactivation $\Theta(L^{-\beta})$ likewise, of "
            r"order one iff $\beta = 0$.) The block's output moves by $aL^{-\alpha}$ times as much:"
        ),
        Equal(a * L**-alpha * eta * a * L**-gamma, eta * a**2 * L ** (-alpha - gamma)),
        Cited(
            r"As $n\to\infty$ means over neurons become deterministic and entries become independent copies of jointly "
            r"Gaussian variables (or functions of such): the Master Theorem of tensor programs (TP4b). Everything below is at "
            r"$n = \infty$ unless $n$ is written."
        ),
    ),
    scope="the law of large numbers over neurons is cited",
)


# D1.2

total = Let(Q(m, rho), m * s**2 * L ** (2 * e) * (1 + (m - 1) * rho))
PAIRS = (
    Say(
        r"Let $v^1,\ldots,v^L$ be the terms, each of second moment $s^2L^{2e}$, and let any two of them have correlation "
        r"$\rho$, that is $\langle v^l, v^m\rangle = \rho s^2L^{2e}$. Call $Q(m, \rho)$ the second moment of the sum of the "
        r"first $m$. The $m$-th term brings its own second moment and twice its overlap with each of the $m - 1$ before it:"
    ),
    Equal(Q(m, rho), Q(m - 1, rho) + 2 * (m - 1) * rho * s**2 * L ** (2 * e) + s**2 * L ** (2 * e)),
    Equal(Q(0, rho), 0),
    Say("whose only solution is"),
    total,
)

D1_2 = Claim(
    "D1.2",
    r"A sum over the $L$ blocks of centred independent terms $\Theta(L^e)$ is $\Theta(L^{e+1/2})$: independence adds 1/2.",
    "proved",
    (
        *PAIRS,
        Say(r"Terms that are centred given those before them do not overlap, $\rho = 0$. The sum's root mean square is then"),
        Equal(sp.sqrt(Q(L, 0)), s * L ** (e + sp.Rational(1, 2))),
        Say(
            r"At initialization the branches are such terms: $W^l$ is drawn independently of all earlier blocks, and "
            r"$G\phi(W^l x^{l-1})$ has mean zero over this draw. They are $\Theta(L^{-\alpha})$ each, so they add up to "
            r"$\Theta(L^{1/2-\alpha})$, and with initial weights $\Theta(L^{-\beta})$ of a linear block to "
            r"$\Theta(L^{1/2-\alpha-\beta})$. (The branches grow with the state they start from: D2.2 has the exact sum.) Weak "
            r"correlation, $\rho = r/L$, does not change the order:"
        ),
        Equal(sp.Limit(Q(L, r / L) / L ** (2 * e + 1), L, sp.oo), s**2 * (1 + r)),
    ),
    scope="for terms of finite second moment; independence is used only as: centred given the earlier terms",
)


# D1.3

chi_ = sp.Symbol("chi", positive=True)
C1 = sp.Function("C^1")
density = sp.exp(-(z**2) / 2) / sp.sqrt(2 * sp.pi)
mean = sp.Integral(z * density, (z, 0, sp.oo))
square = sp.Integral(z**2 * density, (z, 0, sp.oo))

D1_3 = Claim(
    "D1.3",
    r"A sum over the $L$ blocks of aligned terms $\Theta(L^e)$, their correlations bounded below by a positive constant, is "
    r"$\Theta(L^{e+1})$: alignment adds 1.",
    "proved",
    (
        Say(r"With the second moment $Q$ of D1.2 and a correlation $\rho > 0$ that does not depend on $L$,"),
        Equal(sp.Limit(Q(L, rho) / L ** (2 * e + 2), L, sp.oo), rho * s**2),
        Say(r"and no sum can be larger than at full correlation, $\rho = 1$:"),
        Equal(Q(L, 1), s**2 * L ** (2 * e + 2)),
        NonNegative(Q(1 + d, 1) - Q(1 + d, 1 / (1 + r))),
        Say(
            r"(the last line with $L = 1 + d$ terms and $\rho = 1/(1 + r) < 1$). Updates are aligned, because all blocks "
            r"receive the gradient of one loss. In a linear network (D2.3) $\langle\delta^l, \delta^m\rangle$ is the second "
            r"moment $C^1$ of the one nearer to the output, so for $\alpha = 1/2$ the correlation between two blocks is at "
            r"least that of the first and the last,"
        ),
        Let(C1(l), chi_**2 * (1 + a**2 / L) ** (L - l)),
        Equal(C1(L), chi_**2),
        Equal(sp.Limit(C1(L) / sp.sqrt(C1(L) * C1(0)), L, sp.oo), sp.exp(-(a**2) / 2)),
        Say(
            r"which is positive. The update of a block's output is $\Theta(L^{-\alpha-\gamma})$ by D1.1, so together they are "
            r"$\Theta(L^{1-\alpha-\gamma})$. Initial branches are aligned too if they are not centred: for relu without mean "
            r"subtraction every block adds to every neuron a term whose mean is positive,"
        ),
        Equal(mean, 1 / sp.sqrt(2 * sp.pi)),
        Say("for a preactivation of variance one, and any two blocks have the correlation"),
        Equal(mean**2 / square, 1 / sp.pi),
        Say(r"so such branches add up to $\Theta(L^{1-\alpha})$ instead of $\Theta(L^{1/2-\alpha})$."),
    ),
    scope="the correlation of updates is derived for linear blocks after one step",
    uses=(D1_2,),
)


# D1.4

D1_4 = Claim(
    "D1.4",
    r"Orders multiply by adding exponents, and a sum of two quantities $\Theta(L^e)$, $\Theta(L^{e-d})$ that do not cancel has "
    r"the larger exponent: with D1.2 and D1.3 this is all of the calculus of exponents.",
    "proved",
    (
        Equal(L**e * L ** (-d), L ** (e - d)),
        Equal(sp.Limit((s * L**e + r * L ** (e - d)) / L**e, L, sp.oo), s),
        Say(
            r"for $d > 0$. At $d = 0$ the sum has the common exponent unless the two cancel; uncorrelated terms cannot, since "
            r"their second moments add, $s^2 + r^2 > 0$. The expansions of D3 and D6 compare terms that are uncorrelated or "
            r"that stand for upper bounds."
        ),
        Equal(sp.Limit((s**2 * L ** (2 * e) + r**2 * L ** (2 * e)) / L ** (2 * e), L, sp.oo), s**2 + r**2),
    ),
)

CLUSTER = Cluster(
    "D1. Sums over depth",
    r"What is large in a deep network is decided by how its $L$ blocks add up. The network and its gradients are fixed first, "
    r"with every factor of $n$ and $L$ (D1.1); then the two ways of adding up (D1.2, D1.3) and the calculus they make (D1.4).",
    (D1_1, D1_2, D1_3, D1_4),
)

if __name__ == "__main__":
    CLUSTER.main()
