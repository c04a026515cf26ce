"""Designs against the theory and against searches, and proofs that must not survive a fault."""

import copy
import json
import pickle
from dataclasses import replace
from fractions import Fraction as F
from itertools import chain, combinations, product
from math import isclose
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from typer.testing import CliRunner

from limits import COMPLETEP, DEPTH_MUP, Parametrization, classify
from limits.cli import app
from limits.desiderata import WISHES, Certificate, Constraint, Feasible, Impossible, design
from limits.desiderata.piece import piece
from limits.exponents import Affine
from limits.inequalities import decide, elimination, implied
from limits.inequalities.elimination import between

# The run-time type checks look at a random element of a tuple; hypothesis notices.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")
many = settings(max_examples=100, deadline=None)

NAMES = ("x_1", "x_2", "x_3", "x_4")
coefficients = st.lists(st.integers(-3, 3), min_size=len(NAMES) + 1, max_size=len(NAMES) + 1)
forms = coefficients.map(lambda c: Affine(c[0], tuple(zip(NAMES, c[1:], strict=True))))
constraints = st.builds(Constraint, forms, st.sampled_from(["<=", "<=", "<=", "<", "="]))
systems = st.lists(constraints, min_size=1, max_size=9)


# The core: points and proofs


@many
@given(systems)
def test_every_answer_proves_itself(system):
    """A point satisfies every line; multipliers, added up here again, contradict themselves."""
    answer = decide(system, NAMES)
    if isinstance(answer, dict):
        for c in system:
            value = c.form.constant + sum(answer[name] * x for name, x in c.form.terms)
            assert {"=": value == 0, "<=": value <= 0, "<": value < 0}[c.relation]
        return
    total = [F(0)] * (len(NAMES) + 1)
    strict = False
    for multiplier, c in answer.terms:
        assert c in system
        assert c.relation == "=" or multiplier > 0
        strict |= c.relation == "<"
        total = [t + multiplier * x for t, x in zip(total, [c.form.constant, *map(c.form.coefficient, NAMES)], strict=True)]
    assert total[1:] == [0] * len(NAMES)
    contradictory = total[0] >= 0 if strict else total[0] > 0
    assert contradictory or (total[0] < 0 and all(c.relation == "=" for _, c in answer.terms))


@many
@given(systems)
def test_the_verdict_is_that_of_a_solver_in_floating_point(system):
    """The largest slack of the strict inequalities, at most 1; exact data of size 3 leave it 0 or above 1e-6."""
    unknowns = len(NAMES) + 1

    def rows(relations):
        chosen = [c for c in system if c.relation in relations]
        left = [[*(float(c.form.coefficient(n)) for n in NAMES), float(c.relation == "<")] for c in chosen]
        return np.array(left).reshape(-1, unknowns), np.array([-float(c.form.constant) for c in chosen])

    upper, equal = rows(("<=", "<")), rows(("=",))
    bounds = [(None, None)] * len(NAMES) + [(0, 1)]
    found = linprog([0] * len(NAMES) + [-1], *upper, *equal, bounds=bounds, method="highs")
    possible = found.status == 0 and (-found.fun > 1e-6 or all(c.relation != "<" for c in system))
    assert isinstance(decide(system, NAMES), dict) is bool(possible)


@many
@given(systems, st.data())
def test_an_altered_certificate_is_rejected(system, data):
    """One multiplier, or one coefficient of a constraint, is off by a fraction; or one sign is turned round."""
    if isinstance(answer := decide(system, NAMES), dict):
        return
    assert answer.holds()
    i = data.draw(st.integers(0, len(answer.terms) - 1))
    multiplier, c = answer.terms[i]
    change = data.draw(st.fractions(-2, 2, max_denominator=7).filter(bool))

    def altered(term):
        return Certificate((*answer.terms[:i], term, *answer.terms[i + 1 :]))

    shifted = Constraint(c.form + change * Affine.symbol("x_1"), c.relation)
    assert not altered((multiplier, shifted)).holds()
    if not c.form.is_constant:
        assert not altered((multiplier + change, c)).holds()
        assert not altered((-multiplier, c)).holds()


