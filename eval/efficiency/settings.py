"""The settings of the stages that measure cost: speed, memory, advice from counted bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eval.settings import Common, Named, SystemSettings


@dataclass(frozen=True, kw_only=True)
class Efficiency(Common):
    """stage=efficiency."""

    system: SystemSettings
    model: str | None
    models: Named
    baseline: str | None
    peers: list[Literal["cosyvoice2", "no_text_head", "granite"]]
    prefill: bool
    vocode: bool
    contexts: list[int]
    batches: list[int]
    dtypes: list[Literal["fp32", "bf16", "fp16"]]
    compiled: list[bool]
    n_tokens: int
    rounds: int
    device: str
    out: Path


@dataclass(frozen=True)
class ArmSizes:
    """Of an arm that is named without a model: those of `mamtra.mvc.sizes`, which settings do not import."""

    d_model: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    text_blocks: int
    temporal_blocks: int
    expressive_blocks: int
    d_voice: int
    d_style: int
    reference: str
    lookahead: int | None
    decoder_width: int
    decoder_blocks: int


@dataclass(frozen=True, kw_only=True)
class EncoderCost(Common):
    """stage=encoder_cost."""

    system: SystemSettings
    sizes: ArmSizes
    model: str | None
    models: Named
    baseline: str | None
    lengths: list[int]
    decode_up_to: int
    n_steps: int
    vocode: bool
    rounds: int
    turns: int
    out: Path


@dataclass(frozen=True, kw_only=True)
class Advise(Common):
    """stage=advise."""

    gpu_gb: float
    other_gb: float
    streams: int
    seconds: float
    plans: list[str]
    like: str
    mixer: Literal["mamba", "window", "deltanet"]
    state: Literal["per_head", "shared"]
    state_dtype: Literal["fp32", "bf16"]
    dtype: Literal["fp32", "bf16", "fp16"]
    tokens_per_s: float
    text_per_s: float
    prompt_positions: int

    def __post_init__(self) -> None:
        if not 0 <= self.other_gb < self.gpu_gb:
            raise ValueError(f"gpu_gb={self.gpu_gb:g} other_gb={self.other_gb:g}: 0 <= other < gpu")
        for name in ("streams", "seconds", "tokens_per_s", "text_per_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name):g}: has to be above 0")
        if self.prompt_positions < 0 or not self.plans:
            pair = f"prompt_positions={self.prompt_positions} plans={self.plans}"
            raise ValueError(f"{pair}: no negative prompt, and at least one plan")
