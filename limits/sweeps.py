"""Sweeps: independent runs through any executor, kept in a folder, so that one that was killed goes on where it stopped.

A run is a `Job`, a function with arguments. What it is, not when it was asked, decides its name: a hash of the function's name
and of the content of its arguments, the same in every process and on every machine. Its result is written to the folder under
that name, to a temporary file first and then renamed, so that a file that is there is whole. Two sweeps may share a folder:
at worst they compute a run twice.
"""

import hashlib
import json
import os
import warnings
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from fractions import Fraction
from functools import cached_property
from multiprocessing import get_context
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from limits.nonlinearity import Nonlinearity, nonlinearity
from limits.trajectory import write_atomically
from limits.validation import whole

FORMAT = 1
"""Version of the files and of the hashes; older files are not found again."""
DEATHS = 3
"""Workers that a run may take with it before it is given up."""
TRIED = np.linspace(-6.0, 6.0, 97)
"""Where a function of one's own is evaluated to tell it from others of its name."""
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

Result = dict[str, Any]
Progress = Callable[[int, int], None]


class DamagedWarning(RuntimeWarning):
    """A file in the folder is not a result that was asked for, and is computed anew."""


class WorkerDiedError(RuntimeError):
    """Runs that ended the process they ran in, again and again."""


@dataclass(frozen=True, eq=False)
class Job:
    """One run of a sweep.

    Args:
        function: a function of a module, so that other processes find it; returns a dict of arrays, numbers and texts by name.
        arguments: its keyword arguments: numbers, texts, arrays, None, problems and their parts, and dicts and sequences of them.
            Of a nonlinearity of one's own the name, the kinks, and the values of both functions on [-6, 6] are told apart.

    >>> import math
    >>> Job(math.dist, {"p": (0, 0), "q": (3, 4)}).key == Job(math.dist, {"q": (3, 4), "p": (0, 0)}).key
    True
    """

    function: Callable[..., Any]
    arguments: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The function's name."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @cached_property
    def key(self) -> str:
        """What names the result: 64 hexadecimal digits.

        Raises:
            TypeError: an argument of a kind that has no content to be hashed.
        """
        digest = hashlib.sha256()
        for piece in _pieces((FORMAT, self.name, dict(self.arguments))):
            digest.update(piece)
        return digest.hexdigest()

    def __call__(self) -> Any:
        return self.function(**self.arguments)


def _pieces(value: Any) -> Iterator[bytes]:
    """The content of a value, as bytes that begin with their kind and length, so that no two values give the same ones."""
    if isinstance(value, np.ndarray | np.generic):
        yield from _tagged("array", _array_bytes(np.asarray(value)))
    elif value is None or isinstance(value, bool | str | bytes):
        yield from _tagged(type(value).__name__, repr(value).encode())
    elif isinstance(value, Integral):
        yield from _tagged("int", str(int(value)).encode())
    elif isinstance(value, Fraction):
        yield from _tagged("fraction", str(value).encode())
    elif isinstance(value, Real):
        yield from _tagged("float", float(value).hex().encode())
    else:
        yield from _composed(value)


def _composed(value: Any) -> Iterator[bytes]:
    if isinstance(value, Nonlinearity):
        kind, parts = "nonlinearity", _of_nonlinearity(value)
    elif is_dataclass(value) and not isinstance(value, type):
        kind, parts = type(value).__qualname__, [part for f in fields(value) for part in (f.name, getattr(value, f.name))]
    elif isinstance(value, Mapping):
        kind, parts = "dict", [part for key in sorted(value, key=repr) for part in (key, value[key])]
    elif isinstance(value, Sequence):
        kind, parts = "sequence", list(value)
    else:
        raise TypeError(
            "an argument of a job must be a number, a text, an array, None, a problem or a part of one, or a dict or sequence "
            f"of them, got {type(value).__name__}: {value!r}"
        )
    yield f"{kind}:{len(parts)};".encode()
    for part in parts:
        yield from _pieces(part)


