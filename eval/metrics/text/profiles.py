"""Named protocols of scoring: how texts are normalised before words are counted, and what the headline is.

    seedtts  seed-tts-eval (run_wer.py): punctuation but for ' deleted, lower case; zh by character.
             Headline: mean over utterances
    f5       F5-TTS (eval/utils_eval.py): the same, and ' is deleted too. Mean over utterances
    whisper  Whisper's normalisers (Radford et al. 2022, appendix C): numbers, spellings, contractions.
             Headline: corpus rate

All of them score the raw transcripts, so that changing the profile calls no model. Languages: en, zh.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from zhon.hanzi import punctuation as HANZI_PUNCTUATION

from eval.metrics.weights import Unavailable, code_sha256

LANGUAGES = ("en", "zh")
MEAN, CORPUS = "utterance mean", "corpus"

_ALL = HANZI_PUNCTUATION + string.punctuation
_WITHOUT_ALL = str.maketrans("", "", _ALL)
_WITHOUT_SOME = str.maketrans("", "", _ALL.replace("'", ""))


@dataclass(frozen=True)
class Profile:
    """`normalise` turns a text of a language into words with spaces between; `headline` is MEAN or CORPUS."""

    name: str
    headline: str
    packages: tuple[str, ...]  # whose versions change what it does
    normalise_as: Callable[[str, str], str]

    def normalise(self, text: str, language: str) -> str:
        """The words that are compared, separated by spaces."""
        return self.normalise_as(text, language)

    def hypothesis(self, transcript: str, language: str) -> str:
        """As `normalise` for a raw transcript: traditional Chinese is written in simplified letters first."""
        if language == "zh":
            from zhconv import convert  # reads its tables at import

            transcript = convert(transcript, "zh-cn")
        return self.normalise(transcript, language)

    @property
    def recipe(self) -> dict[str, Any]:
        """What the words depend on besides the texts."""
        packages = {name: version(name) for name in self.packages}
        return {"name": self.name, "code": code_sha256(__file__), "packages": packages}


def _punctuation_deleted(table: dict[int, int | None]) -> Callable[[str, str], str]:
    def normalise(text: str, language: str) -> str:
        # Deleted, not replaced by a space, and double spaces once, as the originals do.
        text = text.translate(table).replace("  ", " ")
        return " ".join(text) if language == "zh" else text.lower()

    return normalise


def _whisper(text: str, language: str) -> str:
    return _whisper_normaliser(language)(text).strip()


@cache
def _whisper_normaliser(language: str) -> Callable[[str], str]:
    from whisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer  # imports Whisper

    return EnglishTextNormalizer() if language == "en" else BasicTextNormalizer(split_letters=True)


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("seedtts", MEAN, ("zhon", "zhconv"), _punctuation_deleted(_WITHOUT_SOME)),
        Profile("f5", MEAN, ("zhon", "zhconv"), _punctuation_deleted(_WITHOUT_ALL)),
        Profile("whisper", CORPUS, ("openai-whisper", "zhconv"), _whisper),
    )
}


def profile_of(name: str, language: str) -> Profile:
    """The profile of that name. Raises Unavailable, naming the valid ones, for another name or language."""
    if name not in PROFILES:
        raise Unavailable(f"unknown profile {name!r}; valid: {', '.join(PROFILES)}")
    if language not in LANGUAGES:
        raise Unavailable(f"no rules for language {language!r}; valid: {', '.join(LANGUAGES)}")
    return PROFILES[name]
