"""Injected faults in the nonlinear limits: one term times 1.01 must break a named test, which passes without the fault."""

from dataclasses import replace

import numpy as np
import pytest
import test_deep_nonlinear
import test_nonlinear_flow
from test_faults import WRONG, argument, position, scaled

from limits.deep.nonlinear import NonlinearStates
from limits.deep.nonlinear_flow import FlowStates
from limits.nonlinearity import Nonlinearity
from limits.semiseparable import CausalSystem


def dual(field, *orders):
    """One field of the duals asked for at some orders: 0 and 1 by features, 0 among themselves, 2 by gradients."""

    def inject(monkeypatch):
        right = Nonlinearity.dual

        def wrong(*given, order=2, **named):
            made = right(*given, order=order, **named)
            value = getattr(made, field)
            return made._replace(**{field: WRONG * value}) if order in orders and value is not None else made

        monkeypatch.setattr(Nonlinearity, "dual", wrong)

    return inject


def coupling(**changes):
    """A coefficient of H: changes of what `backward_coupling` makes, as functions of it and of its arguments."""

    def inject(monkeypatch):
        right = NonlinearStates.backward_coupling

        def wrong(self, *given):
            made = right(self, *given)
            return replace(made, **{name: change(self, made, *given) for name, change in changes.items()})

        monkeypatch.setattr(NonlinearStates, "backward_coupling", wrong)

    return inject


def curvature(self, made, dual, slope, strength, drift, old):
    return made.gradient + (WRONG - 1) * self.a * strength * dual.V_cc[..., old]


def own_slope(monkeypatch):
    """R1_ii V_c(i, i) in H_ii, and nothing else."""
    right, ready, own = NonlinearStates.backward_coupling, NonlinearStates._backward_ready, []

    def stash(self, t, chi, features):
        own.append(features)
        return ready(self, t, chi, features)

    def wrong(self, *given):
        made = right(self, *given)
        made.response[..., np.arange(len(own[-1])), own[-1]] *= WRONG
        return made

    monkeypatch.setattr(NonlinearStates, "_backward_ready", stash)
    monkeypatch.setattr(NonlinearStates, "backward_coupling", wrong)


def coupled(field, forward):
    """Slope or noise covariance of features (forward) or gradients."""

    def change(given, named):
        system, side, axes, boundary, couple = given

        def wrong(*fields):
            made = couple(*fields)
            return replace(made, **{field: WRONG * getattr(made, field)})

        return (system, side, axes, boundary, wrong if side.forward == forward else couple), named

    return argument(CausalSystem, "ready", change)


def growth(given, named):
    return given, named | {"growth": None if named["growth"] is None else WRONG * named["growth"]}


def numbers(name="sin + cos"):
    return lambda: test_deep_nonlinear.check_reference_values(name)


def first(name):
    return lambda: test_deep_nonlinear.test_first_update(name)


def trained():
    test_deep_nonlinear.test_the_witness_agrees("both")


def flow(name="waves"):
    return lambda: test_nonlinear_flow.test_flow_two_ways(name)


FAULTS = {
    "F": (coupled("slope", True), first("waves")),
    "V_c in F": (dual("V_c", 1), first("waves")),
    "A": (scaled(NonlinearStates, "strength"), numbers()),
    "H": (coupled("slope", False), numbers()),
    "H_ij: R1 V_c": (coupling(response=lambda self, made, *given: WRONG * made.response), numbers()),
    "H_ij: V_c C1": (argument(NonlinearStates, "backward_coupling", position(4)), numbers()),
    "H_ij: A V_cc C1": (coupling(gradient=curvature), numbers()),
    "H_ii: R1 V_u": (coupling(own_response=lambda self, made, *given: WRONG * made.own_response), numbers()),
    "H_ii: R1 V_c": (own_slope, numbers()),
    "H_ii: A V_uc C1": (coupling(own_gradient=lambda self, made, *given: WRONG * made.own_gradient), numbers()),
    "noise of features": (coupled("own", True), first("waves")),
    "noise of features with old ones": (coupled("noise", True), numbers()),
    "noise of gradients": (argument(CausalSystem, "ready", growth), numbers()),
    "noise of gradients with old ones": (coupled("noise", False), numbers()),
    "V of new features": (dual("V", 0), first("both")),
    "V of new features with old ones": (dual("V", 1), numbers()),
    "V_c": (dual("V_c", 2), numbers()),
    "V_cc": (dual("V_cc", 2), numbers()),
    "V_cc of a kinked function": (dual("V_cc", 2), numbers("relu")),
    "V_u": (dual("V_u", 2), numbers()),
    "V_u of a kinked function": (dual("V_u", 2), numbers("abs")),
    "tilt": (dual("tilt", 2), numbers()),
    "V_c of a series": (dual("V_c", 1, 2), numbers("tanh")),
    "trained U": (scaled(NonlinearStates, "_read_in"), first("both")),
    "trained V": (scaled(NonlinearStates, "_read_out"), trained),
    "trained V in the output": (argument(CausalSystem, "output", position(3)), first("both")),
    "learning rate": (scaled(NonlinearStates, "_weights"), first("waves")),
    "V_c of the flow": (dual("V_c", 1, 2), flow()),
    "V_cc of the flow": (dual("V_cc", 2), flow()),
    "tilt of the flow": (dual("tilt", 2), flow()),
    "V_cc of a kinked flow": (dual("V_cc", 2), flow("abs")),
    "gradients of the flow": (argument(FlowStates, "backward", position(2)), flow()),
    "learning rate of the flow": (scaled(FlowStates, "_weights"), flow()),
}


@pytest.mark.filterwarnings("ignore::limits.ToleranceWarning")
@pytest.mark.parametrize("name", FAULTS)
def test_injected_fault_is_caught(name, monkeypatch):
    inject, check = FAULTS[name]
    inject(monkeypatch)
    with pytest.raises(AssertionError):
        check()


@pytest.mark.parametrize("name", ["sin + cos", "relu", "abs", "tanh"])
def test_without_a_fault_nothing_is_caught(name):
    """The other checks are tests of their own."""
    test_deep_nonlinear.check_reference_values(name)
