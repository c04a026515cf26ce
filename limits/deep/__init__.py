r"""Rung 3: infinite width, then infinite depth.

`solve` says which limit a parametrization has, and computes it: at $\alpha = \gamma = 1/2$ a causal Gaussian system over
depth (`deep.gaussian`), for $1/2 < \alpha$, $\alpha + \gamma = 1$ a deterministic flow (`deep.flow`); updates that vanish
($\alpha + \gamma > 1$) leave the hidden layers frozen in either.
"""

from limits.deep.solve import NoLimitError, ToleranceWarning, UnresolvedError, solve

__all__ = ["NoLimitError", "ToleranceWarning", "UnresolvedError", "solve"]
