"""Groups, multipliers and initial weights of PyTorch models: what optimizers and wrappers make of them, and known mistakes."""

import copy
import io
import pickle
import shutil

import pytest

torch = pytest.importorskip("torch")

import torch_models as zoo  # noqa: E402
from torch import nn  # noqa: E402

from limits.pytorch import apply_multipliers, init_, mistakes, param_groups, plan  # noqa: E402

OPTIMIZERS = {"adamw": (torch.optim.AdamW, 0.1), "adam": (torch.optim.Adam, 0.0), "sgd": (torch.optim.SGD, 0.1)}


def trained(model, optimizer, kind, steps=2):
    """Losses of a few steps on one batch."""
    x, losses = zoo.inputs(kind), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# Groups.


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("kind", zoo.KINDS)
def test_every_parameter_is_in_one_group_and_trains(kind, name):
    kind_of, decay = OPTIMIZERS[name]
    torch.manual_seed(1)
    model, how = zoo.planned(kind, 32, 2, optimizer=name)
    groups = param_groups(model, how, lr=1e-3, weight_decay=decay)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    assert sorted(n for g in groups for n in g["names"]) == sorted(n for n, _ in model.named_parameters())
    before = [p.detach().clone() for p in model.parameters()]
    apply_multipliers(model, how)
    trained(model, kind_of(groups), kind)
    still = [n for (n, p), old in zip(model.named_parameters(), before, strict=True) if torch.equal(p, old)]
    assert not [n for n in still if not n.endswith("k.bias")], "a shift of all keys changes no attention"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_an_optimizer_goes_through_a_file(name):
    """A run that is saved after two steps and taken up again is the run that was not."""
    kind_of, decay = OPTIMIZERS[name]
    torch.manual_seed(2)
    model, how = zoo.planned("mlp", 32, 4, optimizer=name)
    apply_multipliers(model, how)
    other = copy.deepcopy(model)
    one, two = (kind_of(param_groups(m, how, lr=1e-2, weight_decay=decay)) for m in (model, other))
    trained(model, one, "mlp")
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": one.state_dict()}, file)
    file.seek(0)
    kept = torch.load(file, weights_only=True)
    other.load_state_dict(kept["model"])
    two.load_state_dict(kept["optimizer"])
    assert [g["role"] for g in two.param_groups] == [g["role"] for g in one.param_groups]
    assert trained(model, one, "mlp") == trained(other, two, "mlp")


def test_settings_are_those_of_the_base_times_the_ratios():
    """AdamW at 4 times the width and 4 times the blocks, CompleteP: rates m_N^-1, epsilon m_N^-1 m_L^-1 [TP5, CP]."""
    model, how = zoo.planned("mlp", 64, 8)
    groups = param_groups(model, how, lr=0.5, weight_decay=0.25, eps=2.0**-20)
    at = {name: group for group in groups for name in group["names"]}
    up = at["blocks.0.branch.up.weight"]
    assert (up["lr"], up["weight_decay"], up["eps"]) == (0.125, 1.0, 2.0**-24)
    assert (up["role"], up["optimizer"]) == ("hidden", "adamw")
    read_in = at["read_in.weight"]
    assert (read_in["lr"], read_in["weight_decay"], read_in["eps"]) == (0.5, 0.25, 2.0**-22)
    assert at["blocks.0.branch.up.bias"]["eps"] == 2.0**-24
    assert at["norm.weight"]["eps"] == at["read_in.bias"]["eps"] == 2.0**-22


def test_numbers_by_role_or_optimizer():
    model, how = zoo.planned("mlp", 16, 2)
    lr = {"adamw": 0.1, "hidden": 0.2}
    decay = dict.fromkeys(("norm", "bias", "vector", "output bias"), 0.0) | {"adamw": 0.1}
    at = {n: g for g in param_groups(model, how, lr=lr, weight_decay=decay) for n in g["names"]}
    assert (at["blocks.0.branch.up.weight"]["lr"], at["read_in.weight"]["lr"]) == (0.2, 0.1)
    assert (at["norm.weight"]["weight_decay"], at["read_out.weight"]["weight_decay"]) == (0.0, 0.1)
    with pytest.raises(ValueError, match="lr says nothing of 'input' parameters, trained by adamw"):
        param_groups(model, how, lr={"hidden": 0.2})


