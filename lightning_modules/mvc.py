"""Trains MambaVoiceCloning: durations, prosody and mel from text with known durations, and the flow decoder.

B batch, N text tokens, F frames at 50 Hz, C = 160 stacked mel channels, K crop length.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules import mvc_losses as losses
from lightning_modules.base import LanguageModelModule
from lightning_modules.optim import OptimizerSettings, optimizer_of, parameter_groups
from mamtra.mvc.batch import MVCBatch
from mamtra.mvc.encoders import stack_prosody
from mamtra.mvc.folder import load_mvc, save_mvc
from mamtra.mvc.model import MVC, Condition, LeakyMVC
from mamtra.mvc.rows import Rows, stack_frames


@dataclass(frozen=True)
class LossWeights:
    """What each term counts in the loss."""

    duration: float
    pitch: float
    voicing: float
    energy: float
    mu: float
    flow: float


@dataclass(frozen=True)
class DecoderTraining:
    """`frozen_steps`: how long the decoder stays as it came; `lr_share`: its learning rate after that, as a
    share of the others'; `crop`: frames at 50 Hz that it learns on of each row; `duration_noise`: durations
    that the model is shown are off by up to this share."""

    frozen_steps: int
    lr_share: float
    crop: int
    duration_noise: float


def noisy(durations: Tensor, share: float) -> Tensor:
    """Durations (B, N) with frames moved over borders between tokens, up to `share` of a token; sums stay."""
    if not share:
        return durations
    moved = (torch.rand_like(durations, dtype=torch.float32) * 2 - 1) * share
    moved = (moved * durations.float()).round().long()[:, :-1]
    room = torch.minimum(durations[:, :-1], durations[:, 1:]) // 2
    moved = torch.maximum(torch.minimum(moved, room), -room)
    zero = torch.zeros_like(durations[:, :1])
    return durations - torch.cat((moved, zero), dim=1) + torch.cat((zero, moved), dim=1)


class MVCModule(LanguageModelModule):
    """Logs each term and its validation ("val_..."), and "val_total", which the best weights are chosen by.

    Half of the rows show the decoder the true F0, voicing and energy, the others those that the model
    predicts (detached), so that what it is told when speaking is nothing new to it.
    """

    model: MVC
    TERMS = ("duration", "pitch", "voicing", "energy", "mu", "flow")
    metric_names = ("loss", *TERMS, "val_total", *(f"val_{name}" for name in TERMS))
    monitor = "val_total"

    def __init__(
        self,
        model: MVC,
        optimizer: OptimizerSettings,
        weights: LossWeights,
        decoder: DecoderTraining,
    ) -> None:
        super().__init__()
        self.model = model.train()
        self.optimizer_settings, self.weights, self.training_of_decoder = (
            optimizer,
            weights,
            decoder,
        )

    def save_model(self, path: Path, provenance: Mapping[str, Any], dtype: str) -> None:
        save_mvc(path, self.model, dict(provenance), dtype)

    def restore_model(self, path: Path) -> None:
        self.model.load_state_dict(load_mvc(path).state_dict())

    def configure_optimizers(self):
        """The decoder's rate is its share of the others'; where it comes from elsewhere, it is frozen first."""
        settings, share = self.optimizer_settings, self.training_of_decoder.lr_share
        conditioning = nn.ModuleList(self.model.conditioning())
        parts = ((conditioning, settings.lr), (self.model.decoder, share * settings.lr))
        groups = [
            {**group, "name": f"{name} {group['name']}"}
            for name, (part, lr) in zip(("conditioning", "decoder"), parts, strict=True)
            for group in parameter_groups(part, lr, settings.weight_decay)
        ]
        optimizer, schedule = optimizer_of(groups, self.trainer.max_steps, settings)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def condition(self, batch: MVCBatch) -> Condition:
        """What the decoder is told of a batch, whose durations are known."""
        share = self.training_of_decoder.duration_noise if self.training else 0.0
        parts = (batch.ids, batch.n_ids, batch.voices, noisy(batch.durations, share))
        if isinstance(self.model, LeakyMVC):
            return self.model.condition_on(*parts, stack_frames(batch.mel))
        return self.model.condition(*parts)

    def terms(self, batch: MVCBatch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Every term of the loss by name; `generator`: of the decoder's noise, times and crops."""
        found = self.condition(batch)
        target = stack_frames(batch.mel)
        text = Rows.of(batch.n_ids, batch.ids.shape[1])
        frames = Rows.of(batch.n_frames, batch.mel.shape[1]).valid
        prosody, energy = found.prosody, batch.mel.mean(dim=-1)
        return {
            "duration": losses.duration_loss(found.log_durations, batch.durations, text.valid),
            "pitch": losses.pitch_loss(prosody.log_f0, batch.log_f0, frames & (batch.voiced > 0)),
            "voicing": losses.voicing_loss(prosody.voicing, batch.voiced, frames),
            "energy": losses.absolute_loss(prosody.energy, energy, frames),
            "mu": losses.absolute_loss(prosody.mu, target, found.rows.valid),
            "flow": self.flow(found, batch, target, energy, generator),
        }

    def flow(
        self,
        found: Condition,
        batch: MVCBatch,
        target: Tensor,
        energy: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Equation (10) on a crop of every row: x_t = (1 - t) z + t x_1, target velocity x_1 - z."""
        n, device = len(target), target.device

        def draw(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device="cpu").to(device)

        told = found.prosody.told().detach()
        true = stack_prosody(batch.log_f0, batch.voiced, energy)
        # Every other row: as many of each in every batch.
        shown = torch.where((torch.arange(n, device=device) % 2 == 0)[:, None, None], true, told)
        size = min(self.training_of_decoder.crop, target.shape[1])
        lengths = found.rows.lengths.clamp(max=size)
        first = (draw(n) * (found.rows.lengths - lengths + 1)).long()
        place = (first[:, None] + torch.arange(size, device=device)).clamp(max=target.shape[1] - 1)

        def crop(x: Tensor) -> Tensor:
            return x.gather(1, place.unsqueeze(-1).expand(-1, -1, x.shape[-1]))

        rows, goal = Rows.of(lengths, size), crop(target)
        noise = torch.randn(goal.shape, generator=generator, device="cpu").to(goal)
        t = draw(n)
        x = (1 - t[:, None, None]) * noise + t[:, None, None] * goal
        # The mean is learned from its own loss alone, the decoder around it: what an arm's conditioning learns
        # does not depend on how good the decoder is.
        told_of = (crop(found.prosody.mu).detach(), crop(shown), found.style.detach(), rows)
        return losses.squared_loss(self.model.decoder(x, t, *told_of), goal - noise, rows.valid)

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The loss of its terms."""
        parts = [getattr(self.weights, name) * terms[name] for name in self.TERMS]
        return torch.stack(parts).sum()

    @property
    def _frozen(self) -> bool:
        return self.global_step < self.training_of_decoder.frozen_steps

    def on_after_backward(self) -> None:
        if self._frozen:  # where there are several processes they made gradients all the same
            for parameter in self.model.decoder.parameters():
                parameter.grad = None

    def training_step(self, batch: MVCBatch, batch_idx: int) -> Tensor:
        # Processes agree once, before the first step, on which parameters have gradients.
        self.model.decoder.requires_grad_(not self._frozen or self.trainer.world_size > 1)
        terms = self.terms(batch)
        loss = self.total(terms)
        self.log_training({**terms, "loss": loss}, len(batch.ids))
        return loss

    def validation_step(self, batch: MVCBatch, batch_idx: int) -> None:
        terms = self.terms(batch, torch.Generator().manual_seed(batch_idx))
        values = {f"val_{name}": value for name, value in terms.items()}
        self.log_validation({**values, "val_total": self.total(terms)}, len(batch.ids))
