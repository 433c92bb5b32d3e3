"""Character tokenizer: ids, normalisation, and errors that name the character."""

import pytest

from mamtra.text.characters import ALPHABET, CharacterTokenizer

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
