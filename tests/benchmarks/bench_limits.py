"""How long the infinite-depth limit takes, against the honest rival and against the recursion as published.

Rival: `recurse` at L = 8, 16, 32, … with Richardson extrapolation, doubling until the true error is below the target; its time
is that of all its runs. Published: TP6 Lemma C.1 as printed (`tests/naive.py`), at the few L it can reach, for scale.
The true error is measured against `solve` at the tightest tolerance it meets. Run: python tests/benchmarks/bench_limits.py
"""

import resource
import sys
import time
import tracemalloc
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import naive

from limits import DEPTH_MUP, SGD, Problem, Record, ResNet, UnresolvedError, recurse, solve
from limits.compare import extrapolate
from limits.deep.gaussian import linear_level
from limits.panels import Panels

NONE = Record(kinds=())


def single(T: int) -> Problem:
    return Problem(ResNet(), DEPTH_MUP, SGD(0.5, T), [[1.0]], [[1.0]])


def several(T: int, directions: int, samples: int = 200, lr: float = 0.3) -> Problem:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, directions))
    y = x @ rng.normal(size=(directions, 1)) / np.sqrt(directions) + 0.3 * rng.normal(size=(samples, 1))
    return Problem(ResNet(), DEPTH_MUP, SGD(lr, T), x, y)


def timed(run, repeats: int = 3):
    seconds, answer = [], None
    for _ in range(repeats):
        began = time.perf_counter()
        answer = run()
        seconds.append(time.perf_counter() - began)
    return median(seconds), answer


def solve_until(problem, truth, target):
    """The first tolerance (of 10 per decade) whose true error is below the target."""
    for tol in target * 10.0 ** np.arange(2, -3, -1):
        seconds, run = timed(lambda tol=tol: solve(problem, tol=max(tol, 1e-13), record=NONE))
        error = np.abs(run.outputs - truth).max()
        if error <= target:
            return seconds, error
    return float("nan"), error


def richardson_until(problem, truth, target, most=4096):
    sizes, values, total, L = [], [], 0.0, 8
    while most >= L:
        seconds, run = timed(lambda L=L: recurse(problem, blocks=L, record=NONE), 1)
        sizes, values, total = [*sizes, L], [*values, run.outputs], total + seconds
        error = np.abs(extrapolate(sizes, values) - truth).max()
        if error <= target:
            return total, error, L
        L *= 2
    return float("nan"), error, L // 2


def reach():
    print("\ntime to reach a true error (single sample, lr = 0.5)")
    print(f"{'T':>4} {'target':>8} | {'solve':>9} {'error':>8} | {'recurse + Richardson':>21} {'error':>8} {'to L':>5} | ratio")
    for T in (4, 10, 40):
        problem = single(T)
        truth = linear_level(problem, Panels.uniform(8, 12), NONE, 1, lambda t: None).outputs
        for target in (1e-6, 1e-10):
            ours, error = solve_until(problem, truth, target)
            rival, rival_error, L = richardson_until(problem, truth, target)
            print(
                f"{T:4d} {target:8.0e} | {ours:8.3f}s {error:8.1e} | "
                f"{rival:20.3f}s {rival_error:8.1e} {L:5d} | {rival / ours:5.1f}"
            )


def published():
    print("\nthe recursion as published (per sample, explicit coefficients), T = 4")
    problem = single(4)
    truth = solve(problem, tol=1e-13, record=NONE).outputs
    for L in (8, 16, 32):
        slow, answer = timed(lambda L=L: naive.recursion(problem, L), 1)
        fast, _ = timed(lambda L=L: recurse(problem, blocks=L, record=NONE))
        error = np.abs(answer.outputs - truth).max()
        print(f"L = {L:3d}: {slow:8.3f} s, error {error:.1e}; recurse at the same L {fast:.4f} s")


def exponents():
    print("\nmeasured cost exponents of the limit at a fixed resolution (slopes between neighbours)")
    panels = Panels.uniform(4, 6)
    for directions, sizes in ((1, (20, 40, 80, 160)), (10, (10, 20, 40))):
        times = [
            timed(lambda T=T, d=directions: linear_level(several(T, d), panels, NONE, 1, lambda t: None), 1)[0] for T in sizes
        ]
        slopes = np.diff(np.log(times)) / np.diff(np.log(sizes))
        print(
            f"in T, {directions} direction(s): " + ", ".join(f"T={T}: {s:.2f}s" for T, s in zip(sizes, times, strict=True)),
            slopes.round(2),
        )
    counts = (4, 8, 16, 32)
    problem = several(30, 3)
    times = [timed(lambda k=k: linear_level(problem, Panels.uniform(k, 6), NONE, 1, lambda t: None), 1)[0] for k in counts]
    slopes = np.diff(np.log(times)) / np.diff(np.log(counts))
    print(
        "in nodes (T = 30, 3 directions): " + ", ".join(f"{6 * k}: {s:.2f}s" for k, s in zip(counts, times, strict=True)),
        slopes.round(2),
    )


def large():
    problem = several(100, 10)
    tracemalloc.start()
    seconds, run = timed(lambda: solve(problem, tol=1e-8, record=NONE), 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"\nT = 100 full-batch steps, 10 input directions, 200 samples, tol = 1e-8: {seconds:.1f} s, "
        f"error {run.error.max():.1e}, "
        f"{run.meta['nodes']} nodes, peak arrays {peak / 1e9:.2f} GB, resident {resident:.2f} GB"
    )


def nonlinear():
    print("\nnonlinear blocks, full batches, tol = 1e-8; the same problem with linear blocks for scale")
    print(f"{'phi':>10} {'samples':>8} {'T':>4} | {'solve':>9} {'error':>8} {'nodes':>6} | {'linear':>8}")
    rng = np.random.default_rng(0)
    for samples, T in ((8, 10), (4, 30)):
        x = rng.normal(size=(samples, 4))
        y = np.sin(2 * x[:, :1]) + 0.5 * x[:, 1:2]
        linear, _ = timed(lambda x=x, y=y, T=T: solve(Problem(ResNet(), DEPTH_MUP, SGD(0.5, T), x, y), record=NONE), 1)
        for phi in ("sin + cos", "relu", "tanh"):
            problem = Problem(ResNet(phi), DEPTH_MUP, SGD(0.5, T), x, y)
            try:
                seconds, run = timed(lambda problem=problem: solve(problem, record=NONE), 1)
            except UnresolvedError as fault:
                print(f"{phi:>10} {samples:>8} {T:>4} | {fault}")
                continue
            error = run.error.max()
            print(f"{phi:>10} {samples:>8} {T:>4} | {seconds:>8.2f}s {error:>8.1e} {run.meta['nodes']:>6} | {linear:>7.2f}s")


if __name__ == "__main__":
    reach()
    published()
    nonlinear()
    exponents()
    if "--quick" not in sys.argv:
        large()
