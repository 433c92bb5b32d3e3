"""What `fit` is told, whatever it trains (configs/trainer), and how long."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, get_type_hints

import lightning
from pydantic import ConfigDict, ValidationError, create_model

from mamtra.lm.checkpoint import DTYPES

EXPORTS = ("best", "last")


# Arguments of `lightning.Trainer` that the run decides, and by which setting.
DECIDED = {
    **dict.fromkeys(("max_steps", "max_epochs", "min_epochs", "max_time"), "steps= or epochs="),
    **dict.fromkeys(("limit_train_batches", "overfit_batches", "fast_dev_run"), "steps="),
    "num_nodes": "trainer.nodes",
    "gradient_clip_val": "trainer.grad_clip",
    "accumulate_grad_batches": "trainer.accumulate",
    "val_check_interval": "trainer.val_every",
    "check_val_every_n_epoch": "trainer.val_every",
    "log_every_n_steps": "trainer.log_every",
    "enable_checkpointing": "trainer.checkpoint_every",
    **{name: f"{name}=<a file of configs/{name}>" for name in ("logger", "callbacks", "profiler")},
    **dict.fromkeys(
        ("plugins", "default_root_dir", "use_distributed_sampler", "barebones"), "the run itself"
    ),
    "num_sanity_val_steps": "the run itself",
    "reload_dataloaders_every_n_epochs": "the run itself",
}


def trainer_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` if `lightning.Trainer` takes it. Raises ValueError, naming the key, for an unknown argument, a
    value of another type, and an argument that another setting decides."""
    valid = list(inspect.signature(lightning.Trainer).parameters)
    for name in given:
        if name in DECIDED:
            raise ValueError(f"trainer.{name}: decided by {DECIDED[name]}")
        if name not in valid:
            known = [*(f.name for f in fields(TrainerSettings)), *valid]
            near = get_close_matches(name, known, n=3) or known
            raise ValueError(
                f"unknown setting trainer.{name}: neither ours nor an argument of lightning.Trainer "
                f"(near: {', '.join(near)})"
            )
    hints = get_type_hints(lightning.Trainer.__init__)
    config = ConfigDict(strict=True, arbitrary_types_allowed=True)
    wanted: dict[str, Any] = {name: (hints[name], ...) for name in given}
    try:
        create_model("TrainerArguments", __config__=config, **wanted).model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        name = first["loc"][0]
        raise ValueError(f"trainer.{name}={given[str(name)]}: {first['msg']}") from error
    return dict(given)


@dataclass(frozen=True)
class TrainerSettings:
    """How `fit` trains, whatever it trains. Raises ValueError for an unknown export or dtype of it, and for
    `arguments` as `trainer_arguments`."""

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
    global_tokens: (
        int | None
    )  # padded positions of a step, over all ranks, that optimizer.lr is for
    keep: tuple[
        int, ...
    ]  # steps, or epochs where the length is in epochs, whose models are exported too
    nonfinite_limit: int
    spike: float | None  # deviations above the usual loss that are reported
    export: str  # "best" (by validation) or "last"
    export_dtype: str
    arguments: dict[str, Any]  # more of `lightning.Trainer`: +trainer.<name>=<value>

    def __post_init__(self) -> None:
        trainer_arguments(self.arguments)
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


def check_global_batch(trainer: TrainerSettings, max_tokens: int, lr: float) -> str:
    """What a step sees and the rate it moves by, in words. Raises ValueError when the recipe states another
    batch: a learning rate is for a batch, and here it is never scaled on its own."""
    ways = trainer.world_size * trainer.accumulate
    found, stated = max_tokens * ways, trainer.global_tokens
    if stated is not None and stated != found:
        advice = f"trainer.global_tokens={found} states it, with an optimizer.lr for it"
        if stated % (max_tokens * trainer.world_size) == 0:
            fits = stated // (max_tokens * trainer.world_size)
            advice = f"trainer.accumulate={fits} keeps it; or {advice}"
        raise ValueError(
            f"optimizer.lr={lr:g} is for {stated} positions a step, and batch.max_tokens={max_tokens} on "
            f"{trainer.world_size} device(s) with trainer.accumulate={trainer.accumulate} "
            f"makes {found}: {advice}"
        )
    return f"a step: up to {found} positions ({max_tokens} x {ways}), learning rate {lr:g}"


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


def with_arguments(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with `trainer.<name>` that is no setting of ours among `trainer.arguments`."""
    trainer = plain.get("trainer")
    if not isinstance(trainer, Mapping):
        return dict(plain)
    names = {field.name for field in fields(TrainerSettings)}
    own = {name: value for name, value in trainer.items() if name in names}
    more = {name: value for name, value in trainer.items() if name not in names}
    return {**plain, "trainer": {**own, "arguments": {**(own.get("arguments") or {}), **more}}}
