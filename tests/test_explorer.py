"""The explorer: its data say what `classify` says of any point, its networks are those of `simulate`, its page loads nothing."""

import json
import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from typer.testing import CliRunner

import limits
from limits.cli import app
from limits.explorer import Lattice, data, write
from limits.explorer.infinite import first_step, train_deep, train_wide
from limits.explorer.lattice import DEPTHS, OPTIMIZERS
from limits.explorer.networks import train_networks
from limits.explorer.page import SCRIPTS, page
from limits.explorer.picture import kind, picture, place
from limits.explorer.plane import form, plane
from limits.explorer.words import APART, MEANINGS, TOGETHER, WINDOW
from limits.exponents import Affine
from limits.finite import simulate
from limits.finite.changes import measure_changes
from limits.parametrization import Parametrization, raw_exponents
from limits.plots.regimes import SHADES
from limits.record import Record
from limits.regimes import classify, phase_diagram
from limits.wide import recurse

HERE = Path(limits.__file__).parent / "explorer"
HALF, QUARTER = Fraction(1, 2), Fraction(1, 4)
SMALL = Lattice(
    alphas=(Fraction(0), HALF), gammas=(Fraction(0), HALF), blocks=(2, 4), width=8, seeds=3, steps=2, deeper=(8,), particles=72
)
PLANES = {k: plane(k) for k in (*DEPTHS, 3)}


# The data as the page reads them.


def at(coefficients, point):
    c0, c1, c2 = map(Fraction, coefficients)
    return c0 + c1 * point[0] + c2 * point[1]


def holds(inequality, point):
    value = at(inequality["form"], point)
    return {"<": value < 0, "=": value == 0, "<=": value <= 0}[inequality["relation"]]


def inside(pieces, point):
    return any(all(holds(i, point) for i in piece) for piece in pieces)


def step(known, point):
    value = at(known["form"], point)
    sign = (value > 0) - (value < 0)
    because = known["because"][sign + 1].replace("VALUE", str(value)).replace("NEGATIVE", str(-value))
    claim = f"{known['said']} = {value}" + (f" {'<=>'[sign + 1]} 0" if sign else "")
    return {"claim": claim, "because": because, "reference": known["reference"]}


def read(known, point):
    """What the page says of a point."""
    regions = [r["name"] for r in known["regions"] if inside(r["pieces"], point)]
    kappa = [d["value"] for d in known["diversity"] if inside(d["pieces"], point)]
    return {
        "name": regions[0] if len(regions) == 1 else regions,
        "steps": [step(s, point) for s in known["steps"]],
        "diversity": kappa[0] if kappa else None,
        **{p["name"].replace(" ", "_"): inside(p["pieces"], point) for p in known["properties"]},
    }


def classified(block_depth, point):
    """What `classify` says of it, under the same names."""
    found = classify(Parametrization(*point), block_depth=block_depth).to_json()
    return {name: value for name, value in found.items() if name not in ("alpha", "gamma", "initial", "block_depth", "centred")}


def on_lines(block_depth):
    """Points on the lines of a plane, beside its corners."""
    free = st.fractions(-3, 3, max_denominator=64)
    lines = st.sampled_from([s["form"] for s in PLANES[block_depth]["steps"]])
    return st.tuples(lines, free).map(lambda given: on_line(*given)) | st.sampled_from(corners(block_depth))


def on_line(coefficients, free):
    c0, c1, c2 = map(Fraction, coefficients)
    return (free, -(c0 + c1 * free) / c2) if c2 else (-c0 / c1, free)


def corners(block_depth):
    return [(Fraction(a), Fraction(g)) for a, g in PLANES[block_depth]["corners"]]


@pytest.mark.parametrize("block_depth", PLANES)
def test_every_point_of_the_lattice_is_what_classify_says(block_depth):
    for point in Lattice():
        assert read(PLANES[block_depth], point) == classified(block_depth, point), point


