r"""What an optimizer makes of a gradient, as orders: the entries of its update, its epsilon, and its weight decay.

A gradient of entries $g$ becomes, up to the learning rate, an update whose entries are of the order of

    proportional    g                               SGD, momentum
    entrywise       1                               Adam, AdamW, Lion, signSGD
    orthogonalised  c / sqrt(fan_in fan_out)        Muon, Shampoo, SOAP: all singular values are c

Between the gradient and the update nothing else is used of an optimizer, but for the order of what epsilon is added to.
"""

from dataclasses import dataclass
from typing import Any

from limits.exponents import Affine, Order

FAN_IN, FAN_OUT = Order(Affine.symbol("fan_in")), Order(Affine.symbol("fan_out"))
"""The two sides of a parameter, as orders whose exponents are their logarithms."""
ONE = Order(0)
SPECTRAL = "SC; ZWZL"


@dataclass(frozen=True)
class Rule:
    """How an optimizer acts on one parameter.

    Attributes:
        name: of the optimizer.
        kind: "proportional", "entrywise" or "orthogonalised".
        singular: the order of the singular values of an orthogonalised update, in fan_in and fan_out.
        eps: what epsilon is added to: "entry" of the gradient, its "norm", the "square" of its norm, or None.
        decay: "share" if a step takes lr times weight decay off the weights, None if there is no scaling that keeps it.
        source: where its width and depth rules are published.
    """

    name: str
    kind: str
    singular: Order = ONE
    eps: str | None = None
    decay: str | None = "share"
    source: str = "TP4b; TP5, Table 8; ZWZL"

    @property
    def degree(self) -> int:
        """How the update scales with the gradient: 1 if in proportion, 0 if not at all."""
        return 1 if self.kind == "proportional" else 0

    def update(self, gradient: Order) -> Order:
        """The entries of the update at learning rate 1, given those of the gradient."""
        if self.kind == "proportional":
            return gradient
        return ONE if self.kind == "entrywise" else self.singular / (FAN_IN * FAN_OUT) ** "1/2"

    def epsilon(self, gradient: Order) -> Order | None:
        """The order of what epsilon is added to; a gradient is of low rank, so that its norms are all of one order."""
        norm = gradient * (FAN_IN * FAN_OUT) ** "1/2"
        return {None: None, "entry": gradient, "norm": norm, "square": norm**2}[self.eps]

    def said(self) -> str:
        """What the optimizer makes of a gradient, in words."""
        if self.kind == "proportional":
            return f"{self.name} multiplies the gradient"
        if self.kind == "entrywise":
            return f"{self.name} divides every entry of the gradient by its size: its update has entries of order 1"
        return f"{self.name} makes all singular values of the gradient alike: its update has entries 1/sqrt(fan_in fan_out)" + (
            "" if self.singular == ONE else ", times sqrt(max(fan_in, fan_out))"
        )


_LARGER = (FAN_IN + FAN_OUT) ** "1/2"
RULES = {
    rule.name: rule
    for rule in (
        Rule("sgd", "proportional", source="TP5, Table 8; TP6, Table 1"),
        Rule("momentum", "proportional", source="TP5, Table 8; TP6, Table 1"),
        Rule("adam", "entrywise", eps="entry", decay=None),
        Rule("adamw", "entrywise", eps="entry", source="TP4b; TP5, Table 8; CP, Table 1"),
        Rule("lion", "entrywise"),
        Rule("signsgd", "entrywise"),
        Rule("muon", "orthogonalised", eps="norm", source=SPECTRAL),
        Rule("muon-kimi", "orthogonalised", _LARGER, eps="norm", source=SPECTRAL),
        Rule("shampoo", "orthogonalised", eps="square", source=SPECTRAL),
        Rule("soap", "orthogonalised", eps="norm", source=SPECTRAL),
    )
}
"""By name. Muon without a factor; muon-kimi times sqrt(max(fan_in, fan_out)), which PyTorch calls match_rms_adamw."""


def rule(optimizer: Any) -> Rule:
    """The rule of an optimizer: a name, or one of `limits.optimizers`, a value or a class.

    Raises:
        ValueError: no known optimizer.

    >>> from limits.optimizers import SGD
    >>> rule("AdamW").kind, rule(SGD(lr=0.1, steps=1, momentum=0.9)).name
    ('entrywise', 'momentum')
    """
    name = optimizer if isinstance(optimizer, str) else getattr(optimizer, "__name__", type(optimizer).__name__)
    name = name.strip().lower().replace("_", "-")
    if name == "sgd" and not isinstance(optimizer, str | type) and getattr(optimizer, "momentum", 0):
        name = "momentum"
    if name not in RULES:
        raise ValueError(f"optimizer must be one of {', '.join(RULES)}, got {optimizer!r}")
    return RULES[name]
