"""Which part every parameter plays, by shape against a base and a delta model, and what is refused with which sentence."""

from fractions import Fraction
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

import torch_models as zoo  # noqa: E402
from hypothesis import assume, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402

from limits import DEPTH_MUP, Parametrization  # noqa: E402
from limits.pytorch import Plan, UnknownPartError, plan  # noqa: E402


def roles(found: Plan) -> dict[str, str]:
    return {part.name: part.role + (" inside" if part.inside else "") for part in found.parts}


def sequential(*layers, widths=(16, 32, 64), **how):
    """A plan of layers made by functions of the width: base, delta and model."""
    base, delta, size = widths
    make = lambda width: nn.Sequential(*(layer(width) for layer in layers))  # noqa: E731
    return plan(make(size), base=make(base), delta=make(delta), **how)


# Roles of whole models.


def test_a_residual_mlp():
    _, found = zoo.planned("mlp", blocks=8)
    at = roles(found)
    assert at["read_in.weight"] == "input"
    assert at["read_in.bias"] == at["norm.weight"] == at["norm.bias"] == "vector"
    assert at["blocks.7.branch.up.weight"] == at["blocks.0.branch.down.weight"] == "hidden inside"
    assert at["blocks.7.branch.up.bias"] == "bias inside"
    assert at["blocks.3.branch.norm.weight"] == at["blocks.3.branch.norm.bias"] == "norm inside"
    assert (at["read_out.weight"], at["read_out.bias"]) == ("output", "output bias")
    assert (found.blocks.base, found.blocks.target, found.branch) == (2, 8, 0.25)


def test_a_transformer_has_two_blocks_a_layer():
    _, found = zoo.planned("transformer", blocks=4)
    at = roles(found)
    assert at["tokens.weight"] == at["positions.weight"] == "input"
    assert at["unembed.weight"] == "output"
    assert at["layers.3.norm1.weight"] == "norm inside"
    assert (found.blocks.base, found.blocks.target) == (4, 8)


def test_a_tied_embedding_is_found_by_identity():
    _, found = zoo.planned("tied transformer")
    part = found.part("unembed.weight")
    assert part is found.part("tokens.weight")
    assert part.role == "tied"
    assert part.names == ("tokens.weight", "unembed.weight")
    assert part.fan_in == 4


def test_rectangular_projections_scale_with_their_own_sides():
    """Keys and values of half the heads: both sides grow alike."""
    _, found = zoo.planned("transformer")
    part = found.part("layers.0.attention.k.weight")
    assert (part.role, part.fan_in, part.fan_out, part.width) == ("hidden", 4, 4, (16, 64))


def test_packed_projections_of_attention():
    _, found = zoo.planned("packed attention")
    part = found.part("layers.0.attention.inner.in_proj_weight")
    assert (part.role, part.letters, part.fan_in, part.fan_out) == ("hidden", "oi", 4, 4)
    assert found.part("layers.0.attention.inner.in_proj_bias").role == "bias"
    assert found.notes == ()


def test_convolutions():
    _, found = zoo.planned("convolutions")
    at = roles(found)
    assert at["stem.weight"] == "input"
    assert at["blocks.0.branch.conv1.weight"] == at["blocks.1.branch.conv2.weight"] == "hidden inside"
    assert at["blocks.0.branch.depthwise.weight"] == "bias inside", "every channel sums over nine pixels, whatever the width"
    assert at["blocks.0.branch.norm.weight"] == "norm inside"
    assert not [part for part in found.parts if "running" in part.name], "buffers are no parameters"


def test_a_hidden_matrix_outside_of_blocks_has_no_factor_of_depth():
    class Both(nn.Module):
        def __init__(self, width, blocks):
            super().__init__()
            self.before = nn.Linear(width, width)
            self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))

    found = plan(Both(64, 8), base=Both(16, 2), delta=Both(32, 2), optimizer="sgd", branches="blocks", block_depth=1)
    assert roles(found)["before.weight"] == "hidden"
    assert found.ratios["before.weight"].lr == 1
    assert found.ratios["blocks.0.weight"].lr == 4
    assert found.ratios["before.bias"].lr == 4, "m_N, of a vector"
    assert found.ratios["blocks.0.bias"].lr == 16, "m_N m_L"


