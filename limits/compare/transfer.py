"""Does the optimum transfer? Loss after training against learning rate and multiplier, for every number of blocks."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from math import inf, isinf
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from limits.compare.curves import Curve, Transfer
from limits.compare.landscape import exact_landscape, finite_landscape, sampled_landscape
from limits.compare.optimum import Optimum, locate, resampling
from limits.deep import sampled
from limits.deep.solve import TIGHTEST
from limits.optimizers import refuse_others
from limits.parametrization import COMPLETEP, DEPTH_MUP, Parametrization
from limits.particles import REPLICAS, neurons_of
from limits.problem import Problem
from limits.sweeps import Job, run
from limits.trajectory import Interrupted
from limits.validation import Progress, expect, flag, number, whole
from limits.wide import closed

RUNGS = ("finite", "wide", "deep")
KNOWN = {DEPTH_MUP: "Depth-µP", COMPLETEP: "CompleteP", Parametrization(0, 0): "standard"}
"""Parametrizations that have a name."""
SPREAD = 16
"""Times round-off by which losses of networks must differ to depend on the learning rate."""
FEWEST = 3
"""Points of the shortest curve that has an inside."""


def transfer(
    problem: Problem,
    *,
    blocks: Sequence[int] = (),
    lrs: Sequence[float] | np.ndarray,
    parametrizations: Sequence[Parametrization] | Mapping[str, Parametrization] | None = None,
    rung: str = "wide",
    width: int | None = None,
    block_width: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    particles: int | None = None,
    multipliers: Sequence[float] | np.ndarray | None = None,
    loss: str = "train",
    limit: bool = True,
    tol: float = 1e-6,
    backend: str = "numpy",
    device: str | None = None,
    dtype: str = "float32",
    folder: str | Path | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Transfer:
    r"""Loss after training against the learning rate, for every number of blocks and parametrization.

    A parametrization transfers if the optimum $\eta^*(L)$ settles as $L$ grows. Of real networks it is located by a parabola
    through the lowest point and its neighbours in $\log\eta$, with an error bar from a bootstrap over the seeds and the distance
    to other interpolations; where infinite width is exact there is no noise, and it is sought to many digits; elsewhere it is
    located as of networks, of which eight samples of neurons take the place. A network that diverges has an
    infinite loss, and is part of the curve; a curve that is flat has no optimum. At infinite width and $\alpha = \gamma = 1/2$
    the curves tend to that of the limit at rate $1/L$; $\gamma$ enters only through $\eta L^{-\gamma}$, so that with SGD (1/2, 0)
    has the same, shifted by $L^{-1/2}$.

    Args:
        problem: what to train.
        blocks: numbers of blocks L; the rung "deep" has none.
        lrs: learning rates, of a schedule the largest, at least three; or a single one, with several multipliers.
        parametrizations: a list, or names to call them by; that of the problem by default.
        rung: "finite" (any networks), "wide" (infinite width: exact for linear blocks of one layer and SGD, by samples of
            neurons for all others) or "deep" (the limit).
        width, block_width: of real networks.
        seeds, seed: how many of them, and where they begin; the same weights are trained at every learning rate and multiplier.
            Samples of neurons begin at `seed` too.
        particles: as in `recurse`; for the rung "wide".
        multipliers: block multipliers a; that of the problem by default.
        loss: "train", of all inputs, or "probe".
        limit: whether to add the limit to the rung "wide", as an infinite number of blocks, where there is one that is exact.
        tol: of the limit.
        backend, device, dtype: as in `simulate`.
        folder: keeps every finished curve; a sweep that was stopped goes on from there.
        executor, workers: where the curves are computed; in this process by default, by `workers` processes, or by any executor.
        progress: called as progress(done, total) after every curve.

    Raises:
        ValueError, TypeError: a sentence saying what was wanted and what came.
        KeyboardInterrupt: on Ctrl-C; what was finished is in the folder.

    Source: TP6, Figures 7 and 10 to 13.

    >>> from limits import DEPTH_MUP, ResNet, SGD
    >>> inputs, targets = [[1.0, 0.4], [-0.5, 1.2], [0.8, -0.9]], [[1.0], [-0.6], [0.3]]
    >>> problem = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=2), inputs, targets)
    >>> both = {"parametrizations": [DEPTH_MUP, Parametrization("1/2", 0)], "limit": False}
    >>> answer = transfer(problem, blocks=(4, 8), lrs=(0.1, 0.3, 1, 3), **both)
    >>> depth_mup, unscaled = (answer.drift(name).value for name in answer.names)
    >>> round(unscaled - depth_mup, 6)
    -0.5
    """
    expect(problem, Problem, "problem")
    named = _named(problem.parametrization if parametrizations is None else parametrizations, problem.model.block_depth)
    scales = [problem.model.multiplier] if multipliers is None else multipliers
    grid = {"lrs": _grid(lrs, "lrs"), "multipliers": _grid(scales, "multipliers")}
    _refuse(problem, rung, loss, grid)
    noisy = {name: _noisy(problem, each) for name, each in named.items() if sampled(replace(problem, parametrization=each))}
    if rung == "deep" and noisy:
        raise ValueError(f"{next(iter(noisy.values()))}: use rung='finite' or rung='wide'")
    where = {"backend": backend, "device": device}
    networks = {"width": width, "block_width": block_width, "seeds": seeds, "seed": seed}
    samples = {"particles": _particles(particles, rung), "seed": whole(seed, "seed", low=0)}
    by_samples = rung == "wide" and (particles is not None or not closed(problem))
    if by_samples:
        neurons_of(problem, particles)  # refuses too few before anything runs
    exact = exact_landscape, {"measure": loss, "tol": _tolerance(tol)}
    drawn: Any = (sampled_landscape, samples | where) if by_samples else exact
    if rung == "finite":
        drawn = finite_landscape, networks | where | {"dtype": dtype}
    asked = [(name, L) for name in named for L in _sizes(rung, blocks, width, limit) if not (isinf(L) and name in noisy)]
    kinds = {L: exact if isinf(L) else drawn for _, L in asked}
    jobs = [Job(kinds[L][0], grid | kinds[L][1] | _posed(problem, named[name], L)) for name, L in asked]
    try:
        results = run(jobs, folder=folder, executor=executor, workers=workers, progress=progress)
    except Interrupted as stop:  # its partial answer is that of one run among many
        raise KeyboardInterrupt from stop
    answers = dict(zip(asked, results, strict=True))
    no_limit = noisy if rung == "wide" and limit else {}
    no_limit |= {name: str(found["no_limit"]) for (name, _), found in answers.items() if "no_limit" in found}
    found = {key: _read(values, loss) for key, values in answers.items() if "no_limit" not in values}
    precise = dtype if rung == "finite" else "float64"
    curves = [
        Curve(name, named[name], L, v["losses"], v["initial"], _optima(v, grid, precise, kinds[L] is not exact), v.get("fine"))
        for (name, L), v in found.items()
    ]
    meta = networks if rung == "finite" else samples | {"replicas": REPLICAS} if by_samples else {}
    return Transfer(problem, rung, loss, grid["lrs"], grid["multipliers"], tuple(curves), no_limit, meta)


def _noisy(problem: Problem, parametrization: Parametrization) -> str:
    """Why the limit has no optimum that could be sought."""
    return (
        f"the limit of {problem.model.phi.name} blocks at {called(parametrization)} is a mean over samples of neurons, too "
        "noisy for an optimum"
    )


def _particles(particles: int | None, rung: str) -> int | None:
    if particles is not None and rung != "wide":
        raise ValueError(f"particles are neurons of a sample of infinite width, got particles={particles!r} for the rung {rung}")
    return None if particles is None else whole(particles, "particles")


def called(parametrization: Parametrization) -> str:
    """What a parametrization is called, with its exponents.

    >>> called(DEPTH_MUP), called(Parametrization("1/2", 0))
    ('Depth-µP (alpha = gamma = 1/2)', 'alpha = 1/2, gamma = 0')
    """
    alpha, gamma, initial = parametrization.alpha, parametrization.gamma, parametrization.initial
    exponents = f"alpha = gamma = {alpha}" if alpha == gamma else f"alpha = {alpha}, gamma = {_listed(gamma)}"
    exponents += f", initial = {_listed(initial)}" if initial != 0 else ""
    return f"{KNOWN[parametrization]} ({exponents})" if parametrization in KNOWN else exponents


def _listed(exponents: Any) -> str:
    return f"({', '.join(map(str, exponents))})" if isinstance(exponents, tuple) else str(exponents)


def _named(given: Any, block_depth: int) -> dict[str, Parametrization]:
    """Parametrizations by name, each of them fit for the blocks."""
    several = [given] if isinstance(given, Parametrization) else given
    if not isinstance(several, Iterable) or isinstance(several, str):
        raise TypeError(f"parametrizations must be a list of them, or a dict of names and them, got {given!r}")
    pairs = list(several.items()) if isinstance(several, Mapping) else [(None, p) for p in several]
    for name, each in pairs:
        if name is not None:
            expect(name, str, "the name of a parametrization")
        expect(each, Parametrization, "every one of parametrizations")
        each.layers(block_depth)
    named = {name or called(each): each for name, each in pairs}
    if not named or len(named) < len(pairs):
        raise ValueError(f"parametrizations must be one or several, each of them once, got {[p for _, p in pairs]}")
    return named


def _grid(values: Any, name: str) -> np.ndarray:
    """Positive numbers, each once, in increasing order."""
    spaced = f"write {name}=[0.1, 0.3, 1.0], or {name}=np.geomspace(0.1, 10, 9) for 9 of them from 0.1 to 10"
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be several numbers, got {values!r}: {spaced}")
    given = [v.item() if isinstance(v, np.number) else v for v in values]
    if not given:
        raise ValueError(f"{name} must be at least one number, got none: {spaced}")
    if wrong := [v for v in given if isinstance(v, bool) or not isinstance(v, Real)]:
        raise TypeError(f"{name} must be numbers > 0, got {wrong[0]!r} among them: {spaced}")
    return np.unique([number(v, name, open_low=True) for v in given])


def _sizes(rung: str, blocks: Sequence[int], width: int | None, limit: bool) -> list[float]:
    """Numbers of blocks in increasing order, inf for the limit."""
    if isinstance(blocks, str) or not isinstance(blocks, Iterable):
        raise TypeError(f"blocks must be several whole numbers, got {blocks!r}: write blocks=[{blocks}]")
    flag(limit, "limit")
    sizes: list[float] = [*sorted({whole(L, "blocks") for L in blocks})]
    if bool(sizes) == (rung == "deep"):
        raise ValueError(
            "the rung deep has infinitely many blocks: leave blocks out" if sizes else f"the rung {rung} needs blocks"
        )
    if (width is None) == (rung == "finite"):
        raise ValueError(
            "the rung finite needs a width" if width is None else f"the rung {rung} has infinite width: leave width out"
        )
    return sizes + [inf] * (rung == "deep" or (rung == "wide" and limit))


def _refuse(problem: Problem, rung: str, loss: str, grid: Mapping[str, np.ndarray]) -> None:
    """What can be known to be wrong before anything runs."""
    if rung not in RUNGS:
        raise ValueError(f"rung must be one of {', '.join(RUNGS)}, got {rung!r}")
    if rung == "deep":
        refuse_others(problem.optimizer, f'the rung "{rung}"')
    if loss not in ("train", "probe"):
        raise ValueError(f"loss must be 'train' or 'probe', got {loss!r}")
    if loss == "probe" and problem.probe_targets is None:
        raise ValueError("the loss of probes needs probes with targets: give the problem probes and probe_targets")
    counts = sorted(len(values) for values in grid.values())
    if counts[-1] < FEWEST or 1 < counts[0] < FEWEST:
        raise ValueError(f"an optimum needs at least {FEWEST} learning rates, or one and {FEWEST} multipliers, got {counts}")


def _tolerance(tol: float) -> float:
    if not TIGHTEST <= number(tol, "tol") < 1:
        raise ValueError(f"tol must be at least {TIGHTEST:g} and below 1, got {tol!r}")
    return float(tol)


def _posed(problem: Problem, parametrization: Parametrization, blocks: float) -> dict[str, Any]:
    return {"problem": replace(problem, parametrization=parametrization), "blocks": None if isinf(blocks) else int(blocks)}


def _read(values: Mapping[str, Any], loss: str) -> dict[str, Any]:
    """The answer of a job, with the losses that count under "losses" and "initial"."""
    prefix = "probe_" if loss == "probe" and "probe_losses" in values else ""
    return dict(values) | {name: np.asarray(values[prefix + name]) for name in ("losses", "initial")}


def _optima(found: Mapping[str, Any], grid: Mapping[str, np.ndarray], dtype: str, by_chance: bool) -> tuple[Optimum, ...]:
    """Along the learning rates, of every multiplier; or along the multipliers, where there is a single learning rate."""
    if "at" in found:
        at, error, loss = (float(found[name]) for name in ("at", "error", "loss"))
        rivals = tuple(float(rival) for rival in found["rivals"])
        return (Optimum(at, error, loss, str(found["where"]), np.zeros(0), rivals),)
    how: dict[str, Any] = {}
    if by_chance:
        held = "float64" if dtype == "float64" else "float32"
        how = {"resamples": resampling(found["losses"].shape[-1]), "precision": SPREAD * float(np.finfo(held).eps)}
    if len(grid["lrs"]) > 1:
        return tuple(locate(grid["lrs"], row, **how) for row in found["losses"])
    return (locate(grid["multipliers"], found["losses"][:, 0], **how),)
