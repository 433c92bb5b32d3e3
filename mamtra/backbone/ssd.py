"""The one public `ssd`, and `update` of one token: mamba_ssm's fused kernels on CUDA where they are installed,
else PyTorch.

Which of the two runs is part of a result: `backend` says it for manifests, with the reason, and the first CUDA
tensor that goes without the kernel warns.
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mamtra.backbone.elementwise import without_autocast
from mamtra.backbone.ssd_reference import ssd_chunked

PACKAGE = "mamba_ssm"


class Kernels(NamedTuple):
    """Of mamba_ssm."""

    scan: Callable[..., Any]  # whole sequences
    update: Callable[..., Tensor]  # one token


@cache
def _fused() -> tuple[Kernels | None, str]:
    """The kernels and an empty string, or None and why there are none."""
    try:
        from mamba_ssm.ops.triton.selective_state_update import (  # type: ignore[import-not-found]
            selective_state_update,
        )
        from mamba_ssm.ops.triton.ssd_combined import (  # type: ignore[import-not-found]
            mamba_chunk_scan_combined,
        )

        return Kernels(mamba_chunk_scan_combined, selective_state_update), ""
    except ModuleNotFoundError as error:
        if error.name == PACKAGE:
            return None, f"{PACKAGE} is not installed"
        return None, f"{PACKAGE} does not import: {error}"
    except (
        Exception
    ) as error:  # a build for another torch raises ImportError, OSError, RuntimeError, ...
        return None, f"{PACKAGE} does not import: {type(error).__name__}: {error}"


@cache
def _warn(reason: str) -> None:
    warnings.warn(
        f"Mamba layers run in plain PyTorch on this GPU, slower than the fused kernel: {reason}. "
        "To install it: pip install --no-build-isolation 'mamtra[cuda]'",
        RuntimeWarning,
        stacklevel=3,
    )


def backend(device: torch.device | str) -> str:
    """What `ssd` runs on for tensors on `device`: "mamba_ssm", "torch", or on a GPU without the kernel
    "torch (<why>)"."""
    if torch.device(device).type != "cuda":
        return "torch"
    kernels, reason = _fused()
    return PACKAGE if kernels is not None else f"torch ({reason})"


def _kernels_for(x: Tensor) -> Kernels | None:
    """None on a CPU, and on a GPU without them after a warning."""
    if x.device.type != "cuda":
        return None
    kernels, reason = _fused()
    if kernels is None:
        _warn(reason)
    return kernels


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
    Decays and states keep fp32 under autocast. ValueError for shapes that do not fit. Warns, once, when a CUDA
    tensor finds no fused kernel.
    """
    kernels = _kernels_for(x)
    with without_autocast(x):
        if kernels is None:
            return ssd_chunked(x, dt, a, b, c, state, chunk)
        group = dt.shape[-1] // x.shape[2]
        y, last = kernels.scan(
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


def update(
    state: Tensor,
    x: Tensor,
    raw_dt: Tensor,
    dt_bias: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    skip: Tensor,
) -> Tensor | None:
    """One token: h = exp(dt a) h + dt b x^T in place, y = h^T c + skip x, with dt = softplus(raw_dt + dt_bias).

    state (B, H, N, P), x (B, G, P), raw_dt (B, H), dt_bias, a < 0 and skip (H,), b (B, G, N), c (B, H, N)
    -> y (B, H, P) fp32. None, and nothing is done, where there is no kernel for it.
    """
    kernels = _kernels_for(x)
    if kernels is None:
        return None
    rows, heads, n, p = state.shape
    group = heads // x.shape[1]
    # Numbers of a head, repeated without memory: by their strides the kernel knows that there is one for each.
    return kernels.update(
        state.transpose(-1, -2),
        x.float().repeat_interleave(group, dim=1),
        raw_dt.float()[:, :, None].expand(rows, heads, p),
        a.float()[:, None, None].expand(heads, p, n),
        b.float().repeat_interleave(group, dim=1),
        c.float(),
        D=skip.float()[:, None].expand(heads, p),
        dt_bias=dt_bias.float()[:, None].expand(heads, p),
        dt_softplus=True,
    )
