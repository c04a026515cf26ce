r"""Do real networks agree with the limit? Networks of several widths and depths, extrapolated to infinity.

A quantity of networks of width n and L blocks, averaged over seeds, is $v + b/L + c/L^2 + d/n$ up to higher orders. For
kinked nonlinearities the response of a gradient to its own features is $\log(1/p)$ at small depth, a sum over blocks of
which differs from its integral by $\log(L)/L$: that takes the place of $1/L^2$. A weighted fit gives v with its
standard error, which is held against the limit. Seeds run in groups, so that kernels too have standard errors.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import special

from limits.compare import PowerLaw, fit_power_law
from limits.deep import sampled, solve
from limits.finite import simulate
from limits.problem import Problem
from limits.record import Record
from limits.trajectory import Trajectory
from limits.validation import reporting, whole

Array = np.ndarray
Progress = Callable[[int, int], None]
GROUPS = 20
"""Groups of seeds at most: what the standard errors are estimated from."""
KINDS = ("outputs", "feature_kernel", "gradient_kernel", "two_depth_kernel")


@dataclass(frozen=True, eq=False)
class Measured:
    """Means over networks of one size.

    Attributes:
        width, blocks, seeds: the size, and how many networks.
        values: mean by quantity, each flat.
        errors: standard errors likewise, from the scatter between groups of seeds.
    """

    width: int
    blocks: int
    seeds: int
    values: Mapping[str, Array]
    errors: Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Agreement:
    r"""Networks against the limit.

    Attributes:
        limit: of `solve`.
        networks: what was measured, by (width, blocks).
        orders: powers of 1/L in the fit.
        kinked: whether the fit has $\log(L)/L$ in place of the second power.
    """

    limit: Trajectory
    networks: Mapping[tuple[int, int], Measured]
    orders: tuple[float, float] = (1.0, 2.0)
    kinked: bool = False

    def extrapolated(self, quantity: str = "outputs") -> tuple[Array, Array]:
        """The quantity at infinite width and depth and its standard error, each flat.

        Raises:
            ValueError: fewer sizes than coefficients.
        """
        runs = list(self.networks.values())
        y = np.array([run.values[quantity] for run in runs])
        e = np.array([run.errors[quantity] for run in runs])
        first, second = self.orders
        terms = []
        for n, L in ((run.width, run.blocks) for run in runs):
            terms.append([1.0, L**-first, np.log(L) / L if self.kinked else L**-second, 1 / n])
        return _fit(np.array(terms, float), y, e)

    def against(self, quantity: str = "outputs") -> Array:
        """The limit's value of a quantity, flat."""
        return _flat(self.limit)[quantity]

    def z(self, quantity: str = "outputs") -> Array:
        """Extrapolated minus limit in standard errors, flat; zero where neither moves."""
        value, error = self.extrapolated(quantity)
        return standardised(value - self.against(quantity), error)

    @property
    def quantities(self) -> list[str]:
        """What was recorded."""
        return [name for name in KINDS if name in next(iter(self.networks.values())).values]

    @property
    def comparisons(self) -> int:
        """How many numbers are compared: entries that fluctuate."""
        return sum(int(np.count_nonzero(self.extrapolated(name)[1] > 0)) for name in self.quantities)

    @property
    def worst(self) -> float:
        """Largest absolute z of all entries of all quantities."""
        return max(float(np.abs(self.z(name)).max(initial=0.0)) for name in self.quantities)

    @property
    def false_alarm(self) -> float:
        """Bonferroni's bound on the chance of a deviation as large as `worst` if networks and limit agree; normal errors."""
        if self.worst == 0:
            return 1.0
        return min(1.0, self.comparisons * float(special.erfc(self.worst / np.sqrt(2))))

    def depth_law(self) -> PowerLaw:
        """Rate at which the outputs approach the limit with depth, at the width extrapolated to infinity.

        Root mean square distance less what noise alone would give, from sizes where it stands out of it.

        Raises:
            ValueError: fewer than two depths where it does.
        """
        limit, found = self.against(), []
        for L in sorted({run.blocks for run in self.networks.values()}):
            runs = [run for run in self.networks.values() if run.blocks == L]
            terms = np.array([[1.0, 1 / run.width] for run in runs])[:, : min(2, len(runs))]
            value, error = _fit(terms, *(np.array([getattr(r, k)["outputs"] for r in runs]) for k in ("values", "errors")))
            noise = float(np.mean(error**2))
            square = float(np.mean((value - limit) ** 2)) - noise
            if square > 2 * noise / np.sqrt(len(value)):
                found.append((L, np.sqrt(square), np.sqrt(noise / len(value))))
        if len(found) < 2:
            raise ValueError("the distance to the limit stands out of the noise at fewer than two depths: take more seeds")
        return fit_power_law(*(np.array(column) for column in zip(*found, strict=True)))

    def table(self) -> str:
        """Outputs of the last sample's evaluations, the sizes, and what they extrapolate to, as text."""
        value, error = self.extrapolated()
        lines = [f"{'entry':>6} {'limit':>12} {'networks':>12} {'s.e.':>9} {'z':>6}"]
        for i, (a, b, s, z) in enumerate(zip(self.against(), value, error, self.z(), strict=True)):
            if s > 0:
                lines.append(f"{i:>6} {a:>12.6f} {b:>12.6f} {s:>9.1e} {z:>6.2f}")
        sizes = ", ".join(f"{n} x {L}" for n, L in sorted(self.networks))
        return "\n".join(
            [
                f"networks (width x blocks): {sizes}",
                *lines,
                f"largest |z| of {self.comparisons} numbers: {self.worst:.2f} (by chance with probability <= "
                f"{self.false_alarm:.2g})",
            ]
        )


