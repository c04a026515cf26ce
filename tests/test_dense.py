"""Networks of any block under any optimizer against PyTorch's autograd and optimizers, low-rank updates, libraries and types."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import naive_dense as slow
import naive_network as naive
import numpy as np
import pytest
from conftest import XI, XI3, Y2, Y
from test_finite import ALL_KINDS, POSITIONS, assert_close, assert_same

import limits
from limits import DivergedError, Record, Trajectory, library, simulate, solve
from limits.finite import dense, engines, ensemble, rules
from limits.lazy import nngp
from limits.library import open_library
from limits.optimizers import OPTIMIZERS, SGD, Adam, AdamW, Muon, SignSGD
from limits.parametrization import COMPLETEP, DEPTH_MUP, Parametrization
from limits.problem import Problem, ResNet

pytestmark = pytest.mark.filterwarnings("ignore::limits.UncentredWarning")

EVERYTHING = Record(positions=POSITIONS, kinds=ALL_KINDS)
BATCHES = [[0, 1, 2], [2, 2, 1], [0, 1], [1, 1]]
SCHEDULE = {"lr": [0.4, 0.3, 0.0, 0.5], "steps": 4, "input_lr": [0.2, 0.0, 0.1, 0.2], "output_lr": [0.1, 0.3, 0.2, 0.0]}
EXPONENTS = {
    1: Parametrization("1/2", "1/4", "1/4"),
    2: Parametrization("3/4", (0, "1/4"), ("1/4", 0)),
    3: Parametrization("1/2", ("1/2", "1/4", 0), (0, "1/4", "1/2")),
}
"""Of their own in every layer."""
MODELS = [
    *(
        ResNet(phi, k, 0.9, g, layer_norm=norm)
        for k in (1, 2, 3)
        for phi in ("tanh", "relu")
        for g in (True, False)
        for norm in (True, False)
    ),
    *(ResNet("linear", k, 0.9, layer_norm=norm) for k in (1, 2, 3) for norm in (True, False)),
    *(ResNet(phi, form="pre", layer_norm=norm) for phi in ("linear", "tanh", "relu") for norm in (True, False)),
    *(ResNet(phi, 2, 1.1, form="mlp", layer_norm=norm) for phi in ("linear", "tanh", "relu") for norm in (True, False)),
]
TRAINED = {
    "mse": (SGD(**SCHEDULE, momentum=0.5), XI, Y2, {"batches": BATCHES, "probes": [[0.2, 0.1]]}),
    "logistic": (SGD(0.5, 3, 0.2, 0.1), XI3, np.sign(Y2[:2]), {"loss": "logistic"}),
    "cross_entropy": (
        SGD(0.5, 3, 0.2, 0.1, weight_decay=0.1),
        XI,
        [2, 0, 1],
        {"loss": "cross_entropy", "batches": [[0], [2, 1], [1, 1, 0]]},
    ),
}
CHOSEN = {
    "post": ResNet("tanh", 2, 0.9),
    "mlp": ResNet("relu", 2, form="mlp"),
    "normalised": ResNet("tanh", form="pre", layer_norm=True),
    "three": ResNet("relu", 3, layer_norm=True),
}
OTHERS = {
    "Adam": Adam(**SCHEDULE, eps=0.1),
    "AdamW": AdamW([0.1, 0.2, 0.0, 0.1], 4, 0.1, [0.1, 0.0, 0.2, 0.1], beta1=0.8, beta2=0.9, weight_decay=0.3),
    "SignSGD": SignSGD(**SCHEDULE, momentum=0.3, weight_decay=0.1),
    "Muon": Muon(**SCHEDULE, weight_decay=0.2),
    "Muon without Nesterov": Muon(0.2, 4, 0.1, 0.1, momentum=0.5, nesterov=False, iterations=3),
}


def named(model):
    parts = (model.phi.name, f"{model.form}{model.block_depth}", "G" * model.mean_subtraction, "norm" * model.layer_norm)
    return " ".join(filter(None, parts))


def posed(model, optimizer=SGD(0.3, 3), inputs=XI, targets=Y2, **rest):  # noqa: B008
    return Problem(model, EXPONENTS[model.block_depth], optimizer, inputs, targets, **rest)


def run(problem, **options):
    return simulate(
        problem, **({"width": 9, "blocks": 4, "dtype": "float64", "record": Record(kinds=())} | inner(problem) | options)
    )


def inner(problem):
    """Blocks of several layers are wider than the stream."""
    return {} if problem.model.block_depth == 1 else {"block_width": 13}


@pytest.fixture
def all_dense(monkeypatch):
    """No network is trained by low-rank updates."""
    monkeypatch.setattr(ensemble, "engine", engines.Dense)


@pytest.fixture(params=MODELS, ids=named)
def model(request):
    return request.param


@pytest.fixture(params=TRAINED)
def trained(request, model):
    optimizer, inputs, targets, rest = TRAINED[request.param]
    return posed(model, optimizer, inputs, targets, **rest)


def compared(problem, digits=1e-12):
    """Everything `simulate` returns against the slow networks."""
    found = [slow.trained(problem, 9, 4, 7, s, **inner(problem)) for s in range(2)]
    answer = run(problem, seeds=2, seed=7, record=EVERYTHING)
    steps, samples = np.arange(problem.steps + 1), np.arange(len(problem.evaluated))
    assert_close(answer.samples, [one.outputs for one in found], digits)
    assert np.abs(answer.samples[:, -1] - answer.samples[:, 0]).max() > 0.01
    for m, p in enumerate(POSITIONS):
        assert_close(
            answer.feature_kernel[:, :, m], np.mean([naive.kernel(z.x, p, steps, samples) for z in found], axis=0), digits
        )
        backward = np.mean([naive.kernel(z.delta, p, steps, samples) for z in found], axis=0)
        assert_close(answer.gradient_kernel[:, :, m], backward, digits)
        between = np.mean([naive.kernel_between(z.x, p, POSITIONS[1], steps, samples) for z in found], axis=0)
        assert_close(answer.two_depth_kernel[:, :, m, 1], between, digits)


# Against autograd.


def test_training_is_that_of_autograd(trained, all_dense, torch):
    compared(trained)


@pytest.mark.parametrize("optimizer", OTHERS)
@pytest.mark.parametrize("name", CHOSEN)
def test_every_optimizer_trains_as_that_of_pytorch(name, optimizer, torch):
    compared(posed(CHOSEN[name], OTHERS[optimizer], batches=BATCHES, probes=[[0.2, 0.1]]), digits=1e-10)


def training(problem, width=9, blocks=4, seeds=2, block_width=None, dtype="float64", backend="numpy"):
    """The engine at work on fresh networks, and their draw."""
    one = engines.Dense(problem, open_library(backend, None, dtype), width, blocks, block_width or width)
    with ThreadPoolExecutor(1) as threads:
        drawn = one.draw(threads, 7, range(seeds)).wait()
    return one.training(drawn, lambda side, t: None)


class Listening:
    """In the place of a mover: the gradients it would have used, by block."""

    rule = SimpleNamespace(numbers=lambda t: (1.0,))

    def __init__(self, scale=1.0):
        self.scale, self.heard = scale, {}

    def __call__(self, which, left, right, t):
        self.heard[which] = self.scale * (np.swapaxes(left, 1, 2) @ right)


def heard(problem, **sizes):
    """Scaled gradients of the first step, layer by layer (L, S, rows, columns), and of the ends."""
    one = training(problem, **sizes)
    blocks = [Listening(mover.scales) for mover in one.movers]
    one.movers, ends = blocks, {side: Listening() for side in one.ends}
    one.ends = ends
    one.evaluate(0)
    return [np.stack([b.heard[l] for l in range(one.blocks)]) for b in blocks], [end.heard[0] for end in ends.values()]


@pytest.mark.parametrize("loss", TRAINED)
def test_scaled_gradients_are_those_of_autograd(model, loss, torch):
    """Derivatives in W_i times n L^(alpha + the other layers' betas), those in U and V times n: what an optimizer is given."""
    optimizer, inputs, targets, rest = TRAINED[loss]
    problem = posed(model, Adam(0.1, optimizer.steps, 0.1, 0.1), inputs, targets, **rest)
    width, L, M = 9, 4, 13 if model.block_depth > 1 else None
    layers, ends = heard(problem, block_width=M)
    for s in range(2):
        u, v, w = slow.drawn(problem, width, L, 7, s, M)
        U, V, *W = (torch.tensor(p, requires_grad=True) for p in (u, v, *(p for block in w for p in block)))
        blocks = [W[l * model.block_depth : (l + 1) * model.block_depth] for l in range(L)]
        x = torch.tensor(problem.evaluated) @ U.T / problem.d_in**0.5
        for block in blocks:
            x = x + model.multiplier * L ** -float(problem.parametrization.alpha) * slow.branch(torch, model, x, block)
        gradients = torch.autograd.grad(naive.batch_loss(torch, problem, x @ V / width, 0), [U, V, *W])
        orders = [one.order for one in slow.layers(problem, width, L, blocks)]
        for end, gradient in zip(ends, gradients, strict=False):
            assert_close(end[s].T, width * gradient.numpy())
        for j, gradient in enumerate(gradients[2:]):
            l, i = divmod(j, model.block_depth)
            assert_close(layers[i][l, s], orders[i] * gradient.numpy())


# The same networks another way.


LOW_RANK = {
    "linear": ResNet(multiplier=0.8),
    "post": ResNet("tanh", multiplier=0.8),
    "no G": ResNet("relu", mean_subtraction=False),
    "pre": ResNet("tanh", form="pre"),
}


@pytest.mark.parametrize("backend", ["numpy", "torch", "array_api_strict"])
@pytest.mark.parametrize("name", LOW_RANK)
def test_low_rank_updates_are_the_same_networks(name, backend, monkeypatch):
    pytest.importorskip(backend)
    problem = posed(LOW_RANK[name], SGD(**SCHEDULE, momentum=0.6), batches=BATCHES, probes=[[0.2, 0.1]])
    here = run(problem, seeds=3, record=EVERYTHING)
    monkeypatch.setattr(ensemble, "engine", engines.Dense)
    assert_same(run(problem, seeds=3, record=EVERYTHING, backend=backend), here)


@pytest.mark.parametrize("optimizer", [SGD(**SCHEDULE, momentum=0.5, weight_decay=0.1), *OTHERS.values()], ids=["SGD", *OTHERS])
@pytest.mark.parametrize("name", CHOSEN)
def test_every_library_trains_the_same_networks(name, optimizer):
    problem = posed(CHOSEN[name], optimizer, batches=BATCHES)
    here = run(problem, seeds=2, record=EVERYTHING)
    for backend in ("torch", "array_api_strict"):
        pytest.importorskip(backend)
        assert_same(run(problem, seeds=2, record=EVERYTHING, backend=backend), here, digits=1e-10)


@pytest.mark.parametrize("name", CHOSEN)
def test_networks_of_parts_are_those_of_whole_matrices(name, monkeypatch):
    """A matrix larger than the cache moves by some of its rows at a time, smaller ones several at a time."""
    problem = posed(CHOSEN[name], OTHERS["AdamW"], batches=BATCHES)
    here = run(problem, seeds=5)
    monkeypatch.setattr(rules, "LEAST_ROWS", 1)
    for size in (1, 40, 200, 10**6):
        monkeypatch.setattr(rules, "IN_CACHE", size)
        assert_same(run(problem, seeds=5), here)


@pytest.mark.parametrize("optimizer", OTHERS)
def test_seeds_are_split_without_a_trace(optimizer, monkeypatch):
    problem = posed(CHOSEN["mlp"], OTHERS[optimizer], batches=BATCHES)
    together = run(problem, seeds=5, record=EVERYTHING)
    for size in (1, 2):
        monkeypatch.setattr(ensemble, "side_by_side", lambda *_, size=size: size)
        assert_same(run(problem, seeds=5, record=EVERYTHING), together)


def test_the_ends_stay_where_their_rates_are_zero():
    """Of five networks one moves at each end only, and with frozen blocks the last evaluation differs by the ends alone."""
    frozen = posed(ResNet("tanh"), Adam(0.0, 3))
    assert np.ptp(run(frozen).outputs, axis=0).max() == 0
    for end in ("input_lr", "output_lr"):
        moved = run(replace(frozen, optimizer=replace(frozen.optimizer, **{end: 0.1})))
        assert np.ptp(moved.outputs, axis=0).min() > 0


# Types.


def widths(problem, **options):
    return simulate(problem, width=64, blocks=8, seeds=2, record=Record(kinds=()), **options).samples


@pytest.mark.parametrize("optimizer", [SGD(0.3, 3), Adam(0.05, 3, eps=0.1), Muon(0.05, 3)], ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("name", CHOSEN)
def test_single_precision_is_near_double(name, optimizer):
    problem = posed(CHOSEN[name], optimizer)
    double = widths(problem, dtype="float64")
    assert 1e-9 < np.abs(widths(problem, dtype="float32") - double).max() < 1e-4 * np.abs(double).max()


@pytest.mark.parametrize("model", [ResNet("tanh"), *CHOSEN.values()], ids=["one", *CHOSEN])
def test_brain_floats_multiply_and_nothing_else(model, torch):
    """Of 8 bits each factor, so that a network of them is 1e-2 away; sums, weights and states keep the bits of float32."""
    problem = posed(model, Adam(0.05, 3, eps=0.1))
    single = widths(problem)
    far = np.abs(widths(problem, dtype="bfloat16", backend="torch") - single).max() / np.abs(single).max()
    assert 1e-5 < far < 3e-2
    library = open_library("torch", None, "bfloat16")
    ones = library.put(np.full((1, 4, 4), 1 + 2.0**-12))
    assert float(library.product(ones, ones)[0, 0, 0]) == 4.0
    assert float((ones + ones)[0, 0, 0]) == 2 + 2.0**-11
    assert library.zeros(1).dtype == torch.float32


def test_single_precision_has_all_its_bits(torch):
    """No product goes through TensorFloat-32, whose factors have 11 bits, unless the user has asked PyTorch for it."""
    assert torch.get_float32_matmul_precision() == "highest"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    single = open_library("torch", device, "float32")
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 1, 256, 256))
    assert_close(single.get(single.product(single.put(a), single.put(b))), a @ b, digits=1e-5)


