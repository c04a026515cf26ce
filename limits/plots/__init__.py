"""Pictures, drawn on axes the caller owns; `comparison`, `phases` and `transfers` make whole figures."""

from limits.plots.audit import audit_curves, audit_verdicts, audited
from limits.plots.depth import feature_kernel, increments, kernel_map
from limits.plots.diversity import COMMON, gradient_diversity
from limits.plots.exponents import exponent_check, exponent_verdicts, measured_diversity, measured_exponent
from limits.plots.finite_size import error_model, error_models, error_parts
from limits.plots.regimes import BOX, NAMED, SHADES, UNFAITHFUL, phase_diagram, phases
from limits.plots.rungs import comparison, depth_rate, losses, outputs, rate, width_rate
from limits.plots.style import DEEP, FINITE, WIDE
from limits.plots.transfer import loss_map, optimum, transfer, transfers

__all__ = [
    "BOX",
    "COMMON",
    "DEEP",
    "FINITE",
    "NAMED",
    "SHADES",
    "UNFAITHFUL",
    "WIDE",
    "audit_curves",
    "audit_verdicts",
    "audited",
    "comparison",
    "depth_rate",
    "error_model",
    "error_models",
    "error_parts",
    "exponent_check",
    "exponent_verdicts",
    "feature_kernel",
    "gradient_diversity",
    "increments",
    "kernel_map",
    "loss_map",
    "losses",
    "measured_diversity",
    "measured_exponent",
    "optimum",
    "outputs",
    "phase_diagram",
    "phases",
    "rate",
    "transfer",
    "transfers",
    "width_rate",
]
