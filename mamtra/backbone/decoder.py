"""Pre-norm decoder layers and their stack. The plan says which mixer goes where.

B batch, T time, K new tokens, D d_model.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mamtra.backbone.context import (
    SequenceContext,
    StepContext,
    sequence_context,
)
from mamtra.backbone.elementwise import compute_dtype, rms_norm, rotary_angles
from mamtra.backbone.layer_plan import LayerPlan, check_plan
from mamtra.backbone.mixers import MIXERS
from mamtra.backbone.sizes import BackboneSizes
from mamtra.backbone.state import DecodeState


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last dimension. `low_precision`: answer in autocast's dtype."""

    def __init__(self, width: int, eps: float, low_precision: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps
        self.low_precision = low_precision

    def forward(self, x: Tensor) -> Tensor:
        dtype = compute_dtype(x) if self.low_precision else x.dtype
        return rms_norm(x, self.weight, self.eps, dtype)


class GatedMLP(nn.Module):
    """SwiGLU without biases: down(silu(gate(x)) * up(x)), gate and up in one projection."""

    def __init__(self, sizes: BackboneSizes) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(sizes.d_model, 2 * sizes.d_ff, bias=False)
        self.down_proj = nn.Linear(sizes.d_ff, sizes.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)


class DecoderLayer(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, sizes: BackboneSizes, kind: str, dropout: float) -> None:
        super().__init__()
        self.mixer_norm = RMSNorm(sizes.d_model, sizes.norm_eps, low_precision=True)
        self.mixer: Any = MIXERS[kind](sizes)
        self.mlp_norm = RMSNorm(sizes.d_model, sizes.norm_eps, low_precision=True)
        self.mlp = GatedMLP(sizes)
        self.dropout = dropout

    def _finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self._drop(mixed)
        return x + self._drop(self.mlp(self.mlp_norm(x)))

    def _drop(self, x: Tensor) -> Tensor:
        """Dropout of whole channels: one mask for all positions of a row.

        Drawing a mask for every element takes 30 % of a training step on CPU.
        """
        if not self.training or self.dropout == 0.0:
            return x
        mask = torch.rand(x.shape[0], 1, x.shape[2], device=x.device) >= self.dropout
        return x * (mask / (1.0 - self.dropout)).to(x.dtype)

    def forward(self, x: Tensor, context: SequenceContext) -> Tensor:
        """x (B, T, D) -> (B, T, D)."""
        return self._finish(x, self.mixer(self.mixer_norm(x), context))

    def prefill(self, x: Tensor, context: SequenceContext, state: Any) -> Tensor:
        """As `forward`, filling the mixer's state."""
        return self._finish(x, self.mixer.prefill(self.mixer_norm(x), context, state))

    def step(self, x: Tensor, context: StepContext, state: Any) -> Tensor:
        """x (B, K, D) -> (B, K, D), continuing the mixer's state in place."""
        return self._finish(x, self.mixer.step(self.mixer_norm(x), context, state))


class Decoder(nn.Module):
    """Stack of decoder layers with a final norm.

    `recompute`: keep only each layer's input while training and run the layer again for its gradient,
    a third more time for a fraction of the memory. `window`: what window layers see in `forward`, the sizes'
    own unless a curriculum changes it.
    Raises ValueError when `plan` does not name one valid mixer per layer.
    """

    def __init__(self, sizes: BackboneSizes, plan: LayerPlan, dropout: float = 0.0) -> None:
        super().__init__()
        self.sizes = sizes
        self.plan = check_plan(plan, sizes.n_layers)
        self.layers = nn.ModuleList(DecoderLayer(sizes, kind, dropout) for kind in self.plan)
        self.norm = RMSNorm(sizes.d_model, sizes.norm_eps, low_precision=False)
        self.recompute = False
        self.window = sizes.window

    def _enter(
        self, x: Tensor, mask: Tensor | None, local: Tensor | None = None
    ) -> tuple[Tensor, SequenceContext]:
        context = sequence_context(x.shape[1], mask, self.sizes, x.device, local, self.window)
        if context.valid is not None:
            # Whatever the padding held (CosyVoice pads with -1.0), it must not become NaN later.
            x = x.masked_fill(~context.valid[:, :, None], 0.0)
        return x, context

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        output_hidden: bool = False,
        local: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """x (B, T, D), mask (B, T) bool or None -> (normed output (B, T, D), layer outputs).

        local: (B, T) bool, True at generated speech; window layers need it (ValueError), others do not.
        Layer outputs are the residual stream after each layer, one (B, T, D) per layer, or None.
        """
        x, context = self._enter(x, mask, local)
        hidden: list[Tensor] = []
        recompute = self.recompute and self.training and torch.is_grad_enabled()
        for layer in self.layers:
            if recompute:
                again: Any = checkpoint(layer, x, context, use_reentrant=False)
                x = again
            else:
                x = layer(x, context)
            if output_hidden:
                hidden.append(x)
        return self.norm(x), tuple(hidden) if output_hidden else None

    def new_state(
        self,
        batch: int,
        max_length: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        conditioning: int = 0,
    ) -> DecodeState:
        """Empty state for `batch` rows of at most `max_length` tokens. Recurrent states
        have the dtype of `BackboneSizes.state_dtype`.

        conditioning: tokens that are not generated; window layers keep them all, and make room when there
        are more.
        """
        device = torch.device(device)
        sizes = self.sizes
        cos, sin = rotary_angles(max_length, sizes.head_dim, sizes.rope_theta, device)
        layers = [
            layer.mixer.new_state(batch, max_length, dtype, device, conditioning)  # type: ignore
            for layer in self.layers
        ]
        positions = torch.zeros(batch, dtype=torch.int64, device=device)
        n_rotated = sizes.n_heads + sizes.n_kv_heads
        return DecodeState(layers, positions, [0] * batch, max_length, cos, sin, n_rotated)

    @torch.no_grad()
    def prefill(
        self, x: Tensor, mask: Tensor | None, max_length: int, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, DecodeState]:
        """x (B, T, D) -> (normed output (B, T, D), state after each row's last valid token).

        All of it is conditioning to window layers. `dtype` is the cache's, the input's when None.
        ValueError when T exceeds max_length.
        """
        batch, length = x.shape[:2]
        if length > max_length:
            raise ValueError(f"a prompt of {length} does not fit in max_length={max_length}")
        x, context = self._enter(x, mask)
        state = self.new_state(batch, max_length, dtype or x.dtype, x.device, length)
        for layer, layer_state in zip(self.layers, state.layers, strict=True):
            x = layer.prefill(x, context, layer_state)  # type: ignore[operator]
        if context.lengths is None:
            state.offsets += length
            state.lengths = [length] * batch
        else:
            state.offsets.copy_(context.lengths)
            state.lengths = context.lengths.tolist()
        return self.norm(x), state

    @torch.no_grad()
    def step(self, x: Tensor, state: DecodeState, local: Tensor | None = None) -> Tensor:
        """x (B, K, D) -> (B, K, D): K >= 1 more tokens for every row, the state moves in place.

        local: (B, K) bool, which of them are generated speech; all when None.
        """
        context = state.step_context(x.shape[1])
        if local is not None:
            context = replace(context, local=local)
        y = self.step_layers(x, context, state.layers)
        state.advance(x.shape[1])
        return y

    def step_layers(self, x: Tensor, context: StepContext, states: list[Any]) -> Tensor:
        """As `step`, with the layers' own states and without moving the positions."""
        for layer, state in zip(self.layers, states, strict=True):
            x = layer.step(x, context, state)  # type: ignore[operator]
        return self.norm(x)
