"""Rung 2 against the published recursion, closed forms, invariances and real networks."""

from dataclasses import replace

import naive
import numpy as np
import pytest
from conftest import CATALOGUE, XI, Y2, Y, at
from numpy.testing import assert_allclose, assert_array_equal

from limits import DivergedError, Record, recurse
from limits.directions import trained_directions
from limits.optimizers import SGD
from limits.parametrization import DEPTH_MUP, Parametrization
from limits.problem import Problem, ResNet

ALL_KINDS = ("feature", "gradient", "two_depth", "response")


def levels(L, *kinds):
    return Record(positions=[l / L for l in range(L + 1)], kinds=kinds)


def assert_close(actual, desired, digits=1e-10):
    """Agreement relative to the largest entry (at least 1)."""
    assert_allclose(actual, desired, rtol=0, atol=digits * np.abs(desired).max(initial=1.0))


def kernel_matrices(kernel):
    """(K, K, M, S, S) as M matrices over (step, sample)."""
    k, _, m, s, _ = kernel.shape
    return kernel.transpose(2, 0, 3, 1, 4).reshape(m, k * s, k * s)


# The published recursion.

EXPONENTS = [("1/2", "1/2"), ("3/4", "1/4"), (1, 0), ("1/2", 1), ("1/2", "1/4"), ("3/8", "1/2"), ("1/4", "3/4")]


@pytest.mark.parametrize(("alpha", "gamma"), EXPONENTS)
def test_recurse_is_the_published_recursion(problem, alpha, gamma):
    problem = at(problem, alpha, gamma)
    slow = naive.recursion(problem, 6)
    fast = recurse(problem, blocks=6, record=levels(6, "feature", "gradient", "two_depth"))
    assert_close(fast.outputs, slow.outputs)
    assert_close(fast.feature_kernel, slow.feature)
    assert_close(fast.gradient_kernel, slow.gradient)
    assert_close(fast.two_depth_kernel, slow.two_depth)


@pytest.mark.parametrize("L", [1, 2, 12])
@pytest.mark.parametrize("name", ["batches", "both"])
def test_recurse_is_the_published_recursion_at_other_depths(name, L):
    slow = naive.recursion(CATALOGUE[name], L)
    fast = recurse(CATALOGUE[name], blocks=L, record=levels(L, "feature", "gradient", "two_depth"))
    assert_close(fast.outputs, slow.outputs)
    assert_close(fast.feature_kernel, slow.feature)
    assert_close(fast.gradient_kernel, slow.gradient)
    assert_close(fast.two_depth_kernel, slow.two_depth)


@pytest.mark.parametrize(("alpha", "gamma"), [(0, 0), ("1/4", "1/4"), (0, "1/2")])
def test_recurse_is_the_published_recursion_where_nothing_is_stable(problem, alpha, gamma):
    """Two updates: after three, outputs of some problems pass 1e20."""
    problem = at(problem.prefix(2), alpha, gamma)
    slow = naive.recursion(problem, 5)
    assert_close(recurse(problem, blocks=5).outputs, slow.outputs)


@pytest.mark.parametrize(("alpha", "initial"), [("1/4", "1/4"), ("1/2", "1/2"), ("1/2", "-1/8")])
@pytest.mark.parametrize("name", ["inputs", "both"])
def test_small_initial_weights(name, alpha, initial):
    problem = replace(CATALOGUE[name], parametrization=Parametrization(alpha, "1/2", initial=initial))
    slow = naive.recursion(problem, 5)
    fast = recurse(problem, blocks=5, record=levels(5, "feature", "gradient"))
    assert_close(fast.outputs, slow.outputs)
    assert_close(fast.feature_kernel, slow.feature)
    assert_close(fast.gradient_kernel, slow.gradient)