def test_multipliers_of_inequalities_may_not_be_negative():
    """Zero minus a true inequality proves nothing, though the sum is false."""
    x = Affine.symbol("x")
    honest = Certificate(((F(1), Constraint(x, "<=")), (F(1), Constraint(1 - x, "<="))))
    assert honest.holds()
    assert not Certificate(((F(-1), Constraint(x, "<=")), (F(1), Constraint(1 + x, "<=")))).holds()
    assert not Certificate(((F(1), Constraint(x, "<=")), (F(1), Constraint(-x, "<=")))).holds(), "0 <= 0 is true"
    assert Certificate(((F(1), Constraint(x, "<")), (F(1), Constraint(-x, "<=")))).holds(), "0 < 0 is false (Motzkin)"
    assert not Certificate(()).holds()


@pytest.mark.parametrize("wrong", [{"x": F(1)}, Certificate(((F(2), Constraint(Affine.symbol("x"), "<=")),))])
def test_a_wrong_answer_of_the_elimination_is_not_returned(monkeypatch, wrong):
    monkeypatch.setattr(elimination._Elimination, "answer", lambda self: wrong)
    with pytest.raises(ArithmeticError, match="the elimination returned"):
        decide([Constraint(Affine.symbol("x"), "<=")])


@many
@given(systems)
def test_a_piece_is_the_same_set_with_nothing_superfluous(system):
    found = piece(system, NAMES)
    if isinstance(found, Certificate):
        return
    assert all(implied(found.constraints, c) for c in system)
    assert all(implied(system, c) for c in found.constraints)
    assert all(c.form.at(found.point) < 0 for c in found.inequalities), "the point is in the relative interior"
    for c in found.inequalities:
        assert not implied([other for other in found.constraints if other != c], c)


