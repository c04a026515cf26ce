r"""Gaussian expectations of two expansions in closed form.

For members $f$ and $g$ of the two families, a `Table` gives $E f(z_i) g(z_j)$ and the covariance
$E f g - E f\,E g$, the latter without the cancellation at small $c$. Every table is one or two elementary formulas and a
recursion, which is Stein's lemma, $E z_i f g = u E f' g + c E f g'$:

* $z^m e^{sz}$ with $z^n e^{tz}$: $N_{m+1,n} = (su + tc) N_{mn} + u m N_{m-1,n} + c n N_{m,n-1}$;
* $K_a$ with $K_b$, $U = u + \sigma^2$: since $x K_d(x) = (2-d) K_{d-1}(x)$ for $x = z + \sigma w$ and $d \ge 1$,
  $(2-d) W_{d-1,b} = U W_{d+1,b} + c W_{d,b+1}$, and the same with $V$ and $b$;
* $K_d$ with $z^m e^{sz}$: the exponential shifts the means (Girsanov), $M_{d0} = e^{s^2 v/2} E K_d(x + sc)$, and
  $M_{d,m+1} = c M_{d+1,m} + v(m M_{d,m-1} + s M_{dm})$.

The starting formulas are those of [D5.1] and [D5.2].
"""

from math import pi, sqrt
from typing import Any

import numpy as np

from limits.nonlinearity.expansion import Expansion, Exponential, Family, Kink, derivative, smooth_part
from limits.nonlinearity.pair import EPSILON, TINY, Pair

Array = Any

ACCURACY = 1e-13
"""For variances below 10^3; the rounding of an exponent grows with them."""


