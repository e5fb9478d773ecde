# Everything a developer types. Each target does its own set-up: nothing has to be installed by hand but Python 3.11+.
PYTHON ?= python3
VENV   ?= .venv
HOST   ?= 127.0.0.1
PORT   ?= 8000
IMAGES ?= ../shared/data/lfw/images
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run demo test quick check fix bench docs clean

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

run: $(VENV)/.run ## Start the service on 127.0.0.1:8000 (PORT=..., HOST=...)
	$(BIN)/facerec serve --host $(HOST) --port $(PORT)

demo: $(VENV)/.demo ## Enrol a portrait, find it again in altered copies, draw the result (FOLDER=... for your own photos)
	$(BIN)/facerec demo $(FOLDER)

test: check ## Check and test everything
	$(BIN)/pytest

quick: $(VENV)/.dev ## The tests that take seconds
	$(BIN)/pytest -m "not slow" tests/unit tests/contract tests/wire

check: $(VENV)/.dev ## Lint, format, types, import directions
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/.dev ## Mend what the linter and formatter can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.dev ## Measure search, engine and service (IMAGES=folder of photos, MODEL_PATH=pack)
	$(BIN)/facerec bench search --faces 100000,1000000
	$(BIN)/facerec bench engine --images $(IMAGES)
	$(BIN)/facerec bench service --images $(IMAGES) --operation DetectFaces --clients 1,4,16

docs: $(VENV)/.dev ## Write the generated pages of docs/ anew
	$(BIN)/python docs/generate.py

clean: ## Remove the virtual environment and caches (never data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("facerec needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[demo]'
	@touch $@ $(VENV)/.run

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.demo $(VENV)/.run
