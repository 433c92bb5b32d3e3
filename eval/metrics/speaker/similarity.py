"""Speaker similarity of a clip to its prompt, to prompts of other voices and to the original recording.

E embedding width. Scores of different speaker encoders are not comparable.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.audio import Audio, read_audio, reading_recipe
from eval.metrics.clip import Clip, Memory, Scorer, Track
from eval.metrics.setup import Setup
from eval.metrics.speaker.encoder import SpeakerEncoder
from eval.metrics.weights import Unavailable, code_sha256


class PromptSimilarity(Scorer):
    """`prepare` embeds every prompt once; one that cannot be embedded costs its own clips their similarity."""

    def __init__(self, encoder: SpeakerEncoder) -> None:
        self.encoder = encoder
        self._prompts: dict[Path, np.ndarray] = {}
        self._voices: dict[Path, str] = {}
        self._faults: dict[Path, str] = {}

    @property
    def recipe(self) -> dict[str, Any]:
        return _recipe(self.encoder)

    def check(self) -> None:
        self.encoder.check()

    def prepare(self, voices: Mapping[Path, str], memory: Memory, track: Track) -> None:
        self._voices = dict(voices)
        self._prompts, self._faults = {}, {}
        for path in track(list(voices)):
            try:
                self._prompts[path] = _embedding(self.encoder, read_audio(path), memory)
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
        embedding = _embedding(self.encoder, clip.audio, clip.memory)
        own, other = similarities(embedding, clip.prompt, self._prompts, self._voices)
        return {"sim_prompt": own, "sim_other": other}


class RecordingSimilarity(Scorer):
    """To the original recording of the same text, where there is one."""

    def __init__(self, encoder: SpeakerEncoder) -> None:
        self.encoder = encoder

    @property
    def recipe(self) -> dict[str, Any]:
        return _recipe(self.encoder)

    def score(self, clip: Clip) -> dict[str, Any]:
        if clip.recording is None or not clip.recording.is_file():
            return {}
        recording = _embedding(self.encoder, read_audio(clip.recording), clip.memory)
        own = _embedding(self.encoder, clip.audio, clip.memory)
        return {"sim_recording": float(np.dot(own, recording))}


def prompt_similarity(setup: Setup) -> PromptSimilarity | None:
    """None without a speaker encoder."""
    return PromptSimilarity(setup.speaker) if setup.speaker else None


def recording_similarity(setup: Setup) -> RecordingSimilarity | None:
    """None without a speaker encoder."""
    return RecordingSimilarity(setup.speaker) if setup.speaker else None


def _recipe(encoder: SpeakerEncoder) -> dict[str, Any]:
    return {**encoder.recipe, "audio": reading_recipe(), "comparing": code_sha256(__file__)}


def _embedding(encoder: SpeakerEncoder, audio: Audio, memory: Memory) -> np.ndarray:
    wave = audio.wave
    if wave is None:
        raise ValueError(f"{audio.status}: {audio.detail}")

    def embed() -> list[float]:
        found = np.asarray(encoder.embed(wave), dtype=np.float64)
        if not np.isfinite(found).all():
            raise ValueError(f"no embedding of {audio.duration_s:.2f} s of audio")
        return found.tolist()

    return np.asarray(memory.get(encoder.key, audio.sha256, embed), dtype=np.float64)


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
