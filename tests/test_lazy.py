"""The lazy limit: closed forms, networks' gradients from autograd, rates in depth, the first step of `solve`, and faults."""

from dataclasses import dataclass

import numpy as np
import pytest
from conftest import XI, Y2, Y
from numpy.testing import assert_allclose

from limits import (
    COMPLETEP,
    DEPTH_MUP,
    SGD,
    DivergedError,
    NoLimitError,
    Parametrization,
    Problem,
    ResNet,
    UnresolvedError,
    lazy,
    nngp,
    ntk,
    recurse,
    solve,
)
from limits.nonlinearity import Nonlinearity, kinked

A = 0.9
OTHERS = np.array([[0.2, 0.1], [1.0, 0.4]])
GRAM, CROSS = XI @ XI.T / 2, XI @ OTHERS.T / 2
ALL = ("blocks", "input", "output")
FLOW = Parametrization("3/4", "1/4")


# Closed forms.


def test_linear_blocks_at_infinite_depth():
    grown, model = np.exp(A**2), ResNet(multiplier=A)
    assert_allclose(nngp(model, XI, OTHERS), grown * CROSS, rtol=0, atol=1e-12)
    assert_allclose(ntk(model, XI, OTHERS), A**2 * grown * CROSS, rtol=0, atol=1e-12)
    assert_allclose(ntk(model, XI, trained="input"), grown * GRAM, rtol=0, atol=1e-12)
    assert_allclose(ntk(model, XI, trained=("output",)), grown * GRAM, rtol=0, atol=1e-12)
    assert_allclose(ntk(model, XI, trained=ALL), (A**2 + 2) * grown * GRAM, rtol=0, atol=1e-12)
    assert_allclose(ntk(model, XI, trained=()), 0, rtol=0, atol=0)


@pytest.mark.parametrize("parametrization", [DEPTH_MUP, FLOW, COMPLETEP, Parametrization("1/4", "1/2")], ids=str)
@pytest.mark.parametrize("L", [1, 2, 7])
def test_linear_blocks_at_finite_depth(L, parametrization):
    """[D2.1] and [D3.1]."""
    alpha, gamma = float(parametrization.alpha), float(parametrization.gamma)
    model, share = ResNet(multiplier=A), A**2 * L ** (-2 * alpha)
    kernels = {"parametrization": parametrization, "blocks": L}
    assert_allclose(nngp(model, XI, OTHERS, **kernels), (1 + share) ** L * CROSS, rtol=1e-12, atol=0)
    tangent = A**2 * L ** (1 - alpha - gamma) * (1 + share) ** (L - 1) * CROSS
    assert_allclose(ntk(model, XI, OTHERS, **kernels), tangent, rtol=1e-12, atol=0)


def test_vanishing_noise_leaves_the_update():
    model = ResNet(multiplier=A)
    assert_allclose(nngp(model, XI, parametrization=FLOW), GRAM, rtol=0, atol=0)
    assert_allclose(ntk(model, XI, parametrization=FLOW), A**2 * GRAM, rtol=0, atol=1e-12)
    assert_allclose(ntk(model, XI, parametrization=Parametrization(1, 1)), 0, rtol=0, atol=0)


def test_layers_count_as_often_as_there_are():
    """[D6.4]."""
    assert_allclose(ntk(ResNet(block_depth=3, multiplier=A), XI), 3 * ntk(ResNet(multiplier=A), XI), rtol=0, atol=1e-11)
    assert_allclose(nngp(ResNet(block_depth=3, multiplier=A), XI), nngp(ResNet(multiplier=A), XI), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("b", "k"), [(1.0, 0.0), (0.5, 0.5), (0.3, -0.8)])
def test_homogeneous_blocks(b, k):
    """[D5.3], [D5.4]: C0(p) = S exp(a^2 g p), and the tangent kernel between the same inputs."""
    model, squares = ResNet(kinked(b, k), multiplier=A), np.diag(GRAM)
    g, m = b**2 * (1 - 2 / np.pi) + k**2, b**2 + k**2
    assert_allclose(np.diag(nngp(model, XI)), squares * np.exp(A**2 * g), rtol=1e-11, atol=0)
    tangent = squares * m * (np.exp(A**2 * m) - np.exp(A**2 * g)) / (m - g)
    assert_allclose(np.diag(ntk(model, XI)), tangent, rtol=1e-10, atol=0)


def test_sine_blocks():
    """[D5.3]."""
    squares = np.diag(GRAM)
    wanted = np.log(1 + (np.exp(2 * squares) - 1) * np.exp(A**2)) / 2
    assert_allclose(np.diag(nngp(ResNet("sin", multiplier=A), XI)), wanted, rtol=1e-11, atol=0)


