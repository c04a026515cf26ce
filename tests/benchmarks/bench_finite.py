"""`simulate` against the same training written in PyTorch and NumPy as one usually would: a table of times and ratios.

    python tests/benchmarks/bench_finite.py [threads]       (or `make bench`)

Every program trains the same networks from the same numbers, in float32; drawing them is not timed. The rivals are

* autograd: a loop over seeds, a list of parameters, `loss.backward()` and `torch.optim.SGD`;
* batched: all seeds side by side in `torch.baddbmm`, forward and backward written out, weights updated in place;
* numpy: the same with NumPy's `matmul`.

The batched rivals run with all seeds at once and with as many as `simulate` takes at once; the faster counts. Times are
medians over interleaved repetitions: processor time with one thread, which other programs on the machine disturb least, and
wall time with more.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

THREADS = int(sys.argv[1]) if __name__ == "__main__" and len(sys.argv) > 1 else 1
for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(variable, str(THREADS))

import numpy as np  # noqa: E402

from limits.directions import directions  # noqa: E402
from limits.finite.blocks import Blocks, capacity, pays_to_absorb  # noqa: E402
from limits.finite.ensemble import side_by_side  # noqa: E402
from limits.finite.linear import LinearTraining  # noqa: E402
from limits.finite.network import Networks  # noqa: E402
from limits.finite.nonlinear import NonlinearTraining  # noqa: E402
from limits.library import open_library  # noqa: E402
from limits.optimizers import SGD  # noqa: E402
from limits.parametrization import DEPTH_MUP  # noqa: E402
from limits.problem import Problem, ResNet  # noqa: E402
from limits.semiseparable import BACKWARD, FORWARD  # noqa: E402

REPETITIONS = 5


@dataclass(frozen=True)
class Case:
    """Sizes of a comparison: width, blocks, seeds, updates, samples, dimensions; blocks that are not linear subtract the mean."""

    n: int
    L: int
    seeds: int
    steps: int
    samples: int = 1
    d_in: int = 1
    d_out: int = 1
    momentum: float = 0.0
    phi: str = "linear"

    def functions(self, library: Any) -> tuple[Callable, Callable]:
        """G phi(h), and phi'(h) times what it is given, of torch or numpy."""
        mean = {"torch": {"dim": -1, "keepdim": True}, "numpy": {"axis": -1, "keepdims": True}}[library.__name__]
        phi, slope = {
            "tanh": (library.tanh, lambda h: 1 - library.tanh(h) ** 2),
            "relu": (lambda h: h.clip(0), lambda h: h > 0),
        }[self.phi]

        def centred(z):
            return z - z.mean(**mean)

        return lambda h: centred(phi(h)), lambda h, delta: slope(h) * centred(delta)


CASES = [
    Case(32, 16, 128, 10),
    Case(64, 32, 32, 10),
    Case(128, 32, 16, 10),
    Case(256, 32, 8, 10),
    Case(512, 16, 4, 10),
    Case(1024, 8, 2, 10),
    Case(128, 8, 8, 150),
    Case(128, 16, 16, 20, momentum=0.9),
    Case(128, 16, 16, 10, samples=20, d_in=10, d_out=2),
    Case(128, 16, 16, 10, samples=64, d_in=64),
    Case(128, 16, 16, 10, samples=64, d_in=64, d_out=10),
    Case(256, 16, 4, 10, samples=256, d_in=64, d_out=10),
    *(Case(64, 32, 32, 10, samples=p, d_in=8, phi=phi) for phi in ("relu", "tanh") for p in (1, 4, 64)),
    *(Case(256, 16, 4, 10, samples=p, d_in=8, phi=phi) for phi in ("relu", "tanh") for p in (1, 4, 16, 64, 256)),
    *(Case(1024, 4, 1, 10, samples=p, d_in=8, phi="relu") for p in (1, 4, 64)),
    Case(128, 16, 16, 20, samples=4, d_in=4, phi="tanh", momentum=0.9),
]


class Setting:
    """The numbers of a case: a problem and U (S, n, d_in), V (S, n, d_out), W (L, S, n, n)."""

    def __init__(self, case: Case) -> None:
        rng = np.random.default_rng(0)
        inputs, targets = rng.standard_normal((case.samples, case.d_in)), rng.standard_normal((case.samples, case.d_out))
        sgd = SGD(0.3, steps=case.steps, momentum=case.momentum)
        self.case, self.problem = case, Problem(ResNet(case.phi), DEPTH_MUP, sgd, inputs, targets)
        shapes = (case.seeds, case.n, case.d_in), (case.seeds, case.n, case.d_out), (case.L, case.seeds, case.n, case.n)
        self.U, self.V, self.W = (rng.standard_normal(shape, dtype=np.float32) for shape in shapes)
        self.W /= np.float32(case.n**0.5)
        self.x = (inputs @ np.swapaxes(self.U, 1, 2) / case.d_in**0.5).astype(np.float32)
        self.y = targets.astype(np.float32)
        self.a, self.rate = np.float32(case.L**-0.5), np.float32(0.3)  # a L^-alpha and eta L^(alpha - gamma)
        self.chunk = side_by_side(open_library("numpy", None, "float32"), case.n, case.L)

    def batches(self, size: int | None) -> list[slice]:
        size = size or self.case.seeds
        return [slice(s, min(s + size, self.case.seeds)) for s in range(0, self.case.seeds, size)]


