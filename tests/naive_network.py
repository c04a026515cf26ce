"""Slow, obvious finite networks: the same draw, one seed at a time, samples as columns, every matrix rewritten.

`trained` takes its gradients from PyTorch's autograd; kernels are inner products of the states it saw. Nothing is
shared with the package but the order in which numbers are drawn, which the contract of `simulate` fixes.
"""

from dataclasses import dataclass

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
            x.append(x[-1] + a * L**-alpha * x[-1] @ W[l].T)
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