def test_blocks_that_are_not_centred_drift():
    """At alpha = 1 without mean subtraction m' = a E relu and C' = 2 a m E relu: the spread of features stays."""
    found = nngp(ResNet("relu", multiplier=A, mean_subtraction=False), [[1.0]], parametrization=COMPLETEP).item()

    def travelled(C):
        """C = 1 + m^2; dp = dm / (a sqrt(C / 2 pi))."""
        return np.arcsinh(np.sqrt(C - 1)) * np.sqrt(2 * np.pi) / A

    assert_allclose(travelled(found), 1, rtol=1e-10, atol=0)


# Invariants.

MODELS = [ResNet(phi, multiplier=A) for phi in ("linear", "relu", "abs", "tanh", "sin + cos", "gelu")]
MODELS += [ResNet("relu", multiplier=0.6, form="pre")]


@pytest.fixture(params=MODELS, ids=lambda m: f"{m.phi.name}, {m.form}")
def model(request):
    return request.param


@pytest.mark.parametrize("blocks", [None, 5])
def test_kernels_are_symmetric_and_positive(model, blocks):
    for kernel in (nngp(model, XI, blocks=blocks), ntk(model, XI, blocks=blocks), ntk(model, XI, blocks=blocks, trained=ALL)):
        assert_allclose(kernel, kernel.T, rtol=1e-12, atol=1e-13)
        assert np.linalg.eigvalsh(kernel).min() > -1e-12


@pytest.mark.parametrize("blocks", [None, 5])
def test_kernels_do_not_depend_on_company(model, blocks):
    both = np.concatenate([XI, OTHERS])
    for kernel in (nngp, ntk):
        joint, apart = kernel(model, both, blocks=blocks)[:3, 3:], kernel(model, XI, OTHERS, blocks=blocks)
        assert_allclose(joint, apart, rtol=0, atol=1e-11)


def test_the_same_input_on_both_sides_is_the_same(model):
    found = ntk(model, XI, XI[1:2])
    assert_allclose(found, ntk(model, XI)[:, 1:2], rtol=0, atol=1e-11)


# Networks, with gradients from autograd.


@dataclass(frozen=True)
class Case:
    """A network at finite depth."""

    model: ResNet
    parametrization: Parametrization = DEPTH_MUP


NETWORKS = {
    "relu": Case(ResNet("relu", multiplier=A)),
    "tanh": Case(ResNet("tanh", multiplier=1.2), FLOW),
    "tanh, pre": Case(ResNet("tanh", multiplier=A, form="pre")),
    "relu, pre": Case(ResNet("relu", multiplier=A, form="pre"), Parametrization("1/4", "1/2")),
    "relu, not centred": Case(ResNet("relu", multiplier=A, mean_subtraction=False)),
    "relu, not centred, alpha = 1": Case(ResNet("relu", multiplier=1.3, mean_subtraction=False), COMPLETEP),
    "sin + cos, not centred": Case(ResNet("sin + cos", multiplier=A, mean_subtraction=False), FLOW),
    "two linear layers": Case(ResNet(block_depth=2, multiplier=A)),
    "three linear layers": Case(ResNet(block_depth=3, multiplier=A), Parametrization("1/2", ("1/2", 1, "1/4"), ("1/4", 0, 0))),
}
WIDTH, LAYERS, SEEDS = 600, 3, 16


def of_one_network(torch, case, seed):
    """nngp, and the tangent kernels of blocks, input and output, of one network: f = V x^L / n, at the rates of `SGD`."""
    model, n, L = case.model, WIDTH, LAYERS
    alpha, gammas, betas = (case.parametrization.layers(model.block_depth)[k] for k in range(3))
    rng = np.random.default_rng([31, seed])
    phi = {"linear": lambda z: z, "relu": torch.relu, "tanh": torch.tanh, "sin + cos": lambda z: torch.sin(z) + torch.cos(z)}
    U, V = (torch.tensor(rng.standard_normal(size), requires_grad=True) for size in ((n, 2), (n,)))
    W = [
        [torch.tensor(rng.standard_normal((n, n)) / n**0.5 * L ** float(-beta), requires_grad=True) for beta in betas]
        for _ in range(L)
    ]

    def branch(layers, x):
        if model.form == "pre":
            return phi[model.phi.name](x) @ layers[0].T
        for matrix in layers:
            x = x @ matrix.T
        y = phi[model.phi.name](x)
        return y - y.mean(1, keepdim=True) if model.mean_subtraction and not model.phi.linear else y

    x = torch.tensor(XI) @ U.T / 2**0.5
    for layers in W:
        x = x + model.multiplier * L ** float(-alpha) * branch(layers, x)
    f, parameters = x @ V / n, [U, V, *(matrix for layers in W for matrix in layers)]
    gradients = [torch.autograd.grad(value, parameters, retain_graph=True) for value in f]
    products = [np.array([[float((g[k] * h[k]).sum()) for h in gradients] for g in gradients]) for k in range(len(parameters))]
    rates = [L ** float(alpha - gamma) * L ** float(2 * sum(betas) - 2 * beta) for gamma, beta in zip(gammas, betas, strict=True)]
    blocks = sum(rate * product for rate, product in zip(rates * L, products[2:], strict=True))
    return np.array([(x @ x.T).detach().numpy() / n, blocks, n * products[0], n * products[1]])


