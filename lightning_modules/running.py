"""Start, continue, prolong or reuse a training in a run folder."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import lightning

from lightning_modules.base import TrainedModule, TrainingData
from lightning_modules.console import say
from lightning_modules.fit import fit
from lightning_modules.run_folder import RunError, RunFolder
from lightning_modules.slurm import first_process
from lightning_modules.trainer_settings import TrainerSettings, TrainingLength
from lightning_modules.watching import Watching


def train_in(
    run: RunFolder,
    build: Callable[[], tuple[TrainedModule, TrainingData]],
    identity: Mapping[str, Any],
    inputs: Mapping[str, Path],
    overwrite: bool,
    *,
    length: TrainingLength,
    trainer: TrainerSettings,
    watching: Watching,
) -> None:
    """Trains what `build` returns in `run`, or says that the run is complete.

    `identity`: the settings that make this run another than others, as JSON can hold them. `watching`: its
    loggers, callbacks and profiler; None: metrics.csv alone. A run can be made longer. Errors as
    `RunFolder.check`, `longer`, `fit`; ValueError for a `keep` beyond the end.
    """
    # A job that was requeued has discarded the run of before, and continues its own.
    overwrite = overwrite and not run.claimed_before()
    allowed = run.check(identity, inputs, overwrite)
    if run.finished and not overwrite and _same_length(run, length):
        return _say_complete(run)
    if first_process() and run.path.exists():
        with run.lock():  # before a model is built, which takes its time
            pass
    lightning.seed_everything(length.seed, verbose=False)
    module, datamodule = build()
    count = partial(
        datamodule.count_steps, world_size=trainer.world_size, accumulate=trainer.accumulate
    )
    steps, kept = length.steps, {step: f"step-{step}" for step in trainer.keep}
    if steps is None:
        assert length.epochs is not None  # as TrainingLength checks
        steps = count(length.epochs)
        kept = {count(epoch): f"epoch-{epoch}" for epoch in trainer.keep}
        say(f"{length.epochs} epochs are {steps} steps on {trainer.world_size} device(s)")
    late = [name for step, name in kept.items() if not 0 < step <= steps]
    if late:
        raise ValueError(
            f"trainer.keep: {', '.join(late)} is not among the {steps} steps of the run"
        )
    if not overwrite and not longer(run, steps):
        return _say_complete(run)
    if run.last.exists() and not overwrite and steps > run.lengths()[-1]:
        say(f"{run.path}: {steps} steps instead of {run.lengths()[-1]}")
        if module.follows_length:
            say(
                "its learning rate follows the length: this is not the run of as many steps at once"
            )
    made = fit(
        *(module, datamodule, run, allowed),
        steps=steps,
        seed=length.seed,
        settings=trainer,
        watching=watching,
        kept=kept,
        overwrite=overwrite,
    )
    say(f"done: {made}")


def _say_complete(run: RunFolder) -> None:
    print(f"{run.export} is complete; nothing to do (overwrite=true trains it again)")


def _same_length(run: RunFolder, length: TrainingLength) -> bool:
    stored = run.read()["settings"]
    return (stored.get("steps"), stored.get("epochs")) == (length.steps, length.epochs)


def longer(run: RunFolder, steps: int) -> bool:
    """Whether a run of `steps` still has something to do in this folder.

    Raises RunError when it was made for more steps, or is finished and has no state to continue from.
    """
    if not run.last.exists() and not run.finished:
        return True
    before = run.lengths()[-1]
    if not before and "lengths" not in run.read():  # a folder of an older version that does not say
        before = steps
    if steps < before:
        raise RunError(
            f"{run.path} is a run of {before} steps, not of {steps}: they can be raised only. "
            "Choose another run=..., or overwrite=true to discard it."
        )
    if steps > before and not run.last.exists():
        raise RunError(
            f"{run.export} was trained for {before} steps and left no checkpoints/last.ckpt to continue to "
            f"{steps} from (trainer.checkpoint_every). Choose another run=..., or overwrite=true."
        )
    return steps > before or not run.finished
