"""Trains a speech language model on real speech tokens with cross entropy."""

from typing import Any

import torch
from torch import Tensor

from lightning_modules.alignment import NO_ALIGNMENT, AlignmentProbe
from lightning_modules.base import LanguageModelModule
from lightning_modules.objectives import accuracy, cross_entropy
from lightning_modules.optim import OptimizerSettings
from mamtra.lm.sequence import IGNORE, KIND_SPEECH, SequenceBatch
from mamtra.lm.speech_lm import SpeechLM


def corrupt(batch: SequenceBatch, probability: float) -> Tensor:
    """The batch's ids (B, T) with some speech tokens replaced by others drawn from the batch."""
    speech = batch.kinds == KIND_SPEECH
    chosen = speech & (torch.rand(speech.shape, device=speech.device) < probability)
    pool = batch.ids[speech]
    draws = torch.randint(max(len(pool), 1), (int(chosen.sum()),), device=pool.device)
    return batch.ids.masked_scatter(chosen, pool[draws])


class TeacherModule(LanguageModelModule):
    """Cross entropy of `model` on the target positions of a `SequenceBatch`, and guided attention.

    `corruption` is the probability that a speech token of the input (not of the target) is replaced by
    another one of the batch while training: a history that is sometimes wrong, as when speaking, makes
    the text worth reading. `alignment` holds the keyword arguments of `AlignmentProbe` and its
    `weight` in the loss, None for cross entropy alone. Logs "loss"
    while training, "val_ce" and "val_accuracy" on validation, and with a guide "alignment" and
    "val_alignment"; losses in nats, each a mean over target positions.
    """

    metric_names = ("loss", "val_ce", "val_accuracy")
    monitor = "val_ce"

    def __init__(
        self,
        model: SpeechLM,
        optimizer: OptimizerSettings,
        label_smoothing: float = 0.0,
        alignment: dict[str, Any] | None = None,
        corruption: float = 0.0,
    ):
        super().__init__()
        if not 0 <= corruption < 1:
            raise ValueError(f"corruption is a probability below 1, not {corruption}")
        self.corruption = corruption
        self.model = model.train()
        self.label_smoothing, self.optimizer_settings = label_smoothing, optimizer
        guide = dict(alignment or {})
        self.alignment_weight = guide.pop("weight", 0.0)
        self.probe = AlignmentProbe(model, **guide) if self.alignment_weight else None
        if self.probe is not None:
            self.metric_names = (*self.metric_names, "alignment", "val_alignment")

    def target_logits(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """Logits (N, V+3) and targets (N,) of the N positions that predict something."""
        here = batch.targets != IGNORE
        ids = corrupt(batch, self.corruption) if self.training else batch.ids
        embeds = self.model.embed(ids, batch.kinds)
        last, _ = self.model.hidden(embeds, batch.mask, generated=batch.generated)
        return self.model.llm_decoder(last[here]), batch.targets[here]

    def training_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        logits, targets = self.target_logits(batch)
        loss = cross_entropy(logits, targets, None, self.label_smoothing)
        self.log("loss", loss.detach(), batch_size=len(targets), logger=False)
        return loss + self.alignment_weight * self._alignment(batch, "alignment")

    def _alignment(self, batch: SequenceBatch, name: str) -> Tensor | float:
        if self.probe is None:
            return 0.0
        if batch.aligned is None:
            raise ValueError(NO_ALIGNMENT)
        value = self.probe.loss(batch.aligned)
        if self.training:
            self.log(name, value.detach(), batch_size=len(batch.ids), logger=False)
        else:
            self.log_validation({name: value}, len(batch.ids))
        return value

    def validation_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        logits, targets = self.target_logits(batch)
        ce = cross_entropy(logits, targets, None)
        values = {"val_ce": ce, "val_accuracy": accuracy(logits, targets, None)}
        self.log_validation(values, len(targets))
        self._alignment(batch, "val_alignment")
