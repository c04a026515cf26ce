r"""Gaussian expectations of a nonlinearity: Price's theorem, closed dual kernels, and their form near coinciding arguments."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import sympy as sp
from argument import Claim, Definitions, Equal, Exact, Let, Numbers, Say
from d2_initialization import b

u, v = sp.symbols("u v", positive=True)
c, k, s, t, x, y = sp.symbols("c k s t x y", real=True)
gap = u * v - c**2
f, g = sp.Function("f"), sp.Function("g")
D = sp.Derivative
KERNEL = (u, v, c)
Pairs = Iterator[tuple[Any, Any]]


def on_kernel(name: str) -> sp.Expr:
    """A function of the variances u, v and the covariance c."""
    return sp.Function(name)(*KERNEL)


def at_zero(expression: sp.Expr) -> sp.Expr:
    """Where z_i and z_j are independent."""
    return sp.Subs(expression, c, 0)


def numeric(known: Definitions, expression: sp.Expr) -> Callable[[float, float, float], float]:
    """A defined function of (u, v, c) for numbers."""
    return sp.lambdify(KERNEL, known(expression).doit(), "numpy")


# D5.1

rho, G, V_e = sp.Function("rho"), sp.Function("G"), on_kernel("V_e")
Q = sp.Function("Q")
DENSITY = rho(x, y, *KERNEL)


def moment(m: int, k: int) -> sp.Expr:
    """E z_i^m z_j^k by counting pairings (Isserlis): r of them mixed, the others within z_i and within z_j."""

    def within(number: int, variance: sp.Expr) -> sp.Expr:
        return sp.factorial2(number - 1) * variance ** (number // 2) if number else sp.Integer(1)

    return sp.Add(
        *(
            sp.factorial(r) * sp.binomial(m, r) * sp.binomial(k, r) * c**r * within(m - r, u) * within(k - r, v)
            for r in range(min(m, k) + 1)
            if (m - r) % 2 == (k - r) % 2 == 0
        )
    )


def powers_obey_price() -> Iterator[sp.Expr]:
    """Both heat equations and Stein's lemma for z_i^m z_j^k, m, k <= 6."""
    for m in range(7):
        for r in range(7):
            value = moment(m, r)
            yield sp.diff(value, c) - (m * r * moment(m - 1, r - 1) if m and r else 0)
            yield 2 * sp.diff(value, u) - (m * (m - 1) * moment(m - 2, r) if m > 1 else 0)
            lowered = (m * u * moment(m - 1, r) if m else 0) + (r * c * moment(m, r - 1) if r else 0)
            yield sp.expand(moment(m + 1, r) - lowered)


