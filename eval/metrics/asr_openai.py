"""Transcripts by openai-whisper, greedy, for comparison with tools that use it (CV3-Eval).

N samples.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

import numpy as np


class OpenAIWhisperASR:
    """16 kHz audio to text. `model`: a size, which is downloaded once, or a checkpoint file."""

    def __init__(self, model: str, language: str = "en", device: str = "cpu") -> None:
        self.model, self.language, self.device = model, language, device
        self._model = None
        self._revision = "by-name"
        if Path(model).is_file():
            with Path(model).open("rb") as stream:
                self._revision = hashlib.file_digest(stream, "sha256").hexdigest()[:12]

    @property
    def key(self) -> str:
        """Names everything that a transcript depends on besides the audio."""
        name = Path(self.model).stem
        tool = f"asr-openai-whisper-{version('openai-whisper')}"
        return f"{tool}-{name}-{self._revision}-fp32-greedy-{self.language}"

    def transcribe(self, wave: np.ndarray) -> str:
        """(N,) float32 mono at 16 kHz, at most 30 s -> the raw transcript.

        Raises:
            RuntimeError: the weights cannot be had.
        """
        if self._model is None:
            import whisper

            try:
                self._model = whisper.load_model(self.model, device=self.device)
            except Exception as error:
                raise RuntimeError(
                    f"cannot load openai-whisper {self.model!r}: {error}. Give a size that can be "
                    "downloaded, or the path of its .pt file"
                ) from error
        found = self._model.transcribe(
            wave,
            language=self.language,
            temperature=0.0,
            without_timestamps=True,
            condition_on_previous_text=False,
            compression_ratio_threshold=None,
            logprob_threshold=None,
            no_speech_threshold=None,
            fp16=False,
        )
        return str(found["text"]).strip()
