"""The audit of PyTorch models: planted mistakes are named, correct models pass, and what cannot be measured is said.

Networks are small and of fixed seeds. How often a correct model fails is stated (1 % at most) and measured: exactly on made-up
power laws here, and on forty networks of every kind in the slow tests.
"""

import importlib.util
import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from audit_models import MISTAKES, MLP, Recipe, adam, asked, regression, squared  # noqa: E402
from torch import nn  # noqa: E402

from limits import scale  # noqa: E402
from limits.compare.slopes import Estimate  # noqa: E402
from limits.parametrization import COMPLETEP, DEPTH_MUP, Parametrization  # noqa: E402
from limits.pytorch import Audit, coordinate_check  # noqa: E402
from limits.pytorch import audit as audit_module  # noqa: E402
from limits.pytorch.audit_blocks import find_blocks, passed  # noqa: E402
from limits.pytorch.audit_drift import drift  # noqa: E402
from limits.pytorch.audit_findings import Finding  # noqa: E402
from limits.pytorch.audit_fits import Grid, fitted, with_margins  # noqa: E402
from limits.pytorch.audit_laws import BASE, Law, laws, stand_in  # noqa: E402
from limits.pytorch.audit_measure import Setting, first_order, frozen, measure  # noqa: E402
from limits.pytorch.audit_rules import Rules  # noqa: E402
from limits.pytorch.audit_traps import remedy  # noqa: E402

DOCS = Path(__file__).parents[1] / "docs"
SMALL = {"widths": (32, 64), "blocks": (2, 4), "seeds": 3}


@pytest.fixture(autouse=True)
def one_thread():
    """Small networks are fastest in one, and several times so where processors are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def setting(make_model, optimizer=None, data=None, loss=squared, steps=2, modules=None):
    """What `measure` takes."""
    data = regression() if data is None else data
    optimizer = optimizer or (lambda model, width, blocks: torch.optim.SGD(model.parameters(), lr=0.1))
    return Setting(make_model, optimizer, loss, data, data[0][0], steps, modules, None)


def failed(audit):
    return {(f.law.quantity, f.law.axis) for f in audit.findings if f.verdict == "fail"}


# Verdicts on models.


def test_a_correct_model_passes():
    """No false alarm at this seed; over many seeds: the slow tests."""
    audit = coordinate_check(**asked("mlp"))
    assert audit.passed, str(audit)
    assert audit.violated == ()
    assert audit.verdicts == {"size": "pass", "learning": "pass", "diversity": "pass", "block linearity": "pass", "transfer": ""}
    assert abs(audit["initial branch", "blocks"].measured.value + 1) < 0.1
    assert {trap.state for trap in audit.traps} <= {"clear", "not checked"}


ENDS, EPSILON = "a factor of depth on the embedding or the read-out", "Adam's epsilon that does not follow the gradient"
INITIAL = "1/sqrt(2L) in the initialization"
NAMES = {
    "multiplier L^-1/2": ("initial branch", "blocks", "stable during training", None),
    "no multiplier": ("initial branch", "blocks", "stable at initialization", None),
    "depth factor on the read-out": ("logit update", "blocks", "nontrivial", ENDS),
    "epsilon not scaled": ("update of up", "blocks", "feature learning", EPSILON),
    INITIAL: ("initial branch", "blocks", "faithful at initialization", INITIAL),
    "hidden init of order one": ("initial branch", "width", "stable at initialization", None),
}


@pytest.mark.parametrize(
    "mistake",
    [pytest.param(m, marks=[pytest.mark.slow] * (m in ("no multiplier", "hidden init of order one"))) for m in MISTAKES],
)
def test_a_planted_mistake_is_named(mistake):
    """By the quantity that shows it, the property that it violates and the trap that it is."""
    quantity, axis, property_, trap = NAMES[mistake]
    audit = coordinate_check(**asked("mlp", MISTAKES[mistake]))
    assert audit.verdict == "fail"
    assert audit[quantity, axis].violates == property_
    assert property_ in audit.violated
    found = {each.name for each in audit.traps if each.state == "found"}
    assert found == ({trap} if trap else set())
    assert audit[quantity, axis].remedy
    assert audit[quantity, axis].remedy in str(audit)
    if trap == ENDS:
        assert failed(audit) == {(quantity, axis)}, "nothing else is blamed"


RATES = {"width": (Recipe(rate=-0.5), "n^-0.50", "n_base)^-1"), "blocks": (Recipe(gamma=0.5), "L^-0.50", "no factor of L")}
"""Learning rates of hidden matrices with another factor of width, or of depth, than Adam's n^-1: (recipe, theirs, what to do)."""


