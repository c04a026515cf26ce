r"""The error of networks of finite width, block width and depth, with constants fitted to simulations.

At $\alpha = 1$, $\gamma_i = 0$ features of networks of width D, with L blocks of M neurons, are off from the limit by

$$ \frac{\|x - x^{limit}\|^2}{D} = \frac{c_L^2}{L^2} + c_N^2\frac{D}{LM} + \frac{c_D^2}{D}, $$

root mean square over networks: $1/L$ is the bias of the steps in depth, $\sqrt{D/(LM)}$ the noise of LM initial neurons in D
directions, and $1/\sqrt D$ how much U and V of D entries differ from independent ones (CCM). Outputs see one direction of the
noise, so that in theirs $1/\sqrt{LM}$ takes its place. A bias is a mean over networks and a fluctuation a deviation from that;
each constant is fitted to what it is the constant of, so that none hides behind another.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, exp, log
from typing import Any, NamedTuple

import numpy as np

from limits.finite_size.deviation import Deviation, Limit, deviation_refusal
from limits.finite_size.fit import drawn_again, fitted, noise_powers, standard_error
from limits.markup import listed
from limits.problem import Problem
from limits.validation import number, reporting, whole

Array = np.ndarray
SMALLEST = 1e-30
"""Squared error that stands for none, such as that of inputs of zero."""
RESAMPLES = 400
"""Bootstrap samples of the networks."""
INTERVAL = (0.025, 0.975)
KINDS = ("features", "outputs")
TERMS = {"features": ("1/L", "sqrt(D/(LM))", "1/sqrt(D)"), "outputs": ("1/L", "1/sqrt(LM)", "1/sqrt(D)")}
SIZES = ((32, 256, 2), (32, 256, 4), (64, 512, 2), (64, 256, 4), (64, 32, 8), (64, 64, 16), (128, 128, 8), (128, 256, 16))
GRID = 2.0 ** (np.arange(8, 81) / 4)
"""Widths and numbers of blocks among which the cheapest are sought."""


class Size(NamedTuple):
    """D, M and L.

    >>> Size(64, 128, 4), Size(64, 128, 4).parameters
    (Size(width=64, block_width=128, blocks=4), 65536)
    """

    width: int
    block_width: int
    blocks: int

    @property
    def parameters(self) -> int:
        """Weights of the blocks, 2 L D M; a training step takes time in proportion."""
        return 2 * self.width * self.block_width * self.blocks


class Interval(NamedTuple):
    """A number with its 95 % interval.

    >>> print(Interval(0.7, 0.61, 0.82))
    0.7 (0.61 to 0.82)
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


