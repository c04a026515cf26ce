"""Ensembles under any optimizer against the same training in PyTorch: a table of times, ratios and shares of the machine's peaks.

    python tests/benchmarks/bench_dense.py [threads]       (or `make bench`)

Every program trains the same networks, relu blocks of one layer ("post") or two ("mlp"), from the same numbers, in float32;
drawing them is not timed. The rivals are

* loop: one network after the other, a module of parameters, `loss.backward()` and `torch.optim`;
* bmm: all networks side by side in `torch.baddbmm`, autograd, `torch.optim`;
* vmap: `torch.func.vmap` of `torch.func.grad` of one network's loss, `torch.optim`;
* compile: the loss of "bmm" through `torch.compile`, where there is a compiler for it.

Optimizers are tried as they come and fused, ensembles whole and as many at a time as fit into cache; the fastest counts. Times
are those of a step, medians over interleaved repetitions: processor time with one thread, wall time with more. Shares are of the
fastest product of two large matrices and of the fastest sum of two large arrays in the same process, both repeated among the
programs: the first counts three products a layer, the second the least that must pass where weights do not stay in cache
(weights read by both passes, weights and states read and written by the step).
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

THREADS = int(sys.argv[1]) if __name__ == "__main__" and len(sys.argv) > 1 else 1
for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(variable, str(THREADS))

import numpy as np  # noqa: E402

from limits.finite.dense import DenseTraining  # noqa: E402
from limits.finite.ensemble import side_by_side  # noqa: E402
from limits.finite.rules import states_of  # noqa: E402
from limits.library import open_library  # noqa: E402
from limits.optimizers import SGD, Adam  # noqa: E402
from limits.parametrization import COMPLETEP, DEPTH_MUP  # noqa: E402
from limits.problem import Problem, ResNet  # noqa: E402

REPETITIONS, STEPS, RATE = 5, 3, 0.05
PEAK_SIZE, TRIAD_SIZE = 1536, 2**24


@dataclass(frozen=True)
class Case:
    """Sizes of a comparison: width, blocks, members, samples, layers of a block, and the optimizer."""

    n: int
    L: int
    members: int
    samples: int
    k: int
    kind: type

    @property
    def problem(self) -> Problem:
        rng = np.random.default_rng(0)
        model, parametrization = (ResNet("relu"), DEPTH_MUP) if self.k == 1 else (ResNet("relu", 2, form="mlp"), COMPLETEP)
        x, y = rng.standard_normal((self.samples, 10)), rng.standard_normal((self.samples, 1))
        return Problem(model, parametrization, self.kind(RATE, STEPS), x, y)

    @property
    def flops(self) -> float:
        """Of a step."""
        return 3 * 2 * self.samples * self.numbers

    @property
    def bytes(self) -> float:
        """Of a step."""
        return 4 * self.numbers * (2 + 2 * (1 + states_of(self.kind(RATE, STEPS))))

    @property
    def numbers(self) -> int:
        return self.members * self.L * self.k * self.n**2


SIZES = [(64, 16, 64, 64), (64, 16, 64, 8), (1024, 32, 1, 64), (1024, 32, 1, 8)]
CASES = [Case(*sizes, k, kind) for sizes in SIZES for k in (1, 2) for kind in (SGD, Adam)]


class Setting:
    """The numbers of a case: U (S, n, d_in), V (S, n, 1), and layer by layer W (S, L, n, n)."""

    def __init__(self, case: Case) -> None:
        rng, S, n = np.random.default_rng(0), case.members, case.n
        self.case, self.problem = case, case.problem
        shapes = [(S, n, 10), (S, n, 1), *[(S, case.L, n, n)] * case.k]
        self.U, self.V, *self.W = (rng.standard_normal(shape, dtype=np.float32) for shape in shapes)
        self.W = [w / np.float32(n**0.5) for w in self.W]
        self.xi, self.y = (z.astype(np.float32) for z in (self.problem.inputs / 10**0.5, self.problem.targets))
        alpha, gamma = (float(z) for z in (self.problem.parametrization.alpha, self.problem.parametrization.gamma))
        self.c = case.L**-alpha
        self.rate = RATE * (case.L ** (alpha - gamma) if case.kind is SGD else case.L**-gamma / n)
        self.eps = 1e-8 / (n * case.L**alpha)

    def batches(self, size: int) -> list[slice]:
        return [slice(s, min(s + size, self.case.members)) for s in range(0, self.case.members, size)]


class Ours:
    """`simulate` and `grid` after their draw."""

    def __init__(self, setting: Setting, backend: str) -> None:
        case = setting.case
        self.setting, self.library = setting, open_library(backend, None, "float32")
        self.batches = setting.batches(side_by_side(self.library, case.n, case.L))

    def reset(self) -> None:
        s, put = self.setting, self.library.put
        self.trainings = []
        for b in self.batches:
            ends = [put(np.swapaxes(z[b], 1, 2).copy("C")) for z in (s.U, s.V)]
            weights = [put(np.swapaxes(w[b], 0, 1).copy("C")) for w in s.W]
            ones = np.ones(b.stop - b.start)
            watch: Any = lambda side, t: None  # noqa: E731
            self.trainings.append(DenseTraining(s.problem, self.library, *ends, weights, lrs=ones, multipliers=ones, watch=watch))

    def step(self, t: int) -> None:
        for training in self.trainings:
            training.evaluate(t)

    def outputs(self) -> np.ndarray:
        return np.concatenate([self.library.get(training.evaluate(STEPS)) for training in self.trainings])


def forward(torch: Any, setting: Setting, x: Any, W: list[Any], mT: bool = True) -> Any:
    """x^L; W layer by layer, block by block."""
    for l in range(setting.case.L):
        y = torch.relu(x @ W[0][l].mT)
        y = y - y.mean(-1, keepdim=True) if setting.case.k == 1 else y @ W[1][l].mT
        x = torch.add(x, y, alpha=setting.c)
    return x


class Rival:
    """A program in PyTorch; `fused` is how its optimizer steps."""

    def __init__(self, setting: Setting, fused: bool, size: int | None = None) -> None:
        self.setting, self.fused, self.parts = setting, fused, setting.batches(size or setting.case.members)

    def optimizer(self, parameters: list[Any]) -> Any:
        import torch

        if self.setting.case.kind is SGD:
            return torch.optim.SGD(parameters, lr=self.setting.rate, fused=self.fused)
        return torch.optim.Adam(parameters, lr=self.setting.rate, eps=self.setting.eps, fused=self.fused)


class Loop(Rival):
    """One network after the other."""

    def reset(self) -> None:
        import torch

        setting = self.setting
        self.y, self.members = torch.tensor(setting.y), []
        for s in range(setting.case.members):
            x, V = torch.tensor(setting.xi @ setting.U[s].T), torch.tensor(setting.V[s])
            W = [[torch.nn.Parameter(torch.tensor(block)) for block in w[s]] for w in setting.W]
            self.members.append((x, V, W, self.optimizer([p for layer in W for p in layer])))

    def step(self, t: int) -> None:
        for x, V, W, optimizer in self.members:
            loss = ((self.output(x, V, W) - self.y) ** 2).sum(-1).mean() / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def output(self, x: Any, V: Any, W: list[Any]) -> Any:
        import torch

        return forward(torch, self.setting, x, W) @ V / self.setting.case.n

    def outputs(self) -> np.ndarray:
        return np.stack([self.output(x, V, W).detach().numpy() for x, V, W, _ in self.members])


class Batched(Rival):
    """All networks side by side in batched products."""

    def reset(self) -> None:
        import torch

        setting = self.setting
        self.y, self.groups = torch.tensor(setting.y), []
        for b in self.parts:
            x, V = torch.tensor(setting.xi @ np.swapaxes(setting.U[b], 1, 2)), torch.tensor(setting.V[b])
            W = [[torch.nn.Parameter(torch.tensor(w[b, l])) for l in range(setting.case.L)] for w in setting.W]
            self.groups.append((x, V, W, self.optimizer([p for layer in W for p in layer])))

    def loss(self, x: Any, V: Any, W: list[Any]) -> Any:
        import torch

        f = forward(torch, self.setting, x, W) @ V / self.setting.case.n
        return ((f - self.y) ** 2).sum(-1).mean(-1).sum() / 2

    def step(self, t: int) -> None:
        for x, V, W, optimizer in self.groups:
            optimizer.zero_grad()
            self.loss(x, V, W).backward()
            optimizer.step()

    def outputs(self) -> np.ndarray:
        import torch

        with torch.no_grad():
            found = [forward(torch, self.setting, x, W) @ V / self.setting.case.n for x, V, W, _ in self.groups]
        return np.concatenate([f.numpy() for f in found])


class Mapped(Batched):
    """`vmap` of `grad`."""

    def step(self, t: int) -> None:
        import torch

        for x, V, W, optimizer in self.groups:
            found = torch.func.vmap(torch.func.grad(self.loss, argnums=2))(x, V, [[p.detach() for p in layer] for layer in W])
            for layer, gradients in zip(W, found, strict=True):
                for p, gradient in zip(layer, gradients, strict=True):
                    p.grad = gradient
            optimizer.step()


class Compiled(Batched):
    """The loss through `torch.compile`."""

    def __init__(self, setting: Setting, fused: bool, size: int | None = None) -> None:
        import torch

        super().__init__(setting, fused, size)
        torch.compiler.reset()
        self.loss = torch.compile(self.loss)


def programs(setting: Setting) -> dict[str, list[Callable[[], Any]]]:
    """By name, in the ways in which they may be fastest."""
    chunk = max(1, min(setting.case.members, 2**16 // setting.case.n**2))
    sizes = {setting.case.members, chunk}

    def ways(kind: type) -> list[Callable[[], Any]]:
        return [lambda f=f, size=size: kind(setting, f, size) for f in (False, True) for size in sizes]

    found: dict[str, list[Callable[[], Any]]] = {
        "limits": [lambda: Ours(setting, "numpy")],
        "on torch": [lambda: Ours(setting, "torch")],
        "loop": [lambda f=f: Loop(setting, f) for f in (False, True)],
        "bmm": ways(Batched),
        "vmap": ways(Mapped),
    }
    compiled = [lambda size=size: Compiled(setting, True, size) for size in sizes]
    return found | ({"compile": compiled} if shutil.which("g++") else {})


class Machine:
    """What the machine can do: flops and bytes a second."""

    def __init__(self) -> None:
        import torch

        rng = np.random.default_rng(0)
        self.a, self.b = (rng.standard_normal((PEAK_SIZE, PEAK_SIZE), dtype=np.float32) for _ in range(2))
        self.x, self.y, self.z = (torch.ones(TRIAD_SIZE) for _ in range(3))
        self.flops = self.bytes = 0.0

    def measure(self) -> None:
        import torch

        self.flops = max(self.flops, 2 * PEAK_SIZE**3 / _timed(lambda: self.a @ self.b))
        triad = _timed(lambda: torch.add(self.x, self.y, alpha=0.5, out=self.z))
        self.bytes = max(self.bytes, 12 * TRIAD_SIZE / triad)


def _timed(run: Callable[[], Any]) -> float:
    clock = time.process_time if THREADS == 1 else time.perf_counter
    began = clock()
    run()
    return clock() - began


def measure(case: Case, machine: Machine) -> dict[str, float]:
    """Seconds of a step of every program; all must end with the same outputs."""
    setting, medians, ours = Setting(case), {}, None
    made = [(name, make()) for name, makes in programs(setting).items() for make in makes]
    seconds: list[list[float]] = [[] for _ in made]
    for repetition in range(1 + REPETITIONS):
        machine.measure()
        for (name, program), times in zip(made, seconds, strict=True):
            program.reset()
            times += [_timed(lambda: program.step(t)) for t in range(STEPS)]  # noqa: B023
            if repetition == 0:
                found = program.outputs()
                ours = found if ours is None else ours
                np.testing.assert_allclose(found, ours, rtol=0, atol=5e-3 * np.abs(ours).max(), err_msg=name)
    for (name, _), times in zip(made, seconds, strict=True):
        medians[name] = min(medians.get(name, np.inf), statistics.median(times[STEPS:]))
    return medians


def table() -> None:
    """Print it."""
    import torch

    torch.set_num_threads(THREADS)
    warnings.filterwarnings("ignore")
    machine = Machine()
    print(f"\n{THREADS} thread(s), float32; a step of limits (numpy), and the others' as multiples of it", flush=True)
    if not shutil.which("g++"):
        print("no C++ compiler here: torch.compile is left out")
    names = ["on torch", "loop", "bmm", "vmap", *(["compile"] if shutil.which("g++") else [])]
    print(f"{'n':>5} {'L':>3} {'nets':>5} {'P':>3} {'k':>2} {'':>5} {'limits':>10} {'products':>9} {'memory':>7}", end="")
    print("".join(f" {name:>9}" for name in names))
    for case in CASES:
        times = measure(case, machine)
        ours = times["limits"]
        shares = f"{case.flops / ours / machine.flops:9.0%} {case.bytes / ours / machine.bytes:7.0%}"
        sizes = f"{case.n:5} {case.L:3} {case.members:5} {case.samples:3} {case.k:2} {case.kind.__name__:>5}"
        print(f"{sizes} {ours * 1e3:7.1f} ms {shares}" + "".join(f" {times[n] / ours:8.2f}x" for n in names), flush=True)
    print(f"peaks: products {machine.flops / 1e9:.0f} Gflop/s, memory {machine.bytes / 1e9:.1f} GB/s")


def test_table():
    """Not a test: under pytest the package checks its types at run time, so another process makes the table."""
    subprocess.run([sys.executable, __file__], check=True)


if __name__ == "__main__":
    table()
