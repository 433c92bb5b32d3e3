"""Transcripts by openai-whisper, greedy, for comparison with tools that use it (CV3-Eval).

N samples.
"""

from __future__ import annotations

import numpy as np

from eval.metrics.weights import Unavailable, file_name, revision, tool


class OpenAIWhisperASR:
    """16 kHz audio to text. `model`: a size, which is downloaded once, or a checkpoint file."""

    def __init__(self, model: str, language: str = "en", device: str = "cpu") -> None:
        self.model, self.language, self.device = model, language, device
        self._model = None
        self._revision = revision(model)

    @property
    def key(self) -> str:
        """Names everything that a transcript depends on besides the audio."""
        used = f"asr-openai-whisper-{tool('openai-whisper')}-{file_name(self.model)}"
        return f"{used}-{self._revision}-fp32-greedy-{self.language}"

    def transcribe(self, wave: np.ndarray) -> str:
        """(N,) float32 mono at 16 kHz, at most 30 s -> the raw transcript.

        Raises:
            Unavailable: the weights cannot be had.
        """
        if self._model is None:
            import whisper

            try:
                self._model = whisper.load_model(self.model, device=self.device)
            except Exception as error:
                raise Unavailable(
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
