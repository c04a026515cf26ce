r"""Train a PyTorch model with the hyperparameters of a smaller one.

`plan` sorts the parameters of a model into the roles of `limits.scaling`, by shape against a base and a delta model;
`param_groups` makes groups for `torch.optim` of it, `init_` rescales initial weights, and `apply_multipliers` multiplies readouts
and residual branches. `coordinate_check` trains a model at several sizes and says whether it scales as declared. PyTorch is
imported when one of them is called.
"""

from limits.pytorch.audit import coordinate_check
from limits.pytorch.audit_findings import Audit, Finding, Trap
from limits.pytorch.groups import param_groups
from limits.pytorch.initial import init_
from limits.pytorch.mistakes import mistakes
from limits.pytorch.multipliers import apply_multipliers
from limits.pytorch.parts import Part, UnknownPartError
from limits.pytorch.plan import Plan, plan

__all__ = [
    "Audit",
    "Finding",
    "Part",
    "Plan",
    "Trap",
    "UnknownPartError",
    "apply_multipliers",
    "coordinate_check",
    "init_",
    "mistakes",
    "param_groups",
    "plan",
]
