"""A synthetic in-memory corpus, and a codec of tiny sizes trained on it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from data.codec_batches import RecordingBatches
from data.codec_features import CodecCorpus
from lightning_modules import fit_codec as runs
from mamtra.speech.features import HOP, SAMPLE_RATE_HZ, log_mel

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


def fit(tmp_path, steps, **changes):
    made = synthetic_corpus()
    valid = RecordingBatches(made, "valid", 2.0)
    settings = {
        "run": tmp_path / "codec",
        "train": RecordingBatches(made, "train", 2.0),
        "valid": [valid.batch(rows, draws) for rows, draws in valid.epoch(0)],
        "network": NETWORK,
        "steps": steps,
        "lr": 3e-3,
        "adversarial_from": 6,
        "ctc_weight": 0.1,
        "precision": "32-true",
        "accelerator": "cpu",
    }
    torch.manual_seed(0)
    return runs.fit_codec(**{**settings, **changes})
