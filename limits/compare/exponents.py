r"""Measured exponents in the number of blocks beside the exact ones: a coordinate check in depth."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from limits.compare import slopes
from limits.compare.check import ExponentCheck, Row
from limits.compare.expected import DIVERSITY, FEATURES, GROWTH, OUTPUTS, SHARE, Sizes, expected
from limits.compare.slopes import FEWEST_SEEDS, Estimate
from limits.finite.changes import measure_changes
from limits.optimizers import SGD
from limits.problem import Problem
from limits.sweeps import Job, run
from limits.validation import expect, number, share, whole

BLOCKS = (8, 16, 32, 64, 128, 256)
WINDOW = 8
"""How many times fewer blocks than the largest the smallest network has that enters a fit."""
GENTLE = 1e-3
"""Share of the learning rate, beside the growth, at which networks that explode make their one step."""
LARGEST_GROWTH = 1e16
"""Of squared features: beyond it a change cannot be told from round-off."""
SHALLOWEST = 16
"""Blocks below which increments over depth say nothing about small distances."""
STEADY = 1 / 8
"""Logarithm of the growth of squared features, in widths, beyond which networks of that width scatter too much about it."""


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
    progress: Any = None,
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
    small sizes and not fitted.

    Args:
        problem: what is trained, by any optimizer without weight decay; keep the learning rate so small that training is smooth.
        width, block_width, seed, backend, device, dtype: as in `simulate`.
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
    _refuse(problem, seeds, block_width)
    judge = {"tolerance": number(tolerance, "tolerance", open_low=True), "error_rate": _rate(error_rate)}
    networks = {"width": whole(width, "width"), "seeds": whole(seeds, "seeds"), "seed": seed, "block_width": block_width}
    posed = {L: _posed(problem, L) for L in sizes}
    options = networks | {"backend": backend, "device": device, "dtype": dtype}
    jobs = [Job(measure_changes, options | {"problem": posed[L], "blocks": L}) for L in sizes]
    results = run(jobs, folder=folder, executor=executor, workers=workers, progress=progress)
    found = {L: _scaled(problem, L, answer) for L, answer in zip(sizes, results, strict=True)}
    meta = networks | {"fit_from": fit_from, "steps": Sizes.of(problem).steps, "backend": backend, "dtype": dtype}
    return _check(problem, found, judge, meta)


def _sizes(blocks: Any, fit_from: int | None) -> tuple[int, ...]:
    """Numbers of blocks in increasing order, at least two of them to be fitted."""
    if isinstance(blocks, str) or not isinstance(blocks, Iterable):
        raise TypeError(f"blocks must be several whole numbers, got {blocks!r}: write blocks=(16, 32, 64)")
    sizes = tuple(sorted({whole(L, "blocks") for L in blocks}))
    first = _first(sizes, None if fit_from is None else whole(fit_from, "fit_from"))
    if sum(first <= L for L in sizes) < 2:
        raise ValueError(f"an exponent needs at least two numbers of blocks, got {list(sizes)}, fitted from {first:g} on")
    return sizes


def _first(sizes: Any, fit_from: int | None) -> float:
    """The smallest of the sizes that a fit takes."""
    return max(sizes, default=0) / WINDOW if fit_from is None else fit_from


def _refuse(problem: Problem, seeds: int, block_width: int | None) -> None:
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
    if block_width is not None:
        whole(block_width, "block_width")


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
    """The logarithm of what squared features of linear blocks grow by, where initial features explode; else 0."""
    e, a = float(Sizes.of(problem).initial), problem.model.multiplier
    if e <= 0:
        return 0.0
    each = np.log1p(a**2 * blocks ** (2 * e - 1)) if problem.model.centred else 2 * np.log1p(a * blocks ** (e - 1))
    return blocks * float(each)


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
    powers = {"initial": 0, "error": 0, "spans": 0, "rest": 2}
    return {name: np.asarray(value) / _gentleness(problem, blocks) ** powers.get(name, 1) for name, value in found.items()}


def _check(
    problem: Problem, found: Mapping[int, dict[str, np.ndarray]], judge: Mapping[str, float], meta: Mapping[str, Any]
) -> ExponentCheck:
    """Fit what was found, and judge it."""
    wanted = expected(problem)
    judged = sum(row.exact is not None for row in wanted.values())
    confidence = 1 - judge["error_rate"] / max(judged, 1)
    fits = {name: _fit(found, logs, meta["fit_from"]) for name, logs in curves(problem, found, meta["width"]).items()}
    moved = {L: (each["spans"], each["increments"] / each["features"][:, None]) for L, each in found.items()}
    fits[DIVERSITY] = _diversity(problem, moved, meta["fit_from"])
    rows = [
        Row(name, fit[0], wanted[name].exact, wanted[name].because, *fit[1:], fit[0].half_width(confidence), judge["tolerance"])
        for name, fit in fits.items()
    ]
    increments = {L: mean_log(m / L, np.log(values.T)) for L, (m, values) in moved.items()}
    return ExponentCheck(problem, tuple(found), tuple(rows), judge["tolerance"], judge["error_rate"], increments, meta)


Fit = tuple[Estimate, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""An estimate; sizes, mean logarithms and their errors; and which of them were fitted."""


