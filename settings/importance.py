"""What `importance.py` reads: one dataclass a mode. Values: configs/importance.yaml and configs/mode."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightning_modules.distill import Objective
from lightning_modules.optim import OptimizerSettings
from lightning_modules.trainer_settings import TrainerSettings
from settings.training import BatchSettings, Paths


@dataclass(frozen=True)
class VoiceSettings:
    """configs/system."""

    codec: Path
    sampling: dict[str, Any]
    dtype: Literal["fp32", "bf16", "fp16"]
    compiled: bool


@dataclass(frozen=True)
class TestSetSettings:
    """configs/testset."""

    meta: Path
    language: str
    tokens: Path | None


@dataclass(frozen=True)
class ModeSettings:
    """What every mode has."""

    mode: str
    out: Path
    seed: int
    text: str | None
    threads: int
    device: str
    batch: BatchSettings
    paths: Paths
    system: VoiceSettings
    testset: TestSetSettings


@dataclass(frozen=True)
class CosineSettings(ModeSettings):
    """mode=cosine."""

    part: str
    skip: int


@dataclass(frozen=True)
class SwapSettings(ModeSettings):
    """mode=swap."""

    change: str


@dataclass(frozen=True)
class WerSettings(ModeSettings):
    """mode=wer."""

    change: str
    items: tuple[int, int]
    wer_cap: float
    asr: str
    synthesis_batch: int
    cache: Path


@dataclass(frozen=True)
class KlSettings(ModeSettings):
    """mode=kl."""

    start: str
    steps: int
    train_tokens: int
    objective: Objective
    optimizer: OptimizerSettings
    trainer: TrainerSettings
