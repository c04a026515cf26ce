"""Ratios of hyperparameters: the published tables, cell by cell; exact laws; sizes, formats, notes and mistakes of scripts."""

import json
import math
import pickle
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from limits import COMPLETEP, DEPTH_MUP, SGD, AdamW, Muon, Parametrization, Scaling, Size, raw_exponents, scale
from limits.cli import app
from limits.parametrization import OPTIMIZERS as RAW
from limits.scaling import OPTIMIZERS, ROLES, Cell, gpt2_std
from limits.scaling.row import COLUMNS

BASE, TARGET = Size(256, 4), Size(1024, 64)
HALF = Fraction(1, 2)
BLOCK_ROLES = ("hidden", "bias", "norm")


@cache
def scaling(optimizer="adamw", alpha=1, gamma=None, block_depth=2, base=BASE, target=TARGET, **more):
    p = Parametrization(alpha, 1 - Fraction(alpha) if gamma is None else gamma)
    return scale(base, target, optimizer=optimizer, parametrization=p, block_depth=block_depth, **more)


# Published tables. Entries are exponents of the width, and of the blocks where a table has them.

TP5_TABLE_3 = [  # role, initial variance, SGD rate, Adam rate
    ("input", 0, 1, 0),
    ("vector", 0, 1, 0),
    ("bias", 0, 1, 0),
    ("output bias", 0, 0, 0),
    ("output", -2, -1, -1),
    ("hidden", -1, 0, -1),
]
TP5_TABLE_8 = [  # role, initial variance, multiplier, SGD rate, Adam rate
    ("input", 0, 0, 1, 0),
    ("vector", 0, 0, 1, 0),
    ("bias", 0, 0, 1, 0),
    ("output", 0, -1, 1, 0),
    ("hidden", -1, 0, 0, -1),
]
TP5_TABLE_9 = [  # the same, of the original µP
    ("input", -1, HALF, 0, -HALF),
    ("vector", -1, HALF, 0, -HALF),
    ("bias", -1, HALF, 0, -HALF),
    ("output", -1, -HALF, 0, -HALF),
    ("hidden", -1, 0, 0, -1),
]


@pytest.mark.parametrize(("role", "variance", "sgd", "adam"), TP5_TABLE_3)
def test_tp5_table_3(role, variance, sgd, adam):
    for optimizer, rate in (("sgd", sgd), ("adam", adam), ("adamw", adam)):
        row = scaling(optimizer, readout="init")[role]
        assert (row.multiplier.width, row.init_variance.width, row.lr.width) == (0, variance, rate)


@pytest.mark.parametrize(("role", "variance", "multiplier", "sgd", "adam"), TP5_TABLE_8)
def test_tp5_table_8(role, variance, multiplier, sgd, adam):
    for optimizer, rate in (("sgd", sgd), ("momentum", sgd), ("adamw", adam), ("lion", adam), ("signsgd", adam)):
        row = scaling(optimizer)[role]
        assert (row.init_variance.width, row.multiplier.width, row.lr.width) == (variance, multiplier, rate)


@pytest.mark.parametrize(("role", "variance", "multiplier", "sgd", "adam"), TP5_TABLE_9)
def test_tp5_table_9_is_table_8_moved(role, variance, multiplier, sgd, adam):
    for optimizer, rate in (("sgd", sgd), ("adam", adam)):
        row = scaling(optimizer)[role]
        moved = row.moved(width=multiplier - row.multiplier.width)
        assert (moved.init_variance.width, moved.multiplier.width, moved.lr.width) == (variance, multiplier, rate)


