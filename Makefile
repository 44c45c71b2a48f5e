# Paymesh: everything a person types. Python comes from PYTHON (3.11 or newer), everything else out of the lock.
#
#   make demo                       from a bare machine to settled intents
#   make test ARGS="-k accept -x"   ARGS goes to the tool behind the target
#   make dev PYTHON=python3.12      only the first run, which makes .venv, asks for a Python

PYTHON ?= python3
ARGS ?=
ROUNDS ?= 10
WORKERS ?= 3
RUN := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help install demo dev test matrix chaos backpressure dead-letters corruption recon-speed settlement-file check bench bench-rules bench-recon new-psp lock clean

help: ## say what there is
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## \(.*\)/make \1|\2/p' Makefile | while IFS='|' read -r name meaning; do \
		printf '%-20s %s\n' "$$name" "$$meaning"; done

install: ## bring .venv up to the lock; every other target does it first
	@PYTHON="$(PYTHON)" ./requirements/install.sh

demo: install ## start everything on an empty mesh, pay, show, prove the books, stop
	@$(RUN) -m ops.cli demo $(ARGS)

dev: install ## start everything and keep it running; data stays between runs
	@$(RUN) -m ops.cli dev $(ARGS)

test: install ## run every test, by WORKERS=3 at a time; WORKERS=0 for what wants a terminal, such as ARGS="-s --pdb"
	@$(RUN) -m pytest -n $(WORKERS) --dist loadscope $(ARGS)

matrix: install ## every scenario of the PSPs under kills and pauses at every step, for every kind of fence
	@PAYMESH_MATRIX=whole $(RUN) -m pytest tests/matrix -rA $(ARGS)

chaos: install ## break real processes for longer: ROUNDS=10 of what `make test` does once
	@PAYMESH_CHAOS_ROUNDS="$(ROUNDS)" $(RUN) -m pytest tests/chaos --timeout=3600 $(ARGS)

backpressure: install ## stop the adapter, post 50,000 withdrawals, let it come back; `make test` does 3,000
	@PAYMESH_BACKPRESSURE=whole $(RUN) -m pytest tests/e2e/test_backpressure.py --timeout=5400 -s $(ARGS)

settlement-file: install ## read a settlement file of a million lines, whole and killed in the middle, and say how fast
	@SETTLEMENT_LINES=1000000 $(RUN) -m pytest tests/integration/reconciler/settlement/test_volume.py --timeout=3600 -s $(ARGS)

dead-letters: install ## list a million dead letters, and say how long that took
	@DEAD_LETTERS=1000000 $(RUN) -m pytest tests/integration/ops/test_dlq_listing.py -k quick -s $(ARGS)

corruption: install ## find every kind of break, alone and in pairs, in a history of 100,000 intents; `make test` has 2,000
	@PAYMESH_CORRUPTION=100000 $(RUN) -m pytest tests/integration/reconciler/test_corruption.py --timeout=7200 -s $(ARGS)

recon-speed: install ## reconcile 10,000 new transfers behind 100,000 and behind 1,000,000 old ones, and say how long it took
	@PAYMESH_RECON_SPEED=1 $(RUN) -m pytest tests/integration/reconciler/test_speed.py --timeout=7200 -s $(ARGS)

check: install ## look without running: lint, format, types, import contracts
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check --quiet . || { echo 'make check: run .venv/bin/ruff format .'; exit 1; }
	@$(RUN) -m mypy
	@$(RUN) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-cache

bench: install ## run the one canonical workload and print its figures
	@$(RUN) -m bench $(ARGS)

bench-rules: install ## what fees, limits and routes cost an intent, with as many as may apply to it
	@$(RUN) -m bench.rules $(ARGS)

bench-recon: install ## what a reconciler at work costs payments between wallets: their p99 beside it and without it
	@$(RUN) -m bench.recon $(ARGS)

new-psp: install ## lay out the folder of a PSP and the tests it has yet to pass: NAME=acme
	@[ -n "$(NAME)" ] || { echo 'make new-psp: needs a name, such as NAME=acme'; exit 1; }
	@$(RUN) -m ops.new_psp -- "$(NAME)"

lock: ## lock the requirements afresh (needs uv; UPGRADE=1 takes newer versions)
	@command -v uv >/dev/null || { echo 'make lock: needs uv on PATH'; exit 1; }
	@UPGRADE="$(UPGRADE)" ./requirements/compile.sh

clean: ## remove .venv, the data of embedded stacks and what tools leave behind
	@for lock in .paymesh/*/lock; do \
		[ ! -e "$$lock" ] || ! command -v flock >/dev/null || flock --nonblock "$$lock" true || \
		{ echo "make clean: a stack runs from $${lock%/lock}; stop it first"; exit 1; }; done
	@rm -rf .venv .paymesh .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
