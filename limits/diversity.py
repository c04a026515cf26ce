r"""Diversity over depth: how much features and gradients differ from block to block (TP6, sections 7 and 8).

Features move by $x(p + \varepsilon) - x(p) = \Theta(\varepsilon^{1-\kappa})$: with the exponent $\kappa = 1/2$ of a Brownian path
they are diverse; blocks that all do the same give $\kappa = 0$ and are redundant (TP6, Def. 7.6; `classify` tells which).
Gradients of neighbouring blocks enter their updates
through $\delta h = \phi'(h)\odot\delta$, and $h$ is independent from block to block while $\delta$ is the same: their
correlation is $(E\phi')^2/E\phi'^2$.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from limits.lazy import nngp
from limits.nonlinearity import Nonlinearity, nonlinearity
from limits.panels import Panels
from limits.problem import ResNet
from limits.trajectory import Trajectory
from limits.validation import expect

Array = np.ndarray


def feature_increments(trajectory: Trajectory) -> Array:
    r"""Mean square increments $E(x_i(q) - x_i(p))^2$ of the features over depth.

    $C^0(p, p) + C^0(q, q) - 2C^0(p, q)$ from the two-depth kernel of any rung.

    Args:
        trajectory: recorded with the kind "two_depth".

    Returns:
        Shape (K, M, M, S): recorded step, position p, position q, sample.

    Raises:
        ValueError: two-depth kernels were not recorded.

    >>> from limits import DEPTH_MUP, SGD, Problem, Record, solve
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=1), [[1.0]], [[1.0]])
    >>> far = feature_increments(solve(one, record=Record(positions=(0, 1), kinds=("two_depth",))))
    >>> float(far[0, 0, 1, 0].round(6))  # e - 1
    1.718282
    """
    expect(trajectory, Trajectory, "trajectory")
    kernel = trajectory.two_depth_kernel
    if kernel is None:
        raise ValueError('increments need two-depth kernels: record them with Record(kinds=("two_depth",))')
    same = np.einsum("kkpqii->kpqi", kernel)
    at = np.einsum("kppi->kpi", same)
    return at[:, :, None] + at[:, None] - same - np.swapaxes(same, 1, 2)


def diversity_exponents(trajectory: Trajectory) -> Array:
    r"""Local feature diversity exponents $\kappa$ of the increments from the first recorded position.

    $2(1-\kappa) = d\log E(x(p+\varepsilon) - x(p))^2 / d\log\varepsilon$ between consecutive recorded positions. As they
    approach the first one $\kappa$ tends to 1/2 in a diverse limit and to 0 in a redundant one, with an error
    $O(\varepsilon)$. A finite network cannot be asked below $\varepsilon = 1/L$.

    Args:
        trajectory: with the kind "two_depth" at three positions or more, increasing.

    Returns:
        Shape (K, M - 2, S); NaN where features do not move.

    Raises:
        ValueError: two-depth kernels were not recorded, or at fewer than three positions.

    Source: TP6, Def. 7.6.

    >>> from limits import DEPTH_MUP, SGD, Problem, Record, solve
    >>> one = Problem(ResNet("tanh"), DEPTH_MUP, SGD(1.0, steps=1), [[1.0]], [[1.0]])
    >>> near = Record(positions=(0.5, 0.5001, 0.5002), kinds=("two_depth",))
    >>> diversity_exponents(solve(one, record=near))[0].round(3)
    array([[0.5]])
    """
    expect(trajectory, Trajectory, "trajectory")
    positions = np.asarray(trajectory.positions)
    if len(positions) < 3 or np.any(np.diff(positions) <= 0):
        raise ValueError(f"exponents need three increasing positions or more, got {positions.tolist()}")
    moved = feature_increments(trajectory)[:, 0, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.diff(np.log(moved), axis=1) / np.diff(np.log(positions[1:] - positions[0]))[:, None]
    return np.where((moved[:, 1:] > 0) & (moved[:, :-1] > 0), 1 - slopes / 2, np.nan)


def gradient_correlation(trajectory: Trajectory) -> Array:
    r"""Correlation of $\delta h$ between neighbouring blocks, $(E\phi'(h))^2/E\phi'(h)^2$ with $h \sim N(0, C^0_{tt}(p))$.

    1 where neighbouring blocks receive the same gradient (linear blocks: always), 0 where independent ones ($\phi = |z|$);
    one minus it is the gradient diversity. With L blocks the correlation differs by $O(1/L)$; at $\gamma = 0$, where a block's
    own update moves $h$ by $\Theta(1)$, the formula holds only before training.

    Args:
        trajectory: recorded with the kind "feature", of blocks of form "post".

    Returns:
        Shape (K, M, S): recorded step, position, sample.

    Raises:
        ValueError: feature kernels were not recorded, or blocks of another form.

    Source: TP6, section 8; the exact correlation is [D5.6].

    >>> from limits import DEPTH_MUP, SGD, Problem, solve
    >>> one = Problem(ResNet("relu"), DEPTH_MUP, SGD(1.0, steps=1), [[1.0]], [[1.0]])
    >>> gradient_correlation(solve(one)).round(12).min()
    np.float64(0.5)
    """
    expect(trajectory, Trajectory, "trajectory")
    model = trajectory.problem.model
    if trajectory.feature_kernel is None:
        raise ValueError('the correlation of gradients needs feature kernels: record them with Record(kinds=("feature",))')
    if not model.phi.linear and model.form != "post":
        raise ValueError(f"the correlation of gradients is known for form 'post', got {model.form!r}")
    return slope_correlation(model.phi, np.einsum("kkpii->kpi", trajectory.feature_kernel))


def slope_correlation(phi: Nonlinearity, u: Any) -> Any:
    r"""$(E\phi'(\sqrt u z))^2/E\phi'(\sqrt u z)^2$ for variances u: the squared mean is $V_c$ at covariance 0.

    NaN where $\phi' = 0$, as of a constant.

    >>> slope_correlation(nonlinearity("0.5*abs + 1.5*linear"), np.array([1.0])).round(12)
    array([0.9])
    """
    u = np.maximum(np.asarray(u, float), 0.0)
    apart, together = (phi.dual(u, u, c, order=1).V_c for c in (np.zeros_like(u), u))
    return np.divide(apart, together, out=np.full(np.shape(apart), np.nan), where=together > 0)


@dataclass(frozen=True)
class Diversity:
    r"""How diverse a nonlinearity is at initialization, averaged over depth.

    Attributes:
        name: of $\phi$.
        gradient: one minus the correlation of $\delta h$ between neighbouring blocks, 0 … 1.
        growth: $C^0(1)/C^0(0)$ of a unit input: what the features gain over depth.

    >>> first = rank(["relu", "abs"])[0]
    >>> first.name, round(first.gradient, 12)
    ('abs', 1.0)
    """

    name: str
    gradient: float
    growth: float


def rank(
    nonlinearities: str | Nonlinearity | Iterable[str | Nonlinearity], *, multiplier: float = 1.0, mean_subtraction: bool = True
) -> list[Diversity]:
    r"""Nonlinearities by gradient diversity in the infinite-depth limit at $\alpha = 1/2$, most diverse first.

    $1 - \int_0^1 (E\phi')^2/E\phi'^2\,dp$ at the variances of $\partial_pC^0 = a^2V(C^0)$, $C^0(0) = 1$. Among positively
    homogeneous $\phi = b|z| + kz$ it is $b^2/(b^2 + k^2)$, largest for the absolute value (TP6, section 8.3; [D5.7]).

    Args:
        nonlinearities: names or `Nonlinearity`, any number of them.
        multiplier: a.
        mean_subtraction: G.

    Raises:
        NoLimitError: nonlinearities with a mean, without mean subtraction.
        UnresolvedError: variances that blow up before the last depth, as those of steep functions do.

    >>> [d.name for d in rank(["linear", "relu", "abs"])]
    ['abs', 'relu', 'linear']
    """
    panels = Panels.uniform(1, 8)
    found = []
    for given in [nonlinearities] if isinstance(nonlinearities, str | Nonlinearity) else nonlinearities:
        phi = nonlinearity(given)
        growth = _variances(ResNet(phi, multiplier=multiplier, mean_subtraction=mean_subtraction), [*panels.nodes, 1.0])
        correlation = panels.weights @ slope_correlation(phi, np.array(growth[:-1]))
        found.append(Diversity(phi.name, float(1 - correlation), growth[-1]))
    return sorted(found, key=lambda d: -d.gradient)


def _variances(model: ResNet, depths: list[float]) -> list[float]:
    """C^0 of a unit input at increasing depths: a stretch of them is a whole network of multiplier a sqrt(stretch)."""
    found = [1.0]
    for stretch in np.diff([0.0, *depths]):
        part = replace(model, multiplier=model.multiplier * float(stretch) ** 0.5)
        found.append(float(nngp(part, [[found[-1] ** 0.5]])[0, 0]))
    return found[1:]
