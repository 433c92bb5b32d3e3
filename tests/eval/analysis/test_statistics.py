"""Bootstrap intervals: definition, reproducibility, clustering, pairing."""

import numpy as np
import pytest

from eval.analysis.statistics import (
    corpus_wer_interval,
    holm,
    minimum_detectable_difference,
    paired_difference_interval,
    seeded_difference_interval,
    sign_flip_p_value,
)


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


def test_sign_flips_find_a_planted_difference_and_nothing_in_equals():
    rng = np.random.default_rng(0)
    base, names = rng.binomial(8, 0.1, size=300), [str(i // 15) for i in range(300)]
    assert sign_flip_p_value(base, base, names) == 1.0
    worse = base + rng.binomial(1, 0.3, size=300)
    assert sign_flip_p_value(worse, base, names) < 0.001
    assert sign_flip_p_value(base, worse, names) == sign_flip_p_value(worse, base, names)


def test_exact_p_value_of_three_clusters():
    # Sums 1, 2, 3: of the 8 sign patterns two reach |6|.
    p = sign_flip_p_value([1, 2, 3], [0, 0, 0], ["a", "b", "c"], n_permutations=40_000)
    assert p == pytest.approx(2 / 8, abs=0.01)


def test_type_one_error_of_clustered_errors():
    """Voices differ in how hard they are; two systems of equal quality must rarely look different."""
    false = 0
    for trial in range(400):
        rng = np.random.default_rng(trial)
        rate = np.repeat(rng.uniform(0.02, 0.3, 20), 5)
        shift = np.repeat(rng.normal(0, 0.02, 20), 5)  # a voice may suit one system, by chance
        a = rng.binomial(8, np.clip(rate + shift, 0, 1))
        b = rng.binomial(8, np.clip(rate - shift, 0, 1))
        names = [str(i // 5) for i in range(100)]
        false += sign_flip_p_value(a, b, names, n_permutations=500, seed=trial) <= 0.05
    assert false / 400 <= 0.075  # nominal 0.05, two standard errors of 400 trials are 0.022


def test_holm_is_the_textbook_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1, 1]) and holm([]).shape == (0,)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        holm([1.2])


def two_systems(rng, seeds=3, spread=0.0, gap=0.02, utterances=200):
    """(S, U) errors of a system and its baseline in 20 voices; `spread` is what a seed changes."""
    hard = np.repeat(rng.uniform(0.03, 0.2, 20), utterances // 20)
    shift = rng.normal(0, spread, (seeds, 1))
    a = rng.binomial(8, np.clip(hard + gap + shift, 0, 1), (seeds, utterances))
    b = rng.binomial(8, hard, (seeds, utterances))
    clusters = [str(i * 20 // utterances) for i in range(utterances)]
    return a, b, np.full(utterances, 8), clusters


def test_one_seed_is_the_paired_interval():
    a, b, words, clusters = two_systems(np.random.default_rng(0), seeds=1)
    found = seeded_difference_interval(a, b, words, clusters)
    assert found == seeded_difference_interval(a[0], b[0], words, clusters)
    paired = paired_difference_interval(a[0], b[0], words, clusters)
    assert (found.point, found.low, found.high) == pytest.approx(
        (paired.point, paired.low, paired.high)
    )


def test_seeds_that_differ_widen_the_interval_and_equal_ones_narrow_it():
    def width(seeds, spread):
        rng = np.random.default_rng(1)
        found = seeded_difference_interval(*two_systems(rng, seeds, spread))
        return found.high - found.low

    assert width(5, 0.0) < width(1, 0.0) and width(5, 0.05) > 1.5 * width(5, 0.0)


def test_seeded_intervals_cover_a_known_difference():
    hits = 0
    for trial in range(150):
        a, b, words, clusters = two_systems(np.random.default_rng(trial), seeds=3)
        found = seeded_difference_interval(a, b, words, clusters, n_resamples=400, seed=trial)
        hits += found.low <= 0.02 <= found.high
    assert hits / 150 >= 0.90  # nominal 0.95; three seeds are few to resample


def test_the_detectable_difference_is_detected_that_often():
    estimates = []
    for trial in range(30):  # one estimate of a standard error from 20 voices is itself a rough one
        a, b, words, clusters = two_systems(np.random.default_rng(trial), 1)
        estimates.append(minimum_detectable_difference(a[0], b[0], words, clusters))
    effect, found = float(np.mean(estimates)), 0
    for trial in range(120):
        rng = np.random.default_rng(100 + trial)
        a, b, words, clusters = two_systems(rng, 1, gap=effect)
        interval = paired_difference_interval(a[0], b[0], words, clusters, n_resamples=400)
        found += interval.low > 0
    assert 0.7 <= found / 120 <= 0.9  # power 0.8, of 120 trials
    wider = minimum_detectable_difference(a[0], b[0], words, clusters, power=0.95)
    assert wider > minimum_detectable_difference(a[0], b[0], words, clusters)


def test_comparisons_refuse_what_does_not_fit():
    a, b, words, clusters = two_systems(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"\(3, 200\) and \(2, 200\)"):
        seeded_difference_interval(a, b[:2], words, clusters)
    with pytest.raises(ValueError, match="one value per utterance"):
        seeded_difference_interval(a, b, words[:5], clusters)
    with pytest.raises(ValueError, match=r"\(0, 1\)"):
        minimum_detectable_difference(a[0], b[0], words, clusters, power=1.0)
