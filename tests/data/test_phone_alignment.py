"""Text tokens against Piper's timed phonemes."""

import numpy as np
import pytest

from data.phone_alignment import (
    letter_alignment,
    letters_of_phonemes,
    match,
    phoneme_alignment,
)
from mamtra.text.phonemes import PhonemeTokenizer

# "of the" is one word for espeak, "cat" has a tapped t.
TEXT = "top of the cat."
SYMBOLS = list("_tɑp ʌvðə kæɾ_")
ENDS = np.arange(1, len(SYMBOLS) + 1) * 640


def tokens(text):
    return [symbol for group in PhonemeTokenizer().spoken(text) for symbol in group]


def test_sounds_find_their_tokens_over_a_lost_word_boundary():
    own = tokens(TEXT)
    said = [own[i] for i in match(own, SYMBOLS)]
    assert said == ["T", "T", "AA1", "P", " ", "AH1", "V", "DH", "AH0", " ", "K", "AE1", "T", "."]


def test_every_speech_token_has_a_text_token_and_none_goes_back():
    spoken = phoneme_alignment(TEXT, SYMBOLS, ENDS, n_tokens=16)
    assert len(spoken) == 16 and (np.diff(spoken) >= 0).all()
    assert tokens(TEXT)[spoken[-1]] == "."


def test_letters_share_the_time_of_their_word():
    spoken = letter_alignment(TEXT, SYMBOLS, ENDS, n_tokens=14)
    # "top" lasts four tokens with the silence before it, "the" two.
    assert "".join(TEXT[i] for i in spoken) == "toop ofte cat."
    assert (np.diff(spoken) >= 0).all()


def test_a_comma_is_a_pause_and_letters_go_on_behind_it():
    text, symbols = "top, cat.", list("tɑp_ kæt_")
    ends = np.arange(1, len(symbols) + 1) * 640
    own = tokens(text)
    assert [own[i] for i in phoneme_alignment(text, symbols, ends, 9)][3] == ","
    letters = letter_alignment(text, symbols, ends, 9)
    assert [text[i] for i in letters][5:] == ["c", "a", "t", "."]


def test_nothing_to_align_is_an_error():
    with pytest.raises(ValueError, match="nothing to align"):
        match([], ["t"])


def test_letters_from_phonemes_are_those_from_times():
    phonemes = phoneme_alignment(TEXT, SYMBOLS, ENDS, n_tokens=14)
    timed = letter_alignment(TEXT, SYMBOLS, ENDS, n_tokens=14)
    assert (letters_of_phonemes(TEXT, phonemes) == timed).all()


def test_letters_behind_a_comma_and_an_apostrophe():
    text = "it's top, cat."
    own = tokens(text)
    spoken = letters_of_phonemes(text, np.arange(len(own)))
    assert [text[i] for i in spoken] == list("i's top,cat.")


@pytest.mark.parametrize("spoken", [[0, 99], [-1, 2], []], ids=["beyond", "before", "none"])
def test_an_alignment_of_another_text_is_an_error(spoken):
    with pytest.raises(ValueError, match=r"names|nothing to align"):
        letters_of_phonemes(TEXT, spoken)
