r"""Initial weights of a model, from those of its base: every parameter gets the size of its counterpart times its ratio.

Sizes are root mean squares: standard deviations of weights, values of constants. The base is measured, not assumed, so any
initialization is carried over, whatever it depends on; its size in a large model is replaced by what `limits.scaling` asks for.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from limits.pytorch.axes import bare
from limits.pytorch.plan import Plan

ENTRIES, DRAWS = 4096, 64
"""A base that can be made anew is drawn until every parameter has that many entries, or that many times."""
MARK = "_limits_initialized"


def init_(model: Any, how: Plan, *, base: Any) -> dict[str, float]:
    r"""Rescale the initial weights of a model in place, once, so that it begins as its base does.

    A parameter is multiplied by (rms of its counterpart in the base) (its ratio) / (its own rms). The distribution that it
    was drawn from keeps its shape. Parameters with `requires_grad=False` stay as they are. With $E$ entries measured, an rms
    has a relative error of $1/\sqrt{2E}$: about one percent, so that at the size of the base factors are not exactly 1, and more
    for short vectors of a base that is given as a module.

    Args:
        model: the module that the plan was made from, as it was initialized.
        how: its plan.
        base: a function that makes base models as they are initialized, or one such module, not on the meta device. What
            the function draws leaves PyTorch's random numbers as they were.

    Returns:
        By parameter, the factor that it was multiplied with.

    Raises:
        RuntimeError: this model has been rescaled before.
        ValueError: weights on the meta device, or zero in the model and not in the base; models of other sizes than the plan's.

    >>> import torch
    >>> from limits.pytorch import plan
    >>> def make(width): return torch.nn.Sequential(torch.nn.Embedding(50, width), torch.nn.Linear(width, width))
    >>> model = make(1024)
    >>> found = plan(model, base=lambda: make(64), delta=lambda: make(128))
    >>> factors = init_(model, found, base=lambda: make(64))
    >>> [round(factors[name]) for name in ("0.weight", "1.weight", "1.bias")]  # PyTorch draws biases smaller in wide layers
    [1, 1, 4]
    """
    import torch

    model = bare(model)
    if getattr(model, MARK, False):
        raise RuntimeError("the initial weights of this model are rescaled by now, and would be rescaled twice: make a new model")
    how.refuse_others(model)
    parts = [part for part in how.parts if part.trained]
    sizes = _base_sizes(base, {part.counterpart: part.sizes("base") for part in parts})
    parameters = dict(model.named_parameters())
    factors = {p.name: _factor(p.name, sizes[p.counterpart] * how.ratios[p.name].init_std, parameters[p.name]) for p in parts}
    with torch.no_grad():
        for name, factor in factors.items():
            parameters[name].mul_(factor)
    setattr(model, MARK, True)
    return factors


def _factor(name: str, wanted: float, parameter: Any) -> float:
    found = _rms(name, parameter, "the model")
    if found == 0:
        if wanted:
            raise ValueError(f"{name} is zero in the model and of size {wanted:.3g} in the base: initialize both in the same way")
        return 1.0
    return wanted / found


def _base_sizes(base: Any, names: Mapping[str, tuple[int, ...]]) -> dict[str, float]:
    """Root mean squares of parameters of these shapes, over as many draws as they need."""
    squares, entries = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0)
    for model in islice(_drawn(base), DRAWS):
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if name in names and entries[name] < ENTRIES:
                if (found := tuple(parameter.shape)) != names[name]:
                    raise ValueError(f"{name} of the base has shape {found}, and {names[name]} in the plan: measure its base")
                squares[name] += _rms(name, parameter, "the base") ** 2 * parameter.numel()
                entries[name] += parameter.numel()
        if all(count >= ENTRIES for count in entries.values()):
            break
    if missing := [name for name, count in entries.items() if not count]:
        raise ValueError(f"the base that is measured has no {missing[0]}: it must be the base of the plan")
    return {name: (squares[name] / entries[name]) ** 0.5 for name in names}


def _drawn(base: Any) -> Iterator[Any]:
    import torch

    if isinstance(base, torch.nn.Module):
        yield bare(base)
        return
    if not isinstance(base, Callable):
        raise TypeError(f"base must be a function without arguments that makes base models, or a module, got {base!r}")
    with torch.random.fork_rng(devices=[]):
        while True:
            if not isinstance(model := base(), torch.nn.Module):
                raise TypeError(f"base must make a module, got {model!r}")
            yield bare(model)


def _rms(name: str, parameter: Any, where: str) -> float:
    if parameter.is_meta:
        raise ValueError(f"{name} of {where} is on the meta device, and has no values to be measured: make {where} on a real one")
    return float(parameter.detach().abs().double().square().mean().sqrt())
