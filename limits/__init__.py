"""Infinite-width-then-depth limits of residual networks: classify, simulate, recurse, solve, compare."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "COMPLETEP": "parametrization",
    "DEPTH_MUP": "parametrization",
    "DivergedError": "semiseparable",
    "FileFormatError": "trajectory",
    "NEURAL_ODE": "parametrization",
    "NoLimitError": "deep",
    "Parametrization": "parametrization",
    "PhaseDiagram": "regimes",
    "Problem": "problem",
    "Record": "record",
    "Regime": "regimes",
    "ResNet": "problem",
    "SGD": "problem",
    "ToleranceWarning": "deep",
    "Trajectory": "trajectory",
    "UnresolvedError": "deep",
    "classify": "regimes",
    "conditions": "regimes",
    "decode": "recipes",
    "estimate": "cost",
    "ladder": "compare",
    "phase_diagram": "regimes",
    "raw_exponents": "parametrization",
    "recurse": "wide",
    "simulate": "finite",
    "solve": "deep",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("data", "plots"):
        return import_module(f"limits.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'limits' has no attribute {name!r}")
    value = getattr(import_module(f"limits.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
