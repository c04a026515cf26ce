r"""What a training recipe means in depth: its exponents, its regime, and the nearest recipe that has a limit.

The same words name different things: a block multiplier $L^{-1/2}$ with no depth factor in the learning rate is Depth-µP
with SGD, whose gradient brings the other $L^{-1/2}$, but $(1/2, 0)$ with Adam, which is unstable during training.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from limits.exponents import MOST_DIGITS, Order, parsed
from limits.inequalities import Polyhedron
from limits.markup import listed
from limits.parametrization import DEPTH_MUP, NEURAL_ODE, OPTIMIZERS, Parametrization, effective, raw_exponents, whole_depth
from limits.regimes import Regime, classify, phase_diagram
from limits.regimes.diagram import corners

KEYS = ("multiplier", "lr", "optimizer", "block_depth", "initial")
_SYNONYMS = {
    "branch": "multiplier",
    "branch_multiplier": "multiplier",
    "block_multiplier": "multiplier",
    "residual_multiplier": "multiplier",
    "learning_rate": "lr",
    "rate": "lr",
    "opt": "optimizer",
    "k": "block_depth",
    "init": "initial",
}
_EXAMPLE = '"multiplier=L^-1/2 lr=1 optimizer=adam"'
_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:e[-+]?\d+)?|\.\d+)|(sqrt|√)|(L)|(\*\*|[*/^(){}+-]))", re.IGNORECASE)
NAMED = {"Depth-µP": DEPTH_MUP, "CompleteP, the neural-ODE point": NEURAL_ODE}
"""Parametrizations that have a name."""


@dataclass(frozen=True)
class Recipe:
    """A recipe, what it is in exponents, the regime of these, and its repair; printing it prints the argument.

    Attributes:
        optimizer: its name.
        multiplier: the block multiplier is of order L^multiplier.
        lr: the raw learning rate is of order L^lr.
        parametrization: the exponents.
        regime: their verdict, with its proof.
        repair: the nearest recipe in which every block learns, or None if this one is.
    """

    optimizer: str
    multiplier: Fraction
    lr: Fraction
    parametrization: Parametrization
    regime: Regime
    repair: "Recipe | None" = None

    @property
    def known_as(self) -> str | None:
        """The name of the parametrization, if it has one."""
        return next((name for name, p in NAMED.items() if p == self.parametrization), None)

    @property
    def text(self) -> str:
        """The recipe, written so that `decode` reads it."""
        depth = "" if self.regime.block_depth == 1 else f" block_depth={self.regime.block_depth}"
        beta = self.parametrization.initial
        initial = "" if beta == 0 else f" initial={_power(-Fraction(str(beta)))}"
        return f"multiplier={_power(self.multiplier)} lr={_power(self.lr)} optimizer={self.optimizer}{depth}{initial}"

    def __repr__(self) -> str:
        repaired = [] if self.repair is None else [f"repair: {self.repair.text}"]
        return listed("Recipe", [self.text, self.known_as or self.regime.name, *repaired], mark=";")

    def __str__(self) -> str:
        p, name = self.parametrization, self.known_as
        lines = [f"{self.text}  is  alpha = {p.alpha}, gamma = {p.gamma}" + (f": {name}" if name else "")]
        lines += [f"  {line}" for line in self._reading()]
        lines.append(str(self.regime))
        if self.repair is not None:
            fixed, known = self.repair, self.repair.known_as
            becomes = f"alpha = {fixed.parametrization.alpha}, gamma = {fixed.parametrization.gamma}"
            lines.append(f"repair: {fixed.text}  is  {becomes}: {known or fixed.regime.name}")
        return "\n".join(lines)

    def _repr_markdown_(self) -> str:
        return f"```text\n{self}\n```"

    def _reading(self) -> Iterator[str]:
        raw = raw_exponents(self.parametrization, self.optimizer, self.regime.block_depth)
        gradient, epsilon = raw.gradient[0], raw.epsilon
        if OPTIMIZERS[self.optimizer]:
            yield f"{self.optimizer} multiplies the gradient, Theta({_power(gradient)}): updates are Theta({_update(raw)})"
        else:
            yield f"{self.optimizer} divides out the size of the gradient: updates are Theta({_update(raw)})"
        if epsilon is not None and epsilon[0] < 0:
            yield f"its epsilon must shrink like the gradient, {_power(epsilon[0])}, or it takes over in deep networks"
        if epsilon is not None and epsilon[0] > 0:
            yield f"its epsilon must grow like the gradient, {_power(epsilon[0])}, or it no longer counts in deep networks"

    def to_json(self) -> dict[str, Any]:
        """The recipe, its exponents, its regime and its repair, in terms of JSON."""
        return {
            "recipe": self.text,
            "optimizer": self.optimizer,
            "multiplier": str(self.multiplier),
            "lr": str(self.lr),
            "known_as": self.known_as,
            "regime": self.regime.to_json(),
            "repair": None if self.repair is None else self.repair.to_json(),
        }


def _update(raw: Any) -> str:
    return _power(raw.lr[0] + (raw.gradient[0] if OPTIMIZERS[raw.optimizer] else 0))


def decode(recipe: str | Mapping[str, Any]) -> Recipe:
    r"""Read a recipe: its block multiplier and the depth factor of its learning rate, for a given optimizer.

    The multiplier is $L^{-\alpha}$. The learning rate $L^r$ makes updates of order $L^{-\gamma}$ with $\gamma = -r$ for Adam,
    AdamW, signSGD and Muon, and with $\gamma = \alpha - r$ for SGD and momentum, whose gradient is $\Theta(L^{-\alpha})$
    (`raw_exponents`). Constants do not matter. If no block learns in the limit, or it is unstable, the repair keeps the
    multiplier and changes the learning rate; only where that cannot help does it change the multiplier too.

    Args:
        recipe: pairs of `multiplier` (1 if left out), `lr` (1), `optimizer`, and perhaps `block_depth` and `initial` (the
            size of initial weights beyond µP), as a mapping or as text such as "multiplier=1/L, adam, lr=1". Sizes are
            products of powers of L: `L^-1/2`, `1/sqrt(2L)`, `0.1/L`.

    Raises:
        ValueError: no optimizer, an unknown key, or a size that is no power of L.
        TypeError: neither text nor a mapping.

    >>> print(decode("multiplier=L^-1/2 lr=1 optimizer=adam"))
    multiplier=L^(-1/2) lr=1 optimizer=adam  is  alpha = 1/2, gamma = 0
      adam divides out the size of the gradient: updates are Theta(1)
      its epsilon must shrink like the gradient, L^(-1/2), or it takes over in deep networks
    unstable during training
      1/2 - alpha = 0               blocks add up like independent noise to Theta(1)      [D1.2]
      1 - alpha - gamma = 1/2 > 0   updates add up to L^(1/2)                             [D1.3]
      gamma = 0                     the update of one block's preactivation is Theta(1)   [D3.4]
    repair: multiplier=L^(-1/2) lr=L^(-1/2) optimizer=adam  is  alpha = 1/2, gamma = 1/2: Depth-µP
    >>> decode("multiplier=L^-1/2 lr=1 optimizer=sgd").known_as
    'Depth-µP'
    """
    if not isinstance(recipe, str | Mapping):
        raise TypeError(f"a recipe must be text or a mapping, got {recipe!r}: write {_EXAMPLE}")
    given = _collected(_pairs(recipe) if isinstance(recipe, str) else recipe.items())
    if "optimizer" not in given:
        raise ValueError(f"a recipe must name its optimizer, one of {', '.join(OPTIMIZERS)}: write {_EXAMPLE}")
    optimizer = str(given["optimizer"]).strip().lower()
    depth = _depth(given.get("block_depth", 1))
    sizes = {name: size(given.get(name, 1), name) for name in ("multiplier", "lr", "initial")}
    p = effective(optimizer, alpha=-sizes["multiplier"], lr=sizes["lr"], initial=-sizes["initial"], block_depth=depth)
    return _recipe(optimizer, p, depth, repaired=False)


def _recipe(optimizer: str, p: Parametrization, depth: int, *, repaired: bool) -> Recipe:
    regime, raw = classify(p, block_depth=depth), raw_exponents(p, optimizer, depth)
    better = None if repaired or regime.name in _GOOD else _recipe(optimizer, _nearest(p, depth), depth, repaired=True)
    return Recipe(optimizer, raw.multiplier, raw.lr[0], p, regime, better)


_GOOD = ("redundant", "feature learning and diverse")


def _nearest(p: Parametrization, depth: int) -> Parametrization:
    """The learning point whose alpha is nearest; with it gamma is given."""
    alpha = Fraction(p.alpha)
    box = ((-1, 2), (-1, 2))
    ends = [c for name, pieces in phase_diagram(block_depth=depth).regions if name in _GOOD for c in _ends(pieces, box)]
    first, last = min(ends), max(ends)
    at = min(max(alpha, first[0]), last[0])
    slope = (last[1] - first[1]) / (last[0] - first[0])
    return Parametrization(at, first[1] + slope * (at - first[0]))


def _ends(pieces: tuple[Polyhedron, ...], box: Any) -> Iterator[tuple[Fraction, Fraction]]:
    for piece in pieces:
        yield from corners(piece, box)


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Name and value of every part of a recipe; a bare word is an optimizer."""
    joined = re.sub(r"\s*([=:*/^]+)\s*", r"\1", text.strip())
    for part in filter(None, re.split(r"[,;\s]+", joined)):
        name, equals, value = part.replace(":", "=").partition("=")
        if not equals:
            name, value = "optimizer", part
            if part.lower() not in OPTIMIZERS:
                raise ValueError(f"a recipe is made of {', '.join(KEYS)} and their values, got {part!r}: write {_EXAMPLE}")
        yield name, value


