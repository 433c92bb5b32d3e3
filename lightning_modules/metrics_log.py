"""The rows that a training logs, for whatever loggers the run has (configs/logger)."""

import math
import sys
import time
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from lightning_modules.guards import GRAD_NORM
from lightning_modules.metrics_csv import MetricsCsv
from lightning_modules.steps import ends_step


class MetricsLog(Callback):
    """Hands rows to the loggers and shows a progress line.

    Every `every_steps` steps one row: elapsed_s, the training metrics averaged over all ranks since the
    last row (of a term other than the loss, over the steps in which it is a number), tokens_per_s (real
    positions, all ranks, validation time left out), lr, grad_norm; after each validation one row with its
    metrics. Means over steps, so not what Lightning logs on its own: modules log with `logger=False`.
    """

    def __init__(self, every_steps: int, metric_names: tuple[str, ...]):
        self.every_steps = every_steps
        self.train_names = [n for n in metric_names if not n.startswith("val_")] + [GRAD_NORM]
        self.valid_names = [n for n in metric_names if n.startswith("val_")]
        self.columns = ["step", "elapsed_s", *self.train_names, "lr", "tokens_per_s"]
        self.columns += self.valid_names
        self._elapsed_before_s = 0.0
        self._written_before: list[int] | None = None
        self._bar = Progress(
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            disable=not sys.stdout.isatty(),
        )
        self._clear()

    def _clear(self) -> None:
        self._seen: dict[str, list[Tensor]] = {name: [] for name in self.train_names}
        self._tokens, self._busy_s = 0, 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"elapsed_s": self._elapsed_s(), "written": self._written()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._elapsed_before_s = state_dict["elapsed_s"]
        self._written_before = state_dict.get("written")  # which older checkpoints do not say

    def _written(self) -> list[int] | None:
        files = [logger for logger in self._loggers if isinstance(logger, MetricsCsv)]
        return list(files[0].written()) if files else None

    def _elapsed_s(self) -> float:
        return self._elapsed_before_s + time.monotonic() - self._start_s

    def on_train_start(self, trainer, pl_module) -> None:
        self._start_s = time.monotonic()
        self._writes = trainer.is_global_zero
        self._loggers = trainer.loggers
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCsv):
                logger.start(self.columns, trainer.global_step, self._written_before)
        self._task = self._bar.add_task(
            "", total=trainer.max_steps, completed=trainer.global_step, note=""
        )
        if self._writes:
            self._bar.start()

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self._step_start_s = time.monotonic()
        # The schedule has moved on at batch end.
        self._lr = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self._busy_s += time.monotonic() - self._step_start_s
        self._tokens += batch.n_tokens * trainer.world_size
        ends = ends_step(trainer, batch_idx)
        for name, values in self._seen.items():
            if name != GRAD_NORM or ends:  # one norm per step, whatever its batches
                values.append(trainer.callback_metrics[name].detach())
        if not ends:
            return
        step = trainer.global_step
        self._bar.update(self._task, completed=step)
        if step % self.every_steps == 0 or step == trainer.max_steps:
            row = self._means(trainer)
            row["lr"] = self._lr
            row["tokens_per_s"] = self._tokens / self._busy_s
            self._write(trainer, row)
            self._clear()

    def _means(self, trainer) -> dict[str, float]:
        """The training metrics per batch, over all ranks; without a term that no step had."""
        seen = {name: torch.stack(values) for name, values in self._seen.items()}
        whole = ("loss", GRAD_NORM)  # every step has these: NaN is what happened
        own = [v.mean() if name in whole else v.nanmean() for name, v in seen.items()]
        means = trainer.strategy.reduce(torch.stack(own), reduce_op="mean")
        named = dict(zip(seen, means.tolist(), strict=True))
        return {n: value for n, value in named.items() if n in whole or not math.isnan(value)}

    def on_validation_end(self, trainer, pl_module) -> None:
        row = {name: float(trainer.callback_metrics[name]) for name in self.valid_names}
        self._write(trainer, row)

    def _write(self, trainer, row: dict[str, float]) -> None:
        if not self._writes:
            return
        step = trainer.global_step
        for logger in trainer.loggers:
            logger.log_metrics({"elapsed_s": round(self._elapsed_s(), 1), **row}, step)
            logger.save()
        note = "  ".join(f"{name} {value:.4g}" for name, value in row.items())
        self._bar.update(self._task, note=note)
        if self._bar.disable:
            print(f"step {step}  {note}", flush=True)

    def teardown(self, trainer, pl_module, stage) -> None:
        self._bar.stop()

    def on_exception(self, trainer, pl_module, exception) -> None:
        self._bar.stop()
