"""Sweeps: independent runs through any executor, kept in a folder, so that one that was killed goes on where it stopped.

A run is a `Job`, a function with its arguments. What it is, not when it was asked for, decides its name: a hash of the
function's name and of the content of its arguments, the same in every process. Its result is written to the folder under that
name, to a temporary file first that is then renamed, so that a file that is there is whole. Two sweeps may share a folder: at
worst they compute a run twice.
"""

from limits.sweeps.folder import DamagedWarning
from limits.sweeps.job import Job
from limits.sweeps.places import WorkerDiedError
from limits.sweeps.sweep import run

__all__ = ["DamagedWarning", "Job", "WorkerDiedError", "run"]
