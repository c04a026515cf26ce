"""Ratios of every parameter beside those of the packages `mup` and `unit-scaling`; not a part of the tests.

Run it in an environment of its own, which has both of them:

    python -m venv mup && mup/bin/pip install torch numpy pyyaml docstring-parser einops pygments tabulate
    mup/bin/pip install --no-deps mup unit-scaling
    mup/bin/pip install .
    PYTHONPATH=tests mup/bin/python tests/benchmarks/compare_mup.py

It ends with the number of disagreements, and fails if there is one that is not among those explained.
"""

import re
import sys

import mup
import torch
import torch_models as zoo
from unit_scaling.core.functional import transformer_residual_scaling_rule
from unit_scaling.optim import lr_scale_func_adam
from unit_scaling.parameter import Parameter

from limits import DEPTH_MUP, scale
from limits.pytorch import init_, param_groups, plan

WIDTHS = {"base": 32, "delta": 64, "model": 256}
DRAWS = 24
EXACT = 1e-9
SIGMAS = 4.0
"""Initial sizes are measured; of E entries in all, with an error of at most 1 / sqrt(2 E)."""
EXPLAINED = {
    (
        "tied",
        "init std",
    ): "mup multiplies readouts by sqrt(m), as if drawn with 1 / sqrt(fan-in); this one was drawn as an embedding",
}


def readout(kind):
    return "read_out" if "mlp" in kind else "unembed"


def with_readout(kind, width):
    """A model of the catalogue with the readout module of `mup`."""
    model = zoo.KINDS[kind][0](width)
    old = getattr(model, readout(kind))
    features, bias = old.in_features, old.bias is not None
    if "tied" in kind:
        new = mup.MuSharedReadout(model.tokens.weight, bias=bias)
    else:
        new = mup.MuReadout(features, old.out_features, bias=bias)
    setattr(model, readout(kind), new)
    return model


def by_mup(kind, optimizer):
    """Ratios of the package: of each parameter, model over base."""
    made = {which: with_readout(kind, width) for which, width in WIDTHS.items()}
    model = mup.set_base_shapes(made["model"], made["base"], delta=made["delta"])
    kind_of = {"sgd": mup.MuSGD, "adam": mup.MuAdam, "adamw": mup.MuAdamW}[optimizer]
    groups = kind_of(model.parameters(), lr=1.0, weight_decay=1.0).param_groups
    at = {id(p): group for group in groups for p in group["params"]}
    module = getattr(model, readout(kind))
    found = {}
    for name, p in model.named_parameters():
        read = p is module.weight
        found[name] = {"lr": at[id(p)]["lr"], "weight_decay": at[id(p)]["weight_decay"]}
        found[name]["multiplier"] = 1 / module.width_mult() if read else 1.0
    return found, lambda: mup.set_base_shapes(with_readout(kind, WIDTHS["model"]), made["base"], delta=made["delta"])


def by_limits(kind, optimizer):
    """The same by this package."""
    make = zoo.KINDS[kind][0]
    model = make(WIDTHS["model"])
    base, delta = (lambda: make(WIDTHS["base"])), (lambda: make(WIDTHS["delta"]))
    how = plan(model, base=base, delta=delta, optimizer=optimizer, **zoo.KINDS[kind][1])
    decay = 0.0 if optimizer == "adam" else 1.0
    found = {}
    for group in param_groups(model, how, lr=1.0, weight_decay=decay):
        for name in group["names"]:
            found[name] = {"role": how.part(name).role, "multiplier": how.multiplier(name), "lr": group["lr"]}
            found[name] |= {"weight_decay": group["weight_decay"]} if decay else {}

    def drawn():
        model = make(WIDTHS["model"])
        init_(model, how, base=base)
        return model

    return found, drawn


def sizes(drawn, draws=1):
    """Root mean squares of initial weights, by name."""
    squares = [{n: float(p.detach().square().mean()) for n, p in drawn().named_parameters()} for _ in range(draws)]
    return {name: (sum(s[name] for s in squares) / draws) ** 0.5 for name in squares[0]}


def near(key, entries):
    """The relative difference that counts as none."""
    return max(0.01, SIGMAS * (2 / (2 * DRAWS * entries)) ** 0.5) if key == "init std" else EXACT


