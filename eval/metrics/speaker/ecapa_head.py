"""The ECAPA-TDNN head that UniSpeech puts on WavLM's layers for speaker verification, for inference.

Attribute names are those of its checkpoint. B batch, C channels, T frames, E = 256 embedding width, L hidden
states: the input of every layer of WavLM, and what the last one gives.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import WavLMConfig, WavLMModel

WIDTH, WIDE, BOTTLENECK, GROUPS, EMBEDDING = 512, 1536, 128, 8, 256


class Conv1dReluBn(nn.Module):
    """(B, C, T) -> (B, C', T)."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(F.relu(self.conv(x)))


class Res2Conv1dReluBn(nn.Module):
    """Each group of channels but the last is convolved together with the result of the one before it."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.width = channels // GROUPS

        def convolution() -> nn.Conv1d:
            return nn.Conv1d(self.width, self.width, 3, padding=dilation, dilation=dilation)

        self.convs = nn.ModuleList(convolution() for _ in range(GROUPS - 1))
        self.bns = nn.ModuleList(nn.BatchNorm1d(self.width) for _ in range(GROUPS - 1))

    def forward(self, x: Tensor) -> Tensor:
        *groups, last = x.split(self.width, dim=1)
        found: list[Tensor] = []
        for group, conv, bn in zip(groups, self.convs, self.bns, strict=True):
            found.append(bn(F.relu(conv(found[-1] + group if found else group))))
        return torch.cat([*found, last], dim=1)


class SEConnect(nn.Module):
    """Squeeze and excitation: scales each channel by what the mean over time says."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, BOTTLENECK)
        self.linear2 = nn.Linear(BOTTLENECK, channels)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.linear2(F.relu(self.linear1(x.mean(dim=2)))).sigmoid()
        return x * scale[:, :, None]


class SERes2Block(nn.Module):
    """(B, C, T) -> (B, C, T), residual."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.Conv1dReluBn1 = Conv1dReluBn(channels, channels)
        self.Res2Conv1dReluBn = Res2Conv1dReluBn(channels, dilation)
        self.Conv1dReluBn2 = Conv1dReluBn(channels, channels)
        self.SE_Connect = SEConnect(channels)

    def forward(self, x: Tensor) -> Tensor:
        found = self.Conv1dReluBn2(self.Res2Conv1dReluBn(self.Conv1dReluBn1(x)))
        return x + self.SE_Connect(found)


class AttentiveStatsPool(nn.Module):
    """(B, C, T) -> (B, 2 C): mean and deviation over time, weighted per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear1 = nn.Conv1d(channels, BOTTLENECK, 1)
        self.linear2 = nn.Conv1d(BOTTLENECK, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.linear2(self.linear1(x).tanh()).softmax(dim=2)
        mean = (weight * x).sum(dim=2)
        variance = (weight * x.square()).sum(dim=2) - mean.square()
        return torch.cat([mean, variance.clamp(min=1e-9).sqrt()], dim=1)


class WavLMVerifier(nn.Module):
    """Waveforms of equal length, (B, N) at 16 kHz -> embeddings (B, E), not normalised."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__()
        self.wavlm = WavLMModel(config)
        self.feature_weight = nn.Parameter(torch.zeros(config.num_hidden_layers + 1))
        self.instance_norm = nn.InstanceNorm1d(config.hidden_size)
        self.layer1 = Conv1dReluBn(config.hidden_size, WIDTH, kernel=5)
        self.layer2 = SERes2Block(WIDTH, dilation=2)
        self.layer3 = SERes2Block(WIDTH, dilation=3)
        self.layer4 = SERes2Block(WIDTH, dilation=4)
        self.conv = nn.Conv1d(3 * WIDTH, WIDE, 1)
        self.pooling = AttentiveStatsPool(WIDE)
        self.bn = nn.BatchNorm1d(2 * WIDE)
        self.linear = nn.Linear(2 * WIDE, EMBEDDING)

    def forward(self, wave: Tensor) -> Tensor:
        # WavLM-large was trained on waveforms of zero mean and unit variance.
        hidden = self.wavlm(F.layer_norm(wave, wave.shape[1:]), output_hidden_states=True)
        # transformers' last hidden state lacks the final norm, which s3prl's has.
        layers = torch.stack([*hidden.hidden_states[:-1], hidden.last_hidden_state])  # (L, B, T, C)
        mixed = torch.einsum("l,lbtc->bct", self.feature_weight.softmax(dim=0), layers)
        first = self.layer1(self.instance_norm(mixed + 1e-6))
        second = self.layer2(first)
        third = self.layer3(second)
        fourth = self.layer4(third)
        joined = F.relu(self.conv(torch.cat([second, third, fourth], dim=1)))
        return self.linear(self.bn(self.pooling(joined)))
