"""A tiny corpus, tiny models and a fit() that trains them in seconds."""

import random
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from data.datamodule import TokenDataModule
from lightning_modules import fit as fit_module
from lightning_modules.fit import fit
from lightning_modules.optim import OptimizerSettings
from lightning_modules.run_folder import RunFolder
from lightning_modules.teacher import TeacherModule
from lightning_modules.trainer_settings import TrainerSettings
from lightning_modules.watching import Watching
from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.speech_lm import SpeechLM
from mamtra.text.characters import CharacterTokenizer

CODES = 11


@pytest.fixture
def tokens_path(tmp_path) -> Path:
    """60 utterances in 3 voices whose tokens spell their text, so that there is something to
    learn."""
    rng, rows = random.Random(0), []
    for i in range(60):
        text = "".join(rng.choice("abcdefgh") for _ in range(rng.randint(3, 9)))
        tokens = [ord(letter) - ord("a") for letter in text for _ in range(2)]
        split = "valid" if i < 12 else "train"
        rows.append((f"utt{i:03d}", split, text, f"voice{i % 3}", tokens))
    path = tmp_path / "tokens.parquet"
    frame = pd.DataFrame(rows, columns=["utterance", "split", "text", "voice", "tokens"])
    frame.to_parquet(path)
    return path


@pytest.fixture
def datamodule(tokens_path):
    """Makes a fresh data module; fit() must not share one between runs."""

    def make() -> TokenDataModule:
        tokenizer = CharacterTokenizer()
        return TokenDataModule(
            tokens_path, tokenizer, CODES, max_tokens=300, pair_probability=0.5, seed=4
        )

    return make


@pytest.fixture
def tiny_lm():
    """Makes a SpeechLM of a given plan, the same one for the same seed."""

    def make(plan=("attention", "attention"), seed=0, dropout=0.0) -> SpeechLM:
        torch.manual_seed(seed)
        sizes = BackboneSizes(
            d_model=16, n_layers=len(plan), n_heads=2, n_kv_heads=1, head_dim=8, d_ff=32
        )
        return SpeechLM(sizes, plan, CharacterTokenizer().vocab_size, CODES, dropout=dropout)

    return make


OPTIMIZER = OptimizerSettings(
    recipe="adamw_cosine",
    lr=1e-2,
    betas=(0.9, 0.98),
    weight_decay=0.01,
    warmup_steps=2,
    fresh_lr=None,
)
TRAINER = TrainerSettings(
    accelerator="cpu",
    devices=1,
    nodes=1,
    strategy="auto",
    precision="32-true",
    grad_clip=1.0,
    accumulate=1,
    val_every=4,
    log_every=1,
    checkpoint_every=1000,
    checkpoint_minutes=100.0,
    global_tokens=None,
    keep=(),
    nonfinite_limit=3,
    spike=8.0,
    export="last",
    export_dtype="fp32",
    arguments={},
)


@pytest.fixture
def optimizer():
    return OPTIMIZER


@pytest.fixture
def train(datamodule):
    """train(module, run, steps, **trainer settings) -> the metrics of the run as a data frame."""

    def run_fit(module, run: RunFolder, steps: int, watching=None, **changes) -> pd.DataFrame:
        identity = {"settings": {"steps": steps}, "input_sha256": {}}
        watching = watching or Watching.by_csv(run.path)
        options = {"settings": replace(TRAINER, **changes), "watching": watching}
        fit(module, datamodule(), run, identity, steps=steps, seed=5, **options)
        return pd.read_csv(run.path / "metrics.csv")

    return run_fit


@pytest.fixture
def teacher(tiny_lm, optimizer):
    """Makes a teacher module; dropout makes the losses depend on the random state of every step."""

    def make(seed=0):
        return TeacherModule(tiny_lm(seed=seed, dropout=0.2), optimizer)

    return make


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs `python train.py experiment=<name> ...` of the speech side on a synthetic corpus."""
    from tests.lightning_modules.small_codec import speech_command  # which imports this file

    return speech_command(tmp_path, monkeypatch)


@pytest.fixture
def callback(monkeypatch):
    """Adds a callback to the trainer that fit() builds."""

    def add(extra: Callback) -> None:
        real = fit_module.lightning.Trainer

        def trainer(**settings):
            return real(**{**settings, "callbacks": [extra, *settings["callbacks"]]})

        monkeypatch.setattr(fit_module.lightning, "Trainer", trainer)

    return add
