"""Verdicts against the table of TP6's section 7, on a grid that holds every border."""

import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction as F
from functools import cache
from itertools import combinations, permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limits import COMPLETEP, DEPTH_MUP, Parametrization, classify, conditions, phase_diagram
from limits.exponents import Affine
from limits.regimes import branch
from limits.regimes.diagram import corners
from limits.regimes.verdict import PROPERTIES

# The run-time type checks look at a random element of a tuple; hypothesis notices.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")
few = settings(max_examples=40, deadline=None)

GRID = [(a, g) for a, g in product([F(k, 4) for k in range(-3, 9)], repeat=2)]
ORDERED = (
    "unstable at initialization",
    "unstable during training",
    "trivial",
    "unfaithful",
    "redundant",
    "feature learning and diverse",
)


def by_the_table(alpha, gamma):
    """TP6, section 7, for blocks of one layer, as a list of cases."""
    if alpha < F(1, 2):
        return "unstable at initialization"
    if alpha + gamma < 1:
        return "unstable during training"
    if alpha + gamma > 1:
        return "trivial"
    if alpha > 1:
        return "unfaithful"
    if alpha > F(1, 2):
        return "redundant"
    return "feature learning and diverse"


def test_names_and_verdicts_on_a_grid():
    seen = set()
    for alpha, gamma in GRID:
        r = classify(Parametrization(alpha, gamma))
        line = alpha + gamma
        assert r.name == by_the_table(alpha, gamma), (alpha, gamma)
        assert r.stable_at_initialization is (alpha >= F(1, 2))
        assert r.stable_during_training is (line >= 1)
        assert r.nontrivial is (line <= 1)
        assert r.faithful_at_initialization is (alpha >= F(1, 2))
        assert r.faithful_during_training is (gamma >= 0)
        assert r.feature_learning is (line == 1 and F(1, 2) <= alpha <= 1)
        assert r.layerwise_linear is (1 - alpha - 2 * gamma < 0)
        if alpha >= F(1, 2) and line == 1:
            assert r.diversity == (F(1, 2) if alpha == F(1, 2) else 0)
        else:
            assert r.diversity is None
        seen.add(r.name)
    assert seen == set(ORDERED)


def test_layerwise_linear_on_the_stable_line():
    """Exactly for alpha < 1 (TP6, 7.7)."""
    for k in range(8, 17):
        assert classify(Parametrization(F(k, 16), 1 - F(k, 16))).layerwise_linear is (k < 16)


def test_depth_mup_is_the_only_diverse_feature_learner():
    """TP6, Claim 7.5."""
    found = [
        (a, g)
        for a, g in GRID
        if (r := classify(Parametrization(a, g))).feature_learning and r.diversity == F(1, 2) and r.faithful_at_initialization
    ]
    assert found == [(F(1, 2), F(1, 2))]
    assert classify(DEPTH_MUP).name == "feature learning and diverse"
    assert classify(COMPLETEP).name == "redundant"


@pytest.mark.parametrize("centred", [True, False])
def test_steps_prove_themselves(centred):
    for alpha, gamma in GRID[::7]:
        r = classify(Parametrization(alpha, gamma), centred=centred)
        assert all(s.holds() for s in r.steps)
        initial, update, layer = r.steps
        assert initial.value == (F(1, 2) if centred else 1) - alpha
        assert update.value == 1 - alpha - gamma
        assert layer.value == gamma
        assert all(isinstance(s.value, F) for s in r.steps)
        assert all(s.reference.startswith("D") and s.because for s in r.steps)


def test_a_wrong_step_does_not_hold():
    for step in classify(DEPTH_MUP).steps:
        assert not replace(step, value=-step.value - 1 if step.relation == ">" else step.value + 1).holds()


def test_branches_that_are_not_centred_add_up():
    """Without mean subtraction relu needs alpha = 1 to be stable at initialization."""
    assert classify(Parametrization("3/4", "1/4"), centred=False).name == "unstable at initialization"
    assert classify(Parametrization(1, 0), centred=False).stable_at_initialization
    assert classify(Parametrization(1, 0), centred=False).steps[0].value == 0


def test_a_coherent_sum_is_smooth_in_depth_and_not_diverse():
    """TP6, Def. 7.6: |x(p + e) - x(p)| ~ e is kappa = 0, whatever the order of the sum."""
    found = classify(Parametrization(1, 0), centred=False)
    assert (found.name, found.diversity) == ("redundant", 0)


