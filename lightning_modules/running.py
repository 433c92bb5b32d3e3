"""Start, continue or reuse a training in a run folder, and export its weights."""

import logging
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only

from lightning_modules.base import LanguageModelModule, TrainingData
from lightning_modules.callbacks import (
    Interrupted,
    MetricsLog,
    NonFiniteGuard,
    NonFiniteLossError,
    RunCheckpoint,
    StepSeed,
)
from lightning_modules.run_folder import RunError, RunFolder
from mamtra.backbone.ssd import backend
from mamtra.lm.checkpoint import DTYPES, load_lm, save_lm

EXPORTS = ("best", "last")
PACKAGES = ("torch", "lightning", "safetensors", "numpy")


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


def software() -> dict[str, str]:
    """Versions of what made a model: git commit (with "-dirty"), Python and the packages that
    matter."""
    root = Path(__file__).parent
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        git = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        commit = git.stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # not a git checkout, e.g. an unpacked archive
        commit = "unknown"
    return {"git": commit, "python": platform.python_version(), **{p: version(p) for p in PACKAGES}}


@contextmanager
def clear_errors() -> Iterator[None]:
    """Ends the process with one line for what a user can act on; HYDRA_FULL_ERROR=1 shows the
    traceback."""
    try:
        yield
    except Interrupted as stop:
        print(f"\n{stop}\nrun the same command again to continue")
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, OSError, NonFiniteLossError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        sys.exit(f"error: {error}")


def quiet_lightning() -> None:
    """Leaves out what Lightning says on every run: advertisements and advice that does not apply
    here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # One process reads a corpus that is in memory: workers would only copy it.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*")


def train_in(
    run: RunFolder,
    build: Callable[[], tuple[LanguageModelModule, TrainingData]],
    identity: Mapping[str, Any],
    inputs: Mapping[str, Path],
    overwrite: bool,
    *,
    length: TrainingLength,
    trainer: TrainerSettings,
) -> None:
    """Trains what `build` returns in `run`, or says that the run is complete.

    `identity`: the settings that make this run another than others, as JSON can hold them. Errors as
    `RunFolder.check`, `fit`.
    """
    # Lightning starts the other ranks of a machine after the first has passed here; others start all at once.
    if overwrite and os.environ.get("LOCAL_RANK") is None and _launched_together():
        raise RunError("overwrite=true with several ranks at once: delete the run folder yourself")
    allowed = run.check(identity, inputs, overwrite and not rank_zero_only.rank)
    if run.finished:
        print(f"{run.export} is complete; nothing to do (overwrite=true trains it again)")
        return
    lightning.seed_everything(length.seed, verbose=False)
    module, datamodule = build()
    steps, epochs = length.steps, length.epochs
    if steps is None:
        assert epochs is not None  # as TrainingLength checks
        steps = datamodule.count_steps(epochs, trainer.world_size, trainer.accumulate)
        say(f"{epochs} epochs are {steps} steps on {trainer.world_size} device(s)")
    made = fit(module, datamodule, run, allowed, steps=steps, seed=length.seed, settings=trainer)
    say(f"done: {made}")


def _launched_together() -> bool:
    """Whether somebody else than Lightning has started several ranks."""
    sizes = (os.environ.get(name, "1") for name in ("WORLD_SIZE", "SLURM_NTASKS"))
    return any(size.isdigit() and int(size) > 1 for size in sizes)


@rank_zero_only
def say(line: str) -> None:
    """Prints once, however many ranks there are."""
    print(line, flush=True)


def fit(
    module: LanguageModelModule,
    datamodule: Any,
    run: RunFolder,
    identity: Mapping[str, Any],
    *,
    steps: int,
    seed: int,
    settings: TrainerSettings,
) -> Path:
    """Trains `module.model` to `steps` in `run`, from its last checkpoint if it has one.

    Returns the exported folder. Raises RunError for a broken checkpoint, NonFiniteLossError,
    Interrupted.
    """
    if not rank_zero_only.rank:
        run.claim(identity)
    resume_path = run.resume_path()
    every = (settings.checkpoint_every, settings.checkpoint_minutes)
    checkpoint = RunCheckpoint(run.checkpoints, *every, module.monitor)
    quiet_lightning()
    callbacks: list[Callback] = [
        StepSeed(seed),
        NonFiniteGuard(settings.nonfinite_limit, run.last),
        MetricsLog(run.path / "metrics.csv", settings.log_every, module.metric_names),
        checkpoint,
    ]
    trainer = lightning.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy=settings.strategy,
        precision=settings.precision,  # type: ignore[arg-type]  # a string of the configuration
        max_steps=steps,
        gradient_clip_val=settings.grad_clip,
        accumulate_grad_batches=settings.accumulate,
        val_check_interval=settings.val_every * settings.accumulate,  # counted in batches
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=run.path,
        callbacks=callbacks,
    )
    device = trainer.strategy.root_device
    facts = {"device": device.type, "precision": settings.precision, "ssd": backend(device)}
    say(f"training on {facts['device']}, {facts['precision']}, ssd {facts['ssd']}")
    trainer.fit(module, datamodule, ckpt_path=resume_path, weights_only=True)
    if trainer.is_global_zero:
        export = settings.export
        model = load_lm(run.checkpoints / "best") if export == "best" else module.model
        training = {"steps": steps, "weights": export, "monitor": module.monitor, **checkpoint.best}
        provenance = {
            **identity,
            "training": training,
            "runtime": facts,
            "software": software(),
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        save_lm(run.export, model, provenance, settings.export_dtype)
    return run.export
