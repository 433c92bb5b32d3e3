"""How often intervals hold the truth and tests cry wolf, on simulated lists of few voices.

    python -m studies.coverage out=results/evaluation [trials=2000]

Writes <out>/coverage.csv: per number of voices and deviation of their effects, the share of lists whose nominal
95 % interval holds the truth, and the share of tests that find a difference where there is none. Rates of three
base rates stand apart; differences, which know nothing of them, are taken together. U utterances.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track

from eval.analysis.statistics import Interval, mean_interval, paired_difference, rate_interval
from eval.store.files import write_text

BASES = (0.03, 0.08, 0.15)
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


CASES = [(voices, sd) for voices in (5, 10, 30) for sd in (0.02, 0.05)]


def holds(found: Interval, truth: float) -> bool:
    """Whether an interval does."""
    return found.low <= truth <= found.high


def levels(voices: int, sd: float, base: float, trials: int) -> dict[str, float]:
    """Share of `trials` lists whose interval holds the truth, by statistic; and type-I errors."""
    world = World(voices, sd, seed=int(1000 * base))
    truth, ones = world.true_rate(base), np.ones(world.size)
    hits: dict[str, list[bool]] = {}
    for _ in range(trials):
        words, rates = world.words(), world.rates(base)
        errors = world.errors(rates, words)
        # A voice that suits one system better than the other; both are as good over all voices.
        theirs = world.errors(np.full(world.size, 0.2), words)
        ours = world.errors(np.clip(0.2 + world.effects(), 0.001, 0.95), words)
        gap = paired_difference(ours, theirs, words, world.names)
        # Skewed below, as similarities and opinions are.
        score = 0.75 + world.effects() - world.rng.exponential(0.05, world.size)
        other = 0.75 - world.rng.exponential(0.05, world.size)
        score_gap = paired_difference(score, other, None, world.names)
        found = {
            "WER": holds(rate_interval(errors, words, world.names), truth),
            "mean WER": holds(rate_interval(errors / words, ones, world.names), truth),
            "WER difference": holds(gap, 0),
            "SIM": holds(mean_interval(score, world.names), 0.7),
            "SIM difference": holds(score_gap, 0),
            "type I, WER": gap.p < 0.05,
            "type I, SIM": score_gap.p < 0.05,
        }
        for name, hit in found.items():
            hits.setdefault(name, []).append(bool(hit))
    return {name: float(np.mean(values)) for name, values in hits.items()}


def coverage(voices: int, sd: float, trials: int) -> dict[str, float]:
    """The shares of one case, at `trials` lists for each of the base rates."""
    by_base = {base: levels(voices, sd, base, trials) for base in BASES}
    found = {
        f"{name} at {base:.0%}": rates[name]
        for base, rates in by_base.items()
        for name in ("WER", "mean WER")
    }
    for name in ("WER difference", "SIM", "SIM difference", "type I, WER", "type I, SIM"):
        found[name] = float(np.mean([rates[name] for rates in by_base.values()]))
    return found


def main(arguments: list[str]) -> None:
    """The command line."""
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    trials = given.get("trials", "2000")
    if len(given) != len(arguments) or set(given) - {"trials"} != {"out"} or not trials.isdigit():
        sys.exit(__doc__)
    rows = [
        {"voices": voices, "sd": sd, "sentences": SENTENCES, "trials": int(trials)}
        | coverage(voices, sd, int(trials))
        for voices, sd in track(CASES, "simulated lists")
    ]
    path = Path(given["out"]) / "coverage.csv"
    write_text(path, pd.DataFrame(rows).to_csv(index=False, float_format="%.4f"))
    print(f"-> {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