# Sizes.


def rms(array):
    return float(np.sqrt(np.mean(np.square(array, dtype=float))))


SIZED = {
    "one": (ResNet("tanh", multiplier=0.5), DEPTH_MUP),
    "two": (ResNet("relu", 2, 0.5), Parametrization("1/2", ("1/2", "1/4"), (0, "1/4"))),
    "mlp": (ResNet("tanh", 2, form="mlp"), COMPLETEP),
}
SIZED_OPTIMIZERS = [SGD(1.0, 1, 1.0, 1.0), Adam(1.0, 1, 1.0, 1.0, eps=1.0), SignSGD(1.0, 1, 1.0, 1.0), Muon(1.0, 1, 1.0, 1.0)]


@pytest.mark.parametrize("name", SIZED)
def test_scaled_gradients_are_of_order_one(name):
    """At four times the width and the depth they have the size they had: 16 or 256 times as many factors otherwise."""
    model, parametrization = SIZED[name]
    problem = Problem(model, parametrization, Adam(0.1, 1, 0.1, 0.1), XI, Y)
    small, large = (heard(problem, width=n, blocks=L, seeds=8) for n, L in ((32, 8), (128, 32)))
    for one, other in zip((*small[0], *small[1]), (*large[0], *large[1]), strict=True):
        assert 0.75 < rms(other) / rms(one) < 1.33


