r"""The plane of exponents as data: what a page needs to say of any point what `classify` says of it, without knowing the theory.

Everything is affine in $(\alpha, \gamma)$ or a comparison of something affine with zero, so that exact fractions are enough.
A form $c_0 + c_1\alpha + c_2\gamma$ is written as the texts of its coefficients, a comparison as a form and its relation to zero.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import combinations
from typing import Any

from limits.explorer.words import APART, TOGETHER
from limits.exponents import Affine
from limits.inequalities import Condition, Polyhedron
from limits.parametrization import Parametrization, raw_exponents
from limits.regimes import Step, classify, conditions, phase_diagram

Point = tuple[Fraction, Fraction]
Form = list[str]

OPTIMIZERS = ("sgd", "adam")
WITNESS = Fraction(3, 7)
"""A value that no exponent of the theory has, so that it is found again in a sentence."""
ELSEWHERE = Fraction(5, 11)
"""The other coordinate of a point where a form has that value."""


def plane(block_depth: int) -> dict[str, Any]:
    r"""All that is known of the $(\alpha, \gamma)$ plane, of blocks of so many layers with one $\gamma$ for all.

    Args:
        block_depth: $k$.

    Returns:
        "regions" (the exact pieces of every regime, in the order of `phase_diagram`), "steps" (those that `classify` prints, with
        a sentence below, at and above zero), "properties" and "diversity" (where they hold), "remarks" (on layers of one block),
        "corners" (where two steps are zero), and "raw" (exponents to write into a script, by optimizer).

    Raises:
        ValueError: a block depth that is no whole number between 1 and 12.

    >>> where = plane(1)
    >>> where["regions"][0]["name"], where["regions"][0]["pieces"][0][0]
    ('unstable at initialization', {'form': ['-1/2', '1', '0'], 'relation': '<'})
    >>> where["corners"]
    [['1/2', '1/2'], ['1/2', '0'], ['1', '0']]
    """
    diagram, asked = phase_diagram(block_depth=block_depth), conditions(block_depth=block_depth)
    holds = {name: condition.substitute(beta=0).simplified() for name, condition in asked.items()}
    orders = [step.order for step in _steps(block_depth, (ELSEWHERE, ELSEWHERE))]
    return {
        "block_depth": block_depth,
        "regions": [{"name": r.name, "pieces": _pieces(r.pieces), "said": _said(r.pieces)} for r in diagram.regions],
        "steps": [_step(block_depth, i, order) for i, order in enumerate(orders)],
        "properties": [
            {"name": name.replace("_", " "), "pieces": _pieces(condition.pieces)}
            for name, condition in holds.items()
            if name not in ("diverse", "redundant")
        ],
        "diversity": [
            {"value": kappa, "pieces": _pieces(holds[name].pieces)} for name, kappa in (("diverse", "1/2"), ("redundant", "0"))
        ],
        "remarks": [{"text": text, "pieces": _pieces(condition.pieces)} for text, condition in _remarks(holds, block_depth)],
        "corners": [[str(alpha), str(gamma)] for alpha, gamma in _corners(orders)],
        "raw": {optimizer: _raw(optimizer, block_depth) for optimizer in OPTIMIZERS},
    }


def form(affine: Affine) -> Form:
    r"""$c_0, c_1, c_2$ of $c_0 + c_1\alpha + c_2\gamma$, as texts.

    Raises:
        ValueError: it depends on something else.

    >>> form("1/2" - Affine.symbol("alpha"))
    ['1/2', '-1', '0']
    """
    if more := [name for name in affine.symbols if name not in ("alpha", "gamma")]:
        raise ValueError(f"a form on the plane depends on alpha and gamma alone, got {affine} with {more[0]}: substitute it")
    return [str(affine.constant), str(affine.coefficient("alpha")), str(affine.coefficient("gamma"))]


def _pieces(pieces: tuple[Polyhedron, ...]) -> list[list[dict[str, Any]]]:
    return [[{"form": form(i.form), "relation": i.relation} for i in piece.inequalities] for piece in pieces]


def _said(pieces: tuple[Polyhedron, ...]) -> list[str]:
    return [str(Condition((piece,))) for piece in pieces]


def _remarks(holds: dict[str, Condition], block_depth: int) -> Iterator[tuple[str, Condition]]:
    """What layers of one block do together where features are learned; of a single one there is nothing to say."""
    if block_depth > 1:
        yield APART, holds["feature_learning"] & holds["layerwise_linear"]
        yield TOGETHER, holds["feature_learning"] & holds["layerwise_linear"].negated()


def _steps(block_depth: int, point: Point) -> tuple[Step, ...]:
    return classify(Parametrization(*point), block_depth=block_depth).steps


def _step(block_depth: int, i: int, order: Affine) -> dict[str, Any]:
    """Step i of the argument: its order, and what it means that it is below, at and above zero.

    The sentences are those of `classify` where the order is minus 3/7, 0 and 3/7, with marks in the place of that number.
    """
    because = []
    for value in (-WITNESS, Fraction(0), WITNESS):
        step = _steps(block_depth, _where(order, value))[i]
        because.append(step.because.replace(f"({value})", "(VALUE)").replace(f"({-value})", "(NEGATIVE)"))
    reference = _steps(block_depth, (ELSEWHERE, ELSEWHERE))[i].reference
    return {"form": form(order), "said": str(order), "because": because, "reference": reference}


def _where(order: Affine, value: Fraction) -> Point:
    """A point at which a form has a value."""
    c0, c1, c2 = map(Fraction, form(order))
    return (ELSEWHERE, (value - c0 - c1 * ELSEWHERE) / c2) if c2 else ((value - c0) / c1, ELSEWHERE)


def _corners(orders: list[Affine]) -> list[Point]:
    """Where two of the lines meet."""
    return list(dict.fromkeys(_meetings([[Fraction(c) for c in form(order)] for order in orders])))


def _meetings(lines: list[list[Fraction]]) -> Iterator[Point]:
    for (a0, a1, a2), (b0, b1, b2) in combinations(lines, 2):
        if determinant := a1 * b2 - a2 * b1:
            yield (a2 * b0 - a0 * b2) / determinant, (a0 * b1 - a1 * b0) / determinant


def _raw(optimizer: str, block_depth: int) -> dict[str, Any]:
    """The exponents of `raw_exponents` as forms; of the layers of a block, which are alike, one stands for all."""

    def part(name: str) -> Callable[[Fraction, Fraction], Fraction]:
        def at(alpha: Fraction, gamma: Fraction) -> Fraction:
            found = getattr(raw_exponents(Parametrization(alpha, gamma), optimizer, block_depth), name)
            return found if isinstance(found, Fraction) else _one(found)

        return at

    names = ["multiplier", "lr", "gradient"]
    if raw_exponents(Parametrization(0, 0), optimizer, block_depth).epsilon is not None:
        names.append("epsilon")
    return {name: form(_interpolated(part(name))) for name in names}


def _one(values: tuple[Fraction, ...]) -> Fraction:
    if len(set(values)) > 1:
        raise AssertionError(f"the layers of a block differ: {values}")
    return values[0]


def _interpolated(function: Callable[[Fraction, Fraction], Fraction]) -> Affine:
    """The affine function with the values of another one at three points; at a fourth it is checked."""
    zero, one = Fraction(0), Fraction(1)
    constant = function(zero, zero)
    slopes = (("alpha", function(one, zero) - constant), ("gamma", function(zero, one) - constant))
    found = Affine(constant, slopes)
    if found.at({"alpha": ELSEWHERE, "gamma": WITNESS}) != function(ELSEWHERE, WITNESS):
        raise AssertionError("raw exponents are not affine in alpha and gamma")
    return found
