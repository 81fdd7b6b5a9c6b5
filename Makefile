# make study [STUDY=studies/NAME.yaml] [JOBS=n]   the study of params.yaml (two cells side by side) or a ready one to its reports
# make plan                                       what would train, and how long that takes
# make bench                                      the measured claims, into benchmarks/RESULTS.md
# make test                                       the whole test suite; installs Ray, too, which only clusters need
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.installed
CLUSTER := $(VENV)/.installed-cluster
STUDY ?=
JOBS ?= $(if $(STUDY),1,2)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
.PHONY: study plan bench test

study: $(READY)
ifneq ($(STUDY),)
	@test -f "$(STUDY)" || { echo "error: STUDY=$(STUDY): no such file; allowed: $$(ls studies/*.yaml | tr '\n' ' ')" >&2; exit 1; }
	@if ! cmp -s "$(STUDY)" params.yaml && ! git diff --quiet -- params.yaml; then \
	    mkdir -p tmp && cp params.yaml tmp/params.yaml.edited && \
	    echo "your edited params.yaml is kept as tmp/params.yaml.edited"; fi
	cp "$(STUDY)" params.yaml
endif
	@if [ "$(JOBS)" = 1 ]; then dvc repro; else python -m pipeline.commands.launch --jobs "$(JOBS)"; fi
	@echo "The reports are in $(CURDIR)/reports: start with reports/README.md"

plan: $(READY)
	python -m pipeline.commands.plan

bench: $(READY)
	python -m benchmarks

test: $(CLUSTER)
	ruff check .
	ruff format --check .
	python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

$(READY): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "error: $$($(PYTHON) --version); allowed: Python 3.11 or newer (make PYTHON=python3.11 ...)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(CLUSTER): requirements-cluster.txt $(READY)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements-cluster.txt
	@touch $@
