r"""What can be wished of exponents, as constraints on the orders $e_S$ of the branch's terms.

The term in which the layers $S$ of a block contribute their updates, and the others their initial weights, adds up over the
$L$ blocks to $\Theta(L^{e_S})$ (`limits.regimes.branch`). A wish is a conjunction of constraints and of disjunctions.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from limits.exponents import Affine
from limits.inequalities import Constraint
from limits.parametrization import whole_depth
from limits.regimes.expansion import Subset, branch, curvature, names, truth

Disjunction = tuple[Constraint, ...]
"""Constraints of which at least one must hold; none can, if there are none."""


@dataclass(frozen=True)
class Wish:
    """Constraints that must all hold, and disjunctions that must all hold in some way."""

    constraints: tuple[Constraint, ...] = ()
    disjunctions: tuple[Disjunction, ...] = ()

    def __add__(self, other: "Wish") -> "Wish":
        return Wish(self.constraints + other.constraints, self.disjunctions + other.disjunctions)

    @classmethod
    def together(cls, wishes: "Iterable[Wish]") -> "Wish":
        """All of them, without what is said twice; shorter disjunctions come first."""
        everything = sum(wishes, cls())
        shorter = sorted(everything.disjunctions, key=len)
        ways = {frozenset(_said(c) for c in disjunction): disjunction for disjunction in reversed(shorter)}
        return cls(_once(everything.constraints), tuple(reversed(ways.values())))


def _said(constraint: Constraint) -> tuple[Affine, str]:
    """What a constraint says, whatever it is called."""
    return constraint.form, constraint.relation


def _once(constraints: Sequence[Constraint]) -> tuple[Constraint, ...]:
    """The first of those that say the same."""
    return tuple(reversed({_said(c): c for c in reversed(constraints)}.values()))


@dataclass(frozen=True)
class Block:
    r"""The exponents of a block of `depth` layers, and the orders of its branch's terms.

    Args:
        depth: $k$, weight matrices in a block.
        centred: whether the branch has mean zero at initialization.
        tied: whether all layers share one $\gamma$ and one $\beta$; a single layer always has one of each.

    >>> print(*Block(2, centred=True, tied=False).symbols)
    alpha gamma_1 gamma_2 beta_1 beta_2
    """

    depth: int
    centred: bool = True
    tied: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", whole_depth(self.depth))
        object.__setattr__(self, "centred", truth(self.centred, "centred"))
        object.__setattr__(self, "tied", truth(self.tied, "tied") or self.depth == 1)

    def names(self, family: str) -> tuple[str, ...]:
        """The symbols of a family of exponents: alpha, gamma or beta."""
        return ("alpha",) if family == "alpha" else tuple(dict.fromkeys(names(family, self.depth, self.tied)))

    @property
    def symbols(self) -> tuple[str, ...]:
        """All symbols."""
        return self.names("alpha") + self.names("gamma") + self.names("beta")

    @property
    def terms(self) -> dict[Subset, Affine]:
        """$e_S$ for all S, the empty set included."""
        return branch(self.depth, self.centred, tied=self.tied)

    @property
    def updates(self) -> dict[Subset, Affine]:
        """$e_S$ for nonempty S."""
        return {s: e for s, e in self.terms.items() if s}


def _set(layers: Subset) -> str:
    return f"S={{{','.join(map(str, sorted(layers)))}}}"


def _some(wish: str, ways: Mapping[str, Affine], relation: str, sign: int) -> Wish:
    """One of several orders compares with zero."""
    return Wish(disjunctions=(_once([Constraint(sign * e, relation, f"{wish} through {way}") for way, e in ways.items()]),))


def stable(block: Block) -> Wish:
    r"""Features stay $O(1)$: $e_S \le 0$ for every $S$ (TP6, Def. 7.2)."""
    start = Constraint(block.terms[frozenset()], "<=", "stable at initialization")
    during = (Constraint(e, "<=", f"stable during training for {_set(s)}") for s, e in block.updates.items())
    return Wish((start, *during))


def nontrivial(block: Block) -> Wish:
    r"""Training does not stay where it began: $e_S \ge 0$ for some $S \neq \emptyset$ (TP6, Def. 7.4)."""
    return _some("nontrivial", {_set(s): e for s, e in block.updates.items()}, "<=", -1)


def _faithful_during_training(block: Block) -> Wish:
    names = block.names("gamma")
    return Wish(tuple(Constraint(-Affine.symbol(name), "<=", f"faithful during training for {name}") for name in names))


def faithful(block: Block) -> Wish:
    r"""Inside a block, too, everything stays $O(1)$: $e_\emptyset \le 0$, $\beta_i = 0$ and $\gamma_i \ge 0$ (TP6, Def. 7.3)."""
    start = Constraint(block.terms[frozenset()], "<=", "faithful at initialization: stable there")
    names = block.names("beta")
    own = (Constraint(Affine.symbol(name), "=", f"faithful at initialization for {name}") for name in names)
    return Wish((start, *own)) + _faithful_during_training(block)


def feature_learning(block: Block) -> Wish:
    r"""Stable, nontrivial, and $\gamma_i \ge 0$ (TP6, Def. 7.5)."""
    return stable(block) + nontrivial(block) + _faithful_during_training(block)


def diverse(block: Block) -> Wish:
    r"""Blocks differ, $\frac12 - \alpha - \sum_i\beta_i = 0$: with stable and nontrivial, $\kappa = 1/2$ (TP6, Def. 7.6).

    This is the order of what is independent from block to block: all of the branch if it is centred, else its fluctuations.
    """
    return Wish((Constraint(replace(block, centred=True).terms[frozenset()], "=", "diverse"),))


def interacting(block: Block) -> Wish:
    r"""Updates of two or more layers of a block act together: $e_S = 0$ for some $|S| \ge 2$."""
    return _some("interacting", {_set(s): e for s, e in block.updates.items() if len(s) > 1}, "=", 1)


def layerwise_nonlinear(block: Block) -> Wish:
    r"""Second order in one block's updates stays (TP6, Def. 7.7).

    $e_S \ge 0$ for some $|S| \ge 2$, or $e_{\{i\}} - \gamma_i \ge 0$ for some layer.
    """
    several = {_set(s): e for s, e in block.updates.items() if len(s) > 1}
    twice = {f"the second order of layer {i}": e for i, e in curvature(block.depth, tied=block.tied).items()}
    return _some("layerwise-nonlinear", several | twice, "<=", -1)


def maximal(block: Block) -> Wish:
    r"""Every layer's own update counts: $e_{\{i\}} = 0$ for every $i$."""
    own = ((s, e) for s, e in block.updates.items() if len(s) == 1)
    return Wish(tuple(Constraint(e, "=", f"maximal for {_set(s)}") for s, e in own))


WISHES: dict[str, Callable[[Block], Wish]] = {
    "stable": stable,
    "nontrivial": nontrivial,
    "faithful": faithful,
    "diverse": diverse,
    "feature-learning": feature_learning,
    "interacting": interacting,
    "layerwise-nonlinear": layerwise_nonlinear,
    "maximal": maximal,
}
"""All there are, by name."""


def known(name: str) -> str:
    """The name of a wish, which may be spelled with underscores.

    Raises:
        ValueError: there is no such wish.
        TypeError: it is no text.

    >>> known("feature_learning")
    'feature-learning'
    """
    if not isinstance(name, str):
        raise TypeError(f'a wish must be text, got {name!r}: write design("stable", "diverse")')
    if (spelled := name.strip().lower().replace("_", "-").replace(" ", "-")) in WISHES:
        return spelled
    raise ValueError(f"{name!r} is no wish: choose from {', '.join(WISHES)}")
