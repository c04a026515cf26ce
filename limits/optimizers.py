r"""How a network is trained: what an optimizer makes of gradients, whatever the width and the depth.

Every optimizer sees gradients in units in which they are $\Theta(1)$ at any width and depth (TP6, Def. 6.1): of layer $i$ of
a block $\hat g_i = nL^{\alpha_i'}\,\partial_{W_i}\mathrm{loss}$, where $L^{-\alpha_i'}$ is the order of its gradient
($\alpha$ plus the exponents $\beta_j$ of the block's other layers), of the ends $\hat g_U = n\,\partial_U\mathrm{loss}$ and
$\hat g_V = n\,\partial_V\mathrm{loss}$. It turns them into directions $Q$, and

$$ W_i \leftarrow (1 - \eta\lambda)W_i - \eta\,c\,L^{-\gamma_i}Q(\hat g_i), \qquad
   U \leftarrow (1 - \eta_U\lambda)U - \eta_UQ(\hat g_U), \qquad V \leftarrow (1 - \eta_V\lambda)V - \eta_VQ(\hat g_V) $$

with $c = 1/n$ for `SGD`, whose raw rate is then $\eta L^{\alpha_i' - \gamma_i}$; $c$ = 1 / (columns of $W_i$) for the entrywise
`Adam`, `AdamW` and `SignSGD`; and $c = \sqrt{\text{rows} / \text{columns}}$ for `Muon`. Weight decay $\lambda$ is decoupled, and
a share $\eta\lambda$ of the weights at any size.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float

from limits.markup import FEW, listed
from limits.validation import Rate, flag, number, rate, share, whole

MOST_STEPS = 10**6
"""Steps of the longest run: both limits grow with the cube of the steps."""


@dataclass(frozen=True, repr=False)
class Optimizer:
    """What all optimizers have: rates, one number or one per step, the number of steps, and a weight decay."""

    lr: Rate
    steps: int
    input_lr: Rate = 0.0
    output_lr: Rate = 0.0
    weight_decay = 0.0  # no field: an optimizer that has one makes it a field of its own, after its others

    def __post_init__(self) -> None:
        self._set("steps", whole(self.steps, "steps", low=0, high=MOST_STEPS))
        for name in ("lr", "input_lr", "output_lr"):
            self._set(name, rate(getattr(self, name), name, self.steps))

    def __repr__(self) -> str:
        return listed(type(self).__name__, [f"{f.name}={_shown(getattr(self, f.name))}" for f in fields(self)])

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def schedule(self, which: str = "lr") -> Float[np.ndarray, " t"]:
        """The rate of every step, shape (T,); `which` is "lr", "input_lr" or "output_lr"."""
        return np.broadcast_to(np.asarray(getattr(self, which), float), (self.steps,))


def _shown(value: Any) -> str:
    """A setting at a prompt: a schedule by its ends."""
    return f"{len(value)} from {value[0]!r} to {value[-1]!r}" if isinstance(value, tuple) and len(value) > FEW else repr(value)


@dataclass(frozen=True, repr=False)
class SGD(Optimizer):
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
        weight_decay: $\lambda \ge 0$, decoupled: a step takes the share $\eta_s\lambda$ off the weights; not in
            closed limits.

    Raises:
        ValueError: rates that are negative or not finite, a schedule of another length than `steps`.

    >>> SGD(lr=0.5, steps=3, momentum=0.9).weights(2)
    array([0.95, 0.5 ])
    """

    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("momentum", share(self.momentum, "momentum"))
        self._set("weight_decay", number(self.weight_decay, "weight_decay"))

    def weights(self, t: int, which: str = "lr") -> Float[np.ndarray, " s"]:
        r"""$\eta_s (1 - \beta^{t-s})/(1-\beta)$ for $s < t$: how much of gradient $s$ is in the parameters at step $t$."""
        ages = t - np.arange(t)
        return self.schedule(which)[:t] * (1 - self.momentum**ages) / (1 - self.momentum)


