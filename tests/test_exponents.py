"""The laws of exact orders: a semiring with max for addition, and evaluation as its homomorphism."""

from fractions import Fraction as F

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limits.exponents import Affine, Order, sum_aligned, sum_independent

# The run-time type checks look at a random element of a tuple; hypothesis notices.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")
few = settings(max_examples=40, deadline=None)
NAMES = ("alpha", "gamma", "gamma_1", "gamma_2", "beta_1")
fractions = st.fractions(-4, 4, max_denominator=12)
affines = st.builds(Affine, fractions, st.lists(st.tuples(st.sampled_from(NAMES), fractions), max_size=3).map(tuple))
orders = st.lists(affines, max_size=3).map(lambda pieces: Order(*pieces))
points = st.fixed_dictionaries({name: fractions for name in NAMES})


@few
@given(affines, affines, affines, fractions, points)
def test_affine_functions_form_a_vector_space(a, b, c, r, point):
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a - a == 0
    assert (a + b) * r == r * a + b * r
    assert hash(a + b) == hash(b + a)
    assert (a - r * b).at(point) == a.at(point) - r * b.at(point)
    assert a.substitute(point) == a.at(point)
    assert a.substitute(gamma=b).at(point) == a.at({**point, "gamma": b.at(point)})


@few
@given(fractions, fractions)
def test_constants_are_numbers(a, b):
    assert Affine(a) == a
    assert hash(Affine(a)) == hash(a)
    assert (Affine(a) < b, Affine(a) <= b, Affine(a) > b, Affine(a) >= b) == (a < b, a <= b, a > b, a >= b)
    assert Affine(a).value() == a


@few
@given(affines, points)
def test_sympy_agrees(a, point):
    import sympy

    values = {sympy.Symbol(name, real=True): sympy.Rational(v.numerator, v.denominator) for name, v in point.items()}
    found = a.to_sympy().subs(values)
    assert F(int(found.p), int(found.q)) == a.at(point)
    assert sympy.sympify(str(a), locals={s.name: s for s in values}) == a.to_sympy()


@pytest.mark.parametrize(
    ("text", "latex", "affine"),
    [
        ("0", "0", Affine()),
        ("-1/2", r"-\tfrac{1}{2}", Affine("-1/2")),
        (
            "1 - alpha - gamma_1 - beta_2",
            r"1 - \alpha - \gamma_{1} - \beta_{2}",
            Affine(1, (("beta_2", -1), ("gamma_1", -1), ("alpha", -1))),
        ),
        ("-alpha + 3/2*gamma", r"-\alpha + \tfrac{3}{2}\gamma", Affine(0, (("gamma", "3/2"), ("alpha", -1)))),
        ("2*gamma_2 + gamma_10", r"2\gamma_{2} + \gamma_{10}", Affine(0, (("gamma_10", 1), ("gamma_2", 2)))),
    ],
)
def test_printing(text, latex, affine):
    assert (str(affine), affine.latex()) == (text, latex)


def test_what_is_not_exact_is_refused():
    for wrong in (0.5, None, True):
        with pytest.raises(TypeError, match="must be exact"):
            Affine(wrong)
    with pytest.raises(ValueError, match="text 'half'"):
        Affine("half")
    with pytest.raises(ValueError, match="depends on alpha"):
        assert Affine.symbol("alpha") < 1
    with pytest.raises(ValueError, match="needs a value of alpha"):
        Affine.symbol("alpha").at({"gamma": 1})
    assert Affine.symbol("alpha") != 0
    with pytest.raises(TypeError):
        Affine.symbol("alpha") * Affine.symbol("alpha")


@few
@given(orders, orders, orders)
def test_orders_form_a_semiring_with_idempotent_addition(a, b, c):
    zero, one = Order(), Order(0)
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + a == a
    assert a + zero == a
    assert a * b == b * a
    assert (a * b) * c == a * (b * c)
    assert a * one == a
    assert a * zero == zero
    assert a * (b + c) == a * b + a * c


@few
@given(orders, orders, points)
def test_evaluation_turns_products_into_sums_and_sums_into_maxima(a, b, point):
    if a.pieces and b.pieces:
        assert (a * b).at(point) == a.at(point) + b.at(point)
        assert (a + b).at(point) == max(a.at(point), b.at(point))
        assert a.substitute(point).exponent == a.at(point)
        assert (a**3).at(point) == (a * a * a).at(point)


@few
@given(orders, orders)
def test_sums_over_depth(a, b):
    """Linear, and two independent sums in a row make one aligned sum's gain."""
    for total, gain in ((sum_independent, F(1, 2)), (sum_aligned, F(1))):
        assert total(a + b) == total(a) + total(b)
        assert total(a * b) == total(a) * b
        assert total(Order(0)).exponent == gain
    assert sum_independent(sum_independent(a)) == sum_aligned(a)


@few
@given(affines)
def test_one_piece_can_be_divided_by(e):
    assert Order(e) / Order(e) == Order(0)
    assert Order(e) ** "1/2" * Order(e) ** "1/2" == Order(e)


def test_what_has_no_exponent_says_so():
    alpha = Affine.symbol("alpha")
    with pytest.raises(ValueError, match="2 exponents"):
        _ = (Order(alpha) + Order(0)).exponent
    with pytest.raises(ValueError, match="zero order"):
        Order().at({})
    assert str(Order()) == "0"
    assert str(Order("1/2")) == "L^(1/2)"
    assert str(Order(alpha)) == "L^alpha"