@pytest.mark.parametrize("alpha", ["1/2", 1])
@pytest.mark.parametrize("name", ["single", "inputs", "batches", "both"])
def test_responses_are_those_of_the_published_recursion(name, alpha):
    """Mark q = l/L stands for the noise of the block whose W sees x^l, forward, and delta^l, backward."""
    L = 5
    problem = at(CATALOGUE[name], alpha, "1/2")
    slow, response = naive.recursion(problem, L), recurse(problem, blocks=L, record=levels(L, "response")).response
    c = trained_directions(problem).coordinates
    T, S = problem.steps, len(c)

    want = np.zeros((T + 1, S, L + 1, T + 1, L, problem.d_out))  # of x_(t, i)^l to the noise of output direction e
    for j, (s, _) in enumerate(slow.entries):
        want[:, :, :, s] += slow.response[0][:, :, :, j, :, None] * slow.chi[j]
    assert np.abs(want).max() > 0.01
    assert_close(np.einsum("tslmbe,ib->tilsme", response[0], c)[..., :L, :], want)

    want = np.einsum("jltim,ib->jltmb", slow.response[1], c)  # of delta_j^l to the noise of input direction b
    assert np.abs(want).max() > 0.01
    for j, (t, _) in enumerate(slow.entries):
        assert_close(np.einsum("slmbe,e->lsmb", response[1][t], slow.chi[j])[:, :, 1:], want[j])
    assert not response[1][T].any()  # the last evaluation has no backward pass


# Numbers and closed forms.


@pytest.mark.parametrize(
    ("L", "want"),
    [
        (16, [0, 2.482756232816, 0.024160106886, 0.252269100688, 0.601516238524]),
        (32, [0, 2.595869216367, 0.045709164249, 0.308403899485, 0.699291722956]),
    ],
)
def test_reference_values(L, want):
    trajectory = recurse(CATALOGUE["single"], blocks=L)
    assert_allclose(trajectory.outputs[:, 0, 0], want, rtol=0, atol=2e-12)
    assert_allclose(trajectory.losses, (np.array(want) - 1) ** 2 / 2, rtol=0, atol=1e-11)
    assert not trajectory.error.any()


@pytest.mark.parametrize("alpha", ["0", "1/4", "1/2", "3/4", "1"])
def test_initial_kernels(alpha):
    L, a = 9, 0.7
    problem = Problem(ResNet(multiplier=a), Parametrization(alpha, "1/2"), SGD(0.3, steps=1), XI, Y2)
    trajectory = recurse(problem, blocks=L, record=levels(L, "feature", "gradient"))
    growth = 1 + a**2 * L ** (-2 * float(problem.parametrization.alpha))
    l = np.arange(L + 1)[:, None, None]
    chi = -Y2 / 3
    assert_allclose(trajectory.feature_kernel[0, 0], growth**l * (XI @ XI.T / 2), rtol=1e-12, atol=1e-14)
    assert_allclose(trajectory.gradient_kernel[0, 0], growth ** (L - l) * (chi @ chi.T), rtol=1e-12, atol=1e-14)
    assert not trajectory.gradient_kernel[1].any()  # the last evaluation is forward only
    assert not trajectory.gradient_kernel[:, 1].any()


@pytest.mark.parametrize("name", ["inputs", "momentum", "both"])
@pytest.mark.parametrize(("alpha", "gamma"), [("1/2", "1/2"), ("3/4", "1/4"), ("1/4", "1/4")])
def test_first_update(name, alpha, gamma):
    r"""f_1 = [a^2 lr L^(1-alpha-gamma) g^(L-1) + (lr_U + lr_V) g^L] sum_j y_j xi_j.xi / (d_in B), g = 1 + a^2 L^(-2 alpha).

    For the squared error chi_0 = -y/B. A path from U to V takes one block's update, a^2 L^(-alpha-gamma) C0 C1 with
    C0 C1 = g^(l-1) g^(L-l), or the update of U or V, past L blocks of correlated noise.
    """
    L, problem = 7, at(CATALOGUE[name], alpha, gamma)
    sgd, a2, batch = problem.optimizer, problem.model.multiplier**2, problem.batch(0)
    alpha, gamma = float(problem.parametrization.alpha), float(problem.parametrization.gamma)
    g = 1 + a2 * L ** (-2 * alpha)
    ends = sgd.schedule("input_lr")[0] + sgd.schedule("output_lr")[0]
    rate = a2 * sgd.schedule()[0] * L ** (1 - alpha - gamma) * g ** (L - 1) + ends * g**L
    want = rate * problem.evaluated @ problem.inputs[batch].T @ problem.targets[batch] / problem.d_in / len(batch)
    assert_allclose(outputs(problem, L)[1], want, rtol=1e-12, atol=1e-14)


def test_without_updates():
    problem = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=0), XI, Y, probes=[[1.0, 1.0]])
    trajectory = recurse(problem, blocks=4, record=Record(positions=(0, 1), kinds=ALL_KINDS))
    assert_array_equal(trajectory.outputs, np.zeros((1, 4, 1)))
    xi = problem.evaluated
    assert_allclose(trajectory.feature_kernel[0, 0, 1], 1.25**4 * xi @ xi.T / 2, rtol=1e-13, atol=1e-15)
    assert trajectory.batch_losses.shape == (0,)
    assert trajectory.gradient_kernel.shape == (1, 1, 2, 4, 4)


