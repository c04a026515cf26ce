"""How many neurons a sample has, the memory it takes, and how many samples are trained side by side."""

import numpy as np

from limits.library import Library
from limits.memory import SHARE
from limits.particles.learned import low_rank
from limits.particles.network import capacity, trained
from limits.particles.observer import Observer
from limits.particles.rules import states_of
from limits.problem import Problem
from limits.record import Record
from limits.semiseparable import BACKWARD, FORWARD
from limits.validation import whole

PARTICLES = 2**13
"""Neurons of a sample, by default."""
PAIRED = 2**10
"""The same where updates are over pairs of neurons."""
FILLING = 4
"""Fewest neurons over kets that a matrix acts on."""
CACHED = 2**18
"""Bytes of the kets of a pass up to which more samples side by side are faster on a CPU; measured."""
KERNELS = 4
"""Arrays like the recorded kernels, besides one for every sample that trains: means, squares, and two on their way."""


def neurons_of(problem: Problem, particles: int | None) -> int:
    """N, even, as asked for or by default.

    Raises:
        ValueError: fewer than four times the kets that a matrix acts on.
    """
    least = FILLING * (sum(capacity(problem).values()) + problem.d_in + problem.d_out)
    if particles is None:
        usual = PARTICLES if low_rank(problem.optimizer) else PAIRED
        return max(usual, 2 ** int(np.ceil(np.log2(least))))
    n = whole(particles, "particles")
    if n < least:
        raise ValueError(f"particles must be at least {least} for these steps and samples, got {n}: take more, or fewer steps")
    return n + n % 2


def particle_footprint(problem: Problem, record: Record, blocks: int, neurons: int | None = None, itemsize: int = 8) -> int:
    """Bytes of one sample of neurons: the kets that matrices have seen with their images, what passes, and updates."""
    N = neurons_of(problem, neurons)
    model, room, states = problem.model, capacity(problem), states_of(problem.optimizer)
    batch = max((len(trained(problem, t)) for t in range(problem.steps)), default=0)
    between = batch * (model.block_depth + model.layer_norm)
    seen, updates = 2 * sum(room.values()), itemsize * (1 + states) * room[FORWARD] * room[BACKWARD]
    if not low_rank(problem.optimizer):
        between, updates = between + batch * model.block_depth, 4 * (1 + states) * N**2
    passing = 12 * len(problem.evaluated) + Observer.kets(problem, record, blocks)
    return blocks * (itemsize * N * (model.block_depth * seen + between) + model.block_depth * updates) + itemsize * N * passing


def sampling_footprint(
    problem: Problem,
    record: Record,
    blocks: int,
    neurons: int | None = None,
    *,
    replicas: int = 1,
    itemsize: int = 8,
) -> int:
    """Bytes of as many samples side by side, with the kernels they make."""
    one = particle_footprint(problem, record, blocks, neurons, itemsize)
    return replicas * one + (replicas + KERNELS) * record.size(problem)


def side_by_side(problem: Problem, record: Record, library: Library, blocks: int, neurons: int, replicas: int) -> int:
    """How many samples to train at once: as many as pay and fit, in batches of nearly the same number."""
    size = particle_footprint(problem, record, blocks, neurons, library.itemsize) + record.size(problem)
    fits = max(1, int((SHARE * library.free_memory() - KERNELS * record.size(problem)) / size))
    cached = CACHED // (library.itemsize * neurons * len(problem.evaluated)) if low_rank(problem.optimizer) else 1
    pay = max(1, cached) if library.on_cpu else replicas
    batches = -(-replicas // min(fits, pay, replicas))
    return -(-replicas // batches)
