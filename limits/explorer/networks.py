r"""Networks at all points of one $\alpha$, drawn once and trained side by side: $\gamma$ is in the learning rate alone."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import numpy as np

from limits.finite.changes import Pair
from limits.finite.dense import DenseTraining, Drawn
from limits.finite.engines import Dense
from limits.finite.ensemble import side_by_side
from limits.library import open_library
from limits.problem import Problem

SIZES = ("initial", "features", "updates")
ONE_SPAN = np.array([1])


def train_networks(
    problem: Problem, *, gammas: Sequence[Fraction], width: int, blocks: Sequence[int], seeds: int
) -> dict[str, np.ndarray]:
    r"""Train the networks of `simulate` at several $\gamma$, and measure them as `measure_changes` does after their first step.

    One step is a power of $L$ wherever features do not explode before it; further ones are not, where it moves them too far.

    Args:
        problem: at $\gamma = 0$.
        gammas: in place of it.
        width, blocks, seeds: sizes of the networks.

    Returns:
        "losses", shape (L, gamma, seeds, T + 1), infinite from where a network diverged, and "initial", "features" and "updates"
        (of the first layer), shape (L, gamma, seeds), not finite where numbers left their range.

    Raises:
        ValueError: the problem is at another $\gamma$.

    >>> from limits import SGD, Parametrization, ResNet
    >>> one = Problem(ResNet(), Parametrization("1/2", 0), SGD(0.5, steps=2), [[1.0]], [[1.0]])
    >>> found = train_networks(one, gammas=(Fraction(1, 2), Fraction(1)), width=16, blocks=(4, 8), seeds=3)
    >>> found["losses"].shape, found["features"].shape
    ((2, 2, 3, 3), (2, 2, 3))
    """
    if any(problem.parametrization.layers(problem.model.block_depth)[1]):
        raise ValueError(f"gammas take the place of gamma = 0, got {problem.parametrization}")
    each = [_networks(problem, L, gammas, width, seeds) for L in blocks]
    return {name: np.stack([found[name] for found in each]) for name in ("losses", *SIZES)}


def _networks(problem: Problem, blocks: int, gammas: Sequence[Fraction], width: int, seeds: int) -> dict[str, np.ndarray]:
    """Networks of one size, as many at a time as pay."""
    library = open_library("numpy", None, "float32")
    engine = Dense(problem, library, width, blocks, width)
    with ThreadPoolExecutor(1) as threads:
        drawn = engine.draw(threads, 0, range(seeds)).wait()
    some = max(1, side_by_side(library, width, engine.matrices) // seeds)
    groups = [gammas[i : i + some] for i in range(0, len(gammas), some)]
    found = [_group(engine, drawn, [float(g) for g in group]) for group in groups]
    shape = (len(gammas), seeds)
    return {name: np.concatenate([f[name] for f in found]).reshape(*shape, *found[0][name].shape[1:]) for name in found[0]}


@np.errstate(all="ignore")
def _group(engine: Dense, drawn: Drawn, gammas: list[float]) -> dict[str, np.ndarray]:
    """Train drawn networks at several gammas; arrays begin with gammas times seeds."""
    copies = np.tile(np.arange(len(drawn)), len(gammas))
    initial = [drawn.u[copies], drawn.v[copies], *(w[:, copies] for w in drawn.weights)]
    u, v, *weights = (part.copy() for part in initial)
    rates, ones = np.repeat(engine.blocks ** -np.array(gammas), len(drawn)), np.full(len(copies), engine.problem.model.multiplier)
    training = DenseTraining(
        engine.problem, engine.library, u, v, weights, lrs=rates, multipliers=ones, watch=lambda side, t: None
    )
    losses = [_losses(engine.problem, training.evaluate(0))]
    sizes = Pair(training, initial[0], initial[1], initial[2:]).measured(ONE_SPAN)
    losses += [_losses(engine.problem, training.evaluate(t)) for t in range(1, engine.problem.steps + 1)]
    sizes["updates"] = sizes["updates"][:, 0]
    return {name: np.asarray(sizes[name], float) for name in SIZES} | {"losses": np.stack(losses, axis=1)}


def _losses(problem: Problem, outputs: Any) -> np.ndarray:
    """The mean loss of every network, infinite where it is no number."""
    found = problem.loss_function.value(np.asarray(outputs, float), problem.targets).mean(1)
    return np.where(np.isfinite(found), found, np.inf)
