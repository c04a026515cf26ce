r"""A nonlinearity $\phi$ of a block: a value with its derivative and its dual kernel."""

from dataclasses import dataclass, field
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from limits.nonlinearity import closed, hermite
from limits.nonlinearity.expansion import Expansion, Exponential, Kink, total
from limits.nonlinearity.functions import Function, Sum
from limits.nonlinearity.pair import Pair

Array = Any


class Dual(NamedTuple):
    r"""The dual kernel of $\phi$ at $(u, v, c)$ and its derivatives; arrays of the broadcast shape.

    Attributes:
        V: $\mathrm{Cov}(\phi(z_i), \phi(z_j))$, or $E\phi(z_i)\phi(z_j)$ without mean subtraction.
        V_c: $\partial_c V = E\phi'(z_i)\phi'(z_j)$ (Price's theorem).
        V_cc: $\partial_c^2 V = E\phi''(z_i)\phi''(z_j)$.
        V_u: $\partial_u V = \frac12 E\phi''(z_i)\phi^c(z_j)$, $\phi^c = \phi - E\phi$ with mean subtraction.
        V_uc: $\partial_u\partial_c V = \frac12 E\phi'''(z_i)\phi'(z_j)$.
        tilt: $E[z_i\phi''(z_i)\phi'(z_j)]/u = 2V_{uc} + (c/u) V_{cc}$, without that sum's cancellation at a kink.
    """

    V: Array
    V_c: Array = None
    V_cc: Array = None
    V_u: Array = None
    V_uc: Array = None
    tilt: Array = None


Terms = tuple[tuple[float, "Nonlinearity"], ...]


@dataclass(frozen=True)
class Nonlinearity:
    r"""A function $\phi$ that acts on every neuron; sums and multiples of nonlinearities are nonlinearities.

    Args:
        name: what it is called.
        phi: $\phi$, of every entry of an array of any array library (a numpy function serves where arrays are numpy's).
        derivative: $\phi'$; at a kink the mean of its two sides.
        kinks: where $\phi'$ jumps.
        expansion: $\phi$ as a sum of exponentials and kinks, where it is one; its duals are then closed forms.

    Raises:
        TypeError, ValueError: a sentence saying what was wanted and what came.

    >>> relu = nonlinearity("relu")
    >>> print(relu.dual(1.0, 1.0, 0.5, mean_subtraction=False).V.round(6))
    0.304499
    >>> (0.5 * relu - nonlinearity("tanh")).name
    '0.5*relu - tanh'
    """

    name: str
    phi: Function
    derivative: Function
    kinks: tuple[float, ...] = ()
    expansion: Expansion | None = field(default=None, compare=False, repr=False)
    terms: Terms = field(default=(), compare=False, repr=False)
    """The nonlinearities that this one is a sum of, each with its factor; one that is not a sum is its own only term."""

    def __post_init__(self) -> None:
        if not self.terms:
            object.__setattr__(self, "terms", ((1.0, self),))

    @property
    def linear(self) -> bool:
        r"""Whether $\phi(z) = z$ exactly."""
        return self.expansion == {Exponential(0): (0.0, 1.0)}

    @property
    def homogeneous(self) -> bool:
        r"""Whether $\phi(z) = b|z| + kz$."""
        if self.expansion is None:
            return False
        rest = total((1.0, self.expansion), (-self._coefficient(Exponential(0), 1), {Exponential(0): (0.0, 1.0)}))
        return set(rest) <= {Kink(0.0)} and len(rest.get(Kink(0.0), ())) <= 1

    def _coefficient(self, family: Any, member: int) -> float:
        coefficients = (self.expansion or {}).get(family, ())
        return float(np.real(coefficients[member])) if len(coefficients) > member else 0.0

    @property
    def closed(self) -> bool:
        """Whether the duals are closed forms."""
        return self.expansion is not None

    @property
    def accuracy(self) -> float:
        """Relative error of the duals, against the larger of 1 and their scale."""
        return 1e-13 if self.closed else hermite.ACCURACY

    def mean(self, u: Array) -> Array:
        r"""$E\phi(\sqrt u z)$, $z$ standard normal, for variances $u \ge 0$."""
        if self.expansion is not None:
            return closed.mean(self.expansion, u)
        return hermite.mean(self.phi, self.derivative, u)

    def dual(self, u: Array, v: Array, c: Array, *, mean_subtraction: bool = True, order: int = 2) -> Dual:
        r"""The dual kernel $V(u, v, c)$ and its derivatives: `order` 0 gives V, 1 adds V_c, 2 all.

        Args:
            u: variances of $z_i$; u, v and c broadcast, and what depends on u or v alone is computed in its own shape.
            v: variances of $z_j$.
            c: covariances, clipped to $\pm\sqrt{uv}$. Derivatives that blow up there (V_cc and V_uc of a kinked $\phi$, like
                $1/\sqrt{uv - c^2}$) take the value at the round-off of $uv$; where $u$ or $v$ is 0 the correlation is 0.
            mean_subtraction: whether $\phi$ enters less its mean; changes only V and V_u.
            order: 0, 1 or 2.

        Raises:
            ValueError: variances that are negative or not finite, or expectations beyond the largest float.
        """
        if order not in (0, 1, 2):
            raise ValueError(f"order must be 0, 1 or 2, got {order!r}")
        pair = Pair(u, v, c)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            if self.expansion is not None:
                parts = closed.dual(self.expansion, pair, mean_subtraction, order)
            else:
                parts = hermite.dual(self.phi, self.derivative, pair, mean_subtraction, order)
        if not all(np.all(np.isfinite(part)) for part in parts if part is not None):
            top = max(np.max(pair.u, initial=0), np.max(pair.v, initial=0))
            raise ValueError(f"Gaussian expectations of {self.name} at variance {top:g} are beyond the largest float")
        return Dual(*parts)

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
        return self * (1 / float(divisor)) if isinstance(divisor, Real) else NotImplemented

    def __neg__(self) -> "Nonlinearity":
        return self * -1.0


