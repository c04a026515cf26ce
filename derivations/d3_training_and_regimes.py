"""D3: one step of training in closed form, and the regimes that follow from it."""

from collections.abc import Iterator
from typing import Any

import sympy as sp
from argument import Claim, Cluster, Definitions, Equal, Exact, Let, Numbers, Say, Theta
from d2_initialization import C1, D2_1, D2_3, SHARE, L, S, a, alpha, chi, epsilon, l, p, z

eta, g, gamma = sp.symbols("eta g gamma", real=True)
d, t, w = sp.symbols("d t w", positive=True)
half = sp.Rational(1, 2)
b, c, push, C11 = (sp.Function(name) for name in ("b", "c", "k", "C^0_11"))

DRIFT = Let(g, eta * a**2 * L ** (-alpha - gamma))
OVERLAP = Let(b(l), S * (1 + epsilon) ** l)
LOAD = Let(c(l), -g * S * l * (1 + epsilon) ** (l - 1))
SQUARE = Let(
    C11(l),
    S * (1 + epsilon) ** l
    + (g * S * chi) ** 2
    * (1 + epsilon) ** (L + l - 2)
    * (l * (l + 1) * (2 * l + 1) / 6 - (l - 1) * l * (2 * l - 1) / (6 * (1 + epsilon) ** 2)),
)

EXPLICIT = Definitions((SHARE, DRIFT, OVERLAP, LOAD, SQUARE))

POINTS = tuple(
    {alpha: sp.Rational(first), gamma: sp.Rational(second), eta: sp.Integer(1)}
    for first, second in (("1/2", "1/2"), ("3/4", "1/4"), ("2", "-1"), ("1/2", "0"), ("1", "1"))
)
"""Points (alpha, gamma) with alpha >= 1/2 on, above and below the line alpha + gamma = 1, at eta = 1."""

UNITS = tuple(point | {a: sp.Integer(1), S: sp.Integer(1), chi: sp.Integer(1)} for point in POINTS)


def one_step_of_recurse(known: Definitions) -> Iterator[tuple[Any, Any]]:
    """Output and feature kernel of `limits.recurse` after one update at ten points, against the closed forms."""
    import limits

    blocks, multiplier, rate, target = 7, 0.8, 0.7, 1.3
    record = limits.Record(positions=[m / blocks for m in range(blocks + 1)])
    for first, second in (
        *(("0", "0"), ("1/4", "1/4"), ("1/4", "3/4"), ("1/2", "1/2"), ("1/2", "0")),
        *(("3/4", "1/4"), ("1", "0"), ("1", "1"), ("2", "-1"), ("3/2", "1/2")),
    ):
        problem = limits.Problem(
            limits.ResNet(multiplier=multiplier),
            limits.Parametrization(first, second),
            limits.SGD(rate, steps=1),
            [[1.0, 0.5]],
            [[target]],
        )
        found = limits.recurse(problem, blocks=blocks, record=record)
        values = {alpha: first, gamma: second, L: blocks, a: multiplier, eta: rate, S: 1.25 / 2, chi: -target}
        for function, kernel in ((C11, found.feature_kernel[1, 1]), (b, found.feature_kernel[1, 0])):
            yield kernel[:, 0, 0], [float(known(function(l)).subs(l, m).subs(values)) for m in range(blocks + 1)]
        yield found.outputs[1, 0, 0], float(known(chi * c(L)).subs(values))


# D3.1

