r"""Which exponents give which infinite-depth behaviour (TP6, section 7), for any block depth.

Everything follows from one expansion: the branches of all blocks, summed over depth, have one term for every subset $S$ of
the layers whose update takes part (`branch`). `classify` reads the verdicts off it at a point, `conditions` as inequalities
in symbols, and `phase_diagram` as regions of the $(\alpha, \gamma)$ plane.
"""

from limits.regimes.criteria import conditions
from limits.regimes.diagram import PhaseDiagram, Region, phase_diagram
from limits.regimes.expansion import branch, curvature
from limits.regimes.verdict import Regime, Step, classify

__all__ = ["PhaseDiagram", "Regime", "Region", "Step", "branch", "classify", "conditions", "curvature", "phase_diagram"]
