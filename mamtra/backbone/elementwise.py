"""RMSNorm and rotary rotation with hand-written gradients.

Both are memory-bound on a CPU; composed from tensor operations their backward passes alone take a
tenth of a training step. The plain forms beside them are the specification. On a GPU the norm is PyTorch's
fused one.

D model width, W rotated width (heads * head_dim).
"""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_NOTHING = nullcontext()
# Rows of a step of decoding. Measured on one AVX2 core, in microseconds: a row of 896 takes 9 in `_norm_of_few`
# and 19 in `F.rms_norm`, 224 rows of 64 take 23 and 26, 300 rows of 192 take 75 and 51.
FEW = 256


def compute_dtype(x: Tensor) -> torch.dtype:
    """The dtype that autocast would compute in on x's device, or x's own without autocast."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """A context in which operations on x's device keep the dtype of their inputs."""
    device = x.device.type
    # Entering autocast costs more than the small operations inside when decoding token by token.
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else _NOTHING


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
        scale = (norm.square() / x.shape[-1]).add_(eps).rsqrt_()
        unit = x * scale
        ctx.save_for_backward(unit, scale, weight)
        ctx.dtype = x.dtype
        return (unit * weight).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor):  # type: ignore[override]
        # d y_j / d x_i = w_j scale (delta_ij - unit_i unit_j / D)
        unit, scale, weight = ctx.saved_tensors
        grad = grad.to(unit.dtype)
        product = grad * unit
        mean = (product * weight).mean(dim=-1, keepdim=True)
        grad_x = (grad * weight).addcmul_(unit, mean, value=-1).mul_(scale)
        rows = product.shape[: product.dim() - weight.dim()]
        grad_weight = product.sum(dim=tuple(range(len(rows))))
        return grad_x.to(ctx.dtype), grad_weight.to(weight.dtype), None, None


def rms_norm(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension.

    Computed in fp32 or wider, returned in `dtype`.
    x (..., D); weight (D,), or (H, D) for x (..., H, D) -> as x. At least one leading dimension.
    """
    if x.device.type != "cpu":
        return fused_rms_norm(x, weight, eps, dtype)
    few = x.numel() <= FEW * x.shape[-1]
    if few and not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu"):
        return _norm_of_few(x, weight, eps, dtype)
    return _RMSNorm.apply(x, weight, eps, dtype)  # type: ignore[return-value]


@cache
def _scalar(value: float, dtype: torch.dtype) -> Tensor:
    """(1, 1, 1) on the CPU."""
    return torch.full((1, 1, 1), value, dtype=dtype)


def _norm_of_few(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """`rms_norm` in four operations: the mean square of a row is its product with itself."""
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    width = x.shape[-1]
    rows = wide.reshape(-1, 1, width)
    mean = torch.baddbmm(_scalar(eps, wide.dtype), rows, rows.mT, alpha=1.0 / width)
    normed = (rows * mean.rsqrt_()).view(x.shape).mul_(weight)
    return normed if normed.dtype == dtype else normed.to(dtype)


def fused_rms_norm(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """As `rms_norm` by PyTorch's own operation, which a GPU has as one kernel with its gradient."""
    with without_autocast(x):
        if weight.dim() == 1:
            return F.rms_norm(x, weight.shape, weight.to(x.dtype), eps).to(dtype)
        return (F.rms_norm(x, weight.shape[-1:], None, eps) * weight).to(dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, half: int) -> Tensor:
    halves = x.unflatten(-1, (-1, 2, half))
    swapped = torch.empty(halves.shape, dtype=x.dtype, device=x.device)
    swapped[..., 0, :] = halves[..., 1, :]
    swapped[..., 1, :] = halves[..., 0, :]
    return (x * cos).addcmul_(swapped.flatten(-3), sin)


class _Rotary(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, half: int) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.half = half
        return _rotate(x, cos, sin, half)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor):  # type: ignore[override]
        cos, sin = ctx.saved_tensors
        return _rotate(grad, cos, -sin, ctx.half), None, None, None  # the inverse rotation


def rotary_angles(
    length: int, head_dim: int, theta: float, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """(cos, sin) of every angle, each (length, head_dim / 2) fp32, for positions 0..length-1."""
    exponent = torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim
    # Frequencies first, as in transformers: at position 1000 the other order differs by 3e-5 rad.
    frequency = 1.0 / theta**exponent
    angle = torch.arange(length, device=device, dtype=torch.float32)[:, None] * frequency
    return angle.cos(), angle.sin()


def over_heads(cos: Tensor, sin: Tensor, n_heads: int) -> tuple[Tensor, Tensor]:
    """(..., T, head_dim / 2) of `rotary_angles` -> (..., T, n_heads * head_dim) for `rotary`.

    Tiled over the heads, and the first half of each head's sine is negated: with
    swap(x) = (second half, first half), x * cos + swap(x) * sin is Qwen2's rotation
    (transformers `rotate_half`: halves, not interleaved pairs).
    """
    return torch.cat((cos, cos) * n_heads, dim=-1), torch.cat((-sin, sin) * n_heads, dim=-1)


def rotary(x: Tensor, cos: Tensor, sin: Tensor, head_dim: int) -> Tensor:
    """Rotate every head of x (..., T, W) by cos and sin (..., T, W) of `over_heads`."""
    cos, sin, half = cos.to(x.dtype), sin.to(x.dtype), head_dim // 2
    if not torch.is_grad_enabled():  # less overhead when decoding
        return _rotate(x, cos, sin, half)
    return _Rotary.apply(x, cos, sin, half)  # type: ignore


def _decay_matrix(sums: Tensor) -> Tensor:
    length = sums.shape[-1]
    future = torch.ones(length, length, dtype=torch.bool, device=sums.device).triu(1)
    # Masked before the exponential: above the diagonal it could overflow, and inf * 0 is NaN.
    difference = sums[..., :, None] - sums[..., None, :]
    return difference.masked_fill_(future, float("-inf")).exp_()


class _DecayedScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, sums: Tensor) -> Tensor:
        decay = _decay_matrix(sums)
        ctx.save_for_backward(scores, decay)
        return (scores * decay).to(scores.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor):  # type: ignore[override]
        # m_ij = c_ij exp(s_i - s_j): dm_ij/ds_i = m_ij and dm_ij/ds_j = -m_ij
        scores, decay = ctx.saved_tensors
        grad_scores = grad * decay
        flow = grad_scores * scores
        return grad_scores.to(scores.dtype), flow.sum(dim=-1) - flow.sum(dim=-2)


def decayed_scores(scores: Tensor, sums: Tensor) -> Tensor:
    """scores_ij exp(sums_i - sums_j) for j <= i, else 0, in the dtype of scores.

    scores (..., Q, Q); sums (..., Q) fp32 or wider, not increasing along Q -> (..., Q, Q).
    """
    return _DecayedScores.apply(scores, sums)  # type: ignore[return-value]
