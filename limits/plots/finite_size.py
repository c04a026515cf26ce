"""The error of networks: measured against fitted, and what it is made of."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from limits.finite_size import ErrorModel, Held
from limits.finite_size.model import TERMS, squares
from limits.plots.style import DEEP, FINITE, WIDE, legend

PARTS = (FINITE, WIDE, "#009E73")
"""Colours of the three terms."""


def error_model(axes: Any, model: ErrorModel, kind: str = "features", held: Sequence[Held] = ()) -> Any:
    """Measured errors against fitted ones, the diagonal where they agree; full marks for sizes that were only predicted.

    >>> from matplotlib.figure import Figure
    >>> from limits import COMPLETEP, SGD, Problem, ResNet, finite_size
    >>> one = Problem(ResNet("tanh", 2, form="mlp"), COMPLETEP, SGD(0.5, steps=1), [[1.0]], [[1.0]])
    >>> few = [(16, 32, 4), (16, 16, 8), (32, 16, 4), (16, 16, 16)]
    >>> axes = error_model(Figure().subplots(), finite_size.error_model(one, sizes=few, seeds=8, tol=1e-2))
    >>> axes.get_title(), axes.get_xlabel(), axes.get_ylabel()
    ('Error of features', 'error, fitted', 'error, measured')
    """
    fitted, measured, errors = [], [], []
    for size, (square, spread) in model.measured(kind).items():
        fitted.append(model.error(*size, kind).value)
        measured.append(square**0.5)
        errors.append(1.96 * spread / (2 * square**0.5))
    axes.errorbar(fitted, measured, yerr=errors, fmt="o", mfc="white", color=FINITE, ms=5, lw=1, capsize=2, label="fitted sizes")
    if held:
        x, y = [one.predicted[kind] for one in held], [one.measured[kind] for one in held]
        bars = {"xerr": _bars(x), "yerr": _bars(y), "fmt": "o", "ms": 5, "lw": 1, "capsize": 2}
        axes.errorbar([p.value for p in x], [m.value for m in y], color=WIDE, label="predicted sizes", **bars)
    ends = np.array([0.8, 1.25]) * np.array([min(axes.get_xlim()[0], min(fitted)), max(fitted)]).clip(1e-9)
    axes.plot(ends, ends, color=DEEP, lw=1, ls="--", label="measured = fitted")
    axes.set(xscale="log", yscale="log", xlabel="error, fitted", ylabel="error, measured", title=f"Error of {kind}")
    legend(axes, fontsize=8)
    return axes


def _bars(intervals: Sequence[Any]) -> np.ndarray:
    return np.array([[i.value - i.low for i in intervals], [i.high - i.value for i in intervals]]).clip(0)


def error_parts(axes: Any, model: ErrorModel, kind: str = "features", ratio: float = 1.0, blocks: int = 16) -> Any:
    """What the error is made of against width, at a ratio M/D and a number of blocks.

    >>> from matplotlib.figure import Figure
    >>> from limits import COMPLETEP, SGD, Problem, ResNet, finite_size
    >>> one = Problem(ResNet("tanh", 2, form="mlp"), COMPLETEP, SGD(0.5, steps=1), [[1.0]], [[1.0]])
    >>> few = [(16, 32, 4), (16, 16, 8), (32, 16, 4), (16, 16, 16)]
    >>> axes = error_parts(Figure().subplots(), finite_size.error_model(one, sizes=few, seeds=8, tol=1e-2), blocks=8)
    >>> axes.get_title(), axes.lines[-1].get_label()
    ('features, M = 1 D, L = 8', 'error')
    """
    widths = np.geomspace(16, 4096, 49)
    terms = np.array([squares(kind, (D, ratio * D, blocks)) for D in widths]) * model.constants[kind]
    for name, part, colour in zip(TERMS[kind], terms.T, PARTS, strict=True):
        if part.any():
            axes.plot(widths, part**0.5, color=colour, lw=1.4, label=name)
    axes.plot(widths, terms.sum(1) ** 0.5, color=DEEP, lw=2.2, label="error")
    axes.set(xscale="log", yscale="log", xlabel="width D", ylabel="error", title=f"{kind}, M = {ratio:g} D, L = {blocks}")
    legend(axes, fontsize=8)
    return axes


def error_models(model: ErrorModel, held: Sequence[Held] = ()) -> Any:
    """A figure: measured against fitted errors, and their parts, of features and of outputs.

    >>> from limits import COMPLETEP, SGD, Problem, ResNet, finite_size
    >>> one = Problem(ResNet("tanh", 2, form="mlp"), COMPLETEP, SGD(0.5, steps=1), [[1.0]], [[1.0]])
    >>> few = [(16, 32, 4), (16, 16, 8), (32, 16, 4), (16, 16, 16)]
    >>> figure = error_models(finite_size.error_model(one, sizes=few, seeds=8, tol=1e-2))
    >>> [axes.get_xlabel() for axes in figure.axes]
    ['error, fitted', 'width D', 'error, fitted', 'width D']
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 7.5), layout="constrained")
    axes = figure.subplots(2, 2)
    for row, kind in zip(axes, ("features", "outputs"), strict=True):
        error_model(row[0], model, kind, held)
        error_parts(row[1], model, kind)
    return figure
