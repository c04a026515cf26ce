r"""Does a PyTorch model scale as it was declared to? A coordinate check in width and depth that says what is wrong."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from limits.compare.slopes import FEWEST_SEEDS
from limits.compare.transfer import FEWEST
from limits.parametrization import COMPLETEP, Parametrization
from limits.pytorch.audit_blocks import Blocks, find_blocks
from limits.pytorch.audit_drift import drift, sweep
from limits.pytorch.audit_findings import Audit
from limits.pytorch.audit_fits import Grid, Size, cautions, compared, diverged, epsilons, fitted, slopes, with_margins
from limits.pytorch.audit_laws import epsilon_laws, laws, stand_in
from limits.pytorch.audit_measure import Setting, drawn, measure
from limits.pytorch.audit_rules import Rules
from limits.pytorch.audit_traps import NOTICED, remedy, traps
from limits.regimes import classify
from limits.validation import Progress, number, reporting, share, whole


def coordinate_check(
    make_model: Callable[[int, int], Any],
    *,
    widths: Sequence[int],
    blocks: Sequence[int],
    data: Sequence[tuple[Any, Any]],
    make_optimizer: Callable[[Any, int, int], Any],
    loss: Callable[[Any, Any], Any],
    steps: int = 3,
    seeds: int = 8,
    seed: int = 0,
    parametrization: Parametrization = COMPLETEP,
    block_depth: int = 2,
    nonlinearity: str = "gelu",
    modules: str | None = None,
    probe: Any = None,
    at_width: int | None = None,
    at_blocks: int | None = None,
    lrs: Sequence[float] | np.ndarray | None = None,
    lr_steps: int = 10,
    base: tuple[int, int] | None = None,
    base_model: Callable[[], Any] | None = None,
    base_optimizer: Callable[[Any], Any] | None = None,
    tolerance: float = 0.2,
    error_rate: float = 0.01,
    device: str | None = None,
    progress: Progress | None = None,
) -> Audit:
    r"""Train a model of one's own at several sizes, and say which property of `classify` its scaling violates.

    Models of every width (at `at_blocks` blocks) and of every number of blocks (at `at_width`) are made, trained for a few steps
    and measured on a probe, before and after, by hooks on their residual blocks (`limits.pytorch.audit_measure` says what). The
    exponents of what was measured are fitted seed by seed, as in `limits.compare.measure_exponents`, and held against those that
    the declared parametrization has. What the growth of the stream at initialization multiplies updates by tends to a constant
    in the limit, but changes much over the first doublings of the blocks: it is taken out, by the power of its input with which
    a block or what follows the blocks was seen to grow (0 behind a normalization, 1 without).

    There are five verdicts: size (activations), learning (updates), diversity (increments between neighbouring blocks), block
    linearity (how far a block's update is from its derivative), and, if `lrs` are given, transfer (the best learning rate).

    Args:
        make_model: called as make_model(width, blocks), returns a `torch.nn.Module`; `blocks` counts residual blocks, so that
            an attention + MLP layer is two. Random numbers of torch are seeded before.
        widths, blocks: at least two of each, three or more doublings of the smallest being better.
        data: batches as pairs (inputs, targets), gone through in turn; inputs in a tuple or a mapping are several arguments.
        make_optimizer: called as make_optimizer(model, width, blocks), returns a torch optimizer with its rates at that size.
        loss: called as loss(what the model returned, targets).
        steps: of training; more steps, or a larger learning rate, mix orders and blur exponents.
        seeds, seed: models of every size, at least three, and where they begin.
        parametrization: what the model is declared to be, such as COMPLETEP or DEPTH_MUP.
        block_depth, nonlinearity: layers in a block and their nonlinearity (its kinks matter), of the theory for it.
        modules: a pattern of the blocks' names, such as "transformer.h.*"; by default the one `ModuleList` of that many.
        probe: inputs on which models are compared; those of the first batch by default.
        at_width, at_blocks: where the other axis is swept; the middle one of the widths and the smallest number of blocks.
        lrs: factors by which all learning rates are multiplied in a sweep, such as 2.0 ** np.arange(-3, 4); none by default.
        lr_steps: steps of every run of the sweep.
        base, base_model, base_optimizer: the size (width, blocks) of the model whose hyperparameters are being scaled, what makes
            it, and, called with it, its optimizer: at that size the scaled model must be the same.
        tolerance: how far an exponent may be from its law.
        error_rate: of the audit: how often a correct model may fail, all findings together.
        device: such as "cuda".
        progress: called as progress(done, total).

    Raises:
        ValueError, TypeError: a sentence saying what was wanted and what came; no blocks were found, and what to write.

    Source: TP5, appendix D.1 (coordinate checks in width); TP6, Definitions 7.2 to 7.7, and CP, for depth.

    >>> import torch
    >>> class Block(torch.nn.Linear):
    ...     def forward(self, x): return x + super().forward(torch.relu(x)) / len(x[0])
    >>> class Model(torch.nn.Module):
    ...     def __init__(self, width, blocks):
    ...         super().__init__()
    ...         self.first, self.last = torch.nn.Linear(2, width), torch.nn.Linear(width, 1)
    ...         self.blocks = torch.nn.ModuleList(Block(width, width) for _ in range(blocks))
    ...     def forward(self, x): return self.last(torch.nn.Sequential(self.first, *self.blocks)(x))
    >>> audit = coordinate_check(
    ...     Model,
    ...     widths=(16, 32, 64),
    ...     blocks=(2, 4, 8),
    ...     data=[(torch.eye(2), torch.tensor([[1.0], [-1.0]]))],
    ...     make_optimizer=lambda model, width, blocks: torch.optim.Adam(model.parameters(), lr=0.01),
    ...     loss=torch.nn.functional.mse_loss,
    ... )
    >>> audit.verdicts["size"], audit["initial branch", "blocks"].verdict  # 1 / width and no factor of depth
    ('fail', 'fail')
    """
    grid = _grid(widths, blocks, at_width, at_blocks)
    setting = _setting(make_model, make_optimizer, loss, data, probe, steps, modules, device)
    judge = number(tolerance, "tolerance", open_low=True), _rate(error_rate)
    problem = stand_in(parametrization, block_depth, nonlinearity)
    scaled, factors = _base(base, base_model, base_optimizer), _factors(lrs)
    draws = _draws(seeds, seed)
    runs = len(grid.sizes) + 2 * bool(scaled) + len(factors) * len(grid.blocks)
    tick = _ticks(reporting(progress), runs)

    measured = {size: _measured(setting, size, draws, tick) for size in grid.sizes}
    ratios = epsilons(grid, measured)
    wanted = [*laws(problem, _layers(measured)), *epsilon_laws(layer for layer, ratio in ratios.items() if ratio > NOTICED)]
    findings = [fitted(law, grid, measured, judge[0]) for law in wanted]
    if scaled is not None:
        pair = [_measured(each, scaled[0], draws, tick) for each in (setting, replace(setting, **scaled[1]))]
        findings += compared(*pair, blocks=scaled[0][1], tolerance=judge[0])
    if len(factors):
        losses = sweep(setting, grid.at_width, grid.blocks, draws, factors, whole(lr_steps, "lr_steps"), tick)
        findings.append(drift(grid.blocks, factors, losses, judge[0]))
    findings = with_margins(findings, judge[1])

    unjudged = slopes(grid, measured)
    where, optimizer, notes = _looked(setting, grid, draws[0])
    notes = (*notes, *cautions(measured))
    found = traps(findings, unjudged, ratios, where.each)
    rules = Rules.of(optimizer, parametrization, block_depth, _layers(measured), unjudged)
    advised = [replace(each, remedy=remedy(each, findings, found, unjudged, rules)) for each in findings]
    regime = classify(parametrization, block_depth=block_depth)
    meta = {"widths": list(grid.widths), "blocks": list(grid.blocks), "at_width": grid.at_width, "at_blocks": grid.at_blocks}
    meta |= {"seeds": seeds, "seed": seed, "steps": setting.steps, "block_depth": block_depth, "lrs": factors.tolist()}
    meta |= {"sizes": len(grid.sizes), "modules": where.names[0], "base": None if scaled is None else list(scaled[0])}
    return Audit(parametrization, regime, tuple(advised), found, diverged(measured), *judge, notes, meta)


def _sizes(values: Any, name: str) -> tuple[int, ...]:
    """Numbers in increasing order, at least two."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be several whole numbers, got {values!r}: write {name}=(64, 128, 256)")
    sizes = tuple(sorted({whole(value, name) for value in values}))
    if len(sizes) < 2:
        raise ValueError(f"an exponent needs at least two {name}, got {list(sizes)}: write {name}=(…, …, …), a doubling apart")
    return sizes


