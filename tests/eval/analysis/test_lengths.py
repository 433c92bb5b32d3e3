"""Errors by length of the text: the slope over the number of words, and paired differences by bin."""

import numpy as np
import pytest

from eval.analysis.lengths import bin_differences, length_bins, slope_difference, slope_of
from eval.analysis.statistics import length_slope

RNG = np.random.default_rng(0)
WORDS = np.tile([1, 2, 4, 8, 16, 32, 64], 60)
PROMPTS = [f"p{i % 40}" for i in range(len(WORDS))]


def errors_at(rate, seed=0):
    """Errors whose rate may depend on the number of words."""
    return np.random.default_rng(seed).binomial(WORDS, rate(WORDS))


def rows(errors):
    return plain(errors, WORDS)


def plain(errors, words):
    return [
        {
            "utterance": f"u{i}",
            "voice": f"p{i % 40}",
            "reference_words": int(n),
            "substitutions": int(e),
            "deletions": 0,
            "insertions": 0,
            "wer": e / n,
            "duration_s": 0.4 * n,
            "hit_max": False,
            "flags": [],
            "failures": {},
            "sim_prompt": 0.9,
            "mos": None,
        }
        for i, (e, n) in enumerate(zip(errors, words, strict=True))
    ]


def test_the_slope_is_that_of_weighted_least_squares():
    errors = errors_at(lambda n: 0.05 + 0.02 * np.log2(n))
    expected = np.polyfit(np.log2(WORDS), errors / WORDS, 1, w=np.sqrt(WORDS))[0]
    found = length_slope(errors, WORDS, PROMPTS)
    assert found.point == pytest.approx(expected)
    assert found.low < 0.02 < found.high and found.low > 0


def test_the_interval_covers_a_known_slope():
    hits = 0
    for trial in range(100):
        errors = errors_at(lambda n: 0.1 + 0.01 * np.log2(n), seed=trial)
        found = length_slope(errors, WORDS, PROMPTS)
        hits += found.low <= 0.01 <= found.high
    assert 0.88 <= hits / 100 <= 0.99


@pytest.mark.parametrize(
    ("errors", "words"),
    [([1, 0, 1], [3, 3, 3]), ([0, 5], [5, 10]), ([0] * 1000 + [1], [250] * 1000 + [251])],
)
def test_without_lengths_there_is_no_slope(errors, words):
    with pytest.raises(ValueError, match="too few or too much alike"):
        length_slope(errors, words, [str(i) for i in range(len(words))])
    assert slope_of([{**row, "voice": row["utterance"]} for row in plain(errors, words)]) is None
    assert slope_of([]) is None
    with pytest.raises(ValueError, match="with words"):
        length_slope([1, 0], [0, 2], ["a", "b"])


def test_seeds_that_disagree_widen_the_slope():
    def width(shift):
        gaps = np.stack([errors_at(lambda n: 0.1 + 0 * n, seed) for seed in range(4)])
        turned = gaps + shift * np.array([[-1], [1], [-1], [1]]) * WORDS * np.log2(WORDS)
        found = length_slope(turned, WORDS, PROMPTS)
        return found.high - found.low

    alone = length_slope(errors_at(lambda n: 0.1 + 0 * n, 0), WORDS, PROMPTS)
    assert width(0.0) < alone.high - alone.low and width(0.02) > 2 * width(0.0)


def test_bins_hold_every_utterance_once():
    bins = length_bins(rows(errors_at(lambda n: 0.1 + 0 * n)))
    assert sum(one.utterances for one in bins) == len(WORDS)
    assert [one.low for one in bins] == [1, 3, 6, 11, 31, 63]
    assert sum(one.counts.reference_words for one in bins) == WORDS.sum()


def test_a_system_that_fails_on_long_texts_differs_there_only():
    base = errors_at(lambda n: 0.05 + 0 * n)
    worse = base + (WORDS > 30) * RNG.binomial(WORDS, 0.2)
    found = {one.low: one for one in bin_differences(rows(worse), rows(base))}
    assert found[31].difference.low > 0.1 and found[31].difference.p < 0.01
    assert found[6].difference.point == 0 and found[6].difference.p == 1


def test_the_slope_of_a_difference_is_over_seeds():
    base = errors_at(lambda n: 0.05 + 0 * n)
    worse = [base + RNG.binomial(WORDS, np.clip(0.03 * np.log2(WORDS), 0, 1)) for _ in range(2)]
    found = slope_difference([(rows(errors), rows(base)) for errors in worse])
    assert found.low < 0.03 < found.high and found.n == len(WORDS)
    assert found.point == pytest.approx(0.03, abs=0.005)  # a seed's slope varies by 0.001
    assert slope_difference([([], [])]) is None
