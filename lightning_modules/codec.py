"""Training of the mini codec: reconstruction, recognition from the codes, then a mel discriminator.

The tokenizer hears every recording with its frequency axis stretched by a random factor, the decoder must
restore it with the voice embedding: codes that carried the voice would be of no use (FreeVC, 2210.15418,
section 2.3.1). A second stretch of the same recording must give the same codes.

Shapes: B batch, F frames at 100 Hz, T = F/4 tokens, M mel bands, C FSQ channels.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from lightning_modules.adversarial import AdversarialModule, save_network
from lightning_modules.codec_start import PHONE_RECOGNISER
from lightning_modules.discriminator import MelDiscriminator
from mamtra.backbone.elementwise import without_autocast
from mamtra.speech.batch import CodecBatch
from mamtra.speech.codec import FRAMES_PER_TOKEN, CodecNetwork
from mamtra.speech.features import F_MAX_HZ, F_MIN_HZ, N_MELS
from mamtra.speech.recogniser import (
    CTC_FRAMES,
    PhoneRecogniser,
    Recogniser,
    per_phone_weights,
)

NO_PHONES = (
    "phone_weight is set, but the corpus has no phonemes.parquet: build it with "
    "`python -m data.corpus.open_build`, or set training.phone_weight=0"
)
# Half the range of log stretch factors: the corpus' voices differ about as much in formants.
MAX_LOG_STRETCH = 0.2
LOG_STEP = math.log(6.4) / 27


def _slaney(hz: torch.Tensor) -> torch.Tensor:
    """Hz to Slaney's mel scale: linear up to 1 kHz, logarithmic above."""
    return torch.where(hz < 1000, hz * 3 / 200, 15 + (hz / 1000).log() / LOG_STEP)


