"""Every picture of the gallery is drawn, and what its caption says is checked."""

import importlib.util
import re
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")

GALLERY = Path(__file__).parents[1] / "docs" / "gallery"
SCRIPTS = sorted(GALLERY.glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_picture_shows_what_its_caption_says(script):
    pytest.importorskip("sklearn")
    spec = importlib.util.spec_from_file_location(f"gallery_{script.stem}", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    title, _, caption = module.__doc__.partition("\n\n")
    assert re.fullmatch(r"[A-Zα-ω].*\.", title)
    assert len(caption.split()) > 20
    found = module.compute()
    module.check(found)
    figure = module.draw(found)
    figure.draw_without_rendering()
    assert figure.axes
    assert all(
        axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes if axes.axison and axes.get_label() != "<colorbar>"
    )


def test_the_site_shows_all_of_them():
    listed = re.search(r"PICTURES = \((.*?)\n\)", (GALLERY.parent / "conf.py").read_text(), re.DOTALL)
    assert sorted(re.findall(r'"(\w+)"', listed[1])) == [script.stem for script in SCRIPTS]
