"""What `make bench` measured: every committed table, what was asked for, and one paragraph for each machine."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from eval.efficiency.peers import COSYVOICE2, NAMES, NO_TEXT_HEAD
from eval.efficiency.stage import COLUMNS, efficiency_cells, machine_text
from eval.store.files import InputError
from studies.documents.sources import Sources, markdown
from studies.figures import write_speed

FOLDER = "results/efficiency"
NOTHING = "No run of `make bench` is committed."
SHOWN = ("system", "context", "batch", "first ms", "tokens/s", "range", "x base", "of limit")
LINE = 140  # characters of a line of a document
TEACHER, HYBRIDS, LENGTHS = "1to0", ("1to1", "1to11"), (300, 2048)


def _runs(sources: Sources, table: str = "*") -> dict[str, Any]:
    """Path -> content of the runs of a table, machine by machine."""
    paths = sorted(sources.root.glob(f"{FOLDER}/*/{table}/efficiency.json"))
    names = [str(path.relative_to(sources.root)) for path in paths]
    return {name: sources.json(name) for name in names}


def speed_tables(sources: Sources) -> str:
    """Every row of every run, one table for each."""
    columns, parts = [COLUMNS.index(name) for name in SHOWN], []
    for name, content in _runs(sources).items():
        rows = [[row[n] for n in columns] for row in efficiency_cells(content)]
        table = name.split("/")[-2]
        parts.append(f"`{table}` ({machine_text(content)}):\n\n{markdown(list(SHOWN), rows)}")
    return "\n\n".join(parts) or NOTHING


def speed_figures(sources: Sources, folder: Path) -> list[Path]:
    """One figure of the table `context` for each machine: speed-<machine>.svg."""
    made = []
    for name, content in _runs(sources, "context").items():
        rows = pd.DataFrame(content["rows"])
        title = f"one stream, CosyVoice 2's size; {machine_text(content)}"
        path = folder / f"speed-{name.split('/')[-3]}.svg"
        made.append(write_speed(pd.DataFrame(rows[rows["batch"] == 1]), TEACHER, title, path))
    return made


def performance(sources: Sources) -> str:
    """A paragraph for each machine, of one stream of CosyVoice 2's size."""
    runs = _runs(sources, "context").items()
    return "\n\n".join(_paragraph(name, content) for name, content in runs) or NOTHING


@dataclass(frozen=True)
class Asked:
    """A ratio of rates that was asked for, at 300, 2,048, 8,192 and 32,768 positions as far as they are named.

    `of_bytes`: divided by the ratio that the moved bytes alone would give.
    """

    what: str
    own: str
    base: str
    least: Mapping[int, float]
    of_bytes: bool = False
    batch: int = 1


NO_HEAD, DRIVEN = NAMES[NO_TEXT_HEAD], NAMES[COSYVOICE2]
LONG = {8192: 0.9, 32768: 0.9}
ASKED = (
    Asked("teacher / transformers without its text head", TEACHER, NO_HEAD, {300: 1.25, 2048: 1.4}),
    Asked(
        "teacher / transformers as CosyVoice 2 drives it", TEACHER, DRIVEN, {300: 1.6, 2048: 1.8}
    ),
    *(Asked(f"{one} / teacher", one, TEACHER, {300: 1.0, 2048: 1.05}) for one in HYBRIDS),
    *(Asked(f"{one} / teacher, of what bytes say", one, TEACHER, LONG, True) for one in HYBRIDS),
    Asked(
        "16 streams: 1to11 / teacher, of what bytes say", "1to11", TEACHER, {2048: 0.9}, True, 16
    ),
)


def targets_table(sources: Sources) -> str:
    """What was asked for beside what each machine does: CosyVoice 2's size, tables `context` and `batch`."""
    parts = []
    for name, content in _runs(sources, "context").items():
        beside = name.replace("/context/", "/batch/")
        rows = {(row["system"], row["context"], row["batch"]): row for row in content["rows"]}
        rows |= {
            (row["system"], row["context"], row["batch"]): row
            for row in sources.json(beside)["rows"]
        }
        lines = [
            [
                asked.what,
                f"{length:,}",
                f"{least:.2f}",
                *_verdict(_ratio(rows, asked, length), least),
            ]
            for asked in ASKED
            for length, least in asked.least.items()
        ]
        for length in LENGTHS:
            one, many = (_found(rows, (TEACHER, length, n))["tokens_per_s"] for n in (1, 16))
            lines.append(
                ["teacher: 16 streams / one", f"{length:,}", "5.00", *_verdict(many / one, 5)]
            )
        table = markdown(["tokens/s", "positions", "asked for", "measured", ""], lines)
        parts.append(f"{machine_text(content)}:\n\n{table}")
    return "\n\n".join(parts) or NOTHING


def _found(rows: Mapping[tuple[str, int, int], Any], place: tuple[str, int, int]) -> Any:
    if place not in rows:
        raise InputError(
            f"{FOLDER}: no row of {place[0]} at {place[1]} positions, batch {place[2]}"
        )
    return rows[place]


def _ratio(rows: Mapping[tuple[str, int, int], Any], asked: Asked, length: int) -> float:
    own, base = (_found(rows, (who, length, asked.batch)) for who in (asked.own, asked.base))
    ratio = own["tokens_per_s"] / base["tokens_per_s"]
    return ratio * own["step_bytes"] / base["step_bytes"] if asked.of_bytes else ratio


def _verdict(ratio: float, least: float) -> list[str]:
    return [f"{ratio:.2f}", "" if ratio >= least else "**missed**"]


def _paragraph(name: str, content: Mapping[str, Any]) -> str:
    rates = {
        (row["system"], row["context"]): row["tokens_per_s"]
        for row in content["rows"]
        if row.get("batch", 1) == 1
    }

    def rate(system: str, context: int) -> float:
        if (system, context) not in rates:
            raise InputError(f"{name}: no row of {system} at {context} positions")
        return rates[system, context]

    def times(system: str, base: str) -> str:
        found = (rate(system, length) / rate(base, length) for length in LENGTHS)
        return " and ".join(f"{one:.2f}" for one in found)

    hybrids = ", ".join(f"{one} {times(one, TEACHER)}" for one in HYBRIDS)
    dtypes = sorted({fact["dtype"] for fact in content["runtime"].values()})
    where = f"{machine_text(content)}, {', '.join(dtypes)}"
    text = (
        f"At {LENGTHS[0]:,} and {LENGTHS[1]:,} positions ({where}) the teacher "
        f"is {times(TEACHER, NAMES[NO_TEXT_HEAD])} times as fast as transformers without its text head and "
        f"{times(TEACHER, NAMES[COSYVOICE2])} times as CosyVoice 2 drives it, with "
        f"{rate(TEACHER, LENGTHS[0]):.1f} tokens/s at the first. Hybrids beside the teacher: {hybrids}."
    )
    return textwrap.fill(text, LINE)
