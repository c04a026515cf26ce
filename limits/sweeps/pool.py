"""Processes of our own, each with a pipe of its own.

The pool of `concurrent.futures` gives up all its jobs when one process dies, does not know which one did it, and leaves its
processes behind when it is killed itself. Here a process that dies closes its pipe: its job alone is lost, is known, and is
tried again in a new process. And a process whose parent dies ends with it.
"""

import os
import pickle
import signal
import traceback
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Thread

from limits.sweeps.job import Job, compute, travelling
from limits.sweeps.places import Jobs, Outcome, Outcomes, WorkerDiedError

DEATHS = 3
"""Processes that a job may take with it before it is given up."""
PATIENCE = 10.0
"""Seconds that a process has to end by itself."""
THREADS = (
    *("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"),
    *("BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
)
READY = b""


@dataclass(eq=False)
class Worker:
    """A process, our end of its pipe, and the key of the job it is at."""

    process: SpawnProcess
    pipe: Connection
    key: str | None = None
    ready: bool = False

    def hear(self) -> bytes | None:
        """What it says: READY once, then pickled outcomes; None if it has died."""
        try:
            return self.pipe.recv_bytes()
        except (EOFError, OSError):
            self.end()
            return None

    def end(self) -> None:
        """End it: at once if it is at a job, else when it has put its things away."""
        self.pipe.close()
        if self.key is not None:
            self.process.kill()
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def pooled(jobs: Jobs, workers: int) -> Outcomes:
    """The outcomes of jobs as processes of our own finish them; those processes are ended if this is closed early.

    A worker has one job at a time, and gets the next when the outcome was taken: after a kill, no more jobs than workers are
    begun without being known to be finished.

    Raises:
        WorkerDiedError: processes cannot be started.
    """
    waiting, deaths = deque(jobs), Counter[str]()
    crew: list[Worker] = []
    try:
        for _ in range(min(workers, len(jobs))):
            crew.append(started())
        while waiting or any(worker.key for worker in crew):
            said = set(wait([worker.pipe for worker in crew]))
            for place, worker in enumerate(crew):
                if worker.pipe not in said:
                    continue
                message, key = worker.hear(), worker.key
                if message is None:
                    crew[place] = _replaced(worker)
                    if key is not None:
                        yield from _mourned(key, jobs[key], worker, waiting, deaths)
                    continue
                worker.key, worker.ready = None, True
                if key is not None:
                    yield key, _read(message)
                yield from _give(worker, jobs, waiting)
    finally:
        for worker in crew:
            worker.end()


def _mourned(key: str, job: Job, worker: Worker, waiting: deque[str], deaths: Counter[str]) -> Outcomes:
    """Put a job whose worker died at the end of the queue, or give it up."""
    deaths[key] += 1
    if deaths[key] < DEATHS:
        waiting.append(key)
        return
    yield (
        key,
        WorkerDiedError(
            f"{DEATHS} processes ended while they were at the job {job!r}, the last with exit code {worker.process.exitcode}: it "
            "may need more memory than there is, or crash"
        ),
    )


def _give(worker: Worker, jobs: Jobs, waiting: deque[str]) -> Outcomes:
    """Send the next job; those that cannot be sent have that for an outcome."""
    while waiting and worker.key is None:
        key = waiting.popleft()
        try:
            message = pickle.dumps(jobs[key])
        except Exception as error:
            yield (
                key,
                TypeError(f"the arguments of a job must be such that they can be sent to another process (pickled): {error}"),
            )
            continue
        worker.key = key
        with suppress(OSError):  # it has died, and will be found dead
            worker.pipe.send_bytes(message)


def _read(message: bytes) -> Outcome:
    try:
        return pickle.loads(message)
    except Exception as error:
        return RuntimeError(f"the outcome of a job could not be read from its process: {error}")


def _replaced(worker: Worker) -> Worker:
    if not worker.ready:
        raise WorkerDiedError(
            f"a worker process could not start (exit code {worker.process.exitcode}): a script must call what takes workers=… "
            'under `if __name__ == "__main__":`, and in a notebook or at a prompt the function must be one of a module'
        )
    return started()


def started() -> Worker:
    """A new process, and our end of its pipe."""
    context = get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=work, args=(its,), name="limits-sweep")
    try:
        with one_blas_thread():
            process.start()
    finally:
        its.close()  # or the pipe would stay open when the process dies
    return Worker(process, ours)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Processes that are started here use one BLAS thread, unless the environment says a number.

    By default each would use as many as there are processors, and they would wait for each other. BLAS reads the environment
    when numpy is first imported, which in a new process is before any of our code runs: it must be there when it starts.
    """
    if any(name in os.environ for name in THREADS):
        yield
        return
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name in THREADS:
            os.environ.pop(name, None)


def work(pipe: Connection) -> None:
    """The life of a worker process: jobs from the pipe, and their outcomes back."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at a terminal goes to all processes: the parent decides
    Thread(target=_leave_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):
        pipe.send_bytes(READY)
        while True:
            pipe.send_bytes(_done(pipe.recv_bytes()))


def _done(message: bytes) -> bytes:
    try:
        return pickle.dumps(compute(pickle.loads(message)))
    except Exception as error:
        found = travelling(error)
        found.add_note(f"in a worker process:\n{''.join(traceback.format_exception(error))}")
        return pickle.dumps(found)


def _leave_with_parent() -> None:
    if (parent := parent_process()) is not None:
        wait([parent.sentinel])
        os._exit(1)
