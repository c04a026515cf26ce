"""How near `recurse` by samples of neurons comes to the speed of its matrix products alone.

A step of a block multiplies S kets of N neurons by what the matrix has acted on, and what that became, eight times in either
direction. "products" is the time of these eight at the sizes they have, in the same run and on arrays that do not leave memory
between them; "noise" that of drawing the new Gaussian kets. The rest is Gram-Schmidt, the nonlinearity, and, for the first of
several samples of neurons, the first touch of its memory. Times are processor seconds.

Run: python tests/benchmarks/bench_particles_speed.py
"""

import time

import numpy as np

from limits import DEPTH_MUP, SGD, Problem, Record, ResNet
from limits.library import open_library
from limits.particles import particle_footprint, sample
from limits.particles.noise import Noise
from limits.particles.space import Space

NONE = Record(kinds=())
STEPS, BLOCKS, REPLICAS = 10, 32, 2


def problem_of(samples: int) -> Problem:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, 4))
    return Problem(ResNet("relu"), DEPTH_MUP, SGD(0.5, STEPS), x, np.sign(x[:, :1]))


def seconds(run) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def of_products(samples: int, neurons: int, dtype: str) -> float:
    """Seconds of the eight products of every step, in both directions of every block."""
    rng, space = np.random.default_rng(0), Space(open_library("numpy", None, dtype), neurons)
    most = samples * (STEPS + 1)
    known = [rng.standard_normal((1, most, neurons), dtype=dtype) for _ in range(4)]  # both sides, with their images
    x = rng.standard_normal((1, samples, neurons), dtype=dtype)
    total = 0.0
    for count in range(0, most, samples):
        p, made, q, back = (rows[:, :count, :] for rows in known)
        small = np.ones((1, samples, count), dtype)
        total += seconds(lambda p=p, small=small: [space.inner(x, p), small @ p, space.inner(x, p), small @ p])
        total += seconds(lambda q=q, back=back: [space.inner(x, q), space.inner(x, back)])
        total += seconds(lambda q=q, made=made, small=small: [np.concatenate([small, small], 1) @ q, small @ made])
    return 2 * BLOCKS * total


def of_noise(samples: int, neurons: int, dtype: str) -> float:
    noise = Noise([np.random.default_rng(0)], neurons, mirrored=True, library=open_library("numpy", None, dtype))
    return (2 * STEPS + 1) * BLOCKS * min(seconds(lambda: noise.draw(samples)) for _ in range(5))


def main() -> None:
    print(f"{STEPS} steps, {BLOCKS} blocks, relu; processor seconds of a sample of neurons, mean of {REPLICAS}")
    print(f"{'samples':>8s}{'neurons':>9s}{'type':>9s}{'recurse':>9s}{'products':>10s}{'noise':>7s}{'GB':>6s}")
    for samples, neurons in ((1, 2**14), (4, 2**14), (4, 2**15), (4, 2**16)):
        problem = problem_of(samples)
        for dtype in ("float64", "float32"):
            options = {"blocks": BLOCKS, "particles": neurons, "replicas": REPLICAS, "at_once": 1, "dtype": dtype, "record": NONE}
            whole = seconds(lambda problem=problem, options=options: sample(problem, **options)) / REPLICAS
            size = particle_footprint(problem, NONE, BLOCKS, neurons, np.dtype(dtype).itemsize)
            parts = of_products(samples, neurons, dtype), of_noise(samples, neurons, dtype)
            row = f"{samples:8d}{neurons:9d}{dtype:>9s}{whole:9.2f}{parts[0]:10.2f}{parts[1]:7.2f}{size / 1e9:6.2f}"
            print(row, flush=True)


if __name__ == "__main__":
    main()
