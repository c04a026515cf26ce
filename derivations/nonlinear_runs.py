"""Numbers for D5: one step of training integrated by itself, the published equations solved, and the gradients of a network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Dual = Callable[[float, float, float], float]


@dataclass(frozen=True)
class OneStep:
    """f_1 and the kernels C0_10(1), C0_11(1) after one step on one sample."""

    output: float
    overlap: float
    square: float


def one_step(V: Dual, V_c: Dual, *, a: float, eta: float, S: float, chi: float) -> OneStep:
    """The five equations of D5.4 for one step, as initial value problems."""
    from scipy.integrate import solve_ivp

    tight = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-12}

    def initial(_: float, y: np.ndarray) -> list[float]:
        """C0_00 and the logarithm of C1_00."""
        u = y[0]
        return [a**2 * V(u, u, u), -(a**2) * V_c(u, u, u)]

    decay = float(solve_ivp(initial, (0, 1), [S, 0.0], **tight).y[1, -1])

    def step(_: float, y: np.ndarray) -> list[float]:
        C00, log_G, C10, C11, K = y
        F = a**2 * V_c(C11, C00, C10) * (K - eta * C10)
        G = chi**2 * np.exp(log_G - decay)
        return [*initial(_, y), a**2 * V(C11, C00, C10), a**2 * V(C11, C11, C11) + 2 * F * K * G, F]

    _, _, overlap, square, K = solve_ivp(step, (0, 1), [S, 0.0, S, S, 0.0], **tight).y[:, -1]
    return OneStep(float(chi * K), float(overlap), float(square))


def one_sample(phi: str, targets: float, *, a: float = 1.0, eta: float = 1.0, steps: int = 1, alpha: str = "1/2") -> Any:
    """The problem of this file: one unit input, squared error, alpha + gamma = 1."""
    import limits

    exponents = limits.Parametrization(alpha, {"1/2": "1/2", "3/4": "1/4"}[alpha])
    return limits.Problem(limits.ResNet(phi, multiplier=a), exponents, limits.SGD(eta, steps=steps), [[1.0]], [[targets]])


def neighbours(phi: Any, *, width: int, blocks: int, a: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlations of delta h between blocks l and l + 1 of one network before training, and the variances of h^l, l < L."""
    rng = np.random.default_rng([5, seed])
    scale = a * blocks**-0.5
    weights = [rng.standard_normal((width, width), np.float32) / np.float32(width**0.5) for _ in range(blocks)]
    x, delta = rng.standard_normal((2, width), np.float32)
    h = []
    for W in weights:
        h.append(W @ x)
        branch = phi.phi(h[-1])
        x = x + scale * (branch - branch.mean())
    received = []
    for W, z in zip(reversed(weights), reversed(h), strict=True):
        received.append(phi.derivative(z) * (delta - delta.mean()))
        delta = delta + scale * (W.T @ received[-1])
    g = np.array(received[::-1], float)
    norms = np.linalg.norm(g, axis=1)
    return np.sum(g[1:] * g[:-1], axis=1) / (norms[1:] * norms[:-1]), np.mean(np.square(h[:-1]), axis=1)