D5_1 = Claim(
    "D5.1",
    r"Price's theorem: $V(u, v, c) = \mathrm{Cov}(\phi(z_i), \phi(z_j))$ for centred Gaussian $z_i, z_j$ of variances $u, v$ and "
    r"covariance $c$ has $V_c = E\phi'\phi'$, $V_{cc} = E\phi''\phi''$, $2V_u = E\phi''(z_i)\phi^c(z_j)$ with $\phi^c = \phi - "
    r"E\phi$, and $2V_{uc} = E\phi'''(z_i)\phi'(z_j)$.",
    "proved",
    (
        Say(r"The joint density of $(z_i, z_j)$ at $(x, y)$ is"),
        Let(Q(x, y, *KERNEL), (v * x**2 - 2 * c * x * y + u * y**2) / gap),
        Let(DENSITY, sp.exp(-Q(x, y, *KERNEL) / 2) / (2 * sp.pi * sp.sqrt(gap))),
        Say(
            r"For $z_i = \sqrt ux$, $z_j = (c/\sqrt u)x + \sqrt{(uv - c^2)/u}\,y$, whose Jacobian is the root of $uv - c^2$, it "
            r"is the density of two independent standard normals:"
        ),
        Equal(Q(sp.sqrt(u) * x, c / sp.sqrt(u) * x + sp.sqrt(gap / u) * y, *KERNEL), x**2 + y**2),
        Equal(rho(0, 0, *KERNEL) * sp.sqrt(gap), 1 / (2 * sp.pi)),
        Say(r"It satisfies two heat equations, by differentiation:"),
        Equal(D(DENSITY, c), D(DENSITY, x, y)),
        Equal(2 * D(DENSITY, u), D(DENSITY, x, x)),
        Say(
            r"So $\partial_cEf(z_i)g(z_j)$ is the integral of $fg$ times the mixed derivative, and integration by parts moves "
            r"the derivatives to $f$ and $g$: the difference of the integrands is a divergence, and the boundary terms vanish "
            r"if $f$ and $g$ grow slower than a Gaussian decays. Kinks are meant in the sense of distributions."
        ),
        Equal(
            f(x) * g(y) * D(DENSITY, x, y) - D(f(x), x) * D(g(y), y) * DENSITY,
            D(f(x) * g(y) * D(DENSITY, y), x) - D(D(f(x), x) * g(y) * DENSITY, y),
        ),
        Equal(
            f(x) * g(y) * D(DENSITY, x, x) - D(f(x), x, x) * g(y) * DENSITY,
            D(f(x) * g(y) * D(DENSITY, x) - D(f(x), x) * g(y) * DENSITY, x),
        ),
        Say(
            r"Hence $\partial_cEf(z_i)g(z_j) = Ef'g'$ and $2\partial_uEf(z_i)g(z_j) = Ef''g$. With $f = g = \phi$ once and twice "
            r"these are the formulas for $V_c$, $V_{cc}$ and $V_{uc}$; in $V_u$ the product of the means contributes "
            r"$-E\phi''(z_i)\,E\phi(z_j)$, which makes $\phi^c$ of $\phi$. In the same way"
        ),
        Equal(x * DENSITY, -u * D(DENSITY, x) - c * D(DENSITY, y)),
        Say(
            r"is Stein's lemma, $Ez_if(z_i)g(z_j) = uEf'g + cEfg'$. Two exact examples. Exponentials, of which other functions "
            r"are sums, stay Gaussian (complete the square),"
        ),
        Let(G(s, t), sp.exp((s**2 * u + 2 * s * t * c + t**2 * v) / 2)),
        Equal(
            s * x + t * y - Q(x, y, *KERNEL) / 2,
            sp.log(G(s, t)) - Q(x - s * u - t * c, y - s * c - t * v, *KERNEL) / 2,
        ),
        Say(r"so $Ee^{sz_i}e^{tz_j} = G(s, t)$. The covariance of $e^{sz_i}$ and $e^{tz_j}$ and its derivatives are"),
        Let(V_e, G(s, t) - G(s, 0) * G(0, t)),
        Equal(D(V_e, c), s * t * G(s, t)),
        Equal(D(V_e, c, c), s**2 * t**2 * G(s, t)),
        Equal(2 * D(V_e, u), s**2 * (G(s, t) - G(s, 0) * G(0, t))),
        Equal(2 * D(V_e, u, c), s**3 * t * G(s, t)),
        Exact(
            r"Powers: moments counted by pairings satisfy both formulas and Stein's lemma for all $z_i^mz_j^k$, $m, k\le 6$.",
            powers_obey_price,
        ),
    ),
    scope="nonlinearities that grow slower than a Gaussian decays; V_cc and V_uc of kinked ones where z_i, z_j are not parallel",
)


# D5.2

V_sin, V_cos, V_wave, V_erf, V_abs, V_kink = (on_kernel(f"V_{name}") for name in ("sin", "cos", "wave", "erf", "abs", "kinked"))
I = sp.I
wider = (1 + 2 * u) * (1 + 2 * v) - 4 * c**2
narrowed = tuple(entry / wider for entry in (u + 2 * gap, v + 2 * gap, c))
POINTS = [(0.7, 1.3, 0.4), (1.1, 0.2, -0.3), (0.5, 0.5, 0.499), (2.0, 0.9, -1.2)]


