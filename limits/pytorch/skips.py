r"""A module that adds its own skip is no branch: multiplied, it would take the whole stream with it.

Seen at the first forward pass. If every matrix and bias of a module $f(x)$ is set to zero and it still returns its input, or that
normalised, it is $x + g(x)$, or its norm. That is exact for modules whose branch ends in a matrix, whatever their size.
"""

import warnings
from collections.abc import Mapping
from typing import Any

CLOSE = 1e-2
"""Relative: half precision is enough."""


class SkipCheck:
    """A forward hook with keywords, of one module: at its first call outside of a compiler, look whether it adds its own skip.

    Not seen are skips of modules without matrices, such as a dropout, and those that are weighted, projected to other shapes, or
    followed by something else than a norm.
    """

    def __init__(self, name: str, factor: float) -> None:
        self.name, self.factor = name, factor
        self.done = False
        self.found = ""

    def __call__(self, module: Any, arguments: tuple[Any, ...], named: Mapping[str, Any], output: Any) -> None:
        import torch

        if self.done or torch.compiler.is_compiling():
            return
        self.done = True
        if adds_its_input(module, arguments, named, output):
            self.found = (
                f"{self.name} returns its input with something added, so that its multiplier {self.factor:g} shrinks the whole "
                "stream: name in branches= the module whose output is added, or multiply in the forward pass and write "
                'by_hand=("branches",)'
            )
            warnings.warn(self.found, stacklevel=2)


def adds_its_input(module: Any, arguments: tuple[Any, ...], named: Mapping[str, Any], output: Any) -> bool:
    """Whether a module returns one of its inputs, or that normalised, where all its matrices and biases are zero."""
    import torch

    weights = {name: p for name, p in module.named_parameters() if p.ndim > 1 or name.split(".")[-1].endswith("bias")}
    first = output[0] if isinstance(output, tuple | list) and output else output
    given = [*arguments, *named.values()]
    streams = [x for x in given if isinstance(x, torch.Tensor) and x.shape == getattr(first, "shape", None) and _real(x)]
    if not streams or all(p.ndim < 2 for p in weights.values()):
        return False
    kept = [x.detach().clone() for x in streams]
    state = {f"inner.{name}": torch.zeros_like(p) for name, p in weights.items()}
    state |= {f"inner.{name}": buffer.detach().clone() for name, buffer in module.named_buffers()}
    try:
        with torch.no_grad(), torch.random.fork_rng([x.device for x in kept if x.is_cuda]):
            bare = torch.func.functional_call(_unhooked(module), state, arguments, dict(named))
    except Exception:  # a check must not stop a forward pass that went well
        return False
    return any(_same(bare[0] if isinstance(bare, tuple | list) else bare, x) for x in kept)


def _unhooked(module: Any) -> Any:
    """A module that runs another's forward pass, without its hooks."""
    from torch import nn

    class Unhooked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, *arguments: Any, **named: Any) -> Any:
            return self.inner.forward(*arguments, **named)

    return Unhooked()


def _real(x: Any) -> bool:
    return x.is_floating_point() and not x.is_meta and x.ndim > 1


def _same(found: Any, x: Any) -> bool:
    """Whether what came out is what went in, as it is or normalised over the last axis."""
    found, x = found.double(), x.double()
    centred = x - x.mean(-1, keepdim=True)
    norms = [z / z.square().mean(-1, keepdim=True).sqrt() for z in (x, centred)]
    return any(bool((found - z).norm() <= CLOSE * z.norm()) and bool(z.norm() > 0) for z in (x, *norms))
