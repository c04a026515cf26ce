"""D4: closed forms of linear training at infinite width, at finite and infinite depth."""

from collections.abc import Iterator
from typing import Any

import sympy as sp
from argument import Claim, Cluster, Definitions, Equal, Let, Numbers, Say
from d2_initialization import L, S, a, chi, p
from d3_training_and_regimes import C11, D3_1, D3_3, EXPLICIT, b, c, eta

alpha_gamma = {sp.Symbol("alpha", positive=True): sp.Rational(1, 2), sp.Symbol("gamma", real=True): sp.Rational(1, 2)}
q, y, xi = sp.symbols("q y xi", real=True)
third = sp.Rational(2, 3)
F, B, K, G, E, X, E11 = (sp.Function(name) for name in ("F", "B", "K", "G", "E", "X", "E_11"))
T = sp.Symbol("T", positive=True)

ONE = (0.9, 0.7, 1.1, 1.3)  # a, eta, xi, y


def one_sample(a: float = 1.0, eta: float = 1.0, xi: float = 1.0, y: float = 1.0, steps: int = 1) -> Any:
    """The problem of this file: one sample, squared error, Depth-muP."""
    import limits

    return limits.Problem(limits.ResNet(multiplier=a), limits.DEPTH_MUP, limits.SGD(eta, steps=steps), [[xi]], [[y]])


def numbers(a_: float, eta_: float, xi_: float, y_: float) -> dict[sp.Symbol, float]:
    """Values of the symbols for one sample with zero initial output: chi = -y, S = xi^2."""
    return {a: a_, eta: eta_, S: xi_**2, chi: -y_, xi: xi_, y: y_}


# D4.1


def first_output(known: Definitions) -> Iterator[tuple[Any, Any]]:
    """f_1 of `limits.solve` for three choices of (a, eta, xi, y)."""
    import limits

    for values in ((1.0, 1.0, 1.0, 1.0), (0.6, 0.7, 1.0, 1.0), ONE):
        solved = limits.solve(one_sample(*values), tol=1e-13)
        yield solved.outputs[1, 0, 0], float(known(chi * K(1)).subs(numbers(*values)))


D4_1 = Claim(
    "D4.1",
    r"One sample, infinite depth, $\alpha = \gamma = 1/2$: after one step $f_1 = -\chi\eta a^2e^{a^2}S$, for the squared error "
    r"$f_1 = \eta a^2e^{a^2}\xi^2y$.",
    "proved",
    (
        Say(
            r"As $L\to\infty$ the features before the step are a Gaussian process in the depth $p$, started by the input and "
            r"driven by white noise; the gradients likewise, started by $V\chi$ at $p = 1$ and driven backwards. The features "
            r"after the step have the noise of the weights, correlated with the old one through their overlap $B = \langle "
            r"x_1, x_0\rangle$, and a drift $F(q)\delta_0(q)dq$. Three equations. The overlap grows by the common noise, since "
            r"$\delta_0$ is uncorrelated with $x_0$:"
        ),
        Equal(B(p), S + sp.Integral(a**2 * B(q), (q, 0, p))),
        Say(
            r"The drift is the response of $x_1(p)$ to the backward noise of block $p$, transported by the same weights, minus "
            r"the update. That noise is in $\delta_0(q)$ for every $q < p$ with coefficient one, so the response is the sum of "
            r"the drifts before $p$, which is also the amount of $V\chi$ in $x_1(p)$:"
        ),
        Equal(F(p), a**2 * (K(p) - eta * B(p))),
        Equal(K(p), sp.Integral(F(q), (q, 0, p))),
        Say(r"The solution, as substitution shows, is"),
        Let(B(p), S * sp.exp(a**2 * p)),
        Let(K(p), -eta * a**2 * S * p * sp.exp(a**2 * p)),
        Let(F(p), -eta * a**2 * S * (1 + a**2 * p) * sp.exp(a**2 * p)),
        Say(r"It is unique, both equations being linear Volterra equations. The output is $\langle V, x_1(1)\rangle$,"),
        Equal(chi * K(1), -chi * eta * a**2 * S * sp.exp(a**2)),
        Say(r"At the start the output is zero, so the squared error has $\chi = -y$, and for one input $S = \xi^2$:"),
        Equal(sp.Subs(chi * K(1), (chi, S), (-y, xi**2)), eta * a**2 * sp.exp(a**2) * xi**2 * y),
        Numbers(
            r"$f_1$ of $\mathrm{limits.solve}$ at $(a, \eta, \xi, y) = (1, 1, 1, 1)$, where it is $e$, and at two other points.",
            first_output,
            1e-12,
        ),
    ),
    scope="that the finite network's kets have this limit is D4.3, exactly, for one step",
)


