"""The rooms of the package and which import which, read off the code and drawn as an SVG picture in the order of the contract."""

import ast
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WIDTH, STEP, HEIGHT = 860, 46, 24
"""Of the picture, of a layer, and of a room's box, in pixels."""


def layers():
    """Rooms of every layer, from the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return [[room.strip(" ()") for room in line.split("|")] for line in contracts[0]["layers"]]


def imports():
    """Pairs (room, room it imports), of statements anywhere in its files."""
    found = set()
    for path in (ROOT / "limits").rglob("*.py"):
        room = path.relative_to(ROOT / "limits").with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found |= {(room, name.split(".")[1]) for name in names if name.startswith("limits.")}
    return sorted((a, b) for a, b in found if a != b and a != "__init__")


def places():
    """Middle of every room's box."""
    found = {}
    for j, row in enumerate(layers()):
        found |= {room: (WIDTH * (i + 1) / (len(row) + 1), STEP * (j + 0.5)) for i, room in enumerate(row)}
    return found


def picture():
    """Boxes and lines; a line is thin, since what matters is that none goes up."""
    at, rows = places(), layers()
    lines = []
    for a, b in imports():
        (x, y), (u, v) = at[a], at[b]
        bend = f"M{x:.0f},{y + HEIGHT / 2:.0f} C{x:.0f},{(y + v) / 2:.0f} {u:.0f},{(y + v) / 2:.0f} {u:.0f},{v - HEIGHT / 2:.0f}"
        lines.append(f'<path d="{bend}" fill="none" stroke="#0072B2" stroke-opacity="0.28"><title>{a} imports {b}</title></path>')
    boxes = []
    for room, (x, y) in at.items():
        wide = 8 * len(room) + 14
        frame = f'x="{x - wide / 2:.0f}" y="{y - HEIGHT / 2:.0f}" width="{wide}" height="{HEIGHT}" rx="4"'
        boxes.append(f'<rect {frame} fill="#f4f6f8" stroke="#444"/>')
        boxes.append(f'<text x="{x:.0f}" y="{y + 4:.0f}" text-anchor="middle" fill="#111">{room}</text>')
    size = f'viewBox="0 0 {WIDTH} {STEP * len(rows)}" font-family="sans-serif" font-size="13"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', *lines, *boxes, "</svg>"])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(picture())