@pytest.mark.parametrize("axis", RATES)
def test_the_remedy_is_the_rule_where_it_explains_the_fitted_power(axis):
    """The rule by its name and with its reason, the fitted powers as evidence; said once, for all that it explains."""
    recipe, given, needed = RATES[axis]
    audit = coordinate_check(**asked("mlp", recipe))
    rule = scale("width=2,blocks=2", "width=4,blocks=4", optimizer="adam")["hidden"].lr
    said, finding = audit["update of up", axis].remedy, audit["update of up", axis]
    assert said.startswith(
        f"learning rates of up, down scale like {given}, and the rule of limits.scale for hidden matrices under adam"
    )
    assert f"is {rule}: give them " in said
    assert needed in said
    assert said.endswith(f"Why: {rule.why}")
    assert f"({finding.off:+.2f} ± {finding.margin:.2f})" in said
    assert said == audit["update of down", axis].remedy == audit["stream update", axis].remedy
    assert str(audit).count(said) == 1


@pytest.mark.parametrize(
    ("mistake", "seen"),
    [("multiplier L^-1/2", "as with Depth-µP's multiplier L^-1/2"), ("no multiplier", "as without a multiplier")],
)
def test_the_remedy_of_branches_is_their_rule(mistake, seen):
    audit = coordinate_check(**asked("mlp", MISTAKES[mistake], widths=(32, 64)))
    said, branch = audit["initial branch", "blocks"].remedy, scale("width=2,blocks=2", "width=4,blocks=4").branch
    assert f", {seen}, where L^-1 was declared" in said
    assert f"is the multiplier {branch}; give every branch the factor (L / L_base)^-1," in said
    assert said.endswith(f"Why: {branch.why}")


def a_finding(value, quantity="update of up", axis="width", exact=0):
    """One that fails by `value`, known to 0.05."""
    law = Law(quantity, axis, "learning", Fraction(exact), "", "stable during training", "feature learning")
    nothing = np.zeros(0)
    return Finding(law, Estimate(value, 0.02, 7), 0.05, 0.2, nothing, nothing, nothing)


@pytest.mark.parametrize(
    ("rate", "value", "by_rule"),
    [(0.0, 0.9, True), (0.0, 0.76, True), (0.0, 0.6, False), (-1.0, 0.9, False), (-1.8, -0.7, True), (-2.0, 0.9, False)],
)
def test_the_fitted_power_stands_where_no_rule_explains_it(rate, value, by_rule):
    """The rule of Adam is n^-1; learning rates of n^rate would be off by rate + 1, which is held against what was fitted."""
    finding = a_finding(value)
    rules = replace(Rules.of(torch.optim.Adam([torch.zeros(1)]), COMPLETEP, 2, ["up"], {}), rates={("up", "width"): rate})
    said = remedy(finding, [finding], (), {}, rules)
    assert said.startswith("learning rates of up scale like ") == by_rule
    if not by_rule:
        assert f"multiply the learning rate by (n / n_base)^{-value:+.2g}" in said
        assert ("the rule of limits.scale for hidden matrices under adam is m_N^-1" in said) == (rate == 0.0), said
    unknown = remedy(finding, [finding], (), {}, replace(rules, rows={}))
    assert unknown.endswith(f"multiply the learning rate by (n / n_base)^{-value:+.2g}")


def test_a_readout_that_errs_alone_is_not_laid_at_the_rates():
    layer, out = a_finding(0.9), a_finding(0.5, "logit update")
    rules = replace(Rules.of(torch.optim.Adam([torch.zeros(1)]), COMPLETEP, 2, ["up"], {}), rates={("up", "width"): 0.0})
    assert "the read-out needs a multiplier" in remedy(out, [layer, out], (), {}, rules)
    stream = a_finding(0.9, "stream update")
    assert remedy(out, [layer, out, stream], (), {}, rules).startswith("learning rates of up")


