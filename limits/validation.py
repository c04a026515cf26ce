"""What users give, numbers above all: checked, and refused with a sentence."""

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import signature
from numbers import Integral, Real
from typing import ParamSpec, TypeVar

import numpy as np

Rate = float | Sequence[float] | np.ndarray
"""A learning rate: one number, or one per step."""
Progress = Callable[[int, int], None]
"""Called as progress(done, total)."""
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def called(example: str) -> Callable[[Callable[Arguments, Answer]], Callable[Arguments, Answer]]:
    """A function that says how it is called where its arguments do not fit its signature.

    >>> called("half(7)")(lambda x: x / 2)(1, 2)
    Traceback (most recent call last):
    TypeError: too many positional arguments: write half(7)
    """

    def wrapped(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
        wanted = signature(function)

        @wraps(function)
        def checked(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
            try:
                wanted.bind(*args, **kwargs)
            except TypeError as fault:
                raise TypeError(f"{fault}: write {example}") from None
            return function(*args, **kwargs)

        return checked

    return wrapped


def expect(value: object, kind: type, name: str) -> None:
    """Raise a sentence unless `value` is of the wanted kind."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {value!r}")


def flag(value: object, name: str) -> bool:
    """Return `value` as a bool, or raise a sentence: of texts such as "no" it is not clear what they mean."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def reporting(progress: Progress | None) -> Progress:
    """What to call as progress(done, total): nothing if there is None; or raise a sentence."""
    if progress is None:
        return lambda done, total: None
    if not callable(progress):
        raise TypeError(f"progress must be a function that is called as progress(done, total), or None, got {progress!r}")
    return progress


def number(value: object, name: str, *, low: float = 0.0, open_low: bool = False) -> float:
    """Return `value` as a finite float of at least `low`, or raise a sentence."""
    sign = ">" if open_low else ">="
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number {sign} {low:g}, got {value!r}")
    try:
        found = float(value)
    except OverflowError:
        found = float("inf")
    if not np.isfinite(found) or found < low or (open_low and found == low):
        raise ValueError(f"{name} must be finite and {sign} {low:g}, got {value!r}")
    return found


def share(value: object, name: str) -> float:
    """Return `value` as a float in [0, 1), or raise a sentence."""
    found = number(value, name)
    if found >= 1:
        raise ValueError(f"{name} must be in [0, 1), got {value!r}")
    return found


def whole(value: object, name: str, *, low: int = 1, high: int = 10**9) -> int:
    """Return `value` as an int from low to high, or raise a sentence."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < low:
        raise ValueError(f"{name} must be a whole number >= {low}, got {value!r}")
    if int(value) > high:
        raise ValueError(f"{name} must be at most {high}, got {value!r}")
    return int(value)


def rate(value: Rate, name: str, steps: int) -> float | tuple[float, ...]:
    """A learning rate as a float, or as one float per step, or a sentence."""
    if isinstance(value, Real) or np.ndim(value) == 0:
        return number(value.item() if isinstance(value, np.ndarray) else value, name)
    try:
        if np.iscomplexobj(value):
            raise TypeError
        numbers = np.asarray(value, float).tolist()
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} must be a number or one per step, got {value!r}") from None
    rates = tuple(number(v, f"{name}[{i}]") for i, v in enumerate(numbers))
    if len(rates) != steps:
        raise ValueError(f"{name} must be one number or one per step ({steps}), got {len(rates)} numbers")
    return rates
