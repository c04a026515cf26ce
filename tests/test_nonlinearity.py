"""Dual kernels against slow, obvious quadrature, against each other by Price's theorem, and against samples.

Values are compared relative to the larger of 1 and the product of the root mean squares of the two factors, to the stated
`Nonlinearity.accuracy`: 1e-13 for closed forms, 2e-12 for Hermite series, 1e-9 for kinked functions of one's own.
"""

import pickle
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from limits.nonlinearity import (
    NAMED,
    Nonlinearity,
    closed,
    hermite,
    kinked,
    leaky_relu,
    logistic,
    mehler,
    nonlinearity,
    polynomial,
)
from limits.nonlinearity.functions import Kinked, Step
from limits.nonlinearity.pair import EPSILON, Pair
from limits.problem import ResNet

SUMS = (
    *("sin + cos", "2*relu - tanh", "0.5*abs + 0.5*linear", "relu + exp", "erf - square + relu", "gelu - cos + 0.3*exp"),
    *("silu + cube", "leaky_relu(0.2) - sin", "gaussian + abs", "softplus - tanh/2", "polynomial(1, -2, 0, 0.5, 0.1)"),
)
EVERY = (*NAMED, *SUMS)
SMOOTH = [name for name in EVERY if not nonlinearity(name).kinks]
BENT = [name for name in EVERY if nonlinearity(name).kinks]
VARIANCES = [(1.3, 0.7, 0.4), (1.3, 0.7, -0.6), (2.0, 0.4, 0.0), (1.0, 1.0, 0.999999), (0.8, 0.8, -0.999999), (1.0, 1.0, 1.0)]
VARIANCES += [(1.0, 2.0, -1.0), (1e-3, 1.0, 0.5), (1e-8, 1e-8, 0.5), (3.7, 2.2, 0.9)]
POINTS = [(u, v, rho * np.sqrt(u * v)) for u, v, rho in VARIANCES]
"""(u, v, c) with correlations up to ±1 and small variances."""


# The reference: Gauss-Legendre panels in both variables, which end at the kinks.

REACH, NODES, WEIGHTS = 12.0, *np.polynomial.legendre.leggauss(16)


def rule(edges):
    """Standard normal expectations by panels between sorted edges along the last axis."""
    edges = np.sort(np.clip(edges, -REACH, REACH), axis=-1)[..., None]
    middle, half = (edges[..., 1:, :] + edges[..., :-1, :]) / 2, (edges[..., 1:, :] - edges[..., :-1, :]) / 2
    x = middle + half * NODES
    w = half * WEIGHTS * np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi)
    return x.reshape(*x.shape[:-2], -1), w.reshape(*w.shape[:-2], -1)


def expectation(f, g, u, v, c, kinks=()):
    """E f(z_i) g(z_j): the outer panels double away from where the mean of z_j given z_i meets a kink."""
    rho, kinks, plain = c / np.sqrt(u * v), np.array(kinks), np.arange(-REACH, REACH + 1, 1.5)
    s = np.sqrt(max((np.sqrt(u * v) - c) * (np.sqrt(u * v) + c), 0.0) / (u * v))
    steps = np.concatenate([[0.0], s * 2.0 ** np.arange(40), -s * 2.0 ** np.arange(40)]) if s else np.zeros(1)
    graded = (kinks[:, None] / np.sqrt(v) + steps) / rho if rho else np.zeros((0, 1))
    x, w = rule(np.unique(np.concatenate([plain, kinks / np.sqrt(u), np.clip(graded, -REACH, REACH).ravel()])))
    if s == 0:
        return np.sum(w * f(np.sqrt(u) * x) * g(np.sqrt(v) * rho * x))
    edges = (kinks / np.sqrt(v) - rho * x[:, None]) / s
    y, wy = rule(np.concatenate([edges, np.broadcast_to(plain, (len(x), len(plain)))], axis=1))
    return np.sum(w * f(np.sqrt(u) * x) * np.sum(wy * g(np.sqrt(v) * (rho * x[:, None] + s * y)), axis=1))


def mean(f, u, kinks=()):
    x, w = rule(np.concatenate([np.arange(-REACH, REACH + 1, 1.5), np.array(kinks) / np.sqrt(u)]))
    return np.sum(w * f(np.sqrt(u) * x))


def size(f, g, u, v, kinks=()):
    """What errors are relative to."""
    return max(1.0, np.sqrt(mean(lambda z: f(z) ** 2, u, kinks) * mean(lambda z: g(z) ** 2, v, kinks)))


def agree(found, want, tolerance, f, g, u, v, kinks=()):
    assert_allclose(found, want, rtol=0, atol=tolerance * size(f, g, u, v, kinks))


