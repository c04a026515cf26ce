"""The explorer in a browser: pointer, finger, keyboard, links; what is said and shown; nothing on the console or the network."""

from fractions import Fraction

import numpy as np
import pytest
from browser import Browser, chromium

from limits.explorer import Lattice, data
from limits.explorer.page import page
from limits.parametrization import Parametrization
from limits.regimes import classify

pytestmark = pytest.mark.skipif(chromium() is None, reason="needs chromium")

HALF = Fraction(1, 2)
SMALL = Lattice(
    alphas=(Fraction(0), HALF), gammas=(Fraction(0), HALF), blocks=(2, 4), width=8, seeds=3, steps=2, deeper=(8,), particles=72
)
DESKTOP, PHONE = (1280, 900), (360, 740)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "explorer.html"
    path.write_text(page(data(SMALL)), "utf-8")
    return path


@pytest.fixture(scope="module")
def browser():
    opened = Browser(chromium())
    yield opened
    opened.close()


@pytest.fixture
def here(browser, file):
    """The page on a desktop; whatever a test did, the console said nothing and only the file was asked for."""
    browser.media()
    browser.screen(*DESKTOP)
    browser.open(file.as_uri())
    yield browser
    assert browser.complaints() == []
    assert {address.partition("#")[0] for address in browser.requests()} == {file.as_uri()}


def text(browser, element):
    return browser.ask(f"document.getElementById({element!r}).textContent").replace("−", "-").strip()


def looked_at(browser):
    """The point and the regime that the page tells."""
    alpha, gamma = text(browser, "bar-point").strip("()").split(", ")
    return alpha, gamma, text(browser, "bar-regime")


def spot(browser, alpha, gamma):
    """Where a point of the plane is on the screen."""
    code = (
        "(() => { const s = document.querySelector('svg.plane:not(.away)'), b = s.getBoundingClientRect(), d = s.dataset;"
        f"const r = b.width / s.viewBox.baseVal.width, x = +d.left + d.unit * ({float(alpha)} + 0.125),"
        f"y = +d.top + d.unit * (1.625 - {float(gamma)}); return [b.left + r * x, b.top + r * y]; }})()"
    )
    return browser.ask(code)


def link(browser):
    return browser.ask("location.hash")


def test_it_opens_at_depth_mup(here):
    assert looked_at(here) == ("1/2", "1/2", "feature learning and diverse")
    assert here.ask("document.querySelectorAll('#steps tr').length") == 3
    assert "limits classify 1/2 1/2" in text(here, "command")
    assert here.ask("document.querySelectorAll('#losses svg, #sizes svg').length") == 2


def test_proofs_and_the_site_are_linked_where_there_is_a_site(here, file, tmp_path):
    assert here.ask("document.querySelectorAll('#steps a, .site a').length") == 0
    inside = tmp_path / "explorer.html"
    inside.write_text(page(data() | {"site": {"home": "index.html", "D1.2": "theory/d1.html#d1-2"}}), "utf-8")
    here.open(inside.as_uri())
    assert here.ask("document.querySelector('#steps a').getAttribute('href')") == "theory/d1.html#d1-2"
    assert here.ask("document.querySelector('.site a').getAttribute('href')") == "index.html"
    assert here.complaints() == []
    assert {address.partition("#")[0] for address in here.requests()} == {inside.as_uri()}
    here.open(file.as_uri())


def test_layers_of_one_block_are_remarked_upon(here, file):
    assert text(here, "remark") == ""
    here.open(f"{file.as_uri()}#a=1/2&g=1/2&k=2&o=sgd")
    assert "do not act together" in text(here, "remark")
    here.open(f"{file.as_uri()}#a=1&g=0&k=2&o=sgd")
    assert text(here, "remark").startswith("Layers of one block act together")


def test_hovering_looks_and_leaving_returns(here):
    here.mouse("mouseMoved", *spot(here, 1, "1.25"))
    assert looked_at(here) == ("1", "5/4", "trivial")
    here.mouse("mouseMoved", 5, 5)
    assert looked_at(here) == ("1/2", "1/2", "feature learning and diverse")
    assert link(here) in ("", "#a=1/2&g=1/2&k=1&o=sgd")


def test_a_click_stays_and_is_in_the_link(here):
    here.click(*spot(here, "0.25", 1))
    here.mouse("mouseMoved", 5, 5)
    assert looked_at(here) == ("1/4", "1", "unstable at initialization")
    assert link(here) == "#a=1/4&g=1&k=1&o=sgd"
    assert text(here, "announce") == "alpha 1/4, gamma 1, blocks of one layer: unstable at initialization."


