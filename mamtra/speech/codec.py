"""FSQ speech tokenizer and its voice-conditioned decoder, between log-mels at 100 Hz and tokens at 25 Hz.

Like CosyVoice 2's tokenizer (2412.10117, section 2.2) the code is finite scalar quantisation inside an
encoder that is also trained to recognise the text, so tokens carry what was said and the decoder takes the
voice from a speaker embedding. Unlike it, encoder, quantiser and decoder are trained together.

Shapes: B batch, F frames at 100 Hz, T tokens at 25 Hz (F = 4T), M mel bands, C channels, E voice embedding.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from mamtra.speech.features import N_MELS

FRAMES_PER_TOKEN = 4
# Acoustic frame = normalised log-mel, then log(f0 / centre) and the voicing logit.
N_ACOUSTIC = N_MELS + 2


class FSQ(nn.Module):
    """Finite scalar quantisation (2309.15505): each channel is bounded and rounded to `levels[i]` values."""

    levels: torch.Tensor
    basis: torch.Tensor

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        basis = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("basis", torch.tensor(basis), persistent=False)
        self.codebook_size = math.prod(levels)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """(..., C) to quantised values in [-1, 1], straight-through gradient (equation 1 of the paper)."""
        half = (self.levels - 1) * (1 + 1e-3) / 2
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)
        shift = torch.atanh(offset / half)
        bounded = torch.tanh(z + shift) * half - offset
        rounded = bounded + (bounded.round() - bounded).detach()
        return rounded / (self.levels // 2)

    def to_codes(self, quantised: torch.Tensor) -> torch.Tensor:
        """(..., C) quantised values to (...) token ids."""
        digits = (quantised * (self.levels // 2)).round().long() + self.levels // 2
        return (digits * self.basis).sum(-1)

    def from_codes(self, codes: torch.Tensor) -> torch.Tensor:
        """(...) token ids to (..., C) quantised values: the inverse of `to_codes`."""
        digits = codes.unsqueeze(-1) // self.basis % self.levels
        half = self.levels // 2
        return (digits - half) / half


class ConvBlock(nn.Module):
    """x + project(silu(conv(norm(x)))), with an optional scale and shift of the norm by the voice (FiLM)."""

    def __init__(
        self, width: int, kernel: int = 5, voice_width: int = 0, dilation: int = 1
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(
            width, width, kernel, padding=dilation * (kernel // 2), dilation=dilation
        )
        self.project = nn.Conv1d(width, width, 1)
        self.film = nn.Linear(voice_width, 2 * width) if voice_width else None

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor, voice: torch.Tensor | None = None
    ) -> torch.Tensor:
        """x (B, C, F), mask (B, 1, F) with 1 on valid frames, voice (B, E)."""
        y = self.norm(x.transpose(1, 2)).transpose(1, 2)
        if self.film is not None and voice is not None:
            scale, shift = self.film(voice).unsqueeze(-1).chunk(2, dim=1)
            y = y * (1 + scale) + shift
        return x + self.project(F.silu(self.conv(y * mask))) * mask


class SpeechTokenizer(nn.Module):
    """Normalised log-mels (B, F, M) to FSQ values (B, T, C_fsq)."""

    def __init__(self, width: int, levels: tuple[int, ...], n_blocks: int) -> None:
        super().__init__()
        self.inlet = nn.Conv1d(N_MELS, width, 5, padding=2)
        self.fine = ConvBlock(width)
        self.down = nn.ModuleList(nn.Conv1d(width, width, 4, stride=2, padding=1) for _ in range(2))
        self.coarse = nn.ModuleList(ConvBlock(width) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(width)
        self.to_code = nn.Linear(width, len(levels))
        self.fsq = FSQ(levels)

    def forward(self, mel: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """mask (B, F), 1 on valid frames; F is a multiple of FRAMES_PER_TOKEN."""
        mask = mask.unsqueeze(1)
        x = self.fine(self.inlet(mel.transpose(1, 2) * mask) * mask, mask)
        for down in self.down:
            mask = mask[..., ::2]
            x = F.silu(down(x)) * mask
        for block in self.coarse:
            x = block(x, mask)
        return self.fsq(self.to_code(self.norm(x.transpose(1, 2))).float())


class AcousticDecoder(nn.Module):
    """FSQ values (B, T, C_fsq) and a voice (B, E) to acoustic frames (B, F, N_ACOUSTIC)."""

    def __init__(
        self,
        width: int,
        fine_width: int,
        n_codes: int,
        n_blocks: int,
        n_fine: int,
        voice_width: int,
    ) -> None:
        super().__init__()
        self.inlet = nn.Conv1d(n_codes, width, 3, padding=1)
        self.coarse = nn.ModuleList(
            ConvBlock(width, voice_width=voice_width, dilation=1 + i % 2) for i in range(n_blocks)
        )
        self.up = nn.ConvTranspose1d(width, fine_width, FRAMES_PER_TOKEN, stride=FRAMES_PER_TOKEN)
        self.fine = nn.ModuleList(
            ConvBlock(fine_width, voice_width=voice_width) for _ in range(n_fine)
        )
        self.outlet = nn.Conv1d(fine_width, N_ACOUSTIC, 5, padding=2)

    def forward(self, codes: torch.Tensor, voice: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """mask (B, T), 1 on valid tokens."""
        mask = mask.unsqueeze(1)
        x = self.inlet(codes.transpose(1, 2) * mask) * mask
        for block in self.coarse:
            x = block(x, mask, voice)
        mask = mask.repeat_interleave(FRAMES_PER_TOKEN, dim=-1)
        x = self.up(x) * mask
        for block in self.fine:
            x = block(x, mask, voice)
        return self.outlet(x).transpose(1, 2)


class CodecNetwork(nn.Module):
    """Tokenizer and decoder with their sizes; what `assets/mini/codec.safetensors` holds."""

    def __init__(
        self,
        width: int = 256,
        fine_width: int = 192,
        levels: tuple[int, ...] = (8, 5, 5, 5),
        n_encoder_blocks: int = 5,
        n_decoder_blocks: int = 6,
        n_fine_blocks: int = 4,
        voice_width: int = 256,
    ) -> None:
        super().__init__()
        self.tokenizer = SpeechTokenizer(width, levels, n_encoder_blocks)
        self.decoder = AcousticDecoder(
            width, fine_width, len(levels), n_decoder_blocks, n_fine_blocks, voice_width
        )

    @property
    def codebook_size(self) -> int:
        return self.tokenizer.fsq.codebook_size
