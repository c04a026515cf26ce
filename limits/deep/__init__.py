r"""Rung 3: infinite width, then infinite depth.

`solve` says which limit a parametrization has, and computes it: at $\alpha = \gamma = 1/2$ a causal Gaussian system over
depth (`deep.gaussian`, `deep.nonlinear`), for $1/2 < \alpha$, $\alpha + \gamma = 1$ a deterministic flow (`deep.flow`,
`deep.nonlinear_flow`), and for nonlinear blocks at $\alpha = 1$, $\gamma = 0$ a mean field of neurons (`deep.one_layer`,
`deep.two_layer`, `deep.two_layer_post`, `deep.pre_flow`); updates that vanish ($\alpha + \gamma > 1$) leave the hidden layers
frozen.
"""

from limits.deep.solve import NoLimitError, ToleranceWarning, UnknownLimitError, UnresolvedError, sampled, solve

__all__ = ["NoLimitError", "ToleranceWarning", "UnknownLimitError", "UnresolvedError", "sampled", "solve"]