@pytest.mark.parametrize("name", list(NETWORKS))
def test_kernels_are_those_of_wide_networks(name, torch):
    """Means over 16 networks of width 600, to five standard errors and 1/n of the largest entry for their bias.

    With normal errors and no bias a case alarms falsely once in 300 runs (24 numbers, 15 degrees of freedom); seeds are fixed.
    """
    case = NETWORKS[name]
    each = np.array([of_one_network(torch, case, seed) for seed in range(SEEDS)])
    mean, error = each.mean(0), each.std(0, ddof=1) / SEEDS**0.5
    at = {"parametrization": case.parametrization, "blocks": LAYERS}
    wanted = np.array([nngp(case.model, XI, **at), *(ntk(case.model, XI, **at, trained=(part,)) for part in ALL)])
    assert np.all(np.abs(mean - wanted) < 5 * error + np.abs(wanted).max() / WIDTH), (mean - wanted) / error
    assert np.all(error < 0.1 * np.abs(wanted).max((1, 2), keepdims=True))


# Depth.


@pytest.mark.parametrize("kernel", [nngp, ntk])
def test_kernels_converge_at_rate_one_in_depth(model, kernel):
    limit = kernel(model, XI)
    blocks = np.array([64, 128, 256])
    errors = [np.linalg.norm(kernel(model, XI, blocks=int(L)) - limit) for L in blocks]
    slope = np.polyfit(np.log(blocks), np.log(errors), 1)[0]
    assert_allclose(slope, -1, rtol=0, atol=0.05)


# The first step of training.


@pytest.mark.parametrize("parametrization", [DEPTH_MUP, FLOW], ids=str)
@pytest.mark.parametrize("phi", ["linear", "relu", "tanh", "sin + cos"])
def test_small_steps_of_the_limit_follow_the_tangent_kernel(phi, parametrization):
    """f_1 / lr tends to -Theta chi, with an error that falls like the rate at least."""
    model, errors = ResNet(phi, multiplier=A), []
    theta = ntk(model, np.concatenate([XI, OTHERS]), XI, parametrization=parametrization)
    for lr in (1e-2, 1e-3):
        problem = Problem(model, parametrization, SGD(lr, steps=1), XI, Y, probes=OTHERS)
        errors.append(np.abs(solve(problem, tol=1e-12).outputs[1] / lr - theta @ (Y / 3)).max())
    assert errors[1] < 3e-5
    assert errors[1] < 0.2 * errors[0] or errors[1] < 1e-8


@pytest.mark.parametrize("phi", ["linear", "tanh"])
def test_the_ends_follow_their_kernels(phi):
    model, lr = ResNet(phi, multiplier=A), 1e-4
    rates = {"blocks": 1.0, "input": 0.5, "output": 2.0}
    optimizer = SGD(lr, steps=1, input_lr=0.5 * lr, output_lr=2 * lr)
    f = solve(Problem(model, DEPTH_MUP, optimizer, XI, Y2), tol=1e-12).outputs[1]
    theta = sum(rate * ntk(model, XI, trained=(part,)) for part, rate in rates.items())
    assert_allclose(f / lr, theta @ (Y2 / 3), rtol=0, atol=1e-3)


def test_small_steps_of_finite_depth_follow_theirs():
    f = recurse(Problem(ResNet(multiplier=A), FLOW, SGD(1e-5, steps=1), XI, Y), blocks=5).outputs[1]
    theta = ntk(ResNet(multiplier=A), XI, parametrization=FLOW, blocks=5)
    assert_allclose(f / 1e-5, theta @ (Y / 3), rtol=0, atol=1e-8)


