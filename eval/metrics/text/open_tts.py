"""Texts as Hugging Face's Open TTS Leaderboard compares them (normalizer/ of its repository, 2026).

English: Whisper's normaliser with more fillers left out, `'s` read as `is` after pronouns and question words
only, and spelled-out letters joined ("b b c" is "bbc"). Words are then aligned with compounds merged ("white
paper" is "whitepaper"), by kaldialign as there. Chinese: by character, punctuation dropped, small letters, and
what sounds alike written alike (the particles de, the pronouns ta, digits): its headline.

Not included: the leaderboard's lists of names and compound words and its changes to Whisper's list of
spellings, which are data of its repository. It hears with Qwen3-ASR-1.7B the first 30 s of a clip. None of its
values was reproduced with this.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any

FILLERS = "hmm|mm|mhm|mmm|uh|um|ah|aha|ahh|ahm|eh|ehehe|em|hm|huh|hum|mhum|uhm|umm|uhuh"
BEFORE_IS = "it|he|she|what|that|who|here|there|how|when|where|why|this"
SAME_SOUND = str.maketrans("地得她它", "的的他他")
DIGITS = str.maketrans("0123456789〇○", "零一二三四五六七八九零零")


def open_tts_words(text: str, language: str) -> str:
    """The words that are compared, with spaces between; Chinese: characters."""
    return _chinese(text) if language == "zh" else _english(text)


def _english(text: str) -> str:
    return _joined_letters(_normaliser()(text)).replace("-", " ").strip()


@cache
def _normaliser() -> Any:
    from whisper.normalizers import EnglishTextNormalizer  # imports Whisper

    normaliser = EnglishTextNormalizer()
    normaliser.ignore_patterns = rf"\b({FILLERS})\b"
    of_is = {rf"\b({BEFORE_IS})'s\b": r"\1 is"}
    rules = [
        of_is if pattern == r"'s\b" else {pattern: replacement}
        for pattern, replacement in normaliser.replacers.items()
    ]
    normaliser.replacers = {pattern: words for rule in rules for pattern, words in rule.items()}
    return normaliser


def _joined_letters(text: str) -> str:
    """Runs of two single letters or digits as one word, of three where "a" or "i" is among them."""
    words: list[str] = []
    for run in re.findall(r"(?<!\S)\w(?: \w)+(?!\S)|\S+", text):
        letters = run.split()
        least = 3 if {"a", "i"} & set(letters) else 2
        words += ["".join(letters)] if len(letters) >= least else letters
    return " ".join(words)


def _chinese(text: str) -> str:
    from zhconv import convert  # reads its tables at import

    text = convert(unicodedata.normalize("NFKC", text), "zh-cn").lower()
    kept = (c for c in text if c == "'" or unicodedata.category(c)[0] not in "MSP")
    folded = "".join(kept).translate(SAME_SOUND).translate(DIGITS)
    return " ".join("".join(folded.split()))
