"""The decoder stack <-> transformers' GraniteMoeHybrid, tensor by tensor. Needs no transformers.

Ours                                       GraniteMoeHybrid (model.layers.N. ...)
    mixer_norm.weight, mlp_norm.weight         input_layernorm.weight, post_attention_layernorm.weight
    mixer.qkv_proj rows q | k | v              self_attn.{q,k,v}_proj
    mixer.out_proj.weight (attention)          self_attn.o_proj.weight, with a bias of zeros
    mixer.in_proj rows z | x | B | C, dt_proj  mamba.in_proj rows z | x | B | C | dt, the dt rows without bias
    mixer.conv_weight, conv_bias               mamba.conv1d
    mixer.a_log, skip, norm_weight             mamba.A_log, D, norm.weight
    mlp.gate_up_proj, down_proj                shared_mlp.input_linear, output_linear

Our query heads share x and B in groups and have their own C; Mamba-2's share B and C and have their own x.
So the rows of x and B are written once for every query head (one Mamba-2 group per head), which is exact and
costs weights and state; on the way back the copies have to be equal.

H query heads, G key/value heads, E head_dim, W convolution taps.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from mamtra.backbone.attention_mixer import AttentionMixer
from mamtra.backbone.layer_plan import ATTENTION, MAMBA, LayerPlan
from mamtra.backbone.mamba_mixer import MambaMixer
from mamtra.backbone.sizes import BackboneSizes

MODEL_TYPE = "granitemoehybrid"
ARCHITECTURE = "GraniteMoeHybridForCausalLM"
# transformers reads these names and today's own; vLLM up to 0.25 knows no others.
LAYER_TYPES = {ATTENTION: "attention", MAMBA: "mamba"}
# Sizes that the configuration has a word for, and `text_rate`, a matter of the input embeddings.
MAPPED = ("d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff", "rope_theta")
# A shared state is exported as equal states of the heads that share it.
MAPPED += ("norm_eps", "d_conv", "chunk", "text_rate", "state")
# Qwen2-0.5B's. Nothing in the model ends there: runtimes reserve by it.
MAX_POSITIONS = 32_768

_SAME = {  # ours -> theirs, within a layer
    "mixer_norm.weight": "input_layernorm.weight",
    "mlp_norm.weight": "post_attention_layernorm.weight",
    "mlp.gate_up_proj.weight": "shared_mlp.input_linear.weight",
    "mlp.down_proj.weight": "shared_mlp.output_linear.weight",
}
_SAME_ATTENTION = {"mixer.out_proj.weight": "self_attn.o_proj.weight"}
# Of every state: repeated where heads share one.
_OF_STATES = {"mixer.dt_bias": "mamba.dt_bias", "mixer.a_log": "mamba.A_log"}
_SAME_MAMBA = {
    "mixer.skip": "mamba.D",
    "mixer.norm_weight": "mamba.norm.weight",
    "mixer.out_proj.weight": "mamba.out_proj.weight",
    "mixer.out_proj.bias": "mamba.out_proj.bias",
}


class NoCounterpart(ValueError):
    """A setting or a weight that the other form has no place for; the text names it."""


def check_counterpart(sizes: BackboneSizes, plan: LayerPlan) -> None:
    """Raises NoCounterpart, naming the setting, for a stack that GraniteMoeHybrid cannot compute."""
    for i, kind in enumerate(plan):
        if kind not in LAYER_TYPES:
            known = ", ".join(LAYER_TYPES)
            raise NoCounterpart(f"layer {i} is {kind!r}: GraniteMoeHybrid has {known} only")
    for field in fields(sizes):
        value = getattr(sizes, field.name)
        # Of layers that the plan does not have; one with windows got no further than this.
        of_mamba = field.name in ("mamba_rope", "state_dtype")
        unused = field.name == "window" or (of_mamba and MAMBA not in plan)
        if field.name not in MAPPED and value != field.default and not unused:
            raise NoCounterpart(
                f"{field.name}={value}: GraniteMoeHybrid has no counterpart for this setting; only a model "
                f"with {field.name}={field.default} can be exported"
            )
    if MAMBA in plan and sizes.d_inner % sizes.d_model:
        raise NoCounterpart(
            f"n_heads={sizes.n_heads} of head_dim={sizes.head_dim}: GraniteMoeHybrid's Mamba layers are a "
            f"multiple of d_model={sizes.d_model} wide"
        )


def granite_config(sizes: BackboneSizes, plan: LayerPlan, vocab_size: int) -> dict[str, Any]:
    """`config.json` of a stack, without token ids. Raises NoCounterpart as `check_counterpart`."""
    check_counterpart(sizes, plan)
    hybrid = MAMBA in plan
    return {
        "architectures": [ARCHITECTURE],
        "model_type": MODEL_TYPE,
        "dtype": "float32",
        "vocab_size": vocab_size,
        "hidden_size": sizes.d_model,
        "intermediate_size": sizes.d_ff,
        "shared_intermediate_size": sizes.d_ff,
        "num_local_experts": 0,
        "num_experts_per_tok": 0,
        "num_hidden_layers": sizes.n_layers,
        "layer_types": [LAYER_TYPES[kind] for kind in plan],
        "hidden_act": "silu",
        "rms_norm_eps": sizes.norm_eps,
        "num_attention_heads": sizes.n_heads,
        "num_key_value_heads": sizes.n_kv_heads,
        "head_dim": sizes.head_dim,
        "attention_bias": True,
        "attention_dropout": 0.0,
        "attention_multiplier": sizes.head_dim**-0.5,
        "embedding_multiplier": 1.0,
        "residual_multiplier": 1.0,
        "logits_scaling": 1.0,
        "position_embedding_type": "rope",
        "rope_parameters": {"rope_type": "default", "rope_theta": sizes.rope_theta},
        "rope_theta": sizes.rope_theta,  # where it stood before transformers 5
        "max_position_embeddings": MAX_POSITIONS,
        # Checked by transformers even where no layer is Mamba.
        "mamba_n_heads": sizes.n_heads if hybrid else 1,
        "mamba_n_groups": sizes.n_heads if hybrid else 1,
        "mamba_d_head": sizes.head_dim if hybrid else sizes.d_model,
        "mamba_d_state": sizes.head_dim,
        "mamba_expand": sizes.d_inner // sizes.d_model if hybrid else 1,
        "mamba_d_conv": sizes.d_conv,
        "mamba_chunk_size": sizes.chunk,
        "mamba_conv_bias": True,
        "mamba_proj_bias": True,
        "tie_word_embeddings": False,
        "use_cache": True,
    }


def expand_groups(blocks: Tensor, sizes: BackboneSizes) -> Tensor:
    """(G * E, ...) -> (H * E, ...): every key/value head's block once for each of its query heads."""
    heads = blocks.unflatten(0, (sizes.n_kv_heads, sizes.head_dim))
    return heads.repeat_interleave(sizes.group, dim=0).flatten(0, 1)


