r"""Carry hyperparameters from a network that was tuned to one that is wider, deeper, or both.

`scale` gives, for every kind of parameter, the multiplier, initial std, learning rate, weight decay and epsilon of the target
as ratios to those of the base. The table is generated: `derivation` goes from the order of a gradient in width and depth
through what an optimizer makes of it (`rules`) to the rate that gives the update that is wanted, for every place in a network
(`roles`). Batch size and steps enter by rules that are cited (`duration`).
"""

from limits.scaling.cell import Cell
from limits.scaling.initialization import gpt2_std
from limits.scaling.roles import ROLES
from limits.scaling.row import Row
from limits.scaling.rules import RULES
from limits.scaling.scaling import Scaling, scale
from limits.scaling.size import Size

OPTIMIZERS = tuple(RULES)
"""Names of optimizers that have a rule."""

__all__ = ["OPTIMIZERS", "ROLES", "Cell", "Row", "Scaling", "Size", "gpt2_std", "scale"]
