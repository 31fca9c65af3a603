# Every target makes .venv and installs what it needs, once; a changed pyproject.toml or version installs again.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: install demo test serve check bench format
install: $(STAMP)

$(STAMP): pyproject.toml memsvc/__init__.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,postgres]"
	@touch $(STAMP)

demo: install
	$(BIN)/memsvc demo

test: install
	$(BIN)/python -m pytest --numprocesses auto

serve: install
	$(BIN)/memsvc serve

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/python -m benchmarks

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
