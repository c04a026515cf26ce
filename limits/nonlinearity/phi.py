r"""A nonlinearity $\phi$ of a block: a value with its derivative and its dual kernel."""

from dataclasses import dataclass, field
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from limits.nonlinearity import closed, mehler, quadrature
from limits.nonlinearity.expansion import Expansion, Exponential, Kink, reflected, total
from limits.nonlinearity.functions import Function, Sum
from limits.nonlinearity.hermite import Coefficients, NotResolvedError
from limits.nonlinearity.mehler import Marginal
from limits.nonlinearity.pair import Pair
from limits.nonlinearity.validity import check, checked_kinks

Array = Any

ORDER = (
    *("linear", "relu", "leaky_relu", "abs", "erf", "sin", "cos", "exp", "square", "cube", "power"),
    *("tanh", "gelu", "silu", "softplus", "gaussian"),
)
"""Names in the order in which the terms of a sum are written; other terms follow by alphabet."""


class Dual(NamedTuple):
    r"""The dual kernel of $\phi$ at $(u, v, c)$ and its derivatives; arrays of the broadcast shape, None beyond the order asked.

    The derivatives are expectations by Price's theorem [D5.1].

    Attributes:
        V: $\mathrm{Cov}(\phi(z_i), \phi(z_j))$, or $E\phi(z_i)\phi(z_j)$ without mean subtraction.
        V_c: $\partial_c V = E\phi'(z_i)\phi'(z_j)$ (Price's theorem).
        V_cc: $\partial_c^2 V = E\phi''(z_i)\phi''(z_j)$.
        V_u: $\partial_u V = \frac12 E\phi''(z_i)\phi^c(z_j)$, $\phi^c = \phi - E\phi$ with mean subtraction.
        V_uc: $\partial_u\partial_c V = \frac12 E\phi'''(z_i)\phi'(z_j)$.
        tilt: $E[z_i\phi''(z_i)\phi'(z_j)]/u = 2V_{uc} + (c/u) V_{cc}$, without that sum's cancellation at a kink [D5.5].

    >>> from limits.nonlinearity import nonlinearity
    >>> nonlinearity("cube").dual(1.0, 1.0, 0.5, order=1)
    Dual(V=array(5.25), V_c=array(13.5), V_cc=None, V_u=None, V_uc=None, tilt=None)
    """

    V: Array
    V_c: Array = None
    V_cc: Array = None
    V_u: Array = None
    V_uc: Array = None
    tilt: Array = None


Known = tuple[Coefficients | None, Coefficients | None]
Terms = tuple[tuple[float, "Nonlinearity"], ...]


