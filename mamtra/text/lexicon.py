"""Words to ARPAbet phonemes: the CMU pronouncing dictionary, then rules for endings, then letters.

The dictionary (cmudict.txt.xz, made by `data/dictionary.py`) is under a licence of its own, cmudict.LICENSE.

Vowels carry stress: 0 (none) or 1 (primary or secondary).
"""

import lzma
from functools import cache
from pathlib import Path

from mamtra.text.letter_to_sound import shipped_model

NAME = "cmudict.txt.xz"
MAX_LETTERS = 60  # more than any word of English has
VOICELESS = frozenset(("P", "T", "K", "F", "TH"))
SIBILANTS = frozenset(("S", "Z", "SH", "ZH", "CH", "JH"))
Pronunciation = tuple[str, ...]


@cache
def dictionary() -> dict[str, Pronunciation]:
    """Lower-case words to their first pronunciation; "b." is the name of a letter."""
    packed = Path(__file__).with_name(NAME).read_bytes()
    lines = lzma.decompress(packed).decode().splitlines()
    return {
        word: tuple(phones.replace("2", "1").split())
        for word, _, phones in (line.partition(" ") for line in lines)
    }


def pronounce(word: str) -> Pronunciation:
    """Phonemes of one word of `mamtra.text.english`: lower case, or a capital for a letter's name.

    Raises ValueError for what has no letters, or more than a word has.
    """
    if len(word) > MAX_LETTERS:
        raise ValueError(
            f"the word {word[:20]!r}... of {len(word)} letters is too long to be spoken"
        )
    known = dictionary()
    if len(word) == 1 and word.isupper():
        return known[f"{word.lower()}."]
    if word in known:
        return known[word]
    for ending, said in (("'s", _plural), ("s'", _plural), ("'", None)):
        stem = word.removesuffix(ending)
        if stem != word and stem:
            phones = pronounce(stem)
            return said(phones) if said else phones
    phones = shipped_model().pronounce(word)
    if not phones:
        raise ValueError(f"{word!r} has no letters to pronounce")
    return phones


def _plural(phones: Pronunciation) -> Pronunciation:
    if phones[-1] in SIBILANTS:
        return (*phones, "IH0", "Z")
    return (*phones, "S" if phones[-1] in VOICELESS else "Z")
