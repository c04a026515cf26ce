r"""Rung 1: real networks of width $n$ and $L$ blocks, trained on any array library.

`blocks` holds the weights and the low-rank updates that training makes of them, `network` draws several seeds at a time,
`linear` and `nonlinear` train them by SGD; `dense` trains any block by any optimizer, with the `rules` of each; `engines` says
which way a problem is trained. `observer` measures kernels, `library` knows where the arrays live, `ensemble` averages over
seeds, and `grids` trains at many learning rates and multipliers at once.
"""

from limits.finite.ensemble import DivergenceWarning, UncentredWarning, simulate, simulation_footprint
from limits.finite.grids import Grid, grid

__all__ = ["DivergenceWarning", "Grid", "UncentredWarning", "grid", "simulate", "simulation_footprint"]