def logistic_derivatives(z):
    s = 1 / (1 + np.exp(-z))
    first = s * (1 - s)
    return first, first * (1 - 2 * s), first * (1 - 6 * s + 6 * s * s)


def normal(z):
    return np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)


def bell(z):
    return np.exp(-z * z)


HIGHER = {
    "linear": (lambda z: 0 * z, lambda z: 0 * z),
    "square": (lambda z: 2 + 0 * z, lambda z: 0 * z),
    "cube": (lambda z: 6 * z, lambda z: 6 + 0 * z),
    "power(0)": (lambda z: 0 * z, lambda z: 0 * z),
    "power(4)": (lambda z: 12 * z**2, lambda z: 24 * z),
    "sin": (lambda z: -np.sin(z), lambda z: -np.cos(z)),
    "cos": (lambda z: -np.cos(z), np.sin),
    "exp": (np.exp, np.exp),
    "erf": (lambda z: -4 * z * bell(z) / np.sqrt(np.pi), lambda z: (8 * z**2 - 4) * bell(z) / np.sqrt(np.pi)),
    "gaussian": (lambda z: (4 * z**2 - 2) * bell(z), lambda z: (12 * z - 8 * z**3) * bell(z)),
    "gelu": (lambda z: (2 - z**2) * normal(z), lambda z: (z**3 - 4 * z) * normal(z)),
    "tanh": (lambda z: -2 * np.tanh(z) / np.cosh(z) ** 2, lambda z: (6 * np.tanh(z) ** 2 - 2) / np.cosh(z) ** 2),
    "silu": (
        lambda z: 2 * logistic_derivatives(z)[0] + z * logistic_derivatives(z)[1],
        lambda z: 3 * logistic_derivatives(z)[1] + z * logistic_derivatives(z)[2],
    ),
    "softplus": (lambda z: logistic_derivatives(z)[0], lambda z: logistic_derivatives(z)[1]),
}
"""Second and third derivatives of the smooth functions."""


def higher(phi, order):
    return lambda z: sum(a * HIGHER[term.name][order](z) for a, term in phi.terms)


def assert_first_order(phi, u, v, c, tolerance, breaks=None):
    breaks = phi.kinks if breaks is None else breaks
    f, slope = phi.phi, phi.derivative
    bare, centred = phi.dual(u, v, c, mean_subtraction=False, order=1), phi.dual(u, v, c, order=1)
    raw, means = expectation(f, f, u, v, c, breaks), [mean(f, x, breaks) for x in (u, v)]
    agree(bare.V, raw, tolerance, f, f, u, v, breaks)
    agree(centred.V, raw - means[0] * means[1], tolerance, f, f, u, v, breaks)
    agree(centred.V_c, expectation(slope, slope, u, v, c, breaks), tolerance, slope, slope, u, v, breaks)
    assert bare.V_c == centred.V_c
    agree(phi.mean(u), means[0], tolerance, f, f, u, u, breaks)


# Against the reference.


@pytest.mark.parametrize("name", EVERY)
def test_kernel_and_slope_are_the_quadrature(name):
    phi = nonlinearity(name)
    assert phi.accuracy == (1e-13 if phi.closed else 2e-12)
    for u, v, c in POINTS:
        assert_first_order(phi, u, v, c, phi.accuracy)


@pytest.mark.parametrize("name", SMOOTH)
def test_second_derivatives_are_the_quadrature(name):
    phi = nonlinearity(name)
    f0, f1, f2, f3 = phi.phi, phi.derivative, higher(phi, 0), higher(phi, 1)
    for u, v, c in POINTS:
        found, bare = phi.dual(u, v, c), phi.dual(u, v, c, mean_subtraction=False)
        V_cc, V_uc = expectation(f2, f2, u, v, c), expectation(f3, f1, u, v, c) / 2
        raw, means = expectation(f2, f0, u, v, c), mean(f2, u) * mean(f0, v)
        agree(found.V_cc, V_cc, phi.accuracy, f2, f2, u, v)
        agree(found.V_uc, V_uc, phi.accuracy, f3, f1, u, v)
        agree(found.V_u, (raw - means) / 2, phi.accuracy, f2, f0, u, v)
        agree(bare.V_u, raw / 2, phi.accuracy, f2, f0, u, v)
        scale = max(1, abs(c / u)) * max(size(f3, f1, u, v), size(f2, f2, u, v))
        assert_allclose(found.tilt, expectation(lambda z: z * f2(z), f1, u, v, c) / u, rtol=0, atol=4e-12 * scale)


