"""One run of a sweep: a function with its arguments, what it is called, and what it returns."""

import json
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from limits.sweeps.content import content

FORMAT = 2
"""Version of the hashes, of the files and of what jobs of ours return: results of an older one are not found again."""
SHOWN = 40
"""Letters of an argument in the sentences about a job."""

Result = dict[str, Any]


@dataclass(frozen=True, eq=False, repr=False)
class Job:
    """A function with its arguments.

    Args:
        function: a function of a module, so that other processes find it; returns a dict of arrays, numbers and texts by name.
        arguments: its keyword arguments: numbers, texts, arrays, None, problems and their parts, and dicts, tuples and lists of
            them; what tells them apart is in `limits.sweeps.content`.

    Raises:
        TypeError: a function without a name in a module, such as a lambda, or arguments that are no dict.

    >>> import math
    >>> job = Job(math.dist, {"p": (0, 0), "q": (3, 4)})
    >>> job
    math.dist(p=(0, 0), q=(3, 4))
    >>> job.key == Job(math.dist, {"q": (3, 4), "p": (0, 0)}).key
    True
    """

    function: Callable[..., Any]
    arguments: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not _found_again(self.function):
            raise TypeError(
                f"the function of a job must be one of a module, so that other processes find it by name, got {self.function!r}: "
                "write it with def, outside of other functions"
            )
        if not isinstance(self.arguments, Mapping) or not all(isinstance(name, str) for name in self.arguments):
            raise TypeError(f"the arguments of a job must be a dict of values by name, got {self.arguments!r}")
        object.__setattr__(self, "arguments", dict(self.arguments))

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={_short(value)}' for name, value in self.arguments.items())})"

    @property
    def name(self) -> str:
        """The function's name, with its module's."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @property
    def key(self) -> str:
        """What its result is called: 64 hexadecimal digits, of the function's name and the content of the arguments.

        The code of the function is not in it: after a change to the function, take another folder.

        Raises:
            TypeError: an argument of a kind that has no content to compare.
        """
        return content((FORMAT, self.name, self.arguments)).hex()


def _found_again(function: Any) -> bool:
    """Whether a function is what its name says."""
    names = getattr(function, "__qualname__", None), getattr(function, "__module__", None)
    if not callable(function) or not all(isinstance(name, str) for name in names):
        return False
    found: Any = sys.modules.get(str(names[1]))
    for name in str(names[0]).split("."):
        found = getattr(found, name, None)
    return found is function


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape}"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def compute(job: Job) -> Result:
    """The result of a job, as a file gives it back: arrays as they are, everything else as JSON has it.

    Raises:
        TypeError: a result that cannot be kept.
        RuntimeError: the function called `sys.exit`, which would end others' runs too.
    """
    try:
        found = job.function(**job.arguments)
    except SystemExit as stop:
        raise RuntimeError(f"the function of a job must return, got sys.exit({stop.code!r})") from stop
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise TypeError(f"a job must return a dict of arrays, numbers and texts by name, got {type(found).__name__}")
    return {name: _kept(name, value) for name, value in found.items()}


def _kept(name: str, value: Any) -> Any:
    if type(value) is np.ndarray and value.dtype.kind in "biufcSUmM" and value.dtype.char not in "gG":
        return value
    try:
        return json.loads(json.dumps(value.item() if isinstance(value, np.generic) else value))
    except (TypeError, ValueError):
        kind = f"an array of {value.dtype}" if type(value) is np.ndarray else type(value).__name__
        raise TypeError(
            f"a job must return numpy arrays, numbers, texts, and lists and dicts of them, got {kind} for {name!r}"
        ) from None


def attempt(job: Job) -> Result:
    """`compute` in another process: its exceptions are such that they come through."""
    try:
        return compute(job)
    except Exception as error:
        raise travelling(error) from None


def travelling(error: Exception) -> Exception:
    """`error` if it can be pickled and unpickled, which those of several arguments often cannot; else one that says the same."""
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:  # whatever its class does
        pass
    return RuntimeError(f"{type(error).__name__}: {error}")
