# Everything works from a fresh clone with python3, make and a package index. `make demo` and `make test` set up .venv themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One more than the processors of a small machine: tests wait for processes a good deal.
WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help demo test check format clean

help:
	@echo 'make demo    the accident that started this, refused before your eyes, in a scratch home'
	@echo 'make test    all tests'
	@echo 'make check   lint, types and import contracts'
	@echo 'make clean   remove .venv and caches'

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

demo: $(STAMP)
	$(BIN)/python examples/demo.py

# What decides and what removes is measured (see [tool.coverage.report]); the rest runs on all cores.
MEASURED := tests/core tests/report $(patsubst %,tests/controls/test_%.py,ownership cleanup ledger markers recovery killed_runs kept_runs hard_links restored_attributes relocated_ledgers discover)

# Many tests start pytest anew; where no byte code may be written, each of those would compile everything.
test: $(STAMP)
	$(BIN)/python -m compileall -q pytest_session_guard tests
	$(BIN)/python -m coverage run -m pytest -q -p no:randomly $(MEASURED)
	$(BIN)/python -m coverage report
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist=worksteal tests $(addprefix --ignore=,$(MEASURED))

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
