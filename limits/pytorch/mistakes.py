r"""What is easily got wrong when hyperparameters are carried to another size, looked for in a model and its optimizer."""

from collections.abc import Iterator, Mapping, Sequence
from math import isclose, prod, sqrt
from statistics import median
from typing import Any

from limits.pytorch.axes import bare
from limits.pytorch.groups import Given, settings
from limits.pytorch.initial import MARK
from limits.pytorch.multipliers import missing
from limits.pytorch.names import split
from limits.pytorch.parts import Part
from limits.pytorch.plan import Plan
from limits.scaling import Size, scale
from limits.scaling.roles import INSIDE

CLOSE = 1e-3
"""Relative: numbers in scripts are rounded."""
NEAR = 0.1
"""Relative: how well a ratio of initial sizes must be one of the known powers of the number of blocks."""
SMALLER = 0.75
"""Sizes are compared as they are and times the root of the fan-in, and a matrix is smaller than others if it is in both."""
DEEP = 4
"""With fewer blocks, those powers are too near to one to be told from other choices."""


def mistakes(
    model: Any,
    how: Plan,
    optimizer: Any = None,
    *,
    lr: Given = 0.0,
    weight_decay: Given = 0.0,
    eps: Given = 1e-8,
    by_hand: Sequence[str] = (),
) -> tuple[str, ...]:
    r"""A sentence for each of the known mistakes that a model and its optimizer show; empty if there are none.

    Looked for are multipliers that are not applied, branches that were seen in a forward pass to add their own skip (see
    `apply_multipliers`), an initialization that shrinks with depth by itself ($1/\sqrt{2L}$), heads of attention that become
    wider under a fixed square root, and in an optimizer: another kind than the plan's, rates, weight decays and epsilons that
    are not those of the base times their ratios (factors of depth at the ends, raw numbers of blocks, layers for blocks, one
    epsilon for all), and parameters that are not trained.

    Args:
        model: the module that the plan was made from.
        how: its plan.
        optimizer: of `torch.optim`, or its `param_groups`.
        lr, weight_decay, eps: those of the base, as in `param_groups`.
        by_hand: as in `apply_multipliers`.

    >>> from torch import nn, optim
    >>> from limits.pytorch import plan
    >>> def make(width): return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width, bias=False))
    >>> model = make(256)
    >>> found = plan(model, base=lambda: make(64), delta=lambda: make(128))
    >>> base = {"lr": 0.004, "weight_decay": 0.0, "eps": 4e-8}
    >>> for sentence in mistakes(model, found, optim.AdamW(model.parameters(), **base), **base):
    ...     print(sentence)
    0.weight: input eps is 4e-08 and should be 1e-08 = 4e-08 * m_N^-1: its factor of width is missing.
    0.bias: vector eps is 4e-08 and should be 1e-08 = 4e-08 * m_N^-1: its factor of width is missing.
    2.weight: hidden lr is 0.004 and should be 0.001.
    2.weight: hidden eps is 4e-08 and should be 1e-08.
    """
    model = bare(model)
    found = [note for note in how.notes if note != how.unnamed]  # what follows says so, unless it is done by hand
    found += [*missing(model, how, by_hand), *_shrinking(model, how)]
    if optimizer is not None:
        given = {"lr": lr, "weight_decay": weight_decay, "eps": eps}
        found += _kinds(how, optimizer)
        found += _settings(model, how, getattr(optimizer, "param_groups", optimizer), given)
    return tuple(found)


RULES = {"SGD": "sgd", "Adam": "adam", "AdamW": "adamw", "Muon": "muon"}
"""Optimizers of `torch.optim` and what they are called in a plan; of others nothing is known."""


def _kinds(how: Plan, optimizer: Any) -> list[str]:
    """A sentence if the optimizer is of another kind than the plan, of which no number could then be right."""
    planned = {ratios.optimizer.split("-")[0] for ratios in how.ratios.values()}
    found = RULES.get(type(optimizer).__name__)
    if found == "adam" and planned == {"adamw"} and not any(group["weight_decay"] for group in optimizer.param_groups):
        return []  # without weight decay they are one
    if found is None or found in planned:
        return []
    return [
        f"the optimizer is {type(optimizer).__name__}, and the plan is for {how.scaling.optimizer}, whose numbers are others: "
        f'write optimizer="{found}" in plan'
    ]


