"""Compare the rungs: errors from finite to wide and from wide to deep, with their measured rates."""

from limits.compare.rates import PowerLaw, extrapolate, fit_power_law
from limits.compare.rungs import Ladder, Unanswered, ladder

__all__ = ["Ladder", "PowerLaw", "Unanswered", "extrapolate", "fit_power_law", "ladder"]
