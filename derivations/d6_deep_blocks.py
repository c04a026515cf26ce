"""D6: blocks of several layers: what no exponents can have together, and what linear blocks reduce to."""

from collections.abc import Iterator
from itertools import chain, combinations
from typing import Any

import kets
import sympy as sp
from argument import Claim, Cluster, Contradiction, Definitions, Equal, Exact, Let, Numbers, Say
from d2_initialization import C1, D2_1, D2_3, L, S, a, chi, epsilon, l
from d3_training_and_regimes import D3_1, D3_3, EXPLICIT, b, c, eta, g

half = sp.Rational(1, 2)
alpha = sp.Symbol("alpha", real=True)
Subset = tuple[int, ...]


def exponents(k: int) -> tuple[tuple[sp.Symbol, ...], tuple[sp.Symbol, ...]]:
    """Symbols gamma_1 ... gamma_k and beta_1 ... beta_k."""
    return sp.symbols(f"gamma_1:{k + 1}", real=True), sp.symbols(f"beta_1:{k + 1}", real=True)


def order(k: int, subset: Subset) -> sp.Expr:
    """Exponent of the branches' sum in which the layers of `subset`, numbered from 0, contribute their updates."""
    gammas, betas = exponents(k)
    sum_adds = sp.Integer(1) if subset else half
    return sum_adds - alpha - sum(gammas[i] if i in subset else betas[i] for i in range(k))


def subsets(k: int, least: int = 0) -> list[Subset]:
    """Subsets of k layers with at least `least` members."""
    return list(chain.from_iterable(combinations(range(k), size) for size in range(least, k + 1)))


# D6.1


def product_expands_over_subsets() -> Iterator[sp.Expr]:
    """(w_k + d_k) ... (w_1 + d_1) minus the sum over subsets, for non-commuting factors."""
    for k in (1, 2, 3, 4):
        w = sp.symbols(f"w_1:{k + 1}", commutative=False)
        d = sp.symbols(f"d_1:{k + 1}", commutative=False)
        whole = sp.Mul(*(w[i] + d[i] for i in reversed(range(k))))
        terms = (sp.Mul(*(d[i] if i in subset else w[i] for i in reversed(range(k)))) for subset in subsets(k))
        yield sp.expand(whole) - sp.Add(*terms)


def W_after_its_transpose() -> Iterator[sp.Expr]:
    """Mean of W W^T d over a 3 x 3 Gaussian W, minus d."""
    size = 3
    entries = sp.symbols(f"w:{size * size}")
    W, d = sp.Matrix(size, size, entries), sp.Matrix(size, 1, sp.symbols(f"d:{size}"))
    for entry, wanted in zip(W * W.T * d, d, strict=True):
        moments = {0: sp.Integer(1), 1: sp.Integer(0), 2: sp.Rational(1, size)}
        terms = sp.Poly(sp.expand(entry), *entries).terms()
        yield sp.expand(sum(k * sp.prod([moments[degree] for degree in powers]) for powers, k in terms) - wanted)


gamma_1, gamma_2 = exponents(2)[0]
beta_1, beta_2 = exponents(2)[1]
e_none, e_1, e_2, e_12 = sp.symbols("e_0 e_1 e_2 e_12")