@pytest.mark.parametrize(
    ("near", "exact"),
    [
        (("0.503", "0.493"), ("1/2", "1/2", "feature learning and diverse")),
        (("0.752", "0.257"), ("3/4", "1/4", "redundant")),
        (("1.30", "-0.29"), None),
        (("0.51", "1.25"), ("1/2", "5/4", "trivial")),
    ],
)
def test_near_a_line_or_a_corner_a_point_is_exactly_on_it(here, near, exact):
    here.mouse("mouseMoved", *spot(here, *near))
    alpha, gamma, regime = looked_at(here)
    if exact:
        assert (alpha, gamma, regime) == exact
    else:
        assert Fraction(alpha) + Fraction(gamma) == 1
        assert regime == "unfaithful"


def test_arrows_move_by_eighths_and_with_shift_by_64ths(here):
    here.ask("document.getElementById('plane').focus()")
    here.press("ArrowRight")
    here.press("ArrowDown")
    assert looked_at(here) == ("5/8", "3/8", "redundant")
    here.press("ArrowUp", shift=True)
    assert looked_at(here) == ("5/8", "25/64", "trivial")
    here.press("ArrowLeft", shift=True)
    assert looked_at(here) == ("39/64", "25/64", "redundant")
    assert text(here, "announce") == "alpha 39/64, gamma 25/64, blocks of one layer: redundant."
    here.press("Home")
    assert looked_at(here) == ("1/2", "1/2", "feature learning and diverse")
    assert here.ask("document.activeElement.id") == "plane"


def typed(browser, element, said):
    browser.ask(f"(document.getElementById({element!r}).focus(), document.getElementById({element!r}).select())")
    browser.type(said)


def test_exponents_can_be_typed(here):
    typed(here, "alpha", "3/2")
    typed(here, "gamma", "-0.5")
    assert looked_at(here) == ("3/2", "-1/2", "unfaithful")
    typed(here, "gamma", "7/3")
    assert looked_at(here) == ("3/2", "7/3", "trivial")
    assert "outside of the picture" in text(here, "meaning")


def test_what_is_no_fraction_is_said_in_a_sentence(here):
    typed(here, "alpha", "a half")
    assert text(here, "typed") == "α must be a fraction such as 1/2 or -0.25, of at most twelve digits."
    assert here.ask("document.getElementById('alpha').getAttribute('aria-invalid')") == "true"
    assert looked_at(here)[0] == "1/2"
    typed(here, "alpha", "3/4")
    assert text(here, "typed") == ""
    assert looked_at(here) == ("3/4", "1/2", "trivial")


def test_blocks_and_optimizers_are_switched_by_keyboard(here):
    here.ask("document.querySelector('input[name=k]:checked').focus()")
    here.press("ArrowRight")
    assert link(here) == "#a=1/2&g=1/2&k=2&o=sgd"
    assert here.ask("document.querySelectorAll('#steps tr').length") == 4
    assert "--block-depth 2" in text(here, "command")
    here.ask("document.querySelector('input[name=o]:checked').focus()")
    here.press("ArrowRight")
    assert link(here) == "#a=1/2&g=1/2&k=2&o=adam"
    assert "lr         = eta * L**(-1/2) / n" in here.ask("document.getElementById('script').textContent")
    assert "eps" in here.ask("document.getElementById('script').textContent")


def test_deep_links_are_followed(here, file):
    here.open(file.as_uri() + "#a=3/2&g=-1/4&k=2&o=adam")
    assert looked_at(here) == ("3/2", "-1/4", "unfaithful")
    assert here.ask("document.querySelector('input[name=o]:checked').value") == "adam"
    here.ask("(location.hash = '#a=1/2&g=0&k=1&o=sgd')")
    assert looked_at(here) == ("1/2", "0", "unstable during training")
    here.ask("(location.hash = '#a=nonsense&k=9')")
    assert looked_at(here) == ("1/2", "0", "unstable during training")