def _tagged(kind: str, content: bytes) -> Iterator[bytes]:
    yield f"{kind}:{len(content)};".encode()
    yield content


def _array_bytes(array: np.ndarray) -> bytes:
    if array.dtype.hasobject:
        raise TypeError(f"an array among the arguments of a job must hold numbers or texts, got {array.dtype}")
    return f"{array.dtype.str}{array.shape};".encode() + np.ascontiguousarray(array).tobytes()


def _of_nonlinearity(phi: Nonlinearity) -> list[Any]:
    try:
        if nonlinearity(phi.name) == phi:
            return [phi.name]
    except ValueError:
        pass
    return [phi.name, phi.kinks, *(np.asarray(f(TRIED), float) for f in (phi.phi, phi.derivative))]


# Results in a folder.


def _write(folder: Path, job: Job, result: Result) -> None:
    arrays = {f"array.{name}": value for name, value in result.items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in result.items() if not isinstance(value, np.ndarray)}
    header = json.dumps({"format": FORMAT, "key": job.key, "job": job.name, "names": list(result), "rest": rest})
    arrays["header"] = np.frombuffer(header.encode(), np.uint8)
    write_atomically(folder / f"{job.key}.npz", lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def _read(folder: Path, job: Job) -> Result | None:
    """The result of a job, if it is there; a file that is something else is said, and left to be written again."""
    path = folder / f"{job.key}.npz"
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            header = json.loads(bytes(file["header"]).decode())
            if header["format"] != FORMAT or header["key"] != job.key:
                raise ValueError("it is the result of another job")
            rest = header["rest"]
            return {name: rest[name] if name in rest else file[f"array.{name}"] for name in header["names"]}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as fault:
        warnings.warn(f"{path} is damaged or foreign ({fault}) and is computed anew", DamagedWarning, stacklevel=4)
        return None


def _checked(job: Job, result: Any) -> Result:
    """A result that can be kept, or a sentence."""
    if not isinstance(result, Mapping) or not all(isinstance(name, str) for name in result):
        raise TypeError(f"{job.name} must return a dict of arrays, numbers and texts by name, got {type(result).__name__}")
    found = {name: value.item() if isinstance(value, np.generic) else value for name, value in result.items()}
    for name, value in found.items():
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            continue
        try:
            found[name] = json.loads(json.dumps(value))
        except (TypeError, ValueError):
            raise TypeError(
                f"{job.name} must return arrays, numbers, texts, and lists and dicts of them, got {type(value).__name__} for "
                f"{name!r}"
            ) from None
    return found


# The runs.


def run(
    jobs: Sequence[Job],
    *,
    folder: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Result]:
    """Results of all jobs, in their order; equal jobs run once.

    Args:
        jobs: what to run; they must not depend on each other.
        folder: where results are kept, and looked for first. Without it a killed sweep begins anew.
        executor: any `concurrent.futures.Executor`: dask's `Client.get_executor()`, mpi4py's `MPIPoolExecutor`, … . If its
            workers die, the sweep ends, and goes on from its folder.
        workers: processes of a pool of our own, each with one BLAS thread unless the environment says otherwise. A worker that
            dies costs the runs in it, which are tried again; three deaths give a run up. As for every pool of processes, a
            script that asks for it needs `if __name__ == "__main__":`.
        progress: called as progress(done, total), first with what the folder holds.

    Raises:
        ValueError, TypeError: both an executor and workers, arguments that cannot be hashed, results that cannot be kept.
        WorkerDiedError: after all others have run, for runs that ended their processes.
        Exception: the first that a job raised, with a note that names the job, after all others have run.

    >>> import math
    >>> def sides(p, q):
    ...     return {"distance": math.dist(p, q)}
    >>> run([Job(sides, {"p": [0.0, 0.0], "q": [3.0, 4.0]})])
    [{'distance': 5.0}]
    """
    if executor is not None and workers is not None:
        raise ValueError("give an executor or workers, not both")
    place = None if folder is None else Path(folder)
    asked = {job.key: job for job in jobs}
    found: dict[str, Result] = {}
    for key, job in asked.items():
        if place is not None and (known := _read(place, job)) is not None:
            found[key] = known
    report = progress or (lambda done, total: None)
    report(len(found), len(asked))
    faults: list[tuple[Job, BaseException]] = []
    for job, outcome in _outcomes([job for key, job in asked.items() if key not in found], executor, workers):
        try:
            found[job.key] = _checked(job, outcome())
        except Exception as fault:
            faults.append((job, fault))
            continue
        if place is not None:
            _write(place, job, found[job.key])
        report(len(found), len(asked))
    if faults:
        _raise(faults)
    return [found[job.key] for job in jobs]


def _raise(faults: list[tuple[Job, BaseException]]) -> None:
    job, fault = faults[0]
    more = "" if len(faults) == 1 else f", and {len(faults) - 1} more failed"
    fault.add_note(f"raised by the job {job.name} ({job.key[:12]}…){more}; all others are finished")
    raise fault


Outcome = Callable[[], Any]


def _outcomes(jobs: list[Job], executor: Executor | None, workers: int | None) -> Iterator[tuple[Job, Outcome]]:
    """Every job with what gives its result or raises, as they finish."""
    if workers is not None:
        yield from _in_pool(deque(jobs), whole(workers, "workers"))
    elif executor is not None:
        yield from _through(executor, jobs)
    else:
        yield from ((job, job) for job in jobs)


def _through(executor: Executor, jobs: list[Job]) -> Iterator[tuple[Job, Outcome]]:
    waiting: dict[Future, Job] = {executor.submit(_called, job.function, dict(job.arguments)): job for job in jobs}
    try:
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                if isinstance(fault := future.exception(), BrokenExecutor):
                    raise WorkerDiedError(
                        f"a worker of the executor died ({fault}): start the sweep again, and it goes on from its folder"
                    ) from fault
                yield waiting.pop(future), future.result
    finally:
        for future in waiting:
            future.cancel()


def _called(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    return function(**arguments)


def _in_pool(jobs: deque[Job], workers: int) -> Iterator[tuple[Job, Outcome]]:
    """Jobs through processes of our own. Those that ran when a process died are tried again, each in a process to itself."""
    deaths: Counter[str] = Counter()
    suspects: deque[Job] = deque()
    with _one_thread_each():
        while jobs or suspects:
            alone = bool(suspects)
            queue, most = (suspects, 1) if alone else (jobs, workers)
            for job, outcome in _until_death(queue, most):
                if outcome is not None:
                    yield job, outcome
                    continue
                deaths[job.key] += alone or workers == 1
                if deaths[job.key] < DEATHS:
                    suspects.append(job)
                else:
                    yield job, _died(job)


def _died(job: Job) -> Outcome:
    def raises() -> Any:
        raise WorkerDiedError(
            f"the job {job.name} ended its process {DEATHS} times: it may take more memory than there is, or crash; in a script, "
            'the sweep must be under `if __name__ == "__main__":`'
        )

    return raises


def _until_death(queue: deque[Job], workers: int) -> Iterator[tuple[Job, Outcome | None]]:
    """Jobs from the queue through one pool, at most one for every worker at a time; None for those that a death took."""
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    running: dict[Future, Job] = {}
    broken = False
    try:
        while running or (queue and not broken):
            while queue and len(running) < workers and not broken:
                job = queue.popleft()
                try:
                    running[pool.submit(_called, job.function, dict(job.arguments))] = job
                except BrokenExecutor:
                    queue.appendleft(job)
                    broken = True
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                dead = isinstance(future.exception(), BrokenExecutor)
                broken |= dead
                yield job, None if dead else future.result
    finally:
        pool.shutdown(wait=not running, cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """One BLAS thread in every process started meanwhile, unless the environment says something: else they wait for each other.

    It must be in the environment before a process starts, because numpy reads it when it is imported.
    """
    unset = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(unset, "1"))
    try:
        yield
    finally:
        for name in unset:
            os.environ.pop(name, None)