D6_1 = Claim(
    "D6.1",
    r"A block of $k$ layers with initial weights $\Theta(L^{-\beta_i})$ and updates $\Theta(L^{-\gamma_i})$ expands into one "
    r"term for every set $A$ of layers that contribute their update; the terms sum over blocks to the exponents $e_\emptyset = "
    r"1/2 - \alpha - \sum_i\beta_i$ and, for $A\neq\emptyset$, $e_A = 1 - \alpha - \sum_{i\in A}\gamma_i - \sum_{i\notin "
    r"A}\beta_i$.",
    "heuristic",
    (
        Say(
            r"The weights are $W^i = w_i + d_i$, initial value and update, and the branch is (between nonlinearities) the "
            r"product of all $k$. It expands into $2^k$ terms:"
        ),
        Exact(r"The product of $k = 1, 2, 3, 4$ non-commuting factors equals its sum over sets.", product_expands_over_subsets),
        Say(
            r"Each term's size in one block is the product of its factors' (D1.4), times $L^{-\alpha}$. The term of initial "
            r"weights only is centred and fresh in every block: 1/2 is added (D1.2), unless the branch is not centred, when it "
            r"is 1 (D1.3). A term with an update is aligned (D1.3) even if initial weights act after the update, since the "
            r"update of layer $i$ points along the transposes of those weights applied to $\delta$, and a matrix after its "
            r"transpose is the identity on average:"
        ),
        Exact(r"The mean of $W W^\top d$ over the entries of $W$ is $d$, for $n = 3$.", W_after_its_transpose),
        Say(
            r"For two or more updates the alignment is an upper bound in general, reached when the first layer's update "
            r"produces what the second one's reads, as it does after the first step. For $k = 2$, with $e_0$ for $e_\emptyset$:"
        ),
        Let(e_none, order(2, ())),
        Let(e_1, order(2, (0,))),
        Let(e_2, order(2, (1,))),
        Let(e_12, order(2, (0, 1))),
        Equal(e_1 + e_2, e_12 + e_none + half),
        Say(
            r"The last line is the reason for D6.2. Stable at initialization is $e_\emptyset\le 0$, stable in training $e_A\le "
            r"0$ for all $A\neq\emptyset$, diverse ($\kappa = 1/2$) $e_\emptyset = 0$ in addition (D3.5), and interacting "
            r"shall mean that some term with two or more updates is of order one, $e_A = 0$ with $|A|\ge 2$."
        ),
    ),
    scope="the expansion is exact; that terms with several updates are aligned is an upper bound",
)


# D6.2

m, Gs, Bs, Br = sp.symbols("m gamma_A beta_A beta_rest", real=True)
eN, eA, eS = sp.Function("e_0"), sp.Function("e_A"), sp.Function("sum_e")


def singles_against_the_set() -> Iterator[sp.Expr]:
    """Sum over i in A of e_i, minus e_A, minus (|A| - 1)(e_0 + 1/2), for every A with two layers or more, k = 2 ... 5."""
    for k in (2, 3, 4, 5):
        for chosen in subsets(k, least=2):
            singles = sum(order(k, (i,)) for i in chosen)
            yield sp.expand(singles - order(k, chosen) - (len(chosen) - 1) * (order(k, ()) + half))


def certificate(k: int, chosen: Subset) -> Contradiction:
    """Why a stable and diverse block of k layers cannot have an order-one term with the updates of `chosen`."""
    singles = tuple((f"stable in training, layer {i + 1} alone", order(k, (i,))) for i in chosen)
    layers = ", ".join(str(i + 1) for i in chosen)
    rows = (*singles, (f"interacting, layers {layers}", -order(k, chosen)), ("diverse", -order(k, ())))
    size = len(chosen)
    multipliers = (*(sp.Integer(1) for _ in singles), sp.Integer(1), sp.Integer(size - 1))
    return Contradiction(rows, multipliers, sp.Rational(size - 1, 2))


D6_2 = Claim(
    "D6.2",
    r"No exponents $(\alpha, \beta, \gamma)$ of a block with $k\ge 2$ layers are stable, diverse and interacting: in a stable "
    r"and diverse network a term with $m\ge 2$ updates is $O(L^{-(m-1)/2})$.",
    "proved",
    (
        Say(
            r"TP6, section 9.3, for any $k$. Let $A$ have $m$ layers; write $\gamma_A$ for the sum of its $\gamma_i$, "
            r"$\beta_A$ for the sum of its $\beta_i$ and $\beta_{rest}$ for that of the others. Then $e_0 = e_\emptyset$, "
            r"$e_A$, and the sum of the $e_i$ of its layers alone, in which every other $\beta$ of $A$ appears $m - 1$ times, "
            r"are"
        ),
        Let(eN(Bs, Br), half - alpha - Bs - Br),
        Let(eA(Gs, Br), 1 - alpha - Gs - Br),
        Let(eS(m, Gs, Bs, Br), m * (1 - alpha) - Gs - (m - 1) * Bs - m * Br),
        Say(r"and they satisfy one identity:"),
        Equal(eS(m, Gs, Bs, Br), eA(Gs, Br) + (m - 1) * eN(Bs, Br) + (m - 1) * half),
        Exact(r"Written out in all exponents, for every set $A$ and $k = 2, 3, 4, 5$.", singles_against_the_set),
        Say(
            r"In a stable network the left side is $\le 0$. If it is also diverse, $e_\emptyset = 0$, then $e_A\le -(m-1)/2$, "
            r"which is negative for $m\ge 2$: no interaction survives. As a certificate, the inequalities below cannot hold "
            r"together, because the multipliers in front make all exponents cancel. For two layers:"
        ),
        certificate(2, (0, 1)),
        Say(r"For three layers, first a pair and then all three, and for four layers all four:"),
        certificate(3, (0, 2)),
        certificate(3, (0, 1, 2)),
        certificate(4, (0, 1, 2, 3)),
        Say(
            r"Stability at initialization is not even used. Nor is there a slack to exploit: an interaction of order one, $e_A "
            r"= 0$, forces $e_\emptyset\le -1/2$, so the initial branches vanish at least like $L^{-1/2}$ in sum. The argument "
            r"breaks for branches that are not centred, whose $e_\emptyset$ is larger by 1/2, but those are not diverse."
        ),
        Equal(eS(m, Gs, Bs, Br) - eA(Gs, Br), (m - 1) * (1 - alpha - Bs - Br)),
    ),
    scope="for the exponents of D6.1: those of single updates are exact orders, those of several enter as upper bounds only",
)