def test_muon_takes_the_matrices_of_blocks():
    """Its rate allows for the factor sqrt(max(1, rows / columns)) of torch; the rest is for AdamW."""
    torch.manual_seed(3)
    model, how = zoo.planned("convolutions", 64, 8, optimizer="muon")
    groups = param_groups(model, how, lr={"muon": 0.02, "adamw": 1e-3})
    taken = [name for group in groups if group["optimizer"] == "muon" for name in group["names"]]
    assert not taken, "convolutions are no matrices"
    model, how = zoo.planned("mlp", 64, 8, optimizer="muon")
    groups = param_groups(model, how, lr={"muon": 0.02, "adamw": 1e-3})
    muon = [group for group in groups if group["optimizer"] == "muon"]
    assert {name.split(".")[-2] for group in muon for name in group["names"]} == {"up", "down"}
    assert all("eps" not in group for group in muon)
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    rest = torch.optim.AdamW([group for group in groups if group["optimizer"] == "adamw"])
    apply_multipliers(model, how)
    trained(model, torch.optim.Muon(muon), "mlp")
    trained(model, rest, "mlp")


def test_muon_allows_for_the_factor_of_torch():
    """Rows grow by 8, columns by 2: the orthogonal factor wants sqrt(8 / 2) = 2, and torch's own factor makes it sqrt(2)."""

    def make(rows, columns):
        return nn.Sequential(nn.Linear(columns, rows, bias=False))

    how = plan(make(64, 16), base=make(8, 8), delta=make(16, 16), optimizer="muon")
    (group,) = param_groups(make(64, 16), how, lr=1.0, weight_decay=0.5)
    assert how.ratios["0.weight"].lr == pytest.approx(2)
    assert group["lr"] * (64 / 16) ** 0.5 == pytest.approx(2)
    assert group["lr"] * group["weight_decay"] == pytest.approx(0.5)


def test_muon_with_the_rms_of_adamw():
    """All its entries are of the size of AdamW's, so that rates are, m_N^-1; its epsilon is set only by name."""
    model, how = zoo.planned("mlp", 64, 8, optimizer="muon-kimi")
    lr = {"muon-kimi": 0.02, "adamw": 1e-3}
    for eps, there in ((1e-8, False), ({"adamw": 1e-8}, False), ({"adamw": 1e-8, "muon-kimi": 1e-7}, True)):
        (group,) = [g for g in param_groups(model, how, lr=lr, eps=eps) if g["optimizer"] == "muon-kimi"]
        assert ("eps" in group) is there
        assert group["lr"] == pytest.approx(0.02 * how.ratios["blocks.0.branch.up.weight"].lr)
    if hasattr(torch.optim, "Muon"):
        trained(model, torch.optim.Muon([group], adjust_lr_fn="match_rms_adamw"), "mlp")


def test_adam_has_no_weight_decay_that_keeps_its_meaning():
    model, how = zoo.planned("mlp", optimizer="adam")
    with pytest.raises(ValueError, match="take adamw"):
        param_groups(model, how, lr=1e-3, weight_decay=0.1)
    assert all(g["weight_decay"] == 0 for g in param_groups(model, how, lr=1e-3))


def test_sgd_has_no_epsilon():
    model, how = zoo.planned("mlp", optimizer="sgd")
    assert all("eps" not in group for group in param_groups(model, how, lr=1e-3))


def test_frozen_parameters_are_in_no_group():
    model, how = zoo.planned("mlp")
    model.read_in.weight.requires_grad_(False)
    assert "read_in.weight" not in {n for g in param_groups(model, how, lr=1.0) for n in g["names"]}


def test_a_plan_is_for_its_model():
    model, how = zoo.planned("mlp")
    for other, said in (
        (zoo.ResidualMLP(32), "has shape .* in the plan"),
        (zoo.ResidualMLP(64, 3), "is trained, and the plan does not know it"),
        (zoo.ResidualMLP(64, 1), "that the model lacks"),
    ):
        with pytest.raises(ValueError, match=said):
            param_groups(other, how, lr=1.0)
    with pytest.raises(TypeError, match="leave out base"):
        param_groups(model, how, base=model, lr=1.0)


