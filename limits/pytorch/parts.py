r"""Which part a parameter plays: its role among those of `limits.scaling`, read off the axes that grow with the width.

A matrix whose inputs and outputs grow is "hidden"; one whose outputs grow, outside of blocks, "input"; one whose inputs grow,
outside of blocks, "output"; and "tied" if it is an embedding as well. A vector is "norm", "bias" or "output bias", by the module
that holds it, and "vector" outside of blocks. Inside of blocks all that sums over finitely many inputs (biases, depthwise
convolutions, maps of features of a finite number) plays the part of a bias.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import prod

from limits.markup import listed
from limits.pytorch.axes import Shape


@dataclass(frozen=True)
class Part:
    """A parameter and its part.

    >>> from torch import nn
    >>> from limits.pytorch import plan
    >>> def make(width): return nn.Sequential(nn.Linear(8, width), nn.Linear(width, 3))
    >>> part = plan(make(256), base=lambda: make(64), delta=lambda: make(128)).part("1.weight")
    >>> part
    Part(1.weight: output, (3, 64) -> (3, 256))
    >>> part.role, part.letters, part.fan_in, part.width
    ('output', 'oi', Fraction(4, 1), (64, 256))

    Attributes:
        name: as in `named_parameters()`; the first one of a parameter that has several.
        names: all of its names.
        shape: its axes in base, delta and model.
        role: one of `limits.scaling.ROLES`.
        inside: whether it lies in a residual block, so that it has the factors of depth.
        letters: what its axes are, as in `limits.pytorch.axes`.
        fan_in, fan_out: model over base of what it sums over and of what it makes; 1 where that does not grow.
        trained: whether it asks for gradients.
        counterpart: the parameter of the base that plays its part.
    """

    name: str
    names: tuple[str, ...]
    shape: Shape
    role: str
    inside: bool
    letters: str
    fan_in: Fraction
    fan_out: Fraction
    trained: bool
    counterpart: str

    def __repr__(self) -> str:
        sizes = f"{self.sizes('base')} -> {self.sizes('size')}"
        more = ["inside a block"] * self.inside + ["frozen"] * (not self.trained)
        return listed("Part", [f"{self.name}: {self.role}", sizes, *more])

    def sizes(self, which: str) -> tuple[int, ...]:
        """Its shape in the "base", in "delta", or in the model, as "size"."""
        return tuple(getattr(axis, which) for axis in self.shape.axes)

    @property
    def summed(self) -> bool:
        """Whether its width is that of its inputs; else it is that of its outputs."""
        return self.role.split()[0] in ("hidden", "output", "tied") and self.role != "output bias"

    @property
    def width(self) -> tuple[int, int]:
        """How many inputs it sums over, or outputs it makes, in base and model, of axes that grow; 1 if none does."""
        letter = "i" if self.summed else "o"
        axes = [a for a, own in zip(self.shape.axes, self.letters, strict=True) if own == letter and a.grows]
        return prod(a.base for a in axes), prod(a.size for a in axes)


class UnknownPartError(ValueError):
    """A parameter whose part cannot be told from its shape; the sentence says what to write.

    >>> from torch import nn, zeros
    >>> from limits.pytorch import plan
    >>> class Model(nn.Module):
    ...     def __init__(self, width):
    ...         super().__init__()
    ...         self.raw = nn.Parameter(zeros(5, width))
    >>> try:
    ...     plan(Model(64), base=lambda: Model(16), delta=lambda: Model(32))
    ... except UnknownPartError as why:
    ...     print(str(why).partition(" (")[0])
    raw is held by no module that says what its axes are
    """
