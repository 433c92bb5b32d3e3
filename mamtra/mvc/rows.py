"""Rows of unequal length: their padding, their reversal, and the way from text tokens to frames.

B batch, T positions, N text tokens, F frames at 50 Hz, D width.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from mamtra.backbone.context import SequenceContext, sequence_context
from mamtra.backbone.sizes import BackboneSizes


@dataclass(frozen=True)
class Rows:
    """Rows whose first `lengths` (B,) of T positions are valid. valid: (B, T) bool."""

    lengths: Tensor
    valid: Tensor

    @classmethod
    def of(cls, lengths: Tensor, length: int) -> "Rows":
        """lengths: (B,) int64, each in 1..length; length: T. Raises ValueError for others."""
        if len(lengths) == 0 or not 1 <= int(lengths.min()) <= int(lengths.max()) <= length:
            raise ValueError(f"rows of {lengths.tolist()} positions do not fit 1..{length}")
        return cls(lengths, torch.arange(length, device=lengths.device) < lengths[:, None])

    @cached_property
    def mask(self) -> Tensor:
        """(B, T, 1) fp32, 1 on valid positions."""
        return self.valid.unsqueeze(-1).float()

    def context(self, sizes: BackboneSizes) -> SequenceContext:
        """What causal mixers of the backbone are told."""
        length, device = self.valid.shape[1], self.valid.device
        return sequence_context(length, self.valid, sizes, device)

    def full_context(self, sizes: BackboneSizes) -> SequenceContext:
        """The same for attention that sees every valid position of its row, later ones too."""
        length, device = self.valid.shape[1], self.valid.device
        seen = self.valid[:, None, None, :].expand(-1, 1, length, -1)
        # A padded query sees itself: an empty softmax row would be NaN and spread through the layers.
        seen = seen | torch.eye(length, dtype=torch.bool, device=device)
        return replace(self.context(sizes), attention_mask=seen)

    def reverse(self, x: Tensor) -> Tensor:
        """x (B, T, ...) with each row reversed within its own length; its padding stays where it is.

        Twice is the identity. `flip` would move the padding in front of the row.
        """
        position = torch.arange(x.shape[1], device=x.device)
        mirrored = torch.where(self.valid, self.lengths[:, None] - 1 - position, position)
        return x.gather(1, mirrored.view(*mirrored.shape, *[1] * (x.dim() - 2)).expand_as(x))

    def ahead(self, x: Tensor, count: int) -> Tensor:
        """x (B, T, D) -> at n what x has at n + count, or at the row's last valid position."""
        position = torch.arange(x.shape[1], device=x.device) + count
        later = torch.minimum(position[None], self.lengths[:, None] - 1)
        return x.gather(1, later.unsqueeze(-1).expand_as(x))


def borders(durations: Tensor) -> Tensor:
    """(B, N) durations in 10-ms frames -> (B, N) the frame at 50 Hz that each token ends before.

    Rounded from the sum, so that rounding never drifts: each border is within half a frame of its time.
    """
    return (durations.cumsum(dim=1) + 1) // 2


def owners(durations: Tensor) -> tuple[Tensor, Rows]:
    """(B, N) durations -> (B, F) int64 the token of each frame, and the rows of frames.

    Durations of padding must be 0. Raises ValueError for negative ones and for a row without a frame.
    """
    if bool((durations < 0).any()):
        raise ValueError("durations must not be negative")
    ends = borders(durations)
    lengths = ends[:, -1]
    if bool((lengths < 1).any()):
        raise ValueError("a text without a single frame: its durations are all 0")
    frames = torch.arange(int(lengths.max()), device=durations.device)
    owner = torch.searchsorted(ends, frames.expand(len(ends), -1).contiguous(), right=True)
    return owner.clamp(max=durations.shape[1] - 1), Rows.of(lengths, len(frames))


def regulate(x: Tensor, durations: Tensor) -> tuple[Tensor, Tensor, Rows]:
    """x (B, N, D), durations (B, N) -> u (B, F, D), place (B, F, 3), rows of frames.

    place: frames since the token began, frames until it ends, and log(1 + its frames); the first two as
    shares of its frames.
    """
    owner, rows = owners(durations)
    ends = borders(durations)
    starts = torch.cat((torch.zeros_like(ends[:, :1]), ends[:, :-1]), dim=1)
    start, end = starts.gather(1, owner), ends.gather(1, owner)
    count = (end - start).clamp(min=1).float()
    since = torch.arange(owner.shape[1], device=x.device) - start
    place = torch.stack((since / count, (end - start - 1 - since) / count, count.log1p()), dim=-1)
    u = x.gather(1, owner.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
    return u * rows.mask.to(u.dtype), place.to(u.dtype) * rows.mask.to(u.dtype), rows


def stack_frames(x: Tensor) -> Tensor:
    """(B, 2F, C) at 100 Hz -> (B, F, 2C) at 50 Hz."""
    return x.unflatten(1, (-1, 2)).flatten(2)


def unstack_frames(x: Tensor) -> Tensor:
    """(B, F, 2C) at 50 Hz -> (B, 2F, C) at 100 Hz."""
    return x.unflatten(2, (2, -1)).flatten(1, 2)
