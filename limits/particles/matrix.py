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

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from limits.particles.noise import Noise
from limits.particles.space import Space
from limits.semiseparable import BACKWARD, FORWARD, Side

Array = Any


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
        """The kets, shape (R, count, N)."""
        return self.basis[:, : self.count, :]

    @property
    def made(self) -> Array:
        """Their images, shape (R, count, N)."""
        return self.images[:, : self.count, :]

    def append(self, kets: Array, images: Array) -> None:
        """Add orthonormal kets, or zero rows in their places, and their images."""
        end = self.count + kets.shape[1]
        self.basis[:, self.count : end, :], self.images[:, self.count : end, :] = kets, images
        self.count = end


class InitialMatrix:
    r"""$\hat W$ and its transpose, acting on kets.

    Args:
        space: of the kets.
        noise: gives $e$ and $e'$.
        capacity: how many kets at most it will act on, by side.
        size: $\sigma$.
        ratio: $r$, rows over columns.
        responds: whether $\hat W$ and its transpose are one matrix; if not, the sums above are left out.

    >>> import numpy as np
    >>> from limits.library import open_library
    >>> library = open_library("numpy", None, "float64")
    >>> noise = Noise([np.random.default_rng(0)], 512, library=library)
    >>> matrix = InitialMatrix(Space(library, 512), noise, {FORWARD: 2, BACKWARD: 2})
    >>> x, g = noise.draw(1), noise.draw(1)
    >>> wx, wg = (matrix(side, x + g)[0] for side in (FORWARD, BACKWARD))
    >>> bool(abs(np.mean((x + g) * wg) - np.mean((x + g) * wx)) < 1e-12)  # <x, W^T x> = <x, W x>
    True
    """

    def __init__(
        self,
        space: Space,
        noise: Noise,
        capacity: dict[Side, int],
        size: float = 1.0,
        ratio: float = 1.0,
        responds: bool = True,
    ) -> None:
        self.space, self.responds = space, responds
        self.seen = {side: Seen(*(space.empty(len(noise.rngs), count) for _ in range(2))) for side, count in capacity.items()}
        self.ratio = {FORWARD: ratio, BACKWARD: 1 / ratio}
        self.size = {FORWARD: size, BACKWARD: size * ratio**0.5}
        self.begin(noise)

    def begin(self, noise: Noise) -> None:
        """Be another matrix, in the same places."""
        self.noise = noise
        for seen in self.seen.values():
            seen.count = 0

    def __call__(
        self, side: Side, kets: Array, kept: float = 1.0, learned: Callable[[Array], Array | None] = lambda coordinates: None
    ) -> tuple[Array, Array]:
        r"""The images of kets (R, S, N), and their coordinates (R, S, count) in what the matrix has acted on, these included.

        Args:
            side: forward for $\hat W$, backward for its transpose.
            kets: what it acts on.
            kept: a factor of the images.
            learned: from coordinates to what is added, in coordinates of what the other side has acted on, None for nothing;
                one product makes this and the response.
        """
        space, seen, other = self.space, self.seen[side], self.seen[opposite(side)]
        coordinates, new = self._coordinates(seen, kets)
        free, along = self._free(side, new, other.known)
        if self.responds:
            along = along + space.inner(new, other.made) / self.ratio[side]
        added = learned(coordinates)
        rows = new.shape[1]
        both = (along if added is None else space.xp.concat([along, added], axis=1)) @ other.known
        free += both[:, :rows, :]
        seen.append(new, free)
        images = (kept * coordinates) @ seen.made
        if added is not None:
            images += both[:, rows:, :]
        return images, coordinates

    def _coordinates(self, seen: Seen, kets: Array) -> tuple[Array, Array]:
        """Coordinates of kets, and what is new of them: orthonormal, with zero rows where there is nothing."""
        space, known = self.space, seen.known
        among = space.inner(kets, known)
        rest = -among @ known
        rest += kets
        new = space.orthonormal(rest, kets)
        new = space.polished(space.without(new, known))  # Gram-Schmidt, twice
        return space.xp.concat([among, space.inner(kets, new)], axis=-1), new

    def _free(self, side: Side, new: Array, known: Array) -> tuple[Array, Array]:
        """Normal kets of size sigma, orthonormal less their parts among the known ones, and the coordinates of those parts."""
        space, drawn = self.space, self.noise.draw(new.shape[1])
        among = space.inner(drawn, known)
        root = space.inverse_root(space.inner(drawn, drawn) - among @ space.xp.matrix_transpose(among))
        root = (self.size[side] * space.present(new)) * root
        return root @ drawn, -root @ among
