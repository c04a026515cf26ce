"""Infinite width at a finite number of blocks where no closed recursion is known: every layer by samples of its neurons."""

from limits.particles.sample import REPLICAS, neurons_of, particle_footprint, sample

__all__ = ["REPLICAS", "neurons_of", "particle_footprint", "sample"]
