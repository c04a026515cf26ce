r"""The exact exponents of what `measure_exponents` measures, or why there is none.

All are read off `branch`, the expansion of a block over the sets $S$ of layers that take part with their update, of order
$L^{-\gamma_i}$, the others as initialized, of order $L^{-\beta_i}$.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from limits.optimizers import Optimizer
from limits.parametrization import Parametrization
from limits.problem import Problem, ResNet
from limits.regimes import branch, classify

Exact = Fraction | None
GROWTH, FEATURES, OUTPUTS, SHARE, DIVERSITY = "initial growth", "features", "outputs", "second order", "diversity"


@dataclass(frozen=True)
class Expected:
    """An exact exponent and what it is the exponent of; None, and why there is none."""

    exact: Exact
    because: str


@dataclass(frozen=True)
class Sizes:
    r"""The orders in one problem, as exact numbers.

    Attributes:
        sums: $e_S$ by $S$.
        gammas, betas: layer by layer.
        steps: after how many updates networks are looked at: one where a sum of initial branches or of updates is not bounded,
            since what such training does later is no power of L.
    """

    model: ResNet
    sums: dict[frozenset[int], Fraction]
    gammas: tuple[Fraction, ...]
    betas: tuple[Fraction, ...]
    steps: int

    @classmethod
    def of(cls, problem: Problem) -> "Sizes":
        k = problem.model.block_depth
        alpha, gammas, betas = problem.parametrization.layers(k)
        point = {"alpha": alpha} | {f"gamma_{i + 1}": g for i, g in enumerate(gammas)}
        point |= {f"beta_{i + 1}": b for i, b in enumerate(betas)}
        sums = {s: e.at(point) for s, e in branch(k, problem.model.centred).items()}
        return cls(problem.model, sums, gammas, betas, problem.steps if max(sums.values()) <= 0 else min(1, problem.steps))

    @property
    def initial(self) -> Fraction:
        r"""$e_\emptyset$."""
        return self.sums[frozenset()]

    @property
    def update(self) -> Fraction:
        """The largest exponent of a sum with updates."""
        return max(e for s, e in self.sums.items() if s)

    @property
    def jointly(self) -> bool:
        """Whether only terms with the updates of several layers are the largest; their exponents are upper bounds [D6.1]."""
        return self.update > max(e for s, e in self.sums.items() if len(s) == 1)

    @property
    def faithful(self) -> bool:
        return min(self.gammas) >= 0

    @property
    def weights_are_linear(self) -> bool:
        """Whether a block is a linear function of its weights."""
        return self.model.block_depth == 1 and (self.model.phi.linear or self.model.form == "pre")


def expected(problem: Problem) -> dict[str, Expected]:
    r"""The exact exponents of a problem's networks in the number of blocks, row by row.

    * initial growth: $e_\emptyset$
    * features, outputs: $\max_{S\ne\emptyset} e_S$, and 0 if that is larger and the end that moves them is trained
    * update of layer i: $-\gamma_i - \sum_{j<i}\beta_j$
    * second order: the order of a block's terms of second order in its update over that of first order, per block: $-\gamma$
      where all layers are alike; $-\gamma/2$ if $\phi$ has kinks, because a share $L^{-\gamma}$ of the neurons crosses one
    * diversity: $\kappa$ of `classify`

    >>> from limits import DEPTH_MUP, SGD, ResNet
    >>> problem = Problem(ResNet("tanh"), DEPTH_MUP, SGD(0.1, steps=2), [[1.0]], [[1.0]])
    >>> {name: str(row.exact) for name, row in expected(problem).items()}  # doctest: +NORMALIZE_WHITESPACE
    {'initial growth': '0', 'features': '0', 'outputs': '0', 'update of layer 1': '-1/2', 'second order': '-1/2',
     'diversity': '1/2'}
    """
    sizes = Sizes.of(problem)
    rows = {GROWTH: _growth(sizes)}
    rows |= {FEATURES: _moved(sizes, problem.optimizer, FEATURES), OUTPUTS: _moved(sizes, problem.optimizer, OUTPUTS)}
    rows |= {f"update of layer {i + 1}": _layer(sizes, i) for i in range(problem.model.block_depth)}
    if not sizes.weights_are_linear and sizes.initial <= 0:
        rows[SHARE] = _share(sizes)
    return rows | {DIVERSITY: _diversity(problem.parametrization, problem.model)}


def _growth(sizes: Sizes) -> Expected:
    model = sizes.model
    if why := _offset(sizes):
        return Expected(None, why)
    if sizes.initial > 0 and not (model.phi.homogeneous or model.layer_norm):
        return Expected(None, f"how fast features explode depends on {model.phi.name}")
    return Expected(sizes.initial, "e_0: initial branches, summed")


def _moved(sizes: Sizes, optimizer: Optimizer, what: str) -> Expected:
    exploding = sizes.initial > 0 and (what == FEATURES or not sizes.model.phi.linear or sizes.model.layer_norm)
    if exploding:
        return Expected(None, "features explode before training")
    if why := _offset(sizes) or _nonlinear(sizes):
        return Expected(None, why)
    if sizes.jointly:
        return Expected(None, "joint updates of several layers: only an upper bound is known")
    ends = ("input_lr",) if what == FEATURES else ("input_lr", "output_lr")
    if sizes.update < 0 and any(max(optimizer.schedule(end), default=0) > 0 for end in ends):
        return Expected(Fraction(0), "a trained end moves them")
    return Expected(sizes.update, "max e_S: updates, summed")


def _layer(sizes: Sizes, i: int) -> Expected:
    if sizes.initial > 0:
        return Expected(None, "features explode before training")
    if why := _offset(sizes) or (_nonlinear(sizes) if sizes.steps > 1 else None):
        return Expected(None, why)
    if any(gamma < beta for gamma, beta in zip(sizes.gammas[:i], sizes.betas[:i], strict=True)):
        return Expected(None, "the layers before it change more than they are")
    return Expected(-sizes.gammas[i] - sum(sizes.betas[:i]), "a layer's update, of what it reads")


def _share(sizes: Sizes) -> Expected:
    model = sizes.model
    if not sizes.faithful or any(sizes.betas):
        return Expected(None, "known for gamma >= 0 and beta = 0")
    own = [-gamma * (Fraction(3, 2) if model.phi.kinks else 2) for i, gamma in enumerate(sizes.gammas) if _bends(model, i)]
    joint = [-(a + b) for i, a in enumerate(sizes.gammas) for b in sizes.gammas[:i]]
    return Expected(max(own + joint) + min(sizes.gammas), "of a block: terms of second order over those of first")


def _bends(model: ResNet, layer: int) -> bool:
    """Whether phi follows a layer."""
    return not model.phi.linear and (model.form == "post" or layer < model.block_depth - 1)


def _diversity(parametrization: Parametrization, model: ResNet) -> Expected:
    kappa = classify(parametrization, block_depth=model.block_depth, centred=model.centred).diversity
    return Expected(kappa, "kappa" if kappa is not None else "kappa is defined where training is stable and not trivial")


def _offset(sizes: Sizes) -> str | None:
    if any(sizes.betas) and not sizes.model.phi.linear and np.any(sizes.model.phi.phi(np.zeros(1))):
        return "small weights do not make small branches of a nonlinearity that is not zero at zero"
    return None


def _nonlinear(sizes: Sizes) -> str | None:
    unfaithful = not sizes.faithful and not sizes.model.phi.linear
    return "preactivations explode, and what the nonlinearity makes of them is its own" if unfaithful else None
