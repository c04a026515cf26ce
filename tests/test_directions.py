"""Directions carry everything a linear network sees of its data."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import CATALOGUE
from numpy.testing import assert_allclose, assert_array_equal

from limits.directions import directions, trained_directions
from limits.optimizers import SGD
from limits.parametrization import DEPTH_MUP
from limits.problem import Problem, ResNet

CASES = {
    "full": ((3, 3), 3),
    "more samples": ((7, 3), 3),
    "fewer samples": ((2, 5), 2),
    "one": ((1, 6), 1),
}


@pytest.mark.parametrize("case", CASES)
def test_gram_matrices_survive(case, rng):
    shape, rank = CASES[case]
    spanning = rng.standard_normal(shape)
    evaluated = np.concatenate([spanning, rng.standard_normal((3, shape[1])), np.zeros((1, shape[1]))])
    d = directions(spanning, evaluated)
    assert d.count == rank
    assert_allclose(d.basis.T @ d.basis, np.eye(rank), rtol=0, atol=1e-14)
    gram = d.coordinates @ d.coordinates.T + (0 if d.remainder is None else d.remainder)
    assert_allclose(gram, evaluated @ evaluated.T / shape[1], rtol=0, atol=1e-13)
    assert (d.remainder is None) == (rank == shape[1])
    if d.remainder is not None:  # trained samples have nothing outside the span, probes do
        assert_array_equal(d.remainder[: shape[0]], 0)
        assert np.all(np.diag(d.remainder)[shape[0] : -1] > 0.01)


def test_dependent_samples_span_less(rng):
    x = rng.standard_normal((2, 5))
    spanning = np.concatenate([x, x @ np.ones((5, 5)) * 0, 2 * x[:1] - 3 * x[1:], x])
    d = directions(spanning, spanning)
    assert d.count == 2
    assert d.remainder is None
    assert_allclose(d.coordinates @ d.coordinates.T, spanning @ spanning.T / 5, rtol=0, atol=1e-14)


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1.0, 1e8, 1e100])
def test_rank_does_not_depend_on_scale(rng, scale):
    x = rng.standard_normal((3, 4)) * scale
    assert directions(x, x).count == 3


def test_nothing_to_span():
    d = directions(np.zeros((2, 3)), np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]))
    assert d.count == 1
    total = d.coordinates @ d.coordinates.T + d.remainder
    assert_allclose(total, [[0, 0], [0, 14 / 3]], rtol=0, atol=1e-15)


def test_only_samples_in_batches_span(rng):
    x = rng.standard_normal((4, 6))
    problem = Problem(ResNet(), DEPTH_MUP, SGD(0.1, steps=2), x, np.ones((4, 1)), batches=[[2, 2], [0]])
    d = trained_directions(problem)
    assert d.count == 2
    assert_allclose(d.basis @ d.basis.T @ x[[0, 2]].T, x[[0, 2]].T, rtol=0, atol=1e-13)
    assert np.diag(d.remainder)[[1, 3]].min() > 0.01


def test_without_steps_all_inputs_span():
    problem = replace(CATALOGUE["outputs"], optimizer=SGD(0.1, steps=0))
    assert trained_directions(problem).count == 2


def test_probes_do_not_span():
    problem = CATALOGUE["outputs"]
    assert trained_directions(problem).count == 2
    assert trained_directions(problem).remainder[2, 2] > 0.1
