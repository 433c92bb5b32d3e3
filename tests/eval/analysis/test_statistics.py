"""Intervals, paired differences and their p: definitions, agreement with scipy, few voices, bad input."""

import math
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from eval.analysis.statistics import (
    holm,
    mean_interval,
    paired_difference,
    rate_interval,
    share_interval,
)
from studies.coverage import World

TEN = [f"v{i}" for i in range(10)]


def ends(found):
    return found.low, found.high


def test_a_mean_of_equal_voices_is_students_interval_of_the_voices_means():
    rng = np.random.default_rng(0)
    values = rng.normal(0.7, 0.1, (10, 30)) + rng.normal(0, 0.05, (10, 1))
    found = mean_interval(values.ravel(), np.repeat(TEN, 30).tolist())
    means = values.mean(axis=1)
    expected = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert (found.point, *ends(found)) == pytest.approx((means.mean(), expected.low, expected.high))
    assert (found.n, found.clusters) == (300, 10)


def test_p_of_equal_voices_is_students_paired_test_of_the_voices():
    rng = np.random.default_rng(1)
    ours, base = rng.normal(3.2, 0.4, (10, 12)), rng.normal(3.0, 0.4, (10, 12))
    found = paired_difference(ours.ravel(), base.ravel(), None, np.repeat(TEN, 12).tolist())
    expected = stats.ttest_rel(ours.mean(axis=1), base.mean(axis=1))
    assert found.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert ends(found) == pytest.approx((interval.low, interval.high))
    assert found.base == pytest.approx(base.mean()) and found.seeds == 1


def test_a_rate_is_the_ratio_of_sums_and_its_interval_is_even_on_a_logarithmic_scale():
    errors, words, voices = [1, 0, 2, 0], [4, 6, 5, 5], ["p", "p", "q", "r"]
    found = rate_interval(errors, words, voices)
    assert found.point == pytest.approx(3 / 20)
    assert 0 < found.low < found.point < found.high <= 1 and (found.n, found.clusters) == (4, 3)
    world = World(10, 0.02)
    words = world.words()
    found = rate_interval(world.errors(world.rates(0.1), words), words, world.names)
    assert found.point**2 == pytest.approx(found.low * found.high)


def test_voices_of_unequal_size_have_fewer_degrees_of_freedom():
    """One voice of half of all sentences: between the 9 of ten equal voices and the 1 of two."""
    rng = np.random.default_rng(3)
    sizes = [90, *[10] * 9]
    names = np.repeat(TEN, sizes).tolist()
    values = rng.normal(0, 1, 180)
    found = mean_interval(values, names)
    sums = np.array([values[np.array(names) == name].sum() for name in TEN])
    share = np.array(sizes) / 180
    error = math.sqrt((((sums - share * values.sum()) / 180) ** 2 / (1 - share)).sum())
    degrees = stats.t.cdf((found.high - found.point) / error, 9)
    assert degrees > 0.976, "wider than with nine degrees of freedom"
    assert found.high - found.point < stats.t.ppf(0.975, 2) * error


def test_errors_that_hang_together_widen_the_interval():
    errors, words = np.repeat([0, 1, 0, 1, 2] * 2, 10), np.full(100, 8)
    clustered = rate_interval(errors, words, np.repeat(TEN, 10).tolist())
    single = rate_interval(errors, words, [str(i) for i in range(100)])
    assert clustered.high - clustered.low > 2 * (single.high - single.low)


def test_the_interval_and_p_say_the_same():
    settled = 0
    for seed in range(60):
        world = World(5, 0.03, seed)
        words = world.words()
        base = world.errors(world.rates(0.1), words)
        found = paired_difference(world.errors(world.rates(0.14), words), base, words, world.names)
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
        settled += found.p < 0.05
    assert 5 < settled < 55, "both cases occur"