# D6.3


def one_layer_joins() -> Iterator[sp.Expr]:
    """Change of e_A when layer j joins A, minus (beta_j - gamma_j)."""
    for k in (2, 3, 4):
        gammas, betas = exponents(k)
        for chosen in subsets(k, least=1):
            for j in set(range(k)) - set(chosen):
                change = order(k, (*chosen, j)) - order(k, chosen)
                yield sp.expand(change - (betas[j] - gammas[j]))


def complete_point() -> Iterator[sp.Expr]:
    """Every e_A at alpha = 1, beta = gamma = 0, and e_0 + 1/2, for k = 2 ... 5."""
    for k in (2, 3, 4, 5):
        gammas, betas = exponents(k)
        point = {alpha: 1} | dict.fromkeys((*gammas, *betas), 0)
        yield from (order(k, chosen).subs(point) for chosen in subsets(k, least=1))
        yield order(k, ()).subs(point) + half


def full_rank() -> Iterator[sp.Expr]:
    """All e_A = 0 with beta = 0 leave one point: the rank of the equations is the number of unknowns."""
    for k in (2, 3, 4):
        gammas, betas = exponents(k)
        rows = sp.Matrix([order(k, chosen).subs(dict.fromkeys(betas, 0)) for chosen in subsets(k, least=1)])
        yield sp.Integer(rows.jacobian([alpha, *gammas]).rank() - (k + 1))


D6_3 = Claim(
    "D6.3",
    r"Without diversity every term with updates can be of order one at once: $e_A = 0$ for all $A\neq\emptyset$ iff $\beta_i = "
    r"\gamma_i$ and $\alpha + \sum_i\beta_i = 1$; faithful at initialization, $\beta = 0$, this is $(\alpha, \gamma) = (1, "
    r"0)$, CompleteP.",
    "proved",
    (
        Exact(
            r"A layer $j$ that joins a nonempty set $A$ changes its exponent by $\beta_j - \gamma_j$: every $A$, $j$ and $k = "
            r"2, 3, 4$.",
            one_layer_joins,
        ),
        Say(
            r"So for $k\ge 2$ all are equal iff $\beta_j = \gamma_j$ for every $j$, and their common value is then $1 - \alpha - "
            r"\sum_i\beta_i$. With $\beta = 0$, which faithfulness at initialization asks for, the only point is $\alpha = 1$, "
            r"$\gamma_i = 0$, where $e_\emptyset = -1/2$:"
        ),
        Exact(r"All exponents at this point, for $k = 2, 3, 4, 5$.", complete_point),
        Exact(r"The equations $e_A = 0$ in $\alpha$ and $\gamma$ have full rank, for $k = 2, 3, 4$.", full_rank),
        Say(
            r"It is stable, nontrivial, faithful, learns features and is nonlinear in each block's update; it is redundant, "
            r"$\kappa = 0$, as D6.2 says it must be. This is the point named CompleteP (CP) and, for $k = 1$, the neural ODE "
            r"limit of TP6."
        ),
    ),
    scope="for the exponents of D6.1",
)


