"""Every mixer once more, one token after the other, written from its equations and nothing else."""

import torch
from torch.nn import functional as F

from mamtra.backbone.elementwise import rotary_angles
from mamtra.backbone.layer_plan import ATTENTION, DELTANET, MAMBA, WINDOW


def rotated(heads, sizes):
    """heads (T, n, E) turned by their positions: halves of a head are the two coordinates."""
    cos, sin = rotary_angles(len(heads), sizes.head_dim, sizes.rope_theta, "cpu")
    cos, sin = cos[:, None].to(heads.dtype), sin[:, None].to(heads.dtype)
    a, b = heads.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def plain_attention(m, x, local=None, sees=lambda t, keys: keys):
    """x (T, D) -> (T, D). sees(t, positions up to t): those that position t attends to."""
    s = m.sizes
    parts = m.qkv_proj(x).split((s.d_inner, s.d_kv, s.d_kv), dim=-1)
    q, k, v = (part.unflatten(-1, (-1, s.head_dim)) for part in parts)
    q, k = rotated(q, s), rotated(k, s)
    outputs = []
    for t in range(len(x)):
        heads = []
        for h in range(s.n_heads):
            g = h // (s.n_heads // s.n_kv_heads)
            keys = sees(t, list(range(t + 1)))
            weights = torch.softmax(k[keys, g] @ q[t, h] / s.head_dim**0.5, dim=0)
            heads.append(weights @ v[keys, g])
        outputs.append(m.out_proj(torch.cat(heads)))
    return torch.stack(outputs)


def plain_window(m, x, local):
    """x (T, D), local (T,) bool -> (T, D): everything that is not local, and the last W that are."""

    def sees(t, keys):
        kept = [i for i in keys if local[i]][-m.sizes.window :]
        return [i for i in keys if i in kept or not local[i]]

    return plain_attention(m, x, sees=sees)


def plain_mamba(m, x, local=None):
    """x (T, D) -> (T, D)."""
    s = m.sizes
    z, vx, vb, vc = m.in_proj(x).split((s.d_inner, s.d_kv, s.d_kv, s.d_inner), dim=-1)
    raw = torch.cat((vx, vb, vc), dim=-1)
    dt = F.softplus(m.dt_proj(x) + m.dt_bias)
    states = [torch.zeros(s.head_dim, s.head_dim, dtype=x.dtype) for _ in range(s.n_heads)]
    outputs = []
    for t in range(len(x)):
        mixed = m.conv_bias.clone()
        for tap in range(s.d_conv):
            source = t - (s.d_conv - 1) + tap
            if source >= 0:
                mixed = mixed + m.conv_weight[:, tap] * raw[source]
        mixed = mixed * torch.sigmoid(mixed)
        heads = []
        for h in range(s.n_heads):
            g, e = h // (s.n_heads // s.n_kv_heads), s.head_dim
            xh = mixed[g * e : (g + 1) * e]
            bh = mixed[s.d_kv + g * e : s.d_kv + (g + 1) * e]
            ch = mixed[2 * s.d_kv + h * e : 2 * s.d_kv + (h + 1) * e]
            decay = torch.exp(-dt[t, h] * torch.exp(m.a_log[h]))
            states[h] = decay * states[h] + dt[t, h] * torch.outer(bh, xh)
            y = ch @ states[h] + m.skip[h] * xh
            gate = z[t, h * e : (h + 1) * e]
            y = y * gate * torch.sigmoid(gate)
            y = y / torch.sqrt(y.square().mean() + s.norm_eps)
            heads.append(y * m.norm_weight[h * e : (h + 1) * e])
        outputs.append(m.out_proj(torch.cat(heads)))
    return torch.stack(outputs)


def plain_deltanet(m, x, local=None):
    """x (T, D) -> (T, D)."""
    s, e = m.sizes, m.sizes.head_dim
    z, raw = m.in_proj(x).split((s.d_inner, s.d_inner + 2 * s.d_kv), dim=-1)
    dt, beta = m.gate_proj(x).chunk(2, dim=-1)
    dt, beta = F.softplus(dt + m.dt_bias), torch.sigmoid(beta + m.beta_bias)
    memories = [torch.zeros(e, e, dtype=x.dtype) for _ in range(s.n_heads)]
    outputs = []
    for t in range(len(x)):
        mixed = m.conv_bias.clone()
        for tap in range(s.d_conv):
            source = t - (s.d_conv - 1) + tap
            if source >= 0:
                mixed = mixed + m.conv_weight[:, tap] * raw[source]
        mixed = mixed * torch.sigmoid(mixed)
        heads = []
        for h in range(s.n_heads):
            g = h // (s.n_heads // s.n_kv_heads)
            q = mixed[h * e : (h + 1) * e]
            k = mixed[s.d_inner + g * e : s.d_inner + (g + 1) * e]
            v = mixed[s.d_inner + s.d_kv + g * e : s.d_inner + s.d_kv + (g + 1) * e]
            q, k = q / q.norm() / e**0.5, k / k.norm()
            memory = torch.exp(-dt[t, h] * torch.exp(m.a_log[h])) * memories[h]
            # What the key stood for gives way to the value, by a share of beta.
            memories[h] = memory + beta[t, h] * torch.outer(k, v - k @ memory)
            y = q @ memories[h]
            y = y / torch.sqrt(y.square().mean() + s.norm_eps) * m.norm_weight[h * e : (h + 1) * e]
            gate = z[t, h * e : (h + 1) * e]
            heads.append(y * gate * torch.sigmoid(gate))
        outputs.append(m.out_proj(torch.cat(heads)))
    return torch.stack(outputs)


PLAIN = {
    ATTENTION: plain_attention,
    MAMBA: plain_mamba,
    WINDOW: plain_window,
    DELTANET: plain_deltanet,
}
