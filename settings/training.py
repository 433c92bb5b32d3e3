"""What the tasks of `train.py` read: one dataclass a task. Their values are in configs/experiment."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightning_modules.distill import Objective
from lightning_modules.optim import OptimizerSettings
from lightning_modules.rollouts import OnPolicy
from lightning_modules.trainer_settings import TrainerSettings
from lightning_modules.watching import Watching
from mamtra.backbone.layer_plan import PLACEMENTS
from mamtra.backbone.sizes import BackboneSizes


@dataclass(frozen=True)
class Paths:
    """Where things lie (configs/paths)."""

    assets: Path
    runs: Path
    corpus: Path
    teacher: Path
    layerwise: Path
    importance: Path
    tokens: Path
    generated: Path
    codec_weights: Path
    cosyvoice2: Path
    libritts: Path
    seedtts: Path
    lists: Path
    durations: Path


@dataclass(frozen=True)
class BatchSettings:
    """Of `data.datamodule.TokenDataModule`."""

    max_tokens: int
    pair_probability: float
    single_epochs: int
    bistream_probability: float


@dataclass(frozen=True)
class TaskSettings:
    """What every task has."""

    task: str
    run: Path
    seed: int
    overwrite: bool
    paths: Paths
    trainer: TrainerSettings
    logger: dict[str, dict[str, Any]]
    callbacks: dict[str, dict[str, Any]]
    profiler: dict[str, Any] | None

    @property
    def watching(self) -> Watching:
        """Loggers, callbacks and profiler of the run."""
        return Watching(self.logger, self.callbacks, self.profiler)


@dataclass(frozen=True)
class ModelSettings(TaskSettings):
    """What all training of language models has."""

    text: str | None  # null: of the codec in paths.assets
    batch: BatchSettings
    optimizer: OptimizerSettings
    steps: int | None
    epochs: int | None


@dataclass(frozen=True)
class LMSettings:
    """A language model from scratch (configs/lm)."""

    speech_vocab: int
    dropout: float
    sizes: BackboneSizes


@dataclass(frozen=True)
class GuideSettings:
    """Of `lightning_modules.alignment.AlignmentProbe`, and its weight in the loss."""

    weight: float
    layers: tuple[int, ...]
    head: int


@dataclass(frozen=True)
class TeacherSettings(ModelSettings):
    """task=teacher."""

    lm: LMSettings
    label_smoothing: float
    corruption: float
    alignment: GuideSettings


@dataclass(frozen=True)
class TransferSettings:
    """Of `mamtra.transfer.student.build_student`."""

    dropout: float
    freeze: tuple[str, ...]
    mamba_rope: bool


@dataclass(frozen=True)
class WindowSettings:
    """Of window layers: generated tokens in sight, and how many of them at the first step of a training that
    narrows the window to them (null: all steps have it)."""

    size: int
    start: int | None

    def __post_init__(self) -> None:
        if self.size < 1 or (self.start is not None and self.start < self.size):
            raise ValueError(
                f"window.size={self.size} window.start={self.start}: a window of at least one token, and a "
                "start that is not below it (or null)"
            )


@dataclass(frozen=True)
class StudentSettings(ModelSettings):
    """task=layerwise, and what distillation has, too. `plan` overrules `ratio`, `placement` and `mixer`."""

    ratio: str
    placement: str
    mixer: str
    plan: str | None
    init: str
    state: Literal["per_head", "shared"]
    state_dtype: Literal["fp32", "bf16"]
    window: WindowSettings
    transfer: TransferSettings

    def __post_init__(self) -> None:
        if self.placement not in PLACEMENTS:
            raise ValueError(f"placement={self.placement}: valid are {', '.join(PLACEMENTS)}")


@dataclass(frozen=True)
class MemorySettings:
    """Memory for time, see `lightning_modules.distill.DistillModule`."""

    logit_chunk: int | None
    recompute: bool


@dataclass(frozen=True)
class DataSettings:
    """Who says what a student learns from (configs/data): the token tables, and the student itself."""

    tables: tuple[Literal["recordings", "teacher_generated"], ...]
    on_policy: OnPolicy

    def __post_init__(self) -> None:
        if not self.tables or len(set(self.tables)) < len(self.tables):
            raise ValueError(f"data.tables names one or more tables, each once, not {self.tables}")


@dataclass(frozen=True)
class DistillSettings(StudentSettings):
    """task=distill and task=continue."""

    data: DataSettings
    objective: Objective
    memory: MemorySettings


@dataclass(frozen=True)
class GridSettings:
    """`evaluate`: settings of evaluate.py; `mix`: rows of another code version may be in the table;
    `continued`: a cell of ratio 1:0 is the teacher trained on, not the teacher."""

    evaluate: dict[str, Any]
    mix: bool
    continued: bool


@dataclass(frozen=True)
class CellSettings(DistillSettings):
    """task=cell."""

    cell: GridSettings


@dataclass(frozen=True)
class NetworkSettings:
    """Sizes of the codec's two networks (configs/codec), as their constructors take them."""

    network: dict[str, Any]
    vocoder: dict[str, Any]


@dataclass(frozen=True)
class CodecBatchSettings:
    batch_s: float


@dataclass(frozen=True)
class VocoderBatchSettings:
    rows: int
    frames: int


@dataclass(frozen=True)
class SpeechTraining:
    """What codec and vocoder have. `init`: weights to start from."""

    lr: float
    adversarial_from: int
    init: Path | None


@dataclass(frozen=True)
class VocoderTraining(SpeechTraining):
    """Of `lightning_modules.vocoder`. `text`: what models made for the codec read."""

    text: str


@dataclass(frozen=True)
class CodecTraining(SpeechTraining):
    """Of `lightning_modules.codec`."""

    ctc_weight: float
    phone_weight: float
    n_phones: int
    freeze_tokenizer: bool


@dataclass(frozen=True)
class SpeechSettings(TaskSettings):
    """What both have."""

    steps: int
    codec: NetworkSettings


@dataclass(frozen=True)
class CodecSettings(SpeechSettings):
    """task=codec."""

    batch: CodecBatchSettings
    training: CodecTraining


@dataclass(frozen=True)
class VocoderSettings(SpeechSettings):
    """task=vocoder."""

    batch: VocoderBatchSettings
    training: VocoderTraining