@pytest.mark.parametrize("b", [0.5, 1.0, -0.3])
def test_homogeneous_kernels_are_the_textbook_formulas(b):
    phi = kinked(b, 0.7)
    assert phi.homogeneous
    for u, v, c in POINTS:
        D = (np.sqrt(u * v) - c) * (np.sqrt(u * v) + c)
        angle, found = np.arctan2(c, np.sqrt(D)), phi.dual(u, v, c, mean_subtraction=False)
        floored = max(D, EPSILON * u * v)
        assert_allclose(found.V, 2 / np.pi * b**2 * (np.sqrt(D) + c * angle) + 0.49 * c, rtol=1e-13, atol=1e-14 * np.sqrt(u * v))
        assert_allclose(found.V_c, 2 / np.pi * b**2 * angle + 0.49, rtol=1e-13)
        assert_allclose(found.V_cc, 2 / np.pi * b**2 / np.sqrt(floored), rtol=1e-13)
        assert_allclose(found.V_u, b**2 / np.pi * np.sqrt(D) / u, rtol=1e-13, atol=1e-15)
        assert_allclose(found.V_uc, -(b**2) / np.pi * c / (u * np.sqrt(floored)), rtol=1e-13)
        assert found.tilt == 0


@pytest.mark.parametrize("name", ["tanh", "silu", "softplus", "tanh + sin", "silu - gelu"])
def test_series_and_mixture_are_two_ways_to_one_number(name, rng):
    phi = nonlinearity(name)
    for low, high in [(1e-9, 1e-4), (1e-4, 0.1), (0.1, 6.0)]:
        u, v = (np.exp(rng.uniform(np.log(low), np.log(high), shape)) for shape in ((3, 1), (1, 4)))
        rho = rng.uniform(-1, 1, (3, 4))
        rho[0] = [1, -1, 0.999999, 0]
        pair = Pair(u, v, rho * np.sqrt(u * v))
        one, two = (
            way(pair) for way in (lambda p: closed.dual(phi.expansion, phi.expansion, p, True, 2), lambda p: series(phi, p))
        )
        for a, b in zip(one[:5], two[:5], strict=True):
            assert_allclose(a, b, rtol=0, atol=2e-12 * max(1, np.max(abs(a))))


def series(phi, pair, order=2):
    return mehler.dual(phi.phi, phi.derivative, pair, True, order)


def test_logistic_mixture_is_tanh():
    z = np.linspace(-40, 40, 4001)
    from scipy.special import erf

    nodes = np.array(logistic.sizes())
    assert len(nodes) < 30
    assert_allclose(erf(z[:, None] / np.sqrt(2 * nodes[:, 0])) @ nodes[:, 1], np.tanh(z), rtol=0, atol=5e-15)


@pytest.mark.parametrize("u", [20.0, 1e4])
def test_large_variances(u):
    breaks = (-30.0, -10.0, -3.0, -1.0, 0.0, 1.0, 3.0, 10.0, 30.0)
    for name in ("tanh", "relu", "gelu", "erf"):
        assert_first_order(nonlinearity(name), u, u / 2, 0.6 * u / np.sqrt(2), 1e-12, breaks)
        assert_first_order(nonlinearity(name), u, u, 0.99 * u, 1e-12, breaks)


# Price's theorem, by differences of five points.

STEP = 1e-3
WAYS = {"V_c": ("V", 2), "V_cc": ("V_c", 2), "V_u": ("V", 0), "V_uc": ("V_c", 0)}


def difference(phi, what, along, point, mean_subtraction):
    def at(step):
        moved = np.array(point)
        moved[along] += step
        return getattr(phi.dual(*moved, mean_subtraction=mean_subtraction), what)

    return (8 * (at(STEP) - at(-STEP)) - (at(2 * STEP) - at(-2 * STEP))) / (12 * STEP)


@pytest.mark.parametrize("mean_subtraction", [True, False])
@pytest.mark.parametrize("name", EVERY)
def test_derivatives_are_derivatives(name, mean_subtraction):
    """Truncation is 1e-12 times fifth derivatives, rounding 1e-15/1e-3; both stay below 1e-9 of the derivatives."""
    phi = nonlinearity(name)
    for point in [(1.3, 0.7, 0.4), (0.9, 1.8, -0.5), (1.0, 0.6, 0.0)]:
        found = phi.dual(*point, mean_subtraction=mean_subtraction)
        for what, (of, along) in WAYS.items():
            want = difference(phi, of, along, point, mean_subtraction)
            assert_allclose(getattr(found, what), want, rtol=2e-10, atol=2e-10 * max(1, abs(found.V)), err_msg=what)


