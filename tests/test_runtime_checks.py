"""The run-time checks of the tests find wrong types and shapes, in each test and in what the package defines."""

from dataclasses import dataclass

import jaxtyping
import numpy as np
import pytest
import runtime_checks
from jaxtyping import Float

from limits.problem import matrix

check = runtime_checks.sparingly(typechecker=runtime_checks.checked)
wrong = pytest.raises(jaxtyping.TypeCheckError)


@check
def product(x: Float[np.ndarray, "m n"], y: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
    return x @ y if x.any() else y


def test_arguments_shapes_and_results():
    x, y = np.ones((3, 2)), np.ones(2)
    assert product(x, y).shape == (3,)
    with wrong:
        product(x, [1.0, 1.0])
    with wrong:
        product(x, np.ones(3))
    with wrong:
        product(0 * x, y)


@pytest.mark.parametrize("again", range(2))
def test_the_first_call_of_each_test_is_checked(again):
    x, y = np.ones((3, 2)), np.ones(2)
    with wrong:
        product(0 * x, y)
    for _ in range(runtime_checks.FIRST):
        product(x, y)
    assert product(0 * x, y) is y  # a later call is not


def test_fields_of_dataclasses():
    @check
    @dataclass
    class Point:
        x: Float[np.ndarray, " n"]
        y: Float[np.ndarray, " n"]

    Point(np.ones(2), np.zeros(2))
    with wrong:
        Point(np.ones(2), np.zeros(3))


def test_the_package_is_checked():
    with wrong:
        matrix([[1.0]], name=3)
