"""One line per system, from its score rows and its card.

Policy: an utterance without a usable wav counts as WER 1.0; similarity and MOS are means over the
rows that have them; an utterance whose reference is empty is expected but not scored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console

from eval.analysis.statistics import Interval, corpus_wer_interval, paired_difference_interval
from eval.metrics.text.wer import WordErrors, corpus, utterance_mean

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """One system of the table; None where a column does not apply."""

    system: str
    layer_plan: tuple[str, ...] | None
    n_parameters: int | None
    n_expected: int
    n_scored: int
    statuses: Mapping[str, int]
    wer: Interval | None
    wer_mean: float | None
    counts: WordErrors | None
    sim_prompt: float | None
    sim_other: float | None
    mos: float | None
    ce: float | None
    ce_shuffled: float | None
    tokens_per_s: float | None
    rtf: float | None
    hit_max: int | None
    perfect: float | None  # share of utterances without an error
    # Mean over those of at most 50 %, which forks of seed-tts-eval print.
    wer_mean_below_half: float | None
    above_half: int | None  # how many that leaves out
    wer_guarded: (
        float | None
    )  # corpus rate with the recogniser's inventions capped (`eval.scoring.score`)
    sim_recording: float | None
    flags: Mapping[str, int]
    baseline: str | None = None
    difference: Interval | None = field(default=None)


def line_against(line: Line, rows: Sequence[Row], baseline: str, base_rows: Sequence[Row]) -> Line:
    """The line of a system's rows with its difference to the baseline."""
    return replace(line, baseline=baseline, difference=difference_to(rows, base_rows))


def leaderboard_line(system: str, card: Row, rows: Sequence[Row]) -> Line:
    """Aggregate one system.

    Args:
        card: `layer_plan`, `n_parameters`, `ce`, `ce_shuffled`, all optional.
        rows: of `scores.jsonl`.
    """
    scored = _scored(rows)
    errors = [word_errors_of(row) for row in scored]
    below = [e for e in errors if e.wer <= 0.5]
    with_lm = [row for row in rows if row["lm_s"] is not None and row["status"] != "missing"]
    lm_s = sum(row["lm_s"] for row in with_lm)
    speech_s = sum(row["duration_s"] for row in with_lm)
    plan = card.get("layer_plan")
    return Line(
        system=system,
        layer_plan=tuple(plan) if plan else None,
        n_parameters=card.get("n_parameters"),
        n_expected=len(rows),
        n_scored=sum(row["status"] == "ok" for row in rows),
        statuses=dict(Counter(row["status"] for row in rows)),
        wer=_interval(scored),
        wer_mean=utterance_mean(errors) if errors else None,
        counts=corpus(errors) if errors else None,
        sim_prompt=mean_of(rows, "sim_prompt"),
        sim_other=mean_of(rows, "sim_other"),
        mos=mean_of(rows, "mos"),
        ce=card.get("ce"),
        ce_shuffled=card.get("ce_shuffled"),
        tokens_per_s=sum(row["n_tokens"] for row in with_lm) / lm_s if lm_s else None,
        rtf=(lm_s + sum(row["vocode_s"] for row in with_lm)) / speech_s if speech_s else None,
        hit_max=sum(bool(row["hit_max"]) for row in with_lm) if with_lm else None,
        perfect=sum(e.errors == 0 for e in errors) / len(errors) if errors else None,
        wer_mean_below_half=utterance_mean(below) if below else None,
        above_half=len(errors) - len(below) if errors else None,
        wer_guarded=sum(row["guarded_errors"] for row in scored) / corpus(errors).reference_words
        if errors
        else None,
        sim_recording=mean_of(rows, "sim_recording"),
        flags=dict(Counter(flag for row in rows for flag in row["flags"])),
    )


def difference_to(rows: Sequence[Row], baseline_rows: Sequence[Row]) -> Interval | None:
    """Corpus WER minus the baseline's on the shared utterances; None when there are none."""
    base = {row["utterance"]: row for row in _scored(baseline_rows)}
    shared = [row for row in _scored(rows) if row["utterance"] in base]
    if not shared:
        return None
    return paired_difference_interval(
        [word_errors_of(row).errors for row in shared],
        [word_errors_of(base[row["utterance"]]).errors for row in shared],
        [row["reference_words"] for row in shared],
        [str(row["prompt"]) for row in shared],
    )


# Statuses without a transcript.
LOST = ("missing", "corrupt", "empty", "silent", "nan", "asr_error")


def coverage(lines: Sequence[Line], allow_partial: bool, console: Console) -> int:
    """Exit code of an evaluation: 1 when utterances lack a transcript and that is not allowed.

    A system that fails on hard texts must not look like one that was asked less.
    """
    lost_any = False
    for line in lines:
        if line.n_scored == line.n_expected:
            continue
        found = ", ".join(f"{n} {status}" for status, n in line.statuses.items() if status != "ok")
        text = f"{line.system}: {line.n_scored} of {line.n_expected} are ok ({found})"
        lost = sum(line.statuses.get(status, 0) for status in LOST)
        console.print(text + (f"; {lost} count as WER 100 %" if lost else ""), markup=False)
        lost_any |= bool(lost)
    if not lost_any or allow_partial:
        return 0
    console.print("allow_partial=true accepts that")
    return 1


def word_errors_of(row: Row) -> WordErrors:
    """The edit counts of a scored row."""
    return WordErrors(
        row["substitutions"], row["deletions"], row["insertions"], row["reference_words"]
    )


def _scored(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["wer"] is not None]


def _interval(scored: Sequence[Row]) -> Interval | None:
    if not scored:
        return None
    return corpus_wer_interval(
        [word_errors_of(row).errors for row in scored],
        [row["reference_words"] for row in scored],
        [str(row["prompt"]) for row in scored],
    )


def mean_of(rows: Sequence[Row], name: str) -> float | None:
    """Mean of a column over the rows that have it."""
    values = [row[name] for row in rows if row[name] is not None]
    return sum(values) / len(values) if values else None