@pytest.mark.parametrize("name", EVERY)
def test_tilt_is_the_sum_without_its_cancellation(name):
    phi = nonlinearity(name)
    for u, v, c in POINTS:
        found = phi.dual(u, v, c)
        terms = 2 * found.V_uc, c / u * found.V_cc
        assert_allclose(found.tilt, sum(terms), rtol=1e-12, atol=1e-12 * max(1, *map(abs, terms)))
    if phi.kinks and not phi.homogeneous:
        near, at = (phi.dual(1.0, 1.0, c).tilt for c in (1 - 1e-13, 1.0))
        assert_allclose(near, at, rtol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_symmetry(name):
    phi = nonlinearity(name)
    for u, v, c in POINTS:
        one, two = phi.dual(u, v, c), phi.dual(v, u, c)
        for what in ("V", "V_c", "V_cc"):
            a, b = getattr(one, what), getattr(two, what)
            assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_kernels_are_means_over_samples(rng):
    """Ten means over 200000 samples within 4.5 standard errors: a false alarm once in 15000 seeds."""
    u, v, c = 1.4, 0.8, 0.5
    z = rng.standard_normal((2, 200_000))
    zi, zj = np.sqrt(u) * z[0], c / np.sqrt(u) * z[0] + np.sqrt(v - c * c / u) * z[1]
    for name in ("sin + cos", "2*relu - tanh", "gelu", "exp", "erf - square + relu"):
        phi = nonlinearity(name)
        found = phi.dual(u, v, c, mean_subtraction=False, order=1)
        for f, want in ((phi.phi, found.V), (phi.derivative, found.V_c)):
            samples = f(zi) * f(zj)
            assert abs(samples.mean() - want) < 4.5 * samples.std() / np.sqrt(samples.size)


# Limits: correlation ±1, variance 0, large variances; nothing warns, nothing is infinite.


@pytest.mark.parametrize("name", EVERY)
def test_nothing_blows_up(name):
    u = np.array([0, 0, 1, 1e-300, 1e-30, 1e-12, 1, 1, 1, 2, 1e-5, 3])
    v = np.array([0, 1, 0, 1, 1e-30, 1, 1, 1, 1, 3, 1e5 ** (-1), 1e-16])
    c = np.array([0, 0, 0, 1e-150, 1e-30, 1e-6, 1, -1, 1 + 1e-15, np.sqrt(6), -1e-5, 0])
    if "exp" not in name:
        u, v, c = (np.append(x, y) for x, y in ((u, [1e4, 1e4, 1e4]), (v, [1e4, 1e4, 1]), (c, [1e4, 5e3, -30])))
    phi = nonlinearity(name)
    for mean_subtraction in (True, False):
        found = phi.dual(u, v, c, mean_subtraction=mean_subtraction)
        assert all(np.all(np.isfinite(part)) and part.shape == u.shape for part in found)
    assert np.all(np.isfinite(phi.mean(u)))


@pytest.mark.parametrize("name", ["arctan", "elu", "hardtanh"])
def test_nothing_of_ones_own_blows_up(name):
    phi = OWN[name]
    for point in [
        (0, 0, 0),
        (0, 1, 0),
        (1, 0, 0),
        (1e-300, 1, 1e-150),
        (1e-12, 1, 1e-6),
        (1, 1, -1),
        (1e4, 1e4, 1e4),
        (1e4, 1, -30),
    ]:
        assert all(np.isfinite(part) for part in phi.dual(*point))
    assert_allclose(phi.dual(0.0, 0.0, 0.0).V_c, 1, rtol=1e-12)


@pytest.mark.parametrize("name", SMOOTH)
def test_variance_zero_is_the_taylor_coefficient(name):
    phi = nonlinearity(name)
    zero = np.zeros(1)
    f0, f1, f2, f3 = (float(f(zero)[0]) for f in (phi.phi, phi.derivative, higher(phi, 0), higher(phi, 1)))
    want = {"V": f0 * f0, "V_c": f1 * f1, "V_cc": f2 * f2, "V_u": f2 * f0 / 2, "V_uc": f3 * f1 / 2, "tilt": f3 * f1}
    for what, found in phi.dual(0.0, 0.0, 0.0, mean_subtraction=False)._asdict().items():
        assert_allclose(found, want[what], rtol=2e-12, atol=2e-12, err_msg=what)
    assert phi.dual(0.0, 0.0, 0.0).V == 0


def test_variance_zero_of_a_kink_is_correlation_zero():
    for b, k in [(0.5, 0.5), (1.0, 0.0), (0.2, -1.0)]:
        for v in (0.0, 0.7):
            found = kinked(b, k).dual(0.0, v, 0.0, order=1)
            assert (found.V, found.V_c) == (0, k * k)


def test_small_covariances_keep_their_digits():
    """V of abs and cos is c²/2 times E phi'' squared, of which a difference of two expectations would lose 2e-16/c²."""
    assert_allclose(nonlinearity("abs").dual(1.0, 1.0, 1e-9).V, 2 / np.pi * 0.5e-18, rtol=1e-12)
    assert_allclose(nonlinearity("cos").dual(1.0, 1.0, 1e-4).V, np.exp(-1) * 0.5e-8 * (1 + 1e-8 / 12), rtol=1e-11)
    assert_allclose(nonlinearity("tanh").dual(1e-8, 1e-8, 1e-9).V, 1e-9 * (1 - 2e-8), rtol=1e-12)


def test_covariances_beyond_the_largest_are_clipped():
    phi = nonlinearity("relu + sin")
    assert_array_equal(phi.dual(1.0, 1.0, 1.1), phi.dual(1.0, 1.0, 1.0))


# Shapes.


@pytest.mark.parametrize("name", ["relu", "sin + cos", "tanh", "silu", "relu + gelu"])
def test_shapes_broadcast(name, rng):
    u, v, rho = rng.uniform(0.2, 3, (2, 3, 1)), rng.uniform(0.2, 3, (2, 1, 60)), rng.uniform(-1, 1, (2, 3, 60))
    c, phi = rho * np.sqrt(u * v), nonlinearity(name)
    for order, count in ((0, 1), (1, 2), (2, 6)):
        found = phi.dual(u, v, c, order=order)
        assert [part is not None for part in found] == [True] * count + [False] * (6 - count)
        for part, alone in zip(found[:count], phi.dual(u[1, 2, 0], v[1, 0, 7], c[1, 2, 7], order=order), strict=False):
            assert part.shape == c.shape
            assert_allclose(part[1, 2, 7], alone, rtol=1e-12, atol=2e-13)


def test_functions_are_evaluated_at_variances_not_at_pairs():
    seen = []

    def slope(z):
        seen.append(np.size(z))
        return np.cosh(np.clip(z, -300, 300)) ** -2.0

    phi = Nonlinearity("counted", np.tanh, slope)
    del seen[:]
    phi.dual(np.full((8, 8, 1), 1.0), np.full((8, 1, 88), 1.2), np.full((8, 8, 88), 0.3), order=1)
    assert sum(seen) < 5 * 8 * 8 * 88


# Sums.


@pytest.mark.parametrize(
    ("first", "second"), [("relu", "tanh"), ("sin", "gelu"), ("exp", "abs"), ("square", "erf"), ("silu", "cos")]
)
def test_kernel_of_a_sum_has_the_cross_terms(first, second):
    a, b = nonlinearity(first), nonlinearity(second)
    both, kinks = 0.5 * a - b / 2, (*a.kinks, *b.kinks)
    for u, v, c in [(1.3, 0.7, 0.4), (2.0, 0.5, -0.9)]:
        cross = sum(expectation(f, g, u, v, c, kinks) for f, g in ((a.phi, b.phi), (b.phi, a.phi)))
        own = sum(part.dual(u, v, c, mean_subtraction=False).V for part in (a, b))
        assert_allclose(both.dual(u, v, c, mean_subtraction=False).V, (own - cross) / 4, rtol=0, atol=1e-12)


def test_algebra():
    relu, linear = nonlinearity("relu"), nonlinearity("linear")
    assert relu + linear == linear + relu == nonlinearity("identity + relu")
    assert hash(relu + linear) == hash(linear + relu)
    assert 2 * relu - relu == relu == relu * 1 == (-relu) / -1 == relu / 1
    assert (relu + linear).name == "linear + relu"
    assert (-0.5 * relu).name == "-0.5*relu"
    assert (relu - relu).name == "0*relu"
    assert relu != leaky_relu(0.0)
    assert leaky_relu(0.01) == nonlinearity("leaky_relu")
    assert polynomial([0, 1]) == linear
    assert polynomial([0, 0, 1]) + polynomial([1]) == polynomial([1, 0, 1])
    assert kinked(0.5, 0.5).name == "0.5*linear + 0.5*abs"
    with pytest.raises(TypeError):
        relu + 1
    with pytest.raises(TypeError):
        relu * relu


def test_properties():
    facts = {name: (p.linear, p.homogeneous, p.centred, p.closed) for name in EVERY for p in [nonlinearity(name)]}
    assert [name for name, fact in facts.items() if fact[0]] == ["linear"]
    assert [name for name, fact in facts.items() if fact[1]] == ["linear", "relu", "leaky_relu", "abs", "0.5*abs + 0.5*linear"]
    assert [name for name, fact in facts.items() if fact[2]] == ["linear", "erf", "sin", "cube", "tanh"]
    assert {name for name, fact in facts.items() if not fact[3]} == {name for name in EVERY if any(n in name for n in OPEN)}
    assert nonlinearity("2*relu - abs").linear
    assert Nonlinearity("mine", np.arctan, lambda z: 1 / (1 + z * z)).centred
    assert not Nonlinearity("mine", lambda z: np.arctan(z) + 1e-9 * np.cos(z), lambda z: 1 / (1 + z * z)).centred


OPEN = ("tanh", "silu", "softplus")

FACTORS = st.sampled_from([1, -1, 2, 0.5, -0.25, 1 / 3, 1e-7, 1e20])
ATOMS = st.sampled_from([*NAMED, "leaky_relu(0.2)", "power(4)", "power(0)", "leaky_relu(-1.5)"])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(FACTORS, ATOMS), min_size=1, max_size=4))
def test_names_are_formulas(terms):
    phi = nonlinearity(terms[0][1]) * terms[0][0]
    for factor, name in terms[1:]:
        phi = phi + factor * nonlinearity(name)
    again = nonlinearity(phi.name)
    assert again.name == phi.name
    assert again == phi or not any(a for a, _ in phi.terms)
    assert pickle.loads(pickle.dumps(phi)) == phi


