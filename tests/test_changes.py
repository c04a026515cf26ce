"""What training changes: against networks that torch trains and differentiates, and the laws that changes obey."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from limits import SGD, Parametrization, Problem, ResNet
from limits.finite import changes
from limits.finite.changes import QUANTITIES, measure_changes
from limits.optimizers import Adam, SignSGD

X = np.array([[1.0, 0.4], [-0.5, 1.2], [0.8, -0.9]])
Y = np.array([[1.0], [-0.6], [0.3]])
SIZES = {"width": 12, "blocks": 9, "seeds": 2, "seed": 3}
CASES = {
    "linear": (ResNet(multiplier=0.8), SGD(0.3, steps=3)),
    "post": (ResNet("relu"), SGD([0.3, 0.2], steps=2)),
    "two layers": (ResNet("tanh", block_depth=2), SGD(0.3, steps=2)),
    "mlp": (ResNet("sin + cos", form="mlp", block_depth=2, multiplier=0.7), SGD(0.3, steps=3)),
    "pre": (ResNet("tanh", form="pre"), SGD(0.4, steps=2)),
    "sign": (ResNet("tanh", form="mlp", block_depth=2), SignSGD(0.05, steps=2)),
    "ends": (ResNet("tanh"), SGD(0.3, steps=2, input_lr=0.2, output_lr=0.1)),
}


def posed(model, optimizer, alpha="3/4", gamma="1/4", **more):
    return Problem(model, Parametrization(alpha, gamma), optimizer, X, Y, **more)


class Net:
    """A network in torch, written from its definition; weights are [W of layer i of block l]."""

    def __init__(self, torch, problem, width, blocks, seed):
        rng, model = np.random.default_rng(seed), problem.model
        draw = lambda *shape: torch.tensor(rng.standard_normal(shape))  # noqa: E731
        self.problem, self.model, self.torch, self.n, self.L = problem, model, torch, width, blocks
        self.alpha, gammas, _ = problem.parametrization.layers(model.block_depth)
        self.gammas = [float(g) for g in gammas]
        self.c = model.multiplier * blocks ** -float(self.alpha)
        self.U, self.V = draw(width, problem.d_in), draw(width, problem.d_out)
        self.W = [[draw(width, width) / width**0.5 for _ in range(model.block_depth)] for _ in range(blocks)]
        self.x, self.y = torch.tensor(problem.inputs), torch.tensor(problem.targets)

    def phi(self, z):
        t = self.torch
        known = {"linear": lambda z: z, "relu": t.relu, "tanh": t.tanh, "sin + cos": lambda z: t.sin(z) + t.cos(z)}
        return known[self.model.phi.name](z)

    def branch(self, layers, x):
        y = self.phi(x) if self.model.form == "pre" else x
        reads = []
        for i, w in enumerate(layers):
            reads.append(y)
            y = y @ w.T
            if self.model.form == "post" or (self.model.form == "mlp" and i < len(layers) - 1):
                y = self.phi(y)
        centre = self.model.form == "post" and self.model.phi.name != "linear"
        return (y - y.mean(-1, keepdim=True) if centre else y), reads

    def features(self, weights, U):
        path = [self.x @ U.T / self.problem.d_in**0.5]
        for layers in weights:
            path.append(path[-1] + self.c * self.branch(layers, path[-1])[0])
        return path

    def train(self):
        t, o = self.torch, self.problem.optimizer
        weights = [[w.clone().requires_grad_() for w in layers] for layers in self.W]
        U, V = self.U.clone().requires_grad_(), self.V.clone().requires_grad_()
        for step in range(o.steps):
            f = self.features(weights, U)[-1] @ V / self.n
            flat = [w for layers in weights for w in layers]
            grads = t.autograd.grad(0.5 * ((f - self.y) ** 2).sum() / len(self.x), [*flat, U, V])
            rates = {name: o.schedule(name)[step] for name in ("lr", "input_lr", "output_lr")}
            with t.no_grad():
                for j, (w, g) in enumerate(zip(flat, grads, strict=False)):
                    gamma = self.gammas[j % len(self.gammas)]
                    if isinstance(o, SignSGD):
                        w -= rates["lr"] * self.L**-gamma / w.shape[1] * t.sign(g)
                    else:
                        w -= rates["lr"] * self.L ** (float(self.alpha) - gamma) * g
                U -= rates["input_lr"] * self.n * grads[-2]
                V -= rates["output_lr"] * self.n * grads[-1]
        return [[w.detach() for w in layers] for layers in weights], U.detach(), V.detach()

    def measured(self):
        t = self.torch
        trained, U, V = self.train()
        before, after = self.features(self.W, self.U), self.features(trained, U)
        rms = lambda z: float((z**2).mean() ** 0.5)  # noqa: E731
        f0, fT = before[-1] @ self.V / self.n, after[-1] @ V / self.n
        first, rest, updates, branches = [], [], [], []
        for l in range(self.L):
            start, delta = tuple(self.W[l]), tuple(b - a for a, b in zip(self.W[l], trained[l], strict=True))
            value, along = t.autograd.functional.jvp(lambda *w, l=l: self.branch(w, after[l])[0], start, delta)
            end, reads = self.branch(trained[l], after[l])
            first.append(along)
            rest.append(end - value - along)
            branches.append(value)
            updates.append([y @ d.T for y, d in zip(reads, delta, strict=True)])
        z = t.stack(after) - t.stack(before)
        upper = z[(self.L + 1) // 2 :]
        spans = [m for m in (1, 2, 4, 8, 16) if m <= self.L / 4]
        return {
            "initial": rms(before[-1] - before[0]) / rms(before[0]),
            "error": rms(f0 - self.y),
            "features": rms(z[-1]),
            "outputs": rms(fT - f0),
            "updates": [rms(t.stack([u[i] for u in updates])) for i in range(self.model.block_depth)],
            "first": rms(t.stack(first)),
            "rest": rms(t.stack(rest)),
            "increments": [rms(upper[m:] - upper[:-m]) for m in spans],
            "scales": [rms(before[-1]), rms(f0), rms(t.stack(branches))],
            "moved": [
                rms(t.stack([b[i] - a[i] for a, b in zip(self.W, trained, strict=True)])) / rms(t.stack([w[i] for w in self.W]))
                for i in range(self.model.block_depth)
            ],
        }


@pytest.mark.parametrize("case", CASES)
def test_changes_are_those_of_torch(case, torch):
    problem = posed(*CASES[case])
    found = measure_changes(problem, **SIZES)
    assert found["spans"].tolist() == [1, 2]
    for s in range(SIZES["seeds"]):
        wanted = Net(torch, problem, SIZES["width"], SIZES["blocks"], [SIZES["seed"], s]).measured()
        for name in QUANTITIES:
            assert_allclose(found[name][s], wanted[name], rtol=1e-9, atol=1e-14, err_msg=name)


def test_a_step_is_linear_in_the_rate_and_what_is_left_is_of_second_order():
    model = ResNet("tanh", form="mlp", block_depth=2)
    once, twice = (measure_changes(posed(model, SGD(lr, steps=1)), **SIZES) for lr in (1e-3, 2e-3))
    for name, factor in (("updates", 2), ("first", 2), ("features", 2), ("outputs", 2), ("rest", 4)):
        assert_allclose(twice[name] / once[name], factor, rtol=2e-2, err_msg=name)
    assert_allclose(once["initial"], twice["initial"], rtol=0)


def test_blocks_that_are_linear_in_their_weights_have_no_second_order():
    for model in (ResNet(), ResNet("tanh", form="pre")):
        found = measure_changes(posed(model, SGD(0.5, steps=2)), **SIZES)
        assert np.all(found["rest"] < 1e-13 * found["first"])


def test_nothing_changes_without_steps():
    found = measure_changes(posed(ResNet("tanh"), SGD(0.5, steps=0)), **SIZES)
    assert np.all(found["initial"] > 0)
    for name in ("features", "outputs", "updates", "first", "rest", "increments"):
        assert np.all(found[name] == 0)


def test_networks_one_by_one_are_the_same(monkeypatch):
    problem = posed(ResNet("tanh"), Adam(0.05, steps=2))
    together = measure_changes(problem, **SIZES)
    monkeypatch.setattr(changes, "_fitting", lambda library, engine: 1)
    for name, value in measure_changes(problem, **SIZES).items():
        assert_allclose(value, together[name], rtol=1e-12, atol=0)


@pytest.mark.parametrize("backend", ["torch", "array_api_strict"])
def test_array_libraries_agree(backend, torch):
    problem = posed(ResNet("tanh", form="mlp", block_depth=2), Adam(0.05, steps=2), batches=[[0, 2], [1]])
    wanted = measure_changes(problem, **SIZES)
    for name, value in measure_changes(problem, **SIZES, backend=backend).items():
        assert_allclose(value, wanted[name], rtol=1e-9, err_msg=name)


def test_probes_count_and_the_inner_width_may_differ():
    model = ResNet("tanh", form="mlp", block_depth=2)
    plain = measure_changes(posed(model, SGD(0.3, steps=1)), **SIZES)
    probed = measure_changes(posed(model, SGD(0.3, steps=1), probes=[[5.0, 5.0]]), **SIZES)
    assert_allclose(probed["error"], plain["error"], rtol=1e-12)
    assert np.all(probed["features"] != plain["features"])
    assert measure_changes(posed(model, SGD(0.3, steps=1)), **SIZES, block_width=24)["updates"].shape == (2, 2)


def test_what_diverges_is_not_finite():
    found = measure_changes(posed(ResNet(), SGD(1e9, steps=9), alpha=0, gamma=0), width=8, blocks=64, seeds=2)
    assert not np.any(np.isfinite(found["features"]))
    assert np.all(np.isfinite(found["initial"]))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"width": 0}, "width must be a whole number >= 1, got 0"),
        ({"blocks": -1}, "blocks must be a whole number >= 1, got -1"),
        ({"seeds": 0}, "seeds must be a whole number >= 1, got 0"),
        ({"block_width": 8}, "block_width is for blocks of several layers"),
        ({"dtype": "float16"}, "dtype must be one of"),
    ],
)
def test_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        measure_changes(posed(ResNet(), SGD(0.1, steps=1)), **(SIZES | arguments))


def test_a_network_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr("limits.library.available_memory", lambda: 1000)
    with pytest.raises(MemoryError, match="one network of width 12 and 9 blocks takes"):
        measure_changes(posed(ResNet(), SGD(0.1, steps=1)), **SIZES)
