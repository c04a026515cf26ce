"""Slow, obvious witnesses of limits without closed kernels: neurons as arrays, one Euler step per block of a network of L blocks.

Written from the equations of the limits alone and sharing no code with the package. i = (t, mu) is a sample at a step,
j = (s, nu) one of an earlier step, w_ij the share that the gradient of j has in the weights that i sees.

One layer, alpha = 1. A neuron of the stream has entries U, V; given them, h is random through hat h ~ N(0, C0) only:

    h_i = hat h_i - a sum_j w_ij C0_ij phi'(h_j) delta_j,           x_i += a/L (E[phi(h_i) | U, V] - mean)
    delta_i += a/L (sum_(j or i) x_j E[d dh_i / d hat h_j] - a sum_j w_ij x_j E[dh_i dh_j]),    dh_i = phi'(h_i) delta_i
    d dh_i / d hat h_j = phi''(h_i) delta_i D_ij,    D_ij = [i = j] - a sum_k w_ik C0_ik phi''(h_k) delta_k D_kj

Two layers, alpha = 1. A neuron of a block has rows u, v, in coordinates of (U, V), of variance 1 and n/M:

    u_i = xi_u - a sum_j w_ij x_j phi'(pi_j) theta_j,    v_i = xi_v - a sum_j w_ij delta_j phi(pi_j)
    x_i += a/L M/n E[v_i phi(pi_i)],    delta_i += a/L M/n E[u_i phi'(pi_i) theta_i],    pi_i = u_i x_i,    theta_i = v_i delta_i

Form "pre", alpha = 1/2. Neurons have noises of every block, B of covariance C_ij = E phi(x_i) phi(x_j), B~ of
D_ij = E delta_i delta_j:

    x_i += a/sqrt(L) B_i + a^2/L sum_(j<i) (R_ij - w_ij C_ij) delta_j,    R_ij = E[phi'(x_i) phi'(x_j) d x_i / d delta_j]
    delta_i += phi'(x_i) (a/sqrt(L) B~_i + a^2/L sum_(j<=i) (S_ij - w_ij D_ij) phi(x_j)),    S_ij = E[d delta_i / d x_j]
"""

import numpy as np
from naive import share_of_gradient
from naive_nonlinear import chi_of


def entries_of(problem):
    """(s, nu) and its share in the batch, of every sample of every batch, in causal order."""
    found = []
    for s in range(problem.steps):
        batch = [int(nu) for nu in problem.batch(s)]
        found += [((s, nu), batch.count(nu) / len(batch)) for nu in sorted(set(batch))]
    return found


def trained(problem, L, states, start_x, start_delta, inner, step_x, step_delta):
    """Train: `states` maps x or delta to [(t, mu)] -> values by level; `step_*` add one block; -> f.

    start_x(mu), start_delta(chi) are values at the ends; inner(x, y) is an inner product.
    """
    sgd, xi, d_out = problem.optimizer, problem.evaluated, problem.d_out
    rates = {k: np.ones(problem.steps) * getattr(sgd, k) for k in ("lr", "input_lr", "output_lr")}
    x, delta = states
    f, chi, known = np.zeros((problem.steps + 1, len(xi), d_out)), {}, []

    def weights(which, t):
        return {j: share_of_gradient(rates[which], sgd.momentum, t, j[0]) for j in known if j[0] < t}

    for t in range(problem.steps + 1):
        for mu in range(len(xi)):
            now = start_x(mu)
            for j, w in weights("input_lr", t).items():
                now = now - w * (xi[j[1]] @ xi[mu] / problem.d_in) * delta[j][0]
            x[t, mu] = [now]
            for l in range(1, L + 1):
                x[t, mu].append(step_x((t, mu), l, weights("lr", t)))
            end = x[t, mu][L]
            f[t, mu] = [inner(start_delta(axis), end) for axis in np.eye(d_out)]
            for j, w in weights("output_lr", t).items():
                f[t, mu] -= w * chi[j] * inner(x[j][L], end)
        if t == problem.steps:
            break
        batch = [(j, share) for j, share in entries_of(problem) if j[0] == t]
        for i, share in batch:
            chi[i] = chi_of(problem.loss, f[i], problem.targets[i[1]]) * share
            now = start_delta(chi[i])
            for j, w in weights("output_lr", t).items():
                now = now - w * (chi[j] @ chi[i]) * x[j][L]
            delta[i] = [now] * (L + 1)
            for l in range(L, 0, -1):
                delta[i][l - 1] = step_delta(i, l, weights("lr", t))
        known += [i for i, _ in batch]
    return f


