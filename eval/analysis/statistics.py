"""Intervals for corpus WER and paired differences: pure functions on arrays.

The bootstrap resamples clusters of utterances (those that share a prompt), because the errors of
one voice hang together. Legend: U utterances, C clusters, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_KEPT = 0.9  # of the resamples


@dataclass(frozen=True)
class Interval:
    """A point estimate with a percentile bootstrap interval."""

    point: float
    low: float
    high: float


def corpus_wer_interval(
    errors: ArrayLike,
    words: ArrayLike,
    clusters: Sequence[str],
    *,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Corpus WER (a ratio of sums) with its bootstrap interval.

    Args:
        errors: (U,) word errors per utterance.
        words: (U,) reference words per utterance.
        clusters: (U,) cluster of each utterance, its prompt. With fewer than two clusters the
            single utterances are resampled, since resampling one cluster has no spread.
        n_resamples: R.
        seed: the same seed gives the same interval.

    Raises:
        ValueError: no utterances, unequal lengths, or no reference words.
    """
    errors, words = _floats(errors), _floats(words)
    _check(errors, words, clusters)
    rates = _resampled_rates(errors, words, clusters, n_resamples, seed)
    return _interval(float(errors.sum() / words.sum()), rates, confidence)


def paired_difference_interval(
    errors: ArrayLike,
    baseline_errors: ArrayLike,
    words: ArrayLike,
    clusters: Sequence[str],
    *,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Corpus WER of a system minus that of the baseline on the same utterances, resampled together.

    Args:
        errors, baseline_errors: (U,) word errors, row by row of the same utterances.
        words, clusters, n_resamples, seed: as in `corpus_wer_interval`.

    Raises:
        ValueError: as in `corpus_wer_interval`.
    """
    return corpus_wer_interval(
        _gaps(errors, baseline_errors, words, clusters),
        words,
        clusters,
        n_resamples=n_resamples,
        confidence=confidence,
        seed=seed,
    )


def seeded_difference_interval(
    errors: ArrayLike,
    baseline_errors: ArrayLike,
    words: ArrayLike,
    clusters: Sequence[str],
    *,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Corpus WER of a system minus that of the baseline, over several training or sampling seeds.

    Seeds and clusters are resampled together and independently (a crossed design: every seed speaks
    every utterance), so that the interval holds what another seed would change too. With one seed it is
    `paired_difference_interval` up to the draws.

    Args:
        errors, baseline_errors: (S, U) word errors of S seeds; row s of both belongs together.
        words, clusters, n_resamples, seed: as in `corpus_wer_interval`.

    Raises:
        ValueError: as in `corpus_wer_interval`, or arrays of different shapes.
    """
    errors, base = np.atleast_2d(_floats(errors)), np.atleast_2d(_floats(baseline_errors))
    words = _floats(words)
    if errors.shape != base.shape or errors.ndim != 2:
        raise ValueError(f"need equal (seeds, utterances): {errors.shape} and {base.shape}")
    for row in errors:
        _check(row, words, clusters)
    members = _cluster_index(clusters)
    gaps = np.stack([np.bincount(members, row) for row in errors - base])  # (S, C)
    cluster_words = np.bincount(members, words)
    drawn = _resample_counts(gaps.shape[1], n_resamples, seed)  # (R, C)
    seeds = _resample_counts(len(gaps), n_resamples, seed + 1)  # (R, S)
    sums = np.einsum("rs,sc,rc->r", seeds, gaps, drawn)
    rates = _ratio(sums, (drawn @ cluster_words) * len(gaps))
    point = float(gaps.sum() / (words.sum() * len(gaps)))
    return _interval(point, rates, confidence)


def minimum_detectable_difference(
    errors: ArrayLike,
    baseline_errors: ArrayLike,
    words: ArrayLike,
    clusters: Sequence[str],
    *,
    power: float = 0.8,
    confidence: float = 0.95,
    n_resamples: int = 4_000,
    seed: int = 0,
) -> float:
    """Difference of corpus WER that a paired comparison on these utterances would find with `power`.

    (z_confidence + z_power) times the bootstrap standard error of the observed difference. A smaller
    difference than this, observed or claimed, is not established by such a test set.

    Raises:
        ValueError: as in `corpus_wer_interval`, or a power or confidence outside (0, 1).
    """
    if not (0 < power < 1 and 0 < confidence < 1):
        raise ValueError(f"power and confidence must lie in (0, 1): {power}, {confidence}")
    gaps = _gaps(errors, baseline_errors, words, clusters)
    rates = _resampled_rates(gaps, _floats(words), clusters, n_resamples, seed)
    spread = float(np.std(rates, ddof=1))
    normal = NormalDist()
    return (normal.inv_cdf(0.5 + confidence / 2) + normal.inv_cdf(power)) * spread


def length_slope(
    errors: ArrayLike,
    words: ArrayLike,
    clusters: Sequence[str],
    *,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """How much the error rate grows when a text is twice as long: the slope over log2 of the words.

    Least squares on the rates of the utterances, weighted by their words, so that flat rates mean that corpus
    WER does not depend on length. Errors less a baseline's give the slope of the difference. Several seeds
    are resampled with the clusters, as in `seeded_difference_interval`.

    Args:
        errors: (U,) word errors, or (S, U) of S seeds.
        words, clusters, n_resamples, seed: as in `corpus_wer_interval`; words above 0.

    Raises:
        ValueError: as in `corpus_wer_interval`, utterances without words, or lengths so much alike, in all or
            in many of the resamples, that there is no slope to speak of.
    """
    errors, words = np.atleast_2d(_floats(errors)), _floats(words)
    for row in errors:
        _check(row, words, clusters)
    if (words <= 0).any():
        raise ValueError("a slope needs utterances with words")
    x, members = np.log2(words), _cluster_index(clusters)

    def sums(terms: Sequence[NDArray]) -> NDArray:
        return np.stack([np.bincount(members, term) for term in terms], axis=1)

    lengths = sums([words, words * x, words * x**2])  # (C, 3)
    found = np.stack([sums([row, row * x]) for row in errors])  # (S, C, 2)
    drawn = _resample_counts(len(lengths), n_resamples, seed)  # (R, C)
    seeds = _resample_counts(len(found), n_resamples, seed + 1)  # (R, S)

    def slope(length: NDArray, error: NDArray) -> NDArray:
        (w, wx, wxx), (wy, wxy) = length.T, error.T
        spread = w * wxx - wx**2
        kept = spread > 1e-6 * w**2  # a standard deviation of a thousandth of a doubling
        if kept.mean() < MIN_KEPT:
            raise ValueError("the texts are too few or too much alike in length for a slope")
        return (w * wxy - wx * wy)[kept] / spread[kept]

    point = slope(lengths.sum(axis=0, keepdims=True), found.sum(axis=1).mean(axis=0, keepdims=True))
    resampled = np.einsum("rs,sck,rc->rk", seeds, found, drawn) / len(found)
    return _interval(float(point[0]), slope(drawn @ lengths, resampled), confidence)


def sign_flip_p_value(
    errors: ArrayLike,
    baseline_errors: ArrayLike,
    clusters: Sequence[str],
    *,
    n_permutations: int = 20_000,
    seed: int = 0,
) -> float:
    """Two-sided p-value of "both systems make equally many errors".

    Under that hypothesis the difference of a cluster is as likely with the other sign; the signs of
    whole clusters are flipped, because the errors of one voice hang together. The observed
    arrangement counts as one of the permutations, so that p is never 0.

    Args:
        errors, baseline_errors: (U,) word errors, row by row of the same utterances.
        clusters, seed: as in `corpus_wer_interval`.

    Raises:
        ValueError: no utterances or unequal lengths.
    """
    gaps = _gaps(errors, baseline_errors, np.ones(len(clusters)), clusters)
    sums = np.bincount(_cluster_index(clusters), gaps)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(n_permutations, len(sums)))
    flipped = np.abs(signs @ sums)
    # Sums of the same numbers in another order differ by rounding.
    as_large = flipped >= abs(sums.sum()) - 1e-9
    return float((1 + as_large.sum()) / (1 + n_permutations))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down adjustment of p-values (M,), in their order (Holm 1979).

    Raises:
        ValueError: a value outside [0, 1].
    """
    values = _floats(p_values)
    if values.size and not ((values >= 0) & (values <= 1)).all():
        raise ValueError("p-values must lie in [0, 1]")
    order = np.argsort(values, kind="stable")
    steps = np.arange(len(values), 0, -1) * values[order]
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def _floats(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)


def _gaps(
    errors: ArrayLike, baseline_errors: ArrayLike, words: ArrayLike, clusters: Sequence[str]
) -> NDArray[np.float64]:
    """Errors less the baseline's, (U,), once both are known to fit."""
    errors, base = _floats(errors), _floats(baseline_errors)
    for side in (errors, base):
        _check(side, _floats(words), clusters)
    return errors - base


def _resampled_rates(
    errors: NDArray, words: NDArray, clusters: Sequence[str], n_resamples: int, seed: int
) -> NDArray[np.float64]:
    """Ratio of sums of each resample of the clusters: (R,), less those without words."""
    sums = _cluster_sums(_cluster_index(clusters), errors, words)
    totals = _resample_counts(sums.shape[0], n_resamples, seed) @ sums
    return _ratio(totals[:, 0], totals[:, 1])


def _check(errors: NDArray, words: NDArray, clusters: Sequence[str]) -> None:
    if errors.ndim != 1 or not len(errors) == len(words) == len(clusters):
        raise ValueError(
            f"need one value per utterance: {errors.shape} errors, {words.shape} words, "
            f"{len(clusters)} clusters"
        )
    if errors.size == 0:
        raise ValueError("no utterances")
    if words.sum() <= 0:
        raise ValueError("no reference words")


def _cluster_index(clusters: Sequence[str]) -> NDArray[np.intp]:
    """(U,) -> (U,) cluster number, in order of first use so that names do not matter."""
    numbers: dict[str, int] = {}
    index = np.array([numbers.setdefault(name, len(numbers)) for name in clusters], dtype=np.intp)
    return index if len(numbers) > 1 else np.arange(len(clusters))


def _cluster_sums(members: NDArray, errors: NDArray, words: NDArray) -> NDArray[np.float64]:
    """Per-cluster sums: (C, 2)."""
    sums = np.stack([np.bincount(members, errors), np.bincount(members, words)], axis=1)
    return sums.astype(np.float64)


@lru_cache(maxsize=4)  # a board asks for the same draws once per system; they take its longest step
def _resample_counts(n_clusters: int, n_resamples: int, seed: int) -> NDArray[np.float64]:
    """How often each cluster is drawn: (R, C), rows sum to C. Not to be written to: it is shared."""
    generator = np.random.default_rng(seed)
    chances = np.full(n_clusters, 1 / n_clusters)
    counts = generator.multinomial(n_clusters, chances, size=n_resamples).astype(np.float64)
    counts.flags.writeable = False
    return counts


def _ratio(numerator: NDArray, denominator: NDArray) -> NDArray[np.float64]:
    # A resample can hold only clusters without words; it says nothing about the rate.
    kept = denominator > 0
    return numerator[kept] / denominator[kept]


def _interval(point: float, samples: NDArray, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return Interval(point, float(low), float(high))