@pytest.mark.parametrize(
    ("optimizer", "rate"), [("sgd", (0, 0)), ("adam", (-1, -HALF)), ("adamw", (-1, -HALF)), ("signsgd", (-1, -HALF))]
)
def test_tp6_table_1(optimizer, rate):
    """Depth-µP, blocks of one layer: multiplier L^-1/2, variance 1/n, and no factor of depth outside blocks."""
    found = scale(BASE, TARGET, optimizer=optimizer, block_depth=1, parametrization=DEPTH_MUP)
    hidden = found["hidden"]
    assert (found.branch.width, found.branch.blocks) == (0, -HALF)
    assert (hidden.init_variance.width, hidden.init_variance.blocks) == (-1, 0)
    assert (hidden.lr.width, hidden.lr.blocks) == rate
    assert [found[role].lr.blocks for role in ROLES if role not in BLOCK_ROLES] == [0] * 5
    assert found.regime.name == "feature learning and diverse"


@pytest.mark.parametrize("alpha", ["1/2", "3/4", 1])
def test_completep_table_1(alpha):
    """Transformers and AdamW. Epsilon of embedding and readout has no factor of depth (corrected in the authors' code)."""
    a = Fraction(alpha)
    found = scaling("adamw", alpha)
    table = {  # multiplier, variance, rate, epsilon: exponents of (m_N, m_L)
        "input": ((0, 0), (0, 0), (0, 0), (-1, 0)),
        "vector": ((0, 0), (0, 0), (0, 0), (-1, 0)),
        "norm": ((0, 0), (0, 0), (0, a - 1), (-1, -a)),
        "hidden": ((0, 0), (-1, 0), (-1, a - 1), (-1, -a)),
        "bias": ((0, 0), (0, 0), (0, a - 1), (-1, -a)),
        "output": ((-1, 0), (0, 0), (0, 0), (-1, 0)),
        "tied": ((-1, 0), (0, 0), (0, 0), (-1, 0)),
    }
    assert (found.branch.width, found.branch.blocks) == (0, -a)
    for role, published in table.items():
        row = found[role]
        cells = (row.multiplier, row.init_variance, row.lr, row.eps)
        assert tuple((c.width, c.blocks) for c in cells) == published, role


@pytest.mark.parametrize("alpha", ["1/2", "3/4", 1])
def test_completep_weight_decay(alpha):
    """The table has m_N; we keep lr times decay, so that ours has m_L^(1 - alpha) besides: alike at alpha = 1."""
    hidden, published = scaling("adamw", alpha)["hidden"], (1, 0)
    ours = (hidden.weight_decay.width, hidden.weight_decay.blocks)
    assert ours == (published[0], 1 - Fraction(alpha))
    assert scaling("adamw", alpha)["input"].weight_decay.powers == ()


ZWZL = [  # optimizer, role, rate (m_N, m_L), k >= 2 and so alpha = 1
    ("muon", "input", (HALF, 0)),
    ("muon", "hidden", (0, 0)),
    ("muon", "output", (HALF, 0)),
    ("muon-kimi", "input", (0, 0)),
    ("muon-kimi", "hidden", (-HALF, 0)),
    ("muon-kimi", "output", (0, 0)),
    ("adamw", "hidden", (-1, 0)),
    ("lion", "hidden", (-1, 0)),
    ("sgd", "hidden", (0, 1)),
    ("shampoo", "hidden", (0, 0)),
    ("soap", "hidden", (0, 0)),
]


@pytest.mark.parametrize(("optimizer", "role", "rate"), ZWZL)
@pytest.mark.parametrize("block_depth", [2, 3])
def test_zwzl_blocks_of_several_layers(optimizer, role, rate, block_depth):
    found = scaling(optimizer, block_depth=block_depth, ends=optimizer)
    row = found[role]
    assert (found.branch.width, found.branch.blocks) == (0, -1)
    assert (row.lr.width, row.lr.blocks) == rate
    assert (row.weight_decay.width, row.weight_decay.blocks) == (-rate[0], -rate[1])
    assert {"input": 0, "hidden": -1, "output": 0}[role] == row.init_variance.width


@pytest.mark.parametrize(("optimizer", "role", "rate"), ZWZL)
def test_zwzl_blocks_of_one_layer(optimizer, role, rate):
    """At alpha = 1/2 normalized updates of hidden matrices are L^-1/2 as large, and descent's gradient brings that factor."""
    found = scaling(optimizer, HALF, block_depth=1, ends=optimizer)
    depth = 0 if role != "hidden" or optimizer == "sgd" else -HALF
    assert found.branch.blocks == -HALF
    assert (found[role].lr.width, found[role].lr.blocks) == (rate[0], depth)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 20), st.floats(0.05, 20))
