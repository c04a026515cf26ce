r"""Gauss-Legendre panels on [0, 1]: integrate and interpolate functions of the depth coordinate $p$.

A function is held by its values at $N$ nodes, $q$ in each of several panels. Between nodes it is the polynomial of degree
$q - 1$ through them; all operators below are exact for such polynomials, hence spectrally accurate for smooth functions.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from numpy.polynomial import legendre


def _integrals(x: Float[np.ndarray, " m"], q: int) -> Float[np.ndarray, "m k"]:
    r"""$\int_{-1}^x P_k$ for $k < q$: $(P_{k+1} - P_{k-1})/(2k+1)$."""
    p = legendre.legvander(x, q)
    first = x[:, None] + 1
    return np.concatenate([first, (p[:, 2:] - p[:, :-2]) / (2 * np.arange(1, q) + 1)], axis=1)


@dataclass(frozen=True, eq=False)
class Panels:
    """Panels with the same number of Gauss-Legendre nodes in each.

    Args:
        edges: increasing from 0 to 1, shape (panels + 1,).
        order: q, nodes per panel.

    >>> panels = Panels.uniform(2, 4)
    >>> bool(abs(panels.weights @ panels.nodes**7 - 1 / 8) < 1e-15)
    True
    """

    edges: Float[np.ndarray, " e"]
    order: int

    def __post_init__(self) -> None:
        edges = np.asarray(self.edges, float)
        if edges.ndim != 1 or len(edges) < 2 or edges[0] != 0 or edges[-1] != 1 or not np.all(np.diff(edges) > 0):
            raise ValueError(f"edges must increase from 0 to 1, got {edges}")
        if self.order < 1:
            raise ValueError(f"order must be >= 1, got {self.order}")
        object.__setattr__(self, "edges", edges)

    @classmethod
    def uniform(cls, panels: int, order: int) -> "Panels":
        """Panels of equal width."""
        return cls(np.linspace(0.0, 1.0, panels + 1), order)

    @property
    def count(self) -> int:
        """Number of panels."""
        return len(self.edges) - 1

    @property
    def widths(self) -> Float[np.ndarray, " panels"]:
        """Width of each panel."""
        return np.diff(self.edges)

    @cached_property
    def _reference(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Nodes and weights on [-1, 1], and the matrix from values to Legendre coefficients."""
        x, w = legendre.leggauss(self.order)
        k = np.arange(self.order)
        to_coefficients = (2 * k + 1)[:, None] / 2 * legendre.legvander(x, self.order - 1).T * w
        return x, w, to_coefficients

    @property
    def to_coefficients(self) -> Float[np.ndarray, "q q"]:
        """Matrix from the values on one panel to its Legendre coefficients."""
        return self._reference[2]

    @cached_property
    def nodes(self) -> Float[np.ndarray, " n"]:
        """All nodes, increasing."""
        x = self._reference[0]
        return (self.edges[:-1, None] + self.widths[:, None] * (x + 1) / 2).reshape(-1)

    @cached_property
    def weights(self) -> Float[np.ndarray, " n"]:
        """Quadrature weights of the integral over [0, 1]."""
        return (self.widths[:, None] * self._reference[1] / 2).reshape(-1)

    @cached_property
    def collocation(self) -> Float[np.ndarray, "q q"]:
        """Integrals from the left edge to each node of one panel of width 1."""
        x, _, to_coefficients = self._reference
        return _integrals(x, self.order) @ to_coefficients / 2

    def part(self, k: int) -> slice:
        """The nodes of panel k."""
        return slice(k * self.order, (k + 1) * self.order)

    def _locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        panel = np.clip(np.searchsorted(self.edges, positions, side="left") - 1, 0, self.count - 1)
        return panel, 2 * (positions - self.edges[panel]) / self.widths[panel] - 1

    def _spread(self, panel: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Rows acting on the nodes of one panel each, as rows acting on all nodes."""
        out = np.zeros((len(panel), self.count, self.order))
        out[np.arange(len(panel)), panel] = rows
        return out.reshape(len(panel), -1)

    def interpolate(self, positions: Float[np.ndarray, " m"]) -> Float[np.ndarray, "m n"]:
        """Matrix from values at the nodes to values at `positions`."""
        panel, x = self._locate(positions)
        return self._spread(panel, legendre.legvander(x, self.order - 1) @ self._reference[2])

    def integrate(self, positions: Float[np.ndarray, " m"]) -> Float[np.ndarray, "m n"]:
        """Matrix from values at the nodes to the integrals from 0 to each position."""
        panel, x = self._locate(positions)
        inside = _integrals(x, self.order) @ self._reference[2] * self.widths[panel, None] / 2
        before = (np.arange(self.count) < panel[:, None])[:, :, None] * self.weights.reshape(self.count, self.order)
        return self._spread(panel, inside) + before.reshape(len(panel), -1)

    @cached_property
    def cumulative(self) -> Float[np.ndarray, "n n"]:
        """Matrix from values at the nodes to the integrals from 0 to each node."""
        return self.integrate(self.nodes)
