"""What a training step of MambaVoiceCloning reads.

B batch, N text tokens, 2F frames at 100 Hz, M mel bands, E speaker embedding, R frames of the reference.
"""

from dataclasses import dataclass

from torch import Tensor

from mamtra.mvc.voice import Voices


@dataclass
class MVCBatch:
    """`durations` are in 10-ms frames, 0 on padding, and sum to `n_frames`, which is even. `log_f0` is
    ln(F0 / 130 Hz), bridged over unvoiced frames; `mel` is normalised. The voice is that of another
    recording."""

    ids: Tensor  # (B, N)
    n_ids: Tensor  # (B,)
    durations: Tensor  # (B, N)
    mel: Tensor  # (B, 2F, M)
    log_f0: Tensor  # (B, 2F)
    voiced: Tensor  # (B, 2F), 1 where voiced
    n_frames: Tensor  # (B,)
    voices: Voices
    utterances: tuple[str, ...]

    @property
    def n_tokens(self) -> int:
        """Frames at 100 Hz, what throughput is counted in."""
        return int(self.n_frames.sum())

    @property
    def n_padded(self) -> int:
        """The same with padding."""
        return self.mel.shape[0] * self.mel.shape[1]