def test_rectangular_matrices_scale_as_in_the_mup_package(fan_in, fan_out):
    """MuAdamW: rate over the ratio of fan-ins; MuSGD: over fan-in ratio / fan-out ratio; decay the other way."""
    adam, sgd = (scaling(name)["hidden"].for_fan(fan_in, fan_out) for name in ("adamw", "sgd"))
    depth = float(scaling("sgd")["hidden"].lr)
    assert math.isclose(float(adam.lr), 1 / fan_in)
    assert math.isclose(float(adam.weight_decay), fan_in)
    assert math.isclose(float(sgd.lr), fan_out / fan_in * depth)
    assert math.isclose(float(sgd.weight_decay), fan_in / fan_out / depth)
    assert math.isclose(float(adam.eps), 1 / fan_out / 16)


def test_orthogonalised_rectangles():
    """Rate sqrt(fan_out / fan_in) (SC), and over sqrt(max(fan_in, fan_out)) with the factor of muon-kimi."""
    muon, kimi = (scaling(name)["hidden"].for_fan(4, 9) for name in ("muon", "muon-kimi"))
    assert math.isclose(float(muon.lr), 1.5)
    assert math.isclose(float(kimi.lr), 0.5)
    assert math.isclose(float(scaling("muon-kimi")["hidden"].for_fan(9, 4).lr), 2 / 9)


# Laws

EXPONENTS = st.fractions(-1, 2, max_denominator=4)
ASKED = st.fixed_dictionaries(
    {
        "optimizer": st.sampled_from(OPTIMIZERS),
        "alpha": EXPONENTS,
        "gamma": EXPONENTS,
        "block_depth": st.integers(1, 3),
        "readout": st.sampled_from(["multiplier", "init"]),
        "ends": st.sampled_from(["adamw", "muon", "sgd"]),
    }
)
WIDTHS, COUNTS = st.integers(1, 10**5), st.integers(1, 10**3)
SIZES = st.builds(Size, width=WIDTHS, blocks=COUNTS, batch=st.floats(1, 1e6), steps=st.floats(1, 1e6))


def numbers(found):
    cells = {(row.role, name): cell for row in found for name, cell in row.cells.items()} | {("branch", ""): found.branch}
    return {key: float(cell) for key, cell in cells.items() if cell is not None}


@settings(max_examples=20, deadline=None)
@given(ASKED, SIZES)
def test_nothing_changes_if_the_target_is_the_base(asked, size):
    assert set(numbers(scaling(**asked, base=size, target=size)).values()) == {1.0}


@settings(max_examples=20, deadline=None)
@given(ASKED, SIZES, SIZES, SIZES)
def test_ratios_multiply_along_the_way(asked, base, middle, target):
    whole = numbers(scaling(**asked, base=base, target=target))
    first, second = numbers(scaling(**asked, base=base, target=middle)), numbers(scaling(**asked, base=middle, target=target))
    assert whole.keys() == first.keys()
    for key, value in whole.items():
        assert math.isclose(value, first[key] * second[key], rel_tol=1e-11)


@settings(max_examples=20, deadline=None)
@given(ASKED)
def test_rate_times_decay_is_the_same_at_every_size(asked):
    for row in scaling(**asked):
        if row.weight_decay is not None:
            assert (row.lr * row.weight_decay).powers == ()


@settings(max_examples=20, deadline=None)
@given(ASKED, EXPONENTS, EXPONENTS, EXPONENTS)
def test_moving_is_a_group(asked, a, b, c):
    for row in scaling(**asked):
        once, twice = row.moved(a + b, c), row.moved(a).moved(b, c)
        assert [cell and cell.powers for cell in once.cells.values()] == [cell and cell.powers for cell in twice.cells.values()]
        assert row.moved().lr.powers == row.lr.powers
        assert (row.moved(a, c).multiplier * row.moved(a, c).init_std).powers == (row.multiplier * row.init_std).powers


