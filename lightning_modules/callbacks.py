"""Training callbacks: step-wise seeding, the non-finite guard and the metrics log."""

import csv
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

GRAD_NORM = "grad_norm"


class NonFiniteLossError(RuntimeError):
    """Training stopped because the loss or its gradient stayed non-finite."""


def ends_step(trainer, batch_idx: int) -> bool:
    """Whether the optimiser moved after this batch, the last of those that it accumulates."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


class StepSeed(Callback):
    """Makes the randomness of a step (dropout) a function of (seed, step, share of the step): a resumed
    run repeats it, and so do n ranks in the place of n times the accumulation."""

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        accumulate = trainer.accumulate_grad_batches
        share = trainer.global_rank * accumulate + batch_idx % accumulate
        torch.manual_seed(hash((self.seed, trainer.global_step, share)) % 2**63)


class NonFiniteGuard(Callback):
    """Logs "grad_norm"; a step whose loss or gradient is not finite changes no weight.

    The `limit`-th such step in a row raises NonFiniteLossError with the step, the utterances of its
    batch and the last checkpoint, which is good because the weights never saw a non-finite
    gradient.
    """

    def __init__(self, limit: int, last_checkpoint: Path):
        if limit < 1:
            raise ValueError(f"the limit of non-finite steps must be at least 1, not {limit}")
        self.limit, self.last_checkpoint, self.in_a_row = limit, last_checkpoint, 0
        self._utterances: tuple[str, ...] = ()
        self._loss_is_finite = True

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self._utterances += tuple(batch.utterances)

    def on_before_backward(self, trainer, pl_module, loss: Tensor) -> None:
        self._loss_is_finite &= bool(torch.isfinite(loss.detach()))

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        pl_module.log(GRAD_NORM, norm, batch_size=1)
        finite = self._loss_is_finite and bool(torch.isfinite(norm))
        utterances, self._utterances, self._loss_is_finite = self._utterances, (), True
        if trainer.strategy.reduce_boolean_decision(finite, all=True):
            self.in_a_row = 0
            return
        for parameter in parameters:
            parameter.grad = None  # the optimiser leaves parameters without a gradient alone
        self.in_a_row += 1
        if self.in_a_row >= self.limit:
            saved = self.last_checkpoint
            raise NonFiniteLossError(
                f"the loss or its gradient is not finite at step {trainer.global_step} "
                f"({self.in_a_row} in a row); batch: {', '.join(utterances)}; "
                f"last good checkpoint: {saved if saved.exists() else 'none was saved yet'}"
            )


class MetricsLog(Callback):
    """Writes metrics.csv as training goes and shows a progress line.

    Every `every_steps` steps one row: step, elapsed_s, the training metrics averaged over all ranks
    since the last row (of a term other than the loss, over the steps in which it is a number),
    tokens_per_s (real positions, all ranks, validation time left out), lr, grad_norm; after each
    validation one row with its metrics. Columns are fixed, so the file can be read at any time.
    """

    def __init__(self, path: Path, every_steps: int, metric_names: tuple[str, ...]):
        self.path, self.every_steps = path, every_steps
        self.train_names = [n for n in metric_names if not n.startswith("val_")] + [GRAD_NORM]
        self.valid_names = [n for n in metric_names if n.startswith("val_")]
        self.columns = ["step", "elapsed_s", *self.train_names, "lr", "tokens_per_s"]
        self.columns += self.valid_names
        self._elapsed_before_s = 0.0
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
        return {"elapsed_s": self._elapsed_s()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._elapsed_before_s = state_dict["elapsed_s"]

    def _elapsed_s(self) -> float:
        return self._elapsed_before_s + time.monotonic() - self._start_s

    def on_train_start(self, trainer, pl_module) -> None:
        self._start_s = time.monotonic()
        self._writes = trainer.is_global_zero
        kept = self._rows_until(trainer.global_step)
        if self._writes:
            temporary = self.path.with_suffix(".partial")
            with temporary.open("w", newline="") as file:
                writer = csv.DictWriter(file, self.columns)
                writer.writeheader()
                writer.writerows(kept)
            os.replace(temporary, self.path)
        self._task = self._bar.add_task(
            "", total=trainer.max_steps, completed=trainer.global_step, note=""
        )
        if self._writes:
            self._bar.start()

    def _rows_until(self, step: int) -> list[dict[str, str]]:
        """Rows of an earlier part of this run; those after its checkpoint are computed again."""
        if not step or not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            return [row for row in csv.DictReader(file) if int(row["step"]) <= step]

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
            self._write(step, row)
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
        self._write(trainer.global_step, row)

    def _write(self, step: int, row: dict[str, float]) -> None:
        if not self._writes:
            return
        cells = {name: f"{value:.6g}" for name, value in row.items()}
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns).writerow(
                {"step": step, "elapsed_s": f"{self._elapsed_s():.1f}", **cells}
            )
        note = "  ".join(f"{name} {float(text):.4g}" for name, text in cells.items())
        self._bar.update(self._task, note=note)
        if self._bar.disable:
            print(f"step {step}  {note}", flush=True)

    def teardown(self, trainer, pl_module, stage) -> None:
        self._bar.stop()

    def on_exception(self, trainer, pl_module, exception) -> None:
        self._bar.stop()