def test_formulas():
    assert nonlinearity(" 2*relu-tanh ") == 2 * NAMED["relu"] - NAMED["tanh"]
    assert nonlinearity("-sin + .5 * cos / 2").name == "-sin + 0.25*cos"
    assert nonlinearity("kinked(0.5, 0.5)") == nonlinearity("0.5*abs + 0.5*linear")
    assert nonlinearity("polynomial(0, 1, 2)").name == "linear + 2*square"
    assert nonlinearity(NAMED["tanh"]) is NAMED["tanh"]
    assert ResNet("cos + sin").nonlinearity == "sin + cos"


# Arrays of every library.


def arrays(library, dtype):
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    xp = pytest.importorskip(library)
    return xp.asarray([[-2.5, -0.3, 0.0], [0.7, 1.1, 4.0]], dtype=getattr(xp, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("library", ["numpy", "torch", "array_api_strict"])
@pytest.mark.parametrize("name", EVERY)
def test_functions_keep_library_and_dtype(name, library, dtype):
    z, phi = arrays(library, dtype), nonlinearity(name)
    exact = np.array([[-2.5, -0.3, 0.0], [0.7, 1.1, 4.0]])
    for f in (phi.phi, phi.derivative):
        found = f(z)
        assert type(found) is type(z)
        assert found.dtype == z.dtype
        tolerance = 3e-6 if dtype == "float32" else 1e-14
        assert_allclose(np.asarray(found), f(exact), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", EVERY)
def test_autograd_of_phi_is_the_derivative(name):
    torch = pytest.importorskip("torch")
    z, phi = torch.tensor([-2.5, -0.3, 0.0, 0.7, 4.0], dtype=torch.float64, requires_grad=True), nonlinearity(name)
    phi.phi(z).sum().backward()
    assert_allclose(z.grad.numpy(), phi.derivative(z.detach()).numpy(), rtol=1e-13, atol=1e-14)


def test_import_loads_no_scipy():
    code = "import sys, limits.nonlinearity as n; n.nonlinearity('gelu')\nassert not {'scipy', 'sympy', 'torch'} & {*sys.modules}"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


# Functions of one's own.


def elu(z):
    return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))


def elu_slope(z):
    return np.where(z > 0, 1.0, np.exp(np.minimum(z, 0)))


def clip_slope(z):
    return 1.0 * (abs(z) < 1)


OWN = {
    "arctan": Nonlinearity("arctan", np.arctan, lambda z: 1 / (1 + z * z)),
    "shifted": Nonlinearity("shifted", lambda z: np.log(np.cosh(z - 0.3)), lambda z: np.tanh(z - 0.3)),
    "sinh": Nonlinearity("sinh", lambda z: np.sinh(z), lambda z: np.cosh(z)),
    "arctan + sin": Nonlinearity("arctan", np.arctan, lambda z: 1 / (1 + z * z)) + NAMED["sin"],
    "my relu": Nonlinearity("my relu", Kinked(0.5, 0.5), Step(0.5, 0.5), (0.0,)),
    "elu": Nonlinearity("elu", elu, elu_slope, [0]),
    "selu": Nonlinearity(
        "selu", lambda z: np.where(z > 0, z, 1.6 * elu(z)), lambda z: np.where(z > 0, 1, 1.6 * elu_slope(z)), [0]
    ),
    "hardtanh": Nonlinearity("hardtanh", lambda z: np.clip(z, -1, 1), clip_slope, (1, -1)),
}
SOME = [(1.3, 0.7, 0.35), (0.9, 1.8, -0.6), (1.0, 1.0, 0.9999), (1e-4, 1.0, 5e-3), (1.0, 1.0, 1.0)]


@pytest.mark.parametrize("name", OWN)
def test_functions_of_ones_own(name):
    phi = OWN[name]
    assert phi.accuracy == (1e-9 if phi.kinks else 2e-12)
    assert not phi.closed
    for u, v, c in SOME:
        assert_first_order(phi, u, v, c, phi.accuracy)


@pytest.mark.parametrize("name", OWN)
def test_second_derivatives_of_functions_of_ones_own(name):
    """Differences of quadratures have 1e-11/1e-3 of rounding."""
    phi = OWN[name]
    tolerance = 1e-7 if phi.kinks else 2e-10
    for point in [(1.3, 0.7, 0.4), (0.9, 1.8, -0.5)]:
        for mean_subtraction in (True, False):
            found = phi.dual(*point, mean_subtraction=mean_subtraction)
            for what, (of, along) in WAYS.items():
                want = difference(phi, of, along, point, mean_subtraction)
                assert_allclose(getattr(found, what), want, rtol=tolerance, atol=tolerance * max(1, abs(found.V)), err_msg=what)
            tilt = 2 * found.V_uc + point[2] / point[0] * found.V_cc
            assert_allclose(found.tilt, tilt, rtol=1e-9, atol=1e-9)


def test_own_kink_is_the_named_one(rng):
    u, v = rng.uniform(0.5, 2, (2, 1)), rng.uniform(0.5, 2, (1, 3))
    c = np.array([[1, -1, 0.999], [0.3, 0, -0.8]]) * np.sqrt(u * v)
    for own, named in zip(OWN["my relu"].dual(u, v, c), NAMED["relu"].dual(u, v, c), strict=True):
        assert_allclose(own, named, rtol=1e-9, atol=1e-9)
    mixed = (OWN["my relu"] + NAMED["tanh"]).dual(u, v, c)
    for own, named in zip(mixed, nonlinearity("relu + tanh").dual(u, v, c), strict=True):
        assert_allclose(own, named, rtol=2e-9, atol=2e-9)


def test_steep_function_falls_back_on_panels():
    """tanh(8z) has too long a series at u = 4; E of its square is 1 - 8-th of what tanh has at u = 256."""
    steep = Nonlinearity("steep", lambda z: np.tanh(8 * z), lambda z: 8 * (1 - np.tanh(8 * z) ** 2))
    want = NAMED["tanh"].dual(256.0, 128.0, 64.0, order=1)
    found = steep.dual(4.0, 2.0, 1.0, order=1)
    assert_allclose(found.V, want.V, rtol=1e-9)
    assert_allclose(found.V_c, 64 * want.V_c, rtol=1e-9)


# Refusals.


@pytest.mark.parametrize(
    "name", ["", "rely", "relu +", "relu relu", "2", "relu(1)", "power", "2**relu", "relu*2", "__import__('os')"]
)
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match=r"nonlinearity must be a Nonlinearity or a sum of linear, relu, .* got"):
        nonlinearity(name)


