"""Speaker embeddings by GE2E (resemblyzer), whose weights are in its wheel. N samples, E = 256 width."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from eval.metrics.speaker.encoder import SpeakerEncoder
from eval.metrics.weights import code_sha256, require, tool

SAMPLE_RATE_HZ = 16_000


class GE2ESpeaker(SpeakerEncoder):
    """Embeds 16 kHz audio one clip at a time, so that no padding can change a score."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._encoder: Any = None

    @property
    def recipe(self) -> dict[str, Any]:
        return {"tool": "ge2e", "resemblyzer": tool("Resemblyzer"), "code": code_sha256(__file__)}

    def check(self) -> None:
        require("speaker=ge2e", "resemblyzer")

    def embed(self, wave: np.ndarray) -> np.ndarray:
        """(N,) float32 mono at 16 kHz -> (E,) float32 of length 1."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # resemblyzer imports long-deprecated modules
            from resemblyzer import VoiceEncoder, preprocess_wav

            if self._encoder is None:
                self._encoder = VoiceEncoder(self.device, verbose=False)
            voiced = preprocess_wav(wave, SAMPLE_RATE_HZ)
            # The voice-activity trimming can leave nothing of a very short or noisy clip.
            return np.asarray(self._encoder.embed_utterance(voiced if voiced.size else wave))
