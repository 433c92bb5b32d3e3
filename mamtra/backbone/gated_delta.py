"""The gated delta rule in plain torch, in chunks: a memory that overwrites what a key stood for before.

Yang et al. 2024 (arXiv 2412.06464), equation 10, with states transposed:
    S_t = a_t (S_{t-1} - b_t k_t (k_t^T S_{t-1})) + b_t k_t v_t^T,    y_t = q_t^T S_t
and its chunks by the WY representation (section 3.3). With a = 1 it is DeltaNet, without the b k k^T term
linear attention with decay.

B batch, T time, H heads, N key width, P value width, Q chunk length.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def gated_delta(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    beta: Tensor,
    state: Tensor | None = None,
    chunk: int = 64,
) -> tuple[Tensor, Tensor]:
    """q and k (B, T, H, N), v (B, T, H, P), log_decay (B, T, H) <= 0, beta (B, T, H) in [0, 1],
    state (B, H, N, P) or None -> y (B, T, H, P) and state (B, H, N, P), both fp32 or wider.

    A position with log_decay = beta = 0 leaves the state as it is.
    """
    batch, length, heads, width = k.shape
    wide = torch.promote_types(v.dtype, torch.float32)
    missing = -length % chunk

    def blocks(x: Tensor) -> Tensor:
        """(B, T, H, ...) -> (B, H, chunks, Q, ...); padding neither decays nor writes."""
        x = F.pad(x.to(wide), (0, 0) * (x.dim() - 2) + (0, missing))
        return x.unflatten(1, (-1, chunk)).movedim(3, 1)

    q, k, v = blocks(q), blocks(k), blocks(v)
    beta, sums = blocks(beta)[..., None], blocks(log_decay).cumsum(dim=-1)
    past = torch.ones(chunk, chunk, dtype=torch.bool, device=v.device).tril()
    # Masked before the exponential: above the diagonal it could overflow, and inf * 0 is NaN.
    gap = (sums[..., :, None] - sums[..., None, :]).masked_fill(~past, float("-inf"))
    decay = gap.exp()
    # (I + strictly lower part) u = b v: what each write adds once the writes before it are in the memory.
    system = (k * beta @ k.transpose(-1, -2) * decay).tril(-1)
    right = torch.cat((v * beta, k * beta * sums.exp()[..., None]), dim=-1)
    solved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
    written, erased = solved.split((v.shape[-1], width), dim=-1)
    scores = q @ k.transpose(-1, -2) * decay
    read = q * sums.exp()[..., None]
    kept = k * (sums[..., -1:] - sums).exp()[..., None]
    memory = v.new_zeros(batch, heads, width, v.shape[-1]) if state is None else state.to(wide)
    outputs = []
    for i in range(v.shape[2]):
        new = written[:, :, i] - erased[:, :, i] @ memory
        outputs.append(read[:, :, i] @ memory + scores[:, :, i] @ new)
        memory = memory * sums[:, :, i, -1, None, None].exp()
        memory = memory + kept[:, :, i].transpose(-1, -2) @ new
    y = torch.stack(outputs, dim=2).flatten(2, 3)[:, :, :length]
    return y.transpose(1, 2), memory


def gated_delta_step(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, state: Tensor
) -> Tensor:
    """One position: q and k (B, H, N), v (B, H, P), log_decay and beta (B, H) -> y (B, H, P).

    state (B, H, N, P) moves in place; everything is computed in its dtype.
    """
    q, k, v = (x.to(state.dtype) for x in (q, k, v))
    state.mul_(log_decay.to(state.dtype).exp()[..., None, None])
    new = (v - (k[..., None, :] @ state)[..., 0, :]) * beta.to(state.dtype)[..., None]
    state.addcmul_(k[..., None], new[..., None, :])
    return (q[..., None, :] @ state)[..., 0, :]