def test_small_initial_weights():
    """The exponent beta moves the initial branches, not the updates."""
    r = classify(Parametrization("1/4", "3/4", initial="1/4"))
    assert (r.stable_at_initialization, r.stable_during_training, r.nontrivial) == (True, True, True)
    assert r.diversity == F(1, 2)
    assert not r.faithful_at_initialization
    assert not classify(Parametrization("1/4", "3/4", initial="1/8")).stable_at_initialization
    assert "beta" in str(r)


def test_printing_prints_the_argument():
    lines = str(classify(Parametrization("1/2", "1/4"))).splitlines()
    assert lines[0] == "unstable during training"
    assert "1 - alpha - gamma = 1/4 > 0" in lines[2]
    assert "L^(1/4)" in lines[2]
    assert lines[2].endswith("[D1.3]")
    assert len(lines) == 4


def test_what_is_not_treated_is_refused():
    for depth in (0, 13, True):
        with pytest.raises(ValueError, match="block_depth must be a whole number between 1 and 12"):
            classify(DEPTH_MUP, block_depth=depth)
    with pytest.raises(ValueError, match="gamma has 2 exponents, but a block of depth 1 has one layer: give one"):
        classify(Parametrization(1, (0, 0)))
    with pytest.raises(ValueError, match="initial has 1 exponent, but a block of depth 3 has 3 layers: give 3, or one for all"):
        classify(Parametrization(1, 0, (0,)), block_depth=3)


# Any block depth

fractions = st.sampled_from([F(n, d) for d in (1, 2, 3) for n in range(-d, 2 * d + 1)])


@st.composite
def blocks(draw, depths=(1, 2, 3, 4)):
    """A block depth, exponents of that many layers, and whether they are tied."""
    k, tied = draw(st.sampled_from(depths)), draw(st.booleans())
    layers = fractions if tied else st.tuples(*[fractions] * k)
    initial = draw(st.one_of(st.just(0), layers))
    return k, tied, Parametrization(draw(fractions), draw(layers), initial)


def direct(k, parametrization, centred):
    """e_S for all S from the formulas of TP6's section 7 and 9, by loops over sets."""
    alpha, gammas, betas = parametrization.layers(k)
    chosen = [S for size in range(k + 1) for S in combinations(range(k), size)]
    orders = {S: 1 - alpha - sum(gammas[i] if i in S else betas[i] for i in range(k)) for S in chosen}
    orders[()] -= F(1, 2) if centred else 0
    return orders


@few
@given(blocks(), st.booleans())
def test_the_verdicts_follow_from_the_orders_of_all_subsets(block, centred):
    k, _, p = block
    alpha, gammas, betas = p.layers(k)
    e = direct(k, p, centred)
    updates = [v for S, v in e.items() if S]
    curved = [1 - alpha - 2 * gammas[i] - sum(betas) + betas[i] for i in range(k)]
    r = classify(p, block_depth=k, centred=centred)
    stable = e[()] <= 0 and max(updates) <= 0
    assert r.stable_at_initialization is (e[()] <= 0)
    assert r.stable_during_training is all(v <= 0 for v in updates)
    assert r.nontrivial is any(v >= 0 for v in updates)
    assert r.faithful_at_initialization is (e[()] <= 0 and not any(betas))
    assert r.faithful_during_training is all(g >= 0 for g in gammas)
    assert r.feature_learning is (stable and max(updates) == 0 and min(gammas) >= 0)
    assert r.layerwise_linear is (max(curved) < 0 and all(v < 0 for S, v in e.items() if len(S) > 1))
    diverse = centred and e[()] == 0
    assert r.diversity == (F(diverse, 2) if stable and max(updates) == 0 else None)
    assert all(s.holds() for s in r.steps)
    assert {s.value for s in r.steps} >= set(e.values())


in_symbols = cache(conditions)


