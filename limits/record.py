"""What a trajectory keeps of the kernels: at which depths and steps, of which samples."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Real

import numpy as np
from jaxtyping import Float, Int

from limits.markup import brief
from limits.problem import Problem
from limits.validation import expect

KINDS = ("feature", "gradient", "two_depth", "response")
LARGEST_RECORD = 10**9
MODEST_RECORD = 2 * 10**7


def field_of(kind: str) -> str:
    """The field of a `Trajectory` that holds a kind.

    >>> field_of("feature"), field_of("response")
    ('feature_kernel', 'response')
    """
    return kind if kind == "response" else f"{kind}_kernel"


def _indices(value: object, count: int, name: str) -> Int[np.ndarray, " k"]:
    if isinstance(value, str):
        return np.arange(count)
    indices = np.asarray(value)
    if np.any(indices < 0) or np.any(indices >= count):
        raise ValueError(f"{name} of a record must lie in 0 … {count - 1}, got {list(map(int, indices))}")
    return indices


@dataclass(frozen=True)
class Record:
    """Which kernels to keep.

    Args:
        positions: depths p = l/L in [0, 1]; a p between two blocks of a finite network is interpolated linearly.
        steps: "all" (0 … T) or indices of evaluations.
        samples: "all" (inputs, then probes) or indices of samples.
        kinds: any of "feature" (C0 = E x x), "gradient" (C1 = E delta delta, including chi; zero for samples that are
            not in that step's batch and for the last evaluation), "two_depth" (E x(p) x(q)), "response" (TP6's Gamma, in
            input and output directions for linear blocks, of samples for nonlinear ones).

    Raises:
        ValueError: positions outside [0, 1], an unknown kind, no position or step at all.

    >>> Record(positions=(0, 1), kinds=("feature", "gradient")).positions
    (0.0, 1.0)
    """

    positions: Sequence[float | Fraction] = (0, Fraction(1, 4), Fraction(1, 2), Fraction(3, 4), 1)
    steps: str | Sequence[int] = "all"
    samples: str | Sequence[int] = "all"
    kinds: Sequence[str] = ("feature",)

    __repr__ = brief

    def __post_init__(self) -> None:
        positions = tuple(self.positions) if isinstance(self.positions, Iterable) else ()
        if not positions or not all(isinstance(p, Real) and 0 <= p <= 1 for p in positions):
            raise ValueError(f"positions of a record must be depths p = l/L in [0, 1], got {self.positions!r}")
        object.__setattr__(self, "positions", tuple(float(p) for p in positions))
        for name in ("steps", "samples"):
            object.__setattr__(self, name, self._selection(getattr(self, name), name))
        kinds = (self.kinds,) if isinstance(self.kinds, str) or not isinstance(self.kinds, Iterable) else tuple(self.kinds)
        if unknown := [k for k in kinds if k not in KINDS]:
            raise ValueError(f"kinds of a record are {', '.join(KINDS)}, got {unknown[0]!r}")
        object.__setattr__(self, "kinds", kinds)

    @staticmethod
    def _selection(value: object, name: str) -> str | tuple[int, ...]:
        if isinstance(value, str):
            if value != "all":
                raise ValueError(f'{name} of a record must be "all" or indices, got {value!r}')
            return value
        indices = tuple(value) if isinstance(value, Iterable) else ()
        if not indices or not all(isinstance(i, Integral) for i in indices):
            raise ValueError(f'{name} of a record must be "all" or at least one index, got {value!r}')
        return tuple(int(i) for i in indices)

    @property
    def depths(self) -> Float[np.ndarray, " m"]:
        """Positions as an array."""
        return np.asarray(self.positions)

    def chosen_steps(self, problem: Problem) -> Int[np.ndarray, " k"]:
        """Evaluations kept."""
        return _indices(self.steps, problem.steps + 1, "steps")

    def chosen_samples(self, problem: Problem) -> Int[np.ndarray, " s"]:
        """Samples kept, numbered through inputs and probes."""
        return _indices(self.samples, len(problem.evaluated), "samples")

    def placing(self, blocks: int) -> tuple[Int[np.ndarray, " levels"], Float[np.ndarray, "m levels"]]:
        """Levels between the blocks of a network that the positions need, and their weights in each position.

        >>> Record(positions=(0, 0.3)).placing(10)
        (array([0, 3]), array([[1., 0.],
               [0., 1.]]))
        """
        below = np.floor(self.depths * blocks + 1e-9).astype(int)
        share = np.clip(self.depths * blocks - below, 0.0, 1.0)
        share[share < 1e-9] = 0.0
        above = np.where(share > 0, below + 1, below)
        levels = np.unique(np.concatenate([below, above]))
        placing = np.zeros((len(below), len(levels)))
        rows = np.arange(len(below))
        np.add.at(placing, (rows, np.searchsorted(levels, below)), 1 - share)
        np.add.at(placing, (rows, np.searchsorted(levels, above)), share)
        return levels, placing

    def size(self, problem: Problem) -> int:
        """Bytes of the kernels, in float64."""
        k, s, m = len(self.chosen_steps(problem)), len(self.chosen_samples(problem)), len(self.positions)
        directions = min(problem.d_in, problem.n_samples) * problem.d_out
        each = {
            "feature": m * s * s,
            "gradient": m * s * s,
            "two_depth": m * m * s * s,
            "response": 2 * m * m * (directions if problem.model.phi.linear else s * s),
        }
        return 8 * k * k * sum(each[kind] for kind in self.kinds)

    @staticmethod
    def of(record: "Record | None", problem: Problem) -> "Record":
        """The record of a run, checked against the problem; without one, the default as far as it is small.

        The default is the feature kernel at five depths; where it would exceed 20 MB, of the first eight samples only, and
        where that would too, at 33 evenly spaced steps.

        Raises:
            TypeError: `record` is no Record, or `problem` no Problem.
            ValueError: more than 1 GB would be recorded.
        """
        expect(problem, Problem, "problem")
        if record is None:
            return Record._modest(problem)
        expect(record, Record, "record")
        record.check(problem)
        return record

    @staticmethod
    def _modest(problem: Problem) -> "Record":
        few = range(min(8, len(problem.evaluated)))
        steps = np.unique(np.linspace(0, problem.steps, 33).astype(int)).tolist()
        choices = (Record(), Record(samples=few), Record(samples=few, steps=steps))
        return next((record for record in choices if record.size(problem) <= MODEST_RECORD), choices[-1])

    def check(self, problem: Problem) -> None:
        """Refuse a record of more than 1 GB.

        Raises:
            ValueError: with the size and what to keep instead.
        """
        if (size := self.size(problem)) > LARGEST_RECORD:
            raise ValueError(
                f"the recorded kernels would take {size / 1e9:.1f} GB, more than 1 GB: keep fewer samples, steps or positions, "
                f"for example record=Record(samples=range(10)), or none with Record(kinds=())"
            )