@settings(max_examples=20, deadline=None)
@given(ASKED.filter(lambda asked: asked["optimizer"] in RAW), st.lists(EXPONENTS, min_size=3, max_size=3))
def test_depth_is_that_of_raw_exponents(asked, betas):
    """Every layer of a block, with initial sizes of its own: against `raw_exponents`, which knows nothing of the width."""
    k, optimizer = asked["block_depth"], asked["optimizer"]
    p = Parametrization(asked["alpha"], asked["gamma"], tuple(betas[:k]))
    found, raw = scale(BASE, TARGET, optimizer=optimizer, block_depth=k, parametrization=p), raw_exponents(p, optimizer, k)
    alike = len(set(betas[:k])) == 1
    for i in range(k):
        row = found["hidden" if alike else f"hidden {i + 1}"]
        assert (row.lr.blocks, row.gradient.blocks, row.init_std.blocks) == (raw.lr[i], raw.gradient[i], -betas[i])
        assert found.branch.blocks == raw.multiplier


@settings(max_examples=20, deadline=None)
@given(ASKED)
def test_a_square_is_a_rectangle(asked):
    """`for_fan` at the sides that a role has anyway gives its row."""
    found = scaling(**asked)
    for role, sides in (("hidden", (4, 4)), ("input", (1, 4)), ("output", (4, 1))):
        row, same = found[role], found[role].for_fan(*sides)
        for name in COLUMNS:
            if getattr(row, name) is not None:
                assert math.isclose(float(getattr(row, name)), float(getattr(same, name)), rel_tol=1e-12), (role, name)


@settings(max_examples=20, deadline=None)
@given(ASKED)
def test_every_cell_says_why(asked):
    for row in scaling(**asked):
        for cell in row.cells.values():
            assert cell is None or (cell.why and cell.source and cell.status in ("proved", "heuristic", "cited"))


# Batch and steps


def test_batch_and_steps():
    """Square root of the batch for normalized updates, the batch for descent; the decay's time scale is a share of the run."""
    sizes = {"base": Size(64, 4, batch=32, steps=1000), "target": Size(64, 4, batch=512, steps=4000)}
    adamw, sgd, shampoo = (scaling(name, **sizes)["hidden"] for name in ("adamw", "sgd", "shampoo"))
    assert (float(adamw.lr), float(sgd.lr)) == (4, 16)
    assert (float(adamw.weight_decay), float(sgd.weight_decay)) == (1 / 16, 1 / 64)
    assert (float(adamw.eps), float(shampoo.eps)) == (1 / 4, 1 / 16)
    assert adamw.lr.status == "cited"
    assert "MLPA" in adamw.lr.source
    assert "WA" in adamw.weight_decay.source
    assert math.isclose(float(adamw.for_fan(2, 2).lr), 2)


def test_a_batch_for_one_size_only_is_refused():
    with pytest.raises(ValueError, match="batch must be given for base and target, or for neither: got 8 and none"):
        scale(Size(4, 4, batch=8), Size(4, 4))
    said = " ".join(scale(Size(4, 4, batch=8), Size(4, 4, batch=16)).notes)
    assert "Steps are not given" in said
    assert "1 - beta1 and 1 - beta2 go as m_B" in said


# Sizes


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ("width=256,layers=4", "layers=4 does not say how many .* write blocks=8 for 4 such layers, or blocks=4 where every"),
        ("width=256,depth=4", "depth=4 does not say"),
        ("width=256", "a size needs blocks"),
        ("blocks=4", "a size needs width"),
        ("width=256,blocks=four", "got 'four'"),
        ("width=256,blocks=4,blocks=5", "each name once"),
        ("width=256,n=256,blocks=4", "say every part once"),
        ("width=256,blocks=4,heads=2", "got 'heads'"),
        ("width=256,blocks=0", "blocks must be a whole number >= 1, got 0"),
        ("width=1.5,blocks=4", "width must be a whole number"),
        ("width=4,blocks=4,batch=0", "batch must be finite and > 0"),
        ({"width": 4, "blocks": 4, "steps": float("nan")}, "steps must be finite"),
    ],
)
def test_sizes_that_are_none(value, match):
    with pytest.raises(ValueError, match=match):
        Size.of(value)


