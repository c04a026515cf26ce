"""Run jobs, wherever, and keep what they return."""

import os
from collections.abc import Iterable
from concurrent.futures import Executor
from contextlib import closing
from typing import Any

from limits.sweeps.folder import Folder
from limits.sweeps.job import Job, Result
from limits.sweeps.places import Jobs, Outcomes, WorkerDiedError, here, lost, through
from limits.sweeps.pool import pooled
from limits.validation import Progress, expect, reporting, whole


def run(
    jobs: Iterable[Job],
    *,
    folder: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Result]:
    """The results of independent jobs, in their order; equal jobs run once.

    A job that raises leaves the others standing: they are finished and kept first. After Ctrl-C, or a kill, what was finished is
    in the folder, and the same call goes on from there.

    Args:
        jobs: what to run.
        folder: where results are kept, one file each, and looked for first; several sweeps may share it. Without it, a sweep
            that was stopped begins anew.
        executor: any `concurrent.futures.Executor`: a pool of threads or processes, dask's `Client.get_executor()`, or mpi4py's
            `MPIPoolExecutor` in a script that `mpiexec -n 16 python -m mpi4py.futures script.py` runs.
        workers: processes of our own instead, each with one BLAS thread unless the environment says otherwise. One that dies
            costs its own job only, which is tried again, and given up after three deaths. As with every pool of processes, a
            script that asks for it needs `if __name__ == "__main__":`.
        progress: called as progress(done, total) after every job, and first with what was in the folder.

    Raises:
        ValueError, TypeError: both an executor and workers, something that is no job, arguments that have no content to compare.
        OSError: a folder that cannot be made or written to.
        WorkerDiedError: a job ended its process three times, or an executor lost its workers.
        Exception: the first that a job raised, in order of the jobs, with a note that names the job.

    >>> import statistics
    >>> from limits.sweeps import Job, run
    >>> jobs = [Job(dict, {"mean": statistics.fmean(x)}) for x in ([1.0, 2.0], [3.0, 5.0])]
    >>> run(jobs)
    [{'mean': 1.5}, {'mean': 4.0}]
    """
    asked, report = checked_jobs(jobs), reporting(progress)
    if executor is not None and workers is not None:
        raise ValueError("a sweep runs through an executor or with workers of its own, got both: leave one out")
    place, by_key = Folder.of(folder), dict(asked)
    results = {key: found for key in by_key if (found := place.read(key)) is not None}
    rest, failed = {key: job for key, job in by_key.items() if key not in results}, dict[str, BaseException]()
    if rest:
        place.refuse_unless_writable()
    report(len(results), len(by_key))
    with closing(_outcomes(rest, executor, workers)) as outcomes:
        for key, outcome in outcomes:
            if isinstance(outcome, BaseException):
                failed[key] = outcome
            else:
                place.write(key, by_key[key], outcome)
                results[key] = outcome
            report(len(results) + len(failed), len(by_key))
    if failed:
        raise _fault(by_key, failed, place)
    return [dict(results[key]) for key, _ in asked]


def checked_jobs(jobs: Any) -> list[tuple[str, Job]]:
    """Jobs with their keys, or a sentence."""
    if isinstance(jobs, Job) or not isinstance(jobs, Iterable):
        raise TypeError(f"jobs must be a sequence of Job, got {jobs!r}: write [Job(function, arguments), …]")
    asked = list(jobs)
    for job in asked:
        expect(job, Job, "every job")
    return [(job.key, job) for job in asked]


def _outcomes(jobs: Jobs, executor: Executor | None, workers: int | None) -> Outcomes:
    if workers is not None:
        return pooled(jobs, whole(workers, "workers"))
    if executor is not None:
        expect(executor, Executor, "executor")
        return through(executor, jobs)
    return here(jobs)


def _fault(jobs: Jobs, failed: dict[str, BaseException], place: Folder) -> BaseException:
    """What to raise when all is finished that can be: that the executor broke, or else the first fault, with its job."""
    finished = f"{len(jobs) - len(failed)} of {len(jobs)} jobs are finished"
    kept = "" if place.path is None else f" and kept in {place.path}"
    for fault in failed.values():
        if lost(fault):
            again = "name a folder, and what is finished is kept" if place.path is None else "the same call goes on from there"
            error = WorkerDiedError(f"the executor lost its workers ({fault!r}): {finished}{kept}; {again}")
            error.__cause__ = fault
            return error
    key = next(key for key in jobs if key in failed)
    more = "" if len(failed) == 1 else f"; {len(failed)} jobs failed"
    failed[key].add_note(f"raised by the job {jobs[key]!r}{more}; {finished}{kept}")
    return failed[key]