@many
@given(st.fractions(-5, 5, max_denominator=20), st.fractions(-5, 5, max_denominator=20))
def test_the_shortest_number_between_two(a, b):
    low, high = min(a, b), max(a, b)
    if low == high:
        return
    found = between(low, high)
    assert low < found < high
    fewer = (F(n, d) for d in range(1, found.denominator) for n in range(-5 * d, 5 * d + 1))
    assert not any(low < x < high for x in fewer)
    assert between(low, None) == (0 if low < 0 else low.numerator // low.denominator + 1)


# What the theory says


def test_depth_mup_is_unique():
    """TP6, Claim 7.5: also if the initial sizes may vary, since a faithful layer has beta = 0."""
    for free in (("alpha", "gamma", "beta"), ("alpha", "gamma")):
        found = design("stable", "nontrivial", "faithful", "feature-learning", "diverse", free=free)
        assert isinstance(found, Feasible)
        assert found.unique
        assert found.point == DEPTH_MUP
        assert str(found.pieces[0]) == "alpha = 1/2, gamma = 1/2, beta = 0"


def test_without_faithfulness_at_initialization_depth_mup_is_unique_up_to_a_factor_of_the_weights():
    found = design("feature-learning", "diverse")
    assert isinstance(found, Feasible)
    (line,) = found.pieces
    assert str(line) == "alpha = 1/2 - beta, gamma = 1/2 + beta, beta >= -1/2"
    assert found.point == DEPTH_MUP
    assert design("feature-learning", "diverse", fixed={"beta": 0}).unique


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("options", [{}, {"free": ("alpha", "gamma")}, {"tied": True}])
def test_diverse_blocks_of_several_layers_do_not_interact(depth, options):
    """TP6, section 9.3, from e_A + e_B = e_S + e_0 + 1/2 for every division of S into A and B."""
    start = perf_counter()
    found = design("stable", "diverse", "interacting", block_depth=depth, **options)
    print(f"k = {depth}: {perf_counter() - start:.2f} s")
    assert isinstance(found, Impossible)
    assert found.core == ("stable", "diverse", "interacting")
    assert found.holds()
    sets = depth - 1 if options.get("tied") else 2**depth - depth - 1
    assert len({c.branch for c in found.certificates}) == len(found.certificates) == sets
    if not options:
        assert {c.claim for c in found.certificates} == {"1/2 <= 0"}
        assert {len(c.terms) for c in found.certificates} == {4}


@pytest.mark.parametrize("depth", [2, 3])
def test_the_core_is_minimal(depth):
    found = design(*WISHES, block_depth=depth)
    assert isinstance(found, Impossible)
    for name in found.core:
        assert isinstance(design(*(w for w in found.core if w != name), block_depth=depth), Feasible)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_completep_once_diversity_is_dropped(depth):
    assert design("stable", "interacting", block_depth=depth).contains(COMPLETEP)
    found = design("stable", "faithful", "interacting", "maximal", block_depth=depth)
    assert isinstance(found, Feasible)
    assert found.unique
    assert found.point == Parametrization(1, (0,) * depth)
    assert found.contains(COMPLETEP)
    assert not found.contains(DEPTH_MUP)


@pytest.mark.parametrize("depth", [1, 2])
def test_branches_of_nonzero_mean_are_not_diverse(depth):
    """They add up coherently: where their fluctuations are Theta(1), they explode."""
    found = design("stable", "diverse", block_depth=depth, centred=False)
    assert isinstance(found, Impossible)
    assert [c.claim for c in found.certificates] == ["1/2 <= 0"]
    assert {c.meaning for _, c in found.certificates[0].terms} == {"stable at initialization", "diverse"}


def test_one_layer_has_nothing_to_interact_with():
    found = design("stable", "interacting")
    assert isinstance(found, Impossible)
    assert (found.core, found.certificates, found.holds()) == (("interacting",), (), True)
    assert "a block of one layer has no such term" in str(found)


def test_given_exponents_are_part_of_the_proof():
    found = design("stable", fixed={"alpha": "1/4", "beta": 0})
    assert isinstance(found, Impossible)
    assert str(found).split("\n")[1:] == [
        "    1 times  alpha given:              -1/4 + alpha = 0",
        "    1 times  beta given:               beta = 0",
        "    1 times  stable at initialization: 1/2 - alpha - beta <= 0",
        "    add up to  1/4 <= 0",
    ]


# The same questions asked of single points, in the words of the table of the theory


def order(alpha, gamma, beta, updated, centred):
    share = F(1, 2) if centred and not updated else F(1)
    return share - alpha - sum(g if i in updated else b for i, (g, b) in enumerate(zip(gamma, beta, strict=True)))


def granted(wish, alpha, gamma, beta, centred):
    layers = range(len(gamma))
    sets = [frozenset(s) for s in chain.from_iterable(combinations(layers, n) for n in range(1, len(gamma) + 1))]
    initial = order(alpha, gamma, beta, frozenset(), centred)
    e = {s: order(alpha, gamma, beta, s, centred) for s in sets}
    stable = initial <= 0 and max(e.values()) <= 0
    return {
        "stable": stable,
        "nontrivial": max(e.values()) >= 0,
        "faithful": initial <= 0 and not any(beta) and min(gamma) >= 0,
        "diverse": order(alpha, gamma, beta, frozenset(), True) == 0,
        "feature-learning": stable and max(e.values()) >= 0 and min(gamma) >= 0,
        "interacting": any(e[s] == 0 for s in sets if len(s) > 1),
        "layerwise-nonlinear": any(e[s] >= 0 for s in sets if len(s) > 1)
        or any(e[frozenset({i})] - gamma[i] >= 0 for i in layers),
        "maximal": all(e[frozenset({i})] == 0 for i in layers),
    }[wish]


HALVES = {1: [F(n, 2) for n in range(-2, 4)], 2: [F(0), F(1, 2), F(1)]}
ALONE = [(wish,) for wish in WISHES]
TOGETHER = [*combinations(WISHES, 2), ("stable", "nontrivial", "diverse")]


@pytest.mark.parametrize(
    ("wishes", "depth", "centred"),
    [*product(ALONE, (1, 2), (True, False)), *product(TOGETHER, (2,), (True,)), *product(TOGETHER[:6], (1,), (False,))],
)
def test_the_pieces_hold_what_was_wished_and_nothing_else(wishes, depth, centred):
    found = design(*wishes, block_depth=depth, centred=centred)
    for alpha, *rest in product(HALVES[depth], repeat=1 + 2 * depth):
        gamma, beta = tuple(rest[:depth]), tuple(rest[depth:])
        wanted = all(granted(w, alpha, gamma, beta, centred) for w in wishes)
        assert (isinstance(found, Feasible) and found.contains(Parametrization(alpha, gamma, beta))) is wanted
    if isinstance(found, Feasible):
        alpha, gamma, beta = found.point.layers(depth)
        assert all(granted(w, alpha, gamma, beta, centred) for w in wishes)


def verdicts(regime):
    """What a regime says about the wishes it knows."""
    return {
        "stable": regime.stable_at_initialization and regime.stable_during_training,
        "nontrivial": regime.nontrivial,
        "faithful": regime.faithful_at_initialization and regime.faithful_during_training,
        "feature-learning": regime.feature_learning,
        "layerwise-nonlinear": not regime.layerwise_linear,
        "diverse": regime.diversity == F(1, 2),
    }


QUESTIONS = [
    ("stable",),
    ("stable", "nontrivial"),
    ("stable", "nontrivial", "diverse"),
    ("stable", "faithful"),
    ("feature-learning",),
    ("feature-learning", "diverse"),
    ("feature-learning", "faithful", "diverse"),
    ("feature-learning", "faithful", "layerwise-nonlinear"),
    ("stable", "layerwise-nonlinear"),
    ("stable", "faithful", "maximal"),
]


@pytest.mark.parametrize(("depth", "wishes"), [*product((1, 2, 3), QUESTIONS), (4, QUESTIONS[0]), (4, QUESTIONS[-1])])
def test_classify_agrees_about_the_point(depth, wishes):
    found = design(*wishes, block_depth=depth)
    assert isinstance(found, Feasible)
    known = verdicts(classify(found.point, block_depth=depth))
    assert all(known[w] for w in wishes if w in known)


def test_pieces_are_none_within_another_and_the_point_is_inside_the_largest():
    for wishes in QUESTIONS:
        found = design(*wishes, block_depth=2)
        assert isinstance(found, Feasible)
        assert not any(a.within(b) for a in found.pieces for b in found.pieces if a is not b)
        assert found.contains(found.point)
        assert found.pieces[0].dimension == max(p.dimension for p in found.pieces)


# Faults


def test_a_proof_with_a_fault_is_rejected():
    found = design("stable", "diverse", "interacting", block_depth=3)
    assert isinstance(found, Impossible)
    first, *others = found.certificates
    assert not replace(found, certificates=tuple(others)).holds(), "a way is left open"
    for i, (multiplier, c) in enumerate(first.terms):
        for term in ((multiplier + F(1, 64), c), (multiplier, replace(c, form=c.form + F(1, 64)))):
            faulty = replace(first, terms=(*first.terms[:i], term, *first.terms[i + 1 :]))
            assert not replace(found, certificates=(faulty, *others)).holds()
    elsewhere = replace(first, branch=others[0].branch)
    assert not replace(found, certificates=(elsewhere, *others)).holds(), "a row that this way does not offer"
    assert not replace(found, core=("stable", "diverse")).holds()


def test_points_outside_are_rejected():
    found = design("feature-learning", "faithful")
    assert isinstance(found, Feasible)
    assert found.contains(Parametrization("3/4", "1/4"))
    for wrong in (("3/4", "1/2"), ("1/4", "3/4"), ("3/2", "-1/2"), ("3/4", "1/4", "1/64")):
        assert not found.contains(Parametrization(*wrong))


# Questions


def test_wishes_may_be_spelled_either_way():
    assert design("feature_learning") == design("feature-learning") == design("Feature-Learning", "feature_learning")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: design(), "name wishes among stable, nontrivial"),
        (lambda: design("lively"), "'lively' is no wish: choose from stable, nontrivial, faithful"),
        (lambda: design("stable", free=("alpha",)), "gamma is neither free nor given"),
        (lambda: design("stable", fixed={"delta": 1}), "'delta' is no exponent of this block"),
        (lambda: design("stable", fixed={"gamma": (0, 0)}), "gamma needs 1 exponent"),
        (lambda: design("stable", fixed={"gamma": 0.1}), "gamma = 0.1 is not exactly a fraction"),
        (lambda: design("stable", block_depth=2, tied=True, fixed={"gamma_1": 0}), "'gamma_1' is no exponent"),
        (lambda: design("stable", block_depth=2).contains(Parametrization(1, (0, 0, 0))), "gamma has 3 exponents"),
    ],
)
def test_a_wrong_question_is_answered_by_a_sentence(ask, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        ask()


def test_exponents_are_given_by_family_by_layer_or_in_a_row():
    rows = [
        {"gamma": (0, "1/2")},
        {"gamma_1": 0, "gamma_2": "1/2"},
        {"gamma": 0, "gamma_2": "1/2"},
        {"gamma_2": "1/2", "gamma": 0},
    ]
    found = [design("stable", block_depth=2, fixed=fixed) for fixed in rows]
    assert found[0] == found[1] == found[2] == found[3]
    assert found[0].point.gamma == (0, F(1, 2))
    assert isclose(design("stable", free=("alpha",), fixed={"gamma": "1/3"}).point.alpha, 1)


# The command


def limits(*arguments):
    return CliRunner().invoke(app, ["design", *arguments])


def test_the_command_prints_the_answer():
    result = limits("stable", "diverse", "interacting", "--block-depth", "2")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{design('stable', 'diverse', 'interacting', block_depth=2)}\n"
    assert limits("feature-learning", "faithful", "diverse").stdout.startswith("possible: ")


def test_the_command_in_json():
    found = json.loads(limits("stable", "diverse", "interacting", "--block-depth", "3", "--json").stdout)
    assert (found["possible"], found["verified"]) == (False, True)
    assert found["core"] == ["stable", "diverse", "interacting"]
    assert len(found["certificates"]) == 4
    assert found["certificates"][0]["branch"] == ["interacting through S={1,2}"]
    found = json.loads(limits("feature_learning", "diverse", "--fix", "beta=0", "--json").stdout)
    assert found["point"] == {"alpha": "1/2", "gamma": "1/2", "beta": "0"}
    assert (found["possible"], found["unique"]) == (True, True)


def test_the_command_fixes_exponents():
    result = limits("stable", "--block-depth", "2", "--fix", "alpha=1/2", "--fix", "gamma=0,-1/2", "--fix", "beta=0")
    assert result.stdout.startswith("impossible: stable")
    assert "--fix takes" in limits("stable", "--fix", "alpha").stderr


def test_the_help_teaches():
    text = limits("--help").stdout
    assert all(name in text for name in WISHES)
    assert "limits design stable diverse interacting --block-depth 2" in text


@pytest.mark.parametrize("wishes", [("stable", "nontrivial", "diverse"), ("stable", "interacting")])
def test_a_point_that_does_not_meet_the_wishes_is_rejected(wishes):
    answer = design(*wishes, block_depth=2)
    assert answer.holds()
    assert answer.to_json()["verified"]
    assert not replace(answer, point=Parametrization(5, 5)).holds()
    assert not replace(answer, pieces=()).holds()
    strayed = replace(answer, point=Parametrization(answer.point.alpha + F(1, 97), answer.point.gamma, answer.point.initial))
    assert not strayed.holds()
    assert not strayed.to_json()["verified"]


def test_a_proof_is_about_what_was_asked():
    answer = design("stable", "diverse", "interacting", block_depth=2)
    assert not replace(answer, core=(*answer.core, "maximal")).holds()
    assert not replace(answer, core=("impossible",)).holds()


@pytest.mark.parametrize("wishes", [("stable", "diverse"), ("stable", "diverse", "interacting")])
def test_answers_are_values(wishes):
    answer = design(*wishes, block_depth=2)
    again = pickle.loads(pickle.dumps(answer))
    assert again == answer == copy.deepcopy(answer)
    assert {answer: 1}[again] == 1
    assert answer._repr_markdown_() == f"```text\n{answer}\n```"
