"""Word errors of a clip by every recogniser, raw and with the recogniser's inventions capped."""

from __future__ import annotations

from typing import Any

from eval.metrics.audio import reading_recipe
from eval.metrics.clip import Clip, Scorer
from eval.metrics.guard import guard_code, guard_recipe, loops
from eval.metrics.setup import Setup
from eval.metrics.text.profiles import Profile
from eval.metrics.text.wer import WordErrors, counting_recipe, missing_words, word_errors

LONG_CLIPS = "over 30 s: in parts cut in pauses; seed-tts-eval: the first 30 s"


def errors_of(clip: Clip, label: str, profile: Profile) -> WordErrors:
    """What one recogniser heard against the text; all words deleted where it heard nothing at all."""
    heard = clip.hearings.get(label)
    if heard is None:
        return missing_words(clip.reference)
    return word_errors(clip.reference, heard.words, profile.merge_compounds)


def word_error_recipe(setup: Setup, label: str) -> dict[str, Any]:
    """What the word errors by one recogniser depend on."""
    recogniser, detector = setup.recognisers[label], setup.detector
    cut = {"rule": LONG_CLIPS, "speech": detector and detector.recipe, "code": guard_code()}
    return {
        "recogniser": recogniser.recipe,
        "long_clips": "the recogniser's own windows" if recogniser.whole_clips else cut,
        "audio": reading_recipe(),
        "profile": setup.profile.recipe,
        "language": setup.language,
        "counting": counting_recipe(),
    }


class WordErrorRate(Scorer):
    """By the main recogniser in columns, by the further ones in `hearings`."""

    needs_audio = False

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    @property
    def recipe(self) -> dict[str, Any]:
        return word_error_recipe(self.setup, self.setup.first)

    def check(self) -> None:
        for recogniser in self.setup.recognisers.values():
            recogniser.check()

    def score(self, clip: Clip) -> dict[str, Any]:
        """The rate and its counts; nothing for a text without words."""
        if not clip.reference.split():
            return {}
        hearings, profile = {}, self.setup.profile
        for label in list(self.setup.recognisers)[1:]:
            heard = clip.hearings.get(label)
            transcript = heard.transcript if heard else None
            hearings[label] = {"transcript": transcript, **_counts(errors_of(clip, label, profile))}
        main = errors_of(clip, clip.first, profile)
        return {"wer": main.wer, "hearings": hearings, **_counts(main)}


def _counts(errors: WordErrors) -> dict[str, int]:
    return {
        "substitutions": errors.substitutions,
        "deletions": errors.deletions,
        "insertions": errors.insertions,
        "reference_words": errors.reference_words,
    }


class GuardedErrors(Scorer):
    """Where nobody speaks, as if nothing had been heard; where the transcript goes round in circles, the
    reference words at most. Never more than the raw errors."""

    needs_audio = False

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    @property
    def recipe(self) -> dict[str, Any]:
        return word_error_recipe(self.setup, self.setup.first) | {"guard": guard_recipe()}

    def score(self, clip: Clip) -> dict[str, Any]:
        if not clip.reference.split():
            return {}
        errors = errors_of(clip, clip.first, self.setup.profile)
        silent = clip.speech is not None and not clip.speech
        looping = clip.heard is not None and loops(clip.heard.transcript)
        capped = silent or looping
        guarded = min(errors.errors, errors.reference_words) if capped else errors.errors
        return {"guarded_errors": guarded, "wer_guarded": guarded / errors.reference_words}
