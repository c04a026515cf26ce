"""Networks with nonlinear blocks against the chain rule by hand, autograd, other array libraries, and linear blocks."""

import tracemalloc
import warnings
from dataclasses import replace

import naive_network as naive
import numpy as np
import pytest
from conftest import CATALOGUE, XI, XI3, Y2, Y
from numpy.testing import assert_array_equal
from scipy.stats import t as student
from test_finite import ALL_KINDS, EXTRA, POSITIONS, assert_close, assert_same, assert_some_diverged, run

from limits import DivergedError, Nonlinearity, Record, Trajectory, UncentredWarning, estimate, library
from limits.finite import DivergenceWarning, blocks, engines, ensemble, network, nonlinear, simulate
from limits.nonlinearity import nonlinearity
from limits.optimizers import SGD
from limits.parametrization import DEPTH_MUP, NEURAL_ODE, Parametrization
from limits.problem import Problem, ResNet

pytestmark = pytest.mark.filterwarnings("ignore::limits.UncentredWarning")

PHIS = ("relu", "abs", "tanh", "sin", "sin + cos")
MODELS = [ResNet(phi, mean_subtraction=g, multiplier=0.9) for phi in PHIS for g in (True, False)]
MODELS += [ResNet(phi, form="pre", multiplier=0.9) for phi in PHIS]
LINE = Nonlinearity("line", lambda z: z, lambda z: 0 * z + 1)
"""The linear function, as a nonlinear one."""
EVERYTHING = Record(positions=POSITIONS, kinds=ALL_KINDS)
BOTH = SGD([0.6, 0.3, 0.0, 0.2], steps=4, input_lr=[0.3, 0.1, 0.0, 0.2], output_lr=[0.2, 0.4, 0.1, 0.3], momentum=0.5)
BATCHES = [[0], [1, 1, 2], [2, 0], [0, 0]]
TRAINED = {
    "mse": Problem(ResNet(), DEPTH_MUP, BOTH, XI, Y2, batches=BATCHES, probes=[[0.2, 0.1]]),
    "logistic": Problem(ResNet(), NEURAL_ODE, SGD(1.5, steps=3, output_lr=0.5), XI3, np.sign(Y2[:2]), loss="logistic"),
    "classes": Problem(
        ResNet(), Parametrization("1/2", "1/2", "1/4"), SGD(1.2, steps=3, input_lr=0.4), XI, [2, 0, 1], loss="cross_entropy"
    ),
}


def named(model):
    return f"{model.phi.name}, {model.form}{', G' * (model.mean_subtraction and model.form == 'post')}"


@pytest.fixture(params=list(TRAINED))
def trained(request):
    return TRAINED[request.param]


@pytest.fixture(params=MODELS, ids=named)
def model(request):
    return request.param


def with_model(problem, model):
    return replace(problem, model=model)


def compared(problem, train):
    """Everything `simulate` returns against the slow networks of `train`."""
    slow = [train(problem, 20, 5, 7, s) for s in range(2)]
    answer = run(problem, seeds=2, seed=7, record=EVERYTHING)
    steps, samples = np.arange(problem.steps + 1), np.arange(len(problem.evaluated))
    assert_close(answer.samples, [one.outputs for one in slow])
    for m, p in enumerate(POSITIONS):
        assert_close(answer.feature_kernel[:, :, m], np.mean([naive.kernel(z.x, p, steps, samples) for z in slow], axis=0))
        assert_close(answer.gradient_kernel[:, :, m], np.mean([naive.kernel(z.delta, p, steps, samples) for z in slow], axis=0))
        for n, q in enumerate(POSITIONS):
            between = np.mean([naive.kernel_between(one.x, p, q, steps, samples) for one in slow], axis=0)
            assert_close(answer.two_depth_kernel[:, :, m, n], between)


def test_training_is_that_of_the_chain_rule_by_hand(trained, model):
    compared(with_model(trained, model), naive.trained_by_hand)


def test_training_is_that_of_autograd(trained, model, torch):
    compared(with_model(trained, model), naive.trained)


