"""The page of one evaluation: leaderboard.csv, leaderboard.md and a self-contained report.html.

The systems were scored in one way (the caller refuses others); what the page says of that comes from the
recipes of each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from eval.analysis.summary import Line
from eval.report.board.columns import bar, bar_top
from eval.report.board.groups import headline_of
from eval.report.columns import caption, columns_for, to_csv, to_markdown
from eval.report.faults import NAMES, classes_of, shares
from eval.report.heard import heard
from eval.report.html import environment
from eval.report.recipes import facts_of
from eval.store.evaluations import Evaluated
from eval.store.files import write_text


@dataclass(frozen=True)
class SystemResult:
    """What the report shows of one system. `line`: with p of its differences adjusted over the table."""

    line: Line
    one: Evaluated
    curves_svg: str | None = None
    curves_source: str | None = None


def write_report(
    results: Sequence[SystemResult], out: Path, *, title: str, n_examples: int = 5
) -> tuple[Path, Path, Path]:
    """Write the three files into `out`; returns the paths of CSV, Markdown and HTML.

    Args:
        n_examples: sentences with players.

    Raises:
        InputError: scores by a profile that this program does not have.
    """
    lines = [result.line for result in results]
    paths = out / "leaderboard.csv", out / "leaderboard.md", out / "report.html"
    write_text(paths[0], to_csv(lines))
    write_text(paths[1], to_markdown(lines))
    write_text(paths[2], render_html(results, title=title, n_examples=n_examples))
    return paths


def render_html(results: Sequence[SystemResult], *, title: str, n_examples: int = 5) -> str:
    """The whole page as text. Everything that comes from data is escaped."""
    lines = [result.line for result in results]
    systems = [result.one for result in results]
    columns, classes = columns_for(lines), classes_of(lines)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            title=title,
            facts=_facts(systems),
            caption=caption(lines),
            headers=[header for header, _ in columns],
            table=[[text(line) for _, text in columns] for line in lines],
            intervals=_intervals(lines, headline_of(systems[0])),
            measures=_measures(lines),
            fault_classes=[(name, NAMES.get(name, name)) for name in classes],
            faults=[shares(line, classes) for line in lines],
            results=results,
            examples=_examples(systems, n_examples),
            curves=[
                (result.line.system, Markup(result.curves_svg), result.curves_source)
                for result in results
                if result.curves_svg
            ],
        )
    )


def _facts(systems: Sequence[Evaluated]) -> dict[str, str]:
    sizes = dict.fromkeys(str(len(one.rows)) for one in systems)
    facts = {"sentences": " and ".join(sizes), "list": systems[0].test_set[:12]}
    seeds = dict.fromkeys(str(one.seed) for one in systems)
    return facts | {"seed": ", ".join(seeds)} | facts_of(systems)


def _intervals(lines: Sequence[Line], headline: str) -> dict[str, Any]:
    """Positions in percent of the widest upper bound, for the chart of the headline."""
    drawn = [
        (line.system, line.estimates[headline]) for line in lines if headline in line.estimates
    ]
    top = bar_top([found for _, found in drawn])
    measure = next((one for one in _measures(lines) if one.name == headline), None)
    return {
        "header": measure.header if measure else "",
        "top": 100 * top,
        "rows": [
            {"system": system, "text": f"{100 * found.point:.2f} %", "bar": bar(found, top)}
            for system, found in drawn
        ],
    }


def _measures(lines: Sequence[Line]) -> list[Any]:
    """Those that any of the systems has a value of."""
    valued = {name for line in lines for name in line.estimates}
    known = {measure.name: measure for line in lines for measure in line.measures}
    return [measure for name, measure in known.items() if name in valued]


def _examples(systems: Sequence[Evaluated], n_examples: int) -> list[Mapping[str, Any]]:
    """Sentences spread over the list, preferably ones that every system was asked to say."""
    by_system = [{row["utterance"]: row for row in one.rows} for one in systems]
    longest = max(by_system, key=len)
    shared = [name for name in longest if all(name in rows for rows in by_system)]
    names = shared or list(longest)
    step = max(1, len(names) // max(1, n_examples))
    return [
        {
            "utterance": name,
            "text": longest[name]["text"],
            "versions": [
                heard(one, rows[name], "FLAC")
                for one, rows in zip(systems, by_system, strict=True)
                if name in rows
            ],
        }
        for name in names[::step][:n_examples]
    ]
