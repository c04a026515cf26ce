r"""Standard normal kets whose second moments are nearly exact.

A ket is a random variable held by its values on N neurons, a row of N numbers; $\langle x, y\rangle$ is their mean product.
Of independent normal rows $\langle e_a, e_b\rangle = \delta_{ab} + O(N^{-1/2})$. Rows of a random rotation,

$$ e_a = \sqrt N\,C\,D_3\,C\,D_2\,C\,D_1\,C\,1_a, $$

with C the orthonormal cosine transform, D random signs after a random order, and $1_a$ a unit vector, have
$\langle e_a, e_b\rangle = \delta_{ab}$ to round-off at a cost of $O(N\log N)$ a row, and take no memory. What one neuron has in
all N of them is a vector of length $\sqrt N$, uniform on a sphere: a neuron with much of some has less of others, and
$\langle e_a^2, e_b^2\rangle = 1 - 2/N$, which adds up over blocks. A random length of law $\chi_N$ in its place makes the numbers
of a neuron independent and normal, and $\langle e_a, e_b\rangle = \delta_{ab} + O(1/N)$. Mirrored rows $(e, -e)$ also have no odd
moments.
"""

import numpy as np
from scipy.fft import dct

Array = np.ndarray
MIXINGS = 3
"""Random orders and signs of a rotation; after two, fourth moments still know the cosines."""


class Noise:
    """Normal kets, new ones at every call, of one rotation until half of it is used.

    Args:
        rng: where the rotations come from.
        neurons: N, even.
        mirrored: whether to every neuron there is one with all signs reversed.
        exact: whether only second moments matter, which then are exact.

    >>> e = Noise(np.random.default_rng(0), 512, mirrored=True, exact=True).draw(3)
    >>> bool(abs(e @ e.T / 512 - np.eye(3)).max() < 1e-12), bool(abs((e**3).mean(1)).max() < 1e-12)
    (True, True)
    """

    def __init__(self, rng: np.random.Generator, neurons: int, *, mirrored: bool = False, exact: bool = False) -> None:
        self.rng, self.neurons, self.mirrored, self.exact = rng, neurons, mirrored, exact
        self.size = neurons // 2 if mirrored else neurons
        self._turn()

    def _turn(self) -> None:
        rng, n = self.rng, self.size
        self._turns = [(rng.permutation(n), rng.choice([-1.0, 1.0], n)) for _ in range(MIXINGS)]
        self._left = rng.permutation(n)[: n // 2]
        self._lengths = np.full(n, n**0.5) if self.exact else rng.chisquare(n, n) ** 0.5

    def draw(self, count: int) -> Array:
        """Kets (count, N)."""
        if count > len(self._left):
            self._turn()
        chosen, self._left = self._left[:count], self._left[count:]
        kets = np.zeros((count, self.size))
        kets[np.arange(count), chosen] = 1.0
        kets = _cosines(kets)
        for order, signs in self._turns:
            kets = _cosines(kets[:, order] * signs)
        kets *= self._lengths
        return np.concatenate([kets, -kets], axis=1) if self.mirrored else kets


def _cosines(rows: Array) -> Array:
    return np.asarray(dct(rows, norm="ortho"))
