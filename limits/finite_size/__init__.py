"""The error of networks of finite width, block width and depth: measured, fitted, predicted."""

from limits.finite_size.deviation import Deviation, Limit, rescaled
from limits.finite_size.model import ErrorModel, Held, Interval, Size, error_model

__all__ = ["Deviation", "ErrorModel", "Held", "Interval", "Limit", "Size", "error_model", "rescaled"]
