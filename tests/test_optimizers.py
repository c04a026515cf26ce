"""Optimizers on given gradients, against those of PyTorch and the published iterations; their values and their sentences."""

from dataclasses import replace

import naive_dense as slow
import numpy as np
import pytest
from conftest import XI, Y
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from limits.finite.rules import Mover, orthogonalised, rule_of, shape_of, states_of, unit_of
from limits.library import open_library
from limits.optimizers import MOST_STEPS, OPTIMIZERS, SGD, Adam, AdamW, Muon, SignSGD, refuse_others
from limits.parametrization import DEPTH_MUP
from limits.problem import Problem, ResNet

STEPS, NETWORKS, SHAPE = 6, 3, (5, 7)
SCHEDULE = [0.4, 0.3, 0.0, 0.5, 0.1, 0.2]
RATES = np.array([1.0, 0.5, 0.0])
"""Relative ones, of the networks that are moved side by side."""


def gradients(seed=0, steps=STEPS):
    """Factors of gradients (T, S, B, rows) and (T, S, B, columns), some entries of the gradients exactly zero."""
    rng = np.random.default_rng(seed)
    left, right = (rng.standard_normal((steps, NETWORKS, 4, size)) for size in SHAPE)
    left[..., 0] = 0
    return left, right


def moved(optimizer, *, end=False, backend="numpy", dtype="float64", scale=0.7, unit=0.3, seed=0):
    """Parameters (T + 1, S, rows, columns) under the rule of an optimizer."""
    library = open_library(backend, None, dtype)
    start = np.random.default_rng(1).standard_normal((NETWORKS, *SHAPE))
    matrix = library.put(start.copy())
    top, schedule = shape_of(optimizer.schedule())
    decays = top * optimizer.weight_decay * RATES[:, None, None] if optimizer.weight_decay else None
    states = 2 if end and isinstance(optimizer, Muon) else states_of(optimizer)
    rule = rule_of(optimizer, library, schedule, end=end)
    mover = Mover(library, rule, scale, top * unit * RATES[:, None, None], decays, [matrix], states)
    found = [library.get(matrix).copy()]
    for t, (left, right) in enumerate(zip(*gradients(seed, optimizer.steps), strict=True)):
        mover(0, library.put(left), library.put(right), rule.numbers(t))
        found.append(library.get(matrix).copy())
    return np.array(found)


def expected(torch, optimizer, make, *, scale=0.7, unit=0.3):
    """The same by an optimizer of PyTorch: make(parameters, decay relative to its own rate)."""
    start, (left, right) = np.random.default_rng(1).standard_normal((NETWORKS, *SHAPE)), gradients()
    found = []
    for s in range(NETWORKS):
        p = torch.nn.Parameter(torch.tensor(start[s]))
        one = make([p], optimizer.weight_decay / unit)
        path = [p.detach().numpy().copy()]
        for t in range(STEPS):
            p.grad = torch.tensor(scale * left[t, s].T @ right[t, s])
            one.param_groups[0]["lr"] = float(optimizer.schedule()[t] * unit * RATES[s])
            one.step()
            path.append(p.detach().numpy().copy())
        found.append(path)
    return np.swapaxes(found, 0, 1)


LIKE_TORCH = {
    "SGD": (SGD(SCHEDULE, STEPS), lambda torch: lambda p, decay: torch.optim.SGD(p, lr=1.0)),
    "momentum": (SGD(0.3, STEPS, momentum=0.8), lambda torch: lambda p, decay: torch.optim.SGD(p, lr=1.0, momentum=0.8)),
    "Adam": (Adam(SCHEDULE, STEPS), lambda torch: lambda p, decay: torch.optim.Adam(p, lr=1.0)),
    "Adam, eps": (
        Adam(SCHEDULE, STEPS, beta1=0.7, beta2=0.8, eps=0.5),
        lambda torch: lambda p, decay: torch.optim.Adam(p, lr=1.0, betas=(0.7, 0.8), eps=0.5),
    ),
    "AdamW": (
        AdamW(SCHEDULE, STEPS, weight_decay=0.2),
        lambda torch: lambda p, decay: torch.optim.AdamW(p, lr=1.0, weight_decay=decay),
    ),
}


