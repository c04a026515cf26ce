"""The answer all three rungs give: outputs, losses and kernels along training."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

import limits
from limits.losses import accuracy
from limits.markup import curve, html_table
from limits.nonlinearity import Nonlinearity, nonlinearity
from limits.optimizers import OPTIMIZERS
from limits.parametrization import Parametrization
from limits.problem import Problem, ResNet
from limits.validation import expect

FORMAT = 3
"""Version of the file format; files of this or an older version are read."""


class Interrupted(KeyboardInterrupt):
    """A rung was interrupted; `partial` is what it had finished, with "partial" in its `meta`.

    >>> from limits import DEPTH_MUP, SGD, recurse
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=3), [[1.0]], [[1.0]])
    >>> def stop(done, total):  # as Ctrl-C does
    ...     if done == 2:
    ...         raise KeyboardInterrupt
    >>> try:
    ...     recurse(one, blocks=4, progress=stop)
    ... except Interrupted as stopped:
    ...     print(stopped.partial)
    Trajectory(wide, blocks=4, 2 steps, loss 0.5 -> 0.464645, partial)
    """

    def __init__(self, partial: Any) -> None:
        super().__init__("interrupted; what was finished is in .partial")
        self.partial = partial


class FileFormatError(ValueError):
    """A file is not a trajectory, is damaged, or was written by a newer version.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "run.npz")
    ...     np.savez(path, outputs=np.zeros(3))
    ...     try:
    ...         Trajectory.load(path)
    ...     except FileFormatError as why:
    ...         print(str(why).replace(folder, "…"))
    …/run.npz is not a trajectory saved by limits, or is damaged: 'header is not a file in the archive'
    """


@dataclass(frozen=True, eq=False)
class Trajectory:
    """What training does: every rung's answer to a `Problem`. K recorded steps, M positions, S recorded samples.

    Attributes:
        problem: what was asked.
        outputs: f, shape (T + 1, P + R, d_out), inputs first, then probes; averaged over seeds where there are any.
        error: estimated absolute error of `outputs`, same shape: numerical (`solve`), standard error over seeds
            (`simulate`; NaN for one seed), 0 where exact (`recurse`).
        losses: mean loss over all inputs, shape (T + 1,); the seeds' mean for `simulate`.
        batch_losses: mean loss over the batch of each step, shape (T,).
        accuracy: share of inputs classified rightly, shape (T + 1,); None unless targets are classes.
        probe_losses, probe_accuracy: the same for probes with targets, else None.
        steps: recorded evaluations, shape (K,).
        positions: recorded depths p, shape (M,).
        recorded: recorded samples, shape (S,).
        feature_kernel: C0 = E x_i x_j, shape (K, K, M, S, S), or None.
        gradient_kernel: C1 = E delta_i delta_j, shape (K, K, M, S, S), or None.
        two_depth_kernel: E x_i(p) x_j(q), shape (K, K, M, M, S, S), or None.
        response: [0] of forward direction b at (t, p) to the noise of backward direction e at (s, q); [1] of backward
            direction e at (t, p) to the noise of forward direction b at (s, q); shape (2, K, K, M, M, r, d_out), or None. At
            finitely many blocks the noise at q = l/L is that of block l + 1 in [0] and of block l in [1]. Of nonlinear blocks
            it is that of samples, shape (2, K, K, M, M, S, S): of x_(t,i)(p) to the noise of delta_(s,j) at q, and vice versa.
        feature_kernel_error, gradient_kernel_error, two_depth_kernel_error: standard errors of the kernels, of their shapes,
            where they are means over samples of neurons (`recurse`); None elsewhere.
        samples: outputs of every seed, shape (seeds, T + 1, P + R, d_out), NaN from where a seed diverged; `simulate` only.
        diverged: for every seed the evaluation at which it diverged, or -1.
        meta: rung, sizes, version, wall time in seconds.
    """

    problem: Problem
    outputs: np.ndarray
    error: np.ndarray
    losses: np.ndarray
    batch_losses: np.ndarray
    accuracy: np.ndarray | None = None
    probe_losses: np.ndarray | None = None
    probe_accuracy: np.ndarray | None = None
    steps: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    positions: np.ndarray = field(default_factory=lambda: np.zeros(0))
    recorded: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    feature_kernel: np.ndarray | None = None
    gradient_kernel: np.ndarray | None = None
    two_depth_kernel: np.ndarray | None = None
    response: np.ndarray | None = None
    feature_kernel_error: np.ndarray | None = None
    gradient_kernel_error: np.ndarray | None = None
    two_depth_kernel_error: np.ndarray | None = None
    samples: np.ndarray | None = None
    diverged: np.ndarray = field(default_factory=lambda: np.full(1, -1))
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        size = ", ".join(f"{k}={self.meta[k]}" for k in ("width", "blocks", "seeds") if self.meta.get(k) is not None)
        name = f"{self.meta.get('rung', '?')}{', ' + size if size else ''}"
        last = f"loss {self.losses[0]:.6g} -> {self.losses[-1]:.6g}"
        return f"Trajectory({name}, {len(self.losses) - 1} steps, {last}{', partial' if self.meta.get('partial') else ''})"

    def _repr_html_(self) -> str:
        kernels = [f.name for f in fields(self) if f.name.endswith("kernel") and getattr(self, f.name) is not None]
        largest = float(np.max(np.abs(self.error), initial=0.0))
        rows = [
            *((k, v) for k, v in self.meta.items() if k in ("rung", "width", "blocks", "seeds", "partial") and v is not None),
            ("steps", len(self.losses) - 1),
            ("loss", f"{self.losses[0]:.6g} → {self.losses[-1]:.6g}"),
            *([] if self.accuracy is None else [("accuracy", f"{self.accuracy[0]:.3f} → {self.accuracy[-1]:.3f}")]),
            ("error of outputs", "exact" if largest == 0 else f"at most {largest:.1e}"),
            ("kernels", ", ".join(f"{k} {getattr(self, k).shape}" for k in kernels) or "none recorded"),
        ]
        return html_table(rows) + curve(self.losses.tolist(), "loss over training")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything to one `.npz` file without pickle, atomically; `load` reads it back.

        Raises:
            TypeError: a path that is no text.
            ValueError: a path at which no file can be, such as that of a folder.

        >>> import tempfile, limits
        >>> one = limits.Problem(limits.ResNet(), limits.DEPTH_MUP, limits.SGD(1.0, steps=1), [[1.0]], [[1.0]])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = Trajectory.load(limits.recurse(one, blocks=4).save(folder + "/run.npz"))
        >>> again
        Trajectory(wide, blocks=4, 1 steps, loss 0.5 -> 0.454224)
        """
        path = _file(path)
        arrays = {f"trajectory.{k}": v for k, v in self._arrays().items() if v is not None}
        arrays |= {f"problem.{k}": v for k, v in _problem_arrays(self.problem).items()}
        header = {
            "format": FORMAT,
            "limits": limits.__version__,
            "meta": dict(self.meta),
            "problem": _problem_header(self.problem),
        }
        savez: Any = np.savez_compressed
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        write_atomically(path, lambda file: savez(file, **arrays))
        return path

    def _arrays(self) -> dict[str, np.ndarray | None]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("problem", "meta")}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Trajectory":
        """Read what `save` wrote.

        Raises:
            FileFormatError: the file is no trajectory, is damaged, or was written by a newer version.
            TypeError, ValueError: a path as `save` refuses it.
        """
        path = _file(path)
        try:
            with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
                header = json.loads(bytes(file["header"]).decode())
                if not isinstance(header["format"], int):
                    raise ValueError(f"its format is {header['format']!r}")
                if header["format"] > FORMAT:
                    raise FileFormatError(
                        f"{path} was written by limits {header.get('limits')} in format {header.get('format')}, "
                        f"this version reads up to {FORMAT}: upgrade depth-limits"
                    )
                arrays = {k: file[k] for k in file.files if k != "header"}
            problem = _read_problem(header["problem"], _part(arrays, "problem."))
            expect(header["meta"], dict, "meta")
            return cls(problem=problem, meta=header["meta"], **_fitting(_part(arrays, "trajectory."), problem))
        except FileFormatError:
            raise
        except Exception as fault:  # a damaged file can fail anywhere: in zip, in zlib, in numpy's parser of array headers
            if isinstance(fault, OSError) and fault.filename is not None:  # it is not there, or may not be read
                raise
            raise FileFormatError(
                f"{path} is not a trajectory saved by limits, or is damaged: {str(fault).split(' This file')[0]}"
            ) from fault

    def to_xarray(self) -> Any:
        """An `xarray.Dataset` with named dimensions and coordinates (needs the extra `xarray`)."""
        try:
            import xarray
        except ImportError:
            raise ImportError("to_xarray needs a package that is missing: pip install depth-limits[xarray]") from None

        step, sample = np.arange(len(self.losses)), np.arange(self.outputs.shape[1])
        coords = {
            "step": step,
            "sample": sample,
            "update": step[:-1],
            "recorded_step": self.steps,
            "recorded_step_2": self.steps,
            "position": self.positions,
            "position_2": self.positions,
            "recorded_sample": self.recorded,
            "recorded_sample_2": self.recorded,
        }
        named = _dimensions(self.problem)
        variables = {name: (named[name], a) for name, a in self._arrays().items() if a is not None and name in named}
        used = {d for dims, _ in variables.values() for d in dims}
        attributes = {k: v for k, v in self.meta.items() if isinstance(v, str | int | float) and not isinstance(v, bool)}
        return xarray.Dataset(variables, {k: v for k, v in coords.items() if k in used}, attributes)


