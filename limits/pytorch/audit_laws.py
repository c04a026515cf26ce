r"""What the audit of a model measures, what it should be, and which property is at stake where it is not.

In the number of blocks the exponents are those of `limits.compare.expected`; in the width everything that a parametrization
keeps is of order one, and outputs before training may only shrink.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from limits.compare.expected import DIVERSITY, FEATURES, GROWTH, OUTPUTS, SHARE, Expected, expected
from limits.markup import brief
from limits.optimizers import SGD
from limits.parametrization import Parametrization, checked
from limits.problem import Problem, ResNet
from limits.regimes import classify

WIDTH, BLOCKS, BASE = "width", "blocks", "base"
SIZE, LEARNING, DIVERSE, LINEARITY, TRANSFER = "size", "learning", "diversity", "block linearity", "transfer"
VERDICTS = (SIZE, LEARNING, DIVERSE, LINEARITY, TRANSFER)
STABLE, TRAINING, NONTRIVIAL = "stable at initialization", "stable during training", "nontrivial"
FAITHFUL, FAITHFUL_LATER, FEATURE = "faithful at initialization", "faithful during training", "feature learning"
KAPPA, LINEAR, SAME_OPTIMUM, SAME_BASE = "diversity", "layerwise linear", "transfer of the learning rate", "the base model"
FORMS = {1: "pre", 2: "mlp"}
"""Of the blocks that stand for those of a model, by their layers; "post" for deeper ones."""


@dataclass(frozen=True)
class Law:
    """What one quantity should do.

    Attributes:
        quantity: its name in `limits.pytorch.audit_measure`.
        axis: "width", "blocks" or "base".
        verdict: the verdict it counts for.
        exact: its exponent; None where nothing is known, so that it is shown and not judged.
        because: what the exponent is, or why there is none.
        grows, vanishes: the property of `classify` that is violated where the exponent is larger, or smaller.
        at_most: whether a smaller one is as good.
    """

    quantity: str
    axis: str
    verdict: str
    exact: Fraction | None
    because: str
    grows: str
    vanishes: str
    at_most: bool = False

    __repr__ = brief


def stand_in(parametrization: Parametrization, block_depth: int, nonlinearity: str) -> Problem:
    """A problem whose exponents in the number of blocks are those of the model: same exponents, layers of a block, and kinks.

    Raises:
        ValueError: exponents at which networks are unstable or do not train: there is nothing to hold a model against.
    """
    regime = classify(checked(parametrization), block_depth=block_depth)
    if not (regime.stable_at_initialization and regime.stable_during_training and regime.nontrivial):
        raise ValueError(
            f"a model is held against exponents at which training is stable and not trivial, got {parametrization!r}, which is "
            f"{regime.name} for blocks of {block_depth} layers: declare COMPLETEP or DEPTH_MUP, or see `classify` and `design`"
        )
    model = ResNet(nonlinearity, block_depth=block_depth, form=FORMS.get(block_depth, "post"))
    return Problem(model, parametrization, SGD(0.1, steps=2, input_lr=0.1, output_lr=0.1), [[1.0]], [[1.0]])


def laws(problem: Problem, layers: Iterable[str]) -> list[Law]:
    """Every law of a model whose blocks have these layers.

    >>> from limits.parametrization import COMPLETEP
    >>> found = laws(stand_in(COMPLETEP, 2, "gelu"), ["up", "down"])
    >>> [(law.quantity, str(law.exact)) for law in found if law.axis == "blocks"][:3]
    [('embedding', '0'), ('initial branch', '-1'), ('initial sum', '-1/2')]
    """
    return [*_in_width(list(layers)), *_in_blocks(problem, list(layers))]


def _in_width(layers: list[str]) -> Iterator[Law]:
    one = Fraction(0)
    for name in ("embedding", "initial branch", "stream"):
        yield Law(name, WIDTH, SIZE, one, "of order one at every width", STABLE, FAITHFUL)
    yield Law("logits", WIDTH, SIZE, one, "bounded before training", STABLE, NONTRIVIAL, at_most=True)
    yield Law("gradient", WIDTH, SIZE, one, "gradients pass the depth", STABLE, STABLE, at_most=True)
    for name in ("blocks' update", "stream update"):
        yield Law(name, WIDTH, LEARNING, one, "of order one at every width", TRAINING, FEATURE)
    yield Law("logit update", WIDTH, LEARNING, one, "of order one at every width", TRAINING, NONTRIVIAL)
    for layer in layers:
        yield Law(f"update of {layer}", WIDTH, LEARNING, one, "a share of the layer", FAITHFUL_LATER, FEATURE)


def _in_blocks(problem: Problem, layers: list[str]) -> Iterator[Law]:
    known, k = expected(problem), problem.model.block_depth
    alpha, gammas, betas = problem.parametrization.layers(k)
    yield Law("embedding", BLOCKS, SIZE, Fraction(0), "no factor of depth on the read-in", STABLE, FAITHFUL)
    yield Law("initial branch", BLOCKS, SIZE, -alpha - sum(betas), "the multiplier, -alpha", STABLE, FAITHFUL)
    yield Law("initial sum", BLOCKS, SIZE, known[GROWTH].exact, known[GROWTH].because, STABLE, FAITHFUL)
    yield Law("logits", BLOCKS, SIZE, Fraction(0), "bounded before training", STABLE, NONTRIVIAL, at_most=True)
    yield Law("gradient", BLOCKS, SIZE, Fraction(0), "gradients pass the depth", STABLE, STABLE, at_most=True)
    for name, key, lost in (
        ("blocks' update", FEATURES, FEATURE),
        ("stream update", FEATURES, FEATURE),
        ("logit update", OUTPUTS, NONTRIVIAL),
    ):
        yield Law(name, BLOCKS, LEARNING, known[key].exact, known[key].because, TRAINING, lost)
    for i, layer in enumerate(layers):
        share = _share(gammas, betas, i, len(layers))
        yield Law(f"update of {layer}", BLOCKS, LEARNING, share.exact, share.because, FAITHFUL_LATER, FEATURE)
    kappa = known[DIVERSITY].exact
    because = known[DIVERSITY].because if kappa is None else f"kappa - 1, kappa = {kappa}"
    yield Law("increments", BLOCKS, DIVERSE, None if kappa is None else kappa - 1, because, KAPPA, KAPPA if kappa else FEATURE)
    second = known.get(SHARE, Expected(None, "blocks that stand for these are linear in their weights"))
    yield Law("second order", BLOCKS, LINEARITY, second.exact, second.because, LINEAR, LINEAR)


def epsilon_laws(epsilons: Iterable[str]) -> Iterator[Law]:
    """Of layers beside whose gradients Adam's epsilon is not small: it must not grow beside them."""
    for layer in epsilons:
        for axis in (WIDTH, BLOCKS):
            yield Law(
                f"epsilon of {layer}",
                axis,
                LEARNING,
                Fraction(0),
                "Adam's epsilon over the gradient",
                FEATURE,
                FEATURE,
                at_most=True,
            )


def _share(gammas: tuple[Fraction, ...], betas: tuple[Fraction, ...], i: int, count: int) -> Expected:
    """Of a layer's update beside the layer: the exponents of the layer, if they can be told."""
    shares = [beta - gamma for gamma, beta in zip(gammas, betas, strict=True)]
    if len(set(shares)) == 1:
        return Expected(shares[0], "an update beside its layer, -gamma")
    if count == len(shares):
        return Expected(shares[i], f"an update beside its layer, -gamma_{i + 1} + beta_{i + 1}")
    return Expected(None, f"{count} layers were found, and exponents were given for {len(shares)}")


def violated(law: Law, value: float, margin: float, tolerance: float) -> str:
    """The property that an exponent so large or small violates.

    A branch that is larger than declared is unstable before training only if its independent sum is; otherwise what is too large
    is the sum of the updates, which pass through the same multiplier.
    """
    assert law.exact is not None
    if value < law.exact:
        return law.vanishes
    sums = {"initial branch": value + 0.5, "initial sum": value}
    if law.axis == BLOCKS and law.quantity in sums and sums[law.quantity] - margin <= tolerance:
        return TRAINING
    return law.grows
