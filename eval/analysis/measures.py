"""What systems are compared by: each number of a system, as one rule over its score rows.

Every column of `eval.metrics.registry` is one. What shows or compares numbers (summaries, comparisons, tables,
CSV) goes through `measures_of`, so that each has its n, its interval over voices and its paired difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from eval.analysis.statistics import (
    Difference,
    Interval,
    mean_interval,
    paired_difference,
    rate_interval,
    share_interval,
)
from eval.metrics import registry
from eval.metrics.registry import Column
from eval.metrics.text.wer import WordErrors

Row = Mapping[str, Any]
FEW_VOICES = 6


@dataclass(frozen=True)
class Measure:
    """A number of a system.

    name: in CSV. metric: key of the recipe that its values depend on.
    header, form, scale: in tables; `form` formats `scale` times the value.
    better: which way is better, None where neither is.
    kind: a rate is not negative and has its interval on a logarithmic scale; a share is of utterances.
    value: of a row, None where it has none.
    weight: the field that a rate is counted of; None: each row counts alike.
    paired: whether its difference between systems is one of the same utterances.
    """

    name: str
    metric: str
    header: str
    form: str
    better: Literal["higher", "lower"] | None
    explanation: str
    kind: Literal["rate", "mean", "share"]
    value: Callable[[Row], float | None]
    weight: str | None = None
    scale: float = 1.0
    paired: bool = True

    def estimate(self, rows: Sequence[Row]) -> Interval | None:
        """Over the rows that have a value; None when none has."""
        values = self._values(rows)
        kept = [row for row, value in zip(rows, values, strict=True) if not math.isnan(value)]
        if not kept:
            return None
        known, clusters = values[~np.isnan(values)], voices_of(kept)
        if self.kind == "share":
            return share_interval(known, clusters)
        if self.kind == "mean":
            return mean_interval(known, clusters)
        return rate_interval(known, self._weights(kept), clusters)

    def difference(self, sides: Sequence[tuple[Sequence[Row], Sequence[Row]]]) -> Difference | None:
        """Of a system less a baseline, over seeds: (rows, the baseline's rows) of each.

        Over the utterances that have a value on both sides in every seed; None when there are none.
        """
        # Of a system and of its baseline in turns.
        found = [{row["utterance"]: row for row in rows} for side in sides for rows in side]
        shared = [name for name in found[0] if all(name in rows for rows in found)]
        if not shared:
            return None
        values = np.stack([self._values([rows[name] for name in shared]) for rows in found])
        known = ~np.isnan(values).any(axis=0)
        if not known.any():
            return None
        kept = [found[0][shared[number]] for number in np.flatnonzero(known)]
        ours, base = values[0::2, known], values[1::2, known]
        return paired_difference(ours, base, self._weights(kept), voices_of(kept))

    def text(self, value: float) -> str:
        """A value as tables show it; a dash where nothing is known."""
        return self.form.format(self.scale * value) if math.isfinite(value) else "–"

    def gap_text(self, value: float) -> str:
        """A difference as tables show it, with its sign."""
        signed = self.form.replace("{:", "{:+")
        return signed.format(self.scale * value) if math.isfinite(value) else "–"

    def interval_text(self, found: Interval) -> str:
        """ "6.88 [5.02, 9.43]"."""
        text = self.gap_text if isinstance(found, Difference) else self.text
        return f"{text(found.point)} [{text(found.low)}, {text(found.high)}]"

    def _values(self, rows: Sequence[Row]) -> np.ndarray:
        """(U,), NaN where a row has none."""
        values = [self.value(row) for row in rows]
        return np.array([np.nan if value is None else value for value in values], dtype=float)

    def _weights(self, rows: Sequence[Row]) -> np.ndarray:
        return np.array([1.0 if self.weight is None else float(row[self.weight]) for row in rows])


def voices_of(rows: Sequence[Row]) -> list[str]:
    """The clusters of all statistics."""
    return [str(row["voice"]) for row in rows]


def word_errors_of(row: Row) -> WordErrors:
    """The edit counts of a scored row."""
    return WordErrors(
        *(row[name] for name in ("substitutions", "deletions", "insertions", "reference_words"))
    )


def caveat(clusters: int) -> str:
    """What a reader has to know of an interval from so few voices, "" otherwise."""
    if clusters == 1:
        return "one voice: the intervals are over its utterances and hold for that voice alone"
    if clusters < FEW_VOICES:
        return f"only {clusters} voices: the intervals rely on the voices being alike in kind"
    return ""


def _total(*names: str) -> Callable[[Row], float | None]:
    """Sum of some fields of a row; None where the row lacks one: a metric that is newer than the row."""

    def value(row: Row) -> float | None:
        found = [row[name] for name in names if row.get(name) is not None]
        return float(sum(found)) if len(found) == len(names) else None

    return value


def _below_half(row: Row) -> float | None:
    return row["wer"] if row["wer"] is not None and row["wer"] <= 0.5 else None


def _perfect(row: Row) -> float | None:
    return None if row["wer"] is None else float(row["wer"] == 0)


def _of_column(metric: str, column: Column) -> Measure:
    """The measure of a line of the table of metrics."""
    summed, divisor = column.ratio or ((column.name,), None)
    return Measure(
        *(column.name, metric, column.header, column.form, column.better, column.explanation),
        *("rate" if column.ratio else "mean", _total(*summed), divisor),
        scale=column.scale,
    )


def registered() -> list[Measure]:
    """One for every column of the table of metrics."""
    lines = [(metric.name, column) for metric in registry.METRICS for column in metric.columns]
    return [_of_column(name, column) for name, column in lines]


WER = next(measure for measure in registered() if measure.name == "wer")
# WER, and other views of the same word errors.
OF_WORDS: tuple[Measure, ...] = (
    WER,
    replace(
        WER,
        name="wer_utterance_mean",
        header="WER % mean",
        explanation="unweighted mean of the utterances' rates, seed-tts-eval's headline",
        value=_total("wer"),
        weight=None,
    ),
    replace(
        WER,
        name="wer_mean_below_half",
        header="WER % mean to 50",
        explanation="mean of the rates of at most 50 %, which forks of seed-tts-eval print",
        value=_below_half,
        weight=None,
        paired=False,
    ),
    Measure(
        *("perfect", "wer", "perfect %", "{:.1f}", "higher"),
        "share of utterances without an error",
        *("share", _perfect),
        scale=100,
    ),
)


def measures_of(rows: Sequence[Row]) -> tuple[Measure, ...]:
    """Every measure, and the WER of each further recogniser that heard these rows."""
    labels = dict.fromkeys(label for row in rows for label in row.get("hearings") or ())
    further = [measure for measure in registered() if measure.name != WER.name]
    return (*OF_WORDS, *further, *(_heard_by(label) for label in labels))


def _heard_by(label: str) -> Measure:
    def errors(row: Row) -> float | None:
        heard = (row["hearings"] or {}).get(label)
        return None if heard is None else WER.value(heard)

    return replace(
        WER,
        name=f"wer:{label}",
        metric=f"wer:{label}",
        header=f"WER % {label}",
        explanation=f"corpus WER as {label} hears it",
        value=errors,
    )