def test_sizes_read():
    assert Size.of("n=256, L=4, batch=2e5") == Size(256, 4, batch=200000)
    assert Size(256.0, np.float64(4)) == Size.of("width=256.0,blocks=4.0") == Size(256, 4)
    assert isinstance(Size(256, np.float64(4)).blocks, int)
    for wrong in (4.5, float("inf"), float("nan"), True):
        with pytest.raises(ValueError, match="blocks must be a whole number"):
            Size(256, wrong)
    assert str(Size(256, 4, batch=8)) == "width 256, blocks 4, batch 8"
    with pytest.raises(ValueError, match=r"layers=6 does not say .* write blocks=12 for 6 such layers"):
        Size(256, 4, layers=6)
    with pytest.raises(TypeError, match="a size must be a Size, a mapping, or text, got 4"):
        Size.of(4)


# What is asked


def test_optimizers_of_the_package_are_read():
    assert scale(BASE, TARGET, optimizer=SGD(0.1, 1)).optimizer == "sgd"
    assert scale(BASE, TARGET, optimizer=SGD(0.1, 1, momentum=0.5)).optimizer == "momentum"
    assert scale(BASE, TARGET, optimizer=AdamW).optimizer == "adamw"
    assert scale(BASE, TARGET, optimizer=Muon(0.1, 1))["hidden"].optimizer == "muon"


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"optimizer": "adagrad"}, "optimizer must be one of sgd, .*, got 'adagrad'"),
        ({"readout": "zero"}, "readout must be one of multiplier, init, got 'zero'"),
        ({"block_depth": 0}, "block_depth must be a whole number"),
        ({"parametrization": Parametrization(1, (0, 0)), "block_depth": 3}, "gamma has 2 exponents"),
    ],
)
def test_questions_that_are_none(more, match):
    with pytest.raises(ValueError, match=match):
        scale(BASE, TARGET, **more)


def test_vectors_and_ends_of_a_matrix_optimizer_have_another():
    found = scale(BASE, TARGET, optimizer="muon")
    assert {row.role: row.optimizer for row in found} == {r: "muon" if r == "hidden" else "adamw" for r in ROLES}
    same = scale(BASE, TARGET, optimizer="muon", ends="muon")
    assert {row.role for row in same if row.optimizer == "muon"} == {"input", "hidden", "output", "tied"}


def test_tied_embeddings_always_have_the_multiplier():
    tied = scaling("sgd", readout="init")["tied"]
    assert (tied.multiplier.width, tied.init_std.width, tied.lr.width) == (-1, 0, 1)


def test_layers_with_exponents_of_their_own_have_rows_of_their_own():
    """GPT-2's initialization left as it is: the last layer of a block starts as L^-1/2."""
    found = scale(BASE, TARGET, optimizer="sgd", parametrization=Parametrization(HALF, HALF, (0, HALF)))
    assert (found["hidden 1"].lr.blocks, found["hidden 2"].lr.blocks) == (HALF, 0)
    assert found["hidden 2"].init_std.blocks == -HALF
    with pytest.raises(KeyError, match="take one of hidden 1, hidden 2"):
        found["hidden"]
    with pytest.raises(KeyError, match=r"role must be one of input, .*got 'embedding'"):
        found["embedding"]


def test_gpt2_initialization_keeps_the_std_of_the_base():
    """0.02 / sqrt(2 layers) at 12 layers, whatever the target; the rest is the branch multiplier."""
    assert gpt2_std(0.02, Size(768, blocks=24)) == 0.02 / math.sqrt(2 * 12)


# Numbers to use, and numbers that were used


