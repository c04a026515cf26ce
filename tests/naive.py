"""Slow, obvious witnesses: the published recursion as printed, and a dense finite network. Kept in tests only.

Both were written from the definitions of the network (derivations D1, TP6 Lemma C.1 and D.3) and share no code with the
package: kets here belong to samples, not to input directions, and every coefficient of every ket is kept.
"""

from dataclasses import dataclass

import numpy as np


def chi_of(loss, f, y, batch_size):
    """Derivative of the batch mean of the loss, for one sample."""
    if loss == "mse":
        return (f - y) / batch_size
    if loss == "logistic":
        return -y / (1 + np.exp(y * f)) / batch_size
    if loss == "cross_entropy":
        e = np.exp(f - f.max())
        return (e / e.sum() - y) / batch_size
    raise ValueError(loss)


def share_of_gradient(rates, momentum, t, s):
    """How much of gradient s is in the parameters at step t: run v <- beta v + eta g, W <- W - v with g = 1 at step s."""
    velocity, weight = 0.0, 0.0
    for step in range(t):
        velocity = momentum * velocity + (rates[step] if step == s else 0.0)
        weight += velocity
    return weight


def _rates(optimizer):
    return {k: np.ones(optimizer.steps) * getattr(optimizer, k) for k in ("lr", "input_lr", "output_lr")}


@dataclass
class Answer:
    """Levels run from 0 to L; samples are inputs, then probes; `entries` are the (step, sample) pairs of all batches.

    response[0][t, mu, l, j, m]: coefficient of x_(t, mu)^l on What^(m+1)T delta_j, per unit of the noise a L^-alpha What^T delta.
    response[1][j, l, t, mu, m]: coefficient of delta_j^l on What^(m+1) x_(t, mu), per unit of the noise a L^-alpha What x.
    """

    outputs: np.ndarray  # (T+1, S, d_out)
    feature: np.ndarray  # (T+1, T+1, L+1, S, S)
    gradient: np.ndarray  # (T+1, T+1, L+1, S, S), several entries of one sample added up
    two_depth: np.ndarray  # (T+1, T+1, L+1, L+1, S, S)
    entries: list
    chi: np.ndarray  # (entries, d_out)
    response: tuple


def recursion(problem, L):
    """TP6 Lemma C.1: kets as explicit linear combinations of U, V, {What^l x_j^(l-1)} and {What^lT delta_j^l}."""
    xi, T, d_in, d_out = problem.evaluated, problem.steps, problem.d_in, problem.d_out
    S, a = len(xi), problem.model.multiplier
    alpha, gamma = float(problem.parametrization.alpha), float(problem.parametrization.gamma)
    smaller = float(problem.parametrization.initial)  # initial weights are L^-initial of N(0, 1/n)
    rates, beta = _rates(problem.optimizer), problem.optimizer.momentum
    entries = [(s, int(nu)) for s in range(T) for nu in problem.batch(s)]
    n_entries = len(entries)

    # the basis: U directions, V directions, What^l x_(t, mu), What^lT delta_j; block l of L is number l - 1
    w_begin = d_in + d_out
    wt_begin = w_begin + L * (T + 1) * S
    size = wt_begin + L * n_entries
    basis = np.eye(size)

    def V(b):
        return basis[d_in + b]

    def w(l, t, mu):
        return w_begin + ((l - 1) * (T + 1) + t) * S + mu

    def wt(l, j):
        return wt_begin + (l - 1) * n_entries + j

    gram = np.zeros((size, size))
    gram[:w_begin, :w_begin] = np.eye(w_begin)

    def inner(k1, k2):
        return k1 @ gram @ k2

    def weight(which, t, s):
        return share_of_gradient(rates[which], beta, t, s)

    noise, drift = a * L ** -(alpha + smaller), a**2 * L ** (-alpha - gamma)
    x = np.zeros((T + 1, S, L + 1, size))
    delta = np.zeros((n_entries, L + 1, size))
    f, chi = np.zeros((T + 1, S, d_out)), np.zeros((n_entries, d_out))

    for t in range(T + 1):
        before = [(j, s, nu) for j, (s, nu) in enumerate(entries) if s < t]
        w_block = {s: weight("lr", t, s) for s in range(t)}
        # forward
        for mu in range(S):
            x[t, mu, 0, :d_in] = xi[mu] / np.sqrt(d_in)
            for j, s, nu in before:
                x[t, mu, 0] -= weight("input_lr", t, s) * (xi[nu] @ xi[mu] / d_in) * delta[j, 0]
        for l in range(1, L + 1):
            for mu in range(S):
                for s in range(t + 1):
                    for nu in range(S):
                        c = inner(x[t, mu, l - 1], x[s, nu, l - 1])
                        gram[w(l, t, mu), w(l, s, nu)] = gram[w(l, s, nu), w(l, t, mu)] = c
            for mu in range(S):
                ket = x[t, mu, l - 1] + noise * basis[w(l, t, mu)]
                for j, s, nu in before:
                    response = x[t, mu, l - 1, wt(l, j)]
                    c0 = gram[w(l, t, mu), w(l, s, nu)]
                    ket = ket + (noise * response - w_block[s] * drift * c0) * delta[j, l]
                x[t, mu, l] = ket
        # read-out
        for mu in range(S):
            for b in range(d_out):
                f[t, mu, b] = inner(V(b), x[t, mu, L])
            for j, s, nu in before:
                f[t, mu] -= weight("output_lr", t, s) * chi[j] * inner(x[s, nu, L], x[t, mu, L])
        if t == T:
            break
        # backward
        now = [(j, mu) for j, (s, mu) in enumerate(entries) if s == t]
        for j, mu in now:
            chi[j] = chi_of(problem.loss, f[t, mu], problem.targets[mu], len(now))
            delta[j, L, d_in : d_in + d_out] = chi[j]
            for k, s, nu in before:
                delta[j, L] -= weight("output_lr", t, s) * (chi[k] @ chi[j]) * x[s, nu, L]
        for l in range(L, 0, -1):
            for j, _ in now:
                for k, (s, _) in enumerate(entries):
                    if s <= t:
                        c = inner(delta[j, l], delta[k, l])
                        gram[wt(l, j), wt(l, k)] = gram[wt(l, k), wt(l, j)] = c
            for j, _ in now:
                ket = delta[j, l] + noise * basis[wt(l, j)]
                for s in range(t):  # What^l x exists once for every sample, in the batch or not
                    for nu in range(S):
                        ket = ket + noise * delta[j, l, w(l, s, nu)] * x[s, nu, l - 1]
                for k, s, nu in before:
                    ket = ket - w_block[s] * drift * gram[wt(l, j), wt(l, k)] * x[s, nu, l - 1]
                delta[j, l - 1] = ket

    of_sample = np.zeros((T + 1, S, L + 1, size))
    for j, (s, nu) in enumerate(entries):
        of_sample[s, nu] += delta[j]
    of_forward = x[..., wt_begin:].reshape(T + 1, S, L + 1, L, n_entries)
    of_backward = delta[..., w_begin:wt_begin].reshape(n_entries, L + 1, L, T + 1, S)
    return Answer(
        outputs=f,
        feature=np.einsum("timk,kn,sjmn->tsmij", x, gram, x, optimize=True),
        gradient=np.einsum("timk,kn,sjmn->tsmij", of_sample, gram, of_sample, optimize=True),
        two_depth=np.einsum("timk,kn,sjln->tsmlij", x, gram, x, optimize=True),
        entries=entries,
        chi=chi,
        response=(np.moveaxis(of_forward, 4, 3) / noise, np.moveaxis(of_backward, 2, 4) / noise),
    )


