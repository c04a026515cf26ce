"""The two answers to a design: the exponents, or why there are none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from limits.desiderata.piece import Piece
from limits.desiderata.question import Question
from limits.inequalities import Certificate, Constraint
from limits.markup import listed
from limits.parametrization import Parametrization


@dataclass(frozen=True)
class Feasible:
    """The exponents that meet all wishes; printing it lists them.

    Attributes:
        point: one of them, inside the largest piece.
        pieces: convex sets whose union they are; none lies within another.
        question: what was asked.
    """

    point: Parametrization
    pieces: tuple[Piece, ...]
    question: Question

    @property
    def unique(self) -> bool:
        """Whether no other exponents meet the wishes."""
        return len(self.pieces) == 1 and self.pieces[0].dimension == 0

    def contains(self, parametrization: Parametrization) -> bool:
        """Whether these exponents meet the wishes.

        >>> from limits import COMPLETEP
        >>> from limits.desiderata import design
        >>> design("stable", "interacting", block_depth=2).contains(COMPLETEP)
        True
        """
        point = self.question.point(parametrization)
        return any(p.contains(point) for p in self.pieces)

    def holds(self) -> bool:
        """Check the point again: it lies in a piece, and meets every wish in its own terms, by arithmetic."""
        wish, at = self.question.wish(), self.question.point(self.point)
        always = all(c.holds(at) for c in wish.constraints)
        return always and all(any(c.holds(at) for c in way) for way in wish.disjunctions) and self.contains(self.point)

    def __repr__(self) -> str:
        where = f"{'only' if self.unique else 'for example'} at {self.point}"
        return listed(
            "Feasible", [_listed(self.question.wishes), where, f"in {len(self.pieces)} piece{'s' * (len(self.pieces) != 1)}"]
        )

    def __str__(self) -> str:
        heading = f"possible: {_listed(self.question.wishes)}, {'only' if self.unique else 'for example'} at {self.point}"
        return "\n".join([heading, *(f"  {'or ' * (i > 0)}{p}" for i, p in enumerate(self.pieces))])

    def _repr_markdown_(self) -> str:
        return f"```text\n{self}\n```"

    def to_json(self) -> dict[str, Any]:
        """What is printed, as plain values."""
        exponents = {name: str(value) for name, value in self.question.point(self.point).items()}
        pieces = [{"dimension": p.dimension, "constraints": [str(c) for c in p.constraints]} for p in self.pieces]
        return {
            "possible": True,
            "wishes": list(self.question.wishes),
            "point": exponents,
            "unique": self.unique,
            "pieces": pieces,
            "verified": self.holds(),
        }


@dataclass(frozen=True)
class Impossible:
    """A proof that no exponents meet the wishes; printing it prints the proof.

    Attributes:
        core: wishes that already exclude each other, none of which can be spared.
        certificates: for every way to meet the disjunctions of the core, multipliers that refute it.
        question: what was asked.

    >>> from limits import design
    >>> proof = design("stable", "diverse", "interacting", block_depth=2)
    >>> proof
    Impossible(stable, diverse and interacting, 1 certificate)
    >>> proof.holds()
    True
    """

    core: tuple[str, ...]
    certificates: tuple[Certificate, ...]
    question: Question

    def holds(self) -> bool:
        """Check the proof again: every way is refuted, from what the core, all of it asked for, says in it, by arithmetic."""
        if not set(self.core) <= set(self.question.wishes):
            return False
        wish = replace(self.question, wishes=self.core).wish()
        ways = product(*wish.disjunctions)
        return all(any(_refutes(c, wish.constraints, way) for c in self.certificates) for way in ways)

    def _repr_markdown_(self) -> str:
        return f"```text\n{self}\n```"

    def __repr__(self) -> str:
        return listed(
            "Impossible", [_listed(self.core), f"{len(self.certificates)} certificate{'s' * (len(self.certificates) != 1)}"]
        )

    def __str__(self) -> str:
        lines = [f"impossible: {_listed(self.core)}" + (" exclude each other" if len(self.core) > 1 else "")]
        if not self.certificates:
            lines.append("  a block of one layer has no such term")
        for certificate in self.certificates:
            way = " and ".join(chosen.meaning for chosen in certificate.branch)
            lines += [f"  if {way}"] if way else []
            lines += [f"    {line}" for line in certificate.lines()]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """What is printed, as plain values."""
        certificates = [
            {
                "branch": [chosen.meaning for chosen in certificate.branch],
                "terms": [{"times": str(m), "meaning": c.meaning, "claim": c.claim} for m, c in certificate.terms],
                "sum": certificate.claim,
            }
            for certificate in self.certificates
        ]
        core = {"possible": False, "wishes": list(self.question.wishes), "core": list(self.core)}
        return core | {"certificates": certificates, "verified": self.holds()}


def _refutes(certificate: Certificate, always: Sequence[Constraint], way: Sequence[Constraint]) -> bool:
    """Whether a certificate is right, about this way, and from nothing but what holds in it."""
    used = {constraint for _, constraint in certificate.terms}
    return set(certificate.branch) <= set(way) and used <= {*always, *certificate.branch} and certificate.holds()


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
