"""What `fit` is told, whatever it trains (configs/trainer), and how long."""

from dataclasses import dataclass

from mamtra.lm.checkpoint import DTYPES

EXPORTS = ("best", "last")


@dataclass(frozen=True)
class TrainerSettings:
    """How `fit` trains, whatever it trains. Raises ValueError for an unknown export or dtype of it."""

    accelerator: str
    devices: int
    nodes: int
    strategy: str
    precision: str
    grad_clip: float
    accumulate: int  # batches per optimiser step and device
    val_every: int  # optimiser steps, as the next two
    log_every: int
    checkpoint_every: int | None
    checkpoint_minutes: float | None
    keep: tuple[
        int, ...
    ]  # steps, or epochs where the length is in epochs, whose models are exported too
    nonfinite_limit: int
    export: str  # "best" (by validation) or "last"
    export_dtype: str

    def __post_init__(self) -> None:
        if self.export not in EXPORTS:
            raise ValueError(f"export must be one of {', '.join(EXPORTS)}, not {self.export!r}")
        if self.export_dtype not in DTYPES:
            raise ValueError(
                f"export_dtype must be one of {', '.join(DTYPES)}, not {self.export_dtype!r}"
            )

    @property
    def world_size(self) -> int:
        """Ranks of all machines together."""
        return self.devices * self.nodes


@dataclass(frozen=True)
class TrainingLength:
    """Optimiser steps, or epochs where `steps` is None. `seed` is that of everything random."""

    seed: int
    steps: int | None
    epochs: int | None

    def __post_init__(self) -> None:
        if self.steps is None and self.epochs is None:
            raise ValueError("steps=null needs epochs=<number>")
        if self.steps is not None and self.epochs is not None:
            raise ValueError(
                f"steps={self.steps} and epochs={self.epochs}: one of them has to be null"
            )
