"""The stack: Qwen2 parity, any split of a sequence, any padding, causality, autocast."""

from dataclasses import fields, is_dataclass

import pytest
import torch

from mamtra.backbone.context import sequence_context
from mamtra.backbone.decoder import Decoder
from mamtra.backbone.layer_plan import layer_plan
from mamtra.backbone.sizes import BackboneSizes
from mamtra.backbone.state import MambaState
from tests.near import assert_near

N_LAYERS = 4
PLANS = {
    "attention": layer_plan(N_LAYERS, "1:0", "front"),
    "mamba": layer_plan(N_LAYERS, "0:1", "front"),
    "hybrid": layer_plan(N_LAYERS, "1:1", "blockbeg"),
}
LIMIT = 32  # roundings: 8 measured over four layers of width 32


def build(plan, seed=0, **more):
    torch.manual_seed(seed)
    sizes = BackboneSizes(
        d_model=32,
        n_layers=N_LAYERS,
        n_heads=6,
        n_kv_heads=2,
        head_dim=8,
        d_ff=48,
        rope_theta=1e4,
        chunk=8,
        **more,
    )
    model = Decoder(sizes, plan).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


MORE = {"": {}, "rope": {"mamba_rope": True}, "shared": {"state": "shared"}}


@pytest.fixture(params=[*PLANS, "hybrid-rope", "hybrid-shared"])
def model(request):
    name, _, more = request.param.partition("-")
    return build(PLANS[name], **MORE[more])


def pad_rows(rows, total, left, junk=-1.0):
    """Rows (T_i, D) -> (B, total, D) with `junk` at padding, mask, and each row's slice."""
    x = torch.full((len(rows), total, rows[0].shape[1]), junk)
    mask = torch.zeros(len(rows), total, dtype=torch.bool)
    places = []
    for i, row in enumerate(rows):
        start = total - len(row) if left else 0
        place = slice(start, start + len(row))
        x[i, place], mask[i, place] = row, True
        places.append(place)
    return x, mask, places


def assert_same_state(found, expected, row):
    """Row `row` of one state against the only row of another, up to its number of tokens."""
    assert int(found.offsets[row]) == int(expected.offsets[0])
    used = int(expected.offsets[0])
    for got, want in zip(found.layers, expected.layers, strict=True):
        if isinstance(want, MambaState):
            pairs = [(got.conv[row], want.conv[0]), (got.ssm[row], want.ssm[0])]
        else:
            pairs = [
                (got.keys[row, :, :used], want.keys[0, :, :used]),
                (got.values[row, :, :used], want.values[0, :, :used]),
            ]
        for a, b in pairs:
            assert_near(a, b, LIMIT)


@pytest.mark.parametrize(
    "split", [(1, 39), (39, 1), (17, 2, 3, 5, 13), (20, *[1] * 20), (2, 1, 37), (8, 8, 24)]
)
def test_any_split_equals_the_full_forward(model, split):
    x = torch.randn(2, 40, 32)
    expected, _ = model(x)
    start = split[0]
    first, state = model.prefill(x[:, :start], None, max_length=40)
    parts = [first]
    for size in split[1:]:
        parts.append(model.step(x[:, start : start + size], state))
        start += size
    assert_near(torch.cat(parts, 1), expected, LIMIT)
    _, whole = model.prefill(x[1:], None, max_length=40)
    assert_same_state(state, whole, row=1)


@pytest.mark.parametrize("junk", [-1.0, float("nan")])
@pytest.mark.parametrize("left", [False, True])
def test_padded_batches_equal_single_rows(model, left, junk):
    rows = [torch.randn(n, 32) for n in (33, 20, 2, 1)]
    later = torch.randn(4, 6, 32)
    x, mask, places = pad_rows(rows, 35, left, junk)
    outputs, hidden = model(x, mask, output_hidden=True)
    prefilled, state = model.prefill(x, mask, max_length=50)
    steps = [model.step(later[:, :1], state), model.step(later[:, 1:], state)]
    for i, (row, place) in enumerate(zip(rows, places, strict=True)):
        alone = torch.cat((row, later[i]))[None]
        expected, expected_hidden = model(alone, output_hidden=True)
        for found in (outputs[i, place], prefilled[i, place]):
            assert_near(found, expected[0, : len(row)], LIMIT)
        for found, want in zip(hidden, expected_hidden, strict=True):
            assert_near(found[i, place], want[0, : len(row)], LIMIT)
        assert_near(torch.cat(steps, 1)[i], expected[0, len(row) :], LIMIT)
        _, single = model.prefill(alone, None, max_length=50)
        assert_same_state(state, single, row=i)


