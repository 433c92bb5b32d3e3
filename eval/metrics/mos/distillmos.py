"""Predicted mean opinion score by DistillMOS, whose weights are in its wheel.

Legend: N samples.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from importlib.metadata import version

import numpy as np
import torch


class DistillMOS:
    """Scores 16 kHz audio one clip at a time: its windows are shared by a batch otherwise."""

    def __init__(self) -> None:
        self._model = None

    @property
    def key(self) -> str:
        """Names everything that a score depends on besides the audio."""
        return f"mos-distillmos-{version('distillmos')}"

    def score(self, wave: np.ndarray) -> float:
        """(N,) float32 mono at 16 kHz -> MOS between 1 and 5."""
        if self._model is None:
            # The constructor announces its weights on stdout, in the middle of the progress bar.
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                import distillmos

                self._model = distillmos.ConvTransformerSQAModel().eval()
        with torch.inference_mode():
            return float(self._model(torch.from_numpy(wave)[None]).item())
