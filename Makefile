# Everything a person does here. `make demo` is the place to start.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STORE ?= store

# where this is set, each of the many processes would compile the package anew: 1.7 s of CPU
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo ui test lint audit bench bench-full clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed  ## Make .venv with the pinned dependencies

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "Installing the pinned dependencies (several GB with torch, a few minutes) ..."
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	@touch $@

demo: install  ## Sample world to score table, in under 5 minutes
	$(BIN)/geofm demo --store $(STORE)

ui: install  ## The Dagster UI on http://127.0.0.1:3000
	$(BIN)/geofm ui --store $(STORE)

test: install  ## Lint, types, layers, and all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 3 --dist loadfile

lint: install  ## Lint, types and layers only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: .audit/bin/pip-audit  ## Known vulnerabilities of every pinned dependency (docs/release.md)
	.audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

# its own environment: what it needs is nothing the platform needs
.audit/bin/pip-audit:
	$(PYTHON) -m venv .audit
	.audit/bin/python -m pip install --quiet "pip-audit==2.10.1"

bench: install  ## Benchmarks against named peers at small sizes, minutes (benchmarks/README.md)
	$(BIN)/python -m benchmarks --size small

bench-full: install  ## The same at the size of the world: an hour or more, 40 GB of disk
	$(BIN)/python -m benchmarks --size full

clean:  ## Remove the virtual environment and caches (the store is kept)
	rm -rf $(VENV) .audit .pytest_cache .mypy_cache .ruff_cache .hypothesis
