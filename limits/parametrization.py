"""How the block multiplier and the learning rate scale with the number of blocks."""

from dataclasses import dataclass
from fractions import Fraction
from math import log10, prod
from numbers import Integral, Rational, Real

from limits.exponents import MOST_DIGITS, Order, parsed
from limits.markup import brief

Exact = int | str | float | Rational
"""What an exponent may be written as; stored as `Fraction`."""

LARGEST_DENOMINATOR = 64
LARGEST_POWER = 300
"""Of ten, that double precision holds."""
DEEPEST = 12
"""Layers of a block; its expansion in `limits.regimes` has 2^k terms."""


def whole_depth(block_depth: object) -> int:
    """`block_depth`, if it is one."""
    if isinstance(block_depth, bool) or not isinstance(block_depth, Integral) or not 1 <= int(block_depth) <= DEEPEST:
        raise ValueError(f"block_depth must be a whole number between 1 and {DEEPEST}, got {block_depth!r}")
    return int(block_depth)


def exact(value: object, name: str) -> Fraction:
    """Return `value` as a `Fraction`, refusing what is not exactly one.

    Raises:
        ValueError: a float that is not exactly a fraction with denominator <= 64, text that is no fraction, or a number of
            more than 100 digits.
        TypeError: anything that is not a number or text.

    >>> exact("1/3", "alpha"), exact(0.25, "alpha")
    (Fraction(1, 3), Fraction(1, 4))
    """
    fraction = parsed(value, name) if isinstance(value, str) else _number(value, name)
    if (digits := _digits(fraction)) > MOST_DIGITS:
        raise ValueError(f"{name} must be a fraction of at most {MOST_DIGITS} digits, got one of about {digits}")
    return fraction


def _digits(fraction: Fraction) -> int:
    """The length of the numerator or the denominator, whichever is longer; too long by one at times."""
    return int(max(abs(fraction.numerator), fraction.denominator).bit_length() * log10(2)) + 1


def _number(value: object, name: str) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f'{name} must be a fraction, got {value!r}: write it like "1/2" or Fraction(1, 2)')
    if isinstance(value, Integral):
        return Fraction(int(value))
    if isinstance(value, Rational):
        return Fraction(int(value.numerator), int(value.denominator))
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError(f'{name} must be a finite fraction, got {value!r}: write it like "1/2"')
    if (fraction := Fraction(number)).denominator <= LARGEST_DENOMINATOR:
        return fraction
    near = Fraction(number).limit_denominator(LARGEST_DENOMINATOR)
    raise ValueError(
        f"{name} = {value!r} is not exactly a fraction with denominator <= {LARGEST_DENOMINATOR}: "
        f'write it as text, for example "{near}"'
    )


def _layers(value: object, name: str) -> Fraction | tuple[Fraction, ...]:
    if isinstance(value, tuple | list):
        if not value:
            raise ValueError(f"{name} must hold one exponent per layer of the block, got an empty tuple")
        return tuple(exact(v, name) for v in value)
    return exact(value, name)


