# GNU make 3.81 is enough. Every target sets up what it needs; `make` alone lists them.

SHELL = /bin/sh
BIN = .venv/bin

# Words for pytest, such as ARGS='-k java -x'.
ARGS =

# Which images, and of delivery's targets which one; with what model-report compares. The environment may say, too.
IMAGES ?= serving pipeline
TARGET ?= serving
BASE ?= origin/main
COMMIT ?= HEAD
ENVIRONMENT ?= production

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test test-system prove bench images up down lint audit format lock lock-propose wheelhouse doctor clean coverage docs evidence hooks model-report model-comment retrain checked guarded publish index sign deploy smoke roll-back nightly nightly-tell

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

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
	@$(BIN)/python -m pytest -m system -n logical --maxprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

prove: setup ## the long tests: the loop at several seeds, a million requests, ten thousand made-up inputs
	@$(BIN)/python -m pytest -m prove $(ARGS)

bench: setup ## measure time and memory, for an hour or two; writes JSON under runs/bench
	@for what in demo features simulate stores training reasons serving; do $(BIN)/mlops bench $$what || exit; done
	@$(BIN)/mlops simulate runs/bench/world && $(BIN)/mlops bench handbook --events runs/bench/world

images: ## build the images mlops-serving and mlops-pipeline with Docker or podman (docs/images.md)
	@for image in $(IMAGES); do infra/docker/build $$image || exit; done

up: ## start the production-like stack with Docker Compose (docs/compose.md)
	@infra/compose/make-secrets
	@infra/compose/run up --detach

down: ## stop it; volumes stay
	@infra/compose/run down

# Absolute, as tests start processes in other folders. One test times what being watched makes slower.
coverage: export COVERAGE_FILE = $(CURDIR)/runs/coverage/.coverage
coverage: setup ## the tests of the first tier with their coverage; writes runs/coverage, fails below the floor
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	    --deselect tests/serving/test_access.py::test_the_door_costs_two_microseconds_at_most $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage html --quiet --fail-under 0 --directory runs/coverage
	@$(BIN)/coverage report --skip-covered

docs: setup ## the documents: links lead somewhere, generated pages are current
	@$(BIN)/python -m pytest tests/docs $(ARGS)

evidence: setup ## write docs/qualifications.md from the tests' reports in runs/tests (ARGS=--check: compare)
	@$(BIN)/python docs/qualifications.py $(ARGS)

lint: setup ## ruff, mypy, zizmor on the workflows, and whether the lock files are current
	@echo "ruff check"; $(BIN)/ruff check
	@echo "ruff format"; $(BIN)/ruff format --check
	@echo "mypy"; $(BIN)/mypy
	@echo "zizmor"; $(BIN)/zizmor --offline --quiet .github
	@infra/compile-locks --check

# Exit code 3: the database cannot be reached, which says nothing against the packages; where it always can, it fails.
audit: setup ## look the locked packages up among known vulnerabilities; says NOT RUN where it cannot
	@$(BIN)/python -m infra.supply.audit || [ $$?$$GITHUB_ACTIONS = 3 ]

format: setup ## rewrite the Python files in the house's layout
	@$(BIN)/ruff check --fix --select I
	@$(BIN)/ruff format

lock: setup ## write infra/lock from pyproject.toml (UPGRADE=1: with the newest versions that are a week old)
	@UPGRADE='$(UPGRADE)' infra/compile-locks

lock-propose: ## open a pull request with infra/lock as it lies here
	@python3 infra/delivery/propose.py

hooks: setup ## let git run ruff, mypy and the others before each commit (.pre-commit-config.yaml)
	@$(BIN)/pre-commit install

model-report: setup ## train with the code of BASE and with this one, compare: runs/model/report (docs/delivery.md)
	@infra/delivery/model-report '$(BASE)'

model-comment: ## post runs/model/report to the open pull request whose head is HEAD_SHA
	@python3 infra/delivery/comment.py

retrain: setup ## act on monitoring's retrain request, if one is due
	@$(BIN)/mlops retrain --if-due

checked: ## whether COMMIT is on main, and ci passed there; waits while it runs
	@infra/delivery/checked '$(COMMIT)'

guarded: ## whether ENVIRONMENT asks a person before it is deployed to
	@infra/delivery/guarded '$(ENVIRONMENT)'

publish: ## build TARGET for this processor, push it to REGISTRY as VERSION (docs/delivery.md)
	@infra/delivery/publish '$(TARGET)'

index: ## join what was published of TARGET for each processor
	@infra/delivery/index '$(TARGET)'

sign: ## sign TARGET and attest its bill of materials, with cosign
	@infra/delivery/sign '$(TARGET)'

deploy: ## verify the signed images, write manifests by digest, roll them out (ARGS=--dry-run: only show them)
	@infra/delivery/deploy $(ARGS)

smoke: ## ask SMOKE_URL for scores of SMOKE_EVENT, as whom SMOKE_KEY says
	@python3 infra/delivery/smoke.py "$$SMOKE_URL" --event "$$SMOKE_EVENT" --id "$$SMOKE_ID" --time "$$SMOKE_TIME"

roll-back: ## take a cluster back from the version RELEASE to what worked there before
	@infra/delivery/roll-back

nightly: ## in a copy: upgrade all, test, build on the newest base; writes runs/nightly/status.md
	@python3 infra/delivery/nightly.py $(ARGS)

nightly-tell: ## publish the night's page on the branch `status`, open an issue if it is red
	@python3 infra/delivery/tell.py

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
