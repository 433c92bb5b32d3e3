"""The Mamba layer: geometry, the linear-attention limit, and its one-token step. Equations: test_mixers.py."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from mamtra.backbone.context import StepContext, query_key_table, sequence_context
from mamtra.backbone.mamba_mixer import A_MAX, A_MIN, DT_MAX, DT_MIN, MambaMixer, inverse_softplus
from mamtra.backbone.sizes import BackboneSizes
from tests.near import assert_near

SIZES = BackboneSizes(d_model=24, n_layers=1, n_heads=6, n_kv_heads=2, head_dim=4, d_ff=32, chunk=8)


def mixer(seed=0, sizes=SIZES, dtype=torch.float64):
    torch.manual_seed(seed)
    made = MambaMixer(sizes).to(dtype)
    with torch.no_grad():
        for parameter in (made.in_proj.bias, made.out_proj.bias, made.skip, made.norm_weight):
            parameter.normal_()
    return made


def test_parameter_shapes():
    m = mixer()
    shapes = {name: tuple(p.shape) for name, p in m.named_parameters()}
    channels = 2 * SIZES.d_kv + SIZES.d_inner
    assert shapes == {
        "in_proj.weight": (SIZES.d_inner + channels, SIZES.d_model),
        "in_proj.bias": (SIZES.d_inner + channels,),
        "dt_proj.weight": (SIZES.n_heads, SIZES.d_model),
        "dt_bias": (SIZES.n_heads,),
        "conv_weight": (channels, SIZES.d_conv),
        "conv_bias": (channels,),
        "a_log": (SIZES.n_heads,),
        "skip": (SIZES.n_heads,),
        "norm_weight": (SIZES.d_inner,),
        "out_proj.weight": (SIZES.d_model, SIZES.d_inner),
        "out_proj.bias": (SIZES.d_model,),
    }
    sections = MambaMixer.sections(SIZES)
    assert list(sections) == ["z", "x", "B", "C"]
    covered = [i for rows in sections.values() for i in range(rows.start, rows.stop)]
    assert covered == list(range(SIZES.d_inner + channels))


def test_default_dynamics_are_in_their_ranges():
    m = MambaMixer(BackboneSizes(64, 1, 64, 64, 2, 8))
    a, dt = m.a_log.exp(), F.softplus(m.dt_bias)
    assert A_MIN <= a.min() < 3 and 12 < a.max() <= A_MAX
    assert DT_MIN * 0.99 <= dt.min() < 3e-3 and 0.03 < dt.max() <= DT_MAX * 1.01
    assert bool((m.skip == 1).all()) and bool((m.norm_weight == 1).all())


def test_inverse_softplus():
    x = torch.tensor([1e-4, 0.01, 1.0, 20.0], dtype=torch.float64)
    torch.testing.assert_close(F.softplus(inverse_softplus(x)), x, rtol=1e-9, atol=0)


def test_linear_attention_limit(monkeypatch):
    """No activation, identity convolution, A -> 0, dt = 1, D = 0, gate 1, no norm: then the layer
    is causal attention without its softmax, tril(Q K^T) V."""
    monkeypatch.setattr(F, "silu", lambda x: x)
    monkeypatch.setattr(
        "mamtra.backbone.mamba_mixer.rms_norm", lambda x, weight, eps, dtype: x.to(dtype)
    )
    m, length = mixer(), 20
    sections = m.sections(SIZES)
    with torch.no_grad():
        m.conv_weight.zero_()
        m.conv_weight[:, -1] = 1.0
        m.conv_bias.zero_()
        m.skip.zero_()
        m.a_log.fill_(-torch.inf)  # A = 0
        m.dt_proj.weight.zero_()
        m.dt_bias.copy_(inverse_softplus(torch.ones_like(m.dt_bias)))
        m.in_proj.weight[sections["z"]] = 0.0
        m.in_proj.bias[sections["z"]] = 1.0
    x = torch.randn(2, length, SIZES.d_model, dtype=torch.float64)
    rows = m.in_proj(x)

    def heads(name, repeat):
        found = rows[..., sections[name]].unflatten(-1, (-1, SIZES.head_dim)).transpose(1, 2)
        return found.repeat_interleave(repeat, dim=1)

    q, k, v = heads("C", 1), heads("B", SIZES.group), heads("x", SIZES.group)
    expected = (q @ k.transpose(-1, -2)).tril() @ v
    expected = m.out_proj(expected.transpose(1, 2).flatten(2))
    found = m(x, sequence_context(length, None, SIZES, x.device))
    assert_near(found, expected, 8)


def test_rotated_b_and_c_depend_on_distance_only():
    """With positions in B and C the layer still must not see absolute positions."""
    sizes = replace(SIZES, mamba_rope=True)
    m = mixer(sizes=sizes)
    x = torch.randn(1, 12, SIZES.d_model, dtype=torch.float64)
    padded = torch.cat((torch.randn_like(x[:, :5]), x), dim=1)
    mask = torch.arange(17)[None] >= 5
    alone = m(x, sequence_context(12, None, sizes, x.device))
    shifted = m(padded, sequence_context(17, mask, sizes, x.device))[:, 5:]
    assert_near(shifted.float(), alone.float(), 8)
    plain = mixer()(x, sequence_context(12, None, SIZES, x.device))
    assert not torch.allclose(plain, alone, atol=1e-3)


@pytest.mark.parametrize(
    "more",
    [{}, {"mamba_rope": True}, {"state": "shared"}, {"state": "shared", "state_dtype": "bf16"}],
)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 2e-6), (torch.bfloat16, 4e-2)])
def test_one_token_at_a_time_has_a_way_of_its_own_that_agrees_with_the_plain_one(
    more, dtype, bound
):
    sizes = replace(SIZES, **more)
    bound = max(bound, 4e-2) if "state_dtype" in more else bound
    layer = mixer(sizes=sizes, dtype=dtype)
    plain, quick = (layer.new_state(3, 9, dtype, torch.device("cpu")) for _ in range(2))
    cos, sin = query_key_table(9, sizes, torch.device("cpu"))
    with torch.no_grad():
        for position in range(9):
            x = torch.randn(3, 1, sizes.d_model).to(dtype)
            here = slice(position, position + 1)
            context = StepContext(cos[here], sin[here], position, None, position + 1, None)
            expected = layer._step_many(x, context, plain)
            found = layer.step(x, context, quick)
            assert found.dtype == expected.dtype == dtype
            torch.testing.assert_close(
                found, expected, rtol=0, atol=bound * float(expected.abs().max())
            )
        torch.testing.assert_close(quick.conv, plain.conv, rtol=0, atol=0)
        torch.testing.assert_close(
            quick.ssm, plain.ssm, rtol=0, atol=bound * float(plain.ssm.abs().max())
        )


def per_head_twin(shared):
    """The layer with one state per query head that computes what `shared` does."""
    twin = mixer(sizes=replace(shared.sizes, state="per_head"))
    weights = dict(shared.state_dict())
    for name in ("dt_proj.weight", "dt_bias", "a_log"):
        weights[name] = weights[name].repeat_interleave(SIZES.group, dim=0)
    twin.load_state_dict(weights)
    return twin


def test_a_shared_state_is_that_of_heads_with_equal_decays():
    sizes = replace(SIZES, state="shared")
    shared = mixer(sizes=sizes)
    assert tuple(shared.dt_proj.weight.shape) == (SIZES.n_kv_heads, SIZES.d_model)
    twin, device = per_head_twin(shared), torch.device("cpu")
    x = torch.randn(2, 13, SIZES.d_model, dtype=torch.float64)
    mask = torch.arange(13)[None] < torch.tensor([[13], [8]])
    context = sequence_context(13, mask, sizes, device)
    states = [layer.new_state(2, 13, torch.float64, device) for layer in (shared, twin)]
    found = shared.prefill(x, context, states[0])
    assert_near(found[mask], twin.prefill(x, context, states[1])[mask], 8)
    assert states[0].ssm.shape == (2, SIZES.n_kv_heads, SIZES.head_dim, SIZES.head_dim)
    assert_near(states[0].ssm.repeat_interleave(SIZES.group, dim=1), states[1].ssm, 8)


def test_bytes_of_a_layer_at_cosyvoice2s_size():
    sizes = BackboneSizes(896, 1, 14, 2, 64, 4864)
    device, found = torch.device("meta"), {}
    for state, dtype in (("per_head", "fp32"), ("shared", "fp32"), ("shared", "bf16")):
        with device:
            layer = MambaMixer(replace(sizes, state=state, state_dtype=dtype))
        found[state, dtype] = layer.new_state(1, 9, torch.float32, device).num_bytes()
    conv = 3 * 1152 * 4
    assert found == {
        ("per_head", "fp32"): 14 * 64 * 64 * 4 + conv,  # 243.2 kB
        ("shared", "fp32"): 2 * 64 * 64 * 4 + conv,  # 46.6 kB
        ("shared", "bf16"): 2 * 64 * 64 * 2 + conv,
    }
