"""Trains each converted layer by itself, on the teacher's own input, before any distillation.

Layer i of the student never sees what layers before it made of the sequence, so its weights do not
depend on the layer plan: one run of an all-Mamba student serves every plan (`init=layerwise`).
MOHAWK's second phase (Bick et al. 2024, arXiv 2408.10189, section 3.2), per mixer.

B batch, T time, D d_model.
"""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from lightning_modules.base import LanguageModelModule
from lightning_modules.objectives import relative_mse
from lightning_modules.optim import OptimizerSettings
from mamtra.lm.sequence import SequenceBatch
from mamtra.lm.speech_lm import SpeechLM
from mamtra.transfer.watch import watch_mixers


class LayerwiseModule(LanguageModelModule):
    """Relative MSE between the mixer outputs (B, T, D) of `student` and `teacher` on the teacher's
    mixer inputs, averaged over the converted layers.

    The mixer's output and not the layer's: the MLP after it is the same in both. Only converted mixers
    are trained. Logs "loss", and "val_loss" with "val_layer_<i>" of each converted layer on validation.
    Raises ValueError when no layer is converted.
    """

    monitor = "val_loss"

    def __init__(
        self,
        teacher: SpeechLM,
        student: SpeechLM,
        optimizer: OptimizerSettings,
        fresh_names: Collection[str] = (),
    ):
        super().__init__()
        pairs = enumerate(zip(teacher.plan, student.plan, strict=True))
        self.converted = [i for i, (old, new) in pairs if old != new]
        if not self.converted:
            raise ValueError("the layer plan converts no layer, so there is nothing to train")
        self.model = student
        self.optimizer_settings, self.fresh_names = optimizer, fresh_names
        # In a tuple, so that nn.Module does not register it as a submodule.
        self._teacher = (teacher.eval().requires_grad_(False),)
        student.requires_grad_(False)
        for i in self.converted:
            self._mixer(i).requires_grad_(True)
        student.train()
        layers = (f"val_layer_{i}" for i in self.converted)
        self.metric_names = ("loss", "val_loss", *layers)

    def _mixer(self, layer: int) -> Any:
        layers: Any = self.model.backbone.layers
        return layers[layer].mixer

    def on_fit_start(self) -> None:
        self._teacher[0].to(self.device)

    def layer_losses(self, batch: SequenceBatch) -> Tensor:
        """Relative MSE of each converted layer, (number of converted layers,)."""
        teacher = self._teacher[0]
        with torch.no_grad(), watch_mixers(teacher) as seen:
            embeds = teacher.embed(batch.ids, batch.kinds)
            teacher(embeds, batch.mask, generated=batch.generated)
        losses = []
        for i in self.converted:
            output = self._mixer(i)(seen[i].x, seen[i].context)
            losses.append(relative_mse(seen[i].output, output, batch.mask))
        return torch.stack(losses)

    def training_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        loss = self.layer_losses(batch).mean()
        self.log_training({"loss": loss}, batch.n_tokens)
        return loss

    def validation_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        losses = self.layer_losses(batch)
        values = {f"val_layer_{i}": loss for i, loss in zip(self.converted, losses, strict=True)}
        values["val_loss"] = losses.mean()
        self.log_validation(values, batch.n_tokens)
