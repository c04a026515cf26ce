r"""Measured exponents in the number of blocks beside the exact ones: a coordinate check in depth."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from limits.compare import resolution
from limits.compare.check import ExponentCheck, Row
from limits.compare.expected import DIVERSITY, Expected, Sizes, expected
from limits.compare.fits import Fit, curves, first_fitted, fitted_diversity, fitted_slope, increments_of, mean_log
from limits.compare.resolution import LARGEST_GROWTH
from limits.compare.slopes import FEWEST_SEEDS
from limits.finite.changes import measure_changes
from limits.optimizers import SGD
from limits.problem import Problem
from limits.sweeps import Job, run
from limits.validation import Progress, expect, number, share, whole

BLOCKS = (8, 16, 32, 64, 128, 256)
GENTLE = 1e-3
"""Share of the learning rate, beside the growth, at which networks that explode make their one step."""
NARROWEST = 8
"""Neurons below which networks are too far from wide ones to scale like them."""
DTYPES = ("float64", "float32")


def measure_exponents(
    problem: Problem,
    *,
    width: int = 64,
    blocks: Sequence[int] = BLOCKS,
    seeds: int = 16,
    seed: int = 0,
    block_width: int | None = None,
    fit_from: int | None = None,
    tolerance: float = 0.1,
    error_rate: float = 0.01,
    backend: str = "numpy",
    device: str | None = None,
    dtype: str = "float64",
    folder: str | Path | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> ExponentCheck:
    r"""Train networks of more and more blocks, and fit the exponents of what grows and of what training changes.

    With $D = \lVert x_0^L - x_0^0\rVert/\lVert x_0^0\rVert$ and $g = (1 - 1/L)\log(1 + D^2)$, which a block sees of the growth of
    the others, the rows are the slopes against $\log L$ of

    * initial growth: $\frac12\log\log(1 + D^2)$, which is $e_\emptyset$ even where features grow exponentially [D2.2]; of blocks
      with a mean, whose sum is a drift, $\log\log(1 + D)$
    * features: $\log\mathrm{rms}(x_T^L - x_0^L) - g$, and outputs: $\log\mathrm{rms}(f_T - f_0) - g$
    * update of layer i: $\log\mathrm{rms}(\Delta W_i\,y_{i-1}) - \frac34g$ of what it reads, so of faithfulness; what $W_i$ makes
      of changed features is of the features' order and left out, for a sum of two orders has no slope
    * second order: $\log$ of the rms of $B(\theta_T; x_T) - B(\theta_0; x_T) - D_\theta B\,\Delta\theta$ over that of
      $D_\theta B\,\Delta\theta$, minus $\frac12g$. Of linear blocks of two layers its prefactor is of order $n^{-1/2}$ while
      training is weak: what the second layer reads is nearly orthogonal to what the first one's update makes
    * diversity: $\kappa$ of the increments $\mathrm{rms}(z(p + \varepsilon) - z(p)) \sim \varepsilon^{1-\kappa}$ of what training
      adds, $z = x_T - x_0$, for $\varepsilon = 2/L \dots 1/4$ and $p$ in the upper half, as $L\to\infty$ and then
      $\varepsilon\to 0$ (`limits.compare.slopes`)

    The multiples of $g$ are what growth at initialization puts into a gradient step, and tend to constants where features are
    stable; so does $\log\mathrm{rms}(\partial\ell/\partial f_0)$, which is subtracted too. Of the other optimizers, whose steps
    do not know the gradient's size, the multiples are $\frac12$, $\frac12$, $\frac14$ and 0, and nothing else is subtracted.
    Where a sum is not bounded, networks make one step, since what more of them do is no power of L; where initial features
    explode, at a learning rate so small that the step is linear in it, and on targets so large that initial outputs are nothing
    beside them.
    A fit takes the sizes from an eighth of the largest on: the leading corrections, of relative order 1/L, are dropped with the
    small sizes and not fitted. A row that fewer than two sizes tell, because round-off hides it or numbers left their range, has
    no estimate but says why.

    Args:
        problem: what is trained, by any optimizer without weight decay; keep the learning rate so small that training is smooth.
        width, block_width, seed, backend, device: as in `simulate`; width at least 8.
        dtype: "float64", or "float32", in which few changes are seen beside round-off.
        blocks: numbers of blocks L, at least two; for the diversity, powers of two times one number.
        seeds: networks of every size, at least three: the sampling unit.
        fit_from: the smallest number of blocks that enters the fits.
        tolerance: how far a measured exponent may be from the exact one.
        error_rate: of the check: how often a row of correct networks may fail, all rows together.
        folder: keeps every finished size; a measurement that was stopped goes on from there.
        executor, workers: where the sizes are computed; in this process by default, by `workers` processes, or by any executor.
        progress: called as progress(done, total) after every size.

    Raises:
        ValueError, TypeError: a sentence saying what was wanted and what came.

    Source: TP6, Definitions 7.2 to 7.7 and Figures 17 to 19; the share of second order, CompleteP.

    >>> from limits import DEPTH_MUP, ResNet
    >>> inputs, targets = [[1.0, 0.4], [-0.5, 1.2]], [[1.0], [-0.6]]
    >>> problem = Problem(ResNet("tanh"), DEPTH_MUP, SGD(0.1, steps=1), inputs, targets)
    >>> answer = measure_exponents(problem, width=32, blocks=(8, 16, 32, 64), seeds=12)
    >>> row = answer["features"]
    >>> str(row.exact), abs(row.measured.value) < 0.2
    ('0', True)
    """
    expect(problem, Problem, "problem")
    sizes = _sizes(blocks, fit_from)
    problem.parametrization.refuse_overflow(sizes[-1], problem.model.block_depth)
    _refuse(problem, width, seeds, block_width, dtype)
    judge = {"tolerance": number(tolerance, "tolerance", open_low=True), "error_rate": _rate(error_rate)}
    networks = {"width": whole(width, "width"), "seeds": whole(seeds, "seeds"), "seed": seed, "block_width": block_width}
    posed = {L: _posed(problem, L) for L in sizes}
    options = networks | {"backend": backend, "device": device, "dtype": dtype}
    jobs = [Job(measure_changes, options | {"problem": posed[L], "blocks": L}) for L in sizes]
    results = run(jobs, folder=folder, executor=executor, workers=workers, progress=progress)
    raw = dict(zip(sizes, results, strict=True))
    found = {L: _scaled(problem, L, answer) for L, answer in raw.items()}
    meta = networks | {"fit_from": fit_from, "steps": Sizes.of(problem).steps, "backend": backend, "dtype": dtype}
    return _check(problem, found, resolution.reasons(problem, raw, int(width), dtype), judge, meta)


def _sizes(blocks: Any, fit_from: int | None) -> tuple[int, ...]:
    """Numbers of blocks in increasing order, at least two of them to be fitted."""
    if isinstance(blocks, str) or not isinstance(blocks, Iterable):
        raise TypeError(f"blocks must be several whole numbers, got {blocks!r}: write blocks=(16, 32, 64)")
    sizes = tuple(sorted({whole(L, "blocks") for L in blocks}))
    if len(sizes) < 2:
        raise ValueError(f"an exponent needs at least two numbers of blocks, got {list(sizes)}: write blocks=(16, 32, 64)")
    first = first_fitted(sizes, None if fit_from is None else whole(fit_from, "fit_from"))
    if sum(first <= L for L in sizes) < 2:
        raise ValueError(
            f"an exponent needs at least two numbers of blocks from {first:g} on, where fits begin, got {list(sizes)}: add "
            "larger ones, or set fit_from"
        )
    return sizes


def _refuse(problem: Problem, width: int, seeds: int, block_width: int | None, dtype: str) -> None:
    """What can be known to be wrong before anything runs."""
    problem.parametrization.layers(problem.model.block_depth)
    if problem.optimizer.weight_decay:
        raise ValueError(
            f"exact exponents are known without weight decay, got weight_decay={problem.optimizer.weight_decay}: set it to 0"
        )
    if problem.steps < 1 or not np.max(problem.optimizer.schedule(), initial=0.0):
        raise ValueError("exponents of training need at least one step at a learning rate above zero")
    if whole(seeds, "seeds") < FEWEST_SEEDS:
        raise ValueError(f"seeds must be at least {FEWEST_SEEDS}, whose scatter tells the error, got {seeds}")
    if whole(width, "width") < NARROWEST:
        raise ValueError(f"width must be at least {NARROWEST}, for narrower networks scale unlike wide ones, got {width}")
    if block_width is not None:
        whole(block_width, "block_width")
    if not np.any(problem.inputs):
        raise ValueError("inputs must not all be zero, for features that are zero neither grow nor learn")
    if dtype not in DTYPES:
        raise ValueError(
            f"dtype must be {' or '.join(DTYPES)}, for changes are differences of nearly equal numbers, got {dtype!r}"
        )


def _rate(error_rate: float) -> float:
    if share(error_rate, "error_rate") == 0:
        raise ValueError(f"error_rate must be between 0 and 1, got {error_rate!r}")
    return float(error_rate)


def _posed(problem: Problem, blocks: int) -> Problem:
    """The problem as networks of so many blocks are trained on it.

    Where initial features explode so do initial outputs, which are zero at infinite width: beside targets of that size they are.
    """
    known, gentle = problem.prefix(Sizes.of(problem).steps), _gentleness(problem, blocks)
    if gentle == 1:
        return known
    rates = {name: tuple(gentle * known.optimizer.schedule(name)) for name in ("lr", "input_lr", "output_lr")}
    targets = problem.targets * (_loudness(problem, blocks) if problem.loss == "mse" else 1.0)
    return replace(known, optimizer=replace(known.optimizer, **rates), targets=targets)


def _growth(problem: Problem, blocks: int) -> float:
    """The logarithm of what squared features of linear blocks grow by, where initial features explode; else 0.

    No more than is needed where it is too much to measure anything.
    """
    e, a = float(Sizes.of(problem).initial), problem.model.multiplier
    if e <= 0:
        return 0.0
    power, factor = (2 * e - 1, 1) if problem.model.centred else (e - 1, 2)
    each = np.logaddexp(0.0, 2 / factor * np.log(a) + power * np.log(blocks))
    return min(blocks * factor * float(each), 2 * float(np.log(LARGEST_GROWTH)))


def _loudness(problem: Problem, blocks: int) -> float:
    """What targets are multiplied by, where initial features explode."""
    return float(np.exp(_growth(problem, blocks) / 2)) / GENTLE


def _gentleness(problem: Problem, blocks: int) -> float:
    """What the learning rate of the one step is multiplied by there, so that the step is linear in it; else 1."""
    growth = _growth(problem, blocks)
    step = _loudness(problem, blocks) if isinstance(problem.optimizer, SGD) and problem.loss == "mse" else 1.0
    return GENTLE * float(np.exp(-growth)) / step if growth else 1.0


def _scaled(problem: Problem, blocks: int, found: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What a job found, with changes per unit of the learning rate that was asked for."""
    powers = {"initial": 0, "error": 0, "spans": 0, "scales": 0, "rest": 2}
    return {name: np.asarray(value) / _gentleness(problem, blocks) ** powers.get(name, 1) for name, value in found.items()}


