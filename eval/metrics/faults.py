"""What is wrong with an utterance, as one of FAULT_CLASSES: what a listener would say of it.

The first that applies, in this order:

    empty         nothing to hear: no usable audio, no speech in it, or no word understood
    loop          it goes round in circles: the transcript is that of a recogniser that is stuck, or a phrase is
                  said `LOOP_TIMES` in a row that is not in the text that way
    cut_short     the last words are missing: at least `CUT_WORDS`, and `CUT_SHARE` of the text
    babble        speech that is not the text: inserted words, at least `BABBLE_WORDS`, and `BABBLE_SHARE` of it
    wrong_length  longer or shorter by `LENGTH_FACTOR` than the recording, or than usual speech of such a text
    substituted   other errors
    ok            every word of the text and no other

The limits are for finding clips to listen to: a class is a hint of the cause, the word errors are the measure.
"""

from __future__ import annotations

from typing import Any

import soundfile

from eval.metrics.clip import Clip, Scorer
from eval.metrics.guard import guard_recipe, loops
from eval.metrics.setup import Setup
from eval.metrics.text.errors import word_error_recipe
from eval.metrics.text.wer import DiffPart, word_diff
from eval.metrics.weights import code_sha256

FAULT_CLASSES = ("ok", "substituted", "cut_short", "loop", "babble", "empty", "wrong_length")
LOOP_TIMES, LOOP_PHRASE_WORDS = 4, 5
CUT_WORDS, CUT_SHARE = 2, 0.2
BABBLE_WORDS, BABBLE_SHARE = 3, 0.5
LENGTH_FACTOR = 2.0
# Usual speech, and as much again on either side: letters, or Chinese characters, in a second.
LETTERS_PER_S = {"en": 14.0, "zh": 4.5}
PAUSE_S = 1.0  # silence around speech that makes no clip too long


def fault_class(
    reference: str, heard: str, transcript: str, duration_s: float, expected_s: float
) -> str:
    """The class of an utterance in which somebody speaks.

    Args:
        reference, heard: normalised words; the reference has some.
        transcript: as the recogniser wrote it.
        duration_s: of the clip.
        expected_s: of the recording, or of speech of such a text.
    """
    words, said = reference.split(), heard.split()
    if not said:
        return "empty"
    if loops(transcript) or longest_run(said) >= max(LOOP_TIMES, longest_run(words) + 1):
        return "loop"
    parts = word_diff(reference, heard)
    if _at_least(_missing_at_the_end(parts), CUT_WORDS, CUT_SHARE, words):
        return "cut_short"
    if _at_least(_inserted(parts), BABBLE_WORDS, BABBLE_SHARE, words):
        return "babble"
    if not expected_s / LENGTH_FACTOR <= duration_s <= LENGTH_FACTOR * expected_s + PAUSE_S:
        return "wrong_length"
    return "ok" if all(part.kind == "equal" for part in parts) else "substituted"


def longest_run(words: list[str]) -> int:
    """How often the phrase that is repeated most is said in a row; phrases of up to LOOP_PHRASE_WORDS words."""
    most = 1
    for size in range(1, LOOP_PHRASE_WORDS + 1):
        same = 0  # words in a row that are the one a phrase before
        for before, word in zip(words, words[size:], strict=False):
            same = same + 1 if word == before else 0
            most = max(most, 1 + same // size)
    return most


def expected_seconds(reference: str, language: str) -> float:
    """Usual duration of a normalised text."""
    return len(reference.replace(" ", "")) / LETTERS_PER_S[language]


def _missing_at_the_end(parts: list[DiffPart]) -> int:
    return len(parts[-1].reference) if parts[-1].kind == "delete" else 0


def _inserted(parts: list[DiffPart]) -> int:
    return sum(len(part.hypothesis) for part in parts if part.kind == "insert")


def _at_least(count: int, words: int, share: float, reference: list[str]) -> bool:
    return count >= max(words, share * len(reference))


class FaultClass(Scorer):
    """The class of every clip; None for a text without words, and where the recogniser failed."""

    needs_audio = False

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    @property
    def recipe(self) -> dict[str, Any]:
        words = word_error_recipe(self.setup, self.setup.first)
        return words | {"guard": guard_recipe(), "code": code_sha256(__file__)}

    def score(self, clip: Clip) -> dict[str, Any]:
        if not clip.reference.split():
            return {}
        if clip.audio.wave is None or clip.speech == ():
            return {"fault_class": "empty"}
        if clip.heard is None:
            return {}
        expected_s = expected_seconds(clip.reference, self.setup.language)
        if clip.recording is not None and clip.recording.is_file():
            expected_s = soundfile.info(str(clip.recording)).duration
        heard = clip.heard
        texts = clip.reference, heard.words, heard.transcript
        return {"fault_class": fault_class(*texts, clip.audio.duration_s, expected_s)}
