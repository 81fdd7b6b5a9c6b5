# make study [STUDY=studies/NAME.yaml]   the study of params.yaml to its reports
# make test                              the whole test suite
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.installed
STUDY ?=
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
.PHONY: study test

study: $(READY)
ifneq ($(STUDY),)
	@test -f "$(STUDY)" || { echo "error: STUDY=$(STUDY): no such file; allowed: $$(ls studies/*.yaml | tr '\n' ' ')" >&2; exit 1; }
	@if ! cmp -s "$(STUDY)" params.yaml && ! git diff --quiet -- params.yaml; then \
	    mkdir -p tmp && cp params.yaml tmp/params.yaml.edited && \
	    echo "your edited params.yaml is kept as tmp/params.yaml.edited"; fi
	cp "$(STUDY)" params.yaml
endif
	dvc repro
	@echo "The reports are in $(CURDIR)/reports: start with reports/README.md"

test: $(READY)
	ruff check .
	ruff format --check .
	python -m pytest -n 2 --dist loadfile

$(READY): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "error: $$($(PYTHON) --version); allowed: Python 3.11 or newer (make PYTHON=python3.11 ...)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@
