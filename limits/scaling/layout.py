"""A table of ratios as text, Markdown and LaTeX."""

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING

from limits.markup import columns
from limits.scaling.cell import Cell
from limits.scaling.row import COLUMNS, lost

if TYPE_CHECKING:
    from limits.scaling.scaling import Scaling

HEADS = {"multiplier": "multiplier", "init_std": "init std", "lr": "lr", "weight_decay": "weight decay", "eps": "eps"}


def _shown(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    return "1" if not cell.powers else f"{float(cell):.4g} = {cell.formula}"


def table(scaling: "Scaling") -> list[list[str]]:
    """Head and rows, without columns that nothing has."""
    kept = [c for c in COLUMNS if any(getattr(r, c) is not None for r in scaling)]
    head = ["", *(HEADS[c] for c in kept)]
    branch = ["residual branch", _shown(scaling.branch), *("-" for _ in kept[1:])]
    return [head, branch, *([r.role, *(_shown(getattr(r, c)) for c in kept)] for r in scaling)]


def title(scaling: "Scaling") -> str:
    """What was asked."""
    p, learns = scaling.parametrization, scaling.regime.feature_learning
    gamma = f"({', '.join(map(str, p.gamma))})" if isinstance(p.gamma, tuple) else p.gamma
    known = " (features are learned)" if learns and "learn" not in scaling.regime.name else ""
    return (
        f"{scaling.optimizer}, from {scaling.base} to {scaling.target}; alpha = {p.alpha}, gamma = {gamma}, "
        f"k = {scaling.block_depth}: {scaling.regime.name}{known}"
    )


def values(scaling: "Scaling", given: Mapping[str, float]) -> list[list[str]]:
    """Head and rows of the numbers to write at the target, for those of the base that are given; multipliers always."""
    names = ["multiplier", *(c for c in COLUMNS if c in given)]
    one = {"multiplier": 1.0} | dict(given)
    rows = [["residual branch", f"{float(scaling.branch):.6g}", *("-" for _ in names[1:])]]
    for row in scaling:
        kept = {n: one[n] for n in names if getattr(row, n) is not None and (n != "init_std" or row.place.uses[0].matrix)}
        numbers = row.apply(kept)
        rows.append([row.role, *(f"{numbers[n]:.6g}" if n in numbers else "-" for n in names)])
    return [["", *(HEADS[n] for n in names)], *rows]


def left_out(scaling: "Scaling", given: Mapping[str, float]) -> list[str]:
    """A sentence for every number of the base that is given, is not zero, and has no value at the target in some rows."""
    found = []
    for name in (n for n in given if given[n]):
        without = [row for row in scaling if getattr(row, name) is None]
        for optimizer in dict.fromkeys(row.optimizer for row in without):
            roles = ", ".join(row.role for row in without if row.optimizer == optimizer)
            found.append(f"{HEADS[name]} has no value for {roles}: {optimizer} has none that {lost(name)}")
    return found


def reasons(scaling: "Scaling") -> Iterator[tuple[str, list[tuple[str, Cell]]]]:
    """What is trained by what, with its cells by name; first the residual branch."""
    yield "residual branch", [("multiplier", scaling.branch)]
    for row in scaling:
        yield f"{row.role}, trained by {row.optimizer}", [(HEADS[c], cell) for c, cell in row.cells.items() if cell is not None]


def because(cell: Cell) -> str:
    """The argument for a cell, with its status and source."""
    return f"{cell.why} ({cell.status}; {cell.source})"


def why(scaling: "Scaling") -> str:
    """The argument for every cell."""
    lines = []
    for title_, cells in reasons(scaling):
        lines += [title_, *(f"  {head}: {cell.formula}. {because(cell)}" for head, cell in cells)]
    return "\n".join(lines)


def why_markdown(scaling: "Scaling") -> str:
    """The argument for every cell, as a list of lists in Markdown."""
    lines = []
    for title_, cells in reasons(scaling):
        lines += [f"- **{title_}**", *(f"  - {head}: `{cell.formula}`. {_plain_stars(because(cell))}" for head, cell in cells)]
    return "\n".join(lines)


def why_latex(scaling: "Scaling") -> str:
    r"""The argument for every cell, as a `description` of `itemize`s; needs no package."""
    lines = [r"\begin{description}"]
    for title_, cells in reasons(scaling):
        items = [rf"  \item {head}: ${cell.latex()}$. {prose(because(cell))}" for head, cell in cells]
        lines += [rf"\item[{title_}] \leavevmode", r"  \begin{itemize}", *items, r"  \end{itemize}"]
    return "\n".join([*lines, r"\end{description}"])


def prose(said: str) -> str:
    r"""A sentence in LaTeX: powers in mathematics, what LaTeX would take for its own as it is.

    >>> print(prose("Entries are of order n^-1 L^(1/2), weight_decay * lr is 5%: m_N^-1."))
    Entries are of order $n^{-1}$ $L^{1/2}$, weight\_decay * lr is 5\%: $m_N^{-1}$.
    """
    parts = _POWER.split(said)  # text, base and exponent in turn
    texts = [_SPECIAL.sub(r"\\\g<0>", text).replace("^", r"\^{}") for text in parts[::3]]
    powers = [f"${_base(base)}^{{{_exponent(e)}}}$" for base, e in zip(parts[1::3], parts[2::3], strict=True)]
    return "".join(text for pair in zip_longest(texts, powers, fillvalue="") for text in pair)


_POWER = re.compile(r"\b(n|L|m_\w+|fan_in|fan_out)\^(-?\d+|-?alpha|\([-\d/]+\))")
_SPECIAL = re.compile(r"[_%&#$]")


def _base(name: str) -> str:
    letter, _, index = name.partition("_")
    return rf"\mathrm{{fan}}_{{\mathrm{{{index}}}}}" if letter == "fan" else name


def _exponent(text: str) -> str:
    return text.strip("()").replace("alpha", r"\alpha")


def _plain_stars(said: str) -> str:
    r"""Signs that Markdown would take for emphasis, as they are."""
    return re.sub(r"[*_]", r"\\\g<0>", said)


def text(scaling: "Scaling") -> str:
    """Aligned columns, then the notes."""
    return "\n".join([title(scaling), columns(table(scaling)), *(f"- {note}" for note in scaling.notes)])


def markdown(scaling: "Scaling") -> str:
    """A Markdown table with formulas, then the notes."""
    return "\n".join([title(scaling), "", bars(table(scaling)), "", *(f"- {note}" for note in scaling.notes)])


def bars(rows: list[list[str]]) -> str:
    """Head and rows in Markdown."""
    head, *others = rows
    return "\n".join([_bar(head), _bar(["---"] * len(head)), *(_bar(row) for row in others)])


def _bar(entries: list[str]) -> str:
    return "| " + " | ".join(entries) + " |"


def latex(scaling: "Scaling") -> str:
    r"""A `tabular` with the formulas; needs no package."""
    kept = [c for c in COLUMNS if any(getattr(r, c) is not None for r in scaling)]
    head = " & ".join(["", *(HEADS[c] for c in kept)]) + r" \\ \hline"
    branch = " & ".join(["residual branch", f"${scaling.branch.latex()}$", *("" for _ in kept[1:])]) + r" \\"
    lines = [" & ".join([r.role, *(_formula(getattr(r, c)) for c in kept)]) + r" \\" for r in scaling]
    return "\n".join([rf"\begin{{tabular}}{{l{'l' * len(kept)}}}", head, branch, *lines, r"\end{tabular}"])


def tabular(rows: list[list[str]]) -> str:
    """Head and rows of plain entries in LaTeX."""
    head, *others = (" & ".join(row) + r" \\" for row in rows)
    return "\n".join([rf"\begin{{tabular}}{{{'l' * len(rows[0])}}}", rf"{head} \hline", *others, r"\end{tabular}"])


def _formula(cell: Cell | None) -> str:
    return "" if cell is None else f"${cell.latex()}$"
