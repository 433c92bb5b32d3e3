"""Speaker similarity of a clip to its prompt, to prompts of other voices and to the original recording.

E embedding width. Scores of different speaker encoders are not comparable.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.audio import Audio, read_audio, reading_recipe
from eval.metrics.clip import Clip, Memory, Scorer, Track
from eval.metrics.model import MetricModel
from eval.metrics.weights import Unavailable


class SpeakerEncoder(MetricModel):
    """Embeds 16 kHz audio one clip at a time, so that no padding can change a score."""

    kind = "speaker"

    @abstractmethod
    def embed(self, wave: np.ndarray) -> np.ndarray:
        """(N,) float32 mono at 16 kHz -> (E,) float32 of length 1. Raises Unavailable."""


class Similarity(Scorer):
    """`prepare` embeds every prompt once; one that cannot be embedded costs its own clips their similarity."""

    def __init__(self, encoder: SpeakerEncoder) -> None:
        self.encoder = encoder
        self._prompts: dict[Path, np.ndarray] = {}
        self._voices: dict[Path, str] = {}
        self._faults: dict[Path, str] = {}

    @property
    def recipe(self) -> dict[str, Any]:
        return {**self.encoder.recipe, "audio": reading_recipe()}

    def check(self) -> None:
        self.encoder.check()

    def prepare(self, voices: Mapping[Path, str], memory: Memory, track: Track) -> None:
        self._voices = dict(voices)
        self._prompts, self._faults = {}, {}
        for path in track(list(voices)):
            try:
                self._prompts[path] = self._embedding(read_audio(path), memory)
            except Unavailable:
                raise
            except Exception as error:
                self._faults[path] = f"{type(error).__name__}: {error}"

    def score(self, clip: Clip) -> dict[str, Any]:
        """Nothing for a line without a prompt. Raises ValueError for a prompt that has no embedding."""
        if clip.prompt is None:
            return {}
        if clip.prompt not in self._prompts:
            raise ValueError(f"prompt {clip.prompt}: {self._faults.get(clip.prompt, 'not read')}")
        embedding = self._embedding(clip.audio, clip.memory)
        own, other = similarities(embedding, clip.prompt, self._prompts, self._voices)
        found = {"sim_prompt": own, "sim_other": other}
        if clip.recording is not None and clip.recording.is_file():
            recording = self._embedding(read_audio(clip.recording), clip.memory)
            found["sim_recording"] = float(np.dot(embedding, recording))
        return found

    def _embedding(self, audio: Audio, memory: Memory) -> np.ndarray:
        wave = audio.wave
        if wave is None:
            raise ValueError(f"{audio.status}: {audio.detail}")

        def embed() -> list[float]:
            found = np.asarray(self.encoder.embed(wave), dtype=np.float64)
            if not np.isfinite(found).all():
                raise ValueError(f"no embedding of {audio.duration_s:.2f} s of audio")
            return found.tolist()

        return np.asarray(memory.get(self.encoder.key, audio.sha256, embed), dtype=np.float64)


def similarities(
    embedding: np.ndarray,
    own: Path,
    prompts: Mapping[Path, np.ndarray],
    voices: Mapping[Path, str],
) -> tuple[float, float | None]:
    """Cosine to the own prompt and mean cosine to the prompts of other voices.

    Args:
        embedding: (E,) of the utterance.
        own: its prompt.
        prompts: prompt -> (E,).
        voices: prompt -> voice.

    Returns:
        (own, others); `others` is None when the test set has a single voice.
    """
    others = [
        float(np.dot(embedding, prompt))
        for path, prompt in prompts.items()
        if voices[path] != voices[own]
    ]
    return float(np.dot(embedding, prompts[own])), float(np.mean(others)) if others else None
