"""Speaker similarity by GE2E (resemblyzer): cosine of two utterance embeddings.

Legend: N samples, E = 256 embedding width. Scores of different speaker encoders are not comparable.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.metadata import version

import numpy as np

SAMPLE_RATE_HZ = 16_000


class GE2ESpeaker:
    """Embeds 16 kHz audio one clip at a time, so that no padding can change a score."""

    def __init__(self) -> None:
        self._encoder = None

    @property
    def key(self) -> str:
        """Names everything that an embedding depends on besides the audio."""
        return f"speaker-ge2e-resemblyzer-{version('Resemblyzer')}"

    def embed(self, wave: np.ndarray) -> np.ndarray:
        """(N,) float32 mono at 16 kHz -> (E,) float32 of length 1."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # resemblyzer imports long-deprecated modules
            from resemblyzer import VoiceEncoder, preprocess_wav

            if self._encoder is None:
                self._encoder = VoiceEncoder("cpu", verbose=False)
            voiced = preprocess_wav(wave, SAMPLE_RATE_HZ)
            # The voice-activity trimming can leave nothing of a very short or noisy clip.
            return np.asarray(self._encoder.embed_utterance(voiced if voiced.size else wave))


def similarities(
    embedding: np.ndarray,
    own: str,
    prompts: Mapping[str, np.ndarray],
    voice_of: Mapping[str, str] | None = None,
) -> tuple[float, float | None]:
    """Cosine to the own prompt and mean cosine to the prompts of other voices.

    Args:
        embedding: (E,) of the utterance.
        own: key of its prompt in `prompts`.
        prompts: prompt -> (E,).
        voice_of: prompt -> voice; without it each prompt counts as a voice of its own.

    Returns:
        (own, others); `others` is None when the test set has a single voice.
    """
    voices = voice_of or {}
    own_voice = voices.get(own, own)
    others = [
        float(np.dot(embedding, prompt))
        for name, prompt in prompts.items()
        if voices.get(name, name) != own_voice
    ]
    return float(np.dot(embedding, prompts[own])), float(np.mean(others)) if others else None
