"""What the tests of sweeps run: functions that leave a line in a log, wait, fail or end their process; and arguments."""

import os
import signal
import sys
import time
from fractions import Fraction

import numpy as np


def logged(log: str, line: object) -> None:
    """Add one line to a file that several processes write; small appends do not mix."""
    with open(log, "a") as file:
        file.write(f"{line}\n")


def draw(seed: int, log: str, wait: float = 0.0):
    """Random numbers, after some time."""
    logged(log, seed)
    time.sleep(wait)
    rng = np.random.default_rng(seed)
    return {"normal": rng.standard_normal((3, seed % 4)), "share": float(rng.random()), "pid": 0}


def deadly(seed: int, log: str, marker: str, deaths: int, by: str = "exit"):
    """`draw`, in the process that comes after `deaths` others."""
    logged(log, seed)
    with open(marker, "a+") as file:
        file.write("x")
        file.flush()
        file.seek(0)
        if len(file.read()) <= deaths:
            os._exit(3) if by == "exit" else os.kill(os.getpid(), signal.SIGKILL)
    return {"seed": seed}


def failing(seed: int, log: str, how: str):
    """Log, and raise."""
    logged(log, seed)
    if how == "exit":
        sys.exit(7)
    raise {"value": ValueError, "pair": PairError}[how](*((seed,) if how == "value" else (seed, "two")))


class PairError(Exception):
    """An exception that cannot be unpickled: it is made of two arguments, and remembers one."""

    def __init__(self, first: object, second: object) -> None:
        super().__init__(f"{first} and {second}")


class Opaque:
    """Something without content."""


def returns(what: str):
    """What cannot be kept."""
    return {
        "list": [1],
        "objects": {"x": np.array([None])},
        "masked": {"x": np.ma.masked_array([1.0, 2.0], [True, False])},
        "opaque": {"x": Opaque()},
        "complex": {"x": 1j},
        "names": {1: 2.0},
    }[what]


def kinds():
    """One of everything that can be kept."""
    return {
        "c": np.arange(6, dtype="int16").reshape(2, 3),
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "strided": np.arange(12.0, dtype="float32")[::5],
        "complex": np.array([1 + 2j, np.nan], "complex64"),
        "big": np.arange(3, dtype=">f8"),
        "texts": np.array(["α", "b"]),
        "scalar": np.array(0.1),
        "empty": np.zeros((0, 4), bool),
        "file": np.float32(0.1),
        "header/..\\odd name": np.int64(2**62),
        "tuple": (1, 2.5, None, "x"),
        "meta": {"a": [True, float("inf")], "b": 0.1},
        "none": None,
    }


def environment(names: list[str]):
    """Variables, and the threads that BLAS has in this process."""
    from threadpoolctl import threadpool_info

    threads = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return {"variables": {name: os.environ.get(name) for name in names}, "threads": threads}


def train(problem, width: int, seed: int):
    """A small network."""
    from limits.finite import simulate

    return {"outputs": simulate(problem, width=width, blocks=4, seed=seed, dtype="float64").outputs}


def sigmoid(z):
    return 0.5 + 0.5 * np.tanh(0.5 * z)


def sigmoid_slope(z):
    return sigmoid(z) * sigmoid(-z)


def arguments() -> dict:
    """Arguments of every kind, each with another key."""
    from limits import optimizers
    from limits.nonlinearity import Nonlinearity
    from limits.optimizers import SGD
    from limits.parametrization import Parametrization
    from limits.problem import Problem, ResNet
    from limits.record import Record

    own, half = Nonlinearity("own", sigmoid, sigmoid_slope), Parametrization("1/2", "1/2")
    x, y = np.array([[1.0, 0.4], [-0.5, 1.2]]), np.array([[1.0], [-0.6]])
    problem = Problem(ResNet(own), half, SGD([0.5, 0.2], steps=2, momentum=0.5), x, y, batches=[[0], [1, 0]], probes=x)
    each = {kind.__name__: kind(lr=0.1, steps=3) for kind in optimizers.OPTIMIZERS.values()}
    atoms = {"none": None, "true": True, "one": 1, "float": 1.0, "text": "1", "bytes": b"1", "third": Fraction(1, 3)}
    arrays = {"f8": x, "f4": x.astype("float32"), "flat": x.ravel(), "transposed": x.T, "big": x.astype(">f8"), "bool": x > 0}
    trees = {
        "set": {"a", "b", "c"},
        "dict": {"a": 1, "b": (2, [3])},
        "tuple": (1, (2, 3)),
        "list": [1, (2, 3)],
        "nested": ((1, 2), 3),
    }
    values = {
        "own": own,
        "named": ResNet("tanh"),
        "uneven": Parametrization(1, ("1/3", 0)),
        "record": Record(),
        "problem": problem,
    }
    return atoms | arrays | trees | values | each


if __name__ == "__main__":  # python sweep_jobs.py keys | draw folder log count wait (workers | mpi)
    from sweep_jobs import draw as its_draw

    from limits.sweeps import Job, run

    if sys.argv[1] == "keys":
        print(*(Job(its_draw, {"x": value}).key for value in arguments().values()), sep="\n")
    else:
        folder, log, count, wait, workers = sys.argv[2:]
        jobs = [Job(its_draw, {"seed": seed, "log": log, "wait": float(wait)}) for seed in range(int(count))]
        if workers == "mpi":
            from mpi4py.futures import MPIPoolExecutor

            with MPIPoolExecutor() as executor:
                run(jobs, folder=folder, executor=executor)
        else:
            run(jobs, folder=folder, workers=int(workers) or None)