@dataclass(frozen=True)
class Nonlinearity:
    r"""A function $\phi$ that acts on every neuron; sums and multiples of nonlinearities are nonlinearities.

    Its dual kernel is a closed form for every name but tanh, silu and softplus, and for sums of such; a Hermite series for those
    three and for smooth functions of one's own, in milliseconds; and a quadrature for kinked functions of one's own, in
    tens of milliseconds *per pair*. Two are equal if their names, functions and kinks are; equal sums are equal in any order.

    Args:
        name: what it is called.
        phi: $\phi$, of every entry of an array of any array library (a numpy function serves where arrays are numpy's).
        derivative: $\phi'$; at a kink any value, those here give the mean of its two sides.
        kinks: where $\phi'$ jumps.
        expansion: $\phi$ as a sum of exponentials and kinks, where it is one.
        closed: whether that sum is short and exact, so that the duals are its closed forms; otherwise it serves where the
            Hermite series is too long.

    Raises:
        TypeError, ValueError: a function that does not act on arrays, is not finite, does not fit its derivative, or grows like
            exp(z²); a sentence saying so.

    >>> from limits.nonlinearity import nonlinearity
    >>> print(nonlinearity("relu").dual(1.0, 1.0, 0.5, mean_subtraction=False).V.round(6))
    0.304499
    >>> (0.5 * nonlinearity("relu") - nonlinearity("tanh")).name
    '0.5*relu - tanh'
    >>> mine = Nonlinearity("mine", np.arctan, lambda z: 1 / (1 + z * z))
    >>> print(mine.dual(1.0, 1.0, 1.0).V_c.round(6))
    0.5
    """

    name: str
    phi: Any
    derivative: Any
    kinks: Any = ()
    expansion: Expansion | None = field(default=None, compare=False, repr=False)
    closed: bool = field(default=True, compare=False, repr=False)
    terms: Terms = field(default=(), compare=False, repr=False)
    """The nonlinearities that this one is a sum of, each with its factor; one that is not a sum is its own only term."""

    def __repr__(self) -> str:
        return f"Nonlinearity({self.name})"

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinks", checked_kinks(self.kinks))
        object.__setattr__(self, "closed", self.closed and self.expansion is not None)
        if not self.terms:
            object.__setattr__(self, "terms", ((1.0, self),))
            if self.expansion is None:
                check(self.name, self.phi, self.derivative, self.kinks)

    @classmethod
    def known_by_name(cls, name: str, function: Function) -> "Nonlinearity":
        """One whose functions are not at hand: `function`, which is not tried, stands for both."""
        found = object.__new__(cls)
        known = {"name": name, "phi": function, "derivative": function, "kinks": (), "expansion": None, "closed": False}
        for field_name, value in (known | {"terms": ((1.0, found),)}).items():
            object.__setattr__(found, field_name, value)
        return found

    @property
    def linear(self) -> bool:
        r"""Whether $\phi(z) = z$ exactly."""
        return self.expansion == {Exponential(0): (0.0, 1.0)}

    @property
    def homogeneous(self) -> bool:
        r"""Whether $\phi(z) = b|z| + kz$."""
        known = dict(self.expansion or {Exponential(0): (1.0,)})
        line, kink = known.pop(Exponential(0), (0.0, 0.0)), known.pop(Kink(0.0), (0.0,))
        return not known and len(kink) == 1 and len(line) == 2 and line[0] == 0

    @property
    def centred(self) -> bool:
        r"""Whether $E\phi(\sqrt u z) = 0$ for every $u$, which is whether $\phi$ is odd: of one's own, to 1e-13 at 257 points."""
        if self.expansion is not None:
            return not total((1.0, self.expansion), (1.0, reflected(self.expansion)))
        z = np.linspace(0.01, 9.0, 257)
        right, left = (np.asarray(self.phi(side), float) for side in (z, -z))
        return bool(np.all(abs(right + left) <= 1e-13 * np.max(abs(right))))

    @property
    def accuracy(self) -> float:
        """Error of the duals where they do not blow up, relative to the larger of 1 and their size.

        Of a smooth function of one's own it is 1e-9 where the variance is too large for its Hermite series.
        """
        if self.closed:
            return closed.ACCURACY
        return quadrature.ACCURACY if self.kinks and self.expansion is None else mehler.ACCURACY

    def mean(self, u: Array) -> Array:
        r"""$E\phi(\sqrt u z)$, $z$ standard normal, for variances $u \ge 0$.

        >>> from limits.nonlinearity import nonlinearity
        >>> nonlinearity("abs").mean([0.0, np.pi / 2]).round(12)
        array([0., 1.])
        """
        with np.errstate(all="ignore"):
            found = self._mean(Pair(u, 0.0, 0.0).u)
        self._check(found, u)
        return found

    def _mean(self, u: Array) -> Array:
        if self.expansion is not None:
            return closed.mean(self.expansion, u)
        if not self.kinks:
            try:
                return mehler.mean(self.phi, self.derivative, u)
            except NotResolvedError:
                pass
        return quadrature.mean(self._pieces(u), u)

    def _pieces(self, *variances: Array) -> quadrature.Pieces:
        top = max(float(np.max(u, initial=0.0)) for u in variances)
        return quadrature.pieces(self.phi, self.derivative, self.kinks, top)

    def dual(self, u: Array | Marginal, v: Array | Marginal, c: Array, *, mean_subtraction: bool = True, order: int = 2) -> Dual:
        r"""The dual kernel $V(u, v, c)$ and its derivatives: `order` 0 gives V, 1 adds V_c, 2 all.

        Args:
            u: variances of $z_i$, or their `marginal`; u, v and c broadcast, and what depends on u or v alone is computed in its
                own shape.
            v: variances of $z_j$.
            c: covariances, clipped to $\pm\sqrt{uv}$. Derivatives that blow up there (V_cc and V_uc of a kinked $\phi$, like
                $1/\sqrt{uv - c^2}$) take the value at $uv - c^2$ = 2e-16 $uv$; where $u$ or $v$ is 0 the correlation is 0.
            mean_subtraction: whether $\phi$ enters less its mean; changes only V and V_u.
            order: 0, 1 or 2.

        Raises:
            ValueError: variances that are negative or not finite, expectations beyond the largest float, or a function of one's
                own that varies too fast at these variances.

        >>> from limits.nonlinearity import nonlinearity
        >>> nonlinearity("sin + cos").dual([[1.0]], [1.0, 2.0], [0.5, 0.0], order=1).V_c.round(6)
        array([[0.606531, 0.22313 ]])
        """
        if order not in (0, 1, 2):
            raise ValueError(f"order must be 0, 1 or 2, got {order!r}")
        first, second = (w if isinstance(w, Marginal) else Marginal(w) for w in (u, v))
        pair, known = Pair(first.variances, second.variances, c), (first.first, second.first)
        with np.errstate(all="ignore"):
            parts = self._dual(pair, mean_subtraction, order, known)
        for part in parts:
            self._check(part, pair.u, pair.v)
        return Dual(*parts)

    def marginal(self, u: Array, like: Marginal | None = None) -> Marginal:
        r"""Variances with what the dual kernel of order 0 or 1 needs of them alone, to be used again and again as u or v.

        Args:
            u: variances, an array; the result can be indexed like it.
            like: another one, to share its quadrature.

        >>> from limits.nonlinearity import nonlinearity
        >>> known = nonlinearity("tanh").marginal(np.array([0.5, 1.0]))
        >>> nonlinearity("tanh").dual(known[0], known[1], 0.3, order=0).V.round(6)
        np.float64(0.133071)
        """
        u = np.asarray(u, float)
        if not self.closed and not self.kinks:
            try:
                with np.errstate(all="ignore"):
                    return mehler.marginal(self.phi, self.derivative, u, like)
            except NotResolvedError:
                pass
        return Marginal(u)

    def _dual(self, pair: Pair, mean_subtraction: bool, order: int, known: Known) -> tuple[Array, ...]:
        if self.closed or (self.expansion is None and self.kinks):
            return self._slow_or_closed(pair, mean_subtraction, order)
        try:
            return self._series(pair, mean_subtraction, order, known)
        except NotResolvedError:
            return self._slow_or_closed(pair, mean_subtraction, order)

    def _slow_or_closed(self, pair: Pair, mean_subtraction: bool, order: int) -> tuple[Array, ...]:
        if self.expansion is not None:
            return closed.dual(self.expansion, self.expansion, pair, mean_subtraction, order)
        return quadrature.dual(self._pieces(pair.u, pair.v), pair, mean_subtraction, order)

    def _series(self, pair: Pair, mean_subtraction: bool, order: int, known: Known = (None, None)) -> tuple[Array, ...]:
        """A Hermite series, but closed forms for what is kinked in a sum of known terms and for its cross terms."""
        bent = tuple((a, term) for a, term in self.terms if term.kinks)
        if not bent:
            return mehler.dual(self.phi, self.derivative, pair, mean_subtraction, order, known)
        kinked, rest = combination(bent), combination(tuple((a, term) for a, term in self.terms if not term.kinks))
        parts = [rest._series(pair, mean_subtraction, order)]
        sharp, smooth = kinked.expansion or {}, rest.expansion or {}
        for f, g in ((sharp, sharp), (sharp, smooth), (smooth, sharp)):
            parts.append(closed.dual(f, g, pair, mean_subtraction, order))
        return tuple(sum(same) for same in zip(*parts, strict=True))

    def _check(self, found: Array, *variances: Array) -> None:
        if not np.all(np.isfinite(found)):
            top = max(float(np.max(u, initial=0.0)) for u in variances)
            raise ValueError(f"Gaussian expectations of {self.name} at variance {top:g} are beyond the largest float")

    def __add__(self, other: object) -> "Nonlinearity":
        return combination((*self.terms, *other.terms)) if isinstance(other, Nonlinearity) else NotImplemented

    def __sub__(self, other: object) -> "Nonlinearity":
        return self + -1.0 * other if isinstance(other, Nonlinearity) else NotImplemented

    def __mul__(self, factor: object) -> "Nonlinearity":
        if isinstance(factor, bool) or not isinstance(factor, Real):
            return NotImplemented
        return combination(tuple((float(factor) * a, term) for a, term in self.terms))

    __rmul__ = __mul__

    def __truediv__(self, divisor: object) -> "Nonlinearity":
        if isinstance(divisor, bool) or not isinstance(divisor, Real):
            return NotImplemented
        if divisor == 0:
            raise ValueError(f"a nonlinearity cannot be divided by 0: {self.name} / {divisor!r}")
        return combination(tuple((a / float(divisor), term) for a, term in self.terms))

    def __neg__(self) -> "Nonlinearity":
        return self * -1.0


