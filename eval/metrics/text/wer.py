"""Word error counts of normalised texts (`eval.metrics.text.profiles`), by jiwer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import jiwer

from eval.metrics.weights import code_sha256, tool


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


def word_errors(reference: str, hypothesis: str, merge_compounds: bool = False) -> WordErrors:
    """Compare two normalised texts.

    merge_compounds: neighbouring words that make one word of the other text are no error.

    Raises:
        ValueError: the reference has no words, so that no rate is defined.
    """
    if not reference.split():
        raise ValueError("the reference has no words after normalisation")
    if not hypothesis.split():
        return missing_words(reference)
    if merge_compounds:
        import kaldialign  # for one profile only

        found = kaldialign.edit_distance(
            reference.split(), hypothesis.split(), merge_compounds=True
        )
        return WordErrors(*(int(found[kind]) for kind in ("sub", "del", "ins", "ref_len")))
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


def counting_recipe() -> dict[str, Any]:
    """What aligned the words."""
    return {
        "jiwer": version("jiwer"),
        "kaldialign": tool("kaldialign"),
        "code": code_sha256(__file__),
    }