# D6.4

k, i = sp.symbols("k i", positive=True, integer=True)
inside, extra = sp.Function("sigma"), sp.Function("X")
p = sp.Symbol("p", positive=True)


AT_ONE_HALF = {sp.Symbol("alpha", positive=True): half, sp.Symbol("gamma", real=True): half}


def at_one_half(expression: sp.Expr) -> sp.Expr:
    """An expression of D3 at alpha = gamma = 1/2."""
    return EXPLICIT(expression).subs(AT_ONE_HALF)


K_STEP = c(l) - c(l - 1)


def deep_blocks_step_by_step(known: Definitions) -> Iterator[tuple[Any, Any]]:
    """Blocks of 1, 2 and 3 layers at the rate eta / k, state by state, after one step, against the formulas of the claim."""
    multiplier, rate, target = 0.9, 0.8, 1.3
    for layers, blocks in ((1, 6), (2, 6), (3, 5)):
        run = kets.train(blocks=blocks, block_depth=layers, a=multiplier, eta=rate / layers, y=target, steps=1)
        values = {L: blocks, a: multiplier, eta: rate, S: 1, chi: -target, k: layers}
        yield run.outputs[1], float(at_one_half(chi * c(L)).subs(values))
        added = known((2 * K_STEP * c(l - 1) + K_STEP**2) * C1(l) + epsilon * extra(layers, l))
        added = added.doit().subs(AT_ONE_HALF).subs(values)
        square = 1.0
        for block in range(1, blocks + 1):
            square = (1 + multiplier**2 / blocks) * square + float(added.subs(l, block))
        yield run.squares[1], square


def deep_blocks_tend_to_the_limit(known: Definitions) -> Iterator[tuple[Any, Any]]:
    """Outputs of k = 2 layers at the rate eta / 2, extrapolated from L = 10, 20, 40, against `limits.solve` at eta."""
    import limits

    one = limits.Problem(limits.ResNet(multiplier=0.7), limits.DEPTH_MUP, limits.SGD(0.6, steps=2), [[1.0]], [[1.0]])
    limit = limits.solve(one, tol=1e-12).outputs[:, 0, 0]
    runs = [kets.train(blocks=blocks, block_depth=2, a=0.7, eta=0.3, y=1.0, steps=2).outputs for blocks in (10, 20, 40)]
    weights = (1, -6, 8)  # removes 1/L and 1/L^2
    yield sum(w * run for w, run in zip(weights, runs, strict=True)) / 3, limit


def kets_of_one_layer(known: Definitions) -> Iterator[tuple[Any, Any]]:
    """The states written out for k = 1 against `limits.recurse`."""
    import limits

    one = limits.Problem(limits.ResNet(multiplier=0.9), limits.DEPTH_MUP, limits.SGD(0.7, steps=3), [[1.0]], [[1.2]])
    run = kets.train(blocks=6, block_depth=1, a=0.9, eta=0.7, y=1.2, steps=3)
    yield run.outputs, limits.recurse(one, blocks=6).outputs[:, 0, 0]


