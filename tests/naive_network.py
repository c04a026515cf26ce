"""Slow, obvious finite networks: the same draw, one seed at a time, every matrix rewritten.

`trained` takes its gradients from PyTorch's autograd, `trained_by_hand` from the chain rule, neuron by sample in NumPy;
kernels are inner products of the states they saw. Nothing is shared with the package but the order in which numbers are
drawn, which the contract of `simulate` fixes.
"""

from dataclasses import dataclass
from math import cos, sin, tanh

import numpy as np


@dataclass
class Run:
    """What one network did: f (T + 1, P + R, d_out); x and delta (T + 1, L + 1, samples, n)."""

    outputs: np.ndarray
    x: np.ndarray
    delta: np.ndarray


def drawn(problem, width, blocks, seed, s):
    """U (n, d_in), V (n, d_out) and W (L, n, n) of a seed, float64."""
    rng = np.random.default_rng([seed, s])
    u = rng.standard_normal((width, problem.d_in))
    v = rng.standard_normal((width, problem.d_out))
    initial = blocks ** -float(problem.parametrization.single()[2])
    return u, v, initial * rng.standard_normal((blocks, width, width)) / np.sqrt(width)


def batch_loss(torch, problem, f, t):
    """The mean over the batch, an index that stands twice counting twice, from PyTorch's own losses."""
    batch = np.array(problem.batch(t))
    f, y = f[batch], torch.tensor(problem.targets[batch])
    if problem.loss == "mse":
        return ((f - y) ** 2).sum(1).mean() / 2
    if problem.loss == "logistic":
        return torch.nn.functional.softplus(-y * f).sum(1).mean()
    return torch.nn.functional.cross_entropy(f, y.argmax(1))


def branch(torch, model, x, W):
    """What a block adds before its multiplier, of rows x."""
    phi = {
        "linear": lambda z: z,
        "line": lambda z: z,
        "relu": torch.relu,
        "abs": torch.abs,
        "tanh": torch.tanh,
        "sin": torch.sin,
        "sin + cos": lambda z: torch.sin(z) + torch.cos(z),
    }[model.phi.name]
    if model.form == "pre":
        return phi(x) @ W.T
    y = phi(x @ W.T)
    return y - y.mean(1, keepdim=True) if model.mean_subtraction and model.phi.name not in ("linear", "line") else y


def trained(problem, width, blocks, seed, s):
    """Train one network by autograd and explicit heavy-ball updates."""
    import torch

    n, L, T, sgd = width, blocks, problem.steps, problem.optimizer
    a, alpha, gamma = problem.model.multiplier, float(problem.parametrization.alpha), float(problem.parametrization.gamma)
    U, V, W = parameters = [torch.nn.Parameter(torch.tensor(p)) for p in drawn(problem, n, L, seed, s)]
    raw = [sgd.schedule("input_lr") * n, sgd.schedule("output_lr") * n, sgd.schedule() * L ** (alpha - gamma)]
    velocities = [torch.zeros_like(p) for p in parameters]
    xi, outputs, states, deltas = torch.tensor(problem.evaluated), [], [], []
    for t in range(T + 1):
        x = [xi @ U.T / problem.d_in**0.5]
        for l in range(L):
            x.append(x[-1] + a * L**-alpha * branch(torch, problem.model, x[-1], W[l]))
        f = x[-1] @ V / n
        outputs.append(f.detach().numpy())
        states.append([state.detach().numpy() for state in x])
        if t == T:
            break
        loss = batch_loss(torch, problem, f, t)
        deltas.append([n * g.numpy() for g in torch.autograd.grad(loss, x, retain_graph=True)])
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for p, velocity, gradient, rates in zip(parameters, velocities, gradients, raw, strict=True):
                velocity.mul_(sgd.momentum).add_(gradient, alpha=float(rates[t]))
                p.sub_(velocity)
    deltas.append(np.zeros_like(states[-1]))
    return Run(np.array(outputs), np.array(states), np.array(deltas))


SLOPES = {
    "relu": (lambda z: max(z, 0.0), lambda z: float(z > 0)),
    "abs": (abs, lambda z: float(np.sign(z))),
    "tanh": (tanh, lambda z: 1 / np.cosh(z) ** 2),
    "sin": (sin, cos),
    "sin + cos": (lambda z: sin(z) + cos(z), lambda z: cos(z) - sin(z)),
}
"""phi and its derivative, of one number."""


