"""The table of a grid folder: one row per cell, read from what its works have written.

See `studies.grid` for the layout of the folder.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from eval.analysis.summary import difference_to
from eval.store.evaluations import Evaluated, check_comparable, read_evaluation
from eval.store.files import InputError, read_json
from eval.store.grid_layout import without_places
from mamtra.backbone.layer_plan import ATTENTION, attention_count, plan_letters

Row = dict[str, Any]
STUDENT = "student"  # what the evaluation of a work calls its system
ARM = "conditioning"  # the axis of MambaVoiceCloning's grids, in the place of ratio and placement
CONTINUED = "continued"  # stands for a placement: the teacher trained on with a student's data, steps and rate


def is_teacher(cell: Row) -> bool:
    """Whether a cell of the folder is the teacher itself."""
    return (
        bool(cell["plan"]) and set(cell["plan"]) == {ATTENTION} and cell["placement"] != CONTINUED
    )


def of_mamba(plans: pd.Series) -> pd.Series:
    """Which layer plans (letters) hold nothing but attention and Mamba: figures and tables over ratio and
    placement are of these, their twins of other mixers stand apart."""
    return plans.astype(str).str.fullmatch(r"[AM]*")


def of_plans(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells of a ratio and a placement alone: of Mamba, without a further override. The teacher, as it is
    or continued, is among them."""
    words = cells["overrides"].fillna("").astype(str).str.split()
    alone = words.map(lambda found: not without_places(found))
    return cells.loc[of_mamba(pd.Series(cells["plan"])) & alone]


def table(grid: Path) -> list[Row]:
    """One row per cell: axes, status ("done", "failed", "left"), error, and the leaderboard's columns.

    `wer_difference*` is paired with the baseline of the same seed, when it is there: the cell of ratio 1:0, or
    in a grid of arms the one that it names.
    """
    cells = [read_json(path) for path in sorted((grid / "cells").glob("*.json"))]
    cells = [cell for cell in cells if cell]
    # A work belongs to one seed, so that what it measured is the same for all of its cells.
    seeds = {cell["work"]: cell["seed"] for cell in cells if cell["work"]}
    teachers = {
        cell["seed"]: _teacher(grid / "works" / cell["work"])
        for cell in cells
        if cell["work"] and is_baseline(cell)
    }
    works = {
        work: _work_row(grid / "works" / work, teachers.get(seed)) for work, seed in seeds.items()
    }
    rows = []
    for cell in cells:
        row = _columns(cell)
        row |= works.get(cell["work"], {"status": "failed", "error": cell.get("error")})
        rows.append(row)
    return sorted(rows, key=_order)


def is_baseline(cell: Row) -> bool:
    """Whether the others of its seed are compared with a cell: the teacher, or the arm that it names."""
    if ARM in cell:
        return cell[ARM] == cell["baseline"] and not cell["overrides"]
    return is_teacher(cell)


def _columns(cell: Row) -> Row:
    """What the table says of a cell before its numbers."""
    if ARM in cell:
        row = {name: cell[name] for name in (ARM, "seed")}
    else:
        row = {name: cell[name] for name in ("ratio", "placement", "seed")}
    row["overrides"] = " ".join(cell["overrides"])
    if ARM not in cell:
        row["plan"] = plan_letters(cell["plan"])
        row["attention_layers"] = attention_count(cell["plan"])
    return row | {"work": cell["work"]}


def _order(row: Row) -> tuple:
    if ARM in row:
        return row[ARM], row["overrides"], row["seed"]
    return -row["attention_layers"], row["ratio"], row["placement"], row["overrides"], row["seed"]


def _teacher(folder: Path) -> Evaluated | None:
    """A teacher's scores; without them its own row says why, and the others have no difference."""
    try:
        return evaluation_of(folder)
    except InputError:
        return None


def evaluation_of(folder: Path) -> Evaluated | None:
    """The scored student of a work; None while the work is not done.

    Raises InputError for a work that is done without scores, or whose rows do not belong together.
    """
    if (read_json(folder / "result.json") or {}).get("status") != "done":
        return None
    [one] = read_evaluation(folder / "eval", [STUDENT])
    return one


def scores_of(folder: Path) -> list[Row]:
    """Scored utterances of a work, [] while there are none; errors as `evaluation_of`."""
    one = evaluation_of(folder)
    return list(one.rows) if one else []


def _work_row(folder: Path, teacher: Evaluated | None) -> Row:
    result = read_json(folder / "result.json") or {"status": "left", "error": None}
    names = ("status", "error", "version", "train_s", "evaluate_s")
    row: Row = {name: result.get(name) for name in names}
    if result["status"] != "done":
        return row
    try:
        return row | _numbers(folder) | _difference(folder, teacher)
    except (OSError, ValueError, KeyError, IndexError) as error:
        # Someone deleted or damaged what a finished work had written; the other rows stand.
        return row | {"status": "failed", "error": f"{folder}: {type(error).__name__}: {error}"}


def _numbers(folder: Path) -> Row:
    """What a finished work measured."""
    line = pd.read_csv(folder / "eval" / "leaderboard.csv").to_dict("records")[0]
    dropped = ("system", "layer_plan", "baseline")
    kept = {
        str(name): value
        for name, value in line.items()
        if name not in dropped and not str(name).startswith("wer_difference")
    }
    return kept | _last_validation(folder / "run" / "metrics.csv")


def _last_validation(path: Path) -> Row:
    """The last validation of a training, and its steps; nothing for a cell without training."""
    if not path.is_file():
        return {}
    metrics = pd.read_csv(path)
    names = [str(name) for name in metrics.columns if str(name).startswith("val_")]
    last = metrics.dropna(subset=names).to_dict("records")[-1]
    return {str(name): last[name] for name in ("step", *names)}


def _difference(folder: Path, teacher: Evaluated | None) -> Row:
    """Corpus WER above the teacher's; nothing for the teacher itself or without its scores.

    Raises InputError for a teacher that was scored on another list or in another way.
    """
    names = [f"wer_difference{end}" for end in ("", "_low", "_high", "_p")]
    one = evaluation_of(folder)
    if teacher is None or one is None or one.folder == teacher.folder:
        return {}
    check_comparable([teacher, one])
    gap = difference_to(one.rows, teacher.rows)
    return dict(zip(names, (gap.point, gap.low, gap.high, gap.p), strict=True)) if gap else {}


def progress(rows: Sequence[Row], total: int | None) -> str:
    """ "5 done, 1 failed, 26 left of 32, about 74 minutes for one runner (18:42)"."""
    done = [row for row in rows if row["status"] == "done"]
    failed = sum(row["status"] == "failed" for row in rows)
    size = max(total or 0, len(rows))
    left = size - len(done) - failed
    text = f"{len(done)} done, {failed} failed, {left} left of {size}"
    if not left or not done:
        return text
    # Cells of one work cost nothing more, so time goes by works: as many per cell as until now.
    works = {row["work"]: (row["train_s"] or 0) + (row["evaluate_s"] or 0) for row in done}
    left_s = left * sum(works.values()) / len(done)
    ready = time.strftime("%H:%M", time.localtime(time.time() + left_s))
    return f"{text}, about {left_s / 60:.0f} minutes for one runner ({ready})"
