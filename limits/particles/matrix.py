r"""An initial matrix of infinite width, known by what it has acted on.

With orthonormal kets $p_a$ that a matrix $\hat W$ has acted on and $q_b$ that its transpose has, new ones become

$$ \hat Wp = \sum_b r^{-1}\langle\hat W^Tq_b, p\rangle\,q_b + \sigma e, \qquad
   \hat W^Tq = \sum_a r\,\langle\hat Wp_a, q\rangle\,p_a + \sigma\sqrt r\,e', $$

for entries of variance $\sigma^2$ / columns and $r$ = rows / columns, where $e, e'$ are standard normal and independent of all
kets so far. This is the rule of Tensor Programs: a product is a Gaussian ket, whose covariance with others of the same matrix
is $\sigma^2$ times that of what it acts on, plus $\sigma^2\sum_bE[\partial p/\partial z_b]\,q_b$, where $z_b$ is the Gaussian
part of $\hat W^Tq_b$. Of orthonormal $q_b$ the $z_b$ are independent with variance $\sigma^2r$, so that Stein's lemma reads
$\sigma^2rE[\partial p/\partial z_b] = E[pz_b]$. And $E[pz_b] = \langle p, \hat W^Tq_b\rangle$, because the rest of
$\hat W^Tq_b$ is in the span of earlier $p_a$. No covariance is inverted, and no derivative is followed through the network.

Source: Tensor Programs III (Z-hat and Z-dot); TP6, section 4. The orthonormal form is Gaussian conditioning.
"""

from dataclasses import dataclass

import numpy as np

from limits.particles.noise import Noise
from limits.semiseparable import BACKWARD, FORWARD, Side

Array = np.ndarray
NEGLIGIBLE = 1e-8
"""Share of a ket that counts as nothing new."""


def opposite(side: Side) -> Side:
    """Backward for forward, and forward for backward."""
    return BACKWARD if side.forward else FORWARD


@dataclass
class Seen:
    """Orthonormal kets that a matrix has acted on and what it made of them: the first `count` rows of two arrays."""

    basis: Array
    images: Array
    count: int = 0

    @property
    def known(self) -> Array:
        """The kets, shape (count, N)."""
        return self.basis[: self.count]

    @property
    def made(self) -> Array:
        """Their images, shape (count, N)."""
        return self.images[: self.count]

    def append(self, kets: Array, images: Array) -> None:
        """Add orthonormal kets and their images."""
        at = slice(self.count, self.count + len(kets))
        self.basis[at], self.images[at] = kets, images
        self.count = at.stop


class InitialMatrix:
    r"""$\hat W$ and its transpose, acting on kets.

    Args:
        noise: gives $e$ and $e'$.
        capacity: how many kets at most it will act on, by side.
        size: $\sigma$.
        ratio: $r$, rows over columns.
        responds: whether $\hat W$ and its transpose are one matrix; if not, the sums above are left out.

    >>> noise = Noise(np.random.default_rng(0), 512)
    >>> matrix = InitialMatrix(noise, {FORWARD: 2, BACKWARD: 2})
    >>> x, g = noise.draw(1), noise.draw(1)
    >>> wx, wg = (matrix.seen[side].made for side in (FORWARD, BACKWARD) if len(matrix.coordinates(side, x + g)))
    >>> bool(abs(np.mean((x + g) * wg) - np.mean((x + g) * wx)) < 1e-12)  # <x, W^T x> = <x, W x>
    True
    """

    def __init__(
        self, noise: Noise, capacity: dict[Side, int], size: float = 1.0, ratio: float = 1.0, responds: bool = True
    ) -> None:
        self.noise, self.responds = noise, responds
        empty = {side: np.empty((2, count, noise.neurons)) for side, count in capacity.items()}
        self.seen = {side: Seen(basis, images) for side, (basis, images) in empty.items()}
        self.ratio = {FORWARD: ratio, BACKWARD: 1 / ratio}
        self.size = {FORWARD: size, BACKWARD: size * ratio**0.5}

    def coordinates(self, side: Side, kets: Array) -> Array:
        """Coordinates (S, count) of kets (S, N) in those that the matrix has acted on, after it acts on what is new of them."""
        seen, known = self.seen[side], self.seen[side].known
        among_known = kets @ known.T / self.noise.neurons
        new = orthonormal(kets - among_known @ known, kets)
        if not len(new):
            return among_known
        new = orthonormal(without(new, known))  # Gram-Schmidt, twice
        seen.append(new, self._images(side, new))
        return np.concatenate([among_known, kets @ new.T / self.noise.neurons], axis=1)

    def _images(self, side: Side, new: Array) -> Array:
        other = self.seen[opposite(side)]
        fresh = without(self.noise.draw(len(new)), other.known)
        images = self.size[side] * orthonormal(fresh)
        if self.responds:
            images += (new @ other.made.T / (self.noise.neurons * self.ratio[side])) @ other.known
        return images


def without(kets: Array, known: Array) -> Array:
    """Kets without their projections on orthonormal ones."""
    return kets - (kets @ known.T / kets.shape[1]) @ known


def orthonormal(kets: Array, whole: Array | None = None) -> Array:
    """Gram-Schmidt, in order; what is left of a ket is dropped where it is negligible beside `whole`, the kets by default."""
    kept, count = np.empty_like(kets), 0
    least = NEGLIGIBLE * np.sqrt(np.mean((kets if whole is None else whole) ** 2, axis=1))
    for ket, small in zip(kets, least, strict=True):
        rest = without(without(ket[None], kept[:count]), kept[:count])
        norm = np.sqrt(np.mean(rest**2))
        if not norm <= small:  # what is no number stays, and is said where it reaches the outputs
            kept[count] = rest[0] / norm
            count += 1
    return kept[:count]
