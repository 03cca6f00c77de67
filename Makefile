# One verb each. `make demo` and `make test` set up everything they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FILE ?=
ONLY ?=
COUNT ?= 1000000
# pytest-xdist's workers; two cores are what we design for.
JOBS ?= 2

.PHONY: help setup demo test test-compat fuzz mutants check proto wire docs bench compare clean
help:            ## what the verbs do
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 20

setup: $(STAMP)  ## a virtual environment with Ottla (editable) and the development tools
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Ottla needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a minute the first time) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check 'pip>=25.1'
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

demo: setup      ## three nodes, a file streamed through, the leader killed; FILE=... to choose the file
	@$(BIN)/ottla demo $(if $(FILE),--file "$(FILE)")

test: setup      ## all tests but the slow ones
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m "not slow" tests

test-compat: setup  ## the slow tests: many kills of coordinators, and Apache Kafka itself where it can be had
	$(BIN)/pytest -m slow tests

fuzz: setup      ## strangers' bytes to the Kafka door; COUNT=... for how many inputs
	@$(BIN)/pip install --quiet --disable-pip-version-check --group fuzz
	@$(BIN)/python -m tests.fuzz.run --count $(COUNT) $(if $(ONLY),--only "$(ONLY)")

mutants: setup   ## bring known bugs back one by one, see the tests notice; ONLY=... for some of them
	@$(BIN)/python -m tests.mutants.run --jobs $(JOBS) $(if $(ONLY),--only "$(ONLY)")

check: setup     ## lint, types, import contracts, buf lint, tidy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/pytest -q tests/tidy

proto: setup     ## generate ottla/v1 from proto/
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iproto --python_out=. --grpc_python_out=. --mypy_out=. --mypy_grpc_out=. proto/ottla/v1/*.proto

wire: setup      ## generate wire/messages from Kafka's schemas
	$(BIN)/python -m wire.generate

docs: setup      ## generate docs/CONFIGURATION.md from the configuration classes
	@$(BIN)/python -m docs.generate

bench: setup     ## the figures of benchmarks/README.md
	$(BIN)/python -m benchmarks.run

compare: setup   ## the same client against Apache Kafka and against us, and the ratios
	$(BIN)/python -m benchmarks.compare

clean:           ## remove everything that setup made
	rm -rf $(VENV) build *.egg-info
