"""Which of a teacher's utterances are fit to train on: those that could be recordings by their length and form.

What an utterance is judged by is measured on the recordings of the teacher's own token table, so that there is
nothing to set. An utterance is left out for the first of these that applies:

    failed   its logits became such that nothing could be drawn
    limit    the length limit ended it, not a stop token
    empty    it has no tokens
    loop     a phrase of up to a second is said more often in a row than in any recording
    short    it is shorter for its text than any recording is for its own,
    long     or longer

Whether the words are right is not looked at: the teacher's mistakes are part of what it says.

L text tokens, T speech tokens of an utterance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

OK = "ok"
REASONS = ("failed", "limit", "empty", "loop", "short", "long")
LOOP_PHRASE = 25  # tokens: a second at 25 Hz
MEASURED = 20_000  # recordings that are looked at, evenly spread


def longest_run(tokens: np.ndarray) -> int:
    """How often the phrase of tokens (T,) that is repeated most is said in a row; 1 without repetition."""
    most = 1
    for size in range(1, min(LOOP_PHRASE, len(tokens) - 1) + 1):
        same = np.concatenate(([False], tokens[size:] == tokens[:-size], [False]))
        edges = np.flatnonzero(same[1:] != same[:-1])
        if len(edges):
            most = max(most, 1 + int((edges[1::2] - edges[::2]).max()) // size)
    return most


@dataclass(frozen=True)
class Rule:
    """What recordings are like: the most repetitions in a row, the line start + per_text * L that fits their T
    best, and the smallest and largest T in terms of it."""

    most_repeats: int
    start: float
    per_text: float
    shortest: float
    longest: float

    def __call__(self, text_length: int, tokens: Sequence[int], hit_max: bool, failed: bool) -> str:
        """OK, or the one of REASONS why an utterance of `text_length` text tokens is left out."""
        if failed:
            return "failed"
        if hit_max:
            return "limit"
        if not len(tokens):
            return "empty"
        if longest_run(np.asarray(tokens)) > self.most_repeats:
            return "loop"
        length = len(tokens) / (self.start + self.per_text * text_length)
        if length < self.shortest:
            return "short"
        return "long" if length > self.longest else OK


def measure(text_lengths: Sequence[int], tokens: Sequence[Sequence[int]]) -> Rule:
    """The rule that these recordings make. Raises ValueError without any and for lengths that no line fits."""
    if not len(tokens) or len(tokens) != len(text_lengths):
        raise ValueError(f"{len(tokens)} recordings of {len(text_lengths)} texts make no rule")
    chosen = np.unique(np.linspace(0, len(tokens) - 1, min(len(tokens), MEASURED)).astype(int))
    texts = np.array([text_lengths[i] for i in chosen], dtype=float)
    spoken = np.array([len(tokens[i]) for i in chosen], dtype=float)
    # Texts of one length have no slope: all of the length is the start.
    spread = texts.std()
    per_text = float(np.cov(texts, spoken, bias=True)[0, 1] / spread**2) if spread else 0.0
    start = float(spoken.mean() - per_text * texts.mean())
    expected = start + per_text * texts
    if expected.min() <= 0:
        raise ValueError(
            f"no line fits the lengths of the recordings: {start:.1f} + {per_text:.2f} x text tokens"
        )
    ratio = spoken / expected
    repeats = max(longest_run(np.asarray(tokens[i])) for i in chosen)
    return Rule(repeats, start, per_text, float(ratio.min()), float(ratio.max()))
