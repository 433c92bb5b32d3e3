"""A run folder and what happens in it: start, continue or reuse a training, export its weights.

<run>/config.json            settings and input hashes, compared when the folder is used again
<run>/checkpoints/last.ckpt  training state;  <run>/checkpoints/best  weights of the best validation
<run>/metrics.csv            loss curves
<run>/<export name>          weights, layer plan, provenance; written last: it marks a finished run
"""

import hashlib
import json
import logging
import os
import platform
import shutil
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
import torch
from lightning.pytorch.callbacks import Callback

from lightning_modules.base import LanguageModelModule, TrainingData
from lightning_modules.callbacks import (
    Interrupted,
    MetricsLog,
    NonFiniteGuard,
    NonFiniteLossError,
    RunCheckpoint,
    StepSeed,
)
from mamtra.lm.checkpoint import load_lm, save_lm

EXPORTS = ("best", "last")
PACKAGES = ("torch", "lightning", "safetensors", "numpy")


class RunError(ValueError):
    """The run folder cannot be used as asked; the message says what to do."""


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run. `name` of what it exports: a model's folder ("teacher", "student") or, on the
    speech side, one file of weights."""

    path: Path
    name: str

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        return self.checkpoints / "last.ckpt"

    @property
    def export(self) -> Path:
        return self.path / self.name

    @property
    def finished(self) -> bool:
        return (self.export / "model.json").exists() or self.export.is_file()

    @property
    def description(self) -> Path:
        return self.path / "config.json"

    def check(
        self, settings: Mapping[str, Any], inputs: Mapping[str, Path], overwrite: bool
    ) -> dict[str, Any]:
        """The identity of a run with these settings, if this folder can be used for it.

        `inputs` (files or folders) enter the identity by hash, not by path. With `overwrite`, an
        earlier run is discarded. Raises FileNotFoundError for a missing input, and RunError when
        there is something to lose: a checkpoint or an export of a run with another identity.
        """
        hashes = {name: sha256(path) for name, path in inputs.items()}
        identity = json.loads(json.dumps({"settings": settings, "input_sha256": hashes}))
        if overwrite and self.description.exists():
            for part in (self.checkpoints, self.path / "log", self.export):
                shutil.rmtree(part, ignore_errors=True)  # leaves an export that is a file
            for file in (self.export, self.path / "metrics.csv", self.description):
                file.unlink(missing_ok=True)
        if not self.last.exists() and not self.finished:
            return identity
        try:
            stored = json.loads(self.description.read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise RunError(
                f"{self.path} holds a model but no readable config.json ({error}); "
                "choose another run=..."
            ) from error
        changes = differences(stored, identity)
        if changes:
            raise RunError(
                f"{self.path} holds a run with other settings: {'; '.join(changes)}. "
                "Choose another run=..., or overwrite=true to discard it."
            )
        return identity

    def claim(self, identity: Mapping[str, Any]) -> None:
        """Creates the folder of a run that `check` allowed."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        write_json(self.description, identity)

    def resume_path(self) -> Path | None:
        """last.ckpt when there is one. Raises RunError when it is not a training checkpoint."""
        if not self.last.exists():
            return None
        try:
            content = torch.load(self.last, map_location="cpu", weights_only=True)
            whole = {"state_dict", "loops", "optimizer_states", "global_step"} <= content.keys()
        except Exception as error:  # unpickling damage raises every kind of exception
            raise RunError(f"{self.last} is not a checkpoint ({error}); {_ADVICE}") from error
        if not whole:
            raise RunError(f"{self.last} is not a training checkpoint; {_ADVICE}")
        return self.last


_ADVICE = "delete it to start this run again, or use overwrite=true"


