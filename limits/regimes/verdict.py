"""The verdict on exact exponents, with the comparisons that decide it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from limits.exponents import Affine
from limits.markup import listed
from limits.parametrization import Parametrization, checked
from limits.regimes.expansion import Subset, branch, curvature, names, truth
from limits.validation import called

PROPERTIES = (
    "stable_at_initialization",
    "stable_during_training",
    "nontrivial",
    "faithful_at_initialization",
    "faithful_during_training",
    "feature_learning",
    "layerwise_linear",
    "diversity",
)


@dataclass(frozen=True)
class Step:
    """One line of the argument: an exact order at the classified point, and how it compares with zero.

    Attributes:
        order: the exponent in symbols, such as 1 - alpha - gamma.
        point: the values of the symbols, as pairs.
        value: its exact value there.
        relation: "<" or "=" or ">": how the value compares with zero.
        because: what that means, in words.
        reference: the claim in `derivations/` that proves the rule.

    >>> gamma = Affine.symbol("gamma")
    >>> step = Step(gamma, (("gamma", Fraction(1, 2)),), Fraction(1, 2), ">", "updates vanish", "D3.4")
    >>> step.claim, step.holds()
    ('gamma = 1/2 > 0', True)
    """

    order: Affine
    point: tuple[tuple[str, Fraction], ...]
    value: Fraction
    relation: str
    because: str
    reference: str

    @property
    def claim(self) -> str:
        """The comparison, such as "1 - alpha - gamma = 1/4 > 0"."""
        return f"{self.order} = {self.value}" + ("" if self.value == 0 else f" {self.relation} 0")

    def __repr__(self) -> str:
        return listed("Step", [f"{self.claim}: {self.because} [{self.reference}]"])

    def latex(self) -> str:
        """The comparison in LaTeX."""
        value = Affine(self.value).latex()
        return f"{self.order.latex()} = {value}" + ("" if self.value == 0 else f" {self.relation} 0")

    def holds(self) -> bool:
        """Evaluate the order at the point again, and compare it with zero."""
        true = {"<": self.value < 0, "=": self.value == 0, ">": self.value > 0}[self.relation]
        return true and self.order.at(dict(self.point)) == self.value


@dataclass(frozen=True)
class Regime:
    """The verdict on a parametrization, with the steps that lead to it; printing it prints the argument.

    Attributes:
        name: the first that applies of "unstable at initialization", "unstable during training", "trivial",
            "unfaithful", "redundant", "feature learning and diverse".
        diversity: the feature-diversity exponent kappa (TP6, Def. 7.6); None unless stable and nontrivial.
        steps: the exact comparisons the verdicts are read from.
        block_depth: k, layers in a block.
        centred: whether initial branches have mean zero.

    >>> regime = classify(Parametrization(1, 0), block_depth=2)
    >>> regime.name, regime.stable_during_training, regime.diversity
    ('redundant', True, Fraction(0, 1))
    >>> regime.steps[0]
    Step(1/2 - alpha = -1/2 < 0: the sum of the initial branches vanishes in the limit [D1.2])
    """

    name: str
    parametrization: Parametrization
    stable_at_initialization: bool
    stable_during_training: bool
    nontrivial: bool
    faithful_at_initialization: bool
    faithful_during_training: bool
    feature_learning: bool
    layerwise_linear: bool
    diversity: Fraction | None
    steps: tuple[Step, ...]
    block_depth: int = 1
    centred: bool = True

    def __repr__(self) -> str:
        p, layers = self.parametrization, f"block_depth={self.block_depth}"
        return listed("Regime", [f"{self.name}: {p!r}", layers, *["not centred"] * (not self.centred)])

    def __str__(self) -> str:
        claim, because = (max(len(getattr(s, name)) for s in self.steps) for name in ("claim", "because"))
        lines = [f"  {s.claim:<{claim}}   {s.because:<{because}}   [{s.reference}]" for s in self.steps]
        return "\n".join([self.name, *lines])

    def to_json(self) -> dict[str, Any]:
        """The verdicts, the exponents, and the steps, in terms of JSON; fractions are text."""
        p = self.parametrization
        exponents = {"alpha": p.alpha, "gamma": p.gamma, "initial": p.initial}
        return {
            "name": self.name,
            **{name: _plain(getattr(self, name)) for name in PROPERTIES},
            **{name: _plain(value) for name, value in exponents.items()},
            "block_depth": self.block_depth,
            "centred": self.centred,
            "steps": [{"claim": s.claim, "because": s.because, "reference": s.reference} for s in self.steps],
        }

    def _repr_markdown_(self) -> str:
        verdicts = [f"| {name.replace('_', ' ')} | {_word(getattr(self, name))} |" for name in PROPERTIES]
        steps = [f"| ${s.latex()}$ | {s.because} | {s.reference} |" for s in self.steps]
        head = f"**{self.name}**: {self.parametrization!r}, {_layers(range(1, self.block_depth + 1))} per block"
        return "\n".join(
            [head, "", "| order | meaning | proof |", "|---|---|---|", *steps, "", "| property | |", "|---|---|", *verdicts]
        )

    def _repr_latex_(self) -> str:
        words = [s.because.replace("^", r"\^{}") for s in self.steps]
        lines = [rf"&{s.latex()} && \text{{{said}}}" for s, said in zip(self.steps, words, strict=True)]
        body = " \\\\\n".join([rf"&\textbf{{{self.name}}}", *lines])
        return f"$$\\begin{{aligned}}\n{body}\n\\end{{aligned}}$$"


@called('classify(Parametrization("1/2", "1/2"))')
def classify(parametrization: Parametrization, *, block_depth: int = 1, centred: bool = True) -> Regime:
    r"""Classify exponents $(\alpha, \gamma, \beta)$ of a residual network (TP6, Claims 7.1-7.6), for any block depth.

    Reads every property off the expansion of the branches over subsets $S$ of updated layers (`branch`): for blocks of
    one layer, summed over $L$ blocks, initial branches are $\Theta(L^{e_\emptyset})$ and updates $\Theta(L^{e_1})$ with

    $$e_\emptyset = \tfrac12 - \alpha - \beta \quad(1 - \alpha - \beta \text{ if not centred}), \qquad
      e_1 = 1 - \alpha - \gamma .$$

    The same verdicts as inequalities in symbols: `conditions`. Branches that are not centred add up coherently, hence
    smoothly in depth: they are never diverse ($\kappa = 0$). U and V are frozen, or trained at rates independent of depth.

    Args:
        parametrization: the exponents; gamma and initial may have one value per layer of the block.
        block_depth: $k$, weight matrices in a block.
        centred: whether the initial branch has mean zero (true for linear blocks and under mean subtraction).

    Raises:
        ValueError: a block depth that is no whole number between 1 and 12, or exponents for another number of layers.
        TypeError: anything but a `Parametrization`, or `centred` neither true nor false.

    >>> print(classify(Parametrization("1/2", "1/2")))
    feature learning and diverse
      1/2 - alpha = 0         blocks add up like independent noise to Theta(1)   [D1.2]
      1 - alpha - gamma = 0   updates add up coherently to Theta(1)              [D1.3]
      gamma = 1/2 > 0         the update of one block vanishes in the limit      [D3.4]
    >>> classify(Parametrization(1, 0), block_depth=2)
    Regime(redundant: Parametrization(alpha=1, gamma=0), block_depth=2)
    """
    alpha, gammas, betas = checked(parametrization).layers(block_depth)
    block_depth, centred = len(gammas), truth(centred, "centred")
    tied = block_depth == 1 or not any(isinstance(v, tuple) for v in (parametrization.gamma, parametrization.initial))
    symbols = {family: names(family, block_depth, tied) for family in ("gamma", "beta")}
    point = {"alpha": alpha} | dict(zip(symbols["gamma"], gammas, strict=True)) | dict(zip(symbols["beta"], betas, strict=True))
    expansion = branch(block_depth, centred, tied=tied)
    value = {updated: e.at(point) for updated, e in expansion.items()}
    initial, updates = value.pop(frozenset()), value
    second = [e.at(point) for e in curvature(block_depth, tied=tied).values()]
    spread = Fraction(1, 2) - alpha - sum(betas)

    stable_init, stable_train = initial <= 0, max(updates.values()) <= 0
    nontrivial, faithful = max(updates.values()) >= 0, min(gammas) >= 0
    faithful_init = stable_init and not any(betas)
    diversity = None
    if stable_init and stable_train and nontrivial:
        diversity = Fraction(1, 2) if spread == 0 else Fraction(0)
    verdicts = (
        ("unstable at initialization", not stable_init),
        ("unstable during training", not stable_train),
        ("trivial", not nontrivial),
        ("unfaithful", not (faithful and faithful_init)),
        ("redundant", diversity == 0),
        ("feature learning and diverse", True),
    )
    return Regime(
        name=next(name for name, applies in verdicts if applies),
        parametrization=parametrization,
        stable_at_initialization=stable_init,
        stable_during_training=stable_train,
        nontrivial=nontrivial,
        faithful_at_initialization=faithful_init,
        faithful_during_training=faithful,
        feature_learning=stable_init and stable_train and nontrivial and faithful,
        layerwise_linear=max([*second, *(v for updated, v in updates.items() if len(updated) > 1)]) < 0,
        diversity=diversity,
        steps=tuple(_steps(expansion, point, symbols, centred)),
        block_depth=block_depth,
        centred=centred,
    )


def _steps(
    expansion: Mapping[Subset, Affine], point: Mapping[str, Fraction], symbols: Mapping[str, tuple[str, ...]], centred: bool
) -> Iterator[Step]:
    """The initial sum, every sum that contains updates, and every layer's update and initial size."""
    without = {name: 0 for name in symbols["beta"] if point[name] == 0}
    shown = {e.substitute(without): updated for updated, e in reversed([*expansion.items()])}
    depth = max(map(len, expansion))
    sums, noise = ("D1.3", "D1.2") if depth == 1 else ("D6.1", "D6.1")
    for order, updated in reversed([*shown.items()]):
        if updated:
            yield _step(order, point, _updates(updated, depth, len(set(symbols["gamma"])) == 1), sums)
        else:
            yield _step(order, point, _INITIAL[centred], "D1.2" if centred else "D1.3")
    for family, words, proof in (("gamma", _LAYER_UPDATE, "D3.4"), ("beta", _LAYER_INITIAL, noise)):
        for i, name in enumerate(dict.fromkeys(symbols[family]), start=1):
            if name not in without:
                layer = "one block" if depth == 1 else "each layer" if len(set(symbols[family])) == 1 else f"layer {i}"
                yield _step(Affine.symbol(name), point, tuple(w.replace("LAYER", layer) for w in words), proof)


