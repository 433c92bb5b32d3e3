"""One cell of the ablation grid: plan -> init -> distil -> export -> evaluate -> row.

A *cell* is a ratio, a placement, a seed and whatever else a study changes. Cells whose layer plan and
training settings are equal share one *work*: it is trained and scored once.

<grid>/grid.json                 code version of the rows
<grid>/cells/<name>.json         one per cell: its axes and its work
<grid>/works/<id>/run/           training (resumable), with the exported student
<grid>/works/<id>/eval/          evaluation (resumable)
<grid>/works/<id>/log.txt        what both printed
<grid>/works/<id>/result.json    written last: status, error, durations
<grid>/grid.csv                  one row per cell, made anew whenever something ends

Any number of runners may work on one folder: a work is done under its file lock, which the operating
system takes back when a runner dies. Ours is flock; on a network file system it has to support that.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from filelock import FileLock, Timeout

from eval.store.files import InputError, read_json, sha256_json, write_json, write_text
from eval.store.manifest import REPOSITORY, git_state
from lightning_modules.launched import meeting, without_torchrun
from lightning_modules.slurm import Step
from lightning_modules.stopping import Interrupted
from mamtra.backbone.layer_plan import LayerPlan, plan_letters
from studies.grid_table import CONTINUED, STUDENT, Row, is_teacher, progress, table
from studies.tasks_of_step import run, tell

STARTED_S = time.time()
ERROR_LINES = 3
TRAIN = "train"


@dataclass(frozen=True)
class Cell:
    """One row of the grid. `overrides`: what it changes besides ratio, placement and seed."""

    ratio: str
    placement: str
    seed: int
    overrides: tuple[str, ...]
    plan: LayerPlan
    settings: Mapping[str, Any]  # everything that training depends on

    @property
    def work(self) -> str:
        """Name of the shared work: layer plan, seed and a hash of the training settings."""
        return f"{plan_letters(self.plan)}-s{self.seed}-{sha256_json(self.settings)[:8]}"

    @property
    def task(self) -> str:
        """What train.py does for it."""
        return "continue" if self.placement == CONTINUED else "distill"

    @property
    def name(self) -> str:
        axes = sha256_json([self.ratio, self.placement, list(self.overrides)])[:4]
        return f"{self.ratio.replace(':', 'to')}-{self.placement}-s{self.seed}-{axes}"

    def facts(self) -> dict[str, Any]:
        """What its file in <grid>/cells says."""
        return asdict(self) | {"work": self.work}


class GridCell(Protocol):
    """What the runner needs of a cell, of whatever grid."""

    @property
    def work(self) -> str: ...

    @property
    def name(self) -> str: ...

    def facts(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Stage:
    """One command of a work; `argv` follows the Python interpreter."""

    name: str
    argv: tuple[str, ...]


def axes(overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides that a study varies: not where things lie, nor what a cell has a column for."""
    own = ("experiment=", "seed=", "paths.", "run=", "cell.", "hydra")
    own += ("ratio=", "placement=", "conditioning=")
    return without(overrides, own)


def without(overrides: Sequence[str], own: tuple[str, ...]) -> tuple[str, ...]:
    """The overrides of other settings than those that begin so."""
    return tuple(override for override in overrides if not override.lstrip("+~").startswith(own))


def stages(
    cell: Cell,
    grid: Path,
    teacher: Path,
    overrides: Sequence[str],
    evaluation: Mapping[str, Any],
) -> tuple[Stage, ...]:
    """Training and evaluation of a cell as the commands that a user would type.

    The teacher itself (ratio 1:0) is not trained, unless the cell is the teacher continued.

    Args:
        overrides: of the sweep's job; those that choose the cell or the folder are replaced.
        evaluation: what evaluate.py is told besides, nested as in its configuration.
    """
    folder = grid / "works" / cell.work
    model, found = teacher, []
    if not is_teacher(asdict(cell)):
        model = folder / "run" / STUDENT
        own = ("ratio=", "placement=", "run=", "cell.", "hydra")
        # What a sweep has besides a training is not a setting of it.
        chosen = (
            *(f"task={cell.task}", "~cell", f"plan={plan_letters(cell.plan)}"),
            f"run={quoted(folder / 'run')}",
        )
        script = str(REPOSITORY / "train.py")
        kept = without(overrides, own)
        found.append(Stage(TRAIN, (script, *kept, *chosen, "hydra.mode=RUN")))
    return (*found, evaluate_stage(model, folder, cell.seed, evaluation))


def evaluate_stage(model: Path, folder: Path, seed: int, evaluation: Mapping[str, Any]) -> Stage:
    """How the `model` of the work in `folder` is evaluated."""
    named = json.dumps(str(model), ensure_ascii=False)  # evaluate.py reads its lists as YAML
    where = (f"models={{{STUDENT}: {named}}}", f"out={quoted(folder / 'eval')}")
    more = (f"seed_index={seed}", *as_overrides(evaluation))
    return Stage("evaluate", (str(REPOSITORY / "evaluate.py"), *where, *more))


def quoted(text: object) -> str:
    """A text as Hydra reads it, whatever characters it has."""
    return "'" + str(text).replace("'", r"\'") + "'"


