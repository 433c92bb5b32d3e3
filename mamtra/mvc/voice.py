"""What the layers are told of a voice: one vector, from a speaker embedding or the prompt's mel.

B batch, R mel frames of the prompt at 100 Hz, M mel bands, E d_voice, S d_style.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra.mvc.mixers import UniMamba
from mamtra.mvc.rows import Rows, stack_frames
from mamtra.mvc.sizes import N_STACKED, MVCSizes


@dataclass
class Voices:
    """Of each row: its speaker embedding (B, E), and the prompt's normalised mel (B, R, M) with its frames
    (B,); None where the model does not read it. R is even."""

    embedding: Tensor
    mel: Tensor | None = None
    n_frames: Tensor | None = None

    def to(self, device: torch.device | str) -> "Voices":
        """The same on another device."""
        parts = (self.embedding, self.mel, self.n_frames)
        return Voices(*(None if p is None else p.to(device) for p in parts))  # type: ignore[arg-type]


class VoiceEncoder(nn.Module):
    """style (B, S) of a voice, by `sizes.reference`: GE2E, whose own network is an LSTM, or a Mamba over the
    reference mel, averaged over its frames."""

    def __init__(self, sizes: MVCSizes) -> None:
        super().__init__()
        embedded, read = sizes.reference != "ref_mel", sizes.reference != "ge2e"
        self.embedded = nn.Linear(sizes.d_voice, sizes.d_style) if embedded else None
        self.inlet = nn.Linear(N_STACKED, sizes.d_model) if read else None
        self.mamba = UniMamba(sizes) if read else None
        self.outlet = nn.Linear(sizes.d_model, sizes.d_style) if read else None

    def forward(self, voices: Voices) -> Tensor:
        """Raises ValueError when the voices come without the mel that is read."""
        style: Tensor | float = 0.0
        if self.embedded is not None:
            # GE2E embeddings have unit length: times sqrt(E), a coordinate is about 1.
            style = self.embedded(voices.embedding * voices.embedding.shape[-1] ** 0.5)
        if self.inlet is not None and self.mamba is not None and self.outlet is not None:
            if voices.mel is None or voices.n_frames is None:
                raise ValueError("this model reads the prompt's mel: Voices.mel is missing")
            frames = stack_frames(voices.mel)
            rows = Rows.of(voices.n_frames // 2, frames.shape[1])
            heard = self.mamba(F.silu(self.inlet(frames)), rows) * rows.mask
            style = style + self.outlet(heard.sum(dim=1) / rows.lengths[:, None])
        assert isinstance(style, Tensor)
        return style