# D4.2


def first_kernel(known: Definitions, values: tuple[float, ...] = ONE) -> Iterator[tuple[Any, Any]]:
    """Kernels of `limits.solve` after one step at nine depths, and the value for unit constants."""
    import limits

    depths = [m / 8 for m in range(9)]
    record = limits.Record(positions=depths)
    for chosen in (values, (1.0, 1.0, 1.0, 1.0)):
        solved = limits.solve(one_sample(*chosen), tol=1e-13, record=record)
        yield solved.feature_kernel[1, 1, :, 0, 0], [float(known(E11(m)).subs(numbers(*chosen))) for m in depths]
        yield solved.feature_kernel[1, 0, :, 0, 0], [float(known(B(m)).subs(numbers(*chosen))) for m in depths]


def first_kernel_at_finite_depth(known: Definitions) -> Iterator[tuple[Any, Any]]:
    """L times the distance of `limits.recurse` from the limit, at two depths L: the same up to 1/L."""
    import limits

    limit = float(known(E11(1)).subs(numbers(*ONE)))
    record = limits.Record(positions=[1])
    coarse, fine = (
        limits.recurse(one_sample(*ONE), blocks=blocks, record=record).feature_kernel[1, 1, 0, 0, 0] for blocks in (512, 1024)
    )
    yield 2 * fine - coarse, limit


D4_2 = Claim(
    "D4.2",
    r"The features after one step have $C^0_{11}(p) = e^{a^2p}\,(S + (\eta\chi Sa^2)^2e^{a^2}(p^2 + \tfrac23 a^2p^3))$; with "
    r"unit input and "
    r"$a = 1$, $C^0_{11}(p) = e^p(1 + (\eta\chi)^2e\,(p^2 + \tfrac23 p^3))$.",
    "proved",
    (
        Say(
            r"The gradients before the step have the mean square $G(p)$, from $\chi^2$ at $p = 1$ backwards (D2.3). The "
            r"features $x_1(p)$ contain $K(p)V\chi$ and the backward noise of every $q > p$ with coefficient $K(p)$ too, so "
            r"their overlap $X(p)$ with $\delta_0(p)$ is"
        ),
        Equal(G(p), chi**2 + sp.Integral(a**2 * G(q), (q, p, 1))),
        Let(G(p), chi**2 * sp.exp(a**2 * (1 - p))),
        Equal(X(p), K(p) * chi**2 + K(p) * sp.Integral(a**2 * G(q), (q, p, 1))),
        Let(X(p), K(p) * G(p)),
        Say(r"The mean square of $x_1$ grows by its noise and by twice the drift's overlap:"),
        Equal(E11(p), S + sp.Integral(sp.expand(a**2 * E11(q) + 2 * F(q) * X(q)), (q, 0, p))),
        Equal(sp.Derivative(E11(p), p), a**2 * E11(p) + 2 * F(p) * X(p)),
        Equal(E11(0), S),
        Let(
            E11(p),
            sp.exp(a**2 * p) * (S + (eta * chi * S * a**2) ** 2 * sp.exp(a**2) * (p**2 + third * a**2 * p**3)),
        ),
        Equal(sp.Subs(E11(p), (a, S), (1, 1)), sp.exp(p) * (1 + (eta * chi) ** 2 * sp.E * (p**2 + third * p**3))),
        Equal(sp.Subs(E11(1), (a, S, eta, chi), (1, 1, 1, -1)), sp.E + 5 * sp.E**2 / 3),
        Numbers(
            r"$C^0_{11}$ and $C^0_{10}$ of $\mathrm{limits.solve}$ at nine depths, $(a, \eta, \xi, y) = (0.9, 0.7, 1.1, 1.3)$ "
            r"and $(1, 1, 1, 1)$.",
            first_kernel,
            1e-12,
        ),
        Numbers(
            r"$C^0_{11}(1)$ of $\mathrm{limits.recurse}$ at $L = 512$ and $1024$, extrapolated in $1/L$.",
            first_kernel_at_finite_depth,
            1e-4,
        ),
    ),
    scope="as D4.1",
    uses=(D4_1,),
)