def _fit(found: Mapping[int, Any], logs: np.ndarray, fit_from: int | None) -> Fit:
    """The slope of curves, logarithms of shape (sizes, seeds), over those sizes that are finite and not too small."""
    finite = np.all(np.isfinite(logs), axis=1)
    sizes, logs = np.array(list(found), float)[finite], logs[finite]
    fitted = sizes >= _first(sizes, fit_from)
    known = np.count_nonzero(fitted) > 1
    return (slopes.slope(np.log(sizes[fitted]), logs[fitted]) if known else Estimate.unknown(), *mean_log(sizes, logs), fitted)


def _diversity(problem: Problem, moved: Mapping[int, tuple[np.ndarray, np.ndarray]], fit_from: int | None) -> Fit:
    """Kappa, from spans and rms increments over them, (seeds, spans), beside those of the whole depth."""
    first = max(_first(moved, fit_from), SHALLOWEST)
    last = np.array([L for L in moved if first <= L][-3:] or [max(moved)])
    spans, values = ([moved[L][i] for L in last] for i in (0, 1))
    estimate = slopes.diversity(last.astype(float), spans, [v**2 for v in values], _order(problem))
    distances, mean, spread = mean_log(spans[-1] / last[-1], np.log(values[-1].T))
    return estimate, distances, mean, spread, np.isin(distances, slopes.shared_epsilons(float(last[0])))


def curves(problem: Problem, found: Mapping[int, Mapping[str, np.ndarray]], width: int) -> dict[str, np.ndarray]:
    """What is fitted against log L, row by row, shape (sizes, seeds): logarithms, NaN where numbers left their range."""
    each = {name: np.stack([answer[name] for answer in found.values()]) for name in ("initial", "features", "outputs", "first")}
    rest, updates, error = (np.stack([answer[name] for answer in found.values()]) for name in ("rest", "updates", "error"))
    model, growth, descends = problem.model, np.log1p(each["initial"] ** 2), isinstance(problem.optimizer, SGD)
    powers = (1.0, 0.75, 0.5) if descends else (0.5, 0.25, 0.0)
    with np.errstate(all="ignore"):
        unit = np.log(error) if descends else np.zeros_like(error)
        if model.layer_norm:
            logs = {GROWTH: np.log(each["initial"])}
        else:
            logs = {GROWTH: np.log(growth) / 2 if model.centred else np.log(np.log1p(each["initial"]))}
        steady = np.mean(growth, axis=1, keepdims=True) < max(1.0, min(STEADY * width, np.log(LARGEST_GROWTH)))
        others = 1 - 1 / np.array(list(found), float)[:, None]
        seen = np.where(steady, growth * others, np.nan)
        moved = ((FEATURES, "features"), (OUTPUTS, "outputs"))
        logs |= {name: np.log(each[key]) - powers[0] * seen - unit for name, key in moved}
        for i in range(model.block_depth):
            logs[f"update of layer {i + 1}"] = np.log(updates[:, :, i]) - powers[1] * seen - unit
        if SHARE in expected(problem):
            logs[SHARE] = np.log(rest / each["first"]) - powers[2] * seen - unit
    return logs


def _order(problem: Problem) -> float:
    """r, where what is left of the noise of initial blocks after L of them is of relative order L^-r; 1 if all of it is."""
    alpha, _, betas = problem.parametrization.layers(problem.model.block_depth)
    return float(2 * (alpha + sum(betas)) - 1) if alpha + sum(betas) > Fraction(1, 2) else 1.0


def mean_log(sizes: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """Sizes, means over seeds of logarithms (sizes, seeds), and their standard errors, shape (3, sizes)."""
    return np.stack([sizes, logs.mean(1), logs.std(1, ddof=1) / logs.shape[1] ** 0.5])
