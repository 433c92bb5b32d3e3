"""What the tasks of MambaVoiceCloning read: one dataclass a task. Their values are in configs/experiment."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_modules.mvc import DecoderTraining, LossWeights
from lightning_modules.optim import OptimizerSettings
from lightning_modules.trainer_settings import TrainerSettings
from mamtra.mvc.sizes import ArmSizes
from settings.training import TaskSettings


@dataclass(frozen=True)
class MVCBatchSettings:
    """Of `data.mvc_batches.MVCDataModule`."""

    batch_s: float
    joined: float


# "decoder": the rest begins anew, as in an arm of the comparison; "conditioning": the decoder does; "all":
# training goes on.
START_PARTS = ("decoder", "conditioning", "all")


@dataclass(frozen=True)
class MVCSettings(TaskSettings):
    """task=mvc. `start`: a trained model to begin with; `start_parts`: what of it, of START_PARTS."""

    conditioning: str
    sizes: ArmSizes
    text: str
    start: Path | None
    start_parts: str
    batch: MVCBatchSettings
    weights: LossWeights
    decoder: DecoderTraining
    optimizer: OptimizerSettings
    trainer: TrainerSettings
    steps: int | None
    epochs: int | None


@dataclass(frozen=True)
class AlignerSettings(TaskSettings):
    """task=mvc_aligner. `width` of its encoders; `timed`: whether paths.durations has the true times of the
    corpus, which it is then scored against and never shown."""

    text: str
    width: int
    timed: bool
    batch: MVCBatchSettings
    optimizer: OptimizerSettings
    trainer: TrainerSettings
    steps: int | None
    epochs: int | None


@dataclass(frozen=True)
class MVCGridSettings:
    """`evaluate`: settings of evaluate.py; `mix`: rows of another code version may be in the table;
    `baseline`: the arm that the others are compared with."""

    evaluate: dict[str, Any]
    mix: bool
    baseline: str


@dataclass(frozen=True)
class MVCCellSettings(MVCSettings):
    """task=mvc_cell."""

    cell: MVCGridSettings
