"""How an argument is laid out: as text for a terminal, as LaTeX, or as a page of the site."""

import re
import textwrap
from typing import Any

import sympy as sp
from sympy.printing.pretty.pretty import PrettyPrinter
from sympy.printing.pretty.stringpict import prettyForm, stringPict

WIDTH = 110
GLUE = "\0"
"""In the place of a space inside mathematics: a line that began with a minus sign would be an entry of a list."""


class Writer:
    """How an argument is laid out; `Text` and `Latex` say how."""

    def prose(self, text: str) -> list[str]:
        raise NotImplementedError

    def equation(self, sides: tuple[sp.Expr, ...], sign: str = "=") -> list[str]:
        raise NotImplementedError

    def inline(self, symbol: sp.Symbol) -> str:
        return f"${sp.latex(symbol)}$"


class Text(Writer):
    """For a terminal."""

    def prose(self, text: str) -> list[str]:
        return ["", *textwrap.wrap(plain(text), WIDTH, initial_indent="  ", subsequent_indent="  ")]

    def equation(self, sides: tuple[sp.Expr, ...], sign: str = "=") -> list[str]:
        sign = f" { {'<=': '≤', '>=': '≥'}.get(sign, sign) } "
        printer = PrettyPrinter({"use_unicode": True, "wrap_line": False})
        drawn = [printer._print(side) for side in sides]
        joined = prettyForm(*stringPict.next(drawn[0], *[part for d in drawn[1:] for part in (sign, d)]))
        pictures = (
            [joined] if joined.width() <= WIDTH else [drawn[0], *(prettyForm(*stringPict.next(sign, d)) for d in drawn[1:])]
        )
        return ["", *(f"      {line}".rstrip() for picture in pictures for line in picture.render(wrap_line=False).split("\n"))]

    def document(self, title: str, opening: str, claims: tuple[Any, ...], counts: list[int]) -> str:
        lines = [plain(title), "=" * len(plain(title)), *self.prose(opening)]
        for claim, count in zip(claims, counts, strict=True):
            lines += ["", "", *textwrap.wrap(f"[{claim.id}] {plain(claim.statement)}", WIDTH), f"Status: {_status(claim)}."]
            lines += [line for step in claim.steps for line in step.lines(self)]
            lines += ["", f"  [{claim.id}] checked: {count} steps repeated by machine."]
        return "\n".join(lines)


class Latex(Writer):
    """A LaTeX document."""

    def prose(self, text: str) -> list[str]:
        whole = re.sub(r"\$[^$]*\$", lambda math: math[0].replace(" ", GLUE), text)
        lines = textwrap.wrap(whole, WIDTH, break_long_words=False, break_on_hyphens=False)
        return ["", *(line.replace(GLUE, " ") for line in lines)]

    def equation(self, sides: tuple[sp.Expr, ...], sign: str = "=") -> list[str]:
        sign, first, *rest = _tex(sides, sign)
        if len(first) + sum(map(len, rest)) < 160:
            return [rf"\[ {f' {sign} '.join([first, *rest])} \]"]
        return [r"\begin{align*}", f"{first} " + " \\\\\n".join(f"&{sign} {side}" for side in rest), r"\end{align*}"]

    def document(self, title: str, opening: str, claims: tuple[Any, ...], counts: list[int]) -> str:
        lines = [r"\documentclass{article}", r"\usepackage{amsmath,amssymb}", r"\begin{document}", rf"\section*{{{title}}}"]
        lines += self.prose(opening)
        for claim, count in zip(claims, counts, strict=True):
            lines += ["", rf"\paragraph{{[{claim.id}]}} \emph{{{claim.statement}}} Status: {_status(claim)}."]
            lines += [line for step in claim.steps for line in step.lines(self)]
            lines += ["", f"[{claim.id}] checked: {count} steps repeated by machine."]
        return "\n".join([*lines, r"\end{document}"])


def _tex(sides: tuple[sp.Expr, ...], sign: str) -> list[str]:
    """The sign, and then the sides."""
    return [{"<=": r"\le", ">=": r"\ge"}.get(sign, sign), *(sp.latex(side) for side in sides)]