# D4.3

f1 = sp.Function("f_1")


def finite_outputs(known: Definitions) -> Iterator[tuple[Any, Any]]:
    """f_1 of `limits.recurse` at several finite depths."""
    import limits

    for values in ((1.0, 1.0, 1.0, 1.0), ONE):
        for blocks in (1, 2, 16, 32, 100):
            found = limits.recurse(one_sample(*values), blocks=blocks).outputs[1, 0, 0]
            yield found, float(known(f1(blocks)).subs(numbers(*values)))


D4_3 = Claim(
    "D4.3",
    r"At finite depth $f_1 = \eta a^2\xi^2y(1 + a^2/L)^{L-1}$ exactly, for unit constants $(1 + 1/L)^{L-1}$; it and all "
    r"kernels after one step tend to D4.1 and D4.2 at rate $1/L$.",
    "proved",
    (
        Say(r"D3.1 at $\alpha = \gamma = 1/2$ with $\chi = -y$, $S = \xi^2$ is"),
        Let(f1(L), eta * a**2 * xi**2 * y * (1 + a**2 / L) ** (L - 1)),
        Equal(EXPLICIT(chi * c(L)).subs(alpha_gamma).subs({chi: -y, S: xi**2}), f1(L)),
        Equal(sp.Subs(f1(L), (a, eta, xi, y), (1, 1, 1, 1)), (1 + 1 / L) ** (L - 1)),
        Say(r"Its limit is that of D4.1, and its error"),
        Equal(sp.Limit(f1(L), L, sp.oo), eta * a**2 * sp.exp(a**2) * xi**2 * y),
        Equal(
            sp.Limit(L * ((1 + T / L) ** (L - 1) * sp.exp(-T) - 1), L, sp.oo),
            -T - T**2 / 2,
        ),
        Say(
            r"relative and times $L$, with $T = a^2$: for unit constants $f_1 = e\,(1 - 3/(2L) + \ldots)$. The kernels of D3.1 "
            r"and D3.3 at $l = pL$ tend to those of D4.1 and D4.2:"
        ),
        Equal(sp.Limit(EXPLICIT(b(p * L)).subs(alpha_gamma), L, sp.oo), B(p)),
        Equal(sp.Limit(EXPLICIT(c(p * L)).subs(alpha_gamma), L, sp.oo), K(p)),
        Equal(sp.Limit(EXPLICIT(C11(p * L)).subs(alpha_gamma), L, sp.oo), E11(p)),
        Numbers(
            r"$f_1$ of $\mathrm{limits.recurse}$ at $L = 1, 2, 16, 32, 100$ for two choices of the constants.",
            finite_outputs,
            1e-12,
        ),
    ),
    uses=(D4_2, D3_1, D3_3),
)


# D4.4

j = sp.Symbol("j", positive=True, integer=True)


def several_samples(known: Definitions) -> Iterator[tuple[Any, Any]]:
    """f_1 on three samples and a probe, two inputs and two outputs, from `limits.solve`."""
    import numpy as np

    import limits

    inputs = np.array([[1.0, 0.4], [-0.5, 1.2], [0.8, -0.9]])
    targets = np.array([[1.0, -0.5], [-0.6, 0.8], [0.3, 0.2]])
    probes = np.array([[0.2, 0.1]])
    problem = limits.Problem(
        limits.ResNet(multiplier=0.8), limits.DEPTH_MUP, limits.SGD(0.7, steps=1), inputs, targets, probes=probes
    )
    chi_0 = -targets / len(targets)  # the derivative of the batch mean at zero outputs
    overlaps = np.concatenate([inputs, probes]) @ inputs.T / 2
    per_unit = float(known(K(1)).subs({S: 1, a: 0.8, eta: 0.7}))
    yield limits.solve(problem, tol=1e-13).outputs[1], per_unit * overlaps @ chi_0