@pytest.mark.parametrize("block_depth", PLANES)
@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_point_of_the_plane_is_what_classify_says(block_depth, drawn):
    anywhere = st.tuples(*[st.fractions(-5, 5, max_denominator=97)] * 2)
    point = drawn.draw(anywhere | on_lines(block_depth))
    assert read(PLANES[block_depth], point) == classified(block_depth, point)


def test_a_wrong_relation_would_be_found():
    """The comparison above can fail: with one strict inequality made weak, Depth-µP is in two regimes."""
    wrong = json.loads(json.dumps(plane(1)))
    (unstable,) = (r for r in wrong["regions"] if r["name"] == "unstable during training")
    unstable["pieces"][0][1]["relation"] = "<="
    assert read(wrong, (HALF, HALF)) != classified(1, (HALF, HALF))


@pytest.mark.parametrize("block_depth", DEPTHS)
@given(st.tuples(*[st.fractions(-5, 5, max_denominator=97)] * 2))
@settings(max_examples=50, deadline=None)
def test_raw_exponents_are_those_of_the_package(block_depth, point):
    for optimizer, forms in PLANES[block_depth]["raw"].items():
        exact = raw_exponents(Parametrization(*point), optimizer, block_depth)
        assert at(forms["multiplier"], point) == exact.multiplier
        assert {at(forms["lr"], point)} == set(exact.lr)
        assert {at(forms["gradient"], point)} == set(exact.gradient)
        assert ("epsilon" in forms) == (exact.epsilon is not None)
        assert exact.epsilon is None or {at(forms["epsilon"], point)} == set(exact.epsilon)


@pytest.mark.parametrize("block_depth", PLANES)
def test_two_lines_meet_in_every_corner(block_depth):
    for corner in corners(block_depth):
        assert sum(at(s["form"], corner) == 0 for s in PLANES[block_depth]["steps"]) >= 2
    assert (HALF, HALF) in corners(block_depth)


def remarks(block_depth, *point):
    return [r["text"] for r in PLANES[block_depth]["remarks"] if inside(r["pieces"], tuple(map(Fraction, point)))]


def test_layers_of_one_block_are_told_to_act_together_or_not_where_features_are_learned():
    assert remarks(2, "1/2", "1/2") == remarks(2, "3/4", "1/4") == [APART]
    assert remarks(2, 1, 0) == remarks(3, 1, 0) == [TOGETHER]
    assert not remarks(1, "1/2", "1/2")
    assert not remarks(2, 0, 0)
    assert not remarks(2, 1, 1)


def test_a_form_of_other_symbols_is_refused():
    with pytest.raises(ValueError, match="depends on alpha and gamma alone, got beta with beta"):
        form(Affine.symbol("beta"))


def test_regimes_are_those_of_the_phase_diagram_and_have_a_meaning():
    names = [r.name for r in phase_diagram().regions]
    assert list(MEANINGS) == names
    assert set(SHADES) == set(names)


def node():
    return shutil.which("node")


