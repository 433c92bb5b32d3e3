"""Phoneme tokenizer of the mini system: written English to ARPAbet phonemes, word boundaries and marks."""

from collections.abc import Iterable
from functools import cached_property

from mamtra.text.english import ENDS, MARKS, normalise_english
from mamtra.text.lexicon import pronounce

_CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"
_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
BOUNDARY = " "
SYMBOLS = (
    BOUNDARY,
    *MARKS,
    *_CONSONANTS.split(),
    *(vowel + stress for vowel in _VOWELS.split() for stress in "01"),
)
# Longer pieces than any training sentence are cut; its tokens are about 40 ms to 65 ms each.
MAX_PIECE = 100


class PhonemeTokenizer:
    """Text to the ids of SYMBOLS: phonemes of each word, a boundary or a comma between words, a sentence end.

    All methods raise ValueError for a text with nothing to speak and for one with a character that cannot be
    read (`mamtra.text.english.plain_letters`).
    """

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: i for i, symbol in enumerate(SYMBOLS)}

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return len(SYMBOLS)

    def normalize(self, text: str) -> str:
        """The text in words, as it is spoken: numbers and abbreviations written out."""
        return normalise_english(text)

    def spoken(self, text: str) -> list[tuple[str, ...]]:
        """Symbols of each word, alternating with what stands behind it: a boundary, a comma, an end."""
        groups: list[tuple[str, ...]] = []
        for word in self.normalize(text).split():
            bare = word.rstrip(MARKS)
            groups += [pronounce(bare), (word[len(bare) :] or BOUNDARY,)]
        return groups

    def encode(self, text: str) -> list[int]:
        """Ids of the text's symbols."""
        return [self._ids[symbol] for group in self.spoken(text) for symbol in group]

    def pieces(self, text: str) -> list[str]:
        """Normalised sentences, those of more than MAX_PIECE tokens cut at commas, else between words."""
        found: list[str] = []
        for sentence in _cut(self.normalize(text).split(), ENDS):
            if len(self.encode(sentence)) <= MAX_PIECE:
                found.append(sentence)
                continue
            current = ""
            for part in self._short_parts(sentence):
                longer = f"{current} {part}".strip()
                if current and len(self.encode(longer)) > MAX_PIECE:
                    found.append(current)
                    longer = part
                current = longer
            found.append(current)
        return [self.normalize(piece) for piece in found]

    def _short_parts(self, sentence: str) -> Iterable[str]:
        for part in _cut(sentence.split(), ","):
            short = len(self.encode(part)) <= MAX_PIECE
            yield from [part] if short else part.split()

    def whole(self, text: str) -> str:
        """The normalised text, not cut."""
        return self.normalize(text)

    def decode(self, ids: list[int]) -> str:
        """Symbols of `ids`, separated by spaces, word boundaries as "|". Raises ValueError for an id
        outside the vocabulary."""
        for position, i in enumerate(ids):
            if not 0 <= i < len(SYMBOLS):
                raise ValueError(f"id {i} at position {position} is not in 0..{len(SYMBOLS) - 1}")
        return " ".join("|" if i == 0 else SYMBOLS[i] for i in ids)


def _cut(words: list[str], marks: str) -> list[str]:
    """Runs of words up to and with one that ends with a mark."""
    parts: list[list[str]] = [[]]
    for word in words:
        parts[-1].append(word)
        if word[-1] in marks:
            parts.append([])
    return [" ".join(part) for part in parts if part]
