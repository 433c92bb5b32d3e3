"""Alignment of letters and phonemes, and a model of a toy language."""

import itertools

import pytest

from data import letter_to_sound
from data.letter_to_sound import align_all, edit_distance, evaluate, fit

SOUNDS = {letter: (letter.upper(),) for letter in "bdmnptz"}
SOUNDS |= {"x": ("K", "S"), "h": (), "a": ("AE1",), "o": ("AA1",), "e": ("EH1",)}


def toy():
    """Words of one to three syllables, in which x speaks two phonemes and h none."""
    syllables = [consonant + vowel for consonant in "bdmnptzxh" for vowel in "aoe"]
    words = [*syllables, *map("".join, itertools.product(syllables, syllables[::3]))]
    words += [word + letter for word in words for letter in "bdmnx"]
    return [(word, tuple(p for letter in word for p in SOUNDS[letter])) for word in words]


def test_letters_get_the_phonemes_that_they_speak():
    pairs = toy()
    for (word, _), chunks in zip(pairs, align_all(pairs), strict=True):
        assert chunks == [SOUNDS[letter] for letter in word]


def test_a_word_with_more_phonemes_than_letters_can_speak_is_left_out():
    assert align_all([("ab", ("AE1", "B")), ("a", ("AE1", "B", "D"))])[1] == []


def test_a_model_learns_the_toy_language(monkeypatch):
    monkeypatch.setattr(letter_to_sound, "MIN_CHUNK_COUNT", 1)
    pairs = toy()[:120]
    quality = evaluate(fit(pairs, epochs=12), pairs)
    assert quality["words_right"] > 0.8 and quality["phoneme_error_no_stress"] < 0.1


@pytest.mark.parametrize(
    ("a", "b", "distance"), [("", "ab", 2), ("abc", "abc", 0), ("abc", "adcx", 2)]
)
def test_edit_distance(a, b, distance):
    assert edit_distance(tuple(a), tuple(b)) == distance
