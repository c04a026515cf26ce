r"""What a model needs to be trained with the hyperparameters of a smaller one: the part of every parameter, and its ratios.

A plan is read off three models: the model to be trained, the base whose hyperparameters are known, and a delta of another width,
which says which axes grow. Nothing is computed with them, so base and delta may live on the meta device.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from limits.markup import columns, listed
from limits.parametrization import COMPLETEP, Parametrization
from limits.pytorch.attention import wide_heads
from limits.pytorch.axes import bare, built
from limits.pytorch.blocks import Blocks, find_blocks
from limits.pytorch.names import Patterns, patterns
from limits.pytorch.parts import Part
from limits.pytorch.ratios import Ratios, ratios_of
from limits.pytorch.sorting import parts_of
from limits.scaling import Scaling


@dataclass(frozen=True)
class Plan:
    r"""Parts and ratios of all parameters of a model; printing it prints a table.

    >>> from torch import nn
    >>> def make(width): return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.Linear(width, 3))
    >>> found = plan(make(256), base=lambda: make(64), delta=lambda: make(128))
    >>> found.part("2.weight").role, found.multiplier("3.weight"), found.branch
    ('hidden', 0.25, 1.0)
    >>> found
    Plan(1 blocks -> 1, adamw; residual branches x 1; 6 parameters: 1 input, 2 vector, 1 hidden, 1 output, 1 output bias)

    Attributes:
        parts: the parameters, in their order in the model.
        ratios: by name of a parameter, model over base: multiplier, init_std, lr, weight_decay and eps.
        blocks: residual blocks: what lies inside, the branches, and how many there are in base and model.
        scaling: the table of `limits.scaling` for the width of the residual stream.
        notes: what should be seen to, in sentences.
    """

    parts: tuple[Part, ...]
    ratios: Mapping[str, Ratios]
    blocks: Blocks
    scaling: Scaling
    notes: tuple[str, ...] = ()

    @property
    def branch(self) -> float:
        r"""What every residual branch is multiplied with, $m_L^{-\alpha}$."""
        return float(self.scaling.branch)

    @property
    def unnamed(self) -> str:
        """A note if branches are multiplied, and nothing says which modules they are; else empty."""
        if self.branch == 1 or self.blocks.branches:
            return ""
        return (
            f"no branches were named, and residual branches must be multiplied by {self.branch:g}: write branches=, the modules "
            "whose output is added to the stream, or multiply in the forward pass"
        )

    def part(self, name: str) -> Part:
        """The part of a parameter, by any of its names."""
        found = next((part for part in self.parts if name in part.names), None)
        if found is None:
            raise KeyError(f"the plan knows no parameter {name!r}")
        return found

    def multiplier(self, name: str) -> float:
        """What the map of a parameter is multiplied with: 1 but for readouts."""
        return self.ratios[self.part(name).name].multiplier

    def refuse_others(self, model: Any) -> None:
        """Raise a sentence unless the parameters of a model are those of the plan."""
        parameters = dict(model.named_parameters())
        known = {part.name: part for part in self.parts}
        if missing := [name for name in known if name not in parameters]:
            raise ValueError(f"the plan has a parameter {missing[0]} that the model lacks: make the plan from this model")
        if strange := [name for name, p in parameters.items() if name not in known and p.requires_grad]:
            raise ValueError(f"{strange[0]} is trained, and the plan does not know it: make the plan from this model")
        for name, part in known.items():
            if (found := tuple(parameters[name].shape)) != (size := part.sizes("size")):
                raise ValueError(f"{name} has shape {found}, and {size} in the plan: make it from this model")

    def __str__(self) -> str:
        head = ("parameter", "role", "block", "fan in", "fan out", "multiplier", "init std", "lr", "weight decay", "eps")
        rows = [head, *(self._row(part) for part in self.parts)]
        return "\n".join([self._title, columns(rows), *self.notes])

    def __repr__(self) -> str:
        roles = Counter(part.role for part in self.parts)
        parts = [f"{len(self.parts)} parameters: {', '.join(f'{count} {role}' for role, count in roles.items())}"]
        return listed("Plan", [self._title, *parts, *[f"{len(self.notes)} notes"] * bool(self.notes)], mark=";")

    @property
    def _title(self) -> str:
        b, name = self.blocks, self.scaling.optimizer
        return f"{b.base} blocks -> {b.target}, {name}; residual branches x {self.branch:g}"

    def _row(self, part: Part) -> tuple[str, ...]:
        r = self.ratios[part.name]
        numbers = (part.fan_in, part.fan_out, r.multiplier, r.init_std, r.lr, r.weight_decay, r.eps)
        shown = tuple("-" if v is None else f"{float(v):.4g}" for v in numbers)
        return (part.name, part.role if part.trained else f"{part.role} (frozen)", "inside" if part.inside else "", *shown)


def plan(
    model: Any,
    *,
    base: Any,
    delta: Any,
    blocks: Any = None,
    branches: Patterns = None,
    counts: Any = None,
    optimizer: Any = "adamw",
    parametrization: Parametrization = COMPLETEP,
    block_depth: int = 2,
    readout: str = "multiplier",
    overrides: Mapping[str, Any] | None = None,
    tied: Patterns = None,
    batch: Sequence[float] | None = None,
    steps: Sequence[float] | None = None,
) -> Plan:
    r"""Sort the parameters of a model into roles, and find the ratios that its size asks for.

    An axis grows if base and delta differ in it; its ratio is that of the model to the base. Depth enters as
    $m_L$ = blocks of the model / blocks of the base.

    Args:
        model: the `nn.Module` to be trained; wrappers of `torch.compile` and data parallelism are seen through.
        base: the model whose hyperparameters are known, or a function that makes one, which is then called on the meta
            device. It may have fewer blocks.
        delta: the same of another width; only where it differs from the base matters, not by how much.
        blocks: patterns of the modules that lie inside residual blocks with all they hold, such as "layers.*", or the path
            of their list. Left out, lists of modules that differ in length between base and model. A pair of numbers is
            taken as `counts`.
        branches: patterns of the modules whose output is added to the residual stream, such as
            ("layers.*.attention", "layers.*.mlp"); `apply_multipliers` multiplies what they return.
        counts: residual blocks (in the base, in the model), to be held against the number of modules found.
        optimizer: as in `limits.scaling.scale`, such as "sgd", "adam", "adamw" or "muon".
        parametrization: the exponents of depth.
        block_depth: $k$, weight matrices in a residual block.
        readout: "multiplier", or "init", which scales the initial readout in its place.
        overrides: pattern of parameter names -> role, or (role, letters) with one letter an axis: outputs `o`, inputs `i`,
            neither `.`; in patterns `*` is one part of a name, `**` any number of them.
        tied: patterns of embeddings that are used as the readout too without being the weight of a second module.
        batch, steps: samples in a batch and updates, (base, model), where they differ; see `limits.scaling.scale`.

    Raises:
        UnknownPartError: a parameter that its shape does not place; the sentence says what to write in `overrides`.
        ValueError: models that do not match, patterns that match nothing, or counts that do not fit.

    >>> from torch import nn
    >>> def make(width): return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.Linear(width, 3))
    >>> print(plan(make(256), base=lambda: make(64), delta=lambda: make(128)))
    1 blocks -> 1, adamw; residual branches x 1
    parameter  role         block  fan in  fan out  multiplier  init std  lr    weight decay  eps
    0.weight   input               1       4        1           1         1     1             0.25
    0.bias     vector              1       4        1           1         1     1             0.25
    2.weight   hidden              4       4        1           0.5       0.25  4             0.25
    2.bias     vector              1       4        1           1         1     1             0.25
    3.weight   output              4       1        0.25        1         1     1             0.25
    3.bias     output bias         1       1        1           1         1     1             1
    """
    model, base, delta = bare(model), built(base, "base"), built(delta, "delta")
    found = find_blocks(model, base, blocks, branches, counts)
    given = {**(overrides or {}), **dict.fromkeys(patterns(tied, "tied"), "tied")}
    parts = parts_of(model, base, delta, found, given)
    how = {"parametrization": parametrization, "block_depth": block_depth, "readout": readout}
    duration = {name: _two(pair, name) for name, pair in (("batch", batch), ("steps", steps)) if pair is not None}
    ratios, scaling = ratios_of(parts, found, optimizer, how, duration)
    notes = (*wide_heads(model, base, found), *scaling.warnings)
    made = Plan(parts, ratios, found, scaling, notes)
    return replace(made, notes=(made.unnamed, *notes)) if made.unnamed else made


def _two(pair: Sequence[float], name: str) -> tuple[float, float]:
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise ValueError(f"{name} must be a pair, (base, model), got {pair!r}")
    return pair[0], pair[1]