def test_rules_are_those_of_the_optimizer():
    """By its class, or one that it inherits from; layers with exponents of their own have rows of their own."""

    class Own(torch.optim.SGD):
        pass

    weights, slopes = [torch.zeros(2, 2)], {("lr of up", "width"): -0.5, ("std of up", "width"): -1.0}
    for optimizer, name in ((torch.optim.AdamW(weights), "adamw"), (Own(weights, lr=1.0), "sgd")):
        rules = Rules.of(optimizer, COMPLETEP, 2, ["up", "down"], slopes)
        assert {row.optimizer for row in rules.rows.values()} == {name}
        assert rules.rates == {("up", "width"): -0.5}
    unknown = Rules.of(torch.optim.RMSprop(weights), COMPLETEP, 2, ["up"], slopes)
    assert (unknown.rows, str(unknown.branch)) == ({}, "m_L^-1")
    apart = Parametrization(1, (0, "1/2"))
    assert [row.role for row in Rules.of(optimizer, apart, 2, ["up", "down"], {}).rows.values()] == ["hidden 1", "hidden 2"]
    assert Rules.of(optimizer, apart, 2, ["up"], {}).rows == {}


def test_other_exponents_are_told_apart():
    """A model at alpha = gamma = 1/2 passes as that, and not as CompleteP; its blocks become linear in their updates."""
    recipe = Recipe(alpha=0.5, gamma=0.5)
    sizes = {"widths": (32, 64, 128), "seeds": 6}
    right = coordinate_check(**asked("mlp", recipe, parametrization=DEPTH_MUP, **sizes))
    wrong = coordinate_check(**asked("mlp", recipe, **sizes))
    assert failed(right) == set(), str(right)
    assert right["second order", "blocks"].measured.value < -0.25
    assert {("initial branch", "blocks"), ("second order", "blocks")} <= failed(wrong)


def test_raw_numbers_of_blocks_are_caught_at_the_base():
    """L^-alpha in place of (L / L_base)^-alpha has every exponent right; only the base model tells."""
    options = SMALL | {"base": (32, 4), "base_model": lambda: MLP(32, 4), "base_optimizer": lambda model: adam()(model, 32, 4)}
    raw = coordinate_check(**asked("mlp", Recipe(raw=True, multiplier=2.0), **options))
    assert raw["initial branch", "base"].measured.value == pytest.approx(0, abs=1e-12)  # 2 / 4: as tuned
    raw = coordinate_check(**asked("mlp", Recipe(raw=True), **options))
    assert raw["initial branch", "base"].measured.value == pytest.approx(-1, abs=1e-6)
    assert raw["initial branch", "base"].verdict == "fail"
    assert raw.traps[0].state == "found"
    assert "0.25 times as large" in raw.traps[0].said
    assert coordinate_check(**asked("mlp", **options)).traps[0].state == "clear"


# The error rate.


def test_true_power_laws_fail_as_rarely_as_stated():
    """Made-up curves of exactly the exponents of the laws, normal in the seeds: 250 audits without tolerance, at 10 %.

    False-alarm rate of this test: 1e-4 (0.1 plus four standard errors of 0.019).
    """
    rng, grid = np.random.default_rng(7), Grid((64, 128, 256), (4, 8, 16), 128, 4)
    every = laws(stand_in(COMPLETEP, 2, "gelu"), ["up", "down"])
    rate, audits, alarms = 0.1, 250, 0
    for _ in range(audits):
        findings = [fitted(law, grid, made_up(law, grid, rng), 1e-12) for law in every]
        alarms += any(finding.verdict == "fail" for finding in with_margins(findings, rate))
    assert 0.2 * rate < alarms / audits < rate + 4 * (rate * (1 - rate) / audits) ** 0.5


def made_up(law, grid, rng):
    """Eight seeds of one quantity, at the exponent of its law along its axis."""
    vital = dict.fromkeys(("embedding", "stream", "logits", "blocks' update", "stream update", "logit update"), 1.0)
    along = {size: size[law.axis == "blocks"] ** float(law.exact) for size in grid.along(law.axis)}
    return {size: [vital | {law.quantity: scale * np.exp(0.1 * rng.normal())} for _ in range(8)] for size, scale in along.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "transformer"])
