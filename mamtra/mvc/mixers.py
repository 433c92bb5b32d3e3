"""The sequence mixers that an arm places in the three encoders, behind one call: mixer(x, rows).

Each has one integer, `width`, from which `mamtra.mvc.arms` makes all arms equally large, and sees each row's
valid positions alone. Published equations as in docs/mvc.md: (2) both directions, (3) gated fusion.

B batch, T positions, D d_model, W width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra.backbone.attention_mixer import AttentionMixer
from mamtra.backbone.context import StepContext
from mamtra.backbone.mamba_mixer import MambaMixer
from mamtra.backbone.state import MambaState
from mamtra.mvc.rows import Rows
from mamtra.mvc.sizes import MVCSizes

# Mamba without rotary positions asks a step's context for nothing.
NOWHERE = StepContext(torch.zeros(0), torch.zeros(0), None, None, 0, None)


def _new_state(layer: MambaMixer) -> MambaState:
    weight = layer.out_proj.weight
    return layer.new_state(1, 0, weight.dtype, weight.device)


class BiMamba(nn.Module):
    """Two Mamba layers, the second over reversed rows, and their fusion.

    gate: (sigmoid(c W_g) * c) W_o of both outputs side by side, c (B, T, 2D). Without it c W_o, and with a
    `width` above 0 (c W_a W_b) W_o: as many weights as the gate has, and no gate.
    forward_only: the second runs forward, too, for a bounded look-ahead.
    """

    def __init__(self, sizes: MVCSizes, width: int, gate: bool, forward_only: bool) -> None:
        super().__init__()
        d = sizes.d_model
        self.sizes = sizes.mixer
        self.ahead, self.back = MambaMixer(self.sizes), MambaMixer(self.sizes)
        self.forward_only = forward_only
        self.gate = nn.Linear(2 * d, 2 * d) if gate else None
        self.linear = None
        if width and not gate:
            self.linear = nn.Sequential(
                nn.Linear(2 * d, width, bias=False), nn.Linear(width, 2 * d, bias=False)
            )
        self.out = nn.Linear(2 * d, d)

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """x (B, T, D) -> (B, T, D)."""
        context = rows.context(self.sizes)
        back = (
            self.back(x, context)
            if self.forward_only
            else rows.reverse(self.back(rows.reverse(x), context))
        )
        return self._fused(torch.cat((self.ahead(x, context), back), dim=-1))

    def _fused(self, both: Tensor) -> Tensor:
        """(B, T, 2D) -> (B, T, D)."""
        if self.gate is not None:
            both = torch.sigmoid(self.gate(both)) * both
        if self.linear is not None:
            both = self.linear(both)
        return self.out(both)

    def new_state(self) -> list[MambaState]:
        """Of one row that is read piece by piece, where no layer reads backwards."""
        assert self.forward_only  # as `mamtra.mvc.stream` checks
        return [_new_state(layer) for layer in (self.ahead, self.back)]

    def step(self, x: Tensor, state: list[MambaState]) -> Tensor:
        """x (1, K, D) that continues `state` -> (1, K, D); the state moves in place."""
        pairs = zip((self.ahead, self.back), state, strict=True)
        both = torch.cat([layer.step(x, NOWHERE, own) for layer, own in pairs], dim=-1)
        return self._fused(both)


class UniMamba(nn.Module):
    """One causal Mamba layer. `width` has no meaning here: it is what others are matched to."""

    def __init__(self, sizes: MVCSizes, width: int = 0) -> None:
        super().__init__()
        self.sizes = sizes.mixer
        self.mamba = MambaMixer(self.sizes)

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """x (B, T, D) -> (B, T, D)."""
        return self.mamba(x, rows.context(self.sizes))

    def new_state(self) -> list[MambaState]:
        """As of `BiMamba`."""
        return [_new_state(self.mamba)]

    def step(self, x: Tensor, state: list[MambaState]) -> Tensor:
        """As of `BiMamba`."""
        return self.mamba.step(x, NOWHERE, state[0])


class Attention(nn.Module):
    """Full attention with rotary positions, then a feed-forward layer of width W: a Transformer block."""

    def __init__(self, sizes: MVCSizes, width: int) -> None:
        super().__init__()
        self.sizes = sizes.mixer
        self.attention = AttentionMixer(self.sizes)
        self.norm = nn.LayerNorm(sizes.d_model)
        self.up = nn.Linear(sizes.d_model, width)
        self.down = nn.Linear(width, sizes.d_model)

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """x (B, T, D) -> (B, T, D)."""
        y = self.attention(x, rows.full_context(self.sizes))
        return y + self.down(F.silu(self.up(self.norm(x + y))))


class BiLSTM(nn.Module):
    """What StyleTTS 2 has in these places: an LSTM of W units a direction.

    Two layers, the second over reversed rows, rather than one bi-directional layer over packed rows: the same
    numbers, and PyTorch's packed rows do without oneDNN on a CPU (7 to 14 times as slow, forward and backward).
    """

    def __init__(self, sizes: MVCSizes, width: int) -> None:
        super().__init__()
        self.ahead = nn.LSTM(sizes.d_model, width, batch_first=True)
        self.back = nn.LSTM(sizes.d_model, width, batch_first=True)
        self.out = nn.Linear(2 * width, sizes.d_model)

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """x (B, T, D) -> (B, T, D)."""
        back = rows.reverse(self.back(rows.reverse(x))[0])
        return self.out(torch.cat((self.ahead(x)[0], back), dim=-1))


class DilatedConv(nn.Module):
    """Convolution of five taps over W channels: the null model, which sees 4 * dilation positions around."""

    def __init__(self, sizes: MVCSizes, width: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(sizes.d_model, width, 5, padding=2 * dilation, dilation=dilation)
        self.out = nn.Linear(width, sizes.d_model)

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """x (B, T, D) -> (B, T, D)."""
        masked = x * rows.mask.to(x.dtype)
        return self.out(F.silu(self.conv(masked.transpose(1, 2)).transpose(1, 2)))
