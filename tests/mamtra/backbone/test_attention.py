"""Blocked causal attention and the head repeat."""

import pytest
import torch
from torch.nn import functional as F

from mamtra.backbone.attention import BLOCK, LONG, _blocked, _sdpa, causal_attention, repeat_kv
from tests.near import assert_near


@pytest.mark.parametrize("group", [1, 3, 7])
def test_repeat_kv_is_transformers(group):
    from transformers.models.qwen2.modeling_qwen2 import repeat_kv as reference

    x = torch.arange(2 * 3 * 5 * 4.0).reshape(2, 3, 5, 4)
    assert torch.equal(repeat_kv(x, group), reference(x, group))


@pytest.mark.parametrize("length", [1, 3, BLOCK, BLOCK + 1, 2 * BLOCK + 5])
def test_blocked_attention_equals_masked_softmax(length):
    g = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(2, length, heads, 8, generator=g, dtype=torch.float64).requires_grad_()
        for heads in (6, 2, 2)
    )
    keys, values = (repeat_kv(t.transpose(1, 2), 3) for t in (k, v))
    scores = q.transpose(1, 2) @ keys.transpose(-1, -2) / 8**0.5
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    expected = F.softmax(scores.masked_fill(future, float("-inf")), dim=-1) @ values
    expected = expected.transpose(1, 2).flatten(2)
    found = causal_attention(q, k, v)
    assert_near(found, expected, 16)
    weight = torch.randn(expected.shape, generator=g, dtype=torch.float64)
    got = torch.autograd.grad((found * weight).sum(), (q, k, v))
    want = torch.autograd.grad((expected * weight).sum(), (q, k, v))
    assert_near(got, want, 32)


@pytest.mark.parametrize("shared", [False, True])
def test_what_runs_on_a_gpu_is_blocked_attention(shared):
    q, k, v = (torch.randn(2, 70, heads, 8, requires_grad=True) for heads in (6, 2, 2))
    weight = torch.randn(2, 70, 48)
    results = []
    for y in (_sdpa(q, k, v, None, shared), causal_attention(q, k, v)):
        results.append((y, *torch.autograd.grad((y * weight).sum(), (q, k, v))))
    for found, expected in zip(*results, strict=True):
        assert_near(found, expected, 32)


def test_an_explicit_mask_replaces_the_causal_one():
    q, k, v = (torch.randn(1, 6, heads, 4) for heads in (4, 2, 2))
    causal = torch.ones(6, 6, dtype=torch.bool).tril()[None, None]
    assert_near(causal_attention(q, k, v, causal), causal_attention(q, k, v), 16)


@pytest.mark.parametrize("length", [LONG - 1, LONG])
def test_long_attention_without_gradients_is_blocked_attention(length, monkeypatch):
    q, k, v = (torch.randn(1, length, heads, 4) for heads in (2, 1, 1))
    called = []
    monkeypatch.setattr(
        "mamtra.backbone.attention._sdpa", lambda *args: called.append(1) or _sdpa(*args)
    )
    with torch.no_grad():
        found = causal_attention(q, k, v)
    assert len(called) == (length >= LONG)
    assert_near(found, _blocked(q, k, v), 32)
    causal_attention(q.requires_grad_(), k, v)
    assert len(called) == (length >= LONG), "with gradients the blocked form is faster"