def test_correct_models_fail_as_rarely_as_stated(name):
    """Forty audits at 1 %: more than three false alarms have probability 5e-4."""
    options = {} if name == "mlp" else {"widths": (32, 64, 128), "seeds": 6}
    verdicts = [coordinate_check(**asked(name, seed=100 + s, **options)).verdict for s in range(40)]
    assert verdicts.count("fail") <= 3
    assert verdicts.count("pass") >= 20


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", ["mlp", "transformer"])
def test_planted_mistakes_are_found_at_other_seeds(name, mistake):
    """Five audits of each: the power is near one."""
    options = {} if name == "mlp" else {"widths": (32, 64, 128), "seeds": 6}
    verdicts = [coordinate_check(**asked(name, MISTAKES[mistake], seed=200 + s, **options)).verdict for s in range(5)]
    assert verdicts.count("fail") >= 4


# What is measured.


class Linear(nn.Module):
    """x + A(B x) / 3, so that everything can be computed by hand."""

    def __init__(self, width):
        super().__init__()
        self.b, self.a = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, x):
        return x + self.a(self.b(x)) / 3


class ByHand(nn.Module):
    def __init__(self, width, blocks):
        super().__init__()
        self.first, self.last = nn.Linear(8, width, bias=False), nn.Linear(width, 4, bias=False)
        self.blocks = nn.ModuleList(Linear(width) for _ in range(blocks))

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.last(x)


def test_what_is_measured_is_what_one_computes_by_hand():
    kept = []

    def make(width, blocks):
        kept.append(ByHand(width, blocks).double())
        return kept[-1]

    data = [(regression()[0][0].double(), regression()[0][1].double())]
    found = measure(setting(make, data=data), 16, 2, (0, 0))
    torch.manual_seed(0)
    after, x = kept[0], data[0][0]
    before = copy_before(make, 16, 2)

    def rms(value):
        return float(value.square().mean().sqrt())

    with torch.no_grad():
        start, end = before.first(x), after.first(x)
        blocks = list(zip(before.blocks, after.blocks, strict=True))
        alone = [b.a(b.b(start)) / 3 for b, _ in blocks]
        updated = [t.a(t.b(start)) / 3 - y for (_, t), y in zip(blocks, alone, strict=True)]
        assert found["initial branch"] == pytest.approx(np.hypot(*map(rms, alone)) / 2**0.5, rel=1e-9)
        assert found["initial sum"] == pytest.approx(rms(sum(alone)), rel=1e-9)
        assert found["blocks' update"] == pytest.approx(rms(sum(updated)), rel=1e-6)
        first, rest, ratio_up, ratio_down = [], [], [[], []], [[], []]
        for b, t in blocks:
            d_a, d_b = t.a.weight - b.a.weight, t.b.weight - b.b.weight
            inner = end @ b.b.weight.T
            first.append(rms((end @ d_b.T @ b.a.weight.T + inner @ d_a.T) / 3))
            rest.append(rms(end @ d_b.T @ d_a.T / 3))
            ratio_up[0].append(rms(end @ d_b.T)), ratio_up[1].append(rms(inner))
            read = end @ t.b.weight.T
            ratio_down[0].append(rms(read @ d_a.T)), ratio_down[1].append(rms(read @ b.a.weight.T))
            end = t(end)
        assert found["second order"] == pytest.approx(np.hypot(*rest) / np.hypot(*first), rel=1e-6)
        assert found["update of b"] == pytest.approx(np.hypot(*ratio_up[0]) / np.hypot(*ratio_up[1]), rel=1e-6)
        assert found["update of a"] == pytest.approx(np.hypot(*ratio_down[0]) / np.hypot(*ratio_down[1]), rel=1e-6)
        assert found["logit update"] == pytest.approx(rms(after(x) - before(x)) / rms(b_stream(before, x)) * rms(start), rel=1e-6)


