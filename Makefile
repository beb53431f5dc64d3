# Two commands do everything: `make demo` and `make test`. Both set up the virtual environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: demo test slow fuzz oldest lint types contract bench clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vol2vol needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,dask]"
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/vol2vol demo --out demo

test: lint contract types
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m slipcover --source src/vol2vol --json --out coverage.json \
	  -m pytest -n 2
	$(BIN)/python .ci/coverage.py coverage.json

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

contract: $(STAMP)
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/mypy

slow: $(STAMP)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m slow --timeout=3600

fuzz: $(STAMP)
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m slow tests/fuzz --timeout=3600

oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-oldest.txt -e ".[dev,dask]"
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE .venv-oldest/bin/python -m pytest -n 2 -W ignore::DeprecationWarning

bench: $(STAMP)
	$(BIN)/python -m benchmarks.predict

clean:
	rm -rf $(VENV) .venv-oldest .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache demo coverage.json
