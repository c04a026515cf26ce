r"""Nonlinearities $\phi$ of a block, by name, by formula or of one's own, with their Gaussian expectations."""

from limits.nonlinearity.named import NAMED, kinked, leaky_relu, polynomial
from limits.nonlinearity.phi import Dual, Marginal, Nonlinearity
from limits.nonlinearity.text import nonlinearity

__all__ = ["NAMED", "Dual", "Marginal", "Nonlinearity", "kinked", "leaky_relu", "nonlinearity", "polynomial"]
