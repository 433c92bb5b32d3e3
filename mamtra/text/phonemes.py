"""Phoneme tokenizer of the mini system: written English to ARPAbet phonemes, word boundaries and marks."""

from functools import cached_property

from mamtra.text.english import MARKS, normalise_english
from mamtra.text.lexicon import pronounce
from mamtra.text.pieces import cut_text

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

    # 1.2 to 2.8 speech tokens per id in the recordings of assets/open: what is longer goes round in circles.
    length_ratios = (1.0, 3.0)

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
        pieces = cut_text(self.normalize(text), self._length, MAX_PIECE)
        return [self.normalize(piece) for piece in pieces]

    def _length(self, text: str) -> int:
        return len(self.encode(text))

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
