r"""Multipliers of the forward pass, as hooks: of what a readout reads, and of what a residual branch returns.

The factors are constants held by the hooks: nothing is added to `state_dict`, copies and pickles of the model keep them, data
parallelism replicates them, and `torch.compile` traces through them, if they are there before the model is first called.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limits.pytorch.axes import bare
from limits.pytorch.names import matches
from limits.pytorch.plan import Plan
from limits.pytorch.skips import SkipCheck

BY_HAND = 'multiply in the forward pass and write by_hand=("branches",)'


@dataclass(frozen=True)
class ReadoutMultiplier:
    """A forward pre-hook with keywords: the first argument of a module times a factor, so that a bias keeps its size."""

    factor: float

    def __call__(self, module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if arguments:
            return (arguments[0] * self.factor, *arguments[1:]), named
        first = next(iter(named))
        return arguments, {**named, first: named[first] * self.factor}


@dataclass(frozen=True)
class BranchMultiplier:
    """A forward hook: what a branch returns times a factor; of a tuple or list, its first entry."""

    factor: float

    def __call__(self, module: Any, arguments: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple | list):
            first, *rest = output
            return [first * self.factor, *rest] if isinstance(output, list) else (first * self.factor, *rest)
        if isinstance(output, Mapping):
            raise TypeError(
                f"a branch must return a tensor, or a tuple that begins with one, got {type(output).__name__}: {BY_HAND}"
            )
        return output * self.factor


class Handles(tuple[Any, ...]):
    """Handles of hooks: a tuple that is short at a prompt, and whose `remove()` takes all of them away."""

    __slots__ = ()

    def remove(self) -> None:
        for handle in self:
            handle.remove()

    def __repr__(self) -> str:
        return f"Handles({len(self)} hooks; remove() takes them away)"


def apply_multipliers(model: Any, how: Plan, *, by_hand: Sequence[str] = ()) -> Handles:
    r"""Multiply readouts and residual branches by their ratios to the base, from the next forward pass on.

    A readout $Wx + b$ becomes $W(cx) + b$, a branch $f(x)$ becomes $m_L^{-\alpha}f(x)$. These are ratios: factors that the base
    has in its own forward pass stay, if the model has the same ones. A model that divides its branches by its own number of
    blocks must not do so any more, or be planned with the same number of blocks.

    A module that adds its own skip, $x + f(x)$, is no branch: with the whole stream multiplied block by block, nothing is left
    of it. At the first forward pass, the first module of every pattern is called once more with its matrices and biases set to
    zero, and warned about if it still returns its input, as it is or normalised. Skips that are weighted or projected, those of
    modules without matrices, and those inside of a compiled model are not seen. Nothing that was not called is checked.

    Args:
        model: the module that the plan was made from, or a copy of it; call this before `torch.compile`.
        how: its plan, with `branches` where it has more blocks than the base.
        by_hand: readouts (names of parameters) that the forward pass of the model multiplies itself, by
            `how.multiplier(name)`, and "branches" if it does so with its branches, by `how.branch`.

    Returns:
        A tuple of handles whose `remove()` takes a hook away, as of `register_forward_hook`; its own takes all of them away.

    Raises:
        RuntimeError: the model has multipliers by now, or is compiled: what is compiled and was called ignores new hooks.
        ValueError: branches without names, or a readout that is the weight of no module.

    >>> import torch
    >>> from limits.pytorch import plan
    >>> def make(width): return torch.nn.Sequential(torch.nn.Linear(8, width), torch.nn.Linear(width, 3, bias=False))
    >>> model, x = make(256), torch.ones(1, 8)
    >>> before, keys = model(x), list(model.state_dict())
    >>> handles = apply_multipliers(model, plan(model, base=lambda: make(64), delta=lambda: make(128)))
    >>> bool(torch.allclose(model(x), before / 4)), keys == list(model.state_dict())
    (True, True)
    >>> handles
    Handles(1 hooks; remove() takes them away)
    """
    given, model = model, bare(model)
    how.refuse_others(model)
    if any(isinstance(hook, ReadoutMultiplier | BranchMultiplier) for m in model.modules() for hook in _hooks(m)):
        raise RuntimeError("the model has multipliers by now, and would be multiplied twice: remove them first, by their handles")
    if _is_compiled(given):
        raise RuntimeError(
            "the model is compiled, and a compiled model that was called ignores new hooks: call apply_multipliers on the model "
            "first, then torch.compile"
        )
    factors = {name: factor for name, factor in _readouts(how).items() if name not in by_hand}
    readouts = [(_reader(model, name, how), ReadoutMultiplier(factor)) for name, factor in factors.items()]
    branches = [] if "branches" in by_hand else _branches(model, how)
    checked = _first(model, how) if branches else []
    return Handles(
        (
            *(module.register_forward_pre_hook(hook, with_kwargs=True) for module, hook in readouts),
            *(module.register_forward_hook(hook, with_kwargs=True) for module, hook in checked),
            *(module.register_forward_hook(hook) for module, hook in branches),
        )
    )


def missing(model: Any, how: Plan, by_hand: Sequence[str] = ()) -> list[str]:
    """A sentence for every readout, and one for the branches, that are not multiplied and should be."""
    found = []
    for name, factor in _readouts(how).items():
        if name not in by_hand and not any(isinstance(hook, ReadoutMultiplier) for hook in _hooks(_reader(model, name, how))):
            found.append(f"what {name} reads must be multiplied by {factor:g}, and is not: call apply_multipliers")
    bare_branches = [m for n, m in model.named_modules() if matches(n, how.blocks.branches)]
    held = bool(bare_branches) and all(any(isinstance(h, BranchMultiplier) for h in _hooks(m)) for m in bare_branches)
    if how.branch != 1 and "branches" not in by_hand and not held:
        found.append(f"residual branches must be multiplied by {how.branch:g}, and are not: call apply_multipliers")
    if "branches" not in by_hand:
        found += [hook.found for m in bare_branches for hook in _hooks(m) if isinstance(hook, SkipCheck) and hook.found]
    return found


def _is_compiled(model: Any) -> bool:
    """Whether `torch.compile(model)` or `model.compile()` was called, on the model or a part of it."""
    return any(hasattr(m, "_orig_mod") or getattr(m, "_compiled_call_impl", None) is not None for m in model.modules())


def _hooks(module: Any) -> list[Any]:
    return [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]


def _readouts(how: Plan) -> dict[str, float]:
    return {part.name: f for part in how.parts if (f := how.ratios[part.name].multiplier) != 1}


def _reader(model: Any, name: str, how: Plan) -> Any:
    """The module whose weight is a readout."""
    from torch import nn

    for other in how.part(name).names:
        path, _, own = other.rpartition(".")
        module = model.get_submodule(path)
        if own == "weight" and not isinstance(module, nn.Embedding | nn.EmbeddingBag):
            return module
    raise ValueError(
        f"{name} is a readout, and the weight of no module whose input could be multiplied: multiply by {how.multiplier(name):g} "
        f'in the forward pass what it is multiplied with, and write by_hand=("{name}",)'
    )


def _branches(model: Any, how: Plan) -> list[tuple[Any, BranchMultiplier]]:
    if how.branch == 1:
        return []
    if not how.blocks.branches:
        raise ValueError(
            f"residual branches must be multiplied by {how.branch:g}, and the plan does not say which modules they are: name "
            'them, such as branches=("layers.*.attention", "layers.*.mlp"), or multiply in the forward pass and write '
            'by_hand=("branches",)'
        )
    names = dict(model.named_modules())
    return [(module, BranchMultiplier(how.branch)) for name, module in names.items() if matches(name, how.blocks.branches)]


def _first(model: Any, how: Plan) -> list[tuple[Any, SkipCheck]]:
    """The first module of every pattern of branches, with what looks whether it is one."""
    modules = list(model.named_modules())
    firsts = (next((name, m) for name, m in modules if matches(name, (pattern,))) for pattern in how.blocks.branches)
    return [(module, SkipCheck(name, how.branch)) for name, module in firsts]
