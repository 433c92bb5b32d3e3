"""The numbers of README and docs/, from the committed files under results/.

    python -m studies.tables               writes every marked block and value, and the figures
    python -m studies.tables check=true    writes nothing; exit code 1 when a document or a figure is not what
                                           the results say, with the places

Marks in Markdown: `studies.documents.markers`. A new table is a function below `studies.documents` and a line
in BLOCKS; a new value one in VALUES, where the part before the first point of its name says whose it is.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from eval.store.files import InputError, write_text
from eval.store.manifest import REPOSITORY
from studies.documents import faults as chaos
from studies.documents import (
    grid,
    long_readings,
    measured,
    mini,
    mvc,
    mvc_arms,
    mvc_cost,
    mvc_here,
    mvc_targets,
    open_fronts,
    open_grid,
    open_importance,
    open_mini,
    speed,
    training,
)
from studies.documents.markers import rewritten
from studies.documents.sources import Sources
from studies.figures import write_figures

USAGE = "usage: python -m studies.tables [check=true]"
FIGURES = "docs/figures"
Block = Callable[[Sources], str]

BLOCKS: Mapping[str, Block] = {
    "grid": grid.wer_table,
    "seeds": grid.seeds_table,
    "long": grid.long_table,
    "starts": training.starts_table,
    "objectives": training.objective_table,
    "mini parts": mini.parts_table,
    "recital": mini.recital_table,
    "demo": mini.demo_table,
    "efficiency": mini.efficiency_table,
    "memory": measured.memory_table,
    "speed": speed.speed_tables,
    "speed targets": speed.targets_table,
    "performance": speed.performance,
    "targets": measured.targets_table,
    "coverage": measured.coverage_table,
    "exactness": partial(measured.group_table, group="exactness"),
    "pipeline": partial(measured.group_list, group="pipeline"),
    "cosyvoice2": partial(measured.group_list, group="cosyvoice2"),
    "export": partial(measured.group_table, group="export"),
    "scale": partial(measured.group_table, group="scale"),
    "faults": chaos.faults_table,
    "open": open_mini.lists_table,
    "open words": open_fronts.words_table,
    "open fronts": open_fronts.fronts_table,
    "open widths": open_fronts.widths_table,
    "open grid": open_grid.grid_table,
    "open short grid": partial(open_grid.grid_table, grid=open_grid.SHORT),
    "open b grid": partial(open_grid.grid_table, grid=open_grid.TEACHER_B),
    "headline": open_grid.headline_table,
    "open before": partial(measured.group_table, group="open"),
    "mvc arms": mvc_arms.arms_table,
    "mvc primary": mvc_arms.primary_table,
    "mvc modules": mvc_arms.modules_table,
    "mvc cost": mvc_cost.cost_table,
    "mvc stream": mvc_cost.stream_table,
    "open long": long_readings.long_table,
    "mvc systems": mvc_arms.systems_table,
    "mvc whole list": mvc_here.whole_list_table,
    "mvc here": mvc_here.published_here_table,
    "mvc targets": mvc_targets.targets_table,
    "mvc claims": mvc.claims_table,
    "mvc published": mvc.published_table,
}
VALUES: Mapping[str, Callable[[Sources, str], str]] = {
    "grid": grid.grid_values,
    "long": grid.long_values,
    "paper": grid.paper_values,
    "starts": training.start_values,
    "objectives": training.objective_values,
    "mini": mini.parts_values,
    "knows": mini.knowledge_values,
    "recital": mini.recital_values,
    "demo": mini.demo_values,
    "mos": mini.mos_values,
    "efficiency": mini.efficiency_values,
    "open": open_mini.open_values,
    "fronts": open_fronts.front_values,
    "parts": open_fronts.part_values,
    "open_importance": open_importance.importance_values,
    "open_grid": open_grid.grid_values,
    "open_plans": grid.open_values,
    "open_short": partial(open_grid.grid_values, grid=open_grid.SHORT),
    "open_b": partial(open_grid.grid_values, grid=open_grid.TEACHER_B),
    "measured": measured.measured_values,
    "levels": measured.coverage_values,
    "mvc": mvc.counts,
    "mvc_arms": mvc_arms.arm_values,
    "mvc_targets": mvc_targets.target_values,
    "whole_list": mvc_here.whole_values,
    "mvc_lists": mvc_targets.list_values,
    "mvc_cost": mvc_cost.cost_values,
    "faults": chaos.fault_values,
}


def documents(root: Path) -> list[Path]:
    """README and the files of docs/; notes are dated and stay as they were written."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def block(sources: Sources, name: str) -> str:
    """A table by its name. Raises InputError for a name that is not known or a file that is not there."""
    if name not in BLOCKS:
        raise InputError(f"no table {name!r}; there are: {', '.join(BLOCKS)}")
    return BLOCKS[name](sources)