def test_apply():
    found = scale("width=256,blocks=4", "width=2048,blocks=32")
    tuned = {"lr": 3e-3, "weight_decay": 0.1, "eps": 1e-8, "init_std": 0.02}
    hidden = found.apply(tuned | {"branch_multiplier": 1.0}, "hidden")
    assert hidden == pytest.approx(
        {"lr": 3e-3 / 8, "weight_decay": 0.8, "eps": 1e-8 / 64, "init_std": 0.02 / math.sqrt(8), "branch_multiplier": 1 / 8}
    )
    with pytest.raises(ValueError, match=r"a row scales multiplier, .*got 'beta1'"):
        found.apply({"beta1": 0.9}, "hidden")


def test_adam_has_no_weight_decay_that_scales():
    found = scale(BASE, TARGET, optimizer="adam")
    assert found["hidden"].weight_decay is None
    assert found.apply({"weight_decay": 0.0}, "hidden") == {"weight_decay": 0.0}
    with pytest.raises(ValueError, match=r"adam has no weight_decay that keeps its meaning .*take adamw"):
        found.apply({"weight_decay": 0.1}, "hidden")


MISTAKES = [  # role, name, target over base that a script used, the mistake; base (256, 4), target (1024, 64), adamw
    ("branch", "branch_multiplier", 1 / 64, "the raw number of blocks was used instead of its ratio to the base's 4"),
    ("branch", "branch_multiplier", 1.0, "its factor of depth is missing"),
    ("branch", "branch_multiplier", 1 / 32, "layers were counted at one size and blocks at the other"),
    ("hidden", "eps", 1 / 4, "its factor of depth is missing"),
    ("hidden", "eps", 1 / 16, "its factor of width is missing"),
    ("hidden", "eps", 1.0, "it was not scaled at all"),
    ("hidden", "lr", 1.0, "its factor of width is missing"),
    ("hidden", "lr", 1 / 1024, "the raw width was used instead of its ratio to the base's 256"),
    ("input", "lr", 1 / 4, "input has no factor of depth, and another one was used"),
    ("output", "eps", 1 / 64, "output has no factor of depth, and another one was used"),
    ("hidden", "lr", 0.1, "it is 2.5 times too small"),
]


@pytest.mark.parametrize(("role", "name", "ratio", "mistake"), MISTAKES)
def test_mistakes_are_told(role, name, ratio, mistake):
    found = scale(BASE, TARGET)
    (said,) = found.check("hidden" if role == "branch" else role, {name: 2.0}, {name: 2.0 * ratio})
    assert mistake in said


def test_right_numbers_are_no_mistake():
    found, tuned = scale(BASE, TARGET), {"lr": 1e-3, "weight_decay": 0.1, "eps": 1e-8, "branch_multiplier": 1.0}
    for role in ROLES:
        assert found.check(role, tuned, found.apply(tuned, role)) == ()
    with pytest.raises(ValueError, match="the base gives no eps to compare with: it gives lr"):
        found.check("hidden", {"lr": 1.0}, {"eps": 1.0})


# What is said


@pytest.mark.parametrize(("alpha", "gamma"), [("1/4", "3/4"), (2, -1), (HALF, 0)])
def test_exponents_without_a_limit_are_answered_with_a_warning(alpha, gamma):
    found = scaling(alpha=alpha, gamma=gamma)
    assert found.branch.blocks == -Fraction(alpha)
    assert found.warnings
    assert all(w in found.notes for w in found.warnings)
    assert found.regime.name in " ".join(found.warnings)
    assert any(("outside [1/2, 1]" in w) == (alpha != HALF) for w in found.warnings)


@pytest.mark.parametrize("alpha", [HALF, "3/4", 1])
def test_exponents_with_a_limit_have_none(alpha):
    assert scaling(alpha=alpha, block_depth=1).warnings == ()