@dataclass(frozen=True)
class Parametrization:
    r"""Exponents of depth: block multiplier $a L^{-\alpha}$, effective update $\Theta(L^{-\gamma})$ (TP6, Def. 6.1).

    With SGD the raw learning rate is $\eta L^{\alpha-\gamma}$, because the gradient of a block is $\Theta(L^{-\alpha})$.

    Args:
        alpha: exponent of the block multiplier; int, text such as "1/2", Fraction, or any rational number.
        gamma: exponent of the effective learning rate; a tuple gives one exponent per layer of the block.
        initial: $\beta$, initial weights of a layer are $\Theta(L^{-\beta})$ in operator norm; a tuple likewise.

    Raises:
        ValueError: a float that is not exactly a fraction with denominator <= 64.

    >>> Parametrization("1/2", 0.5)
    Parametrization(alpha=1/2, gamma=1/2)
    >>> Parametrization("1/2", 0).sgd_exponent
    Fraction(1, 2)
    """

    alpha: Exact
    gamma: Exact | tuple[Exact, ...]
    initial: Exact | tuple[Exact, ...] = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", exact(self.alpha, "alpha"))
        object.__setattr__(self, "gamma", _layers(self.gamma, "gamma"))
        object.__setattr__(self, "initial", _layers(self.initial, "initial"))

    def __repr__(self) -> str:
        initial = "" if self.initial == 0 else f", initial={_text(self.initial)}"
        return f"Parametrization(alpha={self.alpha}, gamma={_text(self.gamma)}{initial})"

    def layers(self, block_depth: int) -> tuple[Fraction, tuple[Fraction, ...], tuple[Fraction, ...]]:
        """(alpha, the gammas, the betas) of a block with `block_depth` layers; what is tied is repeated.

        Raises:
            ValueError: exponents were given for another number of layers, or that is no whole number between 1 and 12.

        >>> Parametrization(1, 0, ("1/2", 0)).layers(2)[2]
        (Fraction(1, 2), Fraction(0, 1))
        """
        depth = whole_depth(block_depth)
        return Fraction(self.alpha), self._each("gamma", depth), self._each("initial", depth)

    def _each(self, name: str, block_depth: int) -> tuple[Fraction, ...]:
        value = getattr(self, name)
        if not isinstance(value, tuple):
            return (value,) * block_depth
        if len(value) != block_depth:
            has, give = ("one layer", "one") if block_depth == 1 else (f"{block_depth} layers", f"{block_depth}, or one for all")
            several = "1 exponent" if len(value) == 1 else f"{len(value)} exponents"
            raise ValueError(f"{name} has {several}, but a block of depth {block_depth} has {has}: give {give}")
        return value

    def refuse_overflow(self, blocks: int, block_depth: int) -> None:
        """Raise a sentence if powers of so many blocks, and their squares, leave the range of numbers.

        >>> Parametrization(-300, 0).refuse_overflow(64, 1)
        Traceback (most recent call last):
        ValueError: powers of 64 blocks with the exponents of Parametrization(alpha=-300, gamma=0) leave the range of numbers: ...
        """
        alpha, gammas, betas = self.layers(block_depth)
        if 2 * sum(abs(e) for e in (alpha, *gammas, *betas)) * log10(blocks) > LARGEST_POWER:
            raise ValueError(
                f"powers of {blocks} blocks with the exponents of {self!r} leave the range of numbers: take exponents nearer "
                "to 0, or fewer blocks; classify takes any"
            )

    def single(self) -> tuple[Fraction, Fraction, Fraction]:
        """(alpha, gamma, initial) of a block with one layer.

        Raises:
            ValueError: exponents were given for several layers.

        >>> Parametrization(1, 0).single()
        (Fraction(1, 1), Fraction(0, 1), Fraction(0, 1))
        """
        alpha, (gamma,), (initial,) = self.layers(1)
        return alpha, gamma, initial

    @property
    def sgd_exponent(self) -> Fraction:
        r"""$\alpha - \gamma$: the raw SGD learning rate of a one-layer block is $\eta L^{\alpha-\gamma}$."""
        alpha, gamma, _ = self.single()
        return alpha - gamma


def checked(parametrization: object) -> Parametrization:
    """`parametrization`, if it is one."""
    if not isinstance(parametrization, Parametrization):
        raise TypeError(f"parametrization must be a Parametrization, got {parametrization!r}: write Parametrization(1, 0)")
    return parametrization


def _text(value: object) -> str:
    return f"({', '.join(map(str, value))})" if isinstance(value, tuple) else str(value)


DEPTH_MUP = Parametrization("1/2", "1/2")
"""Depth-µP (TP6): the only stable, faithful, feature-learning and diverse point for one-layer blocks."""

COMPLETEP = Parametrization(1, 0)
"""CompleteP (CP): features learn and blocks are not linear in their updates, but neighbouring ones do nearly the same."""

NEURAL_ODE = COMPLETEP
"""The same exponents, as the "neural ODE" point of TP6."""


OPTIMIZERS = {"sgd": True, "momentum": True, "adam": False, "adamw": False, "signsgd": False, "muon": False}
"""Whether an update scales with the gradient; Adam, sign and orthogonalised updates do not depend on its size."""


