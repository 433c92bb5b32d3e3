"""How an attention layer becomes a layer of another kind: every mixer is in one of the two tables."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mamtra.backbone.attention_mixer import AttentionMixer
from mamtra.backbone.layer_plan import ATTENTION, DELTANET, MAMBA, WINDOW
from mamtra.transfer import gqa_to_deltanet, gqa_to_mamba
from mamtra.transfer.pieces import Piece
from mamtra.transfer.watch import Seen


@dataclass(frozen=True)
class Conversion:
    """convert(attention, mixer, init) fills the mixer and tells where every tensor of it comes from.

    calibrate(attention, mixer, seen) ends init "calibrated" on what the teacher's layer did with a batch.
    """

    convert: Callable[[AttentionMixer, Any, str], list[Piece]]
    calibrate: Callable[[AttentionMixer, Any, Seen], None]


# Kinds whose tensors are attention's own: the teacher's are copied, whatever the init.
SAME_TENSORS = (ATTENTION, WINDOW)
CONVERSIONS: Mapping[str, Conversion] = {
    MAMBA: Conversion(gqa_to_mamba.convert, gqa_to_mamba.calibrate),
    DELTANET: Conversion(gqa_to_deltanet.convert, gqa_to_mamba.calibrate),
}
