"""stage=board: finished evaluations -> a folder of static pages that open from a file.

    <out>/index.html              one leaderboard per test set and recipe of WER: sortable, with intervals
    <out>/systems/<system>.html   its worst sentences with players, errors by length, where it comes from
    <out>/systems/style.css       what these pages look like; the first page carries its own
    <out>/board.md                the tables as Markdown

Systems of different test sets or recipes of WER are never ranked together: each has a table of its own. Systems
called <ratio>-<placement> (1to3-blockbeg) also fill a ratio x placement grid. Nothing is loaded from elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from eval.analysis.lengths import length_bins, slope_of
from eval.efficiency.stage import COLUMNS, FILE, efficiency_cells, machine_text
from eval.report.board.columns import bar, bar_top, further_columns, headline_columns
from eval.report.board.groups import Group, make_groups
from eval.report.board.ratio_grid import grid_pictures
from eval.report.columns import caption
from eval.report.faults import NAMES, classes_of, shares
from eval.report.heard import Heard, heard
from eval.report.html import environment
from eval.report.recipes import distinct_recipes, facts_of, profile_of, tool_of
from eval.store.evaluations import Evaluated, find_evaluations
from eval.store.files import markdown_cell, read_json, sha256_json, write_text
from eval.store.manifest import REPOSITORY

PUBLISHED = {1_088: REPOSITORY / "results/published/seedtts_en.csv"}  # by the size of the test set


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
    compared = any(line.differences for group in groups for line in group.lines)
    if baseline is not None and not compared:
        message = f"no system stands beside baseline={baseline}: no differences are shown"
        console.print(message, style="yellow", markup=False, soft_wrap=True)
    pages = environment()
    for group in groups:
        for entry in group.entries:
            content = pages.get_template("system.html.j2").render(
                entry=entry,
                group=group,
                facts=facts_of([entry.one]),
                caption=caption([entry.line]),
                faults=shares(entry.line, classes_of([entry.line])),
                bins=length_bins(entry.one.rows),
                slope=slope_of(entry.one.rows),
                worst=worst(entry.one, n_worst, audio),
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
        f"{n_pages} systems in {len(groups)} tables\n-> {out / 'index.html'}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    return out / "index.html"


def worst(one: Evaluated, count: int, audio: bool) -> list[Heard]:
    """The sentences with most errors per word, those without usable speech first."""
    scored = [row for row in one.rows if row["wer"] is not None]
    scored.sort(key=lambda row: (row["status"] == "ok", -row["wer"], row["utterance"]))
    return [heard(one, row, "MP3" if audio else None) for row in scored[:count]]


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
    if path is None or group.systems[0].recipes["wer"]["language"] != "en":
        return []
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def badges_of(group: Group) -> list[str]:
    """What the systems of a table have in common."""
    one = group.systems[0]
    recipe = one.recipes["wer"]
    shared = [
        f"profile {profile_of(one).name}, {recipe['language']}",
        tool_of(recipe),
        f"recipe {sha256_json(recipe)[:8]}",
    ]
    for metric, name in (("sim", "SIM"), ("mos", "MOS")):
        tools = distinct_recipes(group.systems, metric)
        if len(tools) == 1:
            shared.append(f"{name} {next(iter(tools.values()))}")
    return shared


def _shown(group: Group) -> dict[str, Any]:
    """What the first page needs of a group."""
    headline = [line.estimates.get(group.headline) for line in group.lines]
    top = bar_top([found for found in headline if found])
    classes = classes_of(group.lines)
    faults = [shares(line, classes) for line in group.lines]
    return {
        "group": group,
        "badges": badges_of(group),
        "caption": caption(group.lines),
        "headline": headline_columns(group),
        "further": further_columns(group),
        "top": top,
        "bars": [bar(found, top) for found in headline],
        "fault_classes": [(name, NAMES.get(name, name)) for name in classes],
        "faults": faults,
        # The fault bars of a table share a scale, on which the worst system fills its bar.
        "fault_top": max((sum(share.percent for share in row) for row in faults), default=0) or 1,
        "published": published_rows(group),
        "grids": [
            {
                "variant": picture.variant,
                "ratios": list(picture.values.columns),
                "rows": [
                    (placement, list(zip(values, picture.shades.loc[placement], strict=True)))
                    for placement, values in picture.values.iterrows()
                ],
            }
            for picture in grid_pictures(group)
        ],
    }


def _markdown(group: Group) -> str:
    head = f"## {group.size} sentences, {', '.join(badges_of(group))}\n\n"
    columns = [*headline_columns(group), *further_columns(group)]
    table = [["system", *(column.header for column in columns)], ["---"] * (1 + len(columns))]
    for number, entry in enumerate(group.entries):
        cells = (column.cells[number] for column in columns)
        texts = [f"{c.text} {c.detail}".strip() + (" *" if c.settled else "") for c in cells]
        table.append([entry.one.label, *texts])
    lines = ["| " + " | ".join(map(markdown_cell, cells)) + " |" for cells in table]
    return head + "\n".join([*lines, "", caption(group.lines)]) + "\n"
