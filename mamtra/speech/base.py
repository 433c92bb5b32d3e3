"""The one interface between waveforms and speech tokens; the mini codec and CosyVoice 2 both meet it.

Shapes: n samples, T tokens, E width of the speaker embedding.
"""

from typing import Protocol

import torch


class SpeechCodec(Protocol):
    """Waveform <-> discrete speech tokens, with the voice given as a speaker embedding of the prompt."""

    sample_rate_hz: int
    token_rate_hz: float
    codebook_size: int

    def voice(self, wave: torch.Tensor) -> torch.Tensor:
        """(n,) waveform of a prompt to its (E,) speaker embedding."""
        ...

    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        """(n,) waveform to (T,) int64 tokens in [0, codebook_size)."""
        ...

    def decode(self, tokens: torch.Tensor, voice: torch.Tensor) -> torch.Tensor:
        """(T,) tokens and an (E,) speaker embedding to an (n,) waveform in [-1, 1]."""
        ...
