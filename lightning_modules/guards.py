"""What ends a training that goes wrong."""

from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

GRAD_NORM = "grad_norm"


class NonFiniteLossError(RuntimeError):
    """Training stopped because the loss or its gradient stayed non-finite."""


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
        pl_module.log(GRAD_NORM, norm, batch_size=1, logger=False)
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