def duals_of_the_package(known: Definitions) -> Pairs:
    """V, V_c, V_cc, 2 V_u and 2 V_uc of `limits.nonlinearity` at four points, by symbolic differentiation."""
    from limits.nonlinearity import kinked, nonlinearity

    formulas = {"sin": V_sin, "cos": V_cos, "sin + cos": V_wave, "erf": V_erf, "abs": V_abs}
    cases = [(nonlinearity(name), formula, {}) for name, formula in formulas.items()]
    cases.append((kinked(0.3, 0.8), V_kink, {b: sp.Rational(3, 10), k: sp.Rational(4, 5)}))
    for phi, formula, constants in cases:
        value = known(formula).subs(constants)
        wanted = sp.lambdify(KERNEL, [value, value.diff(c), value.diff(c, c), value.diff(u), value.diff(u, c)])
        found = phi.dual(*np.transpose(POINTS))
        yield np.array([found.V, found.V_c, found.V_cc, found.V_u, found.V_uc]).T, [wanted(*point) for point in POINTS]


D5_2 = Claim(
    "D5.2",
    r"Closed dual kernels: of $\sin$, $\cos$, $\sin + \cos$, $\mathrm{erf}$, $|z|$ and $b|z| + kz$, among them relu.",
    "proved",
    (
        Say(
            r"By Price's theorem it is enough to know $V_c$, or $V_{cc}$, and that covariances vanish at $c = 0$, where $z_i$ "
            r"and $z_j$ are independent. Trigonometric functions are exponentials with imaginary $s$, for which $G$ of D5.1 "
            r"gives $V_c$:"
        ),
        Let(V_sin, sp.exp(-(u + v) / 2) * (sp.exp(c) - sp.exp(-c)) / 2),
        Equal(D(V_sin, c), (G(I, I) + G(I, -I) + G(-I, I) + G(-I, -I)) / 4),
        Equal(at_zero(V_sin), 0),
        Let(V_cos, sp.exp(-(u + v) / 2) * ((sp.exp(c) + sp.exp(-c)) / 2 - 1)),
        Equal(D(V_cos, c), -(G(I, I) - G(I, -I) - G(-I, I) + G(-I, -I)) / 4),
        Equal(at_zero(V_cos), 0),
        Say(r"For $\sin + \cos$ the mixed terms are odd, hence zero in sum:"),
        Let(V_wave, sp.exp(-(u + v) / 2) * (sp.exp(c) - 1)),
        Equal(V_wave, V_sin + V_cos),
        Say(
            r"The error function has $\phi' = 2e^{-z^2}/\sqrt\pi$. Multiplying the density by $e^{-x^2-y^2}$ gives one with a "
            r"smaller covariance matrix $K(1 + 2K)^{-1}$ in place of $K$,"
        ),
        Equal(x**2 + y**2 + Q(x, y, *KERNEL) / 2, Q(x, y, *narrowed) / 2),
        Equal(narrowed[0] * narrowed[1] - narrowed[2] ** 2, gap / wider),
        Say(
            r"whose determinant is that of $K$ divided by $(1+2u)(1+2v) - 4c^2$, so that $E\phi'\phi'$ is $4/\pi$ over its root:"
        ),
        Let(V_erf, 2 / sp.pi * sp.asin(2 * c / sp.sqrt((1 + 2 * u) * (1 + 2 * v)))),
        Equal(D(V_erf, c), 4 / sp.pi / sp.sqrt(wider)),
        Equal(at_zero(V_erf), 0),
        Say(r"For $|z|$ the second derivative is $2\delta(z)$, so $V_{cc}$ is four times the density at the origin;"),
        Let(V_abs, 2 / sp.pi * (sp.sqrt(gap) + c * sp.asin(c / sp.sqrt(u * v)) - sp.sqrt(u * v))),
        Equal(D(V_abs, c, c), 4 * rho(0, 0, *KERNEL)),
        Equal(D(V_abs, c), 2 / sp.pi * sp.asin(c / sp.sqrt(u * v))),
        Say(r"$V_c$ vanishes at $c = 0$ because $\phi' = \mathrm{sign}(z)$ is odd, and $V$ does:"),
        Equal(at_zero(D(V_abs, c)), 0),
        Equal(at_zero(V_abs), 0),
        Say(
            r"Last, $b|z| + kz$: $|z_i|$ and $z_j$ are uncorrelated, one being even and one odd, and $\mathrm{Cov}(z_i, z_j) = "
            r"c$. Its $V_c = b^2E\,\mathrm{sign}\,\mathrm{sign} + k^2$. Relu has $b = k = 1/2$."
        ),
        Let(V_kink, b**2 * V_abs + k**2 * c),
        Equal(D(V_kink, c), b**2 * 2 / sp.pi * sp.asin(c / sp.sqrt(u * v)) + k**2),
        Equal(at_zero(V_kink), 0),
        Numbers(
            r"$V$, $V_c$, $V_{cc}$, $V_u$ and $V_{uc}$ of $\mathrm{limits.nonlinearity}$ at four points $(u, v, c)$ against "
            r"these formulas, differentiated.",
            duals_of_the_package,
            1e-11,
        ),
    ),
    uses=(D5_1,),
)