@pytest.mark.parametrize("form", ["post", "pre"])
@pytest.mark.parametrize("name", [*CATALOGUE, *EXTRA])
def test_a_line_is_a_linear_network(name, form):
    """Samples pass through where directions do for "linear"; every other part of the answer is the same."""
    problem = (CATALOGUE | EXTRA)[name]
    line = replace(problem.model, nonlinearity=LINE, mean_subtraction=False, form=form)
    here, there = (run(p, seeds=2, record=EVERYTHING) for p in (with_model(problem, line), problem))
    assert_same(here, there)


# The same network in other libraries and types, and algorithms that must not change the answer.


def test_every_library_trains_the_same_network(model, torch):
    problem = with_model(TRAINED["mse"], model)
    here = run(problem, seeds=2, record=EVERYTHING)
    assert_same(run(problem, seeds=2, record=EVERYTHING, backend="torch"), here)
    pytest.importorskip("array_api_strict")
    assert_same(run(problem, seeds=2, record=EVERYTHING, backend="array_api_strict"), here)


def test_single_precision_is_near_double(trained, model):
    problem = with_model(trained, model)
    single = run(problem, seeds=2, record=EVERYTHING, dtype="float32")
    assert_same(single, run(problem, seeds=2, record=EVERYTHING), digits=2e-5)


def test_a_graphics_processor_trains_the_same_networks(torch):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for model in MODELS:
        problem = with_model(TRAINED["mse"], model)
        there = run(problem, seeds=5, record=EVERYTHING, backend="torch", device="cuda")
        assert_same(there, run(problem, seeds=5, record=EVERYTHING))


LONG = SGD([0.5, 0.2, 0.0, 0.4] * 5, steps=20, input_lr=[0.3, 0.0, 0.0, 0.2] * 5, output_lr=0.1, momentum=0.7)


@pytest.mark.parametrize("sgd", [LONG, replace(LONG, momentum=0.0), replace(LONG, lr=0.0)])
@pytest.mark.parametrize("form", ["post", "pre"])
@pytest.mark.parametrize("rows", [1, 5, 16])
def test_absorbed_updates_are_the_pending_ones(sgd, form, rows, monkeypatch):
    """At once, after so many rows, and (but for momentum and many steps) never."""
    problem = Problem(ResNet("tanh", form=form), DEPTH_MUP, sgd, XI, Y2, batches=BATCHES * 5)
    at_once = run(problem, seeds=2, record=EVERYTHING)
    monkeypatch.setattr(engines, "pays_to_absorb", lambda sent, width: False)
    assert_same(run(problem, seeds=2, record=EVERYTHING), at_once)
    monkeypatch.setattr(engines, "capacity", lambda updates, rank, width, momentum: max(rank, rows))
    assert_same(run(problem, seeds=2, record=EVERYTHING), at_once)


@pytest.mark.parametrize("form", ["post", "pre"])
def test_batches_of_seeds_do_not_matter(form, monkeypatch):
    problem = with_model(TRAINED["classes"], ResNet("sin + cos", form=form))
    together = run(problem, seeds=5, record=EVERYTHING)
    for size in (1, 2, 4):
        monkeypatch.setattr(ensemble, "side_by_side", lambda *_, size=size: size)
        assert_same(run(problem, seeds=5, record=EVERYTHING), together)


@pytest.mark.parametrize(
    "chosen",
    [
        {"steps": (2, 0, 2), "samples": (1,)},
        {"samples": (3, 0, 0)},
        {"samples": (1, 0, 2)},
        {"samples": (0, 0, 2)},
        {"steps": (3,)},
    ],
)
@pytest.mark.parametrize("form", ["post", "pre"])
def test_a_record_of_some_is_part_of_the_record_of_all(form, chosen):
    problem = with_model(TRAINED["mse"], ResNet("relu", form=form))
    record = replace(EVERYTHING, **chosen)
    everything, some = (run(problem, seeds=3, record=r) for r in (EVERYTHING, record))
    k, s = record.chosen_steps(problem), record.chosen_samples(problem)
    assert_array_equal(some.steps, k)
    assert_close(some.samples, everything.samples)
    for kind in ALL_KINDS:
        assert_close(getattr(some, f"{kind}_kernel"), getattr(everything, f"{kind}_kernel")[k][:, k][..., s, :][..., s])