def _check(
    problem: Problem,
    found: Mapping[int, dict[str, np.ndarray]],
    reasons: Mapping[str, list[str]],
    judge: Mapping[str, float],
    meta: Mapping[str, Any],
) -> ExponentCheck:
    """Fit what was found, and judge it."""
    wanted = expected(problem)
    judged = sum(row.exact is not None for row in wanted.values())
    confidence = 1 - judge["error_rate"] / max(judged, 1)
    fits = {name: fitted_slope(found, logs, reasons[name], meta["fit_from"]) for name, logs in curves(problem, found).items()}
    moved = increments_of(found, reasons[DIVERSITY])
    fits[DIVERSITY] = fitted_diversity(problem, tuple(found), moved, reasons[DIVERSITY], meta["fit_from"])
    rows = tuple(_row(name, fit, wanted[name], confidence, judge["tolerance"]) for name, fit in fits.items())
    increments = {L: mean_log(m / L, values.T) for L, (m, values) in moved.items()}
    return ExponentCheck(problem, tuple(found), rows, judge["tolerance"], judge["error_rate"], increments, meta)


def _row(name: str, fit: Fit, wanted: Expected, confidence: float, tolerance: float) -> Row:
    sizes, mean, spread = fit.curve
    margin = fit.estimate.half_width(confidence)
    return Row(
        name, fit.estimate, wanted.exact, wanted.because, sizes, mean, spread, fit.fitted, margin, tolerance, fit.missing
    )  # fmt: skip
