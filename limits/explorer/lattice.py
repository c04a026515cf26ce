r"""What is trained, and at which points of the plane."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor

from limits.markup import brief
from limits.optimizers import SGD, Adam
from limits.parametrization import Exact, Parametrization, exact
from limits.problem import Problem, ResNet
from limits.validation import whole

Point = tuple[Fraction, Fraction]

INPUTS = ((1.0, 0.4), (-0.5, 1.2), (0.8, -0.9))
TARGETS = ((0.8,), (-1.1,), (1.25,))
"""Of the inputs, $y = \\xi_1 - \\xi_2/2$: what a linear network can learn."""
OPTIMIZERS = {"sgd": (SGD, 0.5), "adam": (Adam, 0.15)}
"""Optimizers with their learning rates $\\eta$: training takes a few steps where it is stable."""
DEPTHS = (1, 2)
"""Layers of a block, $k$."""


def quarters(low: Exact, high: Exact) -> tuple[Fraction, ...]:
    """Multiples of 1/4 from low to high.

    >>> [str(value) for value in quarters("-1/4", "1/2")]
    ['-1/4', '0', '1/4', '1/2']
    """
    first, last = ceil(4 * exact(low, "low")), floor(4 * exact(high, "high"))
    return tuple(Fraction(n, 4) for n in range(first, last + 1))


@dataclass(frozen=True)
class Lattice:
    r"""Points of the plane, and the networks that are trained at each of them.

    Attributes:
        alphas, gammas: the points are all pairs.
        blocks: numbers of blocks $L$ of networks, at least two.
        width: $n$, of networks.
        seeds: networks of every size at every point.
        steps: $T$, of training.
        deeper: further numbers of blocks, of networks of infinite width.
        particles: neurons of a sample, where infinite width is no recursion.

    >>> Lattice().problem(1, "sgd", ("1/2", "1/2"))
    Problem(3 samples, 2 inputs, 1 outputs, mse, 8 steps, alpha=1/2, gamma=1/2)
    """

    alphas: tuple[Fraction, ...] = field(default_factory=lambda: quarters(0, "3/2"))
    gammas: tuple[Fraction, ...] = field(default_factory=lambda: quarters("-1/2", "3/2"))
    blocks: tuple[int, ...] = (4, 16, 64)
    width: int = 48
    seeds: int = 8
    steps: int = 8
    deeper: tuple[int, ...] = (256, 1024)
    particles: int = 256

    __repr__ = brief

    def __post_init__(self) -> None:
        for name in ("alphas", "gammas"):
            values = tuple(exact(v, name) for v in getattr(self, name))
            object.__setattr__(self, name, values)
        for name in ("blocks", "deeper"):
            object.__setattr__(self, name, tuple(sorted(whole(v, name) for v in getattr(self, name))))
        for name in ("width", "seeds", "steps", "particles"):
            object.__setattr__(self, name, whole(getattr(self, name), name))
        if len(self.blocks) < 2 or not self.alphas or not self.gammas:
            raise ValueError(f"a lattice needs points, and networks of two numbers of blocks, got {self!r}")

    def __iter__(self) -> Iterator[Point]:
        return ((alpha, gamma) for alpha in self.alphas for gamma in self.gammas)

    def problem(self, block_depth: int, optimizer: str, point: tuple[Exact, Exact], steps: int | None = None) -> Problem:
        """What networks learn at a point: linear blocks, squared error, three samples."""
        model = ResNet() if block_depth == 1 else ResNet(block_depth=block_depth, form="mlp" if block_depth == 2 else "post")
        kind, lr = OPTIMIZERS[optimizer]
        return Problem(model, Parametrization(*point), kind(lr, steps=self.steps if steps is None else steps), INPUTS, TARGETS)
