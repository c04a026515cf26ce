"""The run-time type checker of the tests: beartype with the numeric tower of PEP 484 (an int is a float), sparingly.

A check takes some 0.1 ms and some functions run a million times, so checking every call doubles the time of the suite. Of
every function the first `FIRST` calls of a process are checked, and the first call in each test; of a function defined
inside another, the first `FIRST` definitions.
"""

from collections import Counter
from dataclasses import is_dataclass
from functools import wraps
from inspect import isclass

import jaxtyping
from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
FIRST = 50

always = jaxtyping.jaxtyped
definitions: Counter[tuple[str, str]] = Counter()
test = 0


def next_test() -> None:
    """The next call of every function is checked again."""
    global test
    test += 1


def sparingly(*, typechecker):
    """`jaxtyping.jaxtyped`, which checks only some calls."""

    def decorate(fn):
        if isclass(fn):
            init = vars(fn).get("__init__")
            if is_dataclass(fn) and init is not None and not hasattr(init, "__wrapped__"):
                fn.__init__ = decorate(init)
            return fn
        name = fn.__module__, fn.__qualname__
        definitions[name] += 1
        if definitions[name] > FIRST:
            return fn
        strict = always(fn, typechecker=typechecker)
        left, last = FIRST, test

        @wraps(fn)
        def sometimes(*args, **kwargs):
            nonlocal left, last
            if not left and last == test:
                return fn(*args, **kwargs)
            left, last = max(left - 1, 0), test
            return strict(*args, **kwargs)

        return sometimes

    return decorate


def install(modules: list[str]) -> None:
    """Check these modules from their import on: what jaxtyping's hook adds to them looks `jaxtyping.jaxtyped` up."""
    jaxtyping.install_import_hook(modules, f"{__name__}.checked")
    jaxtyping.jaxtyped = sparingly
