"""What the pages are made with: templates that escape, and players."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import soundfile
import soxr
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

PLAYED_RATES_HZ = (24_000, 16_000, 22_050, 32_000, 44_100, 48_000)  # that MP3 knows too
MAX_AUDIO_S = 30.0  # a runaway sentence must not blow up the page


def environment() -> Environment:
    """The templates, which escape whatever they are given."""
    return Environment(
        loader=PackageLoader("eval.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def audio_data_uri(
    path: Path, form: str = "FLAC", limit_s: float | None = MAX_AUDIO_S
) -> str | None:
    """A wav as a `data:` URI in FLAC (lossless, half the size) or MP3 (a tenth); every browser plays both.

    None when the file cannot be read or has no samples.
    """
    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError):
        return None
    wave = np.clip(np.nan_to_num(samples.mean(axis=1)), -1, 1)
    if rate_hz not in PLAYED_RATES_HZ:
        wave, rate_hz = soxr.resample(wave, rate_hz, PLAYED_RATES_HZ[0]), PLAYED_RATES_HZ[0]
    if len(wave) == 0:
        return None
    buffer = io.BytesIO()
    clip = wave if limit_s is None else wave[: int(limit_s * rate_hz)]
    soundfile.write(buffer, clip, rate_hz, format=form)
    kind = {"FLAC": "flac", "MP3": "mpeg"}[form]
    return f"data:audio/{kind};base64," + base64.b64encode(buffer.getvalue()).decode()
