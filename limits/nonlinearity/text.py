r"""The formula of a nonlinearity: a sum of names with factors, such as "0.5*relu - tanh" or "leaky_relu(0.2)/2"."""

import re
from collections.abc import Callable

from limits.nonlinearity.named import NAMED, kinked, leaky_relu, polynomial, power
from limits.nonlinearity.phi import Nonlinearity, combination

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
TERM = re.compile(
    rf"\s*(?P<sign>[-+]?)\s*(?:(?P<factor>{NUMBER})\s*\*\s*)?(?P<name>[a-z_]+)"
    rf"(?:\((?P<arguments>[^()]*)\))?(?:\s*/\s*(?P<divisor>{NUMBER}))?\s*"
)
CONSTRUCTORS: dict[str, Callable[..., Nonlinearity]] = {
    "leaky_relu": leaky_relu,
    "kinked": kinked,
    "power": power,
    "polynomial": lambda *coefficients: polynomial(coefficients),
}


def nonlinearity(given: object) -> Nonlinearity:
    """The nonlinearity of that name or formula, or itself; a formula is a sum of names with factors.

    Raises:
        ValueError: a sentence listing the names.

    >>> nonlinearity("identity").name
    'linear'
    >>> nonlinearity("cos + sin") == nonlinearity("sin") + nonlinearity("cos")
    True
    >>> nonlinearity("relu/2 - 0.25*leaky_relu(0.2)").name
    '0.5*relu - 0.25*leaky_relu(0.2)'
    """
    return given if isinstance(given, Nonlinearity) else parse(given)


def parse(text: object) -> Nonlinearity:
    """The nonlinearity that a formula writes, or a sentence saying which names there are."""
    if not isinstance(text, str):
        raise _refusal(text)
    terms, place = [], 0
    while place < len(text) or not terms:
        match = TERM.match(text, place)
        if match is None or (terms and not match["sign"]):
            raise _refusal(text)
        if match["divisor"] and float(match["divisor"]) == 0:
            raise ValueError(f"a nonlinearity cannot be divided by 0: {text}")
        factor = float(match["factor"] or 1) / float(match["divisor"] or 1) * (-1 if match["sign"] == "-" else 1)
        terms += [(factor * a, term) for a, term in _atom(match["name"], match["arguments"], text).terms]
        place = match.end()
    return combination(tuple(terms))


def _atom(name: str, arguments: str | None, text: str) -> Nonlinearity:
    name = "linear" if name == "identity" else name
    if arguments is None and name in NAMED:
        return NAMED[name]
    if arguments is None or name not in CONSTRUCTORS:
        raise _refusal(text)
    try:
        return CONSTRUCTORS[name](*(float(argument) for argument in arguments.split(",")))
    except (TypeError, ValueError) as error:
        raise _refusal(text) from error


def _refusal(given: object) -> ValueError:
    return ValueError(
        f"nonlinearity must be a Nonlinearity or a sum of {', '.join(NAMED)}, leaky_relu(slope), kinked(b, k), power(m) or "
        f"polynomial(c0, c1, ...) with factors, such as 'sin + cos' or '0.5*relu - tanh', got {given!r}"
    )
