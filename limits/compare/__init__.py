"""Compare the rungs: errors and their measured rates, measured exponents, and whether the best learning rate transfers."""

from limits.compare.check import ExponentCheck, Row
from limits.compare.curves import Curve, Transfer
from limits.compare.exponents import measure_exponents
from limits.compare.optimum import Optimum, Slope
from limits.compare.rates import PowerLaw, extrapolate, fit_power_law
from limits.compare.rungs import Ladder, Unanswered, ladder
from limits.compare.transfer import transfer

__all__ = [
    "Curve",
    "ExponentCheck",
    "Ladder",
    "Optimum",
    "PowerLaw",
    "Row",
    "Slope",
    "Transfer",
    "Unanswered",
    "extrapolate",
    "fit_power_law",
    "ladder",
    "measure_exponents",
    "transfer",
]
