"""The site. Built by `make docs`; reads offline, MathJax included."""

import ast
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pybtex.plugin
from pybtex.style.formatting.plain import Style as Plain
from pybtex.style.labels import BaseLabelStyle

import limits

project = "limits"
author = "the limits authors"
copyright = author
version = release = limits.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # MathJax served from the site itself
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["_build"]
default_role = "code"  # `name` in a docstring is code

html_theme = "furo"
html_title = "limits"
html_static_path = ["_static"]
html_css_files = ["site.css"]

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
numfig = True
math_numfig = True
nb_execution_mode = "auto"  # pages with a kernel are executed at every build
nb_render_markdown_format = "myst"  # tables and mathematics in what cells show
nb_execution_raise_on_error = True
nb_execution_timeout = 120

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_use_ivar = True

bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "keys"


class KeyLabels(BaseLabelStyle):
    """Labels are the keys themselves: [TP6]."""

    def format_labels(self, sorted_entries):
        return (entry.key for entry in sorted_entries)


class Keys(Plain):
    """Plain entries, labelled by their keys."""

    default_label_style = KeyLabels


pybtex.plugin.register_plugin("pybtex.style.formatting", "keys", Keys)

DISPLAYED = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
INLINE = re.compile(r"(?<![\\$])\$([^$]+?)\$(\w?)")


def mathematics(app, what, name, obj, options, lines):
    """Write the $…$ of docstrings as reStructuredText mathematics."""
    text = DISPLAYED.sub(lambda m: f":math:`{' '.join(m[1].split())}`", "\n".join(lines))
    text = INLINE.sub(lambda m: f":math:`{' '.join(m[1].split())}`" + (rf"\ {m[2]}" if m[2] else ""), text)
    lines[:] = text.split("\n")


HERE = Path(__file__).parent


def python(*arguments):
    """What a script prints."""
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, check=True).stdout


def chapter(script):
    """A derivation as a page; like everything they print, it is checked first."""
    (HERE / "theory" / f"{script.stem}.md").write_text(python(script, "--page"))


def picture(script):
    """A picture of the gallery, and its part of the page."""
    python(HERE / "picture.py", script, script.with_suffix(".png"))
    title, _, caption = ast.get_docstring(ast.parse(script.read_text())).partition("\n\n")
    code = f"<details><summary>the script</summary>\n\n```{{literalinclude}} {script.name}\n```\n\n</details>"
    return f"## {title.rstrip('.')}\n\n{caption}\n\n![{title}]({script.stem}.png)\n\n{code}\n"


def produce(app):
    """Write what the site shows: chapters and pictures, two at a time."""
    gallery = HERE / "gallery"
    python(HERE / "imports.py", HERE / "imports.svg")
    with ThreadPoolExecutor(2) as two:
        parts = two.map(picture, [gallery / f"{name}.py" for name in PICTURES])
        list(two.map(chapter, sorted((HERE.parent / "derivations").glob("d[0-9]*.py"))))
        (gallery / "index.md").write_text("\n".join([GALLERY, *parts]))


GALLERY = """# Gallery

Every picture is drawn when this site is built, by the script below it, which first checks what the caption says;
`python docs/picture.py docs/gallery/NAME.py out.png` draws one of them.
"""
PICTURES = (
    "phase_diagram",
    "linear_convergence",
    "feature_kernel",
    "feature_diversity",
    "learning_rate_transfer",
    "rate_and_multiplier",
    "published_against_ours",
    "best_rate_and_data",
)


def explorer(app, exception):
    """Write the explorer beside the other pages; its runs take about a minute."""
    if exception is None and app.builder.name == "html":
        limits.explorer.write(Path(app.outdir) / "explorer.html", site=SITE | proofs())


SITE = {"home": "index.html", "words": "choose.html#what-the-verdicts-mean"}


def proofs():
    """Where on this site every claim is proved."""
    chapters = sorted((HERE / "theory").glob("d[0-9]*.md"))
    labels = [
        (chapter.stem, found) for chapter in chapters for found in re.findall(r"^\((D\d+\.\d+)\)=$", chapter.read_text(), re.M)
    ]
    return {label: f"theory/{stem}.html#{label.lower().replace('.', '-')}" for stem, label in labels}


def setup(app):
    """Connect after napoleon, which runs at the default priority."""
    app.connect("autodoc-process-docstring", mathematics, priority=600)
    app.connect("build-finished", explorer)
    app.connect("builder-inited", produce)
