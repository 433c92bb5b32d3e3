"""Trains each converted layer by itself, on the teacher's own input, before any distillation.

Layer i of the student never sees what layers before it made of the sequence, so its weights do not
depend on the layer plan: one run of an all-Mamba student serves every plan (`init=layerwise`).
MOHAWK's second phase (Bick et al. 2024, arXiv 2408.10189, section 3.2), per mixer. Layers are trained one
after the other within a step, so that memory is that of one layer, however many there are.

B batch, T time, D d_model.
"""

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor

from lightning_modules.base import LanguageModelModule
from lightning_modules.objectives import relative_mse
from lightning_modules.optim import OptimizerSettings
from mamtra.lm.sequence import SequenceBatch
from mamtra.lm.speech_lm import SpeechLM
from mamtra.transfer.watch import Seen, on_mixers


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

    def each_layer(self, batch: SequenceBatch, told: Callable[[int, Tensor], object]) -> None:
        """Calls `told` with each converted layer and its relative MSE, while the teacher goes through the
        batch: of a layer that is done nothing is held but what `told` keeps."""
        teacher, learns = self._teacher[0], torch.is_grad_enabled()

        def compare(layer: int, seen: Seen) -> None:
            if layer in self.converted:
                with torch.set_grad_enabled(learns):
                    output = self._mixer(layer)(seen.x, seen.context)
                    told(layer, relative_mse(seen.output, output, batch.mask))

        with torch.no_grad(), on_mixers(teacher, compare):
            embeds = teacher.embed(batch.ids, batch.kinds)
            teacher(embeds, batch.mask, generated=batch.generated)

    def layer_losses(self, batch: SequenceBatch) -> Tensor:
        """Relative MSE of each converted layer, (number of converted layers,)."""
        losses: dict[int, Tensor] = {}
        self.each_layer(batch, losses.__setitem__)
        return torch.stack([losses[i] for i in self.converted])

    def training_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        """The mean over the layers. Its gradient is there already: each layer's graph is gone before the next
        one is made, and what is returned is linear in the parameters, with these gradients as factors."""
        losses: list[Tensor] = []
        linear: list[Tensor] = []

        def learn(layer: int, loss: Tensor) -> None:
            parameters = [p for p in self._mixer(layer).parameters() if p.requires_grad]
            grads = torch.autograd.grad(loss / len(self.converted), parameters)
            linear.extend((p * g).sum() for p, g in zip(parameters, grads, strict=True))
            losses.append(loss.detach())

        self.each_layer(batch, learn)
        loss, carrier = torch.stack(losses).mean(), torch.stack(linear).sum()
        self.log_training({"loss": loss}, batch.n_tokens)
        return loss + (carrier - carrier.detach())

    def validation_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        losses = self.layer_losses(batch)
        values = {f"val_layer_{i}": loss for i, loss in zip(self.converted, losses, strict=True)}
        values["val_loss"] = losses.mean()
        self.log_validation(values, batch.n_tokens)