def test_multipliers_and_initial_weights_are_of_the_sizes_of_the_plan():
    model, how = zoo.planned("mlp", 64, 2)
    for other in (zoo.ResidualMLP(32), zoo.ResidualMLP(64, 3)):
        with pytest.raises(ValueError, match="from this model"):
            apply_multipliers(other, how)
        with pytest.raises(ValueError, match="from this model"):
            init_(other, how, base=lambda: zoo.ResidualMLP(16))
    with pytest.raises(ValueError, match="measure its base"):
        init_(model, how, base=lambda: zoo.ResidualMLP(32))
    with pytest.raises(TypeError, match="base must make a module, got None"):
        init_(model, how, base=lambda: None)


@pytest.mark.parametrize(
    ("optimizer", "factor"), [("muon", lambda i, o: max(1, o / i) ** 0.5), ("muon-kimi", lambda i, o: max(i, o) ** 0.5)]
)
def test_rates_of_muon_are_exact_for_matrices_whose_sides_grow_apart(optimizer, factor):
    """Entries of its updates, rate * factor / sqrt(fan_in fan_out), go as 1 / fan_in, whichever side is the larger one."""

    def make(inputs, outputs):
        return nn.Sequential(nn.Linear(inputs, outputs, bias=False))

    for (i, o), (large_i, large_o) in (((32, 128), (128, 256)), ((128, 32), (256, 128)), ((64, 256), (128, 272))):
        how = plan(make(large_i, large_o), base=make(i, o), delta=make(i + 8, o + 8), optimizer=optimizer)
        (group,) = param_groups(make(large_i, large_o), how, lr=1.0, weight_decay=0.5)
        update = group["lr"] * factor(large_i, large_o) / factor(i, o) * (i * o / large_i / large_o) ** 0.5
        assert update == pytest.approx(i / large_i)
        assert group["lr"] * group["weight_decay"] == pytest.approx(0.5)


# Multipliers.


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_multipliers_add_no_keys_and_go_with_copies(kind):
    torch.manual_seed(4)
    model, how = zoo.planned(kind, 32, 8)
    x = zoo.inputs(kind)
    model.eval()
    plain, keys = model(x), list(model.state_dict())
    handles = apply_multipliers(model, how)
    scaled = model(x)
    assert not torch.allclose(plain, scaled)
    assert list(model.state_dict()) == keys
    assert torch.equal(copy.deepcopy(model)(x), scaled)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), scaled)
    fresh = zoo.KINDS[kind][0](32, 8).eval()
    fresh.load_state_dict(model.state_dict())
    apply_multipliers(fresh, how)
    assert torch.equal(fresh(x), scaled)
    for handle in handles:
        handle.remove()
    assert torch.equal(model(x), plain)


def test_a_readout_is_multiplied_before_its_bias_and_branches_with_theirs():
    torch.manual_seed(5)
    model, how = zoo.planned("mlp", 32, 8)
    x = zoo.inputs("mlp")
    stream = model.read_in(x)
    for block in model.blocks:
        stream = stream + block.branch(stream) / 4
    wanted = model.norm(stream) @ model.read_out.weight.T / 2 + model.read_out.bias
    apply_multipliers(model, how)
    torch.testing.assert_close(model(x), wanted)


def test_a_tied_matrix_is_multiplied_as_a_readout_only():
    torch.manual_seed(6)
    model, how = zoo.planned("tied transformer", 32, 2)
    x = zoo.inputs("tied transformer")
    wanted, embedded = model(x) / 2, model.tokens(x)
    apply_multipliers(model, how)
    torch.testing.assert_close(model(x), wanted)
    assert torch.equal(model.tokens(x), embedded)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_models_have_their_multipliers(backend):
    if backend == "inductor" and not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("no compiler")
    torch.manual_seed(7)
    model, how = zoo.planned("mlp", 32, 4)
    apply_multipliers(model, how)
    x = zoo.inputs("mlp")
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))
    groups = param_groups(compiled, how, lr=1e-3)
    trained(compiled, torch.optim.AdamW(groups), "mlp")
    torch.testing.assert_close(compiled(x), model(x))
    with pytest.raises(RuntimeError, match="multipliers by now"):
        apply_multipliers(compiled, how)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("how_compiled", ["wrapped", "in place", "in parts", "inside a wrapper"])
def test_compiled_models_are_refused_new_multipliers(how_compiled):
    """Called once, they would ignore them."""
    model, how = zoo.planned("mlp", 32, 4)
    given = model
    if how_compiled == "in place":
        model.compile(backend="eager")
    elif how_compiled == "in parts":
        next(model.children()).compile(backend="eager")
    else:
        given = torch.compile(model, backend="eager")
        given = nn.DataParallel(given) if how_compiled == "inside a wrapper" else given
    with pytest.raises(RuntimeError, match=r"on the model first, then torch\.compile"):
        apply_multipliers(given, how)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_multipliers_are_applied_once():
    model, how = zoo.planned("mlp")
    apply_multipliers(model, how)
    with pytest.raises(RuntimeError, match="would be multiplied twice"):
        apply_multipliers(copy.deepcopy(model), how)