def stretch_frequency(mel: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """(B, F, M) mels with all frequencies multiplied by `factors` (B,); ends repeat the outer bands."""
    low, high = _slaney(torch.tensor([F_MIN_HZ, F_MAX_HZ], device=mel.device))
    bands = torch.lerp(low, high, torch.linspace(0, 1, N_MELS, device=mel.device))
    hz = torch.where(bands < 15, bands * 200 / 3, 1000 * (LOG_STEP * (bands - 15)).exp())
    source = _slaney(hz / factors[:, None])
    position = ((source - low) / (high - low) * (N_MELS - 1)).clamp(0, N_MELS - 1)
    below = position.floor().clamp(max=N_MELS - 2)
    weight = (position - below).unsqueeze(1).to(mel.dtype)
    index = below.long().unsqueeze(1).expand(mel.shape)
    return torch.lerp(mel.gather(2, index), mel.gather(2, index + 1), weight)


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of `values` where `mask` is 1; 0 when nothing is."""
    return (values * mask).sum() / mask.expand_as(values).sum().clamp_min(1.0)


class CodecModule(AdversarialModule):
    """Tokenizer and decoder; beside the network it exports what hears letters in its codes
    (`recogniser.safetensors`) and, with a `phone_weight`, phonemes.

    The codes are taught what was said by CTC on the letters (`ctc_weight`), by the phoneme of every frame
    (`phone_weight`, for `n_phones` of them), or both; the network behind a weight of 0 stays untrained.
    freeze_tokenizer: the codes stay what they are; the decoder alone trains, on the codes it will be given.
    """

    def __init__(
        self,
        network: CodecNetwork,
        vocab_size: int,
        lr: float,
        steps: int,
        adversarial_from: int,
        ctc_weight: float,
        phone_weight: float = 0.0,
        n_phones: int = 0,
        freeze_tokenizer: bool = False,
        consistency_weight: float = 0.2,
        adversarial_weight: float = 0.05,
        feature_weight: float = 0.5,
        grad_clip: float = 1.0,
    ) -> None:
        super().__init__(lr, steps, adversarial_from, grad_clip)
        self.network = network
        n_codes = len(network.tokenizer.fsq.levels)
        self.recogniser = Recogniser(n_codes, vocab_size)
        self.phone_recogniser = PhoneRecogniser(n_codes, n_phones) if phone_weight else None
        self.discriminator = MelDiscriminator()
        self.blank = vocab_size
        self.freeze_tokenizer = freeze_tokenizer
        self.ctc_weight, self.phone_weight = ctc_weight, phone_weight
        self.consistency_weight = consistency_weight
        self.adversarial_weight, self.feature_weight = adversarial_weight, feature_weight
        heard = [*(["ctc"] if ctc_weight else []), *(["phone"] if phone_weight else [])]
        heard = [] if freeze_tokenizer else heard
        both = ("loss", "mel", "pitch", "voicing", *heard)
        errors = ("val_phone_error",) if "phone" in heard else ()
        train = (
            *(() if freeze_tokenizer else ("consistency",)),
            "adversarial",
            "features",
            "critic",
        )
        self.metric_names = (*both, *train, *(f"val_{name}" for name in both), *errors)

    def configure_optimizers(self):
        if self.freeze_tokenizer:
            codec = [*self.network.decoder.parameters()]
        else:
            codec = [*self.network.parameters(), *self.recogniser.parameters()]
            if self.phone_recogniser is not None:
                codec += self.phone_recogniser.parameters()
        return self.optimizers_of(codec, self.discriminator, betas=(0.9, 0.98), weight_decay=0.01)

    def save_model(self, path: Path, provenance: Mapping[str, Any], dtype: str) -> None:
        save_network(path.with_name(f"recogniser{path.suffix}"), self.recogniser, provenance, dtype)
        if self.phone_recogniser is not None:
            beside = path.with_name(PHONE_RECOGNISER)
            save_network(beside, self.phone_recogniser, provenance, dtype)
        super().save_model(path, provenance, dtype)

    def losses(self, batch: CodecBatch) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Loss terms (masked means) and the predicted mels (B, F, M)."""
        token_mask = batch.mask[:, ::FRAMES_PER_TOKEN]
        terms = {}
        if self.freeze_tokenizer:
            # The codes that it will be given: `MiniCodec.encode` runs in fp32.
            with torch.no_grad(), without_autocast(batch.mel):
                codes = self.network.tokenizer(batch.mel, batch.mask)
        elif self.training:
            codes, other = self._stretched_codes(batch)
            terms["consistency"] = masked_mean((codes - other).abs(), token_mask.unsqueeze(-1))
        else:
            codes = self.network.tokenizer(batch.mel, batch.mask)
        frames = self.network.decoder(codes, batch.voice, token_mask).float()
        mel, log_f0, voicing = frames[..., :N_MELS], frames[..., N_MELS], frames[..., N_MELS + 1]
        error = mel - batch.mel
        mask = batch.mask.unsqueeze(-1)
        if not self.freeze_tokenizer:
            terms |= self._recognition(codes, token_mask, batch)
        terms |= {
            "mel": masked_mean(error.abs(), mask) + masked_mean(error.square(), mask),
            "pitch": masked_mean((log_f0 - batch.log_f0).abs(), batch.mask * batch.voiced),
            "voicing": masked_mean(
                F.binary_cross_entropy_with_logits(voicing, batch.voiced, reduction="none"),
                batch.mask,
            ),
        }
        return terms, mel

    def _recognition(
        self, codes: torch.Tensor, token_mask: torch.Tensor, batch: CodecBatch
    ) -> dict[str, torch.Tensor]:
        """ "ctc" and "phone" (nats a letter and a phoneme), those with a weight; in validation also
        "phone_error", the share of phoneme time that is recognised wrongly."""
        terms = {}
        if self.ctc_weight:
            terms["ctc"] = F.ctc_loss(
                self.recogniser(codes, token_mask).transpose(0, 1),
                batch.text,
                (CTC_FRAMES * token_mask.sum(1)).long(),
                batch.text_lengths,
                blank=self.blank,
                zero_infinity=True,
            )
        if self.phone_recogniser is not None:
            if batch.phones is None or not bool((batch.phones >= 0).any()):
                raise ValueError(NO_PHONES)
            log_probs = self.phone_recogniser(codes, token_mask)
            weights = per_phone_weights(batch.phones) * batch.mask
            spoken = batch.phones.clamp_min(0).unsqueeze(-1)
            total = weights.sum().clamp_min(1e-6)
            terms["phone"] = -(log_probs.gather(-1, spoken)[..., 0] * weights).sum() / total
            if not self.training:
                wrong = log_probs.argmax(-1) != batch.phones
                terms["phone_error"] = (wrong * weights).sum() / total
        return terms

    def _stretched_codes(self, batch: CodecBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes (B, T, C) of two random stretches of each recording."""
        count = 2 * len(batch.mel)
        # From the step alone, so that a resumed run draws what it would have drawn.
        generator = torch.Generator().manual_seed(self.global_step)
        draws = (torch.rand(count, generator=generator) * 2 - 1).to(batch.mel.device)
        stretched = stretch_frequency(batch.mel.repeat(2, 1, 1), (MAX_LOG_STRETCH * draws).exp())
        return self.network.tokenizer(stretched, batch.mask.repeat(2, 1)).chunk(2)

    def _weighted(self, terms: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The loss without what the discriminator says."""
        loss = terms["mel"] + terms["pitch"] + 0.2 * terms["voicing"]
        for name, weight in (
            ("ctc", self.ctc_weight),
            ("phone", self.phone_weight),
            ("consistency", self.consistency_weight),
        ):
            if name in terms:
                loss = loss + weight * terms[name]
        return loss

    def training_step(self, batch: CodecBatch, batch_index: int) -> None:
        terms, mel = self.losses(batch)
        loss = self._weighted(terms)
        if self.global_step >= self.adversarial_from:
            fake = mel * batch.mask.unsqueeze(-1)
            real_score, _ = self.discriminator(batch.mel)
            fake_score, _ = self.discriminator(fake.detach())
            real_score, fake_score = real_score.float(), fake_score.float()
            terms["critic"] = (real_score - 1).square().mean() + fake_score.square().mean()
            self.judge(terms["critic"])
            with torch.no_grad():
                _, real_features = self.discriminator(batch.mel)
            score, features = self.discriminator(fake)
            pairs = zip(features, real_features, strict=True)
            match = sum((a.float() - b.float()).abs().mean() for a, b in pairs)
            terms["adversarial"] = (score.float() - 1).square().mean()
            terms["features"] = torch.as_tensor(match)
            loss = loss + self.adversarial_weight * terms["adversarial"]
            loss = loss + self.feature_weight * terms["features"]
        self.learn(loss)
        self.log_training({**terms, "loss": loss}, len(batch.mel))

    def validation_step(self, batch: CodecBatch, batch_index: int) -> None:
        terms, _ = self.losses(batch)
        terms["loss"] = self._weighted(terms)
        self.log_validation({f"val_{k}": v for k, v in terms.items()}, len(batch.mel))
