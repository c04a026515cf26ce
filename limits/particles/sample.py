"""Infinite width at finitely many blocks from samples of neurons: replicas, their mean, and its standard error."""

import time
from collections.abc import Callable

import numpy as np

import limits
from limits.library import Library, open_library
from limits.memory import require
from limits.particles.runs import Runs
from limits.particles.sizes import neurons_of, sampling_footprint, side_by_side
from limits.problem import Problem
from limits.record import Record
from limits.trajectory import Interrupted, Trajectory
from limits.validation import reporting, whole

Progress = Callable[[int, int], None]
REPLICAS = 8
"""Independent samples, for the standard error."""


def sample(
    problem: Problem,
    *,
    blocks: int,
    particles: int | None = None,
    seed: int = 0,
    record: Record | None = None,
    progress: Progress | None = None,
    backend: str = "numpy",
    device: str | None = None,
    dtype: str = "float64",
    replicas: int = REPLICAS,
    at_once: int | None = None,
    responds: bool = True,
) -> Trajectory:
    r"""Train a network of infinite width and `blocks` blocks on samples of its neurons.

    Every vector of the network is a ket, a random variable with one value per neuron. Of a block of one layer,

    $$ h_i = \hat h_i + \sum_{j<i}\Big(E\Big[\frac{\partial x_i^{l-1}}{\partial\hat z_j}\Big]
       - w_jaL^{-\gamma}\langle x_j^{l-1}, x_i^{l-1}\rangle\Big)\,\delta h_j, \quad x_i^l = x_i^{l-1} + aL^{-\alpha}G\phi(h_i), $$

    with $\hat h_i$, $\hat z_j$ the Gaussian parts of $\hat Wx_i$ and $\hat W^T\delta h_j$, and the mirror image of it for
    $\delta$ (`limits.particles.matrix`); of others likewise.

    Memory of a replica of S samples is $O(NTSL)$: every matrix keeps what it has acted on in either direction and what it made
    of it, 32 N (T + 1) S bytes a block and layer in float64, half of it in float32; with `Adam` and `SignSGD` also $O(N^2L)$.
    Replicas follow one another in the same places, or, where they are small or on a GPU, go side by side as far as they fit;
    the answer is the same bit by bit. Time of one is $O(NTS(TS + \log N)L)$, with `Adam` and `SignSGD` also $O(N^2TSL)$.

    Args:
        problem: what to train; any form, number of layers, exponents and optimizer, also with LayerNorm.
        blocks: L, the number of residual blocks.
        particles: N, neurons of a replica; by default 8192, or 1024 for `Adam` and `SignSGD`, or more where a matrix acts on
            many kets.
        seed: the first number of every replica's generator.
        record: which kernels to keep.
        progress: called as progress(done, total) after every evaluation of replicas side by side, in replicas times evaluations.
        backend: "numpy", or "torch" (CPU or GPU): the same answer to round-off, for the random numbers are numpy's. All that a
            pass computes stays on the device until its outputs are read.
        device: where torch computes, such as "cuda"; the CPU by default.
        dtype: "float64", or "float32": twice as fast in half the memory, with errors of some 1e-6 of the largest output.
        replicas: how many independent samples are averaged.
        at_once: how many of them are trained side by side; by default as many as pay and fit.
        responds: whether backward passes use the transposes of the forward matrices; False gives the network of the
            gradient independence assumption, whose backward matrices are independent copies.

    Returns:
        A `Trajectory`: means over replicas, `error` the standard error of the outputs, `feature_kernel_error` and its like
        those of recorded kernels. Errors fall like $N^{-1/2}$, the bias like $1/N$; with linear $\phi$ and `SGD` or `Muon` both
        are round-off while all noise fits into N/2 dimensions.

    Raises:
        ValueError: fewer particles than four times the kets that a matrix acts on, a record of the response, an unknown
            backend, device or dtype.
        ImportError: the backend is not installed.
        MemoryError: a replica does not fit; said before anything is drawn.
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
    record, report, library = Record.of(record, problem), reporting(progress), open_for_kets(backend, device, dtype)
    _refuse(record)
    size = sampling_footprint(problem, record, L, N, itemsize=library.itemsize)
    remedy = "take fewer particles, blocks, steps or samples" + (", or dtype='float32'" if library.itemsize == 8 else "")
    require(size, f"a sample of {N} neurons", remedy, library.free_memory())
    many, seed = whole(replicas, "replicas"), whole(seed, "seed", low=0)
    together = side_by_side(problem, record, library, L, N, many) if at_once is None else whole(at_once, "at_once")
    meta = {"rung": "wide", "blocks": L, "particles": N, "seed": seed, "backend": backend, "dtype": dtype}
    meta["version"] = limits.__version__
    runs, evaluations = Runs(problem, record, library, L, N, responds), problem.steps + 1
    try:
        for begin in range(0, many, together):
            rngs = [np.random.default_rng([seed, r]) for r in range(begin, min(begin + together, many))]
            before, each = begin * evaluations, len(rngs)
            runs.train(rngs, lambda t, before=before, each=each: report(before + each * (t + 1), many * evaluations))
    except KeyboardInterrupt as stop:
        if not runs.finished and not runs.begun:
            raise
        raise Interrupted(runs.trajectory(meta | {"partial": True, "seconds": time.perf_counter() - began})) from stop
    return runs.trajectory(meta | {"seconds": time.perf_counter() - began})


def open_for_kets(backend: str, device: str | None, dtype: str) -> Library:
    """The array library that holds kets.

    Raises:
        ValueError: numbers too short for inner products, or whatever `open_library` refuses.
    """
    if dtype == "bfloat16":
        raise ValueError("kets are orthonormalised, which bfloat16 is too short for, got dtype='bfloat16': take float32")
    return open_library(backend, device, dtype)


def _refuse(record: Record) -> None:
    if "response" in record.kinds:
        raise ValueError(
            "the response is a derivative, and samples of neurons give means, got "
            f"kinds={record.kinds!r}: recurse gives it for linear blocks of one layer, solve for nonlinear ones"
        )
