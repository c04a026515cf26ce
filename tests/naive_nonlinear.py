"""A slow, obvious witness of nonlinear networks at alpha = gamma = 1/2: the Gaussian system on L steps of depth.

Written from the definition of the limit alone and sharing no code with the package. Every state is an explicit vector of
coefficients on independent unit directions of U and V and on one noise per state and block; the noises of one block have
explicit covariances, a response is the coefficient of a noise. One Euler step per block:

    x_i^l       = x_i^(l-1) + a sqrt(h) z_i^l  + h sum_(s<t) F_ij^l delta_j^l,       E z_i^l z_j^l   = V(C0_ij^(l-1))
    delta_i^l-1 = delta_i^l + a sqrt(h) z~_i^l + h sum_j     H_ij^l x_j^(l-1),       E z~_i^l z~_j^l = V_c(C0_ij^(l-1)) C1_ij^l

    A_ij = a (R0_ij - w_j C0_ij),   F_ij = a A_ij V_c,   H_ij = a (a R1_ij V_c - w_j a V_c C1_ij + A_ij V_cc C1_ij),
    H_ii = a (sum_(s<t or j=i) a R1_ij 2V_u(i,j) + a R1_ii V_c(i,i) + sum_(s<t) A_ij 2V_uc(i,j) C1_ij)

with h = 1/L, i = (t, mu), j = (s, nu). For smooth phi its answer tends to the limit like a power series in 1/L.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from naive import share_of_gradient


class Duals(NamedTuple):
    """V = Cov(phi_i, phi_j), V_c = E phi'phi', V_cc = E phi''phi'', 2V_u = E phi''_i phi^c_j, 2V_uc = E phi'''_i phi'_j."""

    V: np.ndarray
    V_c: np.ndarray
    V_cc: np.ndarray
    V_u2: np.ndarray
    V_uc2: np.ndarray


def linear(u, v, c):
    return Duals(c, 1 + 0 * c, 0 * c, 0 * c, 0 * c)


def sin_plus_cos(u, v, c):
    """Phi(z) phi(z') = cos(z - z') + sin(z + z'), phi'' = -phi."""
    both = np.exp(-(u + v) / 2 + c)
    V = both - np.exp(-(u + v) / 2)
    return Duals(V, both, both, -V, -both)


def sine(u, v, c):
    """E sin sin = e^(-(u + v)/2) sinh c, E cos cos = e^(-(u + v)/2) cosh c."""
    e = np.exp(-(u + v) / 2)
    return Duals(e * np.sinh(c), e * np.cosh(c), e * np.sinh(c), -e * np.sinh(c), -e * np.cosh(c))


def erf(u, v, c):
    """V = 2/pi arcsin(2c/D), D^2 = (1 + 2u)(1 + 2v), S^2 = D^2 - 4c^2."""
    D2 = (1 + 2 * u) * (1 + 2 * v)
    S = np.sqrt(D2 - 4 * c**2)
    along = -8 / (np.pi * (1 + 2 * u))
    return Duals(
        2 / np.pi * np.arcsin(2 * c / np.sqrt(D2)), 4 / (np.pi * S), 16 * c / (np.pi * S**3), along * c / S, along * D2 / S**3
    )


def cubic(k):
    """Phi = z + kz^3: E zz'^3 = 3vc, E z^3z'^3 = 9uvc + 6c^3."""

    def duals(u, v, c):
        uv = u * v
        return Duals(
            c + 3 * k * (u + v) * c + k**2 * (9 * uv * c + 6 * c**3),
            1 + 3 * k * (u + v) + k**2 * (9 * uv + 18 * c**2),
            36 * k**2 * c,
            6 * k * c + 18 * k**2 * v * c,
            6 * k + 18 * k**2 * v + 0 * c,
        )

    return duals


def kinked(b, k):
    """Phi = b|z| + kz, from E|zz'| = 2/pi (s + c arcsin(c/sqrt(uv))), s = sqrt(uv - c^2); zeros where s = 0 exactly."""

    def duals(u, v, c):
        geometric = np.sqrt(u * v)
        s2 = u * v - c**2
        apart = s2 > 1e-13 * u * v
        s = np.sqrt(np.where(apart, s2, 0.0))
        one_over = np.where(apart, 1 / np.where(apart, s, 1.0), 0.0)
        angle = np.arcsin(np.clip(c / np.where(geometric > 0, geometric, 1.0), -1, 1))
        B = 2 * b**2 / np.pi
        per_u = np.where(u > 0, 1 / np.where(u > 0, u, 1.0), 0.0)
        return Duals(
            B * (s + c * angle - geometric) + k**2 * c,
            B * angle + k**2,
            B * one_over,
            B * per_u * (s - geometric),
            -B * per_u * c * one_over,
        )

    duals.V_cc_times_s = 2 * b**2 / np.pi
    return duals


def quadrature(phi, d1, d2, d3, spacing=0.2, end=8.0):
    """Any smooth phi, by the trapezoidal rule in two independent Gaussians."""
    g = np.arange(-end, end + spacing / 2, spacing)
    w = np.exp(-(g**2) / 2)
    w /= w.sum()
    weight = w[:, None] * w

    def duals(u, v, c):
        u, v, c = np.broadcast_arrays(u, v, c)
        out = [np.zeros(u.shape) for _ in range(5)]
        for at in np.ndindex(u.shape):
            z = np.sqrt(u[at]) * g[:, None]
            z2 = c[at] / np.sqrt(u[at]) * g[:, None] + np.sqrt(max(v[at] - c[at] ** 2 / u[at], 0.0)) * g
            centred = phi(z2) - np.sum(weight * phi(z2))
            slope = d1(z2)
            pairs = (phi(z) * centred, d1(z) * slope, d2(z) * d2(z2), d2(z) * centred, d3(z) * slope)
            for array, product in zip(out, pairs, strict=True):
                array[at] = np.sum(weight * product)
        return Duals(*out)

    return duals


def _tanh_derivatives():
    t = np.tanh

    def d1(z):
        return 1 - t(z) ** 2

    def d2(z):
        return -2 * t(z) * (1 - t(z) ** 2)

    def d3(z):
        return (1 - t(z) ** 2) * (6 * t(z) ** 2 - 2)

    return t, d1, d2, d3


DUALS = {
    "linear": linear,
    "sin + cos": sin_plus_cos,
    "sin": sine,
    "erf": erf,
    "linear + 0.1*cube": cubic(0.1),
    "relu": kinked(0.5, 0.5),
    "abs": kinked(1.0, 0.0),
    "tanh": quadrature(*_tanh_derivatives()),
}


def chi_of(loss, f, y):
    """Derivative of the loss of one sample."""
    if loss == "mse":
        return f - y
    if loss == "logistic":
        return -y / (1 + np.exp(y * f))
    if loss == "cross_entropy":
        e = np.exp(f - f.max())
        return e / e.sum() - y
    raise ValueError(loss)


@dataclass
class Answer:
    """Levels are those asked for; samples are inputs, then probes; `entries` are the (step, sample) pairs of all batches."""

    outputs: np.ndarray  # (T+1, S, d_out)
    feature: np.ndarray  # (T+1, T+1, levels, S, S)
    gradient: np.ndarray  # (T+1, T+1, levels, S, S)
    two_depth: np.ndarray  # (T+1, T+1, levels, levels, S, S)
    to_noise: np.ndarray  # (T+1, T+1, levels, levels, S, S): x_(t,i) at the first level to a dB~_(s,j) of the second's block
    to_features: np.ndarray  # the same of delta_(t,i) to a dB_(s,j)


def discretised(problem, duals, L, positions=(0.25, 0.5, 0.75, 1.0)):
    """The system on L blocks; positions times L must be whole numbers."""
    xi, T, d_in, d_out = problem.evaluated, problem.steps, problem.d_in, problem.d_out
    S, a, h = len(xi), problem.model.multiplier, 1 / L
    sgd = problem.optimizer
    rates = {k: np.ones(T) * getattr(sgd, k) for k in ("lr", "input_lr", "output_lr")}
    entries, shares = [], []
    for s in range(T):
        batch = list(problem.batch(s))
        for nu in sorted(set(batch)):
            entries.append((s, int(nu)))
            shares.append(batch.count(nu) / len(batch))
    n_entries = len(entries)

    z_begin = d_in + d_out
    zt_begin = z_begin + L * (T + 1) * S
    size = zt_begin + L * n_entries
    gram = np.zeros((size, size))
    gram[:z_begin, :z_begin] = np.eye(z_begin)

    def noise(l, states):  # of forward states, numbered t S + mu, in block l
        return z_begin + (l - 1) * (T + 1) * S + states

    def noise_back(l, states):  # of backward states, numbered like the entries
        return zt_begin + (l - 1) * n_entries + states

    def weight(which, t, s):
        return share_of_gradient(rates[which], sgd.momentum, t, s)

    x = np.zeros(((T + 1) * S, L + 1, size))
    delta = np.zeros((n_entries, L + 1, size))
    C0 = np.zeros(((T + 1) * S, (T + 1) * S, L + 1))  # of all forward states, after every block
    A = np.zeros((T + 1, S, n_entries, L + 1))
    f, chi = np.zeros((T + 1, S, d_out)), np.zeros((n_entries, d_out))
    of_entry = np.array([s * S + nu for s, nu in entries], int)  # the forward state of an entry
    kick = a * np.sqrt(h)

    def covariances(l, t):
        seen, now = np.arange((t + 1) * S), t * S + np.arange(S)
        block = x[seen, l] @ gram @ x[now, l].T
        C0[: (t + 1) * S, t * S : (t + 1) * S, l] = block
        C0[t * S : (t + 1) * S, : (t + 1) * S, l] = block.T
        return seen, now

    def at(l, first, second):
        """The duals of forward states after block l."""
        now = C0[..., l]
        variances = np.diagonal(now)
        return duals(variances[first][:, None], variances[second][None, :], now[np.ix_(first, second)])

    for t in range(T + 1):
        before = [j for j, (s, _) in enumerate(entries) if s < t]
        # forward
        for mu in range(S):
            i = t * S + mu
            x[i, 0, :d_in] = xi[mu] / np.sqrt(d_in)
            for j in before:
                s, nu = entries[j]
                x[i, 0] -= weight("input_lr", t, s) * (xi[nu] @ xi[mu] / d_in) * delta[j, 0]
        for l in range(1, L + 1):
            seen, now = covariances(l - 1, t)
            block = at(l - 1, seen, now).V
            gram[np.ix_(noise(l, seen), noise(l, now))] = block
            gram[np.ix_(noise(l, now), noise(l, seen))] = block.T
            slopes = at(l - 1, now, of_entry[np.array(before, int)]).V_c
            for mu, i in enumerate(now):
                x[i, l] = x[i, l - 1]
                x[i, l, noise(l, i)] += kick
                for n, j in enumerate(before):
                    R0 = x[i, l - 1, noise_back(l, j)] / kick
                    A[t, mu, j, l] = a * (R0 - weight("lr", t, entries[j][0]) * C0[i, of_entry[j], l - 1])
                    x[i, l] += h * a * A[t, mu, j, l] * slopes[mu, n] * delta[j, l]
        covariances(L, t)
        # read-out
        for mu in range(S):
            i = t * S + mu
            f[t, mu] = x[i, L, d_in : d_in + d_out]
            for j in before:
                f[t, mu] -= weight("output_lr", t, entries[j][0]) * chi[j] * C0[of_entry[j], i, L]
        if t == T:
            break
        # backward
        now = [j for j, (s, _) in enumerate(entries) if s == t]
        for i in now:
            mu = entries[i][1]
            chi[i] = chi_of(problem.loss, f[t, mu], problem.targets[mu]) * shares[i]
            delta[i, L, d_in : d_in + d_out] = chi[i]
            for j in before:
                delta[i, L] -= weight("output_lr", t, entries[j][0]) * (chi[j] @ chi[i]) * x[of_entry[j], L]
        seen = np.array(before + now, int)
        for l in range(L, 0, -1):
            C1 = delta[seen, l] @ gram @ delta[now, l].T
            dual = at(l - 1, of_entry[now], of_entry[seen])
            block = dual.V_c.T * C1
            gram[np.ix_(noise_back(l, seen), noise_back(l, np.array(now)))] = block
            gram[np.ix_(noise_back(l, np.array(now)), noise_back(l, seen))] = block.T
            for m, i in enumerate(now):
                own, mu = len(before) + m, entries[i][1]
                delta[i, l - 1] = delta[i, l]
                delta[i, l - 1, noise_back(l, i)] += kick
                R1 = delta[i, l, noise(l, of_entry[seen])] / kick
                along_own = a * R1[own] * dual.V_u2[m, own] + a * R1[own] * dual.V_c[m, own]
                for n, j in enumerate(before):
                    w, A_ij, C1_ij = weight("lr", t, entries[j][0]), A[t, mu, j, l], C1[n, m]
                    H = a * (a * R1[n] * dual.V_c[m, n] - w * a * dual.V_c[m, n] * C1_ij + A_ij * dual.V_cc[m, n] * C1_ij)
                    delta[i, l - 1] += h * H * x[of_entry[j], l - 1]
                    along_own += a * R1[n] * dual.V_u2[m, n] + A_ij * dual.V_uc2[m, n] * C1_ij
                delta[i, l - 1] += h * a * along_own * x[of_entry[i], l - 1]

    levels = [round(p * L) for p in positions]
    assert np.allclose(levels, np.array(positions) * L)
    of_sample = np.zeros_like(x)
    of_sample[of_entry] = delta
    x, of_sample = (k.reshape(T + 1, S, L + 1, size)[:, :, levels] for k in (x, of_sample))
    blocks = [max(l, 1) for l in levels]  # the noise that stands for a level is that of the block below
    to_noise = np.zeros((T + 1, T + 1, len(levels), len(levels), S, S))
    to_features = np.zeros_like(to_noise)
    for q, l in enumerate(blocks):
        for j, (s, nu) in enumerate(entries):
            to_noise[:, s, :, q, :, nu] = np.moveaxis(x[..., noise_back(l, j)], 2, 1) / kick
        for s in range(T + 1):
            for nu in range(S):
                to_features[:, s, :, q, :, nu] = np.moveaxis(of_sample[..., noise(l, s * S + nu)], 2, 1) / kick
    return Answer(
        outputs=f,
        feature=np.einsum("timk,kn,sjmn->tsmij", x, gram, x, optimize=True),
        gradient=np.einsum("timk,kn,sjmn->tsmij", of_sample, gram, of_sample, optimize=True),
        two_depth=np.einsum("timk,kn,sjln->tsmlij", x, gram, x, optimize=True),
        to_noise=to_noise,
        to_features=to_features,
    )


def richardson(values, powers=(1, 2, 3, 4, 5)):
    """Extrapolate a sequence at depths L, 2L, 4L, … by removing errors L^-power; also an estimate of what is left."""
    rows = [np.asarray(v, float) for v in values]
    last = rows
    for power in powers[: len(values) - 1]:
        last = rows
        rows = [(2**power * b - a) / (2**power - 1) for a, b in pairwise(rows)]
    return rows[0], np.abs(rows[0] - last[-1])
