# anyorder: `make tables` trains, evaluates and tabulates; `make test` is what a contributor runs.
SUITE ?= mini
CORES ?= 2
BASE  ?= python3
PY    := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help tables plan speed test lint install clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo "SUITE=smoke|mini|small|paper|im_sweep|beyond (default mini), CORES=2"

.venv/installed: constraints.txt pyproject.toml
	@$(BASE) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another one with BASE=python3.12" if sys.version_info < (3, 11) else 0)'
	@test -x $(PY) || $(BASE) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,judge,serve]'
	@touch $@

install: .venv/installed ## make .venv and install everything, pinned by constraints.txt

tables: .venv/installed ## train, evaluate and tabulate a suite; results in results/$(SUITE)
	@$(PY) -m harness make --suite $(SUITE) --cores $(CORES)

plan: .venv/installed ## what `make tables` would still do, how long, how much disk
	@$(PY) -m harness make --suite $(SUITE) --cores $(CORES) --plan

speed: .venv/installed ## measure speed of decoding and scoring with the suite's checkpoints again, then the report
	@OMP_NUM_THREADS=1 $(PY) -m harness speed --suite $(SUITE)
	@$(PY) -m reports build --suite $(SUITE) > /dev/null

lint: .venv/installed ## ruff and pyright
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright --pythonpath $(PY)

test: lint ## everything a contributor needs: ruff, pyright, pytest (with the smoke suite end to end)
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n $(CORES) --dist loadfile

clean: ## remove results of SUITE
	rm -rf results/$(SUITE)