@pytest.mark.parametrize("formula", ["leaky_relu(a)", "leaky_relu()", "power(-1)", "power(1.5)", "kinked()", "leaky_relu(inf)"])
def test_bad_arguments_are_refused(formula):
    with pytest.raises(ValueError, match="nonlinearity must be"):
        nonlinearity(formula)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("mine", 3, np.cos), "phi must be a function of every entry of an array, got 3"),
        (("mine", np.sin, None), "derivative must be a function"),
        (("", np.sin, np.cos), "name of a nonlinearity must be a text"),
        (("mine", np.sum, np.cos), "phi must return one real number per entry"),
        (("mine", lambda z: 1j * z, np.cos), "phi must return one real number per entry, got complex128"),
        (("mine", lambda z: float(z), np.cos), "phi must act on every entry of an array, got TypeError"),
        (("mine", np.sqrt, np.cos), "phi must be finite, got nan at z = -4.987"),
        (("mine", np.sin, np.sin), "derivative must be that of phi, got .* where phi has slope"),
        (("mine", lambda z: np.exp(z * z), lambda z: 2 * z * np.exp(z * z)), r"phi must grow slower than exp\(z\^2\)"),
        (("mine", lambda z: np.exp(z * z / 8), lambda z: z / 4 * np.exp(z * z / 8)), r"phi must grow slower than exp\(z\^2\)"),
        (("mine", abs, np.sign, 3), "kinks must be a sequence of numbers, got 3"),
        (("mine", abs, np.sign, ["a"]), r"kinks must be finite numbers, got \['a'\]"),
        (("mine", abs, np.sign, [np.nan]), "kinks must be finite numbers"),
    ],
)
def test_bad_functions_are_refused(arguments, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence):
        Nonlinearity(*arguments)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda p: p.dual(-1.0, 1.0, 0.0), "variances u must be finite and >= 0, got -1.0"),
        (lambda p: p.dual(1.0, np.nan, 0.0), "variances v must be finite and >= 0, got nan"),
        (lambda p: p.dual(1.0, 1.0, np.inf), "covariances c must be finite"),
        (lambda p: p.dual(1.0, 1.0, 0.0, order=3), "order must be 0, 1 or 2, got 3"),
        (
            lambda p: nonlinearity("exp").dual(1e4, 1e4, 0.0),
            "Gaussian expectations of exp at variance 10000 are beyond the largest",
        ),
        (lambda p: p / 0, "a nonlinearity cannot be divided by 0: tanh / 0"),
        (lambda p: p * np.inf, "factors of a nonlinearity must be finite, got inf"),
        (lambda p: leaky_relu("a"), "the slope of leaky_relu must be a finite number, got 'a'"),
        (lambda p: polynomial([]), "a polynomial must have at least one coefficient"),
        (lambda p: polynomial([1, None]), "a coefficient must be a finite number, got None"),
        (lambda p: UNDECLARED.dual(1.0, 1.0, 0.5), "varies too fast away from its kinks and from 0, .* as kinks, or .* simulate"),
    ],
)
def test_bad_requests_are_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(NAMED["tanh"])


