"""What is easily got wrong when hyperparameters are carried to another size, said beside every answer."""

from fractions import Fraction

from limits.parametrization import Parametrization
from limits.regimes import Regime
from limits.scaling.rules import Rule
from limits.scaling.size import Size

GOOD = ("redundant", "feature learning and diverse")


def warnings(p: Parametrization, regime: Regime) -> tuple[str, ...]:
    """A sentence if the exponents have no limit in which all blocks learn."""
    found = []
    if not Fraction(1, 2) <= Fraction(p.alpha) <= 1:
        found.append(f"Warning: alpha = {p.alpha} is outside [1/2, 1], where every block can learn features.")
    if regime.name not in GOOD:
        because = next((s for s in regime.steps if s.relation != "="), regime.steps[0])
        found.append(
            f"Warning: these exponents are {regime.name} ({because.claim}: {because.because}); networks of other depths do not "
            "train alike, whatever the ratios."
        )
    return tuple(found)


def notes(base: Size, target: Size, rule: Rule, p: Parametrization, regime: Regime, readout: str) -> tuple[str, ...]:
    """All that is worth a sentence for this question."""
    found = list(warnings(p, regime))
    found.append(
        f"Ratios are over the base: m_N = {target.width}/{base.width}, m_L = {target.blocks}/{base.blocks}. A script that has "
        f"the raw number of blocks in it changes the base too, by a factor of {base.blocks}^alpha."
    )
    found.append("blocks counts residual branches: a transformer layer with attention and MLP is two.")
    if base.blocks != target.blocks:
        found.append(
            "Embedding, readout, their biases and the final norm stand outside the blocks: none of them has a factor of depth."
        )
        found.append(
            "Initial weights that already shrink with depth (GPT-2's 1/sqrt(2 layers)) count twice beside the branch "
            "multiplier: keep their std at that of the base (limits.scaling.gpt2_std), or give the exponent as initial=."
        )
    if rule.eps == "entry":
        found.append("epsilon follows the gradient; left as it is, it takes over in wide or deep networks.")
    if rule.decay is None:
        found.append(
            "Adam's weight decay is a part of the gradient it normalizes: no scaling keeps both its share and its size beside "
            "the gradient. Take adamw."
        )
    if base.batch is not None and base.batch != target.batch and rule.eps == "entry":
        found.append("With the batch, 1 - beta1 and 1 - beta2 go as m_B: averages then span the same number of samples (MLPA).")
    if base.batch is not None and base.steps is None and base.batch != target.batch:
        found.append("Steps are not given: weight decay keeps its time scale in steps, not its share of the run.")
    if readout == "init":
        found.append("Tied embeddings have the multiplier all the same: one std cannot serve both ends.")
    found.append("Attention logits are divided by the head size, not its square root, if the head size grows (TP5, Def. 4.1).")
    return tuple(found)
