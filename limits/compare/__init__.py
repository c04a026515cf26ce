"""Compare the rungs: errors from finite to wide and from wide to deep, with their measured rates; and measured exponents."""

from limits.compare.check import ExponentCheck, Row
from limits.compare.exponents import measure_exponents
from limits.compare.rates import PowerLaw, extrapolate, fit_power_law
from limits.compare.rungs import Ladder, Unanswered, ladder

__all__ = [
    "ExponentCheck",
    "Ladder",
    "PowerLaw",
    "Row",
    "Unanswered",
    "extrapolate",
    "fit_power_law",
    "ladder",
    "measure_exponents",
]
