"""The columns of a table of systems, as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

from eval.analysis.summary import Line
from mamtra.backbone.layer_plan import plan_letters


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
