r"""Patterns of names: a `*` stands for one part of a dotted name, `**` for any number of them."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

Patterns = str | Sequence[str] | None
"""One pattern, several, or none."""


def patterns(value: Any, name: str) -> tuple[str, ...]:
    """One pattern or several, as a tuple.

    Raises:
        TypeError: neither text nor a sequence of texts.

    >>> patterns("blocks.*", "blocks")
    ('blocks.*',)
    """
    if value is None:
        return ()
    found = (value,) if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(text, str) and text for text in found):
        raise TypeError(f'{name} must be a pattern such as "blocks.*", or several, got {value!r}')
    return tuple(found)


def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern whose groups are what its stars stand for.

    >>> compiled("blocks.*.attention").fullmatch("blocks.3.attention")[1]
    '3'
    >>> bool(compiled("**.bias").fullmatch("bias")), bool(compiled("*.bias").fullmatch("a.b.bias"))
    (True, False)
    """
    text = ""
    for i, part in enumerate(parts := pattern.split(".")):
        last = i == len(parts) - 1
        if part == "**":
            text += "(.*)" if last else r"((?:[^.]+\.)*)"
        else:
            text += "([^.]*)".join(map(re.escape, part.split("*"))) + ("" if last else r"\.")
    return re.compile(text)


def matches(name: str, wanted: Iterable[str]) -> bool:
    """Whether a name is one of those that the patterns stand for.

    >>> matches("blocks.3", ["blocks.*"]), matches("blocks.3.norm", ["blocks.*"])
    (True, False)
    """
    return any(compiled(pattern).fullmatch(name) for pattern in wanted)


def split(name: str, pattern: str) -> tuple[tuple[str, ...], str] | None:
    """What the stars of a pattern stand for in a name or its beginning, and the rest of the name; None if it does not match.

    >>> split("blocks.3.norm.weight", "blocks.*")
    (('3',), 'norm.weight')
    """
    found = re.fullmatch(rf"(?:{compiled(pattern).pattern})(?:\.(?P<rest>.*))?", name)
    if found is None:
        return None
    stars = found.groups()[:-1]
    return stars, found["rest"] or ""


def within(name: str, wanted: Iterable[str]) -> bool:
    """Whether a parameter is held by a module of one of the patterns, or by one inside it.

    >>> within("blocks.3.norm.weight", ["blocks.*"]), within("embed.weight", ["blocks.*"])
    (True, False)
    """
    return any(split(name, pattern) is not None for pattern in wanted)