@few
@given(blocks(), st.booleans())
def test_conditions_are_the_verdicts_in_symbols(block, centred):
    k, tied, p = block
    if isinstance(p.gamma, tuple) != isinstance(p.initial, tuple):
        tied = False
    alpha, gammas, betas = p.layers(k)
    point = {"alpha": alpha, "gamma": gammas[0], "beta": betas[0]}
    point |= {f"gamma_{i}": g for i, g in enumerate(gammas, 1)} | {f"beta_{i}": b for i, b in enumerate(betas, 1)}
    r = classify(p, block_depth=k, centred=centred)
    for one in {tied, False}:
        found = in_symbols(block_depth=k, centred=centred, tied=one)
        for name in set(PROPERTIES) - {"diversity"}:
            assert found[name].holds(point) is getattr(r, name), (name, one)
        assert found["diverse"].holds(point) is (r.diversity == F(1, 2))
        assert found["redundant"].holds(point) is (r.diversity == 0)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_named_points_of_deeper_blocks(k):
    assert classify(DEPTH_MUP, block_depth=k).name == "feature learning and diverse"
    complete = classify(COMPLETEP, block_depth=k)
    assert (complete.name, complete.feature_learning, complete.layerwise_linear) == ("redundant", True, False)
    assert classify(DEPTH_MUP, block_depth=k).layerwise_linear


@pytest.mark.parametrize("k", [2, 3, 4])
def test_layers_can_have_their_own_exponents(k):
    """One layer that learns slowly leaves the joint update of the others at order zero."""
    r = classify(Parametrization(1, (0,) * (k - 1) + ("1/3",)), block_depth=k)
    assert (r.name, r.stable_during_training) == ("redundant", True)
    assert sum(s.value == F(-1, 3) for s in r.steps) == 2 ** (k - 1)
    assert "layer" in str(r)
    assert not classify(Parametrization(1, (0,) * (k - 1) + ("-1/3",)), block_depth=k).stable_during_training


@pytest.mark.parametrize("k", [1, 2, 4])
def test_one_altered_coefficient_is_rejected(k):
    """Of the claim's order, of the point, of the value, or of the relation."""
    for step in classify(Parametrization("3/4", "1/4", "1/8"), block_depth=k).steps:
        assert step.holds()
        name, value = step.point[0]
        altered = (
            replace(step, order=step.order + F(1, 100)),
            replace(step, order=step.order + Affine.symbol(name)),
            replace(step, point=((name, value + 1), *step.point[1:])),
            replace(step, value=step.value + F(1, 64)),
            *(replace(step, relation=other) for other in "<=>" if other != step.relation),
        )
        assert not any(wrong.holds() for wrong in altered)


def test_the_expansion_is_symmetric_in_the_layers():
    """Renaming layers renames the exponents."""
    for k in (2, 3):
        expansion = branch(k)
        for order in permutations(range(1, k + 1)):
            new = dict(zip(range(1, k + 1), order, strict=True))
            names = {f"{f}_{i}": Affine.symbol(f"{f}_{j}") for f in ("gamma", "beta") for i, j in new.items()}
            assert all(e.substitute(names) == expansion[frozenset(new[i] for i in S)] for S, e in expansion.items())


def test_a_regime_shows_itself():
    r = classify(Parametrization(1, (0, "1/3")), block_depth=2)
    json.dumps(r.to_json(), allow_nan=False)
    assert r.to_json()["gamma"] == ["0", "1/3"]
    assert [F(s["claim"].split(" = ")[1].split()[0]) for s in r.to_json()["steps"]] == [s.value for s in r.steps]
    markdown = r._repr_markdown_()
    assert "| $1 - \\alpha - \\gamma_{1} = 0$ | updates of layer 1 add up coherently to Theta(1) | D6.1 |" in markdown
    assert "| diversity | κ = 0 |" in markdown
    assert "undefined" in classify(Parametrization(0, 0))._repr_markdown_()
    assert r._repr_latex_().startswith("$$\\begin{aligned}")
    assert r._repr_latex_().count("&&") == len(r.steps)


