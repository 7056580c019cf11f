PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-all lint docs benchmark clean

demo: $(VENV)/.base
	$(BIN)/prefront run quickstart --jobs 2

test: lint
	$(BIN)/pytest -m "not slow" -n 2

test-all: lint
	$(BIN)/pytest -n 2 --hypothesis-profile=explore

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# No network is asked: the theme, its scripts and all pages are local.
docs: $(VENV)/.docs
	$(BIN)/python docs/generate.py docs/_pages
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs docs/_pages docs/_build

$(VENV)/.docs: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) -e ".[docs]"
	touch $@ $(VENV)/.base

$(VENV)/.python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.base: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) -e .
	touch $@

# torch is named with its exact version, which lets pip take a CPU build where one is provided.
$(VENV)/.dev: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) torch==2.13.0
	$(PIP) -e ".[dev]"
	touch $@ $(VENV)/.base

# The peers get an environment of their own: their requirements are not ours.
benchmark: $(VENV)/.base $(VENV)-peers/.peers
	$(BIN)/python benchmarks/run.py

$(VENV)-peers/.peers: $(VENV)/.python
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 morl-baselines==1.3.0
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-peers build dist docs/_build docs/_pages src/*.egg-info