def copy_before(make, width, blocks):
    """The model that `measure` made first, as it was drawn."""
    number = int(np.random.SeedSequence([0, 0, width, blocks]).generate_state(1, np.uint64)[0] >> 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        return make(width, blocks)


def b_stream(model, x):
    x = model.first(x)
    for block in model.blocks:
        x = block(x)
    return x


def test_the_first_order_falls_back_on_a_difference():
    """A block with an operation that torch cannot differentiate forward: the same to the third order of the update."""

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x**3

    class Odd(nn.Linear):
        def forward(self, x):
            return x + Cube.apply(super().forward(x))

    class Even(nn.Linear):
        def forward(self, x):
            return x + super().forward(x) ** 3

    generator = torch.Generator().manual_seed(3)
    answers = []
    for kind in (Odd, Even):
        drawn, moved = kind(4, 4).double(), kind(4, 4).double()
        with torch.no_grad():
            drawn.weight.copy_(torch.linspace(-1, 1, 16).reshape(4, 4)), drawn.bias.zero_()
            moved.weight.copy_(drawn.weight + 0.01), moved.bias.zero_()
            x = torch.ones(1, 4, dtype=torch.float64)
            from limits.pytorch.audit_blocks import Call

            answers.append(first_order(drawn, moved, Call((x,), {}, 0)))
    assert generator
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-3, atol=1e-6)


def test_models_are_left_as_they_are_and_so_are_random_numbers():
    model = nn.ModuleDict({"blocks": nn.ModuleList(nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.5)) for _ in range(2))})
    copy = frozen(model)
    first, second = (copy["blocks"][0](torch.ones(4, 8) * torch.arange(4.0)[:, None]) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(model["blocks"][0][0].running_mean, torch.zeros(8))
    assert model.training
    before = torch.random.get_rng_state()
    coordinate_check(**asked("mlp", **SMALL))
    assert torch.equal(before, torch.random.get_rng_state())


class Noisy(nn.Module):
    """Blocks with dropout and a batch norm, called by name, that return a tuple."""

    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.norm, self.drop, self.linear = nn.BatchNorm1d(width), nn.Dropout(0.1), nn.Linear(width, width)
            nn.init.zeros_(self.linear.weight), nn.init.zeros_(self.linear.bias)

        def forward(self, *, scale, hidden):
            return hidden + scale * self.drop(self.linear(torch.relu(self.norm(hidden)))), "cache"

    def __init__(self, width, blocks):
        super().__init__()
        self.first, self.last = nn.Linear(8, width), nn.Linear(width, 4)
        self.layers = nn.ModuleList(Noisy.Block(width) for _ in range(blocks))

    def forward(self, x):
        x = self.first(x)
        for block in self.layers:
            x, _ = block(scale=1 / len(self.layers), hidden=x)
        return {"logits": self.last(x), "loss": None}


def test_stateful_models_are_probed_without_their_state():
    options = {"loss": lambda out, y: squared(out["logits"], y), "make_model": Noisy, "make_optimizer": plain}
    audit = coordinate_check(**asked("mlp", **SMALL) | options)
    assert any("dropout" in note for note in audit.notes)
    assert any("batch norms" in note for note in audit.notes)
    zero = audit["initial branch", "blocks"]
    assert zero.verdict == ""
    assert "start at zero" in zero.missing
    assert np.isfinite(audit["update of linear", "blocks"].measured.value)


def plain(model, width, blocks):
    return torch.optim.Adam(model.parameters(), lr=0.01)


def still(model, width, blocks):
    """An optimizer of blocks that are frozen, and of what is around them."""
    model.layers.requires_grad_(False)
    return plain(model, width, blocks)


def test_blocks_that_do_not_move_do_not_pass():
    options = {"loss": lambda out, y: squared(out["logits"], y), "make_model": Noisy, "make_optimizer": still}
    audit = coordinate_check(**asked("mlp", **SMALL) | options)
    assert audit["update of linear", "blocks"].verdict == "unresolved"
    assert audit.verdicts["learning"] != "pass"
    assert not audit.passed
    assert "nothing moved; are the layers frozen" in str(audit)


class Rateless(torch.optim.SGD):
    """Its groups have no rates."""

    def __init__(self, parameters):
        super().__init__(parameters, lr=0.01)
        for group in self.param_groups:
            group["rate"] = group.pop("lr")

    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] = group["rate"]
        super().step(closure)
        for group in self.param_groups:
            del group["lr"]


class Closing(torch.optim.SGD):
    """One that evaluates the loss itself, as LBFGS does."""

    def step(self, closure):
        super().step(closure)