def one_layer(problem, L, functions, coordinates, outer, weights, z, response="derivative", moved=False):
    """Outputs by quadrature: features start at `coordinates` (samples, r).

    Outer points (N, r + d_out) have weights, z of each (entries + 1, N, K) have none; functions are phi, phi' and phi''. The sum
    of x_j E[d dh_i / d hat h_j] is found from the derivatives or, as "stein", from sum_k C0_jk E[d dh_i / d hat h_k] =
    E[dh_i hat h_j]; as None it is left out, which gives the system of TP6, F.2. If `moved`, what phi(hat h) and phi'(hat h)
    contribute to means over z, which is nothing but sampling error, is subtracted.
    """
    phi, slope, curvature = functions
    a, r = problem.model.multiplier, coordinates.shape[1]
    x, delta, weights_of = {}, {}, {}

    def inner(one, other):
        return np.sum(weights * one * other)

    def everywhere(function):
        """E over U, V and z of a function (N, K)."""
        return weights @ function.mean(-1)

    def hats(chain, l):
        """Hat h of a chain of features, by Cholesky rows with zeros where features coincide."""
        C = np.array([[inner(x[i][l], x[j][l]) for j in chain] for i in chain])
        rows = np.zeros((len(chain), len(z)))
        for i in range(len(chain)):
            for j in range(i):
                rows[i, j] = (C[i, j] - rows[i] @ rows[j]) / rows[j, j] if rows[j, j] > 0 else 0.0
            left = C[i, i] - rows[i] @ rows[i]
            rows[i, i] = np.sqrt(left) if left > 1e-12 * C[i, i] else 0.0
        return C, np.einsum("ik,knm->inm", rows, z)

    def chained(i, l, w):
        """Arguments h of i and of all earlier ones; each of those sees the ones before it with the weights of its own step."""
        chain = [*w, i]
        C, hat = hats(chain, l - 1)
        seen = [*(weights_of[j] for j in w), w]
        h = []
        for m in range(len(chain)):
            h.append(hat[m])
            for k in range(m):
                if chain[k] in seen[m]:
                    h[m] = h[m] - a * seen[m][chain[k]] * C[m, k] * slope(h[k]) * delta[chain[k]][l][:, None]
        return chain, C, hat, h, seen

    def step_x(i, l, w):
        _, _, hat, h, _ = chained(i, l, w)
        mean = (phi(h[-1]) - moved * phi(hat[-1])).mean(-1) if w else np.zeros(len(outer))
        return x[i][l - 1] + a / L * (mean - weights @ mean)

    def derivatives(chain, C, h, seen, l, m):
        """D_im of the last i."""
        D = [np.zeros_like(h[0])] * m + [np.ones_like(h[0])]
        for n in range(m + 1, len(chain)):
            D.append(np.zeros_like(h[0]))
            for k in range(m, n):
                if chain[k] in seen[n]:
                    turn = curvature(h[k]) * delta[chain[k]][l][:, None]
                    D[n] = D[n] - a * seen[n][chain[k]] * C[n, k] * turn * D[k]
        return D[-1]

    def responses(i, l, chain, C, hat, h, seen):
        """E[d dh_i / d hat h_j] for every j of the chain."""
        own, slopes = delta[i][l][:, None], slope(h[-1]) - moved * slope(hat[-1])
        if response == "stein":
            return np.linalg.pinv(C, rcond=1e-10, hermitian=True) @ [everywhere(slopes * own * g) for g in hat]
        if response == "derivative":
            turn = curvature(h[-1]) * own
            return [everywhere(turn * derivatives(chain, C, h, seen, l, m)) for m in range(len(chain))]
        return np.zeros(len(chain))

    def step_delta(i, l, w):
        weights_of[i] = w
        chain, C, hat, h, seen = chained(i, l, w)
        change = sum(e * x[j][l - 1] for j, e in zip(chain, responses(i, l, chain, C, hat, h, seen), strict=True))
        for k, j in enumerate(w):
            both = everywhere(slope(h[-1]) * slope(h[k]) * (delta[i][l] * delta[j][l])[:, None])
            change = change - a * w[j] * both * x[j][l - 1]
        return delta[i][l] + a / L * change

    def start_x(mu):
        return outer[:, :r] @ coordinates[mu]

    return trained(problem, L, (x, delta), start_x, lambda chi: outer[:, r:] @ chi, inner, step_x, step_delta)


def two_layer(problem, L, functions, coordinates, neurons):
    """Outputs by means over neurons (N, 2 (r + d_out)) of variance 1; features start at `coordinates` (samples, r)."""
    phi, slope = functions[:2]
    a, ratio, r = problem.model.multiplier, problem.model.expansion, coordinates.shape[1]
    d_out, N = problem.d_out, len(neurons)
    xi_u, xi_v = neurons[:, : r + d_out], neurons[:, r + d_out :] / np.sqrt(ratio)
    x, delta, values, turns = {}, {}, {}, {}

    def rows(l, w):
        u, v = xi_u, xi_v
        for j, share in w.items():
            u = u - a * share * np.outer(turns[j][l], x[j][l - 1])
            v = v - a * share * np.outer(values[j][l], delta[j][l])
        return u, v

    def step_x(i, l, w):
        u, v = rows(l, w)
        return x[i][l - 1] + a * ratio / L * phi(u @ x[i][l - 1]) @ v / N

    def step_delta(i, l, w):
        u, v = rows(l, w)
        pi, theta = u @ x[i][l - 1], v @ delta[i][l]
        values.setdefault(i, {})[l], turns.setdefault(i, {})[l] = phi(pi), slope(pi) * theta
        return delta[i][l] + a * ratio / L * (slope(pi) * theta) @ u / N

    def start_x(mu):
        return np.concatenate([coordinates[mu], np.zeros(d_out)])

    def start_delta(chi):
        return np.concatenate([np.zeros(r), chi])

    return trained(problem, L, (x, delta), start_x, start_delta, np.dot, step_x, step_delta)


