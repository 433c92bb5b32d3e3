"""What every layer needs to know about the batch, computed once per call and shared.

B batch, T sequence positions, K new positions of a step, L cached positions, W rotated width: the
query and key heads side by side.
"""

from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from mamtra.backbone.elementwise import over_heads, rotary_angles
from mamtra.backbone.sizes import BackboneSizes


@dataclass(frozen=True)
class SequenceContext:
    """Positions and padding of whole sequences.

    cos, sin: (T, W) or (B, T, W). valid: (B, T) bool, None when nothing is padded.
    attention_mask: (B, 1, T, T) bool, None when causality alone is enough: padding on the right
    lies after every valid query, so no valid query can see it.
    first, lengths: (B,) int64 first valid position and number of valid positions per row, None when
    nothing is padded. left_padded: whether any row starts with padding.
    local: (B, T) bool, the positions of generated speech, of which window layers see the last `window`; None
    where nobody said which they are.
    """

    cos: Tensor
    sin: Tensor
    valid: Tensor | None = None
    attention_mask: Tensor | None = None
    first: Tensor | None = None
    lengths: Tensor | None = None
    left_padded: bool = False
    local: Tensor | None = None
    window: int = 0

    @cached_property
    def window_mask(self) -> Tensor:
        """(B, 1, T, T) bool: the keys that queries of window layers see. ValueError without `local`.

        A key of generated speech is seen by itself and until `window` generated positions were there,
        itself included; any other key by every position after it.
        """
        if self.local is None:
            raise ValueError(
                "a window layer has to know which positions are generated speech: pass "
                "generated=batch.generated"
            )
        length = self.local.shape[1]
        count = self.local.cumsum(dim=1)
        near = count[:, :, None] - count[:, None, :] < self.window
        seen = near | ~self.local[:, None, :]
        if self.attention_mask is not None:
            return seen[:, None] & self.attention_mask
        causal = torch.ones(length, length, dtype=torch.bool, device=seen.device).tril()
        return (seen & causal)[:, None]


@dataclass(frozen=True)
class StepContext:
    """Positions of K new tokens per row that continue a live state.

    cos, sin: (K, W) or (B, K, W). start: the first cache slot when it is the same for all
    rows, else None. slots: (B, K) int64 cache slot of each new token, None when `start` is set.
    used: cached positions to attend to, the new ones included.
    attention_mask: (1 or B, 1, K, used) bool, None when every cached position is visible.
    local: (B, K) bool, which of the new tokens are generated speech; None when all are.
    """

    cos: Tensor
    sin: Tensor
    start: int | None
    slots: Tensor | None
    used: int
    attention_mask: Tensor | None
    local: Tensor | None = None


def query_key_table(
    length: int, sizes: BackboneSizes, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """(cos, sin), each (length, W), for the query and key heads of one layer side by side."""
    angles = rotary_angles(length, sizes.head_dim, sizes.rope_theta, device)
    return over_heads(*angles, sizes.n_heads + sizes.n_kv_heads)


def sequence_context(
    length: int,
    mask: Tensor | None,
    sizes: BackboneSizes,
    device: torch.device,
    local: Tensor | None = None,
    window: int | None = None,
) -> SequenceContext:
    """Context of sequences of `length` positions; mask (B, length) bool, True = valid.

    local, window: see SequenceContext; the sizes' own window when None.
    Raises ValueError when the mask has another length or when the valid positions of a row are not
    one contiguous run (padding may be on the right, on the left, or both).
    """
    cos, sin = query_key_table(length, sizes, device)
    window = sizes.window if window is None else window
    made = partial(SequenceContext, cos, sin, local=local, window=window)
    if mask is None:
        return made()
    if mask.dim() != 2 or mask.shape[1] != length or mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool (B, {length}), got {mask.dtype} {tuple(mask.shape)}")
    if bool(mask.all()):
        return made()
    starts = mask.clone()
    starts[:, 1:] &= ~mask[:, :-1]  # a valid position after a padded one (or the very first)
    if int(starts.sum(dim=1).max()) > 1:
        raise ValueError("the valid positions of each row must be one contiguous run")
    lengths = mask.sum(dim=1)
    first = starts.int().argmax(dim=1)
    if not bool(starts[:, 1:].any()):
        return made(mask, None, first, lengths)
    position = (torch.arange(length, device=device) - first[:, None]).clamp(0, length - 1)
    visible = torch.ones(length, length, dtype=torch.bool, device=device).tril() & mask[:, None]
    # A padded query sees itself: an empty softmax row would be NaN and spread through the layers.
    visible |= torch.eye(length, dtype=torch.bool, device=device)
    return replace(
        made(mask, visible[:, None], first, lengths, left_padded=True),
        cos=cos[position],
        sin=sin[position],
    )