D6_4 = Claim(
    "D6.4",
    r"Linear blocks of $k$ layers at $\alpha = \gamma_i = 1/2$ train, as $L\to\infty$, like one-layer blocks at $k$ times the "
    r"learning rate; after one step the output agrees at every finite $L$.",
    "proved",
    (
        Say(
            r"The branch is $W^k\cdots W^1x$. In block $l$ let $z_i$ be the old state after $i$ matrices, $z_0 = x_0^{l-1}$, "
            r"and $d_i$ the old gradient at that place, $d_k = \delta_0^l$, $d_{i-1} = W^{i\top}d_i$. By D1.1 the update of "
            r"$W^i$ is $-\eta aL^{-1/2}d_iz_{i-1}^\top/n$. Let the new state after $i$ matrices, $s_i$ with $s_0 = x_1^{l-1}$, "
            r"contain $\sigma(i)d_i$. Then $W^{i+1}s_i$ contains $\sigma(i)d_{i+1}$, a matrix after its transpose, and the "
            r"update adds $-\eta aL^{-1/2}\langle z_i, s_i\rangle d_{i+1}$ to it. The overlap $\langle z_i, s_i\rangle$ is "
            r"that before the block, $b(l-1)$: a matrix preserves overlaps, and $z$ is uncorrelated with every $d$. At the "
            r"start $\sigma(0) = aL^{-1/2}c(l-1)$ as in D3.1. So, with the abbreviations of D3 at the rate $k\eta$, in which "
            r"$g = k\eta a^2/L$,"
        ),
        Equal(inside(i, l), inside(i - 1, l) - g * b(l - 1) / (k * sp.sqrt(epsilon))),
        Equal(inside(0, l), sp.sqrt(epsilon) * c(l - 1)),
        Let(inside(i, l), sp.sqrt(epsilon) * c(l - 1) - i * g * b(l - 1) / (k * sp.sqrt(epsilon))),
        Say(
            r"after $i$ matrices, and what the block adds to the coefficient of $V\chi$ is exactly what a one-layer block adds "
            r"at the rate $k\eta$, at every $L$:"
        ),
        Equal(sp.sqrt(epsilon) * inside(k, l), epsilon * c(l - 1) - g * b(l - 1), c(l) - c(l - 1)),
        Say(
            r"Hence $f_1$ and $\langle x_1, x_0\rangle$ agree at every $L$. What differs is the mean square of $x_1$: the "
            r"noise of the last matrix acts on a state that contains $\sigma(1)d_1, \ldots, \sigma(k-1)d_{k-1}$, whose parts "
            r"are uncorrelated, which adds $\epsilon X(k, l)$ per block with"
        ),
        Let(extra(k, l), sp.Sum(inside(i, l) ** 2, (i, 1, k - 1)) * C1(l)),
        Say(
            r"All terms of $\sigma$ are $\Theta(L^{-1/2})$, so this is $\Theta(L^{-2})$ in one block and vanishes like $1/L$ "
            r"in the sum over blocks. For two layers, with $l = pL$:"
        ),
        Equal(
            sp.Limit(
                L**2
                * at_one_half(
                    epsilon
                    * (sp.sqrt(epsilon) * c(p * L) - g * b(p * L) / (2 * sp.sqrt(epsilon))) ** 2
                    * chi**2
                    * (1 + epsilon) ** (L - p * L)
                ),
                L,
                sp.oo,
            ),
            a**4 * (S * eta * a) ** 2 * chi**2 * (a**2 * p + half) ** 2 * sp.exp(a**2 * (1 + p)) / a**2,
        ),
        Numbers(
            r"Infinitely wide networks with $k = 1, 2, 3$ written out state by state (kets.py): outputs and mean squares after "
            r"one step at $L = 5, 6$, with the extra term.",
            deep_blocks_step_by_step,
            1e-11,
        ),
        Say(
            r"Later steps have the same structure: in a block every matrix adds its own update, $k$ aligned terms of equal "
            r"size, while products of two updates are smaller by $L^{-1/2}$ (D6.2 with $m = 2$) and the noise inside a block "
            r"is seen only through coefficients $\Theta(L^{-1/2})$. The limit is that of one layer at the rate $k\eta$, "
            r"approached at rate $1/L$."
        ),
        Numbers(r"The states written out for $k = 1$ against $\mathrm{limits.recurse}$, three steps.", kets_of_one_layer, 1e-11),
        Numbers(
            r"Two steps of $k = 2$ at $a = 0.7$, $\eta = 0.3$ and $L = 10, 20, 40$, extrapolated in $1/L$, against "
            r"$\mathrm{limits.solve}$ at $\eta = 0.6$.",
            deep_blocks_tend_to_the_limit,
            3e-5,
        ),
    ),
    scope="one step; for later steps the argument is by orders, confirmed in numbers",
    uses=(D2_1, D2_3, D3_1, D3_3),
)

CLUSTER = Cluster(
    "D6. Blocks of several layers",
    r"With two or more layers in a block their updates can act on each other. Every term gets its exponent (D6.1); stability, "
    r"diversity and interaction exclude each other (D6.2); CompleteP is what remains without diversity (D6.3); and at $\alpha "
    r"= \gamma = 1/2$ a linear block of $k$ layers is one layer that learns $k$ times as fast (D6.4).",
    (D6_1, D6_2, D6_3, D6_4),
)

if __name__ == "__main__":
    CLUSTER.main()
