"""One cell of MambaVoiceCloning's grid: an arm, a seed, and what else a study changes.

Run by `studies.grid.run_cell` into the same kind of folder; its table has the column `conditioning`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eval.store.files import sha256_json
from eval.store.manifest import REPOSITORY
from studies.grid import TRAIN, Stage, evaluate_stage, quoted, without

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
    kept = without(overrides, ("run=", "cell.", "hydra"))
    train = (str(REPOSITORY / "train.py"), *kept, "task=mvc", "~cell")
    run = (f"run={quoted(folder / 'run')}", "hydra.mode=RUN")
    return (
        Stage(TRAIN, (*train, *run)),
        evaluate_stage(folder / "run" / EXPORT, folder, cell.seed, evaluation),
    )
