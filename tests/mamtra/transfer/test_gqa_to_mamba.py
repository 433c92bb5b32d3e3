"""One layer: which rows go where, and what the calibrated start means."""

import math

import pytest
import torch
from torch.nn import functional as F
from transformers.models.qwen2.modeling_qwen2 import repeat_kv

from mamtra.backbone.attention_mixer import AttentionMixer
from mamtra.backbone.context import sequence_context
from mamtra.backbone.mamba_mixer import MambaMixer
from mamtra.backbone.sizes import BackboneSizes
from mamtra.transfer.gqa_to_mamba import INITS, convert, match_heads
from mamtra.transfer.pieces import COPIED, FRESH
from tests.near import assert_near

SIZES = BackboneSizes(d_model=24, n_layers=1, n_heads=6, n_kv_heads=2, head_dim=4, d_ff=32)


@pytest.fixture
def layers():
    torch.manual_seed(0)
    attention, mamba = AttentionMixer(SIZES), MambaMixer(SIZES)
    with torch.no_grad():
        attention.qkv_proj.bias.normal_()
    return attention, mamba


def rows_of(layer, projection, name):
    part = getattr(layer, projection)
    rows = layer.sections(SIZES)[name]
    return part.weight[rows], part.bias[rows]


@pytest.mark.parametrize("init", INITS)
def test_every_value_is_accounted_for_once(layers, init):
    attention, mamba = layers
    pieces = convert(attention, mamba, init)
    sizes: dict[str, int] = {}
    for piece in pieces:
        name = piece.name.partition("[")[0]
        sizes[name] = sizes.get(name, 0) + math.prod(piece.shape)
    assert sizes == {name: p.numel() for name, p in mamba.named_parameters()}
    assert len({piece.name for piece in pieces}) == len(pieces)
    copied = {piece.name for piece in pieces if piece.status == COPIED}
    if init in ("xavier", "kaiming"):
        assert not copied
    else:
        weights = {"in_proj.weight[C]", "in_proj.weight[B]", "in_proj.weight[x]", "out_proj.weight"}
        assert weights <= copied
    assert {piece.status for piece in pieces} <= {COPIED, FRESH}


def test_paper_copies_four_projections_with_biases(layers):
    attention, mamba = layers
    convert(attention, mamba, "paper")
    for target, source in (("C", "q"), ("B", "k"), ("x", "v")):
        found, expected = rows_of(mamba, "in_proj", target), rows_of(attention, "qkv_proj", source)
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
    assert torch.equal(mamba.out_proj.weight, attention.out_proj.weight)
    assert not bool(mamba.out_proj.bias.any())


@pytest.mark.parametrize("init", ["xavier", "kaiming"])
def test_random_inits_copy_nothing_and_have_the_right_bounds(layers, init):
    attention, mamba = layers
    convert(attention, mamba, init)
    weight, bias = rows_of(mamba, "in_proj", "C")
    assert not torch.equal(weight, rows_of(attention, "qkv_proj", "q")[0])
    assert not bool(bias.any())
    fan_in, fan_out = SIZES.d_model, SIZES.d_inner
    bound = math.sqrt(6 / (fan_in + fan_out)) if init == "xavier" else math.sqrt(6 / fan_in)
    assert 0.9 * bound < weight.abs().max() <= bound


