PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 2
export HF_HUB_OFFLINE ?= 1
TABLE := runs/demo

.PHONY: demo test check corpus assets clean
.DELETE_ON_ERROR:

## Distils a student from the shipped teacher, speaks and scores held-out sentences; ends with the table.
demo: $(VENV)/.installed
	$(BIN)/python train.py experiment=mini_distill_demo
	$(BIN)/python evaluate.py experiment=demo

## Lint, types, all fast tests.
test: check
	$(BIN)/python -m pytest

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs/demo
