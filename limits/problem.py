"""What is studied: a residual network, an optimizer, and data; frozen and validated."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from limits.losses import LOSSES, Loss, one_hot
from limits.markup import table
from limits.nonlinearity import Nonlinearity, nonlinearity
from limits.optimizers import INSTEAD, OPTIMIZERS, SGD, Optimizer, refuse_others
from limits.parametrization import Parametrization, whole_depth
from limits.validation import expect, flag, number

LARGEST_MULTIPLIER = 1e100
LAYERS = {"post": None, "pre": 1, "mlp": 2}
"""How many layers a block of a form has; None for any number."""


@dataclass(frozen=True)
class ResNet:
    r"""Residual network $x^l = x^{l-1} + a L^{-\alpha} B(x^{l-1})$, $l = 1 \dots L$, of width $n$.

    Its blocks have a form:

    * "post": $B(x) = G\phi(W_k \cdots \phi(W_1x))$ (TP6);
    * "pre": $B(x) = W\phi(x)$, one layer, centred without $G$ (BNLHP);
    * "mlp": $B(x) = W_2\phi(W_1x)$, two layers, of width $M$ between them, centred without $G$ (CP).

    In all, $x^0 = U\xi/\sqrt{d_{in}}$ and $f = V^T x^L / n$; $U, V$ have iid $N(0, 1)$ entries, the matrices of block $l$ iid
    entries of variance 1 / (their columns), times $L^{-2\beta_i}$.

    Args:
        nonlinearity: $\phi$, by name ("linear", "relu", "tanh", "sin + cos", …) or as a `Nonlinearity`.
        block_depth: $k$, weight matrices in a block; networks and limits of more than one treat what their docstrings say.
        multiplier: $a > 0$, dimensionless and independent of depth.
        mean_subtraction: $G$, subtract the mean over neurons; does nothing for "linear" and for forms "pre" and "mlp".
        form: "post", "pre" or "mlp"; of linear blocks of one layer the first two are the same.
        layer_norm: whether a block reads $(x - \bar x)/\sqrt{\mathrm{var}\,x + 10^{-5}}$, over neurons, in place of $x$
            (pre-norm, without gain and bias); networks and `recurse` only.
        expansion: $M/n$, width between the layers of a block over that of the network (4 in most transformers).

    Raises:
        ValueError: a block this version does not treat, or a multiplier that is not positive or above 1e100.
        TypeError: `mean_subtraction` or `layer_norm` is neither True nor False.

    >>> ResNet(multiplier=0.5).multiplier
    0.5
    """

    nonlinearity: str | Nonlinearity = "linear"
    block_depth: int = 1
    multiplier: float = 1.0
    mean_subtraction: bool = True
    form: str = "post"
    layer_norm: bool = False
    expansion: float = 1.0

    def __post_init__(self) -> None:
        phi = nonlinearity(self.nonlinearity)
        whole_depth(self.block_depth)
        if not isinstance(self.form, str) or self.form not in LAYERS:
            raise ValueError(f"form must be 'post', 'pre' or 'mlp', got {self.form!r}")
        if LAYERS[self.form] not in (None, self.block_depth):
            one = "one layer" if LAYERS[self.form] == 1 else "two layers"
            raise ValueError(f"a block of form {self.form!r} has {one}, got block_depth={self.block_depth!r}")
        object.__setattr__(self, "nonlinearity", phi if isinstance(self.nonlinearity, Nonlinearity) else phi.name)
        object.__setattr__(self, "block_depth", int(self.block_depth))
        object.__setattr__(self, "multiplier", number(self.multiplier, "multiplier", open_low=True))
        if self.multiplier > LARGEST_MULTIPLIER:
            raise ValueError(f"multiplier must be at most {LARGEST_MULTIPLIER:g}, got {self.multiplier!r}")
        object.__setattr__(self, "mean_subtraction", flag(self.mean_subtraction, "mean_subtraction"))
        object.__setattr__(self, "layer_norm", flag(self.layer_norm, "layer_norm"))
        object.__setattr__(self, "expansion", number(self.expansion, "expansion", open_low=True))
        if self.block_depth == 1 and self.expansion != 1:
            raise ValueError(f"expansion is the width between the layers of a block, got {self.expansion!r} for block_depth=1")

    @property
    def phi(self) -> Nonlinearity:
        r"""$\phi$ with its derivative and dual kernel."""
        return nonlinearity(self.nonlinearity)

    @property
    def centred(self) -> bool:
        r"""Whether initial blocks have no mean over neurons: by mean subtraction, by form, or because $E\phi = 0$."""
        return self.form != "post" or self.mean_subtraction or self.phi.centred


def refuse_layer_norm(model: ResNet, what: str) -> None:
    """Refuse networks with LayerNorm, which no limit treats.

    Raises:
        ValueError: with what to do instead.
    """
    if model.layer_norm:
        raise ValueError(f"{what} treats blocks without LayerNorm, got layer_norm=True: {INSTEAD}")


def matrix(value: Any, name: str) -> np.ndarray:
    """Return samples as rows of floats, or raise a sentence."""
    try:
        if np.iscomplexobj(value):
            raise TypeError
        array = np.array(value, dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be a numeric array of shape (samples, dimensions), got {type(value).__name__}") from None
    if array.ndim != 2 or 0 in array.shape:
        hint = f": write {name}[:, None] for one dimension" if array.ndim == 1 else ""
        raise ValueError(f"{name} must have shape (samples, dimensions), none of them 0, got shape {array.shape}{hint}")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} must be finite, got {np.count_nonzero(~np.isfinite(array))} NaN or infinite entries")
    array.setflags(write=False)
    return array


def _indices(batch: Any, t: int) -> np.ndarray:
    try:
        return np.array(batch)
    except ValueError:
        raise ValueError(f"batch {t} must be a nonempty list of indices, got {batch!r}") from None


def _classes(value: object, loss: str) -> np.ndarray | None:
    """Integer classes as (P,) for the cross-entropy; None if `value` is a matrix already."""
    array = np.asarray(value)
    if loss != "cross_entropy" or not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        return None
    flat = array.reshape(-1)
    if flat.size == 0 or not np.issubdtype(flat.dtype, np.number) or np.any(flat != np.floor(flat)) or np.any(flat < 0):
        raise ValueError("targets of the cross-entropy must be one-hot rows or integer classes 0, 1, 2, …, got other values")
    return flat.astype(int)


def _targets(value: object, name: str, loss: str, n_classes: int) -> np.ndarray:
    classes = _classes(value, loss)
    array = matrix(value if classes is None else one_hot(classes, max(n_classes, 2)), name)
    if loss == "logistic" and not np.all(np.abs(array) == 1):
        raise ValueError(f"{name} of the logistic loss must be -1 or 1, got other values: map classes {{0, 1}} to {{-1, 1}}")
    one_hots = np.all((array == 0) | (array == 1)) and np.all(array.sum(1) == 1)
    if loss == "cross_entropy" and not (one_hots and array.shape[1] > 1):
        raise ValueError(f"{name} of the cross-entropy must be one-hot rows or integer classes, got other values")
    return array


@dataclass(frozen=True, eq=False)
class Problem:
    r"""A training problem: minimise the batch mean of $\ell(f(\xi_i), y_i)$.

    Args:
        model: the network.
        parametrization: its exponents of depth.
        optimizer: how it is trained.
        inputs: $\xi$, shape (P, d_in).
        targets: $y$, shape (P, d_out); for "cross_entropy" also integer classes (P,).
        loss: "mse" ($\frac12|f-y|^2$), "logistic" (targets -1 and 1) or "cross_entropy".
        batches: T arrays of indices into the inputs, one per step; all samples at every step by default.
        probes: inputs that are evaluated and never trained on, shape (R, d_in).
        probe_targets: their targets, for the probes' loss and accuracy.

    Raises:
        ValueError, TypeError: a sentence saying what was wanted and what came.

    >>> from limits import SGD
    >>> problem = Problem(ResNet(), Parametrization("1/2", "1/2"), SGD(lr=1.0, steps=4), [[1.0]], [[1.0]])
    >>> problem.n_samples, problem.d_in, problem.d_out
    (1, 1, 1)
    """

    model: ResNet
    parametrization: Parametrization
    optimizer: Optimizer
    inputs: Any
    targets: Any
    loss: str = "mse"
    batches: Any = None
    probes: Any = None
    probe_targets: Any = None

    def __repr__(self) -> str:
        exponents = f"alpha={self.parametrization.alpha}, gamma={self.parametrization.gamma}"
        probes = "" if self.probes is None else f", {len(self.probes)} probes"
        return (
            f"Problem({self.n_samples} samples{probes}, {self.d_in} inputs, {self.d_out} outputs, {self.loss}, "
            f"{self.steps} steps, {exponents})"
        )

    def _repr_markdown_(self) -> str:
        probes = "" if self.probes is None else f", {len(self.probes)} probes"
        batches = "all samples at every step" if self.batches is None else f"{self.steps} batches"
        rows = [
            ("network", repr(self.model)),
            ("exponents", repr(self.parametrization)),
            ("optimizer", repr(self.optimizer)),
            ("data", f"{self.n_samples} samples{probes}; {self.d_in} inputs, {self.d_out} outputs; {batches}"),
            ("loss", self.loss),
        ]
        return table(rows, head=("Problem", ""))

    def __post_init__(self) -> None:
        for name, kind in (("model", ResNet), ("parametrization", Parametrization)):
            expect(getattr(self, name), kind, name)
        if not isinstance(self.optimizer, Optimizer):
            raise TypeError(f"optimizer must be {', '.join(OPTIMIZERS)}, got {self.optimizer!r}: write SGD(lr=…, steps=…)")
        if not isinstance(self.loss, str) or self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(sorted(LOSSES))}, got {self.loss!r}")
        self._set_data()
        self._set_probes()
        object.__setattr__(self, "batches", self._checked_batches())

    def _set_data(self) -> None:
        given = [_classes(v, self.loss) for v in (self.targets, self.probe_targets) if v is not None]
        n_classes = max((int(c.max()) + 1 for c in given if c is not None), default=0)
        object.__setattr__(self, "inputs", matrix(self.inputs, "inputs"))
        object.__setattr__(self, "targets", _targets(self.targets, "targets", self.loss, n_classes))
        if self.probe_targets is not None:
            targets = _targets(self.probe_targets, "probe_targets", self.loss, max(n_classes, self.d_out))
            object.__setattr__(self, "probe_targets", targets)
        if len(self.targets) != len(self.inputs):
            raise ValueError(
                f"inputs and targets must have one row per sample, got {len(self.inputs)} inputs and {len(self.targets)} targets"
            )

    def _set_probes(self) -> None:
        if self.probes is None:
            if self.probe_targets is not None:
                raise ValueError("probe_targets were given without probes: give both, or neither")
            return
        object.__setattr__(self, "probes", matrix(self.probes, "probes"))
        if self.probes.shape[1] != self.d_in:
            raise ValueError(f"probes must have {self.d_in} dimensions like the inputs, got {self.probes.shape[1]}")
        if self.probe_targets is not None and self.probe_targets.shape != (len(self.probes), self.d_out):
            raise ValueError(f"probe_targets must have shape {(len(self.probes), self.d_out)}, got {self.probe_targets.shape}")

    def _checked_batches(self) -> tuple[Int[np.ndarray, " b"], ...] | None:
        if self.batches is None:
            return None
        if isinstance(self.batches, str) or not isinstance(self.batches, Iterable):
            raise TypeError(f"batches must be one index array per step, got {self.batches!r}")
        batches = tuple(_indices(b, t) for t, b in enumerate(self.batches))
        if len(batches) != self.optimizer.steps:
            raise ValueError(f"batches must be one index array per step ({self.optimizer.steps}), got {len(batches)}")
        for t, batch in enumerate(batches):
            if batch.ndim != 1 or batch.size == 0:
                raise ValueError(f"batch {t} must be a nonempty list of indices, got shape {batch.shape}")
            if not np.issubdtype(batch.dtype, np.integer):
                raise ValueError(f"batch {t} must hold whole numbers, got {batch.dtype}")
            if batch.min() < 0 or batch.max() >= self.n_samples:
                raise ValueError(f"batch {t} must index the {self.n_samples} inputs, got {batch.min()} … {batch.max()}")
            batch.setflags(write=False)
        return batches

    @property
    def n_samples(self) -> int:
        """P, the number of inputs."""
        return len(self.inputs)

    @property
    def d_in(self) -> int:
        """Input dimension."""
        return self.inputs.shape[1]

    @property
    def d_out(self) -> int:
        """Output dimension."""
        return self.targets.shape[1]

    @property
    def steps(self) -> int:
        """T, the number of updates."""
        return self.optimizer.steps

    @property
    def sgd(self) -> SGD:
        """The optimizer, of what is trained by `SGD` without weight decay; others are refused."""
        return refuse_others(self.optimizer, "this")

    @property
    def loss_function(self) -> Loss:
        """The loss with its derivative."""
        return LOSSES[self.loss]

    @cached_property
    def evaluated(self) -> Float[np.ndarray, "samples d_in"]:
        """Inputs, then probes, shape (P + R, d_in)."""
        return self.inputs if self.probes is None else np.concatenate([self.inputs, self.probes])

    def batch(self, t: int) -> Int[np.ndarray, " b"]:
        """Indices of the samples of step t."""
        return np.arange(self.n_samples) if self.batches is None else self.batches[t]

    def batch_share(self, t: int) -> Float[np.ndarray, " p"]:
        """Weight of every input in the batch mean of step t; sums to 1, duplicated indices count twice."""
        batch = self.batch(t)
        return np.bincount(batch, minlength=self.n_samples) / len(batch)

    def prefix(self, steps: int) -> "Problem":
        """The same problem stopped after fewer steps; its trajectory is the beginning of this one's."""
        rates = {k: self.optimizer.schedule(k)[:steps] for k in ("lr", "input_lr", "output_lr")}
        optimizer = replace(self.optimizer, steps=steps, **rates)
        return replace(self, optimizer=optimizer, batches=None if self.batches is None else self.batches[:steps])
