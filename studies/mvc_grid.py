"""One cell of MambaVoiceCloning's grid: an arm, a seed, and what else a study changes.

Run by `studies.grid.run_cell` into the same kind of folder; its table has the column `conditioning`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eval.store.files import sha256_json
from eval.store.manifest import REPOSITORY
from studies.grid import TRAIN, Stage, as_overrides, quoted
from studies.grid_table import STUDENT

EXPORT = "mvc"  # folder of a run's model


@dataclass(frozen=True)
class MVCCell:
    """`overrides`: what it changes besides arm and seed; `baseline`: the arm that others are compared with."""

    conditioning: str
    seed: int
    overrides: tuple[str, ...]
    baseline: str
    settings: Mapping[str, Any]  # everything that training depends on

    @property
    def work(self) -> str:
        """Name of its work: arm, seed and a hash of the training settings."""
        return f"{self.conditioning}-s{self.seed}-{sha256_json(self.settings)[:8]}"

    @property
    def name(self) -> str:
        return f"{self.conditioning}-s{self.seed}-{sha256_json(list(self.overrides))[:4]}"

    def facts(self) -> dict[str, Any]:
        """What its file in <grid>/cells says."""
        return asdict(self) | {"work": self.work}


def mvc_stages(
    cell: MVCCell, grid: Path, overrides: Sequence[str], evaluation: Mapping[str, Any]
) -> tuple[Stage, ...]:
    """Training and evaluation of a cell as the commands that a user would type.

    Args:
        overrides: of the sweep's job; those that choose the folder are replaced.
        evaluation: what evaluate.py is told besides, nested as in its configuration.
    """
    folder = grid / "works" / cell.work
    own = ("run=", "cell.", "hydra")
    kept = (given for given in overrides if not given.lstrip("+~").startswith(own))
    train = (str(REPOSITORY / "train.py"), *kept, "task=mvc", "~cell")
    run = (f"run={quoted(folder / 'run')}", "hydra.mode=RUN")
    named = json.dumps(str(folder / "run" / EXPORT), ensure_ascii=False)
    where = (f"models={{{STUDENT}: {named}}}", f"out={quoted(folder / 'eval')}")
    more = (f"seed_index={cell.seed}", *as_overrides(evaluation))
    return (
        Stage(TRAIN, (*train, *run)),
        Stage("evaluate", (str(REPOSITORY / "evaluate.py"), *where, *more)),
    )
