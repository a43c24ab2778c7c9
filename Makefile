# Two commands do everything: `make run` and `make test`. The others are for who changes Klaxon.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROGRAM := $(VENV)/.program
INSTALLED := $(VENV)/.installed
RUN_ARGS ?=

.PHONY: run test proof bench check docs dashboards clean

## run: a real three-node Kafka on this machine, traffic on it, and Klaxon at http://127.0.0.1:9308
##      make run BOOTSTRAP=host:9092 watches an existing cluster instead
run: $(PROGRAM)
ifdef BOOTSTRAP
	@exec $(BIN)/klaxon run --bootstrap $(BOOTSTRAP) $(RUN_ARGS)
else
	@exec $(BIN)/klaxon demo $(RUN_ARGS)
endif

## test: everything that takes less than 12 minutes; one worker has the shared real cluster, which mostly waits, the others all else
test: $(INSTALLED)
	$(BIN)/python -m pytest -m "not proof" -n 3 $(TEST_ARGS)

## proof: every long promise: the long tests on real brokers, then scripts whose results go to docs/proof.md
proof: $(INSTALLED)
ifndef PROOF_ARGS
	$(BIN)/python -m pytest -m proof
endif
	$(BIN)/python -m tests.proof $(PROOF_ARGS)

## bench: what a cycle, a scrape and a rule pass cost; results go to docs/performance.md
bench: $(INSTALLED)
	$(BIN)/python -m tests.bench $(BENCH_ARGS)

## check: formatting, lint, types, and the Dockerfile
check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile

## docs: write the reference pages from the catalogues, and the boards
docs: $(INSTALLED) dashboards
	$(BIN)/python -m klaxon.reference docs

## dashboards: write Grafana's boards and their page from dashboards/
dashboards: $(INSTALLED)
	$(BIN)/python -m dashboards.build

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(PROGRAM): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Klaxon needs Python 3.11 or newer; this is %s. Set PYTHON=." % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Klaxon into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(INSTALLED): $(PROGRAM)
	@echo "Installing what tests and linters need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