def test_gradients_of_frozen_blocks_are_recorded():
    """Where no block learns, the backward pass is made for the record alone."""
    problem = replace(TRAINED["mse"], model=ResNet("tanh"), optimizer=SGD(0.0, steps=4, output_lr=0.3))
    compared(problem, naive.trained_by_hand)


# Invariances.


def test_probes_and_the_order_of_samples_do_not_matter():
    problem = with_model(TRAINED["mse"], ResNet("relu"))
    bare, order = replace(problem, probes=None), np.array([2, 0, 1])
    batches = [np.argsort(order)[batch] for batch in BATCHES]
    shuffled = replace(bare, inputs=XI[order], targets=Y2[order], batches=batches)
    here, without, other = (run(p, seeds=2) for p in (problem, bare, shuffled))
    assert_close(without.samples, here.samples[:, :, :3])
    assert_close(other.samples[:, :, np.argsort(order)], without.samples)


def test_a_sample_twice_is_a_sample_of_double_weight():
    sgd = SGD(0.7, steps=3, output_lr=0.2)
    twice = Problem(ResNet("tanh"), DEPTH_MUP, sgd, XI[[0, 1, 1]], Y2[[0, 1, 1]])
    double = Problem(ResNet("tanh"), DEPTH_MUP, sgd, XI[:2], Y2[:2], batches=[[0, 1, 1]] * 3)
    assert_close(run(twice, seeds=2).samples[:, :, :2], run(double, seeds=2).samples)


@pytest.mark.parametrize("form", ["post", "pre"])
def test_homogeneous_networks_scale_with_their_inputs(form):
    """Of f(s xi) = s f(xi) at initialization, for relu, follows C0(s xi) = s^2 C0(xi)."""
    one = replace(TRAINED["mse"], model=ResNet("relu", form=form)).prefix(0)
    here, there = (run(p, record=Record()) for p in (one, replace(one, inputs=3 * XI, probes=3 * one.probes)))
    assert_close(there.samples, 3 * here.samples)
    assert_close(there.feature_kernel, 9 * here.feature_kernel)


# Divergence, interruption, memory.


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_diverged_seeds_are_left_out_of_all_averages(backend, request):
    if backend == "torch":
        request.getfixturevalue("torch")
    steep = Problem(ResNet("abs"), DEPTH_MUP, SGD(4.0, steps=14), XI[:1], Y[:1])
    with pytest.warns(DivergenceWarning, match=r"of 12 seeds diverged"):
        answer = run(steep, width=4, blocks=2, seeds=12, dtype="float32", record=EVERYTHING, backend=backend)
    assert_some_diverged(answer)
    assert np.all(np.isfinite(answer.gradient_kernel))


def test_all_seeds_diverging_is_an_error():
    problem = Problem(ResNet("abs", form="pre"), DEPTH_MUP, SGD(500.0, steps=14), XI, Y)
    with pytest.raises(DivergedError, match=r"all 3 seeds leave the range of float32"):
        run(problem, seeds=3, dtype="float32")


def test_an_interruption_keeps_the_steps_so_far():
    problem = with_model(TRAINED["mse"], ResNet("tanh"))

    def stop(done, total):
        if done >= 2 * 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        run(problem, seeds=2, progress=stop)
    assert_same(caught.value.partial, run(problem.prefix(2), seeds=2))


def test_progress_counts_networks_times_evaluations():
    calls = []
    run(with_model(TRAINED["mse"], ResNet("tanh")), seeds=3, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(k, 15) for k in (3, 6, 9, 12, 15)]


def sized(samples, steps=3, **sgd):
    rng = np.random.default_rng(samples)
    return Problem(
        ResNet("tanh"), DEPTH_MUP, SGD(0.2, steps, **sgd), rng.standard_normal((samples, 3)), rng.standard_normal((samples, 1))
    )