class Table:
    """Expectations of members $a$ of one family with members $b$ of another, each computed once."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.known: dict[tuple[int, int, bool], Array] = {}

    def __call__(self, a: int, b: int, centred: bool) -> Array:
        r"""$E f_a(z_i) g_b(z_j)$, less $E f_a\,E g_b$ if `centred`."""
        key = (a, b, centred)
        if key not in self.known:
            self.known[key] = self.entry(*key)
        return self.known[key]

    def entry(self, a: int, b: int, centred: bool) -> Array:
        raise NotImplementedError


class Exponentials(Table):
    r"""$N_{mn} = E z_i^m e^{s z_i} z_j^n e^{t z_j}$, $N_{00} = e^{(s^2 u + t^2 v)/2 + stc}$."""

    def __init__(self, pair: Pair, s: complex, t: complex) -> None:
        super().__init__(pair)
        s, t = _real(s), _real(t)
        self.s, self.t, self.st = s, t, _real(s * t)
        self.own = _real(s * s) / 2 * pair.u + _real(t * t) / 2 * pair.v

    def entry(self, a: int, b: int, centred: bool) -> Array:
        if a == b == 0:
            return self._covariance() if centred else self._base()
        if a == 0:
            return self._raise_second(b - 1, centred)
        pair, m, n = self.pair, a - 1, b
        value = (self.s * pair.u + self.t * pair.c) * self(m, n, centred)
        if centred and self.t:
            value = value + self.t * pair.c * (self(m, n, False) - self(m, n, True))
        if m:
            value = value + m * pair.u * self(m - 1, n, centred)
        if n:
            value = value + n * pair.c * self(m, n - 1, False)
        return value

    def _raise_second(self, n: int, centred: bool) -> Array:
        pair = self.pair
        value = (self.s * pair.c + self.t * pair.v) * self(0, n, centred)
        if centred and self.s:
            value = value + self.s * pair.c * (self(0, n, False) - self(0, n, True))
        return value + n * pair.v * self(0, n - 1, centred) if n else value

    def _base(self) -> Array:
        return np.exp(self.own + self.st * self.pair.c)

    def _covariance(self) -> Array:
        exponent = self.st * self.pair.c
        if np.iscomplexobj(exponent):
            return np.exp(self.own) * np.expm1(exponent)
        return -np.sign(exponent) * np.exp(self.own + np.maximum(exponent, 0)) * np.expm1(-abs(exponent))


class Kinks(Table):
    r"""$W_{ab} = E K_a(z_i) K_b(z_j)$, $W_{00} = \frac2\pi(\sqrt D + c \arctan\frac{c}{\sqrt D})$, $D = UV - c^2$.

    Where $D$ divides, it is at least the round-off of $uv$.
    """

    def __init__(self, pair: Pair, first: float, second: float) -> None:
        super().__init__(pair)
        u, v = pair.u, pair.v
        self.U, self.V = np.maximum(u + first, TINY), np.maximum(v + second, TINY)
        self.D = pair.gap + second * u + first * (v + second) if first or second else pair.gap
        self.D_floor = np.maximum(self.D, np.maximum(EPSILON * pair.root**2, TINY))
        self.root = np.sqrt(self.D)
        self.angle: Array | None = None

    def entry(self, a: int, b: int, centred: bool) -> Array:
        if (a + b) % 2:
            return np.zeros(self.pair.shape)
        if a + b <= 4 and max(a, b) < 4 and not (centred and a == b == 2):
            return 2 / pi * self._base(a, b, centred and a % 2 == 0)
        if a < b:
            return self._down(b, a, centred, self.V, self.U, lambda j, i, how: self(i, j, how))
        return self._down(a, b, centred, self.U, self.V, self)

    def _base(self, a: int, b: int, centred: bool) -> Array:
        if a == b == 0:
            return (self._deficit() if centred else self.root) + self.pair.c * self._angle()
        if a == b == 1:
            return self._angle()
        if a == b == 2:
            return 1 / np.sqrt(self.D_floor)
        large = self.U if a > b else self.V
        if a + b == 2:
            return (self._deficit() if centred else self.root) / large
        return -self.pair.c / (large * np.sqrt(self.D_floor))

    def _down(self, a: int, b: int, centred: bool, U: Array, V: Array, W: Any) -> Array:
        """One step down in $a >= b$."""
        c = self.pair.c
        if a % 2:
            return (V * (3 - a) * W(a - 2, b, False) - c * (2 - b) * W(a - 1, b - 1, False)) / self.D_floor
        return ((3 - a) * W(a - 2, b, centred) - c * W(a - 1, b + 1, False)) / U

    def _angle(self) -> Array:
        r"""$\arctan(c/\sqrt D)$, the arcsine of the correlation."""
        if self.angle is None:
            self.angle = np.arctan2(self.pair.c, self.root)
        return self.angle

    def _deficit(self) -> Array:
        r"""$\sqrt D - \sqrt{UV}$."""
        return -(self.pair.c**2) / np.maximum(self.root + np.sqrt(self.U * self.V), TINY)


class Tilted(Table):
    r"""$M_{dm} = E K_d(z_i) z_j^m e^{s z_j}$; with $t = sc$, $M_{10} = e^{s^2 v/2}\,\mathrm{erf}(t/\sqrt{2U})$."""

    def __init__(self, pair: Pair, smoothing: float, s: complex) -> None:
        super().__init__(pair)
        self.s = _real(s)
        self.U = np.maximum(pair.u + smoothing, TINY)
        self.t = self.s * pair.c
        self.grown = np.exp(_real(self.s * self.s) / 2 * pair.v)
        self.left = np.exp(_real(self.s * self.s) / 2 * ((pair.gap + smoothing * pair.v) / self.U))

    def entry(self, a: int, b: int, centred: bool) -> Array:
        if b == 0:
            return self._shifted(a, centred and a % 2 == 0)
        pair, m = self.pair, b - 1
        value = pair.c * self(a + 1, m, False) + self.s * pair.v * self(a, m, centred)
        return value + m * pair.v * self(a, m - 1, centred) if m else value

    def _shifted(self, d: int, centred: bool) -> Array:
        r"""$e^{s^2 v/2} E K_d(x + t)$ from $U k_{d+1} = (2-d) k_{d-1} - t k_d$."""
        if d == 0:
            return self.U * self(2, 0, centred) + self.t * self(1, 0, False)
        if d == 1:
            return self._error_function()
        if d == 2:
            return np.sqrt(2 / (pi * self.U)) * (self._difference() if centred else self.left)
        return ((3 - d) * self(d - 2, 0, centred) - self.t * self(d - 1, 0, False)) / self.U

    def _error_function(self) -> Array:
        from scipy.special import dawsn, erf

        if np.iscomplexobj(self.t):
            return 2j / sqrt(pi) * dawsn(self.t.imag / np.sqrt(2 * self.U)) * self.left
        return self.grown * erf(self.t / np.sqrt(2 * self.U))

    def _difference(self) -> Array:
        r"""$e^{s^2 v/2}(e^{-t^2/2U} - 1)$."""
        exponent = np.real(self.t * self.t) / (2 * self.U)
        return -self.left * np.expm1(exponent) if np.iscomplexobj(self.t) else self.grown * np.expm1(-exponent)


class Swapped(Table):
    """A table with its families named the other way round."""

    def __init__(self, table: Table) -> None:
        super().__init__(table.pair)
        self.table = table

    def entry(self, a: int, b: int, centred: bool) -> Array:
        return self.table(b, a, centred)


def _real(x: complex) -> complex:
    """A complex number without imaginary part as a real one, so that arrays stay real."""
    return x if isinstance(x, complex) and x.imag else complex(x).real


def _table(pair: Pair, f: Family, g: Family) -> Table:
    if isinstance(f, Kink):
        return Kinks(pair, f.smoothing, g.smoothing) if isinstance(g, Kink) else Tilted(pair, f.smoothing, g.rate)
    if isinstance(g, Kink):
        return Swapped(Tilted(pair.swapped, g.smoothing, f.rate))
    return Exponentials(pair, f.rate, g.rate)


def _imaginary(family: Family) -> float:
    return complex(family.rate).imag if isinstance(family, Exponential) else 0.0


class Expectations:
    """Expectations over one pair of variables; tables of families are shared by all of them."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.tables: dict[tuple[Family, Family], Table] = {}

    def __call__(self, f: Expansion, g: Expansion, *, centred: bool = False) -> Array:
        r"""$E f(z_i) g(z_j)$, or the covariance; of two terms that are complex conjugates only one is computed."""
        value = np.zeros(self.pair.shape)
        for first, p in f.items():
            for second, q in g.items():
                sign = _imaginary(first) or _imaginary(second)
                if sign >= 0:
                    value += self._block(first, second, p, q, centred) * (2 if sign else 1)
        return value

    def _block(self, first: Family, second: Family, p: tuple, q: tuple, centred: bool) -> Array:
        if (first, second) not in self.tables:
            self.tables[first, second] = _table(self.pair, first, second)
        table = self.tables[first, second]
        value = 0.0
        for a, x in enumerate(p):
            for b, y in enumerate(q):
                if x and y:
                    value = value + _real_product(x * y, table(a, b, centred))
        return value