class Page(Latex):
    """A page of the site, in MyST: every claim has an anchor, every equation a number."""

    def __init__(self) -> None:
        self.place, self.equations = "", 0

    def prose(self, text: str) -> list[str]:
        return super().prose(linked(text))

    def equation(self, sides: tuple[sp.Expr, ...], sign: str = "=") -> list[str]:
        self.equations += 1
        sign, first, *rest = _tex(sides, sign)
        if len(rest) < 2 or len(first) + sum(map(len, rest)) < 120:
            body = f" {sign} ".join([first, *rest])
        else:
            lines = " \\\\\n".join(f"&{sign} {side}" for side in rest)
            body = f"\\begin{{aligned}}\n{first} {lines}\n\\end{{aligned}}"
        return ["", f"$$\n{body}\n$$ (eq-{self.place}-{self.equations})"]

    def document(self, title: str, opening: str, claims: tuple[Any, ...], counts: list[int]) -> str:
        lines = [f"# {title}", *self.prose(opening)]
        for claim, count in zip(claims, counts, strict=True):
            self.place, self.equations = claim.id, 0
            lines += ["", f"({claim.id})=", f"## {claim.id}", *self.prose(f"**{claim.statement}**")]
            status = linked(_status(claim))
            lines += ["", f"*{status[0].upper()}{status[1:]}. {count} steps repeated by machine.*"]
            lines += [line for step in claim.steps for line in step.lines(self)]
        return "\n".join(lines) + "\n"


CITED = re.compile(r"\b(TP4b|TP5|TP6|BNLHP|HY|SC|CP|ZWZL|BCP|Ch|CCM|YWG)\b")
CLAIM = re.compile(r"\[?\b(D\d\.\d+)\b\]?")


def linked(text: str) -> str:
    """Claims and sources, outside of mathematics, as links."""
    parts = text.split("$")
    parts[::2] = [CLAIM.sub(r"[\1](#\1)", CITED.sub(r"{cite}`\1`", part)) for part in parts[::2]]
    return "$".join(parts)


def _status(claim: Any) -> str:
    words = {"proved": "proved here", "heuristic": "heuristic", "cited": "cited"}[claim.status]
    return f"{words} ({claim.scope})" if claim.scope else words


LETTERS = dict(zip(
    ("alpha", "beta", "gamma", "delta", "epsilon", "eta", "kappa", "lambda", "mu", "xi", "pi", "rho", "sigma", "tau", "theta",
     "phi", "chi"),
    "αβγδεηκλμξπρστθφχ", strict=True,
))  # fmt: skip
SIGNS = {
    "Theta": "Θ", "Delta": "Δ", "infty": "∞", "langle": "<", "rangle": ">", "partial": "∂", "emptyset": "∅", "sum": "Σ",
    "int": "∫", "sqrt": "√", "odot": "⊙", "cdot": "·", "ldots": "…", "cdots": "⋯", "top": "T", "tilde": "~", "mathrm": "",
    "le": " ≤ ", "ge": " ≥ ", "to": " → ", "neq": " ≠ ", "in": " ∈ ", "notin": " ∉ ", "log": "log ", "exp": "exp", "cos": "cos",
    "subset": " ⊂ ", "sim": " ~ ", "sin": "sin", "tanh": "tanh",
}  # fmt: skip
COMMANDS = LETTERS | SIGNS
"""TeX commands of the prose, as they read in plain text."""


def plain(text: str) -> str:
    """TeX inside `$...$` as plain text; raises KeyError for a command that has no plain form."""
    return re.sub("  +", " ", re.sub(r"\$([^$]*)\$", lambda math: _plain_math(math[1]), text))


def _plain_math(tex: str) -> str:
    tex = re.sub(r"\\tfrac(\d)(\d)", r"\1/\2", tex)
    for command, word in ((r"\hat W", "Ŵ"), (r"\{", "("), (r"\}", ")"), (r"\,", " ")):
        tex = tex.replace(command, word)
    tex = re.sub(r"\\([A-Za-z]+)(?: (?=[A-Za-z]))?", lambda command: COMMANDS[command[1]], tex)
    tex = re.sub(r"([\^_])\{([^{}]*)\}", lambda m: m[1] + (m[2] if len(m[2]) == 1 else f"({m[2]})"), tex)
    return re.sub(" +", " ", re.sub(r"\{([^{}]*)\}", r"\1", tex)).replace("log (", "log(")