_PAIR = ("recorded_step", "recorded_step_2", "position")
_SAMPLES = ("recorded_sample", "recorded_sample_2")
_RESPONSE_OF_SAMPLES = ("pass", *_PAIR, "position_2", *_SAMPLES)
_DIMENSIONS: dict[str, tuple[str, ...]] = {
    "outputs": ("step", "sample", "output"),
    "error": ("step", "sample", "output"),
    "losses": ("step",),
    "batch_losses": ("update",),
    "accuracy": ("step",),
    "probe_losses": ("step",),
    "probe_accuracy": ("step",),
    "feature_kernel": _PAIR + _SAMPLES,
    "gradient_kernel": _PAIR + _SAMPLES,
    "two_depth_kernel": (*_PAIR, "position_2", *_SAMPLES),
    "feature_kernel_error": _PAIR + _SAMPLES,
    "gradient_kernel_error": _PAIR + _SAMPLES,
    "two_depth_kernel_error": (*_PAIR, "position_2", *_SAMPLES),
    "response": ("pass", *_PAIR, "position_2", "direction", "output"),
    "samples": ("seed", "step", "sample", "output"),
    "diverged": ("seed",),
}
_AXES = {"steps": ("recorded_step",), "positions": ("position",), "recorded": ("recorded_sample",)}
_WHOLE = ("steps", "recorded", "diverged")


