r"""Input directions: the coordinates in which a linear network sees its data.

A linear network acts on a sample only through $x_i = X\,c_i$, where the columns of $X$ are the states of $r$ orthonormal
input directions and $c_i = Q^T\xi_i/\sqrt{d_{in}}$; a whole batch enters through $M = \sum_\mu \chi_\mu c_\mu^T$.
$U Q$ has iid N(0, 1) entries like $U$, so the limit needs only the span of the trained samples: what is orthogonal to it
stays at its initial law and is independent of everything else.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from limits.problem import Problem


@dataclass(frozen=True, eq=False)
class Directions:
    r"""Orthonormal directions and the coordinates of all samples in them.

    Attributes:
        basis: $Q$, shape (d_in, r), orthonormal columns.
        coordinates: $c_i = Q^T\xi_i/\sqrt{d_{in}}$, shape (samples, r).
        remainder: Gram matrix of what lies outside the span, $\xi_\perp\xi_\perp^T/d_{in}$, shape (samples, samples);
            None when nothing does.
    """

    basis: Float[np.ndarray, "d_in r"]
    coordinates: Float[np.ndarray, "samples r"]
    remainder: Float[np.ndarray, "samples samples"] | None

    @property
    def count(self) -> int:
        """r, the number of directions."""
        return self.basis.shape[1]


def directions(spanning: Float[np.ndarray, "p d_in"], evaluated: Float[np.ndarray, "samples d_in"]) -> Directions:
    """Directions spanned by `spanning`, with coordinates of `evaluated` in them.

    >>> directions(np.array([[3.0, 4.0]]), np.array([[3.0, 4.0], [0.0, 1.0]])).count
    1
    """
    d_in = spanning.shape[1]
    _, sizes, rows = np.linalg.svd(spanning, full_matrices=False)
    cutoff = max(spanning.shape) * np.finfo(float).eps * sizes[0]
    rank = max(1, int(np.sum(sizes > cutoff)))
    if rank == d_in:
        return Directions(np.eye(d_in), evaluated / np.sqrt(d_in), None)
    basis = rows[:rank].T
    inside = evaluated @ basis
    outside = evaluated - inside @ basis.T
    norms = np.linalg.norm(evaluated, axis=1)
    outside[np.linalg.norm(outside, axis=1) <= 1e-13 * norms] = 0.0
    remainder = outside @ outside.T / d_in if np.any(outside) else None
    return Directions(basis, inside / np.sqrt(d_in), remainder)


def trained_directions(problem: Problem) -> Directions:
    """The span of the samples that appear in any batch, with coordinates of all evaluated samples."""
    used = np.zeros(problem.n_samples, bool)
    for t in range(problem.steps):
        used[problem.batch(t)] = True
    return directions(problem.inputs[used] if used.any() else problem.inputs, problem.evaluated)
