"""Mamba-2 layer in the geometry of a grouped-query attention teacher.

in_proj -> causal convolution and SiLU on x | B | C -> ssd -> + D x -> gate -> per-head RMSNorm ->
out_proj, with the step size dt from its own projection. Follows MambaInLlama's layer
(mamba2/hybrid_mamba_layer.py: x and B grouped like V and K, C per head like Q, repeated after the
convolution) with biases kept. The norm comes after the gate and works per head, as mamba_ssm's
RMSNormGated does there (norm_before_gate=False, group_size = head width).

Initial weights: mamba_ssm modules/mamba2.py (A ~ U(1, 16), dt log-uniform in 0.001..0.1, D = 1).

B batch, T time, K new tokens, D d_model, H heads, G key/value heads, S states (H, or G where the heads of a
group share one), E head width = state width, W convolution taps, C = 2 G E + H E convolved channels.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra.backbone.causal_conv import causal_conv, last_inputs
from mamtra.backbone.context import SequenceContext, StepContext
from mamtra.backbone.elementwise import rms_norm, rotary, without_autocast
from mamtra.backbone.sizes import BackboneSizes
from mamtra.backbone.ssd import ssd, update
from mamtra.backbone.state import MambaState, recurrent_state

DT_MIN, DT_MAX = 1e-3, 0.1  # tokens
A_MIN, A_MAX = 1.0, 16.0


def inverse_softplus(x: Tensor) -> Tensor:
    """y with softplus(y) = x > 0, accurate for small x."""
    return x + torch.log(-torch.expm1(-x))


class MambaMixer(nn.Module):
    """One fused projection holds the rows z | x | B | C; `dt_proj` and `dt_bias` make dt."""

    def __init__(self, sizes: BackboneSizes) -> None:
        super().__init__()
        self.sizes = sizes
        channels = 2 * sizes.d_kv + sizes.d_inner
        self.in_proj = nn.Linear(sizes.d_model, sizes.d_inner + channels)
        self.dt_proj = nn.Linear(sizes.d_model, sizes.n_states, bias=False)
        # A separate dt keeps the rows of in_proj a multiple of 8, which fused kernels need.
        self.conv_weight = nn.Parameter(torch.empty(channels, sizes.d_conv))
        self.conv_bias = nn.Parameter(torch.empty(channels))
        self.dt_bias = nn.Parameter(torch.empty(sizes.n_states))
        self.a_log = nn.Parameter(torch.empty(sizes.n_states))
        self.skip = nn.Parameter(torch.empty(sizes.n_heads))
        self.norm_weight = nn.Parameter(torch.empty(sizes.d_inner))
        self.out_proj = nn.Linear(sizes.d_inner, sizes.d_model)
        self.reset_dynamics()

    @staticmethod
    def sections(sizes: BackboneSizes) -> dict[str, slice]:
        """Rows of `in_proj` by name; without z they are the convolution's channels."""
        bounds, start = {}, 0
        widths = {"z": sizes.d_inner, "x": sizes.d_kv, "B": sizes.d_kv, "C": sizes.d_inner}
        for name, width in widths.items():
            bounds[name] = slice(start, start + width)
            start += width
        return bounds

    @torch.no_grad()
    def reset_dynamics(self) -> None:
        """Everything but the projections, as mamba_ssm initialises it."""
        bound = self.sizes.d_conv**-0.5
        self.conv_weight.uniform_(-bound, bound)
        self.conv_bias.uniform_(-bound, bound)
        self.a_log.uniform_(A_MIN, A_MAX).log_()
        dt = torch.empty_like(self.dt_bias).uniform_(math.log(DT_MIN), math.log(DT_MAX)).exp_()
        self.dt_bias.copy_(inverse_softplus(dt))
        self.skip.fill_(1.0)
        self.norm_weight.fill_(1.0)

    def _dynamics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, D) -> dt (B, T, S) in tokens and A (S,) < 0, both fp32 or wider."""
        with without_autocast(x):
            wide = torch.promote_types(x.dtype, torch.float32)
            raw = F.linear(x.to(wide), self.dt_proj.weight.to(wide), self.dt_bias.to(wide))
            return F.softplus(raw), -torch.exp(self.a_log.to(wide))

    def _finish(self, y: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """y (B, T, H, E), x (B, T, G, E), z (B, T, H*E) -> (B, T, D)."""
        sizes = self.sizes
        skip = self.skip.to(y.dtype).view(sizes.n_kv_heads, sizes.group, 1)
        y = y.unflatten(2, (sizes.n_kv_heads, sizes.group)) + skip * x[:, :, :, None]
        gated = y.flatten(2) * F.silu(z)
        gated = gated.unflatten(-1, (sizes.n_heads, sizes.head_dim))
        weight = self.norm_weight.view(sizes.n_heads, sizes.head_dim)
        return self.out_proj(rms_norm(gated, weight, sizes.norm_eps, z.dtype).flatten(2))

    def _convolve(
        self, inputs: Tensor, context: SequenceContext | StepContext
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs with history (B, W-1 + T, C) -> x and B (B, T, G, E), C (B, T, H, E)."""
        sizes = self.sizes
        xbc = F.silu(causal_conv(inputs, self.conv_weight, self.conv_bias))
        x, bc = xbc.split((sizes.d_kv, sizes.d_kv + sizes.d_inner), dim=-1)
        if sizes.mamba_rope:
            # A scalar decay commutes with the rotation, so positions may enter B and C this way.
            bc = rotary(bc, context.cos, context.sin, sizes.head_dim)
        b, c = bc.split((sizes.d_kv, sizes.d_inner), dim=-1)
        x, b, c = (part.unflatten(-1, (-1, sizes.head_dim)) for part in (x, b, c))
        return x, b, c

    def _scan(
        self,
        parts: tuple[Tensor, Tensor, Tensor],
        dt: Tensor,
        a: Tensor,
        state: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """x, B and C of `_convolve`, dt (B, T, S), a (S,), state (B, S, E, E) or None -> y (B, T, H, E) and the
        last state, in fp32 or wider."""
        x, b, c = parts
        copies = self.sizes.n_heads // self.sizes.n_states
        if copies > 1:  # the query heads of a group have equal states: one of each is kept
            dt, a = dt.repeat_interleave(copies, dim=2), a.repeat_interleave(copies)
            state = None if state is None else state.repeat_interleave(copies, dim=1)
        state = None if state is None else state.float()
        y, last = ssd(x, dt, a, b, c, state, self.sizes.chunk)
        return y, last[:, ::copies]

    def _run(self, x: Tensor, context: SequenceContext) -> tuple[Tensor, Tensor, Tensor]:
        """Output (B, T, D), convolution inputs (B, W-1 + T, C), last SSM state (B, S, E, E)."""
        sizes = self.sizes
        z, xbc = self.in_proj(x).split((sizes.d_inner, self.conv_bias.numel()), dim=-1)
        dt, a = self._dynamics(x)
        if context.valid is not None:
            # With dt = 0 padding neither decays the state nor writes to it, whatever x and B are.
            dt = dt.masked_fill(~context.valid[:, :, None], 0.0)
        if context.left_padded and context.valid is not None:
            # The bias makes padded positions non-zero, and the convolution would look back at them.
            xbc = xbc.masked_fill(~context.valid[:, :, None], 0.0)
        inputs = F.pad(xbc, (0, 0, sizes.d_conv - 1, 0))
        parts = self._convolve(inputs, context)
        y, state = self._scan(parts, dt, a)
        return self._finish(y, parts[0], z), inputs, state

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
        """Empty state for `batch` rows; its size depends on no length."""
        sizes = self.sizes
        conv = torch.zeros(
            batch, sizes.d_conv - 1, self.conv_bias.numel(), dtype=dtype, device=device
        )
        return MambaState(conv, recurrent_state(sizes, batch, sizes.n_states, device))

    def prefill(self, x: Tensor, context: SequenceContext, state: MambaState) -> Tensor:
        """As `forward`, and fills `state` as of each row's last valid token."""
        y, inputs, ssm = self._run(x, context)
        state.conv.copy_(last_inputs(inputs, context, self.sizes.d_conv - 1))
        state.ssm.copy_(ssm)
        return y

    def step(self, x: Tensor, context: StepContext, state: MambaState) -> Tensor:
        """x (B, K, D) -> (B, K, D): K new tokens per row; the state moves in place."""
        plain = x.shape[1] > 1 or torch.is_autocast_enabled(x.device.type)
        way = self._step_many if plain else self._step_one
        return way(x, context, state)

    def _step_many(self, x: Tensor, context: StepContext, state: MambaState) -> Tensor:
        """The plain way, for any K >= 1: the sequence's own operations from the state on."""
        sizes, new = self.sizes, x.shape[1]
        z, xbc = self.in_proj(x).split((sizes.d_inner, self.conv_bias.numel()), dim=-1)
        dt, a = self._dynamics(x)
        inputs = torch.cat((state.conv.to(xbc.dtype), xbc), dim=1)
        state.conv.copy_(inputs[:, new:])
        parts = self._convolve(inputs, context)
        y, ssm = self._scan(parts, dt, a, state.ssm)
        state.ssm.copy_(ssm)
        return self._finish(y, parts[0], z)

    def _step_one(self, x: Tensor, context: StepContext, state: MambaState) -> Tensor:
        """`_step_many` for one token, in few operations: their overhead is what decoding costs."""
        sizes, rows, e = self.sizes, x.shape[0], self.sizes.head_dim
        row = self.in_proj(x)
        # The convolution's outputs take the place of its inputs, so that one SiLU serves them and the gate.
        xbc = row[..., sizes.d_inner :]
        inputs = torch.cat((state.conv, xbc), dim=1)
        state.conv.copy_(inputs[:, 1:])
        torch.sum(inputs * self.conv_weight.t(), 1, True, out=xbc)
        xbc += self.conv_bias
        row = F.silu(row, inplace=True).float()
        widths = (sizes.d_inner, sizes.d_kv, sizes.d_kv, sizes.d_inner)
        gate, v, b, c = row.split(widths, dim=-1)
        if sizes.mamba_rope:
            bc = rotary(row[..., -sum(widths[2:]) :], context.cos, context.sin, e)
            b, c = bc.split(widths[2:], dim=-1)
        y = self._fused_update(x, v, b, c, state.ssm)
        if y is None:
            y = self._update(x, v, b, c, state.ssm)
        y = y.view(rows, 1, sizes.n_heads, e)
        gated = y.mul_(gate.view(y.shape))
        weight = self.norm_weight.view(sizes.n_heads, e)
        return self.out_proj(rms_norm(gated, weight, sizes.norm_eps, x.dtype).flatten(2))

    def _fused_update(
        self, x: Tensor, v: Tensor, b: Tensor, c: Tensor, state: Tensor
    ) -> Tensor | None:
        """`_update` by a kernel, or None where there is none: heads that share a state have none."""
        sizes = self.sizes
        if x.device.type != "cuda" or sizes.n_states != sizes.n_heads:
            return None
        raw_dt = F.linear(x[:, 0].float(), self.dt_proj.weight.float())
        v, b, c = (part.view(x.shape[0], -1, sizes.head_dim) for part in (v, b, c))
        a = -self.a_log.float().exp()
        return update(state, v, raw_dt, self.dt_bias, a, b, c, self.skip)

    def _update(self, x: Tensor, v: Tensor, b: Tensor, c: Tensor, state: Tensor) -> Tensor:
        """x (B, 1, D), v and b (B, 1, G*E), c (B, 1, H*E), all but x fp32 -> y (B, G, H/G, E).

        The state (B, S, E, E) moves in place.
        """
        sizes = self.sizes
        rows, groups, e = x.shape[0], sizes.n_kv_heads, sizes.head_dim
        dt_weight, dt_bias = self.dt_proj.weight.float(), self.dt_bias.float()
        dt = F.softplus(F.linear(x.float(), dt_weight, dt_bias))
        decay = dt.mul(self.a_log.float().exp()).neg_().exp_()
        v = v.view(rows, groups, 1, e)
        # h_t = exp(dt A) h_{t-1} + dt B x^T; y_t = C^T h_t + D x_t
        write = b.view(rows, groups, e, 1) * v  # (B, G, E, E)
        scale = (rows, groups, -1, 1, 1)
        ssm = state.float()  # itself in fp32
        by_group = ssm.view(rows, groups, -1, e, e)
        by_group.mul_(decay.view(scale)).addcmul_(write[:, :, None], dt.view(scale))
        if ssm is not state:
            state.copy_(ssm)
        # The heads that read one state are the rows of one product.
        readers = sizes.n_heads // sizes.n_states
        y = torch.bmm(c.reshape(-1, readers, e), ssm.view(-1, e, e))  # (B * S, H / S, E)
        skip = self.skip.float().view(groups, sizes.group, 1)
        return torch.addcmul(y.view(rows, groups, sizes.group, e), skip, v)
