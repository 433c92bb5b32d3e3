"""Training of the mini vocoder: multi-resolution STFT losses, then an adversarial loss on spectrograms.

Shapes: B batch, F frames at 100 Hz, n = F * HOP samples, K frequency bins.
"""

import torch
from torch.nn import functional as F

from lightning_modules.adversarial import AdversarialModule
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


class VocoderModule(AdversarialModule):
    """Learns on the frames of real speech.

    The codec's own frames were tried: what they have lost, the vocoder then makes up as noise, and on
    those very frames it scores 0.6 DistillMOS lower than one that has only heard real frames.
    """

    metric_names = (
        *("loss", "spectral", "mel", "adversarial", "features", "critic"),
        *("val_loss", "val_spectral", "val_mel"),
    )

    def __init__(
        self,
        vocoder: Vocoder,
        lr: float,
        steps: int,
        adversarial_from: int,
        adversarial_weight: float = 0.3,
        feature_weight: float = 2.0,
        grad_clip: float = 1.0,
    ) -> None:
        super().__init__(lr, steps, adversarial_from, grad_clip)
        self.vocoder = vocoder
        self.discriminators = torch.nn.ModuleList(MelDiscriminator(16) for _ in RESOLUTIONS)
        self.adversarial_weight, self.feature_weight = adversarial_weight, feature_weight

    @property
    def network(self) -> Vocoder:  # type: ignore[override]  # the name that checkpoints know is `vocoder`
        return self.vocoder

    def configure_optimizers(self):
        return self.optimizers_of(self.vocoder.parameters(), self.discriminators, betas=(0.8, 0.98))

    def _critic_inputs(self, wave: torch.Tensor) -> list[torch.Tensor]:
        """One (B, frames, K) log spectrogram per discriminator."""
        return [
            (stft_magnitude(wave, w, hop).log() / 3 + 1).transpose(1, 2) for w, hop in RESOLUTIONS
        ]

    def losses(
        self, batch: CodecBatch, noise_seed: int
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Loss terms without the critic's, and the wave (B, n) that was made."""
        assert batch.wave is not None
        steps = torch.Generator().manual_seed(noise_seed)
        noise = torch.randn(batch.wave.shape, generator=steps).to(batch.wave)
        wave = self.vocoder(acoustic_frames(batch), noise)
        terms = {"spectral": spectral_loss(wave, batch.wave)}
        terms["mel"] = (normalise(log_mel(wave)) - normalise(log_mel(batch.wave))).abs().mean()
        terms["loss"] = terms["spectral"] + terms["mel"]
        return terms, wave

    def training_step(self, batch: CodecBatch, batch_index: int) -> None:
        # From the step, so that a resumed run hears the noise of one that was not stopped.
        terms, wave = self.losses(batch, self.global_step)
        loss = terms["loss"]
        if self.global_step >= self.adversarial_from:
            assert batch.wave is not None
            real, fake = self._critic_inputs(batch.wave), self._critic_inputs(wave)
            critic_loss = wave.new_zeros(())
            for judge, r, f in zip(self.discriminators, real, fake, strict=True):
                critic_loss = critic_loss + (judge(r)[0].float() - 1).square().mean()
                critic_loss = critic_loss + judge(f.detach())[0].float().square().mean()
            self.judge(critic_loss)
            adversarial, match = wave.new_zeros(()), wave.new_zeros(())
            for judge, r, f in zip(self.discriminators, real, fake, strict=True):
                with torch.no_grad():
                    _, wanted = judge(r)
                score, found = judge(f)
                adversarial = adversarial + (score.float() - 1).square().mean() / len(RESOLUTIONS)
                for a, b in zip(found, wanted, strict=True):
                    match = match + F.l1_loss(a, b) / len(RESOLUTIONS) / len(found)
            terms |= {"adversarial": adversarial, "features": match, "critic": critic_loss}
            loss = loss + self.adversarial_weight * adversarial + self.feature_weight * match
        self.learn(loss)
        self.log_training({**terms, "loss": loss}, len(batch.mel))

    def validation_step(self, batch: CodecBatch, batch_index: int) -> None:
        terms, _ = self.losses(batch, noise_seed=batch_index)
        self.log_validation({f"val_{k}": v for k, v in terms.items()}, len(batch.mel))
