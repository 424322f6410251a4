# Every target makes or refreshes .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export LITELLM_LOCAL_MODEL_COST_MAP := True
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: help install demo test long quick lint bench clean

help: ## show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing limbeck and its tools into $(VENV) (with torch: a minute or more, 2.3 GB)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,dev]'
	touch $@

install: $(STAMP) ## make or refresh .venv

demo: $(STAMP) ## watch the whole loop on generated support tickets
	$(BIN)/limbeck demo $(ARGS)

test: $(STAMP) ## the tests: most side by side, then the acceptance tests, each with the machine for itself
	$(BIN)/pytest -m 'not long' --ignore tests/acceptance -n 2 --dist loadfile $(ARGS)
	$(BIN)/pytest -m 'not long' tests/acceptance $(ARGS)

long: $(STAMP) ## long tests: faults of a running limbeck, kills and resumed trainings
	$(BIN)/pytest -m long $(ARGS)

quick: $(STAMP) ## the tests that take less than ten seconds each
	$(BIN)/pytest -m 'not slow' -n 2 --dist loadfile $(ARGS)

lint: $(STAMP) ## ruff, mypy (strict), import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(STAMP) ## CPU per request beside nginx, instructions per request, collector, rollback time
	$(BIN)/python benchmarks/run.py $(ARGS)

clean: ## remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
