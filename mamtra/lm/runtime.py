"""What a language model runs on: part of every result, since rounding and speed depend on it."""

import shutil

import torch

from mamtra.backbone.ssd import backend


def emulated(device: torch.device | str, dtype: str) -> bool:
    """Whether the processor computes in fp32 and only stores this dtype: half the memory, seldom more speed."""
    kind = torch.device(device).type
    if dtype == "bf16" and kind == "cuda":
        return not torch.cuda.is_bf16_supported(including_emulation=False)
    if dtype in ("bf16", "fp16") and kind == "cpu":
        return not getattr(torch.ops.mkldnn, f"_is_mkldnn_{dtype}_supported")()
    return False


def can_compile(device: torch.device | str) -> bool:
    """Whether torch.compile finds what it needs: a C++ compiler on a CPU."""
    found = any(map(shutil.which, ("c++", "g++", "clang++")))
    return found or torch.device(device).type != "cpu"


def runtime(device: torch.device | str, dtype: str, compiled: bool = False) -> dict[str, str]:
    """Device kind, dtype of weights and caches, how steps are computed and what `ssd` runs on: ready for
    JSON, and known before a model is loaded."""
    kind = torch.device(device).type
    return {
        "device": kind,
        "dtype": f"{dtype} (emulated)" if emulated(device, dtype) else dtype,
        "steps": ("graph" if kind == "cuda" else "compiled") if compiled else "plain",
        "ssd": backend(device),
    }


def runtime_text(facts: dict[str, str]) -> str:
    """One line of `runtime`'s facts: "cpu, fp32, plain steps, ssd torch"."""
    return f"{facts['device']}, {facts['dtype']}, {facts['steps']} steps, ssd {facts['ssd']}"
