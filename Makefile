# Every target makes the environment it needs; nothing but Python 3.11 and make is expected.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export BENTOML_DO_NOT_TRACK := True

.PHONY: demo test test-quick test-long test-kill lint types check bench lock clean nginx

demo: $(VENV)/.runtime
	$(BIN)/kith demo

test: $(VENV)/.dev nginx
	$(BIN)/python -m pytest

test-quick: $(VENV)/.dev nginx
	$(BIN)/python -m pytest -m "not slow and not kill and not long"

test-long: $(VENV)/.dev nginx
	$(BIN)/python -m pytest -m long

test-kill: $(VENV)/.dev
	$(BIN)/python -m pytest -m kill --numprocesses 0 tests/federation/test_kill.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

check: lint types test

bench: $(VENV)/.dev nginx
	$(BIN)/python -m benchmarks

lock: $(VENV)/.runtime
	$(BIN)/pip install -q pip-tools==7.6.2
	$(BIN)/pip-compile -q --no-emit-index-url --no-emit-find-links --strip-extras -o requirements.lock pyproject.toml
	$(BIN)/pip-compile -q --no-emit-index-url --no-emit-find-links --strip-extras --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml
	sed -i 's/^torch==2.13.0+cpu/torch==2.13.0/' requirements.lock requirements-dev.lock  # the plain version is the CPU build where an index has one

# The front proxy is tested with the real nginx. Root on Debian gets it (not started); elsewhere those tests are skipped.
nginx:
	@PATH="$$PATH:/usr/sbin"; command -v nginx > /dev/null || { \
	    test "$$(id -u)" = 0 && command -v apt-get > /dev/null && export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 && \
	    { apt-get install -qq -y --no-install-recommends nginx-light || { apt-get update -qq && \
	      apt-get install -qq -y --no-install-recommends nginx-light; }; } > /dev/null 2>&1; } || \
	    echo "nginx is not installed: the tests of the fleet and its proxy are skipped"

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