def test_five_voices_can_settle_a_difference():
    """Sign flips of five voices have no p below 1/16."""
    rng = np.random.default_rng(0)
    base = rng.binomial(8, 0.1, 150)
    worse = base + rng.binomial(1, 0.5, 150)
    names = [str(i // 30) for i in range(150)]
    assert paired_difference(worse, base, np.full(150, 8), names).p < 0.01


def test_equal_systems_do_not_differ_and_a_planted_difference_is_found():
    rng = np.random.default_rng(1)
    base, words = rng.binomial(8, 0.1, size=300), np.full(300, 8)
    names = [str(i // 10) for i in range(300)]
    same = paired_difference(base, base, words, names)
    assert (same.point, same.p) == (0, 1) and math.isnan(same.detectable)
    assert same.high == -same.low == pytest.approx(1 - 0.025 ** (1 / same.n)), (
        "unseen, not impossible"
    )
    worse = base + (rng.random(300) < 0.2)
    planted = paired_difference(worse, base, words, names)
    assert planted.low > 0 and planted.point == pytest.approx((worse - base).sum() / 2400)
    other = paired_difference(base, worse, words, names)
    assert (other.p, other.low) == pytest.approx((planted.p, -planted.high))


def test_without_an_error_the_interval_does_not_end_at_zero():
    found = rate_interval(np.zeros(300), np.full(300, 8), np.repeat(TEN, 30).tolist())
    # With a true share of 1.22 % erring sentences, one list in forty has none in 300.
    assert (found.point, found.low) == (0, 0) and (1 - found.high) ** 300 == pytest.approx(0.025)
    share = share_interval(np.zeros(300), np.repeat(TEN, 30).tolist())
    assert share.high == pytest.approx(stats.binomtest(0, 300).proportion_ci().high)


def test_a_share_is_clopper_and_pearsons_for_independent_utterances_and_wider_for_voices():
    hits = np.arange(300) % 20 == 0
    alone = share_interval(hits, [str(i) for i in range(300)])
    expected = stats.binomtest(15, 300).proportion_ci()
    # The variance is divided by 299, not 300: as 299 utterances.
    assert ends(alone) == pytest.approx((expected.low, expected.high), rel=1 / 300)
    together = share_interval(np.arange(300) < 15, np.repeat(TEN, 30).tolist())
    assert together.point == alone.point and together.high > 1.5 * alone.high
    assert ends(share_interval(np.ones(4), list("abcd")))[1] == 1


def test_one_voice_is_over_its_utterances_and_says_so():
    errors, words = np.arange(20) % 3, np.full(20, 8)
    found = rate_interval(errors, words, ["p"] * 20)
    alone = rate_interval(errors, words, [str(i) for i in range(20)])
    assert ends(found) == ends(alone) and (found.clusters, alone.clusters) == (1, 20)


def test_voices_that_agree_by_chance_do_not_make_a_sure_thing():
    """One error more in each of three voices: their spread is 0, which is not known."""
    base, names = np.zeros(30), np.repeat(list("abc"), 10).tolist()
    worse = np.tile([1.0, *[0.0] * 9], 3)
    found = paired_difference(worse, base, np.full(30, 8), names)
    assert found.p > 0.05 and found.low < 0
    assert rate_interval(worse, np.full(30, 8), names).low < 0.5 / 80


def test_of_one_utterance_nothing_is_known():
    found = paired_difference([3], [0], [8], ["a"])
    assert found.p == 1 and math.isinf(found.high) and math.isinf(found.detectable)
    assert ends(rate_interval([1], [8], ["a"])) == (pytest.approx(0, abs=1e-9), 1)
    assert math.isinf(mean_interval([0.7], ["a"]).low)


def test_no_rate_ends_above_what_any_utterance_reached():
    found = rate_interval([0, 1, 0, 0], [8, 8, 8, 8], ["a", "a", "b", "b"])
    assert found.high == 1, "two voices know little"
    looped = rate_interval([0, 80, 0, 0], [8, 8, 8, 8], ["a", "a", "b", "b"])
    assert looped.point == 2.5 and looped.high <= 10


def test_two_thousand_voices_need_little_memory():
    rng = np.random.default_rng(0)
    values, base = rng.normal(size=(2, 2020))
    tracemalloc.start()
    paired_difference(values, base, None, [str(i) for i in range(2020)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6, "bytes"


@pytest.mark.parametrize(
    ("errors", "words", "clusters", "reason"),
    [
        ([], [], [], "no utterances"),
        ([1], [1, 2], ["a"], "one value per utterance"),
        ([1], [0], ["a"], "no reference words"),
        ([1, 2], [1, 2], ["a"], "one value per utterance"),
        ([1, float("nan")], [1, 2], ["a", "b"], "finite"),
        ([1, -1], [1, 2], ["a", "b"], "0 or more"),
    ],
)
def test_bad_arrays_are_errors(errors, words, clusters, reason):
    with pytest.raises(ValueError, match=reason):
        rate_interval(errors, words, clusters)


def test_holm_is_the_textbook_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1, 1]) and holm([]).shape == (0,)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        holm([1.2])


def several_seeds(rng, seeds, seed_sd, gap=0.02, voices=10):
    """(S, U) errors of a system and its baseline; a seed moves the whole system by `seed_sd`."""
    names = np.repeat([str(i) for i in range(voices)], 30).tolist()
    hard = np.repeat(rng.uniform(0.05, 0.2, voices), 30)
    words = rng.integers(4, 15, len(hard))
    own = np.clip(hard + gap + rng.normal(0, seed_sd, (seeds, 1)), 0, 1)
    return rng.binomial(words, own), rng.binomial(words, hard, (seeds, len(hard))), words, names


def usual(seeds, seed_sd):
    """(width of the interval, detectable, p), medians of 30 comparisons."""
    rng = np.random.default_rng(1)
    many = [paired_difference(*several_seeds(rng, seeds, seed_sd)) for _ in range(30)]
    return np.median([(one.high - one.low, one.detectable, one.p) for one in many], axis=0)


def test_seeds_that_differ_enter_the_interval_p_and_what_is_detectable():
    (width, detectable, p), loud = usual(3, 0.0), usual(3, 0.03)
    assert loud[0] > 2 * width and loud[1] > 2 * detectable and loud[2] > 2 * p


def test_seeds_that_agree_narrow_the_interval():
    assert usual(5, 0.0)[0] < 0.7 * usual(1, 0.0)[0]


def test_the_detectable_difference_is_detected_that_often():
    rng = np.random.default_rng(0)
    effect = np.mean(
        [paired_difference(*several_seeds(rng, 1, 0.0)).detectable for _ in range(100)]
    )
    found = [paired_difference(*several_seeds(rng, 1, 0.0, gap=effect)) for _ in range(400)]
    # 0.8; two standard errors of 400 trials are 0.04, and the error of 10 voices is itself a rough one.
    assert 0.73 <= np.mean([one.p < 0.05 for one in found]) <= 0.88


def test_seeds_that_do_not_fit_are_refused():
    a, b, words, names = several_seeds(np.random.default_rng(0), 3, 0.0)
    with pytest.raises(ValueError, match=r"\(3, 300\) and \(2, 300\)"):
        paired_difference(a, b[:2], words, names)
    with pytest.raises(ValueError, match="one value per utterance"):
        paired_difference(a, b, words[:5], names)