def as_overrides(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """{"testset": {"meta": "x"}, "limit": 3} -> ["testset.meta='x'", "limit=3"]."""
    found = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found += as_overrides(value, f"{prefix}{name}.")
        else:
            text = quoted(value) if isinstance(value, str) else json.dumps(value)
            found.append(f"{prefix}{name}={text}")
    return found


def sweep_size(params: Mapping[str, str], argv: Sequence[str]) -> int | None:
    """Number of cells of a sweep, from its parameters and the command line that may replace them.

    None where the command line is not the sweep's own, as in a cluster job.
    """
    if Path(argv[0]).name != "train.py":
        return None
    given = dict(argument.split("=", 1) for argument in argv[1:] if "=" in argument)
    swept = {name: given.get(name, text) for name, text in params.items()}
    swept |= {name: text for name, text in given.items() if "," in text and name not in swept}
    return math.prod(len(str(text).split(",")) for text in swept.values())


def check_version(grid: Path, mix: bool) -> None:
    """Note the code version of a new grid folder; refuse a folder that holds rows of another one.

    Raises:
        InputError: another version, unless `mix`.
    """
    state = git_state()
    found = f"{state['sha']}{'-dirty' if state['dirty'] else ''}"
    known = read_json(grid / "grid.json") or {"versions": []}
    if found in known["versions"]:
        return
    if known["versions"] and not mix:
        raise InputError(
            f"{grid} holds rows of code version {', '.join(known['versions'])}; this is {found}. "
            "Choose another run=..., or cell.mix=true to put both into one table"
        )
    write_json(grid / "grid.json", {"versions": [*known["versions"], found]})


def run_cell(
    grid: Path, cell: GridCell, stages: Sequence[Stage], total: int | None, step: Step | None = None
) -> str:
    """Do the cell's work unless it is done or another runner is at it.

    A work that failed before this runner started is tried again.

    Args:
        stages: commands in order; the first that fails ends the work.
        total: number of cells of the whole sweep, when known, for the progress line.
        step: of SLURM or torchrun, whose other tasks `join` the training; this is the first of them.

    Returns:
        "done", "failed", or "busy" when another runner holds it. Raises Interrupted when it was asked to stop.
    """
    folder = grid / "works" / cell.work
    folder.mkdir(parents=True, exist_ok=True)
    write_json(_path(grid, cell), cell.facts())
    try:
        with FileLock(folder / "lock", timeout=0):
            known = read_json(folder / "result.json")
            if not known or (known["status"] == "failed" and known["ended_s"] < STARTED_S):
                print(f"{cell.name}: {cell.work} -> {folder / 'log.txt'}", flush=True)
                meet = meeting(step)
                tell(folder, step, trains=stages[0].name == TRAIN, meet=meet)
                shared = None if step is None else os.environ | meet
                known = _work(folder, stages, shared or without_torchrun())
                write_json(folder / "result.json", known)
            status = known["status"]
    except Timeout:
        status = "busy"
    finally:
        tell(folder, step, trains=False, ended=True)
    print(f"{cell.name}: {status}; {progress(_write_table(grid), total)}", flush=True)
    return status


def _work(folder: Path, stages: Sequence[Stage], shared: Mapping[str, str]) -> dict[str, Any]:
    """Run the stages, each a process of its own: one that is killed takes nothing with it. `shared`: the
    environment of the training, which may have ranks elsewhere."""
    result: dict[str, Any] = {"status": "done", "error": None, "version": git_state()["sha"]}
    with (folder / "log.txt").open("a", encoding="utf-8") as log:
        for stage in stages:
            started_s = time.time()
            log.write(f"$ python {' '.join(stage.argv)}\n")
            log.flush()
            environment = shared if stage.name == TRAIN else without_torchrun()
            code, stop = run(stage.argv, log, environment)
            result[f"{stage.name}_s"] = round(time.time() - started_s, 1)
            if stop is not None:
                raise Interrupted(f"{folder.name}: stopped in {stage.name}", stop)
            if code in (130, -2):
                raise KeyboardInterrupt
            if code:
                result |= {"status": "failed", "error": _error(folder / "log.txt", stage, code)}
                break
    return result | {"ended_s": time.time()}


def _error(log: Path, stage: Stage, code: int) -> str:
    if code < 0:
        return f"{stage.name}: killed by signal {-code}"
    lines = [line.strip() for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    return f"{stage.name}: " + " | ".join(lines[-ERROR_LINES:])[:500]


def refuse_cell(grid: Path, cell: Cell, error: str, total: int | None) -> None:
    """Note a cell that has no layer plan, such as one without importance scores, as a failed row."""
    write_json(_path(grid, cell), asdict(cell) | {"work": None, "error": error})
    print(f"{cell.name}: failed: {error}; {progress(_write_table(grid), total)}", flush=True)


def _path(grid: Path, cell: GridCell) -> Path:
    return grid / "cells" / f"{cell.name}.json"


def _write_table(grid: Path) -> list[Row]:
    with FileLock(grid / "lock"):  # two tables written at once could each lack the other's row
        rows = table(grid)
        write_text(grid / "grid.csv", pd.DataFrame(rows).to_csv(index=False))
    return rows