def test_padding_gets_no_gradient_and_gives_none_away(model):
    rows = [torch.randn(n, 32) for n in (12, 5)]
    for left in (False, True):
        x, mask, _ = pad_rows(rows, 12, left)
        x.requires_grad_()
        outputs, _ = model(x, mask)
        (grad,) = torch.autograd.grad(outputs[mask].square().sum(), x)
        assert bool(torch.isfinite(grad).all())
        assert not bool(grad[~mask].any())
        assert bool(grad[mask].any(dim=-1).all())


def test_causality_by_gradients(model):
    x = torch.randn(1, 24, 32, requires_grad=True)
    outputs, _ = model(x)
    for position in (0, 7, 8, 23):
        (grad,) = torch.autograd.grad(outputs[0, position].sum(), x, retain_graph=True)
        reached = grad[0].abs().amax(dim=-1) > 0
        assert not bool(reached[position + 1 :].any())
        assert bool(reached[: position + 1].all())


def test_equal_to_transformers_qwen2():
    from transformers import Qwen2Config, Qwen2Model

    model = build(PLANS["attention"])
    sizes = model.sizes
    config = Qwen2Config(
        vocab_size=4,
        hidden_size=sizes.d_model,
        intermediate_size=sizes.d_ff,
        num_hidden_layers=sizes.n_layers,
        num_attention_heads=sizes.n_heads,
        num_key_value_heads=sizes.n_kv_heads,
        head_dim=sizes.head_dim,
        rms_norm_eps=sizes.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": sizes.rope_theta},
        attn_implementation="eager",
    )
    reference = Qwen2Model(config).eval()
    with torch.no_grad():
        for ours, theirs in zip(model.layers, reference.layers, strict=True):
            attention, sections = theirs.self_attn, ours.mixer.sections(sizes)
            for name in ("q", "k", "v"):
                projection = getattr(attention, f"{name}_proj")
                projection.weight.copy_(ours.mixer.qkv_proj.weight[sections[name]])
                projection.bias.copy_(ours.mixer.qkv_proj.bias[sections[name]])
            attention.o_proj.weight.copy_(ours.mixer.out_proj.weight)
            gate, up = ours.mlp.gate_up_proj.weight.chunk(2)
            theirs.mlp.gate_proj.weight.copy_(gate)
            theirs.mlp.up_proj.weight.copy_(up)
            theirs.mlp.down_proj.weight.copy_(ours.mlp.down_proj.weight)
            theirs.input_layernorm.weight.copy_(ours.mixer_norm.weight)
            theirs.post_attention_layernorm.weight.copy_(ours.mlp_norm.weight)
        reference.norm.weight.copy_(model.norm.weight)
    x = torch.randn(2, 70, sizes.d_model)
    expected = reference(inputs_embeds=x).last_hidden_state
    assert_near(model(x)[0], expected, LIMIT)
    mask = torch.arange(70)[None] < torch.tensor([[70], [41]])
    expected = reference(inputs_embeds=x, attention_mask=mask.long()).last_hidden_state
    found, _ = model(x, mask)
    assert_near(found[mask], expected[mask], LIMIT)


def test_bf16_autocast_trains_and_stays_close(model):
    x = torch.randn(2, 20, 32)
    mask = torch.arange(20)[None] < torch.tensor([[20], [11]])
    expected, _ = model(x, mask)
    with torch.autocast("cpu", torch.bfloat16):
        found, hidden = model(x, mask, output_hidden=True)
    assert found.dtype == torch.float32  # the final norm keeps the residual stream's precision
    assert all(state.dtype == torch.float32 for state in hidden)
    error = (found - expected)[mask].norm() / expected[mask].norm()
    assert error < 0.05
    found[mask].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name