class Noises:
    """Standard normal rows of N neurons, orthonormal, and Gaussian sequences made of them by Cholesky rows."""

    def __init__(self, neurons, rng):
        self.neurons, self.rng, self.drawn, self.mixed = neurons, rng, [], {}

    def fresh(self):
        row = self.rng.standard_normal(self.neurons)
        for _ in range(2):
            if self.drawn:
                known = np.array(self.drawn)
                row = row - known.T @ (known @ row / self.neurons)
            row = row / np.sqrt(np.mean(row**2))
        self.drawn.append(row)
        return row

    def next_of(self, name, covariances):
        """The next of the sequence `name`, from its covariances with all so far and its variance."""
        factors, rows = self.mixed.setdefault(name, ([], []))
        own = []
        for k, factor in enumerate(factors):
            own.append((covariances[k] - np.dot(own, factor[:k])) / factor[k] if factor[k] > 0 else 0.0)
        left = covariances[-1] - np.dot(own, own)
        own.append(np.sqrt(left) if left > 1e-12 * covariances[-1] else 0.0)
        factors.append(own)
        rows.append(self.fresh())
        return np.dot(own, rows)


def pre(problem, L, functions, neurons, rng, forward=True, backward=True, correlated=True):
    """Outputs by means over `neurons`; a state is an array (1 + directions, N), its values and then their derivatives.

    Directions are what is added to x_j or delta_j of one neuron at one level, with all means and noises as they are. Leaves
    out R unless `forward`, S unless `backward`, and, unless `correlated`, what phi'(x_i) B~_i has since x_i depends on B~_j.
    """
    phi, slope, curvature = functions
    a, xi, noises = problem.model.multiplier, problem.evaluated, Noises(neurons, rng)
    entries = [j for j, _ in entries_of(problem)]
    keys = [(side, j, l) for j in entries for l in range(L + 1) for side in ("x", "delta")]
    place, x, delta = {key: 1 + k for k, key in enumerate(keys)}, {}, {}
    u, v = ([noises.fresh() for _ in range(count)] for count in (problem.d_in, problem.d_out))

    def state(values):
        return np.concatenate([values[None], np.zeros((len(keys), neurons))])

    def moved(side, i, l, found):
        """Counts in what is added here."""
        if (side, i, l) in place:
            found[place[side, i, l]] += 1
        return found

    def inner(one, other):
        return np.mean(one[0] * other[0])

    def covariances(states, i, l, of):
        return [
            np.mean(of(states[j][l][0]) * of(states[i][l][0])) for j in states if l < len(states[j]) and (j == i or j[0] <= i[0])
        ]

    def step_x(i, l, w):
        now = x[i][l - 1]
        noise = noises.next_of(("x", l), covariances(x, i, l - 1, phi))
        found = now.copy()
        found[0] += a / np.sqrt(L) * noise
        for j, share in w.items():
            before = x[j][l - 1][0]
            R = np.mean(slope(now[0]) * slope(before) * now[place["delta", j, l - 1]])
            C = np.mean(phi(now[0]) * phi(before))
            found += a**2 / L * (forward * R - share * C) * delta[j][l]
        return moved("x", i, l, found)

    def step_delta(i, l, w):
        now, feature = delta[i][l], x[i][l - 1]
        earlier = [j for j in entries if j in delta]
        D = {j: inner(now, delta[j][l]) for j in earlier}
        noise = noises.next_of(("delta", l), list(D.values()))
        brackets, along = a / np.sqrt(L) * noise, np.zeros_like(now)
        for j in earlier:
            S = np.mean(now[place["x", j, l]])
            share = a**2 / L * (backward * S - w.get(j, 0.0) * D[j])
            before = x[j][l - 1]
            brackets = brackets + share * phi(before[0])
            along += share * slope(before[0]) * before
        found = now + curvature(feature[0]) * brackets * feature + slope(feature[0]) * along
        found[0] = now[0] + slope(feature[0]) * brackets
        if not correlated:
            for j in w:
                known = slope(x[j][l - 1][0]) * feature[place["delta", j, l - 1]]
                found[0] -= a**2 / L * D[j] * curvature(feature[0]) * known
        return moved("delta", i, l - 1, found)

    def start_x(mu):
        return state(xi[mu] @ u / np.sqrt(problem.d_in))

    return trained(problem, L, (x, delta), start_x, lambda chi: state(chi @ v), inner, step_x, step_delta)
