# Everything works on a fresh checkout: what is missing is installed first.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: run run-remote test torture check bench bench-check clean help setup guest

VENV := .venv
BIN := $(VENV)/bin
# how to run a program in the virtual environment
IN_VENV := VIRTUAL_ENV="$(CURDIR)/$(VENV)" PATH="$(CURDIR)/$(BIN):$$PATH"
PACKAGE := avocado_pool_plugin
# seconds one test may take, how many tests run at a time, and further options for pytest
TEST_TIMEOUT ?= 300
TEST_WORKERS ?= $(shell n=$$(nproc); echo $$((n + n / 2)))
PYTEST_ARGS ?=
# of the torture: the same seed does the same
SEED ?= 1

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:
	@scripts/setup.sh

guest: setup
	@examples/guest/build.sh

run: guest  ## run the example suite: real virtual machines, states in .build/pool
	@$(BIN)/python examples/run.py

run-remote: guest  ## share states through a pool on another host, a network namespace; needs root
	@$(BIN)/python examples/remote.py

test: guest  ## run all tests
	@$(IN_VENV) $(BIN)/python -m pytest tests -ra --durations=15 \
		--timeout=$(TEST_TIMEOUT) --numprocesses=$(TEST_WORKERS) --maxprocesses=4 \
		--dist=loadfile --no-loadscope-reorder $(PYTEST_ARGS)

torture: guest  ## kill it, break its disk, cut its power, lie to it: the table in docs/torture.rst
	@$(IN_VENV) $(BIN)/python -m tests.torture --seed $(SEED) --write

check: setup  ## lint, formatting, types, and which module may import which
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy $(PACKAGE)
	@$(IN_VENV) $(BIN)/python -m pytest -q tests/unit/test_layers.py

bench: guest  ## measure everything beside other tools, into docs/benchmarks.rst with a plot
	@$(IN_VENV) $(BIN)/python -m benchmarks

bench-check: guest  ## the same with few runs, written nowhere; fails where a figure is far off
	@$(IN_VENV) $(BIN)/python -m benchmarks --check

clean:  ## remove the virtual environment, everything built, all caches
	@rm -rf $(VENV) .build build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
