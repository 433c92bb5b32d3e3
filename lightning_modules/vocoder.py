"""Training of the mini vocoder: multi-resolution STFT losses, then an adversarial loss on spectrograms.

Shapes: B batch, F frames at 100 Hz, n = F * HOP samples, K frequency bins.
"""

from typing import Any

import lightning as L
import torch
from torch.nn import functional as F

from lightning_modules.discriminator import MelDiscriminator
from mamtra.speech.batch import CodecBatch
from mamtra.speech.features import log_mel, normalise
from mamtra.speech.vocoder import Vocoder

RESOLUTIONS = ((1024, 160), (512, 128), (256, 64))  # (window, hop) in samples


def stft_magnitude(wave: torch.Tensor, window: int, hop: int) -> torch.Tensor:
    """(B, n) to (B, K, frames) magnitudes."""
    return (
        torch.stft(
            wave,
            window,
            hop,
            window=torch.hann_window(window, device=wave.device),
            pad_mode="constant",
            return_complex=True,
        )
        .abs()
        .clamp_min(1e-5)
    )


def spectral_loss(wave: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Spectral convergence plus log-magnitude L1, averaged over RESOLUTIONS (1910.11480, eq. 5-6)."""
    total = wave.new_zeros(())
    for window, hop in RESOLUTIONS:
        a, b = stft_magnitude(wave, window, hop), stft_magnitude(target, window, hop)
        total = total + (b - a).norm() / b.norm() + (a.log() - b.log()).abs().mean()
    return total / len(RESOLUTIONS)


# Logit of the voicing of a frame that is surely voiced; its negative, of one that is surely not.
SURE = 6.0


def acoustic_frames(batch: CodecBatch) -> torch.Tensor:
    """(B, F, N_ACOUSTIC) frames of real speech, as the codec's decoder would predict at its best."""
    voicing = SURE * (2 * batch.voiced - 1)
    return torch.cat([batch.mel, batch.log_f0.unsqueeze(-1), voicing.unsqueeze(-1)], dim=-1)


class VocoderModule(L.LightningModule):
    """Glue. Learns on the frames of real speech.

    The codec's own frames were tried: what they have lost, the vocoder then makes up as noise, and on
    those very frames it scores 0.6 DistillMOS lower than one that has only heard real frames.
    """

    def __init__(
        self,
        vocoder: Vocoder,
        lr: float,
        max_steps: int,
        adversarial_from: int,
        adversarial_weight: float = 0.3,
        feature_weight: float = 2.0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.vocoder = vocoder
        self.discriminators = torch.nn.ModuleList(MelDiscriminator(16) for _ in RESOLUTIONS)
        self.lr, self.max_steps, self.adversarial_from = lr, max_steps, adversarial_from
        self.adversarial_weight, self.feature_weight = adversarial_weight, feature_weight

    def configure_optimizers(self):
        vocoder = torch.optim.AdamW(self.vocoder.parameters(), lr=self.lr, betas=(0.8, 0.98))
        critic = torch.optim.AdamW(self.discriminators.parameters(), lr=3e-4, betas=(0.5, 0.9))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            vocoder, self.lr, total_steps=self.max_steps + 1, pct_start=0.05
        )
        return [vocoder, critic], [schedule]

    def _critic_inputs(self, wave: torch.Tensor) -> list[torch.Tensor]:
        """One (B, frames, K) log spectrogram per discriminator."""
        return [
            (stft_magnitude(wave, w, hop).log() / 3 + 1).transpose(1, 2) for w, hop in RESOLUTIONS
        ]

    def training_step(self, batch: CodecBatch, batch_index: int) -> None:
        optimizers: Any = self.optimizers()  # the two of `configure_optimizers`
        optimiser, critic = optimizers
        assert batch.wave is not None
        # From the step, so that a resumed run hears the noise of one that was not stopped.
        steps = torch.Generator().manual_seed(self.global_step)
        noise = torch.randn(batch.wave.shape, generator=steps).to(batch.wave)
        wave = self.vocoder(acoustic_frames(batch), noise)
        terms = {"spectral": spectral_loss(wave, batch.wave)}
        terms["mel"] = (normalise(log_mel(wave)) - normalise(log_mel(batch.wave))).abs().mean()
        loss = terms["spectral"] + terms["mel"]
        if self.global_step >= self.adversarial_from:
            real, fake = self._critic_inputs(batch.wave), self._critic_inputs(wave)
            critic_loss = wave.new_zeros(())
            for judge, r, f in zip(self.discriminators, real, fake, strict=True):
                critic_loss = critic_loss + (judge(r)[0] - 1).square().mean()
                critic_loss = critic_loss + judge(f.detach())[0].square().mean()
            critic.zero_grad()
            self.manual_backward(critic_loss)
            # Not through Lightning's wrapper, whose step counter is the trainer's.
            critic.optimizer.step()
            adversarial, match = wave.new_zeros(()), wave.new_zeros(())
            for judge, r, f in zip(self.discriminators, real, fake, strict=True):
                with torch.no_grad():
                    _, wanted = judge(r)
                score, found = judge(f)
                adversarial = adversarial + (score - 1).square().mean() / len(RESOLUTIONS)
                for a, b in zip(found, wanted, strict=True):
                    match = match + F.l1_loss(a, b) / len(RESOLUTIONS) / len(found)
            terms |= {"adversarial": adversarial, "features": match, "critic": critic_loss.detach()}
            loss = loss + self.adversarial_weight * adversarial + self.feature_weight * match
        optimiser.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(optimiser, gradient_clip_val=1.0, gradient_clip_algorithm="norm")
        optimiser.step()
        schedule: Any = self.lr_schedulers()
        schedule.step()
        self.log_dict({f"train/{k}": v.detach() for k, v in terms.items()})