@dataclass(frozen=True, repr=False)
class Adam(Optimizer):
    r"""Adam: $Q = \hat m/(\sqrt{\hat v} + \varepsilon)$, with $m$, $v$ running means of $\hat g$ and $\hat g^2$ over their bias.

    The gradient is scaled before the map, so that $\varepsilon$ means the same at every width and depth: the raw one is
    $\varepsilon n^{-1}L^{-\alpha}$, the raw learning rate of a block $\eta n^{-1}L^{-\gamma}$.

    Args:
        lr, steps, input_lr, output_lr: as of `SGD`.
        beta1, beta2: memory of the means, in [0, 1).
        eps: $\varepsilon \ge 0$, beside gradients of order one.

    >>> Adam(lr=0.1, steps=10).beta2
    0.999
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("beta1", "beta2"):
            self._set(name, share(getattr(self, name), name))
        self._set("eps", number(self.eps, "eps"))


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    r"""`Adam` with decoupled weight decay.

    Args:
        lr, steps, input_lr, output_lr, beta1, beta2, eps: as of `Adam`.
        weight_decay: $\lambda \ge 0$: a step takes the share $\eta_s\lambda$ off the weights, at any width and depth.

    >>> AdamW(lr=0.1, steps=10, weight_decay=0.01).weight_decay
    0.01
    """

    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("weight_decay", number(self.weight_decay, "weight_decay"))


@dataclass(frozen=True, repr=False)
class SignSGD(Optimizer):
    r"""The sign of the gradient, or of its running mean $m \leftarrow \beta m + (1 - \beta)\hat g$: $Q = \mathrm{sign}(m)$.

    Args:
        lr, steps, input_lr, output_lr: as of `SGD`; the raw learning rate of a block is $\eta n^{-1}L^{-\gamma}$.
        momentum: $\beta \in [0, 1)$.
        weight_decay: as of `AdamW`.

    >>> SignSGD(lr=0.1, steps=10).momentum
    0.0
    """

    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("momentum", share(self.momentum, "momentum"))
        self._set("weight_decay", number(self.weight_decay, "weight_decay"))


@dataclass(frozen=True, repr=False)
class Muon(Optimizer):
    r"""The orthogonal factor of the momentum, by Newton-Schulz iteration; the ends are trained by `Adam` (0.9, 0.95, 1e-8).

    $m \leftarrow \beta m + \hat g$ (Nesterov: $\hat g + \beta m$ is used), $X \leftarrow m / \lVert m\rVert_F$, then `iterations`
    times $X \leftarrow aX + (bA + cA^2)X$ with $A = XX^T$: singular values end near 1. The update of a block is
    $\eta L^{-\gamma}\sqrt{\text{rows}/\text{columns}}\,X$, of RMS-to-RMS norm $\eta L^{-\gamma}$.

    Args:
        lr, steps, input_lr, output_lr: as of `SGD`; those of the ends are Adam's.
        momentum: $\beta \in [0, 1)$.
        nesterov: whether the gradient looks ahead.
        iterations: of Newton-Schulz, with the quintic coefficients (3.4445, -4.7750, 2.0315).
        weight_decay: as of `AdamW`.

    >>> Muon(lr=0.1, steps=10).iterations
    5
    """

    momentum: float = 0.95
    nesterov: bool = True
    iterations: int = 5
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("momentum", share(self.momentum, "momentum"))
        self._set("nesterov", flag(self.nesterov, "nesterov"))
        self._set("iterations", whole(self.iterations, "iterations"))
        self._set("weight_decay", number(self.weight_decay, "weight_decay"))


OPTIMIZERS: dict[str, type[Optimizer]] = {kind.__name__: kind for kind in (SGD, Adam, AdamW, SignSGD, Muon)}
"""By name."""


INSTEAD = "ask recurse for infinite width by samples of neurons, or simulate for networks of finite width"
"""What answers where no closed limit does."""


def refuse_others(optimizer: Optimizer, what: str) -> SGD:
    """Return the optimizer if it is `SGD` without weight decay, which is what closed limits know.

    Raises:
        ValueError: with what to do instead.
    """
    if not isinstance(optimizer, SGD):
        raise ValueError(f"{what} treats SGD, got {type(optimizer).__name__}: {INSTEAD}")
    if optimizer.weight_decay:
        raise ValueError(f"{what} treats SGD without weight decay, got weight_decay={optimizer.weight_decay}: {INSTEAD}")
    return optimizer
