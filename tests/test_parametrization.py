"""Exponents are exact, or refused with a sentence that says how to write them."""

import copy
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
import sympy

from limits import COMPLETEP, DEPTH_MUP, NEURAL_ODE, Parametrization
from limits.parametrization import LARGEST_DENOMINATOR, exact


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (1, Fraction(1)),
        (-2, Fraction(-2)),
        ("1/2", Fraction(1, 2)),
        (" 3/4 ", Fraction(3, 4)),
        ("0.1", Fraction(1, 10)),
        ("1/1000", Fraction(1, 1000)),
        (0.5, Fraction(1, 2)),
        (0.015625, Fraction(1, 64)),
        (-0.75, Fraction(-3, 4)),
        (Fraction(1, 3), Fraction(1, 3)),
        (Fraction(1, 1000), Fraction(1, 1000)),
        (sympy.Rational(2, 3), Fraction(2, 3)),
        (sympy.Integer(1), Fraction(1)),
        (np.int64(1), Fraction(1)),
        (np.float64(0.25), Fraction(1, 4)),
        (np.float32(0.125), Fraction(1, 8)),
    ],
)
def test_exact(written, value):
    got = exact(written, "alpha")
    assert type(got) is Fraction
    assert got == value


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        (0.1, r'alpha = 0.1 is not exactly a fraction with denominator <= 64: write it as text, for example "1/10"'),
        (1 / 3, r'alpha = 0\.333\d* is not exactly a fraction .* "1/3"'),
        (math.sqrt(0.5), "alpha = .* is not exactly a fraction"),
        (1 / 128, "alpha = 0.0078125 is not exactly a fraction with denominator <= 64"),
        (float("nan"), r'alpha must be a finite fraction, got nan: write it like "1/2"'),
        (float("inf"), "alpha must be a finite fraction, got inf"),
        (-float("inf"), "alpha must be a finite fraction"),
        ("half", "alpha must be a fraction, got the text 'half': write it like \"1/2\""),
        ("", "alpha must be a fraction"),
        ("1/0", "alpha must be a fraction, got the text '1/0'"),
        ("nan", "alpha must be a fraction"),
    ],
)
def test_inexact_values_are_refused(written, sentence):
    with pytest.raises(ValueError, match=sentence):
        exact(written, "alpha")
    with pytest.raises(ValueError, match=sentence):
        Parametrization(written, "1/2")
    with pytest.raises(ValueError, match=sentence.replace("alpha", "gamma")):
        Parametrization("1/2", written)


@pytest.mark.parametrize("written", [None, True, False, 1j, [1], b"1/2", sympy.Symbol("a"), sympy.sqrt(2)])
def test_other_things_are_refused(written):
    with pytest.raises(TypeError, match=r'must be a fraction, got .* write it like "1/2"'):
        exact(written, "alpha")


def test_every_fraction_up_to_the_largest_denominator_of_powers_of_two():
    for k in range(-130, 131):
        assert exact(k / LARGEST_DENOMINATOR, "alpha") == Fraction(k, LARGEST_DENOMINATOR)


def test_equal_however_written():
    written = [Parametrization("1/2", 0.5), Parametrization(Fraction(1, 2), "2/4"), Parametrization(0.5, "0.5", 0)]
    assert all(w == DEPTH_MUP for w in written)
    assert len({*written, DEPTH_MUP}) == 1
    assert DEPTH_MUP != COMPLETEP
    assert NEURAL_ODE == COMPLETEP == Parametrization(1, 0)


def test_values_cannot_be_changed():
    with pytest.raises(AttributeError):
        DEPTH_MUP.alpha = Fraction(1)


def test_repr():
    assert repr(DEPTH_MUP) == "Parametrization(alpha=1/2, gamma=1/2)"
    assert repr(Parametrization(1, (0, "1/2"), initial="1/3")) == "Parametrization(alpha=1, gamma=(0, 1/2), initial=1/3)"


def test_copies():
    for again in (copy.deepcopy(COMPLETEP), pickle.loads(pickle.dumps(COMPLETEP))):
        assert again == COMPLETEP


def test_layers():
    two = Parametrization(1, ("1/2", 0.25), initial=(0, "1/2"))
    assert two.gamma == (Fraction(1, 2), Fraction(1, 4))
    assert two.initial == (0, Fraction(1, 2))
    with pytest.raises(ValueError, match="gamma has 2 exponents, but a block of depth 1 has one layer: give one"):
        two.single()
    assert Parametrization(1, ("1/2",)).single() == (1, Fraction(1, 2), 0)
    with pytest.raises(ValueError, match="gamma must hold one exponent per layer of the block, got an empty tuple"):
        Parametrization(1, ())
    with pytest.raises(ValueError, match=r"initial = 0\.1 is not exactly"):
        Parametrization(1, 0, initial=(0, 0.1))
    with pytest.raises(ValueError, match="initial has 2 exponents"):
        Parametrization(1, 0, initial=(0, 0)).single()


@pytest.mark.parametrize(("alpha", "gamma"), [("1/2", "1/2"), (1, 0), ("3/4", "1/4"), ("1/2", 0)])
def test_raw_learning_rate_of_sgd(alpha, gamma):
    assert Parametrization(alpha, gamma).sgd_exponent == Fraction(alpha) - Fraction(gamma)
