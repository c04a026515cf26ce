r"""Linear networks of infinite width with blocks of any depth, one sample, by writing every state out.

At infinite width a state is a combination of independent or correlated Gaussian variables: the directions $U$ and $V$, and for
every matrix $W$ and time $t$ the fresh parts of $W s_t$ and of $W^\top d_t$, written $\hat W s_t$, $\hat W^\top d_t$, with
$\langle\hat W s, \hat W s'\rangle = \langle s, s'\rangle$. A product with an old weight is its fresh part plus, for every earlier
use of the transpose, $(\partial s/\partial\hat W^\top d)\,d$ (the Master Theorem of tensor programs). Slow and short; it shares
nothing with the package, which treats one-layer blocks.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Run:
    """Outputs f_0 ... f_T and the mean square of the last state at each evaluation."""

    outputs: np.ndarray
    squares: np.ndarray


def train(*, blocks: int, block_depth: int, a: float, eta: float, y: float, steps: int) -> Run:
    """SGD at alpha = gamma_i = 1/2 on one unit input with target y, squared error, U and V frozen."""
    L, k, T = blocks, block_depth, steps
    scale = a * L**-0.5
    times = T + 1
    size = 2 + 2 * L * k * times
    gram = np.zeros((size, size))
    gram[:2, :2] = np.eye(2)
    U, V = np.eye(size)[:2]

    def fresh(l: int, i: int, t: int, transposed: bool) -> int:
        return 2 + ((l * k + i) * 2 + transposed) * times + t

    inner = np.zeros((L, k, times, size))  # s_t: what matrix i of block l acts on
    outer = np.zeros((L, k, times, size))  # d_t: what its transpose acts on

    def multiply(l: int, i: int, t: int, state: np.ndarray, transposed: bool) -> np.ndarray:
        """W_t state or its transpose: a new Gaussian, the responses to the other use, and the updates so far."""
        here, there = (outer, inner) if transposed else (inner, outer)
        here[l, i, t] = state
        new = fresh(l, i, t, transposed)
        for s in range(t + 1):
            old = fresh(l, i, s, transposed)
            gram[new, old] = gram[old, new] = state @ gram @ here[l, i, s]
        result = np.eye(size)[new]
        for s in range(t + transposed):
            result = result + state[fresh(l, i, s, not transposed)] * there[l, i, s]
        for s in range(t):
            result = result - eta * scale * (state @ gram @ here[l, i, s]) * there[l, i, s]
        return result

    outputs, squares = [], []
    for t in range(times):
        x = U
        for l in range(L):
            branch = x
            for i in range(k):
                branch = multiply(l, i, t, branch, False)
            x = x + scale * branch
        outputs.append(V @ gram @ x)
        squares.append(x @ gram @ x)
        if t == T:
            break
        delta = V * (outputs[-1] - y)
        for l in reversed(range(L)):
            branch = delta
            for i in reversed(range(k)):
                branch = multiply(l, i, t, branch, True)
            delta = delta + scale * branch
    return Run(np.array(outputs), np.array(squares))