def test_classify_is_quick():
    """Under 10 ms, without the run-time checks of the tests and the first import."""
    code = """
import time
from limits import Parametrization, classify
p, seconds = Parametrization(1, (0, 0, 0, "1/3")), []
for _ in range(20):
    began = time.perf_counter()
    classify(p, block_depth=4)
    seconds.append(time.perf_counter() - began)
assert min(seconds) < 0.01, min(seconds)
import sys
assert "sympy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# Phase diagram


@pytest.mark.parametrize("k", [1, 2, 3])
def test_regions_partition_the_plane(k):
    """Every rational point is in exactly one piece, and it is the piece of its verdict; borders included."""
    diagram = phase_diagram(block_depth=k)
    rational = st.fractions(-3, 3, max_denominator=64)

    @few
    @given(rational, rational, st.sampled_from(["alone", "e_1", "e_k", "half"]))
    def check(alpha, gamma, border):
        alpha = {"alone": alpha, "e_1": 1 - gamma, "e_k": 1 - k * gamma, "half": F(1, 2)}[border]
        point = {"alpha": alpha, "gamma": gamma}
        inside = [name for name, pieces in diagram.regions for piece in pieces if piece.holds(point)]
        assert inside == [diagram.region(alpha, gamma)] == [classify(Parametrization(alpha, gamma), block_depth=k).name]

    check()
    for alpha, gamma in [("1/2", "1/2"), (1, 0), ("1/2", 0), (0, 1), ("1/2", 1 / (2 * F(k))), (2, -F(1, k))]:
        assert diagram.region(alpha, gamma) == classify(Parametrization(alpha, gamma), block_depth=k).name


def test_depth_mup_is_a_single_point_of_figure_1():
    name, (piece,) = phase_diagram().regions[-1]
    assert name == "feature learning and diverse"
    assert corners(piece, ((-2, 3), (-2, 3))) == ((F(1, 2), F(1, 2)),)
    assert [name for name, _ in phase_diagram().regions] == list(ORDERED)


def test_corners_are_exact():
    regions = dict(phase_diagram().regions)
    box = ((0, 2), (-1, 1))
    assert set(corners(regions["redundant"][0], box)) == {(F(1, 2), F(1, 2)), (F(1), F(0))}
    assert set(corners(regions["unfaithful"][0], box)) == {(F(1), F(0)), (F(2), F(-1))}
    assert corners(regions["unfaithful"][0], ((0, "1/2"), (0, 1))) == ()
    area = sum(abs(_area(corners(p, box))) for pieces in regions.values() for p in pieces)
    assert area == 4


def _area(polygon):
    return sum(F(a * d - b * c, 2) for (a, b), (c, d) in zip(polygon, polygon[1:] + polygon[:1], strict=True)) if polygon else 0


def test_a_diagram_in_json():
    found = phase_diagram(block_depth=2).to_json()
    json.dumps(found)
    assert found["regions"][0] == {"name": "unstable at initialization", "pieces": [["1/2 - alpha > 0"]]}


def test_conditions_say_nothing_twice():
    """Of blocks that are not centred, pieces of the redundant line lay within one another."""
    for k, centred in product((1, 2, 3), (True, False)):
        for condition in conditions(block_depth=k, centred=centred).values():
            assert not any(p.within(q) for p, q in permutations(condition.pieces, 2))
    assert str(conditions(block_depth=2, centred=False)["redundant"]) == "1 - alpha - 2*gamma = 0 and 1 - alpha - 2*beta <= 0"


@pytest.mark.parametrize("k", [1, 2])
def test_blocks_that_are_not_centred_are_never_diverse(k):
    """docs/design.md: at (1, 0) their initial branches sum to order one, but aligned."""
    assert branch(k, centred=False, tied=True)[frozenset()].at({"alpha": 1, "beta": 0}) == 0
    regime = classify(Parametrization(1, 0), block_depth=k, centred=False)
    assert (regime.name, regime.diversity) == ("redundant", 0)
    assert str(conditions(block_depth=k, centred=False)["diverse"]) == "never"


def test_layers_that_share_an_exponent_are_spoken_of_together():
    assert "the update of each layer's preactivation is Theta(1)" in str(classify(Parametrization(1, 0), block_depth=2))
    assert "the update of one block's preactivation is Theta(1)" in str(classify(Parametrization(1, 0)))


def test_a_notebook_shows_the_diagram_as_a_table():
    head, rule, *rows = phase_diagram()._repr_markdown_().splitlines()
    assert head.count("|") == rule.count("|") == 3
    assert [row.split(" | ")[0][2:] for row in rows] == [region.name for region in phase_diagram().regions]
    assert rows[-1].endswith(r"$\tfrac{1}{2} - \alpha = 0 \;\land\; 1 - \alpha - \gamma = 0$ |")
