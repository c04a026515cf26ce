"""Nonlinear limits at 1/2 < alpha < 1 against scipy, and what has no known limit."""

import numpy as np
import pytest
from conftest import CATALOGUE, at
from naive_nonlinear import share_of_gradient
from numpy.testing import assert_array_equal
from scipy.integrate import solve_ivp
from test_deep_nonlinear import ALL, FIELDS, assert_close, one_input, outputs, own_duals

from limits import NoLimitError, Record, solve
from limits.optimizers import SGD
from limits.parametrization import DEPTH_MUP, Parametrization
from limits.problem import Problem, ResNet

TIGHT = {"method": "DOP853", "rtol": 1e-11, "atol": 1e-12, "dense_output": True}


def curved(duals, dual, u, apart):
    """V_cc (x_j - (c/u) x_i); for kinked phi V_cc is a number over sqrt(uv - c^2), the area that x_i and the bracket span."""
    if hasattr(duals, "V_cc_times_s"):
        return duals.V_cc_times_s * apart / max(np.sqrt(u) * np.linalg.norm(apart), 1e-300)
    return dual.V_cc * apart


def flow(problem):
    """-> f and the states' x(p), delta(p) by (step, sample): vectors in span(U, V), one ODE after the other, by scipy.

    x_i' = sum_j F_ij delta_j and -delta_i' = sum_j H_ij x_j + H_ii x_i with F_ij = -w a^2 V_c C0_ij,
    H_ij = -w a^2 (V_c C1_ij + V_cc C0_ij C1_ij), H_ii = -w a^2 sum_j 2V_uc(i,j) C0_ij C1_ij.
    """
    duals, sgd, xi, y = own_duals(problem), problem.optimizer, problem.evaluated, problem.targets
    a2, T, d_in, d_out = problem.model.multiplier**2, problem.steps, problem.d_in, problem.d_out
    rates = {k: np.ones(T) * getattr(sgd, k) for k in ("lr", "input_lr", "output_lr")}
    x, delta, chi, f = {}, {}, {}, np.zeros((T + 1, len(xi), d_out))

    def weight(which, t, s):
        return share_of_gradient(rates[which], sgd.momentum, t, s)

    for t in range(T + 1):
        old = [key for key in delta if key[0] < t]
        for mu in range(len(xi)):
            start = np.concatenate([xi[mu] / np.sqrt(d_in), np.zeros(d_out)])
            for s, nu in old:
                start -= weight("input_lr", t, s) * (xi[nu] @ xi[mu] / d_in) * delta[s, nu](0.0)

            def forward(p, z, t=t, old=old):
                change = np.zeros_like(z)
                for key in old:
                    other = x[key](p)
                    c = z @ other
                    change -= weight("lr", t, key[0]) * a2 * duals(z @ z, other @ other, c).V_c * c * delta[key](p)
                return change

            x[t, mu] = solve_ivp(forward, (0, 1), start, **TIGHT).sol
            end = x[t, mu](1.0)
            f[t, mu] = end[d_in:]
            for s, nu in old:
                f[t, mu] -= weight("output_lr", t, s) * chi[s, nu] * (x[s, nu](1.0) @ end)
        if t == T:
            break
        for mu in np.unique(problem.batch(t)):
            share = problem.batch_share(t)[mu]
            chi[t, mu] = problem.loss_function.derivative(f[t, mu], y[mu]) * share
            start = np.concatenate([np.zeros(d_in), chi[t, mu]])
            for s, nu in old:
                start -= weight("output_lr", t, s) * (chi[s, nu] @ chi[t, mu]) * x[s, nu](1.0)

            def backward(p, d, t=t, mu=mu, old=old):
                mine, change = x[t, mu](p), np.zeros_like(d)
                u = mine @ mine
                for key in old:
                    other = x[key](p)
                    v, c, c1 = other @ other, mine @ other, d @ delta[key](p)
                    dual, w = duals(u, v, c), weight("lr", t, key[0]) * a2
                    tilt = dual.V_uc2 + c / u * dual.V_cc
                    change += w * c1 * (dual.V_c * other + c * (curved(duals, dual, u, other - c / u * mine) + tilt * mine))
                return change

            delta[t, mu] = solve_ivp(backward, (1, 0), start, **TIGHT).sol
    return f, x, delta


