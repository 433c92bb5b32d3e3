"""The table of systems: one list of columns from which text, Markdown, CSV and the terminal's table are made.

A measure (`eval.analysis.measures`) has its columns without a line here: its value with interval, its
difference to the baseline, and in CSV n, p and the rest.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from eval.analysis.measures import WER, Measure, caveat
from eval.analysis.summary import Line
from eval.metrics.faults import FAULT_CLASSES
from eval.store.files import markdown_cell
from mamtra.backbone.layer_plan import plan_letters

Text = Callable[[Line], str]
# On a system's page and in CSV, not in the table of all systems.
DETAILS = ("wer_guarded", "wer_mean_below_half", "perfect", "sim_recording")
SHORT = {WER.name: "WER % [95 % CI]", "sim_prompt": "SIM", "sim_other": "other", "mos": "MOS"}
CSV_NAMES = {WER.name: "wer_corpus"}
SETTLED = " *"


@dataclass(frozen=True)
class Column:
    """A column of the table.

    header: "" for a column of CSV only. text: what tables show. cells: what CSV has, by name; rates as
        fractions.
    short, short_text: header and text in the terminal; "": not there, None: as `text`.
    """

    header: str
    text: Text
    cells: Callable[[Line], dict[str, Any]]
    short: str = ""
    short_text: Text | None = None


def table_of(lines: Sequence[Line]) -> list[Column]:
    """The columns for these systems; a measure that none of them has is left out."""
    named = {measure.name: measure for line in lines for measure in line.measures}
    had = {name for line in lines for name in line.estimates}
    compared = {name for line in lines for name in line.differences}
    columns = [
        _plain("system", "system", str, "system"),
        Column("layers", _letters, lambda line: {"layer_plan": line.layer_plan and _letters(line)}),
        _plain("params", "n_parameters", lambda n: f"{n / 1e6:.2f} M"),
        Column("ok / n", lambda line: f"{line.n_scored}/{line.n_expected}", _sizes),
    ]
    if compared:
        columns.append(_plain("", "baseline", str))
    for measure in (one for name, one in named.items() if name in had):
        columns.append(_estimate(measure))
        if measure.name in compared:
            columns.append(_difference(measure))
        if measure is WER:
            columns.append(Column("S/D/I", _counts_text, _counts))
    faults = any(line.faults for line in lines)
    return [
        *columns,
        _plain("", "above_half", str),
        Column("faults" if faults else "", _faults_text, _faults if faults else lambda line: {}),
        Column("", lambda line: "", lambda line: {"flags": _flags(line)}),
        _plain("CE", "ce", "{:.3f}".format, "CE"),
        _plain("CE shuffled", "ce_shuffled", "{:.3f}".format),
        _plain("hit max", "hit_max", str),
    ]


def columns_for(lines: Sequence[Line]) -> list[tuple[str, Text]]:
    """Header and text of each column to show."""
    return [(column.header, column.text) for column in table_of(lines) if column.header]


def terminal_columns(lines: Sequence[Line]) -> list[tuple[str, Text]]:
    """The columns that a reader waits for, without intervals of differences and secondary counts."""
    return [
        (column.short, column.short_text or column.text)
        for column in table_of(lines)
        if column.short
    ]


def caption(lines: Sequence[Line]) -> str:
    """Of how many utterances and voices the numbers are, and what the marks mean."""
    sizes = dict.fromkeys(
        f"{line.n_expected} utterance{'s'[: line.n_expected > 1]} of {line.n_voices} "
        f"voice{'s'[: line.n_voices > 1]}"
        for line in lines
    )
    parts = [" and ".join(sizes), "[95 % intervals over voices]"]
    parts += dict.fromkeys(filter(None, (caveat(line.n_voices) for line in lines)))
    if any(line.differences for line in lines):
        parts.append("* settled: p below 0.05 after Holm over the systems")
    return "; ".join(parts)


def to_markdown(lines: Sequence[Line]) -> str:
    """The table as GitHub Markdown, with its caption."""
    columns = columns_for(lines)
    table = [[header for header, _ in columns], ["---"] * len(columns)]
    table += [[markdown_cell(text(line)) for _, text in columns] for line in lines]
    rows = ["| " + " | ".join(cells) + " |" for cells in table]
    return "\n".join([*rows, "", caption(lines)]) + "\n"


def to_csv(lines: Sequence[Line]) -> str:
    """The table with plain numbers: rates as fractions, empty where not applicable."""
    columns, stream = table_of(lines), io.StringIO()
    rows = [{k: v for column in columns for k, v in column.cells(line).items()} for line in lines]
    if rows:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return stream.getvalue()


def _plain(header: str, name: str, form: Callable[[Any], str], short: str = "") -> Column:
    """A field of the line as it is."""

    def text(line: Line) -> str:
        value = getattr(line, name)
        return "–" if value is None else form(value)

    return Column(header, text, lambda line: {name: getattr(line, name)}, short)


def _estimate(measure: Measure) -> Column:
    """A measure's value: the terminal has room for the interval of WER only."""
    name = CSV_NAMES.get(measure.name, measure.name)

    def shown(line: Line, interval: bool) -> str:
        found = line.estimates.get(measure.name)
        if found is None:
            return "–"
        text = measure.interval_text(found) if interval else measure.text(found.point)
        return text if found.n == line.n_expected else f"{text} (n {found.n})"

    def cells(line: Line) -> dict[str, Any]:
        found = line.estimates.get(measure.name)
        values = (found.point, found.low, found.high, found.n) if found else (None,) * 4
        return dict(
            zip((name, *(f"{name}_{k}" for k in ("low", "high", "n"))), values, strict=True)
        )

    header = "" if measure.name in DETAILS else measure.header
    return Column(
        f"{header} [95 % CI]" if measure is WER else header,
        lambda line: shown(line, interval=True),
        cells,
        SHORT.get(measure.name, ""),
        lambda line: shown(line, interval=measure is WER),
    )