def test_vectors_scale_with_their_own_length():
    found = sequential(lambda n: nn.Linear(3, n), lambda n: nn.Linear(n, n * n // 16), optimizer="sgd")
    assert found.ratios["0.bias"].lr == 4
    assert found.ratios["1.bias"].lr == 16


def test_embeddings_and_transposed_maps_know_their_axes():
    found = sequential(lambda n: nn.ConvTranspose1d(4, n, 3), lambda n: nn.ConvTranspose1d(n, 2, 3))
    assert roles(found) == {"0.weight": "input", "0.bias": "vector", "1.weight": "output", "1.bias": "output bias"}
    assert found.part("1.weight").fan_in == 4


def test_recurrent_networks():
    found = sequential(lambda n: nn.LSTM(5, n))
    assert roles(found)["0.weight_ih_l0"] == "input"
    assert roles(found)["0.weight_hh_l0"] == "hidden"


def test_a_linear_map_written_as_conv1d():
    class Conv1D(nn.Module):
        def __init__(self, into, out):
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.zeros(into, out)), nn.Parameter(torch.zeros(out))

    found = sequential(lambda n: Conv1D(3, n), lambda n: Conv1D(n, 2))
    assert [part.role for part in found.parts] == ["input", "vector", "output", "output bias"]


def test_what_does_not_grow_has_ratios_of_one_outside_of_blocks():
    found = sequential(lambda n: nn.Linear(4, 6), lambda n: nn.Linear(6, n))
    r = found.ratios["0.weight"]
    assert (r.multiplier, r.init_std, r.lr, r.weight_decay, r.eps) == (1, 1, 1, 1, 1)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon"])
def test_a_model_of_the_size_of_its_base_changes_nothing(optimizer):
    for kind in ("mlp", "tied transformer", "convolutions"):
        _, found = zoo.planned(kind, 16, 2, optimizer=optimizer)
        assert found.branch == 1
        numbers = {v for r in found.ratios.values() for v in (r.multiplier, r.init_std, r.lr, r.weight_decay, r.eps)}
        assert numbers <= {1.0, None}


def test_the_sizes_of_delta_do_not_matter():
    make = zoo.ResidualMLP
    one, other = (plan(make(64), base=make(16), delta=make(delta), **zoo.TWO) for delta in (24, 999))
    assert one.ratios == other.ratios


def test_meta_and_real_models_give_the_same_plan():
    make = zoo.Transformer
    real = plan(make(64), base=make(16), delta=make(32), **zoo.LAYERS)
    with torch.device("meta"):
        meta = plan(make(64), base=make(16), delta=make(32), **zoo.LAYERS)
    assert real.ratios == meta.ratios
    assert str(real) == str(meta)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, when its compiler is loaded
def test_wrappers_are_seen_through():
    make = zoo.ResidualMLP
    bare = plan(make(64), base=make(16), delta=make(32), **zoo.TWO)
    wrapped = plan(nn.DataParallel(make(64)), base=nn.DataParallel(make(16)), delta=make(32), **zoo.TWO)
    assert wrapped.ratios == bare.ratios
    assert plan(torch.compile(make(64)), base=make(16), delta=make(32), **zoo.TWO).ratios == bare.ratios


# Blocks.


def test_stacks_that_differ_in_length_are_found():
    make = zoo.ResidualMLP
    found = plan(make(64, 8), base=make(16, 2), delta=make(32, 2))
    assert found.blocks.inside == ("blocks.*",)
    assert (found.blocks.base, found.blocks.target) == (2, 8)
    assert found.ratios == zoo.planned("mlp", 64, 8)[1].ratios


@pytest.mark.parametrize(
    "how", [{"blocks": "blocks"}, {"blocks": "blocks.*"}, {"branches": ["blocks.*.branch"]}, {"blocks": (2, 8)}]
)
def test_blocks_are_named_or_counted_in_several_ways(how):
    make = zoo.ResidualMLP
    found = plan(make(64, 8), base=make(16, 2), delta=make(32, 2), **how)
    assert found.blocks.ratio == 4
    assert found.ratios == zoo.planned("mlp", 64, 8)[1].ratios


@pytest.mark.parametrize("blocks", [2, 8, 12])
@pytest.mark.parametrize("order", ["alternating", "one after the other"])
def test_blocks_of_two_kinds_in_one_list_are_compared_with_those_of_their_kind(order, blocks):
    """Narrow and broad branches with the same names: a depth ratio alone leaves the ratios of their sides at one."""

    def branch(width, broad):
        inner = (4 if broad else 1) * width
        parts = [nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width)]
        return nn.Sequential(*parts, nn.Identity()) if broad else nn.Sequential(*parts)

    def make(width, count):
        broad = [i % 2 if order == "alternating" else 2 * i >= count for i in range(count)]
        return nn.ModuleDict({"in": nn.Linear(3, width), "blocks": nn.ModuleList(branch(width, b) for b in broad)})

    found = plan(make(16, blocks), base=make(16, 4), delta=make(32, 4), branches="blocks.*")
    assert {(part.fan_in, part.fan_out) for part in found.parts} == {(1, 1)}
    assert {found.ratios[part.name].lr for part in found.parts} == {1.0}
    wider = plan(make(64, blocks), base=make(16, 4), delta=make(32, 4), branches="blocks.*")
    assert {(part.fan_in, part.fan_out) for part in wider.parts if part.role == "hidden"} == {(4, 4)}