def test_lines_and_named_points_are_a_button_away(here):
    here.ask("[...document.querySelectorAll('#named button')].find(b => b.textContent.includes('CompleteP')).click()")
    assert looked_at(here) == ("1", "0", "redundant")
    here.ask("(document.getElementById('plane').focus(), 1)")
    here.press("ArrowUp")
    here.ask("[...document.querySelectorAll('#lines button')].find(b => b.textContent === '1 − α − γ = 0').click()")
    assert looked_at(here) == ("1", "0", "redundant")
    assert here.ask("[...document.querySelectorAll('#lines [aria-pressed=true]')].map(b => b.textContent)") == [
        "1 − α − γ = 0",
        "γ = 0",
    ]


def test_runs_near_a_point_can_be_chosen(here, file):
    here.open(file.as_uri() + "#a=3/8&g=3/8&k=1&o=sgd")
    chips = "[...document.querySelectorAll('#near button')].map(b => b.textContent.trim().replace(/−/g, '-'))"
    assert here.ask(chips)[0] == "(0, 1/2)" or here.ask(chips)[0] == "(0, 0)"
    assert set(here.ask(chips)) == {"(0, 0)", "(0, 1/2)", "(1/2, 0)", "(1/2, 1/2)"}
    assert text(here, "near-note") == ""
    here.ask("[...document.querySelectorAll('#near button')].find(b => b.textContent.includes('(1/2, 1/2)')).click()")
    assert text(here, "near-note") == "These networks are in another regime: feature learning and diverse."
    assert "(1/2, 1/2)" in here.ask("document.querySelector('#losses svg').getAttribute('aria-label')")


def test_divergence_is_said(file, here):
    here.open(file.as_uri() + "#a=0&g=0&k=1&o=sgd")
    run = data_of(here)["1 sgd"]["0 0"]
    shown = text(here, "diverged")
    for (count, first), blocks in zip(run["diverged"], SMALL.blocks, strict=True):
        assert (f"L = {blocks}: {count} of {SMALL.seeds} networks" in shown) == (count > 0), (count, first)


def data_of(browser):
    return browser.ask("JSON.parse(document.getElementById('data').textContent).runs")


def test_what_is_shown_is_what_classify_says(here, file):
    """Regime, steps and references at random points of both planes, seed 5."""
    rng = np.random.default_rng(5)
    for k in (1, 2):
        for alpha, gamma in rng.integers(-16, 32, size=(12, 2)):
            point = Fraction(int(alpha), 16), Fraction(int(gamma), 16)
            here.ask(f"(location.hash = '#a={point[0]}&g={point[1]}&k={k}&o=sgd')")
            exact = classify(Parametrization(*point), block_depth=k)
            assert looked_at(here) == (str(point[0]), str(point[1]), exact.name)
            shown = here.ask("[...document.querySelectorAll('#steps tr')].map(r => [...r.children].map(c => c.textContent))")
            values = [row[0].replace("−", "-").split(" = ")[1] for row in shown]
            assert values == [s.claim.split(" = ")[1] for s in exact.steps]
            assert [row[2] for row in shown] == [f"[{s.reference}]" for s in exact.steps]


def test_a_tap_on_a_phone(here, file):
    here.screen(*PHONE, touch=True)
    here.open(file.as_uri())
    assert here.ask("document.documentElement.scrollWidth") == PHONE[0]
    here.tap(*spot(here, "1", "1.25"))
    assert looked_at(here) == ("1", "5/4", "trivial")
    assert here.ask("getComputedStyle(document.querySelector('.bar')).display") == "flex"
    here.tap(*spot(here, "0.77", "0.26"))  # a finger is less exact, and snaps from further away
    assert looked_at(here) == ("3/4", "1/4", "redundant")


@pytest.mark.parametrize("width", [320, 360, 768, 1024, 1600])
def test_nothing_is_wider_than_the_screen(here, file, width):
    here.screen(width, 800, touch=width < 800)
    for hash_ in ("", "#a=0&g=0&k=2&o=adam", "#a=123456789/97&g=-12345/89&k=2&o=sgd"):
        here.open(file.as_uri() + hash_)
        assert here.ask("document.documentElement.scrollWidth") <= width


def test_targets_are_large_enough_for_a_finger(here, file):
    here.screen(*PHONE, touch=True)
    here.open(file.as_uri())
    sizes = "[...document.querySelectorAll('button, fieldset span, .exponents input')].map(e => e.getBoundingClientRect().height)"
    assert min(here.ask(sizes)) >= 36