def _settings(model: Any, how: Plan, groups: Any, given: Mapping[str, Given]) -> list[str]:
    """Numbers of an optimizer that are not the plan's; the first parameter of a kind speaks for all."""
    held = {id(parameter): group for group in groups for parameter in group["params"]}
    first: dict[str, list[str]] = {}
    known: dict[tuple[Any, ...], list[str]] = {}  # parameters of one kind in one group are judged once
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            group, part = held.get(id(parameter)), how.part(name)
            kind = (part.role, part.inside, part.fan_in, part.fan_out, part.width, id(group))
            if kind not in known:
                known[kind] = ["it is in no group of the optimizer."] if group is None else [*_wrong(part, how, group, given)]
            for said in known[kind]:
                first.setdefault(said, []).append(f"{name}: {said}")
    return [found[0] + (f" (and {len(found) - 1} more)" if len(found) > 1 else "") for found in first.values()]


def _wrong(part: Part, how: Plan, group: Mapping[str, Any], given: Mapping[str, Given]) -> Iterator[str]:
    wanted = settings(part, how, given)
    base = settings(part, how, given, ratio=False)
    for key in ("lr", "weight_decay", "eps"):
        if key in wanted and key in group and not isclose(found := float(group[key]), wanted[key], rel_tol=CLOSE):
            said = _diagnosed(part, how, key, base[key], found)
            yield said or f"{part.role} {key} is {found:g} and should be {wanted[key]:g}."


def _diagnosed(part: Part, how: Plan, key: str, base: float, value: float) -> str | None:
    """What `limits.scaling` makes of it, where its table is that of this part."""
    s, role = how.scaling, part.role.split()[0]
    uneven = role == "hidden" and (part.fan_in != part.fan_out or how.ratios[part.name].optimizer.startswith("muon"))
    if uneven or (role in INSIDE and not part.inside):
        return None
    sizes = (Size(part.width[0], how.blocks.base), Size(part.width[1], how.blocks.target))
    same = {"parametrization": s.parametrization, "block_depth": s.block_depth, "readout": s.readout}
    said = scale(*sizes, optimizer=how.ratios[part.name].optimizer, **same).check(part.role, {key: base}, {key: value})
    return said[0] if said else None


def _shrinking(model: Any, how: Plan) -> Iterator[str]:
    """Matrices of blocks that are smaller than the others by a power of the number of blocks."""
    done = how.blocks.ratio == 1 or getattr(model, MARK, False)  # nothing to count twice, or sizes are the base's
    if done or how.blocks.target < DEEP or any(p.is_meta for p in model.parameters()):
        return
    parameters, kinds = dict(model.named_parameters()), {}
    for part in how.parts:
        if part.inside and part.role.split()[0] == "hidden":
            weight = parameters[part.name].detach().float()
            kinds.setdefault(_kind(part, how), []).append((float(weight.std()), float(weight.std()) * sqrt(_inputs(part))))
    sizes = {kind: [median(column) for column in zip(*pairs, strict=True)] for kind, pairs in kinds.items()}
    largest = [max(column) or 1.0 for column in zip(*sizes.values(), strict=True)]
    for kind, found in sizes.items():
        ratios = [size / most for size, most in zip(found, largest, strict=True)]
        said = next((said for ratio in ratios if (said := _power(ratio, how.blocks.target))), None)
        if said and max(ratios) < SMALLER:
            yield f"initial weights of {kind} are {said}: beside the branch multiplier depth would count twice; call init_"
            return


def _kind(part: Part, how: Plan) -> str:
    """The name of a parameter without the number of its block."""
    patterns = (*how.blocks.inside, *how.blocks.branches)
    return next((f"{pattern}.{found[1]}" for pattern in patterns if (found := split(part.name, pattern))), part.name)


def _inputs(part: Part) -> int:
    """How many inputs a matrix sums over."""
    return prod(axis.size for axis, letter in zip(part.shape.axes, part.letters, strict=True) if letter != "o")


def _power(ratio: float, blocks: int) -> str | None:
    """What a ratio of initial sizes looks like, if it is a known power of the number of blocks."""
    known = ((blocks, "1/sqrt(L)"), (2 * blocks, "1/sqrt(2L)"))
    found = next((said for number, said in known if isclose(ratio, 1 / sqrt(number), rel_tol=NEAR)), None)
    return None if found is None else f"{ratio:.3g} times as large as others, which looks like {found} for {blocks} blocks"
