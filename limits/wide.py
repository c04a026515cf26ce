r"""Rung 2: networks of infinite width and finitely many blocks; linear ones exactly, others by samples of their neurons.

The recursion over blocks of TP6 (Lemma C.1, and D.3 for any $\alpha, \gamma$), with batches, schedules, momentum and
trained read-in and read-out, in $O(T^3 L)$ time and $O(T^2 L)$ memory by the semiseparable form of
`limits.semiseparable`; as printed it takes $O(T^4 L^2)$. What has no such recursion is in `limits.particles`.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import limits
from limits.directions import trained_directions
from limits.kernels import sample_kernels
from limits.linear import LinearStates
from limits.memory import require
from limits.optimizers import SGD
from limits.particles import open_for_kets, sample
from limits.problem import Problem
from limits.record import Record
from limits.semiseparable import Array, CausalSystem, Fields, Pass, Ready, Side, footprint, symmetric
from limits.training import checked_kernels, evolve
from limits.trajectory import Interrupted, Trajectory, assemble
from limits.validation import called, reporting, whole

Progress = Callable[[int, int], None]


def closed(problem: Problem) -> bool:
    """Whether there is a recursion: for linear blocks of one layer, trained by SGD without weight decay.

    >>> from limits import DEPTH_MUP, Problem, ResNet, SGD
    >>> [closed(Problem(ResNet(name), DEPTH_MUP, SGD(1.0, steps=2), [[1.0]], [[1.0]])) for name in ("linear", "relu")]
    [True, False]
    """
    model, optimizer = problem.model, problem.optimizer
    plain = isinstance(optimizer, SGD) and not optimizer.weight_decay
    return plain and not model.layer_norm and model.block_depth == 1 and model.phi.linear


@called("recurse(problem, blocks=64)")
def recurse(
    problem: Problem,
    *,
    blocks: int,
    particles: int | None = None,
    seed: int = 0,
    record: Record | None = None,
    backend: str = "numpy",
    device: str | None = None,
    dtype: str = "float64",
    progress: Progress | None = None,
) -> Trajectory:
    r"""Train a network of infinite width and `blocks` blocks.

    Linear blocks of one layer, trained by SGD without weight decay, are treated exactly. With $\langle\cdot,\cdot\rangle$ the
    expectation, $w$ the schedule with momentum, $C^0 = \langle x, x\rangle$ and
    $C^1 = \langle\delta, \delta\rangle$, every block adds

    $$ x_i^l = x_i^{l-1} + a L^{-\alpha}\hat W^l x_i^{l-1} + \sum_{j<i}\Big[aL^{-\alpha}
       \frac{\partial x_i^{l-1}}{\partial(\hat W^{lT}\delta_j^l)} - w_j a^2L^{-\alpha-\gamma}C^0_{ij}\Big]\delta_j^l $$

    and the mirror image of it to $\delta$. It is what `simulate` tends to as the width grows, with fluctuations
    $O(n^{-1/2})$ and a bias $O(1/n)$; as `blocks` grows it tends to `solve` at rate $O(1/L)$ for $\alpha = 1/2$.
    Everything else, and this too where `particles` are given, is computed on samples of neurons (`limits.particles`): any
    $\phi$, number of layers, form and optimizer, also with LayerNorm. Eight independent samples of N neurons give the answer
    with a standard error of a few tenths of $(8N)^{-1/2}$.

    Args:
        problem: what to train; any exponents, stable or not.
        blocks: L, the number of residual blocks.
        particles: N, neurons in each of eight samples; by default none where the answer is exact, else 8192, or 1024 where
            updates are over pairs of neurons (`Adam` and `SignSGD`).
        seed: of the samples, >= 0.
        record: which kernels to keep; by default the feature kernel at five depths, of eight samples where there are many.
        backend: what computes samples of neurons, "numpy" or "torch"; what is exact comes from numpy in float64 whatever is
            asked for here, as `meta` says.
        device: where torch computes, such as "cuda"; the CPU by default.
        dtype: of samples of neurons, "float64" or "float32": twice as fast in half the memory, and good to some 1e-6.
        progress: called as progress(done, total) after every step, of samples of neurons after every evaluation.

    Returns:
        A `Trajectory` with error 0: exact up to round-off. Where an unstable run explodes, round-off does too: outputs of
        1e35 keep nine digits, and kernels of such runs fewer. Of samples of neurons, `error` is the standard error, and
        `feature_kernel_error` and its like those of the recorded kernels; it leaves out the bias of O(1/N), which was seen to be
        twice the error at N = 128 and as large at N = 512 where updates are large, and was within it at 8192. They take
        $O(NTSL)$ memory, some 32 N (T + 1) S L bytes for S samples in float64, one of the eight after another where they do
        not fit together.

    Raises:
        ValueError: `blocks` is no whole number >= 1, the record is too large or asks for the response of what is sampled, or
            there are fewer particles than four times the vectors that a matrix acts on.
        ImportError: the backend is not installed.
        MemoryError: one sample of neurons does not fit.
        DivergedError: outputs leave the range of numbers.

    Source: TP6, Lemma C.1 and D.3; of samples of neurons, Tensor Programs III and IVb.

    >>> from limits import DEPTH_MUP, Problem, ResNet, SGD
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=2), [[1.0]], [[1.0]])
    >>> recurse(one, blocks=16).outputs[:, 0, 0].round(8)
    array([0.        , 2.48275623, 0.02416011])
    """
    began, L, report = time.perf_counter(), whole(blocks, "blocks"), reporting(progress)
    record = Record.of(record, problem)
    whole(seed, "seed", low=0)
    problem.parametrization.refuse_overflow(L, problem.model.block_depth)
    where = {"backend": backend, "device": device, "dtype": dtype}
    if particles is not None or not closed(problem):
        return sample(problem, blocks=L, particles=particles, seed=seed, record=record, progress=progress, **where)
    open_for_kets(**where)
    basis = trained_directions(problem)
    alpha, gamma, beta = problem.parametrization.single()
    a2 = problem.model.multiplier**2
    levels, placing = record.placing(L)
    ends = np.append(levels, [0, L])
    r, d = basis.count, problem.d_out
    sizes: dict[str, Any] = {"forward": r * (problem.steps + 1), "backward": d * problem.steps}
    remedy = "take fewer steps, blocks or input directions (principal components)"
    require(footprint(L, len(ends), **sizes, new=max(r, d)), "this recursion", remedy)
    system = CausalSystem(
        L,
        (np.arange(L) < ends[:, None]).astype(float),
        **sizes,
        units=(r, d),
        staggered=True,
    )
    rates = {"noise": a2 * L ** float(-2 * (alpha + beta)), "drift": a2 * L ** float(-alpha - gamma)}
    propagate = partial(_propagate, ends=ends)
    states = LinearStates(problem, basis, system, propagate, **rates)
    finished: list[Array] = []

    def done(t: int, so_far: Array) -> None:
        finished[:] = [so_far]
        report(t, problem.steps)

    def meta() -> dict[str, Any]:
        kind = {"rung": "wide", "blocks": L, "backend": "numpy", "dtype": "float64", "version": limits.__version__}
        return kind | {"seconds": time.perf_counter() - began}

    try:
        outputs, chi = evolve(problem, states, done)
    except KeyboardInterrupt as stop:
        if not finished:
            raise
        part = finished[0].copy()
        begun = assemble(problem.prefix(len(part) - 1), part, np.zeros_like(part), meta=meta() | {"partial": True})
        raise Interrupted(begun) from stop
    outside = (1 + rates["noise"]) ** levels.astype(float)
    with np.errstate(over="ignore", invalid="ignore"):
        kernels = sample_kernels(states, problem, basis, chi, record, placing, outside)
    checked_kernels(kernels)
    return assemble(problem, outputs, np.zeros_like(outputs), meta=meta(), **kernels)


def _propagate(system: CausalSystem, ready: Ready, ends: Array) -> Pass:
    """One pass, block by block: x from block 1, delta from block L."""
    side, boundary, rate = ready.side, ready.boundary, ready.growth
    L, shape, step = system.stations, boundary.shape, side.sign
    row, integral = np.zeros((L + 1, *shape)), np.zeros((L + 1, *shape))
    variance, noise = np.zeros((L + 1, shape[0], shape[0])), np.zeros((L, *shape))
    start = 0 if side.forward else L
    row[start] = boundary @ system.phi_at_start(side)
    variance[start] = system.start(ready, row[start])
    for m in range(start, L - start, step):
        block = m if side.forward else m - 1
        now = system.fields(ready, block, (row[m], integral[m]))
        noise[block] = now.noise
        row[m + step] = row[m] + now.slope
        integral[m + step] = integral[m] + step * (now.noise - now.damped)
        variance[m + step] = variance[m] + rate * variance[m] + _drift(system, side, m, block, now)
    own = rate * system.at_stations(variance, side)
    return Pass(row, integral, variance, noise, own, row[ends], row[start], integral[L])


def _drift(system: CausalSystem, side: Side, m: int, block: int, now: Fields) -> Array:
    r"""What the drift of one block adds to the new states' covariance, to first and second order."""
    seen = now.pulled - now.response @ system.spread[block]
    mixed = now.slope @ seen.T - now.response @ now.noise.T - side.sign * system.times_q(now.slope) @ now.noise.T
    return symmetric(mixed) + now.slope @ system.kernel[m + side.sign] @ now.slope.T
