r"""Squares of the constants of the error, each fitted to what it is the constant of.

Of means over networks the part in $1/L$ is the bias of the steps in depth, beside parts in $D/(LM)$ and $1/D$, which are squares
of the other terms. The noise outside of the span of U and V is $(D-d)/(LM)$ in d coordinates, beside a part smaller by $1/L$.
Fluctuations within it are $1/D$ and $1/(LM)$.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from limits.finite_size.deviation import Deviation

Array = np.ndarray
PER_CONTROL = 4
"""Networks for every overlap that means are corrected by."""
ITERATIONS = 8
"""Of fits that are weighted by what they find."""


def fitted(found: Sequence[Deviation]) -> dict[str, Array]:
    """Squares of the three constants by kind."""
    within, outputs = ([getattr(one, name) for one in found] for name in ("within", "outputs"))
    noise = _fit([[1.0, 1 / d.blocks] for d in found], [_noise(d) for d in found])
    return {
        "features": np.array([_bias(found, within), max(0.0, noise[0]), _spread(found, within)[0]]),
        "outputs": np.array([_bias(found, outputs), *_spread(found, outputs)[::-1]]),
    }


def ratio(one: Deviation) -> float:
    """D/(LM)."""
    return one.width / (one.blocks * one.block_width)


def _bias(found: Sequence[Deviation], values: Sequence[Array]) -> float:
    """Square of the constant of 1/L in the means over networks, less what chance gives it; mean over samples."""
    design = np.array([[1 / d.blocks, ratio(d), 1 / d.width] for d in found])
    means, errors = (np.array(part) for part in zip(*map(mean_of_networks, found, values), strict=True))
    square = 0.0
    for mean, error in zip(means.T, np.maximum(errors, 1e-12).T, strict=True):
        inverse = np.linalg.pinv(design / error[:, None])
        square += (inverse @ (mean / error))[0] ** 2 - np.sum(inverse[0] ** 2)
    return max(0.0, square / values[0].shape[1])


def mean_of_networks(one: Deviation, values: Array) -> tuple[Array, Array]:
    """Means over networks with standard errors, flat; less what the overlaps of U and V explain, whose mean is known to be 0."""
    flat, controls = values.reshape(len(values), -1), one.overlaps
    if len(flat) < PER_CONTROL * (controls.shape[1] + 1):
        controls = controls[:, :0]
    design = np.concatenate([np.ones((len(flat), 1)), controls], axis=1)
    inverse = np.linalg.pinv(design)
    found = inverse @ flat
    left = np.sum((flat - design @ found) ** 2, 0) / (len(flat) - design.shape[1])
    return found[0], (left * np.sum(inverse[0] ** 2)) ** 0.5


def _spread(found: Sequence[Deviation], values: Sequence[Array]) -> Array:
    """Squares of the constants of 1/sqrt(D) and of 1/sqrt(LM) in the fluctuations over networks."""
    squares = [np.sum((v - v.mean(0)) ** 2, axis=-1).mean(1) * len(v) / (len(v) - 1) for v in values]
    return _fit([[1 / d.width, 1 / (d.blocks * d.block_width)] for d in found], squares, positive=True)


def _noise(one: Deviation) -> Array:
    """Noise outside of the span of U and V, in units of its share of D/(LM), by network."""
    outside = 1 - one.within.shape[2] / one.width
    return one.outside.mean(1) / (ratio(one) * outside)


def _fit(rows: Sequence[Sequence[float]], values: Sequence[Array], positive: bool = False) -> Array:
    """A fit of means over networks, whose relative errors are alike, so that it is weighted by what is fitted."""
    design, means = np.array(rows), np.array([v.mean() for v in values])
    scale = np.maximum(means, 1e-30)
    for _ in range(ITERATIONS):
        weighted = design / scale[:, None], means / scale
        found = nnls(*weighted)[0] if positive else np.linalg.lstsq(*weighted, rcond=None)[0]
        scale = np.maximum(design @ found, 1e-3 * scale)
    return found


def standard_error(values: Array) -> float:
    """Of a mean over networks."""
    return float(values.std(ddof=1) / len(values) ** 0.5)


def noise_powers(found: Sequence[Deviation]) -> Array:
    """Powers of D, M and L in the noise outside of the span of U and V, by least squares of logarithms, shape (3,).

    Raises:
        ValueError: sizes that do not tell the three apart.
    """
    logs = np.log([[d.width, d.block_width, d.blocks] for d in found])
    design = np.concatenate([np.ones((len(logs), 1)), logs], axis=1)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError("sizes must differ in all of D, M and L for their powers to be told apart: give more")
    noise = np.log([_noise(d).mean() * ratio(d) for d in found])
    return np.linalg.lstsq(design, noise, rcond=None)[0][1:]


def drawn_again(found: Sequence[Deviation], rng: np.random.Generator) -> list[Deviation]:
    """Networks of every size, drawn from those there are."""
    return [one.chosen(rng.integers(0, len(one.total), len(one.total))) for one in found]
