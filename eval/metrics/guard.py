"""What can be wrong with a transcript: nothing was said, or the recogniser went round in circles.

The detector of speech is Silero's, whose weights are in the faster-whisper wheel. N samples at 16 kHz.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from eval.metrics.model import MetricModel
from eval.metrics.weights import code_sha256, tool

SAMPLE_RATE_HZ = 16_000
WINDOW_S = 30.0  # what Whisper hears at once
MIN_CHUNK_S = 15.0  # a long clip is cut at the longest pause between these two
MAX_COMPRESSION = 2.4  # Whisper's own sign of a loop (openai-whisper transcribe.py)
MIN_LOOP_WORDS = 12
VAD_MS = {"min_speech_duration_ms": 30, "min_silence_duration_ms": 100, "speech_pad_ms": 0}

Span = tuple[int, int]  # first and last sample of a stretch of speech


class SpeechDetector(MetricModel):
    """Where somebody speaks."""

    kind = "vad"

    @property
    def recipe(self) -> dict[str, Any]:
        return {"tool": "silero", "faster-whisper": tool("faster-whisper"), **VAD_MS}

    def spans(self, wave: np.ndarray) -> list[Span]:
        """(N,) float32 at 16 kHz -> stretches of speech, in order; none in silence or noise."""
        from faster_whisper.vad import VadOptions, get_speech_timestamps

        found = get_speech_timestamps(wave, VadOptions(**VAD_MS))
        return [(int(span["start"]), int(span["end"])) for span in found]


def guard_recipe() -> dict[str, Any]:
    """What decides that nobody speaks, or that a transcript goes round in circles."""
    return {"detector": SpeechDetector().recipe, "code": guard_code()}


def guard_code() -> str:
    """Hash of this file's rules."""
    return code_sha256(__file__)


def loops(transcript: str) -> bool:
    """Whether a transcript repeats itself as a recogniser does that is stuck."""
    # A language without spaces has a word per letter or two.
    if max(len(transcript.split()), len(transcript) // 8) < MIN_LOOP_WORDS:
        return False
    content = transcript.encode()
    return len(content) / len(zlib.compress(content)) > MAX_COMPRESSION


def chunks(n_samples: int, spans: list[Span]) -> list[Span]:
    """A clip as parts of at most 30 s, cut in the longest pause of the second half of each window.

    Without a pause there it is cut at 30 s: a word may break.
    """
    window, least = int(WINDOW_S * SAMPLE_RATE_HZ), int(MIN_CHUNK_S * SAMPLE_RATE_HZ)
    pauses = [(a[1], b[0]) for a, b in pairwise(spans)]
    parts, start = [], 0
    while n_samples - start > window:
        middles = [
            (after - before, (before + after) // 2)
            for before, after in pauses
            if start + least <= (before + after) // 2 <= start + window
        ]
        cut = max(middles)[1] if middles else start + window
        parts.append((start, cut))
        start = cut
    return [*parts, (start, n_samples)]


def transcribe_long(
    wave: np.ndarray, spans: list[Span], transcribe: Callable[[np.ndarray], str]
) -> str:
    """The transcript of a clip of any length: its parts are read by themselves, none sees another's text."""
    parts = (transcribe(wave[start:end]) for start, end in chunks(len(wave), spans))
    return " ".join(part for part in parts if part)
