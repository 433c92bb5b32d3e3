"""Memory of plans over length and batch, counted: what notebooks/efficiency.ipynb draws.

A length in seconds is one pass: text grows with it, the prompt does not (configs/stage/advise.yaml).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from eval.efficiency.memory import COSYVOICE2, Counted, counted


@dataclass(frozen=True)
class Line:
    """One curve: a ratio, what its converted layers become, and what their states are."""

    ratio: str
    mixer: str = "mamba"
    state: str = "per_head"
    state_dtype: str = "fp32"

    def count(self, dtype: str) -> Counted:
        """This plan at CosyVoice 2's size."""
        options = {"mixer": self.mixer, "state": self.state, "state_dtype": self.state_dtype}
        return counted(COSYVOICE2, self.ratio, dtype, **options)


LINES = {
    "teacher": Line("1to0"),
    "WAND, window 32": Line("0to1", mixer="window"),
    "1:1": Line("1to1"),
    "1:11": Line("1to11"),
    "1:11, shared state": Line("1to11", state="shared"),
    "1:11, shared state in bf16": Line("1to11", state="shared", state_dtype="bf16"),
}


@dataclass(frozen=True)
class Speech:
    """Positions of speech; the defaults are WAND's at 10 s: 426, 176 of them not generated."""

    prompt_positions: int = 143
    text_per_s: float = 3.3
    tokens_per_s: float = 25.0

    def positions(self, seconds: float) -> tuple[int, int]:
        """(all, those that are not generated)."""
        conditioning = self.prompt_positions + math.ceil(self.text_per_s * seconds)
        return conditioning + math.ceil(self.tokens_per_s * seconds), conditioning


def bytes_over_length(
    seconds: Sequence[float],
    dtype: str,
    lines: Mapping[str, Line] = LINES,
    speech: Speech | None = None,
) -> pd.DataFrame:
    """MB (1e6 bytes) that decoding one stream holds: seconds down, lines across."""
    lengths = [(speech or Speech()).positions(one) for one in seconds]
    table = {}
    for name, line in lines.items():
        model = line.count(dtype)
        table[name] = [model.state_bytes(1, *length) / 1e6 for length in lengths]
    return pd.DataFrame(table, index=pd.Index(seconds, name="seconds"))


def smallest_batch(
    saving: float, positions: Sequence[int], dtype: str, lines: Mapping[str, Line]
) -> pd.DataFrame:
    """The fewest streams of this length at which weights and states are `saving` (0..1) smaller than the
    all-attention model's; NaN where no number of streams is enough. Positions down, lines across."""
    teacher, table = LINES["teacher"].count(dtype), {}
    for name, line in lines.items():
        model = line.count(dtype)
        table[name] = [_batch(saving, teacher, model, length) for length in positions]
    return pd.DataFrame(table, index=pd.Index(positions, name="positions"))


def _batch(saving: float, teacher: Counted, model: Counted, length: int) -> float:
    def parts(one: Counted) -> tuple[int, int]:
        """(bytes whatever the batch, bytes of a stream)."""
        first, second = (one.state_bytes(n, length, 0) for n in (1, 2))
        return one.weight_bytes + 2 * first - second, second - first

    (fixed, stream), (own_fixed, own_stream) = parts(teacher), parts(model)
    gained = (1 - saving) * stream - own_stream
    if gained <= 0:
        return math.nan
    return float(max(1, math.ceil((own_fixed - (1 - saving) * fixed) / gained)))
