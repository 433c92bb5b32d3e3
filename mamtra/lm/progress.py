"""Progress features: where in the text a position is, and where in it the speech should be by now.

A model trained from scratch on hours instead of years of speech does not find the alignment by itself:
after 1,000 steps the mini teacher predicted speech 0.05 nats better with the right text than with another.
CosyVoice 2 starts from a language model that can already copy; the mini teacher gets this instead: the
same sinusoids are added to text positions, counted in text units, and to speech positions, counted in
speech tokens times the text units that an average token takes (Deep Voice 3, arXiv 1710.07654, section
3.7). They leave the sequence layout as it is and are off (`text_rate=0`) for CosyVoice 2.

B batch, T time, D d_model.
"""

import torch
from torch import Tensor

from mamtra.lm.sequence import KIND_SPEECH, KIND_TEXT

# Radians per text unit: neighbouring letters differ, and 600 letters pass before the slowest repeats.
FASTEST, SLOWEST = 1.0, 0.01


def text_positions(kinds: Tensor, spoken: Tensor | int, text_rate: float) -> Tensor:
    """(B, T) kinds -> (B, T) float positions in text units; 0 where neither text nor speech stands.

    spoken: speech tokens before these positions, one number or (B,).
    """
    text, speech = kinds == KIND_TEXT, kinds == KIND_SPEECH
    if isinstance(spoken, Tensor):
        spoken = spoken[:, None]
    # A speech position predicts the token after it, hence the count includes the position itself.
    progress = (speech.cumsum(dim=1) + spoken) * text_rate
    return (text.cumsum(dim=1) - 1) * text + progress * speech


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Positions of any shape -> (..., width): sines, then cosines, of geometrically spaced frequencies."""
    steps = torch.linspace(0.0, 1.0, width // 2, device=positions.device)
    angles = positions[..., None] * (FASTEST * (SLOWEST / FASTEST) ** steps)
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


def progress_features(kinds: Tensor, spoken: Tensor | int, text_rate: float, width: int) -> Tensor:
    """(B, T) kinds -> (B, T, width), zero outside text and speech."""
    here = (kinds == KIND_TEXT) | (kinds == KIND_SPEECH)
    features = sinusoids(text_positions(kinds, spoken, text_rate), width)
    return features.masked_fill(~here[..., None], 0.0)