class Simulate:
    """`simulate` after its draw."""

    def __init__(self, setting: Setting, backend: str) -> None:
        case, problem = setting.case, setting.problem
        self.setting, self.library = setting, open_library(backend, None, "float32")
        self.basis = directions(problem.evaluated, problem.evaluated)
        self.x = np.swapaxes(setting.U @ self.basis.basis.astype(np.float32), 1, 2)
        self.training = LinearTraining if problem.model.phi.linear else NonlinearTraining
        rows = self.training.update_rows(problem, self.basis)
        rank = int(rows.max())
        self.eager = self.training is NonlinearTraining and pays_to_absorb(rank + case.samples, case.n)
        self.rows = rank if self.eager else capacity(int(rows.sum()), rank, case.n, case.momentum)

    def reset(self) -> None:
        a = self.setting.a if self.setting.problem.model.phi.linear else np.float32(1)
        self.weights = [a * self.setting.W[:, b] for b in self.setting.batches(self.setting.chunk)]

    def train(self) -> np.ndarray:
        pairs = zip(self.setting.batches(self.setting.chunk), self.weights, strict=True)
        return np.concatenate([self.train_batch(batch, W) for batch, W in pairs])

    def train_batch(self, batch: slice, W: np.ndarray) -> np.ndarray:
        case, put = self.setting.case, self.library.put
        blocks = Blocks(self.library, put(W), capacity=self.rows, momentum=case.momentum, eager=self.eager)
        rows = {FORWARD: put(self.x[batch]), BACKWARD: put(np.swapaxes(self.setting.V[batch], 1, 2))}
        networks = Networks(self.library, rows, blocks)
        training = self.training(self.setting.problem, networks, self.basis.coordinates, lambda side, t: None)
        return self.library.get([training.evaluate(t) for t in range(case.steps + 1)][-1])


