r"""Parameter groups for `torch.optim`: the hyperparameters of the base times the ratios of every parameter."""

from collections.abc import Mapping
from math import sqrt
from typing import Any

from limits.pytorch.axes import bare
from limits.pytorch.parts import Part
from limits.pytorch.plan import Plan, plan
from limits.validation import number

Given = float | Mapping[str, float]
"""One number for all parameters, or numbers by role, or by the name of the optimizer."""


def param_groups(
    model: Any, how: Plan | None = None, *, lr: Given, weight_decay: Given = 0.0, eps: Given = 1e-8, **arguments: Any
) -> list[dict[str, Any]]:
    r"""Groups for `torch.optim.AdamW`, `SGD`, `Adam` or `Muon`, which train a model as the base was trained with these numbers.

    Every group has `params`, `lr`, `weight_decay`, `eps` where the optimizer has one, and `names`, `role` and `optimizer`,
    which `torch.optim` keeps but does not read. Parameters with `requires_grad=False` are in no group. Of "muon", groups whose
    `optimizer` is "muon" hold the matrices of blocks, for `torch.optim.Muon` with its default factor
    $\sqrt{\max(1, \text{rows}/\text{columns})}$, which the rates allow for; all others are for `torch.optim.AdamW`. With
    `adjust_lr_fn="match_rms_adamw"` Muon is "muon-kimi".

    Args:
        model: the module to be trained.
        how: a `Plan` of this model; or else the arguments of `plan`, such as `base` and `delta`.
        lr: the learning rate of the base: a number, or numbers by role, or by optimizer as {"muon": 0.02, "adamw": 3e-3}.
        weight_decay: $\lambda$ of the base, likewise; a step takes lr times weight decay off the weights, and this share is
            the same at every size. Not for "adam", which makes it a part of the gradient that it then divides out.
        eps: $\varepsilon$ of the base, likewise; it follows the size of the gradient. `Muon` has one only if it is named.

    Raises:
        ValueError: parameters that the plan does not know, or a weight decay that has no meaning at another size.

    >>> from torch import nn, optim
    >>> def make(width): return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.Linear(width, 3))
    >>> groups = param_groups(make(256), base=lambda: make(64), delta=lambda: make(128), lr=0.004, weight_decay=0.1)
    >>> [(group["role"], group["lr"], group["weight_decay"]) for group in groups if group["names"][0].endswith("weight")]
    [('input', 0.004, 0.1), ('hidden', 0.001, 0.4), ('output', 0.004, 0.1)]
    >>> optimizer = optim.AdamW(groups)
    """
    model = bare(model)
    how = _planned(model, how, arguments)
    how.refuse_others(model)
    parameters = dict(model.named_parameters())
    given = {"lr": lr, "weight_decay": weight_decay, "eps": eps}
    groups: dict[tuple[tuple[str, Any], ...], list[str]] = {}
    for part in how.parts:
        if parameters[part.name].requires_grad:
            groups.setdefault(tuple(settings(part, how, given).items()), []).append(part.name)
    return [
        {"params": [parameters[name] for name in names], **dict(setting), "names": names} for setting, names in groups.items()
    ]


def _planned(model: Any, how: Plan | None, arguments: Mapping[str, Any]) -> Plan:
    if how is None:
        return plan(model, **arguments)
    if arguments:
        raise TypeError(f"a plan says it all: leave out {', '.join(arguments)}, or leave out the plan")
    return how


def settings(part: Part, how: Plan, given: Mapping[str, Given], *, ratio: bool = True) -> dict[str, Any]:
    """What the group of a parameter says besides the parameter; without `ratio` the numbers of the base."""
    ratios = how.ratios[part.name]
    found: dict[str, Any] = {"role": part.role, "optimizer": ratios.optimizer}
    for name, value in given.items():
        if name == "eps" and (ratios.eps is None or (_muon(ratios.optimizer) and not _named(value, part.role, ratios.optimizer))):
            continue  # one number is Adam's: that of Muon is another thing, with another default
        base, own = _of(value, name, part.role, ratios.optimizer), getattr(ratios, name)
        if own is None and base:
            raise ValueError(f"{ratios.optimizer} has no {name} that keeps its meaning at another size: take adamw, or {name}=0")
        found[name] = base * (1.0 if own is None or not ratio else own)
    if _muon(ratios.optimizer) and ratio:
        more = _factor(part, "size", ratios.optimizer) / _factor(part, "base", ratios.optimizer) / _meant(part, ratios.optimizer)
        found["lr"] /= more
        found["weight_decay"] *= more
    return found


def _muon(optimizer: str) -> bool:
    return optimizer.startswith("muon")


def _named(value: Given, *keys: str) -> bool:
    return isinstance(value, Mapping) and any(key in value for key in keys)


def _of(value: Given, name: str, role: str, optimizer: str) -> float:
    if not isinstance(value, Mapping):
        return number(value, name)
    key = next((k for k in (role, optimizer) if k in value), None)
    if key is None:
        raise ValueError(
            f"{name} says nothing of {role!r} parameters, trained by {optimizer}: give {name}[{role!r}] or {name}[{optimizer!r}]"
        )
    return number(value[key], f"{name}[{key!r}]")


def _factor(part: Part, which: str, optimizer: str) -> float:
    """What `torch.optim.Muon` multiplies its rate with, by default or, but for a constant, to match the rms of AdamW."""
    rows, columns = (getattr(axis, which) for axis in part.shape.axes)
    return sqrt(max(1, rows / columns) if optimizer == "muon" else max(rows, columns))


def _meant(part: Part, optimizer: str) -> float:
    """The ratio of that factor that the rates of `limits.scaling` allow for, of a base that is square."""
    return 1.0 if optimizer == "muon" else sqrt(max(part.fan_in, part.fan_out))
