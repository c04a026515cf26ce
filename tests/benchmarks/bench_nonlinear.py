r"""What `solve` costs for nonlinear blocks: processor seconds against training steps and samples.

Three problems with tanh, each at the tolerance it has by default: form "post" at alpha = gamma = 1/2, where states are Gaussian
and their covariances are solved for; form "mlp" at alpha = 1, gamma = 0, where expectations are means over neurons; and form
"pre" at alpha = gamma = 1/2, extrapolated from samples of neurons at three depths. Inputs are three normal numbers, targets
one. Before each kind of block one step of one sample is solved, so that nothing is loaded.

Run with one thread: OPENBLAS_NUM_THREADS=1 python tests/benchmarks/bench_nonlinear.py [--write FILE]
"""

import argparse
import time
from pathlib import Path

import numpy as np

from limits import COMPLETEP, DEPTH_MUP, SGD, Problem, ResNet, solve

SIZES = [(2, 2), (4, 2), (8, 2), (4, 4), (4, 8)]
"""Training steps and samples."""
CASES = {
    "post, alpha = 1/2": (ResNet("tanh"), DEPTH_MUP, SIZES),
    "mlp, alpha = 1": (ResNet("tanh", block_depth=2, form="mlp"), COMPLETEP, SIZES),
    "pre, alpha = 1/2": (ResNet("tanh", form="pre"), DEPTH_MUP, [(2, 2), (4, 2), (2, 4)]),
}


def problem(net, exponents, steps, samples):
    rng = np.random.default_rng(0)
    return Problem(net, exponents, SGD(0.5, steps), rng.normal(size=(samples, 3)), rng.normal(size=(samples, 1)))


def measured(asked):
    """Processor seconds and the largest error of an output."""
    start = time.process_time()
    answer = solve(asked)
    return time.process_time() - start, answer.error.max()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", type=Path, help="a file for the table")
    write = parser.parse_args().write
    rows = [f"{'block':20s}{'steps':>7s}{'samples':>9s}{'seconds':>9s}{'error':>9s}"]
    print(rows[0])
    for name, (net, exponents, sizes) in CASES.items():
        solve(problem(net, exponents, 1, 1))
        for steps, samples in sizes:
            seconds, error = measured(problem(net, exponents, steps, samples))
            rows.append(f"{name:20s}{steps:7d}{samples:9d}{seconds:9.2f}{error:9.0e}")
            print(rows[-1], flush=True)
    if write:
        write.write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
