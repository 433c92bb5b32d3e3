"""The one interface between waveforms and speech tokens; the mini codec and CosyVoice 2 both meet it.

Shapes: n samples, T tokens.
"""

from typing import Any, Protocol

import torch

from mamtra.speech.streaming import WaveStream

Original = tuple[torch.Tensor, int]  # (m,) waveform and its rate in Hz


class SpeechCodec(Protocol):
    """Waveform <-> discrete speech tokens. What a codec needs of a prompt to speak in its voice is its
    own affair: the mini codec takes a speaker embedding, CosyVoice 2 tokens and mel frames too."""

    sample_rate_hz: int  # of what comes out
    input_rate_hz: int  # of what goes in
    token_rate_hz: float
    codebook_size: int

    def voice(self, wave: torch.Tensor, original: Original | None = None) -> Any:
        """(n,) waveform of a prompt to what `decode` needs of it. `original`: the recording at its own rate,
        for codecs that can use what `input_rate_hz` leaves out."""
        ...

    def prompt(
        self, wave: torch.Tensor, original: Original | None = None
    ) -> tuple[torch.Tensor, Any]:
        """(n,) waveform of a prompt to its (T,) tokens, as the language model continues them, and its
        voice."""
        ...

    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        """(n,) waveform to (T,) int64 tokens in [0, codebook_size)."""
        ...

    def decode(self, tokens: torch.Tensor, voice: Any) -> torch.Tensor:
        """(T,) tokens and a prompt's voice to an (n,) waveform in [-1, 1]."""
        ...

    def stream(self, voice: Any) -> WaveStream:
        """A decoder of one sentence that takes tokens as they come."""
        ...
