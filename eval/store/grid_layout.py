"""What the systems of a grid's works are called: every work's own name for its system is the same.

<grid>/cells/*.json             the cells, each with its work (`studies.grid`)
<grid>/works/<work>/eval/       the evaluation of one work, which several cells may share
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from eval.store.files import read_json

# Overrides that say where a cell was made, not what it is.
PLACES = ("paths=", "paths.", "trainer=", "trainer.precision=")


def without_places(overrides: Iterable[str]) -> list[str]:
    """Those that say what a cell is."""
    return [override for override in overrides if not override.startswith(PLACES)]


def cell_names(evaluation: Path) -> list[str]:
    """ "1to3-blockbeg" of each cell whose work was evaluated there, with what else a study varied (not PLACES).

    [] for an evaluation that is not one of a grid.
    """
    work = evaluation.parent
    if evaluation.name != "eval" or work.parent.name != "works":
        return []
    cells = [read_json(path) for path in sorted((work.parent.parent / "cells").glob("*.json"))]
    names = [
        "-".join([*_axes(cell), *without_places(cell["overrides"])])
        for cell in cells
        if isinstance(cell, dict) and cell.get("work") == work.name
    ]
    return list(dict.fromkeys(names))


def _axes(cell: Mapping[str, Any]) -> tuple[str, ...]:
    """What names a cell: its arm, or its ratio and placement."""
    if "conditioning" in cell:
        return (cell["conditioning"],)
    return cell["ratio"].replace(":", "to"), cell["placement"]