D3_1 = Claim(
    "D3.1",
    r"After one SGD step a linear network's output has moved by exactly $-\chi\eta a^2S L^{1-\alpha-\gamma}(1 + "
    r"a^2L^{-2\alpha})^{L-1}$: given $\alpha\ge 1/2$, training is stable iff $\alpha + \gamma\ge 1$.",
    "proved",
    (
        Say(
            r"Stability in training is TP6, Definition 7.2 and Claim 7.2: features $x$ and outputs stay of order one. One "
            r"sample and one step suffice for the order. Let $x_0, \delta_0$ be the states before the step and $x_1$ the "
            r"features after it. By D1.1 block $l$ adds to $x_1$ the old weights' $aL^{-\alpha}W^l x_1^{l-1}$ and the update's "
            r"$-g\langle x_0^{l-1}, x_1^{l-1}\rangle\delta_0^l$. Two abbreviations:"
        ),
        SHARE,
        DRIFT,
        Say(
            r"The old weights are not independent of $x_1^{l-1}$, which contains gradients of the first step and so "
            r"$W^{l\top}\delta_0^l$. If $r$ is the coefficient of $W^{l\top}\delta_0^l$ in $x_1^{l-1}$, then $W^l x_1^{l-1}$ "
            r"is a fresh Gaussian plus $r\delta_0^l$, because $W W^\top\delta$ is $\delta$ plus a fresh Gaussian. Now each "
            r"$\delta_0^m$ with $m < l$ contains $aL^{-\alpha}W^{l\top}\delta_0^l$ once. So if $k(m)$ is the coefficient with "
            r"which block $m$ adds $\delta_0^m$ to $x_1$, then $r = aL^{-\alpha}c(l-1)$ with $c(l)$ the sum of "
            r"$k(1),\ldots,k(l)$, and"
        ),
        Equal(push(l), epsilon * c(l - 1) - g * b(l - 1)),
        Equal(c(l), c(l - 1) + push(l)),
        Equal(c(0), 0),
        Say(
            r"where $b(l) = \langle x_0^l, x_1^l\rangle$. For $b$ only the fresh Gaussians count, since $x_0$, built from $U$ "
            r"and forward Gaussians, is uncorrelated with every $\delta_0$, built from $V$ and backward ones:"
        ),
        Equal(b(l), (1 + epsilon) * b(l - 1)),
        Equal(b(0), S),
        Say(r"These are the two recursions of TP6, App. D.2, in these units. They are solved by"),
        OVERLAP,
        LOAD,
        Let(push(l), -g * S * (1 + epsilon) ** (l - 2) * (1 + l * epsilon)),
        Say(
            r"Each $\delta_0^m$ contains $V\chi$ once, so the output $f_1 = \langle V, x_1^L\rangle$ (the initial one is zero) is"
        ),
        Equal(chi * c(L), -chi * eta * a**2 * S * L ** (1 - alpha - gamma) * (1 + a**2 * L ** (-2 * alpha)) ** (L - 1)),
        Say(
            r"The last factor lies between 1 and $e^{a^2}$ for $\alpha\ge 1/2$ (D2.2), so the movement is "
            r"$\Theta(L^{1-\alpha-\gamma})$, the order of an aligned sum (D1.3):"
        ),
        Theta(-c(L), L, 1 - alpha - gamma, POINTS),
        Numbers(
            r"The output and the kernels $\langle x_1, x_1\rangle$, $\langle x_1, x_0\rangle$ at all levels, from "
            r"$\mathrm{limits.recurse}$ at ten points $(\alpha, \gamma)$, stable or not, against $\chi c(L)$, $b(l)$ here and "
            r"$C^0_{11}(l)$ of D3.3.",
            lambda known: one_step_of_recurse(Definitions((*known.entries, SQUARE))),
            1e-11,
        ),
        Say(
            r"Later steps: with $\alpha + \gamma\ge 1$ every coefficient of every later state is again a sum of $L$ terms "
            r"$O(L^{-\alpha-\gamma})$ times kernels of earlier states, and stays of order one by induction over steps; with "
            r"$\alpha + \gamma < 1$ the first step already diverges. For nonlinear blocks the order of the sum is read from D1.3."
        ),
    ),
    scope="exact for one step of a linear network; for later steps and nonlinear blocks the order is that of D1.3, heuristic",
    uses=(D2_1, D2_3),
)


# D3.2

D3_2 = Claim(
    "D3.2",
    r"Given $\alpha\ge 1/2$, training is nontrivial, its outputs move in the limit, iff $\alpha + \gamma\le 1$; stable and "
    r"nontrivial together mean $\alpha + \gamma = 1$.",
    "proved",
    (
        Say(
            r"TP6, Definition 7.4. The first step moves the output by $\chi c(L)$ (D3.1), which has a nonzero limit or none "
            r"exactly if the exponent $1 - \alpha - \gamma$ is not negative. On the line $\alpha + \gamma = 1$ the limit is "
            r"finite and nonzero,"
        ),
        Equal(sp.Limit(EXPLICIT(chi * c(L)).subs({alpha: half, gamma: half}), L, sp.oo), -chi * eta * a**2 * S * sp.exp(a**2)),
        Equal(sp.Limit(-chi * eta * a**2 * S * (1 + a**2 * L ** (-2 * half - w)) ** (L - 1), L, sp.oo), -chi * eta * a**2 * S),
        Say(
            r"for $\alpha = 1/2$ and for $\alpha = 1/2 + w/2$, $w > 0$. Above the line, $\alpha + \gamma = 1 + w$, it vanishes "
            r"like"
        ),
        Equal(sp.Subs(L ** (1 - alpha - gamma), gamma, 1 + w - alpha), L ** (-w)),
        Equal(sp.Limit(L ** (-w), L, sp.oo), 0),
        Say(r"and so do all later steps, whose loss derivative and kernels are then those of the first."),
    ),
    scope="as D3.1",
    uses=(D3_1,),
)


