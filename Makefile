# limits: every target works from a fresh checkout with Python >= 3.11, make and a package index.
#   make demo       compare the three rungs on a small problem; writes comparison.png and comparison.json
#   make test       the test suite (LIMITS_NO_TORCH=1 leaves torch, and the tests that need it, out)
#   make test-all   the same with the slow tests
#   make bench      tests/benchmarks
#   make docs       the site, in docs/_build/html
#   make lint       ruff, pyright and the import contract
#   make clean      removes what was built, the environment included

PYTHON ?= python3
VENV := .venv
comma := ,
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
TEST_EXTRAS := $(if $(LIMITS_NO_TORCH),test,test$(comma)torch)
TEST_STAMP := $(VENV)/.test$(if $(LIMITS_NO_TORCH),-no-torch)

# A file's tests stay together, for the fixtures that they share.
PYTEST_ARGS ?= --numprocesses auto --dist loadfile

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test test-all bench docs lint clean

help:
	@sed -n 's/^#   //p' Makefile

# A stamp is written last, so that an install that failed is tried again.
$(VENV)/.created:
	@command -v $(PYTHON) >/dev/null || { echo "limits needs Python 3.11 or newer, and there is no '$(PYTHON)' here; name one with make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "limits needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + "; name a newer one with make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.demo: $(VENV)/.created pyproject.toml
	@echo "installing what the demo needs into $(VENV) (once)"
	$(PIP) --editable '.[data]'
	@touch $@

# The constraint pins torch. On some indexes the pinned wheel is a build with CUDA (several GB): LIMITS_NO_TORCH=1 skips it.
$(TEST_STAMP): $(VENV)/.created pyproject.toml tests/constraints.txt
	@echo "installing what the tests need into $(VENV) (once)"
	$(PIP) --constraint tests/constraints.txt --editable '.[$(TEST_EXTRAS)]'
	@touch $@

$(VENV)/.docs: $(VENV)/.created pyproject.toml tests/constraints.txt
	@echo "installing what the site needs into $(VENV) (once)"
	$(PIP) --constraint tests/constraints.txt --editable '.[docs]'
	@touch $@

demo: $(VENV)/.demo
	@rm -f comparison.png comparison.json
	$(BIN)/limits compare
	@test -s comparison.png && test -s comparison.json || { echo "limits compare ended without writing comparison.png and comparison.json"; exit 1; }
	@echo "the picture: $(CURDIR)/comparison.png"
	@echo "the numbers: $(CURDIR)/comparison.json"

# One BLAS thread: the tests' matrices are small, and on busy cores threads wait for each other.
test test-all: export OPENBLAS_NUM_THREADS ?= 1

test: $(TEST_STAMP)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-all: $(TEST_STAMP)
	$(BIN)/python -m pytest -m '' $(PYTEST_ARGS)

# Benchmarks are scripts that print their figures; nothing there can fail a test.
bench: $(TEST_STAMP)
	@for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

# The site must read offline: no page may load a script or a style sheet from elsewhere.
docs: $(VENV)/.docs
	$(BIN)/sphinx-build -q -E -W --keep-going -b html docs docs/_build/html
	@! grep -rnoE '<(script|link)[^>]* (src|href)="(https?:)?//[^"]*"' docs/_build/html --include='*.html' || { echo "these pages load files from another host"; exit 1; }
	@echo "the site: $(CURDIR)/docs/_build/html/index.html"

lint: $(TEST_STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	$(BIN)/lint-imports --no-logo

clean:
	rm -rf $(VENV) build dist *.egg-info docs/_build comparison.png comparison.json
	rm -rf .pytest_cache .hypothesis .ruff_cache .import_linter_cache
	find limits tests docs derivations -name __pycache__ -type d -prune -exec rm -rf {} +
