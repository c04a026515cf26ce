"""A residual network with every kind of parameter, its gradients by hand, and eight optimizers: what ratios are tested with."""

from dataclasses import dataclass

import numpy as np

TOKENS, OUTPUTS, TARGET = 4, 2, 1.0
ROLE_OF = {
    "E": "input",
    "c": "vector",
    "g": "norm",
    "W1": "hidden",
    "b1": "bias",
    "W2": "hidden",
    "b2": "bias",
    "v": "vector",
    "O": "output",
    "d": "output bias",
}
"""x = E[token] + c;  x += a (W2 tanh(W1 (g x) + b1) + b2), or a tanh(W1 (g x) + b1) for k = 1;  f = O (v x) + d."""


@dataclass
class Network:
    """Weights by name, those of blocks stacked; every weight acts times its multiplier; a is that of the branch."""

    weights: dict
    multipliers: dict
    branch: float

    def _effective(self):
        return {name: w * self.multipliers[name] for name, w in self.weights.items()}

    def states(self):
        """Outputs for all tokens, the stream after each block, and what the backward pass needs."""
        p = self._effective()
        x = p["E"] + p["c"]
        kept, stream = [], [x]
        for layer in range(len(p["W1"])):
            u = x * p["g"][layer]
            s = np.tanh(u @ p["W1"][layer].T + p["b1"][layer])
            y = s if "W2" not in p else s @ p["W2"][layer].T + p["b2"][layer]
            kept.append((x, u, s))
            x = x + self.branch * y
            stream.append(x)
        return (x * p["v"]) @ p["O"].T + p["d"], stream, kept

    def outputs(self):
        return self.states()[0]

    def loss(self):
        return 0.5 * np.mean(np.sum((self.outputs() - targets()) ** 2, axis=1))

    def gradients(self):
        """Of the loss, by weight."""
        p = self._effective()
        f, stream, kept = self.states()
        chi, x = (f - targets()) / TOKENS, stream[-1]
        found = {name: np.zeros_like(w) for name, w in self.weights.items()}
        found["O"], found["d"] = chi.T @ (x * p["v"]), chi.sum(0)
        delta = chi @ p["O"]
        found["v"] = (delta * x).sum(0)
        delta = delta * p["v"]
        for layer in reversed(range(len(kept))):
            x, u, s = kept[layer]
            push = self.branch * delta
            if "W2" in p:
                found["W2"][layer], found["b2"][layer] = push.T @ s, push.sum(0)
                push = push @ p["W2"][layer]
            push = push * (1 - s**2)
            found["W1"][layer], found["b1"][layer] = push.T @ u, push.sum(0)
            push = push @ p["W1"][layer]
            found["g"][layer] = (push * x).sum(0)
            delta = delta + push * p["g"][layer]
        found["E"], found["c"] = delta, delta.sum(0)
        return {name: g * self.multipliers[name] for name, g in found.items()}


def targets():
    return TARGET * np.array([[1.0, -1.0], [-1.0, 0.5], [0.5, 1.0], [-0.5, -1.0]])


def network(width, blocks, seed, *, block_depth=2, std=None, multipliers=None, branch=1.0, normals=None):
    """A network at its start; std and multipliers by role."""
    rng = np.random.default_rng([seed, width, blocks])
    shapes = {
        "E": (TOKENS, width),
        "c": (width,),
        "g": (blocks, width),
        "W1": (blocks, width, width),
        "b1": (blocks, width),
        "W2": (blocks, width, width),
        "b2": (blocks, width),
        "v": (width,),
        "O": (OUTPUTS, width),
        "d": (OUTPUTS,),
    }
    if block_depth == 1:
        shapes = {name: shape for name, shape in shapes.items() if name not in ("W2", "b2")}
    std = {"input": 1.0, "hidden": width**-0.5, "output": 1.0} | (std or {})
    given = multipliers or {}
    weights = {name: rng.standard_normal(shape) * std.get(ROLE_OF[name], 0.0) for name, shape in shapes.items()}
    multiplied = {name: float(given.get(ROLE_OF[name], 1.0)) for name in shapes}
    for name in ("g", "v"):
        weights[name] = np.ones(shapes[name]) / multiplied[name]
    return Network(weights, multiplied, branch)


def orthogonal(g, eps=0.0):
    """The orthogonal factor, matrix by matrix."""
    u, s, v = np.linalg.svd(g, full_matrices=False)
    size = np.sqrt((s**2).sum(-1))[..., None]
    kept = s > 1e-9 * s.max(-1, keepdims=True)
    return (u * (kept * size / (size + eps))[..., None, :]) @ v


def power(a, exponent, eps):
    """(A + eps)^exponent of symmetric matrices."""
    values, vectors = np.linalg.eigh(a)
    return (vectors * (np.maximum(values, 0) + eps)[..., None, :] ** exponent) @ np.swapaxes(vectors, -1, -2)


def turned(g):
    return np.swapaxes(g, -1, -2)


class Optimizer:
    """One of eight, with its memory; `step` changes the weights of a network in place."""

    def __init__(self, kind, settings, beta=0.9):
        self.kind, self.settings, self.beta, self.memory, self.time = kind, settings, beta, {}, 0

    def step(self, net):
        self.time += 1
        for name, g in net.gradients().items():
            lr, decay, eps = (self.settings[name].get(key, 0.0) for key in ("lr", "weight_decay", "eps"))
            kind = self.settings[name].get("optimizer", self.kind)
            net.weights[name] = net.weights[name] * (1 - lr * decay) - lr * self.direction(kind, name, g, eps)

    def mean(self, key, value, beta=None):
        beta = self.beta if beta is None else beta
        self.memory[key] = beta * self.memory.get(key, np.zeros_like(value)) + (1 - beta) * value
        return self.memory[key] / (1 - beta**self.time)

    def direction(self, kind, name, g, eps):
        if kind == "sgd":
            return g
        if kind == "momentum":
            self.memory[name] = self.beta * self.memory.get(name, 0.0) + g
            return self.memory[name]
        if kind == "adamw":
            return self.mean((name, 1), g) / (np.sqrt(self.mean((name, 2), g**2, 0.95)) + eps)
        if kind == "lion":
            old = self.memory.get(name, 0.0)
            self.memory[name] = 0.99 * old + 0.01 * g
            return np.sign(self.beta * old + (1 - self.beta) * g)
        if kind == "signsgd":
            return np.sign(g)
        if kind == "muon":
            return orthogonal(self.mean(name, g), eps)
        left, right = self.mean((name, "l"), g @ turned(g)), self.mean((name, "r"), turned(g) @ g)
        if kind == "shampoo":
            return power(left, -0.25, eps) @ g @ power(right, -0.25, eps)
        a, b = np.linalg.eigh(left)[1], np.linalg.eigh(right)[1]
        seen = turned(a) @ g @ b
        return a @ (seen / (np.sqrt(self.mean((name, "v"), seen**2, 0.95)) + eps)) @ turned(b)
