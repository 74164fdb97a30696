# Everyday commands. `make` alone lists them. Needs python3.11 or 3.12 and make; `make test` also wants Java 17 and mvn,
# Node.js with npm, Go and promtool.

SHELL := bash
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
UV := $(VENV)/bin/uv
READY := $(VENV)/.ready
BENCH_READY := .cache/bench-venv/.ready
CODE := streams schemas agents deploy tests
TOOLS := tests/contract/tools
NODE_READY := $(TOOLS)/node/node_modules/.ready
GO_READY := .cache/contract-tools/.ready
FAST := not kafka and not slow and not browser

# The first Python of 3.11 or 3.12 on the path.
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo "$$p" && break; done)

# uv reads no pip settings: what pip was told by the environment, uv is told here.
export UV_DEFAULT_INDEX ?= $(or $(PIP_INDEX_URL),$(UV_INDEX_URL))
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
ifneq ($(PIP_CERT),)
export SSL_CERT_FILE ?= $(PIP_CERT)
endif
ifeq ($(UV_DEFAULT_INDEX),)
unexport UV_DEFAULT_INDEX
endif
ifeq ($(UV_FIND_LINKS),)
unexport UV_FIND_LINKS
endif

COMPILE := $(UV) pip compile --quiet --no-header --no-annotate --generate-hashes --no-emit-index-url --no-emit-find-links \
	--python-version 3.11 --python-platform x86_64-unknown-linux-gnu

.PHONY: help setup tools demo test test-fast check format schemas schemas-check lock bench chaos clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with duewatch in it, from the lock file (instant when nothing changed)

$(READY): pyproject.toml deploy/requirements-dev.lock deploy/requirements-build.lock
	@if [ -z "$(PYTHON)" ]; then \
		echo "make setup needs Python 3.11 or 3.12; found: $$(python3 --version 2>&1 || true). Install one, or: make setup PYTHON=/path/to/python3.11" >&2; exit 1; fi
	@[ -x $(PY) ] || "$(PYTHON)" -m venv $(VENV)
	@$(PY) -m pip install --quiet --require-hashes -r deploy/requirements-build.lock
	@# pip does the same, slower: it is asked where uv cannot reach the index (settings in pip's own files, for example).
	@$(UV) pip install --quiet --compile-bytecode --python $(PY) --require-hashes -r deploy/requirements-dev.lock \
		|| $(PY) -m pip install --quiet --require-hashes -r deploy/requirements-dev.lock
	@$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "ready: $(VENV)/bin/duewatch"

# What cannot be installed here is told, and the tests that need it skip; in CI they fail.
tools: ## install what others wrote to read our contracts: AsyncAPI parser, AJV, CloudEvents SDK (npm), compose (Go)
	@if ! command -v npm >/dev/null; then echo "npm is not installed: AsyncAPI parser, AJV and the JavaScript SDK are left out" >&2; \
		else $(MAKE) --silent --no-print-directory $(NODE_READY) || echo "npm could not install $(TOOLS)/node: left out" >&2; fi
	@if ! command -v go >/dev/null; then echo "Go is not installed: the check of docker-compose.yml is left out" >&2; \
		else $(MAKE) --silent --no-print-directory $(GO_READY) || echo "Go could not build $(TOOLS)/go: left out" >&2; fi

$(NODE_READY): $(TOOLS)/node/package.json $(TOOLS)/node/package-lock.json $(TOOLS)/node/.npmrc
	@cd $(TOOLS)/node && npm ci --ignore-scripts --loglevel=error
	@touch $@

$(GO_READY): $(TOOLS)/go/go.mod $(TOOLS)/go/go.sum $(wildcard $(TOOLS)/go/cmd/*/*.go)
	@mkdir -p $(@D)
	@cd $(TOOLS)/go && CGO_ENABLED=0 go build -mod=readonly -trimpath -o $(CURDIR)/$(@D)/ ./...
	@touch $@

demo: setup ## simulate a portfolio, replay it through the embedded broker and ClickHouse, show what was found
	@$(VENV)/bin/duewatch demo $(ARGS)

test: check tools ## everything: static checks and the whole test suite (with Apache Kafka on the JVM)
ifdef ARGS
	@$(PY) -m pytest $(ARGS)
else
	@$(PY) -m pytest -n 2 -m "$(FAST)"
	@# A file of them shares its broker.
	@$(PY) -m pytest -n 2 --dist loadfile -m "not ($(FAST))" --durations 15
endif

test-fast: setup ## the tests that need neither Kafka nor time
	@$(PY) -m pytest -n 2 -m "$(FAST)" $(ARGS)

check: setup schemas-check ## lint, formatting, types, import contracts, generated schemas, Dockerfile
	@$(VENV)/bin/ruff check $(CODE)
	@$(VENV)/bin/ruff format --check $(CODE)
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-logo
	@$(VENV)/bin/hadolint deploy/Dockerfile

format: setup ## format the code and apply the safe fixes
	@$(VENV)/bin/ruff check --fix $(CODE)
	@$(VENV)/bin/ruff format $(CODE)

schemas: setup ## regenerate JSON Schema and AsyncAPI from the contracts
	@$(PY) -m schemas.generate

schemas-check: setup ## fail when what is generated differs from the contracts
	@$(PY) -m schemas.generate --check

lock: setup ## resolve the pinned dependencies again (linux x86_64; keeps locked versions that still fit)
	@$(COMPILE) pyproject.toml -o deploy/requirements.lock
	@$(COMPILE) --extra embedded --group dev -c deploy/requirements.lock pyproject.toml -o deploy/requirements-dev.lock
	@$(COMPILE) --group build -c deploy/requirements-dev.lock -o deploy/requirements-build.lock
	@$(COMPILE) tests/bench/requirements.in -o tests/bench/requirements.lock

bench: setup ## how fast: react, the pipeline on Apache Kafka, two peers, the ceiling, latency, restore (long)
	@$(MAKE) --silent --no-print-directory $(BENCH_READY) || echo "quixstreams cannot be installed here: that peer is left out" >&2
	@$(PY) -W ignore -m tests.bench $(ARGS)

$(BENCH_READY): tests/bench/requirements.lock
	@$(PY) -m venv $(@D)
	@$(UV) pip install --quiet --compile-bytecode --python $(@D)/bin/python --require-hashes -r $< \
		|| $(@D)/bin/python -m pip install --quiet --require-hashes -r $<
	@touch $@

chaos: setup ## over 100 faults in 10 minutes on Apache Kafka and ClickHouse, then everything is compared (about 12 minutes)
	@$(PY) -m tests.chaos $(ARGS)

clean: ## remove caches and what runs left behind (keeps .venv)
	@rm -rf .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	@find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
