"""What a trajectory keeps."""

from fractions import Fraction

import numpy as np
import pytest
from conftest import CATALOGUE
from numpy.testing import assert_array_equal

from limits import Record, recurse
from limits.optimizers import SGD
from limits.parametrization import DEPTH_MUP
from limits.problem import Problem, ResNet

KINDS = ("feature", "gradient", "two_depth", "response")


def test_defaults():
    record = Record()
    assert record.positions == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert (record.steps, record.samples, record.kinds) == ("all", "all", ("feature",))
    assert_array_equal(record.depths, [0, 0.25, 0.5, 0.75, 1])


def test_values_may_be_written_in_many_ways():
    assert Record(positions=(0, Fraction(1, 3), 1.0)).positions == (0.0, 1 / 3, 1.0)
    assert Record(positions=[0.5], steps=range(3), samples=(1,)).steps == (0, 1, 2)
    assert Record(kinds="gradient").kinds == ("gradient",)
    assert Record(kinds=()).kinds == ()
    assert Record(positions=(0, 1)) == Record(positions=[0.0, 1.0])
    assert hash(Record()) == hash(Record(kinds=["feature"]))


def test_choices():
    problem = CATALOGUE["both"]  # 4 steps, 2 inputs, 1 probe
    assert_array_equal(Record().chosen_steps(problem), [0, 1, 2, 3, 4])
    assert_array_equal(Record().chosen_samples(problem), [0, 1, 2])
    assert_array_equal(Record(steps=[4, 0]).chosen_steps(problem), [4, 0])
    assert_array_equal(Record(samples=[2]).chosen_samples(problem), [2])


@pytest.mark.parametrize("kinds", [(k,) for k in KINDS] + [KINDS, ()])
@pytest.mark.parametrize("name", ["single", "both", "classes"])
def test_size_is_what_is_kept(name, kinds):
    record = Record(positions=(0, 0.5, 1), steps=[0, 2], samples=[0], kinds=kinds)
    t = recurse(CATALOGUE[name], blocks=4, record=record)
    kept = [getattr(t, k if k == "response" else f"{k}_kernel") for k in KINDS]
    assert sum(a.nbytes for a in kept if a is not None) == record.size(CATALOGUE[name])
    assert [k for k, a in zip(KINDS, kept, strict=True) if a is not None] == list(kinds)


def test_shapes():
    t = recurse(CATALOGUE["both"], blocks=4, record=Record(positions=(0, 1), steps=[1, 2, 4], kinds=KINDS))
    assert t.feature_kernel.shape == t.gradient_kernel.shape == (3, 3, 2, 3, 3)
    assert t.two_depth_kernel.shape == (3, 3, 2, 2, 3, 3)
    assert t.response.shape == (2, 3, 3, 2, 2, 2, 2)
    assert (t.steps.tolist(), t.positions.tolist(), t.recorded.tolist()) == ([1, 2, 4], [0, 1], [0, 1, 2])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"positions": ()}, r"positions of a record must be depths p = l/L in \[0, 1\], got \(\)"),
        ({"positions": (0.5, 1.5)}, r"must be depths p = l/L in \[0, 1\], got \(0.5, 1.5\)"),
        ({"positions": (-0.1,)}, "must be depths"),
        ({"positions": (float("nan"),)}, "must be depths"),
        ({"positions": (64.0,)}, "must be depths"),
        ({"steps": "some"}, "steps of a record must be \"all\" or indices, got 'some'"),
        ({"steps": ()}, 'steps of a record must be "all" or at least one index'),
        ({"samples": []}, 'samples of a record must be "all" or at least one index'),
        ({"samples": "inputs"}, 'samples of a record must be "all" or indices'),
        ({"kinds": ("feature", "Gamma")}, "kinds of a record are feature, gradient, two_depth, response, got 'Gamma'"),
        ({"kinds": "features"}, "kinds of a record are .* got 'features'"),
    ],
)
def test_bad_records_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        Record(**arguments)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"steps": [5]}, r"steps of a record must lie in 0 … 4, got \[5\]"),
        ({"steps": [-1]}, "steps of a record must lie in 0 … 4"),
        ({"samples": [0, 3]}, r"samples of a record must lie in 0 … 2, got \[0, 3\]"),
    ],
)
def test_choices_must_exist(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        recurse(CATALOGUE["both"], blocks=4, record=Record(**arguments))


def test_more_than_a_gigabyte_is_refused_with_a_way_out():
    problem = Problem(ResNet(), DEPTH_MUP, SGD(0.1, steps=9), np.ones((1000, 2)), np.ones((1000, 1)))
    size = 8 * 10 * 10 * 5 * 1000**2
    assert Record().size(problem) == size
    with pytest.raises(ValueError, match=r"4.0 GB, more than 1 GB: keep fewer samples.*Record\(samples=range\(10\)\)"):
        Record().check(problem)
    Record(samples=range(10)).check(problem)
    Record(kinds=()).check(problem)
