"""What `make bench` measured: every committed table, and the paragraph that sums one machine up."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
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
