# Every target sets up what it needs, in .venv. `make help` lists the targets.

PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
PIP    := $(RUN) -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: $(shell sed -nE 's/^([a-z-]+):.*## .*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

serve: $(VENV)/.serve ## serve the API on http://127.0.0.1:8000 (settings: environment variables)
	@LOAD_SAMPLES=$${LOAD_SAMPLES:-true} exec $(RUN) -m service serve

test: $(VENV)/.dev ## run every test, several at once (ARGS: -n 0 for one at a time)
	@$(RUN) -m pytest -n auto --dist worksteal $(ARGS)

coverage: $(VENV)/.dev ## run every test, and report the lines that none of them runs
	@$(RUN) -m pytest -n auto --dist worksteal --cov --cov-report=term:skip-covered $(ARGS)

lint: $(VENV)/.dev ## ruff, mypy --strict, import contracts
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	@$(MAKE) --no-print-directory check-generated

generated: $(VENV)/.dev ## generate the files that are made from others
	@$(RUN) -m tools.generate_sync_client
	@$(RUN) -m tools.generate_docs
	@$(RUN) -m tools.generate_dashboard

check-generated: $(VENV)/.dev ## fail if a generated file is stale
	@$(RUN) -m tools.generate_sync_client --check
	@$(RUN) -m tools.generate_docs --check
	@$(RUN) -m tools.generate_dashboard --check

check-clients: $(VENV)/.serve .clients/.made ## generate clients from the OpenAPI document, and search with one
	@.clients/bin/python tools/check_clients.py $(RUN)

check-api: $(VENV)/.serve .schemathesis/.made ## requests generated from the OpenAPI document (ARGS: --examples, setups)
	@.schemathesis/bin/python tools/check_api.py --python $(RUN) $(ARGS)

format: $(VENV)/.dev ## format the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: $(VENV)/.docs ## build the documentation as a site, in site/
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet --clean

bench-service: $(VENV)/.dev .bench-pinecone6/.made ## Cascade against FastAPI with the Pinecone client as documented
	@$(RUN) -m bench.service $(ARGS)

bench-lanes: $(VENV)/.dev ## throughput against a single stock AsyncIndex
	@$(RUN) -m bench.lanes $(ARGS)

bench-offline: $(VENV)/.dev ## the embedded engine over HTTP beside a Quart hello-world
	@$(RUN) -m bench.offline $(ARGS)

bench-engine: .bench/.made ## the embedded engine against other engines in a process
	@.bench/bin/python -m bench.engine $(ARGS)

bench-overload: $(VENV)/.dev ## far more clients than the service can answer
	@$(RUN) -m bench.overload $(ARGS)

bench-imports: $(VENV)/.dev ## a large import beside searches
	@$(RUN) -m bench.imports $(ARGS)

bench-exports: $(VENV)/.dev ## exports beside a client that writes, and their import
	@$(RUN) -m bench.exports $(ARGS)

bench-listeners: $(VENV)/.dev ## a thousand event streams of one import
	@$(RUN) -m bench.listeners $(ARGS)

bench-typing: $(VENV)/.dev ## many clients that search as they type, and some that never read
	@$(RUN) -m bench.typing $(ARGS)

bench-progressive: $(VENV)/.dev ## time to the first results of a cascade
	@$(RUN) -m bench.progressive $(ARGS)

campaign-index: $(VENV)/.dev ## the embedded index against a dictionary (ARGS: --sequences)
	@$(RUN) -m tests.campaigns.index $(ARGS)

campaign-kill: $(VENV)/.dev ## kill a process that writes, and check what is durable (ARGS: --kills)
	@$(RUN) -m tests.campaigns.kill $(ARGS)

campaign-backup: $(VENV)/.dev ## back up a service that writes, kill it, and restore (ARGS: --rounds)
	@$(RUN) -m tests.campaigns.backup $(ARGS)

campaign-imports: $(VENV)/.dev ## kill a process during an import (ARGS: --kills, --database postgres)
	@$(RUN) -m tests.campaigns.imports $(ARGS)

campaign-faults: $(VENV)/.dev ## every combination of faults, and a total outage
	@$(RUN) -m tests.campaigns.faults $(ARGS)

campaign-tenants: $(VENV)/.dev ## every caller against every route: who may do what, and who sees what
	@$(RUN) -m tests.campaigns.tenants

campaign-abandon: $(VENV)/.dev ## clients that disconnect, and what they leave behind (ARGS: --requests)
	@$(RUN) -m tests.campaigns.abandon $(ARGS)

campaign-connections: $(VENV)/.dev ## clients that hold 3,200 connections, beside searches (ARGS: --seconds)
	@$(RUN) -m tests.campaigns.connections $(ARGS)

campaign-mutants: .mutmut/.made ## mutate access and limits, and see which tests fail (ARGS: --sample, access, web)
	@.mutmut/bin/python -m tests.campaigns.mutants $(ARGS)

campaign-table: $(VENV)/.dev ## load and import a table of a million rows (ARGS: --rows)
	@$(RUN) -m tests.campaigns.table $(ARGS)

fuzz: .fuzz/.made ## search for inputs that crash a parser (ARGS: --seconds, names of parsers)
	@.fuzz/bin/python -m tests.fuzz $(ARGS)

lock: $(VENV)/.dev ## resolve requirements*.txt from pyproject.toml, to the newest releases
	$(PIP) install uv
	$(VENV)/bin/uv pip compile pyproject.toml $(LOCKED) -o requirements.txt
	$(VENV)/bin/uv pip compile pyproject.toml --group dev $(LOCKED) -c requirements.txt -o requirements-dev.txt
	$(VENV)/bin/uv pip compile --group docs $(LOCKED) -c requirements-dev.txt -o requirements-docs.txt

LOCKED := --quiet --upgrade --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url --no-emit-find-links

clean: ## remove what the other targets have made
	rm -rf $(VENV) .venv-3.* .bench site dist .bench-pinecone6 .clients .fuzz .mutmut .schemathesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage*
	@if [ -e var ]; then echo "left: var/, which has your records and imports"; fi
	@if [ -e .env ]; then echo "left: .env, which has your settings"; fi

$(VENV)/.serve: requirements.txt | $(VENV)/.made
	@echo "setting up: installing requirements.txt into $(VENV)" >&2
	@$(PIP) install --requirement requirements.txt
	@$(PIP) install --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.serve
	@echo "setting up: installing requirements-dev.txt into $(VENV)" >&2
	@$(PIP) install --requirement requirements-dev.txt
	@touch $@

$(VENV)/.docs: requirements-docs.txt | $(VENV)/.made
	@echo "setting up: installing requirements-docs.txt into $(VENV)" >&2
	@$(PIP) install --requirement requirements-docs.txt
	@touch $@

.bench/.made: requirements.txt bench/requirements.txt | $(VENV)/.made
	@echo "setting up: installing bench/requirements.txt into .bench" >&2
	@$(RUN) -m venv .bench
	@.bench/bin/python -m pip --disable-pip-version-check --quiet install -r requirements.txt -r bench/requirements.txt
	@touch $@

.bench-pinecone6/.made: bench/service/requirements-pinecone6.txt | $(VENV)/.made
	@echo "setting up: installing $< into .bench-pinecone6" >&2
	@$(RUN) -m venv .bench-pinecone6
	@.bench-pinecone6/bin/python -m pip --disable-pip-version-check --quiet install -r $<
	@touch $@

.clients/.made: tools/clients/requirements.txt | $(VENV)/.made
	@echo "setting up: installing $< into .clients" >&2
	@$(RUN) -m venv .clients
	@.clients/bin/python -m pip --disable-pip-version-check --quiet install -r $<
	@touch $@

.schemathesis/.made: tools/api/requirements.txt | $(VENV)/.made
	@echo "setting up: installing $< into .schemathesis" >&2
	@$(RUN) -m venv .schemathesis
	@.schemathesis/bin/python -m pip --disable-pip-version-check --quiet install -r $<
	@touch $@

.fuzz/.made: requirements.txt tests/fuzz/requirements.txt | $(VENV)/.made
	@echo "setting up: installing tests/fuzz/requirements.txt into .fuzz" >&2
	@$(RUN) -m venv .fuzz
	@.fuzz/bin/python -m pip --disable-pip-version-check --quiet install -r requirements.txt -r tests/fuzz/requirements.txt
	@touch $@

.mutmut/.made: requirements-dev.txt tests/campaigns/mutants-requirements.txt | $(VENV)/.made
	@echo "setting up: installing tests/campaigns/mutants-requirements.txt into .mutmut" >&2
	@$(RUN) -m venv .mutmut
	@.mutmut/bin/python -m pip --disable-pip-version-check --quiet install -r requirements.txt -r requirements-dev.txt -r tests/campaigns/mutants-requirements.txt
	@touch $@

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit(f"Cascade needs Python 3.11, 3.12 or 3.13; {sys.executable} is {v[0]}.{v[1]}. Try: make PYTHON=python3.13 $(MAKECMDGOALS)")'
	@$(PYTHON) -m venv $(VENV)
	@touch $@
