"""Every mixer that a layer plan can name. A new one: docs/extending.md, "A mixer".

B batch, T time, K new tokens, D d_model.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from mamtra.backbone.attention_mixer import AttentionMixer
from mamtra.backbone.context import SequenceContext, StepContext
from mamtra.backbone.deltanet_mixer import DeltaNetMixer
from mamtra.backbone.layer_plan import ATTENTION, DELTANET, MAMBA, WINDOW
from mamtra.backbone.mamba_mixer import MambaMixer
from mamtra.backbone.sizes import BackboneSizes
from mamtra.backbone.window_mixer import WindowMixer


class Mixer(Protocol):
    """What the decoder asks of a mixer: an `nn.Module` made from sizes, whose last operation is `out_proj`.

    Padded positions neither change what valid ones get nor receive a gradient, and `prefill` followed by
    `step` in any pieces is `forward` of the whole.
    """

    def __init__(self, sizes: BackboneSizes) -> None: ...
    def __call__(self, x: Tensor, context: SequenceContext) -> Tensor:
        """x (B, T, D) -> (B, T, D)."""
        ...

    def prefill(self, x: Tensor, context: SequenceContext, state: Any) -> Tensor:
        """As the call, and fills `state` as of each row's last valid token."""
        ...

    def step(self, x: Tensor, context: StepContext, state: Any) -> Tensor:
        """x (B, K, D) -> (B, K, D): K new tokens for every row; the state moves in place."""
        ...

    def new_state(
        self,
        batch: int,
        max_length: int,
        dtype: torch.dtype,
        device: torch.device,
        conditioning: int = 0,
    ) -> Any:
        """Empty state for `batch` rows of at most `max_length` tokens, as many of which as `conditioning` says
        are not generated (see `WindowState`). It has the methods of `MambaState`."""
        ...


MIXERS: Mapping[str, Callable[[BackboneSizes], Any]] = {
    ATTENTION: AttentionMixer,
    MAMBA: MambaMixer,
    WINDOW: WindowMixer,
    DELTANET: DeltaNetMixer,
}