@pytest.mark.parametrize("name", LIKE_TORCH)
def test_parameters_move_as_those_of_pytorch(name, torch):
    optimizer, make = LIKE_TORCH[name]
    assert_allclose(moved(optimizer), expected(torch, optimizer, make(torch)), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", LIKE_TORCH)
def test_every_library_moves_parameters_alike(name):
    optimizer, _ = LIKE_TORCH[name]
    for backend in ("torch", "array_api_strict"):
        pytest.importorskip(backend)
        assert_allclose(moved(optimizer, backend=backend), moved(optimizer), rtol=0, atol=1e-13)
        single = moved(optimizer, backend=backend, dtype="float32")
        assert_allclose(single, moved(optimizer), rtol=0, atol=1e-5)


def test_a_schedule_and_momentum_are_those_of_the_limits():
    """W_t - W_0 = - sum_s weights(t)_s g_s, the weights that the limits use of `SGD`."""
    optimizer = SGD(SCHEDULE, STEPS, momentum=0.6)
    path, (left, right) = moved(optimizer, scale=1.0, unit=1.0), gradients()
    each = np.swapaxes(left, 2, 3) @ right
    for t in range(STEPS + 1):
        change = -np.einsum("t,tsij->sij", optimizer.weights(t), each[:t]) * RATES[:, None, None]
        assert_allclose(path[t] - path[0], change, rtol=0, atol=1e-13)


@pytest.mark.parametrize("momentum", [0.0, 0.4])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_signs_by_hand(momentum, decay):
    optimizer = SignSGD(SCHEDULE, STEPS, momentum=momentum, weight_decay=decay)
    path, (left, right) = moved(optimizer), gradients()
    for s in range(NETWORKS):
        w, mean = path[0, s].copy(), np.zeros(SHAPE)
        for t in range(STEPS):
            mean = momentum * mean + (1 - momentum) * (left[t, s].T @ right[t, s])
            eta = SCHEDULE[t] * RATES[s]
            w = (1 - eta * decay) * w - eta * 0.3 * np.sign(mean)
            assert_allclose(path[t + 1, s], w, rtol=0, atol=1e-14)


def test_the_first_step_of_adam_without_eps_is_the_sign():
    assert_array_equal(np.sign(moved(Adam(0.1, 1, eps=0.0)) - moved(SignSGD(0.1, 1))), 0)


# Muon.


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (6, 6), (1, 4), (4, 1)])
def test_the_iteration_is_the_published_one(shape, torch):
    library, matrices = open_library("numpy", None, "float64"), np.random.default_rng(2).standard_normal((3, *shape))
    for iterations in (1, 5):
        wanted = [slow.newton_schulz(torch.tensor(m), iterations).numpy() for m in matrices]
        assert_allclose(orthogonalised(library, matrices, iterations), wanted, rtol=0, atol=1e-13)


def test_singular_values_end_near_one():
    """Those of at least a hundredth of the norm, in (0.65, 1.25): the quintic does not converge, it only lifts."""
    rng, library = np.random.default_rng(3), open_library("numpy", None, "float64")
    u, v = (np.linalg.qr(rng.standard_normal((20, 20)))[0] for _ in range(2))
    sizes = np.geomspace(0.02, 1, 20)
    found = orthogonalised(library, (u * sizes @ v.T)[None], 5)[0]
    values = np.linalg.svd(found, compute_uv=False)
    assert 0.65 < values.min() <= values.max() < 1.25
    cosines = np.einsum("ij,ij->j", u, found @ v) / np.linalg.norm(found @ v, axis=0)
    assert cosines.min() > 1 - 1e-10  # singular vectors are those of the gradient


def test_of_nothing_muon_makes_nothing():
    library = open_library("numpy", None, "float32")
    assert_array_equal(orthogonalised(library, np.zeros((2, 3, 4), "float32"), 5), 0)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_muon_is_near_that_of_pytorch(nesterov, decay, torch):
    """PyTorch's multiplies in bfloat16: 0.02 of a singular value away, but far nearer than any of its settings' neighbours."""
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this PyTorch has no Muon")
    optimizer = Muon(SCHEDULE, STEPS, momentum=0.8, nesterov=nesterov, weight_decay=decay)

    def make(p, relative):
        return torch.optim.Muon(p, lr=1.0, momentum=0.8, nesterov=nesterov, weight_decay=relative, ns_steps=5)

    wanted = expected(torch, optimizer, make)
    far = np.abs(moved(optimizer) - wanted).max()
    assert 0 < far < 0.03 * 0.3 * sum(SCHEDULE)
    others = (replace(optimizer, nesterov=not nesterov), replace(optimizer, momentum=0.3), replace(optimizer, iterations=2))
    assert all(np.abs(moved(other) - wanted).max() > 3 * far for other in others)