def network(problem, n, L, rng):
    """Train one dense network of width n and L blocks by the definitions; return its outputs (T+1, S, d_out)."""
    xi, T, d_in, d_out = problem.evaluated, problem.steps, problem.d_in, problem.d_out
    a, alpha, gamma = problem.model.multiplier, float(problem.parametrization.alpha), float(problem.parametrization.gamma)
    rates, beta = _rates(problem.optimizer), problem.optimizer.momentum
    parameters = [rng.standard_normal((n, d_in))]
    size = L ** -float(problem.parametrization.initial) / np.sqrt(n)
    parameters += [size * rng.standard_normal((n, n)) for _ in range(L)]
    parameters += [rng.standard_normal((n, d_out))]
    velocity = [np.zeros_like(p) for p in parameters]

    def features(U, W, sample):
        xs = [U @ sample / np.sqrt(d_in)]
        for l in range(L):
            xs.append(xs[-1] + a * L**-alpha * (W[l] @ xs[-1]))
        return xs

    outputs = np.zeros((T + 1, len(xi), d_out))
    for t in range(T + 1):
        U, *W, V = parameters
        outputs[t] = [V.T @ features(U, W, sample)[-1] / n for sample in xi]
        if t == T:
            break
        gradient = [np.zeros_like(p) for p in parameters]
        batch = problem.batch(t)
        for mu in batch:
            xs = features(U, W, xi[mu])
            chi = chi_of(problem.loss, outputs[t, mu], problem.targets[mu], len(batch))
            gradient[-1] += np.outer(xs[-1], chi) / n
            g = V @ chi / n  # d loss / d x^L
            for l in range(L, 0, -1):
                gradient[l] += a * L**-alpha * np.outer(g, xs[l - 1])
                g = g + a * L**-alpha * (W[l - 1].T @ g)
            gradient[0] += np.outer(g, xi[mu]) / np.sqrt(d_in)
        raw = [rates["input_lr"][t] * n] + [rates["lr"][t] * L ** (alpha - gamma)] * L + [rates["output_lr"][t] * n]
        velocity = [beta * v + r * g for v, r, g in zip(velocity, raw, gradient, strict=True)]
        parameters = [p - v for p, v in zip(parameters, velocity, strict=True)]
    return outputs
