"""One line per system, from its score rows and its card.

Policy: an utterance without a usable wav counts as WER 1.0; every other number is of the rows that have it,
and says of how many; an utterance whose reference is empty is expected but not scored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console

from eval.analysis.measures import WER, Measure, measures_of, voices_of, word_errors_of
from eval.analysis.statistics import Difference, Interval, holm, share_interval
from eval.metrics.faults import FAULT_CLASSES
from eval.metrics.text.wer import WordErrors, corpus

Row = Mapping[str, Any]
# Statuses without a transcript.
LOST = ("missing", "corrupt", "empty", "silent", "nan", "asr_error")


@dataclass(frozen=True)
class Line:
    """One system of the table; None where something does not apply.

    estimates, differences: by the name of a `Measure`; differences to `baseline`, on the same utterances.
    faults: fault class -> share of the classified utterances. missing: metric -> number of rows on which it
    failed.
    """

    system: str
    layer_plan: tuple[str, ...] | None
    n_parameters: int | None
    n_expected: int
    n_scored: int
    n_voices: int
    statuses: Mapping[str, int]
    flags: Mapping[str, int]
    counts: WordErrors | None
    above_half: int | None  # utterances that `wer_mean_below_half` leaves out
    hit_max: int | None
    ce: float | None
    ce_shuffled: float | None
    measures: tuple[Measure, ...]
    estimates: Mapping[str, Interval]
    faults: Mapping[str, Interval]
    missing: Mapping[str, int]
    baseline: str | None = None
    differences: Mapping[str, Difference] = field(default_factory=dict)

    @property
    def wer(self) -> Interval | None:
        """Corpus WER."""
        return self.estimates.get(WER.name)

    @property
    def difference(self) -> Difference | None:
        """Of corpus WER."""
        return self.differences.get(WER.name)


def leaderboard_line(system: str, card: Row, rows: Sequence[Row]) -> Line:
    """Aggregate one system.

    Args:
        card: `layer_plan`, `n_parameters`, `ce`, `ce_shuffled`, all optional.
        rows: its score rows (`eval.scoring.row`).
    """
    errors = [word_errors_of(row) for row in rows if row["wer"] is not None]
    spoken = [row for row in rows if row.get("hit_max") is not None and row["status"] != "missing"]
    plan, measures = card.get("layer_plan"), measures_of(rows)
    found = {measure.name: measure.estimate(rows) for measure in measures}
    return Line(
        system=system,
        layer_plan=tuple(plan) if plan else None,
        n_parameters=card.get("n_parameters"),
        n_expected=len(rows),
        n_scored=sum(row["status"] == "ok" for row in rows),
        n_voices=len(set(voices_of(rows))),
        statuses=dict(Counter(row["status"] for row in rows)),
        flags=dict(Counter(flag for row in rows for flag in row["flags"])),
        counts=corpus(errors) if errors else None,
        above_half=sum(one.wer > 0.5 for one in errors) if errors else None,
        hit_max=sum(bool(row["hit_max"]) for row in spoken) if spoken else None,
        ce=card.get("ce"),
        ce_shuffled=card.get("ce_shuffled"),
        measures=measures,
        estimates={name: value for name, value in found.items() if value is not None},
        faults=_fault_shares(rows),
        missing=dict(Counter(metric for row in rows for metric in row["failures"])),
    )


def line_against(line: Line, rows: Sequence[Row], baseline: str, base_rows: Sequence[Row]) -> Line:
    """The line of a system's rows with its differences to the baseline; `adjusted` has to see them together."""
    found = {m.name: m.difference([(rows, base_rows)]) for m in line.measures if m.paired}
    differences = {name: gap for name, gap in found.items() if gap is not None}
    return replace(line, baseline=baseline, differences=differences)


def adjusted(lines: Sequence[Line]) -> list[Line]:
    """The lines of one table with p adjusted by Holm over its systems, for each measure by itself."""
    adjusted_p: list[dict[str, float]] = [{} for _ in lines]
    for name in dict.fromkeys(name for line in lines for name in line.differences):
        having = [number for number, line in enumerate(lines) if name in line.differences]
        values = holm([lines[number].differences[name].p for number in having])
        for number, p in zip(having, values, strict=True):
            adjusted_p[number][name] = float(p)
    return [
        replace(
            line,
            differences={
                name: replace(gap, p_holm=own[name]) for name, gap in line.differences.items()
            },
        )
        for line, own in zip(lines, adjusted_p, strict=True)
    ]


def difference_to(rows: Sequence[Row], baseline_rows: Sequence[Row]) -> Difference | None:
    """Corpus WER minus the baseline's on the shared utterances; None when there are none."""
    return WER.difference([(rows, baseline_rows)])


def coverage(lines: Sequence[Line], allow_partial: bool, console: Console) -> int:
    """Exit code of an evaluation: 1 when utterances lack a transcript, or a metric failed on some, and that is
    not allowed.

    A system that fails on hard texts must not look like one that was asked less.
    """
    incomplete = False
    for line in lines:
        if line.n_scored < line.n_expected:
            found = ", ".join(f"{n} {s}" for s, n in line.statuses.items() if s != "ok")
            text = f"{line.system}: {line.n_scored} of {line.n_expected} are ok ({found})"
            lost = sum(line.statuses.get(status, 0) for status in LOST)
            console.print(text + (f"; {lost} count as WER 100 %" if lost else ""), markup=False)
            incomplete |= bool(lost)
        for metric, number in line.missing.items():
            text = f"{line.system}: {metric} failed on {number} of {line.n_expected} rows"
            console.print(f"{text}; its mean is of the others", markup=False)
            incomplete = True
    if not incomplete or allow_partial:
        return 0
    console.print("allow_partial=true accepts that")
    return 1


def _fault_shares(rows: Sequence[Row]) -> dict[str, Interval]:
    """Of each class, also of those that no utterance is in; none when nothing was classified."""
    classified = [row for row in rows if row.get("fault_class") is not None]
    clusters = voices_of(classified)
    if not classified:
        return {}
    return {
        name: share_interval([row["fault_class"] == name for row in classified], clusters)
        for name in FAULT_CLASSES
    }