def agree(
    problem: Problem,
    *,
    widths: Sequence[int] = (128, 256),
    blocks: Sequence[int] = (8, 16, 32, 64),
    seeds: int = 200,
    seed: int = 0,
    tol: float | None = None,
    record: Record | None = None,
    progress: Progress | None = None,
) -> Agreement:
    r"""Hold real networks against the limit, extrapolating to infinite width and depth.

    Every quantity is fitted by $v + b/L + c/L^2 + d/n$, for kinked $\phi$ by $v + b/L + c\log(L)/L + d/n$, at $\alpha > 1/2$
    with the powers of L that hold there, weighted by its standard errors; $v$ should be the limit's value. Cost: seeds times the
    sum of $n^2L$ over all sizes, (T + 1) times.

    Args:
        problem: what is trained; its parametrization has a limit.
        widths: two or more, to remove the bias $O(1/n)$.
        blocks: three or more.
        seeds: networks of every size, at least 2.
        seed: of the first group; sizes share no seed.
        tol: of the limit; 1e-6 by default, or where it is a mean over samples of neurons the default of `solve`.
        record: kernels to compare beside the outputs; none by default.
        progress: called as progress(done, total) after every group of seeds.

    Raises:
        NoLimitError: the exponents have no limit.
        ValueError: too few sizes or seeds, or a record of the response.

    >>> from limits import DEPTH_MUP, SGD, ResNet
    >>> one = Problem(ResNet("relu"), DEPTH_MUP, SGD(1.0, steps=1), [[1.0]], [[1.0]])
    >>> agree(one, widths=(32, 64), blocks=(4, 8, 16), seeds=40).worst < 4
    True
    """
    widths, blocks = _sizes(widths, "widths"), _sizes(blocks, "blocks")
    if len(widths) < 2 or len(blocks) < 3:
        raise ValueError(f"an extrapolation needs two widths and three numbers of blocks, got {widths} and {blocks}: give more")
    whole(seeds, "seeds", low=2)
    report = reporting(progress)
    record = Record(kinds=()) if record is None else record
    if "response" in record.kinds:
        raise ValueError("the response cannot be measured in networks: leave it out of the record's kinds")
    tol = 1e-6 if tol is None and not sampled(problem) else tol
    limit = solve(problem, tol=tol, record=record)
    sizes = [(n, L) for n in widths for L in blocks]
    groups = min(GROUPS, seeds)
    networks: dict[tuple[int, int], Measured] = {}
    for place, (n, L) in enumerate(sizes):
        runs = []
        for g in range(groups):
            count = seeds * (g + 1) // groups - seeds * g // groups
            first = seed + place * groups + g
            runs.append(_flat(simulate(problem, width=n, blocks=L, seeds=count, seed=first, record=record)))
            report(place * groups + g + 1, len(sizes) * groups)
        networks[n, L] = Measured(n, L, seeds, *_mean(runs))
    return Agreement(limit, networks, *_orders(problem))


def _sizes(values: object, name: str) -> list[int]:
    """Whole numbers in increasing order, each once, or a sentence."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be several whole numbers, got {values!r}: write {name}=[{values}]")
    return sorted({whole(value, name) for value in values})


def _orders(problem: Problem) -> tuple[tuple[float, float], bool]:
    r"""The two leading powers of 1/L, and whether a logarithm takes the place of the second.

    1 and 2 at $\alpha = \gamma = 1/2$; above, noises die like $L^{1-2\alpha}$, second-order updates like $L^{-2(1-\alpha)}$, and
    updates themselves, where they vanish, like $L^{1-\alpha-\gamma}$.
    """
    alpha, gammas, _ = problem.parametrization.layers(problem.model.block_depth)
    moving = alpha + min(gammas) - 1
    rates = {2 * alpha - 1, moving} | ({2 * (1 - alpha)} if moving == 0 and alpha < 1 else set())
    found = sorted(float(rate) for rate in rates if rate > 0)
    if not found or (alpha == Fraction(1, 2) and moving == 0):
        return (1.0, 2.0), bool(problem.model.phi.kinks)
    return (found[0], found[1] if len(found) > 1 else 2 * found[0]), False


def standardised(difference: Array, error: Array) -> Array:
    """Difference over its standard error; zero over zero is zero."""
    return difference / np.where(error > 0, error, np.where(np.abs(difference) > 1e-12, 1e-300, 1.0))


def _flat(run: Trajectory) -> dict[str, Array]:
    found: dict[str, Any] = {name: getattr(run, name) for name in KINDS}
    return {name: np.ravel(value) for name, value in found.items() if value is not None}


def _mean(runs: list[dict[str, Array]]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Means over groups and their standard errors."""
    stacks = {name: np.array([run[name] for run in runs]) for name in runs[0]}
    errors = {name: stack.std(0, ddof=1) / np.sqrt(len(runs)) for name, stack in stacks.items()}
    return {name: stack.mean(0) for name, stack in stacks.items()}, errors


def _fit(terms: Array, values: Array, errors: Array) -> tuple[Array, Array]:
    """The first coefficient of a weighted fit, with its standard error, for every column; exact columns count alike."""
    if len(terms) < terms.shape[1]:
        raise ValueError(f"a fit of {terms.shape[1]} coefficients needs as many sizes, got {len(terms)}")
    fluctuates = np.all(errors > 0, axis=0)
    weights = np.where(fluctuates, 1 / np.where(errors > 0, errors, 1.0), 1.0).T
    solver = np.linalg.pinv(weights[:, :, None] * terms)[:, 0] * weights
    error = np.sqrt(np.sum((solver * errors.T) ** 2, axis=1))
    return np.einsum("ks,sk->k", solver, values), np.where(fluctuates, error, 0.0)
