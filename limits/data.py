"""Inputs and targets: handwritten digits, files, linear teachers, and the batches drawn from them."""

import csv
import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from limits.losses import one_hot
from limits.optimizers import Optimizer
from limits.parametrization import Parametrization
from limits.problem import Problem, ResNet
from limits.validation import whole

DIRECTIONS = 10
"""Input dimension of the digits, unless another is asked for."""
TARGETS = ("one-hot", "signs", "classes")


@dataclass(frozen=True, eq=False)
class Dataset:
    r"""P samples to train on and R probes to evaluate.

    Attributes:
        inputs: $\xi$, shape (P, d_in).
        targets: $y$, shape (P, d_out), or integer classes (P,).
        loss: the loss the targets are made for; any other that takes them will do.
        probes: shape (R, d_in), or None.
        probe_targets: like `targets`, or None.
        description: one line saying what it is.
    """

    inputs: np.ndarray
    targets: np.ndarray
    loss: str = "mse"
    probes: np.ndarray | None = None
    probe_targets: np.ndarray | None = None
    description: str = ""

    def __repr__(self) -> str:
        probes = "" if self.probes is None else f", {len(self.probes)} probes"
        return f"Dataset({len(self.inputs)} samples{probes}, {self.inputs.shape[1]} inputs, {self.loss}: {self.description})"

    def problem(
        self,
        model: ResNet,
        parametrization: Parametrization,
        optimizer: Optimizer,
        *,
        loss: str | None = None,
        batches: object = None,
    ) -> Problem:
        """Training on these data.

        >>> from limits import DEPTH_MUP, SGD, ResNet
        >>> teacher(20, 3).problem(ResNet(), DEPTH_MUP, SGD(0.5, steps=2)).d_in
        3
        """
        return Problem(
            model,
            parametrization,
            optimizer,
            self.inputs,
            self.targets,
            loss=loss or self.loss,
            batches=batches,
            probes=self.probes,
            probe_targets=self.probe_targets,
        )


def digits(
    classes: Sequence[int] = (0, 1),
    *,
    samples: int = 100,
    directions: int | None = None,
    probes: int = 0,
    seed: int = 0,
    targets: str | None = None,
) -> Dataset:
    r"""Handwritten digits (8 x 8 pixels, bundled with scikit-learn) on their leading principal directions.

    With $z$ the pixels, $\bar z$ their mean over the chosen training samples and $r_1, r_2, \dots$ the right singular
    vectors of the centred training samples, in falling order of variance,

    $$ \xi_{\mu b} = s\, r_b \cdot (z_\mu - \bar z), \qquad s > 0 \text{ such that }
       \frac1P \sum_\mu \frac{|\xi_\mu|^2}{d_{in}} = 1 . $$

    Each $r_b$ has its largest entry positive. Probes go through the same $\bar z$, $r$ and $s$. Samples alternate between the
    classes; a larger P with the same seed adds samples, and the probes stay the same.

    Args:
        classes: which digits, at least two.
        samples: P, shared equally among the classes.
        directions: d_in, at most the rank of the centred training samples; 10 by default, or that rank if it is less.
        probes: R, further digits that are not trained on.
        seed: of the choice of samples.
        targets: "signs" (two classes: -1 for the first, 1 for the second; one output), "one-hot" (an output per class) or
            "classes" (integers, for the cross-entropy); by default "signs" for two classes, else "one-hot".

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: no such classes, more samples than there are, more directions than their rank.

    >>> data = digits((3, 8), samples=40, directions=4)
    >>> data.inputs.shape, data.targets[:4, 0], float((data.inputs**2).mean().round(12))
    ((40, 4), array([-1.,  1., -1.,  1.]), 1.0)
    """
    chosen = _checked_classes(classes)
    targets = targets or ("signs" if len(chosen) == 2 else "one-hot")
    _check_targets(targets, chosen)
    samples = whole(samples, "samples", low=len(chosen))
    directions = None if directions is None else whole(directions, "directions")
    pixels, labels = _load_digits()
    train, held = _draw(labels, chosen, samples, whole(probes, "probes", low=0), whole(seed, "seed", low=0))
    project = _principal(pixels[train], directions)
    return Dataset(
        inputs=project(pixels[train]),
        targets=_encode(labels[train], chosen, targets),
        loss="cross_entropy" if targets == "classes" else "mse",
        probes=project(pixels[held]) if len(held) else None,
        probe_targets=_encode(labels[held], chosen, targets) if len(held) else None,
        description=f"handwritten digits {', '.join(map(str, chosen))}: {samples} samples on {directions} principal directions",
    )


def _checked_classes(classes: Sequence[int]) -> tuple[int, ...]:
    chosen = tuple(classes)
    if any(c not in range(10) for c in chosen) or len(set(chosen)) != len(chosen) or len(chosen) < 2:
        raise ValueError(f"classes must be at least two different digits 0 … 9, got {chosen}")
    return tuple(int(c) for c in chosen)