def test_repeat_of_the_groups_is_transformers_repeat_kv(layers):
    """Head h of the Mamba layer reads the x and B that query head h's key/value head gave."""
    attention, mamba = layers
    convert(attention, mamba, "paper")
    x = torch.randn(1, 7, SIZES.d_model)
    v = F.linear(x, *rows_of(attention, "qkv_proj", "v")).unflatten(-1, (-1, SIZES.head_dim))
    per_head = repeat_kv(v.transpose(1, 2), SIZES.group)
    with torch.no_grad():  # identity convolution, and y = D x: the state plays no part
        mamba.conv_weight.zero_()
        mamba.conv_weight[:, -1] = 1.0
        mamba.conv_bias.zero_()
        mamba.in_proj.weight[mamba.sections(SIZES)["B"]] = 0.0
        mamba.in_proj.bias[mamba.sections(SIZES)["B"]] = 0.0
    captured = []
    mamba.out_proj.register_forward_pre_hook(lambda _, args: captured.append(args[0]))
    mamba(x, sequence_context(7, None, SIZES, x.device))
    z = F.linear(x, *rows_of(mamba, "in_proj", "z")).unflatten(-1, (-1, SIZES.head_dim))
    gated = F.silu(per_head).transpose(1, 2) * F.silu(z)
    expected = F.rms_norm(gated, (SIZES.head_dim,), eps=SIZES.norm_eps).flatten(2)
    assert_near(captured[0], expected, 8)


def test_calibrated_start(layers):
    attention, mamba = layers
    convert(attention, mamba, "calibrated")
    gate = F.silu(rows_of(mamba, "in_proj", "z")[1])
    torch.testing.assert_close(gate, torch.ones_like(gate), rtol=1e-5, atol=0)
    assert not bool(rows_of(mamba, "in_proj", "z")[0].any())
    assert not bool(mamba.skip.any())
    decay = torch.exp(-F.softplus(mamba.dt_bias) * mamba.a_log.exp())
    half_lives = math.log(0.5) / decay.double().log()
    ratios = half_lives[1:] / half_lives[:-1]
    torch.testing.assert_close(half_lives[0].item(), 8.0, rtol=1e-3, atol=0)
    torch.testing.assert_close(half_lives[-1].item(), 512.0, rtol=1e-2, atol=0)
    torch.testing.assert_close(ratios, ratios[:1].expand(5), rtol=1e-2, atol=0)
    q, c = rows_of(attention, "qkv_proj", "q"), rows_of(mamba, "in_proj", "C")
    assert torch.equal(c[0], q[0] / 2)  # 1/sqrt(head_dim), head_dim = 4
    assert torch.equal(c[1], q[1] / 2)


def test_match_heads_sets_the_rms_of_each_head(layers):
    attention, mamba = layers
    convert(attention, mamba, "calibrated")
    x, mask = torch.randn(2, 11, SIZES.d_model), torch.arange(11)[None] < torch.tensor([[11], [6]])
    context = sequence_context(11, mask, SIZES, x.device)
    target = torch.linspace(0.5, 2.0, SIZES.n_heads)
    match_heads(mamba, x, context, target)
    captured = []
    mamba.out_proj.register_forward_pre_hook(lambda _, args: captured.append(args[0]))
    mamba(x, context)
    heads = captured[0][mask].unflatten(-1, (SIZES.n_heads, SIZES.head_dim))
    assert_near(heads.square().mean(dim=(0, 2)).sqrt(), target, 8)


def test_the_bias_of_v_passes_through_attention_unchanged(layers):
    """Exact for softmax attention: with v = its bias alone, every output is the moved bias."""
    attention, mamba = layers
    convert(attention, mamba, "calibrated")
    rows = attention.sections(SIZES)
    with torch.no_grad():
        attention.qkv_proj.weight[rows["v"]] = 0.0
    x = torch.randn(1, 9, SIZES.d_model)
    outputs = attention(x, sequence_context(9, None, SIZES, x.device))
    assert_near(outputs, mamba.out_proj.bias.expand_as(outputs), 8)
    assert not bool(rows_of(mamba, "in_proj", "x")[1].any())


def test_bad_input(layers):
    attention, mamba = layers
    with pytest.raises(ValueError, match="paper, calibrated, xavier, kaiming"):
        convert(attention, mamba, "zeros")
    other = BackboneSizes(d_model=24, n_layers=1, n_heads=6, n_kv_heads=3, head_dim=4, d_ff=32)
    with pytest.raises(ValueError, match="different sizes"):
        convert(attention, MambaMixer(other), "paper")
