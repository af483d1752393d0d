# Every target makes the environment it needs; nothing but Python 3.11 and make is expected.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export BENTOML_DO_NOT_TRACK := True

.PHONY: demo test test-quick test-long test-kill lint types check bench lock clean

demo: $(VENV)/.runtime
	$(BIN)/kith demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest

test-quick: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow and not kill and not long"

test-long: $(VENV)/.dev
	$(BIN)/python -m pytest -m long

test-kill: $(VENV)/.dev
	$(BIN)/python -m pytest -m kill --numprocesses 0 tests/federation/test_kill.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

check: lint types test

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

lock: $(VENV)/.runtime
	$(BIN)/pip install -q pip-tools==7.6.2
	$(BIN)/pip-compile -q --no-emit-index-url --no-emit-find-links --strip-extras -o requirements.lock pyproject.toml
	$(BIN)/pip-compile -q --no-emit-index-url --no-emit-find-links --strip-extras --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml
	sed -i 's/^torch==2.13.0+cpu/torch==2.13.0/' requirements.lock requirements-dev.lock  # the plain version is the CPU build where an index has one

clean:
	rm -rf $(VENV) runs build dist

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --editable .
	touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-dev.lock
	touch $@