def squares(kind: str, size: tuple[float, float, float]) -> Array:
    """Squares of the terms of a law at a size."""
    D, M, L = size
    return np.array([1 / L**2, (D if kind == "features" else 1.0) / (L * M), 1 / D])


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """Constants of the error of networks, and what they say of sizes that were not simulated; printing it prints a table.

    Attributes:
        problem: what is trained.
        constants: squares of the constants of every kind, in order of `TERMS`, shape (3,).
        resampled: the same of networks drawn again from those there were, shape (resamples, 3).
        networks: of every size, less their limit.
        misfit: by kind, root mean square of the logarithm of measured over fitted errors, beyond what chance explains.
        limit: what networks are held against.

    >>> from limits import COMPLETEP, SGD, ResNet
    >>> one = Problem(ResNet("tanh", 2, form="mlp"), COMPLETEP, SGD(0.5, steps=1), [[1.0]], [[1.0]])
    >>> few = [(16, 32, 4), (16, 16, 8), (32, 16, 4), (16, 16, 16)]
    >>> model = error_model(one, sizes=few, seeds=8, tol=1e-2)
    >>> list(model.constants), len(model.networks)
    (['features', 'outputs'], 4)
    >>> model.error(64, 64, 8).value < model.error(16, 16, 4).value
    True
    """

    problem: Problem
    constants: Mapping[str, Array]
    resampled: Mapping[str, Array]
    networks: tuple[Deviation, ...]
    misfit: Mapping[str, float]
    limit: Limit = field(repr=False)

    def __repr__(self) -> str:
        return listed("ErrorModel", [*map(self._law, KINDS), f"{len(self.networks)} sizes"], mark=";")

    def __str__(self) -> str:
        return self.table()

    def _law(self, kind: str) -> str:
        """The fitted law, in one line."""
        terms = zip(self.constants[kind] ** 0.5, TERMS[kind], strict=True)
        return f"{kind}: error^2 = {' + '.join(f'({c:.3g} {term})^2' for c, term in terms)}"

    def measured(self, kind: str = "features") -> dict[Size, tuple[float, float]]:
        """Mean squared errors by size, with their standard errors."""
        return {Size(d.width, d.block_width, d.blocks): _mean_square(d, _kind(kind)) for d in self.networks}

    def noise_exponents(self) -> dict[str, Interval]:
        """Powers of D, M and L in the noise of features, left free; 1, -1 and -1 in the model.

        Raises:
            ValueError: sizes that do not tell the three apart.
        """
        again = np.array([noise_powers(each) for each in _samples(self.networks)])
        values = noise_powers(self.networks)
        return {name: Interval(float(values[i]), *_quantiles(again[:, i])) for i, name in enumerate("DML")}

    def constant(self, term: str, kind: str = "features") -> Interval:
        """The constant of a term, with its interval.

        Raises:
            ValueError: no such term or kind.
        """
        names = TERMS[_kind(kind)]
        if term not in names:
            raise ValueError(f"term must be one of {', '.join(names)}, got {term!r}")
        i = names.index(term)
        return Interval(float(self.constants[kind][i] ** 0.5), *_quantiles(self.resampled[kind][:, i] ** 0.5))

    def error(self, width: int, block_width: int, blocks: int, kind: str = "features") -> Interval:
        """The root mean square error of networks of a size; its interval contains the misfit of the sizes that were fitted."""
        terms, widen = squares(_kind(kind), _size(width, block_width, blocks)), exp(1.96 * self.misfit[kind])
        low, high = _quantiles((self.resampled[kind] @ terms) ** 0.5)
        return Interval(float((self.constants[kind] @ terms) ** 0.5), low / widen, high * widen)

    def cheapest(self, error: float, kind: str = "features", *, most_blocks: int = 2**20) -> Size:
        """The sizes with the fewest weights in the blocks among those whose error is at most this; of equals, the shallowest.

        Time and memory of training go with the weights. All constants count at the upper ends of their intervals.

        Raises:
            ValueError: an error that no size below 2^20 reaches.
        """
        c = np.quantile(self.resampled[_kind(kind)], INTERVAL[1], axis=0) * exp(2 * 1.96 * self.misfit[kind])
        wanted = number(error, "error", open_low=True) ** 2
        whole(most_blocks, "most_blocks", low=2)
        found: list[tuple[int, int, Size]] = []
        for L in sorted({min(round(v), most_blocks) for v in GRID if v >= 2}):
            for D in {round(v) for v in GRID}:
                left = wanted - c[0] / L**2 - c[2] / D
                if left > 0:
                    size = Size(D, max(1, ceil(c[1] * (D if kind == "features" else 1) / (L * left))), L)
                    found.append((size.parameters, L, size))
        if not found:
            raise ValueError(f"no width and depth below 2^20 has an error of {error:g}: ask for a larger one")
        return min(found)[2]

    def hold(self, width: int, block_width: int, blocks: int, *, seeds: int = 32, seed: int = 10**6) -> "Held":
        """Networks of a size that need not have been fitted, against what the model says of it; `seed` is the first one's."""
        size = _size(width, block_width, blocks)
        found = self.limit.of(*size, range(whole(seed, "seed", low=0), seed + whole(seeds, "seeds", low=2)))
        predicted = {kind: self.error(*size, kind) for kind in KINDS}
        return Held(size, predicted, {kind: _interval(*_mean_square(found, kind)) for kind in KINDS})

    def table(self) -> str:
        """Constants, and measured beside fitted errors of all sizes, as text."""
        lines = []
        for kind in KINDS:
            lines += [self._law(kind)]
            lines += [f"  {term:<14} {self.constant(term, kind)}" for term in TERMS[kind]]
        lines += ["", f"{'D':>6} {'M':>6} {'L':>5} {'features':>10} {'fitted':>8} {'outputs':>10} {'fitted':>8}"]
        measured = {kind: self.measured(kind) for kind in KINDS}
        for size in measured["features"]:
            cells = []
            for kind in KINDS:
                cells += [f"{measured[kind][size][0] ** 0.5:>10.4f}", f"{self.error(*size, kind).value:>8.4f}"]
            lines.append(f"{size.width:>6} {size.block_width:>6} {size.blocks:>5} {' '.join(cells)}")
        lines.append("misfit: " + ", ".join(f"{kind} {self.misfit[kind]:.1%}" for kind in KINDS))
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        constants = {kind: {term: self.constant(term, kind)._asdict() for term in TERMS[kind]} for kind in KINDS}
        measured = {kind: self.measured(kind) for kind in KINDS}
        sizes = [
            size._asdict() | {k: {"measured": measured[k][size][0] ** 0.5, "fitted": self.error(*size, k).value} for k in KINDS}
            for size in measured["features"]
        ]
        return {"constants": constants, "sizes": sizes, "misfit": dict(self.misfit)}