def combination(terms: Terms) -> Nonlinearity:
    r"""$\sum_i a_i\phi_i$ in canonical form: equal terms merged, named ones first and in the order of `NAMED`."""
    merged: dict[Nonlinearity, float] = {}
    for factor, term in terms:
        if not np.isfinite(factor):
            raise ValueError(f"a nonlinearity must have finite factors, got {factor!r}")
        merged[term] = merged.get(term, 0.0) + factor
    kept = tuple(sorted(((a, term) for term, a in merged.items() if a), key=lambda t: _rank(t[1])))
    if len(kept) == 1 and kept[0][0] == 1:
        return kept[0][1]
    if not kept:
        kept = ((0.0, terms[0][1]),)
    expansions = [(a, term.expansion) for a, term in kept if term.expansion is not None]
    return Nonlinearity(
        _text(kept),
        Sum(tuple((a, term.phi) for a, term in kept)),
        Sum(tuple((a, term.derivative) for a, term in kept)),
        tuple(sorted({kink for _, term in kept for kink in term.kinks})),
        total(*expansions) if len(expansions) == len(kept) else None,
        kept,
    )


def _rank(term: Nonlinearity) -> tuple[int, str]:
    from limits.nonlinearity.named import NAMED

    name = term.name.partition("(")[0]
    return (list(NAMED).index(name) if name in NAMED else len(NAMED), term.name)


def _text(terms: Terms) -> str:
    text = ""
    for a, term in terms:
        scale = "" if abs(a) == 1 else f"{abs(a)!r}*".replace(".0*", "*")
        sign = (" - " if a < 0 else " + ") if text else ("-" if a < 0 else "")
        text += f"{sign}{scale}{term.name}"
    return text


def nonlinearity(given: object) -> Nonlinearity:
    """The nonlinearity of that name or formula, or itself; a formula is a sum of names with factors.

    >>> nonlinearity("identity").name
    'linear'
    >>> nonlinearity("cos + sin") == nonlinearity("sin") + nonlinearity("cos")
    True
    """
    from limits.nonlinearity.text import parse

    return given if isinstance(given, Nonlinearity) else parse(given)
