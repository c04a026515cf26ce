"""Raw learning rates against TP6's Table 1, and recipes as people write them."""

import json
from fractions import Fraction as F

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limits import COMPLETEP, DEPTH_MUP, Parametrization, decode, raw_exponents
from limits.parametrization import OPTIMIZERS, effective, gradients
from limits.recipes import size
from limits.regimes import branch

# The run-time type checks look at a random element of a tuple; hypothesis notices.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")
few = settings(max_examples=40, deadline=None)
fractions = st.fractions(-2, 2, max_denominator=6)

# Raw learning rates


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0), ("adam", F(-1, 2))])
def test_table_1_of_tp6(optimizer, lr):
    """Depth-µP: multiplier a / sqrt(L), learning rate eta for SGD, eta / sqrt(L) for Adam."""
    raw = raw_exponents(DEPTH_MUP, optimizer)
    assert (raw.multiplier, raw.lr) == (F(-1, 2), (lr,))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_standard_depth_has_no_factors(optimizer):
    """TP6, Table 1, first column: multiplier 1, and the rate is tuned at every depth."""
    raw = raw_exponents(Parametrization(0, 0), optimizer)
    assert (raw.multiplier, raw.lr) == (0, (0,))


def test_completep_by_optimizer():
    """CP, Table 1, alpha = 1: Adam's rate does not depend on depth, its epsilon is 1/L; SGD's rate grows like L."""
    adam, sgd = raw_exponents(COMPLETEP, "adamw", 2), raw_exponents(COMPLETEP, "sgd", 2)
    assert (adam.lr, adam.epsilon) == ((0, 0), (-1, -1))
    assert (sgd.lr, sgd.epsilon) == ((1, 1), None)


@st.composite
def blocks(draw):
    k = draw(st.integers(1, 4))
    layers = st.tuples(*[fractions] * k)
    return k, Parametrization(draw(fractions), draw(layers), draw(layers))


@few
@given(blocks(), st.sampled_from([*OPTIMIZERS]))
def test_raw_and_effective_exponents_are_inverse(block, optimizer):
    k, p = block
    raw = raw_exponents(p, optimizer, k)
    back = effective(optimizer, alpha=-raw.multiplier, lr=raw.lr, initial=p.initial, block_depth=k)
    assert back.layers(k) == p.layers(k)


@few
@given(blocks())
def test_the_gradient_is_the_derivative_of_the_branch(block):
    """The expansion's term of one layer is the aligned sum of its gradient times its update."""
    k, p = block
    alpha, gammas, betas = p.layers(k)
    point = {"alpha": alpha} | {f"gamma_{i + 1}": gammas[i] for i in range(k)} | {f"beta_{i + 1}": betas[i] for i in range(k)}
    for i, gradient in enumerate(gradients(p, k)):
        assert branch(k)[frozenset({i + 1})].at(point) == 1 + gradient.at({}) - gammas[i]


def test_sgd_divides_by_the_other_layers():
    raw = raw_exponents(Parametrization("1/2", 0, ("1/2", 0)), "sgd", 2)
    assert raw.lr == (F(1, 2), F(1))
    assert raw.gradient == (F(-1, 2), F(-1))


def test_optimizers_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="optimizer must be one of sgd, momentum, adam, adamw, signsgd, muon, got 'magic'"):
        raw_exponents(DEPTH_MUP, "magic")


# Recipes


@pytest.mark.parametrize(
    ("recipe", "alpha", "gamma", "name"),
    [
        ("multiplier=L^-1/2 lr=1 optimizer=adam", F(1, 2), F(0), "unstable during training"),
        ("multiplier=L^-1/2 lr=1 optimizer=sgd", F(1, 2), F(1, 2), "feature learning and diverse"),
        ("multiplier=L^-1/2 lr=L^-1/2 optimizer=adamw", F(1, 2), F(1, 2), "feature learning and diverse"),
        ("multiplier=1/L, adam, lr=1", F(1), F(0), "redundant"),
        ("multiplier=1/L, lr=L, momentum", F(1), F(0), "redundant"),
        ("muon; branch = 1/sqrt(2L); learning_rate = 0.02", F(1, 2), F(0), "unstable during training"),
        ("optimizer: SignSGD, multiplier: 1/L^(3/4), lr: 3e-4 * L**-0.25", F(3, 4), F(1, 4), "redundant"),
        ("sgd", F(0), F(0), "unstable at initialization"),
        ("adam multiplier=1/L lr=1/L", F(1), F(1), "trivial"),
        ("adam multiplier=L^-2 lr=L", F(2), F(-1), "unfaithful"),
    ],
)
def test_recipes_are_read(recipe, alpha, gamma, name):
    found = decode(recipe)
    assert (found.parametrization, found.regime.name) == (Parametrization(alpha, gamma), name)
    assert decode(found.text).parametrization == found.parametrization
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("alpha", [F(0), F(1, 2), F(3, 4), F(1), F(2)])
def test_a_repair_learns_and_changes_the_rate_first(optimizer, depth, alpha):
    found = decode({"multiplier": f"L^({-alpha})", "lr": 1, "optimizer": optimizer, "block_depth": depth})
    if found.regime.name in ("redundant", "feature learning and diverse"):
        assert found.repair is None
        return
    assert found.repair.regime.feature_learning
    assert found.repair.repair is None
    assert found.repair.parametrization.alpha == min(max(alpha, F(1, 2)), F(1))
    assert str(found).splitlines()[-1].startswith(f"repair: {found.repair.text}  is  ")


