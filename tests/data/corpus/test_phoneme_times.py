"""Piper's phonemes: marks merged, one label a frame."""

import numpy as np
import pytest

from data.corpus.phoneme_times import IGNORE, SYMBOLS, frame_labels, merge


def test_marks_give_their_time_to_their_sound():
    phonemes = ["^", "h", "ˈ", "i", "ː", " ", "n", "\u0329", ".", "$"]
    symbols, ends = merge(phonemes, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100])
    assert symbols == ["_", "h", "i", " ", "n", "_"]
    assert ends.tolist() == [10, 20, 50, 60, 80, 100]


def test_foreign_sounds_are_those_they_are_like():
    symbols, ends = merge(["r", "ɑ", "\u0303"], [10, 20, 30])
    assert symbols == ["ɹ", "ɑ"] and ends.tolist() == [10, 30]


@pytest.mark.parametrize(
    ("phonemes", "ends", "message"),
    [(["h", "ü"], [1, 2], "'ü'"), (["h"], [1, 2], "2 ends"), (["h", "i"], [3, 2], "not fall")],
)
def test_bad_times_and_unknown_phonemes_are_errors(phonemes, ends, message):
    with pytest.raises(ValueError, match=message):
        merge(phonemes, ends)


def test_frames_take_the_phoneme_at_their_middle():
    labels = frame_labels(["h", " ", "i"], np.array([160, 400, 560]), 5)
    h, i = SYMBOLS.index("h"), SYMBOLS.index("i")
    assert labels.tolist() == [h, IGNORE, i, 0, 0]
