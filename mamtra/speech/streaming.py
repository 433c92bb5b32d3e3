"""Tokens in as they are drawn, waveform out as soon as it can be made.

T tokens, F mel frames, n samples.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

HOP_TOKENS = 25  # CosyVoice 2's first chunk is a second (cosyvoice2.yaml:17, cli/model.py:258)
LOOKAHEAD_TOKENS = 3  # that its flow sees beyond the ones it speaks
OVERLAP_FRAMES = 8  # spoken again at the next chunk's start and faded over


class WaveStream(Protocol):
    """One sentence on its way to a waveform."""

    def push(self, tokens: Sequence[int], final: bool) -> torch.Tensor:
        """More tokens -> the samples (n,) that are ready, perhaps none. `final` ends the sentence."""
        ...


class WholeSentence:
    """For a codec that has to see a sentence whole: everything comes at its end."""

    def __init__(self, decode: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._decode, self._tokens = decode, []

    def push(self, tokens: Sequence[int], final: bool) -> torch.Tensor:
        """As `WaveStream.push`."""
        self._tokens += tokens
        if not final:
            return torch.zeros(0)
        return self._decode(torch.tensor(self._tokens, dtype=torch.long))


class ChunkedFlow:
    """CosyVoice 2's chunks (cli/model.py:285-380): the flow runs on all tokens so far with attention
    limited to chunks, the vocoder on the new frames and the last eight of the chunk before, whose
    harmonic source it takes over; their 3,840 samples are cross-faded.

    Chunks stay a second long. Later versions of upstream double them up to four, which runs the flow less often
    on what it has seen, for a longer wait.
    The last chunk's frames come from a flow without limits, as upstream's do.
    """

    def __init__(
        self,
        mel: Callable[[torch.Tensor, bool], torch.Tensor],
        vocode: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
        n_prompt: int,
        frames_per_token: int,
        samples_per_frame: int,
    ) -> None:
        """`mel`: (tokens (T,), final) -> (80, F); `vocode`: (mel (80, F), source (1, 1, m) of its first
        samples) -> (wave (n,), source (1, 1, n)); `n_prompt`: tokens of the prompt, which the first
        chunk completes to a whole number of hops."""
        self._mel, self._vocode, self._frames_per_token = mel, vocode, frames_per_token
        self._overlap = OVERLAP_FRAMES * samples_per_frame
        # numpy's hamming, as upstream: symmetric. Rises over the first half, falls over the second.
        self._window = torch.hamming_window(2 * self._overlap, periodic=False, dtype=torch.float64)
        self._tokens: list[int] = []
        self._spoken = 0  # tokens whose frames have left the flow
        self._hop = HOP_TOKENS + math.ceil(n_prompt / HOP_TOKENS) * HOP_TOKENS - n_prompt
        self._last: tuple[Any, ...] | None = None  # mel, source and wave of the overlap

    def push(self, tokens: Sequence[int], final: bool) -> torch.Tensor:
        """As `WaveStream.push`."""
        self._tokens += tokens
        ready = []
        while len(self._tokens) - self._spoken >= self._hop + LOOKAHEAD_TOKENS:
            ready.append(self._chunk(self._spoken + self._hop + LOOKAHEAD_TOKENS, final=False))
            self._spoken, self._hop = self._spoken + self._hop, HOP_TOKENS
        if final and self._tokens:
            ready.append(self._chunk(len(self._tokens), final=True))
        return torch.cat(ready) if ready else torch.zeros(0)

    def _chunk(self, n_tokens: int, final: bool) -> torch.Tensor:
        mel = self._mel(torch.tensor(self._tokens[:n_tokens]), final)
        mel = mel[:, self._spoken * self._frames_per_token :]
        source = torch.zeros(1, 1, 0)
        if self._last:
            mel, source = torch.cat((self._last[0], mel), dim=1), self._last[1]
        wave, source = self._vocode(mel, source)
        if self._last:
            rise, fall = self._window[: self._overlap], self._window[self._overlap :]
            start = wave[: self._overlap] * rise + self._last[2] * fall
            wave = torch.cat((start.to(wave), wave[self._overlap :]))
        if final:
            return wave
        cut = -self._overlap
        self._last = mel[:, -OVERLAP_FRAMES:], source[:, :, cut:], wave[cut:]
        return wave[:cut]
