"""The branches of all blocks, expanded over the subsets of layers that contribute their update."""

from collections.abc import Hashable, Iterator
from itertools import combinations
from math import prod

from limits.exponents import Affine, Order, sum_aligned, sum_independent
from limits.parametrization import whole_depth

Subset = frozenset[int]


def branch(block_depth: int, centred: bool = True, *, tied: bool = False) -> dict[Subset, Affine]:
    r"""The exponents $e_S$ of the branches of $L$ blocks, summed, in which the layers in $S$ contribute their update.

    A block is the multiplier times its layers, each either as initialized, $\Theta(L^{-\beta_i})$, or its update,
    $\Theta(L^{-\gamma_i})$. Fresh initial branches of mean zero are independent from block to block; whatever contains an
    update is aligned, since all blocks receive the gradients of one loss. By the calculus of `limits.exponents`

    $$ e_\emptyset = \tfrac12 - \alpha - \sum_i \beta_i \quad (1 - \alpha - \sum_i \beta_i \text{ if not centred}), \qquad
       e_S = 1 - \alpha - \sum_{i\in S}\gamma_i - \sum_{i\notin S}\beta_i . $$

    Args:
        block_depth: $k$, layers in a block.
        centred: whether initial branches have mean zero; not so for nonlinearities of nonzero mean without mean subtraction.
        tied: one `gamma` and one `beta` for all layers, instead of `gamma_1`, `beta_1`, ….

    Returns:
        $e_S$ for all $2^k$ subsets of $\{1, \dots, k\}$, smaller ones first.

    Raises:
        ValueError: a block depth that is no whole number between 1 and 12.
        TypeError: `centred` or `tied` neither true nor false.

    >>> for layers, exponent in branch(2).items():
    ...     print(sorted(layers), exponent)
    [] 1/2 - alpha - beta_1 - beta_2
    [1] 1 - alpha - gamma_1 - beta_2
    [2] 1 - alpha - gamma_2 - beta_1
    [1, 2] 1 - alpha - gamma_1 - gamma_2
    """
    centred, tied = truth(centred, "centred"), truth(tied, "tied")
    sizes = _sizes(whole_depth(block_depth), tied)
    terms = {updated: _term(updated, sizes, block_depth) for updated in _subsets(block_depth)}
    return {u: (sum_independent if centred and not u else sum_aligned)(term).exponent for u, term in terms.items()}


def curvature(block_depth: int, *, tied: bool = False) -> dict[int, Affine]:
    r"""The exponents of the summed branches in which layer $i$ contributes its update to second order, and no other does.

    $1 - \alpha - 2\gamma_i - \sum_{j \ne i}\beta_j$: what the nonlinearity makes of a layer's own update.

    >>> print(curvature(1, tied=True)[1])
    1 - alpha - 2*gamma
    """
    sizes = _sizes(whole_depth(block_depth), tied)
    twice = {i: _term(frozenset({i}), sizes, block_depth) * sizes["gamma", i] for i in range(1, block_depth + 1)}
    return {i: sum_aligned(term).exponent for i, term in twice.items()}


def names(family: str, block_depth: int, tied: bool) -> tuple[str, ...]:
    """The symbols of one family of exponents, layer by layer.

    >>> names("gamma", 2, tied=False), names("gamma", 2, tied=True)
    (('gamma_1', 'gamma_2'), ('gamma', 'gamma'))
    """
    return tuple(family if tied else f"{family}_{i}" for i in range(1, whole_depth(block_depth) + 1))


def truth(value: object, name: str) -> bool:
    """`value`, if it is true or false."""
    if not isinstance(value, Hashable) or value not in (True, False):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def _sizes(block_depth: int, tied: bool) -> dict[tuple[str, int], Order]:
    """The order of every layer's initial weights and of its update."""
    families = ((f, names(f, block_depth, tied)) for f in ("beta", "gamma"))
    return {(f, i): Order(-Affine.symbol(name)) for f, layers in families for i, name in enumerate(layers, start=1)}


def _term(updated: Subset, sizes: dict[tuple[str, int], Order], block_depth: int) -> Order:
    """One block's branch: the multiplier times its layers, some of them updated."""
    layers = (sizes["gamma" if i in updated else "beta", i] for i in range(1, block_depth + 1))
    return prod(layers, start=Order(-Affine.symbol("alpha")))


def _subsets(block_depth: int) -> Iterator[Subset]:
    for size in range(block_depth + 1):
        yield from map(frozenset, combinations(range(1, block_depth + 1), size))
