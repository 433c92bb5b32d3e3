"""What a training saves on its way: its whole state, the best weights, and models of chosen steps."""

import math
import os
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from signal import SIGTERM
from typing import Any

from lightning.pytorch.callbacks import Callback, Checkpoint

from lightning_modules.averaging import kept_of
from lightning_modules.saving import CheckpointFiles, check_space, not_saved
from lightning_modules.steps import ends_step
from lightning_modules.stopping import Interrupted, StopRequest


class RunCheckpoint(Checkpoint):
    """Saves `folder`/last.ckpt (whole training state) and `best` (weights, by `monitor`, lower is better).

    last.ckpt is replaced atomically every `every_steps` steps, every `every_minutes` minutes, at
    the last step, and on one of `stopping.STOP_SIGNALS`, which then raises Interrupted at the end of
    the step. At a step that is validated it is saved after validation, so that a resumed run neither
    repeats nor skips one. Either interval may be None; without both it is saved on a signal only.
    """

    def __init__(
        self, best: Path, every_steps: int | None, every_minutes: float | None, monitor: str
    ):
        self.folder, self.every_steps, self.monitor = best.parent, every_steps, monitor
        self.best_path = best
        self.every_s = math.inf if every_minutes is None else 60 * every_minutes
        self._saved_step = -1
        self.best = {"value": math.inf, "step": 0}
        self._saved_at_s = time.monotonic()
        self._stop = StopRequest()

    @property
    def last(self) -> Path:
        return self.folder / "last.ckpt"

    def state_dict(self) -> dict[str, Any]:
        return dict(self.best)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = dict(state_dict)

    def on_load_checkpoint(self, trainer, pl_module, checkpoint: dict[str, Any]) -> None:
        """Counts the batches before the checkpoint as this part of the run would have: an earlier part
        may have accumulated more or fewer of them, on fewer or more devices."""
        batches = checkpoint["global_step"] * trainer.accumulate_grad_batches
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counts in (progress["total"], progress["current"]):
            # Lightning sees from what is not completed at which hook the state was saved.
            shift = batches - counts["processed"]
            counts.update({name: count + shift for name, count in counts.items()})

    def on_train_start(self, trainer, pl_module) -> None:
        self._saved_at_s = time.monotonic()
        self._stop.start()
        if self.every_steps or self.every_s < math.inf:
            # Weights, and two moments for those that are trained; Adam's, as all optimisers here.
            parameters = list(pl_module.parameters())
            moments = sum(2 * p.nbytes for p in parameters if p.requires_grad)
            check_space(self.folder, moments + sum(p.nbytes for p in parameters))

    def teardown(self, trainer, pl_module, stage) -> None:
        self._stop.end()

    def on_exception(self, trainer, pl_module, exception) -> None:
        self._stop.end()  # Lightning leaves teardown out after an exception

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if not ends_step(trainer, batch_idx):
            return
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True  # Lightning then validates this step, whatever val_every is
        elif (batch_idx + 1) % int(trainer.val_check_interval):
            self._save_if_asked(trainer)

    def on_validation_end(self, trainer, pl_module: Any) -> None:
        value = float(trainer.callback_metrics[self.monitor])
        if value < self.best["value"]:
            self.best = {"value": value, "step": trainer.global_step}
            if trainer.is_global_zero:
                kept_of(trainer, pl_module).save_model(self.best_path, dict(self.best), "fp32")
        self._save_if_asked(trainer)

    def _save_if_asked(self, trainer) -> None:
        # Signals and clocks reach the ranks at different steps; all have to save at the same one.
        any_rank = partial(trainer.strategy.reduce_boolean_decision, all=False)
        stop = any_rank(self._stop.number is not None)
        late = any_rank(time.monotonic() - self._saved_at_s > self.every_s)
        due = self.every_steps and trainer.global_step % self.every_steps == 0
        ends = trainer.global_step == trainer.max_steps and (
            self.every_steps or self.every_s < math.inf
        )
        if stop or late or due or ends:
            self.save(trainer)
        if stop:
            step, number = trainer.global_step, self._stop.number
            # Where the signal reached another rank, this one leaves as if it had got the scheduler's, too.
            raise Interrupted(f"stopped after step {step}; saved {self.last}", number or SIGTERM)

    def save(self, trainer) -> None:
        """Writes last.ckpt beside its final name and renames it: a reader sees the old or the new
        one, whole. Raises RunError, in all processes, where it cannot be written."""
        temporary = self.folder / "last.ckpt.partial"
        files: Any = trainer.strategy.checkpoint_io
        trainer.save_checkpoint(temporary)
        failure = files.failure if isinstance(files, CheckpointFiles) else None
        if not trainer.strategy.reduce_boolean_decision(failure is None, all=True):
            raise not_saved(self.last, trainer.global_step, failure)
        if trainer.is_global_zero:
            os.replace(temporary, self.last)
        self._saved_at_s, self._saved_step = time.monotonic(), trainer.global_step


class KeptSteps(Callback):
    """Calls `save` with the step after each of `steps`, in the first process."""

    def __init__(self, steps: Collection[int], save: Callable[[int], object]):
        self.steps, self._save = steps, save

    def on_train_start(self, trainer, pl_module) -> None:
        past = sorted(step for step in self.steps if step < trainer.global_step)
        if past and trainer.is_global_zero:
            print(f"trainer.keep: this run is past step {past}, kept then or never", flush=True)

    def on_train_batch_end(self, trainer, pl_module: Any, outputs, batch, batch_idx) -> None:
        here = trainer.global_step in self.steps and ends_step(trainer, batch_idx)
        if here and trainer.is_global_zero:
            self._save(trainer.global_step)