# D3.3

D3_3 = Claim(
    "D3.3",
    r"Features move with the output: $\langle x_1^l - x_0^l, x_1^l - x_0^l\rangle = \Theta(L^{2(1-\alpha-\gamma)})$ at every "
    r"depth $l = pL$, so features are learned iff $\alpha + \gamma = 1$ (with $\alpha\ge 1/2$), and faithfully iff also "
    r"$\gamma\ge 0$.",
    "proved",
    (
        Say(
            r"TP6, Definition 7.5. By D3.1 $\langle x_1, x_0\rangle = b = \langle x_0, x_0\rangle$, so the movement's mean "
            r"square is $C^0_{11}(l) - b(l)$ with $C^0_{11} = \langle x_1, x_1\rangle$. In one block the fresh Gaussian adds "
            r"$\epsilon C^0_{11}(l-1)$; the term $k(l)\delta_0^l$ adds its square and twice its overlap with $x_1^{l-1}$. The "
            r"latter contains $c(l-1)V\chi$ and, for every $m\ge l$, $aL^{-\alpha}c(l-1)W^{m\top}\delta_0^m$, which together "
            r"are $c(l-1)\delta_0^{l-1}$, with overlap $c(l-1)\langle\delta_0^l, \delta_0^l\rangle$ by D2.3. So"
        ),
        Equal(C11(l), (1 + epsilon) * C11(l - 1) + (2 * push(l) * c(l - 1) + push(l) ** 2) * C1(l)),
        Equal(C11(0), S),
        Say(
            r"and, since $2k(l)c(l-1) + k(l)^2 = c(l)^2 - c(l-1)^2$, the recursion divided by $(1 + \epsilon)^l$ is a sum of "
            r"squares:"
        ),
        SQUARE,
        Equal(sp.Sum(sp.Symbol("r") ** 2, (sp.Symbol("r"), 1, l)), l * (l + 1) * (2 * l + 1) / 6),
        Say(
            r"At the last block, divided by $(1 + \epsilon)^{2L}$, which has a positive limit for $\alpha\ge 1/2$ (D2.2), the "
            r"movement is"
        ),
        Theta((C11(L) - b(L)) / (1 + epsilon) ** (2 * L), L, 2 * (1 - alpha - gamma), UNITS),
        Say(
            r"At $l = pL$ the movement is a cubic in $p$ without constant term. For $\alpha > 1/2$ only its square is left: the "
            r"features move by $\eta a^2S\chi p$ times the read-out direction, root mean square,"
        ),
        Equal(sp.Limit(EXPLICIT(C11(p * L) - b(p * L)).subs({gamma: 0, alpha: 1}), L, sp.oo), (eta * a**2 * S * chi * p) ** 2),
        Say(
            r"shown at $\alpha = 1$; D4.2 has $\alpha = 1/2$. TP6 counts as feature learning what is stable, nontrivial and "
            r"faithful (D3.4): the segment $\alpha + \gamma = 1$, $1/2\le\alpha\le 1$."
        ),
    ),
    scope="as D3.1",
    uses=(D3_1, D2_3),
)


# D3.4

M, own = sp.Function("M"), sp.Symbol("own")
D3_4 = Claim(
    "D3.4",
    r"One block's own update moves its preactivation by $\Theta(L^{-\gamma})$: training is faithful iff $\gamma\ge 0$, which on "
    r"$\alpha + \gamma = 1$ is $\alpha\le 1$.",
    "proved",
    (
        Say(
            r"Faithful (TP6, Definition 7.3) asks that the branches' inputs $h^l = W^l x^{l-1}$ stay of order one. After one "
            r"step the new weights act on the new state, and the update's own part is $-\eta aL^{-\gamma}b(l-1)\delta_0^l$ "
            r"(D1.1), with mean square"
        ),
        Let(own, (eta * a * L ** (-gamma)) ** 2 * b(l - 1) ** 2 * C1(l)),
        Equal(own, (eta * a * S * chi) ** 2 * L ** (-2 * gamma) * (1 + epsilon) ** (L + l - 2)),
        Theta((eta * a * L ** (-gamma)) ** 2 * b(1) ** 2 * C1(2), L, -2 * gamma, POINTS),
        Say(
            r"(the limits are at block 2). The old weights' part is of the order of $x_1^{l-1}$ and no larger than stability "
            r"allows. On the line $\alpha + \gamma = 1$ the condition reads"
        ),
        Equal(sp.Subs(gamma, gamma, 1 - alpha), 1 - alpha),
        Say(
            r"which is $\ge 0$ iff $\alpha\le 1$. Stability alone does not give it: at $(\alpha, \gamma) = (2, -1)$ outputs "
            r"and features converge although every preactivation is moved by $\Theta(L)$. (TP6, Definition 7.2 asks for "
            r"bounded preactivations too, its Claim 7.2 does not; here they are counted under faithfulness, as in its Figure "
            r"1.) At initialization $h^l$ has the mean square of $x^{l-1}$, so there faithful means stable, $\alpha\ge 1/2$, "
            r"with initial weights of order one, $\beta = 0$."
        ),
        Equal(sp.Subs(1 - alpha - gamma, (alpha, gamma), (2, -1)), 0),
    ),
    scope="as D3.1",
    uses=(D3_1, D2_3),
)


