"""How a system's errors depend on the length of the text: the length-stress report, for any test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.analysis.measures import WER, measures_of, voices_of, word_errors_of
from eval.analysis.statistics import Difference, Interval, length_slope
from eval.metrics.text.wer import WordErrors, corpus

# Words of the reference; the paper's length-stress set spans 1 to 62.
BINS = (
    *((1, 2), (3, 5), (6, 10), (11, 20), (21, 30), (31, 45), (46, 62), (63, 120), (121, 250)),
    (251, 10_000),
)
Row = Mapping[str, Any]
_MEASURES = {measure.name: measure for measure in measures_of(())}


@dataclass(frozen=True)
class Bin:
    """The utterances of low to high reference words. `runaways` hit the length limit, `short` speak less than
    half as long per word as the median of all."""

    low: int
    high: int
    utterances: int
    wer: Interval
    counts: WordErrors
    sim_prompt: Interval | None
    mos: Interval | None
    runaways: int
    loops: int
    short: int


@dataclass(frozen=True)
class BinDifference:
    """Corpus WER less the baseline's on the utterances of low to high words."""

    low: int
    high: int
    difference: Difference


def length_bins(rows: Sequence[Row]) -> list[Bin]:
    """One entry per bin that has scored utterances, shortest first. Short bins: one error of a one-word text
    is 100 %, so that only the corpus rate is given."""
    scored = [row for row in rows if row["wer"] is not None]
    paces = sorted(
        row["duration_s"] / row["reference_words"] for row in scored if row["duration_s"]
    )
    pace = paces[len(paces) // 2] if paces else 0.0
    found = []
    for low, high in BINS:
        these = [row for row in scored if low <= row["reference_words"] <= high]
        if not these:
            continue
        wer = WER.estimate(these)
        assert wer is not None, "rows with a rate"
        found.append(
            Bin(
                low,
                high,
                len(these),
                wer,
                corpus([word_errors_of(row) for row in these]),
                _MEASURES["sim_prompt"].estimate(these),
                _MEASURES["mos"].estimate(these),
                sum(bool(row["hit_max"]) for row in these),
                sum("loop" in row["flags"] for row in these),
                sum(0 < row["duration_s"] < 0.5 * pace * row["reference_words"] for row in these),
            )
        )
    return found


def bin_differences(rows: Sequence[Row], baseline: Sequence[Row]) -> list[BinDifference]:
    """Paired differences per bin of two systems' rows of the same utterances."""
    found = []
    for low, high in BINS:
        these = [row for row in rows if low <= row["reference_words"] <= high]
        gap = WER.difference([(these, baseline)])
        if gap is not None:
            found.append(BinDifference(low, high, gap))
    return found


def slope_of(rows: Sequence[Row]) -> Interval | None:
    """WER per doubling of the words; None when the texts are too few or too much alike in length."""
    kept = [row for row in rows if row["wer"] is not None]
    return slope_if_any(*_errors_words(kept), voices_of(kept)) if kept else None


def slope_difference(sides: Sequence[tuple[Sequence[Row], Sequence[Row]]]) -> Interval | None:
    """The slope of the difference to a baseline, over seeds: (rows, the baseline's rows) of each."""
    found = [
        {row["utterance"]: row for row in rows if row["wer"] is not None}
        for side in sides
        for rows in side
    ]
    shared = [name for name in found[0] if all(name in rows for rows in found)]
    if not shared:
        return None
    errors = np.stack([_errors_words([rows[name] for name in shared])[0] for rows in found])
    kept = [found[0][name] for name in shared]
    return slope_if_any(errors[0::2] - errors[1::2], _errors_words(kept)[1], voices_of(kept))


def slope_if_any(errors: np.ndarray, words: np.ndarray, clusters: Sequence[str]) -> Interval | None:
    """`length_slope`, None where the texts have none."""
    try:
        return length_slope(errors, words, clusters)
    except ValueError:
        return None


def _errors_words(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    counts = [word_errors_of(row) for row in rows]
    return (
        np.array([one.errors for one in counts], dtype=float),
        np.array([one.reference_words for one in counts], dtype=float),
    )
