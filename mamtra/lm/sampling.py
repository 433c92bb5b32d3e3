"""Repetition-aware nucleus sampling as CosyVoice 2 defines it, over a batch of rows.

One draw (CosyVoice utils/common.py:138-167): softmax; walk the tokens from the most probable one
and keep them while the probability before the token is below top_p and fewer than top_k are kept;
draw from those. If the drawn token occurs at least window * tau times among the last `window`
generated ones, ban it and draw once from the full softmax instead.

Every row takes its randomness from its own pair of uniform numbers, so its tokens do not depend on
its neighbours. B batch, V vocabulary with extras, W window.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

NOTHING = -1  # drawn from logits that are not finite


@dataclass(frozen=True)
class Sampling:
    """Sampling settings; the defaults are CosyVoice 2's (cosyvoice2.yaml:32-36).

    temperature divides the logits before everything else. ValueError for values without meaning.
    """

    top_p: float = 0.8
    top_k: int = 25
    window: int = 10
    tau: float = 0.1
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")
        if self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}")
        if self.window < 0 or self.tau < 0:
            raise ValueError(f"window and tau must not be negative: {self.window}, {self.tau}")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")


def _pick(weights: Tensor, uniform: Tensor) -> Tensor:
    """Index drawn by inverse transform. weights (B, n) >= 0, uniform (B,) in [0, 1) -> (B,)."""
    cumulative = weights.cumsum(dim=-1)
    threshold = (uniform * cumulative[:, -1])[:, None]
    # A strict comparison never lands on a token of weight zero, not even at uniform = 0.
    index = (cumulative <= threshold).sum(dim=-1)
    last = weights.shape[-1] - 1 - weights.flip(-1).gt(0).int().argmax(dim=-1)
    return torch.minimum(index, last)


def sample(logits: Tensor, history: Tensor, uniforms: Tensor, settings: Sampling) -> Tensor:
    """One token per row.

    logits (B, V), banned tokens at -inf; history (B, <= W) int64 last generated tokens, -1 where
    there is none yet; uniforms (B, 2) in [0, 1): for the nucleus and for the fallback draw.
    Returns (B,) int64, NOTHING for a row that has no finite logit or a NaN.
    """
    # On a CPU a look at a tensor saves work; on a GPU it waits for everything before it.
    return _sample(logits, history, uniforms, settings, look=logits.device.type == "cpu")


def _sample(
    logits: Tensor, history: Tensor, uniforms: Tensor, settings: Sampling, look: bool
) -> Tensor:
    """`look`: leave out what no row needs, which takes reading tensors back."""
    probabilities = torch.softmax(logits.double() / settings.temperature, dim=-1)
    failed = probabilities.sum(dim=-1).isnan()
    if look and not bool(failed.any()):
        failed = None
    else:
        probabilities = probabilities.masked_fill(failed[:, None], 0.0)
    drawn = _draw(probabilities, history, uniforms, settings, look)
    return drawn if failed is None else drawn.masked_fill(failed, NOTHING)


def _draw(
    probabilities: Tensor, history: Tensor, uniforms: Tensor, settings: Sampling, look: bool
) -> Tensor:
    """(B, V) -> (B,), whatever token where all probabilities are 0."""
    ranked, tokens = probabilities.topk(min(settings.top_k, probabilities.shape[-1]), dim=-1)
    before = ranked.cumsum(dim=-1) - ranked
    nucleus = ranked.masked_fill(before >= settings.top_p, 0.0)
    drawn = tokens.gather(1, _pick(nucleus, uniforms[:, 0])[:, None])
    if not settings.window or not history.shape[1]:
        return drawn[:, 0]
    recent = history[:, -settings.window :]
    repeats = (recent == drawn).sum(dim=-1)
    repeated = repeats >= max(settings.window * settings.tau, 1e-9)
    if look and not bool(repeated.any()):
        return drawn[:, 0]
    others = probabilities.scatter(1, drawn, 0.0)
    # A certain token that repeats has no alternative: keep it.
    repeated &= others.sum(dim=-1) > 0
    fallback = _pick(others, uniforms[:, 1])
    return torch.where(repeated, fallback, drawn[:, 0])