def test_an_update_at_rate_zero_changes_nothing():
    outputs = recurse(CATALOGUE["schedule"], blocks=8).outputs
    assert_allclose(outputs[3], outputs[2], rtol=1e-12, atol=1e-14)
    assert np.abs(outputs[2] - outputs[1]).min() > 1e-3


def test_outputs_are_linear_in_the_input(problem):
    """Every function a linear network computes is linear, also on directions that were never trained on."""
    rng = np.random.default_rng(1)
    probes = rng.standard_normal((problem.d_in + 1, problem.d_in))
    probes[-1] = 2 * probes[0] - 3 * probes[:-1].sum(0)
    f = recurse(replace(problem, probes=probes), blocks=5).outputs[:, problem.n_samples :]
    assert np.abs(f[-1]).max() > 0.05
    assert_close(f[:, -1], 2 * f[:, 0] - 3 * f[:, :-1].sum(1), 1e-12)


# Invariances: the same problem written in another way.


def outputs(problem, blocks=5):
    return recurse(problem, blocks=blocks).outputs


def test_sample_order_does_not_matter(problem):
    order = np.random.default_rng(2).permutation(problem.n_samples)
    place = np.argsort(order)
    batches = None if problem.batches is None else [place[b][::-1] for b in problem.batches]
    same = replace(problem, inputs=problem.inputs[order], targets=problem.targets[order], batches=batches)
    n = problem.n_samples
    assert_close(outputs(same)[:, :n], outputs(problem)[:, order], 1e-12)
    assert_close(outputs(same)[:, n:], outputs(problem)[:, n:], 1e-12)


def test_duplicated_samples_are_weights():
    """The batch mean over (0, 1, 1) is that over the data set (0, 1, 1), and (0, 0) is (0)."""
    base = Problem(ResNet(), DEPTH_MUP, SGD(0.8, steps=2), XI[:2], Y[:2], batches=[[0, 1, 1], [0, 0]])
    rows = replace(base, inputs=XI[[0, 1, 1]], targets=Y[[0, 1, 1]], batches=[[0, 1, 2], [0]])
    assert_close(outputs(rows)[:, :2], outputs(base), 1e-12)
    assert_close(outputs(rows)[:, 1], outputs(rows)[:, 2], 1e-12)
    plain = replace(base, batches=[[0, 1], [0]])
    assert np.abs(outputs(plain) - outputs(base)).max() > 0.01


def test_full_batch_is_the_default():
    base = CATALOGUE["inputs"]
    assert_close(outputs(replace(base, batches=[[2, 0, 1]] * 3)), outputs(base), 1e-12)


def rotation(n, seed=3):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]


def test_input_rotations_do_not_matter(problem):
    r = rotation(problem.d_in)
    probes = None if problem.probes is None else problem.probes @ r
    assert_close(outputs(replace(problem, inputs=problem.inputs @ r, probes=probes)), outputs(problem), 1e-12)


def test_an_empty_input_dimension_does_not_matter(problem):
    """One more dimension of zeros, with 1/sqrt(d_in) undone."""
    d = problem.d_in

    def padded(x):
        return None if x is None else np.pad(x, ((0, 0), (1, 0))) * np.sqrt((d + 1) / d)

    same = replace(problem, inputs=padded(problem.inputs), probes=padded(problem.probes))
    assert_close(outputs(same), outputs(problem), 1e-12)


@pytest.mark.parametrize("name", ["outputs", "batches", "momentum", "output", "both"])
def test_outputs_rotate_with_the_targets(name):
    problem = CATALOGUE[name]
    r = rotation(problem.d_out)
    assert_close(outputs(replace(problem, targets=problem.targets @ r)), outputs(problem) @ r, 1e-12)


def test_classes_may_be_renamed():
    problem = CATALOGUE["classes"]
    order = [1, 2, 0]
    assert_close(outputs(replace(problem, targets=problem.targets[:, order])), outputs(problem)[..., order], 1e-12)


def test_multiplier_and_inputs_trade():
    """At L = 1 the factor L^-alpha is 1: exponents cannot matter."""
    base = CATALOGUE["both"]
    assert_close(outputs(at(base, 2, "-1/2"), 1), outputs(base, 1), 1e-13)