class Autograd:
    """One seed after the other, as in a first script."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def reset(self) -> None:
        import torch

        setting, seeds = self.setting, range(self.setting.case.seeds)
        self.y = torch.tensor(setting.y)
        self.ends = [(torch.tensor(setting.x[s]), torch.tensor(setting.V[s])) for s in seeds]
        self.weights = [[torch.nn.Parameter(torch.tensor(w)) for w in setting.W[:, s]] for s in seeds]
        options = {"lr": float(setting.rate), "momentum": setting.case.momentum}
        self.optimizers = [torch.optim.SGD(W, **options) for W in self.weights]

    def train(self) -> np.ndarray:
        return np.stack([self.train_one(*one) for one in zip(self.ends, self.weights, self.optimizers, strict=True)])

    def train_one(self, ends, W, optimizer):
        import torch

        case, a = self.setting.case, float(self.setting.a)
        branch = (lambda h: h) if case.phi == "linear" else case.functions(torch)[0]
        for t in range(case.steps + 1):
            x = ends[0]
            for w in W:
                x = x + a * branch(x @ w.T)
            f = x @ ends[1] / case.n
            if t < case.steps:
                loss = ((f - self.y) ** 2).sum(1).mean() / 2
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return f.detach().numpy()


class Batched:
    """Seeds side by side in PyTorch, rows are samples; no autograd, no temporaries of n x n."""

    def __init__(self, setting: Setting, size: int | None) -> None:
        self.setting, self.batches = setting, setting.batches(size)

    def reset(self) -> None:
        import torch

        self.parts = [tuple(torch.tensor(z) for z in self.arrays(b)) for b in self.batches]

    def arrays(self, b: slice) -> tuple[np.ndarray, ...]:
        return self.setting.x[b], self.setting.V[b], np.ascontiguousarray(self.setting.W[:, b]), self.setting.y

    def train(self) -> np.ndarray:
        return np.concatenate([np.asarray(self.train_batch(*part)) for part in self.parts])

    def train_batch(self, x0, V, W, y):
        import torch

        case, a, rate = self.setting.case, float(self.setting.a), float(self.setting.rate)
        velocity = torch.zeros_like(W) if case.momentum else None
        branch, back = (None, None) if case.phi == "linear" else case.functions(torch)
        for t in range(case.steps + 1):
            x, h = [x0], []
            for w in W:
                if branch:
                    h.append(x[-1] @ w.mT)
                    x.append(torch.add(x[-1], branch(h[-1]), alpha=a))
                else:
                    x.append(torch.baddbmm(x[-1], x[-1], w.mT, alpha=a))
            f = x[-1] @ V / case.n
            if t == case.steps:
                break
            delta = (f - y) @ V.mT / (case.samples * case.n)
            for l in range(case.L - 1, -1, -1):
                at_h = back(h[l], delta) if back else delta
                before = torch.baddbmm(delta, at_h, W[l], alpha=a)
                if velocity is None:
                    W[l].baddbmm_(at_h.mT, x[l], alpha=-rate * a)
                else:
                    velocity[l].baddbmm_(at_h.mT, x[l], beta=case.momentum, alpha=rate * a)
                    W[l].sub_(velocity[l])
                delta = before
        return f


class InNumpy(Batched):
    """The same in NumPy."""

    def reset(self) -> None:
        self.parts = [tuple(np.array(z) for z in self.arrays(b)) for b in self.batches]

    def train_batch(self, x0, V, W, y):
        case, a, rate = self.setting.case, self.setting.a, self.setting.rate
        velocity, update = np.zeros_like(W) if case.momentum else None, np.empty_like(W[0])
        branch, back = (None, None) if case.phi == "linear" else case.functions(np)
        for t in range(case.steps + 1):
            x, h = [x0], []
            for w in W:
                h.append(x[-1] @ np.swapaxes(w, 1, 2))
                x.append(x[-1] + a * (branch(h[-1]) if branch else h[-1]))
            f = x[-1] @ V / np.float32(case.n)
            if t == case.steps:
                break
            delta = (f - y) @ np.swapaxes(V, 1, 2) / np.float32(case.samples * case.n)
            for l in range(case.L - 1, -1, -1):
                at_h = back(h[l], delta) if back else delta
                before = delta + a * (at_h @ W[l])
                np.matmul(np.swapaxes(at_h, 1, 2), rate * a * x[l], out=update)
                if velocity is not None:
                    velocity[l] *= np.float32(case.momentum)
                    velocity[l] += update
                W[l] -= update if velocity is None else velocity[l]
                delta = before
        return f


PROGRAMS: dict[str, list[Callable[[Setting], "Simulate | Autograd | Batched"]]] = {
    "simulate": [lambda setting: Simulate(setting, "numpy")],
    "on torch": [lambda setting: Simulate(setting, "torch")],
    "autograd": [Autograd],
    "batched": [lambda setting: Batched(setting, None), lambda setting: Batched(setting, setting.chunk)],
    "numpy": [lambda setting: InNumpy(setting, None), lambda setting: InNumpy(setting, setting.chunk)],
}


def measure(case: Case) -> dict[str, float]:
    """Seconds of every program, the median of interleaved repetitions; all must end with the same outputs."""
    clock = time.process_time if THREADS == 1 else time.perf_counter
    setting = Setting(case)
    programs = [(name, make(setting)) for name, makes in PROGRAMS.items() for make in makes]
    seconds, outputs = [[] for _ in programs], []
    for _ in range(1 + REPETITIONS):
        for (_, program), times in zip(programs, seconds, strict=True):
            program.reset()
            began = clock()
            outputs.append(program.train())
            times.append(clock() - began)
    for other in outputs[1 : len(programs)]:
        np.testing.assert_allclose(other, outputs[0], rtol=0, atol=1e-3 * np.abs(outputs[0]).max())
    medians = [(name, statistics.median(times[1:])) for (name, _), times in zip(programs, seconds, strict=True)]
    return {name: min(time for other, time in medians if other == name) for name in PROGRAMS}


def table() -> None:
    """Print it."""
    import torch

    torch.set_num_threads(THREADS)
    rivals = list(PROGRAMS)[1:]
    print(f"\n{THREADS} thread(s), float32; times of the others as multiples of simulate's, on its default backend (numpy)")
    print(
        f"{'n':>5} {'L':>3} {'seeds':>5} {'T':>4} {'P':>4} {'d_in':>4} {'d_out':>5} {'beta':>4} {'phi':>6} {'simulate':>10}",
        end="",
    )
    print("".join(f" {name:>9}" for name in rivals))
    for case in CASES:
        times = measure(case)
        sizes = f"{case.n:5} {case.L:3} {case.seeds:5} {case.steps:4} {case.samples:4} {case.d_in:4} {case.d_out:5}"
        ratios = "".join(f" {times[name] / times['simulate']:8.1f}x" for name in rivals)
        print(f"{sizes} {case.momentum:4} {case.phi:>6} {times['simulate'] * 1e3:7.1f} ms{ratios}", flush=True)


def test_table():
    """Not a test: under pytest the package checks its types at run time, so another process makes the table."""
    subprocess.run([sys.executable, __file__], check=True)


if __name__ == "__main__":
    table()
