"""The columns of a leaderboard on the board: every measure its own, and one per recipe where recipes differ.

A value by another encoder or predictor is on another scale: it stands in a column that names its tool, so that
sorting never mixes the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eval.analysis.measures import Measure
from eval.analysis.statistics import Difference, Interval
from eval.report.board.groups import Entry, Group
from eval.report.columns import DETAILS
from eval.report.recipes import distinct_recipes
from eval.store.files import sha256_json

DASH = "–"
# On a system's page only.
LEFT_OUT = (*DETAILS, "sim_other")
FAR_OUT = 2.5  # times the lower quartile: what is beyond would squeeze the others into a corner of the chart


@dataclass(frozen=True)
class Cell:
    """What a cell shows: `text`, beside it `detail` in small letters. `value` sorts; `title` explains."""

    text: str = DASH
    detail: str = ""
    value: float | None = None
    title: str = ""
    settled: bool = False


@dataclass(frozen=True)
class BoardColumn:
    """One column with a cell per entry of its group."""

    header: str
    explanation: str
    cells: tuple[Cell, ...]


def headline_columns(group: Group) -> list[BoardColumn]:
    """The headline with its interval, and its difference to the baseline where there is one."""
    measure = group.measures[0]
    columns = [_estimates(group, measure, group.entries, measure.header, interval=True)]
    gaps = [entry.line.differences.get(measure.name) for entry in group.entries]
    if any(gaps):
        baseline = next(line.baseline for line in group.lines if line.baseline)
        explanation = (
            f"{measure.header} less that of {baseline} on the same sentences; *: settled, p below 0.05 after "
            "Holm over the systems of this table"
        )
        cells = tuple(_gap_cell(measure, gap) for gap in gaps)
        columns.append(BoardColumn(f"Δ {baseline}", explanation, cells))
    return columns


def further_columns(group: Group) -> list[BoardColumn]:
    """Everything else that any of the systems has."""
    columns = []
    for measure in group.measures[1:]:
        if measure.name in LEFT_OUT:
            continue
        tools = distinct_recipes(group.systems, measure.metric)
        by_recipe: dict[str, list[Entry]] = {}
        for entry in group.entries:
            if measure.name in entry.line.estimates:
                by_recipe.setdefault(_recipe_sha256(entry, measure.metric), []).append(entry)
        for sha256, own in by_recipe.items():
            tool = tools.get(sha256, "recipe unknown")
            header = measure.header if len(by_recipe) == 1 else f"{measure.header} ({tool})"
            columns.append(_estimates(group, measure, own, header, interval=False))
    ce = "Cross-entropy in nats per speech token of held-out speech, teacher-forced"
    return [
        *columns,
        *_plain(group, "CE", ce, lambda entry: entry.line.ce, "{:.3f}"),
        *_plain(
            group,
            "params",
            "Parameters of the language model, in millions",
            lambda entry: entry.line.n_parameters and entry.line.n_parameters / 1e6,
            "{:.2f} M",
        ),
        _coverage(group),
    ]


def _recipe_sha256(entry: Entry, metric: str) -> str:
    recipe = entry.one.recipes.get(metric)
    return "" if recipe is None else sha256_json(recipe)


def _estimates(
    group: Group, measure: Measure, own: Sequence[Entry], header: str, *, interval: bool
) -> BoardColumn:
    def cell(entry: Entry) -> Cell:
        found = entry.line.estimates.get(measure.name) if entry in own else None
        if found is None:
            return Cell()
        ends = _ends(measure, found)
        # A mean over some of the sentences says of how many.
        part = f"n {found.n}" if found.n != group.size else ""
        detail = " ".join(filter(None, (ends if interval else "", part)))
        title = f"{measure.text(found.point)} {ends}, {_size(found)}"
        return Cell(measure.text(found.point), detail, found.point, title)

    return BoardColumn(header, measure.explanation, tuple(cell(entry) for entry in group.entries))


def _gap_cell(measure: Measure, gap: Difference | None) -> Cell:
    if gap is None:
        return Cell()
    p = "" if gap.p_holm is None else f", p (Holm) {gap.p_holm:.3g}"
    ends = f"[{measure.gap_text(gap.low)}, {measure.gap_text(gap.high)}]"
    title = f"{measure.gap_text(gap.point)} {ends}, {_size(gap)}{p}"
    return Cell(measure.gap_text(gap.point), ends, gap.point, title, gap.settled)


def _ends(measure: Measure, found: Interval) -> str:
    return f"[{measure.text(found.low)}, {measure.text(found.high)}]"


def _size(found: Interval) -> str:
    voices = "1 voice" if found.clusters == 1 else f"{found.clusters} voices"
    return f"{found.n} sentences of {voices}"


def _plain(
    group: Group,
    header: str,
    explanation: str,
    value: Callable[[Entry], float | None],
    form: str,
) -> list[BoardColumn]:
    values = [value(entry) for entry in group.entries]
    if all(one is None for one in values):
        return []
    cells = (Cell() if one is None else Cell(form.format(one), value=one) for one in values)
    return [BoardColumn(header, explanation, tuple(cells))]


def _coverage(group: Group) -> BoardColumn:
    cells = (
        Cell(f"{line.n_scored}/{line.n_expected}", value=line.n_scored / max(line.n_expected, 1))
        for line in group.lines
    )
    explanation = (
        "Sentences with usable speech, of those expected; the others count as WER 100 %, but for texts "
        "without words"
    )
    return BoardColumn("ok / n", explanation, tuple(cells))


def bar_top(found: Sequence[Interval]) -> float:
    """Where the bars of a table end: at the highest interval, or before what is far out."""
    highs = [one.high for one in found if math.isfinite(one.high) and one.high > 0]
    if not highs:
        return 1.0
    return min(max(highs), FAR_OUT * float(np.quantile(highs, 0.25)))


def bar(found: Interval | None, top: float) -> dict[str, float] | None:
    """Whisker and dot of an interval in percent of a bar that ends at `top`; `beyond`: 1 for a dot that is not
    on it."""
    if found is None:
        return None
    at = [100 * min(max(end, 0.0) / top, 1.0) for end in (found.low, found.point, found.high)]
    low, point, high = (100.0 if math.isnan(one) else one for one in at)
    return {"low": low, "point": point, "width": high - low, "beyond": float(found.point > top)}