# D3.5

K, E0, E11, G1 = (sp.Function(name) for name in ("K", "E_00", "E_11", "G"))
h = sp.Symbol("h", positive=True)
profile_load = Let(K(p), -eta * a**2 * S * p * sp.exp(a**2 * p))
profile_start = Let(E0(p), S * sp.exp(a**2 * p))
profile_gradient = Let(G1(p), chi**2 * sp.exp(a**2 * (1 - p)))
profile_square = Let(
    E11(p),
    sp.exp(a**2 * p) * (S + (eta * a**2 * S * chi) ** 2 * sp.exp(a**2) * (p**2 + sp.Rational(2, 3) * a**2 * p**3)),
)
D3_5 = Claim(
    "D3.5",
    r"In a stable and nontrivial limit the features of nearby depths differ by $\Theta(h^{1-\kappa})$ over a distance $h$ with "
    r"$\kappa = 1/2$ iff $\alpha = 1/2$, and $\kappa = 0$ otherwise.",
    "proved",
    (
        Say(
            r"The diversity exponent $\kappa$ of TP6, Definition 7.6. At $\alpha = 1/2$ the state's kernels have limits in $p$ "
            r"(D2.4). What is added between $p$ and $p + h$ before training is uncorrelated with what was there, so its mean "
            r"square is the difference of mean squares,"
        ),
        profile_start,
        Equal(E0(0), S),
        Equal(sp.Limit((E0(p + h) - E0(p)) / h, h, 0), a**2 * E0(p)),
        Say(
            r"which is of order $h$: the features differ by $h^{1/2}$, as Brownian motion does. After one step there is also a "
            r"drift. Features $x_1(p)$ overlap $K(p)G(q)$ with a gradient $\delta_0(q)$ above them, $q\ge p$, where $K$ is the "
            r"limit of $c$, $G$ that of $C^1$ and $E_{11}$ that of $C^0_{11}$. The increment's mean square is of order $h$ "
            r"with the rate"
        ),
        profile_load,
        profile_gradient,
        profile_square,
        Equal(sp.Derivative(E11(p), p) - 2 * K(p) * sp.Derivative(K(p), p) * G1(p), a**2 * E11(p)),
        Say(
            r"so $\kappa = 1/2$ still. For $\alpha > 1/2$ what blocks add at initialization vanishes in sum (D2.2), and the "
            r"limit is a flow with a bounded drift. After one step it is, by D3.1 and D3.3, $x_1(p) = x_0 - \eta a^2Sp\chi V$, "
            r"whose increments have the mean square"
        ),
        Let(t, eta * a**2 * S * chi),
        Equal((t * (p + h) - t * p) ** 2, (eta * a**2 * S * chi) ** 2 * h**2),
        Say(r"so that $\kappa = 0$: neighbouring blocks do the same, which TP6 calls redundant."),
    ),
    scope="linear blocks at initialization and after one step; later steps keep the form of noise plus drift, heuristic",
    uses=(),
)


# D3.6


def second_order_of_a_block() -> Iterator[sp.Expr]:
    """The mean of cos(z + d) over a standard Gaussian z, by the addition theorem and the moments of z, minus M(d)."""
    j = sp.Symbol("j", integer=True, nonnegative=True)
    cosine = sp.summation((-1) ** j / (2**j * sp.factorial(j)), (j, 0, sp.oo))  # E z^2j / (2j)! = 1 / (2^j j!)
    yield sp.expand_trig(sp.cos(z + d)) - (sp.cos(z) * sp.cos(d) - sp.sin(z) * sp.sin(d))
    yield M(d) - cosine * sp.cos(d)


