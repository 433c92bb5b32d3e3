"""Word counts against values worked out by hand."""

import jiwer
import pytest

from eval.metrics.text.profiles import PROFILES
from eval.metrics.text.wer import (
    WordErrors,
    corpus,
    missing_words,
    utterance_mean,
    word_diff,
    word_errors,
)


def test_punctuation_is_deleted_not_replaced_and_the_ascii_apostrophe_stays():
    normalise = PROFILES["seedtts"].normalise
    assert normalise("Don't re-enter, “now”!", "en") == "don't reenter now"
    assert normalise("a   b", "en") == "a  b"  # one pass only, as the original


def test_counts_of_each_kind():
    found = word_errors("a b c d e f g", "a x c e f g h")
    assert (found.substitutions, found.deletions, found.insertions) == (1, 1, 1)
    assert found.reference_words == 7


def test_corpus_and_mean_differ_as_defined():
    errors = [WordErrors(1, 0, 0, 2), WordErrors(0, 0, 0, 8)]
    assert corpus(errors).wer == pytest.approx(0.1)
    assert utterance_mean(errors) == pytest.approx(0.25)


def test_agrees_with_jiwer_on_its_own_wer():
    reference, hypothesis = "the quick brown fox jumps", "a quick fox jumps over it"
    assert word_errors(reference, hypothesis).wer == pytest.approx(jiwer.wer(reference, hypothesis))


def test_an_empty_reference_has_no_rate_and_a_missing_wav_loses_every_word():
    with pytest.raises(ValueError, match="no words"):
        word_errors("", "something")
    assert missing_words("a b c").wer == 1.0


def test_diff_marks_the_words_that_differ():
    kinds = [(part.kind, part.reference, part.hypothesis) for part in word_diff("a b c", "a x c d")]
    assert ("substitute", ("b",), ("x",)) in kinds
    assert ("insert", (), ("d",)) in kinds
    assert word_diff("a b", "")[0].kind == "delete"