def test_muon_is_the_published_one_in_double_precision(torch):
    optimizer = Muon(SCHEDULE, STEPS, momentum=0.8, weight_decay=0.2)
    start, (left, right) = np.random.default_rng(1).standard_normal((NETWORKS, *SHAPE)), gradients()
    path, direction = moved(optimizer), slow.muon(optimizer)
    for s in range(NETWORKS):
        w, state = torch.tensor(start[s]), {}
        for t in range(STEPS):
            eta = SCHEDULE[t] * RATES[s]
            gradient = torch.tensor(left[t, s].T @ right[t, s])
            w = (1 - eta * 0.2) * w - 0.3 * direction(gradient, eta, state)
            assert_allclose(path[t + 1, s], w.numpy(), rtol=0, atol=1e-11)


def test_the_ends_of_muon_are_adams(torch):
    assert_allclose(moved(Muon(SCHEDULE, STEPS), end=True), moved(Adam(SCHEDULE, STEPS, beta2=0.95)), rtol=0, atol=1e-14)


def test_units():
    """Of an update: 1/n of what is sent through a layer for SGD, 1 / columns entry by entry, an orthogonal one for Muon."""
    assert unit_of(SGD(0.1, 1), 8, 16, 8) == 1 / 8
    assert unit_of(SGD(0.1, 1), 8, 8, 16) == 1 / 8
    for optimizer in (Adam(0.1, 1), AdamW(0.1, 1), SignSGD(0.1, 1)):
        assert (unit_of(optimizer, 8, 16, 8), unit_of(optimizer, 8, 8, 16)) == (1 / 8, 1 / 16)
    assert unit_of(Muon(0.1, 1), 8, 16, 4) == 2.0


# Invariances.


@given(factor=st.sampled_from([1e-3, 0.5, 7.0, 1e3]), name=st.sampled_from(["Adam", "SignSGD", "Muon"]))
def test_normalised_steps_do_not_know_the_size_of_gradients(factor, name):
    optimizer = replace(OPTIMIZERS[name](0.1, 4), **({"eps": 0.0} if name == "Adam" else {}))
    assert_allclose(moved(optimizer, scale=0.7 * factor), moved(optimizer), rtol=0, atol=1e-10)


