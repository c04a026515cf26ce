"""What a function of one's own must satisfy before anything is computed from it."""

from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np

STEP = 1e-4
POINTS = np.linspace(-4.987, 5.013, 83)


def checked_kinks(kinks: object) -> tuple[float, ...]:
    """The kinks as sorted floats."""
    if not isinstance(kinks, Iterable):
        raise TypeError(f"kinks must be a sequence of numbers, got {kinks!r}")
    found = list(kinks)
    if not all(isinstance(kink, Real) and np.isfinite(float(kink)) for kink in found):
        raise ValueError(f"kinks must be finite numbers, got {found!r}")
    return tuple(sorted({float(kink) for kink in found}))


def check(name: object, phi: object, derivative: object, kinks: tuple[float, ...]) -> None:
    r"""Raise a sentence unless $\phi$ and $\phi'$ are finite, fit each other, and grow slower than a Gaussian decays."""
    if not isinstance(name, str) or not name.strip():
        raise TypeError(f"the name of a nonlinearity must be a text, got {name!r}")
    with np.errstate(all="ignore"):
        slopes = _values(derivative, POINTS, "derivative")
        _values(phi, POINTS, "phi")
        _check_slopes(phi, slopes, np.array(kinks))
        for function, what in ((phi, "phi"), (derivative, "derivative")):
            _check_growth(function, what)


def _values(f: Any, z: np.ndarray, what: str) -> np.ndarray:
    if not callable(f):
        raise TypeError(f"{what} must be a function of every entry of an array, got {f!r}")
    try:
        found = np.asarray(f(z))
    except Exception as error:
        raise TypeError(
            f"{what} must act on every entry of an array, got {type(error).__name__} on a numpy array: {error}"
        ) from error
    if found.shape != z.shape or not np.issubdtype(found.dtype, np.floating):
        raise TypeError(f"{what} must return one real number per entry, got {found.dtype} of shape {found.shape} for {z.shape}")
    if not np.all(np.isfinite(found)):
        raise ValueError(f"{what} must be finite, got {found[~np.isfinite(found)][0]} at z = {z[~np.isfinite(found)][0]:.4g}")
    return found


def _check_slopes(phi: Any, slopes: np.ndarray, kinks: np.ndarray) -> None:
    differences = (_values(phi, POINTS + STEP, "phi") - _values(phi, POINTS - STEP, "phi")) / (2 * STEP)
    away = np.all(abs(POINTS[:, None] - kinks) > 2 * STEP, axis=1)
    errors = np.where(away, abs(differences - slopes), 0.0)
    worst = int(np.argmax(errors))
    if errors[worst] > 1e-4 * max(1.0, np.max(abs(slopes))):
        raise ValueError(
            f"derivative must be that of phi, got {slopes[worst]:.6g} at z = {POINTS[worst]:.4g} where phi has slope "
            f"{differences[worst]:.6g}: a kink there must be among the kinks"
        )


def _check_growth(f: Any, what: str) -> None:
    r"""Refuse $\log|f|$ that grows like $z^2$, judged at 12 and 24."""
    for sign in (1, -1):
        size = np.log(np.maximum(abs(np.asarray(f(sign * np.array([12.0, 24.0])), float)), 1e-300))
        if not size[1] <= 30 and not size[1] <= 0.65 * 4 * size[0]:
            raise ValueError(f"{what} must grow slower than exp(z^2), or its Gaussian expectations are infinite at some variance")