@pytest.mark.parametrize("optimizer", SIZED_OPTIMIZERS, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("name", SIZED)
def test_an_update_has_the_same_effect_at_every_size(name, optimizer):
    """L^gamma_i rms(dW_i y) is of order one, y what the layer reads; with eps = 1 Adam's is so only if eps is scaled."""
    model, parametrization = SIZED[name]
    problem = Problem(model, parametrization, optimizer, XI, Y)
    small, large = (effects(problem, n, L) for n, L in ((32, 8), (128, 32)))
    assert np.all(small > 0.01)
    np.testing.assert_allclose(large / small, 1, atol=0.35)


def effects(problem, width, blocks):
    """L^gamma_i rms(dW_i y_{i-1}) of a step, layer by layer, then the same of U and V, over 8 networks."""
    one = training(problem, width, blocks, seeds=8)
    before, ends = [w.copy() for w in one.weights], (one.u.copy(), one.v.copy())
    read, x = [[] for _ in before], one.inputs @ ends[0]
    for l in range(blocks):
        branch, kept = one.block(l, x, lambda rows: rows.copy())
        for layer, rows in zip(read, kept.inputs, strict=True):
            layer.append(rows)
        x = x + one.c * branch
    one.evaluate(0)
    gammas = problem.parametrization.layers(problem.model.block_depth)[1]
    found = [
        blocks ** float(gamma) * rms(np.stack(y) @ np.swapaxes(after - first, 2, 3))
        for gamma, y, after, first in zip(gammas, read, one.weights, before, strict=True)
    ]
    return np.array([*found, rms(one.u - ends[0]), rms(x @ np.swapaxes(one.v - ends[1], 1, 2)) / width])


# Memory, and what cannot be.


MEMORY = [
    (ResNet("relu"), Adam(0.1, 2), {"width": 512, "blocks": 8}, 16),
    (ResNet("relu", 2, form="mlp"), Adam(0.1, 2), {"width": 256, "blocks": 8, "block_width": 1024}, 16),
    (ResNet("tanh", layer_norm=True), SGD(0.1, 2, weight_decay=0.1), {"width": 128, "blocks": 32}, 1000),
    (ResNet("linear", 3), AdamW(0.1, 2), {"width": 128, "blocks": 16}, 1000),
    (ResNet("tanh", form="pre", layer_norm=True), SignSGD(0.1, 2), {"width": 128, "blocks": 32}, 500),
    (ResNet("tanh", 2), Muon(0.1, 2), {"width": 512, "blocks": 4}, 16),
]


def sized(model, optimizer, samples, batch=None):
    rng = np.random.default_rng(samples)
    batches = None if batch is None else [np.arange(batch)] * optimizer.steps
    x, y = rng.standard_normal((samples, 5)), rng.standard_normal((samples, 1))
    return Problem(model, DEPTH_MUP, optimizer, x, y, batches=batches)


@pytest.mark.parametrize("batch", [None, 7])
@pytest.mark.parametrize(
    ("model", "optimizer", "sizes", "samples"), MEMORY, ids=lambda v: named(v) if isinstance(v, ResNet) else ""
)
def test_a_network_holds_as_many_numbers_as_are_said(model, optimizer, sizes, samples, batch):
    """Measured 0.87 to 1.02 times as many; without what only the draw takes."""
    problem = sized(model, optimizer, samples, batch)
    n, L = sizes["width"], sizes["blocks"]
    shapes = dense.Shapes.of(problem, n, sizes.get("block_width", n))
    said = 4 * dense.numbers_per_network(problem, shapes, L, n)
    tracemalloc.start()
    one = training(problem, n, L, 1, sizes.get("block_width"), "float32")
    tracemalloc.reset_peak()
    for t in range(problem.steps + 1):
        one.evaluate(t)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken > 3e6
    assert 0.8 < said / taken < 1.25, f"{said / 1e6:.1f} MB said, {taken / 1e6:.1f} MB taken"


def test_an_ensemble_that_does_not_fit_is_split(monkeypatch):
    problem = posed(CHOSEN["mlp"], OTHERS["Adam"], batches=BATCHES)
    together = run(problem, seeds=6)
    sizes, right = [], engines.Dense.draw
    monkeypatch.setattr(
        engines.Dense, "draw", lambda self, threads, seed, seeds: sizes.append(len(seeds)) or right(self, threads, seed, seeds)
    )
    one = ensemble._Runs(problem, Record(kinds=()), open_library("numpy", None, "float64"), 9, 4, 0, 13).bytes_per_seed()
    for fits, largest in ((20, 6), (6, 3), (2, 1)):
        monkeypatch.setattr(library, "available_memory", lambda fits=fits: int(1.01 * fits * one / ensemble.SHARE_OF_MEMORY))
        sizes.clear()
        assert_same(run(problem, seeds=6), together)
        assert max(sizes) == largest
        assert sum(sizes) == 6


def test_a_network_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(library, "available_memory", lambda: 10**7)
    with pytest.raises(MemoryError, match=r"one network of width 512 and 8 blocks takes .* GB .* that are free: make it smaller"):
        run(posed(ResNet("relu"), Adam(0.1, 2)), width=512, blocks=8)


def test_networks_that_diverge_do_not_disturb_others():
    """Squares explode at some seeds; the others are what they are alone."""
    problem = Problem(ResNet("square", 2, 0.7, form="mlp"), COMPLETEP, SGD(0.7, 12), XI, Y)
    with pytest.warns(limits.DivergenceWarning):
        answer = run(problem, seeds=8)
    survived = np.flatnonzero(answer.diverged < 0)
    assert 0 < len(survived) < 8
    for s in survived:
        alone = training_of(problem, s)
        assert_close(answer.samples[s], alone)
    with pytest.raises(DivergedError, match="all 8 seeds leave the range"):
        run(replace(problem, optimizer=SGD(1.5, 12)), seeds=8)


def training_of(problem, s):
    """Outputs of seed s of seed 0, trained alone."""
    one = engines.Dense(problem, open_library("numpy", None, "float64"), 9, 4, 13)
    with ThreadPoolExecutor(1) as threads:
        alone = one.training(one.draw(threads, 0, range(s, s + 1)).wait(), lambda side, t: None)
    return np.stack([alone.evaluate(t)[0] for t in range(problem.steps + 1)])


def test_an_interruption_keeps_the_steps_so_far():
    problem = posed(CHOSEN["mlp"], OTHERS["AdamW"], batches=BATCHES)

    def stop(done, total):
        if done >= 2 * 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        run(problem, seeds=2, progress=stop)
    assert_same(caught.value.partial, run(problem.prefix(2), seeds=2))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("batches", [None, BATCHES])
def test_a_trajectory_keeps_its_optimizer(name, batches, tmp_path):
    optimizer = OPTIMIZERS[name]([0.1, 0.2, 0.0, 0.1], 4, input_lr=0.1)
    decay = {} if name == "Adam" else {"weight_decay": 0.2}
    problem = posed(CHOSEN["mlp"], replace(optimizer, **decay), batches=batches)
    answer = run(problem, seeds=2)
    again = Trajectory.load(answer.save(tmp_path / "run.npz"))
    assert again.problem.optimizer == problem.optimizer
    assert again.problem.model == problem.model
    assert again.problem.parametrization == problem.parametrization
    assert_same(run(again.problem, seeds=2), answer, digits=0)


REFUSED = {
    "Adam": (
        {"optimizer": Adam(0.1, 2)},
        r"treats SGD, got Adam: ask recurse for infinite width by samples of neurons, or simulate for networks of finite width",
    ),
    "decay": (
        {"optimizer": SGD(0.1, 2, weight_decay=0.1)},
        r"treats SGD without weight decay, got weight_decay=0.1: ask recurse",
    ),
    "norm": ({"model": ResNet(layer_norm=True)}, r"treats blocks without LayerNorm, got layer_norm=True: ask recurse"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_limits_refuse_what_only_networks_do(name):
    change, sentence = REFUSED[name]
    problem = Problem(
        **{"model": ResNet(), "parametrization": DEPTH_MUP, "optimizer": SGD(0.1, 2), "inputs": XI, "targets": Y} | change
    )
    with pytest.raises(ValueError, match=f"solve {sentence}"):
        solve(problem)


def test_limits_of_two_layers_say_what_to_do_instead():
    mlp = Problem(ResNet("tanh", 2, form="mlp"), DEPTH_MUP, SGD(0.1, 2), XI, Y)
    with pytest.raises(ValueError, match=r"got form 'mlp' at alpha = 1/2.*or use recurse or simulate"):
        solve(mlp)
    with pytest.raises(ValueError, match=r"the lazy limit treats blocks without LayerNorm, got layer_norm=True: ask recurse"):
        nngp(ResNet(layer_norm=True), XI)
    with pytest.raises(ValueError, match=r"the kernels of tanh blocks of 2 layers are not known: take one layer"):
        nngp(ResNet("tanh", 2, form="mlp"), XI)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"block_width": 0}, "block_width must be a whole number >= 1, got 0"),
        ({"dtype": "bfloat16"}, "dtype 'bfloat16' needs backend='torch', got backend='numpy'"),
        ({"dtype": "float16"}, "dtype must be one of float32, float64, bfloat16, got 'float16': its range would lose gradients"),
        ({"record": Record(kinds=("response",))}, "cannot be measured in a finite network"),
    ],
)
def test_bad_input_gets_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        run(posed(CHOSEN["mlp"], Adam(0.1, 2)), **options)