def value(sources: Sources, name: str) -> str:
    """A value by its name, for instance `grid.kl-1to11.wer`. Raises as `block` does."""
    whose, _, rest = name.partition(".")
    if whose not in VALUES:
        raise InputError(f"no value {name!r}; it begins with one of: {', '.join(VALUES)}")
    return VALUES[whose](sources, rest)


def made(root: Path) -> dict[Path, str]:
    """Every document as it should be. Raises InputError, naming file and line."""
    sources = Sources(root)
    texts = {path: path.read_text(encoding="utf-8") for path in documents(root)}
    return {
        path: rewritten(
            text, str(path.relative_to(root)), partial(block, sources), partial(value, sources)
        )
        for path, text in texts.items()
    }


def faults(root: Path) -> list[str]:
    """What differs between the documents and the results: `file:line: old -> new`."""
    found = []
    for path, text in made(root).items():
        old, new = path.read_text(encoding="utf-8").splitlines(), text.splitlines()
        if old == new:
            continue
        pairs = zip(old, new, strict=False)
        number = next((n for n, (a, b) in enumerate(pairs, 1) if a != b), min(len(old), len(new)))
        was, now = (lines[number - 1] if number <= len(lines) else "" for lines in (old, new))
        found.append(f"{path.relative_to(root)}:{number}: {was!r} -> {now!r}")
    with tempfile.TemporaryDirectory() as folder:
        for path in figures(root, Path(folder)):
            shipped = root / FIGURES / path.name
            if not shipped.is_file() or shipped.read_bytes() != path.read_bytes():
                found.append(f"{FIGURES}/{path.name} is not what the results draw")
    return found


def figures(root: Path, folder: Path) -> list[Path]:
    """Draw the figures of the grid and of the speed of every machine into `folder`."""
    paper = pd.read_csv(root / "results" / "paper" / "figure4.csv")
    paper = paper.assign(wer=paper["wer_percent"] / 100)
    sources = Sources(root)
    drawn = write_figures(sources.study("grid").results.done(), paper, folder)
    main = open_grid.study_of(sources).results.done()
    drawn += write_figures(main, paper, folder, "_open", "open system, seed 0", means=True)
    return [*drawn, *speed.speed_figures(sources, folder)]


def main() -> None:
    """`python -m studies.tables [check=true]`."""
    if sys.argv[1:] not in ([], ["check=true"]):
        sys.exit(USAGE)
    try:
        if sys.argv[1:]:
            found = faults(REPOSITORY)
            print("\n".join([*found, "`make tables` writes them"]) if found else "all as measured")
            sys.exit(bool(found))
        for path, text in made(REPOSITORY).items():
            if text != path.read_text(encoding="utf-8"):
                write_text(path, text)
                print(f"-> {path.relative_to(REPOSITORY)}")
        for path in figures(REPOSITORY, REPOSITORY / FIGURES):
            print(f"-> {path.relative_to(REPOSITORY)}")
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