def _dimensions(problem: Problem) -> dict[str, tuple[str, ...]]:
    """What the axes of every array count."""
    return _DIMENSIONS if problem.model.phi.linear else _DIMENSIONS | {"response": _RESPONSE_OF_SAMPLES}


def _fitting(arrays: dict[str, np.ndarray], problem: Problem) -> dict[str, np.ndarray]:
    """The arrays of a trajectory, or a sentence unless they are real and every axis has the length that others give it.

    Raises:
        ValueError: which array does not fit, and why.
    """
    named, lengths = _dimensions(problem) | _AXES, {"sample": len(problem.evaluated), "output": problem.d_out, "pass": 2}
    for name in [n for n in named if n in arrays]:
        array, axes = arrays[name], named[name]
        if array.dtype.kind not in ("iu" if name in _WHOLE else "iuf"):
            raise ValueError(f"{name} must be {'whole' if name in _WHOLE else 'real'} numbers, got {array.dtype}")
        if array.ndim != len(axes):
            raise ValueError(f"{name} must have {len(axes)} axes, got shape {array.shape}")
        for axis, length in zip(axes, array.shape, strict=True):
            axis, length = ("step", length + 1) if axis == "update" else (axis.removesuffix("_2"), length)
            if lengths.setdefault(axis, length) != length:
                raise ValueError(
                    f"{name} of shape {array.shape} does not fit the other arrays, whose {axis} is {lengths[axis]} long"
                )
    for name, count in (("steps", lengths.get("step")), ("recorded", lengths["sample"])):
        if name in arrays and count is not None and np.any((arrays[name] < 0) | (arrays[name] >= count)):
            raise ValueError(f"{name} must lie in 0 … {count - 1}, got {arrays[name].tolist()}")
    return arrays


