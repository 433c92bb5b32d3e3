"""stage=prosody: measure every system below `results`, print the table, write prosody.csv."""

from __future__ import annotations

import io
from csv import DictWriter

from rich.console import Console
from rich.progress import track
from rich.table import Table

from eval.metrics.prosody.pitch import TRACKERS
from eval.prosody.measure import measure
from eval.prosody.table import DISTANCES, OTHERS, Line, agreement, line_of
from eval.settings import Prosody
from eval.store.evaluations import find_evaluations
from eval.store.files import InputError, sha256_file, write_text
from eval.testset import read_meta

CSV = "prosody.csv"


def prosody(s: Prosody, console: Console) -> int:
    """Exit code 0. Raises InputError for an unknown tracker, a floor or ceiling that is no system, and
    evaluations of another test set."""
    if unknown := [name for name in s.trackers if name not in TRACKERS]:
        raise InputError(f"trackers={unknown[0]}: valid are {', '.join(TRACKERS)}")
    if not s.trackers:
        raise InputError(f"trackers=[]: name at least one of {', '.join(TRACKERS)}")
    wanted = sha256_file(s.testset.meta)
    every = find_evaluations(s.results)
    systems = [one for one in every if one.test_set == wanted]
    if not systems:
        raise InputError(
            f"{s.results} has no evaluation of {s.testset.meta}: name its list, testset.meta=<file>"
        )
    if len(systems) < len(every):
        console.print(
            f"{len(every) - len(systems)} systems of other test sets are left out", markup=False
        )
    names = [one.label for one in systems]
    for key in ("floor", "ceiling"):
        if (name := getattr(s, key)) is not None and name not in names:
            raise InputError(f"{key}={name}: no such system; there are {', '.join(names)}")
    items = {item.utterance: item for item in read_meta(s.testset.meta)}
    lines: dict[str, list[Line]] = {}
    for tracker in s.trackers:
        rows = {}
        for name, one in zip(names, systems, strict=True):
            label = f"{name}, {tracker}"
            rows[name] = measure(
                one, items, tracker, lambda r, text=label: track(r, text, console=console)
            )
        bounds = [
            line_of(name, rows[name]).means if name else None for name in (s.floor, s.ceiling)
        ]
        lines[tracker] = [line_of(name, rows[name], *bounds) for name in names]
        console.print(_table(tracker, lines[tracker]))
    tau = agreement(lines)
    if tau is not None:
        first, second = s.trackers[:2]
        verdict = "alike" if tau == 1 else "not alike: no claim about pitch rests on one of them"
        console.print(
            f"{first} and {second} rank the systems {verdict} (Kendall {tau:.2f})", markup=False
        )
    write_text(s.results / CSV, _csv(lines))
    console.print(f"{s.results / CSV}", markup=False, soft_wrap=True)
    return 0


def _table(tracker: str, lines: list[Line]) -> Table:
    table = Table(title=f"prosody, pitch by {tracker}")
    for header in ("system", *DISTANCES, *OTHERS, "without values"):
        table.add_column(header.replace("_", " "), overflow="fold")
    for line in lines:
        cells = [_cell(line, column) for column in (*DISTANCES, *OTHERS)]
        without = ", ".join(f"{n} {s}" for s, n in line.statuses.items() if s != "ok")
        table.add_row(line.system, *cells, without)
    return table


def _cell(line: Line, column: str) -> str:
    if column not in line.means:
        return "–"
    mean = line.means[column]
    text = f"{mean.point:.3g} ({mean.low:.3g} to {mean.high:.3g})"
    return f"{text} @{line.places[column]:.2f}" if column in line.places else text


def _csv(lines: dict[str, list[Line]]) -> str:
    """One row per system, tracker and column."""
    out = io.StringIO()
    names = ("tracker", "system", "measure", "mean", "low", "high", "n", "voices", "place")
    writer = DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    for tracker, found in lines.items():
        for line in found:
            for column, mean in line.means.items():
                values = (mean.point, mean.low, mean.high)
                rounded = [f"{value:.6g}" for value in values]
                place = line.places.get(column)
                row = (tracker, line.system, column, *rounded, mean.n, mean.clusters)
                text = "" if place is None else f"{place:.4f}"
                writer.writerow(dict(zip(names, (*row, text), strict=True)))
    return out.getvalue()
