"""Characters from FSQ codes: a training loss of the codec, then the aligner of text and tokens.

Shapes: B batch, T tokens at 25 Hz, C FSQ channels, L characters.
"""

import torch
import torchaudio
from torch import nn

from mamtra.speech.codec import ConvBlock

# Two CTC frames a token: fast speech has almost as many letters as tokens.
CTC_FRAMES = 2


class Recogniser(nn.Module):
    """Characters from the codes alone. Training it with the codec makes the tokens say what was said."""

    def __init__(self, n_codes: int, vocab_size: int, width: int = 192) -> None:
        super().__init__()
        self.inlet = nn.Conv1d(n_codes, width, 3, padding=1)
        self.blocks = nn.ModuleList(ConvBlock(width) for _ in range(3))
        self.outlet = nn.Linear(width, CTC_FRAMES * (vocab_size + 1))

    def forward(self, codes: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T, C) to log-probabilities (B, CTC_FRAMES * T, vocab_size + 1); blank is the last id."""
        x = self.inlet(codes.transpose(1, 2))
        for block in self.blocks:
            x = block(x, mask.unsqueeze(1))
        logits = self.outlet(x.transpose(1, 2)).float()
        return logits.unflatten(-1, (CTC_FRAMES, -1)).flatten(1, 2).log_softmax(-1)


def align(log_probs: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """Which character each token speaks: (T,) int64 indices into `text`, never decreasing.

    log_probs: (CTC_FRAMES * T, vocab_size + 1) of `Recogniser`; text: (L,) character ids. The most
    likely CTC path decides where each character peaks; a token speaks the one whose peak is nearest.
    Raises ValueError when the text is empty or too long for the frames.
    """
    blank = log_probs.shape[1] - 1
    needed = len(text) + int((text[1:] == text[:-1]).sum())
    if not len(text) or needed > len(log_probs):
        raise ValueError(f"{len(text)} characters do not fit {len(log_probs)} CTC frames")
    path, _ = torchaudio.functional.forced_align(log_probs[None], text[None], blank=blank)
    path = path[0]
    before = torch.cat((path.new_tensor([blank]), path[:-1]))
    peaks = torch.nonzero((path != blank) & (path != before)).flatten().float()
    # A token covers CTC_FRAMES frames, the middle of which lies between two.
    middle = torch.arange(len(path) // CTC_FRAMES) * CTC_FRAMES + (CTC_FRAMES - 1) / 2
    return torch.bucketize(middle, (peaks[1:] + peaks[:-1]) / 2)