@pytest.mark.parametrize("name", [k for k in ALL if k != "logistic"])
def test_flow_two_ways(name):
    problem = at(ALL[name], "3/4", "1/4")
    f, x, delta = flow(problem)
    tol = 1e-9
    record = Record(positions=(0, 0.5, 1), kinds=("feature", "gradient", "two_depth"))
    t = solve(problem, tol=tol, record=record)
    assert_close(t.outputs, f, 10 * tol)
    states = np.array([[x[s, i](p) for p in record.positions] for s in range(problem.steps + 1) for i in range(f.shape[1])])
    states = states.reshape(problem.steps + 1, f.shape[1], 3, -1)
    assert_close(t.two_depth_kernel, np.einsum("sipa,tjqa->stpqij", states, states), 10 * tol)
    assert_close(t.feature_kernel, np.einsum("sipa,tjpa->stpij", states, states), 10 * tol)
    gradients = np.zeros_like(states)
    for (s, i), d in delta.items():
        gradients[s, i] = [d(p) for p in record.positions]
    assert_close(t.gradient_kernel, np.einsum("sipa,tjpa->stpij", gradients, gradients), 10 * tol)


@pytest.mark.parametrize("name", ["both", "relu"])
def test_flow_is_the_same_between_the_ends(name):
    one, other = (outputs(at(ALL[name], *ends)) for ends in (("3/4", "1/4"), ("2/3", "1/3")))
    assert_array_equal(one, other)


def test_responses_of_a_flow_are_zero():
    t = solve(at(ALL["both"], "3/4", "1/4"), record=Record(kinds=("response",)))
    assert_array_equal(t.response, np.zeros_like(t.response))


@pytest.mark.parametrize("name", ["relu", "abs"])
def test_a_kinked_flow_reaches_tight_tolerances(name):
    """The features of a repeated input part linearly in p: no layer."""
    problem = at(one_input(name, 1.0, 0.7), "3/4", "1/4")
    want = flow(problem)[0]
    assert_close(outputs(problem, 1e-10), want, 1e-8)


# What is refused.


def refused(kind, said, model, alpha="1/2", gamma="1/2", initial=0):
    problem = Problem(model, Parametrization(alpha, gamma, initial), SGD(0.5, steps=1), [[1.0]], [[1.0]])
    with pytest.raises(kind, match=said):
        solve(problem)


def test_refusals_are_sentences():
    refused(NoLimitError, "without mean subtraction.*set mean_subtraction=True", ResNet("relu", mean_subtraction=False))
    refused(NoLimitError, "1/2 - alpha = 1/4 > 0.*raise alpha to 1/2, or use recurse or simulate", ResNet("tanh"), "1/4", "3/4")
    refused(NoLimitError, r"alpha \+ gamma = 3/4 < 1.*use recurse or simulate", ResNet("relu"), "1/2", "1/4")
    refused(ValueError, "alpha = 5/4: .*tanh blocks.*alpha <= 1.*use recurse or simulate", ResNet("tanh"), "5/4", "-1/4")
    refused(ValueError, "alpha = 1: .*blocks of 3 layers.*alpha < 1.*use recurse or simulate", ResNet(block_depth=3), 1, 0)
    refused(
        ValueError,
        "take block_depth=2 and COMPLETEP, or block_depth=1, or use recurse or simulate",
        ResNet("relu", block_depth=2),
        "1/2",
        ("1/2", "1/2"),
    )
    refused(ValueError, "exponent 0, got 1/4: use initial=0", ResNet("sin + cos"), "1/4", "3/4", "1/4")


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("name", ["batches", "both"])
def test_linear_blocks_of_several_layers_learn_as_many_times_faster(k, name):
    problem = CATALOGUE[name]
    sgd = problem.optimizer
    deep = Problem(
        ResNet(block_depth=k, multiplier=problem.model.multiplier),
        Parametrization("1/2", ("1/2",) * k),
        sgd,
        problem.inputs,
        problem.targets,
        batches=problem.batches,
    )
    fast = SGD(k * sgd.schedule(), sgd.steps, sgd.input_lr, sgd.output_lr, sgd.momentum)
    same = Problem(problem.model, DEPTH_MUP, fast, problem.inputs, problem.targets, batches=problem.batches)
    record = Record(positions=(0, 0.4, 1), kinds=("feature", "gradient"))
    one, other = solve(deep, tol=1e-10, record=record), solve(same, tol=1e-10, record=record)
    for field in ("outputs", *FIELDS[:2]):
        assert_close(getattr(one, field), getattr(other, field), 1e-9)
