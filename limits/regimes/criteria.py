"""The properties of TP6's section 7 as exact inequalities between exponents."""

from limits.exponents import Affine
from limits.inequalities import Condition, Inequality
from limits.regimes.expansion import branch, curvature, names


def conditions(*, block_depth: int = 1, centred: bool = True, tied: bool = True) -> dict[str, Condition]:
    r"""What every verdict of `classify` asks of the exponents, in symbols.

    With $e_S$ the exponents of `branch` and $S$ nonempty,

    * stable at initialization (TP6, 7.2.1): $e_\emptyset \le 0$
    * stable during training (7.2.2): all $e_S \le 0$
    * nontrivial (7.4): some $e_S \ge 0$
    * faithful at initialization (7.3): $e_\emptyset \le 0$ and all $\beta_i = 0$
    * faithful during training (7.3): all $\gamma_i \ge 0$
    * feature learning (7.5): stable, nontrivial, and faithful during training
    * diverse, $\kappa = 1/2$ (7.6): stable, nontrivial, and $\frac12 - \alpha - \sum_i\beta_i = 0$
    * redundant, $\kappa = 0$ (7.6): stable, nontrivial, and not diverse
    * layerwise linear (7.7): $e_S < 0$ for $\|S\| \ge 2$, and every layer's own second order $< 0$

    Args:
        block_depth: $k$, layers in a block.
        centred: whether initial branches have mean zero.
        tied: one `gamma` and one `beta` for all layers; otherwise `gamma_1`, `beta_1`, …

    Returns:
        A `Condition` for every property, under the names of the attributes of `Regime`, and `diverse` and `redundant`.

    Raises:
        ValueError: a block depth that is no whole number between 1 and 12.

    >>> for name, condition in conditions().items():
    ...     print(f"{name}: {condition.substitute(beta=0).simplified()}")
    stable_at_initialization: 1/2 - alpha <= 0
    stable_during_training: 1 - alpha - gamma <= 0
    nontrivial: 1 - alpha - gamma >= 0
    faithful_at_initialization: 1/2 - alpha <= 0
    faithful_during_training: gamma >= 0
    feature_learning: 1 - alpha - gamma = 0 and gamma >= 0 and 1/2 - alpha <= 0
    diverse: 1/2 - alpha = 0 and 1 - alpha - gamma = 0
    redundant: 1 - alpha - gamma = 0 and 1/2 - alpha < 0
    layerwise_linear: 1 - alpha - 2*gamma < 0
    """
    expansion = branch(block_depth, centred, tied=tied)
    spread = branch(block_depth, tied=tied)[frozenset()]
    updates = [e for updated, e in expansion.items() if updated]
    higher = [e for updated, e in expansion.items() if len(updated) > 1]
    gammas, betas = (map(Affine.symbol, dict.fromkeys(names(f, block_depth, tied))) for f in ("gamma", "beta"))

    steady = _at_most_zero(expansion[frozenset()])
    stable = _at_most_zero(*updates)
    moving = Condition.all(*_below_zero(*updates)).negated()
    faithful = _at_most_zero(*(-gamma for gamma in gammas))
    found = {
        "stable_at_initialization": steady,
        "stable_during_training": stable,
        "nontrivial": moving,
        "faithful_at_initialization": steady & Condition.all(*(Inequality(beta, "=") for beta in betas)),
        "faithful_during_training": faithful,
        "feature_learning": steady & stable & moving & faithful,
        "diverse": steady & stable & moving & Condition.all(Inequality(spread, "=")),
        "redundant": steady & stable & moving & Condition.all(*_below_zero(spread)),
        "layerwise_linear": Condition.all(*_below_zero(*higher, *curvature(block_depth, tied=tied).values())),
    }
    return {name: condition.simplified() for name, condition in found.items()} if tied else found


def _at_most_zero(*forms: Affine) -> Condition:
    return Condition.all(*(Inequality(form, "<=") for form in dict.fromkeys(forms)))


def _below_zero(*forms: Affine) -> list[Inequality]:
    return [Inequality(form, "<") for form in dict.fromkeys(forms)]
