"""Predicted mean opinion score by DistillMOS, whose weights are in its wheel.

Legend: N samples.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import numpy as np

from eval.metrics.mos.opinion import OpinionModel
from eval.metrics.weights import code_sha256, require, tool


class DistillMOS(OpinionModel):
    """Scores 16 kHz audio one clip at a time: its windows are shared by a batch otherwise."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._model: Any = None

    @property
    def recipe(self) -> dict[str, Any]:
        return {"tool": "distillmos", "version": tool("distillmos"), "code": code_sha256(__file__)}

    def check(self) -> None:
        require("mos=distillmos", "distillmos")

    def score(self, wave: np.ndarray) -> float:
        """(N,) float32 mono at 16 kHz -> MOS between 1 and 5."""
        import torch

        if self._model is None:
            # The constructor announces its weights on stdout, in the middle of the progress bar.
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                import distillmos

                self._model = distillmos.ConvTransformerSQAModel().to(self.device).eval()
        with torch.inference_mode():
            return float(self._model(torch.from_numpy(wave).to(self.device)[None]).item())
