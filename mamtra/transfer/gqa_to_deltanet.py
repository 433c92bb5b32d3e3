"""One grouped-query attention layer -> one gated DeltaNet layer of the same geometry.

q, k, v and o_proj have counterparts of the same names and are copied, as conversions of language models do
(flash-linear-attention's convert_from_llama; hybrid distillation, arXiv 2512.20569); gates, decay, convolution
and norm have none. The initialisations are those of `gqa_to_mamba`:

paper       the copies with their biases; the rest as flash-linear-attention initialises it
calibrated  the copies, and the rest chosen so that the layer starts close to attention without its softmax:
            the convolution halves its input and looks at no other token, the gate is silu(1.27846) = 1,
            beta = 1/2, decay half-lives log-spaced over 8..512 tokens, the bias of v moved to out_proj; then
            each head is made as loud as the teacher's
xavier      nothing copied: projections Xavier-uniform, zero biases, the rest as flash-linear-attention
kaiming     the same with Kaiming-uniform projections
"""

import math

import torch

from mamtra.backbone.attention_mixer import AttentionMixer
from mamtra.backbone.deltanet_mixer import DeltaNetMixer
from mamtra.backbone.mamba_mixer import inverse_softplus
from mamtra.transfer.gqa_to_mamba import (
    CALIBRATED_DT,
    GATE_BIAS,
    HALF_LIVES,
    SELF_TAP,
    check_init,
    check_sizes,
    random_projections,
    v_bias_per_head,
)
from mamtra.transfer.pieces import COPIED, FRESH, Piece

# How fresh tensors begin, per init; those that a start of its own leaves out are the default's.
DEFAULT = {
    "conv_weight": "uniform",
    "conv_bias": "zero",
    "dt_bias": "dt 0.001..0.1",
    "beta_bias": "beta 1/2",
    "a_log": "A 1..16",
    "norm_weight": "one",
}
CALIBRATED = {
    "conv_weight": "0.5 x identity",
    "dt_bias": f"dt {CALIBRATED_DT}",
    "a_log": "half-lives 8..512 tokens",
    "norm_weight": "matches teacher heads",
}


@torch.no_grad()
def convert(attention: AttentionMixer, mixer: DeltaNetMixer, init: str) -> list[Piece]:
    """Fill `mixer` from `attention` and tell what became of every tensor of it. Errors as `gqa_to_mamba`."""
    check_init(init)
    check_sizes(attention, mixer)
    mixer.reset_dynamics()
    if init in ("xavier", "kaiming"):
        return random_projections(mixer, init, ("gate_proj", "out_proj")) + _fresh(mixer, DEFAULT)
    sources, targets = attention.sections(attention.sizes), mixer.sections(mixer.sizes)
    pieces, z = [], targets["z"]
    for part in "qkv":
        for kind in ("weight", "bias"):
            rows: torch.Tensor = getattr(attention.qkv_proj, kind)[sources[part]]
            getattr(mixer.in_proj, kind)[targets[part]] = rows
            names = (f"in_proj.{kind}[{part}]", f"qkv_proj.{kind}[{part}]")
            pieces.append(Piece(names[0], tuple(rows.shape), COPIED, names[1]))
    mixer.out_proj.weight.copy_(attention.out_proj.weight)
    mixer.out_proj.bias.zero_()
    mixer.in_proj.bias[z] = 0.0
    shape = tuple(mixer.out_proj.weight.shape)
    pieces.append(Piece("out_proj.weight", shape, COPIED, "out_proj.weight"))
    gate, out = ("normal", "zero", "normal"), ("zero", FRESH)
    how = DEFAULT
    if init == "calibrated":
        _calibrate(attention, mixer)
        gate, how = ("zero", "silu(z) = 1", "zero"), DEFAULT | CALIBRATED
        out = ("out_proj.weight @ qkv_proj.bias[v]", COPIED)
        pieces = [p for p in pieces if p.name != "in_proj.bias[v]"]
        pieces.append(Piece("in_proj.bias[v]", (mixer.sizes.d_kv,), FRESH, "zero"))
    pieces.append(Piece("out_proj.bias", shape[:1], out[1], out[0]))
    pieces.append(Piece("in_proj.weight[z]", (z.stop, mixer.sizes.d_model), FRESH, gate[0]))
    pieces.append(Piece("in_proj.bias[z]", (z.stop,), FRESH, gate[1]))
    shape = tuple(mixer.gate_proj.weight.shape)
    pieces.append(Piece("gate_proj.weight", shape, FRESH, gate[2]))
    return pieces + _fresh(mixer, how)


def _fresh(mixer: DeltaNetMixer, how: dict[str, str]) -> list[Piece]:
    return [
        Piece(name, tuple(getattr(mixer, name).shape), FRESH, source)
        for name, source in how.items()
    ]


def _calibrate(attention: AttentionMixer, mixer: DeltaNetMixer) -> None:
    rows = mixer.sections(mixer.sizes)
    mixer.in_proj.weight[rows["z"]] = 0.0
    mixer.in_proj.bias[rows["z"]] = GATE_BIAS
    mixer.in_proj.bias[rows["v"]] = 0.0
    mixer.out_proj.bias.copy_(attention.out_proj.weight @ v_bias_per_head(attention))
    mixer.conv_weight.zero_()
    mixer.conv_weight[:, -1] = SELF_TAP  # the last tap is the current token
    mixer.gate_proj.weight.zero_()
    mixer.dt_bias.copy_(inverse_softplus(torch.full_like(mixer.dt_bias, CALIBRATED_DT)))
    low, high = (math.log(half_life) for half_life in HALF_LIVES)
    half_lives = torch.linspace(low, high, mixer.sizes.n_heads).exp()
    # exp(-dt A half_life) = 1/2
    mixer.a_log.copy_((math.log(2.0) / (CALIBRATED_DT * half_lives)).log())
