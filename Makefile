# make study [STUDY=studies/NAME.yaml] [JOBS=n]   the study of params.yaml (two runs side by side) or a ready one to its reports
# make study DATA=../my_images [TABLE=labels.csv] a study of your own images: medmatrix new, then the same
# make plan                                       what would train, and how long that takes
# make bench                                      the measured claims, into benchmarks/RESULTS.md
# make quick                                      the tests of what you have changed since the last commit, in under a minute
# make test                                       linters, types, layers and the whole test suite; installs Ray, too
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.installed
CLUSTER := $(VENV)/.installed-cluster
STUDY ?=
DATA ?=
TABLE ?=
JOBS ?= $(if $(STUDY),1,2)
# As they were typed, for the shell to quote: make would take a dollar sign in them for a variable.
export MEDMATRIX_DATA := $(value DATA)
export MEDMATRIX_TABLE := $(value TABLE)
unexport DATA TABLE
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
unexport PYTHONDONTWRITEBYTECODE  # the tests start some hundred processes: none is to compile the code anew
.PHONY: study plan bench quick test

study: $(READY)
ifneq ($(value DATA),)
	@test -z "$(STUDY)" || { echo "error: DATA with STUDY: a study is of one of them" >&2; exit 1; }
	@medmatrix new --keep $${MEDMATRIX_TABLE:+--table "$$MEDMATRIX_TABLE"} -- "$$MEDMATRIX_DATA"
endif
ifneq ($(STUDY),)
	@test -f "$(STUDY)" || { echo "error: STUDY=$(STUDY): no such file; use one of: $$(ls studies/*.yaml | tr '\n' ' ')" >&2; exit 1; }
	@medmatrix use -- "$(STUDY)"
endif
	@medmatrix check
	@if [ "$(JOBS)" = 1 ]; then dvc repro; else medmatrix launch --jobs "$(JOBS)"; fi
	@echo "The reports are in $(CURDIR)/reports: start with reports/README.md"

plan: $(READY)
	medmatrix plan

bench: $(READY)
	python -m benchmarks

quick: $(READY)
	python tests/quick.py

test: $(CLUSTER)
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "error: $$($(PYTHON) --version); must be at least Python 3.11 (make PYTHON=python3.11 ...)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-compile pip==26.3  # half again as fast as that of Python 3.11
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-compile -r requirements.txt
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(VENV)/bin/python docs/offline_plots.py $(VENV)/vega.js
	$(VENV)/bin/python docs/first_imports.py  # writes the bytecode that pip was told not to: of the modules in use alone
	@touch $@

$(CLUSTER): requirements-cluster.txt $(READY)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-compile -r requirements-cluster.txt
	@touch $@