UNDECLARED = Nonlinearity("undeclared", lambda z: abs(z - 0.3), lambda z: np.sign(z - 0.3))


@pytest.mark.parametrize(("phi", "slope"), [(elu, elu_slope), (lambda z: np.maximum(z, 0), lambda z: np.heaviside(z, 0.5))])
def test_a_kink_at_zero_need_not_be_named(phi, slope):
    """It is where most functions of one's own have theirs, and quadratures resolve 0 in any case."""
    named, unnamed = (Nonlinearity("mine", phi, slope, kinks).dual(1.0, 1.2, 0.4) for kinks in ((0.0,), ()))
    assert_allclose(unnamed, named, rtol=1e-9)


@pytest.mark.parametrize("kinks", [(), (0.0,)])
def test_infinite_curvature_at_a_kink_is_refused_where_it_counts(kinks):
    mine = Nonlinearity("mine", lambda z: abs(z) ** 1.5, lambda z: 1.5 * np.sign(z) * abs(z) ** 0.5, kinks)
    assert 0.6 < mine.dual(1.0, 1.2, 0.4, order=1).V_c < 0.7
    with pytest.raises(ValueError, match="phi'' must be finite on both sides of a kink and of 0, and it is not at z = 0: take"):
        mine.dual(1.0, 1.2, 0.4)


