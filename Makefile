# Everything a developer types. Each target does its own set-up: nothing has to be installed by hand but Python 3.11+.
PYTHON ?= python3
VENV   ?= .venv
HOST   ?= 127.0.0.1
PORT   ?= 8000
# Processes that share the tests: more than two processors, since many tests wait for servers that they start.
TESTERS ?= 3
BENCH  ?= .venv-bench
BIN    := $(VENV)/bin

# What `make bench` measures: PART=engine, search, service or accuracy; ONLY=one measurement; QUICK=1 little of each;
# BENCH_LARGE=1 ten million faces too; IMAGES, PHOTOS, MODELS, PACK: folders of your own.
BENCH_OPTIONS = $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick) $(if $(BENCH_LARGE),--large) \
	$(if $(IMAGES),--images $(IMAGES)) $(if $(PHOTOS),--photos $(PHOTOS)) \
	$(if $(MODELS),--models $(MODELS)) $(if $(PACK),--pack $(PACK))

# Where the environment forbids files of compiled Python, every start of a server would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

# pip would compile all that it installs; Python compiles what is imported, once, which is a small part of it.
INSTALL := -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help run demo test quick check fix bench bench-engine bench-search bench-service bench-accuracy bench-people bench-liveness bench-clustering bench-jobs bench-video bench-audit bench-load bench-report docs screenshots clean

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

run: $(VENV)/.run ## Start the service on 127.0.0.1:8000 (PORT=..., HOST=...)
	$(BIN)/facerec serve --host $(HOST) --port $(PORT)

demo: $(VENV)/.demo ## Enrol a portrait, find it again in altered copies, draw the result (FOLDER=... for your own photos)
	$(BIN)/facerec demo $(FOLDER)

# Many tests wait for real servers, browsers and clusters, and a busy machine can take more time than they wait. So
# what failed is run once more, alone, and has to pass then; the output tells of both.
AGAIN = $(BIN)/pytest --last-failed --last-failed-no-failures none --exitfirst

test: check ## Check and test everything (TESTERS=... processes share the tests)
	$(BIN)/pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder -m "not alone" || $(AGAIN)
	$(BIN)/pytest -m alone || $(AGAIN)

.PHONY: coverage
coverage: $(VENV)/.dev ## The same tests, and the lines and branches of the package that none of them reaches (85 % at least)
	$(BIN)/pytest -n $(TESTERS) --dist loadfile -m "not alone" --cov --cov-report=term --cov-report=html:build/coverage

quick: $(VENV)/.dev ## The tests that take seconds
	$(BIN)/pytest -m "not slow" tests/unit tests/contract tests/wire

check: $(VENV)/.dev ## Lint, format, types, import directions
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --num-workers 2
	$(BIN)/lint-imports

fix: $(VENV)/.dev ## Mend what the linter and formatter can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The peers have an environment of their own. A measurement that fails keeps its last file; the page is written anyway.
bench: $(BENCH)/.ready ## Measure beside the peers, write benchmarks/RESULTS.md (PART=engine, BENCH_LARGE=1, ...)
	@$(BENCH)/bin/python benchmarks/run.py $(PART) $(BENCH_OPTIONS); failed=$$?; \
	$(BENCH)/bin/python benchmarks/report.py && exit $$failed

bench-engine bench-search bench-service bench-accuracy bench-people bench-liveness bench-clustering bench-jobs bench-video bench-audit bench-load: bench-%:
	@$(MAKE) --no-print-directory bench PART=$*

bench-report: $(BENCH)/.ready
	$(BENCH)/bin/python benchmarks/report.py

docs: $(VENV)/.dev ## Write the generated pages of docs/ anew
	$(BIN)/python docs/generate.py

.PHONY: site
site: $(VENV)/.dev ## Write the guides as a site to the folder site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

screenshots: $(VENV)/.dev ## Take the pictures of docs/console.md anew, in Chromium
	$(BIN)/python tests/integration/screenshots.py

.PHONY: soak
soak: $(VENV)/.dev ## Minutes of mixed load and of everything at once: no stale read, nothing lost, and nothing that grows (DURATION=... seconds)
	FACEREC_SOAK_SECONDS=$(or $(DURATION),300) $(BIN)/pytest -s tests/integration/test_many_processes.py tests/integration/test_soak.py \
		-k "mixed_load or everything" --timeout 7200

.PHONY: kills
kills: $(VENV)/.dev ## Kill the service, its database and its vector store again and again under load (TIMES=20)
	FACEREC_TEST_KILLS=$(or $(TIMES),20) $(BIN)/pytest --timeout 7200 -k "crashes or die or again_and_again" $(addprefix \
		tests/integration/test_, crash.py many_processes.py postgresql.py stores_outside.py)

.PHONY: fuzz sbom audit
fuzz: $(VENV)/.dev ## Look for bytes that break the front doors (EXAMPLES=... of each kind)
	FUZZ_EXAMPLES=$(or $(EXAMPLES),20000) $(BIN)/pytest tests/unit/test_front_doors.py --timeout 7200

# Tools that look at the installation have an environment of their own.
TOOLS := .venv-tools
$(TOOLS)/.ready: | $(BIN)/python
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check cyclonedx-bom pip-audit
	@touch $@

sbom: $(VENV)/.run $(TOOLS)/.ready ## List what is installed, as CycloneDX, in sbom.json
	$(TOOLS)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-file sbom.json

audit: $(TOOLS)/.ready ## Ask PyPI for known vulnerabilities of what constraints.txt pins (needs the network)
	$(TOOLS)/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

clean: ## Remove the virtual environment and caches (never data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("facerec needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(BENCH)/.ready: pyproject.toml constraints.txt benchmarks/requirements.txt benchmarks/peers.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python $(INSTALL) --editable '.[onnxruntime,eval,video]' --requirement benchmarks/requirements.txt
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement benchmarks/peers.txt
	@touch $@

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing facerec and what it needs into $(VENV) (350 MB to download) ..."
	@$(BIN)/python $(INSTALL) --editable .
	@touch $@

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python $(INSTALL) --editable '.[demo]'
	@touch $@ $(VENV)/.run

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python $(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.demo $(VENV)/.run
