"""Where the residual blocks of a PyTorch model are, and what passes through them.

A block is any module that takes the residual stream and returns it with something added: what it adds, its branch, is its
output minus its input, whatever happens inside.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

HOW = (
    "name them: pass modules= a pattern of their names, with * for a number or one word, such as modules='layers.*' or "
    "modules='transformer.h.*' (`[name for name, _ in model.named_modules()]` lists all names)"
)


@dataclass(frozen=True)
class Blocks:
    """The residual blocks of one model.

    Attributes:
        names: of the modules, in the order in which they were registered.
        each: how many residual blocks a module holds: one, or two if a module is a transformer layer.
    """

    names: tuple[str, ...]
    each: int

    def of(self, model: Any) -> list[Any]:
        """The modules of this or any model of the same shape."""
        return [model.get_submodule(name) for name in self.names]


def find_blocks(model: Any, blocks: int, pattern: str | None = None) -> Blocks:
    """The modules that are the blocks of a model which was asked for so many of them.

    Args:
        model: a `torch.nn.Module`.
        blocks: residual blocks, an attention and an MLP counting as two.
        pattern: of the names of the modules; by default the one `ModuleList` or `Sequential` of as many modules, or of half as
            many, each of which then holds two blocks.

    Raises:
        ValueError: there are none, several candidates, or of another number: a sentence that says what to write.

    >>> from torch import nn  # doctest: +SKIP
    >>> model = nn.ModuleDict({"layers": nn.ModuleList(nn.Linear(4, 4) for _ in range(6))})  # doctest: +SKIP
    >>> find_blocks(model, 6).names[:2], find_blocks(model, 12).each  # doctest: +SKIP
    (('layers.0', 'layers.1'), 2)
    """
    names = _listed(model, blocks) if pattern is None else _matching(model, pattern)
    if not names or blocks % len(names):
        raise ValueError(
            f"the model that was made for blocks={blocks} has {len(names)} modules called like {pattern!r}: `blocks` counts "
            "residual blocks (an attention + MLP transformer layer is two), and every module must hold as many"
        )
    return Blocks(tuple(names), blocks // len(names))


def _matching(model: Any, pattern: str) -> list[str]:
    if not isinstance(pattern, str):
        raise TypeError(f"modules must be a pattern of names, such as 'layers.*', got {pattern!r}")
    wanted = re.compile("[^.]+".join(map(re.escape, pattern.split("*"))))
    return [name for name, _ in model.named_modules() if wanted.fullmatch(name)]


def _listed(model: Any, blocks: int) -> list[str]:
    """The names in the one list of as many modules as there are blocks, or of half as many."""
    from torch import nn

    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList | nn.Sequential)}
    for length in (blocks, blocks / 2):
        found = [name for name, module in lists.items() if len(module) == length and _alike(module)]
        proper = [name for name in found if isinstance(lists[name], nn.ModuleList)] or found
        if len(proper) > 1:
            raise ValueError(f"residual blocks could be any of {', '.join(map(repr, proper))}: {HOW}")
        if proper:
            return [f"{proper[0]}.{i}".lstrip(".") for i in range(int(length))]
    seen = ", ".join(f"{name or 'the model'!r} of {len(module)}" for name, module in lists.items()) or "none"
    trap = [name for name, module in lists.items() if len(module) == 2 * blocks]
    hint = f" (is {trap[0]!r} made of layers of two blocks, counted as one?)" if trap else ""
    raise ValueError(
        f"no list of {blocks} residual blocks was found in the model that was made for blocks={blocks}; its lists: {seen}{hint}. "
        f"`blocks` counts residual blocks, an attention + MLP transformer layer being two; otherwise {HOW}"
    )


def _alike(modules: Any) -> bool:
    """Whether modules are of one class, or of two that alternate, as attention and MLP do."""
    kinds = [type(module) for module in modules]
    return kinds[::2] == [kinds[0]] * len(kinds[::2]) and kinds[1::2] == [kinds[-1 if len(kinds) % 2 == 0 else 0]] * len(
        kinds[1::2]
    )


@dataclass(frozen=True)
class Call:
    """How a module was called: with which arguments, and which of them is the residual stream."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    place: int | str

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str) -> "Call":
        """The stream is the first tensor of numbers among the arguments."""
        for place, value in (*enumerate(args), *kwargs.items()):
            if is_real(value):
                return cls(args, dict(kwargs), place)
        raise ValueError(f"the block {name!r} was called without a tensor of numbers, so it is no residual block: {HOW}")

    @property
    def stream(self) -> Any:
        return self.args[self.place] if isinstance(self.place, int) else self.kwargs[self.place]

    def on(self, stream: Any) -> "Call":
        """The same call on another stream."""
        if isinstance(self.place, int):
            return replace(self, args=(*self.args[: self.place], stream, *self.args[self.place + 1 :]))
        return replace(self, kwargs={**self.kwargs, self.place: stream})


