"""Training of the mini codec: reconstruction, recognition from the codes, then a mel discriminator.

Shapes: B batch, F frames at 100 Hz, T = F/4 tokens, M mel bands, C FSQ channels.
"""

import lightning as L
import torch
from torch import nn
from torch.nn import functional as F

from lightning_modules.discriminator import MelDiscriminator
from mamtra.speech.batch import CodecBatch
from mamtra.speech.codec import FRAMES_PER_TOKEN, CodecNetwork, ConvBlock
from mamtra.speech.features import N_MELS

# Two CTC frames a token: fast speech has almost as many letters as tokens.
CTC_FRAMES = 2


class Recogniser(nn.Module):
    """Characters from the codes alone: makes the tokens say what was said. Dropped after training."""

    def __init__(self, n_codes: int, vocab_size: int, width: int = 192) -> None:
        super().__init__()
        self.inlet = nn.Conv1d(n_codes, width, 3, padding=1)
        self.blocks = nn.ModuleList(ConvBlock(width) for _ in range(3))
        self.outlet = nn.Linear(width, CTC_FRAMES * (vocab_size + 1))

    def forward(self, codes: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T, C) to log-probabilities (B, CTC_FRAMES * T, vocab_size + 1); blank is the last id."""
        x = self.inlet(codes.transpose(1, 2))
        for block in self.blocks:
            x = block(x, mask.unsqueeze(1))
        logits = self.outlet(x.transpose(1, 2)).float()
        return logits.unflatten(-1, (CTC_FRAMES, -1)).flatten(1, 2).log_softmax(-1)


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of `values` where `mask` is 1; 0 when nothing is."""
    return (values * mask).sum() / mask.expand_as(values).sum().clamp_min(1.0)


class CodecModule(L.LightningModule):
    """Glue: two optimisers, the discriminator from step `adversarial_from` on."""

    def __init__(
        self,
        network: CodecNetwork,
        vocab_size: int,
        lr: float,
        max_steps: int,
        adversarial_from: int,
        ctc_weight: float,
        adversarial_weight: float = 0.05,
        feature_weight: float = 0.5,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        n_codes = len(network.tokenizer.fsq.levels)
        self.recogniser = Recogniser(n_codes, vocab_size)
        self.discriminator = MelDiscriminator()
        self.blank = vocab_size
        self.lr, self.max_steps, self.adversarial_from = lr, max_steps, adversarial_from
        self.ctc_weight = ctc_weight
        self.adversarial_weight, self.feature_weight = adversarial_weight, feature_weight

    def configure_optimizers(self):
        codec = [*self.network.parameters(), *self.recogniser.parameters()]
        generator = torch.optim.AdamW(codec, lr=self.lr, betas=(0.9, 0.98), weight_decay=0.01)
        critic = torch.optim.AdamW(self.discriminator.parameters(), lr=3e-4, betas=(0.5, 0.9))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            generator, self.lr, total_steps=self.max_steps + 1, pct_start=0.05
        )
        return [generator, critic], [schedule]

    def losses(self, batch: CodecBatch) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Loss terms (masked means) and the predicted mels (B, F, M)."""
        token_mask = batch.mask[:, ::FRAMES_PER_TOKEN]
        codes = self.network.tokenizer(batch.mel, batch.mask)
        frames = self.network.decoder(codes, batch.voice, token_mask).float()
        mel, log_f0, voicing = frames[..., :N_MELS], frames[..., N_MELS], frames[..., N_MELS + 1]
        error = mel - batch.mel
        mask = batch.mask.unsqueeze(-1)
        log_probs = self.recogniser(codes, token_mask)
        ctc = F.ctc_loss(
            log_probs.transpose(0, 1),
            batch.text,
            (CTC_FRAMES * token_mask.sum(1)).long(),
            batch.text_lengths,
            blank=self.blank,
            zero_infinity=True,
        )
        terms = {
            "mel": masked_mean(error.abs(), mask) + masked_mean(error.square(), mask),
            "pitch": masked_mean((log_f0 - batch.log_f0).abs(), batch.mask * batch.voiced),
            "voicing": masked_mean(
                F.binary_cross_entropy_with_logits(voicing, batch.voiced, reduction="none"),
                batch.mask,
            ),
            "ctc": ctc,
        }
        return terms, mel

    def training_step(self, batch: CodecBatch, batch_index: int) -> None:
        generator, critic = self.optimizers()
        terms, mel = self.losses(batch)
        loss = terms["mel"] + terms["pitch"] + 0.2 * terms["voicing"]
        loss = loss + self.ctc_weight * terms["ctc"]
        if self.global_step >= self.adversarial_from:
            fake = mel * batch.mask.unsqueeze(-1)
            real_score, _ = self.discriminator(batch.mel)
            fake_score, _ = self.discriminator(fake.detach())
            critic_loss = (real_score - 1).square().mean() + fake_score.square().mean()
            critic.zero_grad()
            self.manual_backward(critic_loss)
            # Not through Lightning's wrapper, whose step counter is the trainer's.
            critic.optimizer.step()
            with torch.no_grad():
                _, real_features = self.discriminator(batch.mel)
            score, features = self.discriminator(fake)
            match = sum((a - b).abs().mean() for a, b in zip(features, real_features, strict=True))
            terms["adversarial"] = (score - 1).square().mean()
            terms["features"] = torch.as_tensor(match)
            terms["critic"] = critic_loss.detach()
            loss = loss + self.adversarial_weight * terms["adversarial"]
            loss = loss + self.feature_weight * terms["features"]
        generator.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(generator, gradient_clip_val=1.0, gradient_clip_algorithm="norm")
        generator.step()
        self.lr_schedulers().step()
        self.log_dict({f"train/{k}": v.detach() for k, v in terms.items()})

    def validation_step(self, batch: CodecBatch, batch_index: int) -> None:
        terms, _ = self.losses(batch)
        self.log_dict({f"valid/{k}": v for k, v in terms.items()}, batch_size=len(batch.mel))
