"""One table line per system, from its score rows and its card; written as CSV and Markdown.

Policy: an utterance without a usable wav counts as WER 1.0; similarity and MOS are means over the
rows that have them; an utterance whose reference is empty is expected but not scored.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console

from eval.metrics.wer import WordErrors, corpus, utterance_mean
from eval.statistics import Interval, corpus_wer_interval, paired_difference_interval
from mamtra.backbone.layer_plan import plan_letters

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
    wer_guarded: float | None  # corpus rate with the recogniser's inventions capped (`eval.score`)
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


def _optional(form: str) -> Callable[[Any], str]:
    return lambda value: "–" if value is None else form.format(value)


def _wer_cell(line: Line) -> str:
    if line.wer is None:
        return "–"
    wer = line.wer
    return f"{100 * wer.point:.2f} [{100 * wer.low:.2f}, {100 * wer.high:.2f}]"


def _difference_cell(line: Line) -> str:
    if line.difference is None:
        return "–"
    gap = line.difference
    return f"{100 * gap.point:+.2f} [{100 * gap.low:+.2f}, {100 * gap.high:+.2f}]"


def _difference_point(line: Line) -> str:
    return _optional("{:+.2f}")(line.difference and 100 * line.difference.point)


def _counts_cell(line: Line) -> str:
    counts = line.counts
    return f"{counts.substitutions}/{counts.deletions}/{counts.insertions}" if counts else "–"


# Header and text of each column, in the order of the table.
COLUMNS: tuple[tuple[str, Callable[[Line], str]], ...] = (
    ("system", lambda line: line.system),
    ("layers", lambda line: plan_letters(line.layer_plan) if line.layer_plan else "–"),
    ("params", lambda line: f"{line.n_parameters / 1e6:.2f} M" if line.n_parameters else "–"),
    ("ok / n", lambda line: f"{line.n_scored}/{line.n_expected}"),
    ("WER % [95 % CI]", _wer_cell),
    ("Δ baseline", _difference_cell),
    ("WER % mean", lambda line: _optional("{:.2f}")(line.wer_mean and 100 * line.wer_mean)),
    ("S/D/I", _counts_cell),
    ("SIM own", lambda line: _optional("{:.3f}")(line.sim_prompt)),
    ("SIM other", lambda line: _optional("{:.3f}")(line.sim_other)),
    ("MOS", lambda line: _optional("{:.2f}")(line.mos)),
    ("CE", lambda line: _optional("{:.3f}")(line.ce)),
    ("CE shuffled", lambda line: _optional("{:.3f}")(line.ce_shuffled)),
    ("tokens/s", lambda line: _optional("{:.0f}")(line.tokens_per_s)),
    ("RTF", lambda line: _optional("{:.2f}")(line.rtf)),
    ("hit max", lambda line: _optional("{}")(line.hit_max)),
)


# What the terminal shows of them, in this order.
TERMINAL = (
    "system",
    "WER % [95 % CI]",
    "Δ baseline",
    "SIM own",
    "SIM other",
    "MOS",
    "CE",
    "tokens/s",
)


def columns_for(lines: Sequence[Line]) -> list[tuple[str, Callable[[Line], str]]]:
    """The columns to show: the difference only when there is a baseline."""
    compared = any(line.difference for line in lines)
    return [column for column in COLUMNS if compared or column[0] != "Δ baseline"]


def terminal_columns(lines: Sequence[Line]) -> list[tuple[str, Callable[[Line], str]]]:
    """The columns that a reader waits for, without intervals of differences and secondary counts."""
    known = dict(columns_for(lines))
    short = {"SIM own": "SIM", "SIM other": "other", "tokens/s": "tok/s", "Δ baseline": "Δ"}
    if "Δ baseline" in known:
        known["Δ baseline"] = _difference_point  # with its interval it is too wide
    return [(short.get(name, name), known[name]) for name in TERMINAL if name in known]


def to_markdown(lines: Sequence[Line]) -> str:
    """The table as GitHub Markdown."""
    columns = columns_for(lines)
    table = [[header for header, _ in columns], ["---"] * len(columns)]
    table += [[text(line).replace("|", "\\|") for _, text in columns] for line in lines]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in table) + "\n"


def to_csv(lines: Sequence[Line]) -> str:
    """The table with plain numbers: rates as fractions, empty where not applicable."""
    stream = io.StringIO()
    writer: csv.DictWriter | None = None
    for line in lines:
        wer, gap, counts = line.wer, line.difference, line.counts
        cells = {
            "system": line.system,
            "layer_plan": plan_letters(line.layer_plan) if line.layer_plan else None,
            "n_parameters": line.n_parameters,
            "n_expected": line.n_expected,
            "n_scored": line.n_scored,
            "wer_corpus": wer and wer.point,
            "wer_corpus_low": wer and wer.low,
            "wer_corpus_high": wer and wer.high,
            "baseline": line.baseline,
            "wer_difference": gap and gap.point,
            "wer_difference_low": gap and gap.low,
            "wer_difference_high": gap and gap.high,
            "wer_utterance_mean": line.wer_mean,
            "substitutions": counts and counts.substitutions,
            "deletions": counts and counts.deletions,
            "insertions": counts and counts.insertions,
            "reference_words": counts and counts.reference_words,
            "wer_guarded": line.wer_guarded,
            "perfect": line.perfect,
            "wer_mean_below_half": line.wer_mean_below_half,
            "above_half": line.above_half,
            "flags": " ".join(f"{name}={n}" for name, n in sorted(line.flags.items())) or None,
            "sim_prompt": line.sim_prompt,
            "sim_other": line.sim_other,
            "sim_recording": line.sim_recording,
            "mos": line.mos,
            "ce": line.ce,
            "ce_shuffled": line.ce_shuffled,
            "lm_tokens_per_s": line.tokens_per_s,
            "rtf": line.rtf,
            "hit_max": line.hit_max,
        }
        if writer is None:
            writer = csv.DictWriter(stream, list(cells), lineterminator="\n")
            writer.writeheader()
        writer.writerow(cells)
    return stream.getvalue()
