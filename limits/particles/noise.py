r"""Standard normal kets whose second moments are exact.

A ket is a random variable held by its values on N neurons, a row of N numbers; $\langle x, y\rangle$ is their mean product.
Of independent normal rows $\langle e_a, e_b\rangle = \delta_{ab} + O(N^{-1/2})$. Rows of a random rotation,

$$ e_a = \sqrt N\,C\,D_2\,C\,D_1\,C\,1_a, $$

with C the orthonormal cosine transform, D random signs after a random order, and $1_a$ a unit vector, have
$\langle e_a, e_b\rangle = \delta_{ab}$ to round-off at a cost of $O(N\log N)$ a row, and take no memory. Their entries are sums
of N terms of random sign, normal up to $O(1/N)$. Mirrored rows $(e, -e)$ also have no odd moments.
"""

import numpy as np
from scipy.fft import dct

Array = np.ndarray


class Noise:
    """Normal kets, new ones at every call; as many as a quarter of the neurons in a row are orthonormal.

    Args:
        rng: where the rotations come from.
        neurons: N, even.
        mirrored: whether to every neuron there is one with all signs reversed.

    >>> e = Noise(np.random.default_rng(0), 512, mirrored=True).draw(3)
    >>> bool(abs(e @ e.T / 512 - np.eye(3)).max() < 1e-12), bool(abs((e**3).mean(1)).max() < 1e-12)
    (True, True)
    """

    def __init__(self, rng: np.random.Generator, neurons: int, mirrored: bool = False) -> None:
        self.rng, self.neurons, self.mirrored = rng, neurons, mirrored
        self.size = neurons // 2 if mirrored else neurons
        self._turn()

    def _turn(self) -> None:
        self._turns = [(self.rng.permutation(self.size), self.rng.choice([-1.0, 1.0], self.size)) for _ in range(2)]
        self._left = self.rng.permutation(self.size)[: self.size // 2]

    def draw(self, count: int) -> Array:
        """Kets (count, N)."""
        if count > len(self._left):
            self._turn()
        chosen, self._left = self._left[:count], self._left[count:]
        kets = np.zeros((count, self.size))
        kets[np.arange(count), chosen] = self.size**0.5
        kets = _cosines(kets)
        for order, signs in self._turns:
            kets = _cosines(kets[:, order] * signs)
        return np.concatenate([kets, -kets], axis=1) if self.mirrored else kets


def _cosines(rows: Array) -> Array:
    return np.asarray(dct(rows, norm="ortho"))
