# GNU make 3.81 is enough. Every target sets up what it needs; `make` alone lists them.

SHELL = /bin/sh
BIN = .venv/bin

# Words for pytest, such as ARGS='-k java -x'.
ARGS =

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test test-system prove bench images up down lint audit format lock wheelhouse doctor clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: ## install everything into .venv; installs nothing when all is there
	@infra/setup

demo: setup ## run the whole loop, from raw events to a retrained model, and say where to look
	@$(BIN)/mlops demo

serve: setup ## serve the champion over HTTP, for this machine alone
	@$(BIN)/mlops serve --no-keys

test: setup ## every test that needs no root and no services
	@$(BIN)/python -m pipelines.spark_archive
	@$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-system: setup ## install Debian packages, then the tests that need a browser, services and containers
	@infra/system-packages
	@$(BIN)/python -m pytest -m system $(ARGS)

prove: setup ## the long tests: the loop at several seeds, a million requests, ten thousand made-up inputs
	@$(BIN)/python -m pytest -m prove $(ARGS)

bench: setup ## measure time and memory, for an hour or two; writes JSON under runs/bench
	@for what in demo features simulate stores training reasons serving; do $(BIN)/mlops bench $$what || exit; done
	@$(BIN)/mlops simulate runs/bench/world && $(BIN)/mlops bench handbook --events runs/bench/world

images: ## build the images mlops-serving and mlops-pipeline with Docker or podman (docs/images.md)
	@infra/docker/build serving
	@infra/docker/build pipeline

up: ## start the production-like stack with Docker Compose (docs/compose.md)
	@infra/compose/make-secrets
	@docker compose -f infra/compose.yaml up --detach

down: ## stop it; volumes stay
	@docker compose -f infra/compose.yaml down

lint: setup ## ruff, mypy, and whether the lock files are current
	@echo "ruff check"; $(BIN)/ruff check
	@echo "ruff format"; $(BIN)/ruff format --check
	@echo "mypy"; $(BIN)/mypy
	@infra/compile-locks --check

# Exit code 3: the database cannot be reached, which says nothing against the packages.
audit: setup ## look the locked packages up among known vulnerabilities; says NOT RUN where it cannot
	@$(BIN)/python -m infra.supply.audit || [ $$? = 3 ]

format: setup ## rewrite the Python files in the house's layout
	@$(BIN)/ruff check --fix --select I
	@$(BIN)/ruff format

lock: setup ## write infra/lock from pyproject.toml (UPGRADE=1: to the newest versions)
	@UPGRADE='$(UPGRADE)' infra/compile-locks

wheelhouse: ## collect all packages in wheelhouse/ (or WHEELHOUSE=DIR), for a class room without a network
	@WHEELHOUSE= infra/setup
	@infra/wheelhouse

doctor: ## say what is there and what is missing
	@for python in $(BIN)/python $(PYTHON) python3 python3.13 python3.12 python3.11 python; do \
	    if $$python -c '' 2>/dev/null; then exec $$python -m pipelines.doctor; fi; \
	done; \
	echo "doctor: no Python at all; install 3.11, 3.12 or 3.13" >&2; exit 1

clean: ## remove .venv, runs and caches; wheelhouse/ stays
	@echo "removing .venv, runs, caches"
	@rm -rf .venv runs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis wheelhouse.new
	@find . -path ./.git -prune -o -path ./wheelhouse -prune -o \
	    \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
	@if [ -d wheelhouse ]; then echo "kept wheelhouse/ (it may be the only way to install here); remove it by hand"; fi