def test_exponents_of_another_block_and_widths_inside_of_none_are_refused():
    two = Problem(ResNet(), Parametrization("1/2", (0, 0)), Adam(0.1, 1), XI, Y)
    with pytest.raises(ValueError, match="gamma has 2 exponents, but a block of depth 1 has one layer"):
        simulate(two, width=4, blocks=2)
    with pytest.raises(ValueError, match="block_width is for blocks of several layers, got 8 for block_depth=1: leave it out"):
        simulate(posed(ResNet()), width=4, blocks=2, block_width=8)


# Faults.


def wrong_product(monkeypatch):
    """Gradients of one layer, of the other's order."""
    right = dense.gradients
    monkeypatch.setattr(dense, "gradients", lambda *given: right(*given)[::-1])


def no_alpha(monkeypatch):
    """Gradients without L^alpha."""
    from limits.exponents import Order

    monkeypatch.setattr(dense, "gradients", lambda parametrization, depth: (Order(0),) * depth)


def wrong_width(monkeypatch):
    """1/n where it is 1 / (columns)."""
    monkeypatch.setattr(dense, "unit_of", lambda optimizer, width, rows, columns: 1 / width)


def updated_first(monkeypatch):
    """W moves before delta has passed it."""
    right = dense.DenseTraining._block_back

    def wrong(self, t, l, delta, kept):
        import copy

        frozen = copy.copy(self)
        right(frozen, t, l, delta.copy(), replace(kept))  # moves the matrices
        frozen.learns = False
        return right(frozen, t, l, delta, kept)

    monkeypatch.setattr(dense.DenseTraining, "_block_back", wrong)


