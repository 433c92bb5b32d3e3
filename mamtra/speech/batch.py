"""What the codec's and the vocoder's training steps read.

Shapes: B batch, F frames at 100 Hz (a multiple of 4), M mel bands, n = F * HOP samples, E voice width.
"""

from dataclasses import dataclass

import torch

from mamtra.speech.codec import FRAMES_PER_TOKEN


@dataclass
class CodecBatch:
    """`mel` is normalised, `log_f0` relative to the centre and 0 where unvoiced; text is for CTC."""

    mel: torch.Tensor  # (B, F, M)
    log_f0: torch.Tensor  # (B, F)
    voiced: torch.Tensor  # (B, F), 1 where voiced
    mask: torch.Tensor  # (B, F), 1 on valid frames
    voice: torch.Tensor  # (B, E)
    text: torch.Tensor  # (B, L) character ids, padded with 0
    text_lengths: torch.Tensor  # (B,)
    wave: torch.Tensor | None = None  # (B, n)
    phones: torch.Tensor | None = None  # (B, F) int64, the phoneme of each frame, -1 where unknown
    utterances: tuple[str, ...] = ()  # names, for messages

    @property
    def n_tokens(self) -> int:
        """Speech tokens of the valid frames."""
        return int(self.mask.sum()) // FRAMES_PER_TOKEN

    @property
    def n_padded(self) -> int:
        """Frames with padding: what memory grows with."""
        return self.mask.numel()
