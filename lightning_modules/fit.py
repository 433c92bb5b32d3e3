"""One training with Lightning, from its callbacks to the exported model."""

import logging
import platform
import subprocess
import time
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import lightning
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.callbacks import Callback

from lightning_modules.averaging import kept_of
from lightning_modules.base import TrainedModule, TrainingData
from lightning_modules.checkpoints import KeptSteps, RunCheckpoint
from lightning_modules.console import say
from lightning_modules.guards import NonFiniteGuard, SpikeReport
from lightning_modules.memory_guard import MemoryGuard, is_out_of_memory
from lightning_modules.metrics_log import MetricsLog
from lightning_modules.ranks import cluster_environment, one_thread_in_forks
from lightning_modules.run_folder import RunFolder
from lightning_modules.saving import CheckpointFiles
from lightning_modules.slurm import first_process
from lightning_modules.steps import StepSeed
from lightning_modules.trainer_settings import TrainerSettings
from lightning_modules.watching import Watching

SPIKES = "spikes.jsonl"
FORKING = (
    "ddp_fork",
    "ddp_notebook",
)  # Lightning's strategies whose ranks are forks of this process
PACKAGES = ("torch", "lightning", "safetensors", "numpy")


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


def quiet_lightning() -> None:
    """Leaves out what Lightning says on every run: advertisements and advice that does not apply
    here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # One process reads a corpus that is in memory: workers would only copy it.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*")
    # `cluster_environment` chooses, on login nodes and in jobs of one process too.
    warnings.filterwarnings("ignore", ".*`srun` command is available.*")


def fit(
    module: TrainedModule,
    datamodule: TrainingData,
    run: RunFolder,
    identity: Mapping[str, Any],
    *,
    steps: int,
    seed: int,
    settings: TrainerSettings,
    watching: Watching,
    kept: Mapping[int, str] = MappingProxyType({}),
    overwrite: bool = False,
) -> Path:
    """Trains `module` to `steps` in `run`, from its last checkpoint if it has one.

    `kept`: names of the steps whose models are exported to <run>/kept. `overwrite`: discards an earlier
    run. With 0 steps the model is exported as it was built.
    Returns what it exported. Raises RunError for a broken checkpoint or a folder in which another
    process trains, and where there is no room for a checkpoint, ValueError for a module that several
    processes cannot train, and for `watching`, NonFiniteLossError, OutOfMemoryError, Interrupted.
    """
    if not module.automatic_optimization and settings.world_size * settings.accumulate > 1:
        raise ValueError(
            "trainer.devices, trainer.nodes and trainer.accumulate must be 1: "
            f"{type(module).__name__} steps its optimisers itself"
        )
    environment = cluster_environment(settings.devices, settings.nodes)
    if settings.strategy.startswith(FORKING):
        one_thread_in_forks()
    first = first_process()
    with run.lock() if first else nullcontext():
        if first:
            run.claim(identity, steps, overwrite)
        # The other processes do not wait for the first: what it discards, they must not read.
        resume_path = None if overwrite else run.resume_path()
        every = (settings.checkpoint_every, settings.checkpoint_minutes)
        checkpoint = RunCheckpoint(run.best, *every, module.monitor)
        facts: dict[str, str] = {}

        def save(path: Path, about: Mapping[str, Any], of: TrainedModule = module) -> None:
            """The model and where it comes from."""
            provenance = {
                **identity,
                "training": {"steps": steps, **about},
                "runtime": facts,
                "software": software(),
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            }
            of.save_model(path, provenance, settings.export_dtype)

        if steps == 0:
            if first:
                save(run.export, {"weights": "untrained"})
            return run.export

        def keep(step: int) -> None:
            path, about = run.like_export(run.kept / kept[step]), {"weights": "last", "step": step}
            save(path, about, kept_of(trainer, module))

        guard = NonFiniteGuard(settings.nonfinite_limit, run.last, run.path / "nonfinite")
        memory = MemoryGuard(datamodule.budget_setting, datamodule.budget_unit)
        callbacks = [
            StepSeed(seed),
            guard,
            memory,
            *([SpikeReport(settings.spike, run.path / SPIKES)] if settings.spike else []),
            MetricsLog(settings.log_every, module.metric_names),
            *watching.make_callbacks(),
            KeptSteps(kept, keep),
            checkpoint,
        ]
        automatic = module.automatic_optimization
        trainer = _trainer(settings, steps, run, callbacks, environment, watching, automatic)
        device = trainer.strategy.root_device
        facts |= {"device": device.type, "precision": settings.precision, **module.runtime(device)}
        say("training: " + ", ".join(f"{name} {value}" for name, value in facts.items()))
        try:
            data: Any = datamodule  # a LightningDataModule, which no protocol can say
            trainer.fit(module, data, ckpt_path=resume_path, weights_only=True)
        except Exception as error:
            if is_out_of_memory(error):
                raise memory.explain(device) from error
            raise
        if trainer.is_global_zero:
            if settings.export == "best":
                module.restore_model(run.best)
            about: dict[str, Any] = {
                "weights": settings.export,
                "monitor": module.monitor,
                **checkpoint.best,
            }
            if trainer.global_step < steps:  # one of the run's callbacks ended it
                about["ended_at"] = trainer.global_step
            if guard.total:
                about["nonfinite_steps"] = guard.total
            lengths = run.lengths()
            save(run.export, about | ({"lengths": lengths} if len(lengths) > 1 else {}))
    return run.export


def _trainer(
    settings: TrainerSettings,
    steps: int,
    run: RunFolder,
    callbacks: list[Callback],
    environment: ClusterEnvironment,
    watching: Watching,
    automatic: bool,
) -> lightning.Trainer:
    """Lightning's trainer; what it would do on its own is off, if `settings.arguments` do not say otherwise."""
    quiet_lightning()
    own: dict[str, Any] = {
        "accelerator": settings.accelerator,
        "devices": settings.devices,
        "num_nodes": settings.nodes,
        "strategy": settings.strategy,
        "precision": settings.precision,
        "max_steps": steps,
        "gradient_clip_val": settings.grad_clip if automatic else None,
        "accumulate_grad_batches": settings.accumulate,
        "val_check_interval": settings.val_every * settings.accumulate,  # counted in batches
        "check_val_every_n_epoch": None,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
        "logger": watching.make_loggers() or False,
        "profiler": watching.make_profiler(),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": run.checkpoints,  # where no hpc_ckpt file of another program lies
        "plugins": [environment, CheckpointFiles()],
        "callbacks": callbacks,
    }
    return lightning.Trainer(**(own | settings.arguments))
