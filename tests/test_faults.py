"""Injected faults: one coefficient times 1.01 must break a named test, which passes without the fault."""

from dataclasses import replace

import numpy as np
import pytest
import test_deep
import test_problem
import test_wide
from conftest import CATALOGUE

import limits.directions
import limits.semiseparable
import limits.training
import limits.wide
from limits.deep import flow
from limits.linear import LinearStates
from limits.losses import LOSSES
from limits.optimizers import SGD
from limits.panels import Panels
from limits.semiseparable import CausalSystem

WRONG = 1.01


def scaled(owner, name):
    """What the function, method or property returns, times 1.01."""

    def inject(monkeypatch):
        right = vars(owner)[name]
        if hasattr(right, "func"):  # a cached property: computed afresh, wrongly
            monkeypatch.setattr(owner, name, property(lambda self: WRONG * right.func(self)))
        else:
            monkeypatch.setattr(owner, name, lambda *given, **named: WRONG * right(*given, **named))

    return inject


def argument(owner, name, change):
    """The function called with changed arguments: change(given, named) -> (given, named)."""

    def inject(monkeypatch):
        right = vars(owner)[name]

        def wrong(*given, **named):
            given, named = change(given, named)
            return right(*given, **named)

        monkeypatch.setattr(owner, name, wrong)

    return inject


def keyword(name):
    return lambda given, named: (given, named | {name: WRONG * named[name]})


def position(k):
    return lambda given, named: ((*given[:k], WRONG * given[k], *given[k + 1 :]), named)


def momentum(given, named):
    sgd, *rest = given
    return (replace(sgd, momentum=WRONG * sgd.momentum), *rest), named


def a_step_late(monkeypatch):
    """Every step takes the rate of the step before it."""
    right = SGD.schedule
    monkeypatch.setattr(SGD, "schedule", lambda self, which="lr": np.roll(right(self, which), 1))


def outside_the_span(monkeypatch):
    right = limits.directions.directions

    def wrong(spanning, evaluated):
        d = right(spanning, evaluated)
        return d if d.remainder is None else replace(d, remainder=WRONG * d.remainder)

    monkeypatch.setattr(limits.directions, "directions", wrong)


def loss(name):
    def inject(monkeypatch):
        right = LOSSES[name]
        monkeypatch.setitem(LOSSES, name, replace(right, derivative=lambda f, y: WRONG * right.derivative(f, y)))

    return inject


def published(name, alpha="1/2", gamma="1/2"):
    def check():
        test_wide.test_recurse_is_the_published_recursion(CATALOGUE[name], alpha, gamma)

    return check


def responses():
    test_wide.test_responses_are_those_of_the_published_recursion("both", "1/2")


def second_update():
    test_deep.test_second_update_two_ways(1.0, 1.0, (1.0, 1.0))


def ends():
    test_deep.test_frozen_blocks_with_trained_ends_at_one_half()


def flow_with(name):
    return lambda: test_deep.test_flow_two_ways(name, "3/4", "1/4")


def heavy_ball():
    test_problem.test_momentum_weights_are_those_of_heavy_ball(0.9)


FAULTS = {
    "noise at finite depth": (argument(LinearStates, "__init__", keyword("noise")), published("single")),
    "noise at infinite depth": (argument(LinearStates, "__init__", keyword("noise")), test_deep.test_reference_values),
    "learning rate at finite depth": (argument(LinearStates, "__init__", keyword("drift")), published("batches")),
    "learning rate at infinite depth": (argument(LinearStates, "__init__", keyword("drift")), second_update),
    "response at finite depth": (scaled(CausalSystem, "response"), published("inputs")),
    "response at infinite depth": (scaled(CausalSystem, "response"), second_update),
    "initial variance": (scaled(CausalSystem, "start"), published("single")),
    "initial variance at infinite depth": (scaled(CausalSystem, "start"), test_deep.test_reference_values),
    "trained U and V at finite depth": (scaled(LinearStates, "_read_in"), published("both")),
    "trained U and V at infinite depth": (scaled(LinearStates, "_read_in"), ends),
    "trained V in the output": (argument(CausalSystem, "output", position(3)), published("output")),
    "trained V in the output at infinite depth": (
        argument(CausalSystem, "output", position(3)),
        lambda: test_deep.test_first_update("output"),
    ),
    "read-out": (scaled(CausalSystem, "output"), published("single")),
    "gradient of a step": (argument(LinearStates, "backward", position(2)), published("single")),
    "noise integral": (scaled(CausalSystem, "reflected"), published("both")),
    "two-depth covariance": (scaled(CausalSystem, "covariance"), published("single")),
    "two-depth response": (scaled(CausalSystem, "two_depth_response"), responses),
    "variance of one block": (scaled(limits.wide, "_drift"), published("single", 1, 0)),
    "momentum": (argument(SGD, "weights", momentum), published("momentum")),
    "momentum in itself": (argument(SGD, "weights", momentum), heavy_ball),
    "schedule": (a_step_late, published("schedule")),
    "batch mean": (scaled(limits.training, "loss_derivative"), published("logistic")),
    "squared error": (loss("mse"), lambda: test_problem.test_loss_derivatives("mse", np.random.default_rng(0))),
    "cross-entropy": (loss("cross_entropy"), published("classes")),
    "probes outside the span": (outside_the_span, published("outputs")),
    "collocation": (scaled(Panels, "collocation"), second_update),
    "quadrature": (scaled(Panels, "weights"), lambda: test_deep.test_first_update("single")),
    "generator of the flow": (argument(flow, "propagators", position(0)), flow_with("batches")),
    "accumulated gradients of the flow": (argument(flow.Velocity, "add", position(2)), flow_with("both")),
}


@pytest.mark.filterwarnings("ignore::limits.ToleranceWarning")
@pytest.mark.parametrize("name", FAULTS)
def test_injected_fault_is_caught(name, monkeypatch):
    inject, check = FAULTS[name]
    check()
    inject(monkeypatch)
    with pytest.raises(AssertionError):
        check()
