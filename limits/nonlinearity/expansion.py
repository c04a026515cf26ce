r"""Sums of exponentials and smoothed kinks: the functions whose Gaussian expectations close.

Two families are closed under derivatives and under Gaussian averages:

    exponentials   z^m e^{sz}                       polynomials (s = 0), exp, sin and cos (s = ±i)
    kinks          K_d(z) = (d/dz)^d E|z + σw|      w a standard normal of its own

With σ = 0 the kinks are |z|, sign z, 2δ(z), …; with σ > 0 they are the same averaged over a normal variable, so

    erf(sz) = K_1,   K_2 = 2 N(z; 0, σ²),   σ² = 1/(2s²),      and   z K_d = (2 - d) K_{d-1} - σ² K_{d+1}

give erf, Gaussians and gelu = z/2 + (K_0 - K_2)/2 at σ = 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Exponential:
    """The family $z^m e^{sz}$, $m = 0, 1, …$; the rate $s$ is real or imaginary."""

    rate: complex = 0


@dataclass(frozen=True)
class Kink:
    r"""The family $K_d(z) = \partial_z^d E|z + \sigma w|$, $d = 0, 1, …$; `smoothing` is $\sigma^2$."""

    smoothing: float = 0.0


Family = Exponential | Kink
Expansion = Mapping[Family, tuple[complex, ...]]
"""Coefficients of the members of every family that occurs."""


def total(*terms: tuple[float, Expansion]) -> Expansion:
    """The sum of expansions with a factor each; members whose coefficients cancel are left out."""
    sums: dict[Family, list[complex]] = {}
    for factor, expansion in terms:
        for family, coefficients in expansion.items():
            kept = sums.setdefault(family, [])
            kept.extend([0] * (len(coefficients) - len(kept)))
            for m, coefficient in enumerate(coefficients):
                kept[m] += factor * coefficient
    return _trimmed(sums)


def _trimmed(sums: Mapping[Family, list[complex]]) -> Expansion:
    kept = {}
    for family, coefficients in sums.items():
        length = max((m + 1 for m, coefficient in enumerate(coefficients) if coefficient), default=0)
        if length:
            kept[family] = tuple(coefficients[:length])
    return kept


def derivative(expansion: Expansion) -> Expansion:
    r"""$\phi'$: $(z^m e^{sz})' = (m z^{m-1} + s z^m) e^{sz}$ and $K_d' = K_{d+1}$."""
    return _trimmed({family: _derivative(family, list(c)) for family, c in expansion.items()})


def _derivative(family: Family, c: list[complex]) -> list[complex]:
    if isinstance(family, Kink):
        return [0, *c]
    return [family.rate * a + (m + 1) * b for m, (a, b) in enumerate(zip(c, [*c[1:], 0], strict=True))]


def reflected(expansion: Expansion) -> Expansion:
    r"""$\phi(-z)$: the rates and the odd members change sign."""
    return {
        Exponential(-family.rate) if isinstance(family, Exponential) else family: tuple(
            -a if m % 2 else a for m, a in enumerate(coefficients)
        )
        for family, coefficients in expansion.items()
    }


def smooth_part(expansion: Expansion) -> Expansion:
    r"""Everything but the sharp kinks, σ = 0."""
    return {family: c for family, c in expansion.items() if family != Kink(0.0)}
