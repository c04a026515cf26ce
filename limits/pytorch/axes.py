r"""Which axes of a parameter grow with the width: its shape beside those of a base and of a delta model.

An axis grows if base and delta differ in it. What its growth means, to sum over inputs or to hold outputs, is the part that the
axis plays in the module that holds the parameter, written as one letter an axis: `o` outputs, `i` inputs, `.` neither (the taps
of a convolution, or a stack of matrices). `nn.Linear` is "oi", `nn.Embedding` "io".
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any


@dataclass(frozen=True)
class Axis:
    """One axis: its size in base, delta and model, and whether it grows with the width."""

    base: int
    delta: int
    size: int

    @property
    def grows(self) -> bool:
        return self.base != self.delta

    @property
    def ratio(self) -> Fraction:
        """Model over base."""
        return Fraction(self.size, self.base)


@dataclass(frozen=True)
class Shape:
    """The axes of a parameter."""

    axes: tuple[Axis, ...]

    @property
    def growing(self) -> tuple[int, ...]:
        """Which axes grow."""
        return tuple(k for k, axis in enumerate(self.axes) if axis.grows)

    def ratio(self, letters: str, which: str) -> Fraction:
        """Model over base, of all axes of that letter together."""
        return prod((a.ratio for a, letter in zip(self.axes, letters, strict=True) if letter == which), start=Fraction(1))

    def grows(self, letters: str, which: str) -> bool:
        """Whether an axis of that letter grows."""
        return any(a.grows for a, letter in zip(self.axes, letters, strict=True) if letter == which)

    def __str__(self) -> str:
        base, delta, size = (tuple(getattr(a, name) for a in self.axes) for name in ("base", "delta", "size"))
        return f"shape {size}, {base} in the base and {delta} in delta"


def bare(model: Any) -> Any:
    """The module inside of what `torch.compile` and the data-parallel wrappers make of it."""
    from torch import nn

    while True:
        if hasattr(model, "_orig_mod"):
            model = model._orig_mod
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model


def built(source: Any, name: str) -> Any:
    """A module, or what a function makes on the meta device, where it takes no memory.

    Raises:
        TypeError: neither a module nor a function that makes one.
    """
    import torch

    if not isinstance(source, torch.nn.Module):
        if not isinstance(source, Callable):
            raise TypeError(f"{name} must be a module, or a function without arguments that makes one, got {source!r}")
        with torch.device("meta"):
            source = source()
    if not isinstance(source, torch.nn.Module):
        raise TypeError(f"{name} must make a module, got {source!r}")
    return bare(source)


def shape_of(name: str, parameter: Any, base: Any, delta: Any) -> Shape:
    """The axes of a parameter.

    Raises:
        ValueError: other numbers of axes, or an axis that differs between base and model but not between base and delta.
    """
    shapes = [tuple(p.shape) for p in (base, delta, parameter)]
    if len({len(shape) for shape in shapes}) > 1:
        raise ValueError(
            f"{name} has {' and '.join(map(str, shapes))} for shapes in base, delta and model: it must have as many axes"
        )
    shape = Shape(tuple(Axis(*sizes) for sizes in zip(*shapes, strict=True)))
    if odd := [k for k, axis in enumerate(shape.axes) if axis.size != axis.base and not axis.grows]:
        raise ValueError(
            f"axis {odd[0]} of {name} ({shape}) differs between base and model, but not between base and delta: what grows with "
            "the width must differ in delta too; what does not must be the same in all three"
        )
    return shape


def _transposed(groups: int, shape: Shape) -> str | None:
    """The first two letters of a transposed convolution: inputs of all groups, and outputs of one; None if groups may grow."""
    if 1 < groups == shape.axes[0].size:
        return "oo"  # depthwise
    return None if groups > 1 and shape.growing == (0,) else "io"


def letters_of(module: Any, own: str, shape: Shape) -> str | None:
    """The letters of a parameter that `module` holds as `own`, or None if the module is not known to say."""
    from torch import nn
    from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

    rank = len(shape.axes)
    if isinstance(module, nn.Embedding | nn.EmbeddingBag) or (type(module).__name__ == "Conv1D" and own == "weight"):
        return "io"  # the latter is how some transformers write a linear map, with its matrix transposed
    if isinstance(module, _ConvNd) and own == "weight":
        pair = _transposed(module.groups, shape) if isinstance(module, _ConvTransposeNd) else "oi"
        return pair and pair + "." * (rank - 2)
    if isinstance(module, nn.Linear) and own == "weight":
        return "oi"
    if isinstance(module, nn.MultiheadAttention | nn.RNNBase | nn.RNNCellBase) and rank == 2:
        return "oi"
    if rank <= 1:
        return "o" * rank
    if len(shape.growing) == 1 and all(a.base == a.delta == a.size == 1 for a in shape.axes if not a.grows):
        return "".join("o" if a.grows else "." for a in shape.axes)
    return None
