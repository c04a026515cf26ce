r"""Rung 1: real networks of width $n$ and $L$ blocks, trained on any array library.

`blocks` holds the weights and the low-rank updates that training makes of them, `network` draws several seeds at a time,
`linear` and `nonlinear` train them, `observer` measures kernels, `library` knows where the arrays live, and `ensemble`
averages over seeds.
"""

from limits.finite.ensemble import DivergenceWarning, UncentredWarning, simulate, simulation_footprint

__all__ = ["DivergenceWarning", "UncentredWarning", "simulate", "simulation_footprint"]
