"""Intervals and tests for means and rates of utterances that hang together by voice: pure functions.

Test lists have few voices, and a voice moves all of its utterances. So the spread of every number here is
that of the voices (clusters), corrected for there being few of them: each cluster's part of the estimate is
divided by the root of one less its share (CR2), and t has the degrees of freedom that go with it (Bell and
McCaffrey 2002; with clusters of one size that is C - 1). Percentile bootstraps of five to ten voices cover 80
to 90 % where they promise 95. With one cluster there is no spread between voices: the utterances stand in for
them, and the result, `clusters` 1, says that it holds for that voice alone.

Legend: U utterances, C clusters, S seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from eval.analysis.spread import UNKNOWN, Spread, clustered, seeded

POWER = 0.8  # of the smallest difference that is called detectable
FEWEST_ALIKE = 6  # utterances that may agree by chance below: a sign test of five has p 0.06
FEWEST_DEGREES = 2.0  # of freedom for a slope: fewer hang on one voice or one text


@dataclass(frozen=True)
class Interval:
    """A point estimate with a 95 % interval from `n` utterances of `clusters` voices.

    With one cluster the interval is over its utterances. Where nothing can be known (one utterance) it is
    infinite, that of a rate 0 to 1.
    """

    point: float
    low: float
    high: float
    n: int
    clusters: int


@dataclass(frozen=True)
class Difference(Interval):
    """A paired difference over `seeds` seeds: the interval leaves out 0 exactly when p is below 0.05.

    p: two-sided, of no difference. detectable: the difference that such a comparison finds with a power of
    0.8; NaN where the two never differ. p_holm: p adjusted over all systems of a table, once that is known.
    base: what the baseline has on the same utterances.
    """

    seeds: int
    base: float
    p: float
    detectable: float
    p_holm: float | None = None

    @property
    def settled(self) -> bool:
        """Whether there is a difference, at the 0.05 level over the whole table."""
        return self.p_holm is not None and self.p_holm < 0.05


def rate_interval(
    errors: ArrayLike, words: ArrayLike, clusters: Sequence[str], *, confidence: float = 0.95
) -> Interval:
    """A rate (a ratio of sums, as corpus WER) with its interval, which is made on a logarithmic scale.

    Rates of voices are skewed and never negative: on their own scale the upper end falls short (coverage of 91
    to 94 % at a rate of 3 %). No interval ends above the worst utterance, or 1. Without any error it ends where
    as many utterances still have none in one of forty lists, an erring one being wrong in every word.

    Args:
        errors: (U,) non-negative, such as word errors; for a mean of rates, the rates.
        words: (U,) what they are counted of, such as reference words; for a mean of rates, ones.
        clusters: (U,) the voice of each utterance.

    Raises:
        ValueError: no utterances, unequal lengths, negative errors, or no words.
    """
    errors, words = _floats(errors), _floats(words)
    _check(errors, words, clusters)
    if (errors < 0).any():
        raise ValueError("a rate needs errors of 0 or more")
    point = float(errors.sum() / words.sum())
    counted = words > 0
    worst = max(1.0, float((errors[counted] / words[counted]).max()))
    if point == 0:
        high = _none_of(len(errors), confidence)
        return Interval(0.0, 0.0, high, len(errors), _n_clusters(clusters))
    spread = _spread_of_ratio(errors - point * words, words, clusters)
    # exp(700) is close to the largest float.
    factor = float(np.exp(min(spread.margin(confidence) / point, 700.0)))
    ends = point / factor, min(point * factor, worst)
    return Interval(point, *ends, len(errors), _n_clusters(clusters))


def mean_interval(
    values: ArrayLike, clusters: Sequence[str], *, confidence: float = 0.95
) -> Interval:
    """Mean of (U,) values, such as similarities or opinion scores, with its interval.

    Raises:
        ValueError: no utterances, or unequal lengths.
    """
    values = _floats(values)
    ones = np.ones(len(values))
    _check(values, ones, clusters)
    point = float(values.mean())
    margin = _spread_of_ratio(values - point, ones, clusters).margin(confidence)
    return Interval(point, point - margin, point + margin, len(values), _n_clusters(clusters))


def share_interval(
    hits: ArrayLike, clusters: Sequence[str], *, confidence: float = 0.95
) -> Interval:
    """Share of utterances for which (U,) `hits` is true, with the interval of Korn and Graubard (1998).

    That is Clopper and Pearson's for as many independent utterances as the voices leave of the real ones,
    so that a share of 0 has an upper end too.

    Raises:
        ValueError: no utterances, or unequal lengths.
    """
    hits = _floats(np.asarray(hits, dtype=bool))
    ones, n = np.ones(len(hits)), len(hits)
    _check(hits, ones, clusters)
    share = float(hits.mean())
    effective = float(n)
    if 0 < share < 1:
        spread = _spread_of_ratio(hits - share, ones, clusters)
        exact = special.stdtrit(n - 1, 0.5 + confidence / 2) ** 2
        margin = spread.margin(confidence)
        effective = min(share * (1 - share) * float(exact) / margin**2, effective)
    found, tail = share * effective, (1 - confidence) / 2
    low = special.betaincinv(found, effective - found + 1, tail) if share > 0 else 0.0
    high = special.betaincinv(found + 1, effective - found, 1 - tail) if share < 1 else 1.0
    return Interval(share, float(low), float(high), n, _n_clusters(clusters))


def paired_difference(
    values: ArrayLike,
    baseline: ArrayLike,
    weights: ArrayLike | None,
    clusters: Sequence[str],
    *,
    confidence: float = 0.95,
) -> Difference:
    """What a system has more than the baseline on the same utterances: of a mean, or of a rate.

    p is of the t statistic that the interval is made of, so that both say the same. Flipping the signs of
    voices would give another p beside it, and with five voices none below 0.06, whatever the difference.
    Several seeds are crossed with the voices (each seed speaks every utterance), and both are samples: what
    another seed would change is in the interval, in p and in what is detectable. One seed says nothing of that.

    Args:
        values, baseline: (U,), or (S, U) of S seeds, row by row and utterance by utterance of the same; of
            a rate, the word errors.
        weights: (U,) of a rate, the reference words; None for a mean.
        clusters: (U,) the voice of each utterance.

    Raises:
        ValueError: no utterances, arrays that do not fit, or no words.
    """
    ours, base = np.atleast_2d(_floats(values)), np.atleast_2d(_floats(baseline))
    if ours.shape != base.shape or ours.ndim != 2:
        raise ValueError(f"need equal (seeds, utterances): {ours.shape} and {base.shape}")
    words = np.ones(ours.shape[1]) if weights is None else _floats(weights)
    for side in (*ours, *base):
        _check(side, words, clusters)
    gaps = ours - base
    point = float(gaps.sum() / (words.sum() * len(gaps)))
    spread = _spread_of_ratio(gaps - point * words, words, clusters)
    own = float(base.sum() / (words.sum() * len(base)))
    facts = ours.shape[1], _n_clusters(clusters), len(gaps), own
    if not gaps.any():
        end = _none_of(ours.shape[1], confidence)
        return Difference(0.0, -end, end, *facts, p=1.0, detectable=float("nan"))
    margin = spread.margin(confidence)
    return Difference(
        *(point, point - margin, point + margin, *facts),
        # Utterances that all differ by the same: as rare as their signs are.
        p=spread.p_value(point) if spread.error else 2.0 ** (1 - ours.shape[1]),
        detectable=spread.detectable(confidence, POWER),
    )


def length_slope(
    errors: ArrayLike, words: ArrayLike, clusters: Sequence[str], *, confidence: float = 0.95
) -> Interval:
    """How much the error rate grows when a text is twice as long: the slope over log2 of the words.

    Least squares on the rates of the utterances, weighted by their words, so that flat rates mean that corpus
    WER does not depend on length. Errors less a baseline's give the slope of the difference. Several seeds
    enter as in `paired_difference`.

    Args:
        errors: (U,) word errors, or (S, U) of S seeds.
        words: (U,) reference words, above 0.
        clusters: (U,) the voice of each utterance.

    Raises:
        ValueError: no utterances, unequal lengths, utterances without words, or lengths so few or so much
            alike that there is no slope to speak of.
    """
    errors, words = np.atleast_2d(_floats(errors)), _floats(words)
    for row in errors:
        _check(row, words, clusters)
    if (words <= 0).any():
        raise ValueError("a slope needs utterances with words")
    x = np.log2(words)
    x -= np.average(x, weights=words)
    information = words * x**2  # (U,)
    # A standard deviation of a thousandth of a doubling.
    if information.sum() <= 1e-6 * words.sum():
        raise ValueError("the texts are too few or too much alike in length for a slope")
    mean = errors.mean(axis=0)
    point = float((x * mean).sum() / information.sum())
    rest = errors - words * (mean.sum() / words.sum() + point * x)  # (S, U)
    influence = x * rest / information.sum()
    # What few seeds leave is no matter of the texts.
    texts = _spread(influence.mean(axis=0, keepdims=True), information, clusters)
    if texts.degrees < FEWEST_DEGREES:
        raise ValueError("the texts are too few or too much alike in length for a slope")
    spread = _spread(influence, information, clusters)
    margin = spread.margin(confidence)
    return Interval(point, point - margin, point + margin, len(words), _n_clusters(clusters))


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


def _check(values: NDArray, words: NDArray, clusters: Sequence[str]) -> None:
    if values.ndim != 1 or not len(values) == len(words) == len(clusters):
        raise ValueError(
            f"need one value per utterance: {values.shape} values, {words.shape} words, "
            f"{len(clusters)} clusters"
        )
    if values.size == 0:
        raise ValueError("no utterances")
    if not (np.isfinite(values).all() and np.isfinite(words).all()):
        raise ValueError("values and words must be finite numbers")
    if words.sum() <= 0:
        raise ValueError("no reference words")


def _none_of(n: int, confidence: float) -> float:
    """The largest share of which `n` utterances still have none in one of forty lists."""
    return 1 - ((1 - confidence) / 2) ** (1 / n)


def _n_clusters(clusters: Sequence[str]) -> int:
    return len(set(clusters))


def _spread_of_ratio(rest: NDArray, words: NDArray, clusters: Sequence[str]) -> Spread:
    """Of a ratio of sums: `rest` (U,) or (S, U) is what the ratio leaves unexplained."""
    return _spread(np.atleast_2d(rest) / words.sum(), words, clusters)


def _spread(influence: NDArray, information: NDArray, clusters: Sequence[str]) -> Spread:
    """Of an estimate to which (S, U) `influence` adds up, by cluster.

    Clusters that agree to the last digit, as with one error in each, have told nothing about their
    spread yet: then it is that of the utterances. A few utterances that agree, too, have told nothing at all.
    """
    numbers = np.unique(np.asarray(clusters), return_inverse=True)[1]
    by_utterance = np.arange(len(numbers))
    for members in (numbers, by_utterance) if numbers.max() > 0 else (by_utterance,):
        parts = np.stack([np.bincount(members, row) for row in influence])  # (S, C)
        share = np.bincount(members, information) / information.sum()
        found = clustered(parts[0], share) if len(parts) == 1 else seeded(parts, share)
        if found.error > 1e-9 * np.abs(influence).sum():
            return found
    return Spread(0.0, found.degrees) if len(numbers) >= FEWEST_ALIKE else UNKNOWN