def widths():
    """Every parameter of an MLP and of transformers; those of one name, but for the number of the block, in one line."""
    disagreements = 0
    for kind in ("mlp", "transformer", "tied transformer"):
        entries = {name: p.numel() for name, p in zoo.KINDS[kind][0](WIDTHS["base"]).named_parameters()}
        base = sizes(lambda: zoo.KINDS[kind][0](WIDTHS["base"]), DRAWS)  # noqa: B023
        for optimizer in ("sgd", "adam", "adamw"):
            (theirs, draw_theirs), (ours, draw_ours) = by_mup(kind, optimizer), by_limits(kind, optimizer)
            stds = [sizes(draw, DRAWS) for draw in (draw_theirs, draw_ours)]
            print(f"\n{kind}, {optimizer}: width {WIDTHS['base']} -> {WIDTHS['model']}, mup / limits")
            lines = {}
            for name, mine in ours.items():
                other = dict(theirs[name])
                for side, std in zip((other, mine), stds, strict=True):
                    side["init std"] = std[name] / base[name] if base[name] else 1.0
                columns = [key for key in ("multiplier", "init std", "lr", "weight_decay") if key in mine]
                off = [key for key in columns if abs(other[key] / mine[key] - 1) > near(key, entries[name])]
                disagreements += sum((mine["role"], key) not in EXPLAINED for key in off)
                shown = "  ".join(
                    f"{key} {other[key]:.3g} / {mine[key]:.3g}" + (" DIFFERS" if key in off else "") for key in columns
                )
                why = "".join(f"  ({EXPLAINED.get((mine['role'], key), 'unexplained')})" for key in off)
                lines.setdefault(f"{re.sub(r'[.][0-9]+', '.*', name, count=1):28} {mine['role']:12}", []).append(shown + why)
            for name, shown in lines.items():
                print(f"  {name} {shown[0]}" + (f"  and {len(shown) - 1} more" if len(shown) > 1 else ""))
    return disagreements


def depths():
    """The rules of depth of u-muP, beside those of Depth-muP; its width rules beside ours, with multipliers moved."""
    base, target = (256, 8), (1024, 32)
    found = scale({"width": 256, "blocks": 8}, {"width": 1024, "blocks": 32}, parametrization=DEPTH_MUP, block_depth=1)
    tau = transformer_residual_scaling_rule()

    def rate(kind, inside):
        shape = {"weight": lambda n: (n, n), "bias": lambda n: (n,), "norm": lambda n: (n,), "output": lambda n: (50, n)}[kind]
        values = []
        for n, L in (base, target):
            p = Parameter(torch.empty(shape(n)), mup_type=kind)
            p.mup_scaling_depth = L if inside else None
            values.append(lr_scale_func_adam(p))
        return values[1] / values[0]

    hidden = found["hidden"].moved(width="-1/2")  # u-muP has weights of variance 1 and the multiplier fan_in^-1/2
    rows = [
        ("residual branch", tau(0, target[1]) / tau(0, base[1]), float(found.branch), ""),
        ("hidden lr", rate("weight", True), float(hidden.lr), ""),
        ("bias lr in blocks", rate("bias", True), float(found["bias"].lr), ""),
        ("norm lr in blocks", rate("norm", True), float(found["norm"].lr), ""),
        ("final norm lr", rate("norm", False), float(found["vector"].lr), ""),
        ("output lr", rate("output", False), float(found["output"].lr), ""),
        ("embedding lr", rate("weight", False), float(found["input"].lr), "u-muP departs from muP here, by experiment"),
    ]
    print(f"\nu-muP: width, blocks {base} -> {target}, unit-scaling / limits (Depth-muP, AdamW)")
    for name, theirs, ours, why in rows:
        differs = abs(theirs / ours - 1) > 1e-9
        print(f"  {name:20} {theirs:.4g} / {ours:.4g}" + (f"  DIFFERS: {why or 'unexplained'}" if differs else ""))
    return sum(abs(theirs / ours - 1) > 1e-9 and not why for _, theirs, ours, why in rows)


if __name__ == "__main__":
    torch.manual_seed(0)
    unexplained = widths() + depths()
    print(f"\n{unexplained} unexplained disagreements")
    sys.exit(unexplained > 0)
