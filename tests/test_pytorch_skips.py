"""Modules that add their own skip are no branches; and what a plan says of branches and optimizers that are not its own."""

import copy
import pickle
import warnings

import pytest

torch = pytest.importorskip("torch")

import torch_models as zoo  # noqa: E402
from torch import nn  # noqa: E402

from limits.pytorch import apply_multipliers, mistakes, plan  # noqa: E402


class PostNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.branch, self.norm = zoo.Branch(width), nn.LayerNorm(width)

    def forward(self, x):
        return self.norm(x + self.branch(x))


class Named(zoo.Residual):
    """The stream by keyword, and a cache beside what is returned."""

    def forward(self, mask=None, *, stream):
        return super().forward(stream), mask


class Keyword(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(stream=x)[0]


OWN = {
    "residual": lambda width: zoo.Residual(zoo.Branch(width)),
    "by keyword": lambda width: Named(zoo.Branch(width)),
    "normalised after": PostNorm,
    "transformer layer": lambda width: zoo.Layer(width, zoo.Attention),
    "encoder layer": lambda width: nn.TransformerEncoderLayer(width, width // 8, 4 * width, batch_first=True, norm_first=True),
    "encoder layer, normalised after": lambda width: nn.TransformerEncoderLayer(width, width // 8, 4 * width, batch_first=True),
}


class Stack(nn.Module):
    def __init__(self, make, width, blocks, residual=False):
        super().__init__()
        self.read_in, self.blocks = nn.Linear(8, width), nn.ModuleList(make(width) for _ in range(blocks))
        self.residual = residual

    def forward(self, x):
        x = self.read_in(x)
        for block in self.blocks:
            made = block(stream=x)[0] if isinstance(block, Named) else block(x)
            x = x + made if self.residual else made
        return x


def stacked(make, residual=False):
    model = Stack(make, 64, 16, residual)
    sizes = {"base": Stack(make, 16, 4), "delta": Stack(make, 32, 4)}
    return model, plan(model, **sizes, branches="blocks.*")


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_modules_that_add_their_own_skip_are_warned_of_once(kind, dtype):
    torch.manual_seed(0)
    model, how = stacked(OWN[kind])
    model = model.to(dtype)
    apply_multipliers(model, how)
    assert mistakes(model, how) == ()  # nothing was called
    x = torch.randn(3, 5, 8, dtype=dtype)
    with pytest.warns(UserWarning, match=r"blocks.0 returns its input with something added, .* 0.25 shrinks the whole stream"):
        model(x)
    model(x)  # warnings are errors
    (said,) = mistakes(model, how)
    assert "name in branches= the module whose output is added" in said
    assert mistakes(model, how, by_hand=("branches",)) == ()


@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize("zero", [False, True])
def test_branches_raise_no_alarm(kind, zero):
    """Of every model of the tests, also where branches return zero at first."""
    torch.manual_seed(0)
    model, how = zoo.planned(kind, blocks=8)
    if zero:
        for name, p in model.named_parameters():
            if how.part(name).inside:
                nn.init.zeros_(p)
    apply_multipliers(model, how)
    model(zoo.inputs(kind))
    assert mistakes(model, how) == ()


@pytest.mark.parametrize(
    "make",
    [
        lambda width: nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.Dropout(0.5)),
        lambda width: nn.Sequential(nn.Linear(width, width, bias=False), nn.BatchNorm1d(width)),
        lambda width: nn.Linear(width, width),
        nn.LayerNorm,
    ],
)
def test_single_layers_and_norms_raise_no_alarm(make):
    model, how = stacked(make, residual=True)
    apply_multipliers(model, how)
    model(torch.randn(4, 8))
    assert mistakes(model, how) == ()


def test_looking_leaves_no_trace():
    """Random numbers, running statistics, weights and gradients are what they are without it."""
    make = lambda width: nn.Sequential(nn.BatchNorm1d(width), nn.Dropout(0.5), nn.Linear(width, width))  # noqa: E731
    model, how = stacked(make, residual=True)
    x, others = torch.randn(4, 8), copy.deepcopy(model)
    for block in others.blocks:
        block.register_forward_hook(lambda module, arguments, output: output * how.branch)
    apply_multipliers(model, how)
    kept = pickle.loads(pickle.dumps(model))
    found = []
    for each in (others, model, kept):
        torch.manual_seed(1)
        y = each(x)
        y.square().sum().backward()
        found.append([y, torch.rand(3), *each.state_dict().values(), *(p.grad for p in each.parameters())])
    for mine in found[1:]:
        for a, b in zip(found[0], mine, strict=True):
            assert torch.equal(a, b)


def test_a_module_that_cannot_be_called_again_still_runs():
    class Once(nn.Linear):
        calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls > 1:
                raise RuntimeError("only once")
            return super().forward(x)

    model, how = stacked(lambda width: Once(width, width), residual=True)
    apply_multipliers(model, how)
    assert model(torch.randn(4, 8)).shape == (4, 64)


def test_the_stream_of_modules_with_skips_is_shrunk():
    """Why it matters: what enters the last block is a quarter of what left the one before."""
    torch.manual_seed(0)
    model, how = stacked(OWN["residual"])
    x = torch.randn(64, 8)
    before = model(x).std()
    apply_multipliers(model, how)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert model(x).std() < 0.1 * before


def test_handles_are_a_short_tuple():
    model, how = zoo.planned("mlp", blocks=8)
    x = zoo.inputs("mlp")
    before = model(x)
    handles = apply_multipliers(model, how)
    assert isinstance(handles, tuple)
    assert repr(handles) == f"Handles({len(handles)} hooks; remove() takes them away)"
    handles.remove()
    assert torch.equal(model(x), before)
    apply_multipliers(model, how)  # would refuse what has multipliers by now


def test_a_plan_says_that_no_branches_were_named():
    make = zoo.ResidualMLP
    model = make(32, 8)
    (note,) = plan(model, base=make(16), delta=make(32), blocks="blocks").notes
    assert note.startswith("no branches were named, and residual branches must be multiplied by 0.25")
    assert plan(make(32, 2), base=make(16), delta=make(32), blocks="blocks").notes == ()
    assert zoo.planned("mlp", blocks=8)[1].notes == ()


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
}


@pytest.mark.parametrize("planned", OPTIMIZERS)
@pytest.mark.parametrize("used", OPTIMIZERS)
def test_another_optimizer_is_said_first(planned, used):
    """Adam without weight decay is AdamW."""
    model, how = zoo.planned("mlp", blocks=2, optimizer=planned)
    apply_multipliers(model, how)
    decay = 0.1 if (planned, used) == ("adamw", "adamw") else 0.0
    said = mistakes(model, how, OPTIMIZERS[used](model.parameters()), lr=0.1, weight_decay=decay)
    if used == planned or (used, planned) == ("adam", "adamw"):
        assert not any("the optimizer is" in each for each in said)
    else:
        name = type(OPTIMIZERS[used](model.parameters())).__name__
        assert said[0].startswith(f"the optimizer is {name}, and the plan is for {planned}, whose numbers are others: ")
        assert said[0].endswith(f'write optimizer="{used}" in plan')