def test_replicas_of_data_parallel_training_have_them():
    torch.manual_seed(13)
    model, how = zoo.planned("mlp", 32, 4)
    apply_multipliers(model, how)
    wrapped, x = nn.DataParallel(model), zoo.inputs("mlp")
    assert torch.equal(wrapped(x), model(x))
    replica = model.blocks[0].branch._replicate_for_data_parallel()
    assert list(replica._forward_hooks.values()) == list(model.blocks[0].branch._forward_hooks.values()) != []
    with pytest.raises(RuntimeError, match="multipliers by now"):
        apply_multipliers(wrapped, how)


def test_the_layers_of_torch_have_their_dropouts_for_branches():
    """`nn.TransformerEncoderLayer` adds up what its dropouts return; a hook there keeps it off its fused path."""

    def make(width, layers):
        def layer():
            return nn.TransformerEncoderLayer(width, width // 8, 4 * width, dropout=0.0, norm_first=True, batch_first=True)

        return nn.Sequential(nn.Embedding(20, width), *(layer() for _ in range(layers)), nn.Linear(width, 20))

    torch.manual_seed(14)
    model = make(32, 4)
    layers = [f"{i}" for i in range(1, 5)]
    branches = [f"{i}.dropout{k}" for i in layers for k in (1, 2)]
    how = plan(model, base=make(16, 4), delta=make(32, 4), blocks=layers, branches=branches, counts=(8, 8))
    assert [how.part(f"2.{n}").role for n in ("self_attn.in_proj_weight", "linear2.bias", "norm1.weight")] == [
        "hidden",
        "bias",
        "norm",
    ]
    deep = plan(
        nn.ModuleDict({"layers": model[1:5]}),
        base=nn.ModuleDict({"layers": make(16, 2)[1:3]}),
        delta=nn.ModuleDict({"layers": make(24, 2)[1:3]}),
        branches=("layers.*.dropout1", "layers.*.dropout2"),
        blocks="layers",
    )
    assert (deep.blocks.base, deep.blocks.target, deep.branch) == (4, 8, 1 / 2)
    x = torch.randint(20, (2, 5))
    plain = model(x)
    apply_multipliers(nn.ModuleDict({"layers": model[1:5]}), deep)
    training = model(x)
    assert not torch.allclose(plain, training)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), training)


def test_branches_need_names():
    make = zoo.ResidualMLP
    model = make(32, 8)
    how = plan(model, base=make(16), delta=make(32), blocks="blocks")
    with pytest.raises(ValueError, match=r"multiplied by 0.25, and the plan does not say which modules they are"):
        apply_multipliers(model, how)
    apply_multipliers(model, how, by_hand=("branches",))
    assert mistakes(model, how, by_hand=("branches",)) == ()