def _real_product(x: complex, array: Array) -> Array:
    x = complex(x)
    if np.iscomplexobj(array):
        return x.real * array.real - x.imag * array.imag
    return x.real * array


def mean(phi: Expansion, u: Array) -> Array:
    r"""$E\phi(\sqrt u z)$."""
    return Expectations(Pair(u, 0.0, 0.0))(phi, {Exponential(0): (1.0,)})


def dual(phi: Expansion, psi: Expansion, pair: Pair, mean_subtraction: bool, order: int) -> tuple[Array, ...]:
    r"""$V, V_c, V_{cc}, V_u, V_{uc}$ and the tilt of $\phi(z_i)$ with $\psi(z_j)$ as far as `order` asks.

    The tilt is taken without $z\,\delta(z) = 0$, so that nothing cancels at a kink.
    """
    expect = Expectations(pair)
    first, first_psi = derivative(phi), derivative(psi)
    V = expect(phi, psi, centred=mean_subtraction)
    if order == 0:
        return (V,)
    V_c = expect(first, first_psi)
    if order == 1:
        return V, V_c
    second, second_psi = derivative(first), derivative(first_psi)
    third, smooth = derivative(second), smooth_part(second)
    V_cc, V_u, V_uc = expect(second, second_psi), expect(second, psi, centred=mean_subtraction) / 2, expect(third, first_psi) / 2
    tilt = expect(derivative(smooth), first_psi) + pair.slope * expect(smooth, second_psi)
    return V, V_c, V_cc, V_u, V_uc, tilt
