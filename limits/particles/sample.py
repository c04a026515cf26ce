"""Infinite width at finitely many blocks from samples of neurons: replicas, their mean, and its standard error."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import limits
from limits.memory import require
from limits.particles.learned import low_rank
from limits.particles.network import Kets, capacity, trained
from limits.particles.observer import Observer
from limits.particles.rules import states_of
from limits.problem import Problem
from limits.record import Record
from limits.semiseparable import BACKWARD, FORWARD
from limits.training import checked_kernels, evolve
from limits.trajectory import Interrupted, Trajectory, assemble
from limits.validation import reporting, whole

Array = np.ndarray
Progress = Callable[[int, int], None]
REPLICAS = 8
"""Independent samples, for the standard error."""
PARTICLES = 2**13
"""Neurons of a replica, by default."""
PAIRED = 2**10
"""The same where updates are over pairs of neurons."""
FILLING = 4
"""Fewest neurons over kets that a matrix acts on."""


def sample(
    problem: Problem,
    *,
    blocks: int,
    particles: int | None = None,
    seed: int = 0,
    record: Record | None = None,
    progress: Progress | None = None,
    replicas: int = REPLICAS,
    responds: bool = True,
) -> Trajectory:
    r"""Train a network of infinite width and `blocks` blocks on samples of its neurons.

    Every vector of the network is a ket, a random variable with one value per neuron. Of a block of one layer,

    $$ h_i = \hat h_i + \sum_{j<i}\Big(E\Big[\frac{\partial x_i^{l-1}}{\partial\hat z_j}\Big]
       - w_jaL^{-\gamma}\langle x_j^{l-1}, x_i^{l-1}\rangle\Big)\,\delta h_j, \quad x_i^l = x_i^{l-1} + aL^{-\alpha}G\phi(h_i), $$

    with $\hat h_i$, $\hat z_j$ the Gaussian parts of $\hat Wx_i$ and $\hat W^T\delta h_j$, and the mirror image of it for
    $\delta$ (`limits.particles.matrix`); of others likewise. A replica of S samples takes $O(NTSL)$ memory and
    $O(NTS(TS + \log N)L)$ time; with `Adam` and `SignSGD` also $O(N^2L)$ and $O(N^2TSL)$.

    Args:
        problem: what to train; any form, number of layers, exponents and optimizer, also with LayerNorm.
        blocks: L, the number of residual blocks.
        particles: N, neurons of a replica; by default 8192, or 1024 for `Adam` and `SignSGD`, or more where a matrix acts on
            many kets.
        seed: the first number of every replica's generator.
        record: which kernels to keep.
        progress: called as progress(done, total) after every evaluation of a replica.
        replicas: how many independent samples are averaged.
        responds: whether backward passes use the transposes of the forward matrices; False gives the network of the
            gradient independence assumption, whose backward matrices are independent copies.

    Returns:
        A `Trajectory`: means over replicas, `error` the standard error of the outputs. It falls like $N^{-1/2}$, the bias
        like $1/N$; with linear $\phi$ and `SGD` or `Muon` both are round-off while all noise fits into N/2 dimensions.

    Raises:
        ValueError: fewer particles than four times the kets that a matrix acts on, or a record of the response.
        MemoryError: a replica does not fit.
        DivergedError: outputs leave the range of numbers.
        Interrupted: on Ctrl-C, with what was finished in `partial`.

    Source: Tensor Programs III; of nonlinear updates TP4b.

    >>> from limits import COMPLETEP, SGD, ResNet
    >>> one = Problem(ResNet("tanh"), COMPLETEP, SGD(1.0, steps=2), [[1.0]], [[1.0]])
    >>> answer = sample(one, blocks=4, particles=512)
    >>> bool(answer.error.max() < 0.02), answer.meta["replicas"]
    (True, 8)
    """
    began, L, N = time.perf_counter(), whole(blocks, "blocks"), neurons_of(problem, particles)
    record = Record.of(record, problem)
    _refuse(record)
    size = particle_footprint(problem, record, L, N)
    require(size, f"a sample of {N} neurons", "take fewer particles, blocks, steps or samples")
    meta = {"rung": "wide", "blocks": L, "particles": N, "seed": whole(seed, "seed", low=0), "version": limits.__version__}
    runs, total = _Runs(problem, record, L, N, responds), whole(replicas, "replicas") * (problem.steps + 1)
    report = reporting(progress)
    try:
        for r in range(replicas):
            runs.train(np.random.default_rng([int(seed), r]), lambda t, r=r: report(r * (problem.steps + 1) + t + 1, total))
    except KeyboardInterrupt as stop:
        if not runs.outputs and not len(runs.begun):
            raise
        raise Interrupted(runs.trajectory(meta | {"partial": True, "seconds": time.perf_counter() - began})) from stop
    return runs.trajectory(meta | {"seconds": time.perf_counter() - began})


class _Runs:
    """The replicas trained so far."""

    def __init__(self, problem: Problem, record: Record, blocks: int, neurons: int, responds: bool) -> None:
        self.problem, self.record, self.blocks, self.neurons, self.responds = problem, record, blocks, neurons, responds
        self.outputs: list[Array] = []
        self.kernels: list[dict[str, Array]] = []
        self.begun: Array = np.zeros(0)

    def train(self, rng: np.random.Generator, done: Callable[[int], Any]) -> None:
        """Train one more."""
        observer = Observer(self.problem, self.record, self.blocks, self.neurons)
        kets = Kets(self.problem, self.blocks, self.neurons, rng, observer.leave, self.responds)

        def begun(t: int, so_far: Array) -> None:
            self.begun = so_far
            done(t)

        outputs, _ = evolve(self.problem, kets, begun)
        with np.errstate(over="ignore", invalid="ignore"):
            kernels = observer.kernels()
        checked_kernels(kernels)
        self.outputs.append(outputs)
        self.kernels.append(kernels | observer.where())

    def trajectory(self, meta: dict[str, Any]) -> Trajectory:
        """The mean over the finished replicas, or, where there are none yet, what the first one has begun."""
        meta = meta | {"replicas": max(1, len(self.outputs))}
        if not self.outputs:
            part = self.begun.copy()
            return assemble(self.problem.prefix(len(part) - 1), part, np.full_like(part, np.nan), meta=meta)
        several = len(self.outputs) > 1
        mean = np.mean(self.outputs, axis=0)
        error = np.std(self.outputs, axis=0, ddof=1) / len(self.outputs) ** 0.5 if several else np.full_like(mean, np.nan)
        fields = {name: value if value.ndim == 1 else self._mean(name) for name, value in self.kernels[0].items()}
        return assemble(self.problem, mean, error, meta=meta, **fields)

    def _mean(self, name: str) -> Array:
        return np.mean([one[name] for one in self.kernels], axis=0)


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


def particle_footprint(problem: Problem, record: Record, blocks: int, neurons: int | None = None) -> int:
    """Bytes of a replica: the kets that matrices have seen with their images, what passes, and updates."""
    N = neurons_of(problem, neurons)
    model, room, states = problem.model, capacity(problem), states_of(problem.optimizer)
    batch = max((len(trained(problem, t)) for t in range(problem.steps)), default=0)
    between = batch * (model.block_depth + model.layer_norm)
    seen, updates = 2 * sum(room.values()), 8 * (1 + states) * room[FORWARD] * room[BACKWARD]
    if not low_rank(problem.optimizer):
        between, updates = between + batch * model.block_depth, 4 * (1 + states) * N**2
    passing = 12 * len(problem.evaluated) + Observer.kets(problem, record, blocks)
    return blocks * (8 * N * (model.block_depth * seen + between) + model.block_depth * updates) + 8 * N * passing


def _refuse(record: Record) -> None:
    if "response" in record.kinds:
        raise ValueError(
            "the response is a derivative, and samples of neurons give means, got "
            f"kinds={record.kinds!r}: recurse gives it for linear blocks of one layer, solve for nonlinear ones"
        )
