"""The arms of the comparison: one skeleton, and which mixer stands in each of its three encoders.

Every arm but the identity ones (no_*) has as many parameters as `mvc`, block by block: the `width` of each
mixer is solved for, never typed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import nn

from mamtra.mvc.blocks import AdaLN, Block, Concatenation, Stack
from mamtra.mvc.mixers import Attention, BiLSTM, BiMamba, DilatedConv, UniMamba
from mamtra.mvc.sizes import MVCSizes

Kind = Literal["mamba", "attention", "bilstm", "conv", "none"]
Role = Literal["text", "temporal", "expressive"]


@dataclass(frozen=True)
class Arm:
    """Mixers of the text, temporal and expressive encoders; gated or linear fusion; how the voice enters.
    `leak`: the expressive encoder reads the mel that is to be said, as the published equation (5) does.
    """

    text: Kind
    temporal: Kind
    expressive: Kind
    gate: bool = True
    adaln: bool = True
    leak: bool = False


ARMS: dict[str, Arm] = {
    "mvc": Arm("mamba", "mamba", "mamba"),
    "gated": Arm("mamba", "mamba", "mamba", adaln=False),
    "adaln": Arm("mamba", "mamba", "mamba", gate=False),
    "concat": Arm("mamba", "mamba", "mamba", gate=False, adaln=False),
    "attention": Arm("attention", "attention", "attention"),
    "hybrid": Arm("mamba", "attention", "attention"),
    "bilstm": Arm("bilstm", "bilstm", "bilstm"),
    "conv": Arm("conv", "conv", "conv"),
    "no_text": Arm("none", "mamba", "mamba"),
    "no_temporal": Arm("mamba", "none", "mamba"),
    "no_expressive": Arm("mamba", "mamba", "none"),
    "no_text_conv": Arm("conv", "mamba", "mamba"),
    "no_temporal_conv": Arm("mamba", "conv", "mamba"),
    "no_expressive_conv": Arm("mamba", "mamba", "conv"),
    "leak": Arm("mamba", "mamba", "mamba", leak=True),
}
# Those that hold the claim: no attention and no recurrent network from (text, voice) to frames.
STATE_SPACE_ONLY = ("mvc", "gated", "adaln", "concat")
DILATIONS = (1, 2, 4)


def arm_of(name: str) -> Arm:
    """Raises ValueError, listing the arms, for a name that is none."""
    if name not in ARMS:
        raise ValueError(f"no arm is called {name!r}; valid: {', '.join(ARMS)}")
    return ARMS[name]


def n_parameters(module: nn.Module) -> int:
    """Weights of a module."""
    return sum(p.numel() for p in module.parameters())


def _mamba(role: Role, sizes: MVCSizes, width: int, gate: bool) -> nn.Module:
    if role == "expressive":
        return UniMamba(sizes)
    # The fusion of the temporal encoder is linear in every arm, as published: equation (6).
    return BiMamba(sizes, width, gate and role == "text", sizes.lookahead is not None)


def _mixer(kind: Kind, role: Role, sizes: MVCSizes, width: int, gate: bool, i: int) -> nn.Module:
    made: dict[str, Callable[[], nn.Module]] = {
        "mamba": lambda: _mamba(role, sizes, width, gate),
        "attention": lambda: Attention(sizes, width),
        "bilstm": lambda: BiLSTM(sizes, width),
        "conv": lambda: DilatedConv(sizes, width, DILATIONS[i % len(DILATIONS)]),
    }
    return made[kind]()


def match(make: Callable[[int], nn.Module], target: int) -> int:
    """The width of at least 1 whose module is nearest to `target` parameters, which grow with the width."""

    def size(width: int) -> int:
        with torch.device("meta"):
            return n_parameters(make(width))

    high = 1
    while size(high) < target:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) < target else (low, middle)
    return min((w for w in (low, high) if w >= 1), key=lambda w: abs(size(w) - target))


@lru_cache
def mixer_width(kind: Kind, role: Role, sizes: MVCSizes, gate: bool) -> int:
    """Width at which a mixer is as large as that of `mvc` in this role; 0 where it is that mixer itself."""
    if kind == "mamba" and (gate or role != "text"):
        return 0
    with torch.device("meta"):
        target = n_parameters(_mixer("mamba", role, sizes, 0, True, 0))
    return match(lambda width: _mixer(kind, role, sizes, width, gate, 0), target)


@lru_cache
def concatenation_width(sizes: MVCSizes) -> int:
    """Width at which Concatenation is as large as AdaLN."""
    with torch.device("meta"):
        target = n_parameters(AdaLN(sizes))
    return match(lambda width: Concatenation(sizes, width), target)


def encoder(arm: Arm, role: Role, sizes: MVCSizes) -> Stack:
    """The blocks of one encoder of an arm. Raises ValueError for a look-ahead that its mixer cannot have."""
    kind: Kind = getattr(arm, role)
    bounded = sizes.lookahead is not None and role != "expressive"
    if bounded and kind not in ("mamba", "none"):
        raise ValueError(
            f"lookahead={sizes.lookahead}: only Mamba encoders can be uni-directional, not {kind}"
        )
    if kind == "none":
        return Stack([])
    width = mixer_width(kind, role, sizes, arm.gate)
    blocks = []
    for i in range(getattr(sizes, f"{role}_blocks")):
        injection = AdaLN(sizes) if arm.adaln else Concatenation(sizes, concatenation_width(sizes))
        first = i == 0 and role == "text"
        lookahead = sizes.block_ahead if first else 0
        blocks.append(Block(injection, _mixer(kind, role, sizes, width, arm.gate, i), lookahead))
    return Stack(blocks)