def expand_channels(channels: Tensor, sizes: BackboneSizes) -> Tensor:
    """Channels x | B | C of a convolution (2 G E + H E, ...) -> (3 H E, ...)."""
    x, b, c = channels.split((sizes.d_kv, sizes.d_kv, sizes.d_inner))
    return torch.cat((expand_groups(x, sizes), expand_groups(b, sizes), c))


def expand_states(rows: Tensor, sizes: BackboneSizes, dim: int = 0) -> Tensor:
    """S rows -> H rows: every state once for each of the heads that read it."""
    return rows.repeat_interleave(sizes.n_heads // sizes.n_states, dim=dim)


def _contract_states(rows: Tensor, sizes: BackboneSizes, name: str) -> Tensor:
    """The inverse of `expand_states`. Raises NoCounterpart where the copies differ."""
    by_state = rows.unflatten(0, (sizes.n_states, -1))
    if not bool((by_state == by_state[:, :1]).all()):
        raise NoCounterpart(
            f"{name}: the rows differ between heads that share a state (trained further after the export?)"
        )
    return by_state[:, 0]


def _contract(blocks: Tensor, sizes: BackboneSizes, name: str) -> Tensor:
    """The inverse of `expand_groups`. Raises NoCounterpart where the copies differ."""
    heads = blocks.unflatten(0, (sizes.n_kv_heads, sizes.group, sizes.head_dim))
    if not bool((heads == heads[:, :1]).all()):
        raise NoCounterpart(
            f"{name}: the rows of x and B differ between query heads of one group (trained further after "
            "the export?); our Mamba layers have one of each per key/value head"
        )
    return heads[:, 0].flatten(0, 1)


def _contract_channels(channels: Tensor, sizes: BackboneSizes, name: str) -> Tensor:
    x, b, c = channels.split(sizes.d_inner)
    return torch.cat((_contract(x, sizes, name), _contract(b, sizes, name), c))


def stack_to_granite(
    state: Mapping[str, Tensor], sizes: BackboneSizes, plan: LayerPlan
) -> dict[str, Tensor]:
    """`Decoder.state_dict()` under GraniteMoeHybrid's names (`model.layers.0...`, `model.norm.weight`)."""
    check_counterpart(sizes, plan)
    found = {"model.norm.weight": state["norm.weight"]}
    for i, kind in enumerate(plan):
        ours, theirs = f"layers.{i}.", f"model.layers.{i}."
        same = _SAME | (_SAME_ATTENTION if kind == ATTENTION else _SAME_MAMBA)
        found |= {theirs + new: state[ours + old] for old, new in same.items()}
        layer = {name.removeprefix(ours): t for name, t in state.items() if name.startswith(ours)}
        mixer = _attention_out(layer, sizes) if kind == ATTENTION else _mamba_out(layer, sizes)
        found |= {theirs + name: tensor for name, tensor in mixer.items()}
    return found


def _attention_out(layer: Mapping[str, Tensor], sizes: BackboneSizes) -> dict[str, Tensor]:
    rows = AttentionMixer.sections(sizes).items()
    found = {
        f"self_attn.{part}_proj.{kind}": layer[f"mixer.qkv_proj.{kind}"][section]
        for part, section in rows
        for kind in ("weight", "bias")
    }
    # Granite has one switch for the biases of all four projections.
    return found | {
        "self_attn.o_proj.bias": layer["mixer.out_proj.weight"].new_zeros(sizes.d_model)
    }


def _mamba_out(layer: Mapping[str, Tensor], sizes: BackboneSizes) -> dict[str, Tensor]:
    weight, bias = layer["mixer.in_proj.weight"], layer["mixer.in_proj.bias"]
    z = MambaMixer.sections(sizes)["z"]

    def widened(rows: Tensor, dt: Tensor) -> Tensor:
        return torch.cat((rows[z], expand_channels(rows[z.stop :], sizes), dt))

    dt = expand_states(layer["mixer.dt_proj.weight"], sizes)
    states = {new: expand_states(layer[old], sizes) for old, new in _OF_STATES.items()}
    return states | {
        "mamba.in_proj.weight": widened(weight, dt),
        "mamba.in_proj.bias": widened(bias, bias.new_zeros(sizes.n_heads)),
        "mamba.conv1d.weight": expand_channels(layer["mixer.conv_weight"], sizes)[:, None],
        "mamba.conv1d.bias": expand_channels(layer["mixer.conv_bias"], sizes),
    }


def stack_from_granite(
    tensors: Mapping[str, Tensor], sizes: BackboneSizes, plan: LayerPlan
) -> dict[str, Tensor]:
    """The inverse of `stack_to_granite`, bit for bit.

    Raises KeyError for a tensor that is missing, NoCounterpart naming one that our layers have no place for.
    """
    found = {"norm.weight": tensors["model.norm.weight"]}
    for i, kind in enumerate(plan):
        ours, theirs = f"layers.{i}.", f"model.layers.{i}."
        same = _SAME | (_SAME_ATTENTION if kind == ATTENTION else _SAME_MAMBA)
        found |= {ours + old: tensors[theirs + new] for old, new in same.items()}
        back = _attention_in if kind == ATTENTION else _mamba_in
        found |= {ours + name: t for name, t in back(tensors, theirs, sizes).items()}
    return found


def _refuse_bias(bias: Tensor, name: str) -> None:
    if bool(bias.any()):
        raise NoCounterpart(f"{name}: not zero, and our layer has no such bias")


def _attention_in(
    tensors: Mapping[str, Tensor], layer: str, sizes: BackboneSizes
) -> dict[str, Tensor]:
    name = f"{layer}self_attn.o_proj.bias"
    _refuse_bias(tensors[name], name)
    return {
        f"mixer.qkv_proj.{kind}": torch.cat(
            [tensors[f"{layer}self_attn.{part}_proj.{kind}"] for part in ("q", "k", "v")]
        )
        for kind in ("weight", "bias")
    }


def _mamba_in(tensors: Mapping[str, Tensor], layer: str, sizes: BackboneSizes) -> dict[str, Tensor]:
    names = [f"{layer}mamba.{part}" for part in ("in_proj.weight", "in_proj.bias")]
    widths = (sizes.d_inner, 3 * sizes.d_inner, sizes.n_heads)
    z, channels, dt = tensors[names[0]].split(widths)
    z_bias, channels_bias, dt_bias = tensors[names[1]].split(widths)
    _refuse_bias(dt_bias, f"{names[1]}, its rows of dt")
    conv = f"{layer}mamba.conv1d."
    states = {
        old: _contract_states(tensors[layer + new], sizes, layer + new)
        for old, new in _OF_STATES.items()
    }
    return states | {
        "mixer.in_proj.weight": torch.cat((z, _contract_channels(channels, sizes, names[0]))),
        "mixer.in_proj.bias": torch.cat(
            (z_bias, _contract_channels(channels_bias, sizes, names[1]))
        ),
        "mixer.dt_proj.weight": _contract_states(dt, sizes, f"{names[0]}, its rows of dt"),
        "mixer.conv_weight": _contract_channels(
            tensors[f"{conv}weight"][:, 0], sizes, f"{conv}weight"
        ),
        "mixer.conv_bias": _contract_channels(tensors[f"{conv}bias"], sizes, f"{conv}bias"),
    }
