"""One comparison of a system with a baseline, and the tables of stage=compare: CSV, Markdown and terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from eval.analysis.lengths import BinDifference
from eval.analysis.measures import WER, Measure, caveat
from eval.analysis.statistics import Difference, Interval, holm
from eval.store.files import markdown_cell

BETTER, AS_GOOD, WORSE, OPEN = "better", "as good", "worse", "open"


@dataclass(frozen=True)
class Comparison:
    """One measure of one system and its baseline."""

    system: str
    measure: Measure
    difference: Difference
    # WER only: of the difference per doubling of the words; None: lengths too much alike.
    slope: Interval | None
    base_seeds: (
        int  # of the baseline: fewer than the system's where its one seed stands against each
    )

    def verdict(self, margin: float) -> str:
        """ "better" or "worse" when p after Holm is below 0.05; else, of WER, "as good" when the interval
        stays below the margin. "" for a measure of which neither side is better."""
        gap, better = self.difference, self.measure.better
        if better is None:
            return ""
        if gap.settled:
            return BETTER if (gap.point > 0) == (better == "higher") else WORSE
        return AS_GOOD if self.measure is WER and gap.high < margin else OPEN


def to_csv(found: Sequence[Comparison], baseline: str, margin: float) -> str:
    """One row per measure and system; rates are fractions."""
    return pd.DataFrame([_row(one, baseline, margin) for one in found]).to_csv(
        index=False, float_format="%.6g"
    )


def _row(one: Comparison, baseline: str, margin: float) -> dict[str, Any]:
    gap, slope = one.difference, one.slope
    return {
        "measure": one.measure.name,
        "system": one.system,
        "baseline": baseline,
        "seeds": gap.seeds,
        "utterances": gap.n,
        "voices": gap.clusters,
        "value": gap.base + gap.point,
        "baseline_value": gap.base,
        "difference": gap.point,
        "difference_low": gap.low,
        "difference_high": gap.high,
        "p": gap.p,
        "p_holm": gap.p_holm,
        "minimum_detectable_difference": gap.detectable,
        "slope_per_doubling": slope and slope.point,
        "slope_low": slope and slope.low,
        "slope_high": slope and slope.high,
        "margin": margin if one.measure is WER else None,
        "verdict": one.verdict(margin),
    }


def lengths_csv(parts: Sequence[tuple[str, int, BinDifference]]) -> str:
    """(system, seed, difference of a bin) as CSV, p adjusted by Holm over all rows."""
    adjusted = holm([part.difference.p for _, _, part in parts])
    rows = [
        {
            "system": system,
            "seed": seed,
            "low": part.low,
            "high": part.high,
            "utterances": part.difference.n,
            "voices": part.difference.clusters,
            "wer_difference_point": part.difference.point,
            "wer_difference_low": part.difference.low,
            "wer_difference_high": part.difference.high,
            "p": part.difference.p,
            "p_holm": p,
        }
        for (system, seed, part), p in zip(parts, adjusted, strict=True)
    ]
    return pd.DataFrame(rows).to_csv(index=False, float_format="%.6g")


HEADERS = (
    *("system", "seeds", "n / voices", "value", "Δ [95 % CI]", "p (Holm)", "detectable"),
    *("Δ per doubled length", "verdict"),
)


def _cells(one: Comparison, margin: float) -> list[str]:
    gap, measure = one.difference, one.measure
    return [
        one.system,
        str(gap.seeds),
        f"{gap.n} / {gap.clusters}",
        measure.text(gap.base + gap.point),
        measure.interval_text(gap),
        f"{gap.p_holm:.4f}",
        measure.text(gap.detectable),
        WER.gap_text(one.slope.point)
        + f" [{WER.gap_text(one.slope.low)}, {WER.gap_text(one.slope.high)}]"
        if one.slope
        else "–",
        one.verdict(margin) or "–",
    ]


def _by_measure(found: Sequence[Comparison], margin: float) -> Iterator[tuple[Any, ...]]:
    """(comparisons, headers, cells of each) of every measure; the slope is of WER only."""
    for name in dict.fromkeys(one.measure.name for one in found):
        these = [one for one in found if one.measure.name == name]
        shown = [
            n for n, header in enumerate(HEADERS) if "length" not in header or name == WER.name
        ]
        rows = [[_cells(one, margin)[n] for n in shown] for one in these]
        yield these, [HEADERS[n] for n in shown], rows


def _title(these: Sequence[Comparison], baseline: str) -> str:
    measure = these[0].measure
    values = dict.fromkeys(measure.text(one.difference.base) for one in these)
    return f"{measure.header} against {baseline} ({' to '.join(values)})"


def _notes(found: Sequence[Comparison], margin: float) -> list[str]:
    notes = [
        "Paired on the same utterances; 95 % intervals and p by the t distribution over voices "
        "(and over seeds, where there are several), p adjusted by Holm over the systems of each "
        f'table; "as good": less than {100 * margin:.1f} points of WER worse with 95 % confidence.'
    ]
    notes += dict.fromkeys(filter(None, (caveat(one.difference.clusters) for one in found)))
    if any(one.difference.seeds == 1 for one in found):
        notes.append("One seed: what another seed would change is not in its intervals.")
    if any(one.base_seeds < one.difference.seeds for one in found):
        notes.append(
            "The baseline has one seed: what another of its seeds would change is not in them."
        )
    return notes


def markdown(found: Sequence[Comparison], baseline: str, margin: float) -> str:
    """A table per measure, and how to read them."""
    lines = _notes(found, margin)
    for these, headers, rows in _by_measure(found, margin):
        lines += ["", f"## {_title(these, baseline)}", ""]
        lines += ["| " + " | ".join(headers) + " |", "|" + "---|" * len(headers)]
        lines += ["| " + " | ".join(map(markdown_cell, cells)) + " |" for cells in rows]
    return "\n".join(lines) + "\n"


def console_tables(
    found: Sequence[Comparison], baseline: str, margin: float
) -> Iterator[Table | str]:
    """The same for a terminal."""
    for these, headers, rows in _by_measure(found, margin):
        title = escape(_title(these, baseline))
        table = Table(title=title, box=None, padding=(0, 1), pad_edge=False, title_justify="left")
        for number, header in enumerate(headers):
            table.add_column(header, justify="right" if number else "left", overflow="fold")
        for cells in rows:
            table.add_row(*map(escape, cells))
        yield table
    yield from _notes(found, margin)