def assemble(
    problem: Problem, outputs: np.ndarray, error: np.ndarray, samples: np.ndarray | None = None, **rest: Any
) -> Trajectory:
    """A trajectory with losses and accuracies worked out from the outputs (of every surviving seed, if given)."""
    p, kept = problem.n_samples, outputs[None] if samples is None else samples
    value = problem.loss_function.value
    each = value(kept[:, :, :p], problem.targets)
    shares = np.array([problem.batch_share(t) for t in range(problem.steps)]).reshape(problem.steps, p)
    probes: dict[str, Any] = {}
    if problem.probe_targets is not None:
        probes["probe_losses"] = value(kept[:, :, p:], problem.probe_targets).mean((0, 2))
        probes["probe_accuracy"] = _mean_accuracy(kept[:, :, p:], problem.probe_targets)
    return Trajectory(
        problem=problem,
        outputs=outputs,
        error=error,
        losses=each.mean((0, 2)),
        batch_losses=np.einsum("ktp,tp->t", each[:, :-1], shares) / len(kept),
        accuracy=_mean_accuracy(kept[:, :, :p], problem.targets),
        **probes,
        **rest,
    )


def _mean_accuracy(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
    shares = accuracy(outputs, targets)
    return None if shares is None else shares.mean(0)


def write_atomically(path: Path, write: Any) -> None:
    """Call `write(file)` on a temporary file beside `path`, then rename it there: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _file(path: object) -> Path:
    """The path of a file, or a sentence."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be the name of a file, got {path!r}")
    if not str(path) or "\0" in str(path):
        raise ValueError(f"path must be the name of a file, got {str(path)!r}")
    if Path(path).is_dir():
        raise ValueError(f"path must be the name of a file, got {str(path)!r}: it is a folder")
    return Path(path)


def _part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _problem_arrays(problem: Problem) -> dict[str, np.ndarray]:
    arrays = {k: getattr(problem, k) for k in ("inputs", "targets", "probes", "probe_targets")}
    if problem.batches is not None:
        arrays["batch_sizes"] = np.array([len(b) for b in problem.batches], int)
        arrays["batch_indices"] = np.concatenate([np.zeros(0, int), *problem.batches])
    return {k: v for k, v in arrays.items() if v is not None}


def _exponents(parametrization: Parametrization) -> dict[str, Any]:
    def text(value: Any) -> Any:
        return [str(v) for v in value] if isinstance(value, tuple) else str(value)

    return {k: text(getattr(parametrization, k)) for k in ("alpha", "gamma", "initial")}


def _name(phi: Nonlinearity) -> str | dict[str, str]:
    """A name that recalls the nonlinearity; of one's own ones, whose functions cannot be written, that they are one's own."""
    try:
        known = nonlinearity(phi.name) == phi
    except ValueError:
        known = False
    return phi.name if known else {"own": phi.name}


def _recalled(name: str | dict[str, str]) -> str | Nonlinearity:
    """The nonlinearity of that name; one's own is there in name only."""
    if isinstance(name, str):
        return name

    def forgotten(z: Any) -> Any:
        raise ValueError(
            f"the nonlinearity {name['own']!r} is one's own, and a file holds only its name: pose the problem again with "
            "ResNet(nonlinearity=…)"
        )

    return Nonlinearity.known_by_name(name["own"], forgotten)


def _problem_header(problem: Problem) -> dict[str, Any]:
    return {
        "model": {**vars(problem.model), "nonlinearity": _name(problem.model.phi)},
        "parametrization": _exponents(problem.parametrization),
        "optimizer": {"kind": type(problem.optimizer).__name__, **asdict(problem.optimizer)},
        "loss": problem.loss,
    }


def _read_problem(header: Mapping[str, Any], arrays: dict[str, np.ndarray]) -> Problem:
    sizes, indices = arrays.pop("batch_sizes", None), arrays.pop("batch_indices", None)
    batches = None
    if (sizes is None) != (indices is None):
        raise ValueError("of batch_sizes and batch_indices one is missing")
    if sizes is not None and indices is not None:
        batches = np.split(indices, np.cumsum(sizes)[:-1]) if len(sizes) else []
    optimizer = dict(header["optimizer"])
    exponents: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in header["parametrization"].items()}
    return Problem(
        ResNet(**header["model"] | {"nonlinearity": _recalled(header["model"]["nonlinearity"])}),
        Parametrization(**exponents),
        OPTIMIZERS[optimizer.pop("kind", "SGD")](**optimizer),
        loss=header["loss"],
        batches=batches,
        **arrays,  # type: ignore[arg-type]
    )
