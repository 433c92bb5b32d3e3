"""One grouped-query attention layer -> one Mamba-2 layer of the same geometry.

Without its softmax, causal attention is the recurrence h_t = h_{t-1} + k_t v_t^T, y_t = q_t^T h_t, so
    q -> C,  k -> B,  v -> x,  o_proj -> out_proj        (MamTra, arXiv 2603.12342, section 2)
and z, dt, A, D, the convolution and the norm have no counterpart. The initialisations:

paper       the four copies with their biases; the rest as mamba_ssm initialises it
calibrated  the four copies, and the rest chosen so that the layer starts close to linear attention:
            the convolution halves its input and looks at no other token, the gate is
            silu(1.27846) = 1, D = 0, decay half-lives log-spaced over 8..512 tokens, 1/sqrt(head_dim)
            in C, the bias of v moved to out_proj (softmax weights sum to 1, so it passes through
            attention unchanged); `match_heads` then gives each head the teacher's loudness
xavier      nothing copied: projections Xavier-uniform, zero biases, the rest as mamba_ssm
kaiming     the same with Kaiming-uniform projections

D d_model, H heads, G key/value heads, E head_dim.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mamtra.backbone.attention_mixer import AttentionMixer
from mamtra.backbone.context import SequenceContext
from mamtra.backbone.mamba_mixer import MambaMixer, inverse_softplus
from mamtra.transfer.pieces import COPIED, FRESH, Piece
from mamtra.transfer.watch import Seen

INITS = ("paper", "calibrated", "xavier", "kaiming")

GATE_BIAS = 1.27846  # silu(1.27846) = 1
SELF_TAP = 0.5  # weight of the current token in the calibrated convolution
HALF_LIVES = (8.0, 512.0)  # tokens, from the fastest to the slowest head
CALIBRATED_DT = 1.0  # a token is written with weight 1, as attention adds k v^T


def check_init(init: str) -> str:
    """`init`, or ValueError listing the valid ones."""
    if init not in INITS:
        raise ValueError(f"unknown init {init!r}; valid inits: {', '.join(INITS)}")
    return init


def check_sizes(attention: AttentionMixer, mixer: Any) -> None:
    """Raises ValueError for layers of different geometry."""
    names = ("mamba_rope", "window", "state", "state_dtype")
    own: dict[str, Any] = {name: getattr(mixer.sizes, name) for name in names}
    if replace(attention.sizes, **own) != mixer.sizes:
        raise ValueError("the attention layer and the layer it becomes have different sizes")


@torch.no_grad()
def convert(attention: AttentionMixer, mamba: MambaMixer, init: str) -> list[Piece]:
    """Fill `mamba` from `attention` and tell what became of every tensor of `mamba`.

    Raises ValueError for an unknown init or layers of different sizes.
    """
    check_init(init)
    check_sizes(attention, mamba)
    mamba.reset_dynamics()
    if init in ("xavier", "kaiming"):
        return random_projections(mamba, init, ("dt_proj", "out_proj")) + _default_dynamics(mamba)
    pieces = _copy_projections(attention, mamba)
    if init == "paper":
        return pieces + _fresh_gate(mamba) + _default_dynamics(mamba)
    return _calibrate(attention, mamba, pieces)


@torch.no_grad()
def match_heads(mamba: Any, x: Tensor, context: SequenceContext, target: Tensor) -> None:
    """Scale the norm weights so that the RMS of each head before out_proj is target (H,).

    x (B, T, D) is the layer's input; padded positions are left out.
    """
    heads: list[Tensor] = []
    handle = mamba.out_proj.register_forward_pre_hook(lambda _, args: heads.append(args[0]))
    try:
        mamba(x, context)
    finally:
        handle.remove()
    rms = head_rms(heads[0], context.valid, mamba.sizes.n_heads)
    mamba.norm_weight.mul_((target / rms).repeat_interleave(mamba.sizes.head_dim))


@torch.no_grad()
def calibrate(attention: AttentionMixer, mamba: Any, seen: Seen) -> None:
    """`match_heads` on what the teacher's layer did; init "calibrated" ends with it.

    For a mixer with `norm_weight` behind its memory and nothing but a gate of 1 after it.
    """
    # Without the bias of v, which the student adds after its norm.
    heads = seen.heads - v_bias_per_head(attention)
    target = head_rms(heads, seen.context.valid, mamba.sizes.n_heads)
    match_heads(mamba, seen.x, seen.context, target)


def head_rms(outputs: Tensor, valid: Tensor | None, n_heads: int) -> Tensor:
    """(H,) root mean square per head of outputs (B, T, H * E) over valid (B, T) positions."""
    rows = outputs.flatten(0, 1) if valid is None else outputs[valid]
    return rows.float().unflatten(-1, (n_heads, -1)).square().mean(dim=(0, 2)).sqrt()


def _copy_projections(attention: AttentionMixer, mamba: MambaMixer) -> list[Piece]:
    sources, targets = attention.sections(attention.sizes), mamba.sections(mamba.sizes)
    pieces = []
    for target, source in (("C", "q"), ("B", "k"), ("x", "v")):
        for kind in ("weight", "bias"):
            rows: Tensor = getattr(attention.qkv_proj, kind)[sources[source]]
            getattr(mamba.in_proj, kind)[targets[target]] = rows
            name, origin = f"in_proj.{kind}[{target}]", f"qkv_proj.{kind}[{source}]"
            pieces.append(Piece(name, tuple(rows.shape), COPIED, origin))
    mamba.out_proj.weight.copy_(attention.out_proj.weight)
    mamba.out_proj.bias.zero_()
    shape = tuple(mamba.out_proj.weight.shape)
    pieces.append(Piece("out_proj.weight", shape, COPIED, "out_proj.weight"))
    pieces.append(Piece("out_proj.bias", shape[:1], FRESH, "zero"))
    return pieces


def _fresh_gate(mamba: MambaMixer) -> list[Piece]:
    """The gate and dt projections keep the random rows the model was built with."""
    z = mamba.sections(mamba.sizes)["z"]
    mamba.in_proj.bias[z] = 0.0
    d_model = mamba.sizes.d_model
    return [
        Piece("in_proj.weight[z]", (z.stop, d_model), FRESH, "normal"),
        Piece("in_proj.bias[z]", (z.stop,), FRESH, "zero"),
        Piece("dt_proj.weight", tuple(mamba.dt_proj.weight.shape), FRESH, "normal"),
    ]


def _default_dynamics(mamba: MambaMixer) -> list[Piece]:
    how = {
        "conv_weight": "uniform",
        "conv_bias": "uniform",
        "dt_bias": "dt 0.001..0.1",
        "a_log": "A 1..16",
        "skip": "one",
        "norm_weight": "one",
    }
    return [
        Piece(name, tuple(getattr(mamba, name).shape), FRESH, source)
        for name, source in how.items()
    ]


def random_projections(mamba: Any, init: str, others: Sequence[str]) -> list[Piece]:
    """Sections of `in_proj` and the linear layers `others`, of which `out_proj` has a bias, filled anew."""
    fill = nn.init.xavier_uniform_ if init == "xavier" else nn.init.kaiming_uniform_
    pieces = []
    for section, rows in mamba.sections(mamba.sizes).items():
        # Section by section: the fan-out of the fused matrix belongs to none of its parts.
        part = torch.empty_like(mamba.in_proj.weight[rows])
        mamba.in_proj.weight[rows] = fill(part)
        mamba.in_proj.bias[rows] = 0.0
        pieces.append(Piece(f"in_proj.weight[{section}]", tuple(part.shape), FRESH, init))
        pieces.append(Piece(f"in_proj.bias[{section}]", (part.shape[0],), FRESH, "zero"))
    for name in others:
        weight = getattr(mamba, name).weight
        fill(weight)
        pieces.append(Piece(f"{name}.weight", tuple(weight.shape), FRESH, init))
    mamba.out_proj.bias.zero_()
    pieces.append(Piece("out_proj.bias", tuple(mamba.out_proj.bias.shape), FRESH, "zero"))
    return pieces


def v_bias_per_head(attention: AttentionMixer) -> Tensor:
    """(H * E,) what the bias of v adds to the heads' outputs, whatever the attention weights."""
    sizes = attention.sizes
    bias = attention.qkv_proj.bias[attention.sections(sizes)["v"]]
    bias = bias.reshape(sizes.n_kv_heads, sizes.head_dim)
    return bias.repeat_interleave(sizes.group, dim=0).flatten()


