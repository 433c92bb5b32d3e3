"""Word error rate with the text normaliser of seed-tts-eval (English).

Source: seed-tts-eval `run_wer.py`. Every character of zhon's Chinese punctuation and of ASCII
punctuation is deleted, not replaced by a space, except the ASCII apostrophe; then one pass turns
double spaces into single ones; then lower case. Numbers are left as they are.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

import jiwer

# The set that zhon names `hanzi.punctuation`, by Unicode block.
_HANZI_PUNCTUATION = (
    "\uff02\uff03\uff04\uff05\uff06\uff07\uff08\uff09\uff0a\uff0b\uff0c\uff0d\uff0f\uff1a\uff1b\uff1c"
    "\uff1d\uff1e\uff20\uff3b\uff3c\uff3d\uff3e\uff3f\uff40\uff5b\uff5c\uff5d\uff5e\uff5f\uff60"
    "\uff62\uff63\uff64\u3000\u3001\u3003\u3008\u3009\u300a\u300b\u300c\u300d\u300e\u300f\u3010\u3011"
    "\u3014\u3015\u3016\u3017\u3018\u3019\u301a\u301b\u301c\u301d\u301e\u301f\u3030\u303e\u303f"
    "\u2013\u2014\u2018\u2019\u201b\u201c\u201d\u201e\u201f\u2026\u2027\ufe4f\ufe51\ufe54\u00b7"
    "\uff01\uff1f\uff61\u3002"
)
_DELETED = str.maketrans("", "", (_HANZI_PUNCTUATION + string.punctuation).replace("'", ""))


@dataclass(frozen=True)
class WordErrors:
    """Word edit counts of one utterance or of a sum of utterances."""

    substitutions: int
    deletions: int
    insertions: int
    reference_words: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float:
        """Errors per reference word; unbounded above."""
        return self.errors / self.reference_words


@dataclass(frozen=True)
class DiffPart:
    """A run of aligned words: kind is "equal", "substitute", "delete" or "insert"."""

    kind: str
    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]


def normalise_seedtts(text: str) -> str:
    """seed-tts-eval's normaliser for English."""
    return text.translate(_DELETED).replace("  ", " ").lower()


def word_errors(reference: str, hypothesis: str) -> WordErrors:
    """Compare two normalised texts.

    Raises:
        ValueError: the reference has no words, so that no rate is defined.
    """
    if not reference.split():
        raise ValueError("the reference has no words after normalisation")
    if not hypothesis.split():
        return missing_words(reference)
    counts = jiwer.process_words(reference, hypothesis)
    return WordErrors(
        counts.substitutions, counts.deletions, counts.insertions, len(reference.split())
    )


def missing_words(reference: str) -> WordErrors:
    """The errors of an utterance without usable audio: every word deleted, WER 1.0."""
    n_words = len(reference.split())
    return WordErrors(0, n_words, 0, n_words)


def corpus(errors: Sequence[WordErrors]) -> WordErrors:
    """Sum of counts; its `.wer` is the corpus WER."""
    return WordErrors(
        sum(e.substitutions for e in errors),
        sum(e.deletions for e in errors),
        sum(e.insertions for e in errors),
        sum(e.reference_words for e in errors),
    )


def utterance_mean(errors: Sequence[WordErrors]) -> float:
    """Unweighted mean of the utterance WERs, the headline of seed-tts-eval."""
    return sum(e.wer for e in errors) / len(errors)


def word_diff(reference: str, hypothesis: str) -> list[DiffPart]:
    """Align two normalised texts word by word, for display."""
    reference_words, hypothesis_words = tuple(reference.split()), tuple(hypothesis.split())
    if not hypothesis_words:
        return [DiffPart("delete", reference_words, ())] if reference_words else []
    if not reference_words:
        return [DiffPart("insert", (), hypothesis_words)]
    aligned = jiwer.process_words(reference, hypothesis).alignments[0]
    return [
        DiffPart(
            chunk.type,
            reference_words[chunk.ref_start_idx : chunk.ref_end_idx],
            hypothesis_words[chunk.hyp_start_idx : chunk.hyp_end_idx],
        )
        for chunk in aligned
    ]