_INITIAL = {
    True: (
        "the sum of the initial branches vanishes in the limit",
        "blocks add up like independent noise to Theta(1)",
        "initial branches add up to L^VALUE",
    ),
    False: (
        "the sum of the initial branches vanishes in the limit",
        "branches of nonzero mean add up coherently to Theta(1)",
        "branches of nonzero mean add up coherently to L^VALUE",
    ),
}
_LAYER_UPDATE = (
    "the update of LAYER's preactivation grows like L^NEGATIVE",
    "the update of LAYER's preactivation is Theta(1)",
    "the update of LAYER vanishes in the limit",
)
_LAYER_INITIAL = (
    "the initial weights of LAYER grow like L^NEGATIVE",
    "the initial weights of LAYER are Theta(1)",
    "the initial weights of LAYER vanish like L^NEGATIVE",
)


def _updates(updated: Subset, depth: int, tied: bool) -> tuple[str, ...]:
    """What the sum of the branches with these updates does, below, at, and above order zero."""
    who = "updates"
    if depth > 1 and tied:
        who = "updates of one layer" if len(updated) == 1 else f"joint updates of {len(updated)} layers"
    elif depth > 1:
        who = ("joint " if len(updated) > 1 else "") + f"updates of {_layers(sorted(updated))}"
    frozen = ": training is frozen" if depth == 1 else ""
    return f"{who} vanish in the limit{frozen}", f"{who} add up coherently to Theta(1)", f"{who} add up to L^VALUE"


def _layers(numbers: Any) -> str:
    """Layers in words: a count for a range, else their numbers."""
    if isinstance(numbers, range):
        return "one layer" if len(numbers) == 1 else f"{len(numbers)} layers"
    *rest, last = map(str, numbers)
    return f"layers {', '.join(rest)} and {last}" if rest else f"layer {last}"


def _step(order: Affine, point: Mapping[str, Fraction], because: tuple[str, ...], reference: str) -> Step:
    value = order.at(point)
    sign = (value > 0) - (value < 0)
    words = because[sign + 1].replace("VALUE", f"({value})").replace("NEGATIVE", f"({-value})")
    return Step(order, tuple((name, point[name]) for name in order.symbols), value, "<=>"[sign + 1], words, reference)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Fraction) else value


def _word(value: bool | Fraction | None) -> str:
    if value is None:
        return "undefined"
    return f"κ = {value}" if isinstance(value, Fraction) else "yes" if value else "no"
