"""Grouped-query attention with rotary positions, in Qwen2's geometry (bias on q, k, v only).

B batch, T time, K new tokens, D d_model, H query heads, G key/value heads, E head_dim.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra.backbone.attention import causal_attention
from mamtra.backbone.context import SequenceContext, StepContext
from mamtra.backbone.elementwise import rotary
from mamtra.backbone.sizes import BackboneSizes
from mamtra.backbone.state import AttentionState


def without_left_padding(x: Tensor, context: SequenceContext) -> Tensor:
    """x (B, T, G, E) with each row's valid positions in front; what lies behind them is meaningless."""
    if not context.left_padded or context.first is None:
        return x
    length = x.shape[1]
    slot = torch.arange(length, device=x.device) + context.first[:, None]
    return x.gather(1, slot.clamp(max=length - 1)[:, :, None, None].expand_as(x))


class AttentionMixer(nn.Module):
    """Causal grouped-query attention. One fused projection holds the rows q | k | v."""

    def __init__(self, sizes: BackboneSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.qkv_proj = nn.Linear(sizes.d_model, sizes.d_inner + 2 * sizes.d_kv)
        self.out_proj = nn.Linear(sizes.d_inner, sizes.d_model, bias=False)

    @staticmethod
    def sections(sizes: BackboneSizes) -> dict[str, slice]:
        """Rows of `qkv_proj` by name."""
        q, kv = sizes.d_inner, sizes.d_kv
        return {"q": slice(0, q), "k": slice(q, q + kv), "v": slice(q + kv, q + 2 * kv)}

    def _project(self, x: Tensor, context: SequenceContext | StepContext) -> list[Tensor]:
        """x (B, T, D) -> q (B, T, H, E), k and v (B, T, G, E); q and k rotated."""
        sizes = self.sizes
        q_and_k, v = self.qkv_proj(x).split((sizes.d_inner + sizes.d_kv, sizes.d_kv), dim=-1)
        rotated = rotary(q_and_k, context.cos, context.sin, sizes.head_dim)
        q, k = rotated.split((sizes.d_inner, sizes.d_kv), dim=-1)
        return [part.unflatten(-1, (-1, sizes.head_dim)) for part in (q, k, v)]

    def visible(self, context: SequenceContext) -> Tensor | None:
        """(B, 1, T, T) bool, the keys that each query sees; None where causality says it all."""
        return context.attention_mask

    def forward(self, x: Tensor, context: SequenceContext) -> Tensor:
        """x (B, T, D) -> (B, T, D). Outputs at padded positions are finite but meaningless."""
        q, k, v = self._project(x, context)
        return self.out_proj(causal_attention(q, k, v, self.visible(context)))

    def log_attention(self, x: Tensor, context: SequenceContext, head: int) -> Tensor:
        """x (B, T, D) -> (B, T, T) log-probabilities of one query head over the positions it sees.

        What `forward` attends with, written out: for losses on attention and for plots of it.
        """
        sizes = self.sizes
        row, e = self.sections(sizes)["q"].start + head * sizes.head_dim, sizes.head_dim
        column = self.sections(sizes)["k"].start + head // sizes.group * e
        chosen = [*range(row, row + e), *range(column, column + e)]
        projected = F.linear(x, self.qkv_proj.weight[chosen], self.qkv_proj.bias[chosen])
        cos, sin = context.cos[..., : 2 * e], context.sin[..., : 2 * e]
        q, k = rotary(projected, cos, sin, e).split(e, dim=-1)
        scores = (q @ k.transpose(1, 2)).float() * e**-0.5
        mask = self.visible(context)
        if mask is not None:
            visible = mask[:, 0]
        else:
            visible = torch.ones(scores.shape[1:], dtype=torch.bool, device=x.device).tril()
        return scores.masked_fill(~visible, float("-inf")).log_softmax(dim=-1)

    def new_state(
        self,
        batch: int,
        max_length: int,
        dtype: torch.dtype,
        device: torch.device,
        conditioning: int = 0,
    ) -> AttentionState:
        """Empty cache for `batch` rows of at most `max_length` tokens."""
        shape = (batch, self.sizes.n_kv_heads, max_length, self.sizes.head_dim)
        zeros = torch.zeros(shape, dtype=dtype, device=device)
        return AttentionState(zeros, torch.zeros_like(zeros))

    def prefill(self, x: Tensor, context: SequenceContext, state: AttentionState) -> Tensor:
        """As `forward`, and fills `state` with each row's valid tokens from slot 0 on."""
        q, k, v = self._project(x, context)
        state.keys[:, :, : x.shape[1]] = without_left_padding(k, context).transpose(1, 2)
        state.values[:, :, : x.shape[1]] = without_left_padding(v, context).transpose(1, 2)
        return self.out_proj(causal_attention(q, k, v, context.attention_mask))

    def step(self, x: Tensor, context: StepContext, state: AttentionState) -> Tensor:
        """x (B, K, D) -> (B, K, D): K new tokens per row, written into the cache in place."""
        q, k, v = self._project(x, context)
        if context.start is not None:
            state.keys[:, :, context.start : context.used] = k.transpose(1, 2)
            state.values[:, :, context.start : context.used] = v.transpose(1, 2)
        else:
            assert context.slots is not None
            row = torch.arange(x.shape[0], device=x.device)[:, None]
            state.keys[row, :, context.slots] = k.to(state.keys.dtype)
            state.values[row, :, context.slots] = v.to(state.values.dtype)
        keys = state.keys[:, :, : context.used]
        values = state.values[:, :, : context.used]
        return self._attend(q, keys, values, context.attention_mask)

    def _attend(self, q: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """q (B, K, H, E), keys and values (B, G, L, E), mask (B or 1, 1, K, L) or None -> (B, K, D)."""
        sizes, (b, new, _, e) = self.sizes, q.shape
        # The query heads of one group become query rows of its key/value head: no repeated cache.
        q = q.transpose(1, 2).reshape(b, sizes.n_kv_heads, sizes.group * new, e)
        if mask is not None and new > 1:
            mask = mask.repeat(1, 1, sizes.group, 1)
        keys, values = keys.to(q.dtype), values.to(q.dtype)
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
        y = y.reshape(b, sizes.n_heads, new, e).transpose(1, 2).flatten(2)
        return self.out_proj(y)
