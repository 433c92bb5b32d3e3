"""How often intervals hold the truth and tests cry wolf, in a thousand simulated test sets each.

60 prompts with six utterances; a prompt's rate is its own, so that errors hang together.
"""

import numpy as np
import pytest

from eval.analysis.statistics import corpus_wer_interval, length_slope, sign_flip_p_value

TRIALS, PROMPTS = 1000, 60
MEMBER = np.repeat(np.arange(PROMPTS), 6)
NAMES = [str(i) for i in MEMBER]
pytestmark = pytest.mark.slow


@pytest.fixture
def drawn():
    """Makes (words, rates of the utterances' prompts, generator) of one trial."""
    rng = np.random.default_rng(7)

    def draw():
        return rng.integers(3, 21, size=len(MEMBER)), rng.beta(2, 18, size=PROMPTS)[MEMBER], rng

    return draw


def test_the_interval_of_the_error_rate_covers_it(drawn):
    hits = 0
    for trial in range(TRIALS):
        words, rates, rng = drawn()
        errors = rng.binomial(words, rates)
        found = corpus_wer_interval(errors, words, NAMES, n_resamples=1000, seed=trial)
        hits += found.low <= 0.1 <= found.high
    assert 0.93 <= hits / TRIALS <= 0.97  # nominal 0.95


def test_the_interval_of_the_slope_covers_it(drawn):
    hits = 0
    for trial in range(TRIALS):
        words, _, rng = drawn()
        own = rng.gamma(20, 1 / 20, size=PROMPTS)[MEMBER]
        errors = rng.binomial(words, (0.05 + 0.01 * np.log2(words)) * own)
        found = length_slope(errors, words, NAMES, n_resamples=1000, seed=trial)
        hits += found.low <= 0.01 <= found.high
    assert 0.93 <= hits / TRIALS <= 0.97


def test_equal_systems_are_rarely_called_different(drawn):
    false = 0
    for trial in range(TRIALS):
        words, rates, rng = drawn()
        ours, theirs = rng.binomial(words, rates), rng.binomial(words, rates)
        false += sign_flip_p_value(ours, theirs, NAMES, n_permutations=1000, seed=trial) < 0.05
    assert false / TRIALS <= 0.06  # nominal 0.05
