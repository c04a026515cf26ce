"""How large a network is, and for how long it is trained: what hyperparameters are scaled from and to."""

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, fields
from typing import Any

import numpy as np

from limits.validation import number, whole

LAYERS = (
    "a size counts residual blocks, and {name} does not say how many there are: a transformer layer is two of them, attention "
    "and MLP, so write blocks={twice} for {count} such layers, or blocks={count} where every layer is one block"
)
_SYNONYMS = {"n": "width", "d_model": "width", "L": "blocks", "batch_size": "batch"}
_AMBIGUOUS = ("layers", "n_layer", "num_layers", "depth")
_EXAMPLE = '"width=256,blocks=4"'


@dataclass(frozen=True)
class Size:
    r"""Width $n$, residual blocks $L$, and perhaps the batch size and the number of steps.

    Only ratios of two sizes enter: $m_N$, $m_L$, $m_B$, $m_T$ = target over base. `blocks` counts residual branches, so a
    transformer layer (attention and MLP) is two of them; a number of layers is refused.

    Args:
        width: $n$, the width of the residual stream; 256.0 is 256.
        blocks: $L$, residual blocks.
        batch: samples or tokens in a batch; in both sizes or in none.
        steps: updates of the run; in both sizes or in none.

    Raises:
        ValueError: a size that is no positive whole number, or layers instead of blocks.

    >>> Size(256, 4) == Size.of("width=256, blocks=4") == Size.of({"width": 256, "blocks": 4})
    True
    """

    width: int | float
    blocks: int | float
    batch: float | None = None
    steps: float | None = None
    layers: InitVar[object] = None

    def __post_init__(self, layers: object) -> None:
        if layers is not None:
            raise _ambiguous("layers", layers)
        for name in ("width", "blocks"):
            object.__setattr__(self, name, whole(_integer(getattr(self, name)), name, high=10**12))
        for name in ("batch", "steps"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, number(given, name, open_low=True))

    @classmethod
    def of(cls, value: "SizeLike") -> "Size":
        """`value` as a `Size`: itself, a mapping, or text such as "width=256,blocks=4,batch=512".

        Raises:
            ValueError: an unknown name, something that is no number, or a width or blocks missing.
            TypeError: anything else.
        """
        if isinstance(value, Size):
            return value
        if not isinstance(value, str | Mapping):
            raise TypeError(f"a size must be a Size, a mapping, or text, got {value!r}: write {_EXAMPLE}")
        given = _read(value) if isinstance(value, str) else dict(value)
        named = {_name(str(key), entry): entry for key, entry in given.items()}
        if missing := [name for name in ("width", "blocks") if name not in named]:
            raise ValueError(f"a size needs {missing[0]}, got {value!r}: write {_EXAMPLE}")
        if len(named) < len(given):
            raise ValueError(f"a size must say every part once, got {value!r}")
        return cls(**named)

    def __str__(self) -> str:
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return ", ".join(f"{name} {value:g}" for name, value in parts.items() if value is not None)

    def to_json(self) -> dict[str, Any]:
        """The parts that are given."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}


SizeLike = Size | Mapping[str, Any] | str
"""What a size may be written as."""


def _integer(value: Any) -> Any:
    """A float that is a whole number, of Python or numpy, as an int; anything else as it is.

    >>> _integer(4.0), _integer(np.float32(4)), _integer(4.5)
    (4, 4, 4.5)
    """
    return int(value) if isinstance(value, float | np.floating) and float(value).is_integer() else value


def _read(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, value = (p.strip() for p in part.partition("="))
        if not equals or name in found:
            raise ValueError(f"a size must be names and numbers, each name once, got {text!r}: write {_EXAMPLE}")
        found[name] = _numeral(value, text)
    return found


def _numeral(value: str, text: str) -> int | float:
    try:
        found = float(value)
        return int(value) if value.isdecimal() else int(found) if found == int(found) else found
    except (ValueError, OverflowError):
        raise ValueError(f"a size must be names and numbers, got {value!r} in {text!r}: write {_EXAMPLE}") from None


def _name(name: str, value: object) -> str:
    if name in _AMBIGUOUS:
        raise _ambiguous(name, value)
    known = _SYNONYMS.get(name, name)
    if known not in (f.name for f in fields(Size)):
        raise ValueError(f"a size has width, blocks, batch and steps, got {name!r}: write {_EXAMPLE}")
    return known


def _ambiguous(name: str, count: object) -> ValueError:
    twice = 2 * count if isinstance(count, int) and not isinstance(count, bool) else f"2 * {count}"
    return ValueError(LAYERS.format(name=f"{name}={count}", twice=twice, count=count))
