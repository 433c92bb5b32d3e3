"""Transcripts by Whisper in transformers: seed-tts-eval's own way (run_wer.py), with whisper-large-v3.

One 30 s window, greedy; float32 on the CPU, float16 on a GPU; several clips at a time if asked. N samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.asr.recogniser import Recogniser
from eval.metrics.weights import Unavailable, code_sha256, require, revision, tool

LANGUAGES = {"en": "english", "zh": "chinese"}
# Names on the hub that need no revision: these are theirs.
PINNED = {"openai/whisper-large-v3": "06f233fe06e710322aca913c1bc4249a0d71fce1"}


class TransformersWhisperASR(Recogniser):
    """16 kHz audio to text. `model`: a folder, or a name on the Hugging Face hub with `@revision`."""

    def __init__(
        self, model: str, language: str = "en", device: str = "cpu", batch: int = 1
    ) -> None:
        self.model, _, asked = model.partition("@") if not Path(model).exists() else (model, "", "")
        self.pinned = asked or PINNED.get(self.model)
        self.language, self.device, self.batch = language, device, batch
        self.precision = "float16" if device.startswith("cuda") else "float32"
        self._loaded: Any = None
        self._revision = revision(self.model, ("*.safetensors", "*.bin"))

    @property
    def recipe(self) -> dict[str, Any]:
        by_name = self._revision == "by-name"
        return {
            "tool": "transformers",
            "version": tool("transformers"),
            "model": Path(self.model).name,
            "weights": self.pinned if by_name else self._revision,
            "decoding": {
                "beam_size": 1,
                "precision": self.precision,
                "windows": "one of 30 s",
                "batched": self.batch > 1,
            },
            "language": self.language,
            "code": code_sha256(__file__),
        }

    def check(self) -> None:
        require("asr=transformers:...", "transformers")
        if Path(self.model).is_dir():
            if not Path(self.model, "config.json").is_file():
                raise Unavailable(f"asr=transformers:{self.model}: no config.json in that folder")
        elif self.model.startswith((".", "/")):
            raise Unavailable(f"asr=transformers:{self.model}: no such folder")
        elif self.pinned is None:
            raise Unavailable(
                f"asr=transformers:{self.model}: say which revision, {self.model}@<commit or tag>: a name "
                "alone is other weights next year"
            )

    def transcribe(self, wave: np.ndarray) -> str:
        return self.transcribe_batch([wave])[0]

    def transcribe_batch(self, waves: Sequence[np.ndarray]) -> list[str]:
        """Every clip fills a window by itself: none sees its neighbours. Raises Unavailable."""
        import torch

        processor, model = self._load()
        features = processor(
            list(waves), sampling_rate=16_000, return_tensors="pt"
        ).input_features.to(self.device, getattr(torch, self.precision))
        # forced_decoder_ids, which the original passes, is gone; a model of one language takes no language.
        many = hasattr(model.generation_config, "lang_to_id")
        task = {"language": LANGUAGES[self.language], "task": "transcribe"} if many else {}
        with torch.inference_mode():
            ids = model.generate(features, do_sample=False, num_beams=1, **task)
        return [text.strip() for text in processor.batch_decode(ids, skip_special_tokens=True)]

    def _load(self) -> Any:
        if self._loaded is None:
            import torch
            from transformers import WhisperForConditionalGeneration, WhisperProcessor

            of: dict[str, Any] = {"revision": self.pinned} if self.pinned else {}
            try:
                processor = WhisperProcessor.from_pretrained(self.model, **of)
                model: Any = WhisperForConditionalGeneration.from_pretrained(
                    self.model, dtype=getattr(torch, self.precision), **of
                )
            except Exception as error:
                raise Unavailable(
                    f"cannot load {self.model!r} with transformers: {error}. Give a folder that holds "
                    "openai/whisper-large-v3, or let it be downloaded once by name"
                ) from error
            self._loaded = processor, model.to(self.device).eval()
        return self._loaded
