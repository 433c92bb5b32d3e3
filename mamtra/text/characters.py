"""Character tokenizer of the mini system: one id per letter, no unknown token."""

from mamtra.text.pieces import cut_text

ALPHABET = " abcdefghijklmnopqrstuvwxyz'.,?!"
FINAL_PUNCTUATION = ".?!"
MAX_PIECE = 104  # characters of the longest training sentence


class CharacterTokenizer:
    """Text to the ids of its characters, in the order of ALPHABET."""

    length_ratios = (0.5, 6.0)

    def __init__(self) -> None:
        self._ids = {character: i for i, character in enumerate(ALPHABET)}

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return len(ALPHABET)

    def normalize(self, text: str) -> str:
        """Lower case, single spaces, and a final "." where the text ends without . ? or !

        Raises ValueError for an empty text and for a character outside ALPHABET, naming the
        character and its position (from 0) in the text as given.
        """
        letters: list[str] = []
        for position, character in enumerate(text):
            letter = " " if character.isspace() else character.lower()
            if letter not in self._ids:
                raise ValueError(
                    f"character {character!r} at position {position} of {text!r} is not in the "
                    f"alphabet {ALPHABET!r}"
                )
            letters.append(letter)
        clean = " ".join("".join(letters).split())
        if not clean:
            raise ValueError("the text is empty")
        return clean if clean[-1] in FINAL_PUNCTUATION else clean + "."

    def encode(self, text: str) -> list[int]:
        """Ids of the normalised text. Errors as `normalize`."""
        return [self._ids[character] for character in self.normalize(text)]

    def pieces(self, text: str) -> list[str]:
        """The normalised sentences, for the models speak single ones; those above MAX_PIECE are cut at commas,
        else between words. Errors as `normalize`; ValueError for a word that is longer, and without letters."""
        cut = cut_text(self.normalize(text), len, MAX_PIECE - 1)  # a full stop may be added
        pieces = [piece.rstrip(" ,") for piece in cut if any(map(str.isalpha, piece))]
        if not pieces:
            raise ValueError(f"the text {text[:40]!r} has nothing to speak")
        return [self.normalize(piece) for piece in pieces]

    def whole(self, text: str) -> str:
        """The normalised text. Errors as `normalize`."""
        return self.normalize(text)

    def decode(self, ids: list[int]) -> str:
        """Text of `ids`. Raises ValueError for an id outside the vocabulary."""
        for position, i in enumerate(ids):
            if not 0 <= i < len(ALPHABET):
                raise ValueError(f"id {i} at position {position} is not in 0..{len(ALPHABET) - 1}")
        return "".join(ALPHABET[i] for i in ids)