@given(factor=st.floats(0.1, 10))
def test_eps_scales_with_gradients(factor):
    one, other = Adam(0.1, 4, eps=0.3), Adam(0.1, 4, eps=0.3 * factor)
    assert_allclose(moved(other, scale=0.7 * factor), moved(one), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_network_of_rate_zero_stays(name):
    decay = {} if name == "Adam" else {"weight_decay": 0.5}
    path = moved(OPTIMIZERS[name](SCHEDULE, STEPS, **decay))
    assert np.ptp(path[:, 2], axis=0).max() == 0
    assert np.ptp(path[:, 0], axis=0)[1:].min() > 0  # the first row has no gradient


@pytest.mark.parametrize("name", ["AdamW", "SGD", "SignSGD", "Muon"])
def test_decay_takes_the_same_share_off_whatever_the_unit(name):
    """Where gradients vanish, a step of rate eta leaves 1 - eta lambda of the weights."""
    optimizer = OPTIMIZERS[name](SCHEDULE, STEPS, weight_decay=0.5)
    left = np.prod(1 - 0.5 * np.multiply.outer(SCHEDULE, RATES), axis=0)
    for unit in (1e-3, 1.0):
        path = moved(optimizer, scale=0.0, unit=unit)
        assert_allclose(path[-1], path[0] * left[:, None, None], rtol=1e-13)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_networks_side_by_side_do_not_see_each_other(name):
    """One of them becomes infinite; the two others are what they were."""
    optimizer, library = OPTIMIZERS[name](0.1, 3), open_library("numpy", None, "float64")
    left, right = gradients(steps=3)
    with np.errstate(all="ignore"):
        for poison in (np.inf, np.nan):
            paths = []
            for spoiled in (False, True):
                matrix = np.ones((NETWORKS, *SHAPE))
                rule = rule_of(optimizer, library, shape_of(optimizer.schedule())[1])
                mover = Mover(library, rule, 1.0, np.full((NETWORKS, 1, 1), 0.1), None, [matrix], states_of(optimizer))
                for t in range(3):
                    factors = left[t].copy()
                    factors[1] = poison if spoiled else factors[1]
                    mover(0, factors, right[t], rule.numbers(t))
                paths.append(matrix)
            assert_array_equal(paths[0][[0, 2]], paths[1][[0, 2]])
            assert not np.all(np.isfinite(paths[1][1])) or name == "SignSGD"


# Values and sentences.


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rates_are_numbers_or_one_per_step(name):
    optimizer = OPTIMIZERS[name](lr=np.array([0.1, 0.2]), steps=2, output_lr=0.5)
    assert optimizer.lr == (0.1, 0.2)
    assert_array_equal(optimizer.schedule(), [0.1, 0.2])
    assert_array_equal(optimizer.schedule("output_lr"), [0.5, 0.5])
    assert replace(optimizer, lr=0.3).lr == 0.3
    assert optimizer == OPTIMIZERS[name]([0.1, 0.2], 2, output_lr=0.5)
    assert hash(optimizer) == hash(OPTIMIZERS[name]([0.1, 0.2], 2, output_lr=0.5))
    with pytest.raises(AttributeError):
        optimizer.lr = 1.0


def test_a_schedule_is_a_largest_rate_and_its_shape():
    top, shape = shape_of(np.array([0.2, 0.4, 0.0]))
    assert top == 0.4
    assert_array_equal(shape, [0.5, 1.0, 0.0])
    for nothing in (np.zeros(3), np.zeros(0)):
        top, shape = shape_of(nothing)
        assert top == 0
        assert_array_equal(shape, nothing)


BAD = [
    ({"lr": -0.1}, ValueError, "lr must be finite and >= 0, got -0.1"),
    ({"lr": [0.1]}, ValueError, r"lr must be one number or one per step \(3\), got 1 numbers"),
    ({"lr": [0.1, np.nan, 0.1]}, ValueError, r"lr\[1\] must be finite and >= 0, got nan"),
    ({"steps": -1}, ValueError, "steps must be a whole number >= 0, got -1"),
    ({"steps": MOST_STEPS + 1}, ValueError, "steps must be at most 1000000"),
    ({"input_lr": np.inf}, ValueError, "input_lr must be finite and >= 0, got inf"),
]
BAD_OF = {
    "SGD": [
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"weight_decay": -1.0}, "weight_decay must be finite"),
    ],
    "Adam": [
        ({"beta1": 1.0}, r"beta1 must be in \[0, 1\), got 1.0"),
        ({"beta2": -0.1}, "beta2 must be finite and >= 0, got -0.1"),
        ({"eps": -1e-8}, "eps must be finite and >= 0, got -1e-08"),
        ({"eps": np.nan}, "eps must be finite and >= 0, got nan"),
    ],
    "AdamW": [({"weight_decay": -0.1}, "weight_decay must be finite and >= 0, got -0.1"), ({"beta1": 1.5}, "beta1 must be in")],
    "SignSGD": [
        ({"momentum": 1.0}, "momentum must be in"),
        ({"weight_decay": np.inf}, "weight_decay must be finite and >= 0, got inf"),
    ],
    "Muon": [
        ({"momentum": 1.0}, "momentum must be in"),
        ({"iterations": 0}, "iterations must be a whole number >= 1, got 0"),
        ({"weight_decay": -0.1}, "weight_decay must be finite and >= 0, got -0.1"),
    ],
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_bad_values_get_sentences(name):
    for change, kind, sentence in BAD:
        with pytest.raises(kind, match=sentence):
            OPTIMIZERS[name](**{"lr": 0.1, "steps": 3} | change)
    for change, sentence in BAD_OF[name]:
        with pytest.raises(ValueError, match=sentence):
            OPTIMIZERS[name](0.1, 3, **change)


def test_anything_else_is_no_optimizer():
    with pytest.raises(
        Exception, match=r"optimizer must be SGD, Adam, AdamW, SignSGD, Muon, got 'adam'|typechecking parameter 'optimizer'"
    ):
        Problem(ResNet(), DEPTH_MUP, "adam", XI, Y)


def test_limits_know_sgd_only():
    with pytest.raises(
        ValueError,
        match=r"this limit treats SGD, got Muon: ask recurse .* or simulate for networks of finite width",
    ):
        refuse_others(Muon(0.1, 1), "this limit")
    with pytest.raises(ValueError, match=r"SGD without weight decay, got weight_decay=0\.1: ask recurse"):
        refuse_others(SGD(0.1, 1, weight_decay=0.1), "this limit")
    assert refuse_others(SGD(0.1, 1, momentum=0.5), "this limit").momentum == 0.5
    with pytest.raises(ValueError, match="treats SGD, got Adam"):
        _ = Problem(ResNet(), DEPTH_MUP, Adam(0.1, 1), XI, Y).sgd