def test_counts_of_layers_in_both_models_have_the_same_ratio():
    _, found = zoo.planned("transformer", blocks=6, counts=(2, 6))
    assert found.blocks.ratio == Fraction(3)


def test_layers_beside_blocks_are_refused():
    """The base is counted in residual blocks (4), the model in layers (6)."""
    with pytest.raises(ValueError, match="a transformer layer is two"):
        zoo.planned("transformer", blocks=6, counts=(4, 6))


@pytest.mark.parametrize("how", [{"counts": 8}, {"blocks": 8}])
def test_one_number_of_blocks_is_refused(how):
    make = zoo.ResidualMLP
    with pytest.raises(ValueError, match="one number 8: depth enters only as the ratio"):
        plan(make(64, 8), base=make(16, 2), delta=make(32, 2), **how)


def test_counts_without_names_are_refused():
    make = lambda width: nn.Sequential(nn.Linear(3, width), nn.Linear(width, width))  # noqa: E731
    with pytest.raises(ValueError, match="nothing says which parameters lie in them"):
        plan(make(64), base=make(16), delta=make(32), counts=(2, 8))


def test_names_that_match_nothing_are_refused():
    with pytest.raises(ValueError, match=r"'layer.' names no module of the base, whose children are read_in, blocks"):
        zoo.planned("mlp", branches="layer.")


def test_a_branch_inside_a_branch_is_refused():
    with pytest.raises(ValueError, match="multiplied twice"):
        zoo.planned("mlp", branches=("blocks.*.branch", "blocks.*.branch.up"))


def test_embeddings_and_readouts_inside_of_blocks_are_refused():
    """The pattern takes in too much: the ends would have factors of depth."""
    make = zoo.Transformer
    sizes = {"base": make(16), "delta": make(32)}
    with pytest.raises(UnknownPartError, match=r"tokens.weight is an embedding inside of a residual block"):
        plan(make(64), **sizes, blocks="*")
    with pytest.raises(UnknownPartError, match=r"unembed.weight makes a finite number of features"):
        plan(make(64), **sizes, blocks=("layers.*", "unembed"))