D3_6 = Claim(
    "D3.6",
    r"A one-layer block's terms of second order in its own update add up to $\Theta(L^{1-\alpha-2\gamma})$: on $\alpha + "
    r"\gamma = 1$ the limit is linear in each block's update iff $\alpha < 1$.",
    "heuristic",
    (
        Say(
            r"TP6, Definition 7.7. A block's own update moves its preactivation from $h$ to $h + d$ with $d = uL^{-\gamma}$ "
            r"(D3.4) and $u$ of order one and persistent from block to block, as $\delta$ is. Take $\phi = \cos$ and $h$ "
            r"standard Gaussian; the mean over the block's own randomness, which is what adds up over blocks, is"
        ),
        Let(M(d), sp.exp(-half) * sp.cos(d)),
        Exact(
            r"This is $M(d)$, the mean of $\cos(z + d)$, by the addition theorem and the moments of $z$; the sine part is odd.",
            second_order_of_a_block,
        ),
        Say(r"It has no first order, so $L$ blocks with multiplier $L^{-\alpha}$ add up to"),
        *(
            Equal(
                sp.Limit(L * L ** (-first) * (M(t * L ** (-second)) - M(0)) / L ** (1 - first - 2 * second), L, sp.oo),
                -sp.exp(-half) * t**2 / 2,
            )
            for first, second in ((half, half), (3 * half / 2, half / 2))
        ),
        Equal(sp.Subs(1 - alpha - 2 * gamma, gamma, 1 - alpha), alpha - 1),
        Say(
            r"with $u = t$, at $(1/2, 1/2)$ and at $(3/4, 1/4)$. Mean subtraction removes the mean of $t^2$ over neurons and "
            r"leaves its variation, of the same order. The last line is the exponent on $\alpha + \gamma = 1$: negative for "
            r"$\alpha < 1$, and zero at $\alpha = 1$, where the update sits inside $\phi$ for good:"
        ),
        Equal(sp.Subs(L ** (1 - alpha) * (M(t * L ** (-gamma)) - M(0)), (alpha, gamma), (1, 0)), M(t) - M(0)),
        Say(r"Linear $\phi$ has no second order at any $\alpha$. Deeper blocks are in D6.1."),
    ),
    scope="an example is computed exactly; that second-order terms add up aligned in general is D1.3 with the same persistence",
)


# D3.7

initial, update = half - alpha, 1 - alpha - gamma
D3_7 = Claim(
    "D3.7",
    r"For one-layer blocks Depth-$\mu$P, $\alpha = \gamma = 1/2$, is the only point that is stable, nontrivial and has $\kappa "
    r"= 1/2$; it is faithful, learns features, and is linear in each block's update.",
    "proved",
    (
        Say(
            r"TP6, Claim 7.5 and its abstract. Diversity asks for $\alpha = 1/2$ (D3.5), stable and nontrivial for $\alpha + "
            r"\gamma = 1$ (D3.2). Two linear equations with determinant"
        ),
        Equal(sp.Determinant(sp.Matrix([initial, update]).jacobian([alpha, gamma])), 1),
        Equal(sp.Subs(initial, alpha, half), sp.Subs(update, (alpha, gamma), (half, half)), 0),
        Say(r"have one solution. There $\gamma > 0$ (faithful, D3.4) and $1 - \alpha - 2\gamma < 0$ (D3.6):"),
        Equal(sp.Subs(1 - alpha - 2 * gamma, (alpha, gamma), (half, half)), -half),
        Say(
            r"More quantitatively, nothing stable exceeds it in both: any stable point has $\alpha\ge 1/2$ and $\gamma\ge 1 - "
            r"\alpha$, so the initial branches and the updates sum to at most order one, and both do only here. Along the "
            r"stable and nontrivial line, $\alpha = 1/2 + w$, the initial branches are smaller than the updates by"
        ),
        Equal(sp.Subs(update - initial, (alpha, gamma), (half + w, half - w)), w),
        Say(r"powers of $L$."),
    ),
    scope="from D3.2, D3.4, D3.5 and D3.6, with their scopes",
)

CLUSTER = Cluster(
    "D3. One step of training, and the regimes",
    r"One step of gradient descent in a linear network at $n = \infty$ has a closed form at every finite depth and for all "
    r"exponents. The regimes of TP6, section 7, are read off it: which exponents keep training stable (D3.1), move the output "
    r"(D3.2) and the features (D3.3), keep the blocks' inputs bounded (D3.4), keep blocks different (D3.5) and linear in their "
    r"updates (D3.6); and the one point that has everything (D3.7).",
    (D3_1, D3_2, D3_3, D3_4, D3_5, D3_6, D3_7),
)

if __name__ == "__main__":
    CLUSTER.main()
