r"""Blocks of form "pre" at $\alpha = \gamma = 1/2$: noise that multiplies $\phi'(x)$, and no state is Gaussian.

With $i = (t, \mu)$, $C_{ij} = E\phi(x_i)\phi(x_j)$ and $D_{ij} = E\delta_i\delta_j$, a neuron's states follow

$$ dx_i = a\,dB_i + a^2\sum_{j<i}(R_{ij} - w_jC_{ij})\,\delta_j\,dp, \qquad E\,dB_i\,dB_j = C_{ij}\,dp, $$
$$ -d\delta_i = \phi'(x_i)\Big[a\,d\tilde B_i + a^2\Big(\sum_{j\le i}S_{ij} - \sum_{j<i}w_jD_{ij}\Big)\phi(x_j)\,dp\Big], \qquad
   E\,d\tilde B_i\,d\tilde B_j = D_{ij}\,dp, $$

where $R_{ij}(p) = E[\phi'(x_i)\phi'(x_j)\,\partial x_i/\partial\delta_j]$ is the response of $x_i(p)$ to what is added to
$\delta_j$ at p, and $S_{ij}(p) = E[\partial\delta_i/\partial x_j]$. The product $\phi'(x_i)\,d\tilde B_i$ is the limit of that
of one block, whose $x_i$ knows the block's noise through earlier gradients. The law of $(x_i, \delta_i)_i$ has no closed
equation over depth, for x begins at p = 0 and $\delta$ at p = 1, and so the answer comes from the rung below.

Samples of neurons (`limits.particles`) at L, 2L and 4L blocks, on the same paths of noise, have outputs
$f_L = f + c/L + d/L^2 + \dots$, and $(8f_{4L} - 6f_{2L} + f_L)/3$ is returned, which knows neither c nor d. Its error is that of
the mean over samples and, as far as depth is concerned, its distance from $2f_{4L} - f_{2L}$: more than is left, at kinks too,
where that falls about threefold from L to 2L and not fourfold. Kernels recorded between two blocks are interpolated: positions
that are multiples of 1/4 are blocks of all three. Where that distance happens to vanish it tells little: it counts for at least
a share of the largest one so far.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import limits
from limits.library import open_library
from limits.memory import SHARE, available_memory, require
from limits.particles import REPLICAS, neurons_of, particle_footprint
from limits.particles.runs import Moments, Runs
from limits.problem import Problem
from limits.record import Record
from limits.training import DivergedError
from limits.trajectory import Interrupted, Trajectory, assemble

Array = np.ndarray
DEPTHS = (4, 2, 1)
"""How many times fewer blocks than the deepest the three networks have."""
FEWEST_BLOCKS, MOST_BLOCKS = 16, 256
"""Blocks of the deepest network."""
MOST_PARTICLES = 2**20
SINGLE = 1e-5
"""Smallest tolerance for which single precision is enough."""
FLOOR = 0.3
"""Least distance that is believed, as a share of the largest one of this step and those before."""
REMEDY = "take fewer steps or samples"


@dataclass
class Extrapolation:
    """What replicas say of the limit.

    Attributes:
        blocks, particles, dtype: of the deepest network.
        best, change: the limit, and what its terms of second order in 1/L are; by name of a recorded array.
        where: which steps, positions and samples are recorded.
    """

    blocks: int
    particles: int
    dtype: str
    best: dict[str, Moments] = field(default_factory=dict)
    change: dict[str, Moments] = field(default_factory=dict)
    where: dict[str, Any] = field(default_factory=dict)

    def add(self, values: list[dict[str, Array]]) -> None:
        """Count in a replica: its arrays at L, 2L and 4L blocks."""
        for name, coarse, middle, fine in ((n, values[0][n], values[1][n], values[2][n]) for n in values[0]):
            change = (2 * fine - 3 * middle + coarse) / 3
            self.best.setdefault(name, Moments()).add(2 * fine - middle + change)
            self.change.setdefault(name, Moments()).add(change)

    def error(self, name: str) -> Array:
        """Of the mean over replicas and of the depth."""
        change = np.abs(self.change[name].mean)
        if name == "outputs":
            floor = np.maximum.accumulate(change.max(axis=(1, 2), initial=0.0))[:, None, None]
        else:
            floor = change.max(initial=0.0)
        return np.hypot(self.best[name].error, np.maximum(change, FLOOR * floor))

    def relative(self, error: Array) -> float:
        """The largest error of an output, over the larger of 1 and the largest output."""
        return float(error.max(initial=0.0) / max(1.0, np.abs(self.best["outputs"].mean).max(initial=0.0)))

    @property
    def worst(self) -> float:
        """What is held against the tolerance."""
        return self.relative(self.error("outputs"))

    def reachable(self, particles: int) -> float:
        """What chance alone would leave of the error with so many neurons."""
        return self.relative(self.best["outputs"].error) * (self.particles / particles) ** 0.5

    @property
    def too_shallow(self) -> bool:
        """Whether depth, and not chance, makes most of the error, as far as chance lets it be seen."""
        change, chance = self.change["outputs"], self.relative(self.best["outputs"].error)
        return self.relative(np.abs(change.mean)) > max(chance, 2 * self.relative(change.error))


def extrapolated(
    problem: Problem, record: Record, tol: float, moving: int, done: Callable[[int], Any]
) -> tuple[Trajectory, bool]:
    """The limit, and whether it meets the tolerance.

    Args:
        problem, record, tol: as of `solve`.
        moving: 0 where blocks stay frozen, else 1.
        done: called after every evaluation of every network with its number.

    Raises:
        MemoryError: not even the fewest neurons fit.
        DivergedError: outputs leave the range of numbers, at all depths tried.
        Interrupted: with the last finished round in `partial`.
    """
    began, rounds = time.perf_counter(), list[Extrapolation]()

    def trajectory(found: Extrapolation, **more: Any) -> Trajectory:
        depths = [found.blocks // fewer for fewer in DEPTHS]
        meta = {
            "rung": "deep",
            "tol": tol,
            "depths": depths,
            "particles": found.particles,
            "replicas": REPLICAS,
            "dtype": found.dtype,
            "rounds": len(rounds),
            "reachable": found.reachable(_most(problem, record, found)),
        }
        meta |= {"estimated_error": found.worst, "version": limits.__version__, "seconds": time.perf_counter() - began}
        kernels = [name for name in found.best if name != "outputs"]
        fields = {name: found.best[name].mean for name in kernels} | {f"{name}_error": found.error(name) for name in kernels}
        outputs = found.best["outputs"].mean
        return assemble(problem, outputs, found.error("outputs"), meta=meta | more, **fields, **found.where)

    try:
        for found in _rounds(problem if moving else _frozen(problem), record, tol, done):
            rounds.append(found)
    except KeyboardInterrupt as stop:
        if not rounds:
            raise
        raise Interrupted(trajectory(rounds[-1], partial=True)) from stop
    return trajectory(rounds[-1]), rounds[-1].worst <= tol


def _frozen(problem: Problem) -> Problem:
    """The same without updates of blocks, which at finite depths would vanish only slowly."""
    parametrization = replace(problem.parametrization, gamma=problem.parametrization.alpha)
    return replace(problem, parametrization=parametrization, optimizer=replace(problem.sgd, lr=0.0))


def footprint(problem: Problem, record: Record, blocks: int, particles: int, dtype: str) -> int:
    """Bytes of the networks of all three depths, and of what they record."""
    size = np.dtype(dtype).itemsize
    networks = sum(particle_footprint(problem, record, blocks // fewer, particles, size) for fewer in DEPTHS)
    return networks + 9 * record.size(problem)


def _rounds(problem: Problem, record: Record, tol: float, done: Callable[[int], Any]) -> Iterator[Extrapolation]:
    """Ever better answers until one meets the tolerance: with more blocks or more neurons, whichever is wanting.

    They end where the next does not fit, or where chance alone would miss the tolerance with all neurons that do.
    """
    blocks, particles, dtype = FEWEST_BLOCKS, neurons_of(problem, None), "float32" if tol >= SINGLE else "float64"
    require(footprint(problem, record, blocks, particles, dtype), "this limit", REMEDY)

    def fit(blocks: int, particles: int, dtype: str) -> bool:
        small = blocks <= MOST_BLOCKS and particles <= MOST_PARTICLES
        return small and footprint(problem, record, blocks, particles, dtype) <= SHARE * available_memory()

    while True:
        try:
            found = _round(problem, record, blocks, particles, dtype, done)
        except DivergedError:  # perhaps only in single precision, or where blocks are few
            larger = (blocks, particles, "float64") if dtype == "float32" else (2 * blocks, particles, dtype)
            if not fit(*larger):
                raise
            blocks, particles, dtype = larger
            continue
        yield found
        larger = (2 * blocks, particles, dtype) if found.too_shallow else (blocks, 4 * particles, dtype)
        hopeless = not found.too_shallow and found.reachable(_most(problem, record, found)) > tol
        if found.worst <= tol or hopeless or not fit(*larger):
            return
        blocks, particles, dtype = larger


def _most(problem: Problem, record: Record, found: Extrapolation) -> int:
    """The most neurons that rounds may take, as far as they fit."""
    particles, free = max(MOST_PARTICLES, found.particles), SHARE * available_memory()
    while particles > found.particles and footprint(problem, record, found.blocks, particles, found.dtype) > free:
        particles //= 2
    return particles


def _round(
    problem: Problem, record: Record, blocks: int, particles: int, dtype: str, done: Callable[[int], Any]
) -> Extrapolation:
    library, found = open_library("numpy", None, dtype), Extrapolation(blocks, particles, dtype)
    networks = [Runs(problem, record, library, blocks // fewer, particles, summed=fewer) for fewer in DEPTHS]
    for replica in range(REPLICAS):
        found.add([runs.each([np.random.default_rng([0, replica])], done)[0] for runs in networks])
        found.where = networks[-1].where
        done(problem.steps)
    return found
