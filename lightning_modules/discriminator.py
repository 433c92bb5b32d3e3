"""The judge of the codec's and the vocoder's adversarial losses. Training only; never exported."""

import torch
from torch import nn
from torch.nn import functional as F


class MelDiscriminator(nn.Module):
    """Patches of a mel spectrogram to real/fake scores and the features between (least-squares GAN)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(1, width, 3, stride=2, padding=1),
                nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
                nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1),
            ]
        )
        self.score = nn.Conv2d(2 * width, 1, 3, padding=1)

    def forward(self, mel: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        x, features = mel.unsqueeze(1), []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.score(x), features