def test_forms():
    found = scale("width=256,blocks=4", "width=2048,blocks=32", parametrization=Parametrization(HALF, HALF), block_depth=1)
    text, markdown, latex = str(found), found.to_markdown(), found.to_latex()
    assert "0.04419 = m_N^-1 m_L^(-1/2)" in text
    assert "| hidden | 1 | 0.3536 = m_N^(-1/2) | 0.04419 = m_N^-1 m_L^(-1/2) |" in markdown
    assert r"hidden & $1$ & $m_N^{-1/2}$ & $m_N^{-1} m_L^{-1/2}$" in latex
    assert latex.count(r"\\") == 2 + len(ROLES)
    value = json.loads(found.to_json())
    assert value["rows"]["hidden"]["lr"]["ratio"] == float(found["hidden"].lr)
    assert value["rows"]["hidden"]["lr"]["powers"] == {"m_N": "-1", "m_L": "-1/2"}
    assert value["regime"]["name"] == "feature learning and diverse"
    assert isinstance(pickle.loads(pickle.dumps(found)), Scaling)


def test_notes_name_the_traps():
    said = " ".join(scale(BASE, TARGET).notes)
    for trap in ("over the base", "is two", "Embedding, readout", "1/sqrt(2 layers)", "epsilon follows the gradient"):
        assert trap in said


def test_a_cell_knows_its_statuses():
    with pytest.raises(ValueError, match="status must be one of proved, heuristic, cited"):
        Cell.of({}, {}, status="obvious")
    found = scale(BASE, TARGET, optimizer="sgd", block_depth=1, parametrization=DEPTH_MUP)
    assert (found["hidden"].lr.status, found["norm"].lr.status) == ("proved", "heuristic")
    assert scale(BASE, TARGET, optimizer="muon")["hidden"].lr.status == "heuristic"
    assert scale(BASE, TARGET).parametrization == COMPLETEP


# The command


def limits(*arguments):
    return CliRunner().invoke(app, ["scale", "--from", "width=256,blocks=4", "--to", "width=2048,blocks=32", *arguments])


def test_command_prints_numbers_to_paste():
    run = limits("--lr", "3e-3", "--eps", "1e-8", "--init-std", "0.02")
    assert run.exit_code == 0, run.stderr
    (line,) = [line for line in run.stdout.splitlines() if line.startswith("hidden") and "=" not in line]
    assert line.split() == ["hidden", "1", "0.00707107", "0.000375", "1.5625e-10"]


def test_command_in_json():
    run = limits("--json", "--optimizer", "adam", "--lr", "1", "--weight-decay", "0.1", "--alpha", "1/2", "-k", "1")
    value = json.loads(run.stdout)
    assert value["values"]["hidden"] == {"lr": pytest.approx(1 / 8 / math.sqrt(8))}
    assert value["regime"]["gamma"] == "1/2"


def test_command_in_other_forms():
    assert limits("--latex").stdout.startswith(r"\begin{tabular}")
    assert "| hidden |" in limits("--markdown").stdout
    assert "hidden, trained by adamw\n" in limits("--why").stdout
    assert "--markdown, --latex and --json exclude each other" in limits("--json", "--latex").stderr


def test_command_says_why_in_every_form():
    """Every argument of every cell, as a list of each language; without --why there is none."""
    said = scale(BASE, TARGET)["hidden"].lr
    text, markdown, latex = (limits("--why", "--lr", "3e-3", *form).stdout for form in ((), ("--markdown",), ("--latex",)))
    cells = sum(cell is not None for row in scale(BASE, TARGET) for cell in row.cells.values()) + 1  # and the residual branch
    assert f"  lr: {said.formula}. {said.why} ({said.status}; {said.source})\n" in text
    assert f"  - lr: `{said.formula}`. {said.why} ({said.status}; {said.source})\n" in markdown
    assert rf"\item lr: ${said.latex()}$. Entries of the gradient are of order $n^{{-1}}$ $L^{{-1}}$: " in latex
    assert "- **hidden, trained by adamw**\n" in markdown
    assert r"\item[hidden, trained by adamw]" in latex
    assert markdown.count("\n  - ") == latex.count(r"\item ") == cells
    assert markdown.index("| hidden | 1 | 0.000375 |") < markdown.index("Why:") < markdown.index("- **residual branch**")
    for form in ("--markdown", "--latex"):
        assert "Why:" not in limits(form).stdout