def chi(problem, f, t):
    """Derivative of the batch mean of the loss in f, sample by sample of the batch."""
    total, batch = np.zeros((len(problem.inputs), problem.d_out)), problem.batch(t)
    for i in batch:
        y = problem.targets[i]
        slope = {
            "mse": lambda f, y: f - y,
            "logistic": lambda f, y: -y / (1 + np.exp(y * f)),
            "cross_entropy": lambda f, y: np.exp(f) / np.exp(f).sum() - y,
        }[problem.loss](f[i], y)
        total[i] += slope / len(batch)
    return total


def trained_by_hand(problem, width, blocks, seed, s):
    """Train one network by the chain rule, one sample at a time."""
    n, L, T, sgd, model = width, blocks, problem.steps, problem.optimizer, problem.model
    alpha, gamma, _ = (float(e) for e in problem.parametrization.single())
    c = model.multiplier * L**-alpha
    phi, slope = (np.vectorize(g, otypes=[float]) for g in SLOPES[model.phi.name])
    G = np.eye(n) - np.ones((n, n)) / n if model.mean_subtraction and model.form == "post" else np.eye(n)
    U, V, W = drawn(problem, n, L, seed, s)
    P = [U, V, *W]
    momenta = [np.zeros_like(p) for p in P]
    outputs, states, deltas = [], [], []
    for t in range(T + 1):
        U, V, W = P[0], P[1], P[2:]
        x, h = [[U @ xi / problem.d_in**0.5] for xi in problem.evaluated], [[] for _ in problem.evaluated]
        for xs, hs in zip(x, h, strict=True):
            for l in range(L):
                hs.append(W[l] @ xs[l])
                xs.append(xs[l] + c * (G @ phi(hs[l]) if model.form == "post" else W[l] @ phi(xs[l])))
        f = np.array([V.T @ xs[L] / n for xs in x])
        outputs.append(f)
        states.append(np.swapaxes(x, 0, 1))
        deltas.append(np.zeros_like(states[-1]))
        if t == T:
            return Run(np.array(outputs), np.array(states), np.array(deltas))
        gradients = [np.zeros_like(p) for p in P]
        for i, chi_i in enumerate(chi(problem, f, t)):
            delta = V @ chi_i
            deltas[-1][L, i] = delta
            gradients[1] += np.outer(x[i][L], chi_i) / n
            for l in reversed(range(L)):
                if model.form == "post":
                    dh = slope(h[i][l]) * (G @ delta)
                    gradients[2 + l] += c * np.outer(dh, x[i][l]) / n
                    delta = delta + c * W[l].T @ dh
                else:
                    gradients[2 + l] += c * np.outer(delta, phi(x[i][l])) / n
                    delta = delta + c * slope(x[i][l]) * (W[l].T @ delta)
                deltas[-1][l, i] = delta
            gradients[0] += np.outer(delta, problem.inputs[i]) / problem.d_in**0.5 / n
        rates = [
            sgd.schedule("input_lr")[t] * n,
            sgd.schedule("output_lr")[t] * n,
            *[sgd.schedule()[t] * L ** (alpha - gamma)] * L,
        ]
        for k, (gradient, rate) in enumerate(zip(gradients, rates, strict=True)):
            momenta[k] = sgd.momentum * momenta[k] + rate * gradient
            P[k] = P[k] - momenta[k]


def at_position(states, p):
    """The two levels around depth p with their weights."""
    L = states.shape[1] - 1
    below = min(int(np.floor(p * L + 1e-12)), L - 1)
    share = p * L - below
    return (below, 1 - share), (below + 1, share)


def kernel(states, p, steps, samples):
    """<z_i, z_j>/n at depth p, linear between two levels; shape (K, K, S, S)."""
    total = 0.0
    for level, weight in at_position(states, p):
        z = states[steps, level][:, samples]
        total = total + weight * np.einsum("kin,ljn->klij", z, z) / z.shape[-1]
    return total


def kernel_between(states, p, q, steps, samples):
    """<z_i(p), z_j(q)>/n, linear in each depth between two levels."""
    total = 0.0
    for level, weight in at_position(states, p):
        for other, weight_2 in at_position(states, q):
            z, z_2 = states[steps, level][:, samples], states[steps, other][:, samples]
            total = total + weight * weight_2 * np.einsum("kin,ljn->klij", z, z_2) / z.shape[-1]
    return total
