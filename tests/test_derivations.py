"""Every claim of derivations/ is checked again, every script printed, every altered step rejected, every citation found."""

import re
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import sympy as sp

from limits.regimes.expansion import branch, curvature

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "derivations").glob("d[0-9]*.py"))

sys.path.insert(0, str(ROOT / "derivations"))
from argument import Claim, Contradiction, Equal, Exact, Let, NonNegative, Numbers, Say, StepError, Theta  # noqa: E402
from writing import Page, plain  # noqa: E402

CLAIMS = {claim.id: claim for script in SCRIPTS for claim in import_module(script.stem).CLUSTER.claims}
ID = re.compile(r"\bD\d+\.\d+\b")


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=list(CLAIMS))
def test_claim(claim):
    assert claim.check() > 0


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script_prints_its_argument(script):
    """Text and LaTeX at once: each run checks what it prints."""
    runs = [
        subprocess.Popen([sys.executable, str(script), *option], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for option in ((), ("--latex",))
    ]
    (text, text_errors), (latex, latex_errors) = (run.communicate(timeout=300) for run in runs)
    assert [run.returncode for run in runs] == [0, 0], text_errors + latex_errors
    claims = import_module(script.stem).CLUSTER.claims
    for claim in claims:
        assert f"[{claim.id}] checked: " in text
        assert rf"\paragraph{{[{claim.id}]}}" in latex
    assert "$" not in text
    assert not re.search(r"\\[a-z]", text), "TeX commands were left in the text"
    assert max(map(len, text.splitlines())) <= 150
    assert latex.startswith(r"\documentclass")
    assert latex.rstrip().endswith(r"\end{document}")
    assert latex.isascii()
    assert latex.count("$") % 2 == 0
    assert latex.count("{") == latex.count("}")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_pages_have_anchors_links_and_balanced_mathematics(script):
    cluster = import_module(script.stem).CLUSTER
    page = Page().document(cluster.title, cluster.opening, cluster.claims, [1 for _ in cluster.claims])
    for claim in cluster.claims:
        assert f"\n({claim.id})=\n## {claim.id}\n" in page
    labels = re.findall(r"^\$\$ \((eq-[^)]+)\)$", page, re.MULTILINE)
    assert len(set(labels)) == len(labels) > 0
    assert page.count("$") % 2 == 0
    linked_to = set(re.findall(r"\(#(D\d\.\d+)\)", page))
    assert linked_to <= set(CLAIMS)


# Citations


def test_ids_are_those_of_their_file():
    for script in SCRIPTS:
        ids = [claim.id for claim in import_module(script.stem).CLUSTER.claims]
        cluster = re.match(r"d\d+", script.stem)[0].upper()
        assert ids == [f"{cluster}.{n}" for n in range(1, len(ids) + 1)]


def cited(path: Path) -> set[str]:
    return set(ID.findall(path.read_text()))


def test_every_cited_claim_exists():
    missing = {
        f"{path.relative_to(ROOT)}: {claim}"
        for folder in ("limits", "docs", "derivations")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".md") and "_build" not in path.parts
        for claim in cited(path) - set(CLAIMS)
    }
    assert not missing


def test_a_missing_claim_would_be_noticed(tmp_path):
    (tmp_path / "room.py").write_text('"""By [D1.2] and [D9.9]."""\n')
    assert cited(tmp_path / "room.py") - set(CLAIMS) == {"D9.9"}


def test_readme_is_the_index():
    rows = re.findall(
        r"^\| (D\d+\.\d+) \| .+ \| (\w+) \| (.*) \|$", (ROOT / "derivations" / "README.md").read_text(), re.MULTILINE
    )
    assert [(claim, status) for claim, status, _ in rows] == [(c.id, c.status) for c in CLAIMS.values()]
    listed = {claim: set(re.findall(r"`(\w+)`", rooms)) for claim, _, rooms in rows}
    for path in (ROOT / "limits").rglob("*.py"):
        room = path.relative_to(ROOT / "limits").with_suffix("").parts[0]
        for claim in cited(path) & set(CLAIMS):
            assert room in listed[claim], f"{path.name} cites {claim}: name `{room}` in its row of derivations/README.md"


# The engine's exponents are the derived ones


def same(affine, derived) -> bool:
    return sp.expand(sp.sympify(str(affine)) - sp.sympify(str(derived))) == 0


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_regimes_expand_as_derived(k):
    order = import_module("d6_deep_blocks").order
    expanded = branch(k)
    assert len(expanded) == 2**k
    for layers, exponent in expanded.items():
        assert same(exponent, order(k, tuple(i - 1 for i in layers))), layers
    not_centred = branch(k, centred=False)[frozenset()]
    assert same(not_centred, order(k, ()) + sp.Rational(1, 2))


def test_regimes_curve_as_derived():
    assert str(curvature(1, tied=True)[1]) == "1 - alpha - 2*gamma"  # D3.6


# Altered steps are rejected


