# Everything runs from a fresh clone on Debian or Ubuntu with Python 3.11; see tools/bootstrap.sh.
.DEFAULT_GOAL := help
SHELL := bash
PY := .venv/bin/python
# one worker for a file: what is costly to set up is set up once
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder
VERSIONS ?= 16 17 18
# Exported by some environments; it makes every Airflow command start three times slower
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help venv versions demo up demo-clean test test-full test-versions lint bench lock

help:  ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv:  ## install what is missing: system packages and .venv
	@tools/bootstrap.sh

versions:
	@tools/bootstrap.sh versions

demo: venv  ## play the story: an order is deleted, and its tenant restored to just before
	@$(PY) -m demo

up: venv  ## the same servers, left running as a place to explore
	@$(PY) -m demo up

demo-clean: venv  ## stop the demo's servers and delete its folder
	@$(PY) -m demo clean

test: versions  ## all tests, against real servers (PYTEST_ARGS='…')
	$(PY) -m pytest $(PYTEST_ARGS)

test-full: versions  ## and the long ones; what meets a server on each major version
	RESPALDO_FULL=1 $(PY) -m pytest $(PYTEST_ARGS)
	$(MAKE) test-versions

test-versions: versions  ## what meets a server, on each further major version (VERSIONS='17 18')
	@for major in $(VERSIONS); do echo "PostgreSQL $$major" && \
	  RESPALDO_POSTGRES=$$major $(PY) -m pytest $(PYTEST_ARGS) tests/postgres tests/jobs || exit; done

lint: venv  ## formatting, rules, types, floors
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy include
	.venv/bin/lint-imports

bench:  ## the benchmarks; they print their figures
	@tools/bootstrap.sh bench
	$(PY) -m bench

lock: venv  ## resolve requirements*.in anew, keeping the versions that still fit (LOCK_ARGS=--upgrade)
	.venv/bin/uv pip compile --quiet --no-emit-index-url --no-emit-find-links --python-version 3.11 \
	  --custom-compile-command 'make lock' $(LOCK_ARGS) requirements.in -o requirements.txt
	.venv/bin/uv pip compile --quiet --no-emit-index-url --no-emit-find-links --python-version 3.11 \
	  --custom-compile-command 'make lock' $(LOCK_ARGS) requirements-dev.in -o requirements-dev.txt
	.venv/bin/uv pip compile --quiet --no-emit-index-url --no-emit-find-links --python-version 3.11 \
	  --no-deps --generate-hashes \
	  --custom-compile-command 'make lock' $(LOCK_ARGS) requirements-postgres.in -o requirements-postgres.txt
