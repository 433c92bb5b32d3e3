"""Harmonic-plus-noise vocoder: acoustic frames to a 16 kHz waveform by filtering a source in the STFT domain.

The small sibling of CosyVoice 2's HiFT (neural source filter + inverse STFT): the source is a pulse train at
the predicted pitch plus white noise, and a network gives every frame one complex filter for the pulses and
one real filter for the noise. Pitch and phase come from the source, so no adversarial training is needed
for a clean voice and the network stays small.

Shapes: B batch, F frames at 100 Hz, n = F * HOP samples, K = N_FFT/2 + 1 frequency bins.
"""

import torch
from torch import nn

from mamtra.speech.codec import N_ACOUSTIC, ConvBlock
from mamtra.speech.features import F0_CENTRE_HZ, F0_MAX_HZ, F0_MIN_HZ, HOP, N_MELS, SAMPLE_RATE_HZ

N_FFT = 512
WINDOW = 512


def pitch_of(frames: torch.Tensor) -> torch.Tensor:
    """Acoustic frames (B, F, N_ACOUSTIC) -> (B, F) pitch of the pulses in Hz, in unvoiced frames too."""
    return (frames[..., N_MELS].float().exp() * F0_CENTRE_HZ).clamp(F0_MIN_HZ, F0_MAX_HZ)


def per_sample(f0_hz: torch.Tensor) -> torch.Tensor:
    """(B, F) pitch of frames -> (B, F * HOP) of samples, fp64: linear between the middles of frames."""
    return nn.functional.interpolate(
        f0_hz.double().unsqueeze(1), scale_factor=float(HOP), mode="linear"
    ).squeeze(1)


def pulses(
    f0: torch.Tensor, phase: torch.Tensor | float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, n) pitch of samples, fp64 -> (B, n) band-limited pulses of unit RMS, and their last phase (B, 1).

    phase: that before the first sample, so that a train goes on where another ended. The sum of all cosines
    k*phase below the Nyquist frequency in closed form (Dirichlet kernel):
    sum_{k=1..N} cos(k p) = (sin((N + 1/2) p) / sin(p / 2) - 1) / 2.
    """
    turns = phase + torch.cumsum(2 * torch.pi * f0 / SAMPLE_RATE_HZ, dim=-1)
    at = turns % (2 * torch.pi)
    harmonics = torch.floor(0.5 * SAMPLE_RATE_HZ / f0)
    below = torch.sin(at / 2)
    at_peak = below.abs() < 1e-6
    ratio = torch.sin((harmonics + 0.5) * at) / torch.where(at_peak, 1.0, below)
    total = torch.where(at_peak, harmonics, (ratio - 1) / 2)
    return (total * (2 / harmonics).sqrt()).float(), at[:, -1:]


def pulse_train(f0_hz: torch.Tensor) -> torch.Tensor:
    """(B, F) pitch to a (B, F * HOP) band-limited pulse train of unit RMS."""
    return pulses(per_sample(f0_hz))[0]


class Vocoder(nn.Module):
    """Acoustic frames (B, F, N_ACOUSTIC) to waveforms (B, F * HOP)."""

    window: torch.Tensor

    def __init__(self, width: int = 256, n_blocks: int = 6) -> None:
        super().__init__()
        self.n_bins = N_FFT // 2 + 1
        self.inlet = nn.Conv1d(N_ACOUSTIC, width, 5, padding=2)
        self.blocks = nn.ModuleList(ConvBlock(width, kernel=3) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(width)
        self.outlet = nn.Linear(width, 4 * self.n_bins)
        nn.init.normal_(self.outlet.weight, std=0.01)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def forward(self, frames: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """noise (B, F * HOP) is white and of unit variance: passed in so that a seed fixes the waveform."""
        return self.filtered(frames, pulse_train(pitch_of(frames)), noise)

    def filtered(
        self, frames: torch.Tensor, train: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """The source, pulses `train` and noise (B, F * HOP) each, through the filters of frames."""
        batch, n_frames, _ = frames.shape
        voicing = torch.sigmoid(frames[..., N_MELS + 1])
        x = torch.cat([frames[..., : N_MELS + 1], voicing.unsqueeze(-1)], dim=-1)
        mask = torch.ones(batch, 1, n_frames, dtype=frames.dtype, device=frames.device)
        x = self.inlet(x.transpose(1, 2))
        for block in self.blocks:
            x = block(x, mask)
        filters = self.outlet(self.norm(x.transpose(1, 2))).float().transpose(1, 2)
        gain, real, imaginary, hiss = filters.chunk(4, dim=1)  # (B, K, F) each
        turn = torch.complex(1 + real, imaginary)
        voices = self._stft(train)[..., :n_frames]
        hisses = self._stft(noise)[..., :n_frames]
        # exp of a bounded value: a loud outlier frame cannot blow the waveform up early in training.
        voiced = (gain.clamp(-9, 4) - 3).exp() * turn * voices
        unvoiced = (hiss.clamp(-9, 4) - 3).exp() * hisses
        spectrum = nn.functional.pad(voiced + unvoiced, (0, 1))
        return torch.istft(
            spectrum, N_FFT, HOP, WINDOW, self.window, center=True, length=n_frames * HOP
        )

    def _stft(self, wave: torch.Tensor) -> torch.Tensor:
        return torch.stft(
            wave,
            N_FFT,
            HOP,
            WINDOW,
            self.window,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
