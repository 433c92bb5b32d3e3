"""Character tokenizer: ids, normalisation, and errors that name the character."""

import pytest

from mamtra.text.characters import ALPHABET, MAX_PIECE, CharacterTokenizer

TOKENIZER = CharacterTokenizer()


def test_round_trip_of_the_whole_alphabet():
    text = "a" + ALPHABET[1:]
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text
    assert TOKENIZER.vocab_size == len(set(ALPHABET)) == 32


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Hello There", "hello there."),
        ("  two \n spaces\t", "two spaces."),
        ("is it?", "is it?"),
        ("stop!", "stop!"),
        ("a pause,", "a pause,."),
    ],
)
def test_normalisation(text, clean):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == clean


@pytest.mark.parametrize(("text", "character", "position"), [("room 7", "7", 5), ("café", "é", 3)])
def test_unknown_character_is_named_with_its_position(text, character, position):
    with pytest.raises(ValueError, match=f"'{character}' at position {position}"):
        TOKENIZER.encode(text)


@pytest.mark.parametrize("text", ["", "  \n"])
def test_empty_text(text):
    with pytest.raises(ValueError, match="empty"):
        TOKENIZER.encode(text)


def test_decode_rejects_foreign_ids():
    with pytest.raises(ValueError, match="id 32 at position 1"):
        TOKENIZER.decode([0, 32])


def test_pieces_are_sentences():
    assert TOKENIZER.pieces("go on") == ["go on."]
    assert TOKENIZER.pieces("Go on. ... is it? well, stop") == ["go on.", "is it?", "well, stop."]
    with pytest.raises(ValueError, match="nothing to speak"):
        TOKENIZER.pieces("... !")


def test_long_sentences_are_cut_and_nothing_is_lost():
    text = "my brother painted the old bridge, " * 10 + "and then he went home " * 10
    pieces = TOKENIZER.pieces(text)
    assert all(len(piece) <= MAX_PIECE for piece in pieces) and len(pieces) > 5
    assert not any(",." in piece for piece in pieces)
    said = " ".join(piece[:-1] for piece in pieces)
    assert said.replace(",", "").split() == text.replace(",", "").split()
    with pytest.raises(
        ValueError, match=r"'aaaaaaaaaaaaaaaaaaaa'\.\.\. of 200 letters is too long"
    ):
        TOKENIZER.pieces("a word " + "a" * 200)
