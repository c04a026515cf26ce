"""Infinite width at a finite number of blocks where no closed recursion is known: every layer by samples of its neurons."""

from limits.particles.sample import REPLICAS, open_for_kets, sample
from limits.particles.sizes import neurons_of, particle_footprint, sampling_footprint, side_by_side

__all__ = ["REPLICAS", "neurons_of", "open_for_kets", "particle_footprint", "sample", "sampling_footprint", "side_by_side"]