def uncorrected(monkeypatch):
    """Adam without the correction of its bias."""
    right = rules.Adaptive.numbers
    monkeypatch.setattr(rules.Adaptive, "numbers", lambda self, t: (right(self, t)[0], *right(_late(self), 10**4)[1:]))


def _late(rule):
    return replace(rule, schedule=np.broadcast_to(1.0, 10**4 + 1))


def decayed_last(monkeypatch):
    """Decay after the step."""
    right = rules.Mover.__call__

    def wrong(self, which, left, right_rows, numbers):
        decays, self.decays = self.decays, None
        right(self, which, left, right_rows, numbers)
        self.decays = decays
        for part in self.parts[which]:
            here = part.matrix
            here *= 1 - numbers[0] * decays[part.networks, ...]

    monkeypatch.setattr(rules.Mover, "__call__", wrong)


def wrong_norm(monkeypatch):
    """The backward pass of LayerNorm without what goes along the normalised rows."""
    right = dense.DenseTraining._norm_back
    monkeypatch.setattr(dense.DenseTraining, "_norm_back", lambda self, g, y, factor: right(self, g, 0 * y, factor))


def no_state(monkeypatch):
    """Every step begins with empty states."""
    right = rules.Mover.__call__

    def wrong(self, which, left, right_rows, numbers):
        for part in self.parts[which]:
            for state in part.state:
                state *= 0
        right(self, which, left, right_rows, numbers)

    monkeypatch.setattr(rules.Mover, "__call__", wrong)


