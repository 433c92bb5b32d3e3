"""What is wrong with an utterance, in the words of a listener."""

import pytest

from eval.metrics.faults import FAULT_CLASSES, expected_seconds, fault_class, longest_run

TEXT = "the old man walked slowly down the quiet street today"
CASES = [
    (TEXT, "ok"),
    (TEXT.replace("old", "cold"), "substituted"),
    (TEXT.replace("old ", ""), "substituted"),
    (TEXT.removesuffix(" today"), "substituted"),  # one word at the end may be the recogniser's
    (TEXT.removesuffix(" street today"), "cut_short"),
    ("the old man", "cut_short"),
    ("", "empty"),
    (TEXT + " and then we all went home again", "babble"),
    (TEXT + " well", "substituted"),
    (TEXT + " today today today", "loop"),
    (TEXT + " thank you thank you thank you thank you", "loop"),
    ("very very very " + TEXT, "substituted"),
]


@pytest.mark.parametrize(("heard", "found"), CASES)
def test_classes_of_one_text(heard, found):
    assert fault_class(TEXT, heard, heard, 3.5, 3.5) == found in FAULT_CLASSES


def test_what_the_text_repeats_is_no_loop():
    text = "no no no no said the old man to the dog"
    assert longest_run(text.split()) == 4 and longest_run(["a", "b", "a", "b", "a", "b", "c"]) == 3
    assert fault_class(text, text, text, 3.0, 3.0) == "ok"
    assert fault_class(text, f"no {text}", f"no {text}", 3.0, 3.0) == "loop"


@pytest.mark.parametrize(
    ("duration_s", "found"),
    [(1.7, "wrong_length"), (1.8, "ok"), (8.0, "ok"), (8.1, "wrong_length")],
)
def test_length_is_measured_against_what_is_expected(duration_s, found):
    assert fault_class(TEXT, TEXT, TEXT, duration_s, 3.5) == found


def test_usual_speech_of_a_text():
    assert expected_seconds("a" * 28, "en") == 2.0
    assert expected_seconds("今 天 天 气 很 好 吗 我 们", "zh") == 2.0
    words = ["今", "天", "天", "气", "很", "好", "我", "们", "去", "公", "园"]
    assert fault_class(" ".join(words), " ".join(words[:8]), "", 2.4, 2.4) == "cut_short"
