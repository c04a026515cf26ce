"""Every picture of the gallery is drawn, and what its caption says is checked."""

import re
import sys
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")

GALLERY = Path(__file__).parents[1] / "docs" / "gallery"
SCRIPTS = sorted(GALLERY.glob("*.py"))

sys.path.insert(0, str(GALLERY.parent))
from picture import drawn  # noqa: E402


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_picture_shows_what_its_caption_says(script):
    pytest.importorskip("sklearn")
    module, figure = drawn(script)
    title, _, caption = module.__doc__.partition("\n\n")
    assert re.fullmatch(r"[A-Zα-ω].*\.", title)
    assert len(caption.split()) > 20
    figure.draw_without_rendering()
    assert figure.axes
    assert all(
        axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes if axes.axison and axes.get_label() != "<colorbar>"
    )


def test_the_site_shows_all_of_them():
    listed = re.search(r"PICTURES = \((.*?)\n\)", (GALLERY.parent / "conf.py").read_text(), re.DOTALL)
    assert sorted(re.findall(r'"(\w+)"', listed[1])) == [script.stem for script in SCRIPTS]
