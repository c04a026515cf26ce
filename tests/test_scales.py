"""States of very different size: what is small must be as accurate as what is large."""

import numpy as np
import pytest

from limits import DEPTH_MUP, SGD, Problem, Record, ResNet, solve

NOTHING = Record(kinds=())


def single(multiplier, lr, steps=1):
    return Problem(ResNet(multiplier=multiplier), DEPTH_MUP, SGD(lr, steps), [[1.0]], [[1.0]])


@pytest.mark.parametrize(("multiplier", "lr"), [(0.01, 1e4), (1.0, 1e-9), (3.0, 1e-4), (4.0, 1e-8), (5.0, 1e-12)])
def test_first_output_at_any_multiplier(multiplier, lr):
    """f_1 = eta a^2 exp(a^2): kernels grow like exp(a^2) = 7e10 while the updates stay small (D4.1)."""
    answer = solve(single(multiplier, lr), record=NOTHING)
    want = lr * multiplier**2 * np.exp(multiplier**2)
    true = abs(answer.outputs[1, 0, 0] - want)
    assert true <= 1e-8 * max(1.0, want)
    assert true <= 3 * answer.error[1, 0, 0] + 1e-13 * want


def test_a_large_step_is_resolved_by_two_tolerances():
    """Layers at both ends and outputs of 500: the tighter answer is within what the looser one says of itself."""
    loose, tight = (solve(single(2.0, 0.5, 3), tol=tol, record=NOTHING) for tol in (1e-6, 1e-9))
    distance = np.abs(loose.outputs - tight.outputs).max((1, 2))
    assert np.all(distance <= 3 * loose.error.max((1, 2)) + 1e-12 * np.abs(tight.outputs).max())
