"""Text and rhythm at the rate of text tokens, prosody at 50 Hz: what the flow decoder is conditioned on.

B batch, N text tokens, F frames at 50 Hz, D d_model, S d_style.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra.mvc.arms import Arm, encoder
from mamtra.mvc.rows import Rows, unstack_frames
from mamtra.mvc.sizes import N_CONVS, N_STACKED, TAPS, MVCSizes


class TextEncoder(nn.Module):
    """Three convolutions of embedded text tokens, then the arm's blocks: (B, N) -> h_T (B, N, D).

    With a bounded look-ahead the convolutions see as much of it as they can (`MVCSizes.conv_ahead`).
    """

    def __init__(self, arm: Arm, sizes: MVCSizes) -> None:
        super().__init__()
        d = sizes.d_model
        self.embedding = nn.Embedding(sizes.vocab, d)
        self.convs = nn.ModuleList(nn.Conv1d(d, d, TAPS) for _ in range(N_CONVS))
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(N_CONVS))
        self.ahead = sizes.conv_ahead
        self.stack = encoder(arm, "text", sizes)

    def forward(self, ids: Tensor, style: Tensor, rows: Rows) -> Tensor:
        """ids (B, N), style (B, S) -> (B, N, D)."""
        x = self.embedding(ids)
        for conv, norm, ahead in zip(self.convs, self.norms, self.ahead, strict=True):
            masked = F.pad((x * rows.mask).transpose(1, 2), (TAPS - 1 - ahead, ahead))
            x = x + F.silu(norm(conv(masked).transpose(1, 2)))
        return self.stack(x, style, rows)


class RhythmEncoder(nn.Module):
    """Temporal encoder (6'): h_T -> h_B (B, N, D), and log(1 + n) of each token's n 10-ms frames (B, N)."""

    def __init__(self, arm: Arm, sizes: MVCSizes) -> None:
        super().__init__()
        self.stack = encoder(arm, "temporal", sizes)
        self.norm = nn.LayerNorm(sizes.d_model)
        self.duration = nn.Linear(sizes.d_model, 1)

    def forward(self, text: Tensor, style: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        """text (B, N, D), style (B, S) -> h_B, log durations."""
        h = self.stack(text, style, rows)
        return h, self.duration(self.norm(h)).squeeze(-1)


@dataclass
class Prosody:
    """What is known of each frame before the decoder. At 100 Hz (B, 2F): `log_f0` is ln(F0 / 130 Hz),
    `voicing` a logit, `energy` the mean of the normalised log-mel over its bands; `mu` (B, F, 160)."""

    log_f0: Tensor
    voicing: Tensor
    energy: Tensor
    mu: Tensor

    def told(self) -> Tensor:
        """(B, F, 6) what the decoder is told: ln F0, voicing as 0 or 1, energy."""
        voiced = (self.voicing > 0).to(self.log_f0.dtype)
        return stack_prosody(self.log_f0, voiced, self.energy)


def stack_prosody(log_f0: Tensor, voiced: Tensor, energy: Tensor) -> Tensor:
    """Three of (B, 2F) at 100 Hz -> (B, F, 6) at 50 Hz."""
    return torch.stack((log_f0, voiced, energy), dim=-1).unflatten(1, (-1, 2)).flatten(2)


class ProsodyEncoder(nn.Module):
    """Expressive encoder (5') over regulated text, gate (8) and the heads of (9).

    Reads u and, in the arm `leak` alone, the stacked mel that is to be said.
    """

    def __init__(self, arm: Arm, sizes: MVCSizes) -> None:
        super().__init__()
        d = sizes.d_model
        self.place = nn.Linear(3, d)
        self.leak = nn.Linear(N_STACKED, d) if arm.leak else None
        self.stack = encoder(arm, "expressive", sizes)
        self.gated = arm.gate
        self.fusion = nn.Linear(2 * d, d)
        self.voice_pitch = nn.Linear(sizes.d_style, 1)
        self.pitch = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d), nn.SiLU(), nn.Linear(d, 4))
        self.spectrum = nn.Sequential(
            nn.LayerNorm(2 * d), nn.Linear(2 * d, 2 * d), nn.SiLU(), nn.Linear(2 * d, N_STACKED + 2)
        )

    def forward(
        self, u: Tensor, place: Tensor, style: Tensor, rows: Rows, mel: Tensor | None
    ) -> Prosody:
        """u (B, F, D), place (B, F, 3), style (B, S); mel (B, F, 160) for `leak`, else None."""
        u = u + self.place(place)
        if self.leak is not None:
            assert mel is not None  # as `LeakyMVC` sees to
            u = u + self.leak(mel)
        return self.heads(self.stack(u, style, rows), u, style)

    def heads(self, expressive: Tensor, u: Tensor, style: Tensor) -> Prosody:
        """(8) and (9) of the stack's output and its input, both (B, F, D); each frame by itself."""
        fused = self.fusion(torch.cat((expressive, u), dim=-1))
        prosody = torch.sigmoid(fused) * expressive if self.gated else fused
        pitch = unstack_frames(self.pitch(prosody))
        mu, energy = self.spectrum(torch.cat((prosody, expressive), dim=-1)).split(
            (N_STACKED, 2), dim=-1
        )
        return Prosody(
            log_f0=pitch[..., 0] + self.voice_pitch(style),
            voicing=pitch[..., 1],
            energy=energy.flatten(1),
            mu=mu,
        )
