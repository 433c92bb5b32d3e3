"""What a recogniser is. N samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from eval.metrics.model import MetricModel


class Recogniser(MetricModel):
    """Speech to text."""

    kind = "asr"
    batch = 1  # clips that `transcribe_batch` is to be given at once
    whole_clips = False  # True: it is given clips of any length, and cuts them itself

    @abstractmethod
    def transcribe(self, wave: np.ndarray) -> str:
        """(N,) float32 mono at 16 kHz -> the raw transcript, "" when nothing was heard.

        At most 30 s, but for `whole_clips`.

        Raises:
            Unavailable: the weights cannot be had.
        """

    def transcribe_batch(self, waves: Sequence[np.ndarray]) -> list[str]:
        """As `transcribe` for several clips of at most 30 s at once."""
        return [self.transcribe(wave) for wave in waves]