def _calibrate(attention: AttentionMixer, mamba: MambaMixer, pieces: list[Piece]) -> list[Piece]:
    sizes = mamba.sizes
    rows = mamba.sections(sizes)
    in_proj = mamba.in_proj
    in_proj.weight[rows["C"]] *= sizes.head_dim**-0.5
    in_proj.bias[rows["C"]] *= sizes.head_dim**-0.5
    in_proj.weight[rows["z"]] = 0.0
    in_proj.bias[rows["z"]] = GATE_BIAS
    in_proj.bias[rows["x"]] = 0.0
    mamba.out_proj.bias.copy_(attention.out_proj.weight @ v_bias_per_head(attention))

    mamba.conv_weight.zero_()
    mamba.conv_weight[:, -1] = SELF_TAP  # the last tap is the current token
    mamba.conv_bias.zero_()
    mamba.skip.zero_()
    mamba.dt_proj.weight.zero_()
    mamba.dt_bias.copy_(inverse_softplus(torch.full_like(mamba.dt_bias, CALIBRATED_DT)))
    low, high = (math.log(half_life) for half_life in HALF_LIVES)
    half_lives = torch.linspace(low, high, sizes.n_states).exp()
    # exp(-dt A half_life) = 1/2
    mamba.a_log.copy_((math.log(2.0) / (CALIBRATED_DT * half_lives)).log())

    scaled = {"in_proj.weight[C]", "in_proj.bias[C]"}
    moved = {"in_proj.bias[x]": "zero", "out_proj.bias": "out_proj.weight @ qkv_proj.bias[v]"}
    result = []
    for piece in pieces:
        status, source = piece.status, piece.source
        if piece.name in scaled:
            source += " / sqrt(head_dim)"
        elif piece.name in moved:
            source = moved[piece.name]
            status = FRESH if source == "zero" else COPIED
        result.append(Piece(piece.name, piece.shape, status, source))
    d_inner = rows["z"].stop
    result.append(Piece("in_proj.weight[z]", (d_inner, sizes.d_model), FRESH, "zero"))
    result.append(Piece("in_proj.bias[z]", (d_inner,), FRESH, "silu(z) = 1"))
    result.append(Piece("dt_proj.weight", tuple(mamba.dt_proj.weight.shape), FRESH, "zero"))
    how = {
        "conv_weight": "0.5 x identity",
        "conv_bias": "zero",
        "dt_bias": f"dt {CALIBRATED_DT}",
        "a_log": "half-lives 8..512 tokens",
        "skip": "zero",
        "norm_weight": "matches teacher heads",
    }
    for name, source in how.items():
        result.append(Piece(name, tuple(getattr(mamba, name).shape), FRESH, source))
    return result
