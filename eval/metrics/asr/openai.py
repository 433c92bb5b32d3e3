"""Transcripts by openai-whisper, greedy, for comparison with tools that use it (CV3-Eval).

N samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.asr.recogniser import Recogniser
from eval.metrics.weights import Unavailable, code_sha256, require, revision, tool


class OpenAIWhisperASR(Recogniser):
    """16 kHz audio to text. `model`: a size, which is downloaded once, or a checkpoint file."""

    def __init__(self, model: str, language: str = "en", device: str = "cpu") -> None:
        self.model, self.language, self.device = model, language, device
        self._model: Any = None
        self._revision = revision(model)

    @property
    def recipe(self) -> dict[str, Any]:
        return {
            "tool": "openai-whisper",
            "version": tool("openai-whisper"),
            "model": Path(self.model).name,
            "weights": self._revision,
            "decoding": {"beam_size": 1, "precision": "float32"},
            "language": self.language,
            "code": code_sha256(__file__),
        }

    def check(self) -> None:
        require("asr=openai:...", "whisper")
        from whisper import available_models

        if self.model not in available_models() and not Path(self.model).is_file():
            raise Unavailable(
                f"no openai-whisper model {self.model!r}. Give the path of its .pt file, or one of: "
                f"{', '.join(available_models())}"
            )

    def transcribe(self, wave: np.ndarray) -> str:
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
