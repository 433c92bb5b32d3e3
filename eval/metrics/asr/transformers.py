"""Transcripts by Whisper in transformers: seed-tts-eval's own way (run_wer.py), with whisper-large-v3.

One 30 s window, greedy, fp32, one clip at a time. N samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eval.metrics.weights import Unavailable, file_name, revision, tool

LANGUAGES = {"en": "english", "zh": "chinese"}


class TransformersWhisperASR:
    """16 kHz audio to text. `model`: a name on the Hugging Face hub or a folder."""

    def __init__(self, model: str, language: str = "en", device: str = "cpu") -> None:
        self.model, self.language, self.device = model, language, device
        self._loaded: Any = None
        self._revision = revision(model, ("*.safetensors", "*.bin"))

    @property
    def key(self) -> str:
        """Names everything that a transcript depends on besides the audio."""
        used = f"asr-transformers-{tool('transformers')}-{file_name(self.model)}"
        return f"{used}-{self._revision}-fp32-greedy-{self.language}"

    def transcribe(self, wave: np.ndarray) -> str:
        """(N,) float32 mono at 16 kHz, at most 30 s -> the raw transcript.

        Raises:
            Unavailable: the weights cannot be had.
        """
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