@pytest.mark.skipif(node() is None, reason="needs node")
def test_the_script_says_the_same_as_python():
    """The verdicts of exact.js itself, at random points and on lines, seed 3."""
    rng = np.random.default_rng(3)
    draw = [tuple(Fraction(int(n), int(d)) for n, d in zip(rng.integers(-9, 9, 2), rng.integers(1, 9, 2), strict=True))]
    draw += [tuple(Fraction(int(n), 8) for n in rng.integers(-16, 24, 2)) for _ in range(60)]
    points = {k: [*draw, *corners(k), *(on_line(s["form"], draw[0][0]) for s in PLANES[k]["steps"])] for k in DEPTHS}
    asked = {str(k): [[str(a), str(g)] for a, g in each] for k, each in points.items()}
    code = (
        f"const Exact = require({json.dumps(str(HERE / 'exact.js'))}); const planes = {json.dumps(PLANES)};"
        f"const asked = {json.dumps(asked)}; const point = ([a, g]) => ({{ alpha: Exact.parse(a), gamma: Exact.parse(g) }});"
        "const all = Object.entries(asked).map(([k, ps]) => [k, ps.map(p => Exact.verdict(planes[k], point(p)))]);"
        "console.log(JSON.stringify(Object.fromEntries(all)));"
    )
    run = subprocess.run([node(), "-e", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    for k, verdicts in json.loads(run.stdout).items():
        for point, found in zip(points[int(k)], verdicts, strict=True):
            said = {"name": found["regime"], "diversity": found["diversity"]}
            said["steps"] = [{name: s[name] for name in ("claim", "because", "reference")} for s in found["steps"]]
            said |= {p["name"].replace(" ", "_"): p["holds"] for p in found["properties"]}
            assert said == classified(int(k), point), point
            assert found["raw"]["adam"]["lr"] == str(raw_exponents(Parametrization(*point), "adam", int(k)).lr[0])


@pytest.mark.skipif(node() is None, reason="needs node")
def test_the_script_reads_fractions_as_python_does():
    said = {"1/2": "1/2", "-0.25": "-1/4", "−3/8": "-3/8", " 2 / 4 ": "1/2", ".5": "1/2", "+1": "1", "-.5": "-1/2", "007": "7"}
    wrong = ["", "1/0", "a", "1/2/3", "1e3", "-", ".", "1.5/2", "1/", "/2", "1234567890123", "½"]
    code = f"const E = require({json.dumps(str(HERE / 'exact.js'))}); const all = {json.dumps([*said, *wrong])};"
    code += "console.log(JSON.stringify(all.map(t => { const f = E.parse(t); return f && E.text(f); })))"
    run = subprocess.run([node(), "-e", code], capture_output=True, text=True, timeout=60)
    assert json.loads(run.stdout) == [*said.values(), *[None] * len(wrong)], run.stderr


# The picture.


def area(points):
    x, y = np.array(points, float).T
    return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


@pytest.mark.parametrize("block_depth", DEPTHS)
def test_areas_fill_the_window(block_depth):
    drawn = re.findall(r'<polygon class="area [^"]*" points="([^"]*)"', picture(block_depth))
    total = sum(area([tuple(map(float, corner.split(","))) for corner in polygon.split()]) for polygon in drawn)
    (west, east), (south, north) = WINDOW
    (left, top), (right, bottom) = place((west, north)), place((east, south))
    assert_allclose(total, (right - left) * (bottom - top), rtol=1e-6)


def test_every_regime_is_told_without_colour():
    """Areas by hatching and names, lines by dashes and names, the point by a star."""
    drawn, style = picture(1), (HERE / "style.css").read_text("utf-8")
    assert all(f">{word}<" in drawn for word in ("initialization", "during training", "trivial", "unfaithful", "redundant"))
    assert drawn.count('class="hatch"') == 2
    assert drawn.count('class="star"') == 1
    assert "stroke-dasharray" in style.split(".line.unfaithful")[1].split("}")[0]
    assert "stroke-dasharray" not in style.split(".line.redundant")[1].split("}")[0]
    assert all(f"--{kind(name)}" in style for name in SHADES)


# The runs.


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("block_depth", DEPTHS)
def test_networks_are_those_of_simulate(block_depth, optimizer):
    """Seed by seed the same losses as `simulate`, and after one step the sizes of `measure_changes`, to single precision."""
    gammas, sizes = (QUARTER, HALF), {"width": 12, "seeds": 3}
    problem = SMALL.problem(block_depth, optimizer, (HALF, 0))
    found = train_networks(problem, gammas=gammas, blocks=(4, 8), **sizes)
    for i, gamma in enumerate(gammas):
        for j, blocks in enumerate((4, 8)):
            same = SMALL.problem(block_depth, optimizer, (HALF, gamma))
            answer = simulate(same, blocks=blocks, record=Record(kinds=()), dtype="float64", **sizes)
            losses = same.loss_function.value(answer.samples, same.targets).mean(2)
            assert_allclose(found["losses"][j, i], losses, rtol=2e-3)
            changes = measure_changes(SMALL.problem(block_depth, optimizer, (HALF, gamma), 1), blocks=blocks, **sizes)
            for name in ("initial", "features"):
                assert_allclose(found[name][j, i], changes[name], rtol=1e-3)
            assert_allclose(found["updates"][j, i], changes["updates"][:, 0], rtol=1e-3)


def test_gammas_take_the_place_of_zero():
    with pytest.raises(ValueError, match="gammas take the place of gamma = 0"):
        train_networks(SMALL.problem(1, "sgd", (HALF, HALF)), gammas=(HALF,), width=4, blocks=(2,), seeds=1)


def test_infinite_width_is_that_of_recurse():
    problem = SMALL.problem(1, "sgd", (HALF, HALF))
    found = train_wide(problem, blocks=(4, 8), particles=1)
    assert_allclose(found["losses"], [recurse(problem, blocks=L).losses for L in (4, 8)], rtol=1e-12)
    assert not found["error"].any()


def test_what_leaves_the_range_of_numbers_is_infinite_from_there_on():
    problem = Lattice().problem(1, "sgd", (0, Fraction(-1, 2)))
    losses = train_wide(problem, blocks=(64,), particles=1)["losses"][0]
    gone = np.isinf(losses)
    assert gone.any()
    assert not gone[0]
    assert np.all(np.diff(gone.astype(int)) >= 0)
    assert np.all(np.diff(losses[~gone]) > 0)


def test_initial_growth_is_its_closed_form():
    """The root of (1 + L^(-2 alpha))^L - 1 [D2.1]."""
    for alpha in (HALF, Fraction(3, 4), Fraction(1)):
        found = first_step(Lattice().problem(1, "sgd", (alpha, HALF), 1), blocks=(4, 256))["initial"]
        exact = [np.sqrt(np.expm1(L * np.log1p(L ** -float(2 * alpha)))) for L in (4, 256)]
        assert_allclose(found, exact, rtol=1e-9)


def test_wide_networks_move_their_features_as_infinitely_wide_ones():
    """Mean squares over 48 networks of width 192, whose bias is O(1/n), within four standard errors: one false alarm in 16000."""
    problem = Lattice().problem(1, "sgd", (HALF, HALF), 1)
    squares = measure_changes(problem, width=192, blocks=8, seeds=48)["features"] ** 2
    exact = first_step(problem, blocks=(8,))["features"][0] ** 2
    assert abs(squares.mean() - exact) < 4 * squares.std(ddof=1) / 48**0.5


def test_a_limit_that_does_not_exist_is_empty():
    assert not len(train_deep(SMALL.problem(1, "sgd", (HALF, 0)))["losses"])
    assert len(train_deep(SMALL.problem(2, "sgd", (1, 0)))["losses"]) == SMALL.steps + 1


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Data of a small lattice, kept in a folder."""
    folder = tmp_path_factory.mktemp("runs")
    seen = []
    found = data(SMALL, folder=folder, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 0
    assert data(SMALL, folder=folder) == found  # from the folder
    return found


def test_data_are_json(known):
    assert json.loads(json.dumps(known, allow_nan=False)) == known


def test_every_setting_has_every_point(known):
    assert set(known["runs"]) == {"1 sgd", "1 adam", "2 sgd", "2 adam"}
    for setting, runs in known["runs"].items():
        assert set(runs) == {"0 0", "0 1/2", "1/2 0", "1/2 1/2"}
        for point, run in runs.items():
            alpha, gamma = map(Fraction, point.split())
            assert run["regime"] == classify(Parametrization(alpha, gamma), block_depth=int(setting[0])).name
            assert len(run["losses"]) == len(SMALL.blocks)
            assert len(run["losses"][0]["mid"]) == SMALL.steps + 1


def test_exact_exponents_are_those_of_the_theory(known):
    exact = known["runs"]["1 sgd"]["1/2 1/2"]["exact"]
    assert [exact[name][0] for name in ("initial", "features", "updates")] == ["0", "0", "-1/2"]
    exact = known["runs"]["1 adam"]["1/2 0"]["exact"]
    assert [exact[name][0] for name in ("initial", "features", "updates")] == ["0", "1/2", "0"]
    assert known["runs"]["1 sgd"]["0 0"]["exact"]["initial"][0] is None


def test_limits_are_told_where_they_are(known):
    has = {point for point, run in known["runs"]["1 sgd"].items() if "deep" in run}
    assert has == {"1/2 1/2"}
    assert "wide" in known["runs"]["1 sgd"]["0 0"]
    assert "wide" in known["runs"]["2 adam"]["1/2 1/2"]
    assert "wide" not in known["runs"]["2 adam"]["0 0"]


def test_medians_are_between_the_least_and_the_largest(known):
    for run in (run for runs in known["runs"].values() for run in runs.values()):
        for row in [*run["losses"], *run["sizes"].values()]:
            for low, mid, high in zip(row["low"], row["mid"], row["high"], strict=True):
                assert (low or 0) <= (np.inf if mid is None else mid) <= (np.inf if high is None else high)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"blocks": (4,)}, "networks of two numbers of blocks"),
        ({"alphas": ()}, "a lattice needs points"),
        ({"width": 0}, "width must"),
    ],
)
def test_a_lattice_that_is_none_is_refused(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        Lattice(**wrong)


# The page.


@pytest.fixture(scope="module")
def text(known):
    return page(known)


def test_the_page_loads_nothing(text):
    """No address in anything that loads: attributes, style sheets, scripts; the only one is the name of SVG."""
    assert not re.findall(
        r"""(?:src|href|srcset|action|poster|data)\s*=\s*["']?(?!#|data:,)[^\s"'>]+""", text.split("<script type")[0]
    )
    assert not re.findall(r"@import|url\((?!['\"]?#)", text)
    assert not re.findall(r"\b(?:fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon|importScripts|import)\s*\(", text)
    assert set(re.findall(r"https?://[^\"'\s<]*", text)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in text


def test_the_page_holds_its_data_and_nothing_is_left_open(text, known):
    (held,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert json.loads(held) == known
    assert "@@" not in text
    assert "<" not in held


def test_the_page_is_small(text):
    assert len(text.encode()) < 300_000
    assert sum((HERE / name).stat().st_size for name in SCRIPTS) < 60_000


def test_without_javascript_there_are_regimes_and_inequalities(text):
    assert "<noscript>" in text
    assert text.count('<svg class="plane"') == len(DEPTHS)
    assert "<span>1/2 − α ≤ 0</span> and <span>1 − α − γ &gt; 0</span>" in text


def test_a_page_can_do_without_runs(tmp_path):
    found = write(tmp_path / "plane.html", runs=False)
    assert '"runs"' not in found.read_text("utf-8").split('id="data">')[1].split("</script>")[0]
    assert write(tmp_path / "new" / "plane.html", runs=False).exists()
    with pytest.raises(IsADirectoryError, match="the page must be a file, got a folder"):
        write(tmp_path, runs=False)


def test_a_page_of_a_site_links_to_it(tmp_path):
    site = {"home": "index.html", "words": "choose.html#words", "D1.2": "theory/d1.html#d1-2"}
    found = write(tmp_path / "plane.html", runs=False, site=site).read_text("utf-8")
    assert '<a href="index.html">' in found
    assert '<a href="choose.html#words">' in found
    assert json.loads(re.findall(r'id="data">(.*?)</script>', found, re.DOTALL)[0])["site"] == site
    assert (
        "<a href" not in write(tmp_path / "alone.html", runs=False).read_text("utf-8").split("<script")[1].split("<noscript>")[0]
    )
    for address in ("https://example.org", "//example.org/a", "/index.html", "javascript:alert(1)"):
        with pytest.raises(ValueError, match=r"site\['home'\] must be relative to the page"):
            write(tmp_path / "plane.html", runs=False, site={"home": address})


def test_the_command_writes_the_page(tmp_path):
    out = tmp_path / "plane.html"
    result = CliRunner().invoke(app, ["explorer", "--no-runs", "--out", str(out)])
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"limits: wrote {out}\n"
    assert out.read_text("utf-8").startswith("<!doctype html>")
    result = CliRunner().invoke(app, ["explorer", "--no-runs", "--out", str(tmp_path / "plane.pdf")])
    assert result.exit_code == 2
    assert "--out must end in .html" in result.stderr