def test_probes_never_influence_training(problem):
    n = problem.n_samples
    alone = outputs(replace(problem, probes=None))
    probes = np.concatenate([problem.inputs, 100 * np.random.default_rng(4).standard_normal((2, problem.d_in))])
    seen = outputs(replace(problem, probes=probes))
    assert_close(seen[:, :n], alone, 1e-13)
    assert_close(seen[:, n : 2 * n], alone, 1e-13)  # a probe that is an input has its output


def test_losses_belong_to_outputs(problem):
    t = recurse(problem, blocks=5)
    p, y = problem.n_samples, problem.targets
    f = t.outputs[:, :p]
    if problem.loss == "mse":
        each = ((f - y) ** 2).sum(-1) / 2
    elif problem.loss == "logistic":
        each = np.log(1 + np.exp(-y * f)).sum(-1)
    else:
        each = -(y * (f - np.log(np.exp(f).sum(-1, keepdims=True)))).sum(-1)
    assert_allclose(t.losses, each.mean(1), rtol=1e-12, atol=1e-14)
    mean = [each[s, problem.batch(s)].mean() for s in range(problem.steps)]
    assert_allclose(t.batch_losses, mean, rtol=1e-12, atol=1e-14)


# Kernels.


def test_kernels_are_covariances(problem):
    t = recurse(problem, blocks=6, record=Record(positions=(0, 0.1, 1 / 2, 1), kinds=("feature", "gradient", "two_depth")))
    for kernel in (t.feature_kernel, t.gradient_kernel):
        for matrix in kernel_matrices(kernel):
            assert_close(matrix, matrix.T, 1e-13)
            assert np.linalg.eigvalsh(matrix)[0] > -1e-12 * np.abs(matrix).max()
    two = t.two_depth_kernel
    k, s = two.shape[0], two.shape[-1]
    joint = two.transpose(2, 0, 4, 3, 1, 5).reshape(4 * k * s, 4 * k * s)
    assert_close(joint, joint.T, 1e-13)
    assert np.linalg.eigvalsh(joint)[0] > -1e-12 * np.abs(joint).max()
    for m in (0, 2, 3):  # on levels; between them the diagonal of the interpolated kernel is another thing
        assert_close(two[:, :, m, m], t.feature_kernel[:, :, m], 1e-13)


def test_positions_between_blocks_are_interpolated():
    problem = CATALOGUE["both"]
    at_levels = recurse(problem, blocks=4, record=levels(4, *ALL_KINDS))
    between = recurse(problem, blocks=4, record=Record(positions=(0.3, 0.9), kinds=ALL_KINDS))
    weights = np.array([[0, 0.8, 0.2, 0, 0], [0, 0, 0, 0.4, 0.6]])
    for name in ("feature_kernel", "gradient_kernel"):
        want = np.einsum("pm,tsmij->tspij", weights, getattr(at_levels, name))
        assert_close(getattr(between, name), want, 1e-12)
    want = np.einsum("pm,qn,tsmnij->tspqij", weights, weights, at_levels.two_depth_kernel)
    assert_close(between.two_depth_kernel, want, 1e-12)
    want = np.einsum("pm,qn,htsmnij->htspqij", weights, weights, at_levels.response)
    assert_close(between.response, want, 1e-12)


def test_positions_need_no_order():
    problem = CATALOGUE["inputs"]
    sorted_ = recurse(problem, blocks=5, record=Record(positions=(0, 0.5, 1)))
    shuffled = recurse(problem, blocks=5, record=Record(positions=(1, 0, 0.5, 1)))
    assert_close(shuffled.feature_kernel, sorted_.feature_kernel[:, :, [2, 0, 1, 2]], 1e-14)


def test_records_choose():
    problem = CATALOGUE["both"]
    everything = recurse(problem, blocks=5, record=levels(5, *ALL_KINDS))
    some = Record(positions=(0.2, 1), steps=[3, 1, 4], samples=[2, 0], kinds=ALL_KINDS)
    chosen = recurse(problem, blocks=5, record=some)
    k, s, m = np.array([3, 1, 4]), np.array([2, 0]), np.array([1, 5])
    assert_array_equal(chosen.steps, k)
    assert_array_equal(chosen.recorded, s)
    assert_allclose(chosen.positions, [0.2, 1], rtol=0, atol=0)
    assert_close(chosen.feature_kernel, everything.feature_kernel[np.ix_(k, k, m, s, s)], 1e-13)
    assert_close(chosen.gradient_kernel, everything.gradient_kernel[np.ix_(k, k, m, s, s)], 1e-13)
    assert_close(chosen.two_depth_kernel, everything.two_depth_kernel[np.ix_(k, k, m, m, s, s)], 1e-13)
    r, d = everything.response.shape[-2:]
    picked = everything.response[np.ix_(range(2), k, k, m, m, range(r), range(d))]
    assert_close(chosen.response, picked, 1e-13)
    nothing = recurse(problem, blocks=5, record=Record(kinds=()))
    assert nothing.feature_kernel is None
    assert_array_equal(nothing.outputs, chosen.outputs)


