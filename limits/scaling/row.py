"""The hyperparameters of one kind of parameter, as ratios to those of the base, each with its derivation."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from math import isfinite, log
from typing import Any

from limits.exponents import Affine, Order
from limits.markup import listed
from limits.parametrization import Exact, exact
from limits.scaling.cell import Cell
from limits.scaling.derivation import Orders, Place
from limits.scaling.duration import corrected
from limits.scaling.roles import resized
from limits.scaling.rules import ONE
from limits.validation import number

COLUMNS = ("multiplier", "init_std", "lr", "weight_decay", "eps")
"""What a row says."""
DECAY = (
    "A step takes the share lr * weight_decay off the weights (decoupled, as PyTorch's AdamW and SGD do it), and the product "
    "keeps its value: weight_decay follows 1 / lr."
)


@dataclass(frozen=True)
class Row:
    """Ratios target over base for one role; a cell is None where there is nothing to set.

    >>> from limits import scale
    >>> scale("width=256,blocks=4", "width=1024,blocks=16", optimizer="sgd")["hidden"]
    Row(hidden, trained by sgd, multiplier=1, init_std=m_N^(-1/2), lr=m_L, weight_decay=m_L^-1)

    Attributes:
        role: one of `ROLES`; "hidden 2" where layers of a block have exponents of their own.
        optimizer: what trains this parameter.
        multiplier: of the forward pass.
        init_std: of the initial weights; its square is `init_variance`.
        lr, weight_decay, eps: of the optimizer.
        gradient: the order of the gradient's entries.
        update: the order of the entries of one step's update.
    """

    role: str
    optimizer: str
    multiplier: Cell
    init_std: Cell
    lr: Cell
    weight_decay: Cell | None
    eps: Cell | None
    gradient: Cell
    update: Cell
    place: Place
    ratios: tuple[tuple[str, float], ...]
    status: str

    def __repr__(self) -> str:
        cells = [f"{name}={cell}" for name, cell in self.cells.items() if cell is not None]
        return listed("Row", [f"{self.role}, trained by {self.optimizer}", *cells])

    @property
    def init_variance(self) -> Cell:
        """The square of `init_std`."""
        return self.init_std**2

    @property
    def cells(self) -> dict[str, Cell | None]:
        """The cells of `COLUMNS`, by name."""
        return {name: getattr(self, name) for name in COLUMNS}

    def apply(self, given: Mapping[str, float]) -> dict[str, float]:
        """Numbers of the base, such as {"lr": 3e-3, "eps": 1e-8}, as numbers of the target.

        Raises:
            ValueError: a name that is no column, or a weight decay or epsilon that is not zero and has no scaling.
        """
        return {name: self._applied(name, value) for name, value in given.items()}

    def _applied(self, name: str, value: float) -> float:
        if name not in (*COLUMNS, "init_variance"):
            raise ValueError(f"a row scales {', '.join(COLUMNS)} and init_variance, got {name!r}")
        found, cell = number(value, name), getattr(self, name)
        if cell is None and found:
            raise ValueError(f"{self.optimizer} has no {name} that {lost(name)}")
        scaled = found * (1.0 if cell is None else float(cell))
        if not isfinite(scaled):
            raise ValueError(f"{name} = {value:g} of the base is too large for a number at the target: make it smaller")
        return scaled

    def moved(self, width: Exact = 0, blocks: Exact = 0) -> "Row":
        r"""The same training written with a multiplier that is $c = m_N^{width} m_L^{blocks}$ times as large (abc symmetry).

        Weights are $1/c$ as large, their gradient is $c$ times as large, and updates must be $1/c$ of what they were: the rate
        is $c^{-2}$ of the old one if the optimizer multiplies the gradient, $c^{-1}$ if it divides by its size. The function
        trained is the same at every step.

        >>> from limits import scale
        >>> row = scale("width=256,blocks=4", "width=1024,blocks=4", optimizer="sgd")["output"]
        >>> moved = row.moved(width="1/2")
        >>> print(row.multiplier, row.init_std, row.lr, "|", moved.multiplier, moved.init_std, moved.lr)
        m_N^-1 1 m_N | m_N^(-1/2) m_N^(-1/2) 1

        Source: TP5, Lemma J.1 and Table 9.
        """
        powers = {"m_N": exact(width, "width"), "m_L": exact(blocks, "blocks")}
        by = Cell.of(powers, {"m_N": 1.0, "m_L": 1.0} | dict(self.ratios))
        said = f"The multiplier was moved by {by.formula}: the function and its training are the same."
        degree, square = self.place.rule.degree, 2 if self.place.rule.eps == "square" else 1
        shift = {"multiplier": 1, "init_std": -1, "lr": -1 - degree, "weight_decay": 1 + degree, "eps": square}
        shift |= {"gradient": 1, "update": -1}
        return replace(self, **{name: _times(getattr(self, name), by**power, said) for name, power in shift.items()})

    def for_fan(self, fan_in_ratio: float, fan_out_ratio: float) -> "Row":
        """The row of a matrix whose sides grow by ratios of their own, such as a block width that is not kept in proportion.

        Where the larger side decides, as for initial weights, the base is taken to be square.

        Args:
            fan_in_ratio: target over base of the number of inputs.
            fan_out_ratio: target over base of the number of outputs.

        Raises:
            ValueError: a ratio that is not positive, or a role that is no matrix or has two uses.

        >>> from limits import scale
        >>> hidden = scale("width=256,blocks=4", "width=1024,blocks=16")["hidden"]
        >>> print(hidden.for_fan(8, 4).lr, hidden.for_fan(4, 8).eps)
        m_in^-1 m_L^-1 m_out^-1
        """
        if self.role.split()[0] not in ("input", "hidden", "output") or self.role == "output bias":
            raise ValueError(f"for_fan is for input, hidden and output matrices, got the role {self.role!r}")
        found = {
            "m_in": number(fan_in_ratio, "fan_in_ratio", open_low=True),
            "m_out": number(fan_out_ratio, "fan_out_ratio", open_low=True),
        }
        use = resized(self.place.uses[0], Affine.symbol("m_in"), Affine.symbol("m_out"))
        large = {name: Fraction(log(value)) for name, value in found.items()}
        ratios = dict(self.ratios) | found
        return row(self.role, replace(self.place, uses=(use,), large=large), ratios, self.status)

    def to_json(self) -> dict[str, Any]:
        """The cells by name, in terms of JSON."""
        cells = {**self.cells, "init_variance": self.init_variance, "gradient": self.gradient}
        return {"optimizer": self.optimizer} | {n: None if c is None else c.to_json() for n, c in cells.items()}


def lost(name: str) -> str:
    """Why an optimizer has no number of this name at another size."""
    said = "its decay is a part of the gradient it normalizes; take adamw" if name == "weight_decay" else "it has none"
    return f"keeps its meaning at another size: {said}"


def _times(cell: Cell | None, factor: Cell, said: str) -> Cell | None:
    return None if cell is None else (cell * factor).because(said)


def row(role: str, place: Place, ratios: Mapping[str, float], status: str) -> Row:
    """The row of a parameter: its orders, as ratios, with the argument for each."""
    orders = place.orders()
    rule, source = place.rule, place.rule.source

    def cell(order: Order, why: str, status: str, source: str = source) -> Cell:
        return Cell.of(dict(order.exponent.terms), ratios, why=why, status=status, source=source)

    found = _arguments(place, orders)
    epsilon = None if orders.epsilon is None else cell(orders.epsilon, found["eps"], status)
    decay = None if rule.decay is None else cell(orders.rate**-1, found["weight_decay"], "heuristic")
    derived = Row(
        role=role,
        optimizer=rule.name,
        multiplier=cell(orders.multiplier, found["multiplier"], "proved", "TP5, Table 8"),
        init_std=cell(orders.initial, found["init_std"], "proved", "TP5, Table 8; SC"),
        lr=cell(orders.rate, found["lr"], status),
        weight_decay=decay,
        eps=epsilon,
        gradient=cell(orders.gradient, found["gradient"], status),
        update=cell(orders.update, found["update"], status),
        place=place,
        ratios=tuple(ratios.items()),
        status=status,
    )
    return corrected(derived, ratios)


def _arguments(place: Place, orders: Orders) -> dict[str, str]:
    """A sentence or two for every cell."""
    at = {f.name: written(getattr(orders, f.name)) for f in fields(orders)}
    inside, use, last = bool(place.uses[0].inside), place.uses[0], place.uses[-1]
    shared, terms = written(Order(use.fan_out)), written(Order(use.fan_in))
    times = "" if orders.multiplier == ONE else f" times the multiplier {at['multiplier']}"
    pushed = f"if the outputs of this parameter move by 1, the loss changes by {written(place.pushing(use))}{times}"
    gradient = f"Entries of the gradient are of order {at['gradient']}: {pushed}{_over(shared)}."
    moves = f"One step shall move outputs by {written(place.change(use))}" + (
        ", so that blocks add up to 1 [D1.3]" if inside else ""
    )
    aligned = "" if terms == "1" else f"{terms} aligned terms do that with "
    update = f"{moves}: {aligned}entries of order {at['update']}{times and ',' + times}."
    norm = f"their RMS to RMS norm{times} is to be {written(place.size(use))}"
    fixed = "Gains start at 1 and biases at 0, at any size."
    started = f"Independent entries are of order {at['initial']}: {norm}." if use.matrix else fixed
    divided = f"The readout adds up {written(Order(last.fan_in))} features that updates align, and is divided by as many."
    return {
        "gradient": gradient,
        "update": update,
        "init_std": started,
        "multiplier": divided if orders.multiplier != ONE else "There is none.",
        "lr": f"{gradient} {place.rule.said()}. {update}",
        "eps": f"Epsilon is added to what is of order {at['epsilon']}, and follows it. {gradient}",
        "weight_decay": f"lr is of order {at['rate']}. {DECAY}",
    }


def _over(entries: str) -> str:
    return "" if entries == "1" else f", over {entries} entries"


def written(order: Order | None) -> str:
    """An order as powers of n and L.

    >>> print(written(Order(Affine(0, [("m_N", -1), ("m_L", "1/2")]))))
    n^-1 L^(1/2)
    """
    if order is None:
        return "none"
    names = {"m_N": "n", "m_L": "L", "m_in": "fan_in", "m_out": "fan_out"}
    cell = Cell.of(dict(order.exponent.terms), dict.fromkeys(names, 1.0))
    text = cell.formula
    for ratio, name in names.items():
        text = text.replace(ratio, name)
    return text
