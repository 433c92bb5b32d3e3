"""Bootstrap intervals: definition, reproducibility, clustering, pairing."""

import numpy as np
import pytest

from eval.statistics import corpus_wer_interval, paired_difference_interval


def test_point_is_the_ratio_of_sums_and_the_seed_fixes_the_interval():
    errors, words, prompts = [1, 0, 2, 0], [4, 6, 5, 5], ["p", "p", "q", "r"]
    first = corpus_wer_interval(errors, words, prompts)
    assert first.point == pytest.approx(3 / 20)
    assert first == corpus_wer_interval(errors, words, prompts)
    assert first.low <= first.point <= first.high
    many, names = list(range(40)), [str(i) for i in range(40)]
    by_seed = [corpus_wer_interval(many, [50] * 40, names, seed=s) for s in (0, 1)]
    assert by_seed[0] != by_seed[1]


def test_no_errors_give_a_point_interval():
    interval = corpus_wer_interval([0, 0], [5, 5], ["p", "q"])
    assert (interval.low, interval.point, interval.high) == (0, 0, 0)


def test_errors_that_hang_together_widen_the_interval():
    errors = np.repeat([0, 1], 50)
    words = np.ones(100)
    clustered = corpus_wer_interval(errors, words, np.repeat(list("abcdefghij"), 10).tolist())
    single = corpus_wer_interval(errors, words, [str(i) for i in range(100)])
    assert clustered.high - clustered.low > 2 * (single.high - single.low)


def test_coverage_of_a_known_rate():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        errors = rng.binomial(8, 0.1, size=120)
        interval = corpus_wer_interval(
            errors, np.full(120, 8), [str(i) for i in range(120)], n_resamples=400, seed=trial
        )
        hits += interval.low <= 0.1 <= interval.high
    assert 0.90 <= hits / 200 <= 0.985


def test_equal_systems_differ_by_zero_and_a_planted_difference_is_found():
    rng = np.random.default_rng(1)
    base, words = rng.binomial(8, 0.1, size=300), np.full(300, 8)
    names = [str(i) for i in range(300)]
    same = paired_difference_interval(base, base, words, names)
    assert (same.low, same.point, same.high) == (0, 0, 0)
    worse = base + (rng.random(300) < 0.2)
    planted = paired_difference_interval(worse, base, words, names)
    assert planted.low > 0 and planted.point == pytest.approx((worse - base).sum() / 2400)


@pytest.mark.parametrize(
    ("errors", "words", "clusters"),
    [([], [], []), ([1], [1, 2], ["a"]), ([1], [0], ["a"]), ([1, 2], [1, 2], ["a"])],
)
def test_bad_arrays_are_errors(errors, words, clusters):
    with pytest.raises(ValueError):
        corpus_wer_interval(errors, words, clusters)
