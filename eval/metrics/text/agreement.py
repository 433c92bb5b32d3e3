"""How far two recognisers agree: what only one of them heard is as likely its error as the speech's."""

from __future__ import annotations

from typing import Any

from eval.metrics.clip import Clip, Scorer
from eval.metrics.setup import Setup
from eval.metrics.text.errors import word_error_recipe
from eval.metrics.text.wer import word_diff
from eval.metrics.weights import code_sha256


def word_agreement(first: str, second: str) -> float:
    """Share of the words of two normalised texts that are aligned with the same word, 0 to 1."""
    n_words = len(first.split()) + len(second.split())
    if not n_words:
        return 1.0
    equal = sum(len(p.reference) for p in word_diff(first, second) if p.kind == "equal")
    return 2 * equal / n_words


class Agreement(Scorer):
    """Of the first two recognisers of `asr=[a, b]`."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.labels = list(setup.recognisers)[:2]

    @property
    def recipe(self) -> dict[str, Any]:
        each = [word_error_recipe(self.setup, label) for label in self.labels]
        return {"recognisers": each, "code": code_sha256(__file__)}

    def score(self, clip: Clip) -> dict[str, Any]:
        """No value where one of them failed."""
        heard = [clip.hearings[label].words for label in self.labels if label in clip.hearings]
        return {"agreement": round(word_agreement(*heard), 4)} if len(heard) == 2 else {}


def agreement_scorer(setup: Setup) -> Agreement | None:
    """None with one recogniser."""
    return Agreement(setup) if len(setup.recognisers) > 1 else None
