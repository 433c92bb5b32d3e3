"""Losses of MambaVoiceCloning: pure functions with an explicit mask, each a mean over what it marks.

B batch, T positions, C channels.
"""

import torch
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (B, T) or (B, T, C) where mask (B, T) is true; 0 where nothing is."""
    wide = mask.unsqueeze(-1).expand_as(values) if values.dim() > mask.dim() else mask
    total = torch.where(wide, values.float(), 0.0).sum()
    return total / wide.sum().clamp(min=1)


def duration_loss(log_durations: Tensor, durations: Tensor, valid: Tensor) -> Tensor:
    """Squared error of log(1 + n) of each token's n frames; all (B, T), valid bool."""
    return masked_mean((log_durations - durations.float().log1p()).square(), valid)


def pitch_loss(log_f0: Tensor, target: Tensor, voiced: Tensor) -> Tensor:
    """Absolute error of ln F0 on voiced frames alone; all (B, T), voiced bool."""
    return masked_mean((log_f0 - target).abs(), voiced)


def voicing_loss(logits: Tensor, voiced: Tensor, valid: Tensor) -> Tensor:
    """Binary cross entropy, in nats; all (B, T), voiced 0 or 1."""
    each = torch.nn.functional.binary_cross_entropy_with_logits(
        logits.float(), voiced.float(), reduction="none"
    )
    return masked_mean(each, valid)


def absolute_loss(found: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Absolute error of (B, T) or (B, T, C)."""
    return masked_mean((found - target).abs(), valid)


def squared_loss(found: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Squared error of (B, T) or (B, T, C)."""
    return masked_mean((found - target).square(), valid)
