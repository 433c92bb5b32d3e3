"""Transcripts by Whisper in transformers: seed-tts-eval's own way (run_wer.py), with whisper-large-v3.

One 30 s window, greedy, fp32, one clip at a time. N samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.asr.recogniser import Recogniser
from eval.metrics.weights import Unavailable, code_sha256, require, revision, tool

LANGUAGES = {"en": "english", "zh": "chinese"}


class TransformersWhisperASR(Recogniser):
    """16 kHz audio to text. `model`: a name on the Hugging Face hub or a folder."""

    def __init__(self, model: str, language: str = "en", device: str = "cpu") -> None:
        self.model, self.language, self.device = model, language, device
        self._loaded: Any = None
        self._revision = revision(model, ("*.safetensors", "*.bin"))

    @property
    def recipe(self) -> dict[str, Any]:
        return {
            "tool": "transformers",
            "version": tool("transformers"),
            "model": Path(self.model).name,
            "weights": self._revision,
            "decoding": {"beam_size": 1, "precision": "float32"},
            "language": self.language,
            "code": code_sha256(__file__),
        }

    def check(self) -> None:
        require("asr=transformers:...", "transformers")

    def transcribe(self, wave: np.ndarray) -> str:
        import torch

        if self._loaded is None:
            from transformers import WhisperForConditionalGeneration, WhisperProcessor

            try:
                processor = WhisperProcessor.from_pretrained(self.model)
                model: Any = WhisperForConditionalGeneration.from_pretrained(
                    self.model, dtype=torch.float32
                )
            except Exception as error:
                raise Unavailable(
                    f"cannot load {self.model!r} with transformers: {error}. Give a folder that holds "
                    "openai/whisper-large-v3, or let it be downloaded once by name"
                ) from error
            self._loaded = processor, model.to(self.device).eval()
        processor, model = self._loaded
        features = processor(wave, sampling_rate=16_000, return_tensors="pt").input_features
        # forced_decoder_ids, which the original passes, is gone; a model of one language takes no language.
        many = hasattr(model.generation_config, "lang_to_id")
        task = {"language": LANGUAGES[self.language], "task": "transcribe"} if many else {}
        with torch.inference_mode():
            ids = model.generate(features.to(self.device), do_sample=False, num_beams=1, **task)
        return processor.batch_decode(ids, skip_special_tokens=True)[0].strip()
