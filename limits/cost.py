"""What a rung will cost before it runs: memory from its array sizes, time from short trial runs on this machine."""

import time
import warnings
from dataclasses import asdict, dataclass, replace
from math import ceil, log
from typing import Any

from limits.deep import solve
from limits.deep.extrapolated import MOST_PARTICLES
from limits.deep.extrapolated import footprint as extrapolation_footprint
from limits.deep.nonlinear import nonlinear_footprint
from limits.deep.sampling import CLOUDS
from limits.deep.solve import ToleranceWarning, default_tolerance, sampled, sampled_footprint
from limits.directions import trained_directions
from limits.finite import simulate, simulation_footprint
from limits.finite.ensemble import checked_block_width
from limits.markup import brief
from limits.particles import (
    REPLICAS,
    neurons_of,
    open_for_kets,
    particle_footprint,
    sample,
    sampling_footprint,
    side_by_side,
)
from limits.problem import Problem
from limits.record import Record
from limits.semiseparable import footprint
from limits.validation import called, whole
from limits.wide import closed, recurse

RUNGS = ("simulate", "recurse", "solve")
TRIAL_STEPS = 3
TRIAL_SAMPLES = 4
BASE = 2_000_000
"""Bytes that any run takes for small things."""


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        rung: "simulate", "recurse" or "solve".
        bytes: memory at its peak, beyond what the interpreter holds.
        seconds: wall time; None unless `estimate(..., calibrate=True)`.
        parts: the memory by what holds it, in bytes.
        sizes: width, blocks, seeds, particles, depth nodes or points of a cloud it was worked out for.

    >>> from limits import DEPTH_MUP, SGD, ResNet
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=10), [[1.0]], [[1.0]])
    >>> print(estimate(one, "simulate", width=1024, blocks=16))
    simulate (width = 1024, blocks = 16, seeds = 1): 79 MB
    """

    rung: str
    bytes: int
    seconds: float | None
    parts: dict[str, int]
    sizes: dict[str, int]

    __repr__ = brief

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def __str__(self) -> str:
        time_text = "" if self.seconds is None else f", {self.seconds:.3g} s"
        sizes = ", ".join(f"{k} = {v}" for k, v in self.sizes.items())
        return f"{self.rung} ({sizes}): {self.bytes / 1e6:.3g} MB{time_text}"


@called(
    'estimate(problem, "simulate", width=1024, blocks=64), estimate(problem, "recurse", blocks=64) or estimate(problem, "solve")'
)
def estimate(
    problem: Problem,
    rung: str,
    *,
    width: int | None = None,
    blocks: int | None = None,
    seeds: int = 1,
    block_width: int | None = None,
    particles: int | None = None,
    tol: float | None = None,
    record: Record | None = None,
    dtype: str = "float32",
    calibrate: bool = False,
) -> Estimate:
    """Memory, and on request time, of a run before it is made.

    Memory is counted from the arrays the run will hold (right within a factor of two). For `solve` the number of depth
    nodes is taken from a trial run of the first three steps: a problem whose later steps are harder to resolve takes more.
    So are blocks and particles where the limit is extrapolated, and points where expectations are over clouds: their error is
    taken to depend little on the number of samples, of which a trial takes at most four, and to grow like the root of the
    number of steps. Where a tighter tolerance than the default is asked for the trial is made at the default, and its error taken
    to fall like the power 3/4 of the points, or 1/2 of the particles. Both grow fourfold: where that errs, because an error is
    close to the tolerance, memory is four times as much or as little. No run takes more than is free.
    Time comes from trial runs of a few steps, scaled by the known cost: (T + 1) L n^2 for networks (times the number of
    samples if the blocks are nonlinear), and T L products that grow from a fixed cost to T^2 for the limits. Trials of
    nonlinear limits take at most four samples, and their time counts with the square of the samples.

    Args:
        problem: what would be trained.
        rung: "simulate", "recurse" or "solve".
        width: of the networks; for "simulate".
        blocks: of the networks; for "simulate" and "recurse".
        seeds: networks; for "simulate".
        block_width: width inside a block; for "simulate".
        particles: neurons of a sample; for "recurse", and its default unless another is given.
        tol: of the limit; for "solve", and its default unless another is given.
        record: kernels that would be kept; what a run keeps by default if None.
        dtype: of the networks.
        calibrate: make trial runs (well under a second each, some seconds where expectations are sampled) and estimate the time.

    Raises:
        ValueError: an unknown rung, a missing size, or a problem that the rung does not treat, such as limits of other
            optimizers than SGD.

    >>> from limits import DEPTH_MUP, ResNet, SGD
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=10), [[1.0]], [[1.0]])
    >>> estimate(one, "recurse", blocks=1000).bytes > 5_000_000
    True
    """
    if rung not in RUNGS:
        raise ValueError(f"rung must be one of {', '.join(RUNGS)}, got {rung!r}")
    record = Record.of(None, problem) if record is None else record
    if rung == "simulate":
        sizes = {
            "width": _needed(width, "width", rung),
            "blocks": _needed(blocks, "blocks", rung),
            "seeds": whole(seeds, "seeds"),
        }
        parts = {
            "kernels": _kernel_bytes(problem, record, 2, 2),
            "networks": simulation_footprint(problem, record=record, dtype=dtype, block_width=block_width, **sizes),
        }
        seconds = _network_seconds(problem, dtype=dtype, block_width=block_width, **sizes) if calibrate else None
        return _sum(rung, parts, seconds, sizes)
    r, d = trained_directions(problem).count, problem.d_out
    of: dict[str, Any] = {"forward": r * (problem.steps + 1), "backward": d * problem.steps, "new": max(r, d)}
    if rung == "recurse":
        L = _needed(blocks, "blocks", rung)
        if particles is not None or not closed(problem):
            N = neurons_of(problem, particles)
            together = side_by_side(problem, record, open_for_kets("numpy", None, "float64"), L, N, REPLICAS)
            neurons = together * particle_footprint(problem, record, L, N)
            kernels = sampling_footprint(problem, record, L, N, replicas=together) - neurons
            parts = {"kernels": kernels, "neurons": neurons}
            return _sum(rung, parts, _sampling_seconds(problem, L, N) if calibrate else None, {"blocks": L, "particles": N})
        both = len(record.placing(L)[0]) / len(record.positions)  # a position between two blocks needs the levels around it
        kernels = _kernel_bytes(problem, record, 2 * both, 2 + 3 * both**2)
        parts = {"kernels": kernels, "states": footprint(L, 2 * len(record.positions) + 2, **of)}
        return _sum(rung, parts, _recursion_seconds(problem, L) if calibrate else None, {"blocks": L})
    trial = _few(problem).prefix(min(TRIAL_STEPS, problem.steps))
    if sampled(problem):
        return _of_samples(problem, trial, tol, record, calibrate)
    tried = solve(trial, tol=tol, record=_slight(record)).meta
    seconds = _limit_seconds(problem, tol, record) if calibrate else None
    nodes = int(tried["nodes"])
    kernels = _kernel_bytes(problem, record, 4, 7)  # two more resolutions are held beside the one being made
    linear = problem.model.phi.linear
    states = footprint(nodes, len(record.positions) + 2, **of) if linear else nonlinear_footprint(problem, record, nodes)
    parts = {"kernels": kernels, "states": states}
    return _sum(rung, parts, seconds, {"nodes": nodes})


def _of_samples(problem: Problem, trial: Problem, tol: float | None, record: Record, calibrate: bool) -> Estimate:
    """Of a limit whose expectations are over clouds, or over neurons at finite depths."""
    usual = default_tolerance(problem)
    wanted = usual if tol is None else tol
    with warnings.catch_warnings(action="ignore", category=ToleranceWarning):
        tried = solve(trial, tol=max(wanted, usual), record=_slight(record)).meta
    error = tried["estimated_error"] * (problem.steps / max(1, trial.steps)) ** 0.5
    if "points" in tried:
        larger = _larger(error / wanted, 0.75)
        sizes = {"nodes": tried["panels"] * (tried["order"] + 2), "points": larger * tried["points"]}
        kernels = _kernel_bytes(problem, record, CLOUDS + 3, CLOUDS + 3)
        parts = {"kernels": kernels, "neurons": sampled_footprint(problem, record, **sizes)}
    else:
        larger = _larger(error / wanted, 0.5)
        particles = min(MOST_PARTICLES, max(larger * tried["particles"], neurons_of(problem, None)))
        sizes = {"blocks": tried["depths"][-1], "particles": particles}
        parts = {"neurons": extrapolation_footprint(problem, record, **sizes, dtype=tried["dtype"])}
    counts = (problem.steps / max(1, trial.steps)) * (len(problem.evaluated) / len(trial.evaluated))
    return _sum("solve", parts, tried["seconds"] * larger * counts**2 if calibrate else None, sizes)


def _larger(ratio: float, power: float) -> int:
    """How many times more points bring an error that is so many times the tolerance below it, growing fourfold.

    >>> _larger(0.9, 0.5), _larger(1.5, 0.5), _larger(3.0, 0.5), _larger(3.0, 0.75)
    (1, 4, 16, 16)
    """
    return 4 ** max(0, ceil(log(ratio, 4) / power)) if ratio > 0 else 1


def _few(problem: Problem) -> Problem:
    """The problem, but of nonlinear blocks with the first samples only: what depends on depth hardly depends on their number."""
    if problem.model.phi.linear or len(problem.evaluated) <= TRIAL_SAMPLES:
        return problem
    first = slice(0, TRIAL_SAMPLES)
    less = {"inputs": problem.inputs[first], "targets": problem.targets[first]}
    return replace(problem, **less, batches=None, probes=None, probe_targets=None)


def _slight(record: Record) -> Record:
    """A record of one sample, where the given one keeps anything, for the panels begin with its positions."""
    return Record(record.positions, samples=(0,), kinds=("feature",) if record.kinds else ())


def _kernel_bytes(problem: Problem, record: Record, copies: float, copies_of_two_depths: float) -> int:
    """The recorded kernels with what is held while they are made."""
    each = {"two_depth": copies_of_two_depths, "response": copies_of_two_depths}
    return int(sum(each.get(kind, copies) * replace(record, kinds=(kind,)).size(problem) for kind in record.kinds))


def _sum(rung: str, parts: dict[str, int], seconds: float | None, sizes: dict[str, int]) -> Estimate:
    parts = parts | {"other": BASE}
    return Estimate(rung, sum(parts.values()), seconds, parts, sizes)


def _needed(value: int | None, name: str, rung: str) -> int:
    if value is None:
        raise ValueError(f"the cost of {rung} depends on {name}: give {name}=…")
    return whole(value, name)


def _timed(run: Any) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _network_seconds(problem: Problem, *, width: int, blocks: int, seeds: int, dtype: str, block_width: int | None) -> float:
    """Drawing weights and training are both linear in blocks and seeds; a trial of a few blocks without and with steps."""
    inner = checked_block_width(problem, width, block_width)
    some = min(blocks, max(2, 2_000_000 // (width * max(width, inner))))
    few = min(problem.steps, TRIAL_STEPS)
    options: dict[str, Any] = {"width": width, "blocks": some, "dtype": dtype, "record": Record(kinds=())}
    options |= {"block_width": block_width}
    none = _timed(lambda: simulate(problem.prefix(0), **options))
    more = _timed(lambda: simulate(problem.prefix(few), **options)) if few else none
    step = max(0.0, more - none) / max(1, few)
    return (none + step * problem.steps) * blocks / some * seeds


def _growth(problem: Problem, steps: int, run: Any) -> float:
    """Seconds for all steps from trials of t and 2t: a pass costs a constant plus a multiple of the square of the step."""
    t = max(1, min(steps // 2, 6))
    if steps <= 2 * t:
        return _timed(lambda: run(steps))
    run(1)
    short, long = _timed(lambda: run(t)), _timed(lambda: run(2 * t))
    cubic = max(0.0, long - 2 * short) / (6 * t**3)
    linear = max(0.0, short - cubic * t**3) / t
    return linear * steps + cubic * steps**3


def _recursion_seconds(problem: Problem, blocks: int) -> float:
    some = min(blocks, 64)
    none = Record(kinds=())
    return _growth(problem, problem.steps, lambda t: recurse(problem.prefix(t), blocks=some, record=none)) * blocks / some


def _sampling_seconds(problem: Problem, blocks: int, particles: int) -> float:
    """One replica of two blocks, for all of them."""
    none: dict[str, Any] = {"blocks": 2, "record": Record(kinds=()), "replicas": 1, "particles": particles}
    return REPLICAS * blocks / 2 * _growth(problem, problem.steps, lambda t: sample(problem.prefix(t), **none))


def _limit_seconds(problem: Problem, tol: float | None, record: Record) -> float:
    few, less = _slight(record), _few(problem)
    share = (len(problem.evaluated) / len(less.evaluated)) ** 2
    return share * _growth(less, less.steps, lambda t: solve(less.prefix(t), tol=tol, record=few))
