"""stage=prosody: measure every system below `results`, print the table, write prosody.csv."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from csv import DictWriter
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from data.workers import worker_processes
from eval.console import number_table
from eval.metrics.prosody.pitch import TRACKERS
from eval.prosody.measure import measure
from eval.prosody.pairs import Pairing, pairings
from eval.prosody.table import DISTANCES, OTHERS, Line, agreement, line_of, verdict
from eval.settings import Prosody
from eval.store.evaluations import find_evaluations
from eval.store.files import InputError, sha256_file, write_text
from eval.testset import read_meta

CSV, PAIRS = "prosody.csv", "prosody_compare.csv"


def prosody(s: Prosody, console: Console) -> int:
    """Exit code 0. Raises InputError for an unknown tracker, a floor or ceiling that is no system, and
    evaluations of another test set."""
    if unknown := [name for name in s.trackers if name not in TRACKERS]:
        raise InputError(f"trackers={unknown[0]}: valid are {', '.join(TRACKERS)}")
    if s.workers < 1:
        raise InputError(f"workers={s.workers}: at least 1")
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
    if s.baseline is not None and s.baseline not in {one.name for one in systems}:
        raise InputError(f"baseline={s.baseline}: no such system; there are {', '.join(names)}")
    items = {item.utterance: item for item in read_meta(s.testset.meta)}
    lines: dict[str, list[Line]] = {}
    pairs: dict[str, list[Pairing]] = {}
    for tracker in s.trackers:
        rows = {}
        with _processes(s.workers) as run:
            for name, one in zip(names, systems, strict=True):
                label = f"{name}, {tracker}"
                watch = partial(track, description=label, console=console)
                rows[name] = measure(one, items, tracker, watch, run)
        bounds = [
            line_of(name, rows[name]).means if name else None for name in (s.floor, s.ceiling)
        ]
        lines[tracker] = [line_of(name, rows[name], *bounds) for name in names]
        for table in _tables(tracker, lines[tracker], console.width):
            console.print(table)
        if s.baseline is not None:
            pairs[tracker] = pairings(systems, [rows[name] for name in names], s.baseline)
            console.print(_pairs_table(tracker, s.baseline, pairs[tracker]))
    tau = agreement(lines)
    if tau is not None:
        first, second = s.trackers[:2]
        console.print(
            f"{first} and {second} rank the systems {verdict(tau)} (Kendall {tau:.2f})",
            markup=False,
        )
    write_text(s.results / CSV, _csv(lines))
    console.print(f"{s.results / CSV}", markup=False, soft_wrap=True)
    if s.baseline is not None:
        write_text(s.results / PAIRS, _pairs_csv(pairs, s.baseline))
        console.print(f"{s.results / PAIRS}", markup=False, soft_wrap=True)
    return 0


@contextmanager
def _processes(workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """What maps a function over rows: here for one worker, in that many processes for more."""
    if workers == 1:
        yield map
        return
    with worker_processes(workers) as pool:
        yield partial(pool.map, chunksize=4)


def _tables(tracker: str, lines: list[Line], width: int) -> Iterator[Table]:
    """A column per system, as many beside each other as `width` characters hold."""
    columns = (*DISTANCES, *OTHERS)
    names = [column.replace("_", " ") for column in (*columns, "without values")]
    cells = {
        line.system: [*(_cell(line, column) for column in columns), _without(line)]
        for line in lines
    }
    widest = 1 + max(len(text) for name in cells for text in (name, *cells[name]))
    n = max(1, (width - max(map(len, names))) // widest)
    for first in range(0, len(lines), n):
        some = list(cells)[first : first + n]
        rows = list(zip(names, *(cells[name] for name in some), strict=True))
        yield number_table(f"prosody, pitch by {tracker}", ("", *some), rows)


def _without(line: Line) -> str:
    return ", ".join(f"{n} {s}" for s, n in line.statuses.items() if s != "ok") or "0"


def _pairs_table(tracker: str, baseline: str, found: list[Pairing]) -> Table:
    table = Table(title=f"prosody less {baseline}, pitch by {tracker}")
    for header in ("system", "measure", "difference", "p Holm", "detectable", "seeds"):
        table.add_column(header)
    for one in found:
        gap = one.difference
        value = f"{gap.point:+.3g} ({gap.low:+.3g} to {gap.high:+.3g})"
        cells = (value, f"{gap.p_holm:.3f}", f"{gap.detectable:.3g}", str(gap.seeds))
        table.add_row(one.system, one.measure.replace("_", " "), *cells)
    return table


def _cell(line: Line, column: str) -> str:
    if column not in line.means:
        return "–"
    mean = line.means[column]
    text = f"{mean.point:.3g} [{mean.low:.3g}, {mean.high:.3g}]"
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


def _pairs_csv(pairs: dict[str, list[Pairing]], baseline: str) -> str:
    """One row per tracker, measure and system."""
    facts = ("tracker", "measure", "system", "baseline", "seeds", "utterances", "voices")
    names = (*facts, "difference", "difference_low", "difference_high", "p", "p_holm", "detectable")
    out = io.StringIO()
    writer = DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    for tracker, found in pairs.items():
        for one in found:
            gap = one.difference
            counts = (gap.seeds, gap.n, gap.clusters)
            numbers = (gap.point, gap.low, gap.high, gap.p, gap.p_holm, gap.detectable)
            row = (tracker, one.measure, one.system, baseline, *counts)
            rounded = ("" if value is None else f"{value:.6g}" for value in numbers)
            writer.writerow(dict(zip(names, (*row, *rounded), strict=True)))
    return out.getvalue()