def test_a_readout_without_a_module_is_multiplied_by_hand():
    class Tied(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.tokens = nn.Embedding(10, width)

    model = Tied(64)
    how = plan(model, base=Tied(16), delta=Tied(32), tied="tokens.weight")
    with pytest.raises(ValueError, match=r'multiply by 0.25 .*by_hand=\("tokens.weight",\)'):
        apply_multipliers(model, how)
    assert apply_multipliers(model, how, by_hand=("tokens.weight",)) == ()


def test_readouts_that_are_called_by_keyword_and_branches_that_return_lists():
    class Branch(nn.Linear):
        def forward(self, x):
            return self.kind(super().forward(x))

    class Model(nn.Module):
        def __init__(self, width, blocks=2, kind=lambda y: [y, None]):
            super().__init__()
            self.first, self.last = nn.Linear(3, width), nn.Linear(width, 2, bias=False)
            self.blocks = nn.ModuleList(Branch(width, width) for _ in range(blocks))
            for block in self.blocks:
                block.kind = kind

        def forward(self, x):
            x = self.first(x)
            for block in self.blocks:
                x = x + block(x)[0]
            return self.last(input=x)

    x = torch.ones(1, 3)
    model = Model(64, 1)
    how = plan(model, base=Model(16, 1), delta=Model(32, 1), branches="blocks.*")
    before = model(x)
    apply_multipliers(model, how)
    torch.testing.assert_close(model(x), before / 4)

    model = Model(16, 4)
    how = plan(model, base=Model(16), delta=Model(32), branches="blocks.*")
    y, _ = model.blocks[0](torch.ones(1, 16))
    apply_multipliers(model, how)
    torch.testing.assert_close(model.blocks[0](torch.ones(1, 16))[0], y / 2)
    model.blocks[0].kind = lambda y: {"y": y}
    with pytest.raises(TypeError, match="a branch must return a tensor"):
        model(x)


def test_complex_weights_are_measured_by_their_absolute_values():
    """Of 4096 real and imaginary parts the rms is known to a percent; four of those."""
    torch.manual_seed(0)

    def make(width):
        return nn.Sequential(nn.Linear(width, width, bias=False, dtype=torch.complex64))

    model = make(64)
    with torch.no_grad():
        model[0].weight.imag *= 2
    factors = init_(model, plan(model, base=make(64), delta=make(32)), base=lambda: make(64))
    assert factors["0.weight"] == pytest.approx((2 / 5) ** 0.5, rel=0.04)


def test_a_readout_of_initial_size_has_no_multiplier():
    model, how = zoo.planned("mlp", readout="init")
    assert apply_multipliers(model, how) == ()
    assert how.ratios["read_out.weight"].init_std == 1 / 4


# Initial weights.


def rms(parameter):
    return float(parameter.detach().square().mean().sqrt())


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_initial_weights_are_those_of_the_base_times_their_ratios(kind):
    """Within 12 percent: 64 draws of a vector of 16 entries have an error of 2.2 percent, and 200 draws of 1.3; seed 8."""
    torch.manual_seed(8)
    model, how = zoo.planned(kind, 64, 4)
    make = zoo.KINDS[kind][0]
    state = torch.random.get_rng_state()
    init_(model, how, base=lambda: make(16, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    drawn = [dict(make(16, 2).named_parameters()) for _ in range(200)]
    for part in how.parts:
        base = (sum(rms(d[part.counterpart]) ** 2 for d in drawn) / len(drawn)) ** 0.5
        wanted = base * how.ratios[part.name].init_std
        assert rms(model.get_parameter(part.name)) == pytest.approx(wanted, rel=0.12), part.name


def test_torch_defaults_become_mup():
    """Linear maps are drawn with 1 / sqrt(fan-in) already; readouts and biases are brought back to the size of the base."""
    torch.manual_seed(9)
    model, how = zoo.planned("mlp", 256, 2)
    factors = init_(model, how, base=lambda: zoo.ResidualMLP(16))
    assert factors["blocks.0.branch.up.weight"] == pytest.approx(1, abs=0.03)
    assert factors["read_out.weight"] == pytest.approx(4, rel=0.05)
    assert factors["blocks.0.branch.up.bias"] == pytest.approx(4, rel=0.1)
    assert factors["norm.weight"] == pytest.approx(1, rel=1e-6)
    assert torch.equal(model.norm.bias, torch.zeros(256))


def test_initial_weights_are_rescaled_once():
    model, how = zoo.planned("mlp")
    init_(model, how, base=zoo.ResidualMLP(16))
    for again in (model, copy.deepcopy(model)):
        with pytest.raises(RuntimeError, match="rescaled twice"):
            init_(again, how, base=zoo.ResidualMLP(16))
    assert "_limits_initialized" not in model.state_dict()


def test_initial_weights_that_cannot_be_rescaled():
    model, how = zoo.planned("mlp")
    with torch.device("meta"):
        meta = zoo.ResidualMLP(16)
    with pytest.raises(ValueError, match="of the base is on the meta device"):
        init_(model, how, base=meta)
    with torch.no_grad():
        model.read_out.weight.zero_()
    with pytest.raises(ValueError, match=r"read_out.weight is zero in the model and of size"):
        init_(model, how, base=zoo.ResidualMLP(16))
    with pytest.raises(ValueError, match="must be the base of the plan"):
        init_(zoo.ResidualMLP(64), how, base=nn.Linear(2, 2))
    with pytest.raises(TypeError, match="base must be a function"):
        init_(model, how, base=3)


def test_a_zero_readout_of_the_base_becomes_zero():
    model, how = zoo.planned("mlp")
    base = zoo.ResidualMLP(16)
    with torch.no_grad():
        base.read_out.weight.zero_()
    init_(model, how, base=base)
    assert torch.equal(model.read_out.weight, torch.zeros(3, 64))


# Mistakes.


def gpt2(width, blocks=2):
    """The last matrix of every block is drawn smaller by the root of the number of blocks."""
    model = zoo.ResidualMLP(width, blocks, bias=False)
    with torch.no_grad():
        for block in model.blocks:
            nn.init.normal_(block.branch.up.weight, std=0.02)
            nn.init.normal_(block.branch.down.weight, std=0.02 * blocks**-0.5)
    return model


def test_an_initialization_that_shrinks_with_depth_is_seen_and_mended():
    torch.manual_seed(10)
    model = gpt2(64, 16)
    how = plan(model, base=lambda: gpt2(16), delta=lambda: gpt2(32), branches="blocks.*.branch")
    apply_multipliers(model, how)
    (said,) = mistakes(model, how)
    assert said.startswith("initial weights of blocks.*.branch.down.weight are 0.25 times as large as others, which looks like")
    init_(model, how, base=lambda: gpt2(16))
    assert mistakes(model, how) == ()
    sizes = [rms(block.branch.down.weight) / rms(block.branch.up.weight) for block in model.blocks]
    assert sizes == pytest.approx([2**-0.5] * 16, rel=0.05), "the factor of a base of two blocks, at every height"


def test_a_plain_initialization_is_no_mistake():
    torch.manual_seed(11)
    for kind in zoo.KINDS:
        model, how = zoo.planned(kind, 32, 8)
        apply_multipliers(model, how)
        assert mistakes(model, how) == ()


def test_groups_of_a_plan_are_no_mistake():
    for name, (kind_of, decay) in OPTIMIZERS.items():
        model, how = zoo.planned("mlp", 64, 8, optimizer=name)
        apply_multipliers(model, how)
        given = {"lr": 1e-2, "weight_decay": decay, "eps": 1e-8}
        optimizer = kind_of(param_groups(model, how, **given))
        assert mistakes(model, how, optimizer, **given) == ()


@pytest.mark.parametrize(
    ("name", "key", "factor", "said"),
    [
        ("blocks.1.branch.up.weight", "lr", 4, "its factor of width is missing"),
        ("blocks.1.branch.up.weight", "eps", 4, "its factor of depth is missing"),
        ("blocks.1.branch.up.weight", "eps", 1 / 2, "the raw number of blocks was used"),
        ("read_in.weight", "lr", 1 / 4, "input has no factor of depth, and another one was used"),
        ("read_out.weight", "lr", 1 / 2, "output has no factor of depth, and another one was used"),
        ("norm.weight", "weight_decay", 3, "3 times too large"),
    ],
)
def test_a_number_that_is_wrong_is_named(name, key, factor, said):
    model, how = zoo.planned("mlp", 64, 8)
    apply_multipliers(model, how)
    given = {"lr": 1e-2, "weight_decay": 0.1, "eps": 1e-8}
    groups = param_groups(model, how, **given)
    for group in groups:
        if name in group["names"]:
            group[key] *= factor
    found = mistakes(model, how, groups, **given)
    assert found
    assert any(said in sentence for sentence in found), found


def test_one_epsilon_for_all_is_a_mistake():
    model, how = zoo.planned("mlp", 64, 8)
    apply_multipliers(model, how)
    groups = [group | {"eps": 1e-8} for group in param_groups(model, how, lr=1e-2)]
    found = mistakes(model, how, groups, lr=1e-2)
    roles = {sentence.split(": ")[1].split(" eps")[0] for sentence in found}
    assert roles == {"input", "vector", "hidden", "bias", "norm", "output"}, "the bias of the readout has none to be scaled"
    assert all("eps is 1e-08 and should be" in sentence for sentence in found)


def test_what_is_left_out_is_a_mistake():
    model, how = zoo.planned("mlp", 64, 8)
    groups = [group for group in param_groups(model, how, lr=1e-2) if group["role"] != "norm"]
    readout, branches, lost = mistakes(model, how, groups, lr=1e-2)
    assert readout == "what read_out.weight reads must be multiplied by 0.25, and is not: call apply_multipliers"
    assert branches == "residual branches must be multiplied by 0.25, and are not: call apply_multipliers"
    assert lost == "blocks.0.branch.norm.weight: it is in no group of the optimizer. (and 15 more)"
