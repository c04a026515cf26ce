r"""What a value holds, as a hash: the same in every process and for every layout in memory.

A value is a tree: its hash is $h = \mathrm{SHA256}(\text{kind}, h_1, h_2, \dots)$ of what kind it is of and of the hashes of its
parts. Those have 32 bytes each and a kind ends with a zero byte, so that two trees have the same hash only if they are the same.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from hashlib import sha256
from numbers import Integral, Rational
from typing import Any

import numpy as np

from limits.nonlinearity import Nonlinearity, nonlinearity

TRIED = np.linspace(-8.0, 8.0, 257)
"""Where a function of one's own is evaluated, to tell it from others of its name."""


def content(value: Any) -> bytes:
    r"""The SHA-256 hash of a value, 32 bytes.

    Arrays differ by type, shape and entries; numbers by whether they are whole, exact or floating, whatever library they come
    from; dicts do not depend on their order; dataclasses are their name and their fields. A nonlinearity with a name is that
    name. One's own is its name, its kinks, and the values of $\phi$ and $\phi'$ at 257 points of [-8, 8] to ten digits, since
    a function has no other content that can be compared: two that agree there are taken for one.

    Raises:
        TypeError: a value of another kind.

    >>> content({"lr": 0.5, "width": np.int64(8)}) == content({"width": 8, "lr": np.float64(0.5)})
    True
    >>> content(np.eye(2)) == content(np.eye(2, dtype="float32"))
    False
    """
    if value is None or isinstance(value, bool | np.bool_):
        return _node("constant", repr(None if value is None else bool(value)).encode())
    if isinstance(value, Enum):
        return _node(_kind(value), content(value.name))
    if isinstance(value, str | bytes):
        return _node("text", value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else _node("bytes", value)
    if isinstance(value, Integral):
        return _node("whole", hex(int(value)).encode())
    if isinstance(value, Rational):
        return _node("fraction", content(int(value.numerator)), content(int(value.denominator)))
    if isinstance(value, float):
        return _node("float", float(value).hex().encode())
    if isinstance(value, complex):
        return _node("complex", content(value.real), content(value.imag))
    return _composed(value)


def _composed(value: Any) -> bytes:
    if isinstance(value, np.ndarray | np.generic) and not isinstance(value, np.ma.MaskedArray):
        return _array(np.asarray(value))
    if isinstance(value, Nonlinearity):
        return _nonlinearity(value)
    if is_dataclass(value) and not isinstance(value, type):
        return _node(_kind(value), *(part for f in fields(value) for part in (content(f.name), content(getattr(value, f.name)))))
    if isinstance(value, Mapping):
        return _node("dict", *sorted(content(key) + content(part) for key, part in value.items()))
    if isinstance(value, tuple | list):
        return _node(_kind(value), *map(content, value))
    if isinstance(value, set | frozenset):
        return _node("set", *sorted(map(content, value)))
    raise TypeError(
        "an argument of a job must be a number, a text, an array, None, a problem or a part of one, or a dict, tuple or list of "
        f"these, got {type(value).__name__}: {value!r}"
    )


def _node(kind: str, *parts: bytes | memoryview) -> bytes:
    found = sha256(kind.encode() + b"\0")
    for part in parts:
        found.update(part)
    return found.digest()


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _array(array: np.ndarray) -> bytes:
    if array.dtype.hasobject:
        raise TypeError(f"an array among the arguments of a job must hold numbers or texts, got one of {array.dtype}")
    kind = content(repr(np.lib.format.dtype_to_descr(array.dtype)))
    entries = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return _node("array", kind, content(array.shape), entries.data)


def _nonlinearity(phi: Nonlinearity) -> bytes:
    try:
        if nonlinearity(phi.name) == phi:
            return content(phi.name)
    except ValueError:
        pass  # no name that is known
    with np.errstate(all="ignore"):
        values = [_digits(f(TRIED)) for f in (phi.phi, phi.derivative)]
    return _node("nonlinearity", content(phi.name), content(phi.kinks), *values)


def _digits(values: Iterable[float]) -> bytes:
    """Values to ten digits: the last ones differ between processors."""
    return content([f"{value:.9e}" for value in np.asarray(values, float)])
