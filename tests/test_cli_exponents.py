"""The commands about exponents, and the picture of their regimes."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from limits import classify, decode, phase_diagram
from limits.cli import app
from limits.parametrization import Parametrization
from limits.plots import BOX, NAMED, SHADES, phases
from limits.plots import phase_diagram as draw
from limits.regimes.diagram import corners


def limits(*arguments):
    return CliRunner().invoke(app, arguments)


# Classify


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("1/2", "1/2"), "feature learning and diverse"),
        (("2", "-1"), "unfaithful"),
        (("-1/2", "-1/2"), "unstable at initialization"),
        (("--block-depth", "2", "1", "0", "0"), "redundant"),
        (("--block-depth", "2", "1", "0"), "redundant"),
        (("-k", "3", "1", "0", "0", "-1/3"), "unstable during training"),
        (("3/4", "1/4", "--not-centred"), "unstable at initialization"),
    ],
)
def test_exponents_are_arguments(arguments, name):
    result = limits("classify", *arguments)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0] == name


def test_what_is_printed_is_what_python_says():
    arguments = ("--block-depth", "2", "1", "0", "1/3")
    regime = classify(Parametrization(1, (0, "1/3")), block_depth=2)
    assert limits("classify", *arguments).stdout.strip() == str(regime)
    assert json.loads(limits("classify", *arguments, "--json").stdout) == regime.to_json()


RECIPE = "multiplier=L^-1/2 lr=1 optimizer=adam"


def test_a_recipe_is_an_argument_too():
    assert limits("classify", "--recipe", RECIPE).stdout.strip() == str(decode(RECIPE))
    assert json.loads(limits("classify", "--recipe", RECIPE, "--json").stdout)["repair"]["known_as"] == "Depth-µP"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("classify",), "missing argument 'alpha'"),
        (("classify", "1/2"), "missing argument 'gamma'"),
        (("classify", "1/2", "1/2", "1/2"), "gamma has 2 exponents, but a block of depth 1 has one layer"),
        (("classify", "-k", "0", "1/2", "1/2"), "block_depth must be a whole number between 1 and 12, got 0"),
        (("classify", "1/2", "--recipe", RECIPE), "--recipe says everything"),
        (("classify", "--recipe", "multiplier=1"), "must name its optimizer"),
        (("phase-diagram", "--out", "phases.txt"), "--out must end in .png, .svg, .pdf, got 'phases.txt'"),
        (("classify", "1", "0", "--block-dept", "2"), "there is no option --block-dept; `limits classify --help`"),
        (("classify", "-x"), "there is no option -x"),
        (("classify", "1e99999999", "0"), "alpha must be a fraction of at most 100 digits"),
        (("classify", "--recipe", "adam lr=" + "(" * 5000), "at most 100 characters"),
        (("classify", "1", "0", "-k", "1.5"), "'1.5'"),
        (("design", "stable", "--fix", "alpha=1", "--fix", "alpha=2"), "--fix gives alpha twice, as 1 and as 2"),
        (("design", "stable", "-k", "8"), "at most 7 layers with exponents of their own"),
        (("phase-diagram", "--out", "/proc/none/f.png"), "--out must be a file that can be written, got '/proc/none/f.png': "),
        (("phase-diagram", "-k", "13"), "block_depth must be a whole number between 1 and 12, got 13"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence(arguments, expected):
    result = limits(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("limits: ")
    assert result.stderr.count("\n") == 1
    assert expected in result.stderr


@pytest.mark.parametrize("command", ["classify", "phase-diagram"])
def test_help_teaches(command):
    result = limits(command, "--help")
    assert result.exit_code == 0
    assert f"limits {command} " in result.stdout.split("Usage:")[1].split("\n", 1)[1]


# Phase diagram


def test_a_folder_is_no_picture(tmp_path):
    (tmp_path / "phases.png").mkdir()
    result = limits("phase-diagram", "--out", str(tmp_path / "phases.png"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--out must be a file that can be written" in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["phases.png"]


FILES = {"phase-diagram": ("phases.svg", ()), "explorer": ("plane.html", ("--no-runs",))}
"""Commands that write one file, with a name for it."""


@pytest.mark.parametrize("command", FILES)
def test_a_file_has_its_folders_made_as_a_folder_has(tmp_path, command):
    name, options = FILES[command]
    out = tmp_path / "new" / "newer" / name
    result = limits(command, *options, "--out", str(out))
    assert (result.exit_code, result.stderr) == (0, f"limits: wrote {out}\n")
    assert [p.name for p in out.parent.iterdir()] == [name]
    assert "in folders that are made if need be" in " ".join(limits(command, "--help").stdout.replace("│", " ").split())


@pytest.mark.parametrize("command", FILES)
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_begun(tmp_path, command):
    name, options = FILES[command]
    (tmp_path / name).mkdir()
    (tmp_path / "taken").write_text("")
    for out, why in ((tmp_path / name, "it is a folder"), (tmp_path / "taken" / name, "File exists")):
        result = limits(command, "--out", str(out))
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == f"limits: --out must be a file that can be written, got {str(out)!r}: {why}\n"
    assert {p.name for p in tmp_path.iterdir()} == {name, "taken"}
    assert limits(command, *options, "--out", str(tmp_path / "plane.txt")).stderr.startswith("limits: --out must end in .")


@pytest.mark.parametrize(("name", "magic"), [("phases.PNG", b"\x89PNG"), ("phases.svg", b"<?xml"), ("phases.pdf", b"%PDF")])
def test_the_phase_diagram_is_drawn(tmp_path, name, magic):
    result = limits("phase-diagram", "--block-depth", "2", "--out", str(tmp_path / "pictures" / name))
    assert (result.exit_code, result.stdout.strip()) == (0, str(phase_diagram(block_depth=2)))
    assert (tmp_path / "pictures" / name).read_bytes().startswith(magic)
    assert "wrote" in result.stderr


def test_the_phase_diagram_in_json():
    assert json.loads(limits("phase-diagram", "--json").stdout) == phase_diagram().to_json()


@pytest.mark.parametrize("k", [1, 3])
def test_the_picture_shows_every_piece_and_every_name(k):
    axes = Figure().subplots()
    draw(axes, phase_diagram(block_depth=k), {("3/4", "1/4"): (-0.25, 0.004)})
    drawn = [p.get_xy()[:-1] for p in axes.patches] + [np.transpose(line.get_data()) for line in axes.lines]
    for name, pieces in phase_diagram(block_depth=k).regions:
        assert name in SHADES
        for piece in pieces:
            polygon = np.array(corners(piece, BOX), float)
            assert any(d.shape == polygon.shape and np.allclose(d, polygon) for d in drawn), name
    said = [text.get_text() for text in axes.texts]
    assert {name for name, _, _ in NAMED} <= set(said)
    assert {"redundant", "unfaithful", "trivial", "−0.25, +0.00"} <= set(said)


MEASURED = {point: (-0.25, 0.004) for point in ((0, 0), ("1/2", 0), (1, 0), ("3/4", "1/4"), ("1/2", "1/2"))}


@pytest.mark.parametrize(("k", "measured"), [(1, {}), (2, MEASURED), (12, {})])
def test_labels_of_the_picture_lie_inside_it_and_apart(k, measured):
    """Those that are turned count where their line is almost level."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = phases(phase_diagram(block_depth=k), measured)
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts if -10 < (text.get_rotation() + 180) % 360 - 180 < 10]
    frame = axes.get_window_extent()
    for i, box in enumerate(boxes):
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_colours_differ_in_grey():
    """Areas are light and lines dark; neighbouring areas differ in hatching or in luminance."""
    grey = {
        name: np.dot([0.299, 0.587, 0.114], [int(color[i : i + 2], 16) for i in (1, 3, 5)]) for name, (color, _) in SHADES.items()
    }
    areas = ("unstable at initialization", "unstable during training", "trivial")
    lines = ("unfaithful", "redundant", "feature learning and diverse")
    assert max(grey[name] for name in lines) + 40 < min(grey[name] for name in areas)
    assert len({SHADES[name][1] for name in areas}) == 3
