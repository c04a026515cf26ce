"""Regions of exponents: the algebra of conditions against their truth at points, and emptiness against a search."""

from fractions import Fraction as F
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limits.exponents import Affine
from limits.inequalities import Condition, Inequality, Polyhedron

# The run-time type checks look at a random element of a tuple; hypothesis notices.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")
few = settings(max_examples=40, deadline=None)

small = st.integers(-2, 2)
forms = st.builds(lambda a, b, c: Affine(c, (("x", a), ("y", b))), small, small, small)
inequalities = st.builds(Inequality, forms, st.sampled_from(["<", "<=", "="]))
polyhedra = st.lists(inequalities, max_size=4).map(lambda found: Polyhedron(tuple(found)))
conditions = st.lists(polyhedra, max_size=2).map(lambda found: Condition(tuple(found)))
rationals = st.fractions(-3, 3, max_denominator=4)
points = st.fixed_dictionaries({"x": rationals, "y": rationals})
GRID = [{"x": x, "y": y} for x, y in product([F(n, 2) for n in range(-6, 7)], repeat=2)]


@few
@given(conditions, conditions, points)
def test_conditions_form_a_boolean_algebra(a, b, point):
    assert (a & b).holds(point) is (a.holds(point) and b.holds(point))
    assert (a | b).holds(point) is (a.holds(point) or b.holds(point))
    assert a.negated().holds(point) is not a.holds(point)
    assert a.simplified().holds(point) is a.holds(point)


@few
@given(polyhedra, polyhedra, points)
def test_a_difference_is_cut_into_disjoint_pieces(a, b, point):
    assert sum(piece.holds(point) for piece in a.without(b)) == (a.holds(point) and not b.holds(point))


@few
@given(polyhedra)
def test_emptiness(a):
    if a.is_empty:
        assert not any(a.holds(point) for point in GRID)


@few
@given(conditions)
def test_no_piece_of_a_simplified_condition_lies_within_another(a):
    pieces = a.simplified().pieces
    assert not any(p.within(q) for p in pieces for q in pieces if p is not q)


@few
@given(polyhedra, polyhedra)
def test_what_lies_within_adds_nothing(a, b):
    assert a.within(b) is not any(True for _ in a.without(b))


def bounded(*pairs):
    return Polyhedron(tuple(Inequality(form, relation) for form, relation in pairs))


@pytest.mark.parametrize("relation", ["<=", "<"])
def test_strict_inequalities_stay_strict(relation):
    """A triangle shrunk to a point is empty as soon as one of its sides is open."""
    x, y = Affine.symbol("x"), Affine.symbol("y")
    assert bounded((-x, relation), (-y, "<="), (x + y, "<=")).is_empty is (relation == "<")


@few
@given(st.lists(inequalities.filter(lambda i: not i.form.is_constant), min_size=1, max_size=5))
def test_what_is_called_satisfiable_has_a_point(found):
    """Linear programming agrees, once strict inequalities are given room."""
    import numpy as np
    from scipy.optimize import linprog

    rows = [[float(i.form.coefficient(s)) for s in "xy"] + [float(i.relation == "<")] for i in found]
    sides = [-float(i.form.constant) for i in found]
    equal = np.array([i.relation == "=" for i in found])
    A, b = np.array(rows), np.array(sides)
    box = [(-1e3, 1e3), (-1e3, 1e3), (None, 1)]
    answer = linprog([0, 0, -1], A[~equal] if (~equal).any() else None, b[~equal] if (~equal).any() else None,
                     A[equal] if equal.any() else None, b[equal] if equal.any() else None, bounds=box)  # fmt: skip
    strict = any(i.relation == "<" for i in found)
    possible = answer.status == 0 and (not strict or -answer.fun > 1e-9)
    assert Polyhedron(tuple(found)).is_empty is not possible


def test_printing():
    alpha, gamma = Affine.symbol("alpha"), Affine.symbol("gamma")
    stable = Condition.all(Inequality("1/2" - alpha, "<="), Inequality(1 - alpha - gamma, "<="))
    assert stable.latex() == r"\tfrac{1}{2} - \alpha \le 0 \;\land\; 1 - \alpha - \gamma \le 0"
    assert stable.negated().latex() == r"\tfrac{1}{2} - \alpha > 0 \;\lor\; 1 - \alpha - \gamma > 0"
    assert (str(Polyhedron()), str(Condition(()))) == ("always", "never")
    assert (Polyhedron().latex(), Condition(()).latex()) == (r"\top", r"\bot")
    assert str(stable | stable) == f"({stable}) or ({stable})"
    with pytest.raises(ValueError, match="must be one of <=, <, ="):
        Inequality(alpha, ">")