def _check_targets(targets: str, chosen: tuple[int, ...]) -> None:
    if targets not in TARGETS:
        raise ValueError(f"targets must be one of {', '.join(TARGETS)}, got {targets!r}")
    if targets == "signs" and len(chosen) != 2:
        raise ValueError(f"targets -1 and 1 need two classes, got {len(chosen)}: choose two, or targets='one-hot'")


def _load_digits() -> tuple[Float[np.ndarray, "n 64"], Int[np.ndarray, " n"]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError('the digits come with scikit-learn, which is missing: pip install "depth-limits[data]"') from None
    pixels, labels = load_digits(return_X_y=True)
    return np.asarray(pixels) / 16, np.asarray(labels)


def _draw(labels: np.ndarray, chosen: tuple[int, ...], samples: int, probes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training samples from the front of a random order of each class, probes from its back."""
    k = len(chosen)
    orders = [np.random.default_rng([seed, c]).permutation(np.flatnonzero(labels == c)) for c in chosen]
    for i, order in enumerate(orders):
        if (wanted := len(range(i, samples, k)) + len(range(i, probes, k))) > len(order):
            raise ValueError(
                f"there are {len(order)} digits of class {chosen[i]}, got a wish for {wanted}: ask for fewer samples or probes"
            )
    train = np.array([orders[i % k][i // k] for i in range(samples)], int)
    return train, np.array([orders[i % k][-1 - i // k] for i in range(probes)], int)


def _principal(train: np.ndarray, directions: int | None):
    """The map from pixels to scaled coordinates on the leading principal directions of `train`."""
    mean = train.mean(0)
    _, sizes, rows = np.linalg.svd(train - mean, full_matrices=False)
    rank = int(np.count_nonzero(sizes > 1e-10 * sizes[0]))
    directions = min(DIRECTIONS, rank) if directions is None else directions
    if directions > rank:
        raise ValueError(f"directions must be at most {rank}, the rank of the {len(train)} centred samples, got {directions}")
    rows = rows[:directions]
    rows = rows * np.sign(rows[np.arange(directions), np.abs(rows).argmax(1)])[:, None]
    scale = 1 / np.sqrt(np.mean(((train - mean) @ rows.T) ** 2))
    return lambda pixels: scale * (pixels - mean) @ rows.T


def _encode(labels: np.ndarray, chosen: tuple[int, ...], targets: str) -> np.ndarray:
    classes = np.array([chosen.index(c) for c in labels], int)
    if targets == "classes":
        return classes
    return one_hot(classes, len(chosen)) if targets == "one-hot" else 2.0 * classes[:, None] - 1


def teacher(samples: int, d_in: int, *, d_out: int = 1, noise: float = 0.0, probes: int = 0, seed: int = 0) -> Dataset:
    r"""A linear teacher: $y = A\xi/\sqrt{d_{in}} + \sigma\epsilon$ with iid $N(0, 1)$ entries of $A$, $\xi$ and $\epsilon$.

    Args:
        samples: P; a larger P with the same seed adds samples.
        d_in: input dimension.
        d_out: output dimension.
        noise: $\sigma \ge 0$, of the training targets; probes have none.
        probes: R.
        seed: of everything drawn.

    Raises:
        ValueError: sizes that are no whole numbers >= 1, negative noise.

    >>> teacher(50, 8, d_out=2, seed=1).targets.shape
    (50, 2)
    """
    samples, d_in, d_out = whole(samples, "samples"), whole(d_in, "d_in"), whole(d_out, "d_out")
    probes, seed = whole(probes, "probes", low=0), whole(seed, "seed", low=0)
    if not 0 <= noise < np.inf:
        raise ValueError(f"noise must be finite and >= 0, got {noise!r}")
    weights, xi, held, epsilon = (
        np.random.default_rng([seed, i]).standard_normal(shape)
        for i, shape in enumerate([(d_out, d_in), (samples, d_in), (probes, d_in), (samples, d_out)])
    )
    weights = weights.T / np.sqrt(d_in)
    return Dataset(
        inputs=xi,
        targets=xi @ weights + noise * epsilon,
        probes=held if probes else None,
        probe_targets=held @ weights if probes else None,
        description=f"a linear teacher: {samples} samples in {d_in} dimensions",
    )


def minibatches(samples: int, size: int, *, steps: int, seed: int = 0) -> list[Int[np.ndarray, " b"]]:
    """T batches of `size` different samples: every epoch is a fresh random order, cut up, its remainder dropped.

    Args:
        samples: P.
        size: B, samples of a batch.
        steps: T; more steps with the same seed add batches.
        seed: of all orders, drawn one after the other from `default_rng(seed)`.

    Returns:
        What `Problem(..., batches=...)` takes: T index arrays of shape (B,).

    Raises:
        ValueError: `size` is not between 1 and `samples`, or steps or seed are no whole numbers >= 0.

    >>> [b.tolist() for b in minibatches(4, 2, steps=2)]
    [[2, 0], [1, 3]]
    """
    if whole(size, "the batch size") > samples:
        raise ValueError(f"the batch size must be at most the number of samples, {samples}, got {size}")
    steps, seed, each = whole(steps, "steps", low=0), whole(seed, "seed", low=0), samples // size
    rng = np.random.default_rng(seed)
    epochs = (np.split(rng.permutation(samples)[: each * size], each) for _ in range(-(-steps // each)))
    return list(chain.from_iterable(epochs))[:steps]


def load(path: str | os.PathLike[str]) -> Dataset:
    """Read data from a file.

    `.npz`: arrays `inputs` (P, d_in) and `targets` (P, d_out) or (P,), and optionally `probes` and `probe_targets`; made by
    `numpy.savez(path, inputs=..., targets=...)`.

    `.csv`: a first line that names the columns, then one line of numbers per sample. Columns named `y`, `target` or
    `targets`, with or without a number (`y0`, `target_1`), are targets; if there are none, the last column is. Columns named `x`,
    `input` or `inputs` likewise are inputs, and then every column must be one or the other; if there are none, all that are
    no targets are inputs.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another suffix, a missing array or column, or anything that is no finite number, with its line.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(folder + "/mine.npz", inputs=[[1.0, 2.0], [3.0, 4.0]], targets=[[1.0], [-1.0]])
    ...     load(folder + "/mine.npz")
    Dataset(2 samples, 2 inputs, mse: mine.npz)
    """
    path = Path(path)
    if path.suffix.lower() not in _READERS:
        raise ValueError(f"data come from .npz or .csv files, got {str(path)!r}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no data file {str(path)!r}")
    return _READERS[path.suffix.lower()](path)


load_data = load
"""`load`, by the name it has in `limits`."""


def _read_npz(path: Path) -> Dataset:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, TypeError, AttributeError, EOFError, OSError, zipfile.BadZipFile):
        raise ValueError(f"{path} is no .npz file of numeric arrays, or is damaged: make it with numpy.savez") from None
    for name in ("inputs", "targets"):
        if name not in arrays:
            held = ", ".join(map(repr, arrays)) or "nothing"
            raise ValueError(
                f"{path} has no array {name!r}, it holds {held}: write it with numpy.savez(path, inputs=..., targets=...)"
            )
    parts = {name: arrays[name] for name in ("inputs", "targets", "probes", "probe_targets") if name in arrays}
    for name, array in parts.items():
        if array.dtype.kind not in "biuf":
            raise ValueError(f"the array {name!r} of {path} must hold real numbers, got {array.dtype}")
    columns = {name: a[:, None] for name, a in parts.items() if a.ndim == 1 and name.endswith("targets")}
    return Dataset(**parts | columns, description=path.name)


def _read_csv(path: Path) -> Dataset:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as fault:
        raise ValueError(f"{path} is no text in UTF-8 with comma-separated values: {fault}") from None
    if len(lines) < 2:
        raise ValueError(
            f"{path} must have a line that names the columns and a line of numbers per sample, got {len(lines)} lines"
        )
    names = [name.strip() for name in lines[0][1]]
    targets = _target_columns(path, names)
    table = np.array([_numbers(path, line, row, names) for line, row in lines[1:]])
    inputs = [i for i in range(len(names)) if i not in targets]
    return Dataset(table[:, inputs], table[:, targets], description=path.name)


def _target_columns(path: Path, names: list[str]) -> list[int]:
    def named(pattern: str) -> list[int]:
        return [i for i, name in enumerate(names) if re.fullmatch(rf"(?:{pattern})[_ ]?\d*", name.lower())]

    if all(_is_number(name) for name in names):
        raise ValueError(f"the first line of {path} must name the columns, got numbers: put x1,x2,…,y above them")
    if len(names) < 2:
        raise ValueError(f"{path} must have at least one column of inputs and one of targets, got only {names[0]!r}")
    inputs, targets = named("x|inputs?"), named("y|targets?") or [len(names) - 1]
    if stray := [name for i, name in enumerate(names) if inputs and i not in {*inputs, *targets}]:
        raise ValueError(
            f"column {stray[0]!r} of {path} is neither an input (x1, x2, …) nor a target (y1, …): rename or remove it"
        )
    if len(targets) == len(names):
        raise ValueError(f"all columns of {path} are targets: name the inputs x1, x2, …")
    return targets


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


def _numbers(path: Path, line: int, row: list[str], names: list[str]) -> list[float]:
    if len(row) != len(names):
        raise ValueError(f"{path}, line {line}: {len(names)} numbers were wanted, one per column, got {len(row)}")
    for name, cell in zip(names, row, strict=True):
        if not _is_number(cell):
            raise ValueError(f"{path}, line {line}, column {name!r}: {cell.strip()!r} is not a finite number")
    return [float(cell) for cell in row]


_READERS = {".npz": _read_npz, ".csv": _read_csv}
