"""Where jobs run: in this process, or through an executor; a pool of our own is in `limits.sweeps.pool`."""

from collections.abc import Generator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from itertools import islice
from queue import SimpleQueue

from limits.sweeps.job import Job, Result, attempt, compute

MOST = 4096
"""Jobs that an executor holds at once: more than run anywhere, and few enough to fit its memory with their arguments."""

Jobs = Mapping[str, Job]
"""By key."""
Outcome = Result | BaseException
"""What a job returned, or what it raised."""
Outcomes = Generator[tuple[str, Outcome], None, None]
"""By key, as they come."""


class WorkerDiedError(RuntimeError):
    """Jobs whose processes ended before they did.

    >>> from limits.sweeps import run
    >>> class Dying(Executor):
    ...     def submit(self, *asked): raise BrokenExecutor("out of memory")
    >>> try:
    ...     run([Job(dict, {"seed": 0})], executor=Dying())
    ... except WorkerDiedError as why:
    ...     print(str(why).partition(": ")[0])
    the executor lost its workers (BrokenExecutor('out of memory'))
    """


def here(jobs: Jobs) -> Outcomes:
    """The outcomes of jobs, one after the other in this process."""
    for key, job in jobs.items():
        try:
            outcome = compute(job)
        except Exception as error:
            outcome = error
        yield key, outcome


def through(executor: Executor, jobs: Jobs) -> Outcomes:
    """The outcomes of jobs as an executor finishes them; what it has not begun is cancelled if this is closed early."""
    rest, running = iter(jobs.items()), dict[Future, str]()
    finished: SimpleQueue[Future] = SimpleQueue()
    try:
        while True:
            for key, job in islice(rest, MOST - len(running)):
                future = _submitted(executor, job)
                running[future] = key
                future.add_done_callback(finished.put)
            if not running:
                return
            future = finished.get()
            yield running.pop(future), _outcome(future)
    finally:
        for future in running:
            future.cancel()


def _submitted(executor: Executor, job: Job) -> Future:
    try:
        return executor.submit(attempt, job)
    except BrokenExecutor as error:
        broken: Future = Future()
        broken.set_exception(error)
        return broken


def _outcome(future: Future) -> Outcome:
    """What a finished future holds; an executor that lost its workers breaks its futures or cancels them."""
    try:
        error = future.exception()
    except CancelledError as cancelled:
        return cancelled
    return future.result() if error is None else error


def lost(outcome: object) -> bool:
    """Whether a job has no outcome because its executor broke."""
    return isinstance(outcome, BrokenExecutor | CancelledError)