# D5.5

tau = sp.Function("tau")


def regularised(known: Definitions) -> Pairs:
    """The tilt of `limits.nonlinearity` close to coinciding arguments: 0 for a kink, finite and as derived for erf."""
    from limits.nonlinearity import nonlinearity

    variance, distance = 0.8, np.array([1e-1, 1e-3, 1e-5])
    at = variance, variance * (1 + distance) ** 2, variance * (1 + distance) * (1 - distance**2)
    kink, smooth = nonlinearity("relu").dual(*at), nonlinearity("erf").dual(*at)
    yield kink.tilt, 0 * distance
    determinant = (variance * (1 + distance) * distance) ** 2 * (2 - distance**2)
    yield kink.V_cc * np.sqrt(determinant / variance), 0 * distance + 2 / np.pi / np.sqrt(variance) / 4
    formula = known(2 * D(V_erf, u, c) + c / u * D(V_erf, c, c)).doit()
    yield smooth.tilt, sp.lambdify(KERNEL, formula, "numpy")(*at)


D5_5 = Claim(
    "D5.5",
    r"$2V_{uc} = \tau - (c/u)V_{cc}$ with $\tau = E[z_i\phi''(z_i)\phi'(z_j)]/u$, zero for positively homogeneous $\phi$: so "
    r"$V_{cc}x_j + 2V_{uc}x_i = V_{cc}(x_j - (c/u)x_i) + \tau x_i$ stays bounded as $z_i\to z_j$, although $V_{cc}$ and "
    r"$V_{uc}$ of a kinked $\phi$ do not.",
    "proved",
    (
        Say(
            r"Stein's lemma of D5.1 with $f = \phi''$, $g = \phi'$ reads $E[z_i\phi''\phi'] = uE\phi'''\phi' + cE\phi''\phi''$, "
            r"which is the first formula. For exponentials, where $z_ie^{sz_i}$ is the derivative with respect to $s$:"
        ),
        Equal(s**2 * t * D(G(s, t), s), u * s**3 * t * G(s, t) + c * s**2 * t**2 * G(s, t)),
        Equal(s**2 * t * D(G(s, t), s), 2 * u * D(V_e, u, c) + c * D(V_e, c, c)),
        Say(
            r"In $H$ of D5.4 both terms come with the same factor $aA_{ij}C^1_{ij}$, one times $x_j$ and one times $x_i$. For "
            r"$\phi = b|z| + kz$, $z\phi''(z) = 2bz\delta(z) = 0$, hence $\tau = 0$:"
        ),
        Equal(2 * D(V_kink, u, c) + c / u * D(V_kink, c, c), 0),
        Say(
            r"What is left is $V_{cc}$, which grows like the inverse root of $uv - c^2$, times $x_j - (c/u)x_i$, the part of "
            r"$x_j$ that $x_i$ does not predict, whose variance"
        ),
        Equal(v - 2 * c / u * c + (c / u) ** 2 * u, gap / u),
        Say(r"goes to zero as fast. The root mean square of the product does not even depend on $c$:"),
        Equal(D(V_kink, c, c) * sp.sqrt(gap / u), 2 * b**2 / (sp.pi * sp.sqrt(u))),
        Numbers(
            r"$\tau$ and this product from $\mathrm{limits.nonlinearity}$ for relu, and $\tau$ for $\mathrm{erf}$, with $z_j$ as "
            r"close to $z_i$ as $10^{-5}$.",
            regularised,
            1e-5,
        ),
    ),
    scope="the bound is on the drift's root mean square",
    uses=(D5_1, D5_2),
)