# Faults.

WRONG = 1.01


def entry(name):
    def inject(monkeypatch):
        right = Nonlinearity.dual

        def wrong(self, *given, **named):
            found = right(self, *given, **named)
            value = getattr(found, name)
            return found if value is None else found._replace(**{name: WRONG * value})

        monkeypatch.setattr(Nonlinearity, "dual", wrong)

    return inject


def rate(name):
    def inject(monkeypatch):
        right = lazy._Rates
        monkeypatch.setattr(lazy, "_Rates", lambda mean, noise, drift: right(**scaled(name, mean, noise, drift)))

    def scaled(name, mean, noise, drift):
        rates = {"mean": mean, "noise": noise, "drift": drift}
        return rates | {name: WRONG * rates[name]}

    return inject


FAULTS = {
    "V": (entry("V"), test_linear_blocks_at_infinite_depth),
    "V_c": (entry("V_c"), test_linear_blocks_at_infinite_depth),
    "V at finite depth": (entry("V"), lambda: test_linear_blocks_at_finite_depth(7, DEPTH_MUP)),
    "V_c at finite depth": (entry("V_c"), lambda: test_linear_blocks_at_finite_depth(7, DEPTH_MUP)),
    "mean": (rate("mean"), test_blocks_that_are_not_centred_drift),
    "noise": (rate("noise"), test_sine_blocks),
    "drift": (rate("drift"), test_vanishing_noise_leaves_the_update),
    "drift, against solve": (rate("drift"), lambda: test_small_steps_of_the_limit_follow_the_tangent_kernel("tanh", FLOW)),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_injected_fault_is_caught(fault, monkeypatch):
    inject, test = FAULTS[fault]
    test()
    inject(monkeypatch)
    with pytest.raises(AssertionError):
        test()


# Sentences.

RELU, STEEP = ResNet("relu"), ResNet("square", multiplier=3.0)


@pytest.mark.parametrize(
    ("ask", "error", "sentence"),
    [
        (lambda: nngp(RELU, [1.0]), ValueError, r"inputs must have shape \(samples, dimensions\)"),
        (lambda: nngp(RELU, XI, [[1.0]]), ValueError, "others must have 2 dimensions like the inputs, got 1"),
        (lambda: nngp(RELU, [[np.nan]]), ValueError, "inputs must be finite"),
        (lambda: nngp(RELU, XI, blocks=0), ValueError, "blocks must be a whole number >= 1, got 0"),
        (
            lambda: ntk(RELU, XI, trained=("blocks", "head")),
            ValueError,
            "trained must be any of blocks, input, output, got 'head'",
        ),
        (lambda: nngp(ResNet("relu", block_depth=2), XI), ValueError, "relu blocks of 2 layers are not known: take one layer"),
        (
            lambda: nngp(RELU, XI, parametrization=Parametrization("1/2", "1/2", "1/4"), blocks=3),
            ValueError,
            "relu blocks are known for initial=0, got",
        ),
        (
            lambda: nngp(RELU, XI, parametrization=Parametrization("1/4", "3/4")),
            NoLimitError,
            "grow without bound with depth, the network is unstable at initialization; give blocks=",
        ),
        (
            lambda: nngp(ResNet("relu", mean_subtraction=False), XI),
            NoLimitError,
            "the network is unstable at initialization",
        ),
        (
            lambda: ntk(RELU, XI, parametrization=Parametrization("1/2", "1/4")),
            NoLimitError,
            "tangent kernel grows without bound with depth, the network is unstable during training; give blocks=",
        ),
        (
            lambda: nngp(ResNet("exp", multiplier=2.0), [[1.0]]),
            UnresolvedError,
            r"the kernels of exp blocks grow without bound near depth p = 0\.\d+: lower the multiplier or the inputs",
        ),
        (lambda: nngp(STEEP, [[9.0]], blocks=40), DivergedError, r"the kernels exceed 1e\+150 at block \d+ of 40"),
    ],
)
def test_refusals_are_sentences(ask, error, sentence):
    with pytest.raises(error, match=sentence):
        ask()


def test_a_refusal_carries_the_regime():
    with pytest.raises(NoLimitError) as caught:
        nngp(RELU, XI, parametrization=Parametrization("1/4", "3/4"))
    assert caught.value.regime.name == "unstable at initialization"


def test_the_initial_kernel_exists_where_training_has_none():
    found = nngp(RELU, XI, parametrization=Parametrization("1/2", "1/4"))
    assert_allclose(found, nngp(RELU, XI), rtol=1e-12, atol=0)
