"""Which exponents meet a list of wishes, or a certificate that none do."""

from limits.desiderata.answer import Feasible, Impossible
from limits.desiderata.design import design
from limits.desiderata.piece import Piece
from limits.desiderata.wishes import WISHES
from limits.inequalities import Certificate, Constraint

__all__ = ["WISHES", "Certificate", "Constraint", "Feasible", "Impossible", "Piece", "design"]