def combination(terms: Terms) -> Nonlinearity:
    r"""$\sum_i a_i\phi_i$ in canonical form: equal terms merged, and in a fixed order."""
    merged: dict[Nonlinearity, float] = {}
    for factor, term in terms:
        if not np.isfinite(factor):
            raise ValueError(f"the factors of a nonlinearity must be finite, got {factor!r}")
        merged[term] = merged.get(term, 0.0) + factor
    kept = tuple(sorted(((a, term) for term, a in merged.items() if a), key=lambda t: _rank(t[1])))
    kept = kept or ((0.0, terms[0][1]),)
    if len(kept) == 1 and kept[0][0] == 1:
        return kept[0][1]
    known = [(a, term.expansion) for a, term in kept if term.expansion is not None]
    return Nonlinearity(
        text(kept),
        Sum(tuple((a, term.phi) for a, term in kept)),
        Sum(tuple((a, term.derivative) for a, term in kept)),
        tuple(kink for _, term in kept for kink in term.kinks),
        total(*known) if len(known) == len(kept) else None,
        all(term.closed for _, term in kept),
        kept,
    )


def _rank(term: Nonlinearity) -> tuple[int, str]:
    name = term.name.partition("(")[0]
    return (ORDER.index(name) if name in ORDER else len(ORDER), term.name)


def text(terms: Terms) -> str:
    """The formula of a sum, as `nonlinearity` reads it."""
    written = ""
    for a, term in terms:
        factor = "" if abs(a) == 1 else f"{abs(a)!r}*".replace(".0*", "*")
        sign = (" - " if a < 0 else " + ") if written else ("-" if a < 0 else "")
        written += f"{sign}{factor}{term.name}"
    return written
