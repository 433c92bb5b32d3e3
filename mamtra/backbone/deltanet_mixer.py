"""Gated DeltaNet layer in the geometry of a grouped-query attention teacher.

in_proj -> causal convolution and SiLU on q | k | v -> unit-length q and k -> gated delta rule -> per-head
RMSNorm -> gate -> out_proj, as flash-linear-attention's GatedDeltaNet; q has a head per query head, k and v one
per key/value head, repeated after the convolution. Norm and gate are in that order: norm(y) * silu(z).

Initial weights as there: decay A ~ U(1, 16), dt log-uniform in 0.001..0.1, beta = 1/2.

B batch, T time, K new tokens, D d_model, H heads, G key/value heads, E head width = state width,
W convolution taps, C = H E + 2 G E convolved channels.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra.backbone.causal_conv import causal_conv, last_inputs
from mamtra.backbone.context import SequenceContext, StepContext
from mamtra.backbone.elementwise import rms_norm, without_autocast
from mamtra.backbone.gated_delta import gated_delta, gated_delta_step
from mamtra.backbone.mamba_mixer import A_MAX, A_MIN, DT_MAX, DT_MIN, inverse_softplus
from mamtra.backbone.sizes import BackboneSizes
from mamtra.backbone.state import MambaState, recurrent_state


class DeltaNetMixer(nn.Module):
    """One fused projection holds the rows z | q | k | v; `gate_proj` makes dt | beta of every head."""

    def __init__(self, sizes: BackboneSizes) -> None:
        super().__init__()
        self.sizes = sizes
        channels = 2 * sizes.d_kv + sizes.d_inner
        self.in_proj = nn.Linear(sizes.d_model, sizes.d_inner + channels)
        self.gate_proj = nn.Linear(sizes.d_model, 2 * sizes.n_heads, bias=False)
        self.conv_weight = nn.Parameter(torch.empty(channels, sizes.d_conv))
        self.conv_bias = nn.Parameter(torch.empty(channels))
        self.dt_bias = nn.Parameter(torch.empty(sizes.n_heads))
        self.beta_bias = nn.Parameter(torch.empty(sizes.n_heads))
        self.a_log = nn.Parameter(torch.empty(sizes.n_heads))
        self.norm_weight = nn.Parameter(torch.empty(sizes.d_inner))
        self.out_proj = nn.Linear(sizes.d_inner, sizes.d_model)
        self.reset_dynamics()

    @staticmethod
    def sections(sizes: BackboneSizes) -> dict[str, slice]:
        """Rows of `in_proj` by name; without z they are the convolution's channels."""
        bounds, start = {}, 0
        widths = {"z": sizes.d_inner, "q": sizes.d_inner, "k": sizes.d_kv, "v": sizes.d_kv}
        for name, width in widths.items():
            bounds[name] = slice(start, start + width)
            start += width
        return bounds

    @torch.no_grad()
    def reset_dynamics(self) -> None:
        """Everything but the projections, as flash-linear-attention initialises it."""
        bound = self.sizes.d_conv**-0.5
        self.conv_weight.uniform_(-bound, bound)
        self.conv_bias.zero_()
        self.a_log.uniform_(A_MIN, A_MAX).log_()
        dt = torch.empty_like(self.dt_bias).uniform_(math.log(DT_MIN), math.log(DT_MAX)).exp_()
        self.dt_bias.copy_(inverse_softplus(dt))
        self.beta_bias.zero_()
        self.norm_weight.fill_(1.0)

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, D) -> log decay (B, T, H) <= 0 and beta (B, T, H) in (0, 1), both fp32 or wider."""
        with without_autocast(x):
            wide = torch.promote_types(x.dtype, torch.float32)
            raw = F.linear(x.to(wide), self.gate_proj.weight.to(wide))
            dt, beta = raw.chunk(2, dim=-1)
            dt = F.softplus(dt + self.dt_bias.to(wide))
            return -dt * self.a_log.to(wide).exp(), torch.sigmoid(beta + self.beta_bias.to(wide))

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, D) -> z (B, T, H * E) and the convolution's inputs (B, T, C)."""
        z, qkv = self.in_proj(x).split((self.sizes.d_inner, self.conv_bias.numel()), dim=-1)
        return z, qkv

    def _convolve(self, inputs: Tensor) -> list[Tensor]:
        """Inputs with history (B, W-1 + T, C) -> q, k and v (B, T, H, E), q and k of unit length."""
        sizes = self.sizes
        mixed = F.silu(causal_conv(inputs, self.conv_weight, self.conv_bias))
        parts = mixed.split((sizes.d_inner, sizes.d_kv, sizes.d_kv), dim=-1)
        q, k, v = (part.unflatten(-1, (-1, sizes.head_dim)) for part in parts)
        k, v = (part.repeat_interleave(sizes.group, dim=2) for part in (k, v))
        with without_autocast(inputs):
            wide = torch.promote_types(q.dtype, torch.float32)
            q, k = (F.normalize(part.to(wide), dim=-1, eps=1e-6) for part in (q, k))
        return [q * sizes.head_dim**-0.5, k, v]

    def _finish(self, y: Tensor, z: Tensor) -> Tensor:
        """y (B, T, H, E), z (B, T, H * E) -> (B, T, D)."""
        sizes = self.sizes
        weight = self.norm_weight.view(sizes.n_heads, sizes.head_dim)
        normed = rms_norm(y, weight, sizes.norm_eps, z.dtype).flatten(2)
        return self.out_proj(normed * F.silu(z))

    def _run(self, x: Tensor, context: SequenceContext) -> tuple[Tensor, Tensor, Tensor]:
        """Output (B, T, D), convolution inputs (B, W-1 + T, C), last state (B, H, E, E)."""
        z, qkv = self._project(x)
        log_decay, beta = self._gates(x)
        if context.valid is not None:
            # Padding neither decays the state nor writes to it, whatever k and v are.
            log_decay = log_decay.masked_fill(~context.valid[:, :, None], 0.0)
            beta = beta.masked_fill(~context.valid[:, :, None], 0.0)
        if context.left_padded and context.valid is not None:
            # The bias makes padded positions non-zero, and the convolution would look back at them.
            qkv = qkv.masked_fill(~context.valid[:, :, None], 0.0)
        inputs = F.pad(qkv, (0, 0, self.sizes.d_conv - 1, 0))
        q, k, v = self._convolve(inputs)
        with without_autocast(x):
            y, state = gated_delta(q, k, v, log_decay, beta, chunk=self.sizes.chunk)
        return self._finish(y, z), inputs, state

    def forward(self, x: Tensor, context: SequenceContext) -> Tensor:
        """x (B, T, D) -> (B, T, D). Outputs at padded positions are finite but meaningless."""
        return self._run(x, context)[0]

    def new_state(
        self,
        batch: int,
        max_length: int,
        dtype: torch.dtype,
        device: torch.device,
        conditioning: int = 0,
    ) -> MambaState:
        """Empty state for `batch` rows, which is a Mamba layer's: conv inputs and (B, H, E, E)."""
        sizes, channels = self.sizes, self.conv_bias.numel()
        conv = torch.zeros(batch, sizes.d_conv - 1, channels, dtype=dtype, device=device)
        return MambaState(conv, recurrent_state(sizes, batch, sizes.n_heads, device))

    def prefill(self, x: Tensor, context: SequenceContext, state: MambaState) -> Tensor:
        """As `forward`, and fills `state` as of each row's last valid token."""
        y, inputs, last = self._run(x, context)
        state.conv.copy_(last_inputs(inputs, context, self.sizes.d_conv - 1))
        state.ssm.copy_(last)
        return y

    def step(self, x: Tensor, context: StepContext, state: MambaState) -> Tensor:
        """x (B, K, D) -> (B, K, D): K new tokens per row; the state moves in place."""
        new = x.shape[1]
        z, qkv = self._project(x)
        log_decay, beta = self._gates(x)
        inputs = torch.cat((state.conv.to(qkv.dtype), qkv), dim=1)
        state.conv.copy_(inputs[:, new:])
        q, k, v = self._convolve(inputs)
        if new == 1:
            q, k, v, log_decay, beta = (part[:, 0] for part in (q, k, v, log_decay, beta))
            last = state.ssm.float()  # itself in fp32
            y = gated_delta_step(q, k, v, log_decay, beta, last)[:, None]
        else:
            before = state.ssm.float()
            y, last = gated_delta(q, k, v, log_decay, beta, before, self.sizes.chunk)
        if last is not state.ssm:
            state.ssm.copy_(last)
        return self._finish(y.to(z.dtype), z)