def test_optimizers_that_cannot_be_audited_are_refused_in_a_sentence():
    options = {"loss": lambda out, y: squared(out["logits"], y), "make_model": Noisy}
    rateless = {"make_optimizer": lambda model, w, L: Rateless(model.parameters())}
    with pytest.raises(ValueError, match="Rateless has none: leave lrs out"):
        coordinate_check(**asked("mlp", **SMALL) | options | rateless | {"lrs": [0.5, 1, 2]})
    closing = {"make_optimizer": lambda model, w, L: Closing(model.parameters(), lr=0.01)}
    with pytest.raises(ValueError, match=r"Closing.*step\(\) without a closure"):
        coordinate_check(**asked("mlp", **SMALL) | options | closing)


# Where blocks are.


def test_blocks_are_found_or_it_is_said_what_to_write():
    def lists(**counts):
        return nn.ModuleDict({name: nn.ModuleList(nn.Linear(4, 4) for _ in range(count)) for name, count in counts.items()})

    assert find_blocks(lists(h=4), 4).names == ("h.0", "h.1", "h.2", "h.3")
    assert find_blocks(lists(h=4), 8).each == 2
    assert find_blocks(lists(h=4, k=4), 4, "k.*").names[0] == "k.0"
    with pytest.raises(ValueError, match=r"any of 'h', 'k': name them: pass modules="):
        find_blocks(lists(h=4, k=4), 4)
    with pytest.raises(ValueError, match="made of layers of two blocks, counted as one"):
        find_blocks(lists(h=8), 4)
    with pytest.raises(ValueError, match=r"its lists: none.*modules='layers"):
        find_blocks(nn.Linear(4, 4), 4)
    with pytest.raises(ValueError, match="has 3 modules called like 'h"):
        find_blocks(lists(h=3), 4, "h.*")


def test_modules_that_are_no_blocks_are_refused():
    shrinking = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    blocks = find_blocks(shrinking, 2)
    with pytest.raises(ValueError, match=r"given shape \(1, 8\) and returned shape \(1, 4\)"):
        passed(shrinking, blocks, torch.ones(1, 8))
    unused = nn.ModuleDict({"a": nn.ModuleList([nn.Linear(4, 4)] * 2)})
    unused.forward = lambda x: x
    with pytest.raises(ValueError, match="0 calls of them in a forward pass"):
        passed(unused, find_blocks(unused, 2), torch.ones(1, 4))


# What cannot be measured.


def test_sizes_that_diverge_are_said_and_left_out():
    def exploding(model, width, blocks):
        return torch.optim.SGD(model.parameters(), lr=1e30 if blocks == 8 else 1e-3)

    audit = coordinate_check(**asked("mlp", widths=(32, 64), blocks=(2, 4, 8), seeds=3, steps=4) | {"make_optimizer": exploding})
    assert audit.diverged == ((64, 8),)
    assert audit.verdicts["size"] == "fail"
    assert "stable during training" in audit.violated
    assert any("diverged at (width, blocks) = (64, 8): these sizes are left out" in note for note in audit.notes)
    assert audit["embedding", "blocks"].sizes.tolist() == [2, 4]
    json.loads(audit.to_json())


def test_where_everything_diverges_nothing_is_judged():
    def exploding(model, width, blocks):
        return torch.optim.Adam(model.parameters(), lr=1e30)

    audit = coordinate_check(**asked("mlp", steps=4, **SMALL) | {"make_optimizer": exploding})
    assert audit.verdict == "unresolved"
    assert "make the learning rate smaller" in str(audit)
    states = {trap.name: (trap.state, trap.said) for trap in audit.traps}
    for name in (ENDS, EPSILON, INITIAL):
        assert states[name][0] == "not checked"
        assert "make the learning rate smaller" in states[name][1] or "a smaller learning rate" in states[name][1]
        assert f"{name}: not checked ({states[name][1]})" in str(audit)


def test_epsilon_is_not_clear_where_gradients_of_the_largest_models_are_not_finite():
    def exploding(model, width, blocks):
        return torch.optim.Adam(model.parameters(), lr=1e-3 if blocks == 2 else 1e30, eps=1e-8)

    audit = coordinate_check(**asked("mlp", steps=4, **SMALL) | {"make_optimizer": exploding})
    (trap,) = (trap for trap in audit.traps if trap.name == EPSILON)
    assert trap.state == "not checked"
    assert "gradients of up, down were zero or not finite" in trap.said


# The optimum.


