# Every target sets up what it needs: a virtual environment in .venv with the locked versions.
SHELL := bash
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

.PHONY: demo test quick check bench bench-page fuzz situations lock lowest extras docs clean

demo: .venv/ready
	$(BIN)/headstart demo --out $(or $(OUT),runs/demo)

test: .venv/ready
	$(PYTEST)

# Without what takes more than a few seconds each.
quick: .venv/ready
	$(PYTEST) -m "not slow"

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(PYTEST)

bench: .venv/ready
	$(BIN)/python -m benchmarks

# The same beside all peers, which are installed in .venv-peers once, and kept for the pages: an hour or two on two cores.
bench-page: .venv/ready
	$(BIN)/python -m benchmarks --peers .venv-peers --page docs/benchmarks.md --page README.md

# 10 200 damaged files and odd command lines; a quarter of an hour on two cores. A slice of them is among the tests.
fuzz: .venv/ready
	PYTHONPATH=tests $(BIN)/python -m fuzz

# A table of what other people's environments, teams and settings bring along: right, refused, or wrong. Five minutes.
situations: .venv/ready
	PYTHONPATH=tests $(BIN)/python -m situations

.venv/ready: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[test]'
	touch $@

# Write the versions that are installed now into the lock file (after trying newer ones).
lock: .venv/ready
	$(BIN)/python -m pip freeze --exclude-editable --local | sort -f > requirements.lock

# The lowest versions that pyproject.toml allows, in an environment of their own: all imports, and a short run (needs uv).
lowest:
	rm -rf .venv-lowest
	uv venv --quiet --python 3.11 .venv-lowest
	uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct '.[pettingzoo,jaxmarl]'
	.venv-lowest/bin/headstart train spread --learner ippo --steps 1000 --evaluations 1 --episodes 4 --out .venv-lowest/run
	.venv-lowest/bin/headstart render .venv-lowest/run

# Each extra alone, with the versions that the core has alone, on every version of Python (needs uv): how many packages it takes.
NAMES := import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies'])
EXTRAS = $(filter-out test docs all,$(shell $(PYTHON) -c "$(NAMES)"))
extras:
	@set -e; resolved=$$(mktemp -d); trap 'rm -r $$resolved' EXIT; \
	for python in 3.11 3.12 3.13; do \
	  resolve="uv pip compile --quiet --python-version $$python pyproject.toml"; \
	  $$resolve --output-file $$resolved/core >/dev/null; \
	  echo "Python $$python, core: $$(grep -c '==' $$resolved/core) packages, $$(grep '^jax==' $$resolved/core)"; \
	  for extra in $(EXTRAS); do \
	    $$resolve --extra $$extra --constraint $$resolved/core --output-file $$resolved/extra >/dev/null; \
	    printf '  %-12s%s more\n' $$extra $$(grep '==' $$resolved/extra | cut -d= -f1 | grep -vxFf <(grep '==' $$resolved/core | cut -d= -f1) | wc -l); \
	  done; \
	done

# The documentation as a site in site/, warnings as errors, in an environment of its own: it reads the code and imports none of it.
docs: .venv-docs/ready
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet --site-dir site
	@echo "the documentation is in site/index.html"

.venv-docs/ready: pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' > .venv-docs/wanted.txt
	.venv-docs/bin/python -m pip install --quiet --requirement .venv-docs/wanted.txt
	touch $@

clean:
	rm -rf .venv .venv-lowest .venv-docs .venv-peers site build dist *.egg-info .pytest_cache .ruff_cache