def test_a_prefix_is_the_beginning(problem):
    whole, part = recurse(problem, blocks=5), recurse(problem.prefix(2), blocks=5)
    assert_close(part.outputs, whole.outputs[:3], 1e-13)
    assert_close(part.feature_kernel, whole.feature_kernel[:3, :3], 1e-13)


# Real networks.


def test_networks_approach_the_recursion_at_order_half_in_width():
    """Rms over 48 seeds of f - f_wide, trained U and V with momentum, falls like n^(-1/2).

    Fixed seeds; over fresh ones the slope has standard deviation 0.05 (it is measured over 16x in width with 48 seeds),
    so that the bounds are hit by chance less than once in 500 runs.
    """
    problem = replace(CATALOGUE["both"].prefix(2), probes=None)
    want = outputs(problem, 3)
    widths, error = [16, 64, 256], []
    for n in widths:
        runs = [naive.network(problem, n, 3, np.random.default_rng([5, n, k])) for k in range(48)]
        error.append(np.sqrt(np.mean((np.array(runs) - want) ** 2)))
    slope = np.polyfit(np.log(widths), np.log(error), 1)[0]
    assert abs(slope + 0.5) < 0.15


def test_mean_of_networks_is_the_recursion():
    """Mean over 400 networks of width 256 against recurse: every |z| < 4.5 over 16 numbers, false alarm 1e-4.

    The bias is O(1/n): it is removed by Richardson extrapolation from n = 128, whose variance is counted.
    """
    problem = Problem(ResNet(), DEPTH_MUP, SGD(0.5, steps=2, input_lr=0.3, output_lr=0.3), XI[:2], Y2[:2])
    want = outputs(problem, 2)
    runs = {n: np.array([naive.network(problem, n, 2, np.random.default_rng([6, n, k])) for k in range(400)]) for n in (96, 192)}
    estimate = 2 * runs[192].mean(0) - runs[96].mean(0)
    spread = np.sqrt(4 * runs[192].var(0) + runs[96].var(0)) / 20
    assert spread[1:].max() < 0.05
    assert np.abs((estimate - want) / spread).max() < 4.5


# Bad input.


@pytest.mark.parametrize("blocks", [0, -1])
def test_blocks_must_be_positive(blocks):
    with pytest.raises(ValueError, match=f"blocks must be a whole number >= 1, got {blocks}"):
        recurse(CATALOGUE["single"], blocks=blocks)


def test_divergence_is_said():
    problem = Problem(ResNet(), Parametrization(0, 0), SGD(1e60, steps=4), [[1.0]], [[1.0]])
    with pytest.raises(DivergedError, match="lower the learning rate"):
        recurse(problem, blocks=8)


def test_several_layers_are_refused():
    problem = at(CATALOGUE["single"], 1, (0, 0))
    with pytest.raises(ValueError, match="2 exponents"):
        recurse(problem, blocks=4)


def test_a_record_too_large_is_refused():
    problem = Problem(ResNet(), DEPTH_MUP, SGD(0.1, steps=10), np.ones((1000, 1)), np.ones((1000, 1)))
    with pytest.raises(ValueError, match="more than 1 GB"):
        recurse(problem, blocks=4, record=Record())
    assert recurse(problem, blocks=4).feature_kernel.shape == (11, 11, 5, 8, 8)  # the default records what is small


def test_progress_counts_steps():
    seen = []
    recurse(CATALOGUE["single"], blocks=4, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (4, 4)
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)


def test_meta_says_what_was_run():
    meta = recurse(CATALOGUE["single"], blocks=4).meta
    assert (meta["rung"], meta["blocks"]) == ("wide", 4)
    assert meta["seconds"] >= 0


def test_targets_of_one_dimension_need_a_column():
    with pytest.raises(ValueError, match=r"targets\[:, None\]"):
        Problem(ResNet(), DEPTH_MUP, SGD(0.1, steps=1), XI, Y[:, 0])
