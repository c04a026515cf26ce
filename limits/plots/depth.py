"""Features over the depth: their kernel along training, and how far they move."""

from typing import Any

import numpy as np

from limits.diversity import feature_increments
from limits.plots.style import edges, legend, named
from limits.trajectory import Trajectory


def feature_kernel(axes: Any, run: Trajectory, sample: int = 0) -> Any:
    """The squared feature norm C0 of one sample against depth, a line per training step from light to dark.

    Raises:
        ValueError: the trajectory holds no feature kernel.

    >>> from matplotlib.figure import Figure
    >>> from limits import DEPTH_MUP, SGD, Problem, ResNet, recurse
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=2), [[1.0]], [[1.0]])
    >>> axes = feature_kernel(Figure().subplots(), recurse(one, blocks=4))
    >>> axes.get_xlabel(), len(axes.lines)  # a line per step
    ('depth p = l/L', 3)
    """
    if run.feature_kernel is None:
        raise ValueError('the trajectory holds no feature kernel: compute it with record=Record(kinds=("feature",))')
    from matplotlib import colormaps

    shades = colormaps["viridis_r"](np.linspace(0.08, 1.0, len(run.steps)))
    across, up = np.argsort(run.positions), np.argsort(run.steps)
    for shade, (k, row) in zip(shades, enumerate(up), strict=True):
        label = f"step {run.steps[row]}" if k in named(len(up)) else None
        values = run.feature_kernel[row, row, across, sample, sample]
        axes.plot(run.positions[across], values, color=shade, lw=1.5, label=label, marker="." if len(across) == 1 else None)
    title = f"$C^0(p)$ of sample {run.recorded[sample]} over training"
    axes.set(xlabel="depth p = l/L", ylabel="$C^0_{tt}(p)$", title=title, xlim=(0, 1))
    axes.set_ylim(bottom=0)
    legend(axes, fontsize=8)
    return axes


def kernel_map(axes: Any, run: Trajectory, sample: int = 0) -> Any:
    """The squared feature norm of one sample over depth (across) and training step (up), as a map.

    Raises:
        ValueError: the trajectory holds no feature kernel.

    >>> from matplotlib.figure import Figure
    >>> from limits import DEPTH_MUP, SGD, Problem, ResNet, recurse
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=2), [[1.0]], [[1.0]])
    >>> axes = kernel_map(Figure().subplots(), recurse(one, blocks=4))
    >>> axes.get_ylabel(), axes.collections[0].get_array().shape  # steps, depths
    ('step', (3, 5))
    """
    if run.feature_kernel is None:
        raise ValueError('the trajectory holds no feature kernel: compute it with record=Record(kinds=("feature",))')
    positions, across = np.unique(run.positions, return_index=True)
    steps, up = np.unique(run.steps, return_index=True)
    values = np.stack([run.feature_kernel[k, k, across, sample, sample] for k in up])
    mesh = axes.pcolormesh(edges(positions), edges(steps), values, cmap="viridis", vmin=0)
    axes.figure.colorbar(mesh, ax=axes, label="$C^0_{tt}(p)$")
    axes.set(xlabel="depth p = l/L", ylabel="step", title=f"Feature kernel of sample {run.recorded[sample]}", xlim=(0, 1))
    axes.yaxis.get_major_locator().set_params(integer=True)
    return axes


def increments(axes: Any, run: Trajectory, sample: int = 0) -> Any:
    r"""Root mean square increments of one sample's features over depth, a line per training step from light to dark.

    From the first recorded position, against the distance $\varepsilon$, on logarithmic axes; dotted lines have the slopes
    $1 - \kappa$ of diverse features (1/2) and of redundant ones (1).

    Raises:
        ValueError: the trajectory holds no two-depth kernels, or only one position.

    >>> from matplotlib.figure import Figure
    >>> from limits import DEPTH_MUP, SGD, Problem, Record, ResNet, recurse
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=2), [[1.0]], [[1.0]])
    >>> run = recurse(one, blocks=4, record=Record(positions=(0, 0.5, 1), kinds=("two_depth",)))
    >>> axes = increments(Figure().subplots(), run)
    >>> axes.get_xscale(), len(axes.lines)  # three steps, two slopes
    ('log', 5)
    """
    from matplotlib import colormaps

    moved, first = feature_increments(run)[:, 0, :, sample], run.positions[0]
    distance = np.abs(run.positions - first)
    across, up = np.argsort(distance), np.argsort(run.steps)
    across = across[distance[across] > 0]
    if not len(across):
        raise ValueError(f"increments need two different positions or more, got only p = {first:g}")
    sizes = np.sqrt(np.maximum(moved[:, across], 0.0))
    shades = colormaps["viridis_r"](np.linspace(0.08, 1.0, len(run.steps)))
    for shade, (k, row) in zip(shades, enumerate(up), strict=True):
        label = f"step {run.steps[row]}" if k in named(len(up)) else None
        seen = sizes[row] > 0
        if label and not np.any(seen):
            label += ": nothing moves"
        axes.plot(distance[across][seen], sizes[row][seen], color=shade, lw=1.5, marker=".", ms=5, label=label)
    if np.any(sizes > 0):
        axes.set(xlim=(0.7 * distance[across[0]], 1.4 * distance.max()), ylim=(0.3 * sizes[sizes > 0].min(), 2 * sizes.max()))
        axes.set(xscale="log", yscale="log")
        _slopes(axes, distance[across], sizes[sizes > 0])
    title = f"Increments of sample {run.recorded[sample]}'s features from p = {first:g}"
    axes.set(xlabel=r"distance in depth $\varepsilon$", ylabel=r"rms of $x(p + \varepsilon) - x(p)$", title=title)
    axes.grid(alpha=0.25, which="major")
    legend(axes, fontsize=8, loc="upper left")
    return axes


def _slopes(axes: Any, distance: np.ndarray, sizes: np.ndarray) -> None:
    """Grey lines of slope 1/2 and 1 from a common point below all others, as far as the picture goes."""
    start, bottom, top = distance.min(), 0.5 * sizes.min(), sizes.max()
    for slope, what, style in ((0.5, "slope 1/2: diverse", ":"), (1.0, "slope 1: redundant", "--")):
        end = min(distance.max(), start * (top / bottom) ** (1 / slope))
        line = bottom * (np.array([start, end]) / start) ** slope
        axes.plot([start, end], line, color="0.5", lw=1.1, ls=style, zorder=1, label=what)