D4_4 = Claim(
    "D4.4",
    r"For a batch $f_1(\xi) = -\eta a^2e^{a^2}\sum_j\chi_j\,\xi_j\cdot\xi/d$: the first step of the infinitely deep linear "
    r"network is linear regression at the rate $\eta a^2e^{a^2}$.",
    "proved",
    (
        Say(
            r"Every sample of the batch adds its own drift to $x_1$, with the overlap $B_j = \langle x_1, x_{0,j}\rangle$ that "
            r"starts at $\xi_j\cdot\xi/d$ and follows the equation of D4.1; so does the response to its gradient, because the "
            r"noises of different samples enter as separate variables. The amounts $K_j$ therefore solve D4.1 with $S$ "
            r"replaced by $\xi_j\cdot\xi/d$, in which $K$ is linear,"
        ),
        Equal(sp.Derivative(K(p), S) * S, K(p)),
        Say(r"and the output is the sum of $\chi_jK_j(1)$, each"),
        Equal(chi * K(1), -eta * a**2 * sp.exp(a**2) * S * chi),
        Numbers(
            r"Three samples, a probe, two inputs and two outputs, from $\mathrm{limits.solve}$.",
            several_samples,
            1e-12,
        ),
    ),
    uses=(D4_1,),
)


# D4.5

k, m = sp.symbols("k m", positive=True, integer=True)
M, H = sp.Function("M"), sp.Function("H")
chi0, chi1, h = sp.symbols("chi_0 chi_1 h", real=True)


def second_output(a2: float, eta_: float, s: float, chi_0: float, chi_1: float, terms: int = 60) -> float:
    """f_2 by power series in p of the four equations of D4.5, without their common factor exp(a^2 p)."""
    import numpy as np

    def times(u: Any, v: Any) -> Any:
        return np.convolve(u, v)[:terms]

    def series(*coefficients: float) -> Any:
        return np.array([*coefficients, *[0.0] * (terms - len(coefficients))])

    g, cross = chi_0**2 * np.exp(a2), chi_0 * chi_1 * np.exp(a2)
    k10 = series(0.0, -eta_ * a2 * s)
    f10 = series(-eta_ * a2 * s, -eta_ * a2**2 * s)
    back = series(-eta_ * a2 * cross, eta_ * a2 * cross)  # M without exp(-a^2 p)
    k20, k21, c20, c21 = (np.zeros(terms) for _ in range(4))
    c20[0] = c21[0] = s
    for order in range(terms - 1):
        f20, f21 = (a2 * (load - eta_ * overlap) for load, overlap in ((k20, c20), (k21, c21)))
        slope20, slope21 = -eta_ * a2 * c20, -eta_ * a2 * c21
        ahead = a2 * times(k21, back * s)
        drift20 = times(f21, back * s) + ahead
        drift21 = times(f20, k10 * g) + times(f21, k10 * cross + back * s) + times(f10, k20 * g + k21 * cross) + ahead
        for state, slope in ((k20, slope20), (k21, slope21), (c20, drift20), (c21, drift21)):
            state[order + 1] = slope[order] / (order + 1)
    return float(np.exp(a2) * (chi_0 * k20.sum() + chi_1 * k21.sum()))


def second_step(known: Definitions) -> Iterator[tuple[Any, Any]]:
    """f_2 of the power series against `limits.solve`."""
    import limits

    for a_, eta_, xi_, y_ in ((1.0, 1.0, 1.0, 1.0), ONE):
        values = numbers(a_, eta_, xi_, y_)
        chi_1 = float(known(chi * K(1)).subs(values)) - y_
        solved = limits.solve(one_sample(a_, eta_, xi_, y_, steps=2), tol=1e-13).outputs[2, 0, 0]
        yield second_output(a_**2, eta_, xi_**2, -y_, chi_1), solved


