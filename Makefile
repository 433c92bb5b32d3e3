PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 2
export HF_HUB_OFFLINE ?= 1
STUDENT := runs/mini_distill_demo/1to1-blockbeg-calibrated/student

.PHONY: demo test check clean
.DELETE_ON_ERROR:

## Distils a student from the shipped teacher, speaks and scores held-out sentences; ends with the table.
demo: $(VENV)/.installed
	$(BIN)/python train.py experiment=mini_distill_demo
	$(BIN)/python evaluate.py 'models={recordings: recordings, codec: codec, teacher: assets/mini/teacher, student: $(STUDENT)}' \
	    baseline=teacher limit=40 ce_limit=100 out=runs/demo title='MamTra mini: demo'

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
