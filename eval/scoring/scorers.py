"""The metric models of one evaluation behind small interfaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from eval.metrics.guard import SpeechDetector, guard_sha256
from eval.metrics.text.profiles import Profile
from eval.store.cache import Cache


class ASR(Protocol):
    """Speech to text; see `eval.metrics.asr.whisper.WhisperASR`."""

    @property
    def key(self) -> str: ...
    def transcribe(self, wave: np.ndarray) -> str: ...


class Speaker(Protocol):
    """Speaker embeddings; see `eval.metrics.speaker.ge2e.GE2ESpeaker`."""

    @property
    def key(self) -> str: ...
    def embed(self, wave: np.ndarray) -> np.ndarray: ...


class MOS(Protocol):
    """Opinion scores; see `eval.metrics.mos.distillmos.DistillMOS`."""

    @property
    def key(self) -> str: ...
    def score(self, wave: np.ndarray) -> float: ...


@dataclass(frozen=True)
class Scorers:
    """The metric models and their cache; a metric without a model is left out of the rows."""

    asr: ASR
    speaker: Speaker | None
    mos: MOS | None
    cache: Cache
    profile: Profile
    language: str = "en"
    detector: SpeechDetector | None = None

    def recipes(self) -> dict[str, dict[str, Any]]:
        """Metric -> everything that its values depend on besides audio and text."""
        wer = {
            "profile": self.profile.name,
            "rules_sha256": self.profile.sha256,
            "language": self.language,
            "asr": self.asr.key,
            "detector": self.detector and self.detector.key,
            "guard_sha256": guard_sha256(),
        }
        found: dict[str, dict[str, Any]] = {"wer": wer}
        if self.speaker is not None:
            found["sim"] = {"speaker": self.speaker.key}
        if self.mos is not None:
            found["mos"] = {"mos": self.mos.key}
        return found
