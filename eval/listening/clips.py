"""Clips of a listening test: files of equal loudness and sample rate whose names say nothing.

Louder speech is preferred whatever else is asked, so every clip is brought to one loudness (ITU-R BS.1770-4,
gated). That is -23 LUFS, EBU R 128's level, unless a clip's true peak would then pass -1 dBTP: the whole test
is made quieter instead of limiting that clip, which would change how it sounds. N samples, mono.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyloudnorm
import soundfile
import soxr

from eval.store.files import InputError

TARGET_LUFS = -23.0
CEILING_DBTP = -1.0
BLOCK_S = 0.4  # BS.1770's gating block
NOISE_DB = 5.0  # of a check's noise above its speech: the words are hardly there
MAX_RATE_HZ = 48_000  # that every browser plays


@dataclass(frozen=True)
class Sound:
    """What one clip is made of: a speech file, with noise over it in a check."""

    path: Path
    noisy: bool = False


@dataclass(frozen=True)
class Written:
    """What all clips of a test share, and a hash of their content."""

    lufs: float
    sample_rate_hz: int
    sha256: str


def write_clips(sounds: Mapping[str, Sound], folder: Path) -> Written:
    """Write <folder>/<name>.flac for every name: mono, one loudness, one sample rate (the highest of all).

    Raises:
        InputError: a file that cannot be read, or that is too quiet to have a loudness.
    """
    read = {path: _read(path) for path in {sound.path for sound in sounds.values()}}
    rate_hz = min(max(rate for _, rate in read.values()), MAX_RATE_HZ)
    waves = {path: _resampled(wave, rate, rate_hz) for path, (wave, rate) in read.items()}
    made = {
        name: _with_noise(waves[sound.path], number) if sound.noisy else waves[sound.path]
        for number, (name, sound) in enumerate(sorted(sounds.items()))
    }
    measured = {}
    for name, wave in made.items():
        measured[name] = loudness_lufs(wave, rate_hz)
        if not np.isfinite(measured[name]):
            raise InputError(
                f"{sounds[name].path} is too quiet to have a loudness: leave its system out, or take other "
                "sentences with another seed="
            )
    # The level at which the peak of a clip reaches the ceiling, for the clip where that comes first.
    room = min(
        measured[name] + CEILING_DBTP - true_peak_dbtp(wave, rate_hz) for name, wave in made.items()
    )
    level = min(TARGET_LUFS, room)
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    for name, wave in sorted(made.items()):
        louder = wave * 10 ** ((level - measured[name]) / 20)
        soundfile.write(folder / f"{name}.flac", louder, rate_hz)
        digest.update((folder / f"{name}.flac").read_bytes())
    return Written(level, rate_hz, digest.hexdigest())


def loudness_lufs(wave: np.ndarray, rate_hz: int) -> float:
    """Integrated loudness of (N,) samples; -inf where nothing passes the gate.

    A clip shorter than a gating block is one block by itself.
    """
    block_s = min(BLOCK_S, (len(wave) - 1) / rate_hz)
    return float(pyloudnorm.Meter(rate_hz, block_size=block_s).integrated_loudness(wave))


def true_peak_dbtp(wave: np.ndarray, rate_hz: int) -> float:
    """Peak between the samples of (N,), by four times oversampling (BS.1770-4, annex 2)."""
    peak = max(np.abs(soxr.resample(wave, rate_hz, 4 * rate_hz)).max(), np.abs(wave).max())
    return float(20 * np.log10(max(peak, 1e-10)))


def _read(path: Path) -> tuple[np.ndarray, int]:
    try:
        samples, rate_hz = soundfile.read(path, dtype="float64", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}): score its system again") from None
    wave = np.nan_to_num(samples.mean(axis=1))
    if len(wave) < 2:
        raise InputError(f"{path} has no samples: score its system again")
    return wave, rate_hz


def _resampled(wave: np.ndarray, rate_hz: int, wanted_hz: int) -> np.ndarray:
    return wave if rate_hz == wanted_hz else soxr.resample(wave, rate_hz, wanted_hz)


def _with_noise(wave: np.ndarray, seed: int) -> np.ndarray:
    power = float(np.sqrt(np.mean(wave**2)))
    noise = np.random.default_rng(seed).standard_normal(len(wave))
    return wave + noise * power * 10 ** (NOISE_DB / 20)
