"""What watches over the steps of a training, on all ranks together: numbers that are none, and sudden ones."""

import json
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, distributed

from lightning_modules.console import say
from lightning_modules.steps import ends_step

GRAD_NORM = "grad_norm"
WINDOW = 100  # steps whose losses are what is usual
FEWEST = 20  # of them, before anything is unusual
NORMAL = 1.4826  # a standard deviation, of normal values in median absolute deviations


class NonFiniteLossError(RuntimeError):
    """Training stopped because the loss or its gradient stayed non-finite."""


def of_all_ranks(values: tuple[str, ...]) -> tuple[str, ...]:
    """`values` of every rank, one rank after the other; all ranks have to call it."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return values
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, values)
    return tuple(value for of_rank in found for value in of_rank)


def plain_batch(batch: Any) -> Any:
    """All of a batch as `torch.load(weights_only=True)` reads it: its fields by name, those of what it holds
    too; tensors on the CPU, lists, numbers and texts. What is none of these is there as its text."""
    if is_dataclass(batch):
        return {field.name: plain_batch(getattr(batch, field.name)) for field in fields(batch)}
    if isinstance(batch, Tensor):
        return batch.cpu()
    if isinstance(batch, np.ndarray | np.generic):
        return torch.as_tensor(batch)
    if isinstance(batch, Mapping):
        return {str(name): plain_batch(value) for name, value in batch.items()}
    if isinstance(batch, list | tuple):
        return [plain_batch(value) for value in batch]
    return batch if isinstance(batch, bool | int | float | str | None) else str(batch)


class NonFiniteGuard(Callback):
    """Logs "grad_norm"; a step whose loss or gradient is not finite on any rank changes no weight, is counted
    (`total`) and reported.

    The `limit`-th such step in a row raises NonFiniteLossError with the step, the utterances of its
    batch and the last checkpoint, which is good because the weights never saw a non-finite
    gradient. Every rank then leaves its part of the step in `folder`, for
    `torch.load(path, weights_only=True)`.
    """

    def __init__(self, limit: int, last_checkpoint: Path, folder: Path):
        if limit < 1:
            raise ValueError(f"the limit of non-finite steps must be at least 1, not {limit}")
        self.limit, self.last_checkpoint, self.folder = limit, last_checkpoint, folder
        self.in_a_row, self.total = 0, 0
        self._batches: list[Any] = []
        self._loss_is_finite = True

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.total = state_dict["total"]

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self._batches.append(batch)

    def on_before_backward(self, trainer, pl_module, loss: Tensor) -> None:
        self._loss_is_finite &= bool(torch.isfinite(loss.detach()))

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        pl_module.log(GRAD_NORM, norm, batch_size=1, logger=False)
        finite = self._loss_is_finite and bool(torch.isfinite(norm))
        batches, self._batches, self._loss_is_finite = self._batches, [], True
        if trainer.strategy.reduce_boolean_decision(finite, all=True):
            self.in_a_row = 0
            return
        for parameter in parameters:
            parameter.grad = None  # the optimiser leaves parameters without a gradient alone
        self.in_a_row += 1
        self.total += 1
        names = tuple(name for batch in batches for name in batch.utterances)
        what = f"the loss or its gradient is not finite at step {trainer.global_step}"
        counts = f"{self.in_a_row} in a row, {self.total} in all"
        utterances = ", ".join(of_all_ranks(names))
        if self.in_a_row < self.limit:
            say(f"{what}, which changes nothing ({counts}); batch: {utterances}")
            return
        path = self.folder / f"step-{trainer.global_step}-rank-{trainer.global_rank}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"batches": [plain_batch(batch) for batch in batches]}, path)
        saved = self.last_checkpoint
        raise NonFiniteLossError(
            f"{what} ({counts}); batch: {utterances}, saved as {path}; "
            f"last good checkpoint: {saved if saved.exists() else 'none was saved yet'}"
        )


class SpikeReport(Callback):
    """Reports a step whose loss, a mean over all ranks, is `deviations` above what is usual: the median of
    the steps before it, in their (robust) standard deviations. Prints a line and adds one to `path`
    (step, loss, median, deviations, utterances). Nothing is changed."""

    def __init__(self, deviations: float, path: Path):
        self.deviations, self.path = deviations, path
        self.losses: deque[float] = deque(maxlen=WINDOW)
        self._parts: list[Tensor] = []
        self._utterances: tuple[str, ...] = ()

    def state_dict(self) -> dict[str, Any]:
        return {"losses": list(self.losses)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.losses.extend(state_dict["losses"])

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self._parts.append(trainer.callback_metrics["loss"].detach())
        self._utterances += tuple(batch.utterances)
        if not ends_step(trainer, batch_idx):
            return
        own = torch.stack(self._parts).float().mean()
        loss = float(trainer.strategy.reduce(own, reduce_op="mean"))
        utterances, self._parts, self._utterances = self._utterances, [], ()
        if not loss < float("inf"):  # NonFiniteGuard's
            return
        if len(self.losses) >= FEWEST:
            median = statistics.median(self.losses)
            spread = NORMAL * statistics.median(abs(x - median) for x in self.losses)
            if spread and (loss - median) / spread > self.deviations:
                self._report(trainer, loss, median, (loss - median) / spread, utterances)
        self.losses.append(loss)

    def _report(self, trainer, loss: float, median: float, far: float, names) -> None:
        names = of_all_ranks(names)
        say(
            f"step {trainer.global_step}: loss {loss:.4g} is {far:.1f} deviations above the median "
            f"{median:.4g} of the last {len(self.losses)}; batch: {', '.join(names)}"
        )
        if trainer.is_global_zero:
            row = {"step": trainer.global_step, "loss": loss, "median": median}
            row |= {"deviations": round(far, 2), "utterances": names}
            with self.path.open("a") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
