"""stage=board: finished evaluations -> a folder of static pages that open from a file.

    <out>/index.html              one leaderboard per test set and protocol: sortable, with intervals
    <out>/systems/<system>.html   its worst sentences with players, errors by length, where it comes from
    <out>/systems/style.css       what these pages look like; the first page carries its own
    <out>/board.md                the tables as Markdown

Systems of different test sets or protocols are never ranked together: each has a table of its own. Systems
called <ratio>-<placement> (1to3-blockbeg) also fill a ratio x placement grid. Nothing is loaded from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from eval.analysis.lengths import length_bins, slope_of
from eval.analysis.summary import Line, leaderboard_line, line_against
from eval.efficiency.stage import COLUMNS, FILE, efficiency_cells, machine_text
from eval.report.columns import columns_for, to_markdown
from eval.report.page import aligned, audio_data_uri, environment
from eval.store.evaluations import WER, Evaluated, find_evaluations
from eval.store.files import read_json, sha256_json, write_text
from eval.store.manifest import REPOSITORY

PUBLISHED = {1_088: REPOSITORY / "results/published/seedtts_en.csv"}  # by the size of the test set
CELL = re.compile(r"(\d+to\d+)-(\w+)")


@dataclass(frozen=True)
class Entry:
    """One system of a table: its evaluation, its line, and the file of its page."""

    one: Evaluated
    line: Line
    page: str


@dataclass(frozen=True)
class Group:
    """Systems that may be ranked: one test set, one protocol. Best corpus WER first."""

    entries: tuple[Entry, ...]

    @property
    def protocol(self) -> dict[str, Any]:
        return dict(self.entries[0].one.recipes[WER])

    @property
    def size(self) -> int:
        return len(self.entries[0].one.rows)


def write_board(
    results: Path,
    out: Path,
    console: Console,
    *,
    title: str,
    baseline: str | None = None,
    n_worst: int = 10,
    audio: bool = True,
) -> Path:
    """Make the board of everything below `results`; returns the first page.

    Args:
        baseline: name of the system that differences are taken to, where it is in a table.
        n_worst: sentences on a system's page.
        audio: put players there; without them a page is a tenth as large.

    Raises:
        InputError: no evaluations, or damaged ones.
    """
    groups = make_groups(find_evaluations(results), baseline)
    compared = sum(entry.line.difference is not None for group in groups for entry in group.entries)
    if baseline is not None and not compared:
        console.print(
            f"[yellow]no system stands beside baseline={baseline}: no differences are shown[/]"
        )
    pages = environment()
    for group in groups:
        for entry in group.entries:
            content = pages.get_template("system.html.j2").render(
                entry=entry,
                bins=length_bins(entry.one.rows),
                slope=slope_of(entry.one.rows),
                worst=worst(entry.one, n_worst, audio),
                columns=columns_for([entry.line]),
                title=title,
            )
            write_text(out / "systems" / entry.page, content)
    write_text(out / "systems/style.css", pages.get_template("style.css").render())
    index = pages.get_template("board.html.j2").render(
        title=title,
        groups=[_shown(group) for group in groups],
        efficiency=measurements(results),
        many_seeds=len({entry.one.seed for group in groups for entry in group.entries}) > 1,
    )
    write_text(out / "index.html", index)
    write_text(out / "board.md", "\n".join(_markdown(group) for group in groups))
    n_pages = sum(len(group.entries) for group in groups)
    console.print(
        f"{n_pages} systems in {len(groups)} tables\n-> {out / 'index.html'}", soft_wrap=True
    )
    return out / "index.html"


def make_groups(systems: Sequence[Evaluated], baseline: str | None) -> list[Group]:
    """Systems by test set and protocol, the largest group first."""
    by_rules: dict[tuple[str, str, int], list[Evaluated]] = {}
    for one in systems:
        by_rules.setdefault(one.rules, []).append(one)
    groups = []
    for members in by_rules.values():
        base = {one.seed: one for one in members if one.name == baseline}
        entries = []
        for one in members:
            line = leaderboard_line(one.name, one.card, one.rows)
            against = base.get(one.seed)
            if against is not None and one.name != baseline:
                line = line_against(line, one.rows, str(baseline), against.rows)
            entries.append(Entry(one, line, page_name(one, systems)))
        entries.sort(key=lambda e: (e.line.wer is None, e.line.wer.point if e.line.wer else 0.0))
        groups.append(Group(tuple(entries)))
    return sorted(groups, key=lambda group: -len(group.entries))


def page_name(one: Evaluated, systems: Sequence[Evaluated]) -> str:
    """File of a system's page: its name, with a mark where another one's would be the same."""
    plain = re.sub(r"[^\w.-]", "_", one.name)
    same = [other for other in systems if re.sub(r"[^\w.-]", "_", other.name) == plain]
    if len(same) == 1:
        return f"{plain}.html"
    mark = sha256_json([one.name, one.seed, *one.rules])[:8]
    return f"{plain}-seed{one.seed}-{mark}.html"


def worst(one: Evaluated, count: int, audio: bool) -> list[dict[str, Any]]:
    """The sentences with most errors per word, those without usable speech first."""
    scored = [row for row in one.rows if row["wer"] is not None]
    scored.sort(key=lambda row: (row["status"] == "ok", -row["wer"], row["utterance"]))
    return [
        {
            "row": row,
            "diff": aligned(row, one.recipes[WER]) if row["transcript"] is not None else [],
            "audio": audio_data_uri(one.wavs / f"{row['utterance']}.wav", "MP3") if audio else None,
        }
        for row in scored[:count]
    ]


def grid_of(group: Group) -> dict[str, Any] | None:
    """WER by placement and ratio of the systems called <ratio>-<placement>, averaged over seeds."""
    rows = []
    for entry in group.entries:
        match = CELL.fullmatch(entry.one.name)
        if match and entry.line.wer:
            ratio, placement = match.groups()
            rows.append((placement, ratio, 100 * entry.line.wer.point))
    if not rows:
        return None
    frame = pd.DataFrame(rows, columns=["placement", "ratio", "wer"])
    wer = frame.pivot_table(index="placement", columns="ratio", values="wer", aggfunc="mean")
    wer = wer[sorted(wer.columns, key=lambda ratio: int(str(ratio).split("to")[1]))]
    lowest, highest = float(wer.min().min()), float(wer.max().max())
    shades = (wer - lowest) / ((highest - lowest) or 1.0)
    return {"wer": wer, "shades": shades}


def measurements(results: Path) -> list[dict[str, Any]]:
    """The efficiency measurements below `results`, each run a table of its own: machines are not ranked."""
    found = [read_json(path) for path in sorted(results.rglob(FILE))]
    return [
        {"machine": machine_text(content), "headers": COLUMNS, "rows": efficiency_cells(content)}
        for content in found
        if isinstance(content, dict) and {"machine", "fingerprint", "rows"} <= content.keys()
    ]


def published_rows(group: Group) -> list[dict[str, Any]]:
    """What others have published for this test set, as they published it."""
    path = PUBLISHED.get(group.size)
    if path is None or group.protocol["language"] != "en":
        return []
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def _shown(group: Group) -> dict[str, Any]:
    """What the first page needs of a group."""
    lines = [entry.line for entry in group.entries]
    texts = dict(columns_for(lines))
    wer = next(name for name in texts if name.startswith("WER % ["))
    columns = [(n, text) for n, text in texts.items() if n not in ("system", "layers", wer)]
    highest = max((line.wer.high for line in lines if line.wer), default=1.0) or 1.0
    grid = grid_of(group)
    return {
        "group": group,
        "wer": (wer, [texts[wer](line) for line in lines]),
        "headers": [header for header, _ in columns],
        "cells": [[text(line) for _, text in columns] for line in lines],
        "top": min(highest, 1.0),
        "published": published_rows(group),
        "grid": grid
        and {
            "ratios": list(grid["wer"].columns),
            "rows": [
                (placement, list(zip(values, grid["shades"].loc[placement], strict=True)))
                for placement, values in grid["wer"].iterrows()
            ],
        },
    }


def _markdown(group: Group) -> str:
    rules = group.protocol
    head = f"## {group.size} utterances, profile {rules['profile']} ({rules['language']}), {rules['asr']}\n\n"
    return head + to_markdown([entry.line for entry in group.entries])
