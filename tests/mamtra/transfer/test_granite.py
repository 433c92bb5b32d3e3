"""Our decoder stack as transformers' GraniteMoeHybrid: the same numbers, and the same weights back."""

import json
from dataclasses import replace

import pytest
import torch

from mamtra.backbone.decoder import Decoder
from mamtra.backbone.layer_plan import parse_plan
from mamtra.backbone.sizes import BackboneSizes
from mamtra.transfer.granite import (
    NoCounterpart,
    check_counterpart,
    granite_config,
    stack_from_granite,
    stack_to_granite,
)

SIZES = BackboneSizes(32, 4, 4, 2, 8, 48, rope_theta=1e4, norm_eps=1e-5, chunk=8)
SHARED = replace(SIZES, state="shared")
PLANS = ("AAAA", "AMAM", "MMMM")
PROMPT, STEPS = 21, 12  # 300 steps: tests/tools/test_export_hf.py
LIMIT = 3e-5  # of the largest value
# Without them, transformers 5.23 asks the cache of an attention layer for its length, and MMMM has none.
NO_MASKS = {"full_attention": None, "linear_attention": None}


def random_stack(letters, sizes=SIZES):
    """Every tensor is random, biases, norms and decays included."""
    torch.manual_seed(0)
    stack = Decoder(sizes, parse_plan(letters)).eval()
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return stack


def as_granite(stack, vocab_size=10):
    transformers = pytest.importorskip("transformers")
    config = json.loads(json.dumps(granite_config(stack.sizes, stack.plan, vocab_size)))
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(**config)
    )
    tensors = stack_to_granite(stack.state_dict(), stack.sizes, stack.plan)
    tensors["model.embed_tokens.weight"] = torch.zeros(vocab_size, stack.sizes.d_model)
    tensors["lm_head.weight"] = torch.zeros(vocab_size, stack.sizes.d_model)
    model.load_state_dict(tensors, strict=True)
    return model.eval().model


def relative(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize(
    ("letters", "sizes"), [*((letters, SIZES) for letters in PLANS), ("AMAM", SHARED)]
)
@torch.no_grad()
def test_forward_and_steps_are_transformers_own(letters, sizes):
    stack = random_stack(letters, sizes)
    theirs = as_granite(stack)
    x = torch.randn(2, PROMPT + STEPS, SIZES.d_model)
    whole = theirs(inputs_embeds=x, use_cache=False).last_hidden_state
    assert relative(whole, stack(x)[0]) < LIMIT

    def cached(part, start, cache=None):
        positions = torch.arange(start, start + part.shape[1])[None]
        given = {"past_key_values": cache, "position_ids": positions, "attention_mask": NO_MASKS}
        return theirs(inputs_embeds=part, use_cache=True, **given)

    out = cached(x[:, :PROMPT], 0)
    ours, state = stack.prefill(x[:, :PROMPT], None, PROMPT + STEPS)
    assert relative(out.last_hidden_state, ours) < LIMIT
    steps = []
    for t in range(PROMPT, PROMPT + STEPS):
        token = x[:, t : t + 1]
        found = cached(token, t, out.past_key_values)
        steps.append((found.last_hidden_state, stack.step(token, state)))
    found, expected = (torch.cat(part, dim=1) for part in zip(*steps, strict=True))
    assert relative(found, expected) < LIMIT


@pytest.mark.parametrize("letters", PLANS)
@pytest.mark.parametrize("sizes", [SIZES, SHARED], ids=["per_head", "shared"])
def test_weights_come_back_bit_for_bit(letters, sizes):
    stack = random_stack(letters, sizes)
    there = stack_to_granite(stack.state_dict(), sizes, stack.plan)
    back = stack_from_granite(there, sizes, stack.plan)
    assert back.keys() == stack.state_dict().keys()
    assert all(torch.equal(back[name], value) for name, value in stack.state_dict().items())


def test_states_that_are_no_longer_equal_are_no_shared_state():
    stack = random_stack("AMAM", SHARED)
    there = stack_to_granite(stack.state_dict(), SHARED, stack.plan)
    there["model.layers.1.mamba.A_log"][1] += 1
    with pytest.raises(NoCounterpart, match=r"layers.1.mamba.A_log: .* share a state"):
        stack_from_granite(there, SHARED, stack.plan)


@pytest.mark.parametrize(
    ("tensor", "where"),
    [
        ("model.layers.1.mamba.in_proj.weight", 32 + 3),
        ("model.layers.1.mamba.conv1d.bias", 32 + 9),
        ("model.layers.1.mamba.in_proj.bias", -1),
        ("model.layers.0.self_attn.o_proj.bias", 0),
    ],
)
def test_weights_that_our_layers_have_no_place_for_are_named(tensor, where):
    stack = random_stack("AMAM")
    there = stack_to_granite(stack.state_dict(), SIZES, stack.plan)
    there[tensor] = there[tensor].clone()
    there[tensor][where] += 1
    with pytest.raises(NoCounterpart, match=tensor):
        stack_from_granite(there, SIZES, stack.plan)


@pytest.mark.parametrize(
    ("sizes", "letters", "why"),
    [
        (replace(SIZES, mamba_rope=True), "AMAM", "mamba_rope=True"),
        (replace(SIZES, head_dim=12), "AMAM", "head_dim=12"),
        (replace(SIZES, state_dtype="bf16"), "AMAM", "state_dtype=bf16"),
    ],
)
def test_what_has_no_counterpart_is_named(sizes, letters, why):
    with pytest.raises(NoCounterpart, match=why):
        granite_config(sizes, parse_plan(letters), 10)


def test_a_kind_of_layer_that_granite_does_not_know_is_named():
    with pytest.raises(NoCounterpart, match="layer 1 is 'window'"):
        check_counterpart(SIZES, ("attention", "window", "attention", "mamba"))


def test_settings_that_no_layer_uses_do_not_matter():
    check_counterpart(replace(SIZES, mamba_rope=True, head_dim=12), parse_plan("AAAA"))
    check_counterpart(replace(SIZES, window=64), parse_plan("AMAM"))
