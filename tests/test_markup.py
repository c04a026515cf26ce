"""What values look like in a notebook."""

from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from limits import DEPTH_MUP, SGD, Problem, ResNet, phase_diagram, recurse, simulate
from limits.markup import curve

PROBLEM = Problem(ResNet("tanh"), DEPTH_MUP, SGD(0.5, 3), [[1.0], [0.5]], [[1.0], [-1.0]], probes=[[0.2]])


class Balanced(HTMLParser):
    """Collects text, and tags that were not closed."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_data(self, data):
        self.text.append(data)


def read(page):
    parser = Balanced()
    parser.feed(page)
    assert not parser.open
    return parser.text


def test_a_trajectory_tells_its_rung_loss_error_and_kernels():
    finite, exact = simulate(PROBLEM, width=8, blocks=4, seeds=3), recurse(_linear(), blocks=4)
    text = read(finite._repr_html_())
    assert text[text.index("rung") + 1] == "finite"
    assert text[text.index("loss") + 1] == f"{finite.losses[0]:.6g} → {finite.losses[-1]:.6g}"
    assert text[text.index("error of outputs") + 1] == f"at most {finite.error.max():.1e}"
    assert text[text.index("kernels") + 1].startswith("feature_kernel (4, 4, 5, 3, 3)")
    assert "exact" in read(exact._repr_html_())


def _linear():
    return Problem(ResNet(), DEPTH_MUP, SGD(0.5, 3), [[1.0]], [[1.0]])


def test_a_problem_tells_what_is_trained():
    page = PROBLEM._repr_markdown_()
    assert "| data | 2 samples, 1 probes; 1 inputs, 1 outputs; all samples at every step |" in page
    assert len({line.count("|") for line in page.splitlines()}) == 1


def test_curves_begin_high_where_values_are_high_and_leave_out_what_diverged():
    points = ElementTree.fromstring(curve([2.0, 1.0, float("nan"), 0.0], "loss"))[1].attrib["points"].split()
    x, y = np.array([point.split(",") for point in points], float).T
    assert len(points) == 3
    assert np.all(np.diff(x) > 0)
    assert np.all(np.diff(y) > 0)  # pixels are counted from the top
    for odd in ([], [1.0], [1.0, 1.0], [float("inf")]):
        ElementTree.fromstring(curve(odd, "a < b & c"))


@pytest.mark.parametrize("block_depth", [1, 2])
def test_a_phase_diagram_draws_every_region_where_it_is(block_depth):
    diagram = phase_diagram(block_depth=block_depth)
    picture = ElementTree.fromstring(diagram._repr_svg_())
    shapes = [part for part in picture if part.tag.endswith("polygon")]
    assert {part.text for part in picture if part.tag.endswith("text")} > {shape[0].text for shape in shapes}
    names = {shape[0].text for shape in shapes}
    assert names == {name for name, pieces in diagram.regions if pieces}
    for shape in shapes:
        corners = np.array([point.split(",") for point in shape.attrib["points"].split()], float)
        middle = corners.mean(0) / 300
        alpha, gamma = 1.5 * middle[0], 1 - 1.5 * middle[1]
        if len(corners) > 2:
            assert diagram.region(round(alpha * 64) / 64, round(gamma * 64) / 64) == shape[0].text


def test_a_phase_diagram_is_on_white_and_told_apart_without_colour():
    """A page of the site shows it as an image, where the colour of the text around it is unknown: black, on a dark page too."""
    drawn = phase_diagram()._repr_svg_()
    assert "currentColor" not in drawn
    paper, *_ = (part for part in ElementTree.fromstring(drawn) if part.tag.endswith("rect"))
    assert paper.attrib["fill"] == "#ffffff"
    fills = {part[0].text: part.attrib for part in ElementTree.fromstring(drawn) if part.tag.endswith("polygon")}
    assert fills["unstable at initialization"]["fill"].startswith("url(#")
    assert "stroke-dasharray" in fills["unfaithful"]
    assert "stroke-dasharray" not in fills["redundant"]
