r"""One model of one size: trained for a few steps, and what training changed in it.

With $x^l_0, x^l_T$ the residual stream before and after $T$ steps on the probe, $B^l_0, B^l_T$ the branches of block $l$ (what it
adds to its input), and rms over entries and, where there is an $l$, blocks:

* "embedding": $x^0_0$; "stream": $x^L_0$; "logits": $f_0$
* "initial branch": $B^l_0(x^0_0)$, every block on the *embedded* probe, so that no growth of the stream is in it
* "initial sum": $\sum_l B^l_0(x^0_0)$
* "gradient": $\partial\ell/\partial x^1$ over $\partial\ell/\partial x^L$ before training, or its inverse
* "blocks' update": $\sum_l [B^l_T - B^l_0](x^0_0)$; "stream update": $x^L_T - x^L_0$; "logit update": $f_T - f_0$
* "increments": $z^l - z^{l-1}$ of $z = x_T - x_0$
* "second order": $[B^l_T - B^l_0](x^{l-1}_T) - D$ over $D = \partial_\theta B^l_0(x^{l-1}_T)\,(\theta_T - \theta_0)$
* "update of NAME": $\Delta W y$ over $W_0y$ of what the layer NAME of the blocks reads ($\Delta W y$ alone if $W_0 = 0$); "std of
  NAME", "epsilon of NAME", "lr of NAME": of its initial weights, Adam's $\varepsilon$ over the rms of its last gradient, and its
  learning rate

The growth of the stream, $g = \lVert x^L_0\rVert/\lVert x^0_0\rVert$, is a constant only in the limit. What it multiplies is
divided by it: with $h$ and $h'$ the powers of its input with which a block, and what follows the blocks, grow (0 to 1; 0 behind a
normalization), stream updates and increments by $g^h$, outputs by $g^{h'}$ and their update by $g^{h + h' - 1}$.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np

from limits.pytorch.audit_blocks import Blocks, Call, Passed, find_blocks, matrices, passed, run, tensor_of

FAINT = 1e-5
"""Share of a branch below which what is not linear in an update is lost in the round-off of single precision."""
STEP = 0.1
"""Of central differences, as a share of the update, where there is no forward derivative."""


@dataclass(frozen=True)
class Setting:
    """What is measured at every size; `batches` are pairs of inputs and targets, on the device."""

    make_model: Callable[[int, int], Any]
    make_optimizer: Callable[[Any, int, int], Any]
    loss: Callable[[Any, Any], Any]
    batches: Sequence[tuple[Any, Any]]
    probe: Any
    steps: int
    modules: str | None
    device: str | None


def measure(setting: Setting, width: int, blocks: int, seed: Sequence[int]) -> dict[str, float]:
    """Make, train and measure one model; not finite where it diverged."""
    model, optimizer = drawn(setting, width, blocks, seed)
    found = find_blocks(model, blocks, setting.modules)
    before = frozen(model)
    train(model, optimizer, setting, setting.steps)
    after = frozen(model)
    values = backward_growth(before, found, setting) | _layers_of(before, model, found, optimizer)
    with quiet():
        inputs, targets = setting.batches[0]
        first, last = (float(setting.loss(run(one, inputs), targets)) for one in (before, after))
        return values | {"loss left": over(last, first)} | _Changes(before, after, found, setting.probe).measured()


def drawn(setting: Setting, width: int, blocks: int, seed: Sequence[int]) -> tuple[Any, Any]:
    """A model and its optimizer, of one seed, which is drawn apart for every size; the generator is left as it was."""
    import torch

    number = int(np.random.SeedSequence([*seed, width, blocks]).generate_state(1, np.uint64)[0] >> 1)
    with _seeded(number, setting.device):
        model = setting.make_model(width, blocks)
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"make_model(width, blocks) must return a torch.nn.Module, got {model!r}")
    model = model.to(setting.device) if setting.device else model
    optimizer = setting.make_optimizer(model, width, blocks)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"make_optimizer(model, width, blocks) must return a torch optimizer, got {optimizer!r}")
    if any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in signature(optimizer.step).parameters.values()):
        raise ValueError(
            f"an audit trains step by step, and {type(optimizer).__name__} makes no step() without a closure: take another"
        )
    return model, optimizer


def train(model: Any, optimizer: Any, setting: Setting, steps: int) -> None:
    """Plain steps on the batches, one after the other and again from the first; dropout as the model has it, of one seed."""
    import torch

    model.train()
    with _seeded(0, setting.device), torch.enable_grad():
        for t in range(steps):
            inputs, targets = setting.batches[t % len(setting.batches)]
            optimizer.zero_grad()
            _differentiable(setting.loss(run(model, inputs), targets)).backward()
            optimizer.step()


def _differentiable(loss: Any) -> Any:
    """What a loss returned: a tensor of one number with a gradient, or raise a sentence."""
    import torch

    wanted = "loss(outputs, targets) must return a tensor of one number that depends on the weights"
    if not isinstance(loss, torch.Tensor):
        raise TypeError(f"{wanted}, got {loss!r}: leave out float(...) and .item()")
    if loss.numel() != 1:
        raise ValueError(f"{wanted}, got shape {tuple(loss.shape)}: take its mean")
    if not loss.requires_grad:
        raise ValueError(f"{wanted}, got one without a gradient: leave out .detach() and torch.no_grad(), and train some weights")
    return loss.sum()


@contextmanager
def _seeded(number: int, device: str | None) -> Iterator[None]:
    """Random numbers of torch from a seed; its generators, on the device too, are then put back."""
    import torch

    places = [torch.device(device)] if device and torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=places):
        torch.manual_seed(number)
        yield


def frozen(model: Any) -> Any:
    """A copy that is a function of its weights and inputs alone: no dropout, batch norms by the batch that they see."""
    from torch.func import replace_all_batch_norm_modules_

    copy = deepcopy(model).eval()
    replace_all_batch_norm_modules_(copy)
    for parameter in copy.parameters():
        parameter.grad = None
    return copy


@contextmanager
def quiet() -> Iterator[None]:
    """No gradients, and attention by plain operations that hooks see and derivatives pass."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _given(model: Any, optimizer: Any, what: str) -> dict[str, float]:
    """By name of the parameter, the "eps" or "lr" of its group; of optimizers that have none, nothing."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = [group for group in optimizer.param_groups if what in group]
    return {names[id(p)]: float(group[what]) for group in groups for p in group["params"] if id(p) in names}


def backward_growth(model: Any, blocks: Blocks, setting: Setting) -> dict[str, float]:
    """How much larger the gradient of the stream is after the first block than after the last, or smaller, before training."""
    import torch

    inputs, targets = setting.batches[0]
    with torch.enable_grad():
        found = passed(model, blocks, inputs)
        ends = torch.autograd.grad(setting.loss(found.raw, targets), [found.outputs[0], found.outputs[-1]], allow_unused=True)
    ratio = over(*(rms(end) for end in ends))
    return {"gradient": max(ratio, over(1.0, ratio))}


def _layers_of(drawn_model: Any, model: Any, blocks: Blocks, optimizer: Any) -> dict[str, float]:
    """By layer: standard deviation of initial weights, epsilon over the rms of the gradient of the last step, learning rate."""
    epsilons, rates, pools = _given(model, optimizer, "eps"), _given(model, optimizer, "lr"), Pools()
    for at, block, trained in zip(blocks.names, blocks.of(drawn_model), blocks.of(model), strict=True):
        weights = {name: layer.weight for name, layer in matrices(trained)}
        for name, layer in matrices(block):
            full = f"{at}.{name}".rstrip(".")
            inner, gradient = short(full, blocks), weights[name].grad
            pools.add(f"std of {inner}", layer.weight)
            if f"{full}.weight" in rates:
                pools.add(f"lr of {inner}", layer.weight.new_tensor([rates[f"{full}.weight"]]).double())
            if gradient is not None and f"{full}.weight" in epsilons:
                pools.add(f"gradient of {inner}", gradient)
                pools.add(f"epsilon of {inner}", gradient.new_tensor([epsilons[f"{full}.weight"]]))
    values = pools.roots()
    layers = [key.removeprefix("epsilon of ") for key in values if key.startswith("epsilon of ")]
    ratios = {f"epsilon of {key}": over(values[f"epsilon of {key}"], values[f"gradient of {key}"]) for key in layers}
    return {key: value for key, value in values.items() if key.startswith(("std of ", "lr of "))} | ratios


@dataclass(frozen=True)
class _Changes:
    """A model before and after training, on the probe."""

    before: Any
    after: Any
    blocks: Blocks
    probe: Any

    def measured(self) -> dict[str, float]:
        """Everything that needs no gradient."""
        start, end, pools = (*(passed(model, self.blocks, self.probe) for model in (self.before, self.after)), Pools())
        initial, update = 0.0, 0.0
        moved = [b - a for a, b in zip(start.stream, end.stream, strict=True)]
        pairs = zip(self.blocks.of(self.before), self.blocks.of(self.after), strict=True)
        for l, (drawn_block, block) in enumerate(pairs):
            call, first_call = end.calls[l], start.calls[l].on(start.stream[0])
            here = end.outputs[l] - call.stream
            change = here - branch(drawn_block, call)
            first = first_order(drawn_block, block, call)
            alone = branch(drawn_block, first_call)
            initial, update = initial + alone, update + branch(block, first_call) - alone
            pools.add("initial branch", alone)
            pools.add("doubled", branch(drawn_block, first_call.on(2 * start.stream[0])))
            pools.add("increments", moved[l + 1] - moved[l])
            pools.add("first", first)
            pools.add("rest", change - first)
            pools.add("branch", here)
            self._layers(self.blocks.names[l], drawn_block, block, end, pools)
        values = pools.roots()
        layers = {f"update of {name}": beside(values[f"moved {name}"], values[f"kept {name}"]) for name in self._names(values)}
        inner = power(values.pop("doubled"), values["initial branch"])
        outer = power(rms(passed(self.before, self.blocks, self.probe, last=2.0).logits), rms(start.logits))
        growth = over(rms(start.stream[-1]), rms(start.stream[0]))
        return {
            "growth": growth,
            "embedding": rms(start.stream[0]),
            "initial branch": values["initial branch"],
            "initial sum": rms(initial),
            "stream": rms(start.stream[-1]),
            "logits": rms(start.logits) / growth**outer,
            "blocks' update": rms(update),
            "stream update": rms(moved[-1]) / growth**inner,
            "logit update": rms(end.logits - start.logits) / growth ** (inner + outer - 1),
            "increments": values["increments"] / growth**inner,
            "second order": self._second_order(values),
            **layers,
        }

    @staticmethod
    def _second_order(values: Mapping[str, float]) -> float:
        """The share of second order; nothing where it is lost in round-off."""
        seen = values["rest"] > FAINT * values["branch"]
        return over(values["rest"], values["first"]) if seen else float("nan")

    def _layers(self, at: str, drawn_block: Any, block: Any, end: Passed, pools: "Pools") -> None:
        """What the layers of a block make of what they read, as drawn and by their updates."""
        trained = dict(matrices(block))
        for name, layer in matrices(drawn_block):
            full, inner = f"{at}.{name}".rstrip("."), short(f"{at}.{name}".rstrip("."), self.blocks)
            if full in end.layers:
                pools.add(f"kept {inner}", applied(layer, layer.weight, end.layers[full]))
                pools.add(f"moved {inner}", applied(layer, trained[name].weight - layer.weight, end.layers[full]))

    @staticmethod
    def _names(values: Mapping[str, float]) -> list[str]:
        return [key.removeprefix("moved ") for key in values if key.startswith("moved ")]


def branch(block: Any, call: Call) -> Any:
    """What a block adds to its stream."""
    return tensor_of(block(*call.args, **call.kwargs)) - call.stream


def first_order(drawn_block: Any, block: Any, call: Call) -> Any:
    """The derivative of a block's branch in its weights, along their updates; by a central difference where torch has none."""
    from torch.func import functional_call, jvp

    start = dict(drawn_block.named_parameters())
    end = dict(block.named_parameters())
    step = {name: end[name] - weight for name, weight in start.items()}

    def at(weights: dict[str, Any]) -> Any:
        return tensor_of(functional_call(drawn_block, weights, call.args, dict(call.kwargs)))

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)  # torch's own
            return jvp(at, (start,), (step,))[1]
    except (NotImplementedError, RuntimeError):
        ahead, back = ({name: start[name] + sign * STEP * step[name] for name in start} for sign in (1, -1))
        return (at(ahead) - at(back)) / (2 * STEP)


