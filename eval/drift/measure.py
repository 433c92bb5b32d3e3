"""One long reading, fifth by fifth: word errors by place in the text, similarity by place in the sound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from eval.metrics.prosody.drift import Drift, drift
from eval.metrics.speaker.encoder import SpeakerEncoder
from eval.metrics.text.wer import DiffPart, word_diff

PARTS = 5
FEWEST_WORDS = 63  # the first of the length bins that is longer than a sentence of the training


@dataclass(frozen=True)
class Reading:
    """errors, words, similarities: one value for each of PARTS; `slopes` None where too little is voiced.

    `speed`: seconds of sound made in a second of computing; None for speech that came as a file.
    """

    utterance: str
    voice: str
    reference_words: int
    duration_s: float
    errors: tuple[int, ...]
    words: tuple[int, ...]
    similarities: tuple[float, ...] | None
    slopes: Drift | None
    speed: float | None


def errors_by_place(diff: list[DiffPart]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(errors, words) of each part of the reference; an insertion counts where the next word is, or the last.

    Raises ValueError for a reference with fewer words than parts.
    """
    total = sum(len(part.reference) for part in diff)
    if total < PARTS:
        raise ValueError(f"{total} words are no {PARTS} parts")
    errors, place = np.zeros(PARTS, dtype=int), 0
    for part in diff:
        if part.kind == "insert":
            errors[min(place, total - 1) * PARTS // total] += len(part.hypothesis)
        for _ in part.reference:
            errors[place * PARTS // total] += part.kind != "equal"
            place += 1
    words = np.bincount(np.arange(total) * PARTS // total, minlength=PARTS)
    return tuple(errors.tolist()), tuple(words.tolist())


def similarities_by_place(
    wave: np.ndarray, prompt: np.ndarray, encoder: SpeakerEncoder
) -> tuple[float, ...]:
    """Cosine of each part of a wave (N,) at 16 kHz to the embedded prompt (E,)."""
    ends = np.linspace(0, len(wave), PARTS + 1).astype(int)
    return tuple(float(np.dot(encoder.embed(wave[a:b]), prompt)) for a, b in pairwise(ends))


def measure(
    row: Mapping[str, Any],
    texts: tuple[str, str],
    wave: np.ndarray,
    prompt: np.ndarray | None,
    encoder: SpeakerEncoder | None,
    tracker: str,
) -> Reading:
    """A scored row with its normalised reference and transcript, its sound (N,) at 16 kHz, its prompt (E,)."""
    errors, words = errors_by_place(word_diff(*texts))
    similar = None
    if prompt is not None and encoder is not None:
        similar = similarities_by_place(wave, prompt, encoder)
    try:
        slopes = drift(wave, tracker)
    except ValueError:
        slopes = None
    took = (row.get("lm_s") or 0.0) + (row.get("vocode_s") or 0.0)
    speed = row["duration_s"] / took if took else None
    return Reading(
        row["utterance"],
        row["voice"],
        sum(words),
        row["duration_s"],
        errors,
        words,
        similar,
        slopes,
        speed,
    )
