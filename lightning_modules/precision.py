"""Which precision to train in: bfloat16 only where the processor or the GPU multiplies it."""

from collections.abc import Mapping
from typing import Any

import torch

from lightning_modules.console import say

AUTO = "auto"
HALF, FULL = "bf16-mixed", "32-true"


def has_bfloat16(accelerator: str) -> bool:
    """Whether the hardware multiplies bfloat16 itself.

    On a processor without such instructions PyTorch emulates them: on AVX2 alone a linear layer took ten
    times as long as in fp32 and a convolution thirty times (docs/notes/2026-11-25-open-mini.md).
    """
    if accelerator == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def resolve_precision(precision: str, accelerator: str) -> str:
    """Lightning's name of the precision: "auto" becomes bf16-mixed or 32-true, others stay."""
    if precision != AUTO:
        return precision
    return HALF if has_bfloat16(accelerator) else FULL


def with_precision(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with `precision: auto` decided for this machine: it is part of a run's identity,
    because it changes the result."""
    decided = dict(plain)
    for group in ("trainer", "training"):
        settings = decided.get(group)
        if isinstance(settings, dict) and settings.get("precision") == AUTO:
            precision = resolve_precision(AUTO, settings["accelerator"])
            say(f"precision: {precision}")
            decided[group] = {**settings, "precision": precision}
    return decided
