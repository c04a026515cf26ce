r"""What a step does to the output is of order one at every width and depth, for every kind of parameter; wrong roles are caught.

The effect of a parameter is $-\langle\nabla\mathrm{loss}, \Delta W\rangle$ of one step, summed over blocks: the change of the
loss to first order that is its own. The loss is linear in the outputs, so that their initial size, which vanishes as
$n^{-1/2}$, does not enter. A model of 4 times the width and 4 times the blocks must have the effects of its base.
"""

import re
from functools import cache

import pytest

torch = pytest.importorskip("torch")

import torch_models as zoo  # noqa: E402

from limits import DEPTH_MUP  # noqa: E402
from limits.pytorch import apply_multipliers, init_, param_groups, plan  # noqa: E402

BASE, LARGE = (32, 4), (128, 16)
SEEDS = {"mlp": 8}
"""Runs that effects are a mean of; 2 of other kinds, which are larger."""
WITHIN = 1.6
"""Effects differ by factors of at most 1.46 where nothing is wrong, with these seeds, and of 3 or more by a fault."""
EPS = 1e-3
"""Of the size of gradients: it counts."""


def optimizers(name, groups):
    if name == "muon":
        yield torch.optim.Muon([g for g in groups if g["optimizer"] == "muon"], nesterov=False)
        yield torch.optim.AdamW([g for g in groups if g["optimizer"] == "adamw"])
    else:
        yield (torch.optim.SGD if name == "sgd" else torch.optim.AdamW)(groups)


def effects(kind, name, size, seed, *, multipliers=True, initial=True, change=lambda groups: groups, **how):
    """Minus the change of the loss by the step of every parameter, by its name without the number of a block."""
    torch.manual_seed(seed)
    make, named = zoo.KINDS[kind]
    model = make(*size)
    found = plan(model, base=lambda: make(*BASE), delta=lambda: make(64, 4), optimizer=name, **named | how)
    if initial:
        init_(model, found, base=lambda: make(*BASE))
    if multipliers:
        apply_multipliers(model, found)
    groups = change(param_groups(model, found, lr=1e-3, eps=EPS))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    outputs = model(zoo.inputs(kind, 16))
    targets = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(3))
    (outputs * targets).mean().backward()
    for optimizer in optimizers(name, groups):
        optimizer.step()
    made = {}
    for n, p in model.named_parameters():
        key = re.sub(r"\.\d+", "", n, count=1)
        made[key] = made.get(key, 0.0) - float((p.grad * (p.detach() - before[n])).sum())
    return made


@cache
def at_base(kind, name):
    return mean([effects(kind, name, BASE, seed) for seed in range(SEEDS.get(kind, 2))])


def mean(runs):
    return {key: sum(run[key] for run in runs) / len(runs) for key in runs[0]}


def compared(kind, name, size=LARGE, **fault):
    """Effects in the large model over those in the base."""
    large, base = mean([effects(kind, name, size, seed, **fault) for seed in range(SEEDS.get(kind, 2))]), at_base(kind, name)
    noisy = [key for key in base if key.endswith(("k.bias", "in_proj_bias"))]  # a shift of all keys has no effect
    return {key: large[key] / base[key] for key in base if key not in noisy}


def outside(found):
    return {key: ratio for key, ratio in found.items() if not 1 / WITHIN < ratio < WITHIN}


SLOW = pytest.mark.slow
FADING = (128, 4)
"""Where four initial branches of a base add up to as much as its stream, which fades like 1 / L: its own number of blocks."""
CASES = [(kind, name, LARGE) for kind in ("transformer", "tied transformer") for name in ("adamw", "sgd")]
CASES += [("transformer", "muon", LARGE), ("mlp", "adamw", LARGE)]
CASES += [pytest.param("packed attention", "adamw", LARGE, marks=SLOW), pytest.param("mlp", "sgd", FADING, marks=SLOW)]


@pytest.mark.parametrize(("kind", "name", "size"), CASES)
def test_effects_do_not_change_with_width_and_depth(kind, name, size):
    if name == "muon" and not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    assert outside(compared(kind, name, size)) == {}


def test_effects_of_depth_mup_do_not_change_either():
    """To first order in one step; that blocks of several matrices do not learn jointly there is another matter."""
    assert outside(compared("convolutions", "adamw", parametrization=DEPTH_MUP)) == {}


def without_depth(groups):
    """Hidden matrices with the rate of those outside of blocks: for SGD m_L is missing."""
    return [g | {"lr": g["lr"] / 4} if g["role"] == "hidden" else g for g in groups]


def deep_ends(groups):
    """A factor of depth on the embeddings."""
    return [g | {"lr": g["lr"] / 4} if g["role"] == "input" else g for g in groups]


def one_epsilon(groups):
    return [g | {"eps": EPS} for g in groups]


FAULTS = {
    "a hidden matrix called a bias": ("adamw", {"overrides": {"layers.*.mlp.0.weight": ("bias", "o.")}}, "layers.mlp.0.weight"),
    "values called an embedding": ("sgd", {"overrides": {"**.v.weight": ("input", "o.")}}, "layers.attention.q.weight"),
    "an embedding called a readout": ("sgd", {"overrides": {"positions.weight": ("output bias", "..")}}, "positions.weight"),
    "a rate without its factor of depth": ("sgd", {"change": without_depth}, "layers.attention.v.weight"),
    "a factor of depth on embeddings": ("adamw", {"change": deep_ends}, "tokens.weight"),
    "one epsilon for all": ("adamw", {"change": one_epsilon}, "layers.mlp.0.weight"),
    "no multipliers": ("adamw", {"multipliers": False}, "unembed.weight"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_caught(fault):
    name, injected, where = FAULTS[fault]
    ratio = outside(compared("transformer", name, **injected))[where]
    assert not 1 / 3 < ratio < 3
