"""Characters or phonemes from FSQ codes: training losses of the codec; the first also aligns text and tokens.

Shapes: B batch, T tokens at 25 Hz, F = 4T frames at 100 Hz, C FSQ channels, L characters.
"""

import torch
import torchaudio
from torch import nn

from mamtra.speech.codec import FRAMES_PER_TOKEN, ConvBlock

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


class PhoneRecogniser(nn.Module):
    """The phoneme of every frame from the codes around it: two tokens to either side, so that a token has
    to say itself what it speaks and cannot leave it to the words that are likely there."""

    def __init__(self, n_codes: int, n_phones: int, width: int = 192) -> None:
        super().__init__()
        self.inlet = nn.Conv1d(n_codes, width, 3, padding=1)
        self.block = ConvBlock(width, kernel=3)
        self.outlet = nn.Linear(width, FRAMES_PER_TOKEN * n_phones)

    def forward(self, codes: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T, C), mask (B, T) to log-probabilities (B, F, n_phones)."""
        mask = mask.unsqueeze(1)
        x = self.block(self.inlet(codes.transpose(1, 2) * mask), mask)
        logits = self.outlet(x.transpose(1, 2)).float()
        return logits.unflatten(-1, (FRAMES_PER_TOKEN, -1)).flatten(1, 2).log_softmax(-1)


def per_phone_weights(phones: torch.Tensor) -> torch.Tensor:
    """(B, F) phoneme ids to weights (B, F) that sum to 1 over each run of one phoneme; 0 where it is
    unknown (negative). A short consonant then counts as much as a long vowel."""
    starts = torch.ones_like(phones)
    starts[:, 1:] = (phones[:, 1:] != phones[:, :-1]).long()
    runs = starts.flatten().cumsum(0) - 1
    lengths = runs.bincount()
    return (1 / lengths[runs].float()).view_as(phones) * (phones >= 0)


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