def test_exponents_by_layer_need_layers():
    p = Parametrization(1, (0, "1/2"))
    with pytest.raises(ValueError, match=r'such as overrides={"blocks.0.branch.up.weight": "hidden 1"}'):
        zoo.planned("bias-free mlp", blocks=8, parametrization=p)
    by_layer = {"blocks.*.branch.up.weight": "hidden 1", "blocks.*.branch.down.weight": "hidden 2"}
    _, found = zoo.planned("bias-free mlp", blocks=8, parametrization=p, overrides=by_layer)
    assert found.ratios["blocks.0.branch.up.weight"].lr == 1 / 4
    assert found.ratios["blocks.0.branch.down.weight"].lr == 1 / 4 / 2


# What is refused, and what helps.


class Raw(nn.Module):
    """A parameter of the given shape, in units of the width."""

    def __init__(self, width, shape):
        super().__init__()
        self.raw = nn.Parameter(torch.zeros([n if n > 0 else -n * width for n in shape]))


def raw(shape, widths=(8, 16, 32), **how):
    base, delta, size = (Raw(w, shape) for w in widths)
    return plan(size, base=base, delta=delta, **how)


@pytest.mark.parametrize(
    ("shape", "said", "override", "role"),
    [
        ((5, -1), '"raw": "input"', "input", "input"),
        ((1, 7, -1), "an embedding .of positions, say. is input", "input", "input"),
        ((-1, 5), "what is multiplied with the features is output", "output", "output"),
        ((4, -1, -2), '"raw": ."hidden", ".oi".', ("hidden", ".io"), "hidden"),
        ((-1, 4, -1), '"raw": ."hidden", ".oi".', ("hidden", "o.i"), "hidden"),
    ],
)
def test_raw_parameters_need_a_word(shape, said, override, role):
    with pytest.raises(UnknownPartError, match=said) as refused:
        raw(shape)
    assert "shape" in str(refused.value)
    assert "in the base" in str(refused.value)
    assert raw(shape, overrides={"raw": override}).part("raw").role == role


