"""Predicted opinion scores of a clip. N samples."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from eval.metrics.audio import reading_recipe
from eval.metrics.clip import Clip, Scorer
from eval.metrics.model import MetricModel


class OpinionModel(MetricModel):
    """Predicts a mean opinion score of 16 kHz audio, one clip at a time: company changes some of them."""

    kind = "mos"

    @abstractmethod
    def score(self, wave: np.ndarray) -> float:
        """(N,) float32 mono at 16 kHz -> MOS, about 1 to 5. Raises Unavailable."""


class Opinion(Scorer):
    """What an OpinionModel says."""

    def __init__(self, model: OpinionModel) -> None:
        self.model = model

    @property
    def recipe(self) -> dict[str, Any]:
        return {**self.model.recipe, "audio": reading_recipe()}

    def check(self) -> None:
        self.model.check()

    def score(self, clip: Clip) -> dict[str, Any]:
        return {"mos": clip.remember(self.model.key, lambda: self.model.score(clip.wave))}
