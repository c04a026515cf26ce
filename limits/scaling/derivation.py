r"""From where a parameter stands and what its optimizer does, to its hyperparameters, by orders in width and depth.

Orders are products of powers of $n$ and $L$, as `limits.exponents.Order` whose exponents are their logarithms. With $m$ the
multiplier of a parameter, $x$ its input and $L^{-\alpha_i}$ what a change of its output does to the stream:

    initial    m std |W| = L^-beta,   |W| = (sqrt(fan_in) + sqrt(fan_out)) sqrt(fan_in / fan_out)   RMS to RMS norm of N(0, 1)
    gradient   g = m x L^-alpha_i / fan_out       outputs of fan_out entries that move by 1 move the loss by L^-alpha_i
    update     m d fan_in x = L^-gamma            entries d, aligned with the input: fan_in terms of one sign
    rate       lr = d / (what the optimizer makes of g)
    decay      lr wd stays;   epsilon   follows g
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from limits.exponents import Affine, Order
from limits.parametrization import Parametrization, gradients
from limits.scaling.roles import Use
from limits.scaling.rules import ONE, Rule

DEPTH = "m_L"


def power_of_depth(exponent: Fraction) -> Order:
    """L^exponent, beside powers of the width."""
    return Order(exponent * Affine.symbol(DEPTH))


@dataclass(frozen=True)
class Orders:
    """The orders of everything about one parameter; each is one product of powers of ratios."""

    multiplier: Order
    initial: Order
    gradient: Order
    update: Order
    rate: Order
    epsilon: Order | None


@dataclass(frozen=True)
class Place:
    """The uses of a parameter, its optimizer, the exponents of its layer, and the sizes at which orders are compared.

    Args:
        uses: where the parameter acts.
        rule: what its optimizer does.
        parametrization: the exponents of depth.
        block_depth: k, layers in a block.
        layer: which of them, from 0.
        multiplier: whether the readout has a multiplier, 1 / fan_in.
        large: logarithms of the ratios that are large, by name; where orders compete the largest there counts.
    """

    uses: tuple[Use, ...]
    rule: Rule
    parametrization: Parametrization
    block_depth: int
    layer: int
    multiplier: bool
    large: Mapping[str, Fraction]

    def orders(self) -> Orders:
        """Every step of the derivation."""
        found = [self._one(use) for use in self.uses]
        initial, update = self._least([f[0] for f in found]), self._least([f[2] for f in found])
        gradient = self.leading(sum((f[1] for f in found), Order()))
        made = self._sided(self.rule.update(gradient))
        epsilon = self.rule.epsilon(gradient)
        return Orders(
            multiplier=self.multiplied(self.uses[-1]),
            initial=initial,
            gradient=gradient,
            update=update,
            rate=update / made,
            epsilon=None if epsilon is None else self._sided(epsilon),
        )

    def _one(self, use: Use) -> tuple[Order, Order, Order]:
        """What one use asks for or gives: initial size, gradient, update."""
        multiplier, arrives, pushes = self.multiplied(use), self.arriving(use), self.pushing(use)
        initial = self.size(use) / (multiplier * self.norm(use))
        gradient = multiplier * arrives * pushes / Order(use.fan_out)
        update = self.change(use) / (multiplier * Order(use.fan_in))
        return initial, gradient, update

    def multiplied(self, use: Use) -> Order:
        """The multiplier: 1, or one over the fan-in of the readout."""
        return Order(-use.fan_in) if use.readout and self.multiplier else ONE

    def norm(self, use: Use) -> Order:
        """The RMS to RMS norm of independent entries of variance 1."""
        if not use.matrix:
            return ONE
        i, o = Order(use.fan_in), Order(use.fan_out)
        return self.leading(i ** "1/2" + o ** "1/2") * (i / o) ** "1/2"

    def size(self, use: Use) -> Order:
        """The norm that initial weights shall have: L^-beta in blocks."""
        return power_of_depth(-self._exponents[2][self.layer]) if use.inside == "hidden" else ONE

    def change(self, use: Use) -> Order:
        """How much of its output the update of one step shall move: L^-gamma in blocks, where sums over blocks make it 1."""
        _, gammas, betas = self._exponents
        if not use.inside:
            return ONE
        before = sum(betas[: self.layer], Fraction(0))
        at_norm = -betas[0] if use.inside == "norm" else Fraction(0)
        return power_of_depth(-gammas[self.layer] - (before if use.inside == "bias" else at_norm))

    def arriving(self, use: Use) -> Order:
        """The entries of the input: of order 1 but for smaller layers before this one."""
        return power_of_depth(-sum(self._exponents[2][: self.layer], Fraction(0))) if use.inside == "hidden" else ONE

    def pushing(self, use: Use) -> Order:
        """How much the loss changes if the output of this parameter moves by order 1: by `limits.parametrization.gradients`."""
        if not use.inside:
            return ONE
        p, betas = self.parametrization, self._exponents[2]
        later = tuple(beta if i > self.layer else Fraction(0) for i, beta in enumerate(betas))
        order = gradients(Parametrization(p.alpha, 0, later), self.block_depth)[self.layer]
        whole = order / Order(betas[0]) if use.inside == "norm" else order
        return power_of_depth(whole.at({}))

    @property
    def _exponents(self) -> tuple[Fraction, tuple[Fraction, ...], tuple[Fraction, ...]]:
        return self.parametrization.layers(self.block_depth)

    def _sided(self, order: Order) -> Order:
        """An order in fan_in and fan_out, at the sides of this parameter."""
        return self.leading(order.substitute(fan_in=self.uses[0].fan_in, fan_out=self.uses[0].fan_out))

    def leading(self, order: Order) -> Order:
        """The largest of several orders, for sizes that are large."""
        return Order(max(sorted(order.pieces, key=str), key=lambda piece: piece.at(self._point(piece))))

    def _least(self, orders: list[Order]) -> Order:
        return self.leading(sum((order**-1 for order in orders), Order())) ** -1

    def _point(self, piece: Affine) -> dict[str, Fraction]:
        return {name: self.large.get(name, Fraction(0)) for name in piece.symbols}
