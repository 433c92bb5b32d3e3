"""Hand-written gradients against autograd, and the plain formulas."""

import pytest
import torch
from torch.nn import functional as F

from mamtra.backbone.elementwise import (
    compute_dtype,
    decayed_scores,
    fused_rms_norm,
    over_heads,
    rms_norm,
    rotary,
    rotary_angles,
)
from tests.near import assert_near


def random(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64).requires_grad_()


def test_rms_norm_is_pytorchs():
    x, weight = random(3, 5, 8), random(8, seed=1)
    found, expected = rms_norm(x, weight, 1e-6, x.dtype), F.rms_norm(x, (8,), weight, 1e-6)
    assert_near(found, expected, 4)
    target = random(3, 5, 8, seed=2)
    got = torch.autograd.grad((found * target).sum(), (x, weight))
    want = torch.autograd.grad((expected * target).sum(), (x, weight))
    assert_near(got, want, 4)


def test_rms_norm_with_one_weight_row_per_head():
    x, weight = random(2, 3, 4, 6), random(4, 6, seed=1)
    expected = F.rms_norm(x, (6,), None, 1e-6) * weight
    assert_near(rms_norm(x, weight, 1e-6, x.dtype), expected, 4)
    assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, 1e-6, x.dtype), (x, weight))


@pytest.mark.parametrize("rows", [None, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_norm_of_a_gpu_is_that_of_a_cpu(rows, dtype):
    width = 6
    x = torch.randn(2, 3, 4, width, requires_grad=True)
    weight = torch.randn(*([] if rows is None else [rows]), width, requires_grad=True)
    target = torch.randn(2, 3, 4, width)
    results = []
    for norm in (fused_rms_norm, rms_norm):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = norm(x, weight, 1e-6, dtype)
        assert y.dtype == dtype
        results.append((y, *torch.autograd.grad((y.float() * target).sum(), (x, weight))))
    for found, expected in zip(*results, strict=True):
        assert_near(found, expected, 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1, 896), (3, 1, 6, 32), (300, 1, 8)])
def test_the_norm_of_a_step_is_that_of_training(shape, dtype):
    x, weight = 5 * torch.randn(shape).to(dtype), torch.randn(shape[2:])
    expected = rms_norm(x.clone().requires_grad_(), weight, 1e-2, dtype)
    with torch.no_grad():
        found = rms_norm(x, weight, 1e-2, dtype)
        with torch.autocast("cpu", torch.bfloat16):
            wide = rms_norm(x.float(), weight, 1e-2, torch.float32)
        plain = rms_norm(x.float(), weight, 1e-2, torch.float32)
    assert_near(found, expected.detach(), 8 if dtype == torch.float32 else 2)
    assert_near(wide, plain, 8)  # whatever autocast makes of matrix products


def test_rms_norm_answers_in_the_dtype_asked_for():
    x = torch.randn(4, 8)
    assert rms_norm(x, torch.ones(8), 1e-6, torch.bfloat16).dtype == torch.bfloat16
    assert compute_dtype(x) == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert compute_dtype(x) == torch.bfloat16


def test_rotary_is_qwen2s():
    from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

    batch, length, heads, head_dim, theta = 2, 7, 3, 8, 1e4
    x = random(batch, length, heads * head_dim)
    cos, sin = over_heads(*rotary_angles(length, head_dim, theta, "cpu"), heads)
    frequency = 1.0 / theta ** (torch.arange(0, head_dim, 2).double() / head_dim)
    angle = torch.arange(length)[:, None] * frequency
    angle = torch.cat((angle, angle), dim=-1)
    q = x.unflatten(-1, (heads, head_dim)).transpose(1, 2)
    expected, _ = apply_rotary_pos_emb(q, q, angle.cos()[None], angle.sin()[None])
    found = rotary(x, cos, sin, head_dim).unflatten(-1, (heads, head_dim)).transpose(1, 2)
    assert_near(found.float(), expected.float(), 4)
    assert torch.autograd.gradcheck(lambda x: rotary(x, cos.double(), sin.double(), head_dim), x)


def test_decayed_scores():
    scores, steps = random(2, 3, 4, 4), -random(2, 3, 4, seed=1).abs()
    sums = steps.cumsum(-1)
    found = decayed_scores(scores, sums)
    for i in range(4):
        for j in range(4):
            factor = torch.exp(sums[..., i] - sums[..., j]) if j <= i else torch.zeros(2, 3)
            assert_near(found[..., i, j], scores[..., i, j] * factor.double(), 4)
    assert torch.autograd.gradcheck(lambda s, d: decayed_scores(s, d.cumsum(-1)), (scores, steps))


@pytest.mark.parametrize("drop", [1e3, 1e5])
def test_decayed_scores_do_not_overflow(drop):
    sums = (-drop * torch.arange(8.0)).requires_grad_()
    scores = torch.ones(8, 8, requires_grad=True)
    result = decayed_scores(scores, sums)
    result.sum().backward()
    assert torch.equal(result, torch.eye(8))
    assert bool(torch.isfinite(sums.grad).all())
    assert bool(torch.isfinite(scores.grad).all())