@dataclass(frozen=True)
class Held:
    """Networks of one size against the model.

    Attributes:
        size: D, M, L.
        predicted, measured: errors by kind.

    >>> there, elsewhere = Interval(0.1, 0.09, 0.11), Interval(0.2, 0.19, 0.21)
    >>> Held(Size(64, 128, 4), dict.fromkeys(KINDS, there), {"features": there, "outputs": elsewhere})
    Held(64 x 128 x 4; features 0.1 measured, 0.1 predicted; outputs 0.2 measured, 0.1 predicted; they differ)
    """

    size: Size
    predicted: Mapping[str, Interval]
    measured: Mapping[str, Interval]

    @property
    def agrees(self) -> bool:
        """Whether all intervals overlap."""
        pairs = [(self.predicted[kind], self.measured[kind]) for kind in KINDS]
        return all(p.low <= m.high and m.low <= p.high for p, m in pairs)

    def __repr__(self) -> str:
        ways = [f"{kind} {self.measured[kind].value:.3g} measured, {self.predicted[kind].value:.3g} predicted" for kind in KINDS]
        return listed("Held", [self._size, *ways, "they agree" if self.agrees else "they differ"], mark=";")

    def __str__(self) -> str:
        said = [f"  {kind} {self.measured[kind]} measured, {self.predicted[kind]} predicted" for kind in KINDS]
        return "\n".join([f"{self._size}:", *said])

    @property
    def _size(self) -> str:
        return f"{self.size.width} x {self.size.block_width} x {self.size.blocks}"

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        parts = {"predicted": self.predicted, "measured": self.measured}
        return self.size._asdict() | {name: {kind: part[kind]._asdict() for kind in KINDS} for name, part in parts.items()}


