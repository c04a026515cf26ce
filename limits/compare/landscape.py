"""Loss after training against the learning rate and the multiplier: one curve, or one map, of one network size."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from limits.compare.optimum import ROUND_OFF, finer, flat, locate, refine
from limits.deep import ToleranceWarning, UnresolvedError, solve
from limits.finite import grid
from limits.particles import REPLICAS, sample
from limits.problem import Problem
from limits.record import Record
from limits.training import DivergedError
from limits.trajectory import Trajectory
from limits.wide import recurse

FINEST = 1e-10
"""Tightest tolerance at which the optimum of the limit is sought."""


def posed(problem: Problem, lr: float, multiplier: float) -> Problem:
    r"""The problem at another learning rate $\eta$, the largest of a schedule, and another block multiplier $a$."""
    model, shape = replace(problem.model, multiplier=float(multiplier)), np.asarray(problem.optimizer.lr, float)
    rate = lr * shape / np.max(shape) if shape.ndim and np.any(shape) else float(lr)
    return replace(problem, model=model, optimizer=replace(problem.optimizer, lr=rate))


def finite_landscape(
    problem: Problem, *, blocks: int, lrs: np.ndarray, multipliers: np.ndarray, **options: Any
) -> dict[str, np.ndarray]:
    """Networks of every multiplier, learning rate and seed, with the same weights at all of them.

    Args:
        problem: what to train.
        blocks: L.
        lrs, multipliers: shapes (R,) and (A,).
        options: of `limits.finite.grid`.

    Returns:
        "losses" (A, R, seeds) and "initial" (A, seeds), and the same of the probes where there are any with targets; inf of
        networks that diverged.
    """
    found = grid(problem, blocks=blocks, lrs=lrs, multipliers=multipliers, **options)
    values = {"losses": found.losses[..., -1], "initial": found.losses[:, 0, :, 0]}
    if found.probe_losses is not None:
        values |= {"probe_losses": found.probe_losses[..., -1], "probe_initial": found.probe_losses[:, 0, :, 0]}
    return {name: np.array(value, float) for name, value in values.items()}


def exact_landscape(
    problem: Problem, *, blocks: int | None, lrs: np.ndarray, multipliers: np.ndarray, measure: str, tol: float
) -> dict[str, Any]:
    """Infinite width, exactly, at so many blocks, or at infinitely many to a tolerance.

    Args:
        problem: what to train.
        blocks: L; None for the limit.
        lrs, multipliers: shapes (R,) and (A,); where one of them is a single number the optimum along the other is refined.
        measure: "train" or "probe".
        tol: of the limit; its optimum is refined at the square of it, since losses are flat there.

    Returns:
        "losses" (A, R, 1): inf where training diverges, NaN from where the limit could not be resolved to `tol`; "initial"
        (A, 1); "where", "at", "error", "loss" and "rivals" of the optimum, and "fine", a finer grid and the losses there; only
        "no_limit", a sentence, where there is no limit.
    """

    def evaluate(lr: float, a: float, tolerance: float, strict: bool) -> tuple[float, float]:
        return _evaluate(posed(problem, lr, a), blocks, measure, tolerance, strict)

    try:
        losses = np.array([_row(lambda lr, a=a: evaluate(lr, a, tol, True)[0], lrs) for a in multipliers])
    except ValueError as why:  # of exponents without a limit, or whose limit is not known
        if blocks is not None:
            raise
        return {"no_limit": str(why)}
    curve = {"losses": losses[..., None], "initial": np.full((len(multipliers), 1), _untrained(problem, measure))}
    if len(lrs) > 1 and len(multipliers) > 1:
        return curve
    axis = lrs if len(lrs) > 1 else multipliers

    def loss_at(place: float, tolerance: float, strict: bool) -> tuple[float, float]:
        lr, a = (place, multipliers[0]) if len(lrs) > 1 else (lrs[0], place)
        return evaluate(lr, a, tolerance, strict)

    precision = tol if blocks is None else ROUND_OFF
    if flat(losses, precision):
        x, heights, best = axis, losses.ravel(), locate(axis, losses.reshape(-1, 1), precision=precision)
    else:
        x, heights = finer(lambda place: loss_at(place, tol, True)[0], axis, losses.ravel())
        best = refine(lambda place: loss_at(place, max(FINEST, tol**2), False), x, heights)
    optimum = {name: getattr(best, name) for name in ("where", "at", "error", "loss")}
    return curve | optimum | {"rivals": np.array(best.rivals), "fine": np.stack([x, heights])}


def sampled_landscape(
    problem: Problem, *, blocks: int, lrs: np.ndarray, multipliers: np.ndarray, particles: int | None, seed: int, **where: Any
) -> dict[str, np.ndarray]:
    """Infinite width by samples of neurons, the same random numbers at every multiplier and learning rate.

    A sample's loss is larger than that of infinite width by half the variance of its outputs, O(1/N).

    Args:
        problem: what to train.
        blocks: L.
        lrs, multipliers: shapes (R,) and (A,).
        particles: N, neurons of a sample, or its default.
        seed: of the first of them.
        where: backend and device, as of `recurse`.

    Returns:
        "losses" (A, R, samples) and "initial" (A, samples), and the same of the probes where there are any with targets; inf
        where a sample diverges.
    """
    kinds = {"": "train"} | ({"probe_": "probe"} if problem.probe_targets is not None else {})
    shape = (len(multipliers), len(lrs), REPLICAS)
    losses = {prefix: np.full(shape, np.inf) for prefix in kinds}
    each: dict[str, Any] = {"blocks": blocks, "particles": particles, "replicas": 1, "record": Record(kinds=()), **where}
    for place in np.ndindex(shape):
        one = posed(problem, float(lrs[place[1]]), float(multipliers[place[0]]))
        try:
            run = sample(one, seed=seed + place[2], **each)
        except DivergedError:
            continue
        for prefix, measure in kinds.items():
            losses[prefix][place] = _loss(run, measure)[0]
    initial = {prefix: np.full((len(multipliers), REPLICAS), _untrained(problem, measure)) for prefix, measure in kinds.items()}
    return {f"{prefix}losses": v for prefix, v in losses.items()} | {f"{prefix}initial": v for prefix, v in initial.items()}


def _row(loss_at: Callable[[float], float], lrs: np.ndarray) -> list[float]:
    """Losses at increasing learning rates; beyond the first that cannot be resolved none is tried, for each takes long."""
    losses: list[float] = []
    for lr in lrs:
        losses.append(np.nan if losses and np.isnan(losses[-1]) else loss_at(lr))
    return losses


def _evaluate(problem: Problem, blocks: int | None, measure: str, tol: float, strict: bool) -> tuple[float, float]:
    """The final loss with its relative error; inf if training diverges, NaN if it cannot be resolved."""
    none = Record(kinds=())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error" if strict else "ignore", ToleranceWarning)
            run = recurse(problem, blocks=blocks, record=none) if blocks else solve(problem, tol=tol, record=none)
    except DivergedError:
        return np.inf, 0.0
    except (ToleranceWarning, UnresolvedError):
        return np.nan, 0.0
    return _loss(run, measure)


def _loss(run: Trajectory, measure: str) -> tuple[float, float]:
    """The final loss, and its relative error to first order in the error of the outputs."""
    samples, targets = _measured(run.problem, measure)
    outputs, error, function = run.outputs[-1, samples], run.error[-1, samples], run.problem.loss_function
    loss = float(function.value(outputs, targets).mean())
    moved = np.abs(function.derivative(outputs, targets)) * error
    return loss, float(moved.sum(-1).mean() / loss) if loss > 0 else 0.0


def _measured(problem: Problem, measure: str) -> tuple[slice, Any]:
    """The samples whose loss counts, and their targets."""
    p = problem.n_samples
    return (slice(p), problem.targets) if measure == "train" else (slice(p, None), problem.probe_targets)


def _untrained(problem: Problem, measure: str) -> float:
    """The loss of outputs that are zero, as they are at infinite width before training."""
    targets = _measured(problem, measure)[1]
    return float(problem.loss_function.value(np.zeros(targets.shape), targets).mean())
