"""Read audio for scoring: a waveform, or the reason why there is none.

Legend: N samples.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from eval.metrics.weights import code_sha256

SAMPLE_RATE_HZ = 16_000
SILENT_PEAK = 1e-3  # -60 dBFS: below the quantisation noise of any speech worth transcribing


@dataclass(frozen=True)
class Audio:
    """wave: (N,) float32 mono at 16 kHz, or None when `status` is not "ok"."""

    status: str
    detail: str
    wave: np.ndarray | None
    duration_s: float
    sample_rate_hz: int | None = None  # of the file; None when it could not be read

    @cached_property
    def sha256(self) -> str:
        """Hash of the waveform: equal for files of other formats that hold the same samples."""
        assert self.wave is not None, "only usable audio has a hash"
        return hashlib.sha256(self.wave.tobytes()).hexdigest()


def read_audio(path: str | os.PathLike[str]) -> Audio:
    """Read a sound file as 16 kHz mono.

    Channels are averaged, other rates resampled. Never raises for a bad file: `status` is one of
    "ok", "missing", "corrupt", "empty", "nan", "silent", and `detail` says more.
    """
    path = Path(path)
    if not path.is_file():
        return Audio("missing", "no such file", None, 0.0)
    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except Exception as error:
        return Audio("corrupt", " ".join(str(error).split()), None, 0.0)
    if samples.shape[0] == 0:
        return Audio("empty", "no samples", None, 0.0, rate_hz)
    duration_s = samples.shape[0] / rate_hz
    if not np.isfinite(samples).all():
        return Audio("nan", "NaN or infinite samples", None, duration_s, rate_hz)
    wave = samples.mean(axis=1)
    if float(np.abs(wave).max()) < SILENT_PEAK:
        return Audio("silent", "peak below -60 dBFS", None, duration_s, rate_hz)
    if rate_hz != SAMPLE_RATE_HZ:
        wave = soxr.resample(wave, rate_hz, SAMPLE_RATE_HZ)
    if wave.size == 0:
        return Audio(
            "empty", f"less than one sample at {SAMPLE_RATE_HZ} Hz", None, duration_s, rate_hz
        )
    return Audio("ok", "", np.ascontiguousarray(wave, dtype=np.float32), duration_s, rate_hz)


def reading_recipe() -> dict[str, Any]:
    """How a file becomes the 16 kHz wave that every metric hears."""
    return {
        "resampling": f"soxr {version('soxr')} HQ; seed-tts-eval: scipy (ASR), torchaudio (SIM)",
        "channels": "mean",
        "code": code_sha256(__file__),
    }
