"""How a system's errors depend on the length of the text: the length-stress report, for any test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.leaderboard import word_errors_of
from eval.metrics.wer import WordErrors, corpus
from eval.statistics import Interval, corpus_wer_interval

# Words of the reference; the paper's length-stress set spans 1 to 62.
BINS = (
    *((1, 2), (3, 5), (6, 10), (11, 20), (21, 30), (31, 45), (46, 62), (63, 120), (121, 250)),
    (251, 10_000),
)
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Bin:
    """The utterances of low to high reference words. `runaways` hit the length limit, `short` speak less than
    half as long per word as the median of all."""

    low: int
    high: int
    utterances: int
    wer: Interval
    counts: WordErrors
    sim_prompt: float | None
    mos: float | None
    runaways: int
    loops: int
    short: int


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
        errors = [word_errors_of(row) for row in these]
        words = [e.reference_words for e in errors]
        interval = corpus_wer_interval(
            [e.errors for e in errors], words, [str(row["prompt"]) for row in these]
        )
        found.append(
            Bin(
                low,
                high,
                len(these),
                interval,
                corpus(errors),
                _mean(these, "sim_prompt"),
                _mean(these, "mos"),
                sum(bool(row["hit_max"]) for row in these),
                sum("loop" in row["flags"] for row in these),
                sum(0 < row["duration_s"] < 0.5 * pace * row["reference_words"] for row in these),
            )
        )
    return found


def _mean(rows: Sequence[Row], name: str) -> float | None:
    values = [row[name] for row in rows if row[name] is not None]
    return sum(values) / len(values) if values else None
