"""Decode state: one entry per layer plus the position of every row.

B batch, H heads, G key/value heads, E head_dim, L max_length, W d_conv, C convolved channels.

`num_bytes` counts every tensor that a state holds, as the allocator gave it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mamtra.backbone.context import StepContext
from mamtra.backbone.elementwise import over_heads


@dataclass
class AttentionState:
    """Static key/value cache, written in place. Row b holds its tokens in slots 0..offset[b]-1."""

    keys: Tensor  # (B, G, L, E)
    values: Tensor  # (B, G, L, E)

    def num_bytes(self) -> int:
        """Bytes held, independent of how many slots are filled."""
        return self.keys.nbytes + self.values.nbytes


@dataclass
class MambaState:
    """Constant-size state of a Mamba-2 layer."""

    conv: Tensor  # (B, W-1, C) last inputs of the convolution, before its activation
    ssm: Tensor  # (B, H, E, E) fp32, state dimension before head dimension

    def num_bytes(self) -> int:
        """Bytes held."""
        return self.conv.nbytes + self.ssm.nbytes


@dataclass
class DecodeState:
    """State of a whole stack. `offsets` (B,) int64 counts the valid tokens each row has consumed.

    `longest` is the largest offset as a Python integer and `uniform` says whether all rows share
    it, so that a step never has to read a tensor back. One rotary table serves all layers and heads.
    """

    layers: list[AttentionState | MambaState]
    offsets: Tensor
    longest: int
    uniform: bool
    max_length: int
    cos: Tensor  # (L, E/2) fp32
    sin: Tensor  # (L, E/2) fp32
    n_rotated: int  # heads that a step rotates: those of the queries and of the keys

    def num_bytes(self) -> int:
        """Bytes held: all layers, the positions and the rotary table."""
        own = self.offsets.nbytes + self.cos.nbytes + self.sin.nbytes
        return own + sum(layer.num_bytes() for layer in self.layers)

    def step_context(self, new: int) -> StepContext:
        """Context for `new` more tokens per row. ValueError when they do not fit in the cache."""
        used = self.longest + new
        if used > self.max_length:
            raise ValueError(
                f"{used} positions do not fit in a state made for max_length={self.max_length}"
            )
        device = self.offsets.device
        if self.uniform:
            span = slice(self.longest, used)
            mask = None
            if new > 1:
                mask = torch.ones(new, used, dtype=torch.bool, device=device)
                mask = mask.tril(self.longest)[None, None]
            cos, sin = over_heads(self.cos[span], self.sin[span], self.n_rotated)
            return StepContext(cos, sin, self.longest, None, used, mask)
        slots = self.offsets[:, None] + torch.arange(new, device=device)
        visible = torch.arange(used, device=device) <= slots[:, :, None]
        cos, sin = over_heads(self.cos[slots], self.sin[slots], self.n_rotated)
        return StepContext(cos, sin, None, slots, used, visible[:, None])

    def advance(self, new: int) -> None:
        """Move every row forward by `new` tokens."""
        self.offsets += new
        self.longest += new
