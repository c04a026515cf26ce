"""A catalogue of problems: a new model, loss or optimizer is tested everywhere by one more line here.

Shapes and types of the package are checked at run time while tests run (`runtime_checks`), so they are switched on before
the first import of `limits`. Matrices here are small: linear algebra in one thread is fastest, and several times faster
where processors are shared.
"""

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import runtime_checks
from threadpoolctl import threadpool_limits

collect_ignore = ["benchmarks/compare_mup.py"]  # runs in an environment of its own


def modules() -> list[str]:
    """Names of all modules of the package, without importing them."""
    root = Path(find_spec("limits").submodule_search_locations[0])
    files = [f.relative_to(root).with_suffix("").parts for f in root.rglob("*.py") if not f.stem.startswith("__")]
    return [f"limits.{'.'.join(parts)}" for parts in files]


assert not set(modules()) & set(sys.modules), "limits was imported before its run-time checks were switched on"
runtime_checks.install(modules())

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from limits.optimizers import SGD  # noqa: E402
from limits.parametrization import DEPTH_MUP, Parametrization  # noqa: E402
from limits.problem import Problem, ResNet  # noqa: E402

XI = np.array([[1.0, 0.4], [-0.5, 1.2], [0.8, -0.9]])
XI3 = np.array([[1.0, 0.4, 0.3], [-0.5, 1.2, -0.7]])
Y = np.array([[1.0], [-0.6], [0.3]])
Y2 = np.array([[1.0, -0.5], [-0.6, 0.8], [0.3, 0.2]])
BOTH = SGD(lr=[0.6, 0.3, 0.5, 0.2], steps=4, input_lr=0.3, output_lr=[0.2, 0.4, 0.1, 0.3], momentum=0.5)

CATALOGUE = {
    "single": Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=4), [[1.0]], [[1.0]]),
    "inputs": Problem(ResNet(multiplier=0.8), DEPTH_MUP, SGD(0.7, steps=3), XI, Y, probes=[[0.2, 0.1]]),
    "outputs": Problem(ResNet(multiplier=1.1), DEPTH_MUP, SGD(0.5, steps=3), XI3, Y2[:2], probes=[[0.1, 0.2, 1.5]]),
    "batches": Problem(ResNet(multiplier=0.9), DEPTH_MUP, SGD(0.6, steps=4), XI, Y2, batches=[[0], [1, 1, 2], [2, 0], [0, 0]]),
    "schedule": Problem(ResNet(multiplier=0.7), DEPTH_MUP, SGD([0.2, 0.9, 0.0, 0.5, 0.3], steps=5), XI[:2], Y[:2]),
    "momentum": Problem(ResNet(multiplier=0.9), DEPTH_MUP, SGD([0.4, 0.2, 0.5], steps=3, momentum=0.8), XI[:2], Y2[:2]),
    "input": Problem(ResNet(), DEPTH_MUP, SGD(0.5, steps=3, input_lr=0.6), XI, Y),
    "output": Problem(ResNet(), DEPTH_MUP, SGD(0.5, steps=3, output_lr=[0.4, 0.1, 0.5]), XI[:2], Y2[:2]),
    "both": Problem(
        ResNet(multiplier=0.8), DEPTH_MUP, BOTH, XI3, Y2[:2], batches=[[0], [1], [1, 0], [0]], probes=[[0.5, 0.1, 0.9]]
    ),
    "logistic": Problem(ResNet(), DEPTH_MUP, SGD(1.5, steps=3), XI, np.sign(Y), loss="logistic", probes=[[1.0, 1.0]]),
    "classes": Problem(ResNet(), DEPTH_MUP, SGD(1.2, steps=3), XI, [2, 0, 1], loss="cross_entropy"),
}


def pytest_collection_modifyitems(items):
    """Examples of `limits.pytorch` are skipped where there is no PyTorch."""
    if find_spec("torch") is None:
        for item in items:
            if "limits/pytorch/" in item.path.as_posix():
                item.add_marker(pytest.mark.skip(reason="no PyTorch"))


def pytest_runtest_setup():
    runtime_checks.next_test()


def rewritten(problem: Problem) -> tuple[Problem, np.ndarray]:
    """The same problem with its samples in another order and its inputs turned in one dimension more, and that order."""
    rng = np.random.default_rng(8)
    order, d = rng.permutation(problem.n_samples), problem.d_in
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    batches = None if problem.batches is None else [np.argsort(order)[b][::-1] for b in problem.batches]

    def moved(x):
        return None if x is None else np.pad(x @ turn, ((0, 0), (0, 1))) * np.sqrt((d + 1) / d)

    same = replace(
        problem,
        inputs=moved(problem.inputs[order]),
        targets=problem.targets[order],
        batches=batches,
        probes=moved(problem.probes),
    )
    return same, order


def at(problem: Problem, alpha, gamma) -> Problem:
    """The same problem at other exponents."""
    return replace(problem, parametrization=Parametrization(alpha, gamma))


@pytest.fixture(params=list(CATALOGUE))
def problem(request) -> Problem:
    return CATALOGUE[request.param]


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield


@pytest.fixture
def torch():
    """PyTorch with one thread: more of them wait for each other where other programs run."""
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240229)