def test_state_size_and_limits():
    model = build(PLANS["hybrid"])
    sizes = model.sizes
    state = model.new_state(3, 50)
    attention = 2 * 3 * sizes.n_kv_heads * 50 * sizes.head_dim * 4
    channels = 2 * sizes.d_kv + sizes.d_inner
    mamba = 3 * (channels * 3 + sizes.n_heads * sizes.head_dim**2) * 4
    table, positions = 2 * 50 * sizes.head_dim // 2 * 4, 3 * 8
    assert state.num_bytes() == 2 * attention + 2 * mamba + table + positions
    with pytest.raises(ValueError, match="max_length=8"):
        model.prefill(torch.randn(1, 9, 32), None, max_length=8)
    _, state = model.prefill(torch.randn(1, 7, 32), None, max_length=8)
    model.step(torch.randn(1, 1, 32), state)
    with pytest.raises(ValueError, match=r"9 positions .* max_length=8"):
        model.step(torch.randn(1, 1, 32), state)


def storages(held, seen=None) -> dict[int, int]:
    """Bytes by address of the storage of every tensor that an object holds, shared ones once."""
    seen = {} if seen is None else seen
    if isinstance(held, torch.Tensor):
        seen[held.untyped_storage().data_ptr()] = held.untyped_storage().nbytes()
    elif isinstance(held, list | tuple):
        for part in held:
            storages(part, seen)
    elif is_dataclass(held):
        storages([getattr(held, field.name) for field in fields(held)], seen)
    return seen


SMALL = {"state": "shared", "state_dtype": "bf16"}


@pytest.mark.parametrize(("name", "more"), [*((name, {}) for name in PLANS), ("hybrid", SMALL)])
def test_a_state_holds_what_it_says_it_holds(name, more):
    model = build(PLANS[name], **more)
    _, live = model.prefill(torch.randn(2, 7, 32), None, max_length=40)
    model.step(torch.randn(2, 1, 32), live)
    for state in (live, model.new_state(3, 50), model.new_state(1, 9, dtype=torch.bfloat16)):
        assert state.num_bytes() == sum(storages(state).values())


def test_mamba_states_stay_fp32_in_a_half_precision_cache():
    model = build(PLANS["hybrid"])
    state = model.new_state(1, 4, dtype=torch.bfloat16)
    kinds = {type(layer).__name__: layer for layer in state.layers}
    assert kinds["MambaState"].ssm.dtype == torch.float32
    assert kinds["MambaState"].conv.dtype == torch.bfloat16
    assert kinds["AttentionState"].keys.dtype == torch.bfloat16
    x = torch.randn(1, 6, 32)
    expected, _ = model(x)
    _, live = model.prefill(x[:, :4], None, max_length=6, dtype=torch.bfloat16)
    found = model.step(x[:, 4:], live)
    assert (found - expected[:, 4:]).norm() / expected[:, 4:].norm() < 0.05


def test_bad_masks_are_refused():
    sizes, device = build(PLANS["hybrid"]).sizes, torch.device("cpu")
    with pytest.raises(ValueError, match="bool"):
        sequence_context(4, torch.ones(1, 4), sizes, device)
    with pytest.raises(ValueError, match=r"\(B, 4\)"):
        sequence_context(4, torch.ones(1, 3, dtype=torch.bool), sizes, device)
    with pytest.raises(ValueError, match="contiguous"):
        sequence_context(4, torch.tensor([[True, False, True, True]]), sizes, device)


def test_no_attention_row_is_empty_under_left_padding():
    """A softmax over nothing is NaN in some kernels, which padding would then pass on."""
    mask = torch.tensor([[False, False, True, True], [True] * 4])
    context = sequence_context(4, mask, build(PLANS["hybrid"]).sizes, torch.device("cpu"))
    assert bool(context.attention_mask.any(dim=-1).all())
    assert context.attention_mask[0, 0, 2:, :2].sum() == 0


@pytest.mark.parametrize("left", [False, True])
def test_log_attention_is_what_forward_attends_with(left):
    model = build(PLANS["attention"])
    mixer, sizes = model.layers[1].mixer, model.sizes
    torch.manual_seed(1)
    x, mask, places = pad_rows([torch.randn(n, 32) for n in (9, 5)], 9, left)
    context = sequence_context(9, mask, sizes, x.device)
    heads = []
    mixer.out_proj.register_forward_pre_hook(lambda _, inputs: heads.append(inputs[0]))
    mixer(x, context)
    _, _, v = mixer._project(x, context)
    for head in range(sizes.n_heads):
        weights = mixer.log_attention(x, context, head).exp()
        expected = heads[0].unflatten(-1, (sizes.n_heads, -1))[:, :, head]
        found = weights @ v[:, :, head // sizes.group]
        for row, place in enumerate(places):
            assert_near(found[row, place], expected[row, place], 8)
