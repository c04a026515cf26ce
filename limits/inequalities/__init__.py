r"""Exact linear inequalities between exponents, the regions they bound, and proofs that a region is empty.

An `Inequality` compares an `Affine` with zero, a `Polyhedron` asks for several at once, and a `Condition` for one of several
polyhedra. `decide` finds a point where several inequalities hold, or a `Certificate` that there is none, by Fourier-Motzkin
elimination in rational arithmetic, with strict inequalities kept strict.
"""

from limits.inequalities.certificate import Certificate, Constraint
from limits.inequalities.elimination import Point, decide, implied
from limits.inequalities.inequality import Inequality
from limits.inequalities.polyhedron import Condition, Polyhedron

__all__ = ["Certificate", "Condition", "Constraint", "Inequality", "Point", "Polyhedron", "decide", "implied"]