def _grid(widths: Any, blocks: Any, at_width: int | None, at_blocks: int | None) -> Grid:
    wide, deep = _sizes(widths, "widths"), _sizes(blocks, "blocks")
    width = wide[len(wide) // 2] if at_width is None else whole(at_width, "at_width")
    return Grid(wide, deep, width, deep[0] if at_blocks is None else whole(at_blocks, "at_blocks"))


def _setting(
    make_model: Any, make_optimizer: Any, loss: Any, data: Any, probe: Any, steps: Any, modules: Any, device: str | None
) -> Setting:
    for name, value in {"make_model": make_model, "make_optimizer": make_optimizer, "loss": loss}.items():
        if not callable(value):
            raise TypeError(f"{name} must be a function, got {value!r}")
    _reachable(device)
    pairs = [_pair(one) for one in data] if isinstance(data, Iterable) else []
    if not pairs:
        raise ValueError(
            f"data must be batches, pairs (inputs, targets) in a list, got {type(data).__name__}: write data=[(x, y)]"
        )
    batches = [placed(pair, device) for pair in pairs]
    seen = batches[0][0] if probe is None else placed(probe, device)
    for name, inputs in (("probe", seen), *(("every batch of data", inputs) for inputs, _ in batches)):
        if _empty(inputs):
            raise ValueError(f"{name} must hold at least one input, got a tensor without entries")
    return Setting(make_model, make_optimizer, loss, batches, seen, whole(steps, "steps"), modules, device)


def _pair(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise ValueError(f"every batch of data must be a pair (inputs, targets), got {type(batch).__name__}: write data=[(x, y)]")
    return batch[0], batch[1]


def _empty(value: Any) -> bool:
    """Whether inputs are, or hold, a tensor without entries."""
    if isinstance(value, Mapping | tuple | list):
        return any(_empty(one) for one in (value.values() if isinstance(value, Mapping) else value))
    return hasattr(value, "numel") and value.numel() == 0


def _reachable(device: Any) -> None:
    """Raise a sentence unless tensors with numbers can be made on a device."""
    import torch

    if device is None:
        return
    try:
        float(torch.zeros((), device=device))
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        first = str(error).partition("\n")[0]
        raise ValueError(f'device must be one that is here, such as "cpu" or "cuda", got {device!r}: {first}') from None


def placed(value: Any, device: str | None) -> Any:
    """Tensors, and tuples and mappings of them, on a device."""
    if device is None:
        return value
    if isinstance(value, Mapping):
        return {key: placed(one, device) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return tuple(placed(one, device) for one in value)
    return value.to(device) if hasattr(value, "to") else value


def _rate(error_rate: Any) -> float:
    if share(error_rate, "error_rate") == 0:
        raise ValueError(f"error_rate must be between 0 and 1, got {error_rate!r}")
    return float(error_rate)


def _base(size: Any, model: Any, optimizer: Any) -> tuple[Size, dict[str, Any]] | None:
    """The size of the base model and what makes it, in place of the scaled one."""
    given = [value is not None for value in (size, model, optimizer)]
    if not any(given):
        return None
    if not all(given) or not (isinstance(size, tuple | list) and len(size) == 2 and callable(model) and callable(optimizer)):
        raise ValueError(
            "a base model takes base=(width, blocks), base_model=a function without arguments that makes it, and "
            f"base_optimizer=a function that makes its optimizer, all three; got {size!r}, {model!r}, {optimizer!r}"
        )
    at = whole(size[0], "the width of base"), whole(size[1], "the blocks of base")
    return at, {"make_model": lambda width, blocks: model(), "make_optimizer": lambda made, width, blocks: optimizer(made)}


def _factors(lrs: Any) -> np.ndarray:
    """Factors of the learning rates, in increasing order; none if there is no sweep."""
    if lrs is None:
        return np.zeros(0)
    if isinstance(lrs, str) or not isinstance(lrs, Iterable):
        raise TypeError(f"lrs must be several factors of the learning rates, got {lrs!r}: write lrs=2.0 ** np.arange(-3, 4)")
    try:
        given = [float(value) for value in lrs]
    except (TypeError, ValueError):
        raise TypeError(f"every one of lrs must be a number > 0, got {lrs!r}: write lrs=2.0 ** np.arange(-3, 4)") from None
    factors = np.unique([number(value, "every one of lrs", open_low=True) for value in given])
    if len(factors) < FEWEST:
        raise ValueError(f"an optimum needs at least {FEWEST} factors lrs, got {factors.tolist()}")
    return factors


def _draws(seeds: int, seed: int) -> list[tuple[int, int]]:
    if whole(seeds, "seeds") < FEWEST_SEEDS:
        raise ValueError(f"seeds must be at least {FEWEST_SEEDS}, whose scatter tells the error, got {seeds}")
    return [(whole(seed, "seed", low=0), each) for each in range(seeds)]


def _ticks(progress: Progress, total: int) -> Callable[[], None]:
    done = iter(range(1, total + 1))
    return lambda: progress(next(done), total)


def _measured(setting: Setting, size: Size, draws: Sequence[Sequence[int]], tick: Callable[[], None]) -> list[dict[str, float]]:
    found = [measure(setting, *size, draw) for draw in draws]
    tick()
    return found


def _layers(measured: Mapping[Size, list[dict[str, float]]]) -> list[str]:
    """Names of the layers of a block."""
    return [key.removeprefix("update of ") for key in next(iter(measured.values()))[0] if key.startswith("update of ")]


def _looked(setting: Setting, grid: Grid, draw: Sequence[int]) -> tuple[Blocks, Any, tuple[str, ...]]:
    """The blocks of one model, its optimizer, and how models were measured, in sentences."""
    from torch import nn

    model, optimizer = drawn(setting, *grid.sizes[0], draw)
    where, kinds = find_blocks(model, grid.sizes[0][1], setting.modules), {type(module).__name__ for module in model.modules()}
    notes = [f"{len(where.names)} blocks at {grid.sizes[0]} (width, blocks): {where.names[0]}, …"]
    if where.each > 1:
        notes.append(f"a module holds {where.each} residual blocks: exponents are theirs, what is measured is of each module")
    if any("Dropout" in kind for kind in kinds):
        notes.append("dropout is on in training and off on the probe")
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        notes.append("batch norms use the statistics of the batch on the probe, running ones are not used")
    return where, optimizer, tuple(notes)