def test_arguments_in_latex_need_no_package_and_no_repair():
    """Nothing special is left outside of mathematics, every environment ends, and nothing inside of it is text."""
    latex = limits("--why", "--latex", "--optimizer", "muon-kimi", "-k", "2", "--initial", "0,1/2").stdout
    words, formulas = latex.split("$")[::2], latex.split("$")[1::2]
    assert len(words) == len(formulas) + 1
    outside = "".join(words).replace(r"\_", "").replace(r"\%", "").replace(" &", "").replace("% Why:", "")
    assert not set(outside) & set("_^%&#")
    for name in ("tabular", "description", "itemize"):
        assert latex.count(rf"\begin{{{name}}}") == latex.count(rf"\end{{{name}}}") > 0
    assert not any(" and " in formula for formula in formulas)


def test_command_prints_numbers_at_the_target_in_every_form():
    bars = [line for line in limits("--markdown", "--lr", "3e-3").stdout.splitlines() if line.startswith("| hidden |")]
    assert bars[1:] == ["| hidden | 1 | 0.000375 |"]
    assert r"hidden & 1 & 0.000375 \\" in limits("--latex", "--lr", "3e-3").stdout
    assert limits("--latex").stdout.count("tabular") == 2
    assert "At the target" not in limits("--markdown").stdout
    lines = limits("--markdown", "--optimizer", "adam", "--weight-decay", "0.1").stdout.splitlines()
    assert lines[-2] == "", "a sentence right after a table is read as a row of it"


@pytest.mark.parametrize("form", [(), ("--markdown",), ("--latex",), ("--json",)])
def test_command_says_what_has_no_value_at_the_target(form):
    said = limits("--optimizer", "adam", "--weight-decay", "0.1", *form).stdout
    assert "hidden" in said
    assert "adam has none that keeps its meaning at another size: its decay is a part of the gradient" in said
    assert "keeps its meaning at another size: its decay" not in limits("--weight-decay", "0.1", *form).stdout


@pytest.mark.parametrize("form", [(), ("--json",), ("--markdown",)])
def test_command_refuses_numbers_that_overflow(form):
    run = CliRunner().invoke(
        app, ["scale", "--from", "width=4,blocks=4", "--to", "width=4096,blocks=4", "--optimizer", "sgd", "--lr", "1e308", *form]
    )
    assert run.exit_code == 2
    assert "lr = 1e+308 of the base is too large for a number at the target" in run.stderr


def test_command_refuses_layers():
    run = CliRunner().invoke(app, ["scale", "--from", "width=256,layers=4", "--to", "width=256,blocks=8"])
    assert run.exit_code == 2
    assert "write blocks=8 for 4 such layers" in run.stderr


def test_a_zero_where_the_base_has_none_is_told():
    found = scale(BASE, TARGET)
    assert "it is zero, and the base's is not" in found.check("hidden", {"lr": 1.0}, {"lr": 0.0})[0]
    assert "not zero where it should be" in found.check("hidden", {"lr": 0.0}, {"lr": 1.0})[0]
    assert found.check("hidden", {"lr": 0.0}, {"lr": 0.0}) == ()


def test_a_branch_multiplier_must_be_a_number():
    with pytest.raises(ValueError, match="branch_multiplier must be finite"):
        scale(BASE, TARGET).apply({"branch_multiplier": math.nan}, "hidden")


@pytest.mark.parametrize(("small", "large"), [(1e-300, 1e300), (1e300, 1e-300)])
def test_a_ratio_beyond_floats_is_refused(small, large):
    with pytest.raises(ValueError, match="the ratio of batch must be finite and > 0"):
        scale(Size(256, 4, batch=small), Size(256, 4, batch=large))


def test_exponents_by_layer_are_printed_as_fractions():
    title = str(scale(BASE, TARGET, parametrization=Parametrization(1, (0, "1/2")))).splitlines()[0]
    assert "gamma = (0, 1/2), k = 2" in title
