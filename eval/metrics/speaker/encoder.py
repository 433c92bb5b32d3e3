"""What a speaker encoder is. N samples, E embedding width."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from eval.metrics.model import MetricModel


class SpeakerEncoder(MetricModel):
    """Embeds 16 kHz audio one clip at a time, so that no padding can change a score."""

    kind = "speaker"

    @abstractmethod
    def embed(self, wave: np.ndarray) -> np.ndarray:
        """(N,) float32 mono at 16 kHz -> (E,) float32 of length 1. Raises Unavailable."""