def test_letters_say_which_ratio_is_which():
    """Heads and head widths on one side, the stream on the other: fan-in is the stream."""

    class Heads(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.q = nn.Parameter(torch.zeros(width // 8, width, 8))

    found = plan(Heads(128), base=Heads(16), delta=Heads(32), overrides={"q": ("hidden", "oio")})
    part = found.part("q")
    assert (part.fan_in, part.fan_out) == (8, 8)
    with pytest.raises(UnknownPartError, match="say with a letter an axis"):
        plan(Heads(128), base=Heads(16), delta=Heads(32), overrides={"q": ("hidden", "oi")})


def test_class_tokens_are_vectors():
    assert raw((1, 1, -1)).part("raw").role == "vector"
    assert raw((-1,)).part("raw").role == "vector"


def test_frozen_parameters_of_unknown_part_are_left_out():
    model, base, delta = (nn.Sequential(nn.Linear(3, w), Raw(w, (5, -1))) for w in (64, 16, 32))
    model[1].raw.requires_grad_(False)
    found = plan(model, base=base, delta=delta)
    assert [part.name for part in found.parts] == ["0.weight", "0.bias"]


def test_a_finite_number_of_keys_inside_of_a_block_needs_a_word():
    """One head for keys and values: its width stays, and the stream's grows."""

    class One(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(width, 8)])

    models = {"base": One(16), "delta": One(32), "branches": "blocks"}
    with pytest.raises(UnknownPartError, match=r"blocks.0.weight makes a finite number of features of growing ones"):
        plan(One(64), **models)
    found = plan(One(64), **models, overrides={"blocks.*.weight": "hidden"})
    assert (found.part("blocks.0.weight").fan_in, found.part("blocks.0.weight").fan_out) == (4, 1)
    assert found.ratios["blocks.0.weight"].lr == 1 / 4


def test_weights_shared_by_blocks_are_refused():
    def make(width):
        block = nn.Linear(width, width)
        return nn.ModuleDict({"blocks": nn.ModuleList([block, block]), "end": nn.Linear(width, 2)})

    with pytest.raises(UnknownPartError, match="one parameter shared by residual blocks"):
        plan(make(64), base=make(16), delta=make(32), branches="blocks")


def test_sharing_must_be_the_same_in_the_base():
    make = zoo.Transformer
    with pytest.raises(ValueError, match=r"unembed.weight|tokens.weight is shared in the model, but not in base"):
        plan(make(64, tied=True), base=make(16), delta=make(32), **zoo.LAYERS)


def test_a_tied_readout_without_a_module_is_named():
    class Tied(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.tokens = nn.Embedding(10, width)

    found = plan(Tied(64), base=Tied(16), delta=Tied(32), tied="tokens.weight")
    assert found.part("tokens.weight").role == "tied"
    assert found.multiplier("tokens.weight") == 1 / 4


@pytest.mark.parametrize(
    ("widths", "said"),
    [((16, 16, 64), "axis 0 of raw .* differs between base and model"), ((16, 16, 16), "no axis of any parameter differs")],
)
def test_delta_must_be_of_another_width(widths, said):
    with pytest.raises(ValueError, match=said):
        raw((-1,), widths)


def test_models_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"1.weight has no counterpart in the base"):
        sequential(lambda n: nn.Linear(2, n), lambda n: nn.Linear(n, 2) if n == 64 else nn.ReLU())
    with pytest.raises(TypeError, match="base must be a module, or a function"):
        plan(nn.Linear(2, 64), base=3, delta=nn.Linear(2, 8))
    with pytest.raises(ValueError, match="pass one batch through the model"):
        sequential(lambda n: nn.LazyLinear(n))


def test_overrides_are_checked():
    with pytest.raises(ValueError, match="must be one of input, vector, hidden"):
        raw((5, -1), overrides={"raw": "embedding"})
    with pytest.raises(ValueError, match="names no parameter of the model"):
        raw((5, -1), overrides={"row": "input"})
    with pytest.raises(UnknownPartError, match='which makes it "hidden"'):
        sequential(lambda n: nn.Linear(n, n), overrides={"0.weight": "input"})


@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (1, -1), (1, -1, 1)])
def test_a_readout_of_one_output_is_divided_by_the_width_whatever_its_shape(shape):
    found = raw(shape, overrides={"raw": "output"})
    part = found.part("raw")
    assert (part.fan_in, part.fan_out) == (4, 1)
    assert found.ratios["raw"].multiplier == found.ratios["raw"].eps == 0.25


@pytest.mark.parametrize("shape", [(-1,), (1, -1)])
def test_a_vector_that_is_said_to_be_hidden_needs_its_letters(shape):
    """It may be read, which takes 1 / fan-in off the rate, or added."""
    with pytest.raises(UnknownPartError, match="say with a letter an axis"):
        raw(shape, overrides={"raw": "hidden"})
    letters = "".join("i" if size < 0 else "o" for size in shape)
    assert raw(shape, overrides={"raw": ("hidden", letters)}).ratios["raw"].lr == 0.25


def test_roles_that_sum_over_other_axes_are_refused():
    layers = (lambda n: nn.Linear(3, n), lambda n: nn.Linear(n, 5))
    with pytest.raises(UnknownPartError, match="sums over inputs that grow"):
        sequential(*layers, overrides={"1.weight": "input"})
    with pytest.raises(UnknownPartError, match="its outputs grow"):
        sequential(*layers, overrides={"0.weight": "output"})
    for malformed in (None, ("input", "o", "i"), 3):
        with pytest.raises(ValueError, match="must be one of input, vector"):
            sequential(*layers, overrides={"0.weight": malformed})