def _collected(pairs: Iterable[tuple[object, Any]]) -> dict[str, Any]:
    """Values by key, each of them given once."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if (key := _key(str(name))) in found:
            raise ValueError(f"the recipe gives {key} twice: {found[key]!r} and {value!r}")
        found[key] = value
    return found


def _key(name: str) -> str:
    plain = name.lower().replace("-", "_")
    if (key := _SYNONYMS.get(plain, plain)) not in KEYS:
        raise ValueError(f"a recipe is made of {', '.join(KEYS)}, got {name!r}: write {_EXAMPLE}")
    return key


def _depth(value: object) -> int:
    return whole_depth(int(value) if isinstance(value, str) and value.isdecimal() else value)


def size(value: object, name: str = "size") -> Fraction:
    r"""The exponent of $L$ in a product of powers of $L$ and constants.

    Raises:
        ValueError: anything else.

    >>> [str(size(text)) for text in ("L^-1/2", "1/sqrt(2L)", "0.1/L", "3e-4", "L**(1/3) / L")]
    ['-1/2', '-1/2', '-1', '0', '-2/3']
    """
    text = str(value).strip().replace("−", "-")
    if len(text) > MOST_DIGITS:
        raise ValueError(f"{name} must be a product of powers of L of at most {MOST_DIGITS} characters, got {len(text)}")
    tokens, at = [], 0
    while at < len(text):
        if (match := _TOKEN.match(text, at)) is None:
            raise _unread(text, name)
        tokens.append(match)
        at = match.end()
    reader = _Reader([m.group().strip().replace("**", "^").replace("{", "(").replace("}", ")").lower() for m in tokens])
    try:
        order = reader.product()
    except (IndexError, ValueError, ZeroDivisionError):
        raise _unread(text, name) from None
    if reader.left or not tokens:
        raise _unread(text, name)
    return order.at({})


def _unread(text: str, name: str) -> ValueError:
    return ValueError(
        f'{name} must be a positive product of powers of L, got {text!r}: write it like "L^-1/2", "1/sqrt(L)" or "1"'
    )


class _Reader:
    """Recursive descent through `product := power ((* | / | nothing) power)*`."""

    def __init__(self, tokens: list[str]) -> None:
        self.left = tokens[::-1]

    def next_is(self, *kinds: str) -> bool:
        return bool(self.left) and self.left[-1] in kinds

    def product(self) -> Order:
        found = self.power()
        while self.left and not self.next_is(")", "+", "-"):
            divide = self.next_is("/")
            if self.next_is("*", "/"):
                self.left.pop()
            factor = self.power()
            found = found / factor if divide else found * factor
        return found

    def power(self) -> Order:
        base = self.base()
        if not self.next_is("^"):
            return base
        self.left.pop()
        return base ** self.exponent()

    def base(self) -> Order:
        token = self.left.pop()
        if token == "l":
            return Order(1)
        if token == "(":
            inside = self.product()
            self.expect(")")
            return inside
        if token in ("sqrt", "√"):
            return self.base() ** "1/2"
        if not parsed(token) > 0:
            raise ValueError("a size is positive")
        return Order(0)

    def exponent(self) -> Fraction:
        bracket = self.next_is("(")
        if bracket:
            self.left.pop()
        sign = -1 if self.next_is("-") else 1
        if self.next_is("-", "+"):
            self.left.pop()
        value = sign * parsed(self.left.pop())
        if self.next_is("/") and len(self.left) > 1 and self.left[-2][0].isdigit():
            self.left.pop()
            value /= parsed(self.left.pop())
        if bracket:
            self.expect(")")
        return value

    def expect(self, token: str) -> None:
        if self.left.pop() != token:
            raise ValueError(f"{token} is missing")


def _power(exponent: Fraction) -> str:
    if exponent == 0:
        return "1"
    if exponent == 1:
        return "L"
    return f"L^{exponent}" if exponent > 0 and exponent.denominator == 1 else f"L^({exponent})"
