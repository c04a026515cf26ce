r"""From hyperparameters that were tuned on a small network to those of a large one: every ratio, derived."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from limits.markup import listed
from limits.parametrization import COMPLETEP, Parametrization, checked, whole_depth
from limits.regimes import Regime, classify
from limits.scaling import duration, layout, notes, traps
from limits.scaling.cell import Cell
from limits.scaling.derivation import Place
from limits.scaling.roles import INSIDE, MATRICES, PER_LAYER, ROLES, USES
from limits.scaling.row import Row, row
from limits.scaling.rules import RULES, Rule, rule
from limits.scaling.size import Size, SizeLike
from limits.validation import number

READOUTS = ("multiplier", "init")


@dataclass(frozen=True)
class Scaling:
    """What to multiply every hyperparameter of the base by; printing it prints the table.

    Attributes:
        base, target: the sizes.
        optimizer: its name.
        parametrization: the exponents of depth.
        block_depth: k, layers in a block.
        regime: what these exponents do in depth, with the proof.
        branch: the multiplier of every residual branch.
        rows: by role.
        notes: what is easily got wrong, and warnings.
    """

    base: Size
    target: Size
    optimizer: str
    parametrization: Parametrization
    block_depth: int
    readout: str
    regime: Regime
    branch: Cell
    rows: Mapping[str, Row]
    notes: tuple[str, ...]

    def __getitem__(self, role: str) -> Row:
        if role in self.rows:
            return self.rows[role]
        several = [name for name in self.rows if name.split()[0] == role]
        more = f"; layers of a block differ here: take one of {', '.join(several)}" if several else ""
        raise KeyError(f"role must be one of {', '.join(self.rows)}, got {role!r}{more}")

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows.values())

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Those notes that say that these exponents have no limit in which all blocks learn."""
        return notes.warnings(self.parametrization, self.regime)

    def apply(self, given: Mapping[str, float], role: str) -> dict[str, float]:
        """Numbers of the base, as numbers of the target, for one role; "branch_multiplier" is that of residual branches.

        >>> found = scale("width=256,blocks=4", "width=1024,blocks=16").apply({"lr": 2.0**-8, "weight_decay": 0.125}, "hidden")
        >>> found["lr"] * 2**10, found["weight_decay"]
        (1.0, 0.5)
        """
        own = {name: value for name, value in given.items() if name != "branch_multiplier"}
        branch = {n: number(v, n) * float(self.branch) for n, v in given.items() if n == "branch_multiplier"}
        return self[role].apply(own) | branch

    def check(self, role: str, base: Mapping[str, float], target: Mapping[str, float]) -> tuple[str, ...]:
        """What a script got wrong: a sentence for each of its numbers that does not fit the base's, naming the likely mistake.

        >>> found = scale("width=256,blocks=4", "width=1024,blocks=32")
        >>> found.check("hidden", {"lr": 4e-3, "eps": 1e-8}, {"lr": 1e-3, "eps": 2.5e-9})
        ('hidden eps is 2.5e-09 and should be 3.125e-10 = 1e-08 * m_N^-1 m_L^-1: its factor of depth is missing.',)
        """
        return traps.checked(self, role, base, target)

    def __repr__(self) -> str:
        return listed("Scaling", [*layout.title(self).split("; "), f"{len(self.rows)} roles"], mark=";")

    def __str__(self) -> str:
        return layout.text(self)

    def to_markdown(self) -> str:
        """The table in Markdown."""
        return layout.markdown(self)

    def _repr_markdown_(self) -> str:
        return self.to_markdown()

    def to_latex(self) -> str:
        """The table in LaTeX."""
        return layout.latex(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything, in terms of JSON."""
        return {
            "base": self.base.to_json(),
            "target": self.target.to_json(),
            "optimizer": self.optimizer,
            "readout": self.readout,
            "regime": self.regime.to_json(),
            "branch": self.branch.to_json(),
            "rows": {name: r.to_json() for name, r in self.rows.items()},
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=2)


def scale(
    base: SizeLike,
    target: SizeLike,
    *,
    optimizer: Any = "adamw",
    block_depth: int = 2,
    parametrization: Parametrization = COMPLETEP,
    readout: str = "multiplier",
    ends: Any = "adamw",
) -> Scaling:
    r"""What to multiply hyperparameters of the base by, so that a network of another width and depth trains alike.

    All ratios are powers of base ratios, $m_N$ = target width / base width and $m_L$ = target blocks / base blocks, never of
    raw sizes: a target equal to the base changes nothing. Each is derived from the order of the gradient in width and depth,
    what the optimizer makes of it, and the update that is wanted: $\Theta(L^{-\gamma})$ in a block, $\Theta(1)$ outside.

    Args:
        base: the size that was tuned, as `Size`, a mapping, or text such as "width=256,blocks=4"; an attention + MLP
            transformer layer is two blocks.
        target: the size to train.
        optimizer: "sgd", "momentum", "adam", "adamw", "lion", "signsgd", "muon", "muon-kimi", "shampoo", "soap", or one of
            `limits.optimizers`.
        block_depth: k, weight matrices in a block; one exponent per layer may be given then.
        parametrization: exponents of depth; `COMPLETEP` (1, 0) by default, `DEPTH_MUP` for blocks of one matrix.
        readout: "multiplier" (TP5, Table 8) or "init" (TP5, Table 3): where the readout has its factor 1 / width. Tied
            embeddings always have the multiplier.
        ends: what trains embeddings and readout where the optimizer orthogonalises: "adamw", or the same name. Vectors are
            trained by "adamw" then.

    Raises:
        ValueError: an unknown optimizer or readout, sizes that do not fit, exponents for another number of layers.
        TypeError: something that is no size.

    Source: TP5, Tables 3, 8, 9; TP6, Table 1; CP, Table 1; ZWZL.

    >>> found = scale("width=256,blocks=8", "width=1024,blocks=32", optimizer="adamw")
    >>> print(found["hidden"].lr, found["hidden"].eps, found.branch, float(found["hidden"].lr))
    m_N^-1 m_N^-1 m_L^-1 m_L^-1 0.25
    >>> found["hidden"]
    Row(hidden, trained by adamw, multiplier=1, init_std=m_N^(-1/2), lr=m_N^-1, weight_decay=m_N, eps=m_N^-1 m_L^-1)
    """
    small, large = Size.of(base), Size.of(target)
    main, depth = rule(optimizer), whole_depth(block_depth)
    regime = classify(checked(parametrization), block_depth=depth)
    if readout not in READOUTS:
        raise ValueError(f"readout must be one of {', '.join(READOUTS)}, got {readout!r}")
    ratios = duration.ratios(small, large)
    rows = dict(_rows(main, rule(ends), parametrization, depth, readout, regime, ratios))
    branch = Cell.of(
        {"m_L": -Fraction(parametrization.alpha)},
        ratios,
        why="Every branch is multiplied by L^-alpha; divided by that of the base it is m_L^-alpha.",
        status="proved",
        source="TP6, Table 1; CP, Table 1",
    )
    said = notes.notes(small, large, main, parametrization, regime, readout)
    return Scaling(small, large, main.name, parametrization, depth, readout, regime, branch, rows, said)


def _rows(
    main: Rule, ends: Rule, p: Parametrization, depth: int, readout: str, regime: Regime, ratios: Mapping[str, float]
) -> Iterator[tuple[str, Row]]:
    _, gammas, betas = p.layers(depth)
    alike = len(set(gammas)) == len(set(betas)) == 1
    for role in ROLES:
        layers = range(depth) if role in PER_LAYER and not alike else range(1)
        for layer in layers:
            name = role if (len(layers) == 1 and alike) or role not in PER_LAYER else f"{role} {layer + 1}"
            multiplied = readout == "multiplier" or role == "tied"
            trained = _trained(role, main, ends)
            place = Place(USES[role], trained, p, depth, layer, multiplied, {"m_N": Fraction(1)})
            yield name, row(name, place, ratios, _status(role, trained, depth, regime))


def _trained(role: str, main: Rule, ends: Rule) -> Rule:
    """What trains a role: vectors have no singular values, and ends have their own optimizer if they are to."""
    if main.kind != "orthogonalised" or role == "hidden":
        return main
    return ends if role in MATRICES else RULES["adamw"]


def _status(role: str, trained: Rule, depth: int, regime: Regime) -> str:
    """Proved for one layer a block and updates that are a multiple or entrywise map of the gradient, where there is a limit."""
    if trained.kind == "orthogonalised" or not (regime.stable_at_initialization and regime.stable_during_training):
        return "heuristic"
    return "heuristic" if role in INSIDE and (depth > 1 or role == "norm") else "proved"