FAULTS = {
    "orders of the layers": (wrong_product, "mlp", "Adam"),
    "no L^alpha": (no_alpha, "mlp", "Adam"),
    "1/n of Adam": (wrong_width, "mlp", "AdamW"),
    "1/n of signs": (wrong_width, "mlp", "SignSGD"),
    "shape of Muon": (wrong_width, "mlp", "Muon"),
    "update before delta": (updated_first, "post", "Adam"),
    "bias": (uncorrected, "post", "AdamW"),
    "decay after the step": (decayed_last, "post", "AdamW"),
    "norm": (wrong_norm, "normalised", "Adam"),
    "no memory": (no_state, "post", "Muon"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_injected_fault_is_caught(name, monkeypatch, torch):
    inject, model, optimizer = FAULTS[name]
    problem = posed(CHOSEN[model], OTHERS[optimizer], batches=BATCHES)
    compared(problem, digits=1e-10)
    inject(monkeypatch)
    with pytest.raises(AssertionError):
        compared(problem, digits=1e-10)


def test_a_gradient_of_another_order_is_seen_at_another_size(monkeypatch):
    test_scaled_gradients_are_of_order_one("mlp")
    no_alpha(monkeypatch)
    with pytest.raises(AssertionError):
        test_scaled_gradients_are_of_order_one("mlp")


def test_an_eps_that_is_not_scaled_is_seen_at_another_size(monkeypatch):
    test_an_update_has_the_same_effect_at_every_size("mlp", SIZED_OPTIMIZERS[1])
    no_alpha(monkeypatch)
    with pytest.raises(AssertionError):
        test_an_update_has_the_same_effect_at_every_size("mlp", SIZED_OPTIMIZERS[1])
