"""Does cross-entropy predict WER? Rank and linear correlations over the cells of a grid.

A cell's WER is itself an estimate from few utterances, so intervals resample cells and utterance
clusters together. Within groups (ratios): a ratio moves both CE and WER, which alone makes them
correlate; "within" compares cells of the same ratio only.

Legend: C cells, U utterances, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from eval.analysis.statistics import Interval

NAMES = ("pearson", "spearman", "kendall")
FEWEST_CELLS = 5


def correlations(x: ArrayLike, y: ArrayLike) -> dict[str, float]:
    """Pearson, Spearman and Kendall (tau-b) of two (C,) arrays; NaN where one is constant."""
    x, y = _pair(x, y)
    return {
        "pearson": _pearson(x, y),
        "spearman": _pearson(stats.rankdata(x), stats.rankdata(y)),
        "kendall": float(stats.kendalltau(x, y)[0]) if _varied(x, y) else float("nan"),  # type: ignore
    }


def within_correlations(x: ArrayLike, y: ArrayLike, groups: Sequence[str]) -> dict[str, float]:
    """The same between cells of one group only, pooled over the groups.

    Pearson: of the values less their group's mean. Spearman: of the ranks inside a group less their
    mean. Kendall: over the pairs of cells that share a group.

    Raises:
        ValueError: unequal lengths.
    """
    x, y = _pair(x, y)
    labels = np.asarray(groups)
    if labels.shape != x.shape:
        raise ValueError(f"{len(labels)} groups for {len(x)} cells")
    same = labels[:, None] == labels[None, :]
    upper = np.triu(same, k=1)
    dx, dy = (np.sign(v[:, None] - v[None, :])[upper] for v in (x, y))
    pairs = float(np.sqrt((dx != 0).sum() * (dy != 0).sum()))
    centred = [_by_group(v, labels, lambda g: g - g.mean()) for v in (x, y)]
    ranked = [_by_group(v, labels, lambda g: stats.rankdata(g) - (len(g) + 1) / 2) for v in (x, y)]
    return {
        "pearson": _pearson(*centred),
        "spearman": _pearson(*ranked),
        "kendall": float((dx * dy).sum() / pairs) if pairs else float("nan"),
    }


def correlation_intervals(
    ce: ArrayLike,
    errors: ArrayLike,
    words: ArrayLike,
    clusters: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
    n_resamples: int = 2_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Correlations of CE and corpus WER with percentile bootstrap intervals over cells and voices.

    Args:
        ce: (C,) cross-entropy of each cell.
        errors: (C, U) word errors of each cell and utterance.
        words: (U,) reference words.
        clusters: (U,) utterances that are resampled together: those of one voice.
        groups: (C,) when given, the correlation within groups.

    Raises:
        ValueError: fewer than five cells, for which such an interval says nothing, or shapes that do
            not fit.
    """
    ce, errors = np.asarray(ce, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    words = np.asarray(words, dtype=np.float64)
    if ce.ndim != 1 or errors.shape != (len(ce), len(words)) or len(clusters) != len(words):
        raise ValueError(
            f"{ce.shape} CE values, {errors.shape} errors, {words.shape} words and "
            f"{len(clusters)} clusters do not fit"
        )
    if len(ce) < FEWEST_CELLS:
        raise ValueError(f"an interval needs at least {FEWEST_CELLS} cells, got {len(ce)}")
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    member = np.zeros((len(words), len(names)))
    member[np.arange(len(words)), index] = 1.0
    errors_of, words_of = errors @ member, words @ member
    labels = None if groups is None else np.asarray(groups)

    def measure(cells: NDArray, counts: NDArray) -> list[float]:
        wer = (errors_of[cells] @ counts) / (words_of @ counts)
        if labels is None:
            found = correlations(ce[cells], wer)
        else:
            found = within_correlations(ce[cells], wer, labels[cells].tolist())
        return [found[name] for name in NAMES]

    everyone, once = np.arange(len(ce)), np.ones(len(names))
    generator = np.random.default_rng(seed)
    chances = once / len(names)
    samples = np.array(
        [
            measure(
                generator.integers(len(ce), size=len(ce)),
                generator.multinomial(len(names), chances),
            )
            for _ in range(n_resamples)
        ]
    )
    tail = (1 - confidence) / 2
    # A resample of one cell alone has no correlation; it is left out.
    low, high = np.nanquantile(samples, [tail, 1 - tail], axis=0)
    points = measure(everyone, once)
    rows = zip(NAMES, points, low, high, strict=True)
    size = (len(words), len(names))
    return {name: Interval(point, float(a), float(b), *size) for name, point, a, b in rows}


def leave_one_out(x: ArrayLike, y: ArrayLike, groups: Sequence[str]) -> dict[str, dict[str, float]]:
    """Correlations without each group in turn: group -> coefficients of the rest."""
    x, y = _pair(x, y)
    labels = np.asarray(groups)
    return {
        str(group): correlations(x[labels != group], y[labels != group])
        for group in dict.fromkeys(labels.tolist())
    }


def _pair(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"need two equally long arrays, got {a.shape} and {b.shape}")
    return a, b


def _varied(x: NDArray, y: NDArray) -> bool:
    return len(x) > 1 and bool(np.ptp(x) > 0 and np.ptp(y) > 0)


def _pearson(x: NDArray, y: NDArray) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if _varied(x, y) else float("nan")


def _by_group(values: NDArray, labels: NDArray, change) -> NDArray[np.float64]:
    result = np.empty_like(values)
    for label in np.unique(labels):
        result[labels == label] = change(values[labels == label])
    return result