def _difference(measure: Measure) -> Column:
    """What a system has more than the baseline; one that neither side is better by is in CSV only."""

    def shown(line: Line, interval: bool) -> str:
        gap = line.differences.get(measure.name)
        if gap is None:
            return "–"
        text = measure.interval_text(gap) if interval else measure.gap_text(gap.point)
        return text + (SETTLED if gap.settled else "")

    def cells(line: Line) -> dict[str, Any]:
        gap, name = line.differences.get(measure.name), f"{measure.name}_difference"
        values = (gap.point, gap.low, gap.high, gap.n, gap.p, gap.p_holm) if gap else (None,) * 6
        ends = ("low", "high", "n", "p", "p_holm")
        return dict(zip((name, *(f"{name}_{end}" for end in ends)), values, strict=True))

    hidden = measure.better is None or measure.name in DETAILS
    return Column(
        "Δ baseline" if measure is WER else "" if hidden else f"Δ {measure.header}",
        lambda line: shown(line, interval=True),
        cells,
        "Δ" if measure is WER else "",
        lambda line: shown(line, interval=False),
    )


def _letters(line: Line) -> str:
    return plan_letters(line.layer_plan) if line.layer_plan else "–"


def _sizes(line: Line) -> dict[str, Any]:
    return {name: getattr(line, name) for name in ("n_expected", "n_scored", "n_voices")}


def _counts_text(line: Line) -> str:
    counts = line.counts
    return f"{counts.substitutions}/{counts.deletions}/{counts.insertions}" if counts else "–"


def _counts(line: Line) -> dict[str, Any]:
    names = ("substitutions", "deletions", "insertions", "reference_words")
    return {name: line.counts and getattr(line.counts, name) for name in names}


def _flags(line: Line) -> str | None:
    return " ".join(f"{name}={n}" for name, n in sorted(line.flags.items())) or None


def _faults_text(line: Line) -> str:
    """ "substituted 4.0 %, loop 0.3 %": the classes besides "ok" that there are."""
    found = [
        f"{name.replace('_', ' ')} {100 * share.point:.1f} %"
        for name, share in line.faults.items()
        if name != "ok" and share.point > 0
    ]
    return ", ".join(found) or "–"


def _faults(line: Line) -> dict[str, Any]:
    """Share of each class with its interval; empty for a system that was not classified."""
    found: dict[str, Any] = {}
    for name in FAULT_CLASSES:
        share, keys = line.faults.get(name), (f"fault_{name}{end}" for end in ("", "_low", "_high"))
        values = (share.point, share.low, share.high) if share else (None,) * 3
        found |= dict(zip(keys, values, strict=True))
    return found
