"""Phonemes of words and sentences; pieces of long texts."""

import lzma
import string

import pytest
import torch

from data.dictionary import write_dictionary
from mamtra.text import lexicon
from mamtra.text.letter_to_sound import LetterToSound, letter_ids, shipped_model, with_stress
from mamtra.text.phonemes import MAX_PIECE, SYMBOLS, PhonemeTokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return PhonemeTokenizer()


def test_a_sentence_in_phonemes(tokenizer):
    said = tokenizer.decode(tokenizer.encode("Hello, 2 cats!"))
    assert said == "HH AH0 L OW1 , T UW1 | K AE1 T S !"
    assert tokenizer.vocab_size == len(SYMBOLS) == len(set(SYMBOLS))


def test_letters_are_spelled(tokenizer):
    assert tokenizer.decode(tokenizer.encode("plan B")) == "P L AE1 N | B IY1 ."


def test_every_letter_has_a_name_and_every_pronunciation_is_made_of_symbols():
    assert all(lexicon.pronounce(letter) for letter in string.ascii_uppercase)
    used = {phone for phones in lexicon.dictionary().values() for phone in phones}
    used |= {phone for chunk in shipped_model().chunks for phone in chunk}
    assert used <= set(SYMBOLS)


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("zyzzyvas's", None),
        ("wugs'", None),
        ("cat's", "K AE1 T S"),
        ("dog's", "D AO1 G Z"),
        ("topaz's", "T OW1 P AE1 Z IH0 Z"),
        ("photograph", "F OW1 T AH0 G R AE1 F"),
    ],
)
def test_words_are_looked_up_and_endings_added(word, phones):
    said = " ".join(lexicon.pronounce(word))
    assert said == phones if phones else set(said.split()) <= set(SYMBOLS)


def test_a_word_that_no_dictionary_has_is_spoken_by_its_letters(tokenizer):
    said = lexicon.pronounce("blornitude")
    assert said[:2] == ("B", "L") and "T" in said and set(said) <= set(SYMBOLS)
    assert any(phone.endswith("1") for phone in said)
    assert tokenizer.encode("the blornitude")


def test_what_has_no_letters_is_an_error():
    with pytest.raises(ValueError, match="no letters"):
        lexicon.pronounce("'")


def test_the_shipped_dictionary_keeps_the_first_pronunciation_of_every_word(tmp_path):
    source = tmp_path / "data"
    source.mkdir()
    (source / "LICENSE").write_text("yours to keep")
    with pytest.raises(FileNotFoundError, match=r"cmudict\.dict is missing"):
        write_dictionary(source, tmp_path)
    (source / "cmudict.dict").write_text(
        "read R EH1 D\nread(2) R IY1 D # present\na. EY1\nabbe AE1 B IY0 # name\n"
    )
    packed = write_dictionary(source, tmp_path).read_bytes()
    assert lzma.decompress(packed).decode().splitlines() == [
        "a. EY1",
        "abbe AE1 B IY0",
        "read R EH1 D",
    ]
    assert (tmp_path / "cmudict.LICENSE").read_text() == "yours to keep"
    assert len(lexicon.dictionary()) > 120_000
    said = "AH0 N K W EH1 S CH AH0 N AH0 B L IY0"
    assert lexicon.pronounce("unquestionably") == tuple(said.split())


def test_five_thousand_characters_become_pieces_that_say_all_of_it(tokenizer):
    text = "He said that the old train left the station, and nobody knew why it came back. " * 63
    pieces = tokenizer.pieces(text)
    assert len(text) > 5000 - 80 and len(pieces) == 63
    assert all(len(tokenizer.encode(piece)) <= MAX_PIECE for piece in pieces)


def test_a_long_sentence_is_cut_at_commas_or_between_words(tokenizer):
    text = ", ".join(["we went to the garden behind the house"] * 6)
    pieces = tokenizer.pieces(text)
    assert len(pieces) > 1 and all(piece.endswith("house.") for piece in pieces)
    endless = tokenizer.pieces("word " * 100)
    assert sum(piece.count("word") for piece in endless) == 100
    assert all(len(tokenizer.encode(piece)) <= MAX_PIECE for piece in endless)


@pytest.mark.parametrize("text", ["", "😀", "!!!"])
def test_errors_are_those_of_the_normaliser(tokenizer, text):
    for method in (tokenizer.encode, tokenizer.pieces, tokenizer.whole, tokenizer.normalize):
        with pytest.raises(ValueError):
            method(text)


def test_a_word_that_no_word_is_as_long_as_is_refused(tokenizer):
    for method in (tokenizer.encode, tokenizer.pieces):
        with pytest.raises(ValueError, match=r"'aaaa.*\.\.\. of 5000 letters is too long"):
            method("a " + "a" * 5000)


def test_decode_refuses_an_id_outside_the_vocabulary(tokenizer):
    with pytest.raises(ValueError, match="id 999 at position 1"):
        tokenizer.decode([0, 999])


def test_letter_to_sound_ignores_padding():
    torch.manual_seed(0)
    model = LetterToSound(((), ("K",), ("AE0",)), width=8, blocks=2).eval()
    word = letter_ids("cat")
    alone, padded = model(torch.tensor([word])), model(torch.tensor([[*word, 0, 0, 0]]))
    torch.testing.assert_close(alone[0], padded[0, :3])


def test_some_vowel_is_stressed():
    assert with_stress(("K", "AE0", "T", "AH0")) == ("K", "AE1", "T", "AH0")
    assert with_stress(("K", "AE0", "T", "AH1")) == ("K", "AE0", "T", "AH1")
    assert with_stress(("S", "T")) == ("S", "T")


def test_the_shipped_model_pronounces_common_words():
    model = shipped_model()
    right = {"cat": "K AE1 T", "garden": "G AA1 R D AH0 N", "printing": "P R IH1 N T IH0 NG"}
    assert {word: " ".join(model.pronounce(word)) for word in right} == right