def differences(stored: Any, new: Any, where: str = "") -> list[str]:
    """Human-readable list of "key: stored -> new" of two nested dicts."""
    if isinstance(stored, dict) and isinstance(new, dict):
        keys = sorted(stored.keys() | new.keys())
        found = [
            differences(stored.get(k), new.get(k), f"{where}.{k}" if where else k) for k in keys
        ]
        return [line for lines in found for line in lines]
    return [] if stored == new else [f"{where}: {stored} -> {new}"]


def sha256(path: Path) -> str:
    """Hash of a file, or of all files of a folder with their names."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(b"" if file == path else str(file.relative_to(path)).encode())
        with file.open("rb") as stream:  # in pieces: a teacher can have gigabytes
            while piece := stream.read(1 << 24):
                digest.update(piece)
    return digest.hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Writes JSON atomically."""
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    temporary.replace(path)


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
    settings: Mapping[str, Any],
    inputs: Mapping[str, Path],
    overwrite: bool,
) -> None:
    """Trains what `build` returns in `run`, or says that the run is complete.

    `settings` is the run's whole configuration; "steps" (or "epochs" where that is null), "seed" (of
    everything random, `build` included) and "trainer" (keywords of `fit`) are read from it. Errors as
    `RunFolder.check`, `fit`.
    """
    identity = run.check(settings, inputs, overwrite)
    if run.finished:
        print(f"{run.export} is complete; nothing to do (overwrite=true trains it again)")
        return
    steps, seed, trainer = (settings[key] for key in ("steps", "seed", "trainer"))
    lightning.seed_everything(seed, verbose=False)
    module, datamodule = build()
    if steps is None:
        world_size = trainer["devices"] * trainer["nodes"]
        steps = datamodule.count_steps(settings["epochs"], world_size)
        print(f"{settings['epochs']} epochs are {steps} steps on {world_size} device(s)")
    print(f"done: {fit(module, datamodule, run, identity, steps=steps, seed=seed, **trainer)}")


def fit(
    module: LanguageModelModule,
    datamodule: Any,
    run: RunFolder,
    identity: Mapping[str, Any],
    *,
    steps: int,
    seed: int,
    accelerator: str,
    devices: int,
    nodes: int,
    strategy: str,
    precision: str,
    grad_clip: float,
    val_every: int,
    log_every: int,
    checkpoint_every: int,
    checkpoint_minutes: float,
    nonfinite_limit: int,
    export: str,
    export_dtype: str,
) -> Path:
    """Trains `module.model` to `steps` in `run`, from its last checkpoint if it has one.

    Returns the exported folder; `export` is "best" (by validation) or "last", `export_dtype` the
    precision of the exported weights (`mamtra.lm.checkpoint.DTYPES`). Raises RunError for a broken
    checkpoint, NonFiniteLossError, Interrupted.
    """
    if export not in EXPORTS:
        raise ValueError(f"export must be one of {', '.join(EXPORTS)}, not {export!r}")
    run.claim(identity)
    resume_path = run.resume_path()
    checkpoint = RunCheckpoint(
        run.checkpoints, checkpoint_every, checkpoint_minutes, module.monitor
    )
    quiet_lightning()
    callbacks: list[Callback] = [
        StepSeed(seed),
        NonFiniteGuard(nonfinite_limit, run.last),
        MetricsLog(run.path / "metrics.csv", log_every, module.metric_names),
        checkpoint,
    ]
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=strategy,
        precision=precision,  # type: ignore[arg-type]  # a string of the configuration
        max_steps=steps,
        gradient_clip_val=grad_clip,
        val_check_interval=val_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=run.path,
        callbacks=callbacks,
    )
    trainer.fit(module, datamodule, ckpt_path=resume_path, weights_only=True)
    if trainer.is_global_zero:
        model = load_lm(run.checkpoints / "best") if export == "best" else module.model
        training = {"steps": steps, "weights": export, "monitor": module.monitor, **checkpoint.best}
        provenance = {
            **identity,
            "training": training,
            "software": software(),
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        save_lm(run.export, model, provenance, export_dtype)
    return run.export
