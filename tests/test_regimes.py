"""Verdicts against the table of TP6's section 7, on a grid that holds every border."""

from fractions import Fraction as F
from itertools import product

import pytest

from limits import COMPLETEP, DEPTH_MUP, Parametrization, classify

GRID = [(a, g) for a, g in product([F(k, 8) for k in range(-4, 20)], repeat=2)]
NAMES = {
    "unstable at initialization",
    "unstable during training",
    "trivial",
    "unfaithful",
    "redundant",
    "feature learning and diverse",
}


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
    assert seen == NAMES


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
    from dataclasses import replace

    for step in classify(DEPTH_MUP).steps:
        assert not replace(step, value=-step.value - 1 if step.relation == ">" else step.value + 1).holds()


def test_branches_that_are_not_centred_add_up():
    """Without mean subtraction relu needs alpha = 1 to be stable at initialization."""
    assert classify(Parametrization("3/4", "1/4"), centred=False).name == "unstable at initialization"
    assert classify(Parametrization(1, 0), centred=False).stable_at_initialization
    assert classify(Parametrization(1, 0), centred=False).diversity == F(1, 2)


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
    with pytest.raises(ValueError, match="block_depth=2: use block_depth=1"):
        classify(DEPTH_MUP, block_depth=2)
    with pytest.raises(ValueError, match="2 exponents"):
        classify(Parametrization(1, (0, 0)))
