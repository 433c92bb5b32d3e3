"""Speaking rate of a clip: words that were heard (zh: characters) in a second of speech, pauses left out."""

from __future__ import annotations

from typing import Any

from eval.metrics.audio import SAMPLE_RATE_HZ
from eval.metrics.clip import Clip, Scorer
from eval.metrics.setup import Setup
from eval.metrics.text.errors import word_error_recipe
from eval.metrics.weights import code_sha256


class SpeakingRate(Scorer):
    """Words of the transcript, not of the text: a cut sentence is not slow, a loop not fast."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    @property
    def recipe(self) -> dict[str, Any]:
        words = word_error_recipe(self.setup, self.setup.first)
        detector = self.setup.detector
        return words | {"speech": detector and detector.recipe, "code": code_sha256(__file__)}

    def score(self, clip: Clip) -> dict[str, Any]:
        """No value where nobody speaks, nobody looked for speech, or the recogniser failed."""
        if not clip.speech or clip.heard is None:
            return {}
        speech_s = sum(end - start for start, end in clip.speech) / SAMPLE_RATE_HZ
        return {"words_per_s": round(len(clip.heard.words.split()) / speech_s, 3)}
