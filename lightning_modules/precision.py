"""Which precision to train in: bfloat16 only where the processor or the GPU multiplies it."""

import torch

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