@pytest.mark.parametrize(
    ("formula", "sentence"), [("relu/0", "cannot be divided by 0: relu/0"), ("power(1e9)", r"got 'power\(1e9\)'")]
)
def test_formulas_without_a_value_are_refused(formula, sentence):
    with pytest.raises(ValueError, match=sentence):
        nonlinearity(formula)


# The tests can fail.


@pytest.mark.parametrize(("entry", "name"), [((0, 0), "relu"), ((1, 1), "erf"), ((2, 0), "gelu")])
def test_wrong_kink_coefficient_is_caught(entry, name, monkeypatch):
    right = closed.Kinks._base

    def wrong(self, a, b, centred):
        return right(self, a, b, centred) * (1.01 if (a, b) == entry else 1.0)

    monkeypatch.setattr(closed.Kinks, "_base", wrong)
    with pytest.raises(AssertionError):
        assert_first_order(nonlinearity(name), 1.3, 0.7, 0.4, 1e-12)


def test_wrong_hermite_coefficient_is_caught(monkeypatch):
    right = hermite.fill

    def wrong(table, *arguments):
        right(table, *arguments)
        table[1:2] *= 1.01

    monkeypatch.setattr(hermite, "fill", wrong)
    with pytest.raises(AssertionError):
        assert_first_order(nonlinearity("tanh"), 1.3, 0.7, 0.4, 1e-12)


@pytest.mark.parametrize("name", ["tanh", "silu", "relu", "sin + cos"])
def test_shapes_broadcast_as_in_numpy(name):
    """Variances of fewer axes than covariances, and known beforehand, give what equal shapes give."""
    phi, rng = nonlinearity(name), np.random.default_rng(5)
    u, v = rng.uniform(0.5, 2.0, (3, 1)), rng.uniform(0.5, 2.0, 4)
    c = rng.uniform(-0.9, 0.9, (2, 3, 4)) * np.sqrt(u * v)
    whole = phi.dual(*np.broadcast_arrays(u, v, c), order=2)
    for order in (0, 1, 2):
        for part, want in zip(phi.dual(u, v, c, order=order), whole, strict=True):
            assert part is None or np.abs(part - want).max() < 1e-11 * max(1, np.abs(want).max())
    known = phi.marginal(np.broadcast_to(v, (3, 4)))
    again = phi.dual(phi.marginal(u, known), known, c, order=1)
    assert np.abs(again.V - whole.V).max() < 1e-12
    assert np.abs(again.V_c - whole.V_c).max() < 1e-12
