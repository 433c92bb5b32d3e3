"""The state-space recurrence of Mamba-2 in plain PyTorch: the specification of `ssd`.

Per head, with a scalar decay (Dao and Gu, arXiv 2405.21060, eq. 1 and section 6):
    h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t^T        h (N, P)
    y_t = C_t^T h_t
x and B may have fewer heads than C and dt: head h then reads group h // (H // G), as the query
heads of grouped-query attention read their key/value head.

B batch, T time, H heads, G groups of x and B, R = H // G, P head width, N state width,
Q chunk length, Z number of chunks.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from mamtra.backbone.elementwise import decayed_scores


def check_shapes(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> None:
    """ValueError naming the shapes that do not belong together."""
    heads, groups = dt.shape[-1], x.shape[-2]
    fits = (
        x.shape[:2] == dt.shape[:2] == b.shape[:2] == c.shape[:2]
        and a.shape == (heads,)
        and c.shape[2] == heads
        and b.shape[2] == groups
        and heads % groups == 0
        and b.shape[3] == c.shape[3]
    )
    if not fits:
        shapes = {"x": x, "dt": dt, "A": a, "B": b, "C": c}
        raise ValueError(
            "shapes do not fit: "
            + ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in shapes.items())
        )


def decay_dtype(x: Tensor) -> torch.dtype:
    """Decays and states are at least fp32 whatever precision x, B and C have."""
    return torch.promote_types(x.dtype, torch.float32)


def initial_state(x: Tensor, dt: Tensor, b: Tensor, state: Tensor | None) -> Tensor:
    """`state`, or zeros (B, H, N, P), in the decay dtype."""
    if state is not None:
        return state.to(decay_dtype(x))
    shape = (x.shape[0], dt.shape[-1], b.shape[-1], x.shape[-1])
    return torch.zeros(shape, dtype=decay_dtype(x), device=x.device)


def ssd_sequential(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The recurrence, one step after the other: exact and slow.

    x (B, T, G, P), dt (B, T, H) >= 0, a (H,) < 0, b (B, T, G, N), c (B, T, H, N),
    state (B, H, N, P) or None -> y (B, T, H, P) in x's dtype, state (B, H, N, P).
    """
    check_shapes(x, dt, a, b, c)
    wide = decay_dtype(x)
    h = initial_state(x, dt, b, state)
    group = dt.shape[-1] // x.shape[2]
    x_heads = x.to(wide).repeat_interleave(group, dim=2)
    b_heads = b.to(wide).repeat_interleave(group, dim=2)
    c, dt, a = c.to(wide), dt.to(wide), a.to(wide)
    outputs = []
    for t in range(x.shape[1]):
        decay = torch.exp(dt[:, t] * a)[:, :, None, None]
        write = dt[:, t, :, None, None] * b_heads[:, t, :, :, None] * x_heads[:, t, :, None, :]
        h = decay * h + write  # h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t^T
        outputs.append((c[:, t, :, None, :] @ h)[:, :, 0])  # y_t = C_t^T h_t
    return torch.stack(outputs, dim=1).to(x.dtype), h


def ssd_chunked(
    x: Tensor,
    dt: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    state: Tensor | None = None,
    chunk: int = 64,
) -> tuple[Tensor, Tensor]:
    """The same function as batched matrix products inside chunks and a short loop between them.

    Arguments and results as `ssd_sequential`. With s_t the running sum of dt A inside a chunk
    (arXiv 2405.21060, section 6, listing 1):
        Y = (C B^T o exp(s_i - s_j)) X' + exp(s_i) C H_in          X' = dt x, j <= i
        H_out = exp(s_Q) H_in + B^T (exp(s_Q - s_j) X')
    The matrix products and their factors are in x's dtype; s, its exponentials and H are computed in
    fp32 (or wider).
    """
    check_shapes(x, dt, a, b, c)
    batch, length, groups, width = x.shape
    heads, n = c.shape[2:]
    repeat, dtype, wide = heads // groups, x.dtype, decay_dtype(x)
    h = initial_state(x, dt, b, state)
    size = min(chunk, length)
    missing = -length % size
    if missing:  # dt = 0 neither decays nor writes, so the state is unaffected
        x, b, c = (F.pad(tensor, (0, 0, 0, 0, 0, missing)) for tensor in (x, b, c))
        dt = F.pad(dt, (0, 0, 0, missing))
    z = (length + missing) // size

    # (B, Z, G, ...) so that all heads of a group share one product with its x or B.
    dt = dt.to(wide).reshape(batch, z, size, heads).transpose(2, 3)  # (B, Z, H, Q)
    s = (dt * a.to(wide)[:, None]).cumsum(dim=-1)
    b = b.reshape(batch, z, size, groups, n).transpose(2, 3)  # (B, Z, G, Q, N)
    c = c.reshape(batch, z, size, groups, repeat, n).permute(0, 1, 3, 4, 2, 5)  # (B, Z, G, R, Q, N)
    x = x.reshape(batch, z, size, groups, 1, width).permute(0, 1, 3, 4, 2, 5)  # (..., G, 1, Q, P)
    c = c.reshape(batch, z, groups, repeat * size, n)
    split = (batch, z, groups, repeat, size)

    def weighted(factor: Tensor) -> Tensor:
        """x times a per-head factor (B, Z, H, Q) -> (B, Z, G, R, Q, P), each head its own x."""
        return x * factor.reshape(*split, 1).to(dtype)

    # Inside a chunk: (C B^T o exp(s_i - s_j)) X'
    scores = (c @ b.transpose(-1, -2)).reshape(batch, z, heads, size, size)
    y = decayed_scores(scores, s) @ weighted(dt).reshape(batch, z, heads, size, width)

    # What each chunk adds to the state: B^T (exp(s_Q - s_j) X'), the heads side by side
    writes = weighted(dt * torch.exp(s[..., -1:] - s))
    writes = writes.permute(0, 1, 2, 4, 3, 5).flatten(-2)  # (B, Z, G, Q, R*P)
    added = (b.transpose(-1, -2) @ writes).to(wide).unflatten(-1, (repeat, width))
    added = added.transpose(3, 4).reshape(batch, z, heads, n, width)

    # Between chunks: H_out = exp(s_Q) H_in + added
    chunk_decay = torch.exp(s[..., -1])[..., None, None]
    entering = []
    for i in range(z):
        entering.append(h)
        h = chunk_decay[:, i] * h + added[:, i]
    h_in = torch.stack(entering, dim=1).to(dtype)  # (B, Z, H, N, P)

    # From earlier chunks: exp(s_i) C H_in
    carried = c.reshape(batch, z, heads, size, n) @ h_in
    y = torch.addcmul(y, torch.exp(s)[..., None].to(dtype), carried)
    y = y.transpose(2, 3).reshape(batch, z * size, heads, width)
    return y[:, :length], h
