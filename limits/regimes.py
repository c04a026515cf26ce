"""Which exponents give which infinite-depth behaviour (TP6, section 7)."""

from dataclasses import dataclass
from fractions import Fraction

from limits.parametrization import Parametrization
from limits.problem import expect


@dataclass(frozen=True)
class Step:
    """One line of the argument: `claim` compares an exact order with zero, and `holds` checks it again.

    Attributes:
        order: the exponent as written, such as "1 - alpha - gamma".
        value: its exact value at the classified point.
        relation: "<" or "=" or ">": how the value compares with zero.
        because: what that means, in words.
        reference: the claim in `derivations/` that proves the rule.
    """

    order: str
    value: Fraction
    relation: str
    because: str
    reference: str

    @property
    def claim(self) -> str:
        return f"{self.order} = {self.value}" + ("" if self.value == 0 else f" {self.relation} 0")

    def holds(self) -> bool:
        """Compare the exact value with zero again."""
        return {"<": self.value < 0, "=": self.value == 0, ">": self.value > 0}[self.relation]


@dataclass(frozen=True)
class Regime:
    """The verdict on a parametrization, with the steps that lead to it; printing it prints the argument.

    Attributes:
        name: the first that applies of "unstable at initialization", "unstable during training", "trivial",
            "unfaithful", "redundant", "feature learning and diverse".
        diversity: the feature-diversity exponent kappa (TP6, Def. 7.6); None unless stable and nontrivial.
        steps: the exact comparisons the verdicts are read from.
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

    def __str__(self) -> str:
        claim, because = (max(len(getattr(s, name)) for s in self.steps) for name in ("claim", "because"))
        lines = [f"  {s.claim:<{claim}}   {s.because:<{because}}   [{s.reference}]" for s in self.steps]
        return "\n".join([self.name, *lines])


def _step(order: str, value: Fraction, because: tuple[str, str, str], reference: str) -> Step:
    sign = (value > 0) - (value < 0)
    return Step(order, value, "<=>"[sign + 1], because[sign + 1], reference)


def classify(parametrization: Parametrization, *, block_depth: int = 1, centred: bool = True) -> Regime:
    r"""Classify exponents $(\alpha, \gamma)$ of a residual network with one-layer blocks (TP6, Claims 7.1-7.6).

    Summed over $L$ blocks, the initial branches are $\Theta(L^{e_0})$ and the updates $\Theta(L^{e_1})$ with

    $$e_0 = \tfrac12 - \alpha - \beta \quad(1 - \alpha - \beta \text{ if not centred}), \qquad
      e_1 = 1 - \alpha - \gamma .$$

    Args:
        parametrization: the exponents.
        block_depth: weight matrices in a block; 1.
        centred: whether the branch has mean zero (true for linear blocks and under mean subtraction).

    Raises:
        ValueError: `block_depth` other than 1, or exponents for several layers.

    >>> print(classify(Parametrization("1/2", "1/2")))
    feature learning and diverse
      1/2 - alpha = 0         blocks add up like independent noise to Theta(1)   [D1.2]
      1 - alpha - gamma = 0   updates add up coherently to Theta(1)   [D1.3]
      gamma = 1/2 > 0         the update of one block vanishes in the limit   [D3.4]
    """
    expect(parametrization, Parametrization, "parametrization")
    if block_depth != 1:
        raise ValueError(f"classify treats blocks of one layer so far, got block_depth={block_depth}: use block_depth=1")
    alpha, gamma, beta = parametrization.single()
    share = Fraction(1, 2) if centred else Fraction(1)
    initial, update = share - alpha - beta, 1 - alpha - gamma
    suffix = "" if beta == 0 else " - beta"
    stable_init, stable_train = initial <= 0, update <= 0
    nontrivial, faithful = update >= 0, gamma >= 0
    learning = stable_init and stable_train and nontrivial and faithful
    diversity = None
    if stable_init and stable_train and nontrivial:
        diversity = Fraction(1, 2) if initial == 0 else Fraction(0)
    steps = (
        _step(
            f"{share} - alpha{suffix}",
            initial,
            (
                "the sum of the initial branches vanishes in the limit",
                "blocks add up like independent noise to Theta(1)" if centred else "branches add up to Theta(1)",
                f"initial branches add up to L^({initial})",
            ),
            "D1.2" if centred else "D1.3",
        ),
        _step(
            "1 - alpha - gamma",
            update,
            (
                "updates vanish in the limit: training is frozen",
                "updates add up coherently to Theta(1)",
                f"updates add up to L^({update})",
            ),
            "D1.3",
        ),
        _step(
            "gamma",
            gamma,
            (
                f"the update of one block's preactivation grows like L^({-gamma})",
                "the update of one block's preactivation is Theta(1)",
                "the update of one block vanishes in the limit",
            ),
            "D3.4",
        ),
    )
    names = (
        ("unstable at initialization", not stable_init),
        ("unstable during training", not stable_train),
        ("trivial", not nontrivial),
        ("unfaithful", not faithful),
        ("redundant", diversity == 0),
        ("feature learning and diverse", True),
    )
    return Regime(
        name=next(name for name, applies in names if applies),
        parametrization=parametrization,
        stable_at_initialization=stable_init,
        stable_during_training=stable_train,
        nontrivial=nontrivial,
        faithful_at_initialization=stable_init and beta == 0,
        faithful_during_training=faithful,
        feature_learning=learning,
        layerwise_linear=1 - alpha - 2 * gamma < 0,
        diversity=diversity,
        steps=steps,
    )