def altered(claim: Claim, number: int, step) -> Claim:
    """The claim with one step replaced, without the steps that compare numbers."""
    steps = [step if i == number else other for i, other in enumerate(claim.steps)]
    return replace(claim, steps=tuple(s for s in steps if not isinstance(s, Numbers | Theta)))


def alterations(kind):
    return [(claim, number) for claim in CLAIMS.values() for number, step in enumerate(claim.steps) if isinstance(step, kind)]


def name(value) -> str:
    return value.id if isinstance(value, Claim) else str(value)


@pytest.mark.parametrize(("claim", "number"), alterations(Equal), ids=name)
def test_an_altered_equation_is_rejected(claim, number):
    sides = claim.steps[number].sides
    wrong = sides[-1] + (sp.ones(*sides[-1].shape) if sides[-1].is_Matrix else sp.Rational(1, 97))
    equation = replace(claim, steps=(*(s for s in claim.steps if isinstance(s, Let)), Equal(*sides[:-1], wrong)))
    with pytest.raises(StepError, match=rf"^{claim.id}, step"):
        equation.check()


# Held to account by an exact computation or by numbers, which the systematic test leaves out.
FREE = {("D6.4", "X(k, l)")}


@pytest.mark.parametrize(
    ("claim", "number"), [(c, n) for c, n in alterations(Let) if (c.id, str(c.steps[n].symbol)) not in FREE], ids=name
)
def test_an_altered_definition_is_rejected(claim, number):
    step = claim.steps[number]
    with pytest.raises(StepError, match=r"^D\d"):
        altered(claim, number, replace(step, value=step.value * sp.Rational(98, 97))).check()


def test_a_definition_held_by_numbers_is_rejected():
    claim = CLAIMS["D6.4"]
    number = next(n for n, s in enumerate(claim.steps) if isinstance(s, Let) and str(s.symbol) == "X(k, l)")
    step = claim.steps[number]
    comparison = next(s for s in claim.steps if isinstance(s, Numbers))
    kept = (*claim.steps[:number], replace(step, value=step.value * sp.Rational(98, 97)), comparison)
    with pytest.raises(StepError, match="differs from"):
        replace(claim, steps=kept).check()


@pytest.mark.parametrize(("claim", "number"), alterations(Contradiction), ids=name)
def test_an_altered_certificate_is_rejected(claim, number):
    certificate = claim.steps[number]
    for i, multiplier in enumerate(certificate.multipliers):
        for wrong in (multiplier + 1, multiplier * sp.Rational(101, 100), -multiplier, sp.Integer(0)):
            multipliers = (*certificate.multipliers[:i], wrong, *certificate.multipliers[i + 1 :])
            with pytest.raises(StepError, match=r"multiplier is negative|the combination is"):
                replace(claim, steps=(replace(certificate, multipliers=multipliers),)).check()
    for i, (label, row) in enumerate(certificate.rows):
        rows = (*certificate.rows[:i], (label, row + sp.Symbol("alpha", real=True) / 7), *certificate.rows[i + 1 :])
        with pytest.raises(StepError, match="the combination is"):
            replace(claim, steps=(replace(certificate, rows=rows),)).check()


def test_an_altered_order_is_rejected():
    for claim, number in alterations(Theta):
        step = claim.steps[number]
        wrong = replace(step, exponent=step.exponent + sp.Rational(1, 2), points=step.points[:1])
        with pytest.raises(StepError, match="so the order is not"):
            replace(claim, steps=(*claim.definitions, wrong)).check()


def test_altered_numbers_are_rejected():
    with pytest.raises(StepError, match=r"differs from .* by 1.00e-03 > 1e-04"):
        Claim("D0.1", "", "proved", (Numbers("off", lambda known: [(1.0, 1.001)], 1e-4),)).check()


def test_steps_that_verify_nothing_are_rejected():
    for step in (Numbers("", lambda known: [], 1.0), Exact("", list)):
        with pytest.raises(StepError, match="there was nothing"):
            Claim("D0.1", "", "proved", (step,)).check()


def test_a_wrong_sign_and_a_wrong_status_are_rejected():
    u = sp.Symbol("u", positive=True)
    with pytest.raises(StepError, match="not seen to be >= 0"):
        Claim("D0.1", "", "proved", (NonNegative(u - 1),)).check()
    with pytest.raises(StepError, match="status must be one of proved, heuristic, cited, got 'certain'"):
        Claim("D0.1", "", "certain", (Say("so it is"),)).check()


def test_plain_text():
    assert plain(r"a limit $aL^{-\alpha}\to\infty$ with $\alpha\le\tfrac12$") == "a limit aL^(-α) → ∞ with α ≤ 1/2"
    with pytest.raises(KeyError, match="unheardof"):
        plain(r"$\unheardof$")


def test_a_page_breaks_no_line_inside_mathematics():
    """A line that begins with a minus sign would be an entry of a list, and the mathematics around it would be torn."""
    long = "".join(rf"{'x' * pad} $\gamma \ge 1 - \alpha$, " for pad in range(60, 110))
    assert all(line.count("$") % 2 == 0 for line in Page().prose(long))
