"""Results in a folder: one file for each, named by the key of its job, and whole or not there."""

import json
import os
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from limits.sweeps.content import content
from limits.sweeps.job import FORMAT, Job, Result
from limits.trajectory import write_atomically


class DamagedWarning(UserWarning):
    """A file in the folder is not the result that its name says, and is computed anew.

    >>> from limits.sweeps import run
    >>> with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as seen:
    ...     warnings.simplefilter("always")
    ...     for _ in range(2):  # damaged in between
    ...         answer = run([Job(dict, {"seed": 0})], folder=folder)
    ...         _ = [path.write_bytes(b"half a fi") for path in Path(folder).iterdir()]
    >>> answer, seen[0].category.__name__
    ([{'seed': 0}], 'DamagedWarning')
    """


@dataclass(frozen=True)
class Folder:
    """Results of jobs in `path`; without a path, nothing is kept and nothing found.

    Raises:
        OSError: `path` is a file, or cannot be made.
    """

    path: Path | None

    def __post_init__(self) -> None:
        if self.path is None:
            return
        try:
            if self.path.exists() and not self.path.is_dir():
                raise NotADirectoryError(f"results of a sweep are kept in a folder, got the file {self.path}: name a folder")
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise self._refused(fault) if fault.strerror else fault from None

    @classmethod
    def of(cls, path: object) -> "Folder":
        """The folder that a user names, or raise a sentence."""
        if path is not None and not isinstance(path, str | os.PathLike):
            raise TypeError(f"folder must be the path of a folder, or None, got {path!r}")
        if path is not None and (not str(path) or "\0" in str(path)):
            raise ValueError(f"folder must be the path of a folder, or None, got {path!r}")
        return cls(None if path is None else Path(path))

    def refuse_unless_writable(self) -> None:
        """Raise a sentence unless files can be made in the folder, before anything long is begun."""
        if self.path is not None:
            try:
                tempfile.TemporaryFile(dir=self.path).close()
            except OSError as fault:
                raise self._refused(fault) from None

    def _refused(self, fault: OSError) -> OSError:
        return type(fault)(f"results of a sweep are kept in a folder that can be written to, got {self.path} ({fault.strerror})")

    def write(self, key: str, job: Job, result: Result) -> None:
        """Keep a result: when this returns, it is on the disk, and neither a crash nor another sweep can spoil it."""
        if self.path is None:
            return
        arrays, rest = _parted(result)
        header = {"format": FORMAT, "key": key, "job": repr(job), "checksum": content(result).hex(), "result": rest}

        def write(file: BinaryIO) -> None:
            np.savez(file, *arrays, header=np.array(json.dumps(header)))
            file.flush()
            os.fsync(file.fileno())  # or a crash of the machine could leave the name of a file without its content

        write_atomically(self.path / f"{key}.npz", write)

    def read(self, key: str) -> Result | None:
        """The result under that key, or None if there is none, with a warning if there is something else."""
        if self.path is None or not (path := self.path / f"{key}.npz").exists():
            return None
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return _verified(key, arrays)
        except (Exception, MemoryError) as fault:  # a damaged file can fail anywhere: in zip, in numpy's headers, in JSON
            said = str(fault).partition("\n")[0] or type(fault).__name__
            warnings.warn(
                f"{path} is damaged or no result of this job, and is computed anew: {said}", DamagedWarning, stacklevel=4
            )
            return None


def _parted(result: Result) -> tuple[list[np.ndarray], list[list[Any]]]:
    """Arrays, and for every name of a result whether it is one of them and which, or its value."""
    arrays, rest = [], []
    for name, value in result.items():
        is_array = isinstance(value, np.ndarray)
        rest.append([name, is_array, len(arrays) if is_array else value])
        arrays += [value] if is_array else []
    return arrays, rest


def _verified(key: str, arrays: Mapping[str, Any]) -> Result:
    header = json.loads(str(arrays["header"]))
    if header["format"] != FORMAT or header["key"] != key:
        raise ValueError("it holds the result of another job")
    result = {name: arrays[f"arr_{value}"] if is_array else value for name, is_array, value in header["result"]}
    if content(result).hex() != header["checksum"]:
        raise ValueError("its checksum is that of another result")
    return result