def curves(exponent, blocks=(4, 8, 16), seeds=8, edge=False):
    """Losses whose best factor is L^exponent, with noise in the seeds."""
    rng, factors = np.random.default_rng(5), 2.0 ** np.arange(-2, 4)
    best = exponent * np.log2(np.array(blocks) / 4)[:, None, None] + 0.1 * rng.normal(size=(len(blocks), 1, seeds)) + 9 * edge
    return blocks, factors, np.exp((np.log2(factors)[None, :, None] - best) ** 2 / 8)


@pytest.mark.parametrize(("exponent", "verdict"), [(0.0, "pass"), (-0.5, "fail"), (0.5, "fail")])
def test_a_drift_of_the_optimum_is_told(exponent, verdict):
    (finding,) = with_margins([drift(*curves(exponent), tolerance=0.2)], 0.01)
    assert finding.measured.value == pytest.approx(exponent, abs=0.1)
    assert finding.verdict == verdict


def unsure(value, error=0.12, seeds=6, at_most=False, axis="width"):
    """A finding of an exponent that should be zero, at the margin of one in a thousand."""
    law = Law("logits", axis, "size", Fraction(0), "theory", "up", "down", at_most=at_most)
    measured = Estimate(value, error, seeds - 1)
    return Finding(law, measured, measured.half_width(0.999), 0.2, np.array([1.0, 2.0]), np.zeros(2), np.zeros(2))


@pytest.mark.parametrize(
    ("value", "at_most"), [(0.1, False), (-0.15, False), (0.45, False), (-0.45, False), (-0.1, True), (0.5, True)]
)
def test_what_is_unresolved_says_how_many_seeds_would_decide(value, at_most):
    """With as many seeds, of the same scatter and estimate, there is a verdict; with one fewer there is none."""
    finding = unsure(value, at_most=at_most)
    assert finding.verdict == "unresolved"
    said = finding.advice
    assert f"off by {value:+.2f} ± {finding.margin:.2f}" in said
    assert said.endswith("or sizes that span more doublings in width")
    seeds = int(re.search(r"about (\d+) seeds in place of 6", said)[1])
    decided, not_yet = (unsure(value, 0.12 * (6 / n) ** 0.5, n, at_most) for n in (seeds, seeds - 1))
    assert decided.verdict == ("pass" if abs(value) < 0.2 else "fail")
    assert decided.advice == ""
    assert not_yet.verdict == "unresolved"
    assert finding.to_dict()["advice"] == said


def test_hopeless_seeds_are_no_advice():
    assert "takes more than 100 seeds, or sizes" in unsure(0.21).advice
    assert unsure(0.21, axis=BASE).advice.endswith("more than 100 seeds")


def test_an_unresolved_audit_prints_what_would_resolve_it():
    audit = replace(coordinate_check(**asked("mlp", **SMALL)), findings=(unsure(0.1),), diverged=())
    assert audit.verdict == "unresolved"
    title, advice = str(audit).split("what is unresolved:")[1].splitlines()[:2]
    assert title == ""
    assert advice == f"  - {audit.findings[0].advice}"


def test_an_optimum_at_an_edge_is_unknown():
    finding = drift(*curves(0.0, edge=True), tolerance=0.2)
    assert "the highest at L = 4" in finding.missing
    assert finding.verdict == ""


def test_a_sweep_is_a_part_of_an_audit():
    options = SMALL | {"lrs": 2.0 ** np.arange(-1, 7, 2), "lr_steps": 3}
    audit = coordinate_check(**asked("mlp", **options))
    finding = audit["best learning rate", "blocks"]
    assert finding.law.exact == Fraction(0)
    assert (finding.missing == "") == np.isfinite(finding.measured.value)


# The page.