def error_model(
    problem: Problem,
    *,
    sizes: Sequence[tuple[int, int, int]] = SIZES,
    seeds: int = 64,
    seed: int = 0,
    tol: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ErrorModel:
    r"""Simulate networks of several sizes and fit the constants of their error after training.

    Every network is held against the limit in its own U and V. Of the mean over networks the part in $1/L$ gives $c_L$, beside
    parts in $D/(LM)$ and $1/D$, which are squares of the others; of the noise outside of the span of U and V, $D/(LM)$ gives
    $c_N$; of the fluctuations within, $1/D$ gives $c_D$. Networks whose ratio of widths is not the problem's have the multiplier
    and the rate of the first layer changed (`rescaled`), so that all have one limit.

    Args:
        problem: two-layer blocks of form "mlp" at alpha = 1, gamma = 0, with U and V frozen.
        sizes: (D, M, L) of at least four; those of which the noise is less than the features are in the range of the law.
        seeds: networks of every size, at least 8.
        seed: of the first; sizes share no seed.
        tol: of the limit, that of `solve` by default.
        progress: called as progress(done, total) after every size.

    Raises:
        ValueError: another problem, too few sizes or seeds.

    Source: CCM, for the three orders.

    >>> from limits import COMPLETEP, SGD, ResNet
    >>> one = Problem(ResNet("tanh", 2, form="mlp"), COMPLETEP, SGD(0.5, steps=1), [[1.0]], [[1.0]])
    >>> few = [(32, 128, 4), (64, 32, 8), (64, 64, 16), (64, 128, 4)]
    >>> model = error_model(one, sizes=few, seeds=16, tol=1e-3)
    >>> 0.5 < model.constant("sqrt(D/(LM))").value < 0.9
    True
    >>> size = model.cheapest(0.1)
    >>> model.error(*size).value <= 0.1
    True
    """
    deviation_refusal(problem)
    wanted = _sizes(sizes)
    whole(seeds, "seeds", low=8)
    if len(set(wanted)) < len(TERMS["features"]) + 1:
        raise ValueError(f"constants of three terms need at least four sizes, got {len(set(wanted))}: give more")
    report, limit, found = reporting(progress), Limit(problem, tol), []
    report(0, len(wanted))
    for place, size in enumerate(wanted):
        first = whole(seed, "seed", low=0) + place * seeds
        found.append(limit.of(*size, range(first, first + seeds)))
        report(place + 1, len(wanted))
    constants, again = fitted(found), [fitted(each) for each in _samples(found)]
    resampled = {kind: np.array([each[kind] for each in again]) for kind in KINDS}
    model = ErrorModel(problem, constants, resampled, tuple(found), {}, limit)
    return replace(model, misfit={kind: _misfit(kind, constants[kind], model.measured(kind)) for kind in KINDS})


def _samples(found: Sequence[Deviation]) -> list[list[Deviation]]:
    rng = np.random.default_rng(0)
    return [drawn_again(found, rng) for _ in range(RESAMPLES)]


def _mean_square(one: Deviation, kind: str) -> tuple[float, float]:
    """Mean squared error over networks and samples, and its standard error."""
    values = (one.total if kind == "features" else np.sum(one.outputs**2, axis=-1)).mean(1)
    return float(values.mean()), standard_error(values)


def _interval(square: float, error: float) -> Interval:
    low, high = (max(0.0, square + sign * 1.96 * error) ** 0.5 for sign in (-1, 1))
    return Interval(square**0.5, low, high)


def _misfit(kind: str, constants: Array, measured: Mapping[Size, tuple[float, float]]) -> float:
    excess = []
    for size, (square, error) in measured.items():
        fitted = max(float(constants @ squares(kind, size)), SMALLEST)
        square = max(square, SMALLEST)
        excess.append(log(square / fitted) ** 2 - (error / square) ** 2)
    return max(0.0, float(np.mean(excess))) ** 0.5 / 2


def _quantiles(values: Array) -> tuple[float, float]:
    low, high = np.quantile(values, INTERVAL)
    return float(low), float(high)


def _size(width: int, block_width: int, blocks: int) -> Size:
    return Size(whole(width, "width"), whole(block_width, "block_width"), whole(blocks, "blocks", low=2))


def _sizes(sizes: object) -> list[Size]:
    """Sizes, or a sentence."""
    if not isinstance(sizes, Iterable) or not all(
        isinstance(size, Sequence) and len(size) == len(Size._fields) for size in sizes
    ):
        raise TypeError(f"sizes must be several (width, block_width, blocks), got {sizes!r}: write sizes=[(64, 128, 4), …]")
    return [_size(*size) for size in sizes]


def _kind(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    return kind
