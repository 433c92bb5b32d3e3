"""A synthetic in-memory corpus, and a codec of tiny sizes trained on it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from hydra import compose, initialize_config_dir

from data.codec_batches import CropBatches, RecordingBatches, SpeechDataModule
from data.codec_features import CodecCorpus
from lightning_modules.codec import CodecModule
from lightning_modules.fit import fit as fit_module
from lightning_modules.run_folder import RunFolder
from lightning_modules.vocoder import VocoderModule
from lightning_modules.watching import Watching
from mamtra.speech.codec import CodecNetwork
from mamtra.speech.features import HOP, SAMPLE_RATE_HZ, log_mel
from mamtra.speech.vocoder import Vocoder
from mamtra.text.characters import CharacterTokenizer
from tests.lightning_modules.conftest import TRAINER
from train import main

ROOT = Path(__file__).parents[2]
NETWORK = {
    "width": 16,
    "fine_width": 8,
    "levels": [8, 5, 5, 5],
    "n_encoder_blocks": 1,
    "n_decoder_blocks": 1,
    "n_fine_blocks": 1,
}
VOCODER = {"width": 8, "n_blocks": 1}


def synthetic_corpus() -> CodecCorpus:
    """Twelve half-second vowels: harmonics of a steady pitch under one of two envelopes."""
    rng = np.random.default_rng(0)
    rows, waves, mels, pitches = [], [], [], []
    for i in range(12):
        n_frames = 48 + 4 * (i % 3)
        f0, voice = 100.0 + 10 * i, f"v{i % 2}"
        t = np.arange(n_frames * HOP) / SAMPLE_RATE_HZ
        wave = sum(np.sin(2 * np.pi * k * f0 * t) / k ** (1 + i % 2) for k in range(1, 20))
        wave = (0.2 * wave + 0.001 * rng.standard_normal(len(t))).astype(np.float32)
        rows.append(
            {
                "utterance": f"u{i}",
                "split": "valid" if i < 2 else "train",
                "text": "oh",
                "voice": voice,
                "n_samples": len(wave),
                "first_sample": sum(map(len, waves)),
                "n_frames": n_frames,
                "first_frame": sum(map(len, pitches)),
            }
        )
        waves.append((wave * 32767).clip(-32768, 32767).astype(np.int16))
        mels.append(log_mel(torch.from_numpy(wave)).numpy().astype(np.float16))
        pitches.append(np.full(n_frames, f0, dtype=np.float32))
    voices = {f"v{k}": rng.standard_normal((3, 256)).astype(np.float32) for k in range(2)}
    return CodecCorpus(
        pd.DataFrame(rows),
        np.concatenate(waves),
        np.concatenate(mels),
        np.concatenate(pitches),
        voices,
    )


def with_phones(corpus: CodecCorpus, known: bool = True) -> CodecCorpus:
    """A phoneme for each of the two envelopes, or none known."""
    spoken = [int(row.voice[1]) if known else -1 for row in corpus.index.itertuples()]
    phones = np.repeat(spoken, corpus.index["n_frames"]).astype(np.int8)
    return replace(corpus, phones=phones)


def _fit(folder, name, module, batches, steps, **trainer):
    run = RunFolder(folder, name)
    settings = replace(TRAINER, **({"val_every": 1000, "log_every": 1} | trainer))
    identity = {"settings": {}, "input_sha256": {}}
    how = {"steps": steps, "seed": 0, "settings": settings, "watching": Watching.by_csv(folder)}
    return fit_module(module, batches, run, identity, **how)


def fit_codec(folder, steps, corpus=None, trainer=None, **changes):
    """Trains a codec in `folder`; its weights' path."""
    made = corpus or synthetic_corpus()
    valid = RecordingBatches(made, "valid", 2.0)
    fixed = [valid.batch(rows, draws) for rows, draws in valid.epoch(0)]
    batches = SpeechDataModule(RecordingBatches(made, "train", 2.0), fixed)
    torch.manual_seed(0)
    options = {"lr": 3e-3, "adversarial_from": 6, "ctc_weight": 0.1, **changes}
    codes = CharacterTokenizer().vocab_size
    module = CodecModule(CodecNetwork(**NETWORK), codes, steps=steps, **options)
    return _fit(folder, "network.safetensors", module, batches, steps, **(trainer or {}))


def fit_vocoder(folder, steps, trainer=None):
    """Trains a vocoder in `folder`; its weights' path."""
    made = synthetic_corpus()
    valid = [CropBatches(made, "valid", rows=2, frames=16).batch(0)]
    batches = SpeechDataModule(CropBatches(made, "train", rows=4, frames=16), valid)
    torch.manual_seed(0)
    module = VocoderModule(Vocoder(**VOCODER), lr=1e-3, steps=steps, adversarial_from=3)
    return _fit(folder, "vocoder.safetensors", module, batches, steps, **(trainer or {}))


def speech_command(tmp_path, monkeypatch):
    """Runs `python train.py experiment=<name> ...` on the synthetic corpus, at tiny sizes."""
    made, features = synthetic_corpus(), tmp_path / "corpus" / "features" / "part-000"
    features.mkdir(parents=True)
    for name in ("audio", "mel", "f0"):
        np.save(features / f"{name}.npy", getattr(made, name))
    np.savez(features / "voices.npz", **made.voices)
    made.index.to_csv(features / "index.csv", index=False)
    made.index.to_csv(tmp_path / "corpus" / "manifest.csv", index=False)
    monkeypatch.chdir(tmp_path)
    sizes = ["codec.network.width=16", "codec.network.fine_width=8", "codec.vocoder.width=8"]
    common = [*sizes, "trainer.precision=32-true", "paths.corpus=corpus", "paths.runs=runs"]

    def run(*overrides: str) -> None:
        with initialize_config_dir(str(ROOT / "configs"), version_base=None):
            main(compose("train", overrides=[*common, *overrides]))

    return run
