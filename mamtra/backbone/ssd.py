"""The one public `ssd`: mamba_ssm's fused kernel on CUDA where it is installed, else PyTorch."""

import torch
from torch import Tensor

from mamtra.backbone.elementwise import without_autocast
from mamtra.backbone.ssd_reference import ssd_chunked

try:  # optional, CUDA only
    from mamba_ssm.ops.triton.ssd_combined import (  # type: ignore[import-not-found]
        mamba_chunk_scan_combined,
    )
except Exception:  # a broken build raises more than ImportError
    mamba_chunk_scan_combined = None


def backend(device: torch.device | str) -> str:
    """ "mamba_ssm" or "torch": what `ssd` runs on for tensors on `device`."""
    on_cuda = torch.device(device).type == "cuda"
    return "mamba_ssm" if on_cuda and mamba_chunk_scan_combined is not None else "torch"


def ssd(
    x: Tensor,
    dt: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    state: Tensor | None = None,
    chunk: int = 64,
) -> tuple[Tensor, Tensor]:
    """State-space duality layer, as `ssd_reference.ssd_sequential` defines it.

    x (B, T, G, P), dt (B, T, H) >= 0, a (H,) < 0, b (B, T, G, N), c (B, T, H, N),
    state (B, H, N, P) or None -> y (B, T, H, P) in x's dtype, state (B, H, N, P) fp32 or wider.
    Decays and states keep fp32 under autocast. ValueError for shapes that do not fit.
    """
    with without_autocast(x):
        if mamba_chunk_scan_combined is None or x.device.type != "cuda":
            return ssd_chunked(x, dt, a, b, c, state, chunk)
        group = dt.shape[-1] // x.shape[2]
        y, last = mamba_chunk_scan_combined(
            x.repeat_interleave(group, dim=2),
            dt.float(),
            a.float(),
            b.repeat_interleave(group, dim=2),
            c,
            chunk_size=chunk,
            initial_states=None if state is None else state.float().transpose(-1, -2).contiguous(),
            return_final_states=True,
        )
        return y, last.float().transpose(-1, -2)