def example():
    """`docs/audit_example.py` as a module."""
    spec = importlib.util.spec_from_file_location("audit_example", DOCS / "audit_example.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_of_the_page_runs():
    """The scaled model, at fewer sizes and seeds than there, where verdicts are not resolved but exponents are seen."""
    page = example()
    sizes = {"widths": (64, 128), "blocks": (4, 8), "seeds": 3}
    audit = coordinate_check(page.scaled, make_optimizer=page.optimizer, **page.SIZES | sizes)
    assert failed(audit) == set()
    assert audit["initial branch", "blocks"].measured.value == pytest.approx(-1, abs=0.1)


@pytest.mark.slow
def test_the_output_on_the_page_is_that_of_the_example():
    """Verdicts, not digits, which depend on the version of torch."""
    right, wrong = example().audits()
    shown = (DOCS / "audit_example.txt").read_text()
    assert right.verdict == "pass"
    assert wrong.verdict == "fail"
    assert f"print(right)\n{str(right).splitlines()[0]}" in shown
    assert f"print(wrong)\n{str(wrong).splitlines()[0]}" in shown


# Answers, pictures, refusals.


def test_an_audit_is_text_json_and_a_picture(tmp_path):
    from limits.plots import audit_curves, audited

    seen = []
    audit = coordinate_check(**asked("mlp", progress=lambda done, total: seen.append((done, total)), **SMALL))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert isinstance(audit, Audit)
    assert json.loads(audit.to_json())["verdict"] == audit.verdict
    assert str(audit).startswith(audit.verdict.upper())
    assert "Audit(" in repr(audit)
    with pytest.raises(KeyError, match="no finding"):
        audit["embedding", "depth"]
    figure = audited(audit)
    figure.savefig(tmp_path / "audit.png")
    assert len(figure.axes) == 3
    with pytest.raises(ValueError, match="axis must be one of width, blocks"):
        audit_curves(figure.axes[0], audit, "depth")
    nothing = replace(audit, findings=())
    audited(nothing).savefig(tmp_path / "nothing.png")
    assert nothing.verdict == "unresolved"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"blocks": (4,)}, "at least two blocks"),
        ({"seeds": 2}, "seeds must be at least 3"),
        ({"data": []}, "data must be batches"),
        ({"lrs": (1.0, 2.0)}, "at least 3 factors"),
        ({"error_rate": 0.0}, "between 0 and 1"),
        ({"base": (32, 4)}, "all three"),
        ({"parametrization": Parametrization(0, 0)}, "unstable at initialization for blocks of 2 layers"),
        ({"probe": torch.zeros(0, 8)}, "probe must hold at least one input"),
        ({"data": [(torch.zeros(0, 8), torch.zeros(0, 1))]}, "must hold at least one input"),
        ({"device": "nowhere"}, 'device must be one that is here, such as "cpu" or "cuda", got \'nowhere\''),
        ({"device": "meta"}, "device must be one that is here"),
        ({"loss": lambda outputs, targets: 1.0}, r"must return a tensor of one number .* got 1.0: leave out float"),
        ({"loss": lambda outputs, targets: outputs}, r"must return a tensor of one number .*, got shape .*: take its mean"),
        ({"loss": lambda outputs, targets: outputs.sum().detach()}, r"got one without a gradient: leave out \.detach"),
        ({"make_model": lambda width, blocks: 3}, "must return a torch.nn.Module"),
        ({"make_optimizer": lambda model, width, blocks: 3}, "must return a torch optimizer"),
    ],
)
def test_what_cannot_be_audited_is_refused_with_a_sentence(options, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        coordinate_check(**asked("mlp", **SMALL) | options)


def test_gradients_are_on_whoever_asks():
    """Under `torch.no_grad` the audit is the same."""
    wanted = coordinate_check(**asked("mlp", **SMALL))
    with torch.no_grad():
        found = coordinate_check(**asked("mlp", **SMALL))
    assert found.to_json() == wanted.to_json()


def test_wrong_types_are_refused_with_a_sentence():
    """Asked of what checks them, for the run-time checks of the tests come before it in `coordinate_check`."""
    with pytest.raises(TypeError, match=r"widths must be several whole numbers, got 64: write widths=\(64, 128, 256\)"):
        audit_module._grid(64, (2, 4), None, None)
    with pytest.raises(TypeError, match="several factors of the learning rates"):
        audit_module._factors(1.0)
    for wrong in ("a", None, "1e"):
        with pytest.raises(TypeError, match=r"every one of lrs must be a number > 0, got \("):
            audit_module._factors((1.0, 2.0, wrong))
    with pytest.raises(ValueError, match=r"must be a pair \(inputs, targets\), got Tensor"):
        audit_module._pair(torch.ones(3))
    with pytest.raises(TypeError, match="loss must be a function, got 3"):
        audit_module._setting(MLP, adam(), 3, regression(), None, 3, None, None)
