"""Correlations of CE and WER: definitions, intervals on simulated grids, refusals."""

import numpy as np
import pytest
from scipy import stats

from eval.analysis.correlation import (
    correlation_intervals,
    correlations,
    leave_one_out,
    within_correlations,
)

X, Y = np.array([1.0, 2, 3, 4, 5, 6]), np.array([1.0, 3, 2, 5, 4, 4])


def test_coefficients_are_scipys():
    found = correlations(X, Y)
    assert found["pearson"] == pytest.approx(stats.pearsonr(X, Y).statistic)
    assert found["spearman"] == pytest.approx(stats.spearmanr(X, Y).statistic)
    assert found["kendall"] == pytest.approx(stats.kendalltau(X, Y).statistic)
    assert all(np.isnan(value) for value in correlations(X, np.ones(6)).values())


def test_one_group_is_no_group():
    assert within_correlations(X, Y, ["a"] * 6) == pytest.approx(correlations(X, Y))


def test_within_groups_ignores_what_only_the_group_explains():
    # Both rise from group to group; inside each they run against each other.
    x, y = np.array([1.0, 2, 3, 11, 12, 13]), np.array([3.0, 2, 1, 13, 12, 11])
    assert min(correlations(x, y).values()) > 0.1
    within = within_correlations(x, y, list("aaabbb"))
    assert list(within.values()) == pytest.approx([-1, -1, -1])


def test_leave_one_out_drops_the_group():
    groups = list("aabbcc")
    found = leave_one_out(X, Y, groups)
    assert list(found) == ["a", "b", "c"]
    assert found["b"] == pytest.approx(correlations(X[[0, 1, 4, 5]], Y[[0, 1, 4, 5]]))


def simulated(rng, n_cells=30, slope=0.1, words_per=8, n_utterances=100):
    """CE, errors (C, U), words, clusters, and the true WER of each cell."""
    ce = rng.uniform(2.6, 3.6, n_cells)
    wer = np.clip(0.05 + slope * (ce - 2.6) + rng.normal(0, 0.02, n_cells), 0, 1)
    words = np.full(n_utterances, words_per)
    errors = rng.binomial(words_per, wer[:, None], size=(n_cells, n_utterances))
    clusters = [str(i % 20) for i in range(n_utterances)]
    return ce, errors, words, clusters


def test_intervals_hold_the_point_and_shrink_with_cells():
    rng = np.random.default_rng(0)
    few = correlation_intervals(*simulated(rng, 8), n_resamples=300)
    many = correlation_intervals(*simulated(rng, 60), n_resamples=300)
    for name in few:
        assert few[name].low <= few[name].point <= few[name].high
        assert many[name].high - many[name].low < few[name].high - few[name].low
    assert many["spearman"].low > 0.5


def test_the_point_is_the_correlation_of_the_corpus_wers():
    ce, errors, words, clusters = simulated(np.random.default_rng(1))
    found = correlation_intervals(ce, errors, words, clusters, n_resamples=20)
    expected = correlations(ce, errors.sum(1) / words.sum())
    assert {name: interval.point for name, interval in found.items()} == pytest.approx(expected)


def test_utterance_noise_widens_the_interval():
    rng = np.random.default_rng(2)
    ce, errors, words, clusters = simulated(rng, n_utterances=400)
    precise = correlation_intervals(ce, errors, words, clusters, n_resamples=400)["pearson"]
    noisy = correlation_intervals(ce, errors[:, :20], words[:20], clusters[:20], n_resamples=400)[
        "pearson"
    ]
    assert noisy.high - noisy.low > precise.high - precise.low


@pytest.mark.slow
def test_unrelated_ce_and_wer_are_not_called_related():
    hits = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        found = correlation_intervals(*simulated(rng, slope=0.0), n_resamples=200)["spearman"]
        hits += found.low <= 0 <= found.high
    assert hits >= 35  # 95 % nominal; 35 of 40 leaves room for chance


def test_too_few_cells_and_wrong_shapes_are_refused():
    ce, errors, words, clusters = simulated(np.random.default_rng(0), 4)
    with pytest.raises(ValueError, match="at least 5 cells"):
        correlation_intervals(ce, errors, words, clusters)
    with pytest.raises(ValueError, match="do not fit"):
        correlation_intervals(ce, errors[:, :3], words, clusters)
    with pytest.raises(ValueError, match="equally long"):
        correlations([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="groups"):
        within_correlations([1, 2], [1, 2], ["a"])
