"""Whether a long reading changes as it goes: pitch, level and voiced share over its minutes. N samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eval.metrics.audio import SAMPLE_RATE_HZ
from eval.metrics.prosody.compare import CENTS, FEWEST_VOICED, frame_power
from eval.metrics.prosody.pitch import HOP, TRACKERS

WINDOW_S = 10.0
FEWEST_WINDOWS = 3


@dataclass(frozen=True)
class Drift:
    """Slopes by least squares over windows of ten seconds: of the median pitch, and of the level of the loud
    frames; `windows` that have both."""

    pitch_cents_per_min: float
    level_db_per_min: float
    windows: int


def drift(wave: np.ndarray, tracker: str) -> Drift:
    """(N,) at 16 kHz. Raises ValueError for a reading of fewer than three windows with a voice."""
    f0, power = TRACKERS[tracker](wave), frame_power(wave)
    size = round(WINDOW_S * SAMPLE_RATE_HZ / HOP)
    minutes, cents, levels = [], [], []
    for start in range(0, len(power) - size // 2, size):
        part, voiced = power[start : start + size], f0[start : start + size]
        voiced = voiced[voiced > 0]
        if len(voiced) < FEWEST_VOICED:
            continue
        minutes.append((start + len(part) / 2) * HOP / SAMPLE_RATE_HZ / 60)
        cents.append(CENTS * np.log2(np.median(voiced)))
        levels.append(10 * np.log10(np.percentile(part, 95)))
    if len(minutes) < FEWEST_WINDOWS:
        raise ValueError(
            f"{len(minutes)} windows of {WINDOW_S:.0f} s with a voice: drift needs {FEWEST_WINDOWS}"
        )
    pitch, level = (float(np.polyfit(minutes, values, 1)[0]) for values in (cents, levels))
    return Drift(pitch, level, len(minutes))