@dataclass
class Passed:
    """What passed through a model: every block's call and output, every layer's input, and what the model returned."""

    calls: list[Call] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    layers: dict[str, Any] = field(default_factory=dict)
    raw: Any = None

    @property
    def stream(self) -> list[Any]:
        """The residual stream before the first block and after every one."""
        return [self.calls[0].stream, *self.outputs]

    @property
    def logits(self) -> Any:
        return outputs_of(self.raw)


def run(model: Any, inputs: Any) -> Any:
    """A model on its inputs: a tuple is several arguments, a mapping named ones."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


def passed(model: Any, blocks: Blocks, inputs: Any, last: float = 1.0) -> Passed:
    """Run a model on its inputs and keep what passes through its blocks; the last one's output is multiplied by `last`.

    Raises:
        ValueError: a block was not called exactly once, or does not return what it was given in shape.
    """
    found = Passed()
    with _listening(model, blocks, found, last):
        found.raw = run(model, inputs)
    if len(found.calls) != len(blocks.names):
        raise ValueError(
            f"{len(blocks.names)} blocks were found and {len(found.calls)} calls of them in a forward pass: every block must "
            f"be called once, as a module; {HOW}"
        )
    return found


@contextmanager
def _listening(model: Any, blocks: Blocks, found: Passed, last: float) -> Iterator[None]:
    handles = []

    def before(name: str) -> Any:
        return lambda module, args, kwargs: found.calls.append(Call.of(args, kwargs, name))

    def after(name: str) -> Any:
        return lambda module, args, kwargs, output: found.outputs.append(_added(found.calls[-1].stream, output, name))

    def read(name: str) -> Any:
        return lambda module, args: found.layers.update({name: args[0]}) if args else None

    for name, module in zip(blocks.names, blocks.of(model), strict=True):
        handles.append(module.register_forward_pre_hook(before(name), with_kwargs=True))
        handles.append(module.register_forward_hook(after(name), with_kwargs=True))
        handles += [layer.register_forward_pre_hook(read(f"{name}.{inner}")) for inner, layer in matrices(module)]
    if last != 1:
        handles.append(blocks.of(model)[-1].register_forward_hook(lambda module, args, output: _times(last, output)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def matrices(module: Any) -> list[tuple[str, Any]]:
    """The layers inside a module that multiply by a weight of their own: linear ones and convolutions, by name."""
    from torch import nn

    found = []
    for name, layer in module.named_modules():
        weight = layer._parameters.get("weight")
        if weight is not None and weight.ndim > 1 and not isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            found.append((name, layer))
    return found


def _added(stream: Any, output: Any, name: str) -> Any:
    value = tensor_of(output)
    if value is None or value.shape != stream.shape:
        shape = "no tensor" if value is None else f"shape {tuple(value.shape)}"
        raise ValueError(
            f"the block {name!r} was given shape {tuple(stream.shape)} and returned {shape}: it adds nothing to a stream; {HOW}"
        )
    return value


def _times(factor: float, output: Any) -> Any:
    """What a block returned, with its stream multiplied."""
    if is_real(output):
        return factor * output
    if isinstance(output, Mapping):
        first = next(key for key, value in output.items() if is_real(value))
        return {**output, first: factor * output[first]}
    first = next(i for i, value in enumerate(output) if is_real(value))
    return type(output)([*output[:first], factor * output[first], *output[first + 1 :]])


def is_real(value: Any) -> bool:
    """Whether a value is a tensor of real numbers."""
    import torch

    return isinstance(value, torch.Tensor) and value.is_floating_point()


def tensor_of(value: Any) -> Any:
    """The first tensor of numbers in what a module returned; None if there is none."""
    if is_real(value):
        return value
    several = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return next((v for v in several if is_real(v)), None)


def outputs_of(value: Any) -> Any:
    """The outputs of a model: its `logits`, if it returns such a thing, or the first tensor of numbers."""
    found = getattr(value, "logits", None)
    found = tensor_of(value) if found is None else found
    if found is None:
        raise ValueError(
            "the model returned no tensor of numbers: outputs must be a tensor, a tuple that begins with one, or have `logits`"
        )
    return found