def test_the_tab_order_follows_the_page(here):
    stops = []
    for _ in range(40):
        here.press("Tab")
        name = "e.className === 'skip' ? 'skip' : e.id || e.name || e.closest('[id]').id"
        stop = here.ask(f"(e => e === document.body ? '' : {name})(document.activeElement)")
        if not stop:
            break
        stops.append(stop)
    first = list(dict.fromkeys(stops))
    assert first[:6] == ["skip", "k", "o", "alpha", "gamma", "plane"]
    assert {"lines", "named", "near"} <= set(first)


def test_focus_is_visible(here):
    here.press("Tab")
    assert here.ask("document.querySelector('.skip').getBoundingClientRect().left") == 0
    here.ask("document.getElementById('gamma').focus()")
    here.press("Tab")
    style = here.ask("(s => [s.outlineStyle, parseFloat(s.outlineWidth)])(getComputedStyle(document.activeElement))")
    assert here.ask("document.activeElement.id") == "plane"
    assert style[0] == "solid"
    assert style[1] >= 2


def test_everything_that_takes_focus_has_a_name(here):
    nodes = here.send("Accessibility.getFullAXTree")["nodes"]
    focusable = [
        n for n in nodes if not n["ignored"] and any(p["name"] == "focusable" and p["value"]["value"] for p in n["properties"])
    ]
    unnamed = [n["role"]["value"] for n in focusable if not n.get("name", {}).get("value")]
    assert len(focusable) > 15
    assert [role for role in unnamed if role != "RootWebArea"] == []
    pictures = [n for n in nodes if not n["ignored"] and n["role"]["value"] in ("image", "img")]
    assert pictures
    assert all(n["name"]["value"] for n in pictures)


def luminance(color):
    parts = np.array([float(v) for v in color[color.index("(") + 1 : -1].split(",")[:3]]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(here, file, scheme):
    """Contrast of at least 4.5 to 1 of all kinds of text with the page behind it (WCAG 2.1, AA)."""
    here.media(prefers_color_scheme=scheme)
    here.open(file.as_uri() + "#a=1/2&g=0&k=1&o=sgd")
    paper = luminance(here.ask("getComputedStyle(document.body).backgroundColor"))
    assert (paper > 0.5) == (scheme == "light")
    for kind in ("body", ".lead", ".note", ".place", ".reference", ".properties .no", "button", "footer", ".tick"):
        style = f"getComputedStyle(document.querySelector({kind!r}))"
        ink = luminance(here.ask(f"{style}.{'fill' if kind == '.tick' else 'color'}"))
        light, dark = max(ink, paper), min(ink, paper)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, kind


def test_motion_is_left_out_where_it_is_not_wanted(here, file):
    here.media(prefers_reduced_motion="reduce")
    here.open(file.as_uri())
    assert here.ask("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    assert here.ask("getComputedStyle(document.querySelector('.ring')).transitionDuration") == "0s"


def test_print_leaves_out_what_paper_cannot_do(here, file):
    here.media("print")
    here.open(file.as_uri())
    gone = "[...document.querySelectorAll('.controls, .places, .help, .skip')].map(e => getComputedStyle(e).display)"
    assert set(here.ask(gone)) == {"none"}
    assert here.ask("getComputedStyle(document.querySelector('.verdict')).display") == "block"


def test_complaints_and_requests_would_be_seen(browser, file):
    """What every other test relies on to be empty."""
    browser.open(file.as_uri())
    browser.ask("console.error('oh')")
    browser.ask("setTimeout(() => { throw new Error('no') })")
    browser.ask("document.head.append(Object.assign(document.createElement('link'), {rel: 'stylesheet', href: 'other.css'}))")
    kinds = {complaint["method"] for complaint in browser.complaints()}
    assert {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"} <= kinds  # the last of the policy


def test_without_javascript_the_regimes_are_there(browser, file):
    browser.media()
    browser.screen(*DESKTOP)
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(file.as_uri())
        root = browser.send("DOM.getDocument", depth=0)["root"]["nodeId"]
        shown = {}
        for kind in (".all table", "#plane-1", "#plane-2", ".controls", ".verdict"):
            node = browser.send("DOM.querySelector", nodeId=root, selector=kind)["nodeId"]
            try:
                shown[kind] = browser.send("DOM.getBoxModel", nodeId=node)["model"]["width"] > 0
            except RuntimeError:  # no layout: it is not shown
                shown[kind] = False
        assert shown == {".all table": True, "#plane-1": True, "#plane-2": True, ".controls": False, ".verdict": False}
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)
