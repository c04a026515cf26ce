"""A table of ratios as text, Markdown and LaTeX."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

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


def aligned(rows: list[list[str]]) -> str:
    """Columns of equal width."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(f"{entry:<{w}}" for entry, w in zip(r, widths, strict=True)).rstrip() for r in rows)


def why(scaling: "Scaling") -> str:
    """The argument for every cell, with its status and source."""
    lines = [
        f"residual branch: {scaling.branch.formula}. {scaling.branch.why} ({scaling.branch.status}; {scaling.branch.source})"
    ]
    for row in scaling:
        lines.append(f"{row.role}, trained by {row.optimizer}")
        shown = ((HEADS[c], cell) for c, cell in row.cells.items() if cell is not None)
        lines += [f"  {head}: {cell.formula}. {cell.why} ({cell.status}; {cell.source})" for head, cell in shown]
    return "\n".join(lines)


def text(scaling: "Scaling") -> str:
    """Aligned columns, then the notes."""
    return "\n".join([title(scaling), aligned(table(scaling)), *(f"- {note}" for note in scaling.notes)])


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
