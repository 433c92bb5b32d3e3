"""Test sets as they come: a few voices, each better or worse than the others, and errors that are skewed."""

import numpy as np

SENTENCES = 30  # per voice


class World:
    """Draws what systems do on a list of `voices` x 30 sentences; a voice's effect has the deviation `sd`."""

    def __init__(self, voices: int, sd: float, seed: int = 0) -> None:
        self.rng, self.voices, self.sd = np.random.default_rng(seed), voices, sd
        self.size = voices * SENTENCES
        self.names = [f"v{i // SENTENCES}" for i in range(self.size)]

    def words(self) -> np.ndarray:
        return self.rng.integers(4, 15, self.size)

    def effects(self) -> np.ndarray:
        return np.repeat(self.rng.normal(0, self.sd, self.voices), SENTENCES)

    def rates(self, base: float) -> np.ndarray:
        """(U,) error rate of each utterance's voice."""
        return np.clip(base + self.effects(), 0.001, 0.95)

    def true_rate(self, base: float) -> float:
        """What the rates are over all voices that there could be."""
        many = np.random.default_rng(0).normal(base, self.sd, 1_000_000)
        return float(np.clip(many, 0.001, 0.95).mean())

    def errors(self, rates: np.ndarray, words: np.ndarray) -> np.ndarray:
        """Most sentences have none, some have many."""
        return self.rng.binomial(words, self.rng.beta(3 * rates, 3 * (1 - rates)))


def row(utterance: str, errors: int | None, words: int = 8, voice: str = "v", **changes) -> dict:
    """A score row; `errors` None for an utterance that has no rate."""
    counts = {"substitutions": errors, "deletions": None if errors is None else 0}
    return {
        "utterance": utterance,
        "status": "ok" if errors is not None else "ref_empty",
        "flags": [],
        "failures": {},
        "prompt": f"{voice}/prompt.wav",
        "voice": voice,
        "reference_words": words,
        **counts,
        "insertions": counts["deletions"],
        "wer": None if errors is None else errors / words,
        "guarded_errors": errors,
        **changes,
    }
