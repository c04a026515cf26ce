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

Orders, signs and lengths are drawn by numpy, once for N/2 rows; rows are made where the arrays live.

The noise of two blocks of a deeper network, $(e_1 + e_2)/\sqrt2$, is that of one block of a network half as deep: the sums
over blocks are then the same paths over depth, and the two networks differ by what depth does to them, not by chance.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.fft import dct

from limits.library import Library

Array = Any
MIXINGS = 3
"""Random orders and signs of a rotation; after two, fourth moments still know the cosines."""


class Cosines:
    r"""The orthonormal cosine transform of rows of n numbers, of any array library.

    $y_k = \sqrt{(2 - \delta_{k0})/n}\,\sum_j x_j\cos(\pi k(2j + 1)/2n)$ is, with $v = (x_0, x_2, \dots, x_3, x_1)$ and
    $w_k = e^{-i\pi k/2n}\sum_j v_je^{-2\pi ijk/n}$, $y_k\propto\mathrm{Re}\,w_k$ and $y_{n-k}\propto-\mathrm{Im}\,w_k$.

    Source: Makhoul 1980.
    """

    def __init__(self, library: Library, size: int) -> None:
        self.library, self.size = library, size
        k = np.arange(size // 2 + 1)
        angle, scale = -0.5 * np.pi * k / size, np.where(k, (2 / size) ** 0.5, size**-0.5)
        self.real, self.imaginary = library.put(scale * np.cos(angle)), library.put(scale * np.sin(angle))

    def __call__(self, rows: Array) -> Array:
        """The transform along the last axis."""
        if self.library.backend == "numpy":
            return dct(rows, norm="ortho", overwrite_x=True)
        xp = self.library.xp
        found = xp.fft.rfft(xp.concat([rows[..., ::2], xp.flip(rows[..., 1::2], axis=-1)], axis=-1))
        real, imaginary = xp.real(found), xp.imag(found)
        first = real * self.real - imaginary * self.imaginary
        last = real * self.imaginary + imaginary * self.real
        return xp.concat([first, -xp.flip(last[..., 1 : self.size - self.size // 2], axis=-1)], axis=-1)


class Noise:
    """Normal kets, new ones at every call, of one rotation until half of it is used; of R independent samples of neurons.

    Args:
        rngs: where the rotations come from, one for each sample.
        neurons: N, even.
        mirrored: whether to every neuron there is one with all signs reversed.
        exact: whether only second moments matter, which then are exact.
        library: whose arrays the kets are.

    Attributes:
        summed: how many draws one after another are added up to one, 1 at first.

    >>> from limits.library import open_library
    >>> numpy = open_library("numpy", None, "float64")
    >>> e = Noise([np.random.default_rng(0)], 512, mirrored=True, exact=True, library=numpy).draw(3)[0]
    >>> bool(abs(e @ e.T / 512 - np.eye(3)).max() < 1e-12), bool(abs((e**3).mean(1)).max() < 1e-12)
    (True, True)
    """

    def __init__(
        self,
        rngs: Sequence[np.random.Generator],
        neurons: int,
        *,
        mirrored: bool = False,
        exact: bool = False,
        library: Library,
    ) -> None:
        self.rngs, self.neurons, self.mirrored, self.exact, self.library = rngs, neurons, mirrored, exact, library
        self.summed = 1
        self.size = neurons // 2 if mirrored else neurons
        self.cosines = Cosines(library, self.size)
        self._places = library.whole(np.arange(self.size))
        self._turn()

    def _turn(self) -> None:
        n, put, replicas = self.size, self.library.put, range(len(self.rngs))
        drawn = [[(rng.permutation(n), rng.choice([-1.0, 1.0], n)) for _ in range(MIXINGS)] for rng in self.rngs]
        self._chosen = self.library.whole(np.stack([rng.permutation(n)[: n // 2] for rng in self.rngs], axis=1)[:, :, None])
        self._used = 0
        lengths = [np.full(n, n**0.5) if self.exact else rng.chisquare(n, n) ** 0.5 for rng in self.rngs]
        self._lengths = put(np.stack(lengths))
        self._turns = [
            (
                self.library.whole(np.concatenate([n * r + drawn[r][m][0] for r in replicas])),
                put(np.stack([drawn[r][m][1] for r in replicas])),
            )
            for m in range(MIXINGS)
        ]

    def draw(self, count: int) -> Array:
        """Kets (R, count, N)."""
        kets = self._draw(count)
        for _ in range(self.summed - 1):
            kets = kets + self._draw(count)
        return kets if self.summed == 1 else kets * self.summed**-0.5

    def _draw(self, count: int) -> Array:
        if self._used + count > self.size // 2:
            self._turn()
        xp, shape = self.library.xp, (count, len(self.rngs), self.size)
        chosen = self._chosen[self._used : self._used + count, ...]
        self._used += count
        kets = self.cosines(xp.astype(chosen == self._places, getattr(xp, self.library.dtype)))
        for order, signs in self._turns:
            kets = xp.reshape(xp.take(xp.reshape(kets, (count, -1)), order, axis=1), shape)
            kets *= signs
            kets = self.cosines(kets)
        kets *= self._lengths
        if self.mirrored:
            kets = xp.concat([kets, -kets], axis=-1)
        return xp.permute_dims(kets, (1, 0, 2))