def applied(layer: Any, weight: Any, inputs: Any) -> Any:
    """A layer with another weight and no bias on its inputs."""
    import torch
    from torch.func import functional_call

    bias = layer._parameters.get("bias")
    other = {"weight": weight} | ({} if bias is None else {"bias": torch.zeros_like(bias)})
    return functional_call(layer, other, (inputs,))


def short(name: str, blocks: Blocks) -> str:
    """The name of a layer inside its block: the same in all blocks.

    >>> short("layers.3.mlp.up", Blocks(("layers.3",), 1))
    'mlp.up'
    """
    at = next((block for block in blocks.names if name == block or name.startswith(f"{block}.")), "")
    return name[len(at) :].lstrip(".") or "the block"


class Pools:
    """Mean squares over blocks, by name."""

    def __init__(self) -> None:
        self.squares: dict[str, list[float]] = {}

    def add(self, name: str, values: Any) -> None:
        self.squares.setdefault(name, []).append(rms(values) * rms(values))

    def roots(self) -> dict[str, float]:
        return {name: float(np.mean(squares)) ** 0.5 for name, squares in self.squares.items()}


def rms(values: Any) -> float:
    """The root of the mean square of a tensor; NaN of what no gradient reached."""
    return float("nan") if values is None else float(values.detach().double().square().mean().sqrt())


def over(above: float, below: float) -> float:
    """A ratio; NaN over nothing."""
    return above / below if below else float("nan")


def beside(above: float, below: float) -> float:
    """A ratio; what is above alone over nothing."""
    return above / below if below else above


def power(doubled: float, single: float) -> float:
    """With which power of its argument, 0 to 1, a function grows: from its values at twice the argument and at it.

    >>> power(2.0, 1.0), power(1.0, 1.0), power(0.0, 0.0)
    (1.0, 0.0, 0.0)
    """
    return float(np.clip(np.log2(doubled / single), 0, 1)) if doubled > 0 and single > 0 else 0.0