def test_transposed_convolutions_by_groups_sum_over_the_inputs_of_a_group():
    depthwise = sequential(lambda n: nn.Conv1d(3, n, 1), lambda n: nn.ConvTranspose1d(n, n, 3, groups=n))
    assert (depthwise.part("1.weight").role, depthwise.ratios["1.weight"].multiplier) == ("vector", 1)
    fixed = sequential(lambda n: nn.ConvTranspose1d(n, n, 3, groups=4))
    assert (fixed.part("0.weight").fan_in, fixed.part("0.weight").fan_out) == (4, 4)
    with pytest.raises(UnknownPartError, match="is held by no module that says"):
        sequential(lambda n: nn.ConvTranspose1d(n, n, 3, groups=n // 2))


@pytest.mark.parametrize("pair", [(), (3,), [1, 2, 3]])
def test_batch_and_steps_are_pairs(pair):
    with pytest.raises(ValueError, match="batch must be a pair"):
        sequential(lambda n: nn.Linear(2, n), batch=pair)


def test_an_embedding_whose_entries_grow_is_refused():
    with pytest.raises(UnknownPartError, match="an embedding whose number of entries grows"):
        sequential(lambda n: nn.Embedding(n, n))


def test_wider_heads_are_noted():
    make = lambda width, blocks=2: zoo.Transformer(width, blocks, attention=lambda n: zoo.Packed(n, n // 2))  # noqa: E731
    found = plan(make(64), base=make(16), delta=make(32), **zoo.LAYERS)
    (note,) = found.notes
    assert note.startswith("heads of layers.0.attention.inner are 32 wide, and 8 in the base")
    assert note in str(found)


def test_exponents_without_a_limit_are_noted():
    _, found = zoo.planned("mlp", blocks=8, parametrization=Parametrization("1/4", 0))
    assert found.notes


# Every shape.

SIDES = st.sampled_from(["finite", "n", "2n"])


@given(
    sides=st.lists(SIDES, min_size=2, max_size=5),
    bias=st.booleans(),
    norms=st.booleans(),
    kernel=st.sampled_from([0, 1, 3]),
    m=st.sampled_from([1, 2, 4]),
    optimizer=st.sampled_from(["sgd", "adamw", "signsgd", "muon"]),
)
@settings(max_examples=30, deadline=None)
def test_any_chain_of_layers_is_sorted_by_its_sides(sides, bias, norms, kernel, m, optimizer):
    """Linear maps and convolutions between sides that grow or not: roles and fans are those of the sides."""

    def make(width):
        sizes = [{"finite": 3, "n": width, "2n": 2 * width}[side] for side in sides]
        layers = []
        for into, out in pairwise(sizes):
            layers.append(nn.Conv1d(into, out, kernel, bias=bias) if kernel else nn.Linear(into, out, bias=bias))
            layers += [nn.GroupNorm(1, out)] if norms else []
        return nn.Sequential(*layers)

    assume(set(sides) != {"finite"})
    found = plan(make(8 * m), base=make(8), delta=make(12), optimizer=optimizer)
    matrices = [part for part in found.parts if part.name.endswith("weight") and len(part.shape.axes) > 1]
    kinds = {(False, True): "input", (True, True): "hidden", (True, False): "output", (False, False): "vector"}
    assert [p.role for p in matrices] == [kinds[a != "finite", b != "finite"] for a, b in pairwise(sides)]
    assert [(p.fan_in, p.fan_out) for p in matrices] == [
        (m if a != "finite" else 1, m if b != "finite" else 1) for a, b in pairwise(sides)
    ]
    assert {part.name for part in found.parts} == {name for name, _ in make(8).named_parameters()}
    assert all(r.lr > 0 for r in found.ratios.values())


def test_depth_mup_is_accepted():
    _, found = zoo.planned("mlp", blocks=8, parametrization=DEPTH_MUP, block_depth=1)
    assert found.branch == 1 / 2
    assert found.ratios["blocks.0.branch.up.weight"].lr == 1 / 4 / 2
