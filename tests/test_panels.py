"""Quadrature and interpolation against exact polynomials and scipy."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.polynomial import Polynomial
from numpy.testing import assert_allclose
from scipy.integrate import quad

from limits.panels import Panels

EDGES = [np.array([0.0, 1.0]), np.linspace(0, 1, 4), np.array([0, 1e-4, 0.01, 0.3, 1.0])]
POSITIONS = np.array([0.0, 1e-5, 0.01, 0.2, 0.3, 1 / 3, 0.77, 1.0])


@pytest.fixture(params=[(e, q) for e in EDGES for q in (1, 2, 5, 9)], ids=lambda p: f"{len(p[0]) - 1}x{p[1]}")
def panels(request):
    return Panels(*request.param)


def polynomial(degree, rng):
    return Polynomial(rng.standard_normal(degree + 1))


def test_quadrature_is_exact_to_degree_2q_minus_1(panels, rng):
    f = polynomial(2 * panels.order - 1, rng)
    assert_allclose(panels.weights @ f(panels.nodes), f.integ()(1.0), rtol=0, atol=1e-14)
    f = Polynomial([0] * (2 * panels.order) + [1])
    if panels.count == 1 and panels.order < 9:
        assert abs(panels.weights @ f(panels.nodes) - f.integ()(1.0)) > 1e-7  # and no further


def test_nodes_increase_inside_their_panels(panels):
    assert len(panels.nodes) == panels.count * panels.order
    assert np.all(np.diff(panels.nodes) > 0)
    for k in range(panels.count):
        inside = panels.nodes[panels.part(k)]
        assert panels.edges[k] < inside.min() <= inside.max() < panels.edges[k + 1]
    assert_allclose(panels.weights.reshape(panels.count, -1).sum(1), panels.widths, rtol=1e-14, atol=0)


def test_interpolation_is_exact_to_degree_q_minus_1(panels, rng):
    f = polynomial(panels.order - 1, rng)
    assert_allclose(panels.interpolate(POSITIONS) @ f(panels.nodes), f(POSITIONS), rtol=0, atol=1e-12)
    assert_allclose(panels.interpolate(panels.nodes), np.eye(len(panels.nodes)), rtol=0, atol=1e-13)


def test_integration_is_exact_to_degree_q_minus_1(panels, rng):
    f = polynomial(panels.order - 1, rng)
    antiderivative = f.integ()
    assert_allclose(panels.integrate(POSITIONS) @ f(panels.nodes), antiderivative(POSITIONS), rtol=0, atol=1e-13)
    assert_allclose(panels.cumulative @ f(panels.nodes), antiderivative(panels.nodes), rtol=0, atol=1e-13)
    assert_allclose(panels.integrate(np.array([0.0, 1.0])), [0 * panels.weights, panels.weights], rtol=0, atol=1e-14)


def test_integrals_are_those_of_the_interpolant(panels, rng):
    """Also for values that no low polynomial takes."""
    values = rng.standard_normal(len(panels.nodes))
    lines = np.append(panels.edges[panels.edges < 0.77], 0.77)
    want = 0.0
    for a, b in pairwise(lines):
        inside = np.linspace(a, b, 23)[1:-1]
        fit = Polynomial.fit(inside, panels.interpolate(inside) @ values, panels.order - 1, domain=[a, b])
        want += fit.integ()(b) - fit.integ()(a)
    assert_allclose(panels.integrate(np.array([0.77])) @ values, [want], rtol=0, atol=1e-11)


def test_collocation_integrates_from_the_left_edge(panels, rng):
    f = polynomial(panels.order - 1, rng)
    for k in range(panels.count):
        x = panels.nodes[panels.part(k)]
        want = f.integ()(x) - f.integ()(panels.edges[k])
        assert_allclose(panels.widths[k] * panels.collocation @ f(x), want, rtol=0, atol=1e-13)


def test_legendre_coefficients(panels, rng):
    c = rng.standard_normal(panels.order)
    x = np.polynomial.legendre.leggauss(panels.order)[0]
    assert_allclose(panels.to_coefficients @ np.polynomial.legendre.legval(x, c), c, rtol=0, atol=1e-13)


def test_convergence_is_spectral():
    """exp(5 p): at least tenfold for two more nodes, of the largest error over a fine grid."""
    p, error = np.linspace(0, 1, 501), []
    for order in (4, 6, 8, 10):
        panels = Panels.uniform(2, order)
        values = np.exp(5 * panels.nodes)
        interpolated = np.abs(panels.interpolate(p) @ values - np.exp(5 * p)).max()
        integrated = np.abs(panels.integrate(p) @ values - np.expm1(5 * p) / 5).max()
        error.append([interpolated, integrated])
    assert np.all(np.array(error[:-1]) > 10 * np.array(error[1:]))
    assert error[0][0] > 0.1


def test_against_scipy():
    panels = Panels(np.array([0, 0.05, 0.2, 0.6, 1.0]), 16)

    def f(p):
        return np.sin(9 * p) / (0.2 + p)

    for b in (0.03, 0.5, 1.0):
        assert_allclose(panels.integrate(np.array([b]))[0] @ f(panels.nodes), quad(f, 0, b)[0], rtol=0, atol=1e-11)


def test_uniform():
    assert_allclose(Panels.uniform(4, 3).edges, [0, 0.25, 0.5, 0.75, 1], rtol=0, atol=0)


@pytest.mark.parametrize("edges", [[0.0], [0.0, 0.5], [0.1, 1.0], [0.0, 0.5, 0.5, 1.0], [0.0, 0.7, 0.3, 1.0], [0.0, np.nan, 1.0]])
def test_edges_must_increase_from_0_to_1(edges):
    with pytest.raises(ValueError, match="edges must increase from 0 to 1"):
        Panels(np.array(edges), 3)


@pytest.mark.parametrize("order", [0, -2])
def test_order_must_be_positive(order):
    with pytest.raises(ValueError, match="order must be >= 1"):
        Panels.uniform(2, order)