@dataclass(frozen=True)
class RawExponents:
    r"""What to write into a training script: powers of $L$, layer by layer.

    Attributes:
        optimizer: its name.
        multiplier: the block multiplier is $\Theta(L^{\texttt{multiplier}})$.
        lr: the raw learning rates are $\Theta(L^{\texttt{lr}})$.
        gradient: the gradients of the layers are $\Theta(L^{\texttt{gradient}})$, as initialized.
        epsilon: Adam's $\varepsilon$ must follow the gradient, $\Theta(L^{\texttt{epsilon}})$; None for other optimizers.
    """

    optimizer: str
    multiplier: Fraction
    lr: tuple[Fraction, ...]
    gradient: tuple[Fraction, ...]
    epsilon: tuple[Fraction, ...] | None

    __repr__ = brief


def raw_exponents(parametrization: Parametrization, optimizer: str = "sgd", block_depth: int = 1) -> RawExponents:
    r"""The raw learning rates that make every layer's update $\Theta(L^{-\gamma_i})$.

    The chain rule takes the gradient of a layer through the multiplier and the other layers of its block, all as
    initialized: $g_i = \Theta(L^{-\alpha}) \prod_{j\ne i}\Theta(L^{-\beta_j})$. Descent and momentum multiply it, so their rate
    is $L^{-\gamma_i} / g_i$; Adam, AdamW, signSGD and Muon divide by its size, so theirs is $L^{-\gamma_i}$, and Adam's
    $\varepsilon$ is as small beside the gradient at every depth only if it is $\Theta(g_i)$. In width, with entries of
    variance $1/n$, the rates of SGD and Muon do not depend on $n$; those of Adam and signSGD are $n^{-1}$, as is $\varepsilon$.

    Args:
        parametrization: the exponents.
        optimizer: "sgd", "momentum", "adam", "adamw", "signsgd" or "muon".
        block_depth: $k$, layers in a block.

    Raises:
        ValueError: another optimizer, exponents for another number of layers, or a block depth that is none.
        TypeError: anything but a `Parametrization`.

    Source: TP6, Table 1 and Def. 6.1; for $k \ge 2$ the division by the other layers' initial sizes is ours.

    >>> [(name, str(raw_exponents(DEPTH_MUP, name).lr[0])) for name in ("sgd", "adam")]
    [('sgd', '0'), ('adam', '-1/2')]
    """
    alpha, gammas, _ = checked(parametrization).layers(block_depth)
    scales = _scales(optimizer)
    sizes = gradients(parametrization, block_depth)
    rates = (Order(-gamma) / size if scales else Order(-gamma) for gamma, size in zip(gammas, sizes, strict=True))
    gradient = tuple(size.at({}) for size in sizes)
    epsilon = gradient if optimizer in ("adam", "adamw") else None
    return RawExponents(optimizer, -alpha, tuple(rate.at({}) for rate in rates), gradient, epsilon)


def effective(
    optimizer: str, *, alpha: Exact, lr: Exact | tuple[Exact, ...], initial: Exact | tuple[Exact, ...] = 0, block_depth: int = 1
) -> Parametrization:
    r"""The parametrization of a script whose raw learning rates are $\Theta(L^{\texttt{lr}})$: `raw_exponents`, read backwards.

    >>> effective("adam", alpha="1/2", lr=0)
    Parametrization(alpha=1/2, gamma=0)
    """
    scales = _scales(optimizer)
    sizes = gradients(Parametrization(alpha, 0, initial), block_depth)
    rates = Parametrization(alpha, lr).layers(block_depth)[1]
    gammas = tuple(-(Order(rate) * size if scales else Order(rate)).at({}) for rate, size in zip(rates, sizes, strict=True))
    return Parametrization(alpha, gammas[0] if len(set(gammas)) == 1 else gammas, initial)


def gradients(parametrization: Parametrization, block_depth: int = 1) -> tuple[Order, ...]:
    r"""The orders of the gradients of a block's layers: the multiplier times the other layers' initial sizes.

    >>> gradients(Parametrization(1, 0, (0, "1/2")), 2)
    (Order(Affine(-3/2)), Order(Affine(-1)))
    """
    alpha, _, betas = checked(parametrization).layers(block_depth)
    others = [betas[:i] + betas[i + 1 :] for i in range(len(betas))]
    return tuple(prod((Order(-beta) for beta in rest), start=Order(-alpha)) for rest in others)


def _scales(optimizer: object) -> bool:
    if not isinstance(optimizer, str) or optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")
    return OPTIMIZERS[optimizer]
