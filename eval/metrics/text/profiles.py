"""Named protocols of scoring: how texts are normalised before words are counted, and what the headline is.

    seedtts   seed-tts-eval (run_wer.py): punctuation but for ' deleted, lower case; zh by character.
              Headline: mean over utterances
    f5        F5-TTS (eval/utils_eval.py): the same, and ' is deleted too. Mean over utterances. English is
              heard as there: asr=large-v3 of faster-whisper, five beams, its own thresholds and repeats
    whisper   Whisper's normalisers (Radford et al. 2022, appendix C): numbers, spellings, contractions.
              Headline: corpus rate
    open_tts  Hugging Face's Open TTS Leaderboard: see `eval.metrics.text.open_tts`. Corpus rate

All but f5 score the same raw transcripts, so that changing the profile calls no model. Languages: en, zh.

Every kind of space (no-break, ideographic, line ends) counts as a space, and what has no width (zero-width
space, soft hyphen, byte order mark) as nothing. The originals split at " " alone: for them a no-break space
makes one word of two. Texts without such characters give the originals' numbers.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from zhon.hanzi import punctuation as HANZI_PUNCTUATION

from eval.metrics.text import open_tts
from eval.metrics.text.open_tts import open_tts_words
from eval.metrics.weights import Unavailable, code_sha256, tool

LANGUAGES = ("en", "zh")
MEAN, CORPUS = "utterance mean", "corpus"

_SPACES = re.compile(r"\s")
_WITHOUT_WIDTH = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))
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
    merge_compounds: bool = False  # "white paper" and "whitepaper" are the same
    beam_search: bool = False  # English is heard as F5-TTS does it: see `eval.metrics.asr.whisper`

    def normalise(self, text: str, language: str) -> str:
        """The words that are compared, separated by spaces."""
        return self.normalise_as(plain_spaces(text), language)

    def hypothesis(self, transcript: str, language: str) -> str:
        """As `normalise` for a raw transcript: traditional Chinese is written in simplified letters first."""
        if language == "zh":
            from zhconv import convert  # reads its tables at import

            transcript = convert(transcript, "zh-cn")
        return self.normalise(transcript, language)

    @property
    def recipe(self) -> dict[str, Any]:
        """What the words depend on besides the texts."""
        packages = {name: tool(name) for name in self.packages}
        code = code_sha256(__file__, open_tts.__file__)
        return {"name": self.name, "code": code, "packages": packages}


def plain_spaces(text: str) -> str:
    """Every kind of space as " ", and nothing for characters without width."""
    return _SPACES.sub(" ", text.translate(_WITHOUT_WIDTH))


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
        Profile(
            *("f5", MEAN, ("zhon", "zhconv"), _punctuation_deleted(_WITHOUT_ALL)),
            beam_search=True,
        ),
        Profile("whisper", CORPUS, ("openai-whisper", "zhconv"), _whisper),
        Profile(
            *("open_tts", CORPUS, ("openai-whisper", "zhconv", "kaldialign"), open_tts_words),
            merge_compounds=True,
        ),
    )
}


def profile_of(name: str, language: str) -> Profile:
    """The profile of that name. Raises Unavailable, naming the valid ones, for another name or language."""
    if name not in PROFILES:
        raise Unavailable(f"unknown profile {name!r}; valid: {', '.join(PROFILES)}")
    if language not in LANGUAGES:
        raise Unavailable(f"no rules for language {language!r}; valid: {', '.join(LANGUAGES)}")
    return PROFILES[name]
