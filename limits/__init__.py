"""Infinite-width-then-depth limits of residual networks: classify, simulate, recurse, solve, compare."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limits import compare as compare
    from limits import data as data
    from limits import diversity as diversity
    from limits import explorer as explorer
    from limits import finite_size as finite_size
    from limits import lazy as lazy
    from limits import plots as plots
    from limits import pytorch as pytorch
    from limits import scaling as scaling
    from limits import sweeps as sweeps
    from limits.compare import ladder as ladder
    from limits.cost import estimate as estimate
    from limits.deep import (
        NoLimitError as NoLimitError,
    )
    from limits.deep import (
        ToleranceWarning as ToleranceWarning,
    )
    from limits.deep import (
        UnresolvedError as UnresolvedError,
    )
    from limits.deep import (
        solve as solve,
    )
    from limits.desiderata import Feasible as Feasible
    from limits.desiderata import Impossible as Impossible
    from limits.desiderata import design as design
    from limits.finite import DivergenceWarning as DivergenceWarning
    from limits.finite import Grid as Grid
    from limits.finite import UncentredWarning as UncentredWarning
    from limits.finite import grid as grid
    from limits.finite import simulate as simulate
    from limits.lazy import nngp as nngp
    from limits.lazy import ntk as ntk
    from limits.nonlinearity import Nonlinearity as Nonlinearity
    from limits.optimizers import SGD as SGD
    from limits.optimizers import Adam as Adam
    from limits.optimizers import AdamW as AdamW
    from limits.optimizers import Muon as Muon
    from limits.optimizers import SignSGD as SignSGD
    from limits.parametrization import (
        COMPLETEP as COMPLETEP,
    )
    from limits.parametrization import (
        DEPTH_MUP as DEPTH_MUP,
    )
    from limits.parametrization import (
        NEURAL_ODE as NEURAL_ODE,
    )
    from limits.parametrization import (
        Parametrization as Parametrization,
    )
    from limits.parametrization import (
        raw_exponents as raw_exponents,
    )
    from limits.problem import Problem as Problem
    from limits.problem import ResNet as ResNet
    from limits.recipes import decode as decode
    from limits.record import Record as Record
    from limits.regimes import (
        PhaseDiagram as PhaseDiagram,
    )
    from limits.regimes import (
        Regime as Regime,
    )
    from limits.regimes import (
        classify as classify,
    )
    from limits.regimes import (
        conditions as conditions,
    )
    from limits.regimes import (
        phase_diagram as phase_diagram,
    )
    from limits.scaling import Scaling as Scaling
    from limits.scaling import Size as Size
    from limits.scaling import scale as scale
    from limits.training import DivergedError as DivergedError
    from limits.trajectory import FileFormatError as FileFormatError
    from limits.trajectory import Interrupted as Interrupted
    from limits.trajectory import Trajectory as Trajectory
    from limits.wide import recurse as recurse

__version__ = "0.1.0"

_HOMES = {
    "Adam": "optimizers",
    "AdamW": "optimizers",
    "Muon": "optimizers",
    "SignSGD": "optimizers",
    "COMPLETEP": "parametrization",
    "DEPTH_MUP": "parametrization",
    "DivergedError": "training",
    "DivergenceWarning": "finite",
    "Feasible": "desiderata",
    "FileFormatError": "trajectory",
    "Grid": "finite",
    "Impossible": "desiderata",
    "Interrupted": "trajectory",
    "NEURAL_ODE": "parametrization",
    "NoLimitError": "deep",
    "Nonlinearity": "nonlinearity",
    "Parametrization": "parametrization",
    "PhaseDiagram": "regimes",
    "Problem": "problem",
    "Record": "record",
    "Regime": "regimes",
    "ResNet": "problem",
    "SGD": "optimizers",
    "Scaling": "scaling",
    "Size": "scaling",
    "ToleranceWarning": "deep",
    "UncentredWarning": "finite",
    "Trajectory": "trajectory",
    "UnresolvedError": "deep",
    "classify": "regimes",
    "conditions": "regimes",
    "decode": "recipes",
    "design": "desiderata",
    "estimate": "cost",
    "grid": "finite",
    "ladder": "compare",
    "nngp": "lazy",
    "ntk": "lazy",
    "phase_diagram": "regimes",
    "raw_exponents": "parametrization",
    "recurse": "wide",
    "scale": "scaling",
    "simulate": "finite",
    "solve": "deep",
}
_ROOMS = ("compare", "data", "diversity", "explorer", "finite_size", "lazy", "plots", "pytorch", "scaling", "sweeps")

__all__ = [
    "COMPLETEP",
    "DEPTH_MUP",
    "NEURAL_ODE",
    "SGD",
    "Adam",
    "AdamW",
    "DivergedError",
    "DivergenceWarning",
    "Feasible",
    "FileFormatError",
    "Grid",
    "Impossible",
    "Interrupted",
    "Muon",
    "NoLimitError",
    "Nonlinearity",
    "Parametrization",
    "PhaseDiagram",
    "Problem",
    "Record",
    "Regime",
    "ResNet",
    "Scaling",
    "SignSGD",
    "Size",
    "ToleranceWarning",
    "Trajectory",
    "UncentredWarning",
    "UnresolvedError",
    "__version__",
    "classify",
    "conditions",
    "decode",
    "design",
    "estimate",
    "grid",
    "ladder",
    "nngp",
    "ntk",
    "phase_diagram",
    "raw_exponents",
    "recurse",
    "scale",
    "simulate",
    "solve",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"limits.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'limits' has no attribute {name!r}")
    value = getattr(import_module(f"limits.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
