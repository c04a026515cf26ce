"""What is studied: a residual network, an optimizer, and data; frozen and validated."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral, Real
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from limits.losses import LOSSES, Loss, one_hot
from limits.nonlinearity import Nonlinearity, nonlinearity
from limits.parametrization import Parametrization, whole_depth

MOST_STEPS = 10**6
"""Steps of the longest run: both limits grow with the cube of the steps."""


def expect(value: object, kind: type, name: str) -> None:
    """Raise a sentence unless `value` is of the wanted kind."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {value!r}")


def _number(value: object, name: str, *, low: float = 0.0, open_low: bool = False) -> float:
    sign = ">" if open_low else ">="
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number {sign} {low:g}, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not np.isfinite(number) or number < low or (open_low and number == low):
        raise ValueError(f"{name} must be finite and {sign} {low:g}, got {value!r}")
    return number


def whole(value: object, name: str, *, low: int = 1, high: int = 10**9) -> int:
    """Return `value` as an int from low to high, or raise a sentence."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < low:
        raise ValueError(f"{name} must be a whole number >= {low}, got {value!r}")
    if int(value) > high:
        raise ValueError(f"{name} must be at most {high}, got {value!r}")
    return int(value)


@dataclass(frozen=True)
class ResNet:
    r"""Residual network $x^l = x^{l-1} + a L^{-\alpha} G\,\phi(W^l x^{l-1})$, $l = 1 \dots L$, of width $n$.

    Of form "pre" it is $x^l = x^{l-1} + a L^{-\alpha} W^l\phi(x^{l-1})$, whose branch is centred without $G$. In both,
    $x^0 = U\xi/\sqrt{d_{in}}$ and $f = V^T x^L / n$; $U, V$ have iid $N(0, 1)$ entries and $W^l$ iid $N(0, 1/n)$.

    Args:
        nonlinearity: $\phi$, by name ("linear", "relu", "tanh", "sin + cos", …) or as a `Nonlinearity`.
        block_depth: $k$, weight matrices in a block; networks and limits of more than one treat what their docstrings say.
        multiplier: $a > 0$, dimensionless and independent of depth.
        mean_subtraction: $G$, subtract the mean over neurons; does nothing for "linear" and for form "pre".
        form: "post" $G\phi(Wx)$ or "pre" $W\phi(x)$; the same for "linear".

    Raises:
        ValueError: a block this version does not treat, or a multiplier that is not positive.

    >>> ResNet(multiplier=0.5).multiplier
    0.5
    """

    nonlinearity: str | Nonlinearity = "linear"
    block_depth: int = 1
    multiplier: float = 1.0
    mean_subtraction: bool = True
    form: str = "post"

    def __post_init__(self) -> None:
        phi = nonlinearity(self.nonlinearity)
        whole_depth(self.block_depth)
        if self.form not in ("post", "pre"):
            raise ValueError(f"form must be 'post' or 'pre', got {self.form!r}")
        object.__setattr__(self, "nonlinearity", phi if isinstance(self.nonlinearity, Nonlinearity) else phi.name)
        object.__setattr__(self, "block_depth", int(self.block_depth))
        object.__setattr__(self, "multiplier", _number(self.multiplier, "multiplier", open_low=True))
        object.__setattr__(self, "mean_subtraction", bool(self.mean_subtraction))

    @property
    def phi(self) -> Nonlinearity:
        r"""$\phi$ with its derivative and dual kernel."""
        return nonlinearity(self.nonlinearity)

    @property
    def centred(self) -> bool:
        r"""Whether initial blocks have no mean over neurons: by mean subtraction, by form, or because $E\phi = 0$."""
        return self.form == "pre" or self.mean_subtraction or self.phi.centred


Rate = float | Sequence[float] | np.ndarray
"""A learning rate: one number, or one per step."""


@dataclass(frozen=True)
class SGD:
    r"""Gradient descent with heavy-ball momentum, $\Delta W_t = -\sum_{s<t} \eta_s \frac{1-\beta^{t-s}}{1-\beta}\, g_s$.

    The raw learning rate of a block is $\eta_s L^{\alpha-\gamma}$; those of $U$ and $V$ are $\eta_U n$ and $\eta_V n$.
    A schedule multiplies the gradient before the momentum sum, $v \leftarrow \beta v + \eta_s g_s$,
    $W \leftarrow W - v$; PyTorch's `SGD` applies it after the sum, which differs when $\eta_s$ varies and $\beta > 0$.

    Args:
        lr: $\eta$ of the blocks; a number, or one per step (schedules, warm-up).
        steps: $T$, the number of updates; a run has $T + 1$ evaluations.
        input_lr: $\eta_U$, zero keeps $U$ frozen; a number, or one per step.
        output_lr: $\eta_V$, zero keeps $V$ frozen; a number, or one per step.
        momentum: $\beta \in [0, 1)$.

    Raises:
        ValueError: rates that are negative or not finite, a schedule of another length than `steps`.

    >>> SGD(lr=0.5, steps=3, momentum=0.9).weights(2)
    array([0.95, 0.5 ])
    """

    lr: Rate
    steps: int
    input_lr: Rate = 0.0
    output_lr: Rate = 0.0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", whole(self.steps, "steps", low=0, high=MOST_STEPS))
        for name in ("lr", "input_lr", "output_lr"):
            object.__setattr__(self, name, self._rate(getattr(self, name), name))
        momentum = _number(self.momentum, "momentum")
        if momentum >= 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum!r}")
        object.__setattr__(self, "momentum", momentum)

    def _rate(self, value: Rate, name: str) -> float | tuple[float, ...]:
        if isinstance(value, Real) or np.ndim(value) == 0:
            return _number(value.item() if isinstance(value, np.ndarray) else value, name)
        try:
            if np.iscomplexobj(value):
                raise TypeError
            numbers = np.asarray(value, float).tolist()
        except (TypeError, ValueError, OverflowError):
            raise TypeError(f"{name} must be a number or one per step, got {value!r}") from None
        rates = tuple(_number(v, f"{name}[{i}]") for i, v in enumerate(numbers))
        if len(rates) != self.steps:
            raise ValueError(f"{name} must be one number or one per step ({self.steps}), got {len(rates)} numbers")
        return rates

    def schedule(self, which: str = "lr") -> Float[np.ndarray, " t"]:
        """The rate of every step, shape (T,); `which` is "lr", "input_lr" or "output_lr"."""
        return np.broadcast_to(np.asarray(getattr(self, which), float), (self.steps,))

    def weights(self, t: int, which: str = "lr") -> Float[np.ndarray, " s"]:
        r"""$\eta_s (1 - \beta^{t-s})/(1-\beta)$ for $s < t$: how much of gradient $s$ is in the parameters at step $t$."""
        ages = t - np.arange(t)
        return self.schedule(which)[:t] * (1 - self.momentum**ages) / (1 - self.momentum)


def matrix(value: Any, name: str) -> np.ndarray:
    """Return samples as rows of floats, or raise a sentence."""
    try:
        if np.iscomplexobj(value):
            raise TypeError
        array = np.array(value, dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be a numeric array of shape (samples, dimensions), got {type(value).__name__}") from None
    if array.ndim != 2 or 0 in array.shape:
        hint = ": write x[:, None] for one dimension" if array.ndim == 1 else ""
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

    >>> problem = Problem(ResNet(), Parametrization("1/2", "1/2"), SGD(lr=1.0, steps=4), [[1.0]], [[1.0]])
    >>> problem.n_samples, problem.d_in, problem.d_out
    (1, 1, 1)
    """

    model: ResNet
    parametrization: Parametrization
    optimizer: SGD
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

    def __post_init__(self) -> None:
        for name, kind in (("model", ResNet), ("parametrization", Parametrization), ("optimizer", SGD)):
            expect(getattr(self, name), kind, name)
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