def test_one_name_means_two_things():
    adam, sgd = (decode({"multiplier": "L^-1/2", "optimizer": name}) for name in ("adam", "sgd"))
    assert (adam.known_as, sgd.known_as) == (None, "Depth-µP")
    assert adam.repair.known_as == "Depth-µP"
    assert adam.repair.lr == F(-1, 2)
    assert "1 - alpha - gamma = 1/2 > 0" in str(adam)
    assert str(sgd).startswith("multiplier=L^(-1/2) lr=1 optimizer=sgd  is  alpha = 1/2, gamma = 1/2: Depth-µP\n")


def test_small_initial_weights_are_part_of_a_recipe():
    """Blocks that start at zero need no small multiplier, and are no faithful initialization."""
    found = decode("sgd multiplier=1 initial=1/sqrt(L) block_depth=2 lr=1/L")
    assert found.parametrization == Parametrization(0, F(3, 2), F(1, 2))
    assert decode(found.text).parametrization == found.parametrization


@pytest.mark.parametrize(
    ("text", "exponent"),
    [
        ("1", 0), ("0.3", 0), (0.1, 0), ("1e-3", 0), ("L", 1), ("l", 1), ("1/L", -1), ("2/L", -1), ("1/(2L)", -1), ("L^2", 2),
        ("L^-1/2", F(-1, 2)), ("L^(-1/2)", F(-1, 2)), ("L**-0.5", F(-1, 2)), ("L^{-1/2}", F(-1, 2)), ("1/sqrt(L)", F(-1, 2)),
        ("sqrt(1/L)", F(-1, 2)), ("1/√L", F(-1, 2)), ("(2L)^-1/2", F(-1, 2)), ("1/L^1/2", F(-1, 2)), ("L^1/3 / L", F(-2, 3)),
        ("sqrt(sqrt(L))", F(1, 4)), ("L^+1", 1), ("L^-1 * L^-1/2", F(-3, 2)), ("L^-1/L", -2),
    ],
)  # fmt: skip
def test_sizes(text, exponent):
    assert size(text) == exponent


@pytest.mark.parametrize("text", ["", "n", "L+1", "L -", "sqrt", "(L", "L)", "0", "L^", "L^L", "-1", "1/0", "exp(L)", "L^(1/2"])
def test_sizes_that_are_no_power_of_L(text):
    with pytest.raises(ValueError, match="lr must be a positive product of powers of L"):
        size(text, "lr")


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("multiplier=1/L lr=1", "must name its optimizer"),
        ("adam sgd", "gives optimizer twice: 'adam' and 'sgd'"),
        ("adam depth=3", "made of multiplier, lr, optimizer, block_depth, initial, got 'depth'"),
        ("adam large", "got 'large'"),
        ("optimizer=magic", "optimizer must be one of"),
        ("adam block_depth=two", "block_depth must be a whole number"),
        ("adam lr=n", "lr must be a positive product of powers of L, got 'n'"),
        ({"optimizer": "adam", "width": 3}, "got 'width'"),
    ],
)
def test_what_is_no_recipe_is_refused(recipe, expected):
    with pytest.raises(ValueError, match=expected):
        decode(recipe)


def test_epsilon_follows_a_gradient_that_shrinks_or_grows():
    assert "epsilon must shrink like the gradient, L^(-1/2)" in str(decode("multiplier=L^-1/2 adam"))
    assert "epsilon must grow like the gradient, L^(1/2)" in str(decode("multiplier=L^1/2 adam"))
    assert "epsilon" not in str(decode("adam"))
