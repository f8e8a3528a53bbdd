# Everything a person does with this repository. Needs only Python 3.11 or newer and make; uv is fetched into .venv.
PYTHON ?= python3
VENV := .venv
UV_VERSION := 0.13.8
BIN := $(VENV)/bin
SETUP := $(VENV)/.ready
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo up down status test compose-test policy-test policy-stamp bench check fmt lint types walls lock clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 18

setup: $(SETUP) ## .venv with everything in it

$(SETUP): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv sync --frozen --compile-bytecode --quiet
	@$(BIN)/python -c 'import regopy' 2>/dev/null || sh deploy/system_packages.sh
	@touch $@

demo: $(SETUP) ## from an alert to a verified action, on real servers that it starts and stops by itself
	$(BIN)/rangerctl demo

up: $(SETUP) ## the whole stack in the foreground, under .ranger; Ctrl-C stops it in order
	$(BIN)/rangerctl up --workers $(WORKERS)

down: $(SETUP) ## stop a stack that runs in the background
	$(BIN)/rangerctl down

status: $(SETUP) ## what runs
	$(BIN)/rangerctl status

test: $(SETUP) ## all tests, on real servers that the session starts itself
	@$(BIN)/python -m compileall -q libs services runbook_ranger bench # once, not in each of a thousand processes
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations 30

compose-test: $(SETUP) ## the compose file on a Docker engine, which is started here (as root, on Debian) when none runs
	RR_COMPOSE_TEST=1 $(BIN)/python -m pytest tests/compose

policy-test: $(SETUP) ## how well the decision table guards the policies: lines, rules, codes, mutants
	$(BIN)/python -m tests.policy.gate

policy-stamp: $(SETUP) ## name the policies by their content, after a change, and compile them
	$(BIN)/python -m libs.common.policy

bench: $(SETUP) ## measure the product beside the limits of its parts; figures stay in .bench.json
	$(BIN)/python -m bench all --quick --save .bench.json

check: lint types walls test compose-test ## format, lint, types, import walls, tests, containers

lint: $(SETUP) ## format and lint, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(SETUP) ## strict types
	$(BIN)/mypy

walls: $(SETUP) ## the walls between rooms
	$(BIN)/lint-imports

fmt: $(SETUP) ## format, and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(SETUP) ## resolve dependencies anew
	$(BIN)/uv lock
	$(BIN)/uv sync --quiet

clean: ## remove what was made, the embedded stack's data included
	rm -rf $(VENV) .ranger .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