@pytest.mark.parametrize(
    ("problem", "sizes", "record"),
    [
        (sized(2), {"width": 256, "blocks": 32}, Record(kinds=())),
        (sized(64), {"width": 128, "blocks": 32, "seeds": 8}, Record(kinds=())),
        (sized(2000), {"width": 64, "blocks": 16}, Record(kinds=())),
        (sized(20, 12, momentum=0.9), {"width": 128, "blocks": 32, "seeds": 2}, Record(kinds=())),
        (sized(40), {"width": 128, "blocks": 32, "seeds": 6}, Record(steps=(1,), kinds=("gradient", "feature"))),
        (sized(2000), {"width": 64, "blocks": 4}, Record(samples=range(9), kinds=("gradient", "feature"))),
        (sized(100, momentum=0.9), {"width": 128, "blocks": 48}, Record(kinds=())),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_memory_is_what_is_said(problem, sizes, record, dtype):
    said = estimate(problem, "simulate", record=record, dtype=dtype, **sizes).bytes
    tracemalloc.start()
    simulate(problem, record=record, dtype=dtype, **sizes)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken > 8e6
    assert 0.5 < said / taken < 2, f"{said / 1e6:.1f} MB said, {taken / 1e6:.1f} MB taken"


def test_a_network_larger_than_memory_is_refused(monkeypatch):
    monkeypatch.setattr(library, "available_memory", lambda: 10**8)
    with pytest.raises(MemoryError, match=r"width 64 and 4 blocks takes .* GB"):
        run(sized(10**5), width=64, blocks=4)


# Infinite width at initialization.


def relu_covariance(C, centred):
    """Of relu of Gaussians with covariance C: arc-cosine kernel of order one, less the product of the means."""
    norms = np.sqrt(np.diag(C))
    angle = np.arccos(np.clip(C / np.outer(norms, norms), -1, 1))
    kernel = np.outer(norms, norms) * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    return kernel - centred * np.outer(norms, norms) / (2 * np.pi)


@pytest.mark.parametrize("form", ["post", "pre"])
def test_initial_kernel_is_that_of_infinite_width(form):
    """C0 grows by a^2/L V(C0) a block. 2 mean(2n) - mean(n) over 40 groups of 25 seeds, from which 1/n cancels.

    False-alarm rate with fresh seeds: at most 1e-3 for all entries together (Bonferroni, Student's t; 39 degrees of freedom
    are at most Welch's).
    """
    a, L = 0.9, 4
    problem = Problem(ResNet("relu", multiplier=a, form=form), DEPTH_MUP, SGD(0.5, steps=0), XI[:2], Y[:2])
    C, record, means = XI[:2] @ XI[:2].T / 2, Record(positions=(0.5, 1)), {}
    theory = []
    for l in range(1, L + 1):
        C = C + a**2 / L * relu_covariance(C, centred=form == "post")
        theory += [C] if l in (L // 2, L) else []
    for n in (64, 128):
        groups = [
            run(problem, width=n, blocks=L, seeds=25, seed=g, record=record, dtype="float32") for g in range(40 * n, 40 * n + 40)
        ]
        means[n] = np.stack([one.feature_kernel[0, 0] for one in groups])
    far = 2 * means[128].mean(0) - means[64].mean(0) - theory
    error = np.sqrt((4 * means[128].var(0, ddof=1) + means[64].var(0, ddof=1)) / 40)
    assert np.abs(far / error).max() < student.isf(1e-3 / 2 / 6, 39)
    assert error.max() < 0.015 * np.abs(theory).max()  # without G, the largest entry would be 20 % larger


def test_the_draw_is_that_of_the_linear_network():
    """The first level, and with beta = 20 (blocks that hardly act) the whole network, do not know what the blocks are."""
    still = replace(TRAINED["mse"], parametrization=Parametrization("1/2", "1/2", 20)).prefix(0)
    assert_close(run(with_model(still, ResNet("tanh"))).samples, run(still).samples, digits=1e-10)


# Faults.


def more(owner, name):
    """A function that returns, or a constructor that sets `steps` to, 1.01 times what it should."""

    def inject(monkeypatch):
        right = vars(owner)[name]

        def wrong(self, *given, **named):
            result = right(self, *given, **named)
            if result is not None:
                return tuple(1.01 * r for r in result) if isinstance(result, tuple) else 1.01 * result
            self.steps = [1.01 * step for step in self.steps]

        monkeypatch.setattr(owner, name, wrong)

    return inject


def wrong_slope(monkeypatch):
    right = nonlinear.NonlinearTraining.__init__

    def init(self, problem, *given):
        phi = problem.model.phi
        steep = replace(problem.model, nonlinearity=replace(phi, derivative=lambda z: 1.01 * phi.derivative(z)))
        right(self, replace(problem, model=steep), *given)

    monkeypatch.setattr(nonlinear.NonlinearTraining, "__init__", init)


def wrong_pending(monkeypatch):
    monkeypatch.setattr(engines, "pays_to_absorb", lambda sent, width: False)
    more(blocks.Blocks, "_updated")(monkeypatch)


def wrong_absorbed(monkeypatch):
    right = library.Library.add_product
    monkeypatch.setattr(library.Library, "add_product", lambda self, matrix, a, b: right(self, matrix, 1.01 * a, b))


def wrong_mean(monkeypatch):
    monkeypatch.setattr(nonlinear.Post, "_centred", lambda self, rows: rows - 1.01 * rows.mean(-1, keepdims=True))


def wrong_backward_mean(monkeypatch):
    right = nonlinear.Post.backward

    def wrong(self, product, l, slope, delta):
        return right(replace(self, averaging=1.01 * self.averaging), product, l, slope, delta)

    monkeypatch.setattr(nonlinear.Post, "backward", wrong)


FAULTS = {
    "update": more(nonlinear.NonlinearTraining, "__init__"),
    "slope": wrong_slope,
    "forward block": more(nonlinear.Post, "forward"),
    "backward block": more(nonlinear.Post, "backward"),
    "mean": wrong_mean,
    "mean in the backward pass": wrong_backward_mean,
    "loss derivative": more(network.Ends, "chi"),
    "pending update": wrong_pending,
    "absorbed update": wrong_absorbed,
}


@pytest.mark.parametrize("name", FAULTS)
def test_injected_fault_is_caught(name, monkeypatch):
    problem = with_model(TRAINED["mse"], ResNet("tanh"))
    compared(problem, naive.trained_by_hand)
    FAULTS[name](monkeypatch)
    with pytest.raises(AssertionError):
        compared(problem, naive.trained_by_hand)


# Files.


@pytest.mark.parametrize("phi", ["relu", 0.5 * nonlinearity("relu") - nonlinearity("tanh")])
def test_a_named_nonlinearity_is_saved(tmp_path, phi):
    answer = run(with_model(TRAINED["mse"], ResNet(phi, form="pre")))
    again = Trajectory.load(answer.save(tmp_path / "run.npz"))
    assert again.problem.model.phi == answer.problem.model.phi
    assert_same(run(again.problem), answer)


def test_of_ones_own_nonlinearity_the_name_is_saved(tmp_path):
    again = Trajectory.load(run(with_model(TRAINED["mse"], ResNet(LINE))).save(tmp_path / "run.npz"))
    assert again.problem.model.phi.name == "line"
    with pytest.raises(ValueError, match="the nonlinearity 'line' is one's own, and a file holds only its name"):
        run(again.problem)


def test_a_mean_that_blows_up_is_said():
    """Relu is unstable at alpha = 1/2 only for its mean; tanh has none, and at alpha = 1 it is bounded."""

    def one_step(name, alpha, gamma, mean_subtraction=False):
        model = ResNet(name, mean_subtraction=mean_subtraction)
        one = Problem(model, Parametrization(alpha, gamma), SGD(1.0, steps=1), [[1.0]], [[1.0]])
        simulate(one, width=8, blocks=4)

    with pytest.warns(UncentredWarning, match=r"relu without mean subtraction has a mean: .* grow like L\^\(1/2\)"):
        one_step("relu", "1/2", "1/2")
    fine = [("tanh", "1/2", "1/2"), ("relu", 1, 0), ("relu", "1/4", 1), ("relu", "1/2", "1/2", True)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for case in fine:
            one_step(*case)
