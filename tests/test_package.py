"""The package as a whole: what importing it costs, what it exports, and what its docstrings promise."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import limits

ROOT = Path(limits.__file__).parent
HEAVY = ("scipy", "sympy", "torch", "matplotlib", "sklearn", "xarray", "dask", "distributed", "typer", "rich")
ROOMS = ("compare", "data", "diversity", "explorer", "finite_size", "lazy", "plots", "pytorch", "scaling", "sweeps")
"""Modules that are used by their own names, as `limits.data.digits`."""
EXAMPLES = (*ROOMS, "compare", "cost")
"""Modules whose every public function and class is for users."""


def modules():
    names = [m.name for m in pkgutil.walk_packages(limits.__path__, "limits.") if not m.name.endswith("__main__")]
    return [importlib.import_module(name) for name in names]


def defined_in(module):
    """Public functions and classes whose home is this module or, for a package, one of its files."""
    for name, value in vars(module).items():
        is_callable = inspect.isclass(value) or inspect.isfunction(value)
        if is_callable and not name.startswith("_") and value.__module__.startswith(module.__name__):
            yield name, value


def example_in(value):
    """Whether a docstring of an object, or of one of its methods, holds a doctest."""
    parts = [value, *(m for name, m in vars(value).items() if not name.startswith("_"))] if inspect.isclass(value) else [value]
    return any(">>>" in (getattr(part, "__doc__", None) or "") for part in parts)


def for_users():
    """Exported objects and those of the rooms for users, by name; constants need no example."""
    found = {
        f"{room}.{name}": value for room in EXAMPLES for name, value in defined_in(getattr(limits, room, None) or room_of(room))
    }
    homes = {id(value) for value in found.values()}
    exported = {name: getattr(limits, name) for name in limits.__all__}
    return found | {name: value for name, value in exported.items() if callable(value) and id(value) not in homes}


def room_of(name):
    return importlib.import_module(f"limits.{name}")


def fresh(code):
    """Names of the modules loaded in a fresh interpreter after running code."""
    script = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.splitlines()[-1].split())


# What importing costs.


def test_import_loads_nothing_heavy():
    loaded = fresh("import limits")
    assert "limits" in loaded
    assert not loaded & set(HEAVY)


def test_import_loads_no_room_before_it_is_used():
    assert not [name for name in fresh("import limits") if name.startswith("limits.")]
    assert "limits.wide" not in fresh("import limits; limits.ResNet")


def test_the_rungs_load_nothing_for_pictures_or_proofs():
    """Posing a problem and answering it on every rung takes numpy, array-api-compat, jaxtyping, and scipy for `solve`."""
    code = (
        "import limits; one = limits.Problem(limits.ResNet(), limits.DEPTH_MUP, limits.SGD(1.0, 1), [[1.0]], [[1.0]]);"
        "limits.recurse(one, blocks=2); limits.solve(one); limits.simulate(one, width=4, blocks=2);"
        "limits.ladder(one, widths=(4, 8), blocks=(2, 4), finite_blocks=2, seeds=2).table();"
        "limits.estimate(one, 'recurse', blocks=4); limits.classify(limits.DEPTH_MUP)"
    )
    assert fresh(code) & set(HEAVY) <= {"scipy"}


# What is exported.


def test_all_names_resolve():
    for name in limits.__all__:
        assert getattr(limits, name) is not None
    for room in ROOMS:
        assert inspect.ismodule(getattr(limits, room))


def test_all_is_sorted_and_complete():
    """Constants, classes, functions, each in alphabetical order; every name with a home, once."""

    def key(name):
        kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
        return kind, name

    assert limits.__all__ == sorted(limits.__all__, key=key)
    assert sorted(limits.__all__) == sorted({*limits._HOMES, "__version__"})
    assert len(limits.__all__) == len(set(limits.__all__))
    assert dir(limits) == sorted([*limits.__all__, *ROOMS])


def test_type_checkers_see_the_same_names():
    """What `__init__` imports for type checkers is what it loads when asked."""
    tree = ast.parse((ROOT / "__init__.py").read_text())
    (branch,) = [node for node in tree.body if isinstance(node, ast.If)]
    homes = {alias.asname: node.module for node in ast.walk(branch) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert homes == {name: f"limits.{home}" for name, home in limits._HOMES.items()} | dict.fromkeys(ROOMS, "limits")


def test_a_name_that_is_not_there_gets_a_sentence():
    with pytest.raises(AttributeError, match="module 'limits' has no attribute 'sove'"):
        limits.sove  # noqa: B018


def test_version_is_that_of_the_distribution():
    assert limits.__version__ == version("depth-limits")
    assert re.fullmatch(r"\d+\.\d+\.\d+", limits.__version__)


def test_the_reference_names_everything_that_is_exported():
    """docs/api.md links every name to the place where it is described, which holds that object."""
    page = (Path(__file__).parents[1] / "docs" / "api.md").read_text()
    linked = dict(re.findall(r"`limits\.(\w+) <(limits\.[\w.]+)>`", page))
    assert sorted([*linked, "__version__"]) == sorted(limits.__all__)
    for name, place in linked.items():
        module, _, last = place.rpartition(".")
        assert last == name
        assert getattr(importlib.import_module(module), name) is getattr(limits, name)


# What docstrings promise.


def test_everything_public_has_a_docstring():
    missing = [f"{m.__name__}.{name}" for m in modules() for name, value in defined_in(m) if not (value.__doc__ or "").strip()]
    missing += [m.__name__ for m in modules() if not (m.__doc__ or "").strip()]
    assert not missing


def test_everything_for_users_has_an_example():
    """Exceptions and warnings too: how they come about and are caught."""
    assert {name for name, value in for_users().items() if not example_in(value)} == set()


def test_every_cited_claim_has_the_form_of_one():
    """`[D1.2]`: file 1, claim 2; whether there is such a claim, tests/test_derivations.py asks."""
    cited = {c for path in ROOT.rglob("*.py") for c in re.findall(r"(?<!\w)\[D[\d?.][^\]]*\]", path.read_text())}
    assert cited
    assert [c for c in cited if not re.fullmatch(r"\[D[1-9]\d*\.[1-9]\d*\]", c)] == []
