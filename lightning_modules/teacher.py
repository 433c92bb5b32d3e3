"""Trains a speech language model on real speech tokens with cross entropy."""

from typing import Any

from torch import Tensor

from lightning_modules.base import LanguageModelModule
from lightning_modules.objectives import accuracy, cross_entropy
from lightning_modules.optim import build_optimizer
from mamtra.lm.sequence import IGNORE, SequenceBatch
from mamtra.lm.speech_lm import SpeechLM


class TeacherModule(LanguageModelModule):
    """Cross entropy of `model` on the target positions of a `SequenceBatch`.

    `optimizer` holds the keyword arguments of `build_optimizer`. Logs "loss" while training and
    "val_ce" (nats), and "val_accuracy" on validation, each a mean over target positions.
    """

    metric_names = ("loss", "val_ce", "val_accuracy")
    monitor = "val_ce"

    def __init__(self, model: SpeechLM, optimizer: dict[str, Any], label_smoothing: float = 0.0):
        super().__init__()
        self.model = model.train()
        self.label_smoothing, self._optimizer = label_smoothing, optimizer

    def target_logits(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """Logits (N, V+3) and targets (N,) of the N positions that predict something."""
        here = batch.targets != IGNORE
        output = self.model(self.model.embed(batch.ids, batch.kinds), batch.mask)
        return output.logits[here], batch.targets[here]

    def training_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        logits, targets = self.target_logits(batch)
        loss = cross_entropy(logits, targets, None, self.label_smoothing)
        self.log("loss", loss.detach(), batch_size=len(targets))
        return loss

    def validation_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        logits, targets = self.target_logits(batch)
        ce = cross_entropy(logits, targets, None)
        values = {"val_ce": ce, "val_accuracy": accuracy(logits, targets, None)}
        self.log_dict(values, batch_size=len(targets), sync_dist=True)

    def configure_optimizers(self):
        optimizer, schedule = build_optimizer(
            self.model, max_steps=self.trainer.max_steps, **self._optimizer
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]
