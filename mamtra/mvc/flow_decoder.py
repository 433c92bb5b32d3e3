"""Conditional flow matching from noise to mel frames (2210.02747), with few Euler steps; the same in every arm.

B batch, F frames at 50 Hz, C = 160 stacked mel channels, P = 6 prosody channels, S d_style.
"""

import math

import torch
from torch import Tensor, nn

from mamtra.mvc.rows import Rows
from mamtra.mvc.sizes import N_STACKED, MVCSizes
from mamtra.speech.codec import ConvBlock

N_PROSODY = 6  # two of ln F0, two of voicing, two of energy
TIME_WIDTH = 64
RESIDUAL = 0.4  # standard deviation of normalised mels around their mean mu, about
KERNEL = 5


def time_features(t: Tensor) -> Tensor:
    """t (B,) in 0..1 -> (B, TIME_WIDTH) sines and cosines at wavelengths from 6 to 1/160."""
    exponent = torch.arange(TIME_WIDTH // 2, device=t.device) / (TIME_WIDTH // 2)
    angle = t.float()[:, None] * torch.exp(exponent * math.log(1000.0))
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


class FlowDecoder(nn.Module):
    """Velocity (B, F, C) of x at time t. Convolutions alone: 6 blocks see 19 frames to either side.

    The network adds to the flow that is right for mels that scatter by RESIDUAL around mu, each value alone:
    v = mu + ((t r^2 - (1 - t)) / s^2) (x - t mu) + (r / s) network((x - t mu) / s, mu, ...) with
    s^2 = (1 - t)^2 + (t r)^2. So it need not carry the noise from its input to its output, which takes up its
    width, and starts as that flow: the preconditioning of denoisers (2206.00364, section 5) for this path.
    """

    def __init__(self, sizes: MVCSizes) -> None:
        super().__init__()
        width = sizes.decoder_width
        self.time = nn.Sequential(
            nn.Linear(TIME_WIDTH, TIME_WIDTH), nn.SiLU(), nn.Linear(TIME_WIDTH, TIME_WIDTH)
        )
        self.inlet = nn.Linear(2 * N_STACKED + N_PROSODY, width)
        self.blocks = nn.ModuleList(
            ConvBlock(width, KERNEL, TIME_WIDTH + sizes.d_style, dilation=1 + i % 2)
            for i in range(sizes.decoder_blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.outlet = nn.Linear(width, N_STACKED)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)

    def forward(
        self, x: Tensor, t: Tensor, mu: Tensor, prosody: Tensor, style: Tensor, rows: Rows
    ) -> Tensor:
        """x, mu (B, F, C), t (B,) in 0..1, prosody (B, F, P), style (B, S) -> (B, F, C)."""
        told = torch.cat((self.time(time_features(t).to(style.dtype)), style), dim=-1)
        mask = rows.mask.to(x.dtype).transpose(1, 2)
        at = t.to(x.dtype)[:, None, None]
        square = (1 - at).square() + (at * RESIDUAL).square()
        away, spread = x - at * mu, square.sqrt()
        y = self.inlet(torch.cat((away / spread, mu, prosody), dim=-1)).transpose(1, 2) * mask
        for block in self.blocks:
            y = block(y, mask, told)
        straight = mu + (at * RESIDUAL**2 - (1 - at)) / square * away
        return straight + RESIDUAL / spread * self.outlet(self.norm(y.transpose(1, 2)))

    def sample(
        self, noise: Tensor, mu: Tensor, prosody: Tensor, style: Tensor, rows: Rows, n_steps: int
    ) -> Tensor:
        """noise (B, F, C) -> (B, F, C) after `n_steps` Euler steps of equal length; 0 steps return mu."""
        if n_steps < 0:
            raise ValueError(f"n_steps must not be negative, got {n_steps}")
        if n_steps == 0:
            return mu
        x = noise
        for step in range(n_steps):
            t = torch.full((len(x),), step / n_steps, device=x.device)
            x = x + self(x, t, mu, prosody, style, rows) / n_steps
        return x
