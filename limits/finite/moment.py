"""What is new at an evaluation of networks in training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from limits.finite.network import Recorded

Array = Any
Number = Any
"""A float, or an array without axes."""
Numbers = Sequence[Number]


@dataclass(frozen=True)
class Batch:
    """The samples that go back after an evaluation.

    Attributes:
        samples: their numbers, shape (B,).
        places: their numbers among the rows that go forward, on the device; None where they are all of those.
        inputs, targets, share: theirs, shapes (B, d_in), (B, d_out), (B, 1).
        numbers: what the rules of blocks and of the ends that learn need to know of the step.
        spread: for every recorded sample its place in the batch, B where it has none; None where nothing is recorded.
    """

    samples: np.ndarray
    places: Array
    inputs: Array
    targets: Array
    share: Array
    numbers: Sequence[Numbers]
    spread: Array = None

    def arrays(self) -> dict[str, Array]:
        """What is on the device, by name."""
        names = ("places", "inputs", "targets", "share", "spread")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True)
class Moment:
    """An evaluation, and the step after it.

    Attributes:
        rows: inputs that go forward, shape (R, d_in).
        batch: what goes back, if anything.
        forward, backward: where rows are recorded, if they are.
        seen: places of the recorded samples among those that go forward; None where they are all of those, in order.
    """

    rows: Array
    batch: Batch | None = None
    forward: Recorded | None = None
    backward: Recorded | None = None
    seen: Array = None

    @property
    def shape(self) -> tuple:
        """Moments of one shape make the same computation, on other values."""
        batch = None if self.batch is None else (len(self.batch.samples), self.batch.places is None)
        return self.rows.shape[0], batch, self.forward is None, self.backward is None