D4_5 = Claim(
    "D4.5",
    r"The second step is four linear equations in $p$ with polynomial coefficients; their power series gives $f_2 = "
    r"0.055553275134$ for unit constants.",
    "proved",
    (
        Say(
            r"After the second step the backward pass has a drift too: $\delta_1(p)$ contains $\int_p^1 H(q)x_0(q)dq$, where, "
            r"mirroring D4.1, $M(p) = \int_p^1 H$ is the response to the forward noise, and the gradients overlap by "
            r"$\chi_0\chi_1e^{a^2(1-p)}$:"
        ),
        Equal(-sp.Derivative(M(p), p), a**2 * (M(p) - eta * chi0 * chi1 * sp.exp(a**2 * (1 - p)))),
        Equal(M(1), 0),
        Let(M(p), -eta * a**2 * chi0 * chi1 * (1 - p) * sp.exp(a**2 * (1 - p))),
        Say(
            r"The features $x_2$ have drifts $F_{20}\delta_0 + F_{21}\delta_1$ with $F_{2j} = a^2(K_{2j} - \eta C_{2j})$, "
            r"$K_{2j}' = F_{2j}$, $C_{2j} = \langle x_2, x_j\rangle$, and overlaps found as in D4.2: $\langle\delta_1, "
            r"x_0\rangle = MC_{00}$, $\langle\delta_0, x_1\rangle = K_{10}C^1_{00}$, $\langle\delta_1, x_1\rangle = "
            r"K_{10}C^1_{10} + MC_{10}$, $\langle\delta_0, x_2\rangle = K_{20}C^1_{00} + K_{21}C^1_{10}$. One effect is new: "
            r"$x_2(p)$ contains $\delta_1(q)$ for $q < p$, and through it features $x_0$ above $p$, so it anticipates the "
            r"forward noise at $p$ with coefficient $K_{21}M$, which adds $a^2K_{21}MC_{j0}$ to $C_{2j}'$. Hence $C_{20}' = "
            r"a^2C_{20} + (F_{21} + a^2K_{21})MC_{00}$ and $C_{21}' = a^2C_{21} + F_{20}K_{10}C^1_{00} + F_{21}K_{10}C^1_{10} "
            r"+ (F_{21} + a^2K_{21})MC_{10} + F_{10}(K_{20}C^1_{00} + K_{21}C^1_{10})$. With $e^{a^2p}$ divided out all "
            r"coefficients are polynomials, for example"
        ),
        Equal(M(p) * sp.exp(a**2 * p), -eta * a**2 * chi0 * chi1 * (1 - p) * sp.exp(a**2)),
        Say(r"and $f_2 = \chi_0K_{20}(1) + \chi_1K_{21}(1)$."),
        Numbers(r"Sixty terms of the series against $f_2$ of $\mathrm{limits.solve}$, for two choices.", second_step, 1e-11),
        Numbers(
            r"For unit constants the value stated.",
            lambda known: [(second_output(1.0, 1.0, 1.0, -1.0, float(sp.E) - 1.0), 0.055553275134)],
            1e-12,
        ),
    ),
    scope="as D4.1; the overlaps are derived in words and confirmed by the numbers",
    uses=(D4_1,),
)

CLUSTER = Cluster(
    "D4. Linear dynamics in closed form",
    r"Linear blocks at $\alpha = \gamma = 1/2$, one sample unless said otherwise. The infinite-depth limit is a pair of "
    r"Gaussian processes, forward and backward, coupled through their responses; for one step it is solved by hand here, at "
    r"infinite depth (D4.1, D4.2), at finite depth (D4.3) and for a batch (D4.4), and reduced to a power series for the second "
    r"step (D4.5).",
    (D4_1, D4_2, D4_3, D4_4, D4_5),
)

if __name__ == "__main__":
    CLUSTER.main()
