"""The averages of a leaderboard as torchmetrics: they add up over batches and ranks, in Lightning too.

metric = CorpusWER("seedtts")
metric.update(["the reference"], ["what was heard"]); metric.compute()
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from eval.metrics.text.profiles import profile_of
from eval.metrics.text.wer import WordErrors, missing_words, word_errors


class _ErrorRate(Metric):
    """Sums over utterances; texts are normalised by a profile. Utterances without reference words are left
    out; a hypothesis of None (no usable audio) loses every word."""

    full_state_update = False
    higher_is_better = False
    total: Tensor
    weight: Tensor

    def __init__(self, profile: str = "seedtts", language: str = "en", **options) -> None:
        super().__init__(**options)
        self.profile, self.language = profile_of(profile, language), language
        for name in ("total", "weight"):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, references: Sequence[str], transcripts: Sequence[str | None]) -> None:
        """Count the errors of some utterances. Raises ValueError for lists of unequal length."""
        for reference, transcript in zip(references, transcripts, strict=True):
            words = self.profile.normalise(reference, self.language)
            if not words.split():
                continue
            if transcript is None:
                errors = missing_words(words)
            else:
                errors = word_errors(words, self.profile.hypothesis(transcript, self.language))
            self._add(errors)

    def _add(self, errors: WordErrors) -> None:
        raise NotImplementedError

    def compute(self) -> Tensor:
        """The rate as a fraction; NaN when nothing was counted."""
        return self.total / self.weight


class CorpusWER(_ErrorRate):
    """All word errors over all reference words (zh: characters)."""

    def _add(self, errors: WordErrors) -> None:
        self.total += errors.errors
        self.weight += errors.reference_words


class UtteranceMeanWER(_ErrorRate):
    """Unweighted mean of the utterances' rates, seed-tts-eval's headline."""

    def _add(self, errors: WordErrors) -> None:
        self.total += errors.wer
        self.weight += 1


class MeanScore(Metric):
    """Mean of a score per utterance (similarity, MOS) over those that have one; `count` says how many."""

    full_state_update = False
    higher_is_better = True
    total: Tensor
    count: Tensor

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, scores: Sequence[float | None]) -> None:
        """Add scores; None stands for an utterance without one."""
        kept = [score for score in scores if score is not None]
        self.total += sum(kept)
        self.count += len(kept)

    def compute(self) -> Tensor:
        """The mean; NaN when nothing was counted."""
        return self.total / self.count
