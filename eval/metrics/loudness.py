"""Loudness of a clip in LUFS (ITU-R BS.1770), by pyloudnorm, of the 16 kHz mono wave."""

from __future__ import annotations

import math
from typing import Any

from eval.metrics.audio import SAMPLE_RATE_HZ, reading_recipe
from eval.metrics.clip import Clip, Scorer
from eval.metrics.setup import Setup
from eval.metrics.weights import code_sha256, require, tool

BLOCK_S = 0.4  # of BS.1770; a shorter clip is one block


class Loudness(Scorer):
    """Integrated loudness of the whole clip."""

    def __init__(self, setup: Setup) -> None:
        """Any set-up: loudness has no settings."""

    @property
    def recipe(self) -> dict[str, Any]:
        used = {"tool": "pyloudnorm", "version": tool("pyloudnorm")}
        return {**used, "audio": reading_recipe(), "code": code_sha256(__file__)}

    def check(self) -> None:
        require("lufs", "pyloudnorm")

    def score(self, clip: Clip) -> dict[str, Any]:
        """Raises ValueError for a clip of which no block is above the gate of -70 LUFS."""
        from pyloudnorm import Meter

        wave = clip.wave
        meter = Meter(SAMPLE_RATE_HZ, block_size=min(BLOCK_S, len(wave) / SAMPLE_RATE_HZ))
        loudness = float(meter.integrated_loudness(wave))
        if not math.isfinite(loudness):
            raise ValueError("nothing above -70 LUFS")
        return {"lufs": round(loudness, 2)}
