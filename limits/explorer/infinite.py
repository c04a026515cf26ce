"""Networks of infinite width at one point: their training, exactly where blocks are linear, and what one step changes in them."""

from collections.abc import Sequence

import numpy as np

from limits.deep import NoLimitError, solve
from limits.problem import Problem
from limits.record import Record
from limits.training import DivergedError
from limits.trajectory import Trajectory
from limits.wide import closed, recurse

ENDS = Record(positions=(0, 1), kinds=("feature",))
NOTHING = Record(kinds=())


def train_wide(problem: Problem, *, blocks: Sequence[int], particles: int) -> dict[str, np.ndarray]:
    """Losses of networks of infinite width and finitely many blocks.

    Args:
        problem: what they learn.
        blocks: L, the numbers of blocks.
        particles: neurons of a sample, where there is no recursion.

    Returns:
        "losses", shape (L, T + 1), infinite from where training left the range of numbers; "error", of the same shape: its
        standard error to first order, zero where it is exact.

    >>> from limits import DEPTH_MUP, SGD, ResNet
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(0.25, steps=2), [[1.0]], [[1.0]])
    >>> train_wide(one, blocks=(4, 64), particles=64)["losses"].round(3)
    array([[0.5  , 0.131, 0.03 ],
           [0.5  , 0.056, 0.002]])
    """
    each = [_wide(problem, L, particles) for L in blocks]
    return {name: np.stack([found[name] for found in each]) for name in ("losses", "error")}


def train_deep(problem: Problem) -> dict[str, np.ndarray]:
    """Losses of the limit of infinitely many blocks, shape (T + 1,); empty where there is none, or none that is known.

    >>> from limits import SGD, Parametrization, ResNet
    >>> train_deep(Problem(ResNet(), Parametrization("1/2", 0), SGD(0.25, steps=2), [[1.0]], [[1.0]]))
    {'losses': array([], dtype=float64)}
    """
    try:
        return {"losses": solve(problem, tol=1e-4, record=NOTHING).losses}
    except NoLimitError:
        return {"losses": np.zeros(0)}


def first_step(problem: Problem, *, blocks: Sequence[int]) -> dict[str, np.ndarray]:
    r"""How large features grow before training, and how far one step moves them, at infinite width: exact, of linear blocks.

    With $C_{st}(p)$ the feature kernel, these are the roots of $(C_{00}(1) - C_{00}(0)) / C_{00}(0)$, since what blocks add
    before training is not correlated with what they are given, and of $C_{11}(1) - 2C_{01}(1) + C_{00}(1)$, means over samples.

    Returns:
        "initial" and "features", shape (L,), not finite where numbers left their range.

    >>> from limits import DEPTH_MUP, SGD, ResNet
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(0.25, steps=1), [[1.0]], [[1.0]])
    >>> first_step(one, blocks=(1024,))["initial"].round(2)  # the root of e - 1
    array([1.31])
    """
    each = [_first_step(problem, L) for L in blocks]
    return {name: np.array([found[name] for found in each]) for name in ("initial", "features")}


def _first_step(problem: Problem, blocks: int) -> dict[str, float]:
    try:
        kernel = recurse(problem, blocks=blocks, record=ENDS).feature_kernel
    except DivergedError:
        return {"initial": np.inf, "features": np.inf}
    assert kernel is not None
    c = np.einsum("stpii->stp", kernel) / kernel.shape[-1]
    moved = c[1, 1, 1] - 2 * c[0, 1, 1] + c[0, 0, 1]
    return {"initial": float(np.sqrt((c[0, 0, 1] - c[0, 0, 0]) / c[0, 0, 0])), "features": float(np.sqrt(max(moved, 0.0)))}


def _wide(problem: Problem, blocks: int, particles: int) -> dict[str, np.ndarray]:
    """Losses and their errors; after an evaluation that left the range of numbers, infinite."""
    if not closed(problem):
        return _both(recurse(problem, blocks=blocks, record=NOTHING, particles=particles))
    done = [0]

    def progress(finished: int, total: int) -> None:
        done[0] = finished

    try:
        return _both(recurse(problem, blocks=blocks, record=NOTHING, progress=progress))
    except DivergedError:
        begun = _both(recurse(problem.prefix(done[0]), blocks=blocks, record=NOTHING))
    missing = np.full(problem.steps - done[0], np.inf)
    return {name: np.append(values, missing) for name, values in begun.items()}


def _both(answer: Trajectory) -> dict[str, np.ndarray]:
    return {"losses": answer.losses, "error": _error(answer)}


def _error(answer: Trajectory) -> np.ndarray:
    """The standard error of losses to first order in that of outputs."""
    problem = answer.problem
    slope = problem.loss_function.derivative(answer.outputs[:, : problem.n_samples], problem.targets)
    return np.sqrt(np.mean((slope * answer.error[:, : problem.n_samples]) ** 2, axis=(1, 2)))
