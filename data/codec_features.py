"""Corpus recordings -> what codec and vocoder train on, cached beside the corpus.

Files in `<corpus>/features/part-000/`: `audio.npy` (all samples, int16), `mel.npy` (all frames, float16),
`f0.npy` (Hz, 0 = unvoiced), `phones.npy` (the phoneme of each frame, where the corpus has their times),
`index.csv` (utterance, split, text, voice, first sample / frame and counts) and `voices.npz` (GE2E embeddings
of a few recordings per voice). Recordings that come later make a part of their own.
"""

import bisect
import itertools
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile as sf
import torch
from rich.progress import track

from data.corpus.phoneme_times import frame_labels, merge
from data.workers import worker_processes
from mamtra.speech.features import F0_MAX_HZ, F0_MIN_HZ, HOP, N_MELS, SAMPLE_RATE_HZ, log_mel
from mamtra.speech.speaker import SpeakerEncoder

EMBEDDINGS_PER_VOICE = 12
# Token frames come in fours; recordings are zero-padded to whole tokens.
ALIGN = 4 * HOP


class Joined:
    """Arrays behind one another along their first axis, read by slices that lie within one of them."""

    def __init__(self, parts: list[np.ndarray]) -> None:
        self.parts = parts
        self.starts = list(itertools.accumulate(map(len, parts), initial=0))

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, wanted: slice) -> np.ndarray:
        """Raises IndexError for a slice that crosses parts or leaves them."""
        part = bisect.bisect_right(self.starts, wanted.start) - 1
        if not 0 <= part < len(self.parts) or wanted.stop > self.starts[part + 1]:
            raise IndexError(f"{wanted} does not lie within one part of {self.starts}")
        start = self.starts[part]
        return self.parts[part][wanted.start - start : wanted.stop - start]


@dataclass(frozen=True)
class CodecCorpus:
    """Memory-mapped features. `index` has one row per recording, in the order they came to the corpus;
    `phones` (frames,) int8 as `data.corpus.phoneme_times.frame_labels`, None without phoneme times."""

    index: pd.DataFrame
    audio: Joined | np.ndarray
    mel: Joined | np.ndarray
    f0: Joined | np.ndarray
    voices: dict[str, np.ndarray]
    phones: Joined | np.ndarray | None = None

    def rows(self, split: str) -> pd.DataFrame:
        return self.index.loc[self.index["split"] == split].reset_index(drop=True)


def pitch(wave: np.ndarray, n_frames: int) -> np.ndarray:
    """(n,) waveform to (n_frames,) f0 in Hz by Praat's autocorrelation method, 0 where unvoiced.

    Raises ModuleNotFoundError, which says what to install, where Praat's package is not there.
    """
    try:
        import parselmouth
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is needed for the pitch of recordings: pip install -e '.[mvc]'"
        ) from error

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
    """Computes what the cache lacks, then opens it. Raises FileNotFoundError without a manifest."""
    manifest = corpus / "manifest.csv"
    if not manifest.exists():
        raise FileNotFoundError(
            f"{manifest} is missing: run `python -m data.corpus.build out={corpus}` first"
        )
    table = pd.read_csv(manifest)
    parts = sorted((corpus / "features").glob("part-*/index.csv"))
    before = [pd.read_csv(part) for part in parts]
    done = {name for rows in before for name in rows["utterance"]}
    heard = {voice for rows in before for voice in rows["voice"]}
    missing = pd.DataFrame(table[~table["utterance"].isin(list(done))]).reset_index(drop=True)
    if len(missing):
        folder = corpus / "features" / f"part-{len(parts):03d}"
        _compute(corpus, missing, folder, workers, heard)
        parts.append(folder / "index.csv")
    return _open([part.parent for part in parts])


def _open(parts: list[Path]) -> CodecCorpus:
    def joined(name: str) -> Joined:
        return Joined([np.load(part / name, mmap_mode="r") for part in parts])

    audio, mel = joined("audio.npy"), joined("mel.npy")
    tables = [pd.read_csv(part / "index.csv") for part in parts]
    for table, sample, frame in zip(tables, audio.starts, mel.starts, strict=False):
        table["first_sample"] += sample
        table["first_frame"] += frame
    voices: dict[str, np.ndarray] = {}
    for part in parts:
        with np.load(part / "voices.npz") as stored:
            voices = {name: stored[name] for name in stored.files} | voices
    timed = all((part / "phones.npy").exists() for part in parts)
    return CodecCorpus(
        index=pd.concat(tables, ignore_index=True),
        audio=audio,
        mel=mel,
        f0=joined("f0.npy"),
        voices=voices,
        phones=joined("phones.npy") if timed else None,
    )


def _write_phones(corpus: Path, index: pd.DataFrame, folder: Path) -> None:
    """The phoneme of each frame, where the corpus has `phonemes.parquet`."""
    path = corpus / "phonemes.parquet"
    if not path.exists():
        return
    timed = pd.read_parquet(path).set_index("utterance").loc[index["utterance"]]
    labels = [
        frame_labels(*merge(row.phonemes, row.ends), n_frames)
        for row, n_frames in zip(timed.itertuples(), index["n_frames"], strict=True)
    ]
    np.save(folder / "phones.npy", np.concatenate(labels))


def _compute(
    corpus: Path, table: pd.DataFrame, folder: Path, workers: int, heard: set[str]
) -> None:
    """Features of the recordings in `table`, and embeddings of its voices that are not in `heard`."""
    folder.mkdir(parents=True, exist_ok=True)
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
    with worker_processes(workers, _one_thread) as pool:
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
            if voice not in heard
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
    _write_phones(corpus, index, folder)
    partial = folder / "index.partial"
    index.to_csv(partial, index=False)
    os.replace(partial, folder / "index.csv")
