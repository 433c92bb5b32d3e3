"""Causal grouped-query attention over whole sequences.

B batch, T time, H query heads, G key/value heads, E head_dim, Q block length.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Rows per block of the CPU path. Measured at B=32, T=256, H=6, E=32 in bf16 on one AVX512 core,
# forward + backward: 43 ms with 64 (32: 46, 128: 60), against 121 ms for PyTorch's CPU kernel.
BLOCK = 64
# From this length on, and without gradients, PyTorch's CPU kernel is faster; at 300 it is not. Measured in fp32
# on two AVX2 cores, 16 rows of 1,024 positions: 120 ms against 181 (H=8, E=32), 454 against 914 (H=14, E=64).
LONG = 1024


def repeat_kv(x: Tensor, group: int) -> Tensor:
    """(B, G, T, E) -> (B, G * group, T, E); head g serves query heads g*group..(g+1)*group-1."""
    if group == 1:
        return x
    b, g, t, e = x.shape
    return x[:, :, None].expand(b, g, group, t, e).reshape(b, g * group, t, e)


def _blocked(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention in blocks of query rows, so that nothing above the diagonal is computed.

    The query heads of a group are rows of one matrix product, so keys are never repeated.
    """
    b, t, heads, e = q.shape
    n_kv = k.shape[2]
    group = heads // n_kv
    q = (q * e**-0.5).reshape(b, t, n_kv, group, e).transpose(1, 2)
    q = q.reshape(b * n_kv, t * group, e)
    k = k.permute(0, 2, 3, 1).reshape(b * n_kv, e, t)
    v = v.transpose(1, 2).reshape(b * n_kv, t, e)
    size = min(BLOCK, t)
    # Columns as far left of the diagonal block as there are keys, then the block's own triangle. An
    # added bias costs its backward pass nothing; filling a slice in place would copy the gradient.
    last = (t - 1) // size * size
    bias = q.new_zeros(size, last + size)
    bias[:, last:].masked_fill_(bias.new_ones(size, size).triu(1).bool(), float("-inf"))
    bias = bias.repeat_interleave(group, dim=0)
    blocks = []
    for start in range(0, t, size):
        end = min(start + size, t)
        rows = slice(start * group, end * group)
        columns = slice(last - start, last - start + end)
        scores = torch.bmm(q[:, rows], k[:, :, :end])
        scores = scores + bias[: (end - start) * group, columns]
        blocks.append(torch.bmm(scores.softmax(dim=-1), v[:, :end]))
    y = torch.cat(blocks, dim=1).view(b, n_kv, t, group, e)
    return y.transpose(1, 2).reshape(b, t, heads * e)


def causal_attention(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None = None) -> Tensor:
    """q (B, T, H, E), k and v (B, T, G, E) -> (B, T, H * E), softmax(q k^T / sqrt(E)) v.

    visible: (B, 1, T, T) bool that replaces the causal mask, or None.
    """
    if visible is None and q.device.type == "cpu":
        if q.shape[1] >= LONG and not torch.is_grad_enabled():
            return _sdpa(q, k, v, None, False)
        return _blocked(q, k, v)
    # Flash attention, which half precision without a mask gets, reads a key for all heads of its group; the
    # other kernels want keys and values repeated.
    shared = visible is None and q.dtype in (torch.float16, torch.bfloat16)
    return _sdpa(q, k, v, visible, shared)


def _sdpa(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None, shared: bool) -> Tensor:
    """`shared`: leave it to PyTorch that several query heads have one key and value."""
    group = q.shape[2] // k.shape[2]
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if not shared:
        k, v = repeat_kv(k, group), repeat_kv(v, group)
    causal = visible is None
    y = F.scaled_dot_product_attention(
        q, k, v, attn_mask=visible, is_causal=causal, enable_gqa=shared
    )
    return y.transpose(1, 2).flatten(2)
