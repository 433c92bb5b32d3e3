"""Corpus recordings -> what codec and vocoder train on, cached beside the corpus.

Files in `<corpus>/features/`: `audio.npy` (all samples, int16), `mel.npy` (all frames, float16), `f0.npy`
(Hz, 0 = unvoiced), `index.csv` (utterance, split, text, voice, first sample / frame and counts) and
`voices.npz` (GE2E embeddings of a few recordings per voice).
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile as sf
import torch
from rich.progress import track

from mamtra.speech.features import F0_MAX_HZ, F0_MIN_HZ, HOP, N_MELS, SAMPLE_RATE_HZ, log_mel
from mamtra.speech.speaker import SpeakerEncoder

EMBEDDINGS_PER_VOICE = 12
# Token frames come in fours; recordings are zero-padded to whole tokens.
ALIGN = 4 * HOP


@dataclass(frozen=True)
class CodecCorpus:
    """Memory-mapped features. `index` has one row per recording, in corpus order."""

    index: pd.DataFrame
    audio: np.ndarray
    mel: np.ndarray
    f0: np.ndarray
    voices: dict[str, np.ndarray]

    def rows(self, split: str) -> pd.DataFrame:
        return self.index.loc[self.index["split"] == split].reset_index(drop=True)


def pitch(wave: np.ndarray, n_frames: int) -> np.ndarray:
    """(n,) waveform to (n_frames,) f0 in Hz by Praat's autocorrelation method, 0 where unvoiced."""
    import parselmouth

    track_ = parselmouth.Sound(wave.astype(np.float64), SAMPLE_RATE_HZ).to_pitch_ac(
        time_step=HOP / SAMPLE_RATE_HZ, pitch_floor=F0_MIN_HZ, pitch_ceiling=F0_MAX_HZ
    )
    times = np.arange(n_frames) * HOP / SAMPLE_RATE_HZ
    nearest = np.clip(np.round((times - track_.x1) / track_.dx).astype(int), 0, track_.nx - 1)
    return track_.selected_array["frequency"][nearest].astype(np.float32)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    wave, rate = sf.read(path, dtype="float32")
    if rate != SAMPLE_RATE_HZ:
        raise ValueError(f"{path}: {rate} Hz, expected {SAMPLE_RATE_HZ}; rebuild the corpus")
    wave = np.pad(wave, (0, -len(wave) % ALIGN))
    mel = log_mel(torch.from_numpy(wave)).numpy().astype(np.float16)
    return (wave * 32767).round().astype(np.int16), mel, pitch(wave, len(mel))


@lru_cache(maxsize=1)
def _encoder() -> SpeakerEncoder:
    return SpeakerEncoder()


def _embed(paths: list[Path]) -> np.ndarray:
    encoder = _encoder()
    waves = [torch.from_numpy(sf.read(p, dtype="float32")[0]) for p in paths]
    return np.stack([encoder(w).numpy() for w in waves])


def _one_thread() -> None:
    torch.set_num_threads(1)


def prepare(corpus: Path, workers: int = 2) -> CodecCorpus:
    """Computes the cache once; later calls open it. Raises FileNotFoundError without a manifest."""
    manifest = corpus / "manifest.csv"
    if not manifest.exists():
        raise FileNotFoundError(
            f"{manifest} is missing: run `python -m data.corpus.build out={corpus}` first"
        )
    folder = corpus / "features"
    if not (folder / "index.csv").exists():
        _compute(corpus, pd.read_csv(manifest), folder, workers)
    with np.load(folder / "voices.npz") as stored:
        voices = {name: stored[name] for name in stored.files}
    return CodecCorpus(
        index=pd.read_csv(folder / "index.csv"),
        audio=np.load(folder / "audio.npy", mmap_mode="r"),
        mel=np.load(folder / "mel.npy", mmap_mode="r"),
        f0=np.load(folder / "f0.npy", mmap_mode="r"),
        voices=voices,
    )


def _compute(corpus: Path, table: pd.DataFrame, folder: Path, workers: int) -> None:
    folder.mkdir(exist_ok=True)
    samples = (np.ceil(table["duration_s"] * SAMPLE_RATE_HZ / ALIGN) * ALIGN).astype(int)
    frames = samples // HOP
    index = table.assign(
        n_samples=samples,
        first_sample=samples.cumsum() - samples,
        n_frames=frames,
        first_frame=frames.cumsum() - frames,
    )
    # open_memmap writes a plain .npy in place; index.csv is written last and marks the cache whole.
    audio = np.lib.format.open_memmap(
        folder / "audio.npy", mode="w+", dtype=np.int16, shape=(int(samples.sum()),)
    )
    mel = np.lib.format.open_memmap(
        folder / "mel.npy", mode="w+", dtype=np.float16, shape=(int(frames.sum()), N_MELS)
    )
    f0 = np.lib.format.open_memmap(
        folder / "f0.npy", mode="w+", dtype=np.float32, shape=(int(frames.sum()),)
    )
    paths = [corpus / wav for wav in index["wav"]]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _one_thread) as pool:
        results = pool.map(_read, paths, chunksize=16)
        row: Any  # a named tuple of the columns
        for row, (wave, mels, hz) in track(
            zip(index.itertuples(), results, strict=True),
            description="mel and pitch",
            total=len(index),
        ):
            audio[row.first_sample : row.first_sample + row.n_samples] = wave
            mel[row.first_frame : row.first_frame + row.n_frames] = mels
            f0[row.first_frame : row.first_frame + row.n_frames] = hz
        groups = {
            str(voice): [corpus / w for w in rows["wav"].iloc[:EMBEDDINGS_PER_VOICE]]
            for voice, rows in index.groupby("voice")
        }
        embedded = track(
            zip(groups, pool.map(_embed, groups.values()), strict=True),
            description="speaker embeddings",
            total=len(groups),
        )
        stored: dict[str, Any] = dict(embedded)
        np.savez(folder / "voices.npz", **stored)
    for array in (audio, mel, f0):
        array.flush()
    partial = folder / "index.partial"
    index.to_csv(partial, index=False)
    os.replace(partial, folder / "index.csv")
