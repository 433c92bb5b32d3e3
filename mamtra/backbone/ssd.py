"""The one public `ssd`: mamba_ssm's fused kernel on CUDA where it is installed, else PyTorch.

Which of the two runs is part of a result: `backend` says it for manifests, with the reason, and the first CUDA
tensor that goes without the kernel warns.
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from mamtra.backbone.elementwise import without_autocast
from mamtra.backbone.ssd_reference import ssd_chunked

PACKAGE = "mamba_ssm"


@cache
def _fused() -> tuple[Callable[..., Any] | None, str]:
    """The kernel and an empty string, or None and why there is none."""
    try:
        from mamba_ssm.ops.triton.ssd_combined import (  # type: ignore[import-not-found]
            mamba_chunk_scan_combined,
        )

        return mamba_chunk_scan_combined, ""
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
    kernel, reason = _fused()
    return PACKAGE if kernel is not None else f"torch ({reason})"


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
    kernel = None
    if x.device.type == "cuda":
        kernel, reason = _fused()
        if kernel is None:
            _warn(reason)
    with without_autocast(x):
        if kernel is None:
            return ssd_chunked(x, dt, a, b, c, state, chunk)
        group = dt.shape[-1] // x.shape[2]
        y, last = kernel(
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
