"""What a recogniser hears: of a prompt, as its text; of speech, word by word against what was to be said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr

from eval.metrics.asr.recogniser import Recogniser
from eval.metrics.audio import SAMPLE_RATE_HZ, Audio
from eval.metrics.guard import SpeechDetector, transcribe_long
from eval.metrics.setup import Setup
from eval.metrics.text.profiles import Profile
from eval.metrics.text.wer import DiffPart, WordErrors, word_diff, word_errors


@dataclass(frozen=True)
class Heard:
    """`errors` is None where the text has no words once it is normalised."""

    transcript: str
    diff: list[DiffPart]
    errors: WordErrors | None


class Listener:
    """A recogniser with the rules by which words are compared."""

    def __init__(self, setup: Setup) -> None:
        self.recogniser: Recogniser = setup.recognisers[setup.first]
        self.name, self.language = setup.first, setup.language
        self.profile: Profile = setup.profile

    def check(self) -> None:
        """Raises Unavailable for a recogniser that cannot be had."""
        self.recogniser.check()

    def transcript(self, wave: np.ndarray) -> str:
        """(n,) at 16 kHz, of any length, to words; "" where nobody speaks."""
        if self.recogniser.whole_clips:
            return self.recogniser.transcribe(wave)
        spans = SpeechDetector().spans(wave)
        return transcribe_long(wave, spans, self.recogniser.transcribe) if spans else ""

    def prompt_text(self, prompt: Audio) -> str:
        """What is said in a prompt, as one line."""
        assert prompt.wave is not None
        return " ".join(self.transcript(prompt.wave).split())

    def hear(self, wave: np.ndarray, rate_hz: int, text: str) -> Heard:
        """(n,) at `rate_hz` against the `text` that it is to say."""
        if rate_hz != SAMPLE_RATE_HZ:
            wave = soxr.resample(wave, rate_hz, SAMPLE_RATE_HZ)
        transcript = self.transcript(np.ascontiguousarray(wave, dtype=np.float32))
        reference = self.profile.normalise(text, self.language)
        words = self.profile.hypothesis(transcript, self.language)
        errors = None
        if reference.split():
            errors = word_errors(reference, words, self.profile.merge_compounds)
        return Heard(transcript, word_diff(reference, words), errors)
